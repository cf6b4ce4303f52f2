%% Copyright 2026 the emmap authors. Licensed under the Apache License, Version 2.0.

%% What is on disk when a call has returned, and what is left when the VM dies.
-module(emmap_durability_SUITE).

-export([all/0, groups/0, init_per_group/2, end_per_group/2, init_per_testcase/2, end_per_testcase/2]).
-export([datasync_calls_fdatasync/1, sync_calls_fsync/1, first_sync_of_new_file_syncs_its_directory/1,
         sync_of_range_calls_msync_of_its_pages/1, flush_starts_writeback_and_waits_for_nothing/1,
         sync_of_atomics_calls_fsync/1, private_and_anonymous_mappings_sync_nothing/1]).
-export([datasync_leaves_no_dirty_page/1, sync_of_range_outside_is_an_error/1,
         killed_vm_loses_no_append/1, killed_vm_loses_no_write_inside/1, killed_vm_loses_no_atomic_operation/1,
         dont_need_keeps_changes/1, advice_never_changes_bytes/1, info_tells_what_was_opened/1,
         info_follows_the_handle/1, info_of_closed_or_no_handle_is_badarg/1]).
%% Called in other VMs.
-export([traced/1, writer/1]).

-define(PAGE, 4096).

all() ->
    [{group, strace}, datasync_leaves_no_dirty_page, sync_of_range_outside_is_an_error, killed_vm_loses_no_append,
     killed_vm_loses_no_write_inside, killed_vm_loses_no_atomic_operation, dont_need_keeps_changes,
     advice_never_changes_bytes, info_tells_what_was_opened, info_follows_the_handle,
     info_of_closed_or_no_handle_is_badarg].

groups() ->
    [{strace, [datasync_calls_fdatasync, sync_calls_fsync, first_sync_of_new_file_syncs_its_directory,
               sync_of_range_calls_msync_of_its_pages, flush_starts_writeback_and_waits_for_nothing,
               sync_of_atomics_calls_fsync, private_and_anonymous_mappings_sync_nothing]}].

init_per_group(strace, Config) ->
    case {os:find_executable("strace"), run("strace", ["-o", "/dev/null", "true"])} of
        {false, _} -> {skip, "strace is not installed"};
        {_, {0, _}} ->
            Directory = filename:join(proplists:get_value(priv_dir, Config), "strace"),
            ok = file:make_dir(Directory),
            [{calls, trace(Directory)}, {traced, Directory} | Config];
        {_, {_, Output}} -> {skip, "strace is not permitted: " ++ Output}
    end.

end_per_group(strace, Config) -> file:del_dir_r(proplists:get_value(traced, Config)).

init_per_testcase(Case, Config) ->
    Directory = filename:join(proplists:get_value(priv_dir, Config), atom_to_list(Case)),
    ok = file:make_dir(Directory),
    [{directory, Directory} | Config].

end_per_testcase(_, Config) -> file:del_dir_r(proplists:get_value(directory, Config)).

path(Config) -> filename:join(proplists:get_value(directory, Config), "file").

file(Config, Bytes) ->
    ok = file:write_file(path(Config), Bytes),
    path(Config).

bytes(Count) -> binary:part(<< <<N:32>> || N <- lists:seq(1, Count div 4 + 1) >>, 0, Count).

%%% What reaches the system

%% Runs traced/1 in a VM of its own; gives {step, the calls of the system in it}.
trace(Directory) ->
    Log = filename:join(Directory, "strace"),
    Calls = "trace=mkdir,fsync,fdatasync,msync,sync_file_range,syncfs,sync",
    {0, _} = run("strace", ["-f", "-y", "-qq", "-s", "500", "-e", Calls, "-e", "signal=none", "-o", Log
                            | erl(lists:flatten(io_lib:format("emmap_durability_SUITE:traced(~p)", [Directory])))]),
    {ok, Text} = file:read_file(Log),
    steps(string:split(unicode:characters_to_list(Text), "\n", all), none, []).

steps([Line | Lines], Step, Steps) ->
    case re:run(Line, "mkdir\\(\"/nowhere/([a-z_]+)\"", [{capture, all_but_first, list}]) of
        {match, [Next]} -> steps(Lines, list_to_atom(Next), [{list_to_atom(Next), []} | Steps]);
        nomatch ->
            %% A call that another thread interrupts is two lines, of which the first has the arguments.
            case re:run(Line, "^[0-9]+ +(?:f|msync|sync)") of
                {match, _} when Step =/= none ->
                    [{Step, Calls} | Rest] = Steps,
                    steps(Lines, Step, [{Step, Calls ++ [Line]} | Rest]);
                _ -> steps(Lines, Step, Steps)
            end
    end;
