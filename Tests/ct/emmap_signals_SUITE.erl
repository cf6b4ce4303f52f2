%% Copyright 2026 the emmap authors. Licensed under the Apache License, Version 2.0.

%% Bus errors that are not ours do what they would do without emmap.
-module(emmap_signals_SUITE).

-export([suite/0, all/0, init_per_suite/1, end_per_suite/1, init_per_testcase/2, end_per_testcase/2]).
%% Replaced by those of emmap_signals_SUITE_data/foreign_signals.c.
-export([install_handler/1, touch_own_truncated_mapping/1, read_in_child/1]).
-nifs([install_handler/1, touch_own_truncated_mapping/1, read_in_child/1]).
-compile([export_all, nowarn_export_all]).
-import(emmap_vm, [in_vm/2, survives/1, new_file/2, cut/2]).

-include_lib("common_test/include/ct.hrl").

suite() -> [{timetrap, {minutes, 4}}].

all() ->
    [a_bus_error_that_was_sent_ends_the_vm_as_ever, a_bus_error_of_another_library_ends_the_vm_as_ever,
     a_handler_that_was_there_before_is_called, a_handler_that_was_there_before_gets_no_fault_of_ours,
     an_ignored_bus_error_stays_ignored, a_child_that_runs_no_program_has_its_faults_handled].

init_per_suite(Config) ->
    case os:find_executable("cc") of
        false -> {skip, "no C compiler (cc) to build a foreign signal handler with"};
        Compiler ->
            Source = filename:join(?config(data_dir, Config), "foreign_signals.c"),
            Library = filename:join(?config(priv_dir, Config), "foreign_signals"),
            Include = filename:join([code:root_dir(), "usr", "include"]),
            Command = io_lib:format("'~ts' -shared -fPIC -I'~ts' -o '~ts.so' '~ts' 2>&1",
                                    [Compiler, Include, Library, Source]),
            Output = os:cmd(lists:flatten(Command)),
            case filelib:is_regular(Library ++ ".so") of
                true -> [{foreign_signals, Library} | Config];
                false -> {skip, "the foreign signal handler does not compile: " ++ Output}
            end
    end.

end_per_suite(_) -> ok.

init_per_testcase(Case, Config) -> emmap_vm:directory(Case, Config).

end_per_testcase(_, Config) -> emmap_vm:delete_directory(Config).

%%% Signals that are not ours

%% Loads the library of foreign signals into this VM.
load_foreign(Library) -> ok = erlang:load_nif(Library, 0).

install_handler(_) -> erlang:nif_error(not_loaded).
touch_own_truncated_mapping(_) -> erlang:nif_error(not_loaded).
read_in_child(_) -> erlang:nif_error(not_loaded).

%% Opens a file and has a fault of ours handled.
fault_once(Dir) ->
    Name = new_file(Dir, 2),
    {ok, File} = emmap:open(Name, [read, write, shared]),
    cut(Name, 0),
    {error, truncated} = emmap:pread(File, 0, 10),
    File.

a_bus_error_that_was_sent_ends_the_vm_as_ever(Config) ->
    Dir = ?config(dir, Config),
    Kill = fun() ->
                   _ = os:cmd("kill -BUS " ++ os:getpid()),
                   receive never -> ok after 20000 -> survived end
           end,
    {Status, _} = in_vm(Kill, #{}),
    {Status, _} = in_vm(fun() -> _ = fault_once(Dir), Kill() end, #{}),
    {Status, 128 + 7} = {Status, 135}.

a_bus_error_of_another_library_ends_the_vm_as_ever(Config) ->
    {Dir, Library} = {?config(dir, Config), ?config(foreign_signals, Config)},
    Touch = fun() ->
                    load_foreign(Library),
                    touch_own_truncated_mapping(filename:join(Dir, "foreign"))
            end,
    {Status, _} = in_vm(Touch, #{}),
    {Status, _} = in_vm(fun() -> _ = fault_once(Dir), Touch() end, #{}),
    {Status, 128 + 7} = {Status, 135}.

a_handler_that_was_there_before_is_called(Config) ->
    {Dir, Library} = {?config(dir, Config), ?config(foreign_signals, Config)},
    [begin
         {Status, Output} =
             in_vm(fun() ->
                           load_foreign(Library),
                           0 = install_handler(Kind),
                           _ = fault_once(Dir),
                           touch_own_truncated_mapping(filename:join(Dir, "foreign"))
                   end, #{}),
         {Said, Said} = {Said, binary:part(Output, byte_size(Output), -byte_size(Said))}
     end || {Kind, Status, Said} <- [{plain, 42, <<"foreign plain handler\n">>},
                                     {info, 43, <<"foreign info handler\n">>}]].

a_handler_that_was_there_before_gets_no_fault_of_ours(Config) ->
    {Dir, Library} = {?config(dir, Config), ?config(foreign_signals, Config)},
    [survives(fun() ->
                      load_foreign(Library),
                      0 = install_handler(Kind),
                      File = fault_once(Dir),
                      {error, truncated} = emmap:pwrite(File, 0, <<"x">>)
              end) || Kind <- [plain, info, ignore]].

%% Only a fault cannot be ignored.
an_ignored_bus_error_stays_ignored(Config) ->
    {Dir, Library} = {?config(dir, Config), ?config(foreign_signals, Config)},
    survives(fun() ->
                     load_foreign(Library),
                     0 = install_handler(ignore),
                     _ = fault_once(Dir),
                     %% kill(1) returns when the signal was sent, which to an own thread means delivered soon.
                     [_ = os:cmd("kill -BUS " ++ os:getpid()) || _ <- lists:seq(1, 3)],
                     _ = fault_once(Dir)
             end).

%% A child of fork(2) has what another thread was at in the midst of a fault, but not that thread.
a_child_that_runs_no_program_has_its_faults_handled(Config) ->
    {Dir, Library} = {?config(dir, Config), ?config(foreign_signals, Config)},
    survives(fun() ->
                     load_foreign(Library),
                     Children = [read_in_children(lost(Dir, 1 bsl 15)) || _ <- lists:seq(1, 4)],
                     io:format("~p children~n", [Children])
             end).

%% Has children read the last page of a binary while all others are touched here, and returns how many it were.
read_in_children(Bytes) ->
    {Before, Last} = split_binary(Bytes, byte_size(Bytes) - 4096),
    {Toucher, Reference} = spawn_monitor(fun() -> touch_all(Before) end),
    read_in_children(Last, Toucher, Reference, 0).

read_in_children(Last, Toucher, Reference, Children) ->
    0 = read_in_child(Last),
    receive {'DOWN', Reference, process, Toucher, Why} -> normal = Why, Children + 1
    after 0 -> read_in_children(Last, Toucher, Reference, Children + 1)
    end.

%% A binary of a file all of which was cut off. Its handle is closed.
lost(Dir, Pages) ->
    Name = new_file(Dir, 1),
    cut(Name, Pages * 4096),
    {ok, File} = emmap:open(Name, [direct]),
    {ok, Bytes} = emmap:pread(File, 0, Pages * 4096),
    ok = emmap:close(File),
    cut(Name, 0),
    ok = file:delete(Name),
    Bytes.

touch_all(Bytes) -> [0 = binary:at(Bytes, At) || At <- lists:seq(0, byte_size(Bytes) - 1, 4096)].
