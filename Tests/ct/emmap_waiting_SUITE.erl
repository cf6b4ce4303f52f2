%% Copyright 2026 the emmap authors. Licensed under the Apache License, Version 2.0.

%% Who waits for whom: reads for writers, processes that only allocate for what is done to mappings, callers of other
%% files for callers of one. Times are compared with a control of the same run, and of some rounds the best counts: what
%% a busy machine adds to one of them, it seldom adds to all.
-module(emmap_waiting_SUITE).

-export([suite/0, all/0, init_per_testcase/2, end_per_testcase/2]).
-compile([export_all, nowarn_export_all]).
-import(emmap_vm, [survives/1, survives/2, cut/2]).

-include_lib("common_test/include/ct.hrl").

-define(PAGE, 4096).
-define(MiB, (1 bsl 20)).
-define(GiB, (1 bsl 30)).

suite() -> [{timetrap, {minutes, 5}}].

all() ->
    [reads_to_the_end_are_not_starved_by_writers, remap_of_a_private_handle_looks_at_no_pages,
     remaps_of_a_private_handle_keep_one_copy, populating_holds_up_no_allocation, advice_is_given_in_slices,
     a_thousand_handles_at_once_hold_no_scheduler, callers_of_one_handle_hold_up_no_other_file,
     faults_after_close_are_as_quick_as_before].

init_per_testcase(Case, Config) -> emmap_vm:directory(Case, Config).

end_per_testcase(_, Config) -> emmap_vm:delete_directory(Config).

%%% Reads beside writers

%% The writer begins inside and ends past the end, again and again. It stops when the reads are done, or take too long.
reads_to_the_end_are_not_starved_by_writers(Config) ->
    Dir = ?config(dir, Config),
    Size = 128 * ?MiB,
    %% Twice the time is right; the writer also takes a processor, and looking for the end of a line comes again.
    Reads = [{pread, 5, fun(File) -> emmap:pread(File, 0, 1 bsl 40) end},
             {read, 5, fun(File) -> {ok, 0} = emmap:position(File, bof), emmap:read(File, 1 bsl 40) end},
             {read_line, 15, fun(File) -> {ok, 0} = emmap:position(File, bof), emmap:read_line(File) end}],
    survives(
      fun() ->
              [begin
                   Name = filename:join(Dir, Call),
                   ok = file:write_file(Name, binary:copy(<<"a">>, Size)),
                   {ok, File} = emmap:open(Name, [write, shared]),
                   Time = fun() ->
                                  {Micros, {ok, Bytes}} = timer:tc(fun() -> Read(File) end),
                                  true = byte_size(Bytes) >= Size,
                                  Micros
                          end,
                   Alone = best(5, Time),
                   Beside = beside_appends(File, Size, fun() -> best(5, Time) end),
                   io:format("~p alone ~p us, beside a writer ~p us~n", [Call, Alone, Beside]),
                   {Call, true} = {Call, Beside < Times * Alone + 20000},
                   ok = emmap:close(File)
               end || {Call, Times, Read} <- Reads]
      end).

