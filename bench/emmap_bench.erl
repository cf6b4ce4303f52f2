%% Copyright 2026 the emmap authors. Licensed under the Apache License, Version 2.0.

%% @doc The benchmark: runs the rows of `emmap_bench_rows' and writes what it finds. `bench/run' starts it.
%%
%% All sides of a row are measured in turn, again and again, so that whatever else the machine does meets all of them
%% alike; the median counts. A batch of operations runs in a process of its own, pinned to a scheduler, so that no side
%% inherits a heap. The cost of the loop is taken off.
-module(emmap_bench).

-export([main/1, compare/1, peer/1, set_up/1, sample/6]).

-include("emmap_bench.hrl").

-define(ROUNDS, 31).
-define(BATCH_NS, 2000000).
-define(MAX_COUNT, 1000000).

%% @doc Measures one build against everything else: `[WorkDirectory, OutputDirectory]'.
-spec main([string()]) -> ok.
main([Work, Output]) ->
    Build = {<<"emmap">>, local},
    [_ | Rows] = All = keep(emmap_bench_rows:rows(Work, fun(Group) -> Group() end)),
    Results = measure([Build], All, fun(#row{sides = Sides}) -> lists:seq(1, length(Sides)) end),
    emmap_bench_report:write(Output, Rows, Results).

%% @doc Measures emmap as two builds, each in a VM of its own: `[WorkDirectory, OldEbin, NewEbin]'. The environment
%% variable BENCH_ROWS, a regular expression, selects rows by name. Rows that one of the two cannot run are named, not
%% compared: the old build may be that of another library with emmap's functions.
-spec compare([string()]) -> ok.
compare([Work, Old, New]) ->
    {Rows, Results} = measure_both(Work, Old, New),
    emmap_bench_report:print_comparison(Rows, Results).

