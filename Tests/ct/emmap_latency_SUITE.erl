%% Copyright 2026 the emmap authors. Licensed under the Apache License, Version 2.0.

%% No call holds a scheduler: in a VM that has one, a process that wakes each millisecond does so while another one
%% works on half a gigabyte.
-module(emmap_latency_SUITE).

-export([suite/0, all/0, init_per_testcase/2, end_per_testcase/2]).
-export([calls_that_may_wait_run_on_dirty_schedulers/1, small_calls_stay_on_their_scheduler/1,
         cold_pages_are_read_and_written_on_dirty_schedulers/1,
         cold_pages_are_copied_on_dirty_schedulers/1,
         reading_holds_no_scheduler/1, reading_lines_holds_no_scheduler/1, writing_and_syncing_holds_no_scheduler/1,
         growing_holds_no_scheduler/1, closing_holds_no_scheduler/1, collecting_holds_no_scheduler/1,
         populating_holds_no_scheduler/1, enormous_mappings_hold_no_scheduler/1,
         lines_beside_writers_hold_no_scheduler/1, info_of_a_gigantic_name_holds_no_scheduler/1]).

-include_lib("common_test/include/ct.hrl").

-define(SIZE, (512 bsl 20)).
%% Milliseconds. A call that took half a gigabyte at once would hold the scheduler for longer; what a busy machine does
%% to a VM that does nothing at all is measured beside it, and allowed for.
-define(BOUND, 100).

suite() -> [{timetrap, {minutes, 4}}].

all() ->
    [calls_that_may_wait_run_on_dirty_schedulers, small_calls_stay_on_their_scheduler,
     cold_pages_are_read_and_written_on_dirty_schedulers, cold_pages_are_copied_on_dirty_schedulers,
     populating_holds_no_scheduler, enormous_mappings_hold_no_scheduler, lines_beside_writers_hold_no_scheduler,
     info_of_a_gigantic_name_holds_no_scheduler,
     reading_holds_no_scheduler, reading_lines_holds_no_scheduler, writing_and_syncing_holds_no_scheduler,
     growing_holds_no_scheduler, closing_holds_no_scheduler, collecting_holds_no_scheduler].

init_per_testcase(Case, Config) ->
    Dir = filename:join(?config(priv_dir, Config), Case),
    ok = filelib:ensure_path(Dir),
    [{dir, Dir} | Config].

end_per_testcase(_, Config) -> file:del_dir_r(?config(dir, Config)).

%%% Where calls run

