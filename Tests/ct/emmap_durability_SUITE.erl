%% Copyright 2026 the emmap authors. Licensed under the Apache License, Version 2.0.

%% What is on disk when a call has returned, and what is left when the VM dies.
-module(emmap_durability_SUITE).

-export([all/0, groups/0, init_per_group/2, end_per_group/2, init_per_testcase/2, end_per_testcase/2]).
-export([datasync_calls_fdatasync/1, sync_calls_fsync/1, first_sync_of_new_file_syncs_its_directory/1,
         sync_of_range_calls_msync_of_its_pages/1, flush_starts_writeback_and_waits_for_nothing/1,
         sync_of_atomics_calls_fsync/1, private_and_anonymous_mappings_sync_nothing/1,
         sync_of_range_covers_it_and_no_more/1, flush_covers_the_handle/1, sync_finds_directory_of_relative_name/1,
         advice_reaches_the_system_with_its_range/1, flags_of_options_reach_the_system/1,
         errors_of_the_device_reach_the_caller/1, failed_calls_change_nothing/1,
         failed_sync_of_directory_reaches_the_caller/1, counters_without_room_leave_nothing/1]).
-export([datasync_leaves_no_dirty_page/1, sync_of_range_outside_is_an_error/1,
         killed_vm_loses_no_append/1, killed_vm_loses_no_write_inside/1, killed_vm_loses_no_atomic_operation/1,
         dont_need_keeps_changes/1, advice_never_changes_bytes/1, info_tells_what_was_opened/1,
         info_follows_the_handle/1, info_of_closed_or_no_handle_is_badarg/1]).
%% Called in other VMs.
-export([traced/1, failing/1, failing_directory/1, without_room/1, writer/1]).

-define(PAGE, 4096).

all() ->
    [{group, strace}, datasync_leaves_no_dirty_page, sync_of_range_outside_is_an_error, killed_vm_loses_no_append,
     killed_vm_loses_no_write_inside, killed_vm_loses_no_atomic_operation, dont_need_keeps_changes,
     advice_never_changes_bytes, info_tells_what_was_opened, info_follows_the_handle,
     info_of_closed_or_no_handle_is_badarg].

groups() ->
    [{strace, [datasync_calls_fdatasync, sync_calls_fsync, first_sync_of_new_file_syncs_its_directory,
               sync_of_range_calls_msync_of_its_pages, flush_starts_writeback_and_waits_for_nothing,
               sync_of_atomics_calls_fsync, private_and_anonymous_mappings_sync_nothing,
               sync_of_range_covers_it_and_no_more, flush_covers_the_handle, sync_finds_directory_of_relative_name,
               advice_reaches_the_system_with_its_range, flags_of_options_reach_the_system,
               errors_of_the_device_reach_the_caller, failed_calls_change_nothing,
               failed_sync_of_directory_reaches_the_caller, counters_without_room_leave_nothing]}].

init_per_group(strace, Config) ->
    case {os:find_executable("strace"), run("strace", ["-o", "/dev/null", "true"])} of
        {false, _} -> {skip, "strace is not installed"};
        {_, {0, _}} ->
            Directory = filename:join(proplists:get_value(priv_dir, Config), "strace"),
            ok = file:make_dir(Directory),
            [{calls, trace(Directory, traced, [])}, {traced, Directory} | Config];
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

%% Runs a function in a VM of its own; gives {step, the calls of the system in it}.
trace(Directory, Function, Options) ->
    Log = filename:join(Directory, "strace"),
    Calls = "trace=mkdir,fsync,fdatasync,msync,sync_file_range,syncfs,sync,ftruncate,fallocate,madvise,mmap",
    Expression = lists:flatten(io_lib:format("~p:~p(~p)", [?MODULE, Function, Directory])),
    {0, _} = run("strace", ["-f", "-y", "-qq", "-s", "500", "-e", Calls, "-e", "signal=none", "-o", Log
                            | Options ++ erl(Expression)]),
    {ok, Text} = file:read_file(Log),
    steps(string:split(unicode:characters_to_list(Text), "\n", all), none, []).

