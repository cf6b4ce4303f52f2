%% Copyright 2026 the emmap authors. Licensed under the Apache License, Version 2.0.

%% A queue in a VM that is killed while several processes push and pop, again and again, and what must be in it.
%%
%% Each process notes what it is about to do, and what came of it, in a file of its own: by write(2), which is done when
%% it returns, so that a killed VM has left behind what it knew.
-module(emmap_queue_kill).

-export([rounds/2, start/1]).

%% Runs so many rounds in a directory. Gives the numbers of messages pushed, and taken away by each consumer.
rounds(Directory, Count) ->
    rounds(Directory, Count, #{next => #{1 => 1, 2 => 1}, popped => [], taken => [], pushed => 0, gone => 0}).

rounds(_, 0, #{pushed := Pushed, gone := Gone}) -> {Pushed, Gone};
rounds(Directory, Count, #{next := Next} = State) ->
    Vm = emmap_test:start_vm(),
    [_ = file:delete(File) || File <- filelib:wildcard(filename:join(Directory, "*.log"))],
    Milliseconds = rand:uniform(51) - 1,
    ok = emmap_test:in_vm(Vm, fun() -> start({Directory, Next}) end),
    receive after Milliseconds -> ok end,
    emmap_test:kill_vm(Vm),
    rounds(Directory, Count - 1, check(Directory, State)).

%%% In the VM that is killed

file(Directory) -> filename:join(Directory, "queue").

%% Opens the queue and starts the processes.
start({Directory, Next}) ->
    Self = self(),
    Owner = spawn(fun() ->
        {ok, Queue} = emmap_queue:open(file(Directory), [{segment_size, 65536}]),
        {ok, Taking} = emmap_queue:consumer(Queue, taker),
        Log = fun(Name) ->
                  {ok, File} = file:open(filename:join(Directory, Name ++ ".log"), [raw, append]),
                  fun(Term) -> ok = file:write(File, <<(packed(Term))/binary>>) end
              end,
        Work = [fun() -> push(Queue, Log("push" ++ integer_to_list(W)), W, maps:get(W, Next)) end || W <- [1, 2]]
            ++ [fun() -> pop(Queue, Log("pop" ++ integer_to_list(N))) end || N <- [1, 2]]
            ++ [fun() -> take(Taking, Log("take")) end, fun() -> sync(Queue) end],
        [spawn_link(Body) || Body <- Work],
        Self ! {self(), started},
        receive never -> ok end
    end),
    receive {Owner, started} -> ok end.

packed(Term) ->
    Bytes = term_to_binary(Term),
    <<(byte_size(Bytes)):32, Bytes/binary>>.

push(Queue, Log, W, N) ->
    Count = case rand:uniform(4) of 1 -> rand:uniform(10); _ -> 1 end,
    Batch = [message(W, Number) || Number <- lists:seq(N, N + Count - 1)],
    Log({pushing, N, Count}),
    ok = case Batch of [One] -> emmap_queue:push(Queue, One); _ -> emmap_queue:push_list(Queue, Batch) end,
    Log(done),
    push(Queue, Log, W, N + Count).

%% Now and then one that is longer than a segment.
message(W, N) -> {W, N, binary:copy(<<N:32>>, case N rem 101 of 0 -> 30000; R -> R end)}.

pop(Queue, Log) ->
    Max = case rand:uniform(3) of 1 -> rand:uniform(10); _ -> 1 end,
    Log({popping, Max}),
    case Max of
        1 -> case emmap_queue:pop(Queue, 10) of {ok, Term} -> Log({got, [Term]}); empty -> Log({got, []}) end;
        _ -> case emmap_queue:pop_list(Queue, Max) of {ok, Terms} -> Log({got, Terms}); empty -> Log({got, []}) end
    end,
    pop(Queue, Log).

%% One after the other: acknowledges, gives back, or has it taken by a process that dies.
take(Queue, Log) ->
    case rand:uniform(4) of
        1 ->
            {_, Monitor} = spawn_monitor(fun() -> emmap_queue:take(Queue) end),
            receive {'DOWN', Monitor, _, _, _} -> ok end,
            %% What is acknowledged before that is back comes again after a kill.
            emmap_test:wait_until(fun() -> maps:get(taken, emmap_queue:info(Queue)) =:= 0 end);
        _ -> ok
    end,
    case emmap_queue:take(Queue, 10) of
        empty -> ok;
        {ok, Term, Receipt} ->
            case rand:uniform(4) of
                1 -> ok = emmap_queue:nack(Queue, Receipt);
                _ ->
                    Log({popping, 1}),
                    ok = emmap_queue:ack(Queue, Receipt),
                    Log({got, [Term]})
            end
    end,
    take(Queue, Log).

sync(Queue) ->
    ok = emmap_queue:sync(Queue),
    receive after 3 -> ok end,
    sync(Queue).

%%% After it

%% What the logs say: the terms of a file. The last one may be cut.
log(Directory, Name) ->
    case file:read_file(filename:join(Directory, Name)) of
        {ok, Bytes} -> unpacked(Bytes);
        {error, enoent} -> []
    end.

unpacked(<<Size:32, Bytes:Size/binary, Rest/binary>>) -> [binary_to_term(Bytes) | unpacked(Rest)];
unpacked(_) -> [].

check(Directory, #{next := Next, pushed := PushedBefore, gone := Gone} = State) ->
    Pushes = maps:from_list([{W, pushed(log(Directory, "push" ++ integer_to_list(W) ++ ".log"), maps:get(W, Next))}
                             || W <- [1, 2]]),
    Popped = [popped(log(Directory, "pop" ++ N ++ ".log")) || N <- ["1", "2"]],
    Taken = [popped(log(Directory, "take.log"))],
    %% Somebody may pop what another one has pushed and not yet noted.
    {ok, Queue} = emmap_queue:open(file(Directory)),
    {ok, Taking} = emmap_queue:consumer(Queue, taker),
    {ok, Left} = emmap_queue:fold(fun(Term, Acc) -> [Term | Acc] end, [], Queue),
    {ok, LeftToTake} = emmap_queue:fold(fun(Term, Acc) -> [Term | Acc] end, [], Taking),
    Ends1 = consistent(Popped, lists:reverse(Left), maps:get(popped, State), Pushes),
    Ends2 = consistent(Taken, lists:reverse(LeftToTake), maps:get(taken, State), Pushes),
    %% Both see the same queue.
    Ends = maps:merge_with(fun(_, A, B) -> max(A, B) end, Ends1, Ends2),
    Rest = rest(Queue, lists:reverse(Left)),
    RestToTake = rest(Taking, lists:reverse(LeftToTake)),
    ok = emmap_queue:close(Queue),
    State#{next := Ends, popped := Rest, taken := RestToTake,
           pushed := PushedBefore + lists:sum([maps:get(W, Ends) - maps:get(W, Next) || W <- [1, 2]]),
           gone := Gone + lists:sum([erlang:length(Terms) || {Terms, _} <- Popped ++ Taken])}.

%% What is there in the next round: not more and more of it, where one consumer is slower than those who push.
rest(Queue, Left) when erlang:length(Left) > 2000 ->
    ok = emmap_queue:purge(Queue),
    [];
rest(_, Left) -> Left.

%% {The first number, what was surely pushed, what may have been}: numbers behind the last.
pushed(Log, First) -> pushed(Log, First, First).

pushed([{pushing, N, Count}, done | Rest], First, N) -> pushed(Rest, First, N + Count);
pushed([{pushing, N, Count}], First, N) -> {First, N, N + Count};
pushed([], First, N) -> {First, N, N}.

%% {What was popped, how many more may have been}.
popped(Log) -> popped(Log, []).

popped([{popping, _}, {got, Terms} | Rest], Acc) -> popped(Rest, [Terms | Acc]);
popped([{popping, Max}], Acc) -> {lists:append(lists:reverse(Acc)), Max};
popped([], Acc) -> {lists:append(lists:reverse(Acc)), 0}.

%% What was popped and what is left, of what was there before and was pushed. Gives each pusher's next number.
consistent(Popped, Left, Before, Pushes) ->
    Whole = lists:append([Terms || {Terms, _} <- Popped]) ++ Left,
    [{true, Term} = {Term =:= message(W, N), Term} || {W, N, _} = Term <- Whole],
    Numbers = [{W, N} || {W, N, _} <- Whole],
    {twice, []} = {twice, Numbers -- lists:usort(Numbers)},
    %% In order, for each who pops and for what is left.
    [begin
         Of = [N || {V, N, _} <- Terms, V =:= W],
         {in_order, Of} = {in_order, lists:sort(Of)}
     end || Terms <- [Left | [Terms || {Terms, _} <- Popped]], W <- maps:keys(Pushes)],
    There = sets:from_list(Numbers, [{version, 2}]),
    Old = [{W, N} || {W, N, _} <- Before],
    Sure = Old ++ [{W, N} || {W, {First, Last, _}} <- maps:to_list(Pushes), N <- lists:seq(First, Last - 1)],
    Maybe = [{W, N} || {W, {_, Last, End}} <- maps:to_list(Pushes), N <- lists:seq(Last, End - 1)],
    %% Those that are neither were taken away by somebody who died before it could say so.
    Missing = [It || It <- Sure, not sets:is_element(It, There)],
    InFlight = lists:sum([Max || {_, Max} <- Popped]),
    {lost, true, _} = {lost, erlang:length(Missing) =< InFlight, {Missing, InFlight}},
    {invented, []} = {invented, Numbers -- (Sure ++ Maybe)},
    maps:map(
      fun(W, {_, Last, End}) ->
          Seen = [N || {V, N} <- Maybe, V =:= W, sets:is_element({V, N}, There)],
          Unseen = End - Last - erlang:length(Seen),
          %% A batch is there as a whole, but for what was popped unheard.
          {half_a_batch, true} = {half_a_batch, Seen =:= [] orelse Unseen =< InFlight - erlang:length(Missing)},
          case Seen of [] -> Last; _ -> End end
      end, Pushes).
