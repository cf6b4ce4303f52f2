%% Copyright 2026 the emmap authors. Licensed under the Apache License, Version 2.0.

%% @doc What the benchmark measures. The first side of a row is emmap, the second is N (see `emmap_bench_floor'), the
%% others are what a user would call without emmap, or the limit.
-module(emmap_bench_rows).

-export([rows/2, sizes/0, lines_per_batch/0]).

-include("emmap_bench.hrl").

-define(BASE_SIZE, (64 bsl 20)).
%% More than the caches of any machine; a power of two.
-ifndef(LARGE_BITS).
-define(LARGE_BITS, 29).
-endif.
-define(LARGE_SIZE, (1 bsl ?LARGE_BITS)).
-define(RECORD_SIZE, 100).

%% @doc The sizes of reads and writes, in bytes.
-spec sizes() -> [pos_integer()].
sizes() -> [8, 64, 4 bsl 10, 64 bsl 10, 1 bsl 20, ?BASE_SIZE].

%% @doc How many lines each side reads at a time.
-spec lines_per_batch() -> pos_integer().
lines_per_batch() -> 5000.

%% @doc Makes the files in a directory, where a file `text' is already, opens them, and describes all rows. `Run' calls
%% the fun that makes those of one kind, or makes do without, where another library lacks what they need.
-spec rows(file:filename(), fun((fun(() -> [#row{}])) -> [#row{}])) -> [#row{}].
rows(Directory, Run) ->
    Path = fun(Name) -> filename:join(Directory, Name) end,
    make_files(Path),
    Floor = emmap_bench_floor:open(),
    N = #side{label = <<"N">>, loop = fun(Count, _) -> floor_call(Count, Floor, 64, 8) end},
    [#row{id = loop, name = <<"the loop itself">>,
          sides = [#side{label = <<"loop">>, loop = fun(Count, _) -> empty(Count, Floor, 64, 8) end}]}
    | [Row#row{sides = [First, N | Others]} || #row{sides = [First | Others]} = Row <- lists:flatmap(
        Run, [fun() -> words(Path, Floor) end, fun() -> counters(Path) end, fun() -> reads(Path, Floor) end,
              fun() -> writes(Path, Floor) end, fun() -> texts(Path) end, fun() -> lines(Path) end,
              fun() -> many_lines(Path) end, fun() -> searches(Path) end, fun() -> others(Path) end,
              fun() -> emmap_bench_queues:rows(Path) end, fun() -> emmap_bench_blocks:rows(Path) end])]].

make_files(Path) ->
    Block = rand:bytes(1 bsl 20),
    ok = file:write_file(Path("base"), binary:copy(Block, 64)),
    ok = file:write_file(Path("target"), binary:copy(Block, 64)),
    {ok, Large} = file:open(Path("large"), [raw, write]),
    _ = [ok = file:write(Large, Block) || _ <- lists:seq(1, ?LARGE_SIZE bsr 20)],
    ok = file:close(Large),
    %% Sparse: whoever looks at all of it would be noticed.
    {ok, Sparse} = file:open(Path("sparse"), [raw, write]),
    {ok, _} = file:position(Sparse, 1 bsl 30),
    ok = file:truncate(Sparse),
    ok = file:close(Sparse),
    ok = file:write_file(Path("small"), binary:part(Block, 0, 4096)),
    ok = file:write_file(Path("words"), <<0:(8 * 65536)>>),
    ok = file:write_file(Path("lines"), binary:copy(<<(binary:copy(<<"x">>, 49))/binary, "\n">>, 200000)).

open(Path, Options) ->
    case emmap:open(Path, Options) of
        {ok, File} -> File;
        {ok, File, _} -> File % emmap 2.x
    end.

raw(Path, Options) ->
    #side{label = <<"raw file">>,
          prepare = fun(_, _) -> raw_open(Path, Options) end,
          loop = fun(_, _) -> ok end,
          finish = fun file:close/1}.

raw_open(Path, Options) ->
    {ok, File} = file:open(Path, [raw, binary | Options]),
    File.

size_name(Size) when Size >= 1 bsl 30 -> io_lib:format("~b GiB", [Size bsr 30]);
size_name(Size) when Size >= 1 bsl 20 -> io_lib:format("~b MiB", [Size bsr 20]);
size_name(Size) when Size >= 1 bsl 10 -> io_lib:format("~b KiB", [Size bsr 10]);
size_name(Size) -> io_lib:format("~b B", [Size]).

name(Format, Args) -> unicode:characters_to_binary(io_lib:format(Format, Args)).

%% Processes that run at once work in different places.
place(Process, Size) when Size =< 4 bsl 20 -> (Process - 1) * (8 bsl 20);
place(_, _) -> 0.

%%% Atomic words

words(Path, Floor) ->
    File = open(Path("words"), [read, write, shared]),
    Atomics = atomics:new(1024, []),
    Word = fun(_, Process) -> Process * 512 end,
    Index = fun(_, Process) -> Process * 64 end,
    %% The names that emmap 2.x gave the functions.
    Add = case erlang:function_exported(emmap, patomic_add, 3) of
              true -> fun patomic_add/3;
              false -> fun atomic_add/3
          end,
    Read = case erlang:function_exported(emmap, patomic_read_integer, 2) of
               true -> fun patomic_read_integer/3;
               false -> fun atomic_read/3
           end,
    [#row{id = atomic_add, name = <<"atomic add">>, scale = true, sides = [
          #side{label = <<"emmap">>, prepare = Word, loop = fun(N, At) -> Add(N, File, At) end},
          #side{label = <<"atomics">>, prepare = Index, loop = fun(N, I) -> otp_add(N, Atomics, I) end},
          #side{label = <<"unchecked NIF">>, prepare = Word, loop = fun(N, At) -> floor_add(N, Floor, At) end}]},
     #row{id = atomic_add_same, name = <<"atomic add, all to one word">>, scale = true, sides = [
          #side{label = <<"emmap">>, loop = fun(N, _) -> Add(N, File, 64) end},
          #side{label = <<"atomics">>, loop = fun(N, _) -> otp_add(N, Atomics, 8) end}]},
     #row{id = atomic_read, name = <<"atomic read">>, scale = true, sides = [
          #side{label = <<"emmap">>, prepare = Word, loop = fun(N, At) -> Read(N, File, At) end},
          #side{label = <<"atomics">>, prepare = Index, loop = fun(N, I) -> otp_get(N, Atomics, I) end}]}].

counters(Path) ->
    Counters = emmap:open_counters(Path("counters"), 64),
    OtpCounters = counters:new(64, []),
    [#row{id = counter, name = <<"counter + 1">>, scale = true, sides = [
          #side{label = <<"emmap">>, prepare = fun(_, Process) -> Process * 16 end,
                loop = fun(N, I) -> counter_inc(N, Counters, I) end},
          #side{label = <<"counters">>, prepare = fun(_, Process) -> Process * 16 end,
                loop = fun(N, I) -> otp_counter_inc(N, OtpCounters, I) end}]}].

atomic_add(0, _, _) -> ok;
atomic_add(N, File, At) -> _ = emmap:patomic(File, At, add, 1), atomic_add(N - 1, File, At).

patomic_add(0, _, _) -> ok;
patomic_add(N, File, At) -> _ = emmap:patomic_add(File, At, 1), patomic_add(N - 1, File, At).

patomic_read_integer(0, _, _) -> ok;
patomic_read_integer(N, File, At) -> _ = emmap:patomic_read_integer(File, At), patomic_read_integer(N - 1, File, At).

atomic_read(0, _, _) -> ok;
atomic_read(N, File, At) -> _ = emmap:patomic_read(File, At), atomic_read(N - 1, File, At).

counter_inc(0, _, _) -> ok;
counter_inc(N, Counters, I) -> _ = emmap:inc_counter(Counters, I), counter_inc(N - 1, Counters, I).

otp_add(0, _, _) -> ok;
otp_add(N, Atomics, I) -> _ = atomics:add(Atomics, I, 1), otp_add(N - 1, Atomics, I).

otp_get(0, _, _) -> ok;
otp_get(N, Atomics, I) -> _ = atomics:get(Atomics, I), otp_get(N - 1, Atomics, I).

otp_counter_inc(0, _, _) -> ok;
otp_counter_inc(N, Counters, I) -> _ = counters:add(Counters, I, 1), otp_counter_inc(N - 1, Counters, I).

empty(0, _, _, _) -> ok;
empty(N, A, B, C) -> empty(N - 1, A, B, C).

floor_call(0, _, _, _) -> ok;
floor_call(N, Floor, A, B) -> _ = emmap_bench_floor:call(Floor, A, B), floor_call(N - 1, Floor, A, B).

%%% Reading

reads(Path, Floor) ->
    Base = Path("base"),
    [Locked, Unlocked, Direct] = [open(Base, [read, shared | Options]) || Options <- [[lock], [nolock], [direct]]],
    Sparse = open(Path("sparse"), [read, shared, direct]),
    %% Map all pages, once: it is the reads that are measured.
    [{ok, Bytes}, {ok, _}, {ok, Shown}] = [emmap:pread(File, 0, ?BASE_SIZE) || File <- [Locked, Unlocked, Direct]],
    true = Bytes =:= Shown,
    Read = fun(File, Size) ->
        #side{label = <<"emmap">>, prepare = fun(_, Process) -> place(Process, Size) end,
              loop = fun(N, At) -> pread(N, File, At, Size) end}
    end,
    Raw = fun(Size) -> (raw(Base, [read]))#side{loop = fun(N, File) -> file_pread(N, File, 0, Size) end} end,
    Copy = fun(Size) ->
        #side{label = <<"binary:copy">>, prepare = fun(_, _) -> binary:part(Bytes, 0, Size) end,
              loop = fun(N, Part) -> copy(N, Part) end}
    end,
    Least = fun(Size) ->
        [#side{label = <<"unchecked NIF">>, loop = fun(N, _) -> floor_copy(N, Floor, 0, Size) end} || Size =< 4096]
    end,
    [#row{id = {pread, Mode, Size}, name = name("pread ~ts, ~s", [size_name(Size), Mode]),
          scale = Size =< 1 bsl 20, sides = [Read(File, Size), Raw(Size), Copy(Size) | Least(Size)]}
     || {Mode, File} <- [{lock, Locked}, {nolock, Unlocked}], Size <- sizes()]
    ++ [#row{id = {pread, direct, Size}, name = name("pread ~ts, direct", [size_name(Size)]),
             scale = Size =:= 64, sides = [Read(Direct, Size), Raw(Size)]
                     ++ [#side{label = <<"unchecked NIF">>, loop = fun(N, _) -> floor_point(N, Floor, 0, Size) end}
                         || Size =< 4096]}
        || Size <- sizes()]
    ++ [#row{id = {pread, direct, 1 bsl 30}, name = <<"pread 1 GiB, direct">>,
             sides = [Read(Sparse, 1 bsl 30)]},
        %% The VM collects garbage whenever a process has made binaries of that many words, to whomever they belong.
        #row{id = {pread, direct, no_collection}, name = <<"pread 1 GiB, direct, min_bin_vheap_size raised">>,
             spawn = [{min_bin_vheap_size, 1 bsl 45}], sides = [Read(Sparse, 1 bsl 30)]}]
    ++ random(Path("large")).

