%% Copyright 2026 the emmap authors. Licensed under the Apache License, Version 2.0.
%%
%% Pays into an account that another program, the Elixir one of withdraw.exs, takes from: the two take turns at a
%% journal, under the advisory lock of its file. After `make', in two terminals, in any order, any number of each:
%%
%%     ERL_LIBS=_build/default/lib elixir examples/withdraw.exs /tmp/journal 25 30
%%     ERL_LIBS=_build/default/lib escript examples/deposit.erl /tmp/journal 10 20 30
%%
%% The journal is text, for each turn a line of 32 bytes: what was paid, and what the account has since then.
%%
%%     0            11                    32
%%     | amount     | balance            \n |
%%
%% A line goes on from the one before, so nobody may write between the reading of that and the writing of this: that is
%% more than an atomic word can do. A program that is killed gives its turn back, as the lock goes with it.
-module(deposit).
-mode(compile).

-export([main/1]).

-define(LENGTH, 32).

main([File, First | Rest]) ->
    Amounts = [list_to_integer(Amount) || Amount <- [First | Rest]],
    {ok, Journal} = emmap:open(File, [create, write, shared, append]),
    [io:format("~b -> ~b~n", [Amount, deposit(Journal, Amount)]) || Amount <- Amounts],
    ok = emmap:close(Journal);
main(_) ->
    io:put_chars(standard_error, "usage: escript deposit.erl JOURNAL AMOUNT...\n"),
    halt(2).

%% Returns the new balance.
deposit(Journal, Amount) ->
    ok = emmap:lock_file(Journal, exclusive, infinity),
    try
        Balance = balance(Journal) + Amount,
        ok = emmap:write(Journal, io_lib:format("~10b ~20b~n", [Amount, Balance])),
        Balance
    after
        ok = emmap:unlock_file(Journal)
    end.

%% What the last line says, whoever wrote it: remap/1 takes over what the other program has appended.
balance(Journal) ->
    case emmap:remap(Journal) of
        {ok, 0} -> 0;
        {ok, Size} ->
            {ok, <<_:11/binary, Balance:20/binary, "\n">>} = emmap:pread(Journal, Size - ?LENGTH, ?LENGTH),
            binary_to_integer(string:trim(Balance))
    end.
