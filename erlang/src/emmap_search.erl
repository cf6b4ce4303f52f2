%% Copyright 2026 the emmap authors. Licensed under the Apache License, Version 2.0.

%% @private
%% @doc Searches and lines, a bounded piece with each call of the library: a process that is killed meanwhile is gone at
%% the end of a piece. `bad' is for the arguments by their numbers.
-module(emmap_search).

-export([match/3, matches/3, lines/2, fold_lines/3]).

-include("emmap_api.hrl").

-type bad() :: {bad, Argument :: pos_integer(), Why :: term()}.

%% @doc Finds the first match, or the last one.
-spec match(term(), term(), term()) -> {non_neg_integer(), pos_integer()} | nomatch | {error, emmap:reason()} | bad().
match(File, Pattern, Options) ->
    case arguments(File, Pattern, Options, [scope, last]) of
        {ok, Resource, Patterns, #{from := From, to := To} = Parsed} ->
            Limit = case Parsed of #{last := true} -> last; _ -> 1 end,
            case search(Resource, Patterns, From, To, Limit) of
                {ok, [Match]} -> Match;
                {ok, []} -> nomatch;
                Other -> Other
            end;
        Bad -> Bad
    end.

%% @doc Finds all matches, or the first ones.
-spec matches(term(), term(), term()) -> [{non_neg_integer(), pos_integer()}] | {error, emmap:reason()} | bad().
matches(File, Pattern, Options) ->
    case arguments(File, Pattern, Options, [scope, limit]) of
        {ok, Resource, Patterns, #{from := From, to := To} = Parsed} ->
            case search(Resource, Patterns, From, To, maps:get(limit, Parsed, ?MAX_INT64)) of
                {ok, Matches} -> Matches;
                Other -> Other
            end;
        Bad -> Bad
    end.

%% The range is checked with the first piece; where it ends past the end later, somebody has cut the file.
search(Resource, Patterns, From, To, Limit) ->
    case emmap_nif:search(Resource, Patterns, From, To, Limit) of
        {error, out_of_range} -> {bad, 3, past_the_end};
        {error, badarg} -> {bad, 1, not_a_file};
        Answer -> search_on(Resource, Patterns, {From, To}, Limit, Answer, [])
    end.

search_on(_, _, _, _, {error, out_of_range}, _) -> {error, truncated};
search_on(_, _, _, _, {error, _} = Error, _) -> Error;
search_on(_, _, _, _, {done, Found}, Done) -> found([Found | Done]);
search_on(_, _, _, Limit, {_, Found}, Done) when length(Found) =:= Limit -> found([Found | Done]);
search_on(Resource, Patterns, {From, _}, last, {To, []}, _) ->
    search_on(Resource, Patterns, {From, To}, last, emmap_nif:search(Resource, Patterns, From, To, last), []);
search_on(Resource, Patterns, {_, To}, Limit, {From, Found}, Done) ->
    Rest = Limit - length(Found),
    search_on(Resource, Patterns, {From, To}, Rest, emmap_nif:search(Resource, Patterns, From, To, Rest),
              [Found | Done]).

found(Pieces) -> {ok, lists:append(lists:reverse(Pieces))}.

arguments(?handle(Resource), Pattern, Options, Known) ->
    case {patterns(Pattern), options(Options, Known, #{from => 0, to => eof})} of
        {error, _} -> {bad, 2, not_a_pattern};
        {_, {bad, Why}} -> {bad, 3, Why};
        {Patterns, Parsed} -> {ok, Resource, Patterns, Parsed}
    end;
arguments(_, _, _, _) -> {bad, 1, not_a_file}.

patterns(Pattern) when is_binary(Pattern) -> patterns([Pattern]);
patterns([_ | _] = Patterns) ->
    try lists:all(fun(Pattern) -> is_binary(Pattern) andalso Pattern =/= <<>> end, Patterns) of
        true -> Patterns;
        false -> error
    catch
        error:_ -> error
    end;
patterns(_) -> error.

options([], _, Parsed) -> Parsed;
options([Option | Options], Known, Parsed) ->
    Name = case Option of
               {Key, _} -> Key;
               _ -> Option
           end,
    case lists:member(Name, Known) andalso option(Option) of
        false -> {bad, {unknown_option, Option}};
        bad -> {bad, {bad_value, Option}};
        New -> options(Options, Known, maps:merge(Parsed, New))
    end;
options(_, _, _) -> {bad, not_a_list}.

%% A range, as `binary:match/3' has it: of a negative length it ends where it says that it starts.
option({scope, {Start, Length}}) when is_integer(Start), is_integer(Length) ->
    {From, To} = {min(Start, Start + Length), max(Start, Start + Length)},
    case From >= 0 andalso To =< ?MAX_INT64 of
        true -> #{from => From, to => To};
        false -> bad
    end;
option(last) -> #{last => true};
option({limit, N}) when is_integer(N), N > 0, N =< ?MAX_INT64 -> #{limit => N};
option({Name, _}) when Name =:= scope; Name =:= limit -> bad;
option(_) -> false.

%% @doc Reads lines.
-spec lines(term(), term()) -> {ok, [binary(), ...]} | eof | {error, emmap:reason()} | bad().
lines(?handle(Resource), Max) when ?is_natural(Max), Max > 0 ->
    case emmap_nif:lines(Resource, Max) of
        Lines when is_list(Lines) -> {ok, Lines};
        {error, badarg} -> {bad, 1, not_a_file};
        Other -> Other
    end;
lines(?handle(_), _) -> {bad, 2, not_a_positive_number};
lines(_, _) -> {bad, 1, not_a_file}.

%% How many lines are read at a time.
-define(LINES, 512).

%% @doc Calls a function with each line.
-spec fold_lines(term(), term(), term()) -> {ok, term()} | {error, emmap:reason()} | bad().
fold_lines(Fun, _, _) when not is_function(Fun, 2) -> {bad, 1, not_a_function};
fold_lines(Fun, Acc, ?handle(Resource)) ->
    case emmap_nif:lines(Resource, ?LINES) of
        {error, badarg} -> {bad, 3, not_a_file};
        Lines -> fold_on(Fun, Acc, Resource, Lines)
    end;
fold_lines(_, _, _) -> {bad, 3, not_a_file}.

fold_on(_, Acc, _, eof) -> {ok, Acc};
fold_on(_, _, _, {error, _} = Error) -> Error;
fold_on(Fun, Acc, Resource, Lines) ->
    Next = lists:foldl(Fun, Acc, Lines),
    fold_on(Fun, Next, Resource, emmap_nif:lines(Resource, ?LINES)).
