%% Copyright 2026 the emmap authors. Licensed under the Apache License, Version 2.0.

%% No call holds a scheduler: in a VM that has one, a process that wakes each millisecond does so while another one
%% works on half a gigabyte.
-module(emmap_latency_SUITE).

-export([suite/0, all/0, init_per_testcase/2, end_per_testcase/2]).
-export([reading_holds_no_scheduler/1, reading_lines_holds_no_scheduler/1, writing_and_syncing_holds_no_scheduler/1,
         growing_holds_no_scheduler/1, closing_holds_no_scheduler/1, collecting_holds_no_scheduler/1]).

-include_lib("common_test/include/ct.hrl").

-define(SIZE, (512 bsl 20)).
%% Milliseconds. A call that took half a gigabyte at once would hold the scheduler for longer; what a busy machine does
%% to a VM that does nothing at all is measured beside it, and allowed for.
-define(BOUND, 100).

suite() -> [{timetrap, {minutes, 4}}].

all() ->
    [reading_holds_no_scheduler, reading_lines_holds_no_scheduler, writing_and_syncing_holds_no_scheduler,
     growing_holds_no_scheduler, closing_holds_no_scheduler, collecting_holds_no_scheduler].

init_per_testcase(Case, Config) ->
    Dir = filename:join(?config(priv_dir, Config), Case),
    ok = filelib:ensure_path(Dir),
    [{dir, Dir} | Config].

end_per_testcase(_, Config) -> file:del_dir_r(?config(dir, Config)).

%%% Loads

reading_holds_no_scheduler(Config) ->
    Dir = ?config(dir, Config),
    measure(fun() ->
                    {ok, File} = emmap:open(big_file(Dir), []),
                    fun() ->
                            {ok, Whole} = emmap:pread(File, 0, ?SIZE),
                            [{ok, _} = emmap:pread(File, At, 4 bsl 20) || At <- lists:seq(0, ?SIZE - 1, 4 bsl 20)],
                            [{ok, _} = emmap:read(File, 1 bsl 20) || _ <- lists:seq(1, ?SIZE bsr 20)],
                            [{ok, _} = emmap:pread(File, At, 60000) || At <- lists:seq(0, ?SIZE - 1, 60000)],
                            Whole
                    end
            end).

%% One line of 512 MiB, and many short ones.
reading_lines_holds_no_scheduler(Config) ->
    Dir = ?config(dir, Config),
    measure(fun() ->
                    {ok, Copying} = emmap:open(big_file(Dir), []),
                    {ok, Direct} = emmap:open(filename:join(Dir, "big"), [direct]),
                    Lines = filename:join(Dir, "lines"),
                    ok = file:write_file(Lines, binary:copy(<<"a line\r\n">>, 1 bsl 16)),
                    {ok, Short} = emmap:open(Lines, []),
                    fun() ->
                            {ok, Copy} = emmap:read_line(Copying),
                            {ok, Line} = emmap:read_line(Direct),
                            [{ok, <<"a line\n">>} = emmap:read_line(Short) || _ <- lists:seq(1, 1 bsl 16)],
                            [Copy, Line]
                    end
            end).

writing_and_syncing_holds_no_scheduler(Config) ->
    Dir = ?config(dir, Config),
    measure(fun() ->
                    {ok, File} = emmap:open(filename:join(Dir, "new"), [create, write, shared, {size, ?SIZE}]),
                    Sizes = [{128 bsl 20, 4 bsl 20}, {128 bsl 20, 1 bsl 20}, {128 bsl 20, 256 bsl 10}, {128 bsl 20, 4096}],
                    Data = [{Total, Size, binary:copy(<<"x">>, Size)} || {Total, Size} <- Sizes],
                    Large = binary:copy(<<"y">>, 128 bsl 20),
                    fun() ->
                            ok = emmap:pwrite(File, 0, Large),
                            lists:foldl(fun({Total, Size, Bytes}, Start) ->
                                                [ok = emmap:pwrite(File, Start + At, Bytes)
                                                 || At <- lists:seq(0, Total - 1, Size)],
                                                Start + Total
                                        end, 0, Data),
                            ok = emmap:flush(File),
                            ok = emmap:sync(File, 0, 64 bsl 20),
                            ok = emmap:datasync(File),
                            ok = emmap:sync(File),
                            ok = emmap:advise(File, 0, 0, dont_need),
                            ok = emmap:close(File)
                    end
            end).

