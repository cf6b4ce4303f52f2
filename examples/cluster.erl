%% Copyright 2026 the emmap authors. Licensed under the Apache License, Version 2.0.
%%
%% More than one machine: memory is a node's own, and what spans nodes is OTP's distribution. Each node keeps counters
%% and a queue in files of its own; `pg' knows who is there, erpc:multicall sums counters, and a job goes to the node that
%% owns its key. A node that is killed and comes back goes on with what it had. Here all nodes are on one machine:
%%
%%     ERL_LIBS=_build/default/lib escript examples/cluster.erl /tmp/cluster
-module(cluster).
-mode(compile).

-export([main/1, start/1, push/1, work/0, value/1]).

%%% On each node

%% A process that owns the files, and is a member of the group while they are open.
start(Directory) ->
    Parent = self(),
    {Pid, Monitor} = spawn_monitor(fun() ->
        {ok, _} = pg:start_link(),
        {ok, Counters} = emmap_named_counters:open(filename:join(Directory, "counters"), [{capacity, 100}]),
        {ok, Queue} = emmap_queue:open(filename:join(Directory, "queue"), []),
        ok = persistent_term:put(?MODULE, {Counters, Queue}),
        ok = pg:join(?MODULE, self()),
        Parent ! {self(), started},
        receive stop -> emmap_queue:close(Queue) end
    end),
    receive
        {Pid, started} -> ok;
        {'DOWN', Monitor, process, Pid, Why} -> {error, Why}
    end.

push(Job) ->
    {_, Queue} = persistent_term:get(?MODULE),
    ok = emmap_queue:push(Queue, Job),
    count("pushed").

%% Does all that is there; a job that its node did not acknowledge comes again.
work() ->
    {_, Queue} = persistent_term:get(?MODULE),
    case emmap_queue:take(Queue, 0) of
        {ok, {job, _}, Receipt} ->
            ok = emmap_queue:ack(Queue, Receipt),
            count("done"),
            work();
        _ -> ok
    end.

count(Label) ->
    {Counters, _} = persistent_term:get(?MODULE),
    {ok, Counter} = emmap_named_counters:counter(Counters, Label),
    emmap_named_counters:add(Counter, 1).

value(Label) ->
    {Counters, _} = persistent_term:get(?MODULE),
    proplists:get_value(list_to_binary(Label), emmap_named_counters:to_list(Counters), 0).

%%% For all nodes

members() -> lists:usort([node(Pid) || Pid <- pg:get_members(?MODULE)]).

%% Of those that are there; the others' counts are in their files.
sum(Label) -> lists:sum([Value || {ok, Value} <- erpc:multicall(members(), ?MODULE, value, [Label])]).

%% The owner of a key is always the same, so its jobs wait while it is away: the caller is told.
send(Nodes, Key) ->
    Owner = lists:nth(1 + erlang:phash2(Key, length(Nodes)), Nodes),
    try erpc:call(Owner, ?MODULE, push, [{job, Key}])
    catch error:{erpc, noconnection} -> away
    end.

%%% The whole, on one machine

main([Directory]) ->
    Self = list_to_atom("cluster" ++ os:getpid()),
    start_epmd(),
    %% `global' would have nodes part that have seen another one go.
    ok = application:set_env(kernel, prevent_overlapping_partitions, false),
    {ok, _} = net_kernel:start([Self, shortnames]),
    {ok, _} = pg:start_link(),
    Names = [list_to_atom(lists:concat([Self, "_", N])) || N <- [1, 2, 3]],
    [_, {Second, _} | _] = Started = [start_node(Directory, Name) || Name <- Names],
    Nodes = [Node || {Node, _} <- Started],
    Sent = length([ok || Key <- lists:seq(1, 60), send(Nodes, Key) =:= ok]),
    wait_for(Nodes),
    io:format("~b jobs sent to ~b nodes, ~b counted~n", [Sent, length(members()), sum("pushed")]),
    Before = erpc:call(Second, ?MODULE, value, ["pushed"]),
    kill(Second),
    wait_for(Nodes -- [Second]),
    Away = length([away || Key <- lists:seq(1, 60), send(Nodes, Key) =:= away]),
    io:format("a node is killed: its ~b jobs are refused, the others' are not: ~p~n", [Before, Away =:= Before]),
    {Second, _} = start_node(Directory, lists:nth(2, Names)),
    wait_for(Nodes),
    io:format("it is back, with what it had: ~p~n", [erpc:call(Second, ?MODULE, value, ["pushed"]) =:= Before]),
    _ = erpc:multicall(Nodes, ?MODULE, work, []),
    io:format("~b jobs pushed, ~b done~n", [sum("pushed"), sum("done")]),
    [kill(Node) || Node <- Nodes],
    ok = file:del_dir_r(Directory);
main(_) ->
    io:put_chars(standard_error, "usage: escript cluster.erl DIRECTORY\n"),
    halt(2).

start_node(Directory, Name) ->
    Own = filename:join(Directory, Name),
    ok = filelib:ensure_path(Own),
    {ok, Pid, Node} = peer:start(#{name => Name, args => ["-kernel", "prevent_overlapping_partitions", "false"]}),
    {ok, ?MODULE, Code} = compile:file(escript:script_name(), [binary]),
    {module, ?MODULE} = erpc:call(Node, code, load_binary, [?MODULE, "cluster.erl", Code]),
    ok = erpc:call(Node, ?MODULE, start, [Own]),
    {Node, Pid}.

%% As a crash would.
kill(Node) ->
    Pid = erpc:call(Node, os, getpid, []),
    true = erlang:monitor_node(Node, true),
    [] = os:cmd("kill -KILL " ++ Pid),
    receive {nodedown, Node} -> ok end.

%% Until pg here knows of them all, and of no other.
wait_for(Nodes) ->
    case members() =:= lists:usort(Nodes) of
        true -> ok;
        false -> receive after 10 -> wait_for(Nodes) end
    end.

%% As `erl -sname' does. It listens a little after the command has ended.
start_epmd() ->
    [] = os:cmd("epmd -daemon"),
    case net_adm:names() of
        {ok, _} -> ok;
        {error, _} -> receive after 10 -> start_epmd() end
    end.