steps([Line | Lines], Step, Steps) ->
    case re:run(Line, "mkdir\\(\"/nowhere/([a-z_]+)\"", [{capture, all_but_first, list}]) of
        {match, [Next]} -> steps(Lines, list_to_atom(Next), [{list_to_atom(Next), []} | Steps]);
        nomatch ->
            %% A call that another thread interrupts is two lines, of which the first has the arguments.
            case re:run(Line, "^[0-9]+ +[a-z]") of
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
    Infos = [emmap:info(File) | traced_window(Path, Step)],
    ok = file:write_file(filename:join(Directory, "infos"), [io_lib:format("~p.~n", [Info]) || Info <- Infos]),
    ok = emmap:close(File),
    traced_flags(Path, Step),
    traced_relative(Directory, Step),
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

%% A window that begins and ends in the midst of pages, shared and private.
traced_window(Path, Step) ->
    [begin
         {ok, Window} = emmap:open(Path, ?PAGE + 5, 3 * ?PAGE, [read, write, Sharing]),
         Step(list_to_atom("range_" ++ atom_to_list(Sharing)), fun() -> emmap:sync(Window, ?PAGE - 1, 2) end),
         Step(list_to_atom("flush_" ++ atom_to_list(Sharing)), fun() -> emmap:flush(Window) end),
         [Step(list_to_atom(lists:concat([Advice, "_", Sharing])),
               fun() -> emmap:advise(Window, ?PAGE - 6, 7, Advice) end) || Advice <- advice()],
         Step(list_to_atom(lists:concat(["rest_", Sharing])),
              fun() -> emmap:advise(Window, 2 * ?PAGE, 0, sequential) end),
         mark(other),
         Info = emmap:info(Window),
         ok = emmap:close(Window),
         Info
     end || Sharing <- [shared, private]].

advice() -> [normal, sequential, random, will_need, dont_need, no_reuse].

traced_flags(Path, Step) ->
    [Step(Name, fun() -> {ok, File} = Open(), emmap:close(File) end)
     || {Name, Open} <- [{plain_anon, fun() -> emmap:open("", 0, 12345678, [anon]) end},
                         {uninitialized, fun() -> emmap:open("", 0, 12345678, [anon, uninitialized]) end},
                         {plain, fun() -> emmap:open(Path, [shared]) end},
                         {nocache, fun() -> emmap:open(Path, [shared, nocache]) end}]],
    mark(other).

%% The directory is that of the time when the file was made.
traced_relative(Directory, Step) ->
    [ok = filelib:ensure_dir(filename:join([Directory, Name, "deep", "x"])) || Name <- ["one", "two"]],
    [begin
         ok = file:set_cwd(filename:join(Directory, "one")),
         {ok, New} = emmap:open(Name, [read, write, create, shared, {size, 10}]),
         ok = file:set_cwd(filename:join(Directory, "two")),
         Step(How, fun() -> emmap:sync(New) end),
         mark(other),
         ok = emmap:close(New)
     end || {How, Name} <- [{relative, "new"}, {relative_deep, "deep/new"}]].

%% What brings data to disk.
calls(Config, Step) -> calls(Config, Step, "(?:fsync|fdatasync|msync|sync)").

calls(Config, Step, Call) ->
    Found = [Calls || {Name, Calls} <- proplists:get_value(calls, Config), Name =:= Step],
    {Step, true} = {Step, Found =/= []},
    [Line || Line <- lists:append(Found), re:run(Line, "^[0-9]+ +" ++ Call) =/= nomatch].