pread(0, _, _, _) -> ok;
pread(N, File, At, Size) -> {ok, _} = emmap:pread(File, At, Size), pread(N - 1, File, At, Size).

file_pread(0, _, _, _) -> ok;
file_pread(N, File, At, Size) -> {ok, _} = file:pread(File, At, Size), file_pread(N - 1, File, At, Size).

copy(0, _) -> ok;
copy(N, Bytes) -> _ = binary:copy(Bytes), copy(N - 1, Bytes).

floor_add(0, _, _) -> ok;
floor_add(N, Floor, At) -> _ = emmap_bench_floor:add(Floor, At, 1), floor_add(N - 1, Floor, At).

floor_copy(0, _, _, _) -> ok;
floor_copy(N, Floor, At, Size) -> {ok, _} = emmap_bench_floor:copy(Floor, At, Size), floor_copy(N - 1, Floor, At, Size).

floor_point(0, _, _, _) -> ok;
floor_point(N, Floor, At, Size) ->
    {ok, _} = emmap_bench_floor:point(Floor, At, Size),
    floor_point(N - 1, Floor, At, Size).

random(Large) ->
    File = open(Large, [read, shared, populate]),
    touch(File, 0, filelib:file_size(Large)),
    Seed = fun(Round, Process) -> Round * 7919 + Process * 104729 end,
    [#row{id = random, name = <<"8 B at random places of 512 MiB">>, scale = true, sides = [
          #side{label = <<"emmap">>, prepare = Seed, loop = fun(N, X) -> random_pread(N, File, X) end},
          #side{label = <<"raw file">>,
                prepare = fun(Round, Process) -> {raw_open(Large, [read]), Seed(Round, Process)} end,
                loop = fun(N, {Raw, X}) -> random_file_pread(N, Raw, X) end,
                finish = fun({Raw, _}) -> file:close(Raw) end}]}].

