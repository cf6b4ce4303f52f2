%% Copyright 2026 the emmap authors. Licensed under the Apache License, Version 2.0.

%% The advisory lock of a file, between handles, VMs and other programs.
-module(emmap_lock_SUITE).

-include_lib("stdlib/include/assert.hrl").
-include_lib("kernel/include/file.hrl").

-compile([export_all, nowarn_export_all]).

all() ->
    [lock_file_keeps_other_handles_out, shared_locks_go_together, a_lock_takes_the_place_of_another,
     unlock_file_gives_it_back, a_closed_handle_has_no_lock, a_dropped_handle_has_no_lock, lock_file_waits_for_its_turn,
     a_timeout_has_bounds, a_killed_waiter_gets_nothing, many_waiters_hold_no_scheduler, vms_take_turns,
     a_lock_is_not_kept_by_binaries, a_killed_vm_has_no_lock, other_programs_see_the_lock, the_exclusive_lock_needs_write, remap_keeps_the_lock,
     locks_refuse_wrong_arguments, counters_are_made_beside_a_lock,
     counters_are_made_again_in_a_file_that_was_emptied].

init_per_testcase(Case, Config) -> emmap_test:directory(Case, Config).

end_per_testcase(_, _) -> ok.

open(Config) -> open(Config, [shared, write]).

open(Config, Options) ->
    Path = emmap_test:path(Config, "file"),
    filelib:is_regular(Path) orelse (ok = file:write_file(Path, <<0:640>>)),
    {ok, File} = emmap:open(Path, Options),
    File.

lock_file_keeps_other_handles_out(Config) ->
    {One, Other} = {open(Config), open(Config)},
    ?assertEqual(ok, emmap:lock_file(One, exclusive)),
    ?assertEqual([{error, locked}], lists:usort([emmap:lock_file(Other, Kind) || Kind <- [shared, exclusive]])),
    %% It is advisory, and the handle's: whichever process asks.
    ?assertEqual(ok, emmap:pwrite(Other, 0, <<"x">>)),
    ?assertEqual(ok, emmap_test:in_process(fun() -> emmap:lock_file(One, exclusive) end)),
    ?assertEqual({error, locked}, emmap_test:in_process(fun() -> emmap:lock_file(Other, shared) end)).

shared_locks_go_together(Config) ->
    [One, Other, Third] = [open(Config) || _ <- [1, 2, 3]],
    ?assertEqual({ok, ok}, {emmap:lock_file(One, shared), emmap:lock_file(Other, shared)}),
    ?assertEqual({error, locked}, emmap:lock_file(Third, exclusive)),
    ?assertEqual(ok, emmap:lock_file(Third, shared)).

a_lock_takes_the_place_of_another(Config) ->
    {One, Other} = {open(Config), open(Config)},
    ok = emmap:lock_file(One, exclusive),
    ok = emmap:lock_file(One, shared),
    ?assertEqual(ok, emmap:lock_file(Other, shared)),
    %% Refused, and kept.
    ?assertEqual({error, locked}, emmap:lock_file(One, exclusive)),
    ok = emmap:unlock_file(Other),
    ?assertEqual({error, locked}, emmap:lock_file(Other, exclusive)),
    ?assertEqual(ok, emmap:lock_file(One, exclusive)).

unlock_file_gives_it_back(Config) ->
    {One, Other} = {open(Config), open(Config)},
    ?assertEqual(ok, emmap:unlock_file(One)),
    ok = emmap:lock_file(One, exclusive),
    ?assertEqual(ok, emmap:unlock_file(Other)),
    ?assertEqual({error, locked}, emmap:lock_file(Other, shared)),
    ?assertEqual(ok, emmap:unlock_file(One)),
    ?assertEqual(ok, emmap:lock_file(Other, exclusive)),
    ?assertEqual(ok, emmap:unlock_file(One)),
    ?assertEqual({error, locked}, emmap:lock_file(One, shared)).