steps([], _, Steps) -> Steps.

%% A call of the system that fails and does nothing, but that can be seen in the trace.
mark(Step) -> {error, enoent} = file:make_dir(filename:join("/nowhere", atom_to_list(Step))).

traced(Directory) ->
    Path = filename:join(Directory, "file"),
    {ok, File} = emmap:open(Path, [read, write, create, shared]),
    ok = emmap:pwrite(File, 0, bytes(5 * ?PAGE)),
    Step = fun(Name, Call) ->
                   mark(Name),
                   ok = Call()
           end,
    Step(datasync, fun() -> emmap:datasync(File) end),
    Step(first_sync, fun() -> emmap:sync(File) end),
    ok = emmap:pwrite(File, 0, "x"),
    Step(second_sync, fun() -> file:sync(File) end),
    Step(sync_range, fun() -> emmap:sync(File, ?PAGE + 1, ?PAGE) end),
    Step(flush, fun() -> emmap:flush(File) end),
    mark(other),
    ok = emmap:close(File),
    {ok, Atomics} = emmap_atomics:open(filename:join(Directory, "atomics"), 3, []),
    Step(atomics_sync, fun() -> emmap_atomics:sync(Atomics) end),
    mark(other),
    {ok, Private} = emmap:open(Path, [read, write, private]),
    {ok, Anonymous} = emmap:open("", 0, 100, [read, write, anon]),
    [begin
         ok = emmap:pwrite(Handle, 0, "y"),
         [Step(nothing, Call) || Call <- [fun() -> emmap:sync(Handle) end, fun() -> emmap:datasync(Handle) end,
                                          fun() -> emmap:flush(Handle) end, fun() -> emmap:sync(Handle, 0, 10) end]]
     end || Handle <- [Private, Anonymous]],
    mark(last).

calls(Config, Step) ->
    Found = [Calls || {Name, Calls} <- proplists:get_value(calls, Config), Name =:= Step],
    true = Found =/= [],
    lists:append(Found).

matches(Config, Line, Call, Name) ->
    Path = filename:join(proplists:get_value(traced, Config), Name),
    Escaped = re:replace(Path, "[.+()@]", "\\\\&", [global, {return, list}]),
    re:run(Line, Call ++ "\\([0-9]+<" ++ Escaped ++ ">") =/= nomatch.

datasync_calls_fdatasync(Config) ->
    [Line] = calls(Config, datasync),
    true = matches(Config, Line, "fdatasync", "file").

first_sync_of_new_file_syncs_its_directory(Config) ->
    [First, Second] = calls(Config, first_sync),
    true = matches(Config, First, "fsync", "file"),
    Directory = proplists:get_value(traced, Config),
    true = matches(Config, Second, "fsync", "") orelse matches(Config, Second, "fsync", Directory).

sync_calls_fsync(Config) ->
    [Line] = calls(Config, second_sync),
    true = matches(Config, Line, "fsync", "file").

%% A byte past a page on both sides: two pages, which begin where a page does.
sync_of_range_calls_msync_of_its_pages(Config) ->
    [Line] = calls(Config, sync_range),
    {match, [Address, Count]} =
        re:run(Line, "msync\\(0x([0-9a-f]+), ([0-9]+), MS_SYNC\\)", [{capture, all_but_first, list}]),
    0 = list_to_integer(Address, 16) rem ?PAGE,
    true = list_to_integer(Count) > ?PAGE andalso list_to_integer(Count) =< 2 * ?PAGE.

flush_starts_writeback_and_waits_for_nothing(Config) ->
    [Line] = calls(Config, flush),
    true = matches(Config, Line, "sync_file_range", "file"),
    {match, _} = re:run(Line, ", SYNC_FILE_RANGE_WRITE\\)"),
    nomatch = re:run(Line, "WAIT").

sync_of_atomics_calls_fsync(Config) ->
    [Line | _] = calls(Config, atomics_sync),
    true = matches(Config, Line, "fsync", "atomics").

private_and_anonymous_mappings_sync_nothing(Config) -> [] = calls(Config, nothing).

%% The system's own account of the mapping, where the file system writes to a device.
datasync_leaves_no_dirty_page(Config) ->
    {_, Kind} = run("stat", ["-f", "-c", "%T", proplists:get_value(directory, Config)]),
    case string:trim(Kind) of
        "tmpfs" -> {skip, "tmpfs has nowhere to write pages to"};
        _ ->
            File = open(Config, bytes(1 bsl 20), [shared]),
            ok = emmap:pwrite(File, 0, binary:copy(<<"x">>, 1 bsl 20)),
            true = dirty(Config) > 0,
            ok = emmap:datasync(File),
            0 = dirty(Config)
    end.

