%% Copyright 2026 the emmap authors. Licensed under the Apache License, Version 2.0.
%%
%% An outbox: payments that are to go into a database, which may be slow, or away for a while. A payment is in the
%% outbox when `pay' returns, whatever happens to the VM or the power then; `drain' brings it into the database at most
%% once. After `make':
%%
%%     ERL_LIBS=_build/default/lib escript examples/outbox.erl /tmp/outbox pay order-1 250 order-2 40 order-1 250
%%     ERL_LIBS=_build/default/lib escript examples/outbox.erl /tmp/outbox drain /tmp/payments
%%     ERL_LIBS=_build/default/lib escript examples/outbox.erl /tmp/outbox total /tmp/payments
%%
%% The queue hands each payment out at least once: again, if the VM ends between the database's `ok' and the
%% acknowledgement. The database has each key once. Together that is once. Here the database is a table of dets.
-module(outbox).
-mode(compile).

-export([pay/2, drain/2, total/1]).
-export([main/1]).

%% So many go into the database before it is told to bring them to disk.
-define(BATCH, 100).

%% Puts payments into the outbox, all or none; they are on disk when this returns.
-spec pay(emmap_queue:name(), [{Key :: binary(), Amount :: integer()}]) -> ok | {error, emmap_queue:reason()}.
pay(Queue, Payments) ->
    case emmap_queue:push_list(Queue, Payments) of
        ok -> emmap_queue:sync(Queue);
        Error -> Error
    end.

%% Brings all that is in the outbox into the database. Returns how many were new there, and how many it had.
-spec drain(emmap_queue:name(), file:name()) -> {New :: non_neg_integer(), Known :: non_neg_integer()}.
drain(Queue, File) -> with_table(File, fun(Table) -> drain(Queue, Table, {0, 0}) end).

drain(Queue, Table, {New, Known}) ->
    case take(Queue, ?BATCH) of
        [] -> {New, Known};
        Taken ->
            Inserted = length([Payment || {Payment, _} <- Taken, dets:insert_new(Table, Payment)]),
            ok = dets:sync(Table),
            %% Not before: what is acknowledged comes no more.
            lists:foreach(fun({_, Receipt}) -> ok = emmap_queue:ack(Queue, Receipt) end, Taken),
            drain(Queue, Table, {New + Inserted, Known + length(Taken) - Inserted})
    end.

take(_, 0) -> [];
take(Queue, Most) ->
    case emmap_queue:take(Queue) of
        {ok, Payment, Receipt} -> [{Payment, Receipt} | take(Queue, Most - 1)];
        empty -> []
    end.

%% The sum of what is in the database.
-spec total(file:name()) -> integer().
total(File) -> with_table(File, fun(Table) -> dets:foldl(fun({_, Amount}, Sum) -> Sum + Amount end, 0, Table) end).

with_table(File, Fun) ->
    {ok, Table} = dets:open_file(make_ref(), [{file, File}]),
    try Fun(Table) after dets:close(Table) end.

-spec main([string()]) -> ok.
main([File, "pay" | [_, _ | _] = Words]) -> with(File, fun(Queue) -> ok = pay(Queue, payments(Words)) end);
main([File, "drain", Database]) ->
    with(File, fun(Queue) -> io:format("~b new, ~b known~n", tuple_to_list(drain(Queue, Database))) end);
main([_, "total", Database]) -> io:format("~b~n", [total(Database)]);
main(_) -> usage().

payments([Key, Amount | Words]) ->
    case string:to_integer(Amount) of
        {Number, []} -> [{unicode:characters_to_binary(Key), Number} | payments(Words)];
        _ -> usage()
    end;
payments([]) -> [];
payments(_) -> usage().

-spec usage() -> no_return().
usage() ->
    io:put_chars(standard_error, "usage: escript outbox.erl FILE pay KEY AMOUNT... | drain TABLE | total TABLE\n"),
    halt(2).

with(File, Fun) ->
    case emmap_queue:open(File) of
        {ok, Queue} ->
            ok = Fun(Queue),
            ok = emmap_queue:close(Queue);
        {error, Reason} ->
            io:format(standard_error, "~ts: ~ts~n", [File, emmap_queue:format_error(Reason)]),
            halt(1)
    end.
