%% Copyright 2026 the emmap authors. Licensed under the Apache License, Version 2.0.

%% What the suites have in common: a directory per case, VMs of their own, explanations of exceptions, and a look at
%% how the system sees this process.
-module(emmap_test).

-export([root/0, directory/2, path/2, file/3, bytes/1]).
-export([start_vm/0, start_vm/1, in_vm/2, in_two_vms/1, kill_vm/1, stop_vm/1, run_erl/1, run_erl/2]).
-export([meet/3, overlap/5]).
-export([raised/1, in_process/1, together/1, wait_until/1, wait_until/2, is_told_when_another_is_killed/2]).
-export([page_size/0, descriptors/0, mappings/0, mappings_of/1, mapping_at/1, free_address/1, status_kb/1]).
-export([is_tmpfs/1]).
-export([moves/1, dirty/1]).

-define(DEADLINE, 20000).

%%% Files

%% The sources that the suites belong to: above the directory that it was compiled into.
root() -> root(filename:dirname(code:which(?MODULE))).

root(Directory) ->
    case filelib:is_regular(filename:join(Directory, "Package.swift")) of
        true -> Directory;
        false when Directory =/= "/" -> root(filename:dirname(Directory))
    end.

%% Gives a case an empty directory of its own, for `path' and `file'. A case of another suite may have the same name.
directory(Case, Config) ->
    Directory = filename:join(proplists:get_value(priv_dir, Config), atom_to_list(Case)),
    _ = file:del_dir_r(Directory),
    ok = filelib:ensure_dir(filename:join(Directory, "x")),
    [{directory, Directory} | Config].

path(Config, Name) -> filename:join(proplists:get_value(directory, Config), Name).

%% Writes a file and returns its path.
file(Config, Name, Bytes) ->
    Path = path(Config, Name),
    ok = file:write_file(Path, Bytes),
    Path.

%% Bytes in which every position can be told from its neighbours, across page boundaries too.
bytes(Count) -> binary:part(<< <<N:32>> || N <- lists:seq(0, Count div 4) >>, 0, Count).

%%% VMs

%% Starts a VM that finds emmap and the suites. It is linked to the caller.
start_vm() -> start_vm([]).

