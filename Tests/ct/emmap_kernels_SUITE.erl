%% Copyright 2026 the emmap authors. Licensed under the Apache License, Version 2.0.

%% Kernels that lack what emmap asks them for: emmap_kernels_SUITE_data/old_kernel.c answers in their place.
-module(emmap_kernels_SUITE).

-export([suite/0, all/0, init_per_suite/1, end_per_suite/1, init_per_testcase/2, end_per_testcase/2]).
-compile([export_all, nowarn_export_all]).
-import(emmap_vm, [survives/2, raised/1, new_file/2, cut/2]).

-include_lib("common_test/include/ct.hrl").

-define(PAGE, 4096).

suite() -> [{timetrap, {minutes, 2}}].

all() ->
    [without_fallocate_files_grow, without_fallocate_a_full_disk_is_enospc, without_fallocate_a_hole_is_eopnotsupp,
     without_fallocate_queues_lose_nothing, without_fallocate_blocks_lose_nothing, without_noreplace_nothing_is_replaced,
     without_noreplace_a_file_grows_beside_others, without_populate_pages_are_read,
     without_memory_files_a_cut_is_truncated, without_mlock2_memory_is_locked, without_unnamed_files_new_ones_are_whole,
     without_futex_waitv_words_are_waited_for,
     without_any_of_them_the_uses_of_the_readme_work, what_the_kernel_lacks_is_lacking,
     calls_of_newer_kernels_are_not_made].

init_per_suite(Config) ->
    case os:find_executable("cc") of
        false -> {skip, "no C compiler (cc) to build an old kernel with"};
        Compiler ->
            Source = filename:join(?config(data_dir, Config), "old_kernel.c"),
            Library = filename:join(?config(priv_dir, Config), "old_kernel.so"),
            Output = os:cmd(lists:concat(["'", Compiler, "' -O1 -Wall -shared -fPIC -o '", Library, "' '", Source,
                                          "' -ldl 2>&1"])),
            case filelib:is_regular(Library) of
                true -> [{old_kernel, Library} | Config];
                false -> {skip, "the old kernel does not compile: " ++ Output}
            end
    end.

end_per_suite(_) -> ok.

init_per_testcase(Case, Config) -> emmap_vm:directory(Case, Config).

end_per_testcase(_, Config) -> emmap_vm:delete_directory(Config).

-define(ALL, [fallocate, memfd_create, mlock2, 'MAP_FIXED_NOREPLACE', 'MADV_POPULATE', 'O_TMPFILE', futex_waitv]).

