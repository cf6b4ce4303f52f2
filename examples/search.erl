%% Copyright 2026 the emmap authors. Licensed under the Apache License, Version 2.0.
%%
%% Counts a word in a text of any size, larger than the heap that the searching process may have and larger than the
%% memory that the VM may have: the text is searched where it is mapped, and nothing of it is copied. After `make':
%%
%%     ERL_LIBS=_build/default/lib escript examples/search.erl TEXT WORD
-module(search).
-mode(compile).

-export([count/2, main/1]).

%% In words of 8 bytes: 4 MB.
-define(MAX_HEAP, 524288).
%% How many places are found at once. They lie on the heap: 5 words each.
-define(PLACES, 4096).

%% How often Word is in the file, and how many bytes the file has. Runs in a process that is killed if its heap grows
%% past 4 MB.
-spec count(file:name_all(), binary()) -> {non_neg_integer(), non_neg_integer()} | {error, emmap:reason()}.
count(File, Word) ->
    Limit = #{size => ?MAX_HEAP, kill => true, error_logger => false},
    {Pid, Monitor} = spawn_opt(fun() -> exit({found, search(File, Word)}) end, [monitor, {max_heap_size, Limit}]),
    receive
        {'DOWN', Monitor, process, Pid, {found, Found}} -> Found;
        {'DOWN', Monitor, process, Pid, Reason} -> exit(Reason)
    end.

search(File, Word) ->
    case emmap:open(File, [read, shared]) of
        {ok, Map} ->
            ok = emmap:advise(Map, 0, 0, sequential),
            #{size := Size} = emmap:info(Map),
            Found = search(Map, Word, {0, Size}, 0),
            ok = emmap:close(Map),
            case Found of
                {error, _} -> Found;
                Count -> {Count, Size}
            end;
        Error -> Error
    end.

%% Goes on behind the last place found.
search(Map, Word, {From, Rest} = Range, Count) ->
    case emmap:matches(Map, Word, [{scope, Range}, {limit, ?PLACES}]) of
        Places when length(Places) =:= ?PLACES ->
            {Last, Length} = lists:last(Places),
            Next = Last + Length,
            search(Map, Word, {Next, From + Rest - Next}, Count + ?PLACES);
        Places when is_list(Places) -> Count + length(Places);
        Error -> Error
    end.

main([File, [_ | _] = Word]) ->
    case count(File, unicode:characters_to_binary(Word)) of
        {error, Reason} ->
            io:format(standard_error, "~ts: ~ts~n", [File, why(Reason)]),
            halt(1);
        {Count, Size} ->
            io:format("~b times in ~b bytes, by a VM of ~b MB~n", [Count, Size, erlang:memory(total) bsr 20])
    end;
main(_) ->
    io:put_chars(standard_error, "usage: escript search.erl TEXT WORD\n"),
    halt(2).

why(truncated) -> "the file was cut short";
why(Reason) -> file:format_error(Reason).