growing_holds_no_scheduler(Config) ->
    Dir = ?config(dir, Config),
    measure(fun() ->
                    {ok, File} = emmap:open(filename:join(Dir, "new"), [create, write, shared]),
                    Bytes = binary:copy(<<"x">>, 1 bsl 20),
                    fun() ->
                            [ok = emmap:write(File, Bytes) || _ <- lists:seq(1, 256)],
                            {ok, ?SIZE} = emmap:resize(File, ?SIZE),
                            {ok, 10} = emmap:resize(File, 10),
                            ok = emmap:allocate(File, 0, 64 bsl 20),
                            {ok, _} = emmap:remap(File)
                    end
            end).

closing_holds_no_scheduler(Config) ->
    Dir = ?config(dir, Config),
    measure(fun() ->
                    Files = [touched(Dir, Options) || Options <- mapped()],
                    fun() -> [ok = emmap:close(File) || File <- Files] end
            end).

%% A process that dies with everything.
collecting_holds_no_scheduler(Config) ->
    Dir = ?config(dir, Config),
    measure(fun() ->
                    Parent = self(),
                    {Pid, Reference} = spawn_monitor(fun() ->
                                                             Files = [touched(Dir, Options) || Options <- mapped()],
                                                             Parent ! {self(), ready},
                                                             receive go -> length(Files) end
                                                     end),
                    receive {Pid, ready} -> ok end,
                    fun() ->
                            Pid ! go,
                            receive {'DOWN', Reference, process, Pid, normal} -> ok end
                    end
            end).

mapped() -> [[write, shared], [write, shared, direct, auto_unlink], [write, private], [write, anon, {size, ?SIZE}]].

%% A handle of 512 MiB of which every page is mapped.
touched(Dir, Options) ->
    {ok, File} = emmap:open(big_file(Dir), Options),
    [ok = emmap:pwrite(File, At, <<1:512>>) || At <- lists:seq(0, ?SIZE - 1, 4096)],
    File.

%% A sparse file without a newline.
big_file(Dir) ->
    Name = filename:join(Dir, "big"),
    {ok, File} = file:open(Name, [read, write, raw]),
    {ok, _} = file:position(File, ?SIZE),
    ok = file:truncate(File),
    ok = file:close(File),
    Name.

%%% Measuring

%% Runs what `Prepare' returns beside the ticking process, and compares with ticks while nothing goes on.
measure(Prepare) ->
    Output =
        emmap_vm:survives(
          fun() ->
                  Load = Prepare(),
                  erlang:garbage_collect(),
                  Ticker = start_ticking(),
                  receive after 1000 -> ok end,
                  Idle = stop_ticking(Ticker),
                  Again = start_ticking(),
                  Started = erlang:monotonic_time(millisecond),
                  Held = Load(),
                  Taken = erlang:monotonic_time(millisecond) - Started,
                  %% What the load leaves behind is collected here, and must not be noticed either. Not so the large
                  %% binaries that it returned: the VM frees those where they are collected, whoever made them.
                  erlang:garbage_collect(),
                  receive after 20 -> ok end,
                  {Worst, Ticks} = stop_ticking(Again),
                  put(held, Held),
                  io:format("RESULT ~w ~w ~w ~w~n", [element(1, Idle), Worst, Ticks, Taken])
          end, #{args => ["+S", "1"], seconds => 120}),
    {match, Numbers} = re:run(Output, "RESULT (\\d+) (\\d+) (\\d+) (\\d+)", [{capture, all_but_first, list}]),
    [Idle, Worst, Ticks, Taken] = [list_to_integer(Number) || Number <- Numbers],
    ct:pal("worst delay ~p us in ~p ticks (load: ~p ms); idle: ~p us", [Worst, Ticks, Taken, Idle]),
    case Worst > 1000 * ?BOUND + Idle of
        true -> ct:fail({delayed_by_microseconds, Worst});
        false -> {comment, io_lib:format("worst delay ~p us, idle ~p us", [Worst, Idle])}
    end.

start_ticking() ->
    Parent = self(),
    Pid = spawn_opt(fun() ->
                            Parent ! {self(), ticking},
                            tick(Parent, 0, 0)
                    end, [link, {priority, high}]),
    receive {Pid, ticking} -> Pid end.

stop_ticking(Pid) ->
    Pid ! stop,
    receive {Pid, Worst, Ticks} -> {Worst, Ticks} end.

%% The delay beyond the millisecond, in microseconds.
tick(Parent, Worst, Ticks) ->
    Before = erlang:monotonic_time(microsecond),
    receive
        stop -> Parent ! {self(), Worst, Ticks}
    after 1 ->
            Delay = erlang:monotonic_time(microsecond) - Before - 1000,
            tick(Parent, max(Worst, Delay), Ticks + 1)
    end.