%% Runs a function in a VM whose kernel lacks some things.
without(Lacking, Config, Fun) -> without(Lacking, Config, #{}, Fun).

without(Lacking, Config, Options, Fun) ->
    Lacks = lists:flatten([$, | [[atom_to_list(Name), $,] || Name <- Lacking]]),
    survives(Fun, Options#{env => [{"LD_PRELOAD", ?config(old_kernel, Config)}, {"LACKS", Lacks}]}).

name(Config) -> filename:join(?config(dir, Config), "file").

%%% fallocate(2)

without_fallocate_files_grow(Config) ->
    Name = name(Config),
    without([fallocate], Config,
            fun() ->
                    {ok, File} = emmap:open(Name, [create, read, write, shared, {size, 100}]),
                    ok = emmap:pwrite(File, 3 * ?PAGE + 1, <<"behind the end">>),
                    {ok, <<"behind the end">>} = emmap:pread(File, 3 * ?PAGE + 1, 100),
                    ok = emmap:allocate(File, 5 * ?PAGE, ?PAGE),
                    {ok, #{size := Size}} = {ok, emmap:info(File)},
                    6 * ?PAGE = Size = filelib:file_size(Name),
                    ok = emmap:allocate(File, 0, ?PAGE),
                    {ok, <<"behind the end">>} = emmap:pread(File, 3 * ?PAGE + 1, 14),
                    ok = emmap:close(File),
                    Counters = emmap:open_counters(Name ++ ".counters", 3),
                    0 = emmap:inc_counter(Counters, 2),
                    ok = emmap:close_counters(Counters),
                    40 = filelib:file_size(Name ++ ".counters")
            end).

without_fallocate_a_full_disk_is_enospc(Config) ->
    Dir = ?config(dir, Config),
    case emmap_vm:may_mount(Dir) of
        true -> without([fallocate], Config, #{tmpfs => {Dir, "128k"}}, fun() -> fill_disk(Dir, name(Config)) end);
        Why -> {skip, Why}
    end.

fill_disk(Dir, Name) ->
    {ok, Raw} = file:open(Name, [write, raw]),
    {ok, _} = file:position(Raw, 64 * ?PAGE),
    ok = file:truncate(Raw),
    ok = file:pwrite(Raw, 0, <<"kept">>),
    {ok, File} = emmap:open(Name, [read, write, shared]),
    Filler = filename:join(Dir, "filler"),
    {error, enospc} = file:write_file(Filler, binary:copy(<<"f">>, 1 bsl 20)),
    {error, enospc} = emmap:pwrite(File, 10 * ?PAGE, <<"lost">>),
    enospc = raised(fun() -> emmap:patomic(File, 20 * ?PAGE, add, 1) end),
    {ok, <<"kept">>} = emmap:pread(File, 0, 4),
    ok = file:delete(Filler),
    {ok, _} = emmap:remap(File),
    ok = emmap:pwrite(File, 10 * ?PAGE, <<"found">>),
    {ok, <<"found">>} = emmap:pread(File, 10 * ?PAGE, 5).

without_fallocate_a_hole_is_eopnotsupp(Config) ->
    Name = new_file(?config(dir, Config), 4),
    without([fallocate], Config,
            fun() ->
                    {ok, File} = emmap:open(Name, [read, write, shared]),
                    {ok, Before} = emmap:pread(File, 0, 4 * ?PAGE),
                    {error, eopnotsupp} = emmap:punch_hole(File, ?PAGE, ?PAGE),
                    {ok, Before} = emmap:pread(File, 0, 4 * ?PAGE)
            end).

without_fallocate_queues_lose_nothing(Config) ->
    Name = name(Config),
    without([fallocate], Config,
            fun() ->
                    Messages = [{N, binary:copy(<<N>>, 1000)} || N <- lists:seq(1, 200)],
                    {ok, Queue} = emmap_queue:open(Name, []),
                    [ok = emmap_queue:push(Queue, Message) || Message <- Messages],
                    ok = emmap_queue:close(Queue),
                    {ok, Again} = emmap_queue:open(Name, []),
                    Messages = [element(2, {ok, _} = emmap_queue:pop(Again)) || _ <- Messages],
                    ok = emmap_queue:close(Again)
            end).

without_fallocate_blocks_lose_nothing(Config) ->
    Name = name(Config),
    without([fallocate], Config,
            fun() ->
                    {ok, Blocks} = emmap_blocks:open(Name, 1000),
                    Stored = [begin
                                  {ok, Address} = emmap_blocks:store(Blocks, <<N:32>>),
                                  {Address, <<N:32>>}
                              end || N <- lists:seq(1, 3000)],
                    ok = emmap_blocks:close(Blocks),
                    {ok, Again} = emmap_blocks:open(Name, 0),
                    {Stored, done} = emmap_blocks:read_list(Again, 0, 10000),
                    ok = emmap_blocks:close(Again)
            end).

%%% MAP_FIXED_NOREPLACE: an address is then no more than a hint

without_noreplace_nothing_is_replaced(Config) ->
    Name = new_file(?config(dir, Config), 4),
    without(['MAP_FIXED_NOREPLACE'], Config,
            fun() ->
                    Address = emmap_test:free_address(1 bsl 20),
                    {ok, File} = emmap:open(Name, [read, {address, Address}]),
                    #{address := Address} = emmap:info(File),
                    [{error, eexist} = emmap:open(Name, [read, {address, Address + Pages * ?PAGE} | Mode])
                     || Pages <- [0, 1, 3], Mode <- [[], [direct]]],
                    {ok, All} = emmap:pread(File, 0, 4 * ?PAGE),
                    All = emmap_vm:content(4),
                    Other = Address + 64 * ?PAGE,
                    {ok, Direct} = emmap:open(Name, [read, direct, {address, Other}]),
                    #{address := Other} = emmap:info(Direct)
            end).

%% In turns, so that what one needs next is often what the other one has.
without_noreplace_a_file_grows_beside_others(Config) ->
    Names = [name(Config) ++ [$., N] || N <- "abc"],
    without(['MAP_FIXED_NOREPLACE'], Config,
            fun() ->
                    Files = [element(2, {ok, _} = emmap:open(Name, [create, read, write, append, shared]))
                             || Name <- Names],
                    Piece = fun(N, Turn) -> binary:copy(<<N, Turn>>, ?PAGE) end,
                    Turns = lists:seq(1, 40),
                    [ok = emmap:write(File, Piece(N, Turn)) || Turn <- Turns, {N, File} <- lists:enumerate(Files)],
                    [begin
                         Wanted = << <<(Piece(N, Turn))/binary>> || Turn <- Turns >>,
                         {ok, Wanted} = emmap:pread(File, 0, byte_size(Wanted)),
                         {ok, Wanted} = file:read_file(Name)
                     end || {N, File, Name} <- lists:zip3([1, 2, 3], Files, Names)]
            end).

%%% The others

without_populate_pages_are_read(Config) ->
    Name = new_file(?config(dir, Config), 16),
    without(['MADV_POPULATE'], Config,
            fun() ->
                    [begin
                         {ok, File} = emmap:open(Name, [read, write, populate | Sharing]),
                         ok = emmap:populate(File, 0, 16 * ?PAGE),
                         ok = emmap:advise(File, 0, 16 * ?PAGE, will_need),
                         {ok, Bytes} = emmap:pread(File, 0, 16 * ?PAGE),
                         Bytes = emmap_vm:content(16),
                         ok = emmap:close(File)
                     end || Sharing <- [[shared], [private], [shared, direct]]],
                    cut_short(Name)
            end).

without_memory_files_a_cut_is_truncated(Config) ->
    Name = new_file(?config(dir, Config), 16),
    without([memfd_create], Config, fun() -> cut_short(Name) end).

cut_short(Name) ->
    [begin
         ok = file:write_file(Name, emmap_vm:content(16)),
         {ok, File} = emmap:open(Name, [read, write, shared | Mode]),
         cut(Name, ?PAGE),
         {error, truncated} = emmap:pread(File, 8 * ?PAGE, 4),
         {error, truncated} = emmap:pwrite(File, 9 * ?PAGE, <<"lost">>),
         truncated = raised(fun() -> emmap:patomic(File, 10 * ?PAGE, add, 1) end),
         {ok, <<"AAAA">>} = emmap:pread(File, 0, 4),
         cut(Name, 16 * ?PAGE),
         {ok, 16 * ?PAGE} = emmap:remap(File),
         ok = emmap:pwrite(File, 9 * ?PAGE, <<"found">>),
         {ok, <<0, "found"/utf8, 0>>} = emmap:pread(File, 9 * ?PAGE - 1, 7),
         ok = emmap:close(File)
     end || Mode <- [[lock], [nolock]]].

without_mlock2_memory_is_locked(Config) ->
    Name = new_file(?config(dir, Config), 4),
    without([mlock2], Config,
            fun() ->
                    {ok, File} = emmap:open(Name, [read]),
                    Before = emmap_vm:status_kb("VmLck"),
                    ok = emmap:lock_memory(File, 0, 4 * ?PAGE),
                    16 = emmap_vm:status_kb("VmLck") - Before,
                    ok = emmap:unlock_memory(File, 0, 4 * ?PAGE),
                    Before = emmap_vm:status_kb("VmLck")
            end).

without_unnamed_files_new_ones_are_whole(Config) ->
    Name = name(Config),
    without(['O_TMPFILE'], Config,
            fun() ->
                    {ok, File} = emmap:open(Name, [create, read, write, shared, {size, 1000}]),
                    1000 = filelib:file_size(Name),
                    ok = emmap:close(File),
                    Counters = emmap:open_counters(Name ++ ".counters", 3),
                    0 = emmap:inc_counter(Counters, 2),
                    ok = emmap:close_counters(Counters)
            end).

%% A thread each; of an upper half that has changed between looking and waiting they hear within a second.
without_futex_waitv_words_are_waited_for(Config) ->
    Name = name(Config),
    ok = file:write_file(Name, <<0:(4096 * 8)>>),
    without([futex_waitv], Config,
            fun() ->
                    {ok, File} = emmap:open(Name, [read, write, shared]),
                    Wait = fun(N) -> spawn_monitor(fun() -> exit(emmap:await(File, 8 * N, 0, infinity)) end) end,
                    Waiters = [Wait(N) || N <- lists:seq(0, 255)],
                    emmap_vm:eventually(fun() ->
                        lists:all(fun({Pid, _}) -> emmap_await_SUITE:is_waiting(Pid) end, Waiters)
                    end),
                    eagain = raised(fun() -> emmap:await(File, 8 * 256, 0, infinity) end),
                    {Killed, Rest} = lists:split(100, Waiters),
                    [exit(Pid, kill) || {Pid, _} <- Killed],
                    [emmap_await_SUITE:set(File, 8 * N, 1 bsl (N rem 64)) || N <- lists:seq(100, 255)],
                    [killed = emmap_await_SUITE:answer_of(Waiter) || Waiter <- Killed],
                    [{ok, _} = emmap_await_SUITE:answer_of(Waiter) || Waiter <- Rest],
                    Turns = fun(Player) -> fun() -> emmap_await_SUITE:turns(File, Player, 4000) end end,
                    [ok, ok] = emmap_test:together([Turns(0), Turns(1)]),
                    [begin
                         {Pid, Monitor} = Wait(400 + N),
                         emmap_await_SUITE:set(File, 8 * (400 + N), 1 bsl 32),
                         {ok, 16#100000000} = emmap_await_SUITE:answer_of({Pid, Monitor})
                     end || N <- lists:seq(1, 50)],
                    timeout = emmap:await(File, 8 * 500, 0, 10)
            end).

without_any_of_them_the_uses_of_the_readme_work(Config) ->
    Name = name(Config),
    without(?ALL, Config,
            fun() ->
                    {ok, File} = emmap:open(Name, [create, read, write, shared]),
                    ok = emmap:write(File, <<"Hello, memory\n">>),
                    {ok, <<"memory">>} = file:pread(File, 7, 6),
                    {ok, <<"Hello, memory\n">>} = file:read_file(Name),
                    ok = emmap:sync(File),
                    ok = emmap:close(File),
                    Counters = emmap:open_counters(Name ++ ".counters"),
                    0 = emmap:inc_counter(Counters, 0),
                    1 = emmap:inc_counter(Counters, 0),
                    ok = emmap:close_counters(Counters),
                    {ok, Queue} = emmap_queue:open(Name ++ ".queue", []),
                    ok = emmap_queue:push(Queue, message),
                    {ok, message} = emmap_queue:pop(Queue),
                    ok = emmap_queue:close(Queue),
                    {ok, Blocks} = emmap_blocks:open(Name ++ ".blocks", 100),
                    {ok, Address} = emmap_blocks:store(Blocks, <<"block">>),
                    {ok, <<"block">>} = emmap_blocks:read(Blocks, Address),
                    ok = emmap_blocks:close(Blocks),
                    cut_short(Name)
            end).

%%% That these tests test something

%% What a kernel lacks shows: where there is no fall-back, in the answer, and otherwise in what the call has done.
what_the_kernel_lacks_is_lacking(Config) ->
    Name = new_file(?config(dir, Config), 4),
    Look = fun() ->
                   {ok, File} = emmap:open(Name, [read, write, shared]),
                   Hole = emmap:punch_hole(File, 0, ?PAGE),
                   Open = [file:read_link(Path) || Path <- filelib:wildcard("/proc/self/fd/*")],
                   io:format("~p ~p", [Hole, lists:member({ok, "/memfd:emmap (deleted)"}, Open)])
           end,
    <<"ok true">> = without([], Config, Look),
    <<"{error,eopnotsupp} true">> = without([fallocate], Config, Look),
    <<"ok false">> = without([memfd_create], Config, Look).

%% copy_file_range, preadv2 and pwritev2 are in no source of the library's: nothing has to stand in for them.
calls_of_newer_kernels_are_not_made(_) ->
    Sources = filelib:wildcard(filename:join([emmap_test:root(), "Sources", "**", "*.{h,swift}"])),
    true = length(Sources) > 50,
    [] = [{Source, Found} || Source <- Sources, {ok, Text} <- [file:read_file(Source)],
                             {match, Found} <- [re:run(Text, "copy_file_range|p(read|write)v2")]].
