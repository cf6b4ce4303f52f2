%% Copyright 2026 the emmap authors. Licensed under the Apache License, Version 2.0.
%%
%% A table of records of a fixed size, changed in place. A deposit is one atomic addition, so the processes and programs
%% that have the file open need no lock between them; it returns when it is on disk. After `make':
%%
%%     ERL_LIBS=_build/default/lib escript examples/accounts.erl /tmp/accounts add Anna
%%     ERL_LIBS=_build/default/lib escript examples/accounts.erl /tmp/accounts deposit 0 250
%%     ERL_LIBS=_build/default/lib escript examples/accounts.erl /tmp/accounts list
%%
%% A record, in bytes; the number of an account is its place in the file, from 0:
%%
%%     0             8                             64
%%     | balance     | name, UTF-8, zeroes behind  |
-module(accounts).
-mode(compile).

-export([open/1, close/1, add/2, deposit/3, read/2, all/1]).
-export([main/1]).

-define(RECORD, 64).
-define(NAME, 56).

-spec open(file:name_all()) -> {ok, emmap:mmap_file()} | {error, emmap:reason()}.
open(File) -> emmap:open(File, [create, read, write, shared]).

-spec close(emmap:mmap_file()) -> ok | {error, emmap:reason()}.
close(Table) -> emmap:close(Table).

%% Appends an account and returns its number. Adding is for one process at a time.
-spec add(emmap:mmap_file(), binary()) -> non_neg_integer().
add(Table, Name) when byte_size(Name) =< ?NAME ->
    #{size := Size} = emmap:info(Table),
    Padding = ?NAME - byte_size(Name),
    ok = emmap:pwrite(Table, Size, <<0:64/signed-little, Name/binary, 0:Padding/unit:8>>),
    ok = emmap:datasync(Table),
    Size div ?RECORD.

%% Adds to the balance and returns the new one.
-spec deposit(emmap:mmap_file(), non_neg_integer(), integer()) -> integer().
deposit(Table, Number, Amount) ->
    Old = emmap:patomic(Table, Number * ?RECORD, add, Amount),
    ok = emmap:datasync(Table),
    Old + Amount.

-spec read(emmap:mmap_file(), non_neg_integer()) -> {binary(), integer()} | eof.
read(Table, Number) ->
    case emmap:pread(Table, Number * ?RECORD, ?RECORD) of
        {ok, <<Balance:64/signed-little, Padded:?NAME/binary>>} ->
            [Name | _] = binary:split(Padded, <<0>>),
            {Name, Balance};
        eof -> eof
    end.

-spec all(emmap:mmap_file()) -> [{binary(), integer()}].
all(Table) ->
    #{size := Size} = emmap:info(Table),
    [read(Table, Number) || Number <- lists:seq(0, Size div ?RECORD - 1)].

main([File, "add", Name]) ->
    with(File, fun(Table) -> io:format("~b~n", [add(Table, unicode:characters_to_binary(Name))]) end);
main([File, "deposit", Number, Amount]) ->
    with(File, fun(Table) ->
        io:format("~b~n", [deposit(Table, list_to_integer(Number), list_to_integer(Amount))])
    end);
main([File, "list"]) ->
    with(File, fun(Table) ->
        case all(Table) of
            [] -> io:format("no accounts yet~n");
            Accounts -> [io:format("~ts ~b~n", [Name, Balance]) || {Name, Balance} <- Accounts]
        end
    end);
main(_) ->
    io:put_chars(standard_error, "usage: escript accounts.erl FILE add NAME | deposit NUMBER AMOUNT | list\n"),
    halt(2).

with(File, Fun) ->
    ok = io:setopts([{encoding, unicode}]),
    {ok, Table} = open(File),
    _ = Fun(Table),
    ok = close(Table).
