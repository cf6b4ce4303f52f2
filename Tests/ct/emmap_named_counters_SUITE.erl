%% Copyright 2026 the emmap authors. Licensed under the Apache License, Version 2.0.

%% Counters with labels, between processes, VMs and kills.
-module(emmap_named_counters_SUITE).

-include_lib("stdlib/include/assert.hrl").

-compile([export_all, nowarn_export_all]).

-define(N, emmap_named_counters).

suite() -> [{timetrap, {minutes, 2}}].

all() ->
    [counters_count, counters_wrap_around, labels_have_bounds, a_label_has_one_counter, capacity_has_bounds,
     a_new_file_has_these_bytes, what_is_another_file_is_refused, readers_only_read, a_closed_file_is_refused,
     wrong_arguments_are_refused, a_removed_slot_waits_for_all_who_may_count, a_label_counts_when_its_state_says_so,
     a_cut_file_is_truncated, a_killed_process_holds_up_nobody, a_replaced_file_takes_no_labels,
     two_who_add_labels_at_once_get_one, vms_lose_nothing_through_kills, readers_beside_writers_see_whole_labels,
     adding_takes_no_longer_than_inc_counter].

init_per_testcase(Case, Config) -> emmap_test:directory(Case, Config).

end_per_testcase(_, _) -> ok.

path(Config) -> emmap_test:path(Config, "counters").

open(Config) -> open(Config, [{capacity, 4}]).

open(Config, Options) ->
    {ok, Counters} = ?N:open(path(Config), Options),
    Counters.

counter(Counters, Label) ->
    {ok, Counter} = ?N:counter(Counters, Label),
    Counter.

counters_count(Config) ->
    Counters = open(Config),
    Counter = counter(Counters, "a"),
    ?assertEqual(0, ?N:get(Counter)),
    ?assertEqual([ok, ok, ok], [?N:add(Counter, 5), ?N:sub(Counter, 2), ?N:add(Counter, -1)]),
    ?assertEqual(2, ?N:get(Counter)),
    ?assertEqual(12, ?N:add_get(Counter, 10)),
    ?assertEqual(ok, ?N:put(Counter, -7)),
    ok = ?N:add(counter(Counters, ["b", <<"c">>]), 1),
    ?assertEqual([{<<"a">>, -7}, {<<"bc">>, 1}], ?N:to_list(Counters)),
    ?assertEqual(ok, ?N:close(Counters)),
    ?assertEqual([{<<"a">>, -7}, {<<"bc">>, 1}], ?N:to_list(open(Config, []))).

counters_wrap_around(Config) ->
    Counter = counter(open(Config), "a"),
    ok = ?N:put(Counter, (1 bsl 63) - 1),
    ?assertEqual(-(1 bsl 63), ?N:add_get(Counter, 1)),
    ok = ?N:put(Counter, (1 bsl 64) - 1),
    ?assertEqual(-1, ?N:get(Counter)),
    ?assertEqual(0, ?N:add_get(Counter, 1)).

