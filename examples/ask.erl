%% Copyright 2026 the emmap authors. Licensed under the Apache License, Version 2.0.
%%
%% Talks with another VM, the Elixir one of answer.exs, or with a program in C, answer.c, through shared memory: no
%% sockets, no distribution, and nobody polls. After `make', in two terminals, in any order:
%%
%%     ERL_LIBS=_build/default/lib elixir examples/answer.exs /dev/shm/mailbox
%%     ERL_LIBS=_build/default/lib escript examples/ask.erl /dev/shm/mailbox hello world
%%
%% The memory, in bytes:
%%
%%     0        8          16         24                4096
%%     | turn   | length   | messages | text ...        |
%%
%% The turn, an atomic word, says whose the text is: 0 nobody's, 1 the answerer's, 2 the asker's, 3 the talk is over.
%% Who changes it has written the text and its length before, and atomic operations are sequentially consistent: who
%% sees the change sees the text, too.
-module(ask).
-mode(compile).

-export([main/1]).

-define(SIZE, 4096).
-define(TURN, 0).
-define(LENGTH, 8).
-define(MESSAGES, 16).
-define(TEXT, 24).

main([File | [_ | _] = Questions]) ->
    ok = io:setopts([{encoding, unicode}]),
    {ok, Memory} = emmap:open(File, 0, ?SIZE, [create, read, write, shared, fixed_size]),
    [io:format("~ts -> ~ts~n", [Question, ask(Memory, Question)]) || Question <- Questions],
    pass(Memory, 3),
    io:format("~b messages~n", [emmap:patomic_read(Memory, ?MESSAGES)]),
    ok = emmap:close(Memory),
    ok = file:delete(File);
main(_) ->
    io:put_chars(standard_error, "usage: escript ask.erl FILE QUESTION...\n"),
    halt(2).

ask(Memory, Question) ->
    Text = unicode:characters_to_binary(Question),
    ok = emmap:pwrite(Memory, ?TEXT, Text),
    ok = emmap:patomic_write(Memory, ?LENGTH, byte_size(Text)),
    _ = emmap:patomic(Memory, ?MESSAGES, add, 1),
    pass(Memory, 1),
    wait(Memory, 2),
    {ok, Answer} = emmap:pread(Memory, ?TEXT, emmap:patomic_read(Memory, ?LENGTH)),
    Answer.

%% Who waits for the word is woken, in whatever language.
pass(Memory, Turn) ->
    ok = emmap:patomic_write(Memory, ?TURN, Turn),
    ok = emmap:notify(Memory, ?TURN).

wait(Memory, Turn) ->
    case emmap:patomic_read(Memory, ?TURN) of
        Turn -> ok;
        Other ->
            {ok, _} = emmap:await(Memory, ?TURN, Other, infinity),
            wait(Memory, Turn)
    end.
