%% Copyright 2026 the emmap authors. Licensed under the Apache License, Version 2.0.

%% emmap_blocks from Erlang: what it answers, who owns it, who dies.
-module(emmap_blocks_SUITE).

-compile([export_all, nowarn_export_all]).

-include_lib("common_test/include/ct.hrl").
-include_lib("kernel/include/file.hrl").
-include_lib("stdlib/include/assert.hrl").

%% A file without room for a block, and the first group's bitmap and descriptors.
-define(EMPTY, 12288).
-define(GROUP, 262144).

suite() -> [{timetrap, {minutes, 30}}].

all() ->
    [what_is_stored_is_read, a_block_has_a_size, large_blocks_come_whole, iodata_is_stored_as_bytes,
     what_is_freed_is_not_found, addresses_have_bounds, what_no_sync_has_seen_is_used_again_at_once,
     what_was_synced_waits_for_syncs, fold_sees_all_in_order, fold_sees_what_happens_meanwhile_or_not,
     read_list_goes_on_where_it_ended, read_list_has_bounds, count_and_info_follow,
     processes_store_at_once, small_calls_stay_on_the_callers_scheduler,
     blocks_are_there_after_reopening, another_block_size_is_refused, block_size_0_takes_what_is_there,
     blocks_have_one_owner, another_vm_takes_the_lock_over, forgotten_blocks_are_closed,
     a_changed_byte_is_found, a_changed_descriptor_is_found, a_changed_bitmap_is_found,
     a_damaged_block_can_be_freed, a_damaged_file_does_not_open,
     a_file_cut_short_is_truncated, a_sync_sees_that_the_file_was_cut_short,
     files_of_others_are_left_as_they_are, closed_is_an_error,
     full_blocks_say_so, room_is_found_by_a_sync, options_are_kept, a_full_disk_leaves_the_blocks_as_they_were,
     a_full_disk_has_room_for_what_was_freed, syncs_are_shared, no_mail_is_left_behind, a_failed_sync_stays_one,
     a_killed_process_leaves_nobody_waiting, what_is_counted_is_there,
     blocks_that_come_and_go_take_no_more_room, a_million_blocks_slow_nothing_down,
     wrong_arguments_are_explained, errors_have_texts,
     behaves_as_map, wrong_model_is_found_and_shrunk, killed_vms_lose_nothing].

init_per_testcase(Case, Config) -> emmap_test:directory(Case, Config).
end_per_testcase(_, _) -> ok.

path(Config) -> emmap_test:path(Config, "blocks").

open(Config) -> open(Config, 100).
open(Config, Size) -> open(Config, Size, []).
open(Config, Size, Options) ->
    {ok, Blocks} = emmap_blocks:open(path(Config), Size, Options),
    Blocks.

store(Blocks, Data) ->
    {ok, Address} = emmap_blocks:store(Blocks, Data),
    Address.

all_of(Blocks) ->
    {ok, All} = emmap_blocks:fold(fun(Address, Data, Acc) -> [{Address, Data} | Acc] end, [], Blocks),
    lists:reverse(All).

%% For so many blocks.
size_for(Count, Size) -> {max_size, ?EMPTY + ?GROUP + Count * Size}.

%%% Storing, reading, freeing

what_is_stored_is_read(Config) ->
    Blocks = open(Config),
    Addresses = [{store(Blocks, <<N:32>>), <<N:32>>} || N <- lists:seq(1, 3000)],
    %% The lowest that are free.
    ?assertEqual(lists:seq(0, 2999), [Address || {Address, _} <- Addresses]),
    [?assertEqual({ok, Data}, emmap_blocks:read(Blocks, Address)) || {Address, Data} <- Addresses],
    ?assertEqual(3000, emmap_blocks:count(Blocks)).

%% Below, at and above.
a_block_has_a_size(Config) ->
    [begin
         Path = emmap_test:path(Config, integer_to_list(Size)),
         {ok, Blocks} = emmap_blocks:open(Path, Size),
         [begin
              Data = crypto:strong_rand_bytes(Length),
              ?assertEqual({ok, Data}, emmap_blocks:read(Blocks, store(Blocks, Data)))
          end || Length <- lists:usort([0, Size - 1, Size])],
         [?assertEqual({error, too_long}, emmap_blocks:store(Blocks, Data))
          || Data <- [<<0:(Size + 1)/unit:8>>, lists:duplicate(Size + 1, 0), [<<0:Size/unit:8>>, 0],
                      %% A terabyte, which nobody puts together for this.
                      lists:duplicate(1 bsl 20, <<0:(1 bsl 20)/unit:8>>)]],
         ok = emmap_blocks:close(Blocks)
     end || Size <- [1, 7, 8, 100, 4096]].

