%% Copyright 2026 the emmap authors. Licensed under the Apache License, Version 2.0.

%% Disks that lose blocks, are full in ways of their own, or stand still; and devices that are mapped themselves. The
%% file systems are in files of the suite's, and only the VM that tests them sees them mounted: they go with it.
-module(emmap_devices_SUITE).

-export([suite/0, all/0, init_per_testcase/2, end_per_testcase/2]).
-compile([export_all, nowarn_export_all]).
-import(emmap_vm, [survives/1, survives/2, raised/1, eventually/1]).

-include_lib("common_test/include/ct.hrl").

-define(PAGE, 4096).
-define(MiB, (1 bsl 20)).
-define(EXT4, "mkfs.ext4 -q -b 4096 -O ^has_journal").

suite() -> [{timetrap, {minutes, 2}}].

all() ->
    [a_range_that_touches_a_page_that_cannot_be_read_is_eio, a_page_that_cannot_be_read_is_tried_twice_at_most,
     a_full_xfs_cuts_no_file,
     a_file_system_that_stands_still_keeps_no_other_descriptors, remap_of_a_device_keeps_its_size,
     bytes_past_the_end_of_a_device_cost_no_others].

init_per_testcase(Case, Config) -> emmap_vm:directory(Case, Config).

end_per_testcase(_, Config) -> emmap_vm:delete_directory(Config).

%%% File systems in files

