%% Copyright 2026 the emmap authors. Licensed under the Apache License, Version 2.0.
%%
%% Sequence numbers that survive whatever happens to the VM, `kill -9' included. A gen_server under a supervisor owns
%% the file of counters; numbers are taken in the caller's own process, without a message, and none is given out twice.
%% After `make':
%%
%%     ERL_LIBS=_build/default/lib escript examples/sequences.erl /tmp/sequences 5
%%     ERL_LIBS=_build/default/lib escript examples/sequences.erl /tmp/sequences forever
%%
%% Run it again, or kill it and run it again, and it goes on where it was. Only a crash of the machine can take back
%% numbers that were not on disk yet; emmap:datasync/1 returns when they are.
-module(sequences).
-mode(compile).
-behaviour(gen_server).

-export([start_link/2, next/1]).
-export([start_server/2, init/1, handle_call/3, handle_cast/2, terminate/2]).
-export([main/1]).

%% Starts the supervisor. The N-th name counts in the N-th counter of the file, so a file goes with one list of names.
-spec start_link(file:name_all(), [atom(), ...]) -> {ok, pid()} | {error, term()}.
start_link(File, Names) -> supervisor:start_link(?MODULE, {supervisor, File, Names}).

%% The next number of a sequence, from 0.
-spec next(atom()) -> non_neg_integer().
next(Name) ->
    {Counters, Numbers} = persistent_term:get(?MODULE),
    emmap:inc_counter(Counters, map_get(Name, Numbers)).

-spec start_server(file:name_all(), [atom(), ...]) -> {ok, pid()} | {error, term()}.
start_server(File, Names) -> gen_server:start_link({local, ?MODULE}, ?MODULE, {server, File, Names}, []).

%% Of the supervisor and of its server.
init({supervisor, File, Names}) ->
    {ok, {#{strategy => one_for_one}, [#{id => server, start => {?MODULE, start_server, [File, Names]}}]}};
init({server, File, Names}) ->
    process_flag(trap_exit, true),
    Counters = emmap:open_counters(File, length(Names)),
    Numbers = maps:from_list(lists:zip(Names, lists:seq(0, length(Names) - 1))),
    %% After a crash of this process callers have used the old handle up to here: it maps the same memory.
    persistent_term:put(?MODULE, {Counters, Numbers}),
    {ok, Counters}.

handle_call(_, _, Counters) -> {reply, {error, not_supported}, Counters}.

handle_cast(_, Counters) -> {noreply, Counters}.

terminate(_, Counters) ->
    persistent_term:erase(?MODULE),
    emmap:close_counters(Counters).

%%% As a program

main([File, Times]) ->
    {ok, _} = start_link(File, [orders, invoices]),
    count(Times);
main(_) ->
    io:put_chars(standard_error, "usage: escript sequences.erl FILE TIMES | forever\n"),
    halt(2).

count("forever") ->
    print(),
    count("forever");
count(Times) ->
    print(),
    exit(whereis(?MODULE), kill),
    %% Its supervisor starts it again; nobody has to wait for that.
    [print() || _ <- lists:seq(2, list_to_integer(Times))].

print() -> io:format("order ~b~n", [next(orders)]).