%% What is stored and read on a normal scheduler, what is kept in one binary, and what a block can be.
large_blocks_come_whole(Config) ->
    Blocks = open(Config, 1 bsl 24),
    Datas = [crypto:strong_rand_bytes(Size)
             || Size <- [64, 65, 65535, 65536, 65537, 1 bsl 20, (1 bsl 20) + 1, (1 bsl 24) - 1, 1 bsl 24]],
    Stored = [{store(Blocks, Data), Data} || Data <- Datas],
    [?assert({ok, Data} =:= emmap_blocks:read(Blocks, Address)) || {Address, Data} <- Stored],
    ?assert(Stored =:= all_of(Blocks)),
    ?assertEqual({error, too_long}, emmap_blocks:store(Blocks, <<0:((1 bsl 24) + 1)/unit:8>>)),
    ?assertEqual({ok, #{count => 9, bytes => lists:sum([byte_size(Data) || Data <- Datas]), corrupt => []}},
                 emmap_blocks:check(Blocks)),
    ok = emmap_blocks:close(Blocks),
    ok = file:delete(path(Config)).

iodata_is_stored_as_bytes(Config) ->
    Blocks = open(Config),
    ?assertEqual({ok, <<"iodata!">>}, emmap_blocks:read(Blocks, store(Blocks, ["io", [[<<"data">>]], $! | <<>>]))),
    [?assertError(badarg, emmap_blocks:store(Blocks, Data)) || Data <- [a, 1, {}, [a], [256], [1 | 2], <<1:7>>, #{}]],
    ?assertEqual(1, emmap_blocks:count(Blocks)).

what_is_freed_is_not_found(Config) ->
    Blocks = open(Config),
    [One, Two] = [store(Blocks, Data) || Data <- [<<"one">>, <<"two">>]],
    ok = emmap_blocks:free(Blocks, One),
    ?assertEqual({error, not_found}, emmap_blocks:read(Blocks, One)),
    ?assertEqual({error, not_found}, emmap_blocks:free(Blocks, One)),
    ?assertEqual({ok, <<"two">>}, emmap_blocks:read(Blocks, Two)),
    ?assertEqual([{Two, <<"two">>}], all_of(Blocks)).

addresses_have_bounds(Config) ->
    Blocks = open(Config),
    _ = store(Blocks, <<"it">>),
    #{room := Room} = emmap_blocks:info(Blocks),
    [begin
         ?assertEqual({error, not_found}, emmap_blocks:read(Blocks, Address)),
         ?assertEqual({error, not_found}, emmap_blocks:free(Blocks, Address)),
         ?assertEqual({[], done}, emmap_blocks:read_list(Blocks, Address, 1))
     end || Address <- [1, Room - 1, Room, Room + 1, 1 bsl 32, (1 bsl 36) - 1]],
    [begin
         ?assertError(badarg, emmap_blocks:read(Blocks, Address)),
         ?assertError(badarg, emmap_blocks:free(Blocks, Address)),
         ?assertError(badarg, emmap_blocks:read_list(Blocks, Address, 1))
     end || Address <- [-1, 1 bsl 36, 1 bsl 63, 1 bsl 64, 1.0, a]].

what_no_sync_has_seen_is_used_again_at_once(Config) ->
    Blocks = open(Config),
    [begin
         Address = store(Blocks, <<N:32>>),
         ok = emmap_blocks:free(Blocks, Address),
         ?assert(Address < 100)
     end || N <- lists:seq(1, 10000)],
    ?assertMatch(#{count := 0, waiting := 0}, emmap_blocks:info(Blocks)).

what_was_synced_waits_for_syncs(Config) ->
    Blocks = open(Config),
    Old = [store(Blocks, <<"old">>) || _ <- lists:seq(1, 100)],
    ok = emmap_blocks:sync(Blocks),
    [ok = emmap_blocks:free(Blocks, Address) || Address <- Old],
    New = [store(Blocks, <<"new">>) || _ <- lists:seq(1, 1000)],
    ?assertEqual([], [Address || Address <- New, lists:member(Address, Old)]),
    Waiting = [begin
                   #{waiting := Count} = emmap_blocks:info(Blocks),
                   ok = emmap_blocks:sync(Blocks),
                   Count
               end || _ <- [1, 2, 3]],
    ?assertEqual([100, 100, 0], Waiting),
    #{room := Room} = emmap_blocks:info(Blocks),
    Rest = [store(Blocks, <<"rest">>) || _ <- lists:seq(1, Room - 1000)],
    ?assertEqual([], Old -- Rest),
    ?assertMatch(#{room := Room, count := Room}, emmap_blocks:info(Blocks)).

%%% All of them

fold_sees_all_in_order(Config) ->
    Blocks = open(Config),
    ?assertEqual([], all_of(Blocks)),
    Stored = [{store(Blocks, <<N:32>>), <<N:32>>} || N <- lists:seq(1, 5000)],
    {Kept, Freed} = lists:partition(fun({Address, _}) -> Address rem 7 =:= 3 end, Stored),
    [ok = emmap_blocks:free(Blocks, Address) || {Address, _} <- Freed],
    ?assertEqual(Kept, all_of(Blocks)),
    ?assertError(stop, emmap_blocks:fold(fun(_, _, _) -> error(stop) end, [], Blocks)).

fold_sees_what_happens_meanwhile_or_not(Config) ->
    Blocks = open(Config),
    Stored = [{store(Blocks, <<N:32>>), <<N:32>>} || N <- lists:seq(1, 2000)],
    {ok, Seen} = emmap_blocks:fold(
                   fun(Address, Data, Acc) ->
                       %% One that is behind, so that it may be seen.
                       _ = store(Blocks, <<"new">>),
                       Address rem 2 =:= 0 andalso (ok = emmap_blocks:free(Blocks, Address)),
                       length(Acc) < 20000 orelse throw(endless),
                       [{Address, Data} | Acc]
                   end, [], Blocks),
    ?assertEqual(Stored, lists:sort([Block || {_, Data} = Block <- Seen, Data =/= <<"new">>])).

read_list_goes_on_where_it_ended(Config) ->
    Blocks = open(Config, 3000),
    ?assertEqual({[], done}, emmap_blocks:read_list(Blocks, 0, 10)),
    Stored = [{store(Blocks, Data), Data} || N <- lists:seq(1, 1500), Data <- [binary:copy(<<N:24>>, N rem 1000)]],
    [?assertEqual({Max, Stored}, {Max, all_in_lists(Blocks, 0, Max)}) || Max <- [1, 2, 32, 999, 1000, 1001, 5000]],
    %% As many as were asked for, however large.
    {List, Next} = emmap_blocks:read_list(Blocks, 0, 1200),
    ?assertEqual({1200, 1200}, {length(List), Next}),
    ?assertEqual({[lists:nth(701, Stored)], 701}, emmap_blocks:read_list(Blocks, 700, 1)),
    [ok = emmap_blocks:free(Blocks, Address) || {Address, _} <- Stored, Address > 0, Address < 1499],
    ?assertEqual([hd(Stored), lists:last(Stored)], all_in_lists(Blocks, 0, 1)),
    ?assertEqual({[lists:last(Stored)], done}, emmap_blocks:read_list(Blocks, 1, 100)).

all_in_lists(_, done, _) -> [];
all_in_lists(Blocks, From, Max) ->
    {List, Next} = emmap_blocks:read_list(Blocks, From, Max),
    ?assert(length(List) =< Max),
    List ++ all_in_lists(Blocks, Next, Max).

read_list_has_bounds(Config) ->
    Blocks = open(Config),
    Address = store(Blocks, <<"it">>),
    ?assertEqual({[{Address, <<"it">>}], done}, emmap_blocks:read_list(Blocks, 0, (1 bsl 31) - 1)),
    [?assertError(badarg, emmap_blocks:read_list(Blocks, 0, Max)) || Max <- [0, -1, 1 bsl 31, 1.0, all]].

count_and_info_follow(Config) ->
    Blocks = open(Config),
    ?assertEqual(#{block_size => 100, count => 0, waiting => 0, room => 0, file_size => ?EMPTY, recovered => clean},
                 emmap_blocks:info(Blocks)),
    Addresses = [store(Blocks, <<"it">>) || _ <- lists:seq(1, 100)],
    ?assertEqual(100, emmap_blocks:count(Blocks)),
    [ok = emmap_blocks:free(Blocks, Address) || Address <- lists:sublist(Addresses, 40)],
    ?assertEqual(60, emmap_blocks:count(Blocks)),
    #{count := 60, room := Room, file_size := Size} = emmap_blocks:info(Blocks),
    ?assertEqual(Size, filelib:file_size(path(Config))),
    ?assert(Room >= 100),
    ?assert(Size >= ?EMPTY + ?GROUP + Room * 100),
    ?assertEqual({ok, #{count => 60, bytes => 120, corrupt => []}}, emmap_blocks:check(Blocks)).

%% Each has blocks of its own, and finds them as they were; all together are what is there.
processes_store_at_once(Config) ->
    Blocks = open(Config),
    Kept = emmap_test:together([fun() -> busy(Blocks, W, 3000, #{}) end || W <- lists:seq(1, 8)]
                               ++ [fun() -> [ok = emmap_blocks:sync(Blocks) || _ <- lists:seq(1, 10)], #{} end]),
    All = lists:append([maps:to_list(Map) || Map <- Kept]),
    ?assertEqual(lists:sort(All), all_of(Blocks)),
    ?assertEqual(length(All), emmap_blocks:count(Blocks)),
    ok = emmap_blocks:close(Blocks),
    ?assertEqual(lists:sort(All), all_of(open(Config))).

busy(_, _, 0, Kept) -> Kept;
busy(Blocks, W, N, Kept) when map_size(Kept) > 0, N rem 3 =:= 0 ->
    {Address, Data, _} = maps:next(maps:iterator(Kept)),
    {ok, Data} = emmap_blocks:read(Blocks, Address),
    ok = emmap_blocks:free(Blocks, Address),
    busy(Blocks, W, N - 1, maps:remove(Address, Kept));
busy(Blocks, W, N, Kept) ->
    Data = binary:copy(<<W, N:16>>, 1 + N rem 33),
    Address = store(Blocks, Data),
    false = is_map_key(Address, Kept),
    busy(Blocks, W, N - 1, Kept#{Address => Data}).

small_calls_stay_on_the_callers_scheduler(Config) ->
    Blocks = open(Config, 100000),
    First = store(Blocks, <<"it">>),
    %% Room for more than one process has before it.
    [ok = emmap_blocks:free(Blocks, Address) || Address <- [store(Blocks, <<>>) || _ <- lists:seq(1, 200)]],
    Small = binary:copy(<<"x">>, 65536),
    ?assertEqual([], emmap_test:dirty(fun() ->
        Address = store(Blocks, Small),
        {ok, Small} = emmap_blocks:read(Blocks, Address),
        ok = emmap_blocks:free(Blocks, Address),
        1 = emmap_blocks:count(Blocks),
        {[_], done} = emmap_blocks:read_list(Blocks, 0, 10),
        {ok, 1} = emmap_blocks:fold(fun(_, _, N) -> N + 1 end, 0, Blocks)
    end)),
    Large = <<Small/binary, "x">>,
    Address = store(Blocks, Large),
    [?assert(emmap_test:moves(Call))
     || Call <- [fun() -> store(Blocks, Large) end, fun() -> emmap_blocks:read(Blocks, Address) end,
                 fun() -> emmap_blocks:read_list(Blocks, Address, 1) end, fun() -> emmap_blocks:sync(Blocks) end,
                 fun() -> emmap_blocks:check(Blocks) end, fun() -> emmap_blocks:info(Blocks) end]],
    ?assertEqual({ok, <<"it">>}, emmap_blocks:read(Blocks, First)).

%%% Files

blocks_are_there_after_reopening(Config) ->
    Blocks = open(Config),
    Stored = [{store(Blocks, <<N:32>>), <<N:32>>} || N <- lists:seq(1, 1000)],
    [ok = emmap_blocks:free(Blocks, Address) || {Address, _} <- lists:nthtail(500, Stored)],
    ok = emmap_blocks:close(Blocks),
    Again = open(Config),
    ?assertMatch(#{recovered := clean, count := 500}, emmap_blocks:info(Again)),
    ?assertEqual(lists:sublist(Stored, 500), all_of(Again)),
    ok = emmap_blocks:close(Again).

another_block_size_is_refused(Config) ->
    ok = emmap_blocks:close(open(Config, 100)),
    [?assertEqual({error, {wrong_block_size, 100}}, emmap_blocks:open(path(Config), Size))
     || Size <- [1, 99, 101, 1 bsl 24]],
    ok = emmap_blocks:close(open(Config, 100)).

block_size_0_takes_what_is_there(Config) ->
    ?assertEqual({error, enoent}, emmap_blocks:open(path(Config), 0)),
    ?assertEqual({error, enoent}, file:read_file_info(path(Config))),
    Blocks = open(Config, 12345),
    Address = store(Blocks, <<"it">>),
    ok = emmap_blocks:close(Blocks),
    Again = open(Config, 0),
    ?assertMatch(#{block_size := 12345}, emmap_blocks:info(Again)),
    ?assertEqual({ok, <<"it">>}, emmap_blocks:read(Again, Address)),
    ?assertEqual({error, too_long}, emmap_blocks:store(Again, [<<0:12345/unit:8>>, 0])),
    %% One that is empty says nothing of its blocks, and is left empty.
    Empty = emmap_test:file(Config, "empty", <<>>),
    ?assertEqual({error, bad_magic}, emmap_blocks:open(Empty, 0)),
    ?assertEqual({ok, <<>>}, file:read_file(Empty)),
    {ok, _} = emmap_blocks:open(Empty, 10).

blocks_have_one_owner(Config) ->
    Blocks = open(Config),
    ?assertEqual({error, locked}, emmap_blocks:open(path(Config), 100)),
    ?assertEqual({error, locked}, emmap_blocks:open(path(Config), 0, [])),
    ok = emmap_blocks:close(Blocks),
    ok = emmap_blocks:close(open(Config)).

another_vm_takes_the_lock_over(Config) ->
    Path = path(Config),
    Vm = emmap_test:start_vm(),
    Address = emmap_test:in_vm(Vm, fun() ->
        Self = self(),
        spawn(fun() ->
            {ok, Blocks} = emmap_blocks:open(Path, 100),
            Self ! {open, store(Blocks, <<"it">>)},
            receive never -> emmap_blocks:close(Blocks) end
        end),
        receive {open, Address} -> Address end
    end),
    ?assertEqual({error, locked}, emmap_blocks:open(Path, 100)),
    emmap_test:kill_vm(Vm),
    {ok, Blocks} = emmap_blocks:open(Path, 100),
    ?assertMatch(#{recovered := #{dropped := 0}}, emmap_blocks:info(Blocks)),
    ?assertEqual([{Address, <<"it">>}], all_of(Blocks)).

%% Nobody has closed them: they were not synced.
forgotten_blocks_are_closed(Config) ->
    Stored = emmap_test:in_process(fun() ->
        Blocks = open(Config),
        [{store(Blocks, Data), Data} || Data <- [<<"a">>, <<"b">>]]
    end),
    emmap_test:wait_until(fun() ->
        case emmap_blocks:open(path(Config), 100) of
            {ok, Blocks} ->
                ?assertMatch(#{recovered := #{dropped := 0}}, emmap_blocks:info(Blocks)),
                ?assertEqual(Stored, all_of(Blocks)),
                true;
            {error, locked} -> false
        end
    end).

%% Changes bytes of the file, behind everybody's back.
change(Config, Place, Bytes) ->
    {ok, File} = file:open(path(Config), [raw, read, write]),
    ok = file:pwrite(File, Place, Bytes),
    ok = file:close(File).

a_changed_byte_is_found(Config) ->
    Blocks = open(Config),
    Stored = [{store(Blocks, Data), Data} || Data <- [<<"first">>, <<"second">>, <<"third">>, <<"fourth">>]],
    {ok, Bytes} = file:read_file(path(Config)),
    [begin
         {Place, _} = binary:match(Bytes, Data),
         change(Config, Place, <<"X">>)
     end || Data <- [<<"second">>, <<"fourth">>]],
    [{First, <<"first">>}, {Second, _}, {Third, <<"third">>}, {Fourth, _}] = Stored,
    ?assertEqual({ok, <<"first">>}, emmap_blocks:read(Blocks, First)),
    [?assertEqual({error, {corrupt, Address}}, emmap_blocks:read(Blocks, Address)) || Address <- [Second, Fourth]],
    ?assertEqual({error, {corrupt, Second}}, emmap_blocks:fold(fun(_, _, Acc) -> Acc end, [], Blocks)),
    %% All that is good can be had.
    ?assertEqual({[{First, <<"first">>}], Second}, emmap_blocks:read_list(Blocks, 0, 10)),
    ?assertEqual({error, {corrupt, Second}}, emmap_blocks:read_list(Blocks, Second, 10)),
    ?assertEqual({[{Third, <<"third">>}], Fourth}, emmap_blocks:read_list(Blocks, Second + 1, 10)),
    Report = {ok, #{count => 2, bytes => 10, corrupt => [Second, Fourth]}},
    ?assertEqual(Report, emmap_blocks:check(Blocks)),
    ok = emmap_blocks:close(Blocks),
    Again = open(Config),
    ?assertEqual(Report, emmap_blocks:check(Again)),
    ?assertEqual({error, {corrupt, Second}}, emmap_blocks:read(Again, Second)),
    %% What was written there is good again.
    {Place, _} = binary:match(Bytes, <<"second">>),
    change(Config, Place, <<"s">>),
    ?assertEqual({ok, <<"second">>}, emmap_blocks:read(Again, Second)).

%% Each byte of it: checksum, length, epoch.
a_changed_descriptor_is_found(Config) ->
    Blocks = open(Config),
    0 = store(Blocks, <<"it">>),
    Place = ?EMPTY + 4096,
    {ok, Bytes} = file:read_file(path(Config)),
    [begin
         Byte = binary:at(Bytes, Place + At),
         change(Config, Place + At, <<(Byte bxor (1 bsl Bit))>>),
         ?assertEqual({At, Bit, {error, {corrupt, 0}}}, {At, Bit, emmap_blocks:read(Blocks, 0)}),
         ?assertEqual({ok, #{count => 0, bytes => 0, corrupt => [0]}}, emmap_blocks:check(Blocks)),
         change(Config, Place + At, <<Byte>>)
     end || At <- lists:seq(0, 15), Bit <- lists:seq(0, 7)],
    ?assertEqual({ok, <<"it">>}, emmap_blocks:read(Blocks, 0)).

%% A word of it stands for 32 blocks.
a_changed_bitmap_is_found(Config) ->
    Blocks = open(Config),
    Stored = [{store(Blocks, <<N:32>>), <<N:32>>} || N <- lists:seq(1, 100)],
    {ok, Bytes} = file:read_file(path(Config)),
    Place = ?EMPTY + 64 + 8,
    [begin
         Byte = binary:at(Bytes, Place + At),
         change(Config, Place + At, <<(Byte bxor (1 bsl Bit))>>),
         [?assertEqual({Address, {ok, Data}}, {Address, emmap_blocks:read(Blocks, Address)})
          || {Address, Data} <- Stored, Address < 32 orelse Address > 63],
         [?assertEqual({error, {corrupt, 32}}, emmap_blocks:read(Blocks, Address)) || Address <- lists:seq(32, 63)],
         ?assertEqual({lists:sublist(Stored, 32), 32}, emmap_blocks:read_list(Blocks, 0, 100)),
         [?assertEqual({error, {corrupt, From}}, emmap_blocks:read_list(Blocks, From, 1)) || From <- [32, 40, 63]],
         ?assertEqual({lists:nthtail(64, Stored), done}, emmap_blocks:read_list(Blocks, 64, 100)),
         ?assertEqual({error, {corrupt, 32}}, emmap_blocks:fold(fun(_, _, Acc) -> Acc end, [], Blocks)),
         ?assertEqual({ok, #{count => 68, bytes => 272, corrupt => lists:seq(32, 63)}}, emmap_blocks:check(Blocks)),
         change(Config, Place + At, <<Byte>>)
     end || At <- lists:seq(0, 7), Bit <- [0, 3, 7]],
    ?assertEqual(Stored, all_of(Blocks)).

a_damaged_block_can_be_freed(Config) ->
    Blocks = open(Config),
    0 = store(Blocks, <<"it">>),
    change(Config, ?EMPTY + 4096, <<0>>),
    change(Config, ?EMPTY + ?GROUP, <<"X">>),
    ?assertEqual({error, {corrupt, 0}}, emmap_blocks:read(Blocks, 0)),
    ok = emmap_blocks:free(Blocks, 0),
    ?assertEqual({error, not_found}, emmap_blocks:read(Blocks, 0)),
    ?assertEqual({ok, #{count => 0, bytes => 0, corrupt => []}}, emmap_blocks:check(Blocks)).

%% The static page, both superblocks, a bitmap.
a_damaged_file_does_not_open(Config) ->
    Blocks = open(Config),
    _ = store(Blocks, <<"it">>),
    ok = emmap_blocks:close(Blocks),
    {ok, Good} = file:read_file(path(Config)),
    [begin
         [change(Config, Place, <<(binary:at(Good, Place) bxor 1)>>) || Place <- Places],
         {error, Reason} = emmap_blocks:open(path(Config), 100),
         ?assert(Reason =:= bad_magic orelse element(1, Reason) =:= corrupt, {Places, Reason}),
         ok = file:write_file(path(Config), Good)
     end || Places <- [[3], [12], [4096, 8192], [?EMPTY], [?EMPTY + 8], [?EMPTY + 64]]],
    ?assertMatch([{_, <<"it">>}], all_of(open(Config))).

a_file_cut_short_is_truncated(Config) ->
    Blocks = open(Config, 1000),
    Stored = [{store(Blocks, Data), Data} || N <- lists:seq(1, 900), Data <- [binary:copy(<<N:16>>, 500)]],
    emmap_vm:cut(path(Config), ?EMPTY + ?GROUP + 500 * 1000),
    {Good, Lost} = lists:partition(fun({Address, Data}) ->
                                       case emmap_blocks:read(Blocks, Address) of
                                           {ok, Read} -> ?assertEqual(Data, Read), true;
                                           {error, {corrupt, Address}} -> false;
                                           {error, truncated} -> false
                                       end
                                   end, Stored),
    %% At least all before the page that the file ends in, and none behind it.
    ?assert(length(Good) >= 495, length(Good)),
    ?assert(length(Good) =< 500, length(Good)),
    ?assert(lists:member({error, truncated}, [emmap_blocks:read(Blocks, Address) || {Address, _} <- Lost])),
    ?assertEqual({error, truncated}, emmap_blocks:check(Blocks)),
    _ = emmap_blocks:close(Blocks),
    ?assertMatch({error, {corrupt, _}}, emmap_blocks:open(path(Config), 1000)).

%% Behind all that is stored: nobody touches it.
a_sync_sees_that_the_file_was_cut_short(Config) ->
    Blocks = open(Config, 1000),
    0 = store(Blocks, <<"first">>),
    ok = emmap_blocks:sync(Blocks),
    emmap_vm:cut(path(Config), filelib:file_size(path(Config)) - 1),
    {ok, 1} = emmap_blocks:store(Blocks, <<"second">>),
    ?assertEqual({error, truncated}, emmap_blocks:sync(Blocks)),
    ?assertEqual({error, truncated}, emmap_blocks:store(Blocks, <<"third">>)),
    ?assertEqual({error, truncated}, emmap_blocks:close(Blocks)).

files_of_others_are_left_as_they_are(Config) ->
    Queue = emmap_test:path(Config, "queue"),
    {ok, Handle} = emmap_queue:open(Queue, [{segment_size, 65536}]),
    ok = emmap_queue:close(Handle),
    {ok, QueueBytes} = file:read_file(Queue),
    [begin
         Path = emmap_test:file(Config, "other", Bytes),
         ?assertEqual({error, bad_magic}, emmap_blocks:open(Path, Size)),
         ?assertEqual({ok, Bytes}, file:read_file(Path))
     end || Bytes <- [QueueBytes, <<"x">>, <<0:12288/unit:8, 1>>, <<"EMMAP01\n", 2:64/little, 0:64, 0:64>>,
                      binary:copy(<<"text\n">>, 100000)],
            Size <- [0, 100]],
    ok = emmap_blocks:close(open(Config)),
    ?assertEqual({error, bad_magic}, emmap_queue:open(path(Config))),
    [?assertEqual({error, Reason}, emmap_blocks:open(Path, 100))
     || {Path, Reason} <- [{?config(directory, Config), eisdir}, {"/dev/null", einval},
                           {emmap_test:path(Config, "none/blocks"), enoent}]].

closed_is_an_error(Config) ->
    Blocks = open(Config),
    Address = store(Blocks, <<"it">>),
    ok = emmap_blocks:close(Blocks),
    [?assertEqual({error, closed}, Call())
     || Call <- [fun() -> emmap_blocks:close(Blocks) end, fun() -> emmap_blocks:store(Blocks, <<"a">>) end,
                 fun() -> emmap_blocks:store(Blocks, "a") end, fun() -> emmap_blocks:store(Blocks, <<0:800>>) end,
                 fun() -> emmap_blocks:read(Blocks, Address) end, fun() -> emmap_blocks:free(Blocks, Address) end,
                 fun() -> emmap_blocks:fold(fun(_, _, Acc) -> Acc end, [], Blocks) end,
                 fun() -> emmap_blocks:read_list(Blocks, 0, 1) end, fun() -> emmap_blocks:count(Blocks) end,
                 fun() -> emmap_blocks:info(Blocks) end, fun() -> emmap_blocks:sync(Blocks) end,
                 fun() -> emmap_blocks:check(Blocks) end]].

%%% Room

full_blocks_say_so(Config) ->
    Blocks = open(Config, 100, [size_for(1000, 100)]),
    Addresses = [store(Blocks, <<N:32>>) || N <- lists:seq(1, 1000)],
    ?assertEqual({error, full}, emmap_blocks:store(Blocks, <<"more">>)),
    ?assertMatch(#{count := 1000, room := 1000, file_size := ?EMPTY + ?GROUP + 100000}, emmap_blocks:info(Blocks)),
    ok = emmap_blocks:free(Blocks, lists:nth(500, Addresses)),
    ?assertEqual({ok, lists:nth(500, Addresses)}, emmap_blocks:store(Blocks, <<"more">>)),
    ?assertEqual({error, full}, emmap_blocks:store(Blocks, <<"more">>)),
    ok = emmap_blocks:close(Blocks),
    %% Not even for the file without blocks, or for the first of them.
    Path = emmap_test:path(Config, "small"),
    ?assertEqual({error, full}, emmap_blocks:open(Path, 100, [{max_size, ?EMPTY - 1}])),
    [begin
         {ok, Small} = emmap_blocks:open(Path, 100, [{max_size, Size}]),
         ?assertEqual({error, full}, emmap_blocks:store(Small, <<"one">>)),
         ok = emmap_blocks:close(Small)
     end || Size <- [?EMPTY, ?EMPTY + ?GROUP + 99]],
    {ok, One} = emmap_blocks:open(Path, 100, [size_for(1, 100)]),
    ?assertEqual({ok, 0}, emmap_blocks:store(One, <<"one">>)),
    ?assertEqual({error, full}, emmap_blocks:store(One, <<"two">>)).

%% Those that were synced and freed: nobody has to ask for the syncs that they wait for.
room_is_found_by_a_sync(Config) ->
    Blocks = open(Config, 100, [size_for(200, 100)]),
    Addresses = [store(Blocks, <<N:32>>) || N <- lists:seq(1, 200)],
    [begin
         ok = emmap_blocks:sync(Blocks),
         ok = emmap_blocks:free(Blocks, Address),
         ?assertEqual({ok, Address}, emmap_blocks:store(Blocks, <<"again">>)),
         ?assertEqual({error, full}, emmap_blocks:store(Blocks, <<"more">>))
     end || Address <- [0, 31, 32, 100, 199]],
    ?assertEqual(length(Addresses), emmap_blocks:count(Blocks)).

options_are_kept(Config) ->
    Blocks = open(Config, 100, [{chmod, 8#640}]),
    {ok, #file_info{mode = Mode}} = file:read_file_info(path(Config)),
    ?assertEqual(8#640, Mode band 8#777),
    ok = emmap_blocks:close(Blocks),
    {ok, Default} = emmap_blocks:open(emmap_test:path(Config, "default"), 100),
    {ok, #file_info{mode = DefaultMode}} = file:read_file_info(emmap_test:path(Config, "default")),
    ?assertEqual(8#600, DefaultMode band 8#777),
    ok = emmap_blocks:close(Default),
    %% A limit is the owner's, and no file's.
    Limited = open(Config, 100, [size_for(1, 100), {chmod, 8#600}]),
    _ = store(Limited, <<"one">>),
    ?assertEqual({error, full}, emmap_blocks:store(Limited, <<"two">>)),
    ok = emmap_blocks:close(Limited),
    Unlimited = open(Config),
    _ = store(Unlimited, <<"two">>),
    ?assertEqual(2, emmap_blocks:count(Unlimited)).

%% In a VM of its own, which a page that the disk has no room for would end.
on_a_small_disk(Config, Fun) ->
    Directory = ?config(directory, Config),
    case emmap_vm:may_mount(Directory) of
        true -> emmap_vm:survives(fun() -> Fun(filename:join(Directory, "blocks")) end, #{tmpfs => {Directory, "4m"}});
        Why -> {skip, Why}
    end.

%% Stores until the disk is full.
fill(Blocks) -> fill(Blocks, 0, []).

fill(Blocks, N, Stored) ->
    Data = binary:copy(<<N:32>>, 250),
    case emmap_blocks:store(Blocks, Data) of
        {ok, Address} -> fill(Blocks, N + 1, [{Address, Data} | Stored]);
        {error, enospc} -> lists:reverse(Stored)
    end.

a_full_disk_leaves_the_blocks_as_they_were(Config) ->
    on_a_small_disk(Config, fun(Path) ->
        {ok, Blocks} = emmap_blocks:open(Path, 1000),
        Stored = fill(Blocks),
        true = length(Stored) > 1000,
        Stored = all_of(Blocks),
        {error, enospc} = emmap_blocks:store(Blocks, <<"more">>),
        Count = emmap_blocks:count(Blocks),
        Count = length(Stored),
        ok = emmap_blocks:sync(Blocks),
        Stored = all_of(Blocks),
        ok = emmap_blocks:close(Blocks),
        {ok, Again} = emmap_blocks:open(Path, 1000),
        Stored = all_of(Again),
        {error, enospc} = emmap_blocks:store(Again, <<"more">>)
    end).

a_full_disk_has_room_for_what_was_freed(Config) ->
    on_a_small_disk(Config, fun(Path) ->
        {ok, Blocks} = emmap_blocks:open(Path, 1000),
        [{First, _}, {Second, _} | Rest] = fill(Blocks),
        ok = emmap_blocks:free(Blocks, First),
        {ok, First} = emmap_blocks:store(Blocks, <<"not synced">>),
        ok = emmap_blocks:sync(Blocks),
        ok = emmap_blocks:free(Blocks, Second),
        {ok, Second} = emmap_blocks:store(Blocks, <<"synced">>),
        {error, enospc} = emmap_blocks:store(Blocks, <<"more">>),
        [{First, <<"not synced">>}, {Second, <<"synced">>} | Rest] = all_of(Blocks)
    end).

%%% Syncs

%% All that was stored before is on disk, for each of those who ask at once.
syncs_are_shared(Config) ->
    Blocks = open(Config),
    Results = emmap_test:together([fun() ->
                                       [begin
                                            _ = store(Blocks, <<N:32>>),
                                            emmap_blocks:sync(Blocks)
                                        end || N <- lists:seq(1, 20)]
                                   end || _ <- lists:seq(1, 32)]),
    ?assertEqual([ok], lists:usort(lists:append(Results))),
    ?assertEqual(640, emmap_blocks:count(Blocks)).

no_mail_is_left_behind(Config) ->
    Blocks = open(Config),
    Results = emmap_test:together([fun() ->
                                       [ok = emmap_blocks:sync(Blocks) || _ <- lists:seq(1, 20)],
                                       process_info(self(), messages)
                                   end || _ <- lists:seq(1, 16)]),
    ?assertEqual([{messages, []}], lists:usort(Results)).

a_killed_process_leaves_nobody_waiting(Config) ->
    Blocks = open(Config),
    emmap_test:is_told_when_another_is_killed(fun() -> emmap_blocks:sync(Blocks) end, 60).

%% Who frees a block is not the one that has stored it.
what_is_counted_is_there(Config) ->
    Blocks = open(Config),
    Pairs = [spawn_monitor(fun() ->
                               {Freeing, _} = spawn_monitor(fun() -> free_what_comes(Blocks) end),
                               store_and_pass_on(Blocks, Freeing)
                           end) || _ <- lists:seq(1, 8)],
    Counts = [emmap_blocks:count(Blocks) || _ <- lists:seq(1, 500000)],
    [exit(Pid, kill) || {Pid, _} <- Pairs],
    ?assert(lists:min(Counts) >= 0, lists:min(Counts)),
    ?assert(lists:max(Counts) =< 8, lists:max(Counts)).

store_and_pass_on(Blocks, Freeing) ->
    Freeing ! {self(), store(Blocks, <<"x">>)},
    receive freed -> store_and_pass_on(Blocks, Freeing) end.

free_what_comes(Blocks) ->
    receive {From, Address} -> ok = emmap_blocks:free(Blocks, Address), From ! freed, free_what_comes(Blocks) end.

%% Every call answers the error, until the file is opened anew.
a_failed_sync_stays_one(Config) ->
    case emmap_vm:may_trace() of
        true ->
            Path = path(Config),
            Inject = ["-o", "/dev/null", "-P", Path, "-e", "trace=fdatasync,fsync", "-e",
                      "inject=fdatasync,fsync:error=EIO:when=4+"],
            emmap_vm:survives(fun() ->
                {ok, Blocks} = emmap_blocks:open(Path, 100),
                {ok, Address} = emmap_blocks:store(Blocks, <<"it">>),
                {error, eio} = sync_until_error(Blocks, 10),
                [{error, eio} = Call()
                 || Call <- [fun() -> emmap_blocks:sync(Blocks) end, fun() -> emmap_blocks:store(Blocks, <<"a">>) end,
                             fun() -> emmap_blocks:read(Blocks, Address) end,
                             fun() -> emmap_blocks:free(Blocks, Address) end, fun() -> emmap_blocks:count(Blocks) end,
                             fun() -> emmap_blocks:info(Blocks) end, fun() -> emmap_blocks:check(Blocks) end,
                             fun() -> emmap_blocks:read_list(Blocks, 0, 1) end,
                             fun() -> emmap_blocks:close(Blocks) end]],
                {error, closed} = emmap_blocks:close(Blocks)
            end, #{strace => Inject}),
            ?assertMatch([{_, <<"it">>}], all_of(open(Config)));
        Why -> {skip, Why}
    end.

sync_until_error(Blocks, N) when N > 0 ->
    case emmap_blocks:sync(Blocks) of
        ok -> sync_until_error(Blocks, N - 1);
        Error -> Error
    end.

%%% How much, and how long

%% 200 MB through a thousand blocks, with syncs now and then.
blocks_that_come_and_go_take_no_more_room(Config) ->
    Blocks = open(Config, 1000),
    Data = binary:copy(<<1>>, 1000),
    Start = queue:from_list([store(Blocks, Data) || _ <- lists:seq(1, 1000)]),
    _ = lists:foldl(fun(N, Queue) ->
                        N rem 20000 =:= 0 andalso (ok = emmap_blocks:sync(Blocks)),
                        {{value, Oldest}, Rest} = queue:out(Queue),
                        ok = emmap_blocks:free(Blocks, Oldest),
                        queue:in(store(Blocks, Data), Rest)
                    end, Start, lists:seq(1, 200000)),
    ?assertEqual(1000, emmap_blocks:count(Blocks)),
    #{file_size := Size} = emmap_blocks:info(Blocks),
    ?assert(Size < 4 bsl 20, Size).

%% The best of some rounds, for others use the machine, too: what looks at each block takes a thousand times as long.
a_million_blocks_slow_nothing_down(Config) ->
    Blocks = open(Config, 16),
    [_ = store(Blocks, <<N:64>>) || N <- lists:seq(1, 1000)],
    Few = best(fun() -> store_and_free(Blocks, 200) end),
    [_ = store(Blocks, <<N:64>>) || N <- lists:seq(1, 1000000)],
    ok = emmap_blocks:sync(Blocks),
    Many = best(fun() -> store_and_free(Blocks, 200) end),
    ?assertEqual(1001000, emmap_blocks:count(Blocks)),
    ?assert(Many < 3 * Few + 100, {Few, Many}),
    Reopen = fun(Handle) ->
                 ok = emmap_blocks:close(Handle),
                 {Time, {ok, Next}} = timer:tc(fun() -> emmap_blocks:open(path(Config), 16) end),
                 {Next, Time}
             end,
    {Last, Times} = lists:foldl(fun(_, {Handle, All}) -> {Next, Time} = Reopen(Handle), {Next, [Time | All]} end,
                                {Blocks, []}, lists:seq(1, 10)),
    ct:log("~w us with a thousand, ~w with a million; opened in ~w us", [Few, Many, Times]),
    ?assert(lists:min(Times) < 50000, Times),
    ?assertMatch(#{recovered := clean, count := 1001000}, emmap_blocks:info(Last)).

store_and_free(_, 0) -> ok;
store_and_free(Blocks, N) ->
    Address = store(Blocks, <<N:64>>),
    {ok, <<N:64>>} = emmap_blocks:read(Blocks, Address),
    ok = emmap_blocks:free(Blocks, Address),
    true = emmap_blocks:count(Blocks) >= 1000,
    store_and_free(Blocks, N - 1).

%% Microseconds.
best(Fun) -> lists:min([element(1, timer:tc(Fun)) || _ <- lists:seq(1, 50)]).

%%% Arguments

wrong_arguments_are_explained(Config) ->
    Blocks = open(Config),
    Path = emmap_test:path(Config, "other"),
    Fun = fun(_, _, Acc) -> Acc end,
    [begin
         {badarg, #{Number := Text}} = emmap_test:raised(Call),
         ?assertNotEqual(nomatch, string:find(Text, Part), {Text, Part})
     end || {Call, Number, Part} <-
                [{fun() -> emmap_blocks:open({a}, 1) end, 1, "file name"},
                 {fun() -> emmap_blocks:open({a}, 1, []) end, 1, "file name"},
                 {fun() -> emmap_blocks:open(Path, -1) end, 2, "from 0 to 2^24"},
                 {fun() -> emmap_blocks:open(Path, (1 bsl 24) + 1) end, 2, "from 0 to 2^24"},
                 {fun() -> emmap_blocks:open(Path, a, []) end, 2, "from 0 to 2^24"},
                 {fun() -> emmap_blocks:open(Path, 1, [no_option]) end, 3, "unknown option no_option"},
                 {fun() -> emmap_blocks:open(Path, 1, [{max_size, 0}]) end, 3, "bad value"},
                 {fun() -> emmap_blocks:open(Path, 1, [{max_size, 1 bsl 63}]) end, 3, "bad value"},
                 {fun() -> emmap_blocks:open(Path, 1, [{chmod, 8#10000}]) end, 3, "bad value"},
                 {fun() -> emmap_blocks:open(Path, 1, options) end, 3, "list"},
                 {fun() -> emmap_blocks:open(Path, 1, [{chmod, 8#600} | a]) end, 3, "list"},
                 {fun() -> emmap_blocks:close({a}) end, 1, "not blocks"},
                 {fun() -> emmap_blocks:store({a}, <<>>) end, 1, "not blocks"},
                 {fun() -> emmap_blocks:store(Blocks, a) end, 2, "not iodata"},
                 {fun() -> emmap_blocks:read({a}, 0) end, 1, "not blocks"},
                 {fun() -> emmap_blocks:read(Blocks, -1) end, 2, "address"},
                 {fun() -> emmap_blocks:free({a}, 0) end, 1, "not blocks"},
                 {fun() -> emmap_blocks:free(Blocks, 1 bsl 36) end, 2, "address"},
                 {fun() -> emmap_blocks:fold(a, [], Blocks) end, 1, "function of three"},
                 {fun() -> emmap_blocks:fold(fun(_, Acc) -> Acc end, [], Blocks) end, 1, "function of three"},
                 {fun() -> emmap_blocks:fold(Fun, [], {a}) end, 3, "not blocks"},
                 {fun() -> emmap_blocks:read_list({a}, 0, 1) end, 1, "not blocks"},
                 {fun() -> emmap_blocks:read_list(Blocks, -1, 1) end, 2, "address"},
                 {fun() -> emmap_blocks:read_list(Blocks, 0, 0) end, 3, "from 1 to 2^31"},
                 {fun() -> emmap_blocks:count({a}) end, 1, "not blocks"},
                 {fun() -> emmap_blocks:info({a}) end, 1, "not blocks"},
                 {fun() -> emmap_blocks:sync({a}) end, 1, "not blocks"},
                 {fun() -> emmap_blocks:check({a}) end, 1, "not blocks"}]],
    ?assertEqual({error, enoent}, file:read_file_info(Path)).

errors_have_texts(_) ->
    [?assertMatch([_ | _], emmap_blocks:format_error(Reason))
     || Reason <- [closed, truncated, full, locked, bad_magic, not_found, too_long, {wrong_block_size, 7}, {corrupt, 7},
                   enospc, {error, full}]].

%%% Random calls

%% EMMAP_LONG=1 in the environment of `rebar3 ct' runs 10,000 sequences.
behaves_as_map(Config) ->
    Sequences = case os:getenv("EMMAP_LONG") of false -> 500; _ -> 10000 end,
    Property = emmap_blocks_prop:prop_same_as_map(?config(directory, Config)),
    case proper:quickcheck(Property, [{numtests, Sequences}, {max_size, 60}, quiet, long_result]) of
        true -> ok;
        CounterExample -> ct:fail("~tP~n~tP", [CounterExample, 200, emmap_blocks_prop:difference(), 200])
    end.

%% A property that nothing can fail proves nothing.
wrong_model_is_found_and_shrunk(Config) ->
    Wrong = fun(count, Count) when is_integer(Count), Count > 1 -> Count - 1;
               (_, Answer) -> Answer
            end,
    Property = emmap_blocks_prop:prop_same_as_map(?config(directory, Config), Wrong),
    [{_, _, Steps}] = proper:quickcheck(Property, [{numtests, 500}, {max_size, 60}, quiet, long_result]),
    %% The count is asked for at the end of every sequence.
    ?assert(length(Steps) =< 2, Steps).

%%% Kills

killed_vms_lose_nothing(Config) ->
    Rounds = case os:getenv("EMMAP_LONG") of false -> 20; _ -> 1000 end,
    {Stored, Freed} = emmap_blocks_kill:rounds(?config(directory, Config), Rounds),
    ct:log("~b blocks stored, ~b freed, ~b kills", [Stored, Freed, Rounds]),
    ?assert(Stored > Rounds).
