%% Copyright 2026 the emmap authors. Licensed under the Apache License, Version 2.0.

%% System calls that fail, or take their time, where they seldom do: strace(1) sees to it.
-module(emmap_injected_SUITE).

-export([suite/0, all/0, init_per_suite/1, end_per_suite/1, init_per_testcase/2, end_per_testcase/2]).
-compile([export_all, nowarn_export_all]).
-import(emmap_vm, [survives/2, raised/1, eventually/1]).

-include_lib("common_test/include/ct.hrl").

-define(PAGE, 4096).

suite() -> [{timetrap, {minutes, 2}}].

all() ->
    [two_that_open_new_counters_never_cut_the_file, opening_an_empty_file_never_cuts_what_another_writes,
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

-define(SLOW, ["-e", "trace=ftruncate,fallocate", "-e", "inject=ftruncate,fallocate:delay_enter=500000"]).

%% Runs `First' in a VM in which changing the length of the file takes long, and `Second' here meanwhile. Returns what
%% `Second' does.
while_it_is_slow(Dir, Name, First, Second) ->
    Log = filename:join(Dir, "strace"),
    PidFile = filename:join(Dir, "pid"),
    Other = spawn_monitor(
              fun() ->
                      survives(fun() ->
                                       ok = file:write_file(PidFile ++ "~", os:getpid()),
                                       ok = file:rename(PidFile ++ "~", PidFile),
                                       First()
                               end, #{strace => ["-o", Log, "-P", Name | ?SLOW]})
              end),
    {OtherPid, Reference} = Other,
    eventually(fun() -> filelib:is_regular(PidFile) orelse not is_process_alive(OtherPid) end),
    {ok, Pid} = file:read_file(PidFile),
    eventually(fun() -> is_changing_a_length(binary_to_list(Pid)) orelse not is_process_alive(OtherPid) end),
    Result = Second(),
    receive {'DOWN', Reference, process, OtherPid, Why} -> {_, normal} = {Why, Why} end,
    {ok, Calls} = file:read_file(Log),
    ct:log("~ts", [Calls]),
    Result.

%% Whether a thread of the process is held up in one of the calls.
is_changing_a_length(Pid) ->
    lists:any(fun(File) ->
                      case file:read_file(File) of
                          {ok, Text} -> lists:member(hd(binary:split(Text, <<" ">>)), length_calls());
                          {error, _} -> false
                      end
              end, filelib:wildcard("/proc/" ++ Pid ++ "/task/*/syscall")).

%% The numbers of ftruncate and fallocate.
length_calls() ->
    case erlang:system_info(system_architecture) of
        "x86_64" ++ _ -> [<<"77">>, <<"285">>];
        _ -> [<<"46">>, <<"47">>]
    end.

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

%%% Failures

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
    {ok, Raw} = file:open(Name, [write, raw]),
    {ok, _} = file:position(Raw, 64 * ?PAGE),
    ok = file:truncate(Raw),
    ok = file:pwrite(Raw, 0, <<"kept">>),
    ok = file:close(Raw),
    {ok, File} = emmap:open(Name, [read, write, shared | Mode]),
    Filler = filename:join(Dir, "filler"),
    {error, enospc} = file:write_file(Filler, binary:copy(<<"f">>, 1 bsl 20)),
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
