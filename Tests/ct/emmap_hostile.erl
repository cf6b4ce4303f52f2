%% Copyright 2026 the emmap authors. Licensed under the Apache License, Version 2.0.

%% What the suites of hostile systems have in common: file systems of their own on loop devices, which only the VM under
%% test sees and which go with it, whatever happens; file systems that freeze; programs beside the VM.
-module(emmap_hostile).

-export([directory/2, delete_directory/1, on/3, on/4, may_mount/2, missing/1]).
-export([run/1, freeze/1, thaw/1, ticks/2, fill/1, program/2, output/1, is_opening/1]).
-export([make_cold/1, pages_in_memory/1]).

-include_lib("common_test/include/ct.hrl").

%%% Directories and file systems

directory(Case, Config) -> emmap_vm:directory(Case, Config).

delete_directory(Config) -> emmap_vm:delete_directory(Config).

%% Runs a function of a directory in a VM that has a new file system there, or gives `{skip, Why}'. `FileSystem' is one
%% of image/1 or `tmpfs'; the options are those of emmap_vm:in_vm/2, and `flags', more options of mount(8). The mount
%% is in a namespace of the VM: it ends, and its loop device is given back, with the last process there.
on(Config, FileSystem, Fun) -> on(Config, FileSystem, Fun, #{}).

on(Config, FileSystem, Fun, Options) ->
    Dir = filename:join(?config(dir, Config), "mount"),
    ok = filelib:ensure_path(Dir),
    MayRun = case Options of
                 #{user := User} -> emmap_vm:may_be(User);
                 #{} -> true
             end,
    case {missing(["unshare" | makers(FileSystem)]), MayRun} of
        {none, true} ->
            Arguments = arguments(FileSystem, ?config(dir, Config), maps:get(flags, Options, "")),
            case may_mount(Dir, Arguments) of
                true ->
                    emmap_vm:survives(fun() -> Fun(Dir) end,
                                      (maps:remove(flags, Options))#{mount => {Dir, Arguments}});
                Why -> {skip, Why}
            end;
        {none, Why} -> {skip, Why};
        {Why, _} -> {skip, Why}
    end.

%% The program that makes the file system.
makers(tmpfs) -> [];
makers(FileSystem) ->
    {_, Make} = image(FileSystem),
    [hd(string:lexemes(Make, " "))].

%% What mount(8) is told; an image is made where there is none.
arguments(tmpfs, _, Flags) -> lists:concat(["-t tmpfs -o size=16M", Flags, " tmpfs"]);
arguments(FileSystem, Dir, Flags) ->
    Image = filename:join(Dir, FileSystem),
    {Size, Make} = image(FileSystem),
    filelib:is_regular(Image)
        orelse os:cmd(lists:concat(["truncate -s ", Size, " '", Image, "' && ", Make, " '", Image, "'"])),
    lists:concat(["-t ", FileSystem, " -o loop", Flags, " '", Image, "'"]).

%% The smallest that are allowed. Images are sparse: what is not used takes no space.
image(ext4) -> {"16M", "mkfs.ext4 -q"};
image(ext2) -> {"4M", "mkfs.ext2 -q"};
%% As xfsprogs 6.1 makes it: what newer ones add sets space aside, of which statfs(2) says that it is free.
image(xfs) -> {"300M", "mkfs.xfs -q -m reflink=1,rmapbt=0 -i nrext64=0"};
image(btrfs) -> {"110M", "mkfs.btrfs -q"};
image(vfat) -> {"4M", "mkfs.vfat"}.

%% Whether mount(8) does that here: `true', or why not.
may_mount(Dir, Arguments) ->
    Command = ["unshare -m sh -c 'mount ", string:replace(Arguments, "'", "'\\''", all), " \"$0\" && echo mounted' '",
               Dir, "' 2>&1"],
    case string:trim(os:cmd(lists:flatten(Command))) of
        "mounted" -> true;
        Why -> lists:concat(["nothing can be mounted here (mount ", Arguments, "): ", Why])
    end.

%% The programs that are not here, as a reason to skip; or `none'.
missing(Programs) ->
    case [Program || Program <- Programs, os:find_executable(Program) =:= false] of
        [] -> none;
        Missing -> "not installed here: " ++ lists:append(lists:join(" ", Missing))
    end.

%% Runs a command of the shell that must succeed, and gives what it printed.
run(Command) ->
    Output = os:cmd(lists:flatten(["(", Command, ") 2>&1; echo $?"])),
    [Status | Lines] = lists:reverse(string:split(string:trim(Output), "\n", all)),
    {_, _, "0"} = {Command, Output, Status},
    lists:flatten(lists:join($\n, lists:reverse(Lines))).

%% Writes zeroes into a file until there is no room for more.
fill(Name) ->
    {ok, File} = file:open(Name, [append, raw]),
    fill(File, binary:copy(<<0>>, 1 bsl 16)),
    ok = file:close(File).

fill(File, Bytes) ->
    case file:write(File, Bytes) of
        ok -> fill(File, Bytes);
        {error, enospc} when byte_size(Bytes) > 512 -> fill(File, binary:part(Bytes, 0, byte_size(Bytes) div 2));
        {error, enospc} -> ok
    end.

%%% A file system that stands still

%% Freezes a file system. It thaws when told to, when the VM ends, and at the latest after some seconds.
freeze(Dir) ->
    Script = "trap '' TERM HUP INT PIPE; fsfreeze -f \"$1\" && echo frozen && timeout -s KILL 5 head -n 1 >/dev/null;"
        "fsfreeze -u \"$1\" && echo thawed",
    Freezer = program(["sh", "-c", Script, "sh", Dir], []),
    receive {Freezer, {data, <<"frozen", _/binary>>}} -> Freezer end.

thaw(Freezer) ->
    _ = try port_command(Freezer, "\n") catch error:badarg -> false end,
    {0, _} = output(Freezer),
    ok.

%% Waits so many times for some milliseconds; gives the longest that a wait took.
ticks(Times, Milliseconds) -> ticks(Times, Milliseconds, 0).

ticks(0, _, Longest) -> Longest;
ticks(Times, Milliseconds, Longest) ->
    Start = erlang:monotonic_time(millisecond),
    receive after Milliseconds -> ok end,
    ticks(Times - 1, Milliseconds, max(Longest, erlang:monotonic_time(millisecond) - Start)).

%%% Programs

%% Starts a program.
program([Program | Arguments], Options) ->
    open_port({spawn_executable, os:find_executable(Program)},
              [{args, Arguments}, exit_status, stderr_to_stdout, binary | Options]).

%% Waits for its end: its exit status, and what it printed that nobody has received before.
output(Port) -> output(Port, []).

output(Port, Output) ->
    receive
        {Port, {data, Data}} -> output(Port, [Output, Data]);
        {Port, {exit_status, Status}} -> {Status, iolist_to_binary(Output)}
    end.

%% Whether the process of a port stands in open(2), or openat(2).
is_opening(Port) ->
    {os_pid, Pid} = erlang:port_info(Port, os_pid),
    case file:read_file(lists:concat(["/proc/", Pid, "/syscall"])) of
        {ok, Text} ->
            Numbers = case erlang:system_info(system_architecture) of
                          "x86_64" ++ _ -> [<<"2">>, <<"257">>];
                          _ -> [<<"56">>]
                      end,
            lists:member(hd(binary:split(Text, <<" ">>)), Numbers);
        {error, Reason} -> Reason
    end.

%%% Schedulers and memory

%% How many pages of a file are in memory.
pages_in_memory(Name) -> list_to_integer(run(["fincore --noheadings --output PAGES '", Name, "' | tr -d ' '"])).

%% Has the system forget a file's pages: `true', or why not.
make_cold(Name) -> make_cold(Name, 20).

make_cold(_, 0) -> "the system keeps a file's pages in memory here, whatever it is told";
make_cold(Name, Tries) ->
    {ok, Raw} = file:open(Name, [read, write, raw]),
    ok = file:sync(Raw),
    ok = file:advise(Raw, 0, 0, dont_need),
    ok = file:close(Raw),
    case pages_in_memory(Name) of
        0 -> true;
        _ -> make_cold(Name, Tries - 1)
    end.
