%% Copyright 2026 the emmap authors. Licensed under the Apache License, Version 2.0.

%% What docs/direct.md says of binaries of `direct' handles whose file changes or is cut short, in VMs of their own.
-module(emmap_direct_SUITE).

-export([suite/0, all/0, init_per_testcase/2, end_per_testcase/2]).
-export([docs_have_the_tables_of_what_is_known/1, every_call_works_while_nothing_changes/1,
         what_ends_the_vm_ends_it/1, what_is_safe_goes_on/1, what_goes_wrong_goes_on/1,
         copies_are_safe_with_every_function/1, snapshots_are_safe_with_every_function/1,
         sending_lost_bytes_closes_the_connection/1, sending_lost_bytes_to_a_node_takes_its_link_down/1,
         writing_lost_bytes_is_an_error/1, echo/0]).

-include_lib("common_test/include/ct.hrl").
-include_lib("stdlib/include/assert.hrl").

suite() -> [{timetrap, {minutes, 3}}].

all() ->
    [docs_have_the_tables_of_what_is_known, every_call_works_while_nothing_changes,
     what_ends_the_vm_ends_it, what_is_safe_goes_on, what_goes_wrong_goes_on,
     copies_are_safe_with_every_function, snapshots_are_safe_with_every_function,
     sending_lost_bytes_closes_the_connection, sending_lost_bytes_to_a_node_takes_its_link_down,
     writing_lost_bytes_is_an_error].

init_per_testcase(Case, Config) -> emmap_vm:directory(Case, Config).

end_per_testcase(_, Config) -> emmap_vm:delete_directory(Config).

%%% What is known

docs_have_the_tables_of_what_is_known(_) ->
    {ok, Docs} = file:read_file(filename:join([root(filename:dirname(code:which(?MODULE))), "docs", "direct.md"])),
    [?assertMatch({Line, {_, _}}, {Line, binary:match(Docs, Line)})
     || Line <- binary:split(iolist_to_binary(emmap_direct:tables()), <<"\n">>, [global, trim_all])],
    %% And nothing else.
    Names = lists:append([emmap_direct:names(Kind) || Kind <- [ends, wrong, safe]]),
    [_, Tables] = binary:split(Docs, <<"## Beside a writer\n">>),
    [Tried | _] = binary:split(Tables, <<"\n## ">>),
    {match, Rows} = re:run(Tried, "^\\| `(.*?)` \\|", [global, multiline, {capture, all_but_first, binary}]),
    ?assertEqual(lists:sort(Names), lists:sort(lists:append(Rows))),
    ?assertEqual(length(Names), length(lists:usort(Names))).

every_call_works_while_nothing_changes(Config) ->
    Dir = ?config(dir, Config),
    Call = fun({Name, {Old, _}, Call}) ->
                   io:format("~ts~n", [Name]),
                   case Call(binary:copy(Old)) of
                       wrong -> error(wrong);
                       _ -> ok
                   end
           end,
    emmap_vm:survives(fun() ->
        ok = file:set_cwd(Dir),
        lists:foreach(Call, [Entry || {Name, _, _} = Entry <- emmap_direct:functions(), emmap_direct:is_here(Name)])
    end).

%%% Beside a writer

%% Those that do so at once; `emmap_direct:try_all/2' has the time for the others. docs/direct.md speaks of OTP 25: a
%% later one may have changed, or gives fewer chances.
what_ends_the_vm_ends_it(Config) ->
    erlang:system_info(logical_processors_available) > 1
        orelse throw({skip, "one processor: nobody writes while another one reads"}),
    Ends = [begin
                {Status, Output} = beside_a_writer([Name], 30000, fun(Binary, _) -> Binary end, Config),
                ct:log("~ts: ~p~n~ts", [Name, Status, Output]),
                {Name, Status}
            end || Name <- [<<"binary:match/2,3, pattern of one byte">>, <<"binary_to_term/1">>,
                            <<"unicode:characters_to_list/1,2">>]],
    %% Greater after a signal. 0: OTP has changed, or the machine was too busy.
    case {[Name || {Name, Status} <- Ends, not (is_integer(Status) andalso Status > 128)],
          erlang:system_info(otp_release)} of
        {[], _} -> ok;
        {Survived, "25"} -> ct:fail({survived, Survived});
        {Survived, Release} -> {skip, io_lib:format("OTP ~s was not ended by ~0tp", [Release, Survived])}
    end.

what_is_safe_goes_on(Config) ->
    Output = all_have_run(names(safe), 50, fun(Binary, _) -> Binary end, Config),
    ?assertEqual(nomatch, binary:match(Output, <<"WRONG">>)).

what_goes_wrong_goes_on(Config) -> all_have_run(names(wrong), 200, fun(Binary, _) -> Binary end, Config).

copies_are_safe_with_every_function(Config) ->
    Output = all_have_run(names(ends) ++ names(wrong), 200, fun(Binary, _) -> binary:copy(Binary) end, Config),
    ?assertEqual(nomatch, binary:match(Output, <<"WRONG">>)).

snapshots_are_safe_with_every_function(Config) ->
    lists:member({snapshot, 3}, emmap:module_info(exports))
        orelse throw({skip, "this version of emmap has no snapshot/3"}),
    Snapshot = fun(Binary, File) -> {ok, Copy} = apply(emmap, snapshot, [File, 0, byte_size(Binary)]), Copy end,
    Output = all_have_run(names(ends) ++ names(wrong), 200, Snapshot, Config),
    ?assertEqual(nomatch, binary:match(Output, <<"WRONG">>)).

