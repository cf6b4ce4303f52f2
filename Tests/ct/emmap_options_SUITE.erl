%% Copyright 2026 the emmap authors. Licensed under the Apache License, Version 2.0.

%% The effect of every option of emmap:open.
-module(emmap_options_SUITE).

-include_lib("stdlib/include/assert.hrl").
-include_lib("kernel/include/file.hrl").

-compile([export_all, nowarn_export_all]).

-define(raises(Argument, Text, Expression),
        ?assertEqual({badarg, #{Argument => Text}}, emmap_test:raised(fun() -> Expression end))).

all() ->
    [options_have_the_bits_of_the_library, traits_have_the_bits_of_the_library,
     unknown_options_are_refused, options_that_are_no_list_are_refused, contradicting_options_are_refused,
     option_values_have_limits, read_is_the_default, write_adds_writing, private_leaves_the_file_alone,
     private_is_the_default, private_needs_no_permission_to_write, shared_reaches_other_handles_and_the_file,
     shared_reaches_another_vm, shared_validate_shares, sync_needs_a_dax_file,
     sync_is_ignored_without_shared_validate, create_makes_a_file, create_keeps_a_file_that_is_there,
     size_is_given_to_an_empty_file, create_makes_the_file_that_a_link_names, without_create_no_file_is_made,
     truncate_empties_the_file, truncate_without_write_keeps_the_file,
     chmod_sets_the_exact_mode, chmod_is_exact_whatever_the_umask, chmod_defaults_to_0600,
     chmod_leaves_an_old_file_alone,
     size_is_the_size_of_a_new_file, size_is_the_size_of_the_mapping, fit_makes_a_short_file_longer, fit_needs_write,
     fixed_size_keeps_the_size, max_inc_size_bounds_a_step_of_growth,
     max_inc_size_bounds_the_room_for_growth, populate_makes_pages_resident,
     nonblock_leaves_pages_to_be_read_later, noreserve_reserves_no_swap_space, anon_is_zeroes_without_a_file,
     anon_touches_no_file, anon_needs_a_length_and_no_offset, uninitialized_reads_as_zeroes, address_lands_where_asked,
     address_stays_where_asked_when_the_file_grows,
     address_is_rounded_to_a_page, address_is_never_in_use_already, address_of_the_first_page_is_refused,
     fixed_needs_an_address, fixed_lands_where_asked, auto_unlink_deletes_at_close,
     auto_unlink_deletes_when_collected, auto_unlink_waits_for_direct_binaries,
     auto_unlink_spares_another_file_of_that_name, auto_unlink_deletes_what_a_relative_name_meant,
     auto_unlink_spares_a_link_and_its_file, direct_binaries_point_into_the_mapping,
     without_direct_binaries_are_copies, lock_is_the_default, nolock_reads_and_writes,
     huge_pages_are_used_or_refused, huge_pages_of_a_plain_file_are_refused, nocache_changes_nothing,
     debug_prints_to_stderr].

init_per_testcase(Case, Config) -> emmap_test:directory(Case, Config).

end_per_testcase(_, _) -> ok.

%% The bits stand in Erlang and in Swift; the same names, but for one, spelled as is usual in each.
options_have_the_bits_of_the_library(_) ->
    Flags = lists:sort([{spelled(Name), Bit} || {Name, Row} <- maps:to_list(emmap_options:table()),
                                                Bit <- case Row of
                                                           {flag, Bit} -> [Bit];
                                                           {choice, _, Bit} when Bit > 0 -> [Bit];
                                                           _ -> []
                                                       end]),
    ?assertEqual(Flags, [{case Name of "anonymous" -> "anon"; _ -> Name end, Bit}
                         || {Name, Bit} <- bits("OpenOptions.swift", "Flags")]).

%% Those that the library keeps for itself are not in Erlang.
traits_have_the_bits_of_the_library(_) ->
    Bits = bits("File.swift", "Traits"),
    [?assertEqual({Name, Bit}, {Name, proplists:get_value(spelled(Name), Bits)})
     || {Name, Bit} <- maps:to_list(emmap_options:traits())].

%% What an option set of the core says, sorted by name: `static let noLock = Flags(rawValue: 1 << 7)'.
bits(File, Type) ->
    {ok, Source} = file:read_file(filename:join([emmap_test:root(), "Sources", "MemoryMap", "File", File])),
    {match, Lines} = re:run(Source, "static let (\\w+) = " ++ Type ++ "\\(rawValue: ([0-9]+)(?: << ([0-9]+))?\\)",
                            [global, {capture, all_but_first, list}]),
    lists:sort([case Line of
                    [Name, Number, Shift] -> {spelled(Name), list_to_integer(Number) bsl list_to_integer(Shift)};
                    [Name, Number] -> {spelled(Name), list_to_integer(Number)}
                end || Line <- Lines]).

spelled(Name) when is_atom(Name) -> spelled(atom_to_list(Name));
spelled(Name) -> [Character || Character <- string:lowercase(Name), Character =/= $_].

unknown_options_are_refused(Config) ->
    Path = emmap_test:file(Config, "file", <<"data">>),
    ?raises(2, "unknown option raed", emmap:open(Path, [raed])),
    ?raises(2, "unknown option raed", emmap:open(Path, [shared, raed, write])),
    ?raises(4, "unknown option raed", emmap:open(Path, 0, 0, [raed])),
    ?raises(2, "unknown option {mode,7}", emmap:open(Path, [{mode, 7}])),
    ?raises(2, "unknown option 7", emmap:open(Path, [7])),
    ?raises(2, "unknown option {size,1,2}", emmap:open(Path, [{size, 1, 2}])),
    ?raises(2, "unknown option size", emmap:open(Path, [size])).

options_that_are_no_list_are_refused(Config) ->
    Path = emmap_test:file(Config, "file", <<"data">>),
    [begin
         ?raises(2, "not a list of options", emmap:open(Path, Bad)),
         ?raises(4, "not a list of options", emmap:open(Path, 0, 0, Bad))
     end || Bad <- [read, [read | write], <<>>, 7, #{}]].

contradicting_options_are_refused(Config) ->
    Path = emmap_test:file(Config, "file", <<"data">>),
    [?raises(2, lists:flatten(io_lib:format("options ~s and ~s exclude each other", [One, Other])),
             emmap:open(Path, [One, Other]))
     || {One, Other} <- [{private, shared}, {shared, private}, {shared, shared_validate}, {lock, nolock},
                         {nolock, lock}]],
    {ok, File} = emmap:open(Path, [shared, shared, lock, lock, read, read]),
    ok = emmap:close(File).

option_values_have_limits(Config) ->
    Path = emmap_test:file(Config, "file", <<"data">>),
    [?raises(2, "bad value in option " ++ lists:flatten(io_lib:format("~w", [Option])), emmap:open(Path, [Option]))
     || Option <- [{Name, Value} || Name <- [size, address, max_inc_size], Value <- [0, -1, 1 bsl 63, 1.0, a]]
            ++ [{chmod, Value} || Value <- [-1, 8#10000, a]]],
    [begin
         {ok, File} = emmap:open(Path, [Option]),
         ok = emmap:close(File)
     end || Option <- [{size, 1}, {size, 4}, {max_inc_size, 1}, {max_inc_size, 1 bsl 63 - 1}, {chmod, 0},
                       {chmod, 8#7777}]],
    ?assertEqual({error, too_short}, emmap:open(Path, [{size, 5}])),
    ?assertEqual({error, too_short}, emmap:open(Path, [{size, 1 bsl 63 - 1}])).

read_is_the_default(Config) ->
    Path = emmap_test:file(Config, "file", <<"data">>),
    [begin
         {ok, File} = emmap:open(Path, Options),
         ?assertMatch(#{mode := [read]}, emmap:info(File)),
         ?assertEqual({ok, <<"data">>}, emmap:read(File, 9)),
         ?assertEqual({error, ebadf}, emmap:pwrite(File, 0, <<"x">>)),
         ok = emmap:close(File)
     end || Options <- [[], [read], [shared], [read, shared]]],
    ?assertEqual({ok, <<"data">>}, file:read_file(Path)).

write_adds_writing(Config) ->
    Path = emmap_test:file(Config, "file", <<"data">>),
    {ok, File} = emmap:open(Path, [write, shared]),
    ?assertMatch(#{mode := [read, write]}, emmap:info(File)),
    ok = emmap:pwrite(File, 1, <<"o">>),
    ?assertEqual({ok, <<"dota">>}, emmap:pread(File, 0, 4)),
    ?assertEqual({ok, <<"dota">>}, file:read_file(Path)),
    ok = emmap:close(File).

private_leaves_the_file_alone(Config) ->
    Path = emmap_test:file(Config, "file", <<"data">>),
    {ok, File} = emmap:open(Path, [private, write]),
    {ok, Other} = emmap:open(Path, [shared]),
    ok = emmap:pwrite(File, 0, <<"DATA">>),
    ?assertEqual({ok, <<"DATA">>}, emmap:pread(File, 0, 4)),
    ?assertEqual({ok, <<"data">>}, emmap:pread(Other, 0, 4)),
    ok = emmap:sync(File),
    ok = emmap:close(File),
    ok = emmap:close(Other),
    ?assertEqual({ok, <<"data">>}, file:read_file(Path)).

private_is_the_default(Config) ->
    Path = emmap_test:file(Config, "file", <<"data">>),
    {ok, File} = emmap:open(Path, [write]),
    ?assertMatch(#{sharing := private}, emmap:info(File)),
    ok = emmap:pwrite(File, 0, <<"DATA">>),
    ok = emmap:close(File),
    ?assertEqual({ok, <<"data">>}, file:read_file(Path)).

%% An open for writing would fail here even for root. The program ends with the port that is its input.
private_needs_no_permission_to_write(Config) ->
    Program = emmap_test:path(Config, "cat"),
    {ok, _} = file:copy(os:find_executable("cat"), Program),
    ok = file:change_mode(Program, 8#500),
    Port = open_port({spawn_executable, Program}, []),
    {os_pid, Pid} = erlang:port_info(Port, os_pid),
    ok = emmap_test:wait_until(fun() -> file:read_link(io_lib:format("/proc/~b/exe", [Pid])) =:= {ok, Program} end),
    ?assertEqual({error, etxtbsy}, emmap:open(Program, [shared, write])),
    {ok, File} = emmap:open(Program, [private, write]),
    ok = emmap:pwrite(File, 1, <<"elf">>),
    ?assertEqual({ok, <<127, "elf">>}, emmap:pread(File, 0, 4)),
    ok = emmap:close(File),
    true = port_close(Port).

shared_reaches_other_handles_and_the_file(Config) ->
    Path = emmap_test:file(Config, "file", <<"data">>),
    {ok, One} = emmap:open(Path, [shared, write]),
    {ok, Other} = emmap:open(Path, [shared, write]),
    {ok, Reader} = emmap:open(Path, [shared]),
    ok = emmap:pwrite(One, 0, <<"D">>),
    ok = emmap:pwrite(Other, 3, <<"A">>),
    [?assertEqual({ok, <<"DatA">>}, emmap:pread(File, 0, 4)) || File <- [One, Other, Reader]],
    ?assertEqual({ok, <<"DatA">>}, file:read_file(Path)),
    ok = file:write_file(Path, <<"OTP">>, [read, write]),
    {ok, Raw} = file:open(Path, [read, write, raw]),
    ok = file:pwrite(Raw, 1, <<"tp">>),
    ?assertEqual({ok, <<"tp">>}, emmap:pread(One, 1, 2)),
    [ok = file:close(File) || File <- [One, Other, Reader, Raw]].

shared_reaches_another_vm(Config) ->
    Path = emmap_test:file(Config, "file", <<"data">>),
    {ok, File} = emmap:open(Path, [shared, write]),
    Vm = emmap_test:start_vm(),
    Owner = emmap_test:in_vm(Vm, fun() ->
        Parent = self(),
        spawn(fun() -> {ok, Theirs} = emmap:open(Path, [shared, write]), Parent ! {self(), Theirs}, owner(Theirs) end)
    end),
    ask(Vm, Owner, {pwrite, 0, <<"D">>}, ok),
    ?assertEqual({ok, <<"Data">>}, emmap:pread(File, 0, 4)),
    ok = emmap:pwrite(File, 3, <<"A">>),
    ask(Vm, Owner, {pread, 0, 4}, {ok, <<"DatA">>}),
    emmap_test:stop_vm(Vm),
    ok = emmap:close(File).

ask(Vm, Owner, Request, Answer) ->
    ?assertEqual(Answer, emmap_test:in_vm(Vm, fun() ->
        Owner ! {self(), Request},
        receive {Owner, answer, Result} -> Result end
    end)).

owner(File) ->
    receive
        {From, {pread, Offset, Count}} -> From ! {self(), answer, emmap:pread(File, Offset, Count)};
        {From, {pwrite, Offset, Bytes}} -> From ! {self(), answer, emmap:pwrite(File, Offset, Bytes)}
    end,
    owner(File).

shared_validate_shares(Config) ->
    Path = emmap_test:file(Config, "file", <<"data">>),
    {ok, File} = emmap:open(Path, [shared_validate, write]),
    ?assertMatch(#{sharing := shared}, emmap:info(File)),
    ok = emmap:pwrite(File, 0, <<"DATAs">>),
    ok = emmap:close(File),
    ?assertEqual({ok, <<"DATAs">>}, file:read_file(Path)).

%% The directory of the tests is on an ordinary disk.
sync_needs_a_dax_file(Config) ->
    Path = emmap_test:file(Config, "file", <<"data">>),
    ?assertEqual({error, eopnotsupp}, emmap:open(Path, [shared_validate, sync, write])),
    ?assertEqual({error, eopnotsupp}, emmap:open(Path, [sync, shared_validate])).

sync_is_ignored_without_shared_validate(Config) ->
    Path = emmap_test:file(Config, "file", <<"data">>),
    [begin
         {ok, File} = emmap:open(Path, [sync, write | Options]),
         ok = emmap:pwrite(File, 0, <<"data">>),
         ok = emmap:close(File)
     end || Options <- [[], [private], [shared]]].

create_makes_a_file(Config) ->
    [begin
         Path = emmap_test:path(Config, Name),
         {ok, File} = emmap:open(Path, [create, write, {size, 5} | Options]),
         ?assertEqual({ok, <<0:40>>}, emmap:pread(File, 0, 9)),
         ok = emmap:close(File),
         ?assertEqual({ok, <<0:40>>}, file:read_file(Path))
     end || {Name, Options} <- [{"private", []}, {"shared", [shared]}, {"validate", [shared_validate, read]}]],
    {ok, Empty} = emmap:open(emmap_test:path(Config, "empty"), [create, write, shared]),
    ?assertMatch(#{size := 0}, emmap:info(Empty)),
    ok = emmap:close(Empty).

size_is_given_to_an_empty_file(Config) ->
    [begin
         Path = emmap_test:file(Config, "file", <<>>),
         {ok, File} = emmap:open(Path, Offset, Length, [write | Options]),
         ?assertEqual({ok, binary:copy(<<0>>, Size - Offset)}, emmap:pread(File, 0, 100)),
         ?assertEqual({ok, binary:copy(<<0>>, Size)}, file:read_file(Path)),
         ok = emmap:close(File)
     end || {Offset, Length, Size, Options} <- [{0, 0, 10, [{size, 10}]}, {0, 10, 10, []}, {3, 7, 10, []},
                                                {0, 0, 10, [shared, {size, 10}]}, {0, 10, 10, [create]},
                                                {0, 10, 10, [fit]}]],
    Read = emmap_test:file(Config, "file", <<>>),
    ?assertEqual({error, einval}, emmap:open(Read, [{size, 10}])).

create_makes_the_file_that_a_link_names(Config) ->
    Path = emmap_test:path(Config, "file"),
    Link = emmap_test:path(Config, "link"),
    ok = file:make_symlink("file", Link),
    %% A failure takes back the file and leaves the link.
    ?assertMatch({error, _}, emmap:open(Link, [create, write, {size, 1 bsl 60}])),
    ?assertEqual({{error, enoent}, {ok, "file"}}, {file:read_file(Path), file:read_link(Link)}),
    {ok, File} = emmap:open(Link, [create, write, shared, {size, 4}]),
    ok = emmap:pwrite(File, 0, <<"data">>),
    ok = emmap:close(File),
    ?assertEqual({ok, <<"data">>}, file:read_file(Path)),
    ok = file:make_symlink(emmap_test:path(Config, "no/such/directory"), Link ++ "2"),
    ?assertEqual({error, enoent}, emmap:open(Link ++ "2", [create, write, {size, 4}])).

create_keeps_a_file_that_is_there(Config) ->
    Path = emmap_test:file(Config, "file", <<"data">>),
    {ok, File} = emmap:open(Path, [create, write, shared]),
    ?assertEqual({ok, <<"data">>}, emmap:pread(File, 0, 9)),
    ok = emmap:close(File).

without_create_no_file_is_made(Config) ->
    Path = emmap_test:path(Config, "file"),
    [?assertEqual({error, enoent}, emmap:open(Path, Options))
     || Options <- [[], [write, {size, 5}], [write, shared, truncate, fit, {size, 5}]]],
    %% Nor without write: it could get no size.
    ?assertMatch({error, _}, emmap:open(Path, [create, {size, 5}])),
    ?assertEqual({error, enoent}, file:read_file(Path)).

truncate_empties_the_file(Config) ->
    Path = emmap_test:file(Config, "file", <<"data">>),
    {ok, File} = emmap:open(Path, 0, 2, [truncate, write, shared]),
    ?assertEqual({ok, <<0, 0>>}, emmap:pread(File, 0, 9)),
    ?assertEqual({ok, <<0, 0>>}, file:read_file(Path)),
    {ok, Empty} = emmap:open(Path, [truncate, write, shared]),
    ?assertEqual({ok, <<>>}, file:read_file(Path)),
    {ok, Sized} = emmap:open(Path, [truncate, write, {size, 9}]),
    ?assertEqual({ok, <<0:72>>}, file:read_file(Path)),
    [ok = emmap:close(F) || F <- [File, Empty, Sized]].

truncate_without_write_keeps_the_file(Config) ->
    Path = emmap_test:file(Config, "file", <<"data">>),
    ?assertEqual({error, einval}, emmap:open(Path, [truncate])),
    ?assertEqual({error, einval}, emmap:open(Path, 0, 4, [truncate, shared])),
    ?assertEqual({ok, <<"data">>}, file:read_file(Path)).

chmod_sets_the_exact_mode(Config) ->
    [begin
         Path = emmap_test:path(Config, integer_to_list(Mode, 8)),
         {ok, File} = emmap:open(Path, [create, write, shared, {size, 1}, {chmod, Mode}]),
         ?assertEqual(Mode, mode(Path)),
         ok = emmap:pwrite(File, 0, <<"x">>),
         ok = emmap:close(File),
         ok = file:delete(Path)
     end || Mode <- [0, 8#400, 8#600, 8#640, 8#666, 8#777, 8#1777, 8#7777]].

%% In VMs of their own: the umask is the process's.
chmod_is_exact_whatever_the_umask(Config) ->
    [begin
         Directory = emmap_test:path(Config, Umask),
         ok = file:make_dir(Directory),
         ?assertEqual({0, <<>>},
                      emmap_test:run_erl(io_lib:format("~p:create_with_modes(~p), halt().", [?MODULE, Directory]),
                                         "umask " ++ Umask))
     end || Umask <- ["077", "0", "022"]].

create_with_modes(Directory) ->
    [begin
         Path = filename:join(Directory, integer_to_list(Mode, 8) ++ Name),
         {ok, File} = emmap:open(Path, [create, write, shared, {size, 1} | Options]),
         ?assertEqual(Mode, mode(Path)),
         ok = emmap:pwrite(File, 0, <<"x">>),
         ok = emmap:close(File)
     end || {Name, Mode, Options} <- [{"default", 8#600, []}
                                      | [{"", Mode, [{chmod, Mode}]}
                                         || Mode <- [0, 8#400, 8#600, 8#644, 8#666, 8#777, 8#7777]]]].

chmod_defaults_to_0600(Config) ->
    Path = emmap_test:path(Config, "file"),
    {ok, File} = emmap:open(Path, [create, write, {size, 1}]),
    ?assertEqual(8#600, mode(Path)),
    ok = emmap:close(File).

chmod_leaves_an_old_file_alone(Config) ->
    Path = emmap_test:file(Config, "file", <<"data">>),
    ok = file:change_mode(Path, 8#640),
    {ok, File} = emmap:open(Path, [create, write, {chmod, 8#777}]),
    ?assertEqual(8#640, mode(Path)),
    ok = emmap:close(File).

mode(Path) ->
    {ok, #file_info{mode = Mode}} = file:read_file_info(Path),
    Mode band 8#7777.

size_is_the_size_of_a_new_file(Config) ->
    [begin
         Path = emmap_test:path(Config, integer_to_list(Size)),
         {ok, File} = emmap:open(Path, [create, write, shared, {size, Size}]),
         ?assertMatch(#{size := Size}, emmap:info(File)),
         ?assertEqual(Size, filelib:file_size(Path)),
         ok = emmap:close(File)
     end || Size <- [1, 1000, emmap_test:page_size(), emmap_test:page_size() + 1, 1 bsl 20]].

size_is_the_size_of_the_mapping(Config) ->
    Path = emmap_test:file(Config, "file", <<"0123456789">>),
    [begin
         {ok, File} = emmap:open(Path, [{size, Size}]),
         ?assertEqual({ok, binary:part(<<"0123456789">>, 0, Size)}, emmap:pread(File, 0, 100)),
         ok = emmap:close(File)
     end || Size <- [1, 9, 10]],
    [?assertEqual({error, too_short}, emmap:open(Path, [{size, 11} | Options])) || Options <- [[], [shared, write]]],
    ?assertEqual(10, filelib:file_size(Path)).

fit_makes_a_short_file_longer(Config) ->
    [begin
         Path = emmap_test:file(Config, "file", <<"0123456789">>),
         {ok, File} = emmap:open(Path, Offset, Length, [fit, write | Options]),
         ?assertMatch(#{size := Length}, emmap:info(File)),
         ?assertEqual(max(10, Offset + Length), filelib:file_size(Path)),
         ?assertMatch({ok, <<"0123456789", _/binary>>}, file:read_file(Path)),
         ok = emmap:close(File)
     end || {Offset, Length} <- [{0, 9}, {0, 10}, {0, 11}, {4, 7}, {10, 1}, {20, 5}, {0, 100000}],
            Options <- [[], [shared]]].

fit_needs_write(Config) ->
    Path = emmap_test:file(Config, "file", <<"0123456789">>),
    ?assertEqual({error, too_short}, emmap:open(Path, 0, 11, [fit])),
    ?assertEqual({error, too_short}, emmap:open(Path, 0, 11, [fit, shared])),
    {ok, File} = emmap:open(Path, 0, 10, [fit]),
    ok = emmap:close(File),
    ?assertEqual(10, filelib:file_size(Path)).

fixed_size_keeps_the_size(Config) ->
    Path = emmap_test:file(Config, "file", <<"data">>),
    {ok, File} = emmap:open(Path, [shared, write, fixed_size]),
    ok = emmap:pwrite(File, 3, <<"A">>),
    ?assertEqual({error, enospc}, emmap:pwrite(File, 3, <<"Bc">>)),
    ?assertEqual({error, enospc}, emmap:pwrite(File, 4, <<"x">>)),
    ?assertEqual({error, fixed_size}, emmap:resize(File, 5)),
    ?assertEqual({error, fixed_size}, emmap:resize(File)),
    ?assertEqual({error, fixed_size}, emmap:truncate(File)),
    ok = emmap:close(File),
    ?assertEqual({ok, <<"datA">>}, file:read_file(Path)).

max_inc_size_bounds_a_step_of_growth(Config) ->
    [begin
         Path = emmap_test:file(Config, "file", <<0:(8 * Size)>>),
         {ok, File} = emmap:open(Path, [shared, write | Options]),
         ?assertEqual({ok, New}, emmap:resize(File)),
         ?assertEqual(New, filelib:file_size(Path)),
         ok = emmap:close(File)
     end || {Size, Options, New} <- [{4096, [], 8192},
                                     {3 bsl 20, [], 6 bsl 20},
                                     {4096, [{max_inc_size, 4095}], 8191},
                                     {4096, [{max_inc_size, 4096}], 8192},
                                     {4096, [{max_inc_size, 4097}], 8192},
                                     {3 bsl 20, [{max_inc_size, 1 bsl 20}], 4 bsl 20},
                                     {1 bsl 20, [{max_inc_size, 1}], 1 bsl 20 + 1}]].

%% Addresses past the end of the file that it can grow into without a new mapping: the step, but never less than a
%% sixteenth of what there is. The same of a mapping that has grown.
max_inc_size_bounds_the_room_for_growth(Config) ->
    Page = emmap_test:page_size(),
    [begin
         Path = emmap_test:file(Config, "file", <<>>),
         Options = case Step of default -> []; _ -> [{max_inc_size, Step}] end,
         {ok, File} = emmap:open(Path, [shared, write, {size, Size} | Options]),
         Room = room(File, Size),
         ?assertEqual({Size, Options, Expected}, {Size, Options, Room}),
         Grown = Size + Room + 1,
         ok = emmap:pwrite(File, Grown - 1, <<"x">>),
         AtMost = max(min(Grown, case Step of default -> 64 bsl 20; _ -> Step end), Grown div 16) + 2 * Page,
         ?assert(room(File, Grown) =< AtMost),
         ok = emmap:close(File)
     end || {Size, Step, Expected} <- [{Page, default, 1 bsl 20},
                                       {8 bsl 20, default, 8 bsl 20},
                                       {64 bsl 20, default, 64 bsl 20},
                                       {65 bsl 20, default, 64 bsl 20},
                                       {Page, 1, Page},
                                       {10 * Page, Page, Page},
                                       {10 * Page, Page + 1, 2 * Page},
                                       {8 bsl 20, 1 bsl 20, 1 bsl 20},
                                       {64 bsl 20, Page, 4 bsl 20}]].

%% Bytes from the page after the last one of the file to the end of the mapping.
room(File, Size) ->
    #{address := Address} = emmap:info(File),
    [End] = [To || {From, To} <- emmap_test:mappings(), From =< Address, Address < To],
    Page = emmap_test:page_size(),
    End - Address - (Size + Page - 1) div Page * Page.

populate_makes_pages_resident(Config) ->
    Size = 1 bsl 20,
    Path = emmap_test:file(Config, "file", emmap_test:bytes(Size)),
    [begin
         {ok, Cold} = emmap:open(Path, Options),
         ?assertEqual(0, resident_kb(Cold)),
         {ok, Warm} = emmap:open(Path, [populate | Options]),
         ?assertEqual(Size div 1024, resident_kb(Warm)),
         ok = emmap:close(Cold),
         ok = emmap:close(Warm)
     end || Options <- [[], [shared], [shared, write], [private, write]]],
    %% Away from other anonymous memory, which the system would count together with it.
    {ok, Anonymous} = emmap:open("", 0, Size, [anon, write, populate, {address, emmap_test:free_address(Size)}]),
    ?assertEqual(Size div 1024, resident_kb(Anonymous)),
    ok = emmap:close(Anonymous).

resident_kb(File) ->
    #{<<"Rss">> := Kilobytes} = smaps(File),
    Kilobytes.

smaps(File) ->
    #{address := Address} = emmap:info(File),
    emmap_test:mapping_at(Address).

%% MAP_POPULATE reads nothing in when MAP_NONBLOCK is there too: so says mmap(2).
nonblock_leaves_pages_to_be_read_later(Config) ->
    Path = emmap_test:file(Config, "file", emmap_test:bytes(1 bsl 20)),
    {ok, File} = emmap:open(Path, [populate, nonblock]),
    ?assertEqual(0, resident_kb(File)),
    ?assertEqual({ok, emmap_test:bytes(100)}, emmap:pread(File, 0, 100)),
    ok = emmap:close(File).

noreserve_reserves_no_swap_space(Config) ->
    Path = emmap_test:file(Config, "file", emmap_test:bytes(1 bsl 20)),
    [begin
         {ok, Plain} = Open([]),
         {ok, Unreserved} = Open([noreserve]),
         ?assertNot(lists:member(<<"nr">>, maps:get(flags, smaps(Plain)))),
         ?assert(lists:member(<<"nr">>, maps:get(flags, smaps(Unreserved)))),
         ok = emmap:pwrite(Unreserved, 0, <<"x">>),
         ok = emmap:close(Plain),
         ok = emmap:close(Unreserved)
     end || never =/= overcommit(),
            Open <- [fun(Options) -> emmap:open(Path, [write, private | Options]) end,
                     fun(Options) -> emmap:open("", 0, 1 bsl 20, [write, anon | Options]) end]].

%% Where memory is never overcommitted, the kernel takes no notice of MAP_NORESERVE.
overcommit() ->
    case file:read_file("/proc/sys/vm/overcommit_memory") of
        {ok, <<"2", _/binary>>} -> never;
        {ok, _} -> perhaps
    end.

anon_is_zeroes_without_a_file(Config) ->
    Descriptors = emmap_test:descriptors(),
    [begin
         {ok, File} = emmap:open(emmap_test:path(Config, "none"), 0, 10000, [anon, write | Options]),
         ?assertEqual({ok, <<0:80000>>}, emmap:pread(File, 0, 20000)),
         ok = emmap:pwrite(File, 9999, <<"x">>),
         ?assertEqual({error, enospc}, emmap:pwrite(File, 10000, <<"x">>)),
         ?assertEqual({ok, <<0, "x">>}, emmap:pread(File, 9998, 10)),
         ?assertEqual(Descriptors, emmap_test:descriptors()),
         ok = emmap:close(File)
     end || Options <- [[], [shared], [private], [direct], [nolock]]],
    {ok, Sized} = emmap:open("", [anon, {size, 5}]),
    ?assertEqual({ok, <<0:40>>}, emmap:pread(Sized, 0, 9)),
    ?assertEqual({error, ebadf}, emmap:pwrite(Sized, 0, <<"x">>)),
    ok = emmap:close(Sized).

anon_touches_no_file(Config) ->
    Path = emmap_test:file(Config, "file", <<"data">>),
    {ok, Before} = file:read_file_info(Path, [{time, posix}]),
    None = emmap_test:path(Config, "none"),
    [begin
         {ok, File} = emmap:open(Name, 0, 100,
                                 [anon, write, create, truncate, fit, auto_unlink, {chmod, 8#777} | More]),
         ok = emmap:pwrite(File, 0, <<"DATA">>),
         ok = emmap:sync(File),
         ok = emmap:close(File)
     end || Name <- [Path, None], More <- [[], [shared]]],
    emmap_test:in_process(fun() -> {ok, _} = emmap:open(Path, 0, 100, [anon, write, auto_unlink]), ok end),
    ?assertEqual({ok, <<"data">>}, file:read_file(Path)),
    {ok, After} = file:read_file_info(Path, [{time, posix}]),
    ?assertEqual(Before#file_info{atime = 0}, After#file_info{atime = 0}),
    ?assertEqual({error, enoent}, file:read_file_info(None)).

anon_needs_a_length_and_no_offset(_) ->
    ?assertEqual({error, einval}, emmap:open("", [anon])),
    ?assertEqual({error, einval}, emmap:open("", 0, 0, [anon, write])),
    ?assertEqual({error, einval}, emmap:open("", 1, 10, [anon])),
    ?assertEqual({error, einval}, emmap:open("", emmap_test:page_size(), 10, [anon])),
    {ok, File} = emmap:open("", 0, 1, [anon]),
    ok = emmap:close(File),
    ?assertMatch({error, _}, emmap:open("", 0, 1 bsl 63 - 1, [anon])),
    ?assertEqual({error, enomem}, emmap:open("", 0, 1 bsl 62, [anon, noreserve])).

%% Kernels for machines with an MMU, and so all that the library is built for, clear the pages all the same: what other
%% processes have left there is not to be had. emmap_durability_SUITE sees that the flag reaches the system.
uninitialized_reads_as_zeroes(_) ->
    {ok, File} = emmap:open("", 0, 8192, [anon, write, uninitialized]),
    ?assertEqual({ok, <<0:(8 * 8192)>>}, emmap:pread(File, 0, 9000)),
    ok = emmap:pwrite(File, 4090, <<"some bytes">>),
    ?assertEqual({ok, <<"some bytes">>}, emmap:pread(File, 4090, 10)),
    ok = emmap:close(File).

address_lands_where_asked(Config) ->
    Bytes = emmap_test:bytes(10000),
    Path = emmap_test:file(Config, "file", Bytes),
    [begin
         Address = emmap_test:free_address(10000),
         {ok, File} = emmap:open(Path, [{address, Address} | Options]),
         ?assertMatch(#{address := Address}, emmap:info(File)),
         ?assertEqual({ok, Bytes}, emmap:pread(File, 0, 10000)),
         ?assert(is_map(emmap_test:mapping_at(Address))),
         ok = emmap:close(File)
     end || Options <- [[], [shared], [shared, write], [private, write], [direct]]],
    %% An offset within a page shows in the address of position 0.
    Where = emmap_test:free_address(10000),
    {ok, Window} = emmap:open(Path, 5, 100, [{address, Where}]),
    ?assertEqual(Where + 5, maps:get(address, emmap:info(Window))),
    ?assertEqual({ok, binary:part(Bytes, 5, 100)}, emmap:pread(Window, 0, 200)),
    ok = emmap:close(Window).

address_stays_where_asked_when_the_file_grows(Config) ->
    Path = emmap_test:file(Config, "file", <<"0123456789">>),
    Address = emmap_test:free_address(1 bsl 20),
    {ok, File} = emmap:open(Path, [shared, write, direct, {address, Address}]),
    {ok, Held} = emmap:pread(File, 0, 10),
    ok = emmap:pwrite(File, 100000, <<"end">>),
    ok = emmap:pwrite(File, 0, <<"abc">>),
    ?assertEqual({ok, <<"end">>}, emmap:pread(File, 100000, 9)),
    %% The pages are the same ones.
    ?assertEqual(<<"abc3456789">>, Held),
    ?assert(is_map(emmap_test:mapping_at(Address))),
    ok = emmap:close(File).

address_is_rounded_to_a_page(Config) ->
    Path = emmap_test:file(Config, "file", <<"data">>),
    Page = emmap_test:page_size(),
    Address = emmap_test:free_address(10 * Page),
    %% The range of a closed handle stays taken until the handle is collected, so each has its own.
    [begin
         {ok, File} = emmap:open(Path, [{address, Address + N * Page + More}]),
         ?assertEqual(Address + N * Page, maps:get(address, emmap:info(File))),
         ok = emmap:close(File)
     end || {N, More} <- [{0, 0}, {1, 1}, {2, Page - 1}, {3, 0}]].

address_is_never_in_use_already(Config) ->
    Path = emmap_test:file(Config, "file", emmap_test:bytes(10000)),
    Page = emmap_test:page_size(),
    Address = emmap_test:free_address(10 * Page),
    {ok, File} = emmap:open(Path, 0, Page, [shared, write, fixed_size, {address, Address + Page}]),
    Open = fun(Where, Length) -> emmap:open("", 0, Length, [anon, write, {address, Where}]) end,
    ?assertEqual({error, eexist}, Open(Address + Page, Page)),
    ?assertEqual({error, eexist}, Open(Address, Page + 1)),
    ?assertEqual({error, eexist}, Open(Address, 3 * Page)),
    ?assertEqual({error, eexist}, emmap:open(Path, [fixed, {address, Address + Page}])),
    ?assertEqual({error, eexist}, emmap:open(Path, [fixed, shared, write, {address, Address + Page}])),
    {ok, Below} = Open(Address, Page),
    {ok, Above} = Open(Address + 2 * Page, Page),
    ok = emmap:pwrite(Below, Page - 1, <<"x">>),
    ok = emmap:pwrite(Above, 0, <<"x">>),
    ?assertEqual({ok, emmap_test:bytes(Page)}, emmap:pread(File, 0, Page)),
    %% The VM's own memory: its program, its heaps, its stacks.
    [?assertEqual({error, eexist}, Open(From, 1)) || {From, To} <- emmap_test:mappings(), To < 1 bsl 47],
    [ok = emmap:close(F) || F <- [File, Below, Above]].

%% In a VM of its own: with its first page mapped, a VM would no longer notice null pointers.
address_of_the_first_page_is_refused(_) ->
    Vm = emmap_test:start_vm(),
    [?assertMatch({error, Reason} when Reason =:= eperm; Reason =:= eacces; Reason =:= einval,
                  emmap_test:in_vm(Vm, fun() -> emmap:open("", 0, 1, [anon, {address, Address}]) end))
     || Address <- [1, emmap_test:page_size() - 1]],
    ?assertEqual(none, emmap_test:in_vm(Vm, fun() -> emmap_test:mapping_at(0) end)),
    emmap_test:stop_vm(Vm).

fixed_needs_an_address(Config) ->
    Path = emmap_test:file(Config, "file", <<"data">>),
    ?raises(2, "option fixed needs {address, Address}", emmap:open(Path, [fixed])),
    ?raises(4, "option fixed needs {address, Address}", emmap:open(Path, 0, 0, [fixed])).

fixed_lands_where_asked(Config) ->
    Path = emmap_test:file(Config, "file", <<"data">>),
    Address = emmap_test:free_address(4),
    {ok, File} = emmap:open(Path, [fixed, {address, Address}]),
    ?assertMatch(#{address := Address}, emmap:info(File)),
    ?assertEqual({ok, <<"data">>}, emmap:pread(File, 0, 9)),
    ok = emmap:close(File).

auto_unlink_deletes_at_close(Config) ->
    [begin
         Path = emmap_test:path(Config, "file"),
         {ok, File} = emmap:open(Path, [create, write, auto_unlink, {size, 10} | Options]),
         ?assert(filelib:is_file(Path)),
         ok = emmap:close(File),
         ?assertNot(filelib:is_file(Path))
     end || Options <- [[], [shared], [shared, direct]]],
    Old = emmap_test:file(Config, "old", <<"data">>),
    {ok, File} = emmap:open(Old, [auto_unlink]),
    ok = emmap:close(File),
    ?assertNot(filelib:is_file(Old)).

auto_unlink_deletes_when_collected(Config) ->
    Path = emmap_test:path(Config, "file"),
    emmap_test:in_process(fun() ->
        {ok, File} = emmap:open(Path, [create, write, shared, auto_unlink, {size, 10}]),
        true = filelib:is_file(Path),
        ok = emmap:pwrite(File, 0, <<"x">>)
    end),
    emmap_test:wait_until(fun() -> not filelib:is_file(Path) end).

%% The name goes with the handle, the memory with the last binary.
auto_unlink_waits_for_direct_binaries(Config) ->
    Path = emmap_test:path(Config, "file"),
    Bytes = emmap_test:in_process(fun() ->
        {ok, File} = emmap:open(Path, [create, write, shared, direct, auto_unlink, {size, 100}]),
        ok = emmap:pwrite(File, 0, emmap_test:bytes(100)),
        {ok, Bytes} = emmap:pread(File, 0, 100),
        Bytes
    end),
    emmap_test:wait_until(fun() -> not filelib:is_file(Path) end),
    ?assertEqual(emmap_test:bytes(100), Bytes).

auto_unlink_spares_another_file_of_that_name(Config) ->
    Path = emmap_test:path(Config, "file"),
    {ok, File} = emmap:open(Path, [create, write, auto_unlink, {size, 10}]),
    Other = emmap_test:file(Config, "other", <<"other">>),
    ok = file:rename(Other, Path),
    ok = emmap:close(File),
    ?assertEqual({ok, <<"other">>}, file:read_file(Path)),
    %% Nor is it deleted when the handle is collected; the descriptor of what was opened tells when that is.
    emmap_test:in_process(fun() ->
        {ok, Dropped} = emmap:open(Path, [auto_unlink]),
        ok = file:rename(emmap_test:file(Config, "other", <<"third">>), Path),
        [_] = flags(Path ++ " (deleted)"),
        #{} = emmap:info(Dropped),
        ok
    end),
    emmap_test:wait_until(fun() -> flags(Path ++ " (deleted)") =:= [] end),
    ?assertEqual({ok, <<"third">>}, file:read_file(Path)).

%% The flags of the descriptors that are open for a file.
flags(Path) ->
    [begin
         {ok, Info} = file:read_file("/proc/self/fdinfo/" ++ Number),
         {match, [Flags]} = re:run(Info, "flags:\\s+([0-7]+)", [{capture, all_but_first, binary}]),
         Flags
     end || Number <- filelib:wildcard("*", "/proc/self/fd"),
            file:read_link("/proc/self/fd/" ++ Number) =:= {ok, Path}].

%% Another file of that name where the working directory has gone, and in the place of the file, is not meant.
auto_unlink_deletes_what_a_relative_name_meant(Config) ->
    [One, Other] = Directories = [emmap_test:path(Config, Name) || Name <- ["one", "other"]],
    [ok = filelib:ensure_dir(filename:join(Directory, "deep/x")) || Directory <- Directories],
    Vm = emmap_test:start_vm(),
    emmap_test:in_vm(Vm, fun() ->
        [begin
             ok = file:write_file(filename:join(Other, Name), <<"other">>),
             emmap_test:in_process(fun() ->
                 ok = file:set_cwd(One),
                 {ok, File} = emmap:open(Name, [create, write, shared, auto_unlink, {size, 10}]),
                 true = filelib:is_file(filename:join(One, Name)),
                 ok = file:set_cwd(Other),
                 case How of
                     close -> ok = emmap:close(File);
                     drop -> ok
                 end
             end),
             emmap_test:wait_until(fun() -> not filelib:is_file(filename:join(One, Name)) end),
             ?assertEqual({ok, <<"other">>}, file:read_file(filename:join(Other, Name)))
         end || Name <- ["file", "./file", "deep/file", "deep/../file"], How <- [close, drop]]
    end),
    emmap_test:stop_vm(Vm).

%% The name is that of a link, not of what was opened.
auto_unlink_spares_a_link_and_its_file(Config) ->
    Path = emmap_test:file(Config, "file", <<"data">>),
    Link = emmap_test:path(Config, "link"),
    ok = file:make_symlink(Path, Link),
    {ok, File} = emmap:open(Link, [auto_unlink]),
    ok = emmap:close(File),
    ?assertEqual({{ok, <<"data">>}, {ok, Path}}, {file:read_file(Path), file:read_link(Link)}).

direct_binaries_point_into_the_mapping(Config) ->
    Path = emmap_test:file(Config, "file", <<"one\ntwo\nthree\n">>),
    {ok, File} = emmap:open(Path, [shared, write, direct]),
    {ok, Read} = emmap:read(File, 3),
    {ok, PRead} = emmap:pread(File, 4, 3),
    {ok, 8} = emmap:position(File, 8),
    {ok, Line} = emmap:read_line(File),
    ?assertEqual({<<"one">>, <<"two">>, <<"three\n">>}, {Read, PRead, Line}),
    ok = emmap:pwrite(File, 0, <<"ONE\nTWO\nTHREE">>),
    ?assertEqual({<<"ONE">>, <<"TWO">>, <<"THREE\n">>}, {Read, PRead, Line}),
    ok = emmap:close(File),
    ?assertEqual({<<"ONE">>, <<"TWO">>, <<"THREE\n">>}, {Read, PRead, Line}),
    ?assertEqual(<<"ONE-TWO">>, <<Read/binary, "-", PRead/binary>>).

without_direct_binaries_are_copies(Config) ->
    Path = emmap_test:file(Config, "file", emmap_test:bytes(100)),
    {ok, File} = emmap:open(Path, [shared, write]),
    {ok, Small} = emmap:pread(File, 0, 10),
    {ok, Large} = emmap:pread(File, 0, 100),
    ok = emmap:pwrite(File, 0, <<-1:800>>),
    ?assertEqual(emmap_test:bytes(10), Small),
    ?assertEqual(emmap_test:bytes(100), Large),
    ok = emmap:close(File).

lock_is_the_default(Config) ->
    Path = emmap_test:file(Config, "file", <<"data">>),
    [begin
         {ok, File} = emmap:open(Path, Options),
         ?assertMatch(#{lock := Lock}, emmap:info(File)),
         ok = emmap:close(File)
     end || {Options, Lock} <- [{[], true}, {[lock], true}, {[nolock], false}]].

nolock_reads_and_writes(Config) ->
    Path = emmap_test:file(Config, "file", <<"data">>),
    {ok, File} = emmap:open(Path, [nolock, shared, write]),
    ok = emmap:write(File, <<"D">>),
    ?assertEqual({ok, <<"ata">>}, emmap:read(File, 9)),
    ok = emmap:write(File, <<"base">>),
    ?assertEqual({ok, <<"Database">>}, emmap:pread(File, 0, 9)),
    ok = emmap:close(File),
    ?assertEqual({ok, <<"Database">>}, file:read_file(Path)).

%% A system need not have any of them set aside, nor know every size.
huge_pages_are_used_or_refused(_) ->
    [case emmap:open("", 0, 1000, [anon, write, Option]) of
         {ok, File} ->
             ok = emmap:pwrite(File, 0, <<"x">>),
             ?assertMatch(#{<<"KernelPageSize">> := Kilobytes}, smaps(File)),
             ok = emmap:close(File);
         {error, Reason} ->
             ?assert(lists:member(Reason, [enomem, einval])),
             ?assertEqual(0, free_huge_pages(Kilobytes))
     end || {Option, Kilobytes} <- [{hugetlb, 2048}, {huge_2mb, 2048}, {huge_1gb, 1 bsl 20}]].

free_huge_pages(Kilobytes) ->
    case file:read_file(io_lib:format("/sys/kernel/mm/hugepages/hugepages-~bkB/free_hugepages", [Kilobytes])) of
        {ok, Number} -> binary_to_integer(string:trim(Number));
        {error, enoent} -> 0
    end.

huge_pages_of_a_plain_file_are_refused(Config) ->
    Path = emmap_test:file(Config, "file", <<"data">>),
    [?assertEqual({error, einval}, emmap:open(Path, [Option])) || Option <- [hugetlb, huge_2mb, huge_1gb]].

nocache_changes_nothing(Config) ->
    Path = emmap_test:file(Config, "file", <<"data">>),
    {ok, Plain} = emmap:open(Path, [shared]),
    {ok, Uncached} = emmap:open(Path, [shared, nocache]),
    ?assertEqual(maps:remove(address, emmap:info(Plain)), maps:remove(address, emmap:info(Uncached))),
    ?assertEqual(maps:get(flags, smaps(Plain)), maps:get(flags, smaps(Uncached))),
    ?assertMatch([Flags, Flags], flags(Path)),
    ?assertEqual({ok, <<"data">>}, emmap:pread(Uncached, 0, 9)),
    ok = emmap:close(Plain),
    ok = emmap:close(Uncached).

debug_prints_to_stderr(Config) ->
    Path = emmap_test:file(Config, "file", <<"data">>),
    Run = fun(Options) ->
        {0, Output} = emmap_test:run_erl(io_lib:format(
            "{ok, F} = emmap:open(~p, ~p), {ok, _} = emmap:pread(F, 0, 4), ok = emmap:close(F), halt().",
            [Path, Options])),
        Output
    end,
    ?assertEqual(<<>>, Run([])),
    Output = Run([debug]),
    [?assertNotEqual(nomatch, string:find(Output, Text)) || Text <- [Path, "open", "close"]].
