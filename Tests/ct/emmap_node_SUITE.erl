%% Copyright 2026 the emmap authors. Licensed under the Apache License, Version 2.0.

%% What a node has open. In VMs of their own, where nobody else opens anything.
-module(emmap_node_SUITE).

-include_lib("stdlib/include/assert.hrl").

-compile([export_all, nowarn_export_all]).

all() ->
    [handles_are_those_that_are_open, more_handles_than_are_looked_at_at_once, handles_may_come_and_go_meanwhile,
     stats_count_what_is_mapped, stats_count_faults_and_heals, a_node_without_handles_has_nothing,
     the_node_takes_no_arguments, handles_stay_known_to_another_copy_of_the_library].

init_per_testcase(Case, Config) -> emmap_test:directory(Case, Config).

end_per_testcase(_, _) -> ok.

file(Config) -> emmap_test:file(Config, "file", emmap_test:bytes(100000)).

collected(Fun) ->
    erlang:garbage_collect(),
    emmap_test:wait_until(Fun).

handles_are_those_that_are_open(Config) ->
    Path = file(Config),
    emmap_vm:survives(fun() ->
        [] = emmap:handles(),
        {ok, One} = emmap:open(Path, [shared, write]),
        {ok, Other} = emmap:open(Path, 10, 20, [direct]),
        {ok, 5} = emmap:position(Other, 5),
        ?assertEqual(lists:sort([emmap:info(One), emmap:info(Other)]), lists:sort(emmap:handles())),
        %% Whichever process has them.
        Infos = emmap_test:in_process(fun() -> emmap:handles() end),
        ?assertEqual(2, length(Infos)),
        ok = emmap:close(One),
        ?assertEqual([emmap:info(Other)], emmap:handles()),
        ok = emmap_test:in_process(fun() -> {ok, _} = emmap:open(Path, []), ok end),
        collected(fun() -> emmap:handles() =:= [emmap:info(Other)] end),
        ok = emmap:close(Other),
        ?assertEqual([], emmap:handles())
    end).

