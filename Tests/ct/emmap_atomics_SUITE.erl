%% Copyright 2026 the emmap authors. Licensed under the Apache License, Version 2.0.

%% `atomics' in a file.
-module(emmap_atomics_SUITE).

-export([all/0, init_per_testcase/2, end_per_testcase/2]).
-export([behaves_as_atomics/1, bad_references_are_explained_as_atomics_does/1, wrong_arguments_of_open_are_explained/1,
         signedness_is_the_readers/1, a_file_of_counters_is_an_array/1, a_file_of_another_size_is_refused/1,
         no_such_directory_is_enoent/1, an_array_larger_than_files_can_be_is_an_error/1, closed_array_is_badarg/1,
         truncated_file_raises_truncated/1, concurrent_additions_all_count/1, two_refs_see_each_other/1,
         words_are_where_the_layout_says/1, each_operation_does_what_it_says/1, indexes_and_values_have_limits/1,
         info_tells_how_many_and_what_they_take/1, wrong_arguments_are_refused/1, wrong_model_is_found_and_shrunk/1]).

-include_lib("stdlib/include/assert.hrl").

all() ->
    [behaves_as_atomics, bad_references_are_explained_as_atomics_does, wrong_arguments_of_open_are_explained,
     signedness_is_the_readers, a_file_of_counters_is_an_array, a_file_of_another_size_is_refused,
     no_such_directory_is_enoent, an_array_larger_than_files_can_be_is_an_error, closed_array_is_badarg,
     truncated_file_raises_truncated, concurrent_additions_all_count, two_refs_see_each_other,
     words_are_where_the_layout_says, each_operation_does_what_it_says, indexes_and_values_have_limits,
     info_tells_how_many_and_what_they_take, wrong_arguments_are_refused, wrong_model_is_found_and_shrunk].

init_per_testcase(Case, Config) ->
    Directory = filename:join(proplists:get_value(priv_dir, Config), atom_to_list(Case)),
    ok = file:make_dir(Directory),
    [{directory, Directory} | Config].

end_per_testcase(_, Config) -> file:del_dir_r(proplists:get_value(directory, Config)).

path(Config) -> filename:join(proplists:get_value(directory, Config), "atomics").

open(Config, Arity, Options) ->
    {ok, Ref} = emmap_atomics:open(path(Config), Arity, Options),
    Ref.

%% Random sequences. EMMAP_LONG=1 in the environment of `rebar3 ct' runs 10,000 of them.
behaves_as_atomics(Config) ->
    Sequences = case os:getenv("EMMAP_LONG") of
                    "1" -> 10000;
                    _ -> 500
                end,
    Property = emmap_atomics_prop:prop_same_as_atomics(path(Config)),
    case proper:quickcheck(Property, [{numtests, Sequences}, quiet, long_result]) of
        true -> ok;
        CounterExample -> ct:fail("~tp~n~tp", [CounterExample, emmap_atomics_prop:difference()])
    end.

%% A property that nothing can fail proves nothing.
wrong_model_is_found_and_shrunk(Config) ->
    Wrong = fun(add_get, Sum) when is_integer(Sum) -> Sum + 1;
               (_, Answer) -> Answer
            end,
    Property = emmap_atomics_prop:prop_same_as_atomics(path(Config), Wrong),
    [{_, _, Steps}] = proper:quickcheck(Property, [{numtests, 500}, quiet, long_result]),
    [{add_get, [1, _]}] = Steps.

%% How a call fails: the exception and what its explanation says.
failure(Module, Function, Args) ->
    try apply(Module, Function, Args) of
        Result -> {returned, Result}
    catch
        Class:Reason:Stack ->
            [{Module, Function, Args, Info} | _] = Stack,
            #{module := Formatter} = proplists:get_value(error_info, Info),
            {Class, Reason, maps:map(fun(_, Text) -> iolist_to_binary(Text) end, Formatter:format_error(Reason, Stack))}
    end.

calls() ->
    [{put, [1, 1]}, {get, [1]}, {add, [1, 1]}, {add_get, [1, 1]}, {sub, [1, 1]}, {sub_get, [1, 1]}, {exchange, [1, 1]},
     {compare_exchange, [1, 1, 1]}, {info, []}].

