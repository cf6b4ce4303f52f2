%% Copyright 2026 the emmap authors. Licensed under the Apache License, Version 2.0.

%% Persistent counters: the operations, and the file that they live in, byte for byte.
-module(emmap_counters_SUITE).

-include_lib("stdlib/include/assert.hrl").

-compile([export_all, nowarn_export_all]).

-define(MIN, -(1 bsl 63)).
-define(MAX, (1 bsl 63 - 1)).
%% The largest number of counters whose file has a length that fits in 63 bits.
-define(MOST, ((?MAX - 16) div 8)).
-define(raises(Argument, Text, Expression),
        ?assertEqual({badarg, #{Argument => Text}}, emmap_test:raised(fun() -> Expression end))).

all() ->
    [counters_return_the_old_value, counters_wrap_around, counters_are_numbered_from_0, values_have_64_bits,
     what_is_no_file_of_counters_is_refused, a_closed_file_is_refused, close_counters_closes_once,
     a_new_file_has_these_bytes, one_counter_is_the_default, a_file_of_one_is_neither_less_nor_more,
     what_is_no_name_is_refused, an_empty_file_becomes_one_of_counters,
     a_file_of_zeroes_becomes_one_of_counters, a_file_written_by_hand_opens, its_number_comes_from_the_file,
     a_file_that_is_not_there_has_no_number, a_number_must_be_right, a_number_must_be_possible,
     a_half_made_file_is_taken_for_a_new_one, a_half_made_file_of_something_else_is_refused,
     a_crash_while_it_is_made_leaves_a_new_file, counters_have_disk_space_set_aside,
     new_counters_are_not_read,
     a_wrong_magic_is_refused, a_wrong_length_is_refused, an_absurd_count_is_refused, another_file_is_refused,
     what_cannot_be_opened_names_file_and_reason, refusing_leaves_no_descriptor, two_open_a_new_file_at_once,
     processes_lose_nothing, vms_lose_nothing, counters_survive_a_killed_vm].

init_per_testcase(Case, Config) -> emmap_test:directory(Case, Config).

end_per_testcase(_, _) -> ok.

header(Count) -> <<"EMMAP01\n", Count:64/little>>.

contents(Config) ->
    {ok, Bytes} = file:read_file(emmap_test:path(Config, "counters")),
    Bytes.

new(Config, Count) -> emmap:open_counters(emmap_test:path(Config, "counters"), Count).

%%% Operations

counters_return_the_old_value(Config) ->
    Counters = new(Config, 3),
    ?assertEqual(0, emmap:inc_counter(Counters, 1)),
    ?assertEqual(1, emmap:inc_counter(Counters, 1)),
    ?assertEqual(2, emmap:inc_counter(Counters, 1, 10)),
    ?assertEqual(12, emmap:inc_counter(Counters, 1, -2)),
    ?assertEqual(10, emmap:dec_counter(Counters, 1)),
    ?assertEqual(9, emmap:dec_counter(Counters, 1, 5)),
    ?assertEqual(4, emmap:dec_counter(Counters, 1, -3)),
    ?assertEqual(7, emmap:set_counter(Counters, 1, -100)),
    ?assertEqual(-100, emmap:read_counter(Counters, 1)),
    ?assertEqual({0, 0}, {emmap:read_counter(Counters, 0), emmap:read_counter(Counters, 2)}),
    ?assertEqual(ok, emmap:close_counters(Counters)),
    ?assertEqual(<<(header(3))/binary, 0:64, -100:64/little, 0:64>>, contents(Config)).

counters_wrap_around(Config) ->
    Counters = new(Config, 1),
    0 = emmap:set_counter(Counters, 0, ?MAX),
    ?assertEqual(?MAX, emmap:inc_counter(Counters, 0)),
    ?assertEqual(?MIN, emmap:dec_counter(Counters, 0)),
    ?assertEqual(?MAX, emmap:inc_counter(Counters, 0, 2)),
    ?assertEqual(?MIN + 1, emmap:dec_counter(Counters, 0, 2)),
    ?assertEqual(?MAX, emmap:read_counter(Counters, 0)).

counters_are_numbered_from_0(Config) ->
    Counters = new(Config, 3),
    [begin
         0 = emmap:inc_counter(Counters, Number),
         1 = emmap:inc_counter(Counters, Number, 1),
         2 = emmap:dec_counter(Counters, Number),
         1 = emmap:dec_counter(Counters, Number, 1),
         0 = emmap:set_counter(Counters, Number, Number + 1),
         ?assertEqual(Number + 1, emmap:read_counter(Counters, Number))
     end || Number <- [0, 1, 2]],
    Before = contents(Config),
    [begin
         Text = lists:flatten(io_lib:format("no counter ~b: the file has 3, numbered from 0", [Number])),
         ?raises(2, Text, emmap:inc_counter(Counters, Number)),
         ?raises(2, Text, emmap:inc_counter(Counters, Number, 1)),
         ?raises(2, Text, emmap:dec_counter(Counters, Number)),
         ?raises(2, Text, emmap:dec_counter(Counters, Number, 1)),
         ?raises(2, Text, emmap:set_counter(Counters, Number, 1)),
         ?raises(2, Text, emmap:read_counter(Counters, Number))
     end || Number <- [3, 4, -1, -2, ?MAX, ?MIN, 1 bsl 64, 1 bsl 61 - 2, -(1 bsl 70)]],
    [begin
         ?raises(2, "not an integer", emmap:inc_counter(Counters, Bad)),
         ?raises(2, "not an integer", emmap:inc_counter(Counters, Bad, 1)),
         ?raises(2, "not an integer", emmap:dec_counter(Counters, Bad)),
         ?raises(2, "not an integer", emmap:dec_counter(Counters, Bad, 1)),
         ?raises(2, "not an integer", emmap:set_counter(Counters, Bad, 1)),
         ?raises(2, "not an integer", emmap:read_counter(Counters, Bad))
     end || Bad <- [a, 1.0, <<>>]],
    ?assertEqual(Before, contents(Config)).

values_have_64_bits(Config) ->
    Counters = new(Config, 1),
    [begin
         <<Signed:64/signed>> = <<Value:64>>,
         _ = emmap:set_counter(Counters, 0, Value),
         ?assertEqual(Signed, emmap:read_counter(Counters, 0)),
         Signed = emmap:dec_counter(Counters, 0, Value),
         0 = emmap:inc_counter(Counters, 0, Value),
         ?assertEqual(Signed, emmap:read_counter(Counters, 0))
     end || Value <- [0, 1, -1, ?MAX - 1, ?MAX, ?MAX + 1, 1 bsl 64 - 1, ?MIN + 1, ?MIN]],
    [begin
         ?raises(3, Text, emmap:inc_counter(Counters, 0, Bad)),
         ?raises(3, Text, emmap:dec_counter(Counters, 0, Bad)),
         ?raises(3, Text, emmap:set_counter(Counters, 0, Bad))
     end || {Bad, Text} <- [{1 bsl 64, "does not fit in 64 bits"}, {?MIN - 1, "does not fit in 64 bits"},
                            {1.0, "not an integer"}, {a, "not an integer"}]],
    ?assertEqual(?MIN, emmap:read_counter(Counters, 0)).

what_is_no_file_of_counters_is_refused(Config) ->
    {File, 2} = new(Config, 2),
    [begin
         Text = "not a file of counters",
         ?raises(1, Text, emmap:inc_counter(Bad, 0)),
         ?raises(1, Text, emmap:inc_counter(Bad, 0, 1)),
         ?raises(1, Text, emmap:dec_counter(Bad, 0)),
         ?raises(1, Text, emmap:dec_counter(Bad, 0, 1)),
         ?raises(1, Text, emmap:set_counter(Bad, 0, 1)),
         ?raises(1, Text, emmap:read_counter(Bad, 0))
     end || Bad <- [a, {}, File, {File, a}, {a, 2}, {File, 2, 2}]],
    [?raises(1, "not a file of counters", emmap:close_counters(Bad)) || Bad <- [a, {}, File, {File, 2, 2}]],
    %% Nor does a forged number reach past the end of the file.
    [?assertMatch({badarg, _}, emmap_test:raised(fun() -> emmap:read_counter({File, 1 bsl 70}, Number) end))
     || Number <- [2, 3, 1 bsl 60, 1 bsl 61, 1 bsl 64]].

a_closed_file_is_refused(Config) ->
    Counters = new(Config, 1),
    ok = emmap:close_counters(Counters),
    Text = "the file is closed",
    ?raises(1, Text, emmap:inc_counter(Counters, 0)),
    ?raises(1, Text, emmap:inc_counter(Counters, 0, 1)),
    ?raises(1, Text, emmap:dec_counter(Counters, 0)),
    ?raises(1, Text, emmap:dec_counter(Counters, 0, 1)),
    ?raises(1, Text, emmap:set_counter(Counters, 0, 1)),
    ?raises(1, Text, emmap:read_counter(Counters, 0)).

close_counters_closes_once(Config) ->
    Counters = new(Config, 1),
    ?assertEqual(ok, emmap:close_counters(Counters)),
    ?assertEqual({error, closed}, emmap:close_counters(Counters)).

%%% The file

a_new_file_has_these_bytes(Config) ->
    [begin
         {_, Count} = Counters = new(Config, Count),
         0 = emmap:set_counter(Counters, Count - 1, -2),
         ok = emmap:close_counters(Counters),
         ?assertEqual(<<"EMMAP01\n", Count:64/little, 0:(64 * (Count - 1)), -2:64/little>>, contents(Config)),
         ok = file:delete(emmap_test:path(Config, "counters"))
     end || Count <- [1, 2, 509, 510, 511, 100000]].

one_counter_is_the_default(Config) ->
    Path = emmap_test:path(Config, "counters"),
    {_, 1} = Counters = emmap:open_counters(Path),
    0 = emmap:inc_counter(Counters, 0),
    ok = emmap:close_counters(Counters),
    ?assertEqual(<<(header(1))/binary, 1:64/little>>, contents(Config)),
    Again = emmap:open_counters(Path),
    ?assertEqual(1, emmap:read_counter(Again, 0)),
    ok = emmap:close_counters(Again),
    Two = emmap_test:file(Config, "two", <<(header(2))/binary, 0:128>>),
    ?assertError({{wrong_count, 2}, Two}, emmap:open_counters(Two)),
    ?assertEqual({ok, <<(header(2))/binary, 0:128>>}, file:read_file(Two)).

%% Of no counter, of one, and of two.
a_file_of_one_is_neither_less_nor_more(Config) ->
    [begin
         Path = emmap_test:file(Config, "counters", <<(header(Count))/binary, 0:(64 * Count)>>),
         case Count of
             1 -> ok = emmap:close_counters(emmap:open_counters(Path));
             _ -> ?assertError({{wrong_count, Count}, Path}, emmap:open_counters(Path))
         end,
         ?assertEqual(<<(header(Count))/binary, 0:(64 * Count)>>, contents(Config))
     end || Count <- [0, 1, 2]].

what_is_no_name_is_refused(_) ->
    [begin
         ?raises(1, "not a file name", emmap:open_counters(Bad)),
         ?raises(1, "not a file name", emmap:open_counters(Bad, 1))
     end || Bad <- [{}, [0], 1, <<"a", 0>>]].

an_empty_file_becomes_one_of_counters(Config) ->
    _ = emmap_test:file(Config, "counters", <<>>),
    {_, 2} = new(Config, 2),
    ?assertEqual(<<(header(2))/binary, 0:128>>, contents(Config)).

a_file_of_zeroes_becomes_one_of_counters(Config) ->
    _ = emmap_test:file(Config, "counters", <<0:(8 * 32)>>),
    {_, 2} = new(Config, 2),
    ?assertEqual(<<(header(2))/binary, 0:128>>, contents(Config)).

a_file_written_by_hand_opens(Config) ->
    Path = emmap_test:file(Config, "counters", <<"EMMAP01\n", 3:64/little, 7:64/little, -1:64/little, ?MIN:64/little>>),
    {_, 3} = Counters = emmap:open_counters(Path, 3),
    ?assertEqual([7, -1, ?MIN], [emmap:read_counter(Counters, Number) || Number <- [0, 1, 2]]),
    7 = emmap:inc_counter(Counters, 0),
    ok = emmap:close_counters(Counters),
    ?assertEqual(<<69, 77, 77, 65, 80, 48, 49, 10, 3, 0, 0, 0, 0, 0, 0, 0, 8, 0, 0, 0, 0, 0, 0, 0,
                   255, 255, 255, 255, 255, 255, 255, 255, 0, 0, 0, 0, 0, 0, 0, 128>>, contents(Config)).

its_number_comes_from_the_file(Config) ->
    [begin
         Path = emmap_test:file(Config, "counters", <<(header(Count))/binary, 0:(64 * Count)>>),
         {_, Count} = Counters = emmap:open_counters(Path, 0),
         ok = emmap:close_counters(Counters)
     end || Count <- [1, 2, 5000]],
    %% A file that has none is one all the same.
    None = emmap_test:file(Config, "none", header(0)),
    {_, 0} = Counters = emmap:open_counters(None, 0),
    ?raises(2, "no counter 0: the file has 0, numbered from 0", emmap:read_counter(Counters, 0)),
    ?assertEqual({ok, header(0)}, file:read_file(None)).

a_file_that_is_not_there_has_no_number(Config) ->
    Path = emmap_test:path(Config, "counters"),
    ?assertError({enoent, Path}, emmap:open_counters(Path, 0)),
    ?assertNot(filelib:is_file(Path)),
    [begin
         _ = emmap_test:file(Config, "counters", Bytes),
         ?assertError({_, Path}, emmap:open_counters(Path, 0)),
         ?assertEqual(Bytes, contents(Config))
     end || Bytes <- [<<>>, <<0:64>>, <<0:128>>, <<0:256>>]].

a_number_must_be_right(Config) ->
    Bytes = <<(header(2))/binary, 1:64, 2:64>>,
    Path = emmap_test:file(Config, "counters", Bytes),
    [begin
         ?assertError({{wrong_count, 2}, Path}, emmap:open_counters(Path, Count)),
         ?assertEqual(Bytes, contents(Config))
     end || Count <- [1]],
    [begin
         ?assertError({_, Path}, emmap:open_counters(Path, Count)),
         ?assertEqual(Bytes, contents(Config))
     end || Count <- [3, 4, 1000000, ?MOST]],
    {_, 2} = emmap:open_counters(Path, 2).

a_number_must_be_possible(Config) ->
    Path = emmap_test:path(Config, "counters"),
    Text = lists:flatten(io_lib:format("not a number of counters: an integer from 0 to ~b", [?MOST])),
    [?raises(2, Text, emmap:open_counters(Path, Bad)) || Bad <- [-1, ?MOST + 1, 1 bsl 61, 1 bsl 64, a, 1.0]],
    %% These are, but not on any disk there is.
    [?assertError({Reason, Path} when is_atom(Reason), emmap:open_counters(Path, Count))
     || Count <- [?MOST, ?MOST - 1, 1 bsl 59]],
    ?assertNot(filelib:is_file(Path)).

%% The number is set and the magic is not: so a crash leaves it.
a_half_made_file_is_taken_for_a_new_one(Config) ->
    [begin
         _ = emmap_test:file(Config, "counters", <<0:64, Count:64/little, 0:(64 * Count)>>),
         {_, Count} = Counters = new(Config, Count),
         0 = emmap:inc_counter(Counters, Count - 1),
         ok = emmap:close_counters(Counters),
         ?assertEqual(<<(header(Count))/binary, 0:(64 * (Count - 1)), 1:64/little>>, contents(Config))
     end || Count <- [1, 2, 5, 1000]].

a_half_made_file_of_something_else_is_refused(Config) ->
    refused(Config, <<0:64, 2:64/little, 0:128>>, [0, 1, 3]),
    [refused(Config, <<0:64, N:64/little, 0:128>>) || N <- [1, 3, 2 bsl 56, 1 bsl 63 + 2]],
    [refused(Config, <<0:64, 2:64/little, Words:16/binary>>)
     || Words <- [<<1, 0:120>>, <<0:127, 1:1>>, <<0:64, 1:64/little>>]],
    %% More than is read at a time.
    refused(Config, <<0:64, 20000:64/little, 0:(64 * 20000 - 1), 1:1>>, [20000]).

%% Between the number and the magic the VM ends.
a_crash_while_it_is_made_leaves_a_new_file(Config) ->
    Path = emmap_test:path(Config, "counters"),
    ?assertEqual({9, <<>>}, emmap_test:run_erl(io_lib:format("~p:open_and_die(~p, 3).", [?MODULE, Path]))),
    ?assertEqual(<<0:64, 3:64/little, 0:192>>, contents(Config)),
    {_, 3} = Counters = new(Config, 3),
    ?assertEqual(0, emmap:inc_counter(Counters, 2)),
    ok = emmap:close_counters(Counters),
    ?assertEqual(<<(header(3))/binary, 0:128, 1:64/little>>, contents(Config)).

%% With an emmap_counters that ends the VM where it would write the magic.
open_and_die(Path, Count) ->
    {ok, {_, [{abstract_code, {_, Forms}}]}} = beam_lib:chunks(code:which(emmap_counters), [abstract_code]),
    {ok, Module, Binary} = compile:forms(die_at_the_magic(Forms), []),
    {module, Module} = code:load_binary(Module, "changed", Binary),
    emmap:open_counters(Path, Count).

die_at_the_magic({call, Line, {remote, _, {atom, _, emmap}, {atom, _, patomic_cas}}, [_, {integer, _, 0}, _, _]}) ->
    {call, Line, {remote, Line, {atom, Line, erlang}, {atom, Line, halt}},
     [{integer, Line, 9}, {cons, Line, {tuple, Line, [{atom, Line, flush}, {atom, Line, false}]}, {nil, Line}}]};
die_at_the_magic(Form) when is_tuple(Form) -> list_to_tuple(die_at_the_magic(tuple_to_list(Form)));
die_at_the_magic([Form | Forms]) -> [die_at_the_magic(Form) | die_at_the_magic(Forms)];
die_at_the_magic(Form) -> Form.

%% So that a disk that fills up later fails no counter.
counters_have_disk_space_set_aside(Config) ->
    Path = emmap_test:path(Config, "counters"),
    {ok, Raw} = file:open(emmap_test:path(Config, "raw"), [raw, write]),
    Allocates = file:allocate(Raw, 0, 100000) =:= ok,
    ok = file:close(Raw),
    case Allocates andalso not emmap_test:is_tmpfs(filename:dirname(Path)) of
        false -> {skip, "the file system sets no disk space aside"};
        true ->
            [begin
                 ok = emmap:close_counters(Open()),
                 ?assert(blocks(Path) * 512 >= 16 + 8 * 100000),
                 ok = file:delete(Path)
             end || Open <- [fun() -> emmap:open_counters(Path, 100000) end,
                             fun() ->
                                 {ok, Sparse} = file:open(Path, [raw, write]),
                                 {ok, Size} = file:position(Sparse, 16 + 8 * 100000),
                                 ok = file:truncate(Sparse),
                                 ok = file:close(Sparse),
                                 ?assertEqual({Size, 0}, {filelib:file_size(Path), blocks(Path)}),
                                 emmap:open_counters(Path, 100000)
                             end]]
    end.

blocks(Path) -> list_to_integer(string:trim(os:cmd("stat -c %b '" ++ Path ++ "'"))).

%%% Refused, and left as they were

refused(Config, Bytes) -> refused(Config, Bytes, [0, 1, 2, 3]).

refused(Config, Bytes, Counts) ->
    Path = emmap_test:file(Config, "counters", Bytes),
    [begin
         {Reason, Texts} = emmap_test:raised(fun() -> emmap:open_counters(Path, Count) end),
         ?assertMatch({_, Path}, Reason),
         %% The explanation names the file.
         ?assertMatch(#{general := _}, Texts),
         ?assertNotEqual(nomatch, string:find(maps:get(general, Texts), Path)),
         ?assertEqual(Bytes, contents(Config))
     end || Count <- Counts].

%% Nor what is known to be a hole of a file that is there: 128 MiB would come into memory.
new_counters_are_not_read(Config) ->
    Path = emmap_test:path(Config, "counters"),
    case os:find_executable("fincore") =/= false andalso not emmap_test:is_tmpfs(filename:dirname(Path)) of
        false -> {skip, "fincore is not installed, or files are memory here"};
        true ->
            [begin
                 Prepare(),
                 Counters = emmap:open_counters(Path, 1 bsl 24),
                 0 = emmap:inc_counter(Counters, (1 bsl 24) - 1),
                 Pages = list_to_integer(string:trim(os:cmd("fincore --noheadings --output PAGES '" ++ Path ++ "'"))),
                 ?assert(Pages < 1024, {Pages}),
                 ok = emmap:close_counters(Counters),
                 ok = file:delete(Path)
             end || Prepare <- [fun() -> ok end,
                                fun() ->
                                        ok = file:write_file(Path, <<>>),
                                        emmap_vm:cut(Path, 16 + (8 bsl 24))
                                end]]
    end.

a_wrong_magic_is_refused(Config) ->
    [refused(Config, <<Magic/binary, 2:64/little, 0:128>>)
     || Magic <- [<<"EMMAP02\n">>, <<"EMMAP01\r">>, <<"EMMAP01 ">>, <<"emmap01\n">>, <<"\n10PAMME">>, <<"EMMAP01", 0>>,
                  <<0, "MMAP01\n">>, <<0:63, 1:1>>]],
    refused(Config, <<2:64/little, "EMMAP01\n", 0:128>>),
    refused(Config, <<0:128, 1:64, 0:64>>),
    refused(Config, <<0:128, 0:64, 0:63, 1:1>>).

a_wrong_length_is_refused(Config) ->
    [refused(Config, binary:part(<<(header(2))/binary, 0:192>>, 0, Length))
     || Length <- [1, 7, 8, 9, 15, 16, 17, 24, 31, 33, 39, 40]],
    [refused(Config, <<0:(8 * Length)>>) || Length <- [1, 8, 15, 16, 17, 23, 25, 31, 33]],
    %% Too few words for one, the right number for another.
    refused(Config, <<0:(8 * 24)>>, [0, 2, 3]),
    refused(Config, <<0:(8 * 1000000)>>).

an_absurd_count_is_refused(Config) ->
    [refused(Config, <<(header(Count))/binary, 0:128>>)
     || Count <- [0, 1, 3, 1 bsl 32, 1 bsl 61, 1 bsl 61 + 2, 1 bsl 62 + 2, 1 bsl 63 + 2, 1 bsl 63 - 1, 1 bsl 64 - 1,
                  1 bsl 61 - 2]],
    refused(Config, <<(header(1 bsl 61))/binary>>),
    refused(Config, <<"EMMAP01\n", 2:64/big, 0:128>>).

another_file_is_refused(Config) ->
    refused(Config, <<"#!/bin/sh\necho hello, world\n">>),
    {ok, Beam} = file:read_file(code:which(?MODULE)),
    refused(Config, Beam).

what_cannot_be_opened_names_file_and_reason(Config) ->
    Directory = emmap_test:path(Config, "directory"),
    ok = file:make_dir(Directory),
    ?assertError({eisdir, Directory}, emmap:open_counters(Directory, 1)),
    ?assertError({eisdir, Directory}, emmap:open_counters(Directory)),
    None = emmap_test:path(Config, "no/such/file"),
    ?assertEqual({{enoent, None}, #{general => None ++ ": no such file or directory"}},
                 emmap_test:raised(fun() -> emmap:open_counters(None, 1) end)),
    ?raises(1, "not a file name", emmap:open_counters({}, 1)).

refusing_leaves_no_descriptor(Config) ->
    Path = emmap_test:file(Config, "counters", <<"EMMAP02\n", 1:64/little, 0:64>>),
    Before = emmap_test:descriptors(),
    [?assertError({bad_magic, Path}, emmap:open_counters(Path, Count)) || _ <- lists:seq(1, 100), Count <- [0, 1]],
    ?assertEqual(Before, emmap_test:descriptors()).

%%% At once

two_open_a_new_file_at_once(Config) ->
    Path = emmap_test:path(Config, "counters"),
    [begin
         Counting = [spawn_monitor(fun() -> exit({was, emmap:inc_counter(emmap:open_counters(Path, 4), 3)}) end)
                     || _ <- lists:seq(1, 4)],
         Old = [receive {'DOWN', Monitor, process, _, {was, Value}} -> Value end || {_, Monitor} <- Counting],
         ?assertEqual([0, 1, 2, 3], lists:sort(Old)),
         ?assertEqual(<<(header(4))/binary, 0:192, 4:64/little>>, contents(Config)),
         ok = file:delete(Path)
     end || _ <- lists:seq(1, 50)].

%% See emmap_test:overlap/5, which has the last two counters.
processes_lose_nothing(Config) ->
    Counters = new(Config, 10),
    Sum = lists:sum(emmap_test:together([fun() -> count(Counters, 4) end || _ <- lists:seq(1, 4)])),
    ?assertEqual({Sum, -Sum}, {emmap:read_counter(Counters, 0), emmap:read_counter(Counters, 1)}).

vms_lose_nothing(Config) ->
    Path = emmap_test:path(Config, "counters"),
    Sum = lists:sum(emmap_test:in_two_vms(fun() -> count(emmap:open_counters(Path, 10), 2) end)),
    ?assertMatch(<<"EMMAP01\n", 10:64/little, Sum:64/little, Difference:64/little-signed, _/binary>>
                     when Difference =:= -Sum, contents(Config)).

count({File, 10} = Counters, Counting) ->
    {Steps, _} = emmap_test:overlap(File, byte_size(header(10)) + 8 * 8, Counting, fun(Last) ->
        Old = emmap:inc_counter(Counters, 0),
        _ = emmap:dec_counter(Counters, 1),
        {Old =/= Last + 1, Old}
    end, -1),
    Steps.

%% A VM counts and tells each value that it has reached; the last one told is in the file when the VM is gone.
counters_survive_a_killed_vm(Config) ->
    Path = emmap_test:path(Config, "counters"),
    Vm = emmap_test:start_vm(),
    emmap_test:in_vm(Vm, fun() ->
        Counters = emmap:open_counters(Path, 1),
        99 = lists:last([emmap:inc_counter(Counters, 0) || _ <- lists:seq(1, 100)]),
        spawn(fun() -> count_for_ever(Counters) end)
    end),
    emmap_test:kill_vm(Vm),
    Counters = emmap:open_counters(Path, 1),
    Reached = emmap:read_counter(Counters, 0),
    ?assert(Reached >= 100),
    ?assertEqual(Reached, emmap:inc_counter(Counters, 0)),
    ok = emmap:close_counters(Counters),
    ?assertEqual(<<(header(1))/binary, (Reached + 1):64/little>>, contents(Config)).

count_for_ever(Counters) ->
    _ = emmap:inc_counter(Counters, 0),
    count_for_ever(Counters).