more_handles_than_are_looked_at_at_once(Config) ->
    Path = file(Config),
    emmap_vm:survives(fun() ->
        [begin
             Files = [begin {ok, File} = emmap:open(Path, N, 1, []), File end || N <- lists:seq(0, Count - 1)],
             ?assertEqual(lists:seq(0, Count - 1), lists:sort([Offset || #{offset := Offset} <- emmap:handles()])),
             ?assertMatch(#{handles := Count}, emmap:stats()),
             [ok = emmap:close(File) || File <- Files]
         end || Count <- [1, 15, 16, 17, 31, 32, 33, 500]]
    end).

%% Each list has what was open all the time, once.
handles_may_come_and_go_meanwhile(Config) ->
    Path = file(Config),
    emmap_vm:survives(fun() ->
        Kept = [begin {ok, File} = emmap:open(Path, N, 1, []), File end || N <- lists:seq(1, 100)],
        Stop = atomics:new(1, []),
        Busy = [spawn_monitor(fun() -> come_and_go(Path, Stop) end) || _ <- [1, 2, 3]],
        [begin
             Offsets = [Offset || #{offset := Offset} <- emmap:handles(), Offset > 0],
             ?assertEqual(lists:seq(1, 100), lists:sort(Offsets)),
             #{handles := Open} = emmap:stats(),
             ?assert(Open >= 100)
         end || _ <- lists:seq(1, 300)],
        atomics:put(Stop, 1, 1),
        [receive {'DOWN', Monitor, process, Pid, Why} -> ?assertEqual(normal, Why) end || {Pid, Monitor} <- Busy],
        collected(fun() -> length(emmap:handles()) =:= 100 end),
        [ok = emmap:close(File) || File <- Kept]
    end).

%% Some are closed, some dropped.
come_and_go(Path, Stop) ->
    case atomics:get(Stop, 1) of
        1 -> ok;
        0 ->
            {ok, File} = emmap:open(Path, []),
            _ = emmap:open(Path, []),
            ok = emmap:close(File),
            come_and_go(Path, Stop)
    end.

stats_count_what_is_mapped(Config) ->
    Path = file(Config),
    emmap_vm:survives(fun() ->
        Page = emmap_test:page_size(),
        #{handles := 0, regions := 0, mapped_bytes := 0} = emmap:stats(),
        {ok, File} = emmap:open(Path, 0, 3 * Page, [direct]),
        ?assertMatch(#{handles := 1, regions := 1, mapped_bytes := Bytes} when Bytes =:= 3 * Page, emmap:stats()),
        {ok, Bytes} = emmap:pread(File, 0, 10),
        {ok, Growing} = emmap:open(Path, [shared, write]),
        #{handles := 2, regions := 2, mapped_bytes := Before} = emmap:stats(),
        {ok, _} = emmap:resize(Growing, 1 bsl 28),
        #{handles := 2, mapped_bytes := After} = emmap:stats(),
        ?assert(After - Before >= (1 bsl 28) - (4 bsl 20)),
        ok = emmap:close(Growing),
        ok = emmap:close(File),
        %% A binary keeps its region.
        #{handles := 0, regions := Regions} = emmap:stats(),
        ?assert(Regions >= 1),
        ?assertEqual(emmap_test:bytes(10), Bytes)
    end).

stats_count_faults_and_heals(Config) ->
    Path = file(Config),
    emmap_vm:survives(fun() ->
        {ok, File} = emmap:open(Path, [shared, write]),
        #{faults := 0, heals := 0} = emmap:stats(),
        ok = emmap_vm:cut(Path, 100),
        {error, truncated} = emmap:pread(File, 50000, 1),
        #{faults := Faults, heals := 0} = emmap:stats(),
        ?assert(Faults > 0),
        {error, truncated} = emmap:pread(File, 50000, 1),
        ?assertMatch(#{faults := Faults}, emmap:stats()),
        ok = emmap_vm:cut(Path, 100000),
        {ok, _} = emmap:remap(File),
        ?assertMatch(#{faults := Faults, heals := 1}, emmap:stats()),
        {ok, <<0>>} = emmap:pread(File, 50000, 1)
    end).

a_node_without_handles_has_nothing(_) ->
    emmap_vm:survives(fun() ->
        ?assertEqual([], emmap:handles()),
        ?assertEqual(#{handles => 0, regions => 0, mapped_bytes => 0, faults => 0, heals => 0}, emmap:stats())
    end).

%% There are none that could be wrong; what a closed handle is, and one of nothing but a name, is not among them.
the_node_takes_no_arguments(Config) ->
    Path = file(Config),
    emmap_vm:survives(fun() ->
        {ok, File} = emmap:open(Path, []),
        ok = emmap:close(File),
        ?assertEqual([], emmap:handles()),
        ?assertMatch(#{handles := 0}, emmap:stats()),
        {error, enoent} = emmap:open(Path ++ ".none", []),
        ?assertEqual([], emmap:handles()),
        ?assertMatch(#{handles := 0}, emmap:stats()),
        ?assertError(undef, apply(emmap, handles, [File])),
        ?assertError(undef, apply(emmap, stats, [File]))
    end).

%% The list goes from one copy of the library to the next, and handles leave it there.
handles_stay_known_to_another_copy_of_the_library(Config) ->
    Path = file(Config),
    Vm = emmap_test:start_vm(),
    emmap_test:in_vm(Vm, fun() ->
        {ok, File} = emmap:open(Path, 1, 1, []),
        {ok, Closed} = emmap:open(Path, 2, 1, []),
        Old = filename:dirname(filename:dirname(code:which(emmap))),
        emmap_library_SUITE:upgrade(Old, filename:dirname(Path)),
        {ok, New} = emmap:open(Path, 3, 1, []),
        Offsets = fun() -> lists:sort([Offset || #{offset := Offset} <- emmap:handles()]) end,
        ?assertEqual([1, 2, 3], Offsets()),
        ?assertMatch(#{handles := 3, regions := 3}, emmap:stats()),
        ok = emmap:close(Closed),
        ok = emmap_test:in_process(fun() -> {ok, _} = emmap:open(Path, 4, 1, []), ok end),
        collected(fun() -> Offsets() =:= [1, 3] end),
        [ok = emmap:close(Each) || Each <- [File, New]],
        ?assertMatch(#{handles := 0}, emmap:stats())
    end),
    emmap_test:stop_vm(Vm).