a_closed_handle_has_no_lock(Config) ->
    {One, Other} = {open(Config), open(Config)},
    ok = emmap:lock_file(One, exclusive),
    ok = emmap:close(One),
    ?assertEqual(ok, emmap:lock_file(Other, exclusive)),
    ?assertEqual({error, closed}, emmap:lock_file(One, shared)),
    ?assertEqual({error, closed}, emmap:lock_file(One, shared, infinity)),
    ?assertEqual({error, closed}, emmap:unlock_file(One)).

a_dropped_handle_has_no_lock(Config) ->
    ok = emmap_test:in_process(fun() -> emmap:lock_file(open(Config), exclusive) end),
    Other = open(Config),
    ?assertEqual(ok, emmap:lock_file(Other, exclusive, 20000)).

%% What a binary keeps is the mapping, which belongs to the handle's open file as the lock does.
a_lock_is_not_kept_by_binaries(Config) ->
    Locked = fun() ->
                 One = open(Config, [shared, write, direct]),
                 {ok, Bytes} = emmap:pread(One, 0, 16),
                 ok = emmap:lock_file(One, exclusive),
                 {One, Bytes}
             end,
    Other = open(Config),
    {One, Bytes} = Locked(),
    ok = emmap:close(One),
    ?assertEqual(ok, emmap:lock_file(Other, exclusive)),
    ok = emmap:unlock_file(Other),
    Kept = emmap_test:in_process(fun() -> element(2, Locked()) end),
    ?assertEqual(ok, emmap:lock_file(Other, exclusive, 20000)),
    ?assertEqual({16, 16}, {byte_size(Bytes), byte_size(Kept)}).

lock_file_waits_for_its_turn(Config) ->
    {One, Other} = {open(Config), open(Config)},
    ok = emmap:lock_file(One, exclusive),
    [begin
         {Pid, Monitor} = waiter(Other, Kind, Timeout),
         ok = emmap:pwrite(One, 0, <<"done">>),
         ok = emmap:unlock_file(One),
         receive {'DOWN', Monitor, process, Pid, Answer} -> ?assertEqual({ok, {ok, <<"done">>}}, Answer) end,
         ok = emmap:pwrite(One, 0, <<0:32>>),
         ok = emmap:unlock_file(Other),
         ok = emmap:lock_file(One, exclusive)
     end || Kind <- [shared, exclusive], Timeout <- [infinity, 60000, 1 bsl 80]].

%% A process that is waiting by now; it exits with what it got, and what it then read.
waiter(File, Kind, Timeout) ->
    {Pid, Monitor} = spawn_monitor(fun() ->
        Got = emmap:lock_file(File, Kind, Timeout),
        exit({Got, emmap:pread(File, 0, 4)})
    end),
    emmap_test:wait_until(fun() -> is_waiting(Pid) end),
    {Pid, Monitor}.

is_waiting(Pid) ->
    process_info(Pid, [status, current_function]) =:= [{status, waiting}, {current_function, {emmap_lock, wait, 4}}].

a_timeout_has_bounds(Config) ->
    {One, Other} = {open(Config), open(Config)},
    ok = emmap:lock_file(One, exclusive),
    [begin
         {Time, Result} = timer:tc(fun() -> emmap:lock_file(Other, shared, Timeout) end),
         ?assertEqual({error, locked}, Result),
         ?assert(Time >= 1000 * Timeout)
     end || Timeout <- [0, 1, 2, 70]],
    ok = emmap:unlock_file(One),
    ?assertEqual(ok, emmap:lock_file(Other, exclusive, 0)).

a_killed_waiter_gets_nothing(Config) ->
    {One, Other} = {open(Config), open(Config)},
    Third = open(Config),
    ok = emmap:lock_file(One, exclusive),
    Waiters = [waiter(Other, exclusive, infinity) || _ <- lists:seq(1, 10)],
    [begin
         exit(Pid, kill),
         receive {'DOWN', Monitor, process, Pid, Why} -> ?assertEqual(killed, Why) end
     end || {Pid, Monitor} <- Waiters],
    ok = emmap:unlock_file(One),
    %% Though the handle that they waited for is there.
    ?assertEqual(ok, emmap:lock_file(Third, exclusive, 5000)),
    ?assertEqual({error, locked}, emmap:lock_file(Other, shared)).

