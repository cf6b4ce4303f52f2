%% Copyright 2026 the emmap authors. Licensed under the Apache License, Version 2.0.

%% Blocks in a VM that is killed while several processes store, read and free, again and again, and what must be there.
%%
%% Each process notes what it is about to do, and what came of it, in a file of its own: by write(2), which is done when
%% it returns, so that a killed VM has left behind what it knew.
-module(emmap_blocks_kill).

-export([rounds/2, start/1]).

-define(SIZE, 200).
%% Blocks that the file has room for: so few that stores now and then have to make syncs.
-define(ROOM, 3000).
-define(WORKERS, [1, 2, 3, 4]).

%% Runs so many rounds in a directory. Gives the numbers of blocks stored and freed.
rounds(Directory, Count) ->
    Worker = #{next => 1, live => #{}},
    rounds(Directory, Count, maps:from_list([{W, Worker} || W <- ?WORKERS]), {0, 0}).

rounds(_, 0, _, Sums) -> Sums;
rounds(Directory, Count, Workers, {Stored, Freed}) ->
    Vm = emmap_test:start_vm(),
    [_ = file:delete(File) || File <- filelib:wildcard(filename:join(Directory, "*.log"))],
    Milliseconds = rand:uniform(51) - 1,
    ok = emmap_test:in_vm(Vm, fun() -> start({Directory, Workers}) end),
    receive after Milliseconds -> ok end,
    emmap_test:kill_vm(Vm),
    {Next, MoreStored, MoreFreed} = check(Directory, Workers),
    rounds(Directory, Count - 1, Next, {Stored + MoreStored, Freed + MoreFreed}).

%%% In the VM that is killed

open(Directory) ->
    {ok, Blocks} = emmap_blocks:open(filename:join(Directory, "blocks"), ?SIZE,
                                     [{max_size, 12288 + 262144 + ?ROOM * ?SIZE}]),
    Blocks.

%% Opens the blocks and starts the processes. Each has blocks of its own, as a map of their numbers and addresses.
start({Directory, Workers}) ->
    Self = self(),
    Owner = spawn(fun() ->
        Blocks = open(Directory),
        Log = fun(W) ->
                  {ok, File} = file:open(log_name(Directory, W), [raw, append]),
                  fun(Term) -> ok = file:write(File, <<(packed(Term))/binary>>) end
              end,
        [spawn_link(fun() -> work(Blocks, Log(W), W, Next, Live) end)
         || {W, #{next := Next, live := Live}} <- maps:to_list(Workers)],
        [spawn_link(fun() -> Do(Blocks) end) || Do <- [fun sync/1, fun look/1]],
        Self ! {self(), started},
        receive never -> ok end
    end),
    receive {Owner, started} -> ok end.

log_name(Directory, W) -> filename:join(Directory, integer_to_list(W) ++ ".log").

packed(Term) ->
    Bytes = term_to_binary(Term),
    <<(byte_size(Bytes)):32, Bytes/binary>>.

%% Some 500 blocks of each, less than what there is room for.
work(Blocks, Log, W, N, Live) ->
    case rand:uniform(1000) > map_size(Live) of
        true ->
            Log({storing, N}),
            {ok, Address} = emmap_blocks:store(Blocks, data(W, N)),
            Log({stored, N, Address}),
            work(Blocks, Log, W, N + 1, Live#{N => Address});
        false ->
            {Number, Address, _} = maps:next(maps:iterator(Live)),
            {ok, Data} = emmap_blocks:read(Blocks, Address),
            Data = data(W, Number),
            Log({freeing, Number}),
            ok = emmap_blocks:free(Blocks, Address),
            Log({freed, Number}),
            work(Blocks, Log, W, N, maps:remove(Number, Live))
    end.

%% Of any length, and told from every other.
data(W, N) ->
    Length = 12 + N rem (?SIZE - 11),
    binary:part(binary:copy(<<W:32, N:64>>, Length div 12 + 1), 0, Length).

sync(Blocks) ->
    ok = emmap_blocks:sync(Blocks),
    receive after 3 -> ok end,
    sync(Blocks).

%% Whatever is going on, what is read is what somebody has stored.
look(Blocks) ->
    {ok, _} = emmap_blocks:fold(fun(_, <<W:32, N:64, _/binary>> = Data, Acc) -> Data = data(W, N), Acc end, [], Blocks),
    look(Blocks).

%%% After it

%% What the logs say: the terms of a file. The last one may be cut.
log(Directory, W) ->
    case file:read_file(log_name(Directory, W)) of
        {ok, Bytes} -> unpacked(Bytes);
        {error, enoent} -> []
    end.

unpacked(<<Size:32, Bytes:Size/binary, Rest/binary>>) -> [binary_to_term(Bytes) | unpacked(Rest)];
unpacked(_) -> [].

%% What each process must have in the file, and the number of the one that may be there or not.
check(Directory, Workers) ->
    Known = maps:map(fun(W, #{next := Next, live := Live}) ->
                         lists:foldl(fun noted/2, {Next, Live, none, 0}, log(Directory, W))
                     end, Workers),
    Blocks = open(Directory),
    {ok, Found} = emmap_blocks:fold(
                    fun(Address, <<W:32, N:64, _/binary>> = Data, Acc) ->
                        {Data, Address} = {data(W, N), Address},
                        {twice, false} = {twice, is_map_key({W, N}, Acc)},
                        Acc#{{W, N} => Address}
                    end, #{}, Blocks),
    {count, Count} = {count, emmap_blocks:count(Blocks)},
    {count, Count} = {count, map_size(Found)},
    ok = emmap_blocks:close(Blocks),
    Next = maps:map(fun(W, It) ->
                        Own = [{N, Address} || {{V, N}, Address} <- maps:to_list(Found), V =:= W],
                        consistent(maps:from_list(Own), It)
                    end, Known),
    {Next, lists:sum([maps:get(next, maps:get(W, Next)) - maps:get(next, maps:get(W, Workers)) || W <- ?WORKERS]),
     lists:sum([Freed || {_, _, _, Freed} <- maps:values(Known)])}.

noted({storing, N}, {N, Live, none, Freed}) -> {N + 1, Live, {N, any}, Freed};
noted({stored, N, Address}, {Next, Live, {N, any}, Freed}) -> {Next, Live#{N => Address}, none, Freed};
noted({freeing, N}, {Next, Live, none, Freed}) ->
    {Address, Rest} = maps:take(N, Live),
    {Next, Rest, {N, Address}, Freed};
noted({freed, N}, {Next, Live, {N, _}, Freed}) -> {Next, Live, none, Freed + 1}.

%% All that is known is where it was stored; nothing else is there but the one that was under way.
consistent(Found, {Next, Live, UnderWay, _}) ->
    {lost, []} = {lost, maps:to_list(Live) -- maps:to_list(Found)},
    case {maps:to_list(Found) -- maps:to_list(Live), UnderWay} of
        {[], _} -> ok;
        {[{N, _}], {N, any}} -> ok;
        {[{N, Address}], {N, Address}} -> ok
    end,
    #{next => Next, live => Found}.