%% Not until eof: there emmap 2.x raises badarg.
touch(_, At, Size) when At >= Size -> ok;
touch(File, At, Size) ->
    {ok, _} = emmap:pread(File, At, 1 bsl 20),
    touch(File, At + (1 bsl 20), Size).

%% A linear congruential generator whose products stay small integers; its high bits are the good ones, and the low
%% three are not used.
-define(NEXT(X), ((X * 1664525 + 1013904223) band (1 bsl ?LARGE_BITS - 1))).
-define(PLACE(X), (X band (1 bsl ?LARGE_BITS - 8))).

random_pread(0, _, _) -> ok;
random_pread(N, File, X) -> {ok, _} = emmap:pread(File, ?PLACE(X), 8), random_pread(N - 1, File, ?NEXT(X)).

random_file_pread(0, _, _) -> ok;
random_file_pread(N, File, X) -> {ok, _} = file:pread(File, ?PLACE(X), 8), random_file_pread(N - 1, File, ?NEXT(X)).

%%% Writing

writes(Path, Floor) ->
    Target = Path("target"),
    [Locked, Unlocked] = [open(Target, [read, write, shared, Option]) || Option <- [lock, nolock]],
    {ok, All} = emmap:pread(Locked, 0, ?BASE_SIZE),
    ok = emmap:pwrite(Locked, 0, All),
    ok = emmap:pwrite(Unlocked, 0, All),
    Write = fun(File, Size) ->
        #side{label = <<"emmap">>, prepare = fun(_, Process) -> {place(Process, Size), binary:part(All, 0, Size)} end,
              loop = fun(N, {At, Bytes}) -> pwrite(N, File, At, Bytes) end}
    end,
    Raw = fun(Size) ->
        #side{label = <<"raw file">>,
              prepare = fun(_, Process) ->
                  {raw_open(Target, [read, write]), place(Process, Size), binary:part(All, 0, Size)}
              end,
              loop = fun(N, {File, At, Bytes}) -> file_pwrite(N, File, At, Bytes) end,
              finish = fun({File, _, _}) -> file:close(File) end}
    end,
    Least = fun(Size) ->
        [#side{label = <<"unchecked NIF">>, prepare = fun(_, _) -> binary:part(All, 0, Size) end,
               loop = fun(N, Bytes) -> floor_put(N, Floor, 0, Bytes) end} || Size =< 4096]
    end,
    [#row{id = {pwrite, Mode, Size}, name = name("pwrite ~ts, ~s", [size_name(Size), Mode]), scale = Size =< 1 bsl 20,
          sides = [Write(File, Size), Raw(Size) | Least(Size)]}
     || {Mode, File} <- [{lock, Locked}, {nolock, Unlocked}], Size <- sizes()].