%% Makes one with the command of its name, and runs the function in a VM that has it mounted; skips where that, or
%% something that the function needs, cannot be done.
mounted(Config, Size, Make, Fun) -> mounted(Config, Size, Make, "true", Fun, #{}).

mounted(Config, Size, Make, Needed, Fun, Options) ->
    Dir = filename:join(?config(dir, Config), "mounted"),
    Image = filename:join(?config(dir, Config), "image"),
    ok = file:make_dir(Dir),
    Command = ["(truncate -s ", Size, " '", Image, "' && ", Make, " '", Image, "' && cd '", Dir, "' && ",
               "unshare -m sh -c 'mount -o loop \"$0\" . && cd \"$PWD\" && mountpoint -q . && ", Needed, "' '", Image,
               "' && echo made) 2>&1"],
    case string:trim(os:cmd(lists:append(Command))) of
        "made" -> survives(fun() -> Fun(Dir, Image) end, Options#{mount => {Dir, "-o loop '" ++ Image ++ "'"}});
        Why -> {skip, lists:append(["no such file system can be had here (", Make, ", mount -o loop, ", Needed, "): ",
                                    Why])}
    end.

%%% Blocks that are lost

%% The half of the disk behind the file's middle is gone. Of raw files, each range that touches it is an error.
a_range_that_touches_a_page_that_cannot_be_read_is_eio(Config) ->
    mounted(Config, "32M", ?EXT4, fun(Dir, Image) -> half_a_disk(Dir, Image, fun ranges_that_touch/2) end).

%% Each time takes as long as the device tries. Once more, because what was a cut may be gone when one looks.
a_page_that_cannot_be_read_is_tried_twice_at_most(Config) ->
    Log = filename:join(?config(dir, Config), "strace"),
    case emmap_vm:may_trace() of
        true ->
            _ = mounted(Config, "32M", ?EXT4, "true",
                        fun(Dir, Image) -> half_a_disk(Dir, Image, fun touch_once/2) end,
                        #{strace => ["-e", "trace=none", "-e", "signal=SIGBUS", "-o", Log]}),
            counted(file:read_file(Log));
        Why -> {skip, Why}
    end.

counted({error, enoent}) -> {skip, "no ext4 can be had here"};
counted({ok, Signals}) ->
    ct:log("~ts", [Signals]),
    Count = length(binary:matches(Signals, <<"--- SIGBUS">>)),
    {_, true} = {Count, Count >= 1 andalso Count =< 2}.

touch_once(Name, Bad) ->
    {ok, File} = emmap:open(Name, [read]),
    {error, eio} = emmap:pread(File, Bad, 1),
    ok = emmap:close(File).

half_a_disk(Dir, Image, Fun) ->
    Size = 20 * ?MiB,
    Name = filename:join(Dir, "file"),
    ok = file:write_file(Name, binary:copy(<<"a">>, Size)),
    {ok, Raw} = file:open(Name, [raw, binary, read, write]),
    ok = file:sync(Raw),
    emmap_vm:cut(Image, 16 * ?MiB),
    %% As long as pages are in memory nothing is lost.
    ok = file:advise(Raw, 0, 0, dont_need),
    Bad = first_bad(Raw, 0, Size),
    true = Bad > ?MiB,
    Size = filelib:file_size(Name),
    Fun(Name, Bad),
    ok = file:close(Raw).

ranges_that_touch(Name, Bad) ->
    %% A handle of its own for each: what a fault has shown is known from then on.
    [begin
         {ok, File} = emmap:open(Name, [write, shared, Lock]),
         {Call, Expected} = {Call, Fun(File)},
         {ok, <<"a">>} = emmap:pread(File, Bad - ?PAGE, 1),
         ok = emmap:close(File)
     end || Lock <- [lock, nolock], {Call, Expected, Fun} <- calls_that_touch(Bad)].

calls_that_touch(Bad) ->
    Eio = {error, eio},
    Go = fun(File, At) -> {ok, At} = emmap:position(File, At) end,
    [{inside, Eio, fun(File) -> emmap:pread(File, Bad, 16) end},
     {across, Eio, fun(File) -> emmap:pread(File, Bad - 1, 2) end},
     {many, Eio, fun(File) -> emmap:pread(File, Bad - ?MiB, 2 * ?MiB) end},
     {read, Eio, fun(File) -> Go(File, Bad - ?PAGE), emmap:read(File, 2 * ?PAGE) end},
     {line, Eio, fun(File) -> Go(File, Bad - ?PAGE), emmap:read_line(File) end},
     {pwrite, Eio, fun(File) -> emmap:pwrite(File, Bad - 1, <<"aa">>) end},
     {pwrite_many, Eio, fun(File) -> emmap:pwrite(File, Bad - ?PAGE, binary:copy(<<"a">>, ?PAGE + 1)) end},
     {word, eio, fun(File) -> raised(fun() -> emmap:patomic(File, Bad, add, 0) end) end}].

first_bad(Raw, At, Size) when At < Size ->
    case file:pread(Raw, At, ?PAGE) of
        {ok, _} -> first_bad(Raw, At + ?PAGE, Size);
        {error, eio} -> At
    end.

%%% Full disks

%% Some blocks are left, but the file system keeps them to itself. Nobody has cut anything.
a_full_xfs_cuts_no_file(Config) ->
    mounted(Config, "320M", "mkfs.xfs -q -f",
            fun(Dir, _) ->
                    Name = filename:join(Dir, "sparse"),
                    ok = file:write_file(Name, binary:copy(<<"a">>, ?PAGE)),
                    emmap_vm:cut(Name, 64 * ?MiB),
                    %% All but some blocks. The first one leaves room for what it takes to keep it.
                    ok = allocate(filename:join(Dir, "most"), free(Dir) - 4 * ?MiB),
                    _ = allocate(filename:join(Dir, "rest"), free(Dir) - 5 * ?PAGE),
                    {ok, File} = emmap:open(Name, [write, shared]),
                    Answers = [emmap:pwrite(File, At, <<"x">>) || At <- lists:seq(?MiB, 60 * ?MiB, ?MiB)],
                    io:format("~p bytes free: ~p~n", [free(Dir), Answers]),
                    [] = [Answer || Answer <- Answers, Answer =/= ok, Answer =/= {error, enospc}],
                    {ok, <<"a">>} = emmap:pread(File, 0, 1),
                    ok = emmap:close(File)
            end).

allocate(Name, Bytes) ->
    {ok, File} = file:open(Name, [raw, write]),
    Result = file:allocate(File, 0, Bytes),
    ok = file:sync(File),
    ok = file:close(File),
    Result.

%% Bytes that are free on the file system of a directory.
free(Dir) ->
    [_, Line] = string:lexemes(os:cmd("df --output=avail -B1 '" ++ Dir ++ "'"), "\n"),
    list_to_integer(string:trim(Line)).

%%% File systems that stand still

%% As for a snapshot. A file that is to be deleted there has to wait; the descriptors of others have not.
a_file_system_that_stands_still_keeps_no_other_descriptors(Config) ->
    Other = emmap_vm:new_file(?config(dir, Config), 1),
    mounted(Config, "16M", "mkfs.ext4 -q", "fsfreeze -f . && fsfreeze -u .",
            fun(Dir, _) -> drop_beside_frozen(Dir, Other) end, #{}).

drop_beside_frozen(Dir, Other) ->
    Held = filename:join(Dir, "deleted_later"),
    One = holder(fun() -> emmap:open(Held, [create, write, shared, auto_unlink, {size, ?PAGE}]) end, 1),
    Before = emmap_vm:descriptors(),
    Many = holder(fun() -> emmap:open(Other, [read]) end, 300),
    true = emmap_vm:descriptors() >= Before + 300,
    %% Whatever happens to this VM, it does not stay so.
    Guard = open_port({spawn_executable, "/bin/sh"},
                      [{args, ["-c", "echo ready; timeout 20 cat >/dev/null; fsfreeze -u \"$0\" 2>/dev/null", Dir]},
                       binary]),
    receive {Guard, {data, <<"ready\n">>}} -> ok end,
    "" = os:cmd("mountpoint -q '" ++ Dir ++ "' && fsfreeze -f '" ++ Dir ++ "' || echo failed"),
    drop(One),
    eventually(fun() -> emmap_vm:is_in([unlink, unlinkat], "self") end),
    drop(Many),
    Result = try emmap_test:wait_until(fun() -> emmap_vm:descriptors() =< Before + 5 end, 5000)
             catch error:Reason -> Reason
             end,
    "" = os:cmd("fsfreeze -u '" ++ Dir ++ "'"),
    true = port_close(Guard),
    ok = Result,
    eventually(fun() -> not filelib:is_regular(Held) end).

%% A process that has handles until it ends.
holder(Open, Count) ->
    Parent = self(),
    Holder = spawn_monitor(fun() ->
                                   Files = [element(2, {ok, _} = Open()) || _ <- lists:seq(1, Count)],
                                   Parent ! {self(), ready},
                                   receive go -> length(Files) end
                           end),
    {Pid, _} = Holder,
    receive {Pid, ready} -> Holder end.

drop({Pid, Reference}) ->
    Pid ! go,
    receive {'DOWN', Reference, process, Pid, Why} -> normal = Why end.

%%% Devices themselves

remap_of_a_device_keeps_its_size(Config) ->
    {ok, Zero} = emmap:open("/dev/zero", 0, ?MiB, [read]),
    {ok, ?MiB} = emmap:remap(Zero),
    {ok, <<0:32>>} = emmap:pread(Zero, ?MiB - 4, 4),
    ok = emmap:close(Zero),
    with_loop_device(Config, 4 * ?MiB,
                     fun(Device) ->
                             {ok, File} = emmap:open(Device, 0, ?MiB, [read]),
                             {ok, ?MiB} = emmap:remap(File),
                             {ok, <<"aaaa">>} = emmap:pread(File, ?MiB - 4, 4),
                             ok = emmap:close(File)
                     end).

bytes_past_the_end_of_a_device_cost_no_others(Config) ->
    with_loop_device(Config, 4 * ?MiB,
                     fun(Device) ->
                             {ok, File} = emmap:open(Device, 0, 8 * ?MiB, [read]),
                             {error, truncated} = emmap:pread(File, 4 * ?MiB, 4),
                             {ok, <<"aaaa">>} = emmap:pread(File, 0, 4),
                             {ok, <<"aaaa">>} = emmap:pread(File, 4 * ?MiB - 4, 4),
                             ok = emmap:close(File)
                     end).

with_loop_device(Config, Size, Fun) ->
    Image = filename:join(?config(dir, Config), "device"),
    ok = file:write_file(Image, binary:copy(<<"a">>, Size)),
    case string:trim(os:cmd("losetup --find --show '" ++ Image ++ "' 2>&1")) of
        "/dev/" ++ _ = Device ->
            try survives(fun() -> Fun(Device) end) after "" = os:cmd("losetup -d " ++ Device) end;
        Why -> {skip, "no loop device can be had here (losetup): " ++ Why}
    end.
