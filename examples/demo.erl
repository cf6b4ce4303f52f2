%% Copyright 2026 the emmap authors. Licensed under the Apache License, Version 2.0.
%%
%% Shows the main uses of emmap on the largest real files of this machine, and checks every result against ordinary
%% tools. Ends with 1 if anything is not as it should be. Run it with `make demo'.
-module(demo).

-export([main/0]).
%% Called in other VMs.
-export([count_for_ever/1, count_on/2, increment/2, do_some_jobs/1, do_jobs/1]).

-define(CHUNK, 1048576).
%% Enough to show that size does not matter, little enough to be read three times in a few seconds.
-define(BYTES_OF_SWIFT, 480000000).
-define(FILES_OF_ERLANG, 3).
-define(JOBS, 100000).

-spec main() -> no_return().
main() ->
    ok = io:setopts([{encoding, unicode}]),
    Directory = temporary_directory(),
    Started = now_us(),
    Status = try
        io:format("emmap: memory-mapped files, on Erlang/OTP ~s~n", [erlang:system_info(otp_release)]),
        Trees = [{"Erlang", code:root_dir()} | swift()],
        digests(Trees),
        Text = largest_text(Trees),
        lines(Text),
        change_word(Text, Directory),
        survive_kill(Directory),
        hammer(Directory),
        jobs(Directory),
        io:format("~nAll as it should be, in ~s.~n", [seconds(now_us() - Started)])
    of
        ok -> 0
    catch
        throw:{mismatch, What, Expected, Found} ->
            io:format("~n~nMISMATCH: ~ts: expected ~tp, found ~tp~n", [What, Expected, Found]),
            1;
        Class:Reason:Stack ->
            io:format("~n~nFAILED: ~ts~n", [erl_error:format_exception(Class, Reason, Stack)]),
            1
    after
        ok = file:del_dir_r(Directory)
    end,
    halt(Status).

%%% 1. Large files

digests(Trees) ->
    title("The largest files of the installations, whole: SHA-256 of what is read", []),
    io:format("  ~-34s ~10s ~12s ~12s ~12s~n", ["", "MB", "read_file", "map, copies", "map, direct"]),
    Files = lists:append([largest(Name, Root) || {Name, Root} <- Trees]),
    Sums = [digest(File, Size) || {Size, File} <- Files],
    [Bytes, Plain, Copied, Direct] = [lists:sum(Column) || Column <- transpose(Sums)],
    print_digest("together", Bytes, [Plain, Copied, Direct]).

largest("Erlang", Root) -> lists:sublist(by_size(Root), ?FILES_OF_ERLANG);
largest(_, Root) -> up_to(?BYTES_OF_SWIFT, by_size(Root)).

up_to(Left, [{Size, File} | Files]) when Left > 0 -> [{Size, File} | up_to(Left - Size, Files)];
up_to(_, _) -> [].

digest(File, Size) ->
    %% All three read from memory, not the first one from disk.
    {ok, _} = file:read_file(File),
    {Plain, Expected} = measure(fun() -> {ok, Bytes} = file:read_file(File), crypto:hash(sha256, Bytes) end),
    {Copied, Copies} = measure(fun() -> mapped(File, [], fun digest_of_chunks/1) end),
    {Direct, Pointers} = measure(fun() -> mapped(File, [direct], fun digest_of_whole/1) end),
    print_digest(filename:basename(File), Size, [Plain, Copied, Direct]),
    same(["digest of copies of ", File], Expected, Copies),
    same(["digest of direct binaries of ", File], Expected, Pointers),
    [Size, Plain, Copied, Direct].

digest_of_chunks(Map) -> digest_of_chunks(Map, crypto:hash_init(sha256)).

digest_of_chunks(Map, Context) ->
    case emmap:read(Map, ?CHUNK) of
        {ok, Bytes} -> digest_of_chunks(Map, crypto:hash_update(Context, Bytes));
        eof -> crypto:hash_final(Context)
    end.

%% One binary that points into the mapping: not a byte is copied.
digest_of_whole(Map) ->
    {ok, Bytes} = emmap:pread(Map, 0, maps:get(size, emmap:info(Map))),
    crypto:hash(sha256, Bytes).

print_digest(Name, Size, Times) ->
    io:format("  ~-34ts ~10.1f ~12s ~12s ~12s~n", [Name, Size / 1.0e6 | [seconds(Time) || Time <- Times]]).

%%% 2. Lines

lines(Text) ->
    title("A large text by lines: ~ts", [filename:basename(Text)]),
    {Time, {Count, Bytes, Longest}} = measure(fun() -> mapped(Text, [direct], fun(Map) -> walk(Map, 0, 0, 0) end) end),
    {CopyTime, {Count, Bytes, Longest}} = measure(fun() -> mapped(Text, [], fun(Map) -> walk(Map, 0, 0, 0) end) end),
    step("direct: ~b lines, the longest of ~b bytes", [Count, Longest], Time),
    step("copies: the same", [], CopyTime),
    {Newlines, _} = string:to_integer(command(["wc -l < ", quote(Text)])),
    same("lines, as wc -l counts them", Newlines, Count),
    %% A line comes without its carriage return.
    {Returns, _} = string:to_integer(command(["grep -c \"$(printf '\\r$')\" ", quote(Text)])),
    same("bytes in lines", filelib:file_size(Text) - Returns, Bytes),
    note("wc -l says ~b, too", [Newlines]).

%% A last line without a newline is a line for us, but not for wc.
walk(Map, Count, Bytes, Longest) ->
    case emmap:read_line(Map) of
        {ok, Line} ->
            Size = byte_size(Line),
            case binary:last(Line) of
                $\n -> walk(Map, Count + 1, Bytes + Size, max(Size, Longest));
                _ -> walk(Map, Count, Bytes + Size, max(Size, Longest))
            end;
        eof -> {Count, Bytes, Longest}
    end.

%%% 3. A word

change_word(Text, Directory) ->
    Copy = filename:join(Directory, "text"),
    {ok, Size} = file:copy(Text, Copy),
    title("Change a word in a copy of it", []),
    {ok, Map} = emmap:open(Copy, [read, write, shared]),
    {ok, All} = emmap:pread(Map, 0, Size),
    {FindTime, {Offset, Length}} = measure(fun() -> word_in_the_middle(All) end),
    Word = binary:part(All, Offset, Length),
    Number = 1 + length(binary:matches(All, <<"\n">>, [{scope, {0, Offset}}])),
    step("find a word in the middle: \"~ts\" in line ~b, byte ~b", [Word, Number, Offset], FindTime),
    show_line("before", Copy, Number),
    {Time, ok} = measure(fun() -> emmap:pwrite(Map, Offset, binary:copy(<<"#">>, Length)) end),
    step("write it over with ~b times # through the map", [Length], Time),
    show_line("after", Copy, Number),
    Changes = string:trim(command(["cmp -l ", quote(Text), " ", quote(Copy), " | wc -l"])),
    same("bytes that cmp finds changed", integer_to_list(Length), Changes),
    {SyncTime, ok} = measure(fun() -> emmap:datasync(Map) end),
    step("bring it to disk", [], SyncTime),
    ok = emmap:close(Map),
    note("cmp finds ~s bytes changed, and no others", [Changes]).

word_in_the_middle(All) ->
    Half = byte_size(All) div 2,
    {match, [Place]} = re:run(All, "[[:alpha:]]{6,20}", [{offset, Half}, {capture, first, index}]),
    Place.

show_line(When, File, Number) ->
    Line = command(["sed -n ", integer_to_list(Number), "p ", quote(File)]),
    note("~-7s sed -n ~bp: ~ts", [When, Number, string:slice(string:trim(Line), 0, 70)]).

%%% 4. Counters that outlive their VM

survive_kill(Directory) ->
    title("Count in one VM, kill it with SIGKILL, go on in another", []),
    File = filename:join(Directory, "counters"),
    {First, Pid} = start_vm(),
    {Time, Seen} = measure(fun() ->
        ok = peer:cast(First, ?MODULE, count_for_ever, [File]),
        %% This VM looks on through a map of its own.
        Reached = wait_for(File, 1, 3000000, now_us() + 15000000),
        kill(First, Pid),
        Reached
    end),
    {Second, SecondPid} = start_vm(),
    {OnTime, {Old, New}} = measure(fun() -> peer:call(Second, ?MODULE, count_on, [File, 1000000]) end),
    step("VM ~s counted to ~b and was killed while counting", [Pid, Old], Time),
    same("the counter after the kill is not below what was seen before", true, Old >= Seen),
    step("VM ~s found ~b there and counted on to ~b", [SecondPid, Old, New], OnTime),
    same("the counter after 1,000,000 more", Old + 1000000, New),
    peer:stop(Second).

-spec count_for_ever(file:name_all()) -> no_return().
count_for_ever(File) -> count(emmap:open_counters(File, 1)).

count(Counters) ->
    _ = emmap:inc_counter(Counters, 0),
    count(Counters).

-spec count_on(file:name_all(), non_neg_integer()) -> {integer(), integer()}.
count_on(File, Times) ->
    Counters = emmap:open_counters(File),
    Old = emmap:read_counter(Counters, 0),
    _ = [emmap:inc_counter(Counters, 0) || _ <- lists:seq(1, Times)],
    {Old, emmap:read_counter(Counters, 0)}.

%% Watches the first of so many counters until it is past Goal.
wait_for(File, Count, Goal, Deadline) ->
    Counters = emmap:open_counters(File, Count),
    Seen = watch(Counters, Goal, Deadline),
    ok = emmap:close_counters(Counters),
    Seen.

watch(Counters, Goal, Deadline) ->
    case emmap:read_counter(Counters, 0) of
        Seen when Seen >= Goal -> Seen;
        Seen ->
            same("the other VM counts", true, now_us() < Deadline orelse Seen),
            watch(Counters, Goal, Deadline)
    end.

kill(Peer, Pid) ->
    Monitor = monitor(process, Peer),
    _ = command(["kill -KILL ", Pid]),
    receive {'DOWN', Monitor, process, Peer, _} -> ok end.

%%% 5. Two VMs, one counter

hammer(Directory) ->
    Times = 2000000,
    title("Two VMs at one counter at once", []),
    File = filename:join(Directory, "hammered"),
    Counters = emmap:open_counters(File, 1),
    Peers = [start_vm() || _ <- [1, 2]],
    Self = self(),
    {Time, ok} = measure(fun() ->
        Workers = [spawn_monitor(fun() -> Self ! {self(), hammer_in(Peer, File, Times)} end) || {Peer, _} <- Peers],
        lists:foreach(fun({Worker, Monitor}) ->
            receive
                {Worker, ok} -> erlang:demonitor(Monitor, [flush]);
                {'DOWN', Monitor, process, Worker, Reason} -> same("a VM counts to its end", normal, Reason)
            end
        end, Workers)
    end),
    Sum = emmap:read_counter(Counters, 0),
    step("VMs ~s and ~s, ~b increments each", [Pid || {_, Pid} <- Peers] ++ [Times], Time),
    same("increments", 2 * Times, Sum),
    note("the counter stands at ~b: not one is missing", [Sum]),
    ok = emmap:close_counters(Counters),
    lists:foreach(fun({Peer, _}) -> peer:stop(Peer) end, Peers).

hammer_in(Peer, File, Times) -> peer:call(Peer, ?MODULE, increment, [File, Times], 60000).

-spec increment(file:name_all(), non_neg_integer()) -> ok.
increment(File, Times) ->
    Counters = emmap:open_counters(File, 1),
    increment(Counters, Times, ok).

increment(Counters, 0, ok) -> emmap:close_counters(Counters);
increment(Counters, Times, ok) ->
    _ = emmap:inc_counter(Counters, 0),
    increment(Counters, Times - 1, ok).

%%% 6. A queue of jobs

jobs(Directory) ->
    title("A queue of ~b jobs; the VM is killed while workers take them", [?JOBS]),
    {ok, Queue} = emmap_queue:open(filename:join(Directory, "jobs")),
    {PushTime, ok} = measure(fun() -> push_jobs(Queue) end),
    ok = emmap_queue:close(Queue),
    step("push them, one by one", [], PushTime),
    Done = filename:join(Directory, "done"),
    ok = emmap:close_counters(emmap:open_counters(Done, ?JOBS + 1)),
    {First, Pid} = start_vm(),
    {Time, _} = measure(fun() ->
        ok = peer:cast(First, ?MODULE, do_some_jobs, [Directory]),
        _ = wait_for(Done, ?JOBS + 1, ?JOBS div 5, now_us() + 15000000),
        kill(First, Pid)
    end),
    [DoneThen | _] = done(Done),
    step("VM ~s did ~b and was killed with four workers at work", [Pid, DoneThen], Time),
    {Second, SecondPid} = start_vm(),
    {OnTime, Left} = measure(fun() -> peer:call(Second, ?MODULE, do_jobs, [Directory], 60000) end),
    step("VM ~s found ~b in the queue and did them", [SecondPid, Left], OnTime),
    same("jobs that are neither done nor in the queue", 0, max(0, ?JOBS - DoneThen - Left)),
    [_ | Times] = done(Done),
    same("jobs that were never done", 0, length([Never || 0 = Never <- Times])),
    note("every job is done; ~b were done again: they, or one before them, were not acknowledged",
         [lists:sum(Times) - ?JOBS]),
    peer:stop(Second).

push_jobs(Queue) -> lists:foreach(fun(Job) -> ok = emmap_queue:push(Queue, {job, Job}) end, lists:seq(1, ?JOBS)).

%% How many were done, and how often each was.
done(File) ->
    {ok, <<_:16/binary, Times/binary>>} = file:read_file(File),
    [Count || <<Count:64/little>> <= Times].

%% Until the VM is killed, however late that comes: there is something left then.
-spec do_some_jobs(file:name_all()) -> no_return().
do_some_jobs(Directory) ->
    _ = work(Directory, ?JOBS * 4 div 5),
    receive never -> ok end.

-spec do_jobs(file:name_all()) -> non_neg_integer().
do_jobs(Directory) -> work(Directory, infinity).

%% Four workers do what is in the queue, and wait with a job when so many are done. Returns how many there were.
work(Directory, Enough) ->
    {ok, Queue} = emmap_queue:open(filename:join(Directory, "jobs")),
    Left = emmap_queue:length(Queue),
    Done = emmap:open_counters(filename:join(Directory, "done"), ?JOBS + 1),
    Workers = [spawn_monitor(fun() -> worker(Queue, Done, Enough) end) || _ <- lists:seq(1, 4)],
    lists:foreach(fun({Worker, Monitor}) -> receive {'DOWN', Monitor, process, Worker, normal} -> ok end end, Workers),
    ok = emmap_queue:close(Queue),
    Left.

worker(Queue, Done, Enough) ->
    case emmap_queue:take(Queue) of
        {ok, {job, Job}, Receipt} ->
            _ = emmap:inc_counter(Done, Job),
            emmap:inc_counter(Done, 0) < Enough orelse receive never -> ok end,
            ok = emmap_queue:ack(Queue, Receipt),
            worker(Queue, Done, Enough);
        empty -> ok
    end.

%%% What the steps need

mapped(File, Options, Fun) ->
    {ok, Map} = emmap:open(File, [read, shared | Options]),
    try Fun(Map) after ok = emmap:close(Map) end.

%% A VM of its own, with the same code path, and its process id.
start_vm() ->
    Paths = lists:append([["-pa", filename:dirname(code:which(Module))] || Module <- [emmap, ?MODULE]]),
    {ok, Peer, _} = peer:start(#{connection => standard_io, args => Paths}),
    {Peer, peer:call(Peer, os, getpid, [])}.

swift() ->
    case os:find_executable("swift") of
        false -> [];
        Path ->
            %% .../usr/bin/swift may be a link into the toolchain.
            Real = string:trim(command(["readlink -f ", quote(Path)])),
            [{"Swift", filename:dirname(filename:dirname(Real))}]
    end.

by_size(Root) -> by_size(Root, "1000k").

by_size(Root, MoreThan) ->
    Lines = command(["find ", quote(Root), " -type f -size +", MoreThan, " -printf '%s %p\\n' | sort -rn -k1,1 -s"]),
    [{list_to_integer(Size), File} || Line <- string:lexemes(Lines, "\n"), [Size, File] <- [string:split(Line, " ")]].

largest_text(Trees) ->
    Kinds = [".json", ".swiftinterface", ".h", ".txt", ".md", ".erl", ".hrl", ".html", ".xml"],
    %% Without Swift's the texts are small.
    Texts = [Found || {_, Root} <- Trees, {_, Name} = Found <- by_size(Root, "10k"),
                      lists:member(filename:extension(Name), Kinds)],
    {_, File} = lists:max(Texts),
    File.

measure(Fun) ->
    Start = now_us(),
    Result = Fun(),
    {now_us() - Start, Result}.

now_us() -> erlang:monotonic_time(microsecond).

seconds(Time) when Time < 1000 -> io_lib:format("~b us", [Time]);
seconds(Time) when Time < 100000 -> io_lib:format("~.1f ms", [Time / 1.0e3]);
seconds(Time) when Time < 1000000 -> io_lib:format("~b ms", [Time div 1000]);
seconds(Time) -> io_lib:format("~.2f s", [Time / 1.0e6]).

title(Format, Args) -> io:format("~n" ++ Format ++ "~n", Args).
step(Format, Args, Time) -> io:format("  ~-73ts ~10s~n", [io_lib:format(Format, Args), seconds(Time)]).
note(Format, Args) -> io:format("  ~ts~n", [io_lib:format(Format, Args)]).

same(_, Same, Same) -> ok;
same(What, Expected, Found) -> throw({mismatch, What, Expected, Found}).

transpose([[] | _]) -> [];
transpose(Rows) -> [[hd(Row) || Row <- Rows] | transpose([tl(Row) || Row <- Rows])].

command(Parts) -> os:cmd(lists:flatten(Parts)).

quote(Text) -> ["'", string:replace(Text, "'", "'\\''", all), "'"].

temporary_directory() -> string:trim(command("mktemp -d")).
