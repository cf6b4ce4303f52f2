%% Copyright 2026 the emmap authors. Licensed under the Apache License, Version 2.0.

%% Properties of emmap_atomics, with OTP's `atomics' as the model: results, exceptions and explanations are the same.
-module(emmap_atomics_prop).

-export([prop_same_as_atomics/1, prop_same_as_atomics/2, difference/0]).

-include_lib("proper/include/proper.hrl").

prop_same_as_atomics(Path) -> prop_same_as_atomics(Path, fun(_, Answer) -> Answer end).

%% With a fun that changes what `atomics' answers, for a model that is wrong.
prop_same_as_atomics(Path, Change) ->
    ?FORALL({Arity, Signed, Steps}, {range(1, 5), boolean(), steps()},
            begin
                _ = file:delete(Path),
                Model = atomics:new(Arity, [{signed, Signed}]),
                %% Half of the way the file is closed and opened again: what was written is there.
                {Before, After} = lists:split(length(Steps) div 2, Steps),
                run(Path, Arity, Signed, Model, Change, Before)
                    andalso run(Path, Arity, Signed, Model, Change, After)
            end).

run(Path, Arity, Signed, Model, Change, Steps) ->
    {ok, Ref} = emmap_atomics:open(Path, Arity, [{signed, Signed}]),
    Result = compare(Model, Change, Ref, Steps ++ [{get, [Index]} || Index <- lists:seq(1, Arity)]),
    ok = emmap_atomics:close(Ref),
    Result.

compare(_, _, _, []) -> true;
compare(Model, Change, Ref, [{Function, Args} | Steps]) ->
    Expected = Change(Function, outcome(atomics, Function, [Model | Args])),
    case outcome(emmap_atomics, Function, [Ref | Args]) of
        Expected -> compare(Model, Change, Ref, Steps);
        %% `atomics' finds no words for an unsigned decrement that is too large.
        {error, badarg, #{3 := <<"out of range">>}} when Expected =:= {error, badarg, #{}} ->
            compare(Model, Change, Ref, Steps);
        Other ->
            _ = put(?MODULE, [{call, Function, Args}, {atomics, Expected}, {emmap_atomics, Other}]),
            false
    end.

%% How the two differed in the last sequence that failed.
difference() -> get(?MODULE).

outcome(Module, Function, Args) ->
    try apply(Module, Function, Args) of
        #{memory := Memory} = Info when is_integer(Memory), Memory >= 8 -> maps:remove(memory, Info);
        Result -> Result
    catch
        Class:Reason:Stack ->
            [{Module, Function, Args, Info} | _] = Stack,
            #{module := Formatter} = proplists:get_value(error_info, Info),
            {Class, Reason, maps:map(fun(_, Text) -> iolist_to_binary(Text) end, Formatter:format_error(Reason, Stack))}
    end.

steps() ->
    list(oneof([{get, [index()]}, {put, [index(), value()]}, {add, [index(), value()]}, {add_get, [index(), value()]},
                {sub, [index(), value()]}, {sub_get, [index(), value()]}, {exchange, [index(), value()]},
                {compare_exchange, [index(), value(), value()]}, {info, []}])).

index() -> frequency([{20, range(1, 3)}, {2, range(-1, 7)}, {1, oneof([1 bsl 64, anything, 1.0, <<>>])}]).

%% Few enough that a compare_exchange meets what it expects.
value() ->
    frequency([{8, range(-2, 2)}, {8, limit()}, {1, integer()}, {1, oneof([anything, 1.0, -1.0, <<>>, []])}]).

limit() ->
    ?LET({Limit, Distance}, {oneof([1 bsl 63, -(1 bsl 63), 1 bsl 64, -(1 bsl 64), 1 bsl 32]), range(-2, 2)},
         Limit + Distance).