bad_references_are_explained_as_atomics_does(_) ->
    [begin
         Expected = failure(atomics, Function, [Bad | Args]),
         {Function, Expected} = {Function, failure(emmap_atomics, Function, [Bad | Args])}
     end || {Function, Args} <- calls() ++ [{put, [0, anything]}, {sub, [anything, anything]},
                                            {compare_exchange, [0, 1 bsl 64, anything]}],
            Bad <- [anything, make_ref(), {}, <<>>]],
    [{error, badarg, #{1 := <<"invalid atomics reference">>}} = failure(emmap_atomics, Function, [Bad])
     || Function <- [close, sync], Bad <- [anything, make_ref(), {}]].

%% As `atomics:new/2' explains them, one argument further on.
wrong_arguments_of_open_are_explained(Config) ->
    Path = path(Config),
    [begin
         {Class, Reason, Texts} = failure(atomics, new, [Arity, Options]),
         Expected = {Class, Reason, maps:from_list([{Number + 1, Text} || {Number, Text} <- maps:to_list(Texts)])},
         {Arity, Options, Expected} = {Arity, Options, failure(emmap_atomics, open, [Path, Arity, Options])}
     end || {Arity, Options} <- [{0, []}, {-1, []}, {anything, []}, {1.0, []}, {1 bsl 65, []}, {1, anything},
                                 {1, [anything]}, {1, [{signed, anything}]}, {1, [{signed, true} | anything]},
                                 {1, [{signed, true}, anything]}, {1, #{}}, {anything, [anything]}, {0, anything}]],
    {error, badarg, #{1 := <<"not a file name", _/binary>>}} = failure(emmap_atomics, open, [{name}, 1, []]),
    {error, badarg, #{1 := <<"not a file name", _/binary>>}} = failure(emmap_atomics, open, ["a\0b", 1, []]),
    {error, enoent} = file:read_file_info(Path).

signedness_is_the_readers(Config) ->
    Signed = open(Config, 1, []),
    Unsigned = open(Config, 1, [{signed, true}, {signed, false}]),
    ok = emmap_atomics:put(Signed, 1, -1),
    16#ffffffffffffffff = emmap_atomics:get(Unsigned, 1),
    0 = emmap_atomics:add_get(Unsigned, 1, 1),
    16#ffffffffffffffff = emmap_atomics:sub_get(Unsigned, 1, 1),
    -1 = emmap_atomics:get(Signed, 1),
    ok = emmap_atomics:compare_exchange(Unsigned, 1, 16#ffffffffffffffff, 1 bsl 63),
    -(1 bsl 63) = emmap_atomics:get(Signed, 1),
    #{min := 0, max := 16#ffffffffffffffff, size := 1} = emmap_atomics:info(Unsigned),
    #{min := -(1 bsl 63), max := 16#7fffffffffffffff, size := 1} = emmap_atomics:info(Signed).

a_file_of_counters_is_an_array(Config) ->
    Counters = emmap:open_counters(path(Config), 2),
    0 = emmap:inc_counter(Counters, 1, 7),
    Ref = open(Config, 2, []),
    7 = emmap_atomics:get(Ref, 2),
    8 = emmap_atomics:add_get(Ref, 2, 1),
    8 = emmap:read_counter(Counters, 1),
    ok = emmap:close_counters(Counters).

a_file_of_another_size_is_refused(Config) ->
    Ref = open(Config, 3, []),
    ok = emmap_atomics:put(Ref, 3, 9),
    ok = emmap_atomics:close(Ref),
    {ok, Bytes} = file:read_file(path(Config)),
    {error, {Why2, _}} = emmap_atomics:open(path(Config), 2, []),
    {error, {Why4, _}} = emmap_atomics:open(path(Config), 4, []),
    [true = lists:member(Why, [wrong_count, wrong_length]) || Why <- [Why2, Why4]],
    {ok, Bytes} = file:read_file(path(Config)),
    ok = file:write_file(path(Config), binary:copy(<<"x">>, 40)),
    {error, bad_magic} = emmap_atomics:open(path(Config), 3, []),
    ok = file:write_file(path(Config), "short"),
    {error, {wrong_length, 5}} = emmap_atomics:open(path(Config), 3, []),
    {ok, <<"short">>} = file:read_file(path(Config)).

no_such_directory_is_enoent(Config) ->
    {error, enoent} = emmap_atomics:open(filename:join(path(Config), "none"), 1, []).

an_array_larger_than_files_can_be_is_an_error(Config) ->
    Max = ((1 bsl 63) - 1 - 16) div 8,
    {error, Reason} = emmap_atomics:open(path(Config), Max, []),
    true = lists:member(Reason, [efbig, enospc, enomem]),
    {error, system_limit, #{2 := <<"atomics array size reached a system limit">>}} =
        failure(emmap_atomics, open, [path(Config), Max + 1, []]),
    {error, enoent} = file:read_file_info(path(Config)).

closed_array_is_badarg(Config) ->
    Ref = open(Config, 1, []),
    ok = emmap_atomics:sync(Ref),
    ok = emmap_atomics:close(Ref),
    {error, closed} = emmap_atomics:close(Ref),
    {error, closed} = emmap_atomics:sync(Ref),
    [{Function, {error, badarg, #{1 := <<"the file is closed">>}}} =
         {Function, failure(emmap_atomics, Function, [Ref | Args])} || {Function, Args} <- calls()].

truncated_file_raises_truncated(Config) ->
    Ref = open(Config, 2000, []),
    {ok, File} = file:open(path(Config), [raw, read, write]),
    {ok, 16} = file:position(File, 16),
    ok = file:truncate(File),
    ok = file:close(File),
    [{Function, {error, truncated, #{general := <<_/binary>>}}} =
         {Function, failure(emmap_atomics, Function, [Ref, 2000 | tl(Args)])}
     || {Function, Args} <- calls(), Args =/= []].

%% See emmap_test:overlap/5.
concurrent_additions_all_count(Config) ->
    Ref = open(Config, 2, [{signed, false}]),
    Meeting = path(Config) ++ "_meeting",
    ok = file:write_file(Meeting, <<0:128>>),
    {ok, File} = emmap:open(Meeting, [shared, write]),
    Steps = emmap_test:together([fun() -> add(Ref, File) end || _ <- lists:seq(1, 4)]),
    Expected = lists:sum(Steps),
    Expected = emmap_atomics:get(Ref, 1),
    %% The second went the other way round through zero.
    Wrapped = (1 bsl 64) - Expected,
    Wrapped = emmap_atomics:get(Ref, 2).

add(Ref, File) ->
    {Steps, _} = emmap_test:overlap(File, 0, 4, fun(Last) ->
        New = emmap_atomics:add_get(Ref, 1, 1),
        ok = emmap_atomics:sub(Ref, 2, 1),
        {New =/= Last + 1, New}
    end, 0),
    Steps.

two_refs_see_each_other(Config) ->
    One = open(Config, 1, []),
    Other = open(Config, 1, []),
    0 = emmap_atomics:exchange(One, 1, 5),
    5 = emmap_atomics:compare_exchange(Other, 1, 4, 6),
    ok = emmap_atomics:compare_exchange(Other, 1, 5, 6),
    6 = emmap_atomics:get(One, 1).

words_are_where_the_layout_says(Config) ->
    Ref = open(Config, 2, []),
    ok = emmap_atomics:put(Ref, 1, 16#0102030405060708),
    ok = emmap_atomics:put(Ref, 2, -2),
    ok = emmap_atomics:close(Ref),
    {ok, <<"EMMAP01\n", 2:64/little, 16#0102030405060708:64/little, -2:64/little-signed>>} =
        file:read_file(path(Config)).

each_operation_does_what_it_says(Config) ->
    Ref = open(Config, 2, []),
    ?assertEqual(ok, emmap_atomics:put(Ref, 2, 10)),
    ?assertEqual(10, emmap_atomics:get(Ref, 2)),
    ?assertEqual(ok, emmap_atomics:add(Ref, 2, 5)),
    ?assertEqual(18, emmap_atomics:add_get(Ref, 2, 3)),
    ?assertEqual(ok, emmap_atomics:sub(Ref, 2, 1)),
    ?assertEqual(15, emmap_atomics:sub_get(Ref, 2, 2)),
    ?assertEqual(15, emmap_atomics:exchange(Ref, 2, -7)),
    ?assertEqual(-7, emmap_atomics:compare_exchange(Ref, 2, 15, 1)),
    ?assertEqual(ok, emmap_atomics:compare_exchange(Ref, 2, -7, 1)),
    ?assertEqual({0, 1}, {emmap_atomics:get(Ref, 1), emmap_atomics:get(Ref, 2)}),
    ?assertEqual(ok, emmap_atomics:sync(Ref)).

%% Below, at and above each.
indexes_and_values_have_limits(Config) ->
    Ref = open(Config, 3, []),
    [begin
         Is = fun(Expected, Call) -> ?assertEqual({Index, Expected}, {Index, try Call() catch error:R -> R end}) end,
         Word = fun(Answer) -> if Index >= 1, Index =< 3 -> Answer; true -> badarg end end,
         Is(Word(ok), fun() -> emmap_atomics:put(Ref, Index, 1) end),
         Is(Word(1), fun() -> emmap_atomics:get(Ref, Index) end),
         Is(Word(ok), fun() -> emmap_atomics:add(Ref, Index, 1) end),
         Is(Word(3), fun() -> emmap_atomics:add_get(Ref, Index, 1) end),
         Is(Word(ok), fun() -> emmap_atomics:sub(Ref, Index, 1) end),
         Is(Word(1), fun() -> emmap_atomics:sub_get(Ref, Index, 1) end),
         Is(Word(1), fun() -> emmap_atomics:exchange(Ref, Index, 2) end),
         Is(Word(ok), fun() -> emmap_atomics:compare_exchange(Ref, Index, 2, 3) end)
     end || Index <- [-1, 0, 1, 2, 3, 4, 1 bsl 61, 1 bsl 64]],
    [begin
         Fits = Value >= -(1 bsl 63) andalso Value < 1 bsl 63,
         Outcome = try emmap_atomics:put(Ref, 1, Value) catch error:badarg -> badarg end,
         ?assertEqual({Value, Fits}, {Value, Outcome =:= ok}),
         Fits andalso ?assertEqual(Value, emmap_atomics:exchange(Ref, 1, 0))
     end || Limit <- [-(1 bsl 63), 1 bsl 63], Value <- [Limit - 1, Limit, Limit + 1]].

%% As much as there is in the file: all of it is mapped.
info_tells_how_many_and_what_they_take(Config) ->
    [begin
         Ref = open(Config, Arity, []),
         Bytes = 16 + 8 * Arity,
         ?assertMatch(#{size := Arity, memory := Bytes}, emmap_atomics:info(Ref)),
         ?assertEqual(Bytes, filelib:file_size(path(Config))),
         ok = emmap_atomics:close(Ref),
         ok = file:delete(path(Config))
     end || Arity <- [1, 2, 510, 511, 1000]].

wrong_arguments_are_refused(Config) ->
    Ref = open(Config, 1, []),
    [begin
         ?assertError(badarg, emmap_atomics:open(path(Config), Bad, [])),
         ?assertError(badarg, emmap_atomics:open(path(Config), 1, [Bad])),
         ?assertError(badarg, emmap_atomics:open({Bad}, 1, [])),
         ?assertError(badarg, emmap_atomics:close(Bad)),
         ?assertError(badarg, emmap_atomics:sync(Bad)),
         ?assertError(badarg, emmap_atomics:info(Bad)),
         ?assertError(badarg, emmap_atomics:put(Bad, 1, 1)),
         ?assertError(badarg, emmap_atomics:put(Ref, Bad, 1)),
         ?assertError(badarg, emmap_atomics:put(Ref, 1, Bad)),
         ?assertError(badarg, emmap_atomics:get(Bad, 1)),
         ?assertError(badarg, emmap_atomics:get(Ref, Bad)),
         ?assertError(badarg, emmap_atomics:add(Bad, 1, 1)),
         ?assertError(badarg, emmap_atomics:add(Ref, Bad, 1)),
         ?assertError(badarg, emmap_atomics:add(Ref, 1, Bad)),
         ?assertError(badarg, emmap_atomics:add_get(Bad, 1, 1)),
         ?assertError(badarg, emmap_atomics:add_get(Ref, Bad, 1)),
         ?assertError(badarg, emmap_atomics:add_get(Ref, 1, Bad)),
         ?assertError(badarg, emmap_atomics:sub(Bad, 1, 1)),
         ?assertError(badarg, emmap_atomics:sub(Ref, Bad, 1)),
         ?assertError(badarg, emmap_atomics:sub_get(Bad, 1, 1)),
         ?assertError(badarg, emmap_atomics:sub_get(Ref, Bad, 1)),
         ?assertError(badarg, emmap_atomics:exchange(Bad, 1, 1)),
         ?assertError(badarg, emmap_atomics:exchange(Ref, Bad, 1)),
         ?assertError(badarg, emmap_atomics:exchange(Ref, 1, Bad)),
         ?assertError(badarg, emmap_atomics:compare_exchange(Bad, 1, 0, 1)),
         ?assertError(badarg, emmap_atomics:compare_exchange(Ref, Bad, 0, 1)),
         ?assertError(badarg, emmap_atomics:compare_exchange(Ref, 1, Bad, 1)),
         ?assertError(badarg, emmap_atomics:compare_exchange(Ref, 1, 0, Bad))
     end || Bad <- [anything, 1.0, {}, <<1>>, make_ref()]],
    %% As `atomics', which negates it first.
    [begin
         ?assertError(badarith, emmap_atomics:sub(Ref, 1, Bad)),
         ?assertError(badarith, emmap_atomics:sub_get(Ref, 1, Bad))
     end || Bad <- [anything, {}, <<1>>]],
    ?assertEqual(0, emmap_atomics:get(Ref, 1)).