%% Kilobytes of the mapped file that are not on disk.
dirty(Config) ->
    {ok, Text} = file:read_file("/proc/self/smaps"),
    Name = unicode:characters_to_binary(path(Config)),
    {_, Sum} = lists:foldl(
                 fun(Line, {Ours, Sum}) ->
                         case re:run(Line, "^[0-9a-f]+-[0-9a-f]+ ") of
                             {match, _} -> {binary:match(Line, Name) =/= nomatch, Sum};
                             nomatch when Ours ->
                                 case re:run(Line, "^(?:Shared|Private)_Dirty: +([0-9]+)",
                                             [{capture, all_but_first, list}]) of
                                     {match, [Count]} -> {Ours, Sum + list_to_integer(Count)};
                                     nomatch -> {Ours, Sum}
                                 end;
                             nomatch -> {Ours, Sum}
                         end
                 end, {false, 0}, binary:split(Text, <<"\n">>, [global])),
    Sum.

sync_of_range_outside_is_an_error(Config) ->
    File = open(Config, bytes(100), [shared]),
    [{Range, ok} = {Range, emmap:sync(File, From, Count)}
     || {From, Count} = Range <- [{0, 100}, {0, 0}, {100, 0}, {99, 1}]],
    [{Range, {'EXIT', {badarg, _}}} = {Range, catch emmap:sync(File, From, Count)}
     || {From, Count} = Range <- [{0, 101}, {99, 2}, {101, 0}, {1, (1 bsl 63) - 1}]].

open(Config, Bytes, Options) ->
    {ok, File} = emmap:open(file(Config, Bytes), [read, write | Options]),
    File.

%%% What a crash leaves

killed_vm_loses_no_append(Config) ->
    {Last, Bytes} = killed(Config, append, <<>>),
    true = byte_size(Bytes) >= (Last + 1) * 100,
    0 = byte_size(Bytes) rem 100,
    [true = binary:part(Bytes, N * 100, 100) =:= record(N) || N <- lists:seq(0, Last)].

killed_vm_loses_no_write_inside(Config) ->
    {Last, Bytes} = killed(Config, inside, <<0:(100 * 100000)/unit:8>>),
    [true = binary:part(Bytes, N * 100, 100) =:= record(N) || N <- lists:seq(0, Last)].

killed_vm_loses_no_atomic_operation(Config) ->
    {Last, <<"EMMAP01\n", 1:64/little, Value:64/little>>} = killed(Config, atomics, <<0:24/unit:8>>),
    true = Value >= Last + 1.

%% Lets a VM write until it has told of some hundred records, kills it without a warning, and gives the last number that
%% it told and the file.
killed(Config, How, Bytes) ->
    Path = file(Config, Bytes),
    [Program | Args] = erl(lists:flatten(io_lib:format("emmap_durability_SUITE:writer({~p, ~p})", [How, Path]))),
    Port = open_port({spawn_executable, Program}, [{args, Args}, {line, 100}, exit_status, use_stdio]),
    {os_pid, Pid} = erlang:port_info(Port, os_pid),
    Last = told(Port, Pid, -1, 500),
    {ok, Left} = file:read_file(Path),
    {Last, Left}.

told(Port, Pid, Last, KillAt) ->
    receive
        {Port, {data, {eol, Line}}} ->
            case list_to_integer(Line) of
                KillAt ->
                    {0, _} = run("kill", ["-KILL", integer_to_list(Pid)]),
                    told(Port, Pid, KillAt, KillAt);
                N -> told(Port, Pid, N, KillAt)
            end;
        {Port, {data, {noeol, _}}} -> told(Port, Pid, Last, KillAt);
        {Port, {exit_status, Status}} ->
            {status, 137} = {status, Status},
            Last
    end.

%% Tells each number when the call that wrote it has returned ok.
writer({atomics, Path}) ->
    {ok, Ref} = emmap_atomics:open(Path, 1, []),
    write_on(0, fun(_) -> emmap_atomics:add(Ref, 1, 1) end);
writer({How, Path}) ->
    {ok, File} = emmap:open(Path, [read, write, shared]),
    write_on(0, case How of
                    append -> fun(N) -> emmap:write(File, record(N)) end;
                    inside -> fun(N) -> emmap:pwrite(File, N * 100, record(N)) end
                end).

write_on(N, Write) ->
    ok = Write(N),
    ok = io:put_chars([integer_to_list(N), $\n]),
    write_on(N + 1, Write).

record(N) -> binary:copy(<<N:32>>, 25).

%%% advise

