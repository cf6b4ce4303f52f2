%% Copyright 2026 the emmap authors. Licensed under the Apache License, Version 2.0.

%% Where the bytes of a range are: in memory, kept there, or on no disk.
-module(emmap_memory_SUITE).

-include_lib("stdlib/include/assert.hrl").
-include_lib("kernel/include/file.hrl").

-compile([export_all, nowarn_export_all]).

-define(SIZE, (4 bsl 20)).

all() ->
    [resident_counts_what_is_in_memory, resident_counts_bytes, resident_of_a_file_of_others_is_eperm,
     populate_brings_a_range_into_memory, populate_makes_private_pages, lock_memory_keeps_a_range_in_memory,
     lock_memory_has_the_limit_of_the_process, unlock_memory_lets_a_range_go, closed_handles_lock_nothing,
     punch_hole_gives_disk_space_back, punch_hole_leaves_what_is_beside, punch_hole_past_the_end_is_left_out,
     punch_hole_of_anonymous_memory, punch_hole_needs_a_shared_handle, ranges_have_bounds,
     a_file_that_was_cut_is_truncated, ranges_refuse_wrong_arguments, advices_change_no_data,
     huge_page_marks_the_mapping].

init_per_testcase(Case, Config) -> emmap_test:directory(Case, Config).

end_per_testcase(_, _) -> ok.

open(Config, Options) -> open(Config, Options, emmap_test:bytes(?SIZE)).

open(Config, Options, Bytes) ->
    {ok, File} = emmap:open(emmap_test:file(Config, "file", Bytes), Options),
    File.

%% Puts the pages of a file out of memory, where the file system has a disk.
put_out(Config, File) ->
    ok = emmap:sync(File),
    ok = emmap:advise(File, 0, 0, dont_need),
    case emmap:resident(File, 0, ?SIZE) of
        {ok, ?SIZE} -> {skip, emmap_test:path(Config, "file") ++ " is on a file system that keeps it in memory"};
        {ok, _} -> ok
    end.

resident_counts_what_is_in_memory(Config) ->
    File = open(Config, [shared, write]),
    %% It was written just now.
    ?assertEqual({ok, ?SIZE}, emmap:resident(File, 0, ?SIZE)),
    case put_out(Config, File) of
        ok ->
            ok = emmap:populate(File, 0, ?SIZE),
            ?assertEqual({ok, ?SIZE}, emmap:resident(File, 0, ?SIZE));
        Skip -> Skip
    end.

resident_counts_bytes(Config) ->
    File = open(Config, [shared]),
    Page = emmap_test:page_size(),
    [?assertEqual({Offset, Count, {ok, Count}}, {Offset, Count, emmap:resident(File, Offset, Count)})
     || Offset <- [0, 1, Page - 1, Page, Page + 1, ?SIZE - 2 * Page - 1], Count <- [0, 1, 2, Page - 1, Page, Page + 1]],
    {ok, Unaligned} = emmap:open(emmap_test:path(Config, "file"), 4097, 10000, [shared]),
    ?assertEqual({ok, 10000}, emmap:resident(Unaligned, 0, 10000)),
    %% Of anonymous memory, what was touched.
    {ok, Anonymous} = emmap:open("", 0, 100 * Page, [anon, write]),
    ok = emmap:advise(Anonymous, 0, 0, no_huge_page),
    ?assertEqual({ok, 0}, emmap:resident(Anonymous, 0, 100 * Page)),
    ok = emmap:pwrite(Anonymous, 7 * Page - 1, <<"xy">>),
    ?assertEqual({ok, 2 * Page}, emmap:resident(Anonymous, 0, 100 * Page)),
    ?assertEqual({ok, 1}, emmap:resident(Anonymous, 6 * Page - 5, 6)).

resident_of_a_file_of_others_is_eperm(_) ->
    as_user(fun(Options) ->
        emmap_vm:survives(fun() ->
            {ok, File} = emmap:open("/bin/sh", []),
            {error, eperm} = emmap:resident(File, 0, 1),
            {error, eperm} = emmap:resident(File, 0, 0)
        end, Options)
    end).