%% The handles of traced/1 and traced_window/2.
info(Config, Which) ->
    {ok, [Whole, Shared, Private]} = file:consult(filename:join(proplists:get_value(traced, Config), "infos")),
    maps:get(Which, #{whole => Whole, shared => Shared, private => Private}).

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

sync_of_range_covers_it_and_no_more(Config) ->
    #{address := Whole} = info(Config, whole),
    #{address := Shared} = info(Config, shared),
    [begin
         [Line] = calls(Config, Step),
         {match, [Address, Count]} =
             re:run(Line, "msync\\(0x([0-9a-f]+), ([0-9]+), MS_SYNC\\)", [{capture, all_but_first, list}]),
         From = list_to_integer(Address, 16),
         {Step, From} = {Step, Start div ?PAGE * ?PAGE},
         To = From + list_to_integer(Count),
         {Step, true, true} = {Step, To >= Start + Length, To =< page_after(Start + Length)}
     end || {Step, Start, Length} <- [{sync_range, Whole + ?PAGE + 1, ?PAGE}, {range_shared, Shared + ?PAGE - 1, 2}]],
    [] = calls(Config, range_private).

page_after(Address) -> (Address + ?PAGE - 1) div ?PAGE * ?PAGE.

flush_covers_the_handle(Config) ->
    [begin
         #{offset := Offset, size := Size} = info(Config, Which),
         [Line] = calls(Config, Step),
         {match, [From, Count]} =
             re:run(Line, "sync_file_range\\([^,]*, ([0-9]+), ([0-9]+), ", [{capture, all_but_first, list}]),
         {Step, Offset, Size} = {Step, list_to_integer(From), list_to_integer(Count)}
     end || {Step, Which} <- [{flush, whole}, {flush_shared, shared}]],
    #{offset := ?PAGE + 5, size := 3 * ?PAGE} = info(Config, shared),
    [] = calls(Config, flush_private).

sync_finds_directory_of_relative_name(Config) ->
    [begin
         [First, Second] = calls(Config, Step),
         true = matches(Config, First, "fsync", Directory ++ "/new"),
         true = matches(Config, Second, "fsync", Directory)
     end || {Step, Directory} <- [{relative, "one"}, {relative_deep, "one/deep"}]].

%% Page by page, as madvise(2) takes it; a count of 0 goes to the end. Where changes would be lost, `dont_need' only
%% makes pages the first to go, as `no_reuse' does.
advice_reaches_the_system_with_its_range(Config) ->
    [begin
         #{address := Address, size := Size} = info(Config, Sharing),
         Expected = case {Advice, Sharing} of
                        {normal, _} -> "MADV_NORMAL";
                        {sequential, _} -> "MADV_SEQUENTIAL";
                        {random, _} -> "MADV_RANDOM";
                        {will_need, _} -> "MADV_WILLNEED";
                        {dont_need, shared} -> "MADV_DONTNEED";
                        {dont_need, private} -> "MADV_COLD";
                        {no_reuse, _} -> "MADV_COLD";
                        {rest, _} -> "MADV_SEQUENTIAL"
                    end,
         {From, To} = case Advice of
                          rest -> {Address + 2 * ?PAGE, Address + Size};
                          _ -> {Address + ?PAGE - 6, Address + ?PAGE + 1}
                      end,
         Seen = [{Start, Start + list_to_integer(Count), Value}
                 || Line <- calls(Config, list_to_atom(lists:concat([Advice, "_", Sharing])), "madvise"),
                    {match, [Hex, Count, Value]} <-
                        [re:run(Line, "madvise\\(0x([0-9a-f]+), ([0-9]+), (MADV_[A-Z]+|0x14)[^)]*\\)",
                                [{capture, all_but_first, list}])],
                    %% The VM has memory of its own to advise on.
                    Start <- [list_to_integer(Hex, 16)], Start >= Address - ?PAGE, Start < Address + Size],
         [{Start, End, Value}] = Seen,
         {Advice, Sharing, Expected} = {Advice, Sharing, case Value of "0x14" -> "MADV_COLD"; _ -> Value end},
         {Advice, Sharing, Start} = {Advice, Sharing, From div ?PAGE * ?PAGE},
         {Advice, Sharing, true, true} = {Advice, Sharing, End >= To, End =< page_after(To)}
     end || Sharing <- [shared, private], Advice <- advice() ++ [rest]].

%% Those that nothing else shows: `uninitialized' as a flag of its own, `nocache' as none.
flags_of_options_reach_the_system(Config) ->
    %% The length tells these from what the VM maps.
    %% Closing puts pages of nobody in the place.
    Anonymous = fun(Step) -> hd(flags(Config, Step, "12[0-9]{6}", "-1")) end,
    Plain = Anonymous(plain_anon),
    true = lists:member("MAP_ANONYMOUS", Plain),
    [More] = Anonymous(uninitialized) -- Plain,
    %% 1 << 26, by whatever name: it is also the lowest bit of the size of huge pages.
    true = lists:member(More, ["MAP_UNINITIALIZED", "0x4000000", "1<<MAP_HUGE_SHIFT"]),
    File = fun(Step) -> hd(flags(Config, Step, "[0-9]+", "[0-9]+<[^>]*/strace/file>")) end,
    ["MAP_SHARED"] = File(plain),
    ["MAP_SHARED"] = File(nocache).

flags(Config, Step, Length, Descriptor) ->
    Pattern = "mmap\\([^,]*, " ++ Length ++ ", [^,]*, ([^,]*), " ++ Descriptor ++ ", ",
    [string:lexemes(Flags, "|") || Line <- calls(Config, Step, "mmap"),
                                   {match, [Flags]} <- [re:run(Line, Pattern, [{capture, all_but_first, list}])]].

flush_starts_writeback_and_waits_for_nothing(Config) ->
    [Line] = calls(Config, flush),
    true = matches(Config, Line, "sync_file_range", "file"),
    {match, _} = re:run(Line, ", SYNC_FILE_RANGE_WRITE\\)"),
    nomatch = re:run(Line, "WAIT").

sync_of_atomics_calls_fsync(Config) ->
    [Line | _] = calls(Config, atomics_sync),
    true = matches(Config, Line, "fsync", "atomics").

private_and_anonymous_mappings_sync_nothing(Config) -> [] = calls(Config, nothing).

%%% What the system reports

%% Where every call that brings data to disk, or takes room there, fails.
errors_of_the_device_reach_the_caller(Config) ->
    Directory = proplists:get_value(directory, Config),
    Inject = "inject=fsync,fdatasync,msync,sync_file_range,ftruncate,fallocate:error=EIO",
    Failed = [{calls, trace(Directory, failing, ["-e", Inject])}],
    {ok, Results} = file:consult(filename:join(Directory, "results")),
    [begin
         {Step, {error, eio}} = {Step, proplists:get_value(Step, Results)},
         %% It is this call that has failed, and no other was made.
         Calls = calls(Failed, Step, "(?:fsync|fdatasync|msync|sync_file_range|ftruncate|fallocate)"),
         {Step, true, []} = {Step, Calls =/= [], Calls -- calls(Failed, Step, Call ++ "\\(")}
     end || {Step, Call} <- [{datasync, "fdatasync"}, {file_datasync, "fdatasync"}, {sync, "fsync"},
                             {file_sync, "fsync"}, {sync_range, "msync"}, {flush, "sync_file_range"},
                             {grow, "fallocate"}, {double, "fallocate"}, {shrink, "ftruncate"},
                             {truncate, "ftruncate"}, {allocate, "fallocate"}, {allocate_past, "fallocate"},
                             {open_fit, "(?:ftruncate|fallocate)"}, {atomics_sync, "fsync"},
                             {atomics_open, "fallocate"}]],
    {raised, {eio, Counters}} = proplists:get_value(counters, Results),
    Counters = filename:join(Directory, "counters").

failing(Directory) ->
    Name = fun(Text) -> filename:join(Directory, Text) end,
    ok = file:write_file(Name("file"), bytes(5 * ?PAGE)),
    ok = file:write_file(Name("atomics"), <<"EMMAP01\n", 1:64/little, 0:64>>),
    [ok = file:write_file(Name(New), <<0:192>>) || New <- ["new", "counters"]],
    {ok, File} = emmap:open(Name("file"), [read, write, shared]),
    {ok, 3} = emmap:position(File, 3),
    {ok, Atomics} = emmap_atomics:open(Name("atomics"), 1, []),
    Results = [begin
                   mark(Step),
                   {Step, try Call() catch error:Reason -> {raised, Reason} end}
               end || {Step, Call} <- [{datasync, fun() -> emmap:datasync(File) end},
                                       {file_datasync, fun() -> file:datasync(File) end},
                                       {sync, fun() -> emmap:sync(File) end},
                                       {file_sync, fun() -> file:sync(File) end},
                                       {sync_range, fun() -> emmap:sync(File, 1, ?PAGE) end},
                                       {flush, fun() -> emmap:flush(File) end},
                                       {grow, fun() -> emmap:resize(File, 6 * ?PAGE) end},
                                       {double, fun() -> emmap:resize(File) end},
                                       {shrink, fun() -> emmap:resize(File, 5) end},
                                       {truncate, fun() -> emmap:truncate(File) end},
                                       {allocate, fun() -> emmap:allocate(File, 0, 10) end},
                                       {allocate_past, fun() -> emmap:allocate(File, 0, 6 * ?PAGE) end},
                                       {open_fit, fun() -> emmap:open(Name("new"), 0, 100, [fit, write]) end},
                                       {atomics_sync, fun() -> emmap_atomics:sync(Atomics) end},
                                       {atomics_open, fun() -> emmap_atomics:open(Name("new"), 1, []) end},
                                       {counters, fun() -> emmap:open_counters(Name("counters"), 1) end},
                                       {new_counters, fun() -> emmap:open_counters(Name("none"), 1) end}]],
    mark(last),
    Bytes = bytes(5 * ?PAGE),
    After = [{info, maps:with([size, position, faulted], emmap:info(File))},
             {same, {ok, Bytes} =:= emmap:pread(File, 0, 6 * ?PAGE)},
             {write, emmap:pwrite(File, 5 * ?PAGE, "more")},
             {again, emmap:pread(File, 5 * ?PAGE - 1, 10)}],
    ok = file:write_file(Name("results"), [io_lib:format("~p.~n", [Result]) || Result <- Results ++ After]).

failed_calls_change_nothing(Config) ->
    Directory = proplists:get_value(directory, Config),
    _ = trace(Directory, failing, ["-e", "inject=fsync,fdatasync,msync,ftruncate,fallocate:error=ENOSPC"]),
    {ok, Results} = file:consult(filename:join(Directory, "results")),
    {error, enospc} = proplists:get_value(grow, Results),
    #{size := 5 * ?PAGE, position := 3, faulted := false} = proplists:get_value(info, Results),
    true = proplists:get_value(same, Results),
    ok = proplists:get_value(write, Results),
    Last = binary:last(bytes(5 * ?PAGE)),
    {ok, <<Last, "more">>} = proplists:get_value(again, Results),
    [{ok, <<0:192>>} = file:read_file(filename:join(Directory, Name)) || Name <- ["new", "counters"]],
    {error, enoent} = file:read_file(filename:join(Directory, "none")).

%% What is not in its directory is not on disk.
failed_sync_of_directory_reaches_the_caller(Config) ->
    Directory = proplists:get_value(directory, Config),
    _ = trace(Directory, failing_directory, ["-P", Directory, "-e", "inject=fsync:error=EIO"]),
    %% And is not forgotten.
    {ok, [{error, eio}, {error, eio}]} = file:consult(filename:join(Directory, "results")).

failing_directory(Directory) ->
    {ok, File} = emmap:open(filename:join(Directory, "file"), [read, write, create, shared, {size, 10}]),
    Results = [emmap:sync(File), file:sync(File)],
    ok = file:write_file(filename:join(Directory, "results"), [io_lib:format("~p.~n", [Result]) || Result <- Results]).

%% The file gets its length, and then not the room for it.
counters_without_room_leave_nothing(Config) ->
    Directory = proplists:get_value(directory, Config),
    _ = trace(Directory, without_room, ["-e", "inject=fallocate:error=ENOSPC"]),
    {ok, [{raised, {enospc, Path}}]} = file:consult(filename:join(Directory, "results")),
    Path = filename:join(Directory, "counters"),
    {error, enoent} = file:read_file(Path).

without_room(Directory) ->
    Path = filename:join(Directory, "counters"),
    Result = try emmap:open_counters(Path, 3) catch error:Reason -> {raised, Reason} end,
    ok = file:write_file(filename:join(Directory, "results"), io_lib:format("~p.~n", [Result])).

%%% What is on disk

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
