%% Copyright 2026 the emmap authors. Licensed under the Apache License, Version 2.0.

%% Properties of blocks, with a map as the model: what any sequence of calls answers, in a file that has room for few or
%% many, closed and opened again in between, or opened as a killed VM would have left it.
-module(emmap_blocks_prop).

-export([prop_same_as_map/1, prop_same_as_map/2, difference/0]).

-include_lib("proper/include/proper.hrl").

%% Bytes of a file that has room for a block, less that.
-define(LEAST, (12288 + 262144)).

%% The map has what is stored. `room' is for how many blocks the file may become long enough.
-record(state, {directory, file = 1, size, room, blocks, map = #{}, change}).

prop_same_as_map(Directory) -> prop_same_as_map(Directory, fun(_, Answer) -> Answer end).

%% With a fun that changes what the model answers, for one that is wrong.
prop_same_as_map(Directory, Change) ->
    ?FORALL({Size, Room, Steps}, {oneof([1, 8, 100, 5000]), oneof([1, 5, 31, 32, 33, 200, 100000]), list(step())},
            begin
                State = opened(#state{directory = Directory, size = Size, room = Room, change = Change}),
                %% This version of PropEr cannot report an exception.
                try run(State, Steps)
                catch Class:Reason:Stack -> differ({Class, Reason, Stack})
                after
                    [ok = file:delete(File) || File <- filelib:wildcard(filename:join(Directory, "*"))]
                end
            end).

%% How the last sequence that failed differed.
difference() -> get(?MODULE).

differ(Details) ->
    _ = put(?MODULE, Details),
    false.

run(State, Steps) ->
    %% At the end, all that is left.
    {Same, #state{blocks = Last}} = run_all(State, Steps ++ [kill, fold, check, count]),
    ok = emmap_blocks:close(Last),
    Same.

run_all(State, []) -> {true, State};
run_all(#state{change = Change} = State, [Step | Steps]) ->
    {Model, Answer, Next} = do(Step, State),
    case Change(Step, Model) of
        Answer -> run_all(Next, Steps);
        Expected -> {differ([{step, Step}, {model, Expected}, {blocks, Answer}]), Next}
    end.

%% What a step must answer, what it does answer, and what is then.
do({store, Bytes}, #state{blocks = Blocks, size = Size, room = Room, map = Map} = State) ->
    Data = iolist_to_binary(Bytes),
    case emmap_blocks:store(Blocks, Bytes) of
        %% Which address is for the blocks to choose, of those that are free.
        {ok, Address} = Answer when byte_size(Data) =< Size, not is_map_key(Address, Map), Address < Room ->
            {Answer, Answer, State#state{map = Map#{Address => Data}}};
        Answer when byte_size(Data) > Size -> {{error, too_long}, Answer, State};
        Answer when map_size(Map) =:= Room -> {{error, full}, Answer, State};
        Answer -> {{ok, 'a free address'}, Answer, State}
    end;
do({read, Which}, #state{blocks = Blocks, map = Map} = State) ->
    Address = address(Which, State),
    {case Map of #{Address := Data} -> {ok, Data}; #{} -> {error, not_found} end,
     emmap_blocks:read(Blocks, Address), State};
do({free, Which}, #state{blocks = Blocks, map = Map} = State) ->
    Address = address(Which, State),
    {case Map of #{Address := _} -> ok; #{} -> {error, not_found} end,
     emmap_blocks:free(Blocks, Address), State#state{map = maps:remove(Address, Map)}};
do(fold, #state{blocks = Blocks, map = Map} = State) ->
    {{ok, lists:reverse(lists:sort(maps:to_list(Map)))},
     emmap_blocks:fold(fun(Address, Data, Acc) -> [{Address, Data} | Acc] end, [], Blocks), State};
do({read_list, Which, Max}, #state{blocks = Blocks, map = Map} = State) ->
    From = address(Which, State),
    All = [Block || {Address, _} = Block <- lists:sort(maps:to_list(Map)), Address >= From],
    Expected = lists:sublist(All, Max),
    case emmap_blocks:read_list(Blocks, From, Max) of
        {_, done} = Answer -> {{All, done}, Answer, State};
        {_, Next} = Answer ->
            %% Behind the last of them, and not behind the next.
            {Last, _} = lists:last([{From - 1, none} | Expected]),
            IsNext = Next > Last andalso [] =:= [Address || {Address, _} <- All, Address > Last, Address < Next],
            {{Expected, case IsNext andalso length(Expected) =:= Max of true -> Next; false -> 'where to go on' end},
             Answer, State}
    end;
do(count, #state{blocks = Blocks, map = Map} = State) -> {map_size(Map), emmap_blocks:count(Blocks), State};
do(info, #state{blocks = Blocks, map = Map, size = Size, room = Most} = State) ->
    #{block_size := BlockSize, count := Count, waiting := Waiting, room := Room} = emmap_blocks:info(Blocks),
    {{Size, map_size(Map), true}, {BlockSize, Count, Count + Waiting =< Room andalso Room =< Most}, State};
do(check, #state{blocks = Blocks, map = Map} = State) ->
    Bytes = lists:sum([byte_size(Data) || Data <- maps:values(Map)]),
    {{ok, #{count => map_size(Map), bytes => Bytes, corrupt => []}}, emmap_blocks:check(Blocks), State};
do(sync, #state{blocks = Blocks} = State) -> {ok, emmap_blocks:sync(Blocks), State};
do(reopen, #state{blocks = Blocks} = State) ->
    ok = emmap_blocks:close(Blocks),
    reopened(State, clean);
%% The file as it is now, and the system would have it if the VM was killed.
do(kill, #state{blocks = Blocks, directory = Directory, file = File} = State) ->
    {ok, _} = file:copy(path(Directory, File), path(Directory, File + 1)),
    ok = emmap_blocks:close(Blocks),
    ok = file:delete(path(Directory, File)),
    reopened(State#state{file = File + 1}, #{dropped => 0}).

%% One of those that are stored, or of those that may be.
address({stored, Which}, #state{map = Map} = State) ->
    case lists:sort(maps:keys(Map)) of
        [] -> address({any, Which}, State);
        Addresses -> lists:nth(1 + Which rem length(Addresses), Addresses)
    end;
address({any, Which}, _) -> Which.

%%% Files

path(Directory, File) -> filename:join(Directory, integer_to_list(File)).

opened(#state{directory = Directory, file = File, size = Size, room = Room} = State) ->
    {ok, Blocks} = emmap_blocks:open(path(Directory, File), Size, [{max_size, ?LEAST + Room * Size}]),
    case Room =< 16128 of
        true -> State#state{blocks = Blocks};
        %% Of what several groups have room for no sequence has ever enough.
        false -> State#state{blocks = Blocks, room = infinity}
    end.

reopened(State, Recovered) ->
    #state{blocks = Blocks} = Opened = opened_again(State),
    {Recovered, maps:get(recovered, emmap_blocks:info(Blocks)), Opened}.

opened_again(#state{room = infinity} = State) -> opened(State#state{room = 100000});
opened_again(State) -> opened(State).

%%% Generators

step() ->
    frequency([{20, {store, data()}}, {6, {read, which()}}, {10, {free, which()}}, {1, fold},
               {2, {read_list, which(), max()}}, {1, count}, {1, info}, {1, check}, {4, sync}, {1, reopen}, {1, kill}]).

which() -> frequency([{6, {stored, range(0, 200)}}, {1, {any, oneof([range(0, 300), range(0, 16#fffffffff)])}}]).

max() -> oneof([1, 2, range(3, 50), 1000]).

%% As many bytes as the sizes of blocks, and about as many.
data() ->
    frequency([{6, bytes(oneof([0, 1]))}, {4, bytes(range(2, 9))}, {3, bytes(range(10, 101))},
               {1, bytes(range(4990, 5001))},
               {1, list(byte())}, {1, [binary(), [binary()]]}]).

bytes(Size) -> ?LET({Byte, Count}, {byte(), Size}, binary:copy(<<Byte>>, Count)).