%% Gives a function the options of a VM that root does not run.
as_user(Run) ->
    case os:cmd("id -u") of
        "0\n" ->
            case emmap_vm:may_be("65534") of
                true -> Run(#{user => "65534"});
                Why -> {skip, Why}
            end;
        _ -> Run(#{})
    end.

populate_brings_a_range_into_memory(Config) ->
    File = open(Config, [shared, write]),
    Page = emmap_test:page_size(),
    case put_out(Config, File) of
        ok ->
            {From, Count} = {16 * Page + 1, 20 * Page},
            ?assertEqual(ok, emmap:populate(File, From, Count)),
            ?assertEqual({ok, Count}, emmap:resident(File, From, Count)),
            ?assertEqual(ok, emmap:populate(File, ?SIZE, 0));
        Skip -> Skip
    end.

%% Pages of its own, so that a later write finds memory.
populate_makes_private_pages(Config) ->
    File = open(Config, [private, write]),
    #{address := Address} = emmap:info(File),
    Private = fun() -> #{<<"Private_Dirty">> := Kb} = emmap_test:mapping_at(Address), Kb end,
    ?assertEqual(0, Private()),
    ok = emmap:populate(File, 0, 1 bsl 20),
    ?assertEqual(1024, Private()).

locked_kb() -> emmap_test:status_kb("VmLck").

%% In VMs of their own: what others lock is counted, too.
lock_memory_keeps_a_range_in_memory(Config) ->
    Path = emmap_test:file(Config, "file", emmap_test:bytes(?SIZE)),
    emmap_vm:survives(fun() ->
        Page = emmap_test:page_size(),
        [begin
             {ok, File} = emmap:open(Path, Options),
             0 = locked_kb(),
             {Options, ok} = {Options, emmap:lock_memory(File, Page - 1, Page + 2)},
             ?assertEqual(3 * Page div 1024, locked_kb()),
             ok = emmap:advise(File, 0, 0, dont_need),
             {ok, Count} = emmap:resident(File, Page - 1, Page + 2),
             ?assertEqual(Page + 2, Count),
             %% Once more is no more.
             ok = emmap:lock_memory(File, 0, Page),
             ?assertEqual(3 * Page div 1024, locked_kb()),
             ok = emmap:lock_memory(File, 0, 0),
             ok = emmap:unlock_memory(File, 0, 10 * Page),
             ?assertEqual(0, locked_kb()),
             ok = emmap:close(File)
         end || Options <- [[shared], [shared, write], [private, write], [direct]]]
    end).

%% Below the limit, at it, above it. Root has none, unless it has become somebody else.
lock_memory_has_the_limit_of_the_process(_) ->
    as_user(fun(Options) ->
        emmap_vm:survives(fun() ->
            {ok, File} = emmap:open("", 0, 1 bsl 20, [anon, write]),
            ok = emmap:lock_memory(File, 0, 60 * 1024),
            ok = emmap:lock_memory(File, 0, 64 * 1024),
            {error, enomem} = emmap:lock_memory(File, 0, 64 * 1024 + 1),
            64 = locked_kb(),
            ok = emmap:unlock_memory(File, 0, 1 bsl 20),
            {error, enomem} = emmap:lock_memory(File, 0, 1 bsl 20),
            0 = locked_kb(),
            ok = emmap:lock_memory(File, 1 bsl 19, 64 * 1024)
        end, Options#{limit => "-l 64"})
    end).

unlock_memory_lets_a_range_go(Config) ->
    Path = emmap_test:file(Config, "file", emmap_test:bytes(?SIZE)),
    emmap_vm:survives(fun() ->
        Page = emmap_test:page_size(),
        {ok, File} = emmap:open(Path, [shared, write]),
        ok = emmap:unlock_memory(File, 0, ?SIZE),
        ok = emmap:lock_memory(File, 0, 10 * Page),
        %% A page goes that has one of the bytes.
        ok = emmap:unlock_memory(File, 3 * Page - 1, 2),
        ?assertEqual(8 * Page div 1024, locked_kb()),
        ok = emmap:unlock_memory(File, 0, 0),
        ?assertEqual(8 * Page div 1024, locked_kb()),
        %% What the handle has outgrown goes, too.
        {ok, _} = emmap:resize(File, 1 bsl 30),
        ok = emmap:unlock_memory(File, 0, 1 bsl 30),
        ?assertEqual(0, locked_kb())
    end).

closed_handles_lock_nothing(Config) ->
    Path = emmap_test:file(Config, "file", emmap_test:bytes(?SIZE)),
    emmap_vm:survives(fun() ->
        {ok, File} = emmap:open(Path, [shared, write]),
        ok = emmap:lock_memory(File, 0, 1 bsl 16),
        ok = emmap:close(File),
        emmap_test:wait_until(fun() -> locked_kb() =:= 0 end),
        [{error, closed} = emmap:Function(File, 0, 1)
         || Function <- [resident, populate, lock_memory, unlock_memory, punch_hole]]
    end).

%% Blocks of 512 bytes that the file takes on disk.
blocks(Config) -> list_to_integer(string:trim(os:cmd("stat -c %b '" ++ emmap_test:path(Config, "file") ++ "'"))).

punch_hole_gives_disk_space_back(Config) ->
    File = open(Config, [shared, write]),
    ok = emmap:sync(File),
    Before = blocks(Config),
    case emmap:punch_hole(File, 0, ?SIZE div 2) of
        {error, eopnotsupp} -> {skip, "the file system punches no holes"};
        ok ->
            ok = emmap:sync(File),
            ?assert(blocks(Config) =< Before - ?SIZE div 2 div 512),
            Half = ?SIZE div 2,
            ?assertEqual({ok, <<0:(8 * Half)>>}, emmap:pread(File, 0, Half)),
            ?assertEqual({ok, ?SIZE}, emmap:position(File, eof)),
            %% It can be written to again.
            ok = emmap:pwrite(File, 100, <<"again">>),
            {ok, Bytes} = file:read_file(emmap_test:path(Config, "file")),
            ?assertEqual(<<0:800, "again", 0:(8 * (Half - 105))>>, binary:part(Bytes, 0, Half)),
            ?assertEqual(binary:part(emmap_test:bytes(?SIZE), Half, Half), binary:part(Bytes, Half, Half))
    end.

punch_hole_leaves_what_is_beside(Config) ->
    Page = emmap_test:page_size(),
    Bytes = emmap_test:bytes(4 * Page),
    Anonymous = fun(Sharing) ->
                    {ok, Opened} = emmap:open("", 0, 4 * Page, [anon, write, Sharing]),
                    Opened
                end,
    [begin
         ok = emmap:pwrite(File, 0, Bytes),
         case emmap:punch_hole(File, Offset, Count) of
             {error, eopnotsupp} -> ct:comment("the file system punches no holes");
             ok ->
                 <<Before:Offset/binary, _:Count/binary, After/binary>> = Bytes,
                 ?assertEqual({Offset, Count, {ok, <<Before/binary, 0:(8 * Count), After/binary>>}},
                              {Offset, Count, emmap:pread(File, 0, 4 * Page)})
         end
     end || File <- [open(Config, [shared, write], Bytes), Anonymous(private), Anonymous(shared)],
            Offset <- [0, 1, Page - 1, Page, Page + 1], Count <- [0, 1, Page - 1, Page, Page + 1, 2 * Page + 1]].

punch_hole_past_the_end_is_left_out(Config) ->
    File = open(Config, [shared, write], <<"some bytes">>),
    [?assertEqual({Offset, Count, ok}, {Offset, Count, emmap:punch_hole(File, Offset, Count)})
     || {Offset, Count} <- [{10, 1}, {10, 1 bsl 40}, {1 bsl 40, 1}, {(1 bsl 63) - 1, (1 bsl 63) - 1}]],
    ?assertEqual({ok, <<"some bytes">>}, emmap:pread(File, 0, 100)),
    case emmap:punch_hole(File, 5, (1 bsl 63) - 1) of
        {error, eopnotsupp} -> {skip, "the file system punches no holes"};
        ok -> ?assertEqual({ok, <<"some ", 0:40>>}, file:read_file(emmap_test:path(Config, "file")))
    end.

punch_hole_of_anonymous_memory(_) ->
    [begin
         {ok, File} = emmap:open("", 0, ?SIZE, [anon, write, populate, Sharing]),
         ok = emmap:pwrite(File, 0, emmap_test:bytes(?SIZE)),
         ok = emmap:advise(File, 0, 0, no_huge_page),
         ok = emmap:punch_hole(File, 0, ?SIZE),
         ?assertEqual({Sharing, {ok, 0}}, {Sharing, emmap:resident(File, 0, ?SIZE)}),
         ?assertEqual({ok, <<0:(8 * ?SIZE)>>}, emmap:pread(File, 0, ?SIZE))
     end || Sharing <- [private, shared]].

punch_hole_needs_a_shared_handle(Config) ->
    File = open(Config, [private, write], <<"bytes">>),
    ?assertEqual({error, eopnotsupp}, emmap:punch_hole(File, 0, 5)),
    ?assertEqual({ok, <<"bytes">>}, emmap:pread(File, 0, 5)),
    [begin
         Reader = open(Config, Options, <<"bytes">>),
         ?assertEqual({badarg, #{1 => "the file is not open for writing"}},
                      emmap_test:raised(fun() -> emmap:punch_hole(Reader, 0, 5) end))
     end || Options <- [[], [shared]]].

-define(raises(Argument, Text, Expression),
        ?assertEqual({badarg, #{Argument => Text}}, emmap_test:raised(fun() -> Expression end))).

ranges_have_bounds(Config) ->
    File = open(Config, [shared, write], <<0:800>>),
    Text = "the range ends past the end of the mapping",
    [begin
         ?assertEqual({ok, 100 - Offset}, emmap:resident(File, Offset, 100 - Offset)),
         ?assertEqual(ok, emmap:populate(File, Offset, 100 - Offset)),
         ?assertEqual(ok, emmap:unlock_memory(File, Offset, 100 - Offset)),
         ?assertEqual(ok, emmap:lock_memory(File, Offset, min(0, 100 - Offset)))
     end || Offset <- [0, 99, 100]],
    [begin
         ?raises(Argument, Text, emmap:resident(File, Offset, Count)),
         ?raises(Argument, Text, emmap:populate(File, Offset, Count)),
         ?raises(Argument, Text, emmap:lock_memory(File, Offset, Count)),
         ?raises(Argument, Text, emmap:unlock_memory(File, Offset, Count))
     end || {Argument, Offset, Count} <- [{3, 0, 101}, {3, 100, 1}, {3, 99, 2}, {2, 101, 0}, {2, (1 bsl 63) - 1, 1},
                                          {3, 1, (1 bsl 63) - 1}]].

%% In a VM of its own, which a signal that nobody caught would end.
a_file_that_was_cut_is_truncated(Config) ->
    Path = emmap_test:file(Config, "file", emmap_test:bytes(?SIZE)),
    emmap_vm:survives(fun() ->
        {ok, File} = emmap:open(Path, [shared, write]),
        ok = emmap_vm:cut(Path, 100),
        {error, truncated} = emmap:populate(File, 0, ?SIZE),
        {error, truncated} = emmap:lock_memory(File, 0, ?SIZE),
        0 = locked_kb(),
        {ok, _} = emmap:resident(File, 0, 100),
        ok = emmap:populate(File, 0, 100),
        {error, truncated} = emmap:pread(File, 1 bsl 20, 1),
        {error, truncated} = emmap:resident(File, 0, ?SIZE),
        ok = emmap:unlock_memory(File, 0, ?SIZE)
    end).

ranges_refuse_wrong_arguments(Config) ->
    File = open(Config, [shared, write], <<0:800>>),
    Text = "not an integer from 0 to 2^63 - 1",
    [begin
         ?raises(Argument, Text, emmap:resident(File, Offset, Count)),
         ?raises(Argument, Text, emmap:populate(File, Offset, Count)),
         ?raises(Argument, Text, emmap:lock_memory(File, Offset, Count)),
         ?raises(Argument, Text, emmap:unlock_memory(File, Offset, Count)),
         ?raises(Argument, Text, emmap:punch_hole(File, Offset, Count))
     end || Bad <- [-1, 1.0, a, 1 bsl 63, <<>>], {Argument, Offset, Count} <- [{2, Bad, 1}, {3, 0, Bad}]],
    NoHandle = "not a memory-mapped file",
    [begin
         ?raises(1, NoHandle, emmap:resident(Bad, 0, 1)),
         ?raises(1, NoHandle, emmap:populate(Bad, 0, 1)),
         ?raises(1, NoHandle, emmap:lock_memory(Bad, 0, 1)),
         ?raises(1, NoHandle, emmap:unlock_memory(Bad, 0, 1)),
         ?raises(1, NoHandle, emmap:punch_hole(Bad, 0, 1))
     end || Bad <- [a, {}, #file_descriptor{module = emmap, data = make_ref()}]].

advices_change_no_data(Config) ->
    [begin
         File = open(Config, Options),
         lists:member(write, Options) andalso (ok = emmap:pwrite(File, 5000, <<"changed">>)),
         Before = emmap:snapshot(File, 0, ?SIZE),
         [begin
              ?assertEqual(ok, emmap:advise(File, Offset, Count, Advice)),
              ?assertEqual(ok, file:advise(File, Offset, Count, Advice)),
              ?assert(Before =:= emmap:snapshot(File, 0, ?SIZE))
          end || Advice <- [huge_page, no_huge_page, cold, page_out],
                 {Offset, Count} <- [{0, 0}, {5000, 10}, {0, ?SIZE}, {?SIZE, 1}]],
         ok = emmap:close(File)
     end || Options <- [[], [shared], [shared, write], [private, write], [direct], [anon, write, {size, ?SIZE}]]].

huge_page_marks_the_mapping(_) ->
    {ok, File} = emmap:open("", 0, ?SIZE, [anon, write]),
    #{address := Address} = emmap:info(File),
    Flags = fun() -> #{flags := Found} = emmap_test:mapping_at(Address), Found end,
    ok = emmap:advise(File, 0, 0, huge_page),
    case lists:member(<<"hg">>, Flags()) of
        false -> {skip, "the system has no transparent huge pages"};
        true ->
            ok = emmap:advise(File, 0, 0, no_huge_page),
            ?assertEqual({false, true}, {lists:member(<<"hg">>, Flags()), lists:member(<<"nh">>, Flags())}),
            ok = emmap:close(File)
    end.
