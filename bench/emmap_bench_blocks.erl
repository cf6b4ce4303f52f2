%% Copyright 2026 the emmap authors. Licensed under the Apache License, Version 2.0.

%% @doc Blocks: rows for `emmap_bench_rows'. Beside them what OTP has, ETS, whose contents die with the VM, and the read
%% of as many bytes that nobody has checked.
-module(emmap_bench_blocks).

-export([rows/1]).

-include("emmap_bench.hrl").

-define(SIZE, 64).
-define(FEW, 1000).
-ifndef(MANY_BLOCKS).
-define(MANY_BLOCKS, 10000000).
-endif.

%% @doc Makes the files and describes the rows.
-spec rows(fun((file:filename()) -> file:filename())) -> [#row{}].
rows(Path) ->
    Blocks = open(Path("blocks")),
    Data = <<7:(8 * ?SIZE)>>,
    [store(Blocks, Data), read(Blocks, Data, Path("base"))
     | many(fun() -> filled(few, Path("few_blocks"), ?FEW, Data) end,
            fun() -> filled(many, Path("many_blocks"), ?MANY_BLOCKS, Data) end, Data)].

open(Path) ->
    _ = file:delete(Path),
    {ok, Blocks} = emmap_blocks:open(Path, ?SIZE),
    Blocks.

%% An operation is a block that comes and goes; at once, in two processes.
store(Blocks, Data) ->
    Table = ets:new(?MODULE, [public, {write_concurrency, true}]),
    #row{id = {blocks, store}, name = <<"blocks: store and free of 64 B">>, scale = true, sides = [
        #side{label = <<"emmap">>, loop = fun(N, _) -> store_free(N, Blocks, Data) end},
        #side{label = <<"ets, insert and delete">>, prepare = fun(_, Process) -> Process bsl 40 end,
              loop = fun(N, First) -> insert_delete(N, Table, Data, First) end}]}.

store_free(0, _, _) -> ok;
store_free(N, Blocks, Data) ->
    {ok, Address} = emmap_blocks:store(Blocks, Data),
    ok = emmap_blocks:free(Blocks, Address),
    store_free(N - 1, Blocks, Data).

insert_delete(0, _, _, _) -> ok;
insert_delete(N, Table, Data, First) ->
    true = ets:insert(Table, {First + N, Data}),
    true = ets:delete(Table, First + N),
    insert_delete(N - 1, Table, Data, First).

read(Blocks, Data, Base) ->
    {ok, Address} = emmap_blocks:store(Blocks, Data),
    {ok, File} = emmap:open(Base, [read, shared, nolock]),
    Table = ets:new(?MODULE, [public, {read_concurrency, true}]),
    true = ets:insert(Table, {key, Data}),
    #row{id = {blocks, read}, name = <<"blocks: read of 64 B">>, scale = true, sides = [
        #side{label = <<"emmap">>, loop = fun(N, _) -> read_loop(N, Blocks, Address) end},
        #side{label = <<"emmap:pread">>, loop = fun(N, _) -> pread(N, File, Address) end},
        #side{label = <<"ets, lookup">>, loop = fun(N, _) -> lookup(N, Table) end}]}.

read_loop(0, _, _) -> ok;
read_loop(N, Blocks, Address) ->
    {ok, _} = emmap_blocks:read(Blocks, Address),
    read_loop(N - 1, Blocks, Address).

pread(0, _, _) -> ok;
pread(N, File, Address) ->
    {ok, _} = emmap:pread(File, Address, ?SIZE),
    pread(N - 1, File, Address).

lookup(0, _) -> ok;
lookup(N, Table) ->
    [_] = ets:lookup(Table, key),
    lookup(N - 1, Table).

%% Files that are made when they are first measured.
filled(Name, Path, Count, Data) ->
    case persistent_term:get({?MODULE, Name}, none) of
        none ->
            Blocks = open(Path),
            ok = fill(Count, Blocks, Data),
            persistent_term:put({?MODULE, Name}, Blocks),
            Blocks;
        Blocks -> Blocks
    end.

fill(0, Blocks, _) -> emmap_blocks:sync(Blocks);
fill(N, Blocks, Data) ->
    {ok, _} = emmap_blocks:store(Blocks, Data),
    fill(N - 1, Blocks, Data).

many(Few, Many, Data) ->
    Both = fun(Loop) ->
               [#side{label = Label, prepare = fun(_, _) -> Fill() end, loop = Loop}
                || {Label, Fill} <- [{<<"emmap">>, Many}, {<<"with a thousand">>, Few}]]
           end,
    [#row{id = {blocks, many, store}, name = <<"blocks: store and free, 10 million there">>,
          sides = Both(fun(N, Blocks) -> store_free(N, Blocks, Data) end)},
     #row{id = {blocks, many, read}, name = <<"blocks: read of one of 10 million, at random">>,
          sides = [#side{label = <<"emmap">>, prepare = fun(_, _) -> Many() end,
                         loop = fun(N, Blocks) -> read_random(N, Blocks, ?MANY_BLOCKS, 1) end},
                   #side{label = <<"with a thousand">>, prepare = fun(_, _) -> Few() end,
                         loop = fun(N, Blocks) -> read_random(N, Blocks, ?FEW, 1) end}]}].

%% Small numbers, without a call: the same for both.
read_random(0, _, _, _) -> ok;
read_random(N, Blocks, Count, Seed) ->
    Next = (Seed * 1103515245 + 12345) band 16#7fffffff,
    {ok, _} = emmap_blocks:read(Blocks, Next rem Count),
    read_random(N - 1, Blocks, Count, Next).