dont_need_keeps_changes(Config) ->
    Size = 3 * ?PAGE + 5,
    [begin
         File = open(Config, bytes(Size), Options),
         ok = emmap:pwrite(File, 10, "changed"),
         ok = emmap:pwrite(File, Size - 3, "end"),
         {ok, Before} = emmap:pread(File, 0, Size),
         [ok = emmap:advise(File, Offset, Count, dont_need)
          || {Offset, Count} <- [{0, 0}, {0, Size}, {?PAGE, ?PAGE}, {1, 1}, {Size, 10}, {1 bsl 40, 0}]],
         {Options, {ok, Before}} = {Options, emmap:pread(File, 0, Size)},
         ok = emmap:close(File)
     end || Options <- [[private], [private, direct], [shared], [shared, nolock]]],
    {ok, Anonymous} = emmap:open("", 0, Size, [read, write, anon]),
    ok = emmap:pwrite(Anonymous, 0, bytes(Size)),
    ok = emmap:advise(Anonymous, 0, 0, dont_need),
    Expected = bytes(Size),
    {ok, Expected} = emmap:pread(Anonymous, 0, Size).

advice_never_changes_bytes(Config) ->
    Bytes = bytes(100000),
    [begin
         File = open(Config, Bytes, [Sharing]),
         ok = emmap:advise(File, 5000, 7000, Advice),
         ok = file:advise(File, 0, 0, Advice),
         {ok, Bytes} = emmap:pread(File, 0, 100000),
         ok = emmap:close(File)
     end || Advice <- [normal, sequential, random, will_need, dont_need, no_reuse], Sharing <- [shared, private]].

%%% info

info_tells_what_was_opened(Config) ->
    Path = file(Config, bytes(10000)),
    Binary = unicode:characters_to_binary(Path),
    Deep = [filename:dirname(Path), "/", [filename:basename(Path)]],
    Expected = #{offset => 0, size => 10000, position => 0, mode => [read], sharing => private, direct => false,
                 lock => true, fixed_size => false, faulted => false},
    [begin
         {ok, File} = emmap:open(Name, Offset, Length, Options),
         Info = emmap:info(File),
         #{path := Name, address := Address} = Info,
         true = is_integer(Address) andalso Address > 0,
         All = maps:merge(Expected, Changes),
         {Options, All} = {Options, maps:without([path, address], Info)},
         ok = emmap:close(File)
     end || {Name, Offset, Length, Options, Changes} <-
                [{Path, 0, 0, [], #{}},
                 {Binary, 0, 0, [read], #{}},
                 {Deep, 0, 0, [read, shared, nolock], #{sharing => shared, lock => false}},
                 {Path, 4097, 0, [shared, write, direct],
                  #{sharing => shared, mode => [read, write], offset => 4097, size => 5903, direct => true}},
                 {Path, 10, 20, [private, write, lock], #{mode => [read, write], offset => 10, size => 20}},
                 {Path, 0, 0, [shared, write, fixed_size],
                  #{sharing => shared, mode => [read, write], fixed_size => true}},
                 {"", 0, 300, [anon, write], #{sharing => anon, mode => [read, write], size => 300}}]],
    true = lists:sort(maps:keys(Expected) ++ [path, address]) =:=
        lists:sort(maps:keys(begin {ok, File} = emmap:open(Path, []), emmap:info(File) end)).

info_follows_the_handle(Config) ->
    File = open(Config, bytes(100), [shared]),
    {ok, _} = emmap:read(File, 7),
    #{position := 7, size := 100} = emmap:info(File),
    ok = emmap:pwrite(File, 100, "x"),
    #{position := 7, size := 101} = emmap:info(File),
    {ok, 1000} = emmap:position(File, 1000),
    ok = emmap:truncate(File),
    #{position := 1000, size := 1000} = emmap:info(File).

info_of_closed_or_no_handle_is_badarg(Config) ->
    File = open(Config, bytes(100), [shared]),
    ok = emmap:close(File),
    [badarg = try emmap:info(Bad) catch error:Reason -> Reason end || Bad <- [File, anything, {}, make_ref()]].

%%% Programs

%% How to run an expression in a VM that has emmap and this module.
erl(Expression) ->
    Paths = lists:usort([filename:dirname(code:which(Module)) || Module <- [emmap, ?MODULE]]),
    [os:find_executable("erl"), "-noshell", "-pa" | Paths] ++ ["-eval", Expression ++ ", halt()."].

run(Program, Args) ->
    case os:find_executable(Program) of
        false -> {127, "not found"};
        Path ->
            Port = open_port({spawn_executable, Path}, [{args, Args}, exit_status, stderr_to_stdout]),
            output(Port, [])
    end.

output(Port, Parts) ->
    receive
        {Port, {data, Part}} -> output(Port, [Part | Parts]);
        {Port, {exit_status, Status}} -> {Status, lists:append(lists:reverse(Parts))}
    end.