start_vm(Arguments) ->
    {ok, Vm, _} = peer:start_link(#{connection => standard_io, args => code_path() ++ Arguments}),
    Vm.

in_vm(Vm, Fun) -> peer:call(Vm, erlang, apply, [Fun, []], 60000).

%% Runs a fun in two VMs at the same time, and gives the results.
in_two_vms(Fun) ->
    Vms = [start_vm() || _ <- [1, 2]],
    Results = together([fun() -> in_vm(Vm, Fun) end || Vm <- Vms]),
    [stop_vm(Vm) || Vm <- Vms],
    Results.

stop_vm(Vm) -> peer:stop(Vm).

%% Waits until so many have come here, in whatever VM they are: each counts itself in a word of a shared file.
meet(File, Position, Count) ->
    _ = emmap:patomic(File, Position, add, 1),
    wait_for_others(File, Position, Count).

%% Repeats a step, with others who do the same in this VM or another, until steps must have overlapped: however busy the
%% machine is, one of them has seen often enough that others came between two of its own. On a machine that runs one
%% thread at a time it gives up after some seconds. A step takes and gives a state, and tells whether others came
%% between. Gives the number of steps and the last state. The words at the position and behind it are for this alone.
overlap(File, Position, Count, Step, State) ->
    meet(File, Position, Count),
    Deadline = erlang:monotonic_time(millisecond) + 5000,
    Result = overlap(File, Position + 8, Step, State, 0, 0, Deadline),
    ok = emmap:patomic_write(File, Position + 8, 1),
    Result.

overlap(File, Stop, Step, State, Steps, Seen, Deadline) ->
    IsEnough = Seen > 20000 orelse
        Steps rem 64 =:= 0 andalso
        (emmap:patomic_read(File, Stop) =/= 0 orelse erlang:monotonic_time(millisecond) > Deadline),
    case IsEnough of
        true -> {Steps, State};
        false ->
            case Step(State) of
                {true, Next} -> overlap(File, Stop, Step, Next, Steps + 1, Seen + 1, Deadline);
                {false, Next} -> overlap(File, Stop, Step, Next, Steps + 1, Seen, Deadline)
            end
    end.

wait_for_others(File, Position, Count) ->
    case emmap:patomic_read(File, Position) < Count of
        true ->
            erlang:yield(),
            wait_for_others(File, Position, Count);
        false -> ok
    end.

%% Ends a VM as a crash of the machine would, as far as it can tell, and returns when the process is gone.
kill_vm(Vm) ->
    Pid = in_vm(Vm, fun os:getpid/0),
    unlink(Vm),
    Monitor = monitor(process, Vm),
    [] = os:cmd("kill -KILL " ++ Pid),
    receive {'DOWN', Monitor, process, Vm, _} -> ok end,
    wait_until(fun() -> not is_running(Pid) end).

is_running(Pid) ->
    case file:read_file("/proc/" ++ Pid ++ "/stat") of
        {ok, Stat} -> binary:match(Stat, <<") Z ">>) =:= nomatch;
        {error, _} -> false
    end.

%% Runs Erlang expressions in a VM without a shell; returns its exit status, and all that it printed.
run_erl(Expressions) -> run_erl(Expressions, "").

%% The same after a command of the shell, such as "umask 077".
run_erl(Expressions, Command) ->
    Port = open_port({spawn_executable, "/bin/sh"},
                     [{args, ["-c", Command ++ "\nexec \"$@\"", "sh", os:find_executable("erl") | code_path()]
                           ++ ["-noshell", "-eval", unicode:characters_to_binary(Expressions)]},
                      exit_status, stderr_to_stdout, binary]),
    collect(Port, []).

collect(Port, Output) ->
    receive
        {Port, {data, Data}} -> collect(Port, [Output, Data]);
        {Port, {exit_status, Status}} -> {Status, iolist_to_binary(Output)}
    after 60000 -> error({no_answer_from_erl, iolist_to_binary(Output)})
    end.

code_path() -> ["-pa", filename:dirname(code:which(emmap)), "-pa", filename:dirname(code:which(?MODULE))].

%%% Processes

%% The reason that is raised, and what the shell would print about each argument.
raised(Fun) ->
    try Fun() of
        Value -> {returned, Value}
    catch
        error:Reason:Stack ->
            [{_, _, _, Info} | _] = Stack,
            #{error_info := #{module := Module}} = maps:from_list(Info),
            {Reason, maps:map(fun(_, Text) -> unicode:characters_to_list(Text) end,
                              Module:format_error(Reason, Stack))}
    end.

%% Runs a fun in a process of its own: whatever it opened and did not return is garbage when this returns.
in_process(Fun) ->
    {Pid, Monitor} = spawn_monitor(fun() -> exit({done, Fun()}) end),
    receive
        {'DOWN', Monitor, process, Pid, {done, Value}} -> Value;
        {'DOWN', Monitor, process, Pid, Reason} -> error(Reason)
    end.

%% Runs funs at the same time, each in a process of its own that starts when all are there; gives their results.
together(Funs) ->
    Runners = [spawn_monitor(fun() -> receive go -> exit({done, Fun()}) end end) || Fun <- Funs],
    [Pid ! go || {Pid, _} <- Runners],
    [receive
         {'DOWN', Monitor, process, Pid, {done, Result}} -> Result;
         {'DOWN', Monitor, process, Pid, Reason} -> error(Reason)
     end || {Pid, Monitor} <- Runners].

%% Asks until the answer is yes.
wait_until(Fun) -> wait_until(Fun, ?DEADLINE).

wait_until(Fun, Timeout) -> poll(Fun, erlang:monotonic_time(millisecond) + Timeout).

poll(Fun, Deadline) ->
    case Fun() of
        true -> ok;
        Other ->
            erlang:monotonic_time(millisecond) < Deadline orelse error({still, Other}),
            receive after 5 -> ok end,
            poll(Fun, Deadline)
    end.

%%% This process, as the system sees it

page_size() -> list_to_integer(string:trim(os:cmd("getconf PAGESIZE"))).

%% Without the one that the library keeps from the first open on.
descriptors() ->
    {ok, Names} = file:list_dir("/proc/self/fd"),
    length([Name || Name <- Names,
                    file:read_link("/proc/self/fd/" ++ Name) =/= {ok, "/memfd:emmap (deleted)"}]).

%% The mapped ranges of addresses, in order.
mappings() ->
    {ok, Maps} = file:read_file("/proc/self/maps"),
    [range(Line) || Line <- binary:split(Maps, <<"\n">>, [global, trim])].

%% How many mappings of a file there are.
mappings_of(Path) ->
    {ok, Maps} = file:read_file("/proc/self/maps"),
    length(binary:matches(Maps, iolist_to_binary([Path, "\n"]))).

range(Line) ->
    [Range | _] = binary:split(Line, <<" ">>),
    [From, To] = binary:split(Range, <<"-">>),
    {binary_to_integer(From, 16), binary_to_integer(To, 16)}.

%% What smaps says about the mapping that holds an address: sizes in kB by name, and `flags'; or `none'.
mapping_at(Address) ->
    {ok, Maps} = file:read_file("/proc/self/smaps"),
    mapping_at(Address, binary:split(Maps, <<"\n">>, [global, trim])).

mapping_at(_, []) -> none;
mapping_at(Address, [Line | Lines]) ->
    {Fields, Rest} = lists:splitwith(fun is_field/1, Lines),
    case range(Line) of
        {From, To} when From =< Address, Address < To -> maps:from_list(lists:map(fun field/1, Fields));
        _ -> mapping_at(Address, Rest)
    end.

is_field(Line) -> re:run(Line, "^[A-Za-z_]+:") =/= nomatch.

field(Line) ->
    [Name, Value] = binary:split(Line, <<":">>),
    case {Name, binary:split(Value, <<" ">>, [global, trim_all])} of
        {<<"VmFlags">>, Flags} -> {flags, Flags};
        {_, [Number | _]} -> {Name, binary_to_integer(Number)}
    end.

%% An address on a boundary of 2 MiB, in the middle of the largest unused range, with room for so many bytes.
free_address(Bytes) ->
    Ranges = mappings(),
    Gaps = lists:zipwith(fun({_, Start}, {End, _}) -> {End - Start, Start, End} end,
                         lists:droplast(Ranges), tl(Ranges)),
    {Length, Start, _} = lists:max([Gap || {_, _, End} = Gap <- Gaps, End < 1 bsl 47]),
    true = Length div 4 > Bytes,
    (Start + Length div 2) band bnot (1 bsl 21 - 1).

%% A number of /proc/self/status, such as "VmRSS", in kB.
status_kb(Name) ->
    {ok, Status} = file:read_file("/proc/self/status"),
    {match, [Number]} = re:run(Status, Name ++ ":\\s+(\\d+)", [{capture, all_but_first, list}]),
    list_to_integer(Number).

%% Whether a directory is in memory, and has no disk behind it.
is_tmpfs(Directory) -> string:trim(os:cmd("stat -f -c %T '" ++ Directory ++ "'")) =:= "tmpfs".

%%% Schedulers

%% Whether some of what the function calls runs on a dirty scheduler.
moves(Call) -> [] =/= dirty(Call).

%% What of emmap runs on a dirty scheduler: there, a trace has the number 0.
dirty(Call) ->
    {Pid, Reference} = spawn_monitor(fun() -> receive go -> Call() end end),
    1 = erlang:trace(Pid, true, [running, scheduler_id]),
    Pid ! go,
    receive {'DOWN', Reference, process, Pid, Why} -> {_, normal} = {Why, Why} end,
    Delivered = erlang:trace_delivered(Pid),
    receive {trace_delivered, Pid, Delivered} -> ok end,
    [Function || {emmap_nif, _, _} = Function <- dirty_calls(Pid)].

dirty_calls(Pid) ->
    receive
        {trace, Pid, in, Function, 0} -> [Function | dirty_calls(Pid)];
        {trace, Pid, _, _, _} -> dirty_calls(Pid)
    after 0 -> []
    end.

%% One process after the other is killed while it waits for the disk for others, too: they are told all the same.
is_told_when_another_is_killed(Sync, Rounds) ->
    [begin
         Syncing = spawn(fun Loop() -> _ = Sync(), Loop() end),
         timer:sleep(3),
         {_, Monitor} = spawn_monitor(fun() -> ok = Sync() end),
         timer:sleep(Round rem 2),
         exit(Syncing, kill),
         receive {'DOWN', Monitor, process, _, Why} -> normal = Why
         after 10000 -> error({waits_for_ever, Round})
         end
     end || Round <- lists:seq(1, Rounds)].