%% Runs the function beside the writer; `never' if it is not done in the end.
beside_appends(File, Size, Fun) ->
    Stop = atomics:new(1, []),
    Writer = spawn_monitor(fun() -> append(File, Size - 1, Stop) end),
    Reader = spawn_monitor(fun() -> exit({took, Fun()}) end),
    Timer = erlang:send_after(20000, self(), too_long),
    {Pid, Reference} = Reader,
    Result = receive
                 {'DOWN', Reference, process, Pid, {took, Took}} -> Took;
                 too_long -> never
             end,
    _ = erlang:cancel_timer(Timer),
    atomics:put(Stop, 1, 1),
    [receive {'DOWN', Monitor, process, Process, _} -> ok end
     || {Process, Monitor} <- [Writer | [Reader || Result =:= never]]],
    Result.

append(File, At, Stop) ->
    ok = emmap:pwrite(File, At, <<"ab">>),
    atomics:get(Stop, 1) =:= 0 andalso append(File, At + 1, Stop).

%% The best of so many rounds.
best(Rounds, Round) -> lists:min([Round() || _ <- lists:seq(1, Rounds)]).

%% One of so many rounds has to stay within the bound. What is off by seconds no other round can make good.
one_within(Rounds, Bound, Round) -> one_within(Rounds, Bound, Round, []).

one_within(0, Bound, _, Results) -> error({none_within, Bound, Results});
one_within(Rounds, Bound, Round, Results) ->
    case Round() of
        Result when Result =< Bound -> Result;
        Result when Result > 2000000 -> error({none_within, Bound, [Result | Results]});
        Result -> one_within(Rounds - 1, Bound, Round, [Result | Results])
    end.

%%% Private handles

-define(BOUND_OF_REMAP, 10000).

%% One page is changed of 3 GiB that are not even there. A round that takes a second needs no other.
remap_of_a_private_handle_looks_at_no_pages(Config) ->
    Name = sparse(Config, 3 * ?GiB),
    survives(
      fun() ->
              {ok, File} = emmap:open(Name, [write, private]),
              ok = emmap:pwrite(File, ?GiB, <<"x">>),
              Sizes = lists:seq(3 * ?GiB, 5 * ?GiB, 256 * ?MiB),
              Rounds = remap_rounds(Name, File, tl(Sizes)),
              io:format("remap and longest pread meanwhile, us: ~p~n", [Rounds]),
              true = lists:min([Remap || {Remap, _} <- Rounds]) < ?BOUND_OF_REMAP,
              true = lists:min([Read || {_, Read} <- Rounds]) < ?BOUND_OF_REMAP,
              {ok, <<"x">>} = emmap:pread(File, ?GiB, 1)
      end).

remap_rounds(_, _, []) -> [];
remap_rounds(Name, File, [Size | Sizes]) ->
    cut(Name, Size),
    Stop = atomics:new(1, []),
    {Reader, Reference} = spawn_monitor(fun() -> exit({longest, longest_read(File, Stop, 0)}) end),
    emmap_vm:eventually(fun() -> atomics:get(Stop, 1) =/= 0 end),
    {Remap, {ok, Size}} = timer:tc(fun() -> emmap:remap(File) end),
    atomics:put(Stop, 1, 2),
    Longest = receive {'DOWN', Reference, process, Reader, {longest, Value}} -> Value end,
    [{Remap, Longest} | case Remap of
                            _ when Remap > 1000000 -> [];
                            _ -> remap_rounds(Name, File, Sizes)
                        end].

longest_read(File, Stop, Longest) ->
    {Micros, {ok, <<0>>}} = timer:tc(fun() -> emmap:pread(File, 0, 1) end),
    case atomics:get(Stop, 1) of
        2 -> max(Longest, Micros);
        _ ->
            atomics:put(Stop, 1, 1),
            longest_read(File, Stop, max(Longest, Micros))
    end.

%% All pages of 64 MiB are changed; six times the file becomes longer.
remaps_of_a_private_handle_keep_one_copy(Config) ->
    Size = 64 * ?MiB,
    Name = sparse(Config, Size),
    survives(
      fun() ->
              {ok, File} = emmap:open(Name, [write, private, {max_inc_size, 1}]),
              [ok = emmap:pwrite(File, At, <<"x">>) || At <- lists:seq(0, Size - 1, ?PAGE)],
              Before = emmap_vm:status_kb("RssAnon"),
              [begin
                   cut(Name, Longer),
                   {ok, Longer} = emmap:remap(File)
               end || Longer <- lists:seq(Size + Size div 8, Size + 6 * Size div 8, Size div 8)],
              More = emmap_vm:status_kb("RssAnon") - Before,
              io:format("~p kB more after six growths~n", [More]),
              true = More < Size div 2 div 1024,
              [{ok, <<"x">>} = emmap:pread(File, At, 1) || At <- lists:seq(0, Size - 1, ?PAGE)]
      end).

%%% Allocating

%% Microseconds.
-define(GAP, 20000).
-define(NEW, (512 * ?MiB)).
-define(MANY, (2 * ?GiB)).

%% Beside two processes that allocate all the time and a third one that looks at the clock. Memory that comes from the
%% system waits for whoever holds the lock of the VM's mappings.
populating_holds_up_no_allocation(_) ->
    Dir = filename:join("/dev/shm", "emmap_waiting_SUITE." ++ os:getpid()),
    New = fun(Sharing) -> [create, write, Sharing, auto_unlink, {size, ?NEW}] end,
    case emmap_test:is_tmpfs("/dev/shm") andalso available() > 6 * ?NEW of
        true ->
            ok = file:make_dir(Dir),
            try
                [survives(fun() -> populate(Dir, Options) end, #{seconds => 120})
                 || Options <- [[anon, write, {size, ?NEW}], New(shared), New(private)]]
            after
                file:del_dir_r(Dir)
            end;
        false -> {skip, "less than 3 GiB of memory are free here, or /dev/shm is not in it"}
    end.

%% The control brings as much memory in, of a file of which nothing is there yet either; but a page at a time. What the
%% machine takes to find new memory, both see.
populate(Dir, Options) ->
    Bytes = binary:copy(<<"x">>, ?MiB),
    Open = fun(More) ->
                   Name = filename:join(Dir, integer_to_list(erlang:unique_integer([positive]))),
                   {ok, File} = emmap:open(Name, More ++ Options),
                   File
           end,
    Written = fun() ->
                      File = Open([]),
                      [ok = emmap:pwrite(File, At, Bytes) || At <- lists:seq(0, ?NEW - 1, ?MiB)],
                      File
              end,
    More = one_within(4, ?GAP, fun() ->
                                       Control = longest_gap(Written),
                                       Gap = longest_gap(fun() -> Open([populate]) end),
                                       io:format("~p: longest gap ~p us, control ~p us~n", [Options, Gap, Control]),
                                       Gap - Control
                               end),
    io:format("~p us more than the control~n", [More]).

%% The system holds that lock for as long as it takes a piece of advice. Few machines are quiet enough to see the time.
advice_is_given_in_slices(Config) ->
    Log = filename:join(?config(dir, Config), "strace"),
    case emmap_vm:may_trace() of
        true ->
            survives(
              fun() ->
                      {ok, File} = emmap:open("", [anon, noreserve, write, {size, ?MANY}]),
                      [ok = emmap:advise(File, 0, 0, Advice) || Advice <- [dont_need, no_reuse]],
                      ok = emmap:close(File)
              end, #{strace => ["-e", "trace=madvise", "-e", "signal=none", "-o", Log]}),
            {ok, Calls} = file:read_file(Log),
            {match, Matches} = re:run(Calls, "madvise\\(0x[0-9a-f]+, ([0-9]+), MADV_COLD",
                                      [global, {capture, all_but_first, binary}]),
            Lengths = [binary_to_integer(Length) || [Length] <- Matches],
            ct:log("~p", [Lengths]),
            %% 2 GiB hold the lock for 35 to 90 ms.
            true = lists:max(Lengths) =< ?MANY div 8,
            true = lists:sum(Lengths) >= 2 * ?MANY;
        Why -> {skip, Why}
    end.

%% The longest time, in microseconds, that one of the three waited beyond what it does.
longest_gap(Open) ->
    Stop = atomics:new(1, []),
    Piece = binary:copy(<<"x">>, 65536),
    Allocate = fun() -> byte_size(binary:copy(Piece, 46)) end,
    Runners = [spawn_opt(fun() -> exit({longest, watch(Fun, Stop, 0)}) end, [monitor, {priority, Priority}])
               || {Priority, Fun} <- [{normal, Allocate}, {normal, Allocate}, {max, fun tick/0}]],
    File = Open(),
    atomics:put(Stop, 1, 1),
    ok = emmap:close(File),
    Longest = [receive {'DOWN', Reference, process, Pid, {longest, Micros}} -> Micros end
               || {Pid, Reference} <- Runners],
    lists:max(Longest).

watch(Fun, Stop, Longest) ->
    {Micros, _} = timer:tc(Fun),
    case atomics:get(Stop, 1) of
        0 -> watch(Fun, Stop, max(Longest, Micros));
        1 -> max(Longest, Micros)
    end.

tick() -> receive after 1 -> ok end.

%% Bytes of memory that the system could give.
available() ->
    {ok, Text} = file:read_file("/proc/meminfo"),
    {match, [Number]} = re:run(Text, "MemAvailable:\\s+(\\d+)", [{capture, all_but_first, binary}]),
    1024 * binary_to_integer(Number).

%%% Collecting

-define(HANDLES, 1000).

%% One scheduler, on which the handles of a process that ends are collected.
a_thousand_handles_at_once_hold_no_scheduler(Config) ->
    Name = filename:join(?config(dir, Config), "file"),
    ok = file:write_file(Name, binary:copy(<<"x">>, 2 * ?MiB)),
    Touch = fun([read], File) -> [{ok, _} = emmap:pread(File, At, 1) || At <- lists:seq(0, 2 * ?MiB - 1, 16 * ?PAGE)];
               (_, File) -> [ok = emmap:pwrite(File, At, <<"y">>) || At <- lists:seq(0, ?MiB - 1, ?PAGE)]
            end,
    [survives(
       fun() ->
               Control = best(3, fun() -> longest_tick(fun() -> receive after 500 -> ok end end) end),
               Gap = one_within(4, 10000 + Control, fun() -> drop(Name, Options, Touch) end),
               io:format("~p: longest gap ~p us, control ~p us~n", [Options, Gap, Control])
       end, #{args => ["+S", "1"]}) || Options <- [[write, private], [read]]].

drop(Name, Options, Touch) ->
    Parent = self(),
    {Holder, Reference} = spawn_monitor(
                            fun() ->
                                    Files = [element(2, {ok, _} = emmap:open(Name, Options))
                                             || _ <- lists:seq(1, ?HANDLES)],
                                    [Touch(Options, File) || File <- Files],
                                    Parent ! {self(), ready},
                                    receive go -> length(Files) end
                            end),
    receive {Holder, ready} -> ok end,
    erlang:garbage_collect(),
    longest_tick(fun() ->
                         Holder ! go,
                         receive {'DOWN', Reference, process, Holder, Why} -> normal = Why end,
                         %% What the end of the process leaves to be done.
                         receive after 300 -> ok end
                 end).

longest_tick(Load) ->
    Stop = atomics:new(1, []),
    {Ticker, Reference} = spawn_opt(fun() -> exit({longest, watch(fun tick/0, Stop, 0)}) end,
                                    [monitor, {priority, max}]),
    _ = Load(),
    atomics:put(Stop, 1, 1),
    receive {'DOWN', Reference, process, Ticker, {longest, Micros}} -> Micros end.

%%% Threads

%% More readers than there are threads for calls that wait.
callers_of_one_handle_hold_up_no_other_file(Config) ->
    Name = filename:join(?config(dir, Config), "file"),
    survives(
      fun() ->
              {ok, File} = emmap:open(Name, [create, write, shared, {size, 512 * ?MiB}]),
              Bytes = [binary:copy(<<Letter>>, 512 * ?MiB) || Letter <- "ab"],
              %% The pages are there for the rounds that count.
              ok = emmap:pwrite(File, 0, hd(Bytes)),
              Share = one_within(6, 50, fun() -> wait_beside_readers(Name, File, Bytes) end),
              io:format("~p % of the write's time~n", [Share])
      end).

%% How long others had to wait, in percent of what the write took.
wait_beside_readers(Name, File, [One, Other]) ->
    {ok, <<Before>>} = emmap:pread(File, ?MiB, 1),
    Bytes = case Before of
                $a -> Other;
                $b -> One
            end,
    {ok, Raw} = file:open(Name, [raw, binary, read]),
    Write = fun() -> emmap:pwrite(File, 0, Bytes) end,
    {Writer, Reference} = spawn_monitor(fun() -> exit({took, timer:tc(Write)}) end),
    emmap_vm:eventually(fun() -> file:pread(Raw, ?MiB, 1) =/= {ok, <<Before>>} end),
    Readers = [spawn_monitor(fun() -> {ok, _} = emmap:pread(File, 0, 8) end) || _ <- lists:seq(1, 12)],
    Waited = waited_until_done(Writer, Reference, 0),
    {took, {Took, ok}} = receive {'DOWN', Reference, process, Writer, Why} -> Why end,
    [receive {'DOWN', Monitor, process, Pid, End} -> normal = End end || {Pid, Monitor} <- Readers],
    ok = file:close(Raw),
    io:format("read_file_info took ~p us beside a write of ~p us~n", [Waited, Took]),
    100 * Waited div Took.

waited_until_done(Writer, Reference, Longest) ->
    {Micros, {ok, _}} = timer:tc(fun() -> file:read_file_info(code:root_dir(), [raw]) end),
    case is_process_alive(Writer) of
        true -> waited_until_done(Writer, Reference, max(Longest, Micros));
        false -> max(Longest, Micros)
    end.

%%% Faults

%% Each page of half a gigabyte that was cut off is touched, while the handle is open and after it was closed.
faults_after_close_are_as_quick_as_before(Config) ->
    Size = 512 * ?MiB,
    Name = sparse(Config, Size),
    survives(
      fun() ->
              [Open, Closed] = [best(3, fun() -> touch_lost(Name, Size, IsClosed) end) || IsClosed <- [false, true]],
              io:format("open ~p us, closed ~p us~n", [Open, Closed]),
              true = Closed < 3 * Open
      end).

touch_lost(Name, Size, IsClosed) ->
    emmap_vm:in_process(fun() -> touch_lost_here(Name, Size, IsClosed) end).

touch_lost_here(Name, Size, IsClosed) ->
    cut(Name, Size),
    {ok, File} = emmap:open(Name, [shared, direct]),
    {ok, Bytes} = emmap:pread(File, 0, Size),
    cut(Name, 0),
    _ = IsClosed andalso emmap:close(File),
    {Micros, 0} = timer:tc(fun() -> sum(Bytes, 0, Size, 0) end),
    _ = IsClosed orelse emmap:close(File),
    Micros.

sum(_, Size, Size, Sum) -> Sum;
sum(Bytes, At, Size, Sum) -> sum(Bytes, At + ?PAGE, Size, Sum + binary:at(Bytes, At)).

%%% Files

sparse(Config, Size) ->
    Name = filename:join(?config(dir, Config), "sparse"),
    ok = file:write_file(Name, <<>>),
    cut(Name, Size),
    Name.