calls_that_may_wait_run_on_dirty_schedulers(Config) ->
    Dir = ?config(dir, Config),
    Name = filename:join(Dir, "file"),
    MiB = 1 bsl 20,
    ok = file:write_file(Name, binary:copy(<<"x">>, 4 * MiB)),
    {ok, File} = emmap:open(Name, [write, shared]),
    {ok, _} = emmap:pread(File, 0, 4 * MiB),
    Large = binary:copy(<<"x">>, MiB + 1),
    Calls = [{open, fun() -> {ok, _} = emmap:open(Name, []) end},
             {populate, fun() -> {ok, _} = emmap:open(Name, [populate]) end},
             {datasync, fun() -> ok = emmap:datasync(File) end},
             {sync, fun() -> ok = emmap:sync(File) end},
             {sync_range, fun() -> ok = emmap:sync(File, 0, 10) end},
             {flush, fun() -> ok = emmap:flush(File) end},
             {advise, fun() -> ok = emmap:advise(File, 0, 0, will_need) end},
             {allocate, fun() -> ok = emmap:allocate(File, 0, 10) end},
             {remap, fun() -> {ok, _} = emmap:remap(File) end},
             %% The name may be a term of any size.
             {info, fun() -> #{} = emmap:info(File) end},
             {file_info, fun() -> {ok, _} = emmap:read_handle_info(File, []) end},
             {pread, fun() -> {ok, _} = emmap:pread(File, 0, MiB + 1) end},
             {read, fun() -> {ok, _} = emmap:read(File, MiB + 1) end},
             {line, fun() -> {ok, _} = emmap:read_line(File) end},
             {pwrite, fun() -> ok = emmap:pwrite(File, 0, Large) end},
             {pieces, fun() -> ok = emmap:pwrite(File, 0, [Large, Large]) end},
             {write, fun() -> {ok, 0} = emmap:position(File, bof), ok = emmap:write(File, Large) end},
             {append, fun() -> ok = emmap:pwrite(File, 4 * MiB, <<"x">>) end},
             {grow, fun() -> {ok, _} = emmap:resize(File, 5 * MiB) end},
             {truncate, fun() -> {ok, _} = emmap:position(File, 4 * MiB), ok = emmap:truncate(File) end},
             {close, fun() -> ok = emmap:close(File) end}],
    [] = [Call || {Call, Fun} <- Calls, not emmap_test:moves(Fun)].

small_calls_stay_on_their_scheduler(Config) ->
    Dir = ?config(dir, Config),
    Name = filename:join(Dir, "file"),
    MiB = 1 bsl 20,
    ok = file:write_file(Name, binary:copy(<<"a line\n">>, MiB)),
    {ok, File} = emmap:open(Name, [write, shared]),
    {ok, Small} = emmap:open(Name, 0, 1000, [read]),
    {ok, _} = emmap:pread(File, 0, 4 * MiB),
    ok = emmap:pwrite(File, 0, binary:copy(<<"a line\n">>, MiB)),
    %% Some of 64 KiB and more may move, if their pages have gone meanwhile.
    Calls = [{pread, fun() -> {ok, _} = emmap:pread(File, 0, 8) end},
             {pread_64_kib, fun() -> {ok, _} = emmap:pread(File, 0, 64 bsl 10) end},
             {pread_1_mib, fun() -> {ok, _} = emmap:pread(File, 0, MiB) end},
             {read, fun() -> {ok, _} = emmap:read(File, 100) end},
             {line, fun() -> {ok, _} = emmap:read_line(File) end},
             {pwrite, fun() -> ok = emmap:pwrite(File, 0, <<"12345678">>) end},
             {pwrite_64_kib, fun() -> ok = emmap:pwrite(File, 0, binary:copy(<<"x">>, 64 bsl 10)) end},
             {pwrite_1_mib, fun() -> ok = emmap:pwrite(File, 0, binary:copy(<<"x">>, MiB)) end},
             {write, fun() -> ok = emmap:write(File, <<"x">>) end},
             {position, fun() -> {ok, 0} = emmap:position(File, bof) end},
             {add, fun() -> _ = emmap:patomic(File, 8, add, 1), ok end},
             {load, fun() -> _ = emmap:patomic_read(File, 8), ok end},
             {store, fun() -> ok = emmap:patomic_write(File, 8, 1) end},
             {exchange, fun() -> ok = emmap:patomic_cas(File, 8, 1, 2) end},
             {close, fun() -> ok = emmap:close(Small) end}],
    [] = [Call || {Call, Fun} <- Calls, emmap_test:moves(Fun)],
    ok = emmap:close(File).

cold_pages_are_read_and_written_on_dirty_schedulers(Config) ->
    Dir = ?config(dir, Config),
    Name = filename:join(Dir, "cold"),
    ok = file:write_file(Name, binary:copy(<<"x">>, 4 bsl 20)),
    Bytes = binary:copy(<<"y">>, 128 bsl 10),
    Calls = [{pread, fun(File) -> {ok, _} = emmap:pread(File, 0, 128 bsl 10) end},
             {read, fun(File) -> {ok, _} = emmap:read(File, 128 bsl 10) end},
             {pwrite, fun(File) -> ok = emmap:pwrite(File, 0, Bytes) end},
             {write, fun(File) -> ok = emmap:write(File, Bytes) end}],
    Results = [{Call, with_cold_pages(Name, fun(File) -> emmap_test:moves(fun() -> Fun(File) end) end)}
               || {Call, Fun} <- Calls],
    case [Call || {Call, warm} <- Results] of
        [] -> [] = [Call || {Call, Moved} <- Results, not Moved];
        _ -> {skip, "the system keeps the file's pages in memory, whatever it is told"}
    end.

%% Of a copy it is the reading that waits.
cold_pages_are_copied_on_dirty_schedulers(Config) ->
    Dir = ?config(dir, Config),
    {Name, Size} = {filename:join(Dir, "cold"), 16 bsl 20},
    ok = file:write_file(Name, binary:copy(<<"x">>, Size)),
    {ok, Target} = emmap:open(filename:join(Dir, "target"), [create, write, shared, {size, Size}]),
    ok = emmap:pwrite(Target, 0, binary:copy(<<"y">>, Size)),
    Copy = fun(File) -> emmap_test:dirty(fun() -> {ok, Size} = emmap:copy(File, Target, Size) end) end,
    case with_cold_pages(Name, Copy) of
        warm -> {skip, "the system keeps the file's pages in memory, whatever it is told"};
        Dirty ->
            {_, true} = {Dirty, lists:keymember(read, 2, Dirty)},
            {ok, <<"xxxx">>} = emmap:pread(Target, Size - 4, 4),
            ok = emmap:close(Target)
    end.

%% Calls the function with a handle none of whose pages is in memory, or answers `warm' if that cannot be had.
with_cold_pages(Name, Fun) -> with_cold_pages(Name, Fun, 20).

with_cold_pages(_, _, 0) -> warm;
with_cold_pages(Name, Fun, Tries) ->
    {ok, Raw} = file:open(Name, [read, write, raw]),
    ok = file:sync(Raw),
    ok = file:advise(Raw, 0, 0, dont_need),
    ok = file:close(Raw),
    case string:trim(os:cmd("fincore --noheadings --output PAGES '" ++ Name ++ "'")) of
        "0" ->
            {ok, File} = emmap:open(Name, [write, shared]),
            Result = Fun(File),
            ok = emmap:close(File),
            Result;
        _ -> with_cold_pages(Name, Fun, Tries - 1)
    end.

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
                    Sizes = [{128 bsl 20, Size} || Size <- [4 bsl 20, 1 bsl 20, 256 bsl 10, 4096]],
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

%% Pages that are there before `open' returns.
populating_holds_no_scheduler(Config) ->
    Dir = ?config(dir, Config),
    measure(fun() ->
                    Name = big_file(Dir),
                    fun() ->
                            [begin
                                 {ok, File} = emmap:open(Name, Options),
                                 ok = emmap:close(File)
                             end || Options <- [[populate], [populate, write, private], [populate, write, shared],
                                                [populate, write, anon, {size, ?SIZE}]]]
                    end
            end).

%% What is taken apart piece by piece must not be taken apart on a scheduler, however little there is in the pieces.
enormous_mappings_hold_no_scheduler(Config) ->
    Dir = ?config(dir, Config),
    measure(fun() ->
                    Name = filename:join(Dir, "sparse"),
                    emmap_vm:cut(new(Name), 1 bsl 43),
                    Open = fun(anon) -> emmap:open("", [anon, noreserve, write, {size, 1 bsl 40}]);
                              (sparse) -> emmap:open(Name, [shared]);
                              (direct) -> emmap:open(Name, [direct])
                           end,
                    fun() ->
                            [emmap_vm:in_process(
                               fun() ->
                                       {ok, File} = Open(Kind),
                                       _ = Close andalso (ok = emmap:close(File)),
                                       ok
                               end) || Kind <- [anon, sparse, direct], Close <- [true, false]]
                    end
            end).

new(Name) ->
    ok = file:write_file(Name, <<>>),
    Name.

%% Writers that never stop keep a reader of lines busy, but not a scheduler.
lines_beside_writers_hold_no_scheduler(Config) ->
    Dir = ?config(dir, Config),
    emmap_vm:survives(
      fun() ->
              [begin
                   Name = filename:join(Dir, "line"),
                   ok = file:write_file(Name, [binary:copy(<<"x">>, Length), "\n", binary:copy(<<"y">>, 100)]),
                   {ok, File} = emmap:open(Name, [write, shared, lock]),
                   Write = fun() -> [ok = emmap:pwrite(File, Length + 50, <<"z">>) || _ <- lists:seq(1, 100)] end,
                   _ = erlang:system_monitor(self(), [{long_schedule, 3 * ?BOUND}]),
                   Times = emmap_vm:while(
                             [Write, Write, Write, Write],
                             fun() ->
                                     emmap_vm:until(1000,
                                                    fun() ->
                                                            {ok, 0} = emmap:position(File, bof),
                                                            {ok, Line} = emmap:read_line(File),
                                                            true = byte_size(Line) =:= Length + 1
                                                    end)
                             end),
                   _ = erlang:system_monitor(undefined),
                   io:format("~p lines of ~p bytes~n", [Times, Length]),
                   {Length, none} = {Length, receive {monitor, _, long_schedule, Long} -> Long after 0 -> none end},
                   ok = emmap:close(File)
               end || Length <- [1000, 60000, 1000000]]
      end, #{args => ["+S", "4"]}).

%% A name is a term of any size.
info_of_a_gigantic_name_holds_no_scheduler(Config) ->
    Dir = ?config(dir, Config),
    measure(fun() ->
                    Name = filename:join(Dir, "file"),
                    {ok, File} = emmap:open(lists:duplicate(5000000, []) ++ new(Name), [create, write, {size, 1}]),
                    fun() -> [#{size := 1} = emmap:info(File) || _ <- [1, 2, 3]] end
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

%% What holds a scheduler does so each time; what a busy machine does to a VM, now and then.
measure(Prepare) -> measure(Prepare, 3).

measure(Prepare, Rounds) ->
    {Idle, Worst, Ticks, Taken} = ticks_beside(Prepare),
    ct:pal("worst delay ~p us in ~p ticks (load: ~p ms); idle: ~p us", [Worst, Ticks, Taken, Idle]),
    if
        Worst =< 1000 * ?BOUND + Idle -> {comment, io_lib:format("worst delay ~p us, idle ~p us", [Worst, Idle])};
        Rounds > 1 -> measure(Prepare, Rounds - 1);
        true -> ct:fail({delayed_by_microseconds, Worst})
    end.

%% Runs what `Prepare' returns beside the ticking process, and before it ticks while nothing goes on. The worst delays,
%% the number of ticks beside the load, and the milliseconds that it took.
ticks_beside(Prepare) ->
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
    list_to_tuple([list_to_integer(Number) || Number <- Numbers]).

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
