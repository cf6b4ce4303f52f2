%% Copyright 2026 the emmap authors. Licensed under the Apache License, Version 2.0.

%% Properties of queues, with OTP's `queue' as the model: what any sequence of calls answers, through several consumers,
%% with the file closed and opened again in between, or opened as a killed VM would have left it.
-module(emmap_queue_prop).

-export([prop_same_as_queue/1, prop_same_as_queue/2, difference/0]).

-include_lib("proper/include/proper.hrl").

%% So small that most sequences go through several.
-define(SEGMENT, 65536).

%% How a queue is opened, its handle, and what must be in it for each consumer: {Handle, Handed, Fresh}. `Handed' are
%% those from the first that is taken on, as {Term, State}: {taken, Receipt}, returned, or done. `Fresh' is a `queue' of
%% those behind them. `gone' are handles of consumers that were removed, `void' consumers' receipts that are used up.
-record(state, {directory, file = 1, options, type, queue, consumers = #{}, gone = [], void = #{}, change, peak = 0}).

prop_same_as_queue(Directory) -> prop_same_as_queue(Directory, fun(_, Answer) -> Answer end).

%% With a fun that changes what the model answers, for one that is wrong.
prop_same_as_queue(Directory, Change) ->
    ?FORALL({Type, Sync, Steps}, {oneof([term, binary]), frequency([{9, none}, {1, every}]), list(step())},
            begin
                State = opened(#state{directory = Directory, type = Type, change = Change,
                                      options = [{segment_size, ?SEGMENT}, {type, Type}, {sync, Sync}]}),
                %% This version of PropEr cannot report an exception.
                try run(put_consumer(default, {State#state.queue, [], queue:new()}, State), Steps)
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
    Rest = [kill | lists:append([[{fold, Name}, {length, Name}] || Name <- names()])],
    {Same, #state{queue = Last}} = run_all(State, Steps ++ Rest),
    ok = emmap_queue:close(Last),
    Same.

run_all(State, []) -> {true, State};
run_all(State, [Step | Steps]) ->
    case step(Step, State) of
        {Same, Same, Next} ->
            case invariant(Next) of
                {true, Later} -> run_all(Later, Steps);
                {Wrong, Later} -> {differ([{step, Step}, {wrong, Wrong}]), Later}
            end;
        {Expected, Answer, Next} -> {differ([{step, Step}, {model, Expected}, {queue, Answer}]), Next}
    end.

%% What a step must answer, what it does answer, and what is then.
step(Step, #state{change = Change} = State) ->
    {Expected, Answer, Next} = do(Step, State),
    {Change(Step, Expected), Answer, Next}.

do({push, Value}, #state{queue = Queue} = State) ->
    {Given, Kept} = message(State, Value),
    {ok, emmap_queue:push(Queue, Given), added(State, [Kept])};
do({push_list, Values}, #state{queue = Queue} = State) ->
    {Given, Kept} = lists:unzip([message(State, Value) || Value <- Values]),
    {ok, emmap_queue:push_list(Queue, Given), added(State, Kept)};
do(sync, #state{queue = Queue} = State) -> {ok, emmap_queue:sync(Queue), State};
do(reopen, #state{queue = Queue} = State) ->
    ok = emmap_queue:close(Queue),
    reopened(State, clean);
%% The file as it is now, and the system would have it if the VM was killed.
do(kill, #state{queue = Queue, directory = Directory, file = File} = State) ->
    {ok, _} = file:copy(path(Directory, File), path(Directory, File + 1)),
    ok = emmap_queue:close(Queue),
    ok = file:delete(path(Directory, File)),
    reopened(State#state{file = File + 1}, #{messages => 0, bytes => 0});
do({consumer, Name, From}, #state{queue = Queue, consumers = Consumers} = State) ->
    {ok, Handle} = Answer = emmap_queue:consumer(Queue, Name, From),
    case Consumers of
        #{Name := {Known, _, _}} -> {{ok, Known}, Answer, State};
        #{} when From =:= newest -> {Answer, Answer, put_consumer(Name, {Handle, [], queue:new()}, State)};
        #{} ->
            %% All end at the same place: the one that is furthest behind has most.
            All = [everything(Consumer) || Consumer <- maps:values(Consumers)],
            {_, Oldest} = lists:max([{queue:len(Queued), Queued} || Queued <- All]),
            {Answer, Answer, put_consumer(Name, {Handle, [], Oldest}, State)}
    end;
do({remove_consumer, Name}, #state{queue = Queue, consumers = Consumers, gone = Gone} = State) ->
    Answer = emmap_queue:remove_consumer(Queue, Name),
    case Consumers of
        #{Name := _} when map_size(Consumers) =:= 1 -> {{error, last_consumer}, Answer, State};
        #{Name := {Handle, _, _}} ->
            {ok, Answer, State#state{consumers = maps:remove(Name, Consumers), gone = [Handle | Gone]}};
        #{} -> {{error, not_found}, Answer, State}
    end;
do({Function, Name, Argument}, #state{consumers = Consumers} = State) ->
    case Consumers of
        #{Name := Consumer} -> as(Function, Argument, Name, Consumer, State);
        #{} -> {none, none, State}
    end;
do({Function, Name}, State) -> do({Function, Name, none}, State).

%% As one of the consumers.
as(pop, _, Name, {Handle, _, _} = Consumer, State) ->
    {Term, Next} = next(Consumer, done),
    {found(Term), emmap_queue:pop(Handle), put_consumer(Name, Next, State)};
as(pop_in_time, Timeout, Name, {Handle, _, _} = Consumer, State) ->
    {Term, Next} = next(Consumer, done),
    {found(Term), emmap_queue:pop(Handle, Timeout), put_consumer(Name, Next, State)};
as(pop_list, Max, Name, {Handle, _, _} = Consumer, State) ->
    {Terms, Next} = first(Max, Consumer),
    Expected = if Terms =:= [], Max > 0 -> empty; true -> {ok, Terms} end,
    {Expected, emmap_queue:pop_list(Handle, Max), put_consumer(Name, Next, State)};
as(peek, _, _, {Handle, _, _} = Consumer, State) ->
    {Term, _} = next(Consumer, done),
    {found(Term), emmap_queue:peek(Handle), State};
as(fold, _, _, {Handle, _, Fresh}, State) ->
    {{ok, lists:reverse(queue:to_list(Fresh))},
     emmap_queue:fold(fun(Term, Acc) -> [Term | Acc] end, [], Handle), State};
as(length, _, _, {Handle, _, _} = Consumer, State) -> {len(Consumer), emmap_queue:length(Handle), State};
as(is_empty, _, _, {Handle, _, _} = Consumer, State) ->
    {len(Consumer) =:= 0, emmap_queue:is_empty(Handle), State};
as(info, _, _, {Handle, Handed, _} = Consumer, #state{type = Type, consumers = Consumers} = State) ->
    Info = emmap_queue:info(Handle),
    {{len(Consumer), erlang:length([taken || {_, {taken, _}} <- Handed]), Type, lists:sort(maps:keys(Consumers))},
     {maps:get(length, Info), maps:get(taken, Info), maps:get(type, Info), lists:sort(maps:get(consumers, Info))},
     State};
as(take, Timeout, Name, {Handle, _, _} = Consumer, State) ->
    Answer = case Timeout of none -> emmap_queue:take(Handle); _ -> emmap_queue:take(Handle, Timeout) end,
    case Answer of
        {ok, Found, Receipt} ->
            {Term, Next} = next(Consumer, {taken, Receipt}),
            {found(Term), {ok, Found}, put_consumer(Name, Next, State)};
        _ ->
            {Term, _} = next(Consumer, done),
            {found(Term), Answer, State}
    end;
%% By a process that dies of it.
as(take_and_die, _, Name, {Handle, Handed, _} = Consumer, State) ->
    {Term, Next} = next(Consumer, returned),
    Answer = emmap_test:in_process(fun() ->
        case emmap_queue:take(Handle) of {ok, Found, _} -> {ok, Found}; Other -> Other end
    end),
    Taken = erlang:length([taken || {_, {taken, _}} <- Handed]),
    emmap_test:wait_until(fun() -> maps:get(taken, emmap_queue:info(Handle)) =:= Taken end),
    {found(Term), Answer, put_consumer(Name, Next, State)};
as(ack, Which, Name, Consumer, State) -> settle(ack, done, Which, Name, Consumer, State);
as(nack, Which, Name, Consumer, State) -> settle(nack, returned, Which, Name, Consumer, State);
as(purge, _, Name, {Handle, Handed, _}, State) ->
    Receipts = [Receipt || {_, {taken, Receipt}} <- Handed],
    {ok, emmap_queue:purge(Handle), put_consumer(Name, {Handle, [], queue:new()}, used(Name, Receipts, State))}.

%% Acknowledges or gives back one of those that are taken, or what is no more.
settle(Function, How, Which, Name, {Handle, Handed, Fresh}, #state{void = Void} = State) ->
    Taken = [Receipt || {_, {taken, Receipt}} <- Handed],
    Receipts = Taken ++ maps:get(Name, Void, []) ++ [{Which, Which}],
    Receipt = lists:nth(1 + Which rem erlang:length(Receipts), Receipts),
    Answer = emmap_queue:Function(Handle, Receipt),
    case lists:member(Receipt, Taken) of
        true ->
            Now = [case Is of {taken, Receipt} -> {Term, How}; _ -> {Term, Is} end || {Term, Is} <- Handed],
            {ok, Answer, put_consumer(Name, {Handle, settled(Now), Fresh}, used(Name, [Receipt], State))};
        false -> {{error, not_found}, Answer, State}
    end.

%%% The model

%% What comes next, and what is then if that becomes what State says.
next({Handle, Handed, Fresh}, State) ->
    case lists:splitwith(fun({_, Is}) -> Is =/= returned end, Handed) of
        {Before, [{Term, returned} | After]} -> {{Term}, {Handle, settled(Before ++ [{Term, State} | After]), Fresh}};
        {_, []} ->
            case queue:out(Fresh) of
                {{value, Term}, Rest} -> {{Term}, {Handle, settled(Handed ++ [{Term, State}]), Rest}};
                {empty, _} -> {none, {Handle, Handed, Fresh}}
            end
    end.

%% Up to Max at once; of those that came back one.
first(0, Consumer) -> {[], Consumer};
first(Max, {_, Handed, _} = Consumer) ->
    case {next(Consumer, done), lists:keymember(returned, 2, Handed)} of
        {{none, _}, _} -> {[], Consumer};
        {{{Term}, Next}, true} -> {[Term], Next};
        {{{Term}, Next}, false} ->
            {Terms, Last} = first(Max - 1, Next),
            {[Term | Terms], Last}
    end.

%% What is done with is forgotten from the front.
settled(Handed) -> lists:dropwhile(fun({_, State}) -> State =:= done end, Handed).

found({Term}) -> {ok, Term};
found(none) -> empty.

len({_, Handed, Fresh}) -> queue:len(Fresh) + erlang:length([Term || {Term, returned} <- Handed]).

everything({_, Handed, Fresh}) -> queue:join(queue:from_list([Term || {Term, _} <- Handed]), Fresh).

added(#state{consumers = Consumers} = State, Terms) ->
    More = queue:from_list(Terms),
    State#state{consumers = maps:map(fun(_, {Handle, Handed, Fresh}) -> {Handle, Handed, queue:join(Fresh, More)} end,
                                     Consumers)}.

put_consumer(Name, Consumer, #state{consumers = Consumers} = State) ->
    State#state{consumers = Consumers#{Name => Consumer}}.

used(Name, Receipts, #state{void = Void} = State) ->
    State#state{void = Void#{Name => Receipts ++ maps:get(Name, Void, [])}}.

%% What the queue is given, and what it gives back.
message(#state{type = term}, Value) -> {Value, Value};
message(#state{type = binary}, Value) ->
    Bytes = term_to_binary(Value),
    {["io", [Bytes]], <<"io", Bytes/binary>>}.

%%% Files

path(Directory, File) -> filename:join(Directory, integer_to_list(File)).

opened(#state{directory = Directory, file = File, options = Options} = State) ->
    {ok, Queue} = emmap_queue:open(path(Directory, File), Options),
    State#state{queue = Queue}.

%% All that was not done with is there, from the first that was not. All receipts are void.
reopened(#state{consumers = Consumers} = State, Recovered) ->
    #state{queue = Queue} = Opened = opened(State),
    Next = maps:fold(
        fun(Name, {_, Handed, _} = Consumer, Acc) ->
            {ok, Handle} = emmap_queue:consumer(Queue, Name),
            put_consumer(Name, {Handle, [], everything(Consumer)},
                         used(Name, [Receipt || {_, {taken, Receipt}} <- Handed], Acc))
        end, Opened#state{gone = []}, Consumers),
    %% Only a consumer that there is can tell.
    [{Any, _, _} | _] = maps:values(Next#state.consumers),
    {Recovered, maps:get(recovered, emmap_queue:info(Any)), Next}.

%% What holds at any time: who was removed is told so, and the file is no longer than what was in it at most, and a few
%% segments.
invariant(#state{consumers = Consumers, gone = Gone, peak = Peak} = State) ->
    Infos = [emmap_queue:info(Handle) || {Handle, _, _} <- maps:values(Consumers)],
    Now = max(Peak, lists:max([Bytes || #{bytes := Bytes} <- Infos])),
    [#{file_size := Size} | _] = Infos,
    Removed = lists:usort([emmap_queue:length(Handle) || Handle <- Gone]),
    Later = State#state{peak = Now},
    if
        Removed =/= [], Removed =/= [{error, not_found}] -> {{removed, Removed}, Later};
        Size > Now + 4 * ?SEGMENT + 65536 -> {{file_size, Size, Now}, Later};
        true -> {true, Later}
    end.

%%% Generators

names() -> [default, one, <<"two">>].

step() ->
    frequency([{12, {push, value()}}, {6, {push_list, list(value())}},
               {6, {pop, name()}}, {2, {pop_in_time, name(), range(0, 1)}},
               {5, {pop_list, name(), oneof([0, 1, range(2, 12)])}}, {2, {peek, name()}},
               {1, {fold, name()}}, {1, {length, name()}}, {1, {is_empty, name()}}, {1, {info, name()}},
               {8, {take, name(), oneof([none, 0, 1])}}, {2, {take_and_die, name()}},
               {6, {ack, name(), range(0, 20)}}, {3, {nack, name(), range(0, 20)}}, {1, {purge, name()}},
               {3, {consumer, name(), oneof([oldest, newest])}}, {1, {remove_consumer, name()}},
               {1, sync}, {1, reopen}, {1, kill}]).

name() -> frequency([{3, default}, {2, one}, {1, <<"two">>}]).

%% Now and then what fills a segment, or more than one.
value() ->
    frequency([{12, small()}, {4, bytes(range(0, 3000))}, {2, bytes(range(20000, 40000))},
               {2, bytes(range(?SEGMENT - 120, ?SEGMENT + 8))}, {1, bytes(range(100000, 250000))}]).

bytes(Size) -> ?LET({Byte, Count}, {byte(), Size}, binary:copy(<<Byte>>, Count)).

%% Not any(): its atoms fill the table in the long form.
small() ->
    oneof([integer(), float(), binary(), bitstring(), list(integer()), oneof([a, undefined, '']),
           {oneof([ok, error]), binary()}, #{integer() => list(byte())}]).
