%% Copyright 2026 the emmap authors. Licensed under the Apache License, Version 2.0.
%%
%% A cache of keys and values that is warm after a restart, and never larger than it may be. The values are blocks in a
%% file; the keys are in ETS, with the addresses, and are read from the file at the start. After `make':
%%
%%     ERL_LIBS=_build/default/lib escript examples/cache.erl /tmp/cache put colour blue
%%     ERL_LIBS=_build/default/lib escript examples/cache.erl /tmp/cache get colour
%%     ERL_LIBS=_build/default/lib escript examples/cache.erl /tmp/cache fill 30000
%%
%% The last one puts so many pages, whose keys are their numbers, into the 4 MiB of the cache, and says how many of them
%% are there. What was put is there also if the VM is killed; nothing is synced, for a cache may forget what it had when
%% the power failed.
%%
%% Any process gets values, without asking another one. One process puts and removes: so a key has one value.
-module(cache).
-mode(compile).
-behaviour(gen_server).

-export([start_link/2, handle/1, stop/1, put/3, remove/2, get/2, count/1]).
-export([init/1, handle_call/3, handle_cast/2, terminate/2]).
-export([main/1]).

-define(BLOCK, 1024).

-record(cache, {server :: pid(), table :: ets:table(), blocks :: emmap_blocks:blocks()}).
%% `order' has what is in the table by age: {Stamp, Key}. Stamps grow.
-record(state, {cache :: #cache{}, order :: ets:table(), stamp :: pos_integer()}).

%% Starts the cache in a file that gets no longer than so many bytes: for a supervisor.
-spec start_link(file:name_all(), pos_integer()) -> {ok, pid()} | {error, term()}.
start_link(File, Bytes) -> gen_server:start_link(?MODULE, {File, Bytes}, []).

%% What the functions below take.
-spec handle(pid()) -> #cache{}.
handle(Server) -> gen_server:call(Server, handle).

-spec stop(#cache{}) -> ok.
stop(#cache{server = Server}) -> gen_server:stop(Server).

-spec get(#cache{}, term()) -> {ok, term()} | error.
get(#cache{table = Table, blocks = Blocks} = Cache, Key) ->
    case ets:lookup(Table, Key) of
        [] -> error;
        [{_, Address, Stamp}] ->
            case emmap_blocks:read(Blocks, Address) of
                {ok, Bytes} ->
                    case binary_to_term(Bytes) of
                        {Stamp, Key, Value} -> {ok, Value};
                        %% It was changed meanwhile, and the block is another one's.
                        _ -> get(Cache, Key)
                    end;
                %% The same; the table may still have it for a moment.
                {error, not_found} -> get(Cache, Key);
                {error, {corrupt, _}} -> error
            end
    end.

%% `{error, too_long}': with its key, more than a block has.
-spec put(#cache{}, term(), term()) -> ok | {error, emmap_blocks:reason()}.
put(#cache{server = Server}, Key, Value) -> gen_server:call(Server, {put, Key, Value}, infinity).

-spec remove(#cache{}, term()) -> ok | {error, emmap_blocks:reason()}.
remove(#cache{server = Server}, Key) -> gen_server:call(Server, {remove, Key}, infinity).

-spec count(#cache{}) -> non_neg_integer().
count(#cache{table = Table}) -> ets:info(Table, size).

%%% The process that changes it

init({File, Bytes}) ->
    process_flag(trap_exit, true),
    case emmap_blocks:open(File, ?BLOCK, [{max_size, Bytes}]) of
        {ok, Blocks} ->
            Cache = #cache{server = self(), blocks = Blocks,
                           table = ets:new(?MODULE, [protected, {read_concurrency, true}])},
            load(#state{cache = Cache, order = ets:new(?MODULE, [ordered_set]), stamp = 1});
        {error, Reason} -> {stop, Reason}
    end.

%% Reads all keys. A block that is damaged is one that the cache has not.
load(#state{cache = #cache{blocks = Blocks}} = State) ->
    case emmap_blocks:fold(fun(Address, Bytes, Acc) -> found(Address, binary_to_term(Bytes), Acc) end, State, Blocks) of
        {ok, Loaded} -> {ok, Loaded};
        {error, {corrupt, Address}} ->
            ok = emmap_blocks:free(Blocks, Address),
            load(State);
        {error, Reason} -> {stop, Reason}
    end.

%% Of two blocks of a key the VM was killed between the newer and the end of the older one.
found(Address, {Stamp, Key, _}, #state{cache = #cache{table = Table, blocks = Blocks}, stamp = Next} = State) ->
    case ets:lookup(Table, Key) of
        [{_, Address, _}] -> State;
        [{_, _, Other}] when Other > Stamp ->
            ok = emmap_blocks:free(Blocks, Address),
            State;
        Older ->
            [ok = forget(It, State) || It <- Older],
            note(Key, Address, Stamp, State#state{stamp = max(Next, Stamp + 1)})
    end.

note(Key, Address, Stamp, #state{cache = #cache{table = Table}, order = Order} = State) ->
    true = ets:insert(Table, {Key, Address, Stamp}),
    true = ets:insert(Order, {Stamp, Key}),
    State.

forget({_, Address, Stamp}, #state{cache = #cache{blocks = Blocks}, order = Order}) ->
    true = ets:delete(Order, Stamp),
    emmap_blocks:free(Blocks, Address).

handle_call(handle, _, #state{cache = Cache} = State) -> {reply, Cache, State};
handle_call({put, Key, Value}, _, #state{cache = #cache{table = Table}, stamp = Stamp} = State) ->
    case store(term_to_binary({Stamp, Key, Value}), State) of
        {ok, Address} ->
            Old = ets:lookup(Table, Key),
            Next = note(Key, Address, Stamp, State#state{stamp = Stamp + 1}),
            [ok = forget(It, Next) || It <- Old],
            {reply, ok, Next};
        Error -> {reply, Error, State}
    end;
handle_call({remove, Key}, _, #state{cache = #cache{table = Table}} = State) ->
    Answers = [forget(It, State) || It <- ets:take(Table, Key)],
    {reply, hd(Answers ++ [ok]), State}.

handle_cast(_, State) -> {noreply, State}.

terminate(_, #state{cache = #cache{blocks = Blocks}}) -> emmap_blocks:close(Blocks).

%% Where there is no room the oldest eighth goes: what was freed may have to wait for a sync, which then serves many.
store(Bytes, #state{cache = #cache{table = Table, blocks = Blocks}} = State) ->
    case emmap_blocks:store(Blocks, Bytes) of
        {error, Reason} when Reason =:= full; Reason =:= enospc ->
            case ets:info(Table, size) of
                0 -> {error, Reason};
                Count ->
                    evict(Count div 8 + 1, State),
                    store(Bytes, State)
            end;
        Answer -> Answer
    end.

evict(0, _) -> ok;
evict(Count, #state{cache = #cache{table = Table}, order = Order} = State) ->
    case ets:lookup(Order, ets:first(Order)) of
        [{_, Key}] ->
            [ok = forget(It, State) || It <- ets:take(Table, Key)],
            evict(Count - 1, State);
        [] -> ok
    end.

%%% From the command line

main([File, "put", Key, Value]) -> with(File, fun(Cache) -> ok = put(Cache, Key, Value) end);
main([File, "get", Key]) ->
    with(File, fun(Cache) ->
        case get(Cache, Key) of
            {ok, Value} -> io:format("~ts~n", [Value]);
            error -> io:format("not in the cache~n")
        end
    end);
main([File, "fill", Count]) ->
    with(File, fun(Cache) ->
        Last = list_to_integer(Count),
        [ok = put(Cache, N, page(N)) || N <- lists:seq(1, Last)],
        There = [N || N <- lists:seq(1, Last), get(Cache, N) =:= {ok, page(N)}],
        io:format("~b of ~b pages are there, the last one too: ~s~n", [length(There), Last, lists:member(Last, There)])
    end);
main(_) ->
    io:put_chars(standard_error, "usage: escript cache.erl FILE put KEY VALUE | get KEY | fill COUNT\n"),
    halt(2).

page(N) -> lists:concat(["page ", N, lists:duplicate(N rem 500, $.)]).

with(File, Fun) ->
    ok = io:setopts([{encoding, unicode}]),
    _ = process_flag(trap_exit, true),
    case start_link(File, 4 bsl 20) of
        {ok, Server} ->
            Cache = handle(Server),
            _ = Fun(Cache),
            ok = stop(Cache);
        {error, Reason} ->
            io:format(standard_error, "~ts: ~ts~n", [File, emmap_blocks:format_error(Reason)]),
            halt(1)
    end.
