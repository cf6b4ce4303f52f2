%% Copyright 2026 the emmap authors. Licensed under the Apache License, Version 2.0.

%% A file system that stands still, as during a snapshot: with the option `dirty', those who write wait for it, and all
%% others go on.
-module(emmap_hostile_frozen_SUITE).

-export([suite/0, all/0, init_per_testcase/2, end_per_testcase/2]).
-compile([export_all, nowarn_export_all]).

-include_lib("common_test/include/ct.hrl").

-define(PAGE, 4096).
%% More than there are schedulers, fewer than there are dirty IO schedulers.
-define(CALLERS, 6).

suite() -> [{timetrap, {minutes, 2}}].

all() -> [all_calls_of_a_dirty_handle_run_on_dirty_schedulers, writers_to_a_frozen_file_system_hold_up_no_others].

init_per_testcase(Case, Config) -> emmap_hostile:directory(Case, Config).

end_per_testcase(_, Config) -> emmap_hostile:delete_directory(Config).

open(Dir) ->
    Name = filename:join(Dir, "file"),
    ok = file:write_file(Name, binary:copy(<<"a line\n">>, 10 * ?PAGE)),
    emmap:open(Name, [write, shared, dirty]).

all_calls_of_a_dirty_handle_run_on_dirty_schedulers(Config) ->
    {ok, File} = open(?config(dir, Config)),
    Counters = {File, 100},
    Calls = [{pread, fun() -> {ok, _} = emmap:pread(File, 0, 8) end},
             {pread_list, fun() -> {ok, _} = emmap:pread(File, [{0, 8}]) end},
             {read, fun() -> {ok, _} = emmap:read(File, 1) end},
             {line, fun() -> {ok, _} = emmap:read_line(File) end},
             {header, fun() -> _ = emmap:ipread_s32bu_p32bu(File, 0, 1000) end},
             {pwrite, fun() -> ok = emmap:pwrite(File, 0, <<"x">>) end},
             {pwrite_pieces, fun() -> ok = emmap:pwrite(File, 0, ["x", <<"y">>]) end},
             {pwrite_list, fun() -> ok = emmap:pwrite(File, [{0, <<"x">>}]) end},
             {write, fun() -> ok = emmap:write(File, <<"x">>) end},
             {add, fun() -> _ = emmap:patomic(File, 8, add, 1) end},
             {load, fun() -> _ = emmap:patomic_read(File, 8) end},
             {store, fun() -> ok = emmap:patomic_write(File, 8, 1) end},
             {exchange, fun() -> ok = emmap:patomic_cas(File, 8, 1, 2) end},
             {inc, fun() -> _ = emmap:inc_counter(Counters, 1) end},
             {inc_by, fun() -> _ = emmap:inc_counter(Counters, 1, 2) end},
             {dec, fun() -> _ = emmap:dec_counter(Counters, 1) end},
             {set, fun() -> _ = emmap:set_counter(Counters, 1, 2) end},
             {get, fun() -> _ = emmap:read_counter(Counters, 1) end}],
    [] = [Call || {Call, Fun} <- Calls, not emmap_test:moves(Fun)],
    ok = emmap:close(File).

%% The first store to a page after its write-back waits until the file system thaws.
writers_to_a_frozen_file_system_hold_up_no_others(Config) ->
    case emmap_hostile:missing(["fsfreeze"]) of
        none -> emmap_hostile:on(Config, ext4, fun while_frozen/1, #{args => ["+S", "2:2", "+SDio", "10"]});
        Why -> {skip, Why}
    end.

while_frozen(Dir) ->
    {ok, File} = open(Dir),
    [{Name, true} = {Name, go_on_beside(File, Dir, Call)}
     || {Name, Call} <- [{add, fun(N) -> _ = emmap:patomic(File, N * ?PAGE, add, 1) end},
                         {store, fun(N) -> ok = emmap:patomic_write(File, N * ?PAGE, 1) end},
                         {exchange, fun(N) -> _ = emmap:patomic_cas(File, N * ?PAGE, 1, 1) end},
                         {pwrite, fun(N) -> ok = emmap:pwrite(File, N * ?PAGE, <<"12345678">>) end},
                         {write, fun(_) -> ok = emmap:write(File, <<"12345678">>) end},
                         {count, fun(N) -> _ = emmap:inc_counter({File, 10000}, N * ?PAGE div 8) end}]],
    ok = emmap:close(File).

go_on_beside(File, Dir, Call) ->
    ok = emmap:sync(File),
    Freezer = emmap_hostile:freeze(Dir),
    Callers = [spawn_monitor(fun() -> Call(N) end) || N <- lists:seq(1, ?CALLERS)],
    Longest = emmap_hostile:ticks(20, 10),
    AreWaiting = lists:any(fun({Pid, _}) -> is_process_alive(Pid) end, Callers),
    ok = emmap_hostile:thaw(Freezer),
    [receive {'DOWN', Reference, process, Pid, Why} -> {Why, normal} = {normal, Why} end
     || {Pid, Reference} <- Callers],
    io:format("longest wait of others: ~b ms~n", [Longest]),
    {longest, Longest, true} = {longest, Longest, Longest < 1000},
    %% Or there is nothing to wait for here, and nothing is shown.
    AreWaiting.