names(Kind) -> lists:filter(fun emmap_direct:is_here/1, emmap_direct:names(Kind)).

all_have_run(Names, Milliseconds, Prepare, Config) ->
    {Status, Output} = beside_a_writer(Names, Milliseconds, Prepare, Config),
    ct:log("~p~n~ts", [Status, Output]),
    ?assertMatch({0, {_, _}}, {Status, binary:match(Output, <<"all have run\n">>)}),
    Output.

%% Two schedulers, so that reader and writer run at the same time; no core file of a VM that is meant to end.
beside_a_writer(Names, Milliseconds, Prepare, Config) ->
    Dir = ?config(dir, Config),
    emmap_vm:in_vm(fun() -> emmap_direct:races(Names, Milliseconds, Dir, Prepare) end,
                   #{args => ["+S", "2:2"], limit => "-c 0", seconds => 120}).

%%% Of a file that was cut short

%% A binary of a file that is empty by now, and that nobody has read since: where the VM itself reads it, zeroes take
%% the place of what is lost, and system calls find them, too.
lost(Dir) ->
    Name = emmap_vm:new_file(Dir, 3),
    {ok, File} = emmap:open(Name, [read, shared, direct]),
    {ok, Binary} = emmap:pread(File, 0, 3 * 4096),
    emmap_vm:cut(Name, 0),
    Binary.

sending_lost_bytes_closes_the_connection(Config) ->
    Dir = ?config(dir, Config),
    emmap_vm:survives(fun() ->
        {Socket, Other} = connection(),
        {error, closed} = gen_tcp:send(Socket, lost(Dir)),
        {error, _} = gen_tcp:send(Socket, <<"after">>),
        {error, closed} = gen_tcp:recv(Other, 0),
        %% The way round.
        {Next, NextOther} = connection(),
        ok = gen_tcp:send(Next, binary:copy(lost(Dir))),
        {ok, Zeroes} = gen_tcp:recv(NextOther, 3 * 4096),
        true = emmap_vm:is_zero(Zeroes)
    end).

connection() ->
    {ok, Listener} = gen_tcp:listen(0, [binary, {active, false}, {ip, {127, 0, 0, 1}}]),
    {ok, Port} = inet:port(Listener),
    {ok, Socket} = gen_tcp:connect({127, 0, 0, 1}, Port, [binary, {active, false}]),
    {ok, Other} = gen_tcp:accept(Listener),
    {Socket, Other}.

writing_lost_bytes_is_an_error(Config) ->
    Dir = ?config(dir, Config),
    emmap_vm:survives(fun() ->
        To = filename:join(Dir, "to"),
        {error, efault} = file:write_file(To, lost(Dir)),
        {ok, File} = file:open(To, [write]),
        {error, efault} = file:write(File, lost(Dir)),
        ok = file:write_file(To, binary:copy(lost(Dir))),
        {ok, Listener} = socket:open(inet, stream, tcp),
        ok = socket:bind(Listener, #{family => inet, addr => {127, 0, 0, 1}, port => 0}),
        ok = socket:listen(Listener),
        {ok, Address} = socket:sockname(Listener),
        {ok, Socket} = socket:open(inet, stream, tcp),
        ok = socket:connect(Socket, Address),
        {error, efault} = socket:send(Socket, lost(Dir)),
        ok = socket:send(Socket, <<"after">>)
    end).

%% Two nodes that need no epmd: one port, at two addresses of this machine.
sending_lost_bytes_to_a_node_takes_its_link_down(Config) ->
    Dir = ?config(dir, Config),
    {ok, Listener} = gen_tcp:listen(0, []),
    {ok, Port} = inet:port(Listener),
    ok = gen_tcp:close(Listener),
    emmap_vm:survives(fun() ->
        {ok, Vm, Node} = peer:start_link(#{connection => standard_io, args => node_at(2, Port)}),
        ok = net_kernel:monitor_nodes(true),
        true = net_kernel:connect_node(Node),
        receive {nodeup, Node} -> ok end,
        Echo = peer:call(Vm, erlang, spawn, [?MODULE, echo, []]),
        %% The way round first: zeroes arrive, and the link stays.
        Echo ! {self(), binary:copy(lost(Dir))},
        receive {Echo, Copy} -> true = emmap_vm:is_zero(Copy) end,
        Echo ! {self(), lost(Dir)},
        receive
            {nodedown, Node} -> ok;
            {Echo, _} -> error(arrived)
        end,
        %% It comes up again.
        true = net_kernel:connect_node(Node),
        peer:stop(Vm)
    end, #{args => node_at(1, Port)}).

node_at(Address, Port) ->
    ["-name", lists:flatten(io_lib:format("direct@127.0.0.~b", [Address])), "-setcookie", "direct",
     "-start_epmd", "false", "-erl_epmd_port", integer_to_list(Port),
     "-kernel", "inet_dist_use_interface", lists:flatten(io_lib:format("{127,0,0,~b}", [Address])),
     "-pa", filename:dirname(code:which(?MODULE)), "-pa", filename:dirname(code:which(emmap))].

echo() ->
    receive {From, Message} -> From ! {self(), Message} end,
    echo().

root(Directory) ->
    case filelib:is_regular(filename:join(Directory, "Package.swift")) of
        true -> Directory;
        false when Directory =/= "/" -> root(filename:dirname(Directory))
    end.
