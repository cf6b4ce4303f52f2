%% Copyright 2026 the emmap authors. Licensed under the Apache License, Version 2.0.

%% Random sequences of calls on a map and on a raw file, side by side. 10,000 of each kind take about a minute:
%%
%%     EMMAP_LONG=1 rebar3 ct --suite Tests/ct/emmap_file_prop_SUITE
-module(emmap_file_prop_SUITE).

-export([all/0, init_per_testcase/2, end_per_testcase/2]).
-export([growable_handle_behaves_as_raw_file/1, fixed_handle_behaves_as_raw_file_that_is_full/1,
         wrong_answer_is_found_and_shrunk/1, wrong_byte_is_found_and_shrunk/1]).

all() ->
    [growable_handle_behaves_as_raw_file, fixed_handle_behaves_as_raw_file_that_is_full,
     wrong_answer_is_found_and_shrunk, wrong_byte_is_found_and_shrunk].

init_per_testcase(Case, Config) ->
    Directory = filename:join(proplists:get_value(priv_dir, Config), atom_to_list(Case)),
    ok = file:make_dir(Directory),
    [{directory, Directory} | Config].

end_per_testcase(_, Config) -> file:del_dir_r(proplists:get_value(directory, Config)).

growable_handle_behaves_as_raw_file(Config) ->
    check(emmap_file_prop:prop_growable(proplists:get_value(directory, Config))).

fixed_handle_behaves_as_raw_file_that_is_full(Config) ->
    check(emmap_file_prop:prop_fixed(proplists:get_value(directory, Config))).

%% A property that nothing can fail proves nothing. Here the model is wrong, and the step that shows it is left, alone or
%% behind the one that it needs.
wrong_answer_is_found_and_shrunk(Config) ->
    Steps = shrunk(Config, fun(_, position, {ok, Position}) when Position > 100 -> {ok, Position - 1};
                              (_, _, Answer) -> Answer
                           end),
    {_, position, _} = lists:last(Steps),
    true = length(Steps) =< 2.

wrong_byte_is_found_and_shrunk(Config) ->
    Steps = shrunk(Config, fun(Raw, advise, ok) -> file:pwrite(Raw, 0, "!");
                              (_, _, Answer) -> Answer
                           end),
    {_, advise, _} = lists:keyfind(advise, 2, Steps),
    true = length(Steps) =< 2.

%% The steps of the smallest sequence that PropEr finds to fail.
shrunk(Config, Change) ->
    Property = emmap_file_prop:prop_growable(proplists:get_value(directory, Config), Change),
    [{_, _, _, _, Steps}] = proper:quickcheck(Property, [{numtests, 500}, {max_size, 30}, quiet, long_result]),
    ct:log("~tp~n~tP", [Steps, emmap_file_prop:difference(), 100]),
    Steps.

check(Property) ->
    Sequences = case os:getenv("EMMAP_LONG") of
                    "1" -> 10000;
                    _ -> 500
                end,
    Print = fun(Format, Args) -> ct:pal(info, Format, Args) end,
    case proper:quickcheck(Property, [{numtests, Sequences}, {max_size, 30}, {on_output, quiet(Print)}, long_result]) of
        true -> ok;
        CounterExample ->
            ct:fail("~tP~n~tP", [CounterExample, 100, emmap_file_prop:difference(), 100])
    end.

%% Not the dots, one for each sequence.
quiet(Print) ->
    fun(".", []) -> ok;
       (Format, Args) -> Print(Format, Args)
    end.