%% @doc Measures emmap against another library with its functions: `[WorkDirectory, OutputDirectory, ItsEbin, Ebin]'.
-spec peer([string()]) -> ok.
peer([Work, Output, Old, New]) ->
    {ok, [{application, emmap, Details}]} = file:consult(filename:join(Old, "emmap.app")),
    {Rows, Results} = measure_both(Work, Old, New),
    emmap_bench_report:write_peer(Output, proplists:get_value(vsn, Details), Rows, Results).

measure_both(Work, Old, New) ->
    Bench = filename:dirname(code:which(?MODULE)),
    Builds = [{Label, start(Ebin, Bench)} || {Label, Ebin} <- [{<<"old">>, Old}, {<<"new">>, New}]],
    [[Loop | Olds], [Loop | News]] = [call(Vm, set_up, [filename:join(Work, Label)]) || {Label, Vm} <- Builds],
    Every = News ++ [Row || #row{id = Id} = Row <- Olds, not lists:keymember(Id, #row.id, News)],
    Pattern = os:getenv("BENCH_ROWS", ""),
    Rows = [Row || #row{name = Name} = Row <- Every, re:run(Name, Pattern, [{capture, none}]) =:= match],
    %% N stands for the machine: if it differs, the run is not worth much.
    Results = measure(Builds, [Loop | Rows], fun(#row{sides = Sides}) -> lists:seq(1, min(2, length(Sides))) end),
    %% One that a row has ended is gone.
    lists:foreach(fun({_, Vm}) -> [peer:stop(Vm) || is_process_alive(Vm)] end, Builds),
    {Rows, Results}.

start(Ebin, Bench) ->
    %% Quiet: a row that fails is reported once, by measure/3.
    {ok, Vm, _} = peer:start_link(#{connection => standard_io, wait_boot => 60000,
                                    args => ["-kernel", "logger_level", "none", "-pa", Ebin, Bench]}),
    Vm.

call(local, Function, Args) -> apply(?MODULE, Function, Args);
call(Vm, Function, Args) -> peer:call(Vm, ?MODULE, Function, Args, infinity).

%% @doc Prepares all rows in this VM, but for those that the library which is loaded here cannot do. Returns them with the
%% labels of the sides alone: funs and handles mean nothing in another VM.
-spec set_up(file:filename()) -> [#row{}].
set_up(Work) ->
    keep(emmap_bench_rows:rows(Work, fun(Group) ->
                                         try Group()
                                         catch error:Reason ->
                                             io:format(standard_error, "left out: ~tP~n", [Reason, 12]),
                                             []
                                         end
                                     end)).

keep(Rows) ->
    lists:foreach(fun(#row{id = Id} = Row) -> persistent_term:put({?MODULE, Id}, Row) end, Rows),
    [Row#row{sides = [Label || #side{label = Label} <- Sides]} || #row{sides = Sides} = Row <- Rows].

%%% Measuring

%% The nanoseconds per operation of each build, row, side and number of processes.
measure(Builds, [Loop | Rows], Sides) ->
    Costs = maps:from_list([{Label, Ns} || {{Label, _, _, _}, Ns} <- measure_row(Builds, Loop, [1], [1], #{})]),
    Processes = min(2, erlang:system_info(schedulers_online)),
    maps:from_list(lists:append(
        [begin
             io:put_chars(standard_error, [Name, $\n]),
             try measure_row(Builds, Row, Sides(Row), [1 | [2 || Scale, Processes > 1]], Costs)
             %% An exit where the other VM has ended.
             catch _:Reason when length(Builds) > 1 ->
                 io:format(standard_error, "  left out: ~tP~n", [Reason, 12]),
                 []
             end
         end || #row{name = Name, scale = Scale} = Row <- Rows])).

measure_row(Builds, #row{id = Id} = Row, Sides, Counts, Costs) ->
    Runs = [{Build, Id, Side, Count} || Side <- Sides, Count <- Counts, Build <- Builds],
    Counted = [{Run, count(Run, Row)} || Run <- Runs],
    Samples = [{Run, one(Run, N, Round, Costs)} || Round <- lists:seq(1, ?ROUNDS), {Run, N} <- Counted],
    [{{Label, Id, Side, Count}, median([Ns || {Same, Ns} <- Samples, Same =:= Run])}
     || {{Label, _}, _, Side, Count} = Run <- Runs].

one({{Label, Vm}, Id, Side, Count}, N, Round, Costs) ->
    call(Vm, sample, [Id, Side, N, Count, Round, maps:get(Label, Costs, 0)]).

median(List) -> lists:nth((length(List) + 1) div 2, lists:sort(List)).

%% How many operations fill a batch.
count(_, #row{count = N}) when is_integer(N) -> N;
count(Run, _) -> calibrate(Run, 1).

calibrate(Run, N) ->
    Ns = max(1, one(Run, N, 1, #{}) * N),
    if
        N >= ?MAX_COUNT -> ?MAX_COUNT;
        Ns >= ?BATCH_NS / 4; N > 1000, Ns >= ?BATCH_NS / 20 -> max(1, min(?MAX_COUNT, round(N * ?BATCH_NS / Ns)));
        true -> calibrate(Run, N * 4)
    end.

%% @doc Runs one batch in each of some processes at once. Returns the nanoseconds per operation of all together, after
%% taking off from each operation what the loop costs.
-spec sample(term(), pos_integer(), pos_integer(), pos_integer(), pos_integer(), number()) -> float().
sample(Id, SideNumber, N, Processes, Round, LoopNs) ->
    #row{sides = Sides, spawn = Options} = persistent_term:get({?MODULE, Id}),
    Side = lists:nth(SideNumber, Sides),
    Parent = self(),
    Workers = [spawn_opt(fun() -> work(Parent, Side, N, Round, Process) end,
                         [monitor, {scheduler, Process}, {min_heap_size, 8192} | Options])
               || Process <- lists:seq(1, Processes)],
    lists:foreach(fun({Worker, _}) ->
                      receive
                          {Worker, ready} -> ok;
                          {'DOWN', _, _, Worker, Reason} -> error({Id, SideNumber, Reason})
                      end
                  end, Workers),
    %% All begin at the same moment, awake: a message would reach one later than the other.
    Start = erlang:monotonic_time() + erlang:convert_time_unit(50, microsecond, native),
    lists:foreach(fun({Worker, _}) -> Worker ! {start, Start} end, Workers),
    Times = [receive
                 {'DOWN', Monitor, _, _, {measured, Ns}} -> Ns;
                 {'DOWN', Monitor, _, _, Reason} -> error({Id, SideNumber, Reason})
             end || {_, Monitor} <- Workers],
    1 / lists:sum([1 / max(0.1, Ns / N - LoopNs) || Ns <- Times]).

work(Parent, #side{prepare = Prepare, loop = Loop, finish = Finish, warm = Warm}, N, Round, Process) ->
    State = Prepare(Round, Process),
    _ = [Loop(N div 10 + 1, State) || Warm],
    Parent ! {self(), ready},
    receive {start, Start} -> wait_until(Start) end,
    Begin = erlang:monotonic_time(nanosecond),
    _ = Loop(N, State),
    End = erlang:monotonic_time(nanosecond),
    _ = Finish(State),
    exit({measured, End - Begin}).

wait_until(Start) ->
    case erlang:monotonic_time() of
        Now when Now >= Start -> ok;
        _ -> wait_until(Start)
    end.
