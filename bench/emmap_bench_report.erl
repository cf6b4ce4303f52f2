%% Copyright 2026 the emmap authors. Licensed under the Apache License, Version 2.0.

%% @doc Writes what the benchmark has found: tables in Markdown, of which `chart.py' makes the pictures.
-module(emmap_bench_report).

-export([write/3, write_peer/4, print_comparison/2]).

-include("emmap_bench.hrl").

%% What the C++ library emmap 2.x takes, in nanoseconds, on a machine where N takes ?THEIR_N.
-define(THEIR_N, 29).

%% @doc Writes RESULTS.md into a directory.
-spec write(file:filename(), [#row{}], #{tuple() => float()}) -> ok.
write(Directory, Rows, Results) ->
    Get = fun(Id, Side, Processes) -> maps:get({<<"emmap">>, Id, Side, Processes}, Results) end,
    Text = [heading(Get), bounds(Rows, Get), times(Rows, Get), scaling(Rows, Get)],
    ok = file:write_file(filename:join(Directory, "RESULTS.md"), unicode:characters_to_binary(Text)),
    io:put_chars(unicode:characters_to_list(iolist_to_binary(bounds(Rows, Get)))).

%% @doc Writes PEER.md into a directory: how emmap compares with version `Version' of another library.
-spec write_peer(file:filename(), string(), [#row{}], #{tuple() => float()}) -> ok.
write_peer(Directory, Version, Rows, Results) ->
    Pairs = [{Row, Processes, Theirs, Ours} || #row{id = Id} = Row <- Rows, Processes <- [1, 2],
                                               {Theirs, Ours} <- pair(Id, Processes, Results)],
    Pairs =/= [] orelse error(no_row_that_both_have),
    [{#row{id = First}, _, _, _} | _] = Pairs,
    N = maps:get({<<"new">>, First, 2, 1}, Results),
    Text = ["# Beside the C++ library\n\n"
            "emmap ", Version, " (C++, -O3) and this one, each in a VM of its own, in turn, in one run. Made by\n"
            "`bench/run --peer DIRECTORY`.\n\n", machine(N),
            table([["row"], ["processes"], ["C++, ns"], ["emmap, ns"], ["emmap is faster by"]],
                  [[Name, integer_to_list(Processes), ns(Theirs), ns(Ours), ratio(Theirs / Ours)]
                   || {#row{name = Name}, Processes, Theirs, Ours} <- Pairs]),
            not_compared(Rows, Results)],
    ok = file:write_file(filename:join(Directory, "PEER.md"), unicode:characters_to_binary(Text)).

%% @doc Prints how two builds compare.
-spec print_comparison([#row{}], #{tuple() => float()}) -> ok.
print_comparison(Rows, Results) ->
    io:put_chars(
        [table([["row"], ["processes"], ["old, ns"], ["new, ns"], ["new / old"], ["N of new / N of old"]],
               [[Name, integer_to_list(Processes), ns(Old), ns(New), ratio(New / Old),
                 ratio(maps:get({<<"new">>, Id, 2, Processes}, Results)
                       / maps:get({<<"old">>, Id, 2, Processes}, Results))]
                || #row{id = Id, name = Name} <- Rows, Processes <- [1, 2],
                   {Old, New} <- pair(Id, Processes, Results)]),
         not_compared(Rows, Results)]).

not_compared(Rows, Results) ->
    case [Name || #row{id = Id, name = Name} <- Rows, pair(Id, 1, Results) =:= []] of
        [] -> [];
        Names -> ["\nNot compared, because one of the two cannot do it: ", lists:join("; ", Names), ".\n"]
    end.

pair(Id, Processes, Results) ->
    case Results of
        #{{<<"old">>, Id, 1, Processes} := Old, {<<"new">>, Id, 1, Processes} := New} -> [{Old, New}];
        #{} -> []
    end.

%%% Parts of the page

heading(Get) ->
    ["# Benchmark results\n\n"
     "Made by `make bench`. Medians of interleaved runs; nanoseconds per operation, without the cost of the loop. N is\n"
     "a NIF in C that only decodes a handle and two integers: what any call costs. \"Unchecked NIF\" does the same as\n"
     "the row without looking at anything but the types of its arguments.\n\n", machine(Get(atomic_add, 2, 1))].

machine(N) ->
    {{Year, Month, Day}, _} = calendar:universal_time(),
    io_lib:format(
        "- date: ~4..0b-~2..0b-~2..0b\n"
        "- machine: ~ts, ~b cores in use, Linux ~ts; load average before the run: ~s\n"
        "- Erlang/OTP ~ts (~s), Swift ~ts\n"
        "- N: ~s ns\n\n",
        [Year, Month, Day, processor(), erlang:system_info(schedulers_online), kernel(), os:getenv("BENCH_LOAD", "?"),
         otp(), erlang:system_info(emu_flavor), os:getenv("BENCH_SWIFT", "?"), ns(N)]).

processor() ->
    {ok, Text} = file:read_file("/proc/cpuinfo"),
    case re:run(Text, "(?:model name|CPU part)\\s*: (.*)", [{capture, [1], list}]) of
        {match, [Name]} -> string:trim(Name);
        nomatch -> erlang:system_info(system_architecture)
    end.

kernel() ->
    {ok, Text} = file:read_file("/proc/sys/kernel/osrelease"),
    string:trim(Text).

otp() ->
    Release = erlang:system_info(otp_release),
    case file:read_file(filename:join([code:root_dir(), "releases", Release, "OTP_VERSION"])) of
        {ok, Version} -> string:trim(Version);
        _ -> Release
    end.

times(Rows, Get) ->
    ["## One process\n\n",
     table([["row"], ["emmap, ns"], ["in N"], ["against"], ["ns"], ["emmap is faster by"]],
           lists:append([time_lines(Row, Get) || Row <- Rows])), "\n"].

time_lines(#row{id = Id, name = Name, sides = Sides}, Get) ->
    Emmap = Get(Id, 1, 1),
    First = [Name, ns(Emmap), ratio(Emmap / Get(Id, 2, 1))],
    case [[Label, ns(Get(Id, Side, 1)), ratio(Get(Id, Side, 1) / Emmap)] || {Side, Label} <- numbered(Sides)] of
        [] -> [First ++ ["", "", ""]];
        [One | More] -> [First ++ One | [["", "", "" | Other] || Other <- More]]
    end.

%% The sides that emmap is compared with.
numbered([_, _ | Others]) -> lists:zip(lists:seq(3, length(Others) + 2), Others).

scaling(Rows, Get) ->
    ["## Two processes at once\n\n"
     "Total rates, as multiples of the rate of one process. Where N does not reach 2, the machine did not give two\n"
     "cores all the time.\n\n",
     try table([["row"], ["emmap"], ["N"], ["against"], ["it"]],
               [[Name, gain(Get, Id, 1), gain(Get, Id, 2), lists:nth(3, Sides), gain(Get, Id, 3)]
                || #row{id = Id, name = Name, scale = true, sides = Sides} <- Rows])
     catch error:{badkey, _} -> "Not measured: there is one scheduler.\n"
     end].

gain(Get, Id, Side) -> ratio(Get(Id, Side, 1) / Get(Id, Side, 2)).

%%% What must be reached

bounds(_, Get) ->
    Lines =
        [at_most("atomic add", atomic_add, 1.3, Get), at_most("atomic read", atomic_read, 1.3, Get)]
        ++ [theirs("pread 8 B, copy, lock", {pread, lock, 8}, 0.4, 165, Get),
            theirs("pread 64 B, copy, lock", {pread, lock, 64}, 0.4, 182, Get),
            theirs("pread 4 KiB, copy, lock", {pread, lock, 4 bsl 10}, 1.0, 265, Get),
            theirs("pread 64 KiB, copy, lock", {pread, lock, 64 bsl 10}, 1.0, 1870, Get),
            theirs("pread 1 MiB, copy, lock", {pread, lock, 1 bsl 20}, 1.0, 31000, Get)]
        ++ [of_copy(Name, {pread, Mode, Size}, Get)
            || Mode <- [lock, nolock],
               {Name, Size} <- [{"64 KiB", 64 bsl 10}, {"1 MiB", 1 bsl 20}, {"64 MiB", 64 bsl 20}]]
        ++ [theirs("pread " ++ Name ++ ", direct", {pread, direct, Size}, 1.0, {55, 135}, Get)
            || {Name, Size} <- [{"8 B", 8}, {"4 KiB", 4 bsl 10}, {"1 MiB", 1 bsl 20}, {"1 GiB", 1 bsl 30}]]
        ++ [line("pread 1 GiB against 4 KiB, direct" ++ Note, "1.1 of it",
                 Get({pread, direct, Id}, 1, 1) / Get({pread, direct, 4 bsl 10}, 1, 1), 1.1)
            || {Note, Id} <- [{"", 1 bsl 30}, {", min_bin_vheap_size raised", no_collection}]]
        ++ [theirs("pwrite 8 B", {pwrite, lock, 8}, 1.0, 44, Get),
            theirs("pwrite 4 KiB", {pwrite, lock, 4 bsl 10}, 1.0, 100, Get),
            theirs("pwrite 1 MiB", {pwrite, lock, 1 bsl 20}, 1.0, 30700, Get),
            theirs("read_line, 50-byte lines, copy", {lines, copy}, 0.3, 354, Get),
            theirs("read_line, 50-byte lines, direct", {lines, direct}, 0.8, 86, Get),
            theirs("open + close, 4 KiB", open, 1.0, 32000, Get)]
        ++ [line("blocks: store and free of 64 B, against ets, insert and delete", "0.51 of it",
                 Get({blocks, store}, 1, 1) / Get({blocks, store}, 3, 1), 0.39 * 1.3),
            line("blocks: read of 64 B, against emmap:pread", "1.3 of it",
                 Get({blocks, read}, 1, 1) / Get({blocks, read}, 3, 1), 1.3)]
        ++ [twice(Get) || erlang:system_info(schedulers_online) > 1]
        ++ [theirs("pread 8 B, copy, against the C library", {pread, lock, 8}, 1 / 25, {1500, 6000}, Get)],
    ["## The lines to pass\n\n"
     "The C++ library's figures, measured where N was 26 to 32 ns, are converted to N (",
     integer_to_list(?THEIR_N), " ns) and compared in N of this run.\n\n",
     table([["row"], ["at most"], ["emmap"], [""]], Lines), "\n"].

at_most(Name, Id, Limit, Get) ->
    line(Name, io_lib:format("~s N", [ratio(Limit)]), Get(Id, 1, 1) / Get(Id, 2, 1), Limit).

%% A range of their figures: the lower one is the line, the upper one is worth saying.
theirs(Name, Id, Part, {Low, High}, Get) ->
    [Lower, Upper] = [Part * Ns / ?THEIR_N || Ns <- [Low, High]],
    Value = Get(Id, 1, 1) / Get(Id, 2, 1),
    [Name, io_lib:format("~s to ~s N", [ratio(Lower), ratio(Upper)]), ratio(Value),
     if
         Value =< Lower -> "met";
         Value =< Upper -> "met at the upper figure only";
         true -> "**not met**"
     end];
theirs(Name, Id, Part, Ns, Get) -> at_most(Name, Id, Part * Ns / ?THEIR_N, Get).

of_copy(Name, {_, Mode, _} = Id, Get) ->
    line(io_lib:format("pread ~s, ~s, against binary:copy", [Name, Mode]), "1.1 of it", Get(Id, 1, 1) / Get(Id, 4, 1),
         1.1).

twice(Get) ->
    Id = {pread, lock, 64},
    [Gain, OfN] = [Get(Id, Side, 1) / Get(Id, Side, 2) || Side <- [1, 2]],
    ["2 processes, pread 64 B, one handle, lock", "at least 1.8 times",
     io_lib:format("~s (N: ~s)", [ratio(Gain), ratio(OfN)]),
     if
         Gain >= 1.8 -> "met";
         OfN < 1.8 -> "not measurable: the machine did not give two cores";
         true -> "**not met**"
     end].

line(Name, Limit, Value, Bound) ->
    [Name, Limit, ratio(Value), if Value =< Bound -> "met"; true -> "**not met**" end].

%%% Text

table(Headings, Lines) ->
    [line(Headings), line([":--" | ["--:" || _ <- tl(Headings)]]), [line(Line) || Line <- Lines]].

line(Cells) -> ["| ", lists:join(" | ", Cells), " |\n"].

ns(Value) when Value < 100 -> io_lib:format("~.1f", [Value]);
ns(Value) -> thousands(integer_to_list(round(Value))).

thousands(Digits) when length(Digits) =< 3 -> Digits;
thousands(Digits) ->
    {Front, Back} = lists:split(length(Digits) - 3, Digits),
    thousands(Front) ++ "," ++ Back.

ratio(Value) when Value >= 100 -> thousands(integer_to_list(round(Value)));
ratio(Value) when Value >= 10 -> io_lib:format("~.1f", [float(Value)]);
ratio(Value) -> io_lib:format("~.2f", [float(Value)]).
