%% Copyright 2026 the emmap authors. Licensed under the Apache License, Version 2.0.

%% @private
%% @doc Waiting for the advisory lock of a file.
%%
%% The system wakes nobody but a thread of its own that waits for such a lock, and has no way to end that wait but a
%% signal. So the process that waits tries again and again, with pauses: it holds no thread, and can be killed.
-module(emmap_lock).

-export([lock/3, unlock/1]).

-include("emmap_api.hrl").

%% Pauses in milliseconds: each twice as long as the one before, up to the longest.
-define(FIRST, 1).
-define(LONGEST, 32).

%% @doc Takes the lock, waiting for so many milliseconds.
-spec lock(term(), term(), term()) -> ok | {error, emmap:reason() | locked}.
lock(File, Kind, Timeout) when Kind =:= shared; Kind =:= exclusive ->
    case Timeout of
        infinity -> wait(?resource(File), Kind, infinity, ?FIRST);
        _ when is_integer(Timeout), Timeout >= 0 ->
            wait(?resource(File), Kind, erlang:monotonic_time(microsecond) + 1000 * Timeout, ?FIRST);
        _ -> {error, badarg}
    end;
lock(_, _, _) -> {error, badarg}.

wait(Resource, Kind, Deadline, Pause) ->
    case emmap_nif:set_lock(Resource, Kind) of
        locked ->
            case rest(Deadline) of
                0 -> {error, locked};
                Rest ->
                    receive after min(Pause, Rest) -> ok end,
                    wait(Resource, Kind, Deadline, min(2 * Pause, ?LONGEST))
            end;
        Result -> Result
    end.

%% Milliseconds, and not one too few; the atom is greater than any number.
rest(infinity) -> infinity;
rest(Deadline) -> (max(0, Deadline - erlang:monotonic_time(microsecond)) + 999) div 1000.

%% @doc Gives the lock back.
-spec unlock(term()) -> ok | {error, emmap:reason()}.
unlock(File) ->
    case emmap_nif:set_lock(?resource(File), none) of
        ok -> ok;
        {error, _} = Error -> Error
    end.
