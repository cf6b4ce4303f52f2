%% Copyright 2026 the emmap authors. Licensed under the Apache License, Version 2.0.

%% Opening and closing: names, windows, what is no file, and what a handle tells about itself.
-module(emmap_open_SUITE).

-include_lib("stdlib/include/assert.hrl").
-include_lib("kernel/include/file.hrl").

-compile([export_all, nowarn_export_all]).

-define(raises(Argument, Text, Expression),
        ?assertEqual({badarg, #{Argument => Text}}, emmap_test:raised(fun() -> Expression end))).

all() -> [{group, Group} || {Group, _, _} <- groups()].

groups() ->
    [{names, [], [names_in_any_script_work, names_follow_the_encoding_of_the_vm,
                  deep_lists_atoms_and_binaries_are_names, names_with_nul_are_refused, what_is_no_name_is_refused,
                  names_may_be_as_long_as_the_system_allows, info_gives_the_name_as_it_was_given]},
     {windows, [], [the_whole_file_is_mapped, an_unaligned_offset_reads_the_right_bytes, a_window_ends_where_asked,
                    a_window_past_the_end_is_too_short, an_offset_past_the_end_is_too_short,
                    what_is_no_offset_or_length_is_refused, an_empty_file_opens_as_an_empty_handle,
                    a_new_file_takes_offset_and_length]},
     {files, [], [what_is_not_there_is_enoent, a_directory_is_eisdir, a_fifo_is_an_error_at_once,
                  a_socket_is_an_error_at_once, a_device_can_be_mapped, a_file_without_permission_is_an_error,
                  descriptors_are_close_on_exec, a_failed_open_leaves_no_new_file,
                  a_failed_open_leaves_the_file_as_it_was]},
     {handles, [], [close_closes_once, close_refuses_what_is_no_handle, a_closed_handle_is_closed_for_every_call,
                    close_gives_the_descriptor_back, info_describes_the_handle, info_of_an_empty_handle_has_size_0,
                    info_refuses_what_is_no_handle]}].

init_per_testcase(Case, Config) -> emmap_test:directory(Case, Config).

end_per_testcase(_, _) -> ok.

%%% Names

%% In VMs of a known encoding: that of this one depends on its locale.
names_in_any_script_work(Config) ->
    Vm = emmap_test:start_vm(["+fnu"]),
    [round_trip(Vm, emmap_test:path(Config, Name))
     || Name <- ["plain", "with space", "Übermaß", "файл", "ไฟล์", "文件", "ملف", "🗺", "cafe\x{301}", "'\"$;\n"]],
    emmap_test:stop_vm(Vm).

names_follow_the_encoding_of_the_vm(Config) ->
    Directory = emmap_test:path(Config, ""),
    Vm = emmap_test:start_vm(["+fnl"]),
    round_trip(Vm, filename:join(Directory, [16#e9])),
    {ok, Names} = file:list_dir_all(Directory),
    ?assertEqual([<<16#e9>>], Names),
    %% What the encoding cannot say, `file' refuses too.
    Name = filename:join(Directory, "файл"),
    ?assertEqual({error, badarg}, emmap_test:in_vm(Vm, fun() -> file:read_file(Name) end)),
    ?assertEqual({badarg, #{1 => "not a file name"}},
                 emmap_test:in_vm(Vm, fun() -> emmap_test:raised(fun() -> emmap:open(Name, []) end) end)),
    emmap_test:stop_vm(Vm).

%% `file' and emmap mean the same file by a name.
round_trip(Vm, Name) ->
    emmap_test:in_vm(Vm, fun() ->
        {ok, File} = emmap:open(Name, [create, write, shared, {size, 4}]),
        ok = emmap:pwrite(File, 0, <<"abcd">>),
        ok = emmap:close(File),
        {ok, <<"abcd">>} = file:read_file(Name),
        ok = file:write_file(Name, <<"efgh">>),
        {ok, Again} = emmap:open(Name, []),
        {ok, <<"efgh">>} = emmap:pread(Again, 0, 9),
        ok = emmap:close(Again)
    end).

deep_lists_atoms_and_binaries_are_names(Config) ->
    Path = emmap_test:file(Config, "some.file", <<"data">>),
    Directory = filename:dirname(Path),
    [begin
         {ok, File} = emmap:open(Name, []),
         ?assertEqual({ok, <<"data">>}, emmap:pread(File, 0, 4)),
         ok = emmap:close(File)
     end || Name <- [Path, list_to_binary(Path), list_to_atom(Path), [Directory, [$/, [["some"], $.], 'file']],
                     [[], [Directory | "/some.file"]]]].

names_with_nul_are_refused(Config) ->
    Path = emmap_test:file(Config, "name", <<"data">>),
    [?raises(1, "not a file name", emmap:open(Name, []))
     || Name <- [Path ++ [0], Path ++ [0 | "more"], list_to_binary(Path ++ [0]), [Path, [0]], [0], <<0>>]],
    ?raises(1, "not a file name", emmap:open([0 | Path], 0, 0, [create, write])).

what_is_no_name_is_refused(_) ->
    [?raises(1, "not a file name", emmap:open(Name, []))
     || Name <- [1, 1.0, {a}, #{}, self(), [a | 1], ["a", {}], [-1], [16#110000], [16#d800], <<1:3>>]],
    ?assertEqual({error, enoent}, emmap:open("", [])),
    ?assertEqual({error, enoent}, emmap:open(<<>>, [])),
    ?assertEqual({error, enoent}, emmap:open([], 0, 0, [])).

names_may_be_as_long_as_the_system_allows(Config) ->
    Directory = emmap_test:path(Config, ""),
    AsLongAsCanBe = emmap_test:file(Config, lists:duplicate(255, $n), <<"x">>),
    {ok, File} = emmap:open(AsLongAsCanBe, []),
    ok = emmap:close(File),
    ?assertEqual({error, enametoolong}, emmap:open(AsLongAsCanBe ++ "n", [])),
    ?assertEqual({error, enametoolong}, emmap:open(AsLongAsCanBe ++ "n", [create, write, {size, 1}])),
    %% PATH_MAX counts the NUL at the end.
    Short = emmap_test:file(Config, "n", <<"x">>),
    Slashes = lists:duplicate(4095 - length(Short), $/),
    {ok, Long} = emmap:open([Directory, Slashes, "/n"] -- [[]], []),
    ok = emmap:close(Long),
    ?assertEqual({error, enametoolong}, emmap:open([Directory, Slashes, "//n"], [])).

info_gives_the_name_as_it_was_given(Config) ->
    Path = emmap_test:file(Config, "file", <<"x">>),
    [begin
         {ok, File} = emmap:open(Name, []),
         ?assertMatch(#{path := Name}, emmap:info(File)),
         ok = emmap:close(File)
     end || Name <- [Path, list_to_binary(Path), [Path, []], list_to_atom(Path)]].

%%% Windows

the_whole_file_is_mapped(Config) ->
    [begin
         Bytes = emmap_test:bytes(Size),
         Path = emmap_test:file(Config, "file", Bytes),
         {ok, File} = emmap:open(Path, []),
         ?assertMatch(#{size := Size, offset := 0, position := 0}, emmap:info(File)),
         ?assertEqual({ok, Bytes}, emmap:pread(File, 0, Size + 1)),
         ok = emmap:close(File),
         {ok, Same} = emmap:open(Path, 0, 0, []),
         ?assertEqual({ok, Bytes}, emmap:pread(Same, 0, Size)),
         ok = emmap:close(Same)
     end || Size <- around([1, emmap_test:page_size(), 3 * emmap_test:page_size()]), Size > 0].

an_unaligned_offset_reads_the_right_bytes(Config) ->
    Page = emmap_test:page_size(),
    Bytes = emmap_test:bytes(4 * Page),
    Path = emmap_test:file(Config, "file", Bytes),
    [begin
         Count = byte_size(Bytes) - Offset,
         Rest = binary:part(Bytes, Offset, Count),
         {ok, File} = emmap:open(Path, Offset, 0, Options),
         ?assertMatch(#{size := Count, offset := Offset}, emmap:info(File)),
         ?assertEqual({ok, Rest}, emmap:pread(File, 0, Count)),
         ?assertEqual({ok, Rest}, emmap:read(File, Count)),
         ?assertEqual({ok, binary:part(Rest, 1, 2)}, emmap:pread(File, 1, 2)),
         ?assertEqual(eof, emmap:pread(File, Count, 1)),
         ok = emmap:close(File)
     end || Offset <- [0, 1, 7, 8, 12 | around([Page, 2 * Page])], Options <- [[], [shared], [direct]]],
    {ok, Written} = emmap:open(Path, Page + 5, 3, [shared, write]),
    ok = emmap:pwrite(Written, 0, <<"abc">>),
    ok = emmap:close(Written),
    <<Before:(Page + 5)/binary, _:3/binary, After/binary>> = Bytes,
    ?assertEqual({ok, <<Before/binary, "abc", After/binary>>}, file:read_file(Path)).

a_window_ends_where_asked(Config) ->
    Path = emmap_test:file(Config, "file", <<"0123456789">>),
    {ok, File} = emmap:open(Path, 3, 4, [shared, write]),
    ?assertMatch(#{offset := 3, size := 4}, emmap:info(File)),
    ?assertEqual({ok, <<"3456">>}, emmap:pread(File, 0, 100)),
    ?assertEqual({ok, <<"6">>}, emmap:pread(File, 3, 1)),
    ?assertEqual(eof, emmap:pread(File, 4, 1)),
    ok = emmap:pwrite(File, 2, <<"ab">>),
    ?assertEqual({error, enospc}, emmap:pwrite(File, 3, <<"xy">>)),
    ok = emmap:close(File),
    ?assertEqual({ok, <<"01234ab789">>}, file:read_file(Path)).

a_window_past_the_end_is_too_short(Config) ->
    Path = emmap_test:file(Config, "file", <<"0123456789">>),
    {ok, Below} = emmap:open(Path, 4, 5, []),
    {ok, At} = emmap:open(Path, 4, 6, []),
    ?assertEqual({ok, <<"45678">>}, emmap:pread(Below, 0, 9)),
    ?assertEqual({ok, <<"456789">>}, emmap:pread(At, 0, 9)),
    [?assertEqual({error, too_short}, emmap:open(Path, 4, 7, Options))
     || Options <- [[], [shared], [shared, write], [write], [shared, write, create]]],
    ?assertEqual({error, too_short}, emmap:open(Path, 10, 1, [])),
    ?assertEqual({ok, <<"0123456789">>}, file:read_file(Path)),
    ok = emmap:close(Below),
    ok = emmap:close(At).

an_offset_past_the_end_is_too_short(Config) ->
    Path = emmap_test:file(Config, "file", <<"0123456789">>),
    {ok, Last} = emmap:open(Path, 9, 0, []),
    ?assertEqual({ok, <<"9">>}, emmap:pread(Last, 0, 9)),
    {ok, Empty} = emmap:open(Path, 10, 0, []),
    ?assertEqual(eof, emmap:pread(Empty, 0, 1)),
    {ok, End} = emmap:open(Path, 10, 0, [shared, write]),
    ?assertEqual(eof, emmap:pread(End, 0, 1)),
    ok = emmap:write(End, <<"ab">>),
    ?assertEqual({ok, <<"0123456789ab">>}, file:read_file(Path)),
    ?assertEqual({error, too_short}, emmap:open(Path, 13, 0, [])),
    ?assertEqual({error, too_short}, emmap:open(Path, 13, 0, [shared, write])),
    ?assertEqual({error, too_short}, emmap:open(Path, 16#7fffffffffffffff, 0, [])),
    ?assertEqual({ok, 2}, emmap:remap(Empty)),
    ?assertEqual({ok, <<"ab">>}, emmap:pread(Empty, 0, 9)),
    [ok = emmap:close(File) || File <- [Last, End, Empty]].

what_is_no_offset_or_length_is_refused(Config) ->
    Path = emmap_test:file(Config, "file", <<"0123456789">>),
    Text = "not an integer from 0 to 2^63 - 1",
    [begin
         ?raises(2, Text, emmap:open(Path, Bad, 1, [])),
         ?raises(3, Text, emmap:open(Path, 1, Bad, []))
     end || Bad <- [-1, 1 bsl 63, 1 bsl 70, 1.0, a, "1", <<>>]],
    ?assertMatch({error, _}, emmap:open(Path, 1, 1 bsl 63 - 1, [])),
    ?assertMatch({error, _}, emmap:open(Path, 1 bsl 63 - 1, 1 bsl 63 - 1, [shared, write, fit])),
    ?assertEqual({ok, <<"0123456789">>}, file:read_file(Path)).

an_empty_file_opens_as_an_empty_handle(Config) ->
    Path = emmap_test:file(Config, "file", <<>>),
    Handles = [begin
                   {ok, Empty} = emmap:open(Path, Options),
                   ?assertEqual(eof, emmap:pread(Empty, 0, 1)),
                   ?assertEqual(eof, emmap:read(Empty, 1)),
                   ?assertEqual(eof, emmap:read_line(Empty)),
                   ?assertMatch(#{size := 0}, emmap:info(Empty)),
                   Empty
               end || Options <- [[], [direct], [shared], [write], [private, write], [shared, write, fixed_size]]],
    {ok, File} = emmap:open(Path, [shared, write]),
    ?assertEqual(eof, emmap:pread(File, 0, 1)),
    ok = emmap:pwrite(File, 1, <<"x">>),
    ?assertEqual({ok, <<0, "x">>}, file:read_file(Path)),
    [begin
         ?assertEqual({ok, 2}, emmap:remap(Handle)),
         ?assertEqual({ok, <<0, "x">>}, emmap:pread(Handle, 0, 9)),
         ok = emmap:close(Handle)
     end || Handle <- [File | Handles]].

a_new_file_takes_offset_and_length(Config) ->
    Path = emmap_test:path(Config, "file"),
    {ok, File} = emmap:open(Path, 5, 10, [create, write, shared]),
    ?assertMatch(#{offset := 5, size := 10}, emmap:info(File)),
    ok = emmap:pwrite(File, 0, <<"ab">>),
    ?assertEqual({ok, <<0:40, "ab", 0:64>>}, file:read_file(Path)),
    ok = emmap:close(File),
    Empty = emmap_test:file(Config, "empty", <<>>),
    {ok, Sized} = emmap:open(Empty, 0, 3, [write, shared]),
    ?assertEqual({ok, <<0:24>>}, file:read_file(Empty)),
    ok = emmap:close(Sized).

around(Numbers) -> lists:append([[N - 1, N, N + 1] || N <- Numbers]).

%%% Files that are not there, or are no files

what_is_not_there_is_enoent(Config) ->
    ?assertEqual({error, enoent}, emmap:open(emmap_test:path(Config, "none"), [])),
    ?assertEqual({error, enoent}, emmap:open(emmap_test:path(Config, "none/file"), [create, write, {size, 1}])),
    Plain = emmap_test:file(Config, "plain", <<"x">>),
    ?assertEqual({error, enotdir}, emmap:open(Plain ++ "/file", [])).

a_directory_is_eisdir(Config) ->
    [?assertEqual({error, eisdir}, emmap:open(emmap_test:path(Config, ""), Options))
     || Options <- [[], [shared], [shared, write], [write], [create, write, {size, 10}]]].

a_fifo_is_an_error_at_once(Config) ->
    Path = emmap_test:path(Config, "fifo"),
    "" = os:cmd("mkfifo '" ++ Path ++ "'"),
    [?assertMatch({error, Reason} when is_atom(Reason), emmap:open(Path, 0, 10, Options))
     || Options <- [[], [shared], [shared, write], [write]]].

%% A socket's path is short, by its address structure; so the VM that makes it goes where it is to be.
a_socket_is_an_error_at_once(Config) ->
    Path = emmap_test:path(Config, "socket"),
    Vm = emmap_test:start_vm(),
    emmap_test:in_vm(Vm, fun() ->
        ok = file:set_cwd(filename:dirname(Path)),
        {ok, Socket} = gen_tcp:listen(0, [{ifaddr, {local, "socket"}}]),
        {ok, #file_info{type = other}} = file:read_file_info(Path),
        ?assertEqual({error, enxio}, emmap:open(Path, 0, 10, [])),
        ok = gen_tcp:close(Socket)
    end),
    emmap_test:stop_vm(Vm).

a_device_can_be_mapped(_) ->
    {ok, #file_info{type = device}} = file:read_file_info("/dev/zero"),
    {ok, File} = emmap:open("/dev/zero", 0, 100, []),
    ?assertEqual({ok, <<0:800>>}, emmap:pread(File, 0, 200)),
    ok = emmap:close(File),
    ?assertMatch({error, _}, emmap:open("/dev/null", 0, 100, [])).

%% root may open whatever the mode says; what nobody may do shows the same path through open(2).
a_file_without_permission_is_an_error(Config) ->
    Path = emmap_test:file(Config, "file", <<"data">>),
    ok = file:change_mode(Path, 8#000),
    case file:read_file(Path) of
        {error, eacces} -> ?assertEqual({error, eacces}, emmap:open(Path, []));
        {ok, _} -> ?assertEqual({error, eacces}, emmap:open("/proc/sys/kernel/ostype", 0, 1, [shared, write]))
    end.

descriptors_are_close_on_exec(Config) ->
    Path = emmap_test:file(Config, "file", <<"data">>),
    New = emmap_test:path(Config, "new"),
    Handles = [emmap:open(Path, []), emmap:open(Path, [shared, write]), emmap:open(New, [create, write, {size, 1}])],
    Descriptors = [N || N <- filelib:wildcard("*", "/proc/self/fd"),
                        {ok, Target} <- [file:read_link("/proc/self/fd/" ++ N)], Target =:= Path orelse Target =:= New],
    ?assertEqual(3, length(Descriptors)),
    [begin
         {ok, Info} = file:read_file("/proc/self/fdinfo/" ++ N),
         {match, [Flags]} = re:run(Info, "flags:\\s+([0-7]+)", [{capture, all_but_first, list}]),
         ?assertEqual(8#2000000, list_to_integer(Flags, 8) band 8#2000000)
     end || N <- Descriptors],
    [ok = emmap:close(File) || {ok, File} <- Handles].

a_failed_open_leaves_no_new_file(Config) ->
    Path = emmap_test:path(Config, "file"),
    [begin
         ?assertMatch({error, _}, emmap:open(Path, Offset, Length, Options)),
         ?assertEqual({ok, []}, file:list_dir(emmap_test:path(Config, "")))
     end || {Offset, Length, Options} <- [{0, 10, [create, write, shared_validate, sync]},
                                          {0, 1 bsl 62, [create, write, shared]},
                                          {0, 10, [create]},
                                          {10, 0, [create, write, {size, 10}]},
                                          {0, 10, [create, write, {address, address_in_use()}]}]].

a_failed_open_leaves_the_file_as_it_was(Config) ->
    Path = emmap_test:file(Config, "file", <<"data">>),
    [begin
         ?assertMatch({error, _}, emmap:open(Path, Offset, Length, Options)),
         ?assertEqual({ok, <<"data">>}, file:read_file(Path))
     end || {Offset, Length, Options} <- [{0, 10, [fit, write, shared_validate, sync]},
                                          {0, 10, [truncate, write, shared_validate, sync]},
                                          {0, 10, [truncate, write, shared, {address, address_in_use()}]},
                                          {0, 10, [fit, write, shared, {address, address_in_use()}]},
                                          {0, 1 bsl 62, [fit, write, shared]},
                                          %% What would be wrong once the file is empty.
                                          {100, 0, [truncate, write, shared]},
                                          {10, 0, [truncate, write, shared, {size, 5}]},
                                          {1 bsl 62, 1 bsl 62, [truncate, write, shared]},
                                          {0, 0, [truncate, write, shared, {size, 1 bsl 60}]},
                                          {0, 0, [truncate]}]],
    [?assertMatch({badarg, _}, emmap_test:raised(fun() -> emmap:open(Path, Options) end))
     || Options <- [[truncate, write, shared, raed], [truncate, write, {size, 0}]]],
    ?assertEqual({ok, <<"data">>}, file:read_file(Path)).

address_in_use() ->
    [{From, _} | _] = emmap_test:mappings(),
    From.

%%% Handles

close_closes_once(Config) ->
    {ok, File} = emmap:open(emmap_test:file(Config, "file", <<"data">>), []),
    ?assertEqual(ok, emmap:close(File)),
    ?assertEqual({error, closed}, emmap:close(File)),
    ?assertEqual({error, closed}, file:close(File)).

close_refuses_what_is_no_handle(_) ->
    [?assertEqual({error, badarg}, emmap:close(Bad))
     || Bad <- [a, 1, self(), make_ref(), {}, #file_descriptor{module = emmap, data = make_ref()},
                #file_descriptor{module = emmap, data = undefined}, #file_descriptor{module = file, data = 1}]].

a_closed_handle_is_closed_for_every_call(Config) ->
    [begin
         {ok, File} = emmap:open(emmap_test:file(Config, "file", <<"data", 0:96>>), Options),
         ok = emmap:close(File),
         ?assertEqual([{error, closed}],
                      lists:usort(
                        [emmap:read(File, 1), emmap:read_line(File), emmap:pread(File, 0, 1),
                         emmap:pread(File, [{0, 1}]), emmap:write(File, "x"), emmap:pwrite(File, 0, "x"),
                         emmap:position(File, 0), emmap:position(File, {eof, 0}), emmap:truncate(File),
                         emmap:resize(File), emmap:resize(File, 9), emmap:remap(File), emmap:sync(File),
                         emmap:sync(File, 0, 1), emmap:datasync(File), emmap:flush(File),
                         emmap:advise(File, 0, 1, normal), emmap:allocate(File, 0, 1), emmap:copy(File, File, 1),
                         emmap:ipread_s32bu_p32bu(File, 0, 1), emmap:read_handle_info(File, []), emmap:close(File)])),
         ?assertEqual({error, {0, closed}}, emmap:pwrite(File, [{0, "x"}])),
         ?raises(1, "the file is closed", emmap:info(File))
     end || Options <- [[], [write], [shared, write], [shared, write, direct], [shared, write, nolock]]].

close_gives_the_descriptor_back(Config) ->
    Path = emmap_test:file(Config, "file", <<"data">>),
    {ok, File} = emmap:open(Path, []),
    ?assert(lists:member({ok, Path}, open_files())),
    ok = emmap:close(File),
    ?assertNot(lists:member({ok, Path}, open_files())).

open_files() -> [file:read_link("/proc/self/fd/" ++ N) || N <- filelib:wildcard("*", "/proc/self/fd")].

info_describes_the_handle(Config) ->
    Path = emmap_test:file(Config, "file", <<"0123456789">>),
    {ok, File} = emmap:open(Path, 2, 5, [shared, write, direct, nolock, fixed_size]),
    {ok, 3} = emmap:position(File, 3),
    #{address := Address} = Info = emmap:info(File),
    ?assertEqual(#{path => Path, offset => 2, size => 5, position => 3, mode => [read, write], sharing => shared,
                   direct => true, lock => false, fixed_size => true, faulted => false, address => Address}, Info),
    ?assertNotEqual(none, emmap_test:mapping_at(Address)),
    {ok, Plain} = emmap:open(Path, []),
    ?assertMatch(#{path := Path, offset := 0, size := 10, position := 0, mode := [read], sharing := private,
                   direct := false, lock := true, fixed_size := false, faulted := false}, emmap:info(Plain)),
    {ok, Anonymous} = emmap:open("none", 0, 8, [anon, shared]),
    ?assertMatch(#{path := "none", sharing := anon, size := 8}, emmap:info(Anonymous)),
    [ok = emmap:close(F) || F <- [File, Plain, Anonymous]].

info_of_an_empty_handle_has_size_0(Config) ->
    {ok, File} = emmap:open(emmap_test:file(Config, "file", <<>>), [shared, write]),
    ?assertMatch(#{size := 0, position := 0}, emmap:info(File)),
    ok = emmap:write(File, "1"),
    ?assertMatch(#{size := 1, position := 1}, emmap:info(File)),
    {ok, 100} = emmap:position(File, 100),
    ?assertMatch(#{size := 1, position := 100}, emmap:info(File)),
    ok = emmap:close(File).

info_refuses_what_is_no_handle(Config) ->
    [?raises(1, "not a memory-mapped file", emmap:info(Bad)) || Bad <- [a, {}, #file_descriptor{module = file}]],
    {ok, File} = emmap:open(emmap_test:file(Config, "file", <<"data">>), []),
    ok = emmap:close(File),
    ?raises(1, "the file is closed", emmap:info(File)).
