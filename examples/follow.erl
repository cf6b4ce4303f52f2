%% Copyright 2026 the emmap authors. Licensed under the Apache License, Version 2.0.
%%
%% Prints the lines of a log as they are written to it, as `tail -f' does, for ever or until there were so many. A line
%% is printed when its newline is there. A log that is cut, or begun anew under its name by writing less than it had, is
%% read from its start. After `make':
%%
%%     ERL_LIBS=_build/default/lib escript examples/follow.erl TEXT 1
-module(follow).
-mode(compile).

-export([main/1]).

-include_lib("kernel/include/file.hrl").

%% How long to wait at the end, in milliseconds, and how many lines to take at once.
-define(PAUSE, 50).
-define(LINES, 1024).

main([Log]) -> follow(Log, infinity);
main([Log, Count]) ->
    case string:to_integer(Count) of
        {Lines, []} when Lines > 0 -> follow(Log, Lines);
        _ -> usage()
    end;
main(_) -> usage().

follow(Log, Count) ->
    case emmap:open(Log, [read, shared, follow]) of
        {ok, Map} -> follow(Map, <<>>, Count);
        {error, Reason} ->
            io:format(standard_error, "~ts: ~ts~n", [Log, file:format_error(Reason)]),
            halt(1)
    end.

%% Begun is the line at the end that has no newline yet.
follow(_, _, 0) -> ok;
follow(Map, Begun, Count) ->
    case emmap:lines(Map, min(?LINES, Count)) of
        {ok, [Line | Lines]} ->
            {Whole, Last} = whole([<<Begun/binary, Line/binary>> | Lines], []),
            case file:write(standard_io, Whole) of
                ok when Count =:= infinity -> follow(Map, Last, infinity);
                ok -> follow(Map, Last, Count - length(Whole));
                %% Nobody reads any more.
                {error, _} -> ok
            end;
        eof ->
            receive after ?PAUSE -> ok end,
            case is_shorter(Map) of
                true -> start_again(Map, Count);
                false -> follow(Map, Begun, Count)
            end;
        {error, truncated} -> start_again(Map, Count);
        {error, Reason} -> error(Reason)
    end.

%% The lines that end with a newline, and the one at the end that does not.
whole([Line], Lines) ->
    case binary:last(Line) of
        $\n -> {lists:reverse(Lines, [Line]), <<>>};
        _ -> {lists:reverse(Lines), binary:copy(Line)}
    end;
whole([Line | Rest], Lines) -> whole(Rest, [Line | Lines]).

%% Whether the file ends before what was read.
is_shorter(Map) ->
    {ok, Here} = emmap:position(Map, cur),
    {ok, #file_info{size = Size}} = emmap:read_handle_info(Map, []),
    Size < Here.

start_again(Map, Count) ->
    {ok, _} = emmap:remap(Map),
    {ok, 0} = emmap:position(Map, 0),
    follow(Map, <<>>, Count).

usage() ->
    io:put_chars(standard_error, "usage: escript follow.erl LOG [LINES]\n"),
    halt(2).
