%% Copyright 2026 the emmap authors. Licensed under the Apache License, Version 2.0.

%% @private
%% @doc Waiting for a word of a file to change: Sources/EmmapNif/Awaiting.swift says how.
%%
%% `emmap:await' calls this last, so that nothing of `emmap' is left in a process that waits: it may be loaded anew.
-module(emmap_await).

-export([await/4]).

-include("emmap_api.hrl").

%% @doc Returns the word as soon as it is not the value; raises why it cannot be told, as if `emmap:await' did.
-spec await(term(), term(), term(), term()) -> {ok, integer()} | timeout.
await(File, Position, Value, Timeout) ->
    case deadline(Timeout) of
        none -> raise(badarg, [File, Position, Value, Timeout]);
        Deadline ->
            case wait(?resource(File), Position, Value, Deadline) of
                Word when is_integer(Word) -> {ok, Word};
                timeout -> timeout;
                Reason -> raise(Reason, [File, Position, Value, Timeout])
            end
    end.

deadline(Now) when Now =:= 0; Now =:= infinity -> Now;
deadline(Timeout) when is_integer(Timeout), Timeout > 0, Timeout =< 16#ffffffff ->
    erlang:monotonic_time(microsecond) + 1000 * Timeout;
deadline(_) -> none.

wait(Resource, Position, Value, 0) -> emmap_nif:await(Resource, Position, Value, none);
wait(Resource, Position, Value, Deadline) ->
    Reference = make_ref(),
    case emmap_nif:await(Resource, Position, Value, Reference) of
        Waiter when is_reference(Waiter) ->
            receive
                {emmap_await, Reference} -> wait(Resource, Position, Value, Deadline)
            after rest(Deadline) ->
                %% The name of the one who waits is held until here.
                case emmap_nif:await_end(Waiter) of
                    true -> ok;
                    false -> receive {emmap_await, Reference} -> ok end
                end,
                wait(Resource, Position, Value, 0)
            end;
        Answer -> Answer
    end.

%% Milliseconds, and not one too few.
rest(infinity) -> infinity;
rest(Deadline) -> (max(0, Deadline - erlang:monotonic_time(microsecond)) + 999) div 1000.

%% The shell looks for the arguments in the function on top of the stack, and it is `emmap' that was called.
-spec raise(atom(), [term()]) -> no_return().
raise(Reason, Args) ->
    try ?raise(Reason, Args)
    catch
        error:Raised:Stack ->
            [{_, _, _, Info} | Callers] = Stack,
            erlang:raise(error, Raised, [{emmap, await, Args, Info} | Callers])
    end.
