%% Copyright 2026 the emmap authors. Licensed under the Apache License, Version 2.0.

%% @doc Queues: rows for `emmap_bench_rows'. Beside them what OTP has: a process that holds a `queue', whose messages
%% die with it, and `disk_log', from which nothing is taken away one by one. The C++ library has a module of the same
%% name.
-module(emmap_bench_queues).
-behaviour(gen_server).

-export([rows/1]).
-export([init/1, handle_call/3, handle_cast/2]).

-include("emmap_bench.hrl").

-define(TERM, {event, 42, <<"0123456789abcdef0123456789abcdef">>}).
-define(BATCH, 100).
-define(SYNCING, 32).

%% @doc Makes the files and describes the rows. Of the C++ library, only the first.
-spec rows(fun((file:filename()) -> file:filename())) -> [#row{}].
rows(Path) ->
    case lists:member({open, 3}, emmap_queue:module_info(exports)) of
        true ->
            {ok, Queue} = apply(emmap_queue, open, [Path("queue"), 1 bsl 20, [shared]]),
            [Row#row{sides = [#side{label = <<"emmap">>, loop = fun(N, _) -> cpp(N, Queue) end} | Others]}
             || #row{sides = [_ | Others]} = Row <- [one(none)]];
        false ->
            [Queue, Back] = [open(Path(Name), []) || Name <- ["queue", "back"]],
            [one(Queue), lists(open(Path("binaries"), [{type, binary}])), pairs(Queue), waiting(Queue, Back)
             | synced(open(Path("synced"), [{sync, every}]), Path)]
    end.

open(Path, Options) ->
    _ = file:delete(Path),
    {ok, Queue} = emmap_queue:open(Path, Options),
    Queue.

one(Queue) ->
    #row{id = {queue, one}, name = <<"queue: push and pop of a term">>, sides = [
        #side{label = <<"emmap">>, loop = fun(N, _) -> push_pop(N, Queue) end},
        #side{label = <<"term_to_binary and back">>, loop = fun(N, _) -> there_and_back(N, ?TERM) end},
        #side{label = <<"gen_server with a queue">>, loop = fun call/2, finish = fun gen_server:stop/1,
              prepare = fun(_, _) -> {ok, Server} = gen_server:start(?MODULE, [], []), Server end}]}.

push_pop(0, _) -> ok;
push_pop(N, Queue) ->
    ok = emmap_queue:push(Queue, ?TERM),
    {ok, _} = emmap_queue:pop(Queue),
    push_pop(N - 1, Queue).

%% A plain pop of it leaves the file as it is, until that is full.
cpp(0, _) -> ok;
cpp(N, Queue) ->
    ok = emmap_queue:push(Queue, ?TERM),
    {_, _, _} = apply(emmap_queue, pop_and_purge, [Queue]),
    cpp(N - 1, Queue).

there_and_back(0, _) -> ok;
there_and_back(N, Term) ->
    _ = binary_to_term(term_to_binary(Term)),
    there_and_back(N - 1, Term).

call(0, _) -> ok;
call(N, Server) ->
    ok = gen_server:call(Server, {push, ?TERM}),
    {value, _} = gen_server:call(Server, pop),
    call(N - 1, Server).

%% @private
init([]) -> {ok, queue:new()}.

%% @private
handle_call({push, Term}, _, Queue) -> {reply, ok, queue:in(Term, Queue)};
handle_call(pop, _, Queue) ->
    {Answer, Rest} = queue:out(Queue),
    {reply, Answer, Rest}.

%% @private
handle_cast(_, Queue) -> {noreply, Queue}.

%% An operation is a list that goes in and comes out.
lists(Queue) ->
    Messages = [<<I:512>> || I <- lists:seq(1, ?BATCH)],
    #row{id = {queue, lists}, name = <<"queue: 100 messages of 64 B, as lists">>, sides = [
        #side{label = <<"emmap">>, loop = fun(N, _) -> push_pop_list(N, Queue, Messages) end}]}.

push_pop_list(0, _, _) -> ok;
push_pop_list(N, Queue, Messages) ->
    ok = emmap_queue:push_list(Queue, Messages),
    {ok, _} = emmap_queue:pop_list(Queue, ?BATCH),
    push_pop_list(N - 1, Queue, Messages).

%% An operation is a message from one process to another; at once, two such pairs.
pairs(Queue) ->
    #row{id = {queue, pairs}, name = <<"queue: one process pushes, another pops">>, scale = true, count = 50000,
         sides = [
        #side{label = <<"emmap">>,
              loop = fun(N, _) -> beside(fun() -> push(N, Queue) end, fun() -> pop(N, Queue) end) end},
        #side{label = <<"messages">>,
              loop = fun(N, _) ->
                  Receiver = self(),
                  beside(fun() -> send(N, Receiver) end, fun() -> get_messages(N) end)
              end}]}.

beside(Do, DoHere) ->
    {Pid, Monitor} = spawn_monitor(Do),
    DoHere(),
    receive {'DOWN', Monitor, _, Pid, normal} -> ok end.

send(0, _) -> ok;
send(N, Receiver) -> Receiver ! ?TERM, send(N - 1, Receiver).

get_messages(0) -> ok;
get_messages(N) -> receive {event, _, _} -> get_messages(N - 1) end.

push(0, _) -> ok;
push(N, Queue) -> ok = emmap_queue:push(Queue, ?TERM), push(N - 1, Queue).

pop(0, _) -> ok;
pop(N, Queue) -> {ok, _} = emmap_queue:pop(Queue, infinity), pop(N - 1, Queue).

%% There and back, as nothing is said of when a message has arrived but by another.
waiting(Queue, Back) ->
    #row{id = {queue, waiting}, name = <<"queue: a message there and one back, both waited for">>, sides = [
        #side{label = <<"emmap">>, prepare = fun(_, _) -> spawn(fun() -> answer(Queue, Back) end) end,
              loop = fun(N, _) -> ask(N, Queue, Back) end, finish = fun(Pid) -> exit(Pid, kill) end}]}.

answer(Queue, Back) ->
    {ok, Term} = emmap_queue:pop(Queue, infinity),
    ok = emmap_queue:push(Back, Term),
    answer(Queue, Back).

ask(0, _, _) -> ok;
ask(N, Queue, Back) ->
    ok = emmap_queue:push(Queue, ?TERM),
    {ok, _} = emmap_queue:pop(Back, infinity),
    ask(N - 1, Queue, Back).

%% An operation is a push that is on disk when it returns.
synced(Queue, Path) ->
    Log = fun(_, _) ->
              {ok, Name} = disk_log:open([{name, make_ref()}, {file, Path("disk_log")}, {repair, truncate}]),
              Name
          end,
    [#row{id = {queue, synced}, name = <<"queue: synced push">>, count = 50, sides = [
         #side{label = <<"emmap">>, loop = fun(N, _) -> push(N, Queue) end},
         #side{label = <<"disk_log">>, prepare = Log, loop = fun log/2, finish = fun disk_log:close/1}]},
     #row{id = {queue, synced, many}, name = <<"queue: synced push, by 32 processes">>, count = 20 * ?SYNCING, sides = [
         #side{label = <<"emmap">>, loop = fun(N, _) -> many(fun() -> push(N div ?SYNCING, Queue) end) end},
         #side{label = <<"disk_log">>, prepare = Log, finish = fun disk_log:close/1,
               loop = fun(N, Name) -> many(fun() -> log(N div ?SYNCING, Name) end) end}]}].

log(0, _) -> ok;
log(N, Log) ->
    ok = disk_log:log(Log, ?TERM),
    ok = disk_log:sync(Log),
    log(N - 1, Log).

many(Do) ->
    Workers = [spawn_monitor(Do) || _ <- lists:seq(1, ?SYNCING)],
    lists:foreach(fun({Worker, Monitor}) -> receive {'DOWN', Monitor, _, Worker, normal} -> ok end end, Workers).