labels_have_bounds(Config) ->
    Counters = open(Config),
    Labels = [<<>>, <<"x">>, binary:copy(<<"y">>, 104), <<0:(104 * 8)>>],
    [?N:put(counter(Counters, Label), N) || {N, Label} <- lists:enumerate(Labels)],
    ?assertEqual([{Label, N} || {N, Label} <- lists:enumerate(Labels)], ?N:to_list(Counters)),
    [?assertEqual({badarg, #{2 => "not a label: iodata of at most 104 bytes"}}, emmap_test:raised(Call))
     || Bad <- [binary:copy(<<"y">>, 105), a, [256], <<1:1>>],
        Call <- [fun() -> ?N:counter(Counters, Bad) end, fun() -> ?N:remove(Counters, Bad) end]].

a_label_has_one_counter(Config) ->
    {One, Other} = {open(Config), open(Config)},
    ok = ?N:add(counter(One, "a"), 1),
    ?assertEqual(2, ?N:add_get(counter(Other, "a"), 1)),
    ?assertEqual([{<<"a">>, 2}], ?N:to_list(One)).

capacity_has_bounds(Config) ->
    Counters = open(Config, [{capacity, 2}]),
    [_, _] = [counter(Counters, Label) || Label <- ["a", "b"]],
    ?assertEqual({error, full}, ?N:counter(Counters, "c")),
    ?assertMatch({ok, _}, ?N:counter(Counters, "b")),
    ?assertEqual({error, {wrong_capacity, 2}}, ?N:open(path(Config), [{capacity, 3}])),
    ?assertEqual({error, {wrong_capacity, 2}}, ?N:open(path(Config), [{capacity, 1}])),
    ?assertEqual({error, enoent}, ?N:open(emmap_test:path(Config, "none"), [])).

a_new_file_has_these_bytes(Config) ->
    Counters = open(Config, [{capacity, 2}]),
    ok = ?N:put(counter(Counters, "label"), -2),
    Slot = <<-2:64/little, 5:64/little, "label", 0:99/unit:8>>,
    ?assertEqual({ok, <<"EMMAPNC1", 2:64/little, 0:112/unit:8, 5:64/little, Slot/binary, 0:128/unit:8>>},
                 file:read_file(path(Config))),
    ok = ?N:remove(Counters, "label"),
    ?assertMatch({ok, <<_:128/binary, 6:64/little, Slot:120/binary, _/binary>>}, file:read_file(path(Config))).

what_is_another_file_is_refused(Config) ->
    [begin
         ok = file:write_file(path(Config), Bytes),
         ?assertEqual({error, bad_magic}, ?N:open(path(Config), Options)),
         ?assertEqual({ok, Bytes}, file:read_file(path(Config)))
     end || Bytes <- [binary:copy(<<"x">>, 640), <<"EMMAPNC1", 0:64, 0:624/unit:8>>,
                      <<"EMMAPNC1", 5:64/little, 0:624/unit:8>>, <<0:64, 9:64/little, 0:624/unit:8>>],
            Options <- [[], [read], [{capacity, 4}]]].

readers_only_read(Config) ->
    Counters = open(Config),
    ok = ?N:put(counter(Counters, "a"), 9),
    Reader = open(Config, [read]),
    ?assertEqual({error, not_found}, ?N:counter(Reader, "b")),
    Counter = counter(Reader, "a"),
    ?assertEqual(9, ?N:get(Counter)),
    ?assertEqual([{<<"a">>, 9}], ?N:to_list(Reader)),
    [?assertEqual({badarg, #{1 => "the file is not open for writing"}}, emmap_test:raised(Call))
     || Call <- [fun() -> ?N:add(Counter, 1) end, fun() -> ?N:sub(Counter, 1) end, fun() -> ?N:put(Counter, 1) end,
                 fun() -> ?N:add_get(Counter, 1) end, fun() -> ?N:remove(Reader, "a") end]].

a_closed_file_is_refused(Config) ->
    Counters = open(Config),
    Counter = counter(Counters, "a"),
    ok = ?N:close(Counters),
    ?assertEqual({error, closed}, ?N:close(Counters)),
    ?assertEqual([{error, closed}, {error, closed}], [?N:counter(Counters, "a"), ?N:remove(Counters, "a")]),
    [?assertEqual({badarg, #{1 => "the file is closed"}}, emmap_test:raised(Call))
     || Call <- [fun() -> ?N:add(Counter, 1) end, fun() -> ?N:get(Counter) end, fun() -> ?N:to_list(Counters) end]].

wrong_arguments_are_refused(Config) ->
    Counter = counter(open(Config), "a"),
    [?assertEqual({badarg, #{1 => "not a counter"}}, emmap_test:raised(Call))
     || Bad <- [a, {}, make_ref(), open(Config)],
        Call <- [fun() -> ?N:add(Bad, 1) end, fun() -> ?N:sub(Bad, 1) end, fun() -> ?N:put(Bad, 1) end,
                 fun() -> ?N:get(Bad) end, fun() -> ?N:add_get(Bad, 1) end]],
    [?assertEqual({badarg, #{2 => "not an integer of 64 bits"}}, emmap_test:raised(Call))
     || Bad <- [a, 1.0, 1 bsl 64, -(1 bsl 63) - 1],
        Call <- [fun() -> ?N:add(Counter, Bad) end, fun() -> ?N:sub(Counter, Bad) end,
                 fun() -> ?N:put(Counter, Bad) end, fun() -> ?N:add_get(Counter, Bad) end]],
    [?assertEqual({badarg, #{1 => "not a file of counters"}}, emmap_test:raised(Call))
     || Bad <- [a, Counter], Call <- [fun() -> ?N:counter(Bad, "a") end, fun() -> ?N:remove(Bad, "a") end,
                                      fun() -> ?N:to_list(Bad) end, fun() -> ?N:close(Bad) end]],
    [?assertMatch({badarg, #{2 := _}}, emmap_test:raised(fun() -> ?N:open(path(Config), Bad) end))
     || Bad <- [a, [a], [{capacity, 0}], [{capacity, 1000001}], [{capacity, a}], [read | a]]],
    ?assertEqual({badarg, #{1 => "not a file name"}}, emmap_test:raised(fun() -> ?N:open({}, [read]) end)).

%% A counter that somebody still has is not another's, whoever opens the file meanwhile.
a_removed_slot_waits_for_all_who_may_count(Config) ->
    Counters = open(Config, [{capacity, 1}]),
    Old = counter(Counters, "old"),
    ok = ?N:remove(Counters, "old"),
    ?assertEqual({error, not_found}, ?N:remove(Counters, "old")),
    ?assertEqual([], ?N:to_list(Counters)),
    ok = ?N:add(Old, 5),
    Other = open(Config, []),
    ?assertEqual([{error, full}, {error, full}], [?N:counter(Each, "new") || Each <- [Counters, Other]]),
    ok = ?N:close(Other),
    Vm = emmap_test:start_vm(),
    Path = path(Config),
    There = fun() ->
                    {ok, Theirs} = ?N:open(Path, []),
                    ?N:counter(Theirs, "new")
            end,
    ?assertEqual({error, full}, emmap_test:in_vm(Vm, There)),
    emmap_test:kill_vm(Vm),
    ok = ?N:close(Counters),
    New = open(Config, []),
    ?assertEqual(1, ?N:add_get(counter(New, "new"), 1)),
    ?assertEqual([{<<"new">>, 1}], ?N:to_list(New)).

%% The stores of who adds a label, as a kill may leave them: each byte of what comes before the state, and the state.
a_label_counts_when_its_state_says_so(Config) ->
    Counters = open(Config, [{capacity, 2}]),
    ok = ?N:put(counter(Counters, "first"), 1),
    ok = ?N:close(Counters),
    {ok, Before} = file:read_file(path(Config)),
    Stores = <<77:64/little, 6:64/little, "second">>,
    [begin
         ok = file:write_file(path(Config), Before),
         {ok, Raw} = file:open(path(Config), [raw, read, write]),
         ok = file:pwrite(Raw, 256 + 8, binary:part(Stores, 0, Length)),
         ok = file:close(Raw),
         Again = open(Config, []),
         ?assertEqual([{<<"first">>, 1}], ?N:to_list(Again)),
         ?assertEqual(1, ?N:add_get(counter(Again, "2"), 1)),
         ?assertEqual([{<<"first">>, 1}, {<<"2">>, 1}], ?N:to_list(Again)),
         ok = ?N:close(Again)
     end || Length <- lists:seq(0, byte_size(Stores))].

a_cut_file_is_truncated(Config) ->
    Counters = open(Config, [{capacity, 100}]),
    Last = lists:last([counter(Counters, integer_to_list(N)) || N <- lists:seq(1, 100)]),
    emmap_vm:cut(path(Config), 4096),
    ?assertEqual({truncated, #{general => "the file was cut short by somebody else"}},
                 emmap_test:raised(fun() -> ?N:add(Last, 1) end)),
    ?assertMatch({truncated, _}, emmap_test:raised(fun() -> ?N:to_list(Counters) end)),
    ?assertEqual({error, truncated}, ?N:counter(Counters, "another")).

a_killed_process_holds_up_nobody(Config) ->
    Counters = open(Config, [{capacity, 1000}]),
    [begin
         Add = fun() -> [?N:counter(Counters, integer_to_list(N)) || N <- lists:seq(1, 999)] end,
         {Pid, Monitor} = spawn_monitor(Add),
         _ = [erlang:yield() || _ <- lists:seq(1, 20 * Round)],
         exit(Pid, kill),
         receive {'DOWN', Monitor, process, Pid, _} -> ok end,
         _ = counter(Counters, "mine")
     end || Round <- lists:seq(1, 20)],
    Labels = [Label || {Label, _} <- ?N:to_list(Counters)],
    ?assertEqual(lists:sort(Labels), lists:usort(Labels)).

a_replaced_file_takes_no_labels(Config) ->
    Counters = open(Config),
    ok = file:delete(path(Config)),
    ?assertEqual({error, enoent}, ?N:counter(Counters, "a")),
    _ = open(Config),
    ?assertEqual({error, enoent}, ?N:counter(Counters, "a")).

two_who_add_labels_at_once_get_one(Config) ->
    Path = path(Config),
    [_, _] = emmap_test:in_two_vms(fun() ->
        {ok, Counters} = ?N:open(Path, [{capacity, 200}]),
        emmap_test:together([fun() -> [?N:add(counter(Counters, integer_to_list(N)), 1) || N <- lists:seq(1, 100)] end
                             || _ <- [1, 2]])
    end),
    ?assertEqual(lists:sort([{integer_to_binary(N), 4} || N <- lists:seq(1, 100)]),
                 lists:sort(?N:to_list(open(Config, [read])))).

%% Each adds to 100 counters in turn, and says in a word of its own what it has added: one more than it has said may be
%% there of each that was killed.
vms_lose_nothing_through_kills(Config) ->
    {Path, Said} = {path(Config), emmap_test:path(Config, "said")},
    {ok, Words} = emmap:open(Said, [create, write, shared, {size, 4096}]),
    Adder = fun(Place) ->
                    fun() ->
                            _ = spawn(fun() ->
                                {ok, Theirs} = emmap:open(Said, [write, shared]),
                                {ok, Counters} = ?N:open(Path, [{capacity, 100}]),
                                add_on(Theirs, Place, Counters, 0)
                            end),
                            ok
                    end
            end,
    Kills = 6,
    {_, Vms} = lists:foldl(fun(Round, {Place, [Oldest | Rest]}) ->
                                   Vm = emmap_test:start_vm(),
                                   emmap_test:in_vm(Vm, Adder(Place)),
                                   {ok, _} = emmap:await(Words, 8 * Place, 0, 30000),
                                   Target = emmap:patomic_read(Words, 8 * Place) + 500 * Round,
                                   emmap_test:wait_until(fun() -> emmap:patomic_read(Words, 8 * Place) > Target end),
                                   Oldest =:= none orelse emmap_test:kill_vm(Oldest),
                                   {Place + 1, Rest ++ [Vm]}
                           end, {0, [none, none]}, lists:seq(1, Kills)),
    [emmap_test:kill_vm(Vm) || Vm <- Vms],
    Told = lists:sum([emmap:patomic_read(Words, 8 * Place) || Place <- lists:seq(0, Kills - 1)]),
    List = ?N:to_list(open(Config, [read])),
    ?assertEqual(100, length(List)),
    Total = lists:sum([Value || {_, Value} <- List]),
    ct:pal("~b said, ~b counted, ~b VMs killed", [Told, Total, Kills]),
    ?assert(Total >= Told),
    ?assert(Total =< Told + Kills).

add_on(Words, Place, Counters, N) ->
    ok = ?N:add(counter(Counters, integer_to_list(N rem 100)), 1),
    0 = case emmap:patomic(Words, 8 * Place, add, 1) of
            0 -> ok = emmap:notify(Words, 8 * Place), 0;
            _ -> 0
        end,
    add_on(Words, Place, Counters, N + 1).

readers_beside_writers_see_whole_labels(Config) ->
    Counters = open(Config, [{capacity, 1000}]),
    Reader = open(Config, [read]),
    Label = fun(N) -> binary:copy(<<(integer_to_binary(N))/binary, ",">>, 20) end,
    {Pid, Monitor} = spawn_monitor(fun() -> [?N:put(counter(Counters, Label(N)), N) || N <- lists:seq(1, 300)] end),
    Whole = fun Whole() ->
                    [?assert(Value =:= 0 orelse Seen =:= Label(Value)) || {Seen, Value} <- ?N:to_list(Reader)],
                    receive {'DOWN', Monitor, process, Pid, Why} -> Why after 0 -> Whole() end
            end,
    ?assertEqual(normal, Whole()),
    ?assertEqual([{Label(N), N} || N <- lists:seq(1, 300)], ?N:to_list(Reader)).

%% In the best of many short rounds each, taken in turns: others may have the processor for most of them.
adding_takes_no_longer_than_inc_counter(Config) ->
    Counter = counter(open(Config), "a"),
    Counters = emmap:open_counters(emmap_test:path(Config, "numbered"), 4),
    Rounds = [{element(1, timer:tc(fun() -> add_times(Counter, 20000) end)),
               element(1, timer:tc(fun() -> inc_times(Counters, 20000) end))} || _ <- lists:seq(1, 150)],
    {Named, Numbered} = lists:unzip(Rounds),
    Ratio = lists:min(Named) / lists:min(Numbered),
    ct:pal("add ~.1f ns, inc_counter ~.1f ns, ratio ~.2f", [lists:min(Named) / 20, lists:min(Numbered) / 20, Ratio]),
    ?assert(Ratio =< 1.1).

add_times(_, 0) -> ok;
add_times(Counter, N) -> ok = ?N:add(Counter, 1), add_times(Counter, N - 1).

inc_times(_, 0) -> ok;
inc_times(Counters, N) -> _ = emmap:inc_counter(Counters, 1, 1), inc_times(Counters, N - 1).