pwrite(0, _, _, _) -> ok;
pwrite(N, File, At, Bytes) -> ok = emmap:pwrite(File, At, Bytes), pwrite(N - 1, File, At, Bytes).

file_pwrite(0, _, _, _) -> ok;
file_pwrite(N, File, At, Bytes) -> ok = file:pwrite(File, At, Bytes), file_pwrite(N - 1, File, At, Bytes).

floor_put(0, _, _, _) -> ok;
floor_put(N, Floor, At, Bytes) -> ok = emmap_bench_floor:put(Floor, At, Bytes), floor_put(N - 1, Floor, At, Bytes).

%%% Reading from the start to the end

texts(Path) ->
    Text = Path("text"),
    Size = filelib:file_size(Text),
    Start = fun(Round) -> (Round * 7919 * 4096) rem (Size div 2) end,
    [Copying, Direct] = [open(Text, [read, shared | Options]) || Options <- [[], [direct]]],
    _ = [touch(File, 0, Size) || File <- [Copying, Direct]],
    Emmap = fun(File, Loop) ->
        #side{label = <<"emmap">>,
              prepare = fun(Round, _) -> {ok, _} = emmap:position(File, Start(Round)), File end,
              loop = Loop}
    end,
    Raw = fun(Options, Loop) ->
        #side{label = <<"raw file">>,
              prepare = fun(Round, _) ->
                  File = raw_open(Text, Options),
                  {ok, _} = file:position(File, Start(Round)),
                  File
              end,
              loop = Loop, finish = fun file:close/1}
    end,
    Ahead = fun(Loop) -> (Raw([read, read_ahead], Loop))#side{label = <<"raw file, read_ahead">>} end,
    Split = #side{label = <<"binary:split">>,
                  prepare = fun(Round, _) -> text_lines(Text, Start(Round), lines_per_batch()) end,
                  loop = fun(_, Bytes) -> binary:split(Bytes, <<"\n">>, [global]) end},
    [#row{id = {text, read, Chunk}, name = name("sequential read of a text, ~ts", [size_name(Chunk)]),
          sides = [Emmap(Copying, fun(N, File) -> read(N, File, Chunk) end),
                   Ahead(fun(N, File) -> file_read(N, File, Chunk) end),
                   Raw([read], fun(N, File) -> file_read(N, File, Chunk) end)]}
     || Chunk <- [4096, 65536]]
    ++ [#row{id = {text, lines, Mode}, name = name("read_line of a text, ~s", [Mode]), count = lines_per_batch(),
             sides = [Emmap(File, fun read_line/2), Ahead(fun file_read_line/2), Split]}
        || {Mode, File} <- [{copy, Copying}, {direct, Direct}]].

