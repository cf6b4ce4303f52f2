%% Copyright 2026 the emmap authors. Licensed under the Apache License, Version 2.0.

%% System calls that fail, or take their time, where they seldom do: strace(1) sees to it.
-module(emmap_injected_SUITE).

-export([suite/0, all/0, init_per_suite/1, end_per_suite/1, init_per_testcase/2, end_per_testcase/2]).
-compile([export_all, nowarn_export_all]).
-import(emmap_vm, [survives/2, raised/1, eventually/1, is_in/2]).

-include_lib("common_test/include/ct.hrl").

-define(PAGE, 4096).

suite() -> [{timetrap, {minutes, 2}}].

all() ->
    [two_that_open_new_counters_never_cut_the_file, opening_an_empty_file_never_cuts_what_another_writes,
     an_open_that_fails_leaves_what_another_has_written, an_open_that_fails_leaves_an_empty_file_to_others,
     counters_that_fail_leave_those_of_another, counters_that_fail_in_an_empty_file_leave_those_of_another,
     what_is_in_progress_at_close_is_closed, a_heal_that_fails_half_way_hangs_nothing,
     sync_of_the_directory_is_tried_again, a_page_that_cannot_be_read_is_eio, a_page_beyond_the_quota_is_edquot].

init_per_suite(Config) ->
    case emmap_vm:may_trace() of
        true -> Config;
        Why -> {skip, Why}
    end.

end_per_suite(_) -> ok.

init_per_testcase(Case, Config) -> emmap_vm:directory(Case, Config).

end_per_testcase(_, Config) -> emmap_vm:delete_directory(Config).

%%% Two who open one file

-define(SLOW(Calls), ["-e", "trace=" Calls, "-e", "inject=" Calls ":delay_enter=500000"]).