%% More of them than there are schedulers of any kind: all else goes on.
many_waiters_hold_no_scheduler(Config) ->
    {One, Other} = {open(Config), open(Config)},
    ok = emmap:lock_file(One, exclusive),
    Count = 4 * (erlang:system_info(schedulers) + erlang:system_info(dirty_io_schedulers)),
    Waiters = [spawn_monitor(fun() -> exit(emmap:lock_file(Other, shared, infinity)) end) || _ <- lists:seq(1, Count)],
    %% A call on a dirty scheduler.
    ?assertMatch({ok, _}, emmap:remap(One)),
    ok = emmap:unlock_file(One),
    [receive {'DOWN', Monitor, process, Pid, Answer} -> ?assertEqual(ok, Answer) end || {Pid, Monitor} <- Waiters].

%% Additions that would lose some without the lock.
vms_take_turns(Config) ->
    File = open(Config),
    Path = emmap_test:path(Config, "file"),
    Turns = 200,
    [_, _] = emmap_test:in_two_vms(fun() ->
        {ok, Theirs} = emmap:open(Path, [shared, write]),
        emmap_test:meet(Theirs, 8, 2),
        [begin
             ok = emmap:lock_file(Theirs, exclusive, infinity),
             {ok, <<N:64>>} = emmap:pread(Theirs, 0, 8),
             erlang:yield(),
             ok = emmap:pwrite(Theirs, 0, <<(N + 1):64>>),
             ok = emmap:unlock_file(Theirs)
         end || _ <- lists:seq(1, Turns)]
    end),
    ?assertEqual({ok, <<(2 * Turns):64>>}, emmap:pread(File, 0, 8)).

a_killed_vm_has_no_lock(Config) ->
    File = open(Config),
    Path = emmap_test:path(Config, "file"),
    Vm = emmap_test:start_vm(),
    Keeper = emmap_test:in_vm(Vm, fun() ->
        spawn(fun() ->
            {ok, Theirs} = emmap:open(Path, [shared, write]),
            %% Whoever looks whether it has the lock has it for a moment.
            ok = emmap:lock_file(Theirs, exclusive, infinity),
            receive stop -> emmap:close(Theirs) end
        end)
    end),
    ?assert(is_pid(Keeper)),
    emmap_test:wait_until(fun() ->
        case emmap:lock_file(File, shared) of
            {error, locked} -> true;
            ok -> emmap:unlock_file(File)
        end
    end),
    emmap_test:kill_vm(Vm),
    ?assertEqual(ok, emmap:lock_file(File, exclusive, 20000)).