lines(Path) ->
    Lines = Path("lines"),
    Count = lines_per_batch(),
    [#row{id = {lines, Mode}, name = name("read_line, 50-byte lines, ~s", [Mode]), count = Count, sides = [
          #side{label = <<"emmap">>, prepare = fun(_, _) -> {ok, 0} = emmap:position(File, 0), File end,
                loop = fun read_line/2},
          (raw(Lines, [read, read_ahead]))#side{label = <<"raw file, read_ahead">>, loop = fun file_read_line/2},
          #side{label = <<"binary:split">>, prepare = fun(_, _) -> text_lines(Lines, 0, Count) end,
                loop = fun(_, Bytes) -> binary:split(Bytes, <<"\n">>, [global]) end}]}
     || {Mode, Options} <- [{copy, []}, {direct, [direct]}], File <- [open(Lines, [read, shared | Options])]].

many_lines(Path) ->
    Lines = Path("lines"),
    Count = lines_per_batch(),
    [#row{id = {many_lines, Mode}, name = name("lines, 512 at a time, 50-byte lines, ~s", [Mode]), count = Count,
          sides = [
          #side{label = <<"emmap">>, prepare = fun(_, _) -> {ok, 0} = emmap:position(File, 0), File end,
                loop = fun many_lines/2},
          #side{label = <<"read_line">>, prepare = fun(_, _) -> {ok, 0} = emmap:position(File, 0), File end,
                loop = fun read_line/2},
          #side{label = <<"binary:split">>, prepare = fun(_, _) -> text_lines(Lines, 0, Count) end,
                loop = fun(_, Bytes) -> binary:split(Bytes, <<"\n">>, [global]) end}]}
     || {Mode, Options} <- [{copy, []}, {direct, [direct]}], File <- [open(Lines, [read, shared | Options])]].

