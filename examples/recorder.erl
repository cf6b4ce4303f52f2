%% Copyright 2026 the emmap authors. Licensed under the Apache License, Version 2.0.
%%
%% Counts under labels in a file, and prints what it has, also while others count, or after one that did was killed.
%% After `make':
%%
%%     ERL_LIBS=_build/default/lib escript examples/recorder.erl /dev/shm/counters add requests 3
%%     ERL_LIBS=_build/default/lib escript examples/recorder.erl /dev/shm/counters
-module(recorder).
-mode(compile).

-export([main/1]).

main([File]) ->
    ok = io:setopts([{encoding, unicode}]),
    case emmap_named_counters:open(File, [read]) of
        {ok, Counters} ->
            [io:format("~ts ~b~n", [Label, Value]) || {Label, Value} <- emmap_named_counters:to_list(Counters)],
            ok = emmap_named_counters:close(Counters);
        {error, Reason} -> failed(File, Reason)
    end;
main([File, "add", Label, Number]) ->
    case emmap_named_counters:open(File, [{capacity, 1000}]) of
        {ok, Counters} ->
            {ok, Counter} = emmap_named_counters:counter(Counters, unicode:characters_to_binary(Label)),
            ok = emmap_named_counters:add(Counter, list_to_integer(Number)),
            ok = emmap_named_counters:close(Counters);
        {error, Reason} -> failed(File, Reason)
    end;
main(_) ->
    io:put_chars(standard_error, "usage: escript recorder.erl FILE [add LABEL NUMBER]\n"),
    halt(2).

failed(File, bad_magic) -> failed(File, "not a file of named counters");
failed(File, {wrong_capacity, N}) -> failed(File, io_lib:format("the file is for ~b counters", [N]));
failed(File, Reason) when is_atom(Reason) -> failed(File, file:format_error(Reason));
failed(File, Text) ->
    io:format(standard_error, "~ts: ~ts~n", [File, Text]),
    halt(1).