%% The locks are those of fcntl(2), and /proc/locks has them.
other_programs_see_the_lock(Config) ->
    File = open(Config),
    {ok, #file_info{inode = Inode}} = emmap:read_handle_info(File, [{time, posix}]),
    Lines = fun() ->
                {ok, Locks} = file:read_file("/proc/locks"),
                [Kind || Line <- binary:split(Locks, <<"\n">>, [global]),
                         [_, <<"OFDLCK">>, <<"ADVISORY">>, Kind, _, Place, <<"0">>, <<"EOF">>]
                             <- [binary:split(Line, <<" ">>, [global, trim_all])],
                         binary_to_integer(lists:last(binary:split(Place, <<":">>, [global]))) =:= Inode]
            end,
    case filelib:is_regular("/proc/locks") of
        false -> {skip, "there is no /proc/locks"};
        true ->
            ?assertEqual([], Lines()),
            ok = emmap:lock_file(File, shared),
            ?assertEqual([<<"READ">>], Lines()),
            ok = emmap:lock_file(File, exclusive),
            ?assertEqual([<<"WRITE">>], Lines()),
            ok = emmap:unlock_file(File),
            ?assertEqual([], Lines())
    end.

the_exclusive_lock_needs_write(Config) ->
    [begin
         File = open(Config, Options),
         ?assertEqual({Options, {error, ebadf}}, {Options, emmap:lock_file(File, exclusive)}),
         ?assertEqual({Options, ok}, {Options, emmap:lock_file(File, shared)}),
         ok = emmap:close(File)
     end || Options <- [[], [shared], [private, write], [direct]]],
    {ok, Anonymous} = emmap:open("", 0, 64, [anon, write]),
    ?assertEqual([{error, einval}], lists:usort([emmap:lock_file(Anonymous, shared), emmap:unlock_file(Anonymous),
                                                 emmap:lock_file(Anonymous, exclusive, infinity)])).

remap_keeps_the_lock(Config) ->
    {One, Other} = {open(Config), open(Config)},
    Reader = open(Config, [shared]),
    ok = emmap:lock_file(One, exclusive),
    {ok, 80} = emmap:remap(One),
    {ok, 8192} = emmap:resize(One, 8192),
    ?assertEqual({error, locked}, emmap:lock_file(Other, shared)),
    ok = emmap:unlock_file(One),
    ok = emmap:lock_file(Reader, shared),
    {ok, 8192} = emmap:remap(Reader),
    ?assertEqual({error, locked}, emmap:lock_file(Other, exclusive)).

locks_refuse_wrong_arguments(Config) ->
    File = open(Config),
    [begin
         Text = lists:flatten(io_lib:format("neither shared nor exclusive: ~0tp", [Bad])),
         ?assertEqual({badarg, #{2 => Text}}, emmap_test:raised(fun() -> emmap:lock_file(File, Bad) end)),
         ?assertEqual({badarg, #{2 => Text}}, emmap_test:raised(fun() -> emmap:lock_file(File, Bad, 0) end))
     end || Bad <- [none, write, 1, "shared", {shared}]],
    [?assertEqual({badarg, #{3 => "not a number of milliseconds, nor infinity"}},
                  emmap_test:raised(fun() -> emmap:lock_file(File, shared, Bad) end))
     || Bad <- [-1, 1.0, a, <<>>]],
    [?assertEqual({badarg, #{1 => "not a memory-mapped file"}}, emmap_test:raised(Call))
     || Bad <- [a, {}, #file_descriptor{module = emmap, data = a}, #file_descriptor{module = emmap, data = make_ref()}],
        Call <- [fun() -> emmap:lock_file(Bad, shared) end, fun() -> emmap:lock_file(Bad, shared, 0) end,
                 fun() -> emmap:unlock_file(Bad) end]],
    Other = open(Config),
    ?assertEqual(ok, emmap:lock_file(Other, exclusive)).

%% What is made under a lock of the library's own is neither held up by a user's lock nor in its way.
counters_are_made_beside_a_lock(Config) ->
    Path = emmap_test:path(Config, "counters"),
    {ok, File} = emmap:open(Path, [create, shared, write, {size, 16 + 3 * 8}]),
    ok = emmap:lock_file(File, exclusive),
    {Other, 3} = Counters = emmap:open_counters(Path, 3),
    ?assertEqual({error, locked}, emmap:lock_file(Other, exclusive)),
    ok = emmap:unlock_file(File),
    ?assertEqual(ok, emmap:lock_file(Other, exclusive)),
    ok = emmap:close_counters(Counters).

%% Whoever has made counters may have them open still when the file has been emptied.
counters_are_made_again_in_a_file_that_was_emptied(Config) ->
    Path = emmap_test:path(Config, "counters"),
    Counters = emmap:open_counters(Path, 3),
    {ok, File} = emmap:open(Path, [shared, write]),
    {ok, 0} = emmap:resize(File, 0),
    Others = emmap:open_counters(Path, 2),
    ?assertEqual(0, emmap:inc_counter(Others, 1)),
    ?assertEqual([ok, ok], [emmap:close_counters(Each) || Each <- [Counters, Others]]).