%% Of all that there is: the pattern is not there.
searches(Path) ->
    Base = Path("base"),
    {ok, Bytes} = file:read_file(Base),
    [#row{id = {match, Mode, byte_size(Pattern)},
          name = name("match in ~ts, ~b bytes, ~s", [size_name(?BASE_SIZE), byte_size(Pattern), Mode]),
          count = 1, sides = [
          #side{label = <<"emmap">>, loop = fun(N, _) -> match(N, File, Pattern) end},
          #side{label = <<"binary:match">>, loop = fun(N, _) -> binary_match(N, Bytes, Pattern) end}]}
     || {Mode, Options} <- [{copy, []}, {direct, [direct]}], File <- [open(Base, [read, shared | Options])],
        Pattern <- [<<"needle">>, <<"a needle in a larger haystack">>]].

match(0, _, _) -> ok;
match(N, File, Pattern) ->
    nomatch = emmap:match(File, Pattern),
    match(N - 1, File, Pattern).

binary_match(0, _, _) -> ok;
binary_match(N, Bytes, Pattern) ->
    nomatch = binary:match(Bytes, Pattern),
    binary_match(N - 1, Bytes, Pattern).

many_lines(N, _) when N =< 0 -> ok;
many_lines(N, File) ->
    case emmap:lines(File, min(N, 512)) of
        {ok, Lines} -> many_lines(N - length(Lines), File);
        eof -> {ok, 0} = emmap:position(File, 0), many_lines(N, File)
    end.

%% The bytes of some lines.
text_lines(Path, Start, Count) ->
    File = raw_open(Path, [read]),
    {ok, Bytes} = file:pread(File, Start, Count * 400),
    ok = file:close(File),
    {End, 1} = lists:nth(Count, binary:matches(Bytes, <<"\n">>)),
    binary:copy(binary:part(Bytes, 0, End + 1)).

read(0, _, _) -> ok;
read(N, File, Size) ->
    case emmap:read(File, Size) of
        {ok, _} -> ok;
        eof -> {ok, 0} = emmap:position(File, 0)
    end,
    read(N - 1, File, Size).

file_read(0, _, _) -> ok;
file_read(N, File, Size) ->
    case file:read(File, Size) of
        {ok, _} -> ok;
        eof -> {ok, 0} = file:position(File, 0)
    end,
    file_read(N - 1, File, Size).

read_line(0, _) -> ok;
read_line(N, File) ->
    case emmap:read_line(File) of
        {ok, _} -> ok;
        eof -> {ok, 0} = emmap:position(File, 0)
    end,
    read_line(N - 1, File).

file_read_line(0, _) -> ok;
file_read_line(N, File) ->
    case file:read_line(File) of
        {ok, _} -> ok;
        eof -> {ok, 0} = file:position(File, 0)
    end,
    file_read_line(N - 1, File).

%%% Opening, appending, bringing to disk

others(Path) ->
    Small = Path("small"),
    Dirty = Path("dirty"),
    ok = file:write_file(Dirty, <<0:(8 * 65536)>>),
    Synced = open(Dirty, [read, write, shared]),
    Log = fun(Process) -> Path("log" ++ integer_to_list(Process)) end,
    Record = binary:copy(<<"r">>, ?RECORD_SIZE),
    RawAppend = fun(Label, Options) ->
        #side{label = Label, warm = false,
              prepare = fun(_, Process) ->
                  _ = file:delete(Log(Process)),
                  raw_open(Log(Process), [append | Options])
              end,
              loop = fun(N, File) -> file_write(N, File, Record) end,
              finish = fun file:close/1}
    end,
    [#row{id = open, name = <<"open and close, 4 KiB">>, sides = [
          #side{label = <<"emmap">>, loop = fun(N, _) -> open_close(N, Small) end},
          #side{label = <<"raw file">>, loop = fun(N, _) -> file_open_close(N, Small) end}]},
     #row{id = append, name = <<"append of 100 B">>, count = 2000, sides = [
          #side{label = <<"emmap">>, warm = false,
                prepare = fun(_, Process) ->
                    _ = file:delete(Log(Process)),
                    open(Log(Process), [read, write, create, shared, {size, 1}])
                end,
                loop = fun(N, File) -> write(N, File, Record) end,
                finish = fun emmap:close/1},
          RawAppend(<<"raw file">>, []),
          RawAppend(<<"raw file, delayed_write">>, [{delayed_write, 65536, 2000}])]},
     #row{id = datasync, name = <<"datasync of a dirty page">>, sides = [
          #side{label = <<"emmap">>, loop = fun(N, _) -> datasync(N, Synced) end},
          (raw(Dirty, [read, write]))#side{loop = fun file_datasync/2}]}].

open_close(0, _) -> ok;
open_close(N, Path) ->
    ok = emmap:close(open(Path, [read])),
    open_close(N - 1, Path).

file_open_close(0, _) -> ok;
file_open_close(N, Path) ->
    {ok, File} = file:open(Path, [raw, binary, read]),
    ok = file:close(File),
    file_open_close(N - 1, Path).

write(0, _, _) -> ok;
write(N, File, Record) -> ok = emmap:write(File, Record), write(N - 1, File, Record).

%% What delayed_write has kept back is written by moving the position.
file_write(0, File, _) -> {ok, _} = file:position(File, cur);
file_write(N, File, Record) -> ok = file:write(File, Record), file_write(N - 1, File, Record).

datasync(0, _) -> ok;
datasync(N, File) ->
    ok = emmap:pwrite(File, 0, <<N:64>>),
    ok = emmap:datasync(File),
    datasync(N - 1, File).

file_datasync(0, _) -> ok;
file_datasync(N, File) ->
    ok = file:pwrite(File, 0, <<N:64>>),
    ok = file:datasync(File),
    file_datasync(N - 1, File).