%% Runs `First' in a VM in which changing the length of the file takes long, and `Second' here meanwhile. Returns what
%% `Second' does.
while_it_is_slow(Dir, Name, First, Second) ->
    while_it_is_slow(Dir, Name, ?SLOW("ftruncate,fallocate"), [ftruncate, fallocate], First, Second).

%% The same for calls that take back what was done.
while_undoing_is_slow(Dir, Name, First, Second) ->
    while_it_is_slow(Dir, Name, ?SLOW("ftruncate,unlink,unlinkat"), [ftruncate, unlink, unlinkat], First, Second).

while_it_is_slow(Dir, Name, Slow, Held, First, Second) ->
    Log = filename:join(Dir, "strace"),
    PidFile = filename:join(Dir, "pid"),
    Other = spawn_monitor(
              fun() ->
                      survives(fun() ->
                                       ok = file:write_file(PidFile ++ "~", os:getpid()),
                                       ok = file:rename(PidFile ++ "~", PidFile),
                                       First()
                               end, #{strace => ["-o", Log, "-P", Name | Slow]})
              end),
    {OtherPid, Reference} = Other,
    eventually(fun() -> filelib:is_regular(PidFile) orelse not is_process_alive(OtherPid) end),
    {ok, Pid} = file:read_file(PidFile),
    eventually(fun() -> is_in(Held, binary_to_list(Pid)) orelse not is_process_alive(OtherPid) end),
    Result = Second(),
    receive {'DOWN', Reference, process, OtherPid, Why} -> {_, normal} = {Why, Why} end,
    {ok, Calls} = file:read_file(Log),
    ct:log("~ts", [Calls]),
    Result.

two_that_open_new_counters_never_cut_the_file(Config) ->
    Dir = ?config(dir, Config),
    Name = filename:join(Dir, "counters"),
    Result =
        while_it_is_slow(
          Dir, Name,
          %% Five counters, or told that there are seven.
          fun() -> _ = raised(fun() -> emmap:open_counters(Name, 5) end) end,
          fun() ->
                  case raised(fun() -> emmap:open_counters(Name, 7) end) of
                      {returned, Counters} ->
                          0 = emmap:inc_counter(Counters, 6, 42),
                          Counters;
                      {_, Name} -> none
                  end
          end),
    {ok, Bytes} = file:read_file(Name),
    <<"EMMAP01\n", N:64/little, Words/binary>> = Bytes,
    {N, N} = {N, byte_size(Words) div 8},
    case Result of
        none -> 5 = N;
        Counters ->
            7 = N,
            42 = emmap:read_counter(Counters, 6),
            ok = emmap:close_counters(Counters)
    end.

opening_an_empty_file_never_cuts_what_another_writes(Config) ->
    Dir = ?config(dir, Config),
    Name = filename:join(Dir, "file"),
    Text = binary:copy(<<"d">>, 100000),
    [begin
         ok = file:write_file(Name, <<>>),
         _ = file:delete(filename:join(Dir, "pid")),
         while_it_is_slow(Dir, Name,
                          fun() -> emmap:open(Name, [read, write, Sharing, create, {size, ?PAGE}]) end,
                          fun() -> ok = file:write_file(Name, Text) end),
         {ok, Found} = file:read_file(Name),
         {Sharing, true} = {Sharing, Found =:= Text}
     end || Sharing <- [shared, private]].

%% One has no address space for the file; the other one has.
an_open_that_fails_leaves_what_another_has_written(Config) -> open_that_fails(Config, fun(_) -> ok end).

an_open_that_fails_leaves_an_empty_file_to_others(Config) ->
    open_that_fails(Config, fun(Name) -> ok = file:write_file(Name, <<>>) end).

open_that_fails(Config, Prepare) ->
    Dir = ?config(dir, Config),
    Name = filename:join(Dir, "file"),
    Size = 512 bsl 20,
    Open = fun() -> emmap:open(Name, [create, write, shared, {size, Size}]) end,
    ok = Prepare(Name),
    File = while_undoing_is_slow(
             Dir, Name,
             fun() ->
                     Limit = 1024 * emmap_vm:status_kb("VmSize") + Size div 2,
                     "" = os:cmd(lists:concat(["prlimit --pid ", os:getpid(), " --as=", Limit])),
                     {error, enomem} = Open()
             end,
             fun() ->
                     {ok, Opened} = Open(),
                     ok = emmap:pwrite(Opened, 0, <<"precious">>),
                     ok = emmap:sync(Opened),
                     Opened
             end),
    {ok, <<"precious">>} = emmap:pread(File, 0, 8),
    ok = emmap:close(File),
    {ok, Again} = emmap:open(Name, []),
    {ok, <<"precious">>} = emmap:pread(Again, 0, 8),
    #{size := Size} = emmap:info(Again),
    ok = emmap:close(Again).

%% The first finds no room; the second comes when there is some again.
counters_that_fail_leave_those_of_another(Config) -> counters_that_fail(Config, fun(_) -> ok end).

counters_that_fail_in_an_empty_file_leave_those_of_another(Config) ->
    counters_that_fail(Config, fun(Name) -> ok = file:write_file(Name, <<>>) end).

counters_that_fail(Config, Prepare) ->
    Dir = ?config(dir, Config),
    Name = filename:join(Dir, "counters"),
    case emmap_vm:may_mount(Dir) of
        true ->
            survives(fun() -> two_that_open_counters(Dir, Name, Prepare) end,
                     #{tmpfs => {Dir, "128k"}, strace => ["-o", "/dev/null", "-P", Name
                                                          | ?SLOW("ftruncate,unlink,unlinkat")]});
        Why -> {skip, Why}
    end.

two_that_open_counters(Dir, Name, Prepare) ->
    Filler = filename:join(Dir, "filler"),
    ok = file:write_file(Filler, binary:copy(<<"f">>, 100 bsl 10)),
    ok = Prepare(Name),
    Open = fun() -> emmap:open_counters(Name, 10000) end,
    {First, Reference} = spawn_monitor(fun() -> {enospc, Name} = raised(Open) end),
    eventually(fun() -> is_in([ftruncate, unlink, unlinkat], "self") orelse not is_process_alive(First) end),
    ok = file:delete(Filler),
    Counters = Open(),
    0 = emmap:inc_counter(Counters, 7, 42),
    receive {'DOWN', Reference, process, First, Why} -> {_, normal} = {Why, Why} end,
    {returned, 42} = raised(fun() -> emmap:inc_counter(Counters, 7) end),
    ok = emmap:close_counters(Counters),
    Again = emmap:open_counters(Name, 0),
    43 = emmap:read_counter(Again, 7),
    ok = emmap:close_counters(Again).

%%% Close

%% A disk that takes its time.
what_is_in_progress_at_close_is_closed(Config) ->
    Name = filename:join(?config(dir, Config), "file"),
    survives(
      fun() ->
              [begin
                   {ok, File} = emmap:open(Name, [create, write, shared, {size, ?PAGE}]),
                   {Pid, Reference} = spawn_monitor(fun() -> exit({answer, Sync(File)}) end),
                   eventually(fun() -> is_in([fsync, fdatasync], "self") orelse not is_process_alive(Pid) end),
                   true = is_process_alive(Pid),
                   ok = emmap:close(File),
                   receive {'DOWN', Reference, process, Pid, Why} -> {N, {answer, {error, closed}}} = {N, Why} end
               end || {N, Sync} <- [{datasync, fun emmap:datasync/1}, {sync, fun emmap:sync/1}]]
      end, #{strace => ["-o", "/dev/null", "-P", Name, "-e", "trace=fsync,fdatasync",
                        "-e", "inject=fsync,fdatasync:delay_enter=500000"]}).

%%% Failures

%% The system gives up in the midst of mapping afresh what was lost: each time at another call. -D: a VM that hangs is
%% killed itself, and not strace alone.
a_heal_that_fails_half_way_hangs_nothing(Config) ->
    Dir = ?config(dir, Config),
    Name = filename:join(Dir, "sparse"),
    case emmap_vm:may_mount(Dir) of
        true ->
            [survives(fun() -> heal_half(Dir, Name) end,
                      #{tmpfs => {Dir, "128k"}, seconds => 15,
                        strace => ["-D", "-o", "/dev/null", "-P", Name, "-e", "trace=mmap",
                                   "-e", lists:concat(["inject=mmap:error=ENOMEM:when=", When])]})
             || When <- [2, 3, 4]];
        Why -> {skip, Why}
    end.

heal_half(Dir, Name) ->
    {File, Filler} = sparse_on_full_disk(Dir, Name, []),
    Holes = [10 * ?PAGE, 30 * ?PAGE, 50 * ?PAGE],
    [{At, {error, enospc}} = {At, emmap:pwrite(File, At, <<"lost">>)} || At <- Holes],
    Healed = emmap:remap(File),
    true = lists:member(Healed, [{ok, 64 * ?PAGE}, {error, enomem}]),
    [{At, {error, enospc}} = {At, emmap:pwrite(File, At, <<"lost">>)} || At <- Holes],
    [enospc = raised(fun() -> emmap:patomic(File, At, add, 1) end) || At <- Holes],
    {ok, <<"kept">>} = emmap:pread(File, 0, 4),
    ok = file:delete(Filler),
    {ok, _} = emmap:remap(File),
    [{At, ok} = {At, emmap:pwrite(File, At, <<"found">>)} || At <- Holes],
    ok = emmap:close(File).

sync_of_the_directory_is_tried_again(Config) ->
    Dir = ?config(dir, Config),
    Log = filename:join(Dir, "strace"),
    Parent = filename:join(Dir, "parent"),
    ok = file:make_dir(Parent),
    survives(
      fun() ->
              {ok, File} = emmap:open(filename:join(Parent, "new"), [create, write, shared, {size, ?PAGE}]),
              {error, eio} = emmap:sync(File),
              ok = emmap:sync(File),
              ok = emmap:sync(File),
              ok = emmap:close(File)
      end, #{strace => ["-o", Log, "-P", Parent, "-e", "trace=fsync", "-e", "inject=fsync:error=EIO:when=1",
                        "-e", "signal=none"]}),
    {ok, Calls} = file:read_file(Log),
    %% Once in vain, once with success, and then it is done.
    [_, _] = binary:matches(Calls, <<"fsync(">>).

a_page_that_cannot_be_read_is_eio(Config) ->
    on_full_disk(Config, eio, ["-e", "trace=fstatfs,pread64", "-e", "inject=fstatfs,pread64:error=EIO"]).

a_page_beyond_the_quota_is_edquot(Config) ->
    on_full_disk(Config, edquot, ["-e", "trace=fstatfs,fallocate", "-e", "inject=fstatfs:error=EIO",
                                  "-e", "inject=fallocate:error=EDQUOT"]).

%% A hole on a full disk raises the signal; what the system then says about the reason is made up.
on_full_disk(Config, Reason, Injected) ->
    Dir = ?config(dir, Config),
    Name = filename:join(Dir, "sparse"),
    case emmap_vm:may_mount(Dir) of
        true ->
            survives(fun() -> [touch_holes(Dir, Name, Reason, Mode) || Mode <- emmap_vm:modes()] end,
                     #{tmpfs => {Dir, "128k"}, strace => ["-o", "/dev/null", "-P", Name | Injected]});
        Why -> {skip, Why}
    end.

touch_holes(Dir, Name, Reason, Mode) ->
    {File, Filler} = sparse_on_full_disk(Dir, Name, Mode),
    {error, Reason} = emmap:pwrite(File, 10 * ?PAGE, <<"lost">>),
    {error, Reason} = emmap:pread(File, 10 * ?PAGE, 4),
    {error, Reason} = emmap:pread(File, 0, 11 * ?PAGE),
    Reason = raised(fun() -> emmap:patomic(File, 20 * ?PAGE, add, 1) end),
    Reason = raised(fun() -> emmap:patomic_read(File, 20 * ?PAGE) end),
    Reason = raised(fun() -> emmap:patomic_write(File, 21 * ?PAGE, 1) end),
    Reason = raised(fun() -> emmap:patomic_cas(File, 22 * ?PAGE, 0, 1) end),
    {ok, _} = emmap:position(File, 9 * ?PAGE),
    {error, Reason} = emmap:write(File, binary:copy(<<"x">>, 2 * ?PAGE)),
    {ok, 0} = emmap:position(File, bof),
    {error, Reason} = emmap:read_line(File),
    {ok, <<"kept">>} = emmap:pread(File, 0, 4),
    ok = emmap:pwrite(File, 0, <<"kept">>),
    ok = file:delete(Filler),
    {ok, _} = emmap:remap(File),
    ok = emmap:pwrite(File, 10 * ?PAGE, <<"found">>),
    {ok, <<"found">>} = emmap:pread(File, 10 * ?PAGE, 5),
    ok = emmap:close(File),
    ok = file:delete(Name).

%% A file whose first page alone is there, and one that takes all space that is left.
sparse_on_full_disk(Dir, Name, Mode) ->
    {ok, Raw} = file:open(Name, [write, raw]),
    {ok, _} = file:position(Raw, 64 * ?PAGE),
    ok = file:truncate(Raw),
    ok = file:pwrite(Raw, 0, <<"kept">>),
    ok = file:close(Raw),
    {ok, File} = emmap:open(Name, [read, write, shared | Mode]),
    Filler = filename:join(Dir, "filler"),
    {error, enospc} = file:write_file(Filler, binary:copy(<<"f">>, 1 bsl 20)),
    {File, Filler}.
