%% Copyright 2026 the emmap authors. Licensed under the Apache License, Version 2.0.

%% Reading, writing, moving, sizes and durability: all that `file' does with a handle. A raw file, given the same calls,
%% says what is right.
-module(emmap_io_SUITE).

-include_lib("stdlib/include/assert.hrl").
-include_lib("kernel/include/file.hrl").

-compile([export_all, nowarn_export_all]).

-define(TEXT, <<"first line\nsecond\r\n\nlast without newline">>).

all() -> [{group, Group} || {Group, _, _} <- groups()].

groups() ->
    [{reading, [], [read_moves_the_position, read_stops_at_the_end, read_refuses_bad_counts, read_line_gives_lines,
                    read_line_of_any_length, read_line_refuses_what_is_no_handle, pread_past_the_end_is_eof,
                    pread_keeps_the_position, pread_refuses_bad_arguments, pread_list_gives_a_list,
                    pread_list_goes_to_the_end, pread_list_refuses_bad_arguments, large_reads_are_whole,
                    snapshot_is_a_copy_on_any_handle, snapshot_ends_as_pread,
                    snapshot_refuses_what_pread_refuses]},
     {writing, [], [write_moves_the_position, write_past_the_end_grows_the_file, write_past_a_fixed_end_writes_nothing,
                    write_refuses_bad_data, write_takes_iodata, pwrite_keeps_the_position,
                    pwrite_past_the_end_fills_with_zeroes, pwrite_of_nothing_changes_nothing,
                    pwrite_refuses_bad_arguments, pwrite_list_writes_in_order, pwrite_list_says_how_many_were_done,
                    pwrite_list_refuses_bad_lists, large_writes_are_whole, pieces_are_written_one_after_the_other,
                    pieces_past_a_fixed_end_are_not_written, so_many_pieces_are_written]},
     {moving, [], [position_moves_from_everywhere, position_before_the_start_is_einval,
                   position_refuses_bad_locations]},
     {copying, [], [copy_moves_both_positions, copy_stops_at_the_end, copy_refuses_bad_arguments,
                    ipread_follows_a_header, ipread_past_the_end_is_eof, ipread_refuses_bad_arguments]},
     {file_module, [], [file_functions_take_a_handle, read_handle_info_is_that_of_the_file,
                        read_handle_info_tells_owner_and_group,
                        read_handle_info_of_an_empty_file, read_handle_info_refuses_bad_arguments,
                        sendfile_falls_back_to_reading, sendfile_from_and_past_the_end,
                        sendfile_refuses_what_is_no_handle]},
     {sizes, [], [resize_sets_the_length_of_the_file, resize_doubles, resize_keeps_direct_binaries,
                  resize_refuses_bad_sizes, truncate_cuts_at_the_position, truncate_fills_up_to_the_position,
                  truncate_refuses_what_cannot_change, remap_follows_the_file,
                  remap_of_an_unchanged_file_changes_nothing, remap_refuses_what_is_no_handle,
                  allocate_takes_disk_space, allocate_grows_a_file_only_past_its_end, allocate_refuses_bad_ranges]},
     {durability, [], [sync_returns_when_it_is_done, sync_range_has_bounds, sync_refuses_bad_arguments,
                       sync_of_nothing_is_ok, advise_takes_every_advice, advise_never_drops_data,
                       advise_refuses_bad_arguments]},
     {locking, [], [lock_never_shows_half_a_write, lock_never_shows_half_an_append, lock_keeps_lines_whole,
                    nolock_takes_the_same_calls, shrinking_never_shows_what_was_not_there,
                    lock_gives_every_write_its_place, every_byte_is_read_once, every_line_is_read_once,
                    every_line_is_read_once_while_others_write]}].

init_per_testcase(Case, Config) -> emmap_test:directory(Case, Config).

end_per_testcase(_, _) -> ok.

%%% Comparing

%% Opens two files of the same bytes: one mapped, one raw.
both(Config, Bytes) -> both(Config, Bytes, []).

both(Config, Bytes, Options) ->
    {ok, File} = emmap:open(emmap_test:file(Config, "mapped", Bytes), [shared, write | Options]),
    {ok, Raw} = file:open(emmap_test:file(Config, "raw", Bytes), [raw, binary, read, write]),
    {File, Raw}.

%% Does something to both, and looks whether answer, position and file are the same.
same({File, Raw}, Config, Fun) ->
    Answer = Fun(Raw),
    ?assertEqual(Answer, Fun(File)),
    ?assertEqual(file:position(Raw, cur), emmap:position(File, cur)),
    ?assertEqual(file:read_file(emmap_test:path(Config, "raw")), file:read_file(emmap_test:path(Config, "mapped"))),
    Answer.

open(Config, Bytes, Options) ->
    {ok, File} = emmap:open(emmap_test:file(Config, "file", Bytes), Options),
    File.

contents(Config) ->
    {ok, Bytes} = file:read_file(emmap_test:path(Config, "file")),
    Bytes.

%% What no function takes for a handle.
no_handles() -> [a, {}, make_ref(), #file_descriptor{module = emmap, data = make_ref()}].

%%% Reading

read_moves_the_position(Config) ->
    Both = both(Config, <<"0123456789">>),
    [?assertEqual({ok, Bytes}, same(Both, Config, fun(F) -> file:read(F, Count) end))
     || {Count, Bytes} <- [{1, <<"0">>}, {0, <<>>}, {3, <<"123">>}]],
    {File, _} = Both,
    ?assertEqual({ok, <<"45">>}, emmap:read(File, 2)),
    ?assertEqual({ok, 6}, emmap:position(File, cur)).

read_stops_at_the_end(Config) ->
    [begin
         Both = both(Config, <<"0123456789">>, Options),
         {ok, 4} = same(Both, Config, fun(F) -> file:position(F, 4) end),
         Answer = same(Both, Config, fun(F) -> file:read(F, Count) end),
         ?assertEqual({ok, binary:part(<<"456789">>, 0, min(Count, 6))}, Answer),
         same(Both, Config, fun(F) -> file:read(F, Count) end),
         [same(Both, Config, fun(F) -> {file:position(F, Position), file:read(F, N)} end)
          || Position <- [9, 10, 11, 1000], N <- [0, 1, 2]],
         {File, _} = Both,
         {ok, 10} = emmap:position(File, 10),
         ?assertEqual(eof, emmap:read(File, 1))
     end || Count <- [5, 6, 7, 1000], Options <- [[], [direct], [nolock]]].

read_refuses_bad_counts(Config) ->
    {File, _} = Both = both(Config, <<"0123456789">>),
    [?assertMatch({error, _}, same(Both, Config, fun(F) -> file:read(F, Bad) end)) || Bad <- [-1, -(1 bsl 70)]],
    [?assertEqual({error, badarg}, emmap:read(File, Bad)) || Bad <- [a, 1.0, <<>>]],
    [?assertEqual({error, badarg}, emmap:read(Bad, 1)) || Bad <- no_handles()].

read_line_gives_lines(Config) ->
    [begin
         {File, _} = Both = both(Config, Text, Options),
         Lines = lines(Both, Config),
         ?assertEqual(binary:replace(Text, <<"\r\n">>, <<"\n">>, [global]), iolist_to_binary(Lines)),
         ?assertEqual(eof, emmap:read_line(File)),
         {ok, 0} = emmap:position(File, 0),
         ?assertEqual({ok, hd(Lines ++ [eof])}, case emmap:read_line(File) of eof -> {ok, eof}; Line -> Line end)
     end || Text <- [?TEXT, <<>>, <<"\n">>, <<"\r\n">>, <<"\r">>, <<"a">>, <<"a\n">>, <<"\n\n">>, <<"a\rb\r\r\nc\r">>],
            Options <- [[], [direct]]].

lines(Both, Config) ->
    case same(Both, Config, fun file:read_line/1) of
        {ok, Line} -> [Line | lines(Both, Config)];
        eof -> []
    end.

%% Around the length at which a call looks for the end of the line on another scheduler.
read_line_of_any_length(Config) ->
    [begin
         Line = <<(binary:copy(<<"x">>, Length - 1))/binary, "\n">>,
         File = open(Config, [Line, Line, "end"], Options),
         ?assertEqual({ok, Line}, emmap:read_line(File)),
         ?assertEqual({ok, Line}, emmap:read_line(File)),
         ?assertEqual({ok, <<"end">>}, emmap:read_line(File)),
         ok = emmap:close(File)
     end || Length <- [1, 63, 64, 65, 65535, 65536, 65537, 3 bsl 20], Options <- [[], [direct]]].

read_line_refuses_what_is_no_handle(_) ->
    [?assertEqual({error, badarg}, emmap:read_line(Bad)) || Bad <- no_handles()].

pread_past_the_end_is_eof(Config) ->
    [begin
         {File, _} = Both = both(Config, <<"0123456789">>, Options),
         [same(Both, Config, fun(F) -> file:pread(F, Offset, Count) end)
          || Offset <- [0, 1, 8, 9, 10, 11, 1 bsl 32], Count <- [0, 1, 2, 9, 10, 11, 100]],
         ?assertEqual({ok, <<"9">>}, emmap:pread(File, 9, 2)),
         ?assertEqual(eof, emmap:pread(File, 10, 1)),
         same(Both, Config, fun(F) -> file:pread(F, 1 bsl 63 - 1, 1) end)
     end || Options <- [[], [direct], [fixed_size]]].

pread_keeps_the_position(Config) ->
    {File, _} = Both = both(Config, <<"0123456789">>),
    same(Both, Config, fun(F) -> file:position(F, 3) end),
    same(Both, Config, fun(F) -> file:pread(F, 5, 2) end),
    ?assertEqual({ok, <<"34">>}, emmap:read(File, 2)).

pread_refuses_bad_arguments(Config) ->
    {File, _} = Both = both(Config, <<"0123456789">>),
    [same(Both, Config, fun(F) -> file:pread(F, Offset, Count) end)
     || {Offset, Count} <- [{-1, 1}, {0, -1}, {a, 1}, {0, a}, {1.0, 1}]],
    ?assertEqual({error, einval}, emmap:pread(File, -1, 1)),
    ?assertEqual({error, badarg}, emmap:pread(File, a, 1)),
    [?assertMatch({error, _}, emmap:pread(File, Offset, Count))
     || {Offset, Count} <- [{1 bsl 63, 1}, {1 bsl 70, 1}, {-(1 bsl 70), 1}, {0, 1.0}, {<<>>, 1}]],
    [?assertEqual({error, badarg}, emmap:pread(Bad, 0, 1)) || Bad <- no_handles()].

pread_list_gives_a_list(Config) ->
    {File, _} = Both = both(Config, <<"0123456789">>),
    [same(Both, Config, fun(F) -> file:pread(F, List) end)
     || List <- [[], [{0, 1}], [{0, 1}, {9, 1}, {10, 1}, {8, 5}], [{11, 1}, {0, 10}]]],
    ?assertEqual({ok, [<<"9">>, <<"0">>]}, emmap:pread(File, [{9, 1}, {0, 1}])).

pread_list_goes_to_the_end(Config) ->
    {File, _} = Both = both(Config, <<"0123456789">>),
    [same(Both, Config, fun(F) -> file:pread(F, [{Offset, Count}, {0, 1}]) end)
     || Offset <- [8, 9, 10, 11, 1 bsl 32], Count <- [0, 1, 2, 3, 100]],
    ?assertEqual({ok, [<<"89">>, <<"9">>, eof, eof]}, emmap:pread(File, [{8, 3}, {9, 2}, {10, 1}, {11, 1}])).

pread_list_refuses_bad_arguments(Config) ->
    {File, _} = Both = both(Config, <<"0123456789">>),
    [?assertMatch({error, _}, same(Both, Config, fun(F) -> file:pread(F, List) end))
     || List <- [[{-1, 1}], [{0, 1}, {-1, 1}], [{a, 1}]]],
    [?assertEqual({error, badarg}, emmap:pread(File, Bad)) || Bad <- [a, [a], [{0, 1} | a], [{0, 1, 2}]]],
    [?assertEqual({error, badarg}, emmap:pread(Bad, [{0, 1}])) || Bad <- no_handles()].

%% Around the lengths at which a read allocates, asks and runs in other ways.
snapshot_is_a_copy_on_any_handle(Config) ->
    Bytes = emmap_test:bytes(200000),
    [begin
         File = open(Config, Bytes, [write, shared | Options]),
         [begin
              {ok, Copy} = emmap:snapshot(File, 10, Count),
              ?assertEqual(binary:part(Bytes, 10, Count), Copy),
              ok = emmap:pwrite(File, 10, binary:copy(<<"x">>, Count)),
              ?assertEqual(binary:part(Bytes, 10, Count), Copy),
              ok = emmap:pwrite(File, 0, Bytes)
          end || Count <- [1, 64, 65, 5000, 100000]],
         ok = emmap:close(File),
         ?assertEqual({error, closed}, emmap:snapshot(File, 10, 1))
     end || Options <- [[], [direct], [nolock], [direct, nolock]]].

snapshot_ends_as_pread(Config) ->
    snapshot_is_pread(open(Config, <<"0123456789">>, []), [0, 1, 9, 10, 11, 1 bsl 63 - 1]).

snapshot_is_pread(File, Numbers) ->
    [?assertEqual({Offset, Count, emmap:pread(File, Offset, Count)},
                  {Offset, Count, emmap:snapshot(File, Offset, Count)}) || Offset <- Numbers, Count <- Numbers].

snapshot_refuses_what_pread_refuses(Config) ->
    snapshot_is_pread(open(Config, <<"0123456789">>, []), [-(1 bsl 70), -1, 1, 1 bsl 63, 1 bsl 70, 1.0, a, <<>>]),
    [?assertEqual({error, badarg}, emmap:snapshot(Bad, 0, 1)) || Bad <- no_handles()].

large_reads_are_whole(Config) ->
    Bytes = emmap_test:bytes(3 bsl 20),
    [begin
         File = open(Config, Bytes, Options),
         [begin
              ?assertEqual({ok, binary:part(Bytes, 3, Count)}, emmap:pread(File, 3, Count)),
              {ok, 5} = emmap:position(File, 5),
              ?assertEqual({ok, binary:part(Bytes, 5, Count)}, emmap:read(File, Count))
          end || Middle <- [64, 64 bsl 10, 1 bsl 20, 2 bsl 20], Count <- [Middle - 1, Middle, Middle + 1]],
         ok = emmap:close(File)
     end || Options <- [[], [direct], [nolock]]].

%%% Writing

write_moves_the_position(Config) ->
    {File, _} = Both = both(Config, <<"0123456789">>),
    [same(Both, Config, fun(F) -> file:write(F, Data) end) || Data <- ["ab", <<>>, <<"c">>]],
    ok = emmap:write(File, "d"),
    ?assertEqual({ok, <<"abcd456789">>}, emmap:pread(File, 0, 100)),
    ?assertEqual({ok, 4}, emmap:position(File, cur)).

write_past_the_end_grows_the_file(Config) ->
    [begin
         {File, _} = Both = both(Config, <<"0123456789">>),
         same(Both, Config, fun(F) -> file:position(F, Position) end),
         ok = same(Both, Config, fun(F) -> file:write(F, Data) end),
         {ok, 0} = emmap:position(File, 0),
         ?assertEqual(file:read_file(emmap_test:path(Config, "raw")), emmap:read(File, 1 bsl 22)),
         ok = emmap:write(File, <<"more">>)
     end || Position <- [8, 9, 10, 11, 5000, 1 bsl 21], Data <- [<<"a">>, <<"ab">>, <<"abc">>]].

write_past_a_fixed_end_writes_nothing(Config) ->
    [begin
         File = open(Config, <<"0123456789">>, Options),
         {ok, 8} = emmap:position(File, 8),
         ?assertEqual({error, enospc}, emmap:write(File, <<"abc">>)),
         ?assertEqual({ok, 8}, emmap:position(File, cur)),
         ?assertEqual({ok, <<"89">>}, emmap:pread(File, 8, 9)),
         ok = emmap:write(File, <<"ab">>),
         ?assertEqual({error, enospc}, emmap:write(File, <<"c">>)),
         ?assertEqual({error, enospc}, emmap:pwrite(File, 9, <<"cd">>)),
         ?assertEqual({ok, <<"01234567ab">>}, emmap:pread(File, 0, 100)),
         ok = emmap:close(File),
         ?assertEqual(10, byte_size(contents(Config)))
     end || Options <- [[write], [shared, write, fixed_size], [private, write, nolock]]].

write_refuses_bad_data(Config) ->
    {File, _} = Both = both(Config, <<"0123456789">>),
    [?assertEqual({error, badarg}, same(Both, Config, fun(F) -> file:write(F, Bad) end))
     || Bad <- [a, 1, [256], [-1], [a], {}, ["x" | 1], <<1:1>>]],
    [?assertEqual({error, badarg}, emmap:write(File, Bad)) || Bad <- [a, [256]]],
    [?assertEqual({error, badarg}, emmap:write(Bad, <<>>)) || Bad <- no_handles()],
    ReadOnly = open(Config, <<"0123456789">>, [shared]),
    ?assertEqual({error, ebadf}, emmap:write(ReadOnly, <<"x">>)),
    ?assertEqual({ok, 0}, emmap:position(ReadOnly, cur)).

write_takes_iodata(Config) ->
    Both = both(Config, <<"0123456789">>),
    [ok = same(Both, Config, fun(F) -> file:write(F, Data) end)
     || Data <- ["a", [<<"b">>, $c, ["d", [<<>>] | <<"e">>]], [], [[]], binary:part(<<"xyz">>, 1, 1),
                 [binary:copy(<<"y">>, 1000), lists:duplicate(1000, $z)]]].

pwrite_keeps_the_position(Config) ->
    {File, _} = Both = both(Config, <<"0123456789">>),
    same(Both, Config, fun(F) -> file:position(F, 3) end),
    ok = same(Both, Config, fun(F) -> file:pwrite(F, 5, "ab") end),
    ok = emmap:pwrite(File, 0, "x"),
    ?assertEqual({ok, <<"x1234ab789">>}, emmap:pread(File, 0, 10)),
    ?assertEqual({ok, 3}, emmap:position(File, cur)).

pwrite_past_the_end_fills_with_zeroes(Config) ->
    [begin
         {File, _} = Both = both(Config, <<"0123456789">>, Options),
         [ok = same(Both, Config, fun(F) -> file:pwrite(F, Offset, <<"ab">>) end)
          || Offset <- [8, 9, 10, 12, 15, 5000, 100000]],
         ?assertEqual(file:read_file(emmap_test:path(Config, "raw")), emmap:pread(File, 0, 200000)),
         ?assertMatch(#{size := 100002}, emmap:info(File))
     end || Options <- [[], [direct], [nolock]]].

pwrite_of_nothing_changes_nothing(Config) ->
    {File, _} = Both = both(Config, <<"0123456789">>),
    [ok = same(Both, Config, fun(F) -> file:pwrite(F, Offset, <<>>) end) || Offset <- [0, 9, 10, 11, 5000]],
    ?assertMatch(#{size := 10}, emmap:info(File)).

pwrite_refuses_bad_arguments(Config) ->
    {File, _} = Both = both(Config, <<"0123456789">>),
    [?assertMatch({error, _}, same(Both, Config, fun(F) -> file:pwrite(F, Offset, Data) end))
     || {Offset, Data} <- [{-1, "x"}, {a, "x"}, {1.0, "x"}, {0, a}, {0, [256]}, {0, <<1:7>>}]],
    ?assertEqual({error, einval}, emmap:pwrite(File, -1, <<"x">>)),
    ?assertEqual({error, badarg}, emmap:pwrite(File, a, <<"x">>)),
    [?assertMatch({error, _}, emmap:pwrite(File, Offset, <<"x">>))
     || Offset <- [1 bsl 63 - 1, 1 bsl 63, 1 bsl 70, 1 bsl 62]],
    [?assertEqual({error, badarg}, emmap:pwrite(Bad, 0, <<>>)) || Bad <- no_handles()],
    ?assertEqual({ok, <<"0123456789">>}, emmap:pread(File, 0, 100)).

pwrite_list_writes_in_order(Config) ->
    {File, _} = Both = both(Config, <<"0123456789">>),
    ok = same(Both, Config, fun(F) -> file:pwrite(F, [{5, "abc"}, {6, <<"de">>}, {0, ["f", <<"g">>]}]) end),
    ok = emmap:pwrite(File, [{9, "h"}, {9, "i"}]),
    ?assertEqual({ok, <<"fg234ade8i">>}, emmap:pread(File, 0, 100)).

pwrite_list_says_how_many_were_done(Config) ->
    {File, _} = Both = both(Config, <<"0123456789">>),
    [same(Both, Config, fun(F) -> file:pwrite(F, List) end)
     || List <- [[], [{0, "a"}], [{1, "b"}, {9, <<"cd">>}, {12, ["e"]}], [{0, "f"}, {-1, "x"}, {1, "y"}]]],
    ?assertEqual({error, {0, einval}}, emmap:pwrite(File, [{-1, "x"}])),
    ok = emmap:close(File),
    Fixed = open(Config, <<"0123456789">>, [shared, write, fixed_size]),
    ?assertEqual({error, {2, enospc}}, emmap:pwrite(Fixed, [{0, "a"}, {1, "b"}, {9, "xx"}, {2, "y"}])),
    ?assertEqual(<<"ab23456789">>, contents(Config)).

pwrite_list_refuses_bad_lists(Config) ->
    File = open(Config, <<"0123456789">>, [shared, write]),
    [?assertEqual({error, badarg}, emmap:pwrite(File, Bad)) || Bad <- [a, [a], [{0, 1, 2}], [{a, "x"}], [{0, a}]]],
    [?assertEqual({error, badarg}, emmap:pwrite(Bad, [{0, "x"}])) || Bad <- no_handles()],
    ?assertEqual(<<"0123456789">>, contents(Config)).

large_writes_are_whole(Config) ->
    Bytes = emmap_test:bytes(1 bsl 20),
    [begin
         {_, _} = Both = both(Config, <<0:(8 * Size)>>, Options),
         [ok = same(Both, Config, fun(F) -> file:pwrite(F, 3, binary:part(Bytes, 0, Count)) end)
          || Count <- [256 bsl 10, (256 bsl 10) + 1, 1 bsl 20]],
         ok = same(Both, Config, fun(F) -> file:write(F, Bytes) end)
     end || Size <- [10, 2 bsl 20], Options <- [[], [nolock]]].

%% More than 1 MiB, which is not made one binary: inside the file, across its end, at it, and past it.
pieces_are_written_one_after_the_other(Config) ->
    Pieces = [binary:copy(<<N>>, 300000) || N <- lists:seq($a, $i)],
    Size = iolist_size(Pieces),
    [begin
         {File, _} = Both = both(Config, <<0:(8 * (3 bsl 20))>>, Options),
         [ok = same(Both, Config, fun(F) -> file:pwrite(F, Offset, Pieces) end)
          || Offset <- [3, (3 bsl 20) - Size - 1, (3 bsl 20) - Size]],
         [begin
              ok = same(Both, Config, fun(F) -> file:pwrite(F, Offset, Data) end),
              ?assertEqual({ok, iolist_to_binary(Data)}, emmap:pread(File, Offset, Size))
          end || {Offset, Data} <- [{(3 bsl 20) - Size + 1, Pieces}, {2 bsl 20, lists:reverse(Pieces)}]],
         {ok, End} = same(Both, Config, fun(F) -> file:position(F, eof) end),
         ok = same(Both, Config, fun(F) -> file:pwrite(F, End + 5, Pieces) end),
         %% At the position: across the end, at it, and inside.
         [begin
              {ok, Position} = same(Both, Config, fun(F) -> file:position(F, Location) end),
              ok = same(Both, Config, fun(F) -> file:write(F, Data) end),
              ?assertEqual({ok, iolist_to_binary(Data)}, emmap:pread(File, Position, Size))
          end || {Location, Data} <- [{{eof, -400000}, Pieces}, {eof, lists:reverse(Pieces)}, {17, Pieces}]],
         ok = emmap:close(File)
     end || Options <- [[], [nolock], [direct]]].

pieces_past_a_fixed_end_are_not_written(Config) ->
    Pieces = [binary:copy(<<N>>, 300000) || N <- lists:seq($a, $i)],
    Size = iolist_size(Pieces),
    [begin
         Before = binary:copy(<<"x">>, Size + 1),
         File = open(Config, Before, Options),
         ?assertEqual({error, enospc}, emmap:pwrite(File, 2, Pieces)),
         {ok, 2} = emmap:position(File, 2),
         ?assertEqual({error, enospc}, emmap:write(File, Pieces)),
         ?assertEqual({ok, 2}, emmap:position(File, cur)),
         ?assertEqual({ok, Before}, emmap:pread(File, 0, Size + 2)),
         ok = emmap:pwrite(File, 1, Pieces),
         ?assertEqual({ok, <<"x", (iolist_to_binary(Pieces))/binary>>}, emmap:pread(File, 0, Size + 2)),
         {ok, 0} = emmap:position(File, 0),
         ok = emmap:write(File, Pieces),
         ?assertEqual({ok, Size}, emmap:position(File, cur)),
         ?assertEqual({ok, <<(iolist_to_binary(Pieces))/binary, "i">>}, emmap:pread(File, 0, Size + 2)),
         ok = emmap:close(File)
     end || Options <- [[write], [shared, write, fixed_size], [shared, write, fixed_size, nolock]]].

%% More than the system takes in one call: IOV_MAX is 1024.
so_many_pieces_are_written(Config) ->
    Pieces = [binary:copy(<<N:32>>, 250) || N <- lists:seq(1, 1500)],
    [begin
         Both = both(Config, <<0:(8 * Size)>>),
         ok = same(Both, Config, fun(F) -> file:pwrite(F, 1, Pieces) end),
         ok = same(Both, Config, fun(F) -> file:write(F, Pieces) end)
     end || Size <- [2 bsl 20, 10]].

%%% Moving

position_moves_from_everywhere(Config) ->
    {File, _} = Both = both(Config, <<"0123456789">>),
    [same(Both, Config, fun(F) -> file:position(F, Location) end)
     || Location <- [3, bof, cur, eof, {bof, 4}, {cur, 2}, {cur, -3}, {cur, 0}, {eof, -1}, {eof, 0}, {eof, 5}, {bof, 9},
                     {bof, 10}, {bof, 11}, 1 bsl 40, 0]],
    ?assertEqual({ok, 8}, emmap:position(File, {eof, -2})),
    ?assertEqual({ok, <<"89">>}, emmap:read(File, 5)).

position_before_the_start_is_einval(Config) ->
    {File, _} = Both = both(Config, <<"0123456789">>),
    same(Both, Config, fun(F) -> file:position(F, 4) end),
    [?assertMatch({error, einval}, same(Both, Config, fun(F) -> file:position(F, Location) end))
     || Location <- [-1, {bof, -1}, {cur, -5}, {eof, -11}]],
    ?assertEqual({error, einval}, emmap:position(File, {cur, -5})),
    ?assertEqual({ok, 0}, emmap:position(File, {cur, -4})),
    ?assertEqual({ok, 0}, emmap:position(File, {eof, -10})),
    ?assertMatch({error, _}, emmap:position(File, 1 bsl 63 - 1)),
    {ok, 5} = emmap:position(File, 5),
    ?assertMatch({error, _}, emmap:position(File, {cur, 1 bsl 63 - 1})),
    ?assertEqual({ok, 5}, emmap:position(File, cur)).

position_refuses_bad_locations(Config) ->
    {File, _} = Both = both(Config, <<"0123456789">>),
    [?assertMatch({error, _}, same(Both, Config, fun(F) -> file:position(F, Location) end))
     || Location <- [a, {a, 1}, 1.0, {bof, 1.0}, {1, 2, 3}, <<>>, 1 bsl 70, {eof, -(1 bsl 70)}]],
    [?assertEqual({error, badarg}, emmap:position(File, Bad)) || Bad <- [a, {cur, a}, {a, 1}]],
    [?assertEqual({error, badarg}, emmap:position(Bad, 0)) || Bad <- no_handles()].

%%% Copying

copy_moves_both_positions(Config) ->
    Bytes = emmap_test:bytes(300000),
    From = open(Config, Bytes, []),
    {ok, To} = emmap:open(emmap_test:path(Config, "to"), [create, write, shared]),
    {ok, 10} = emmap:position(From, 10),
    ?assertEqual({ok, 100000}, emmap:copy(From, To, 100000)),
    ?assertEqual({ok, 5}, file:copy(From, To, 5)),
    ?assertEqual({ok, 100015}, emmap:position(From, cur)),
    ?assertEqual({ok, 100005}, emmap:position(To, cur)),
    ?assertEqual({ok, binary:part(Bytes, 10, 100005)}, file:read_file(emmap_test:path(Config, "to"))).

copy_stops_at_the_end(Config) ->
    [begin
         From = open(Config, <<"0123456789">>, []),
         {ok, To} = emmap:open(emmap_test:path(Config, "to"), [create, write, shared, truncate]),
         ?assertEqual({ok, min(Count, 10)}, emmap:copy(From, To, Count)),
         ?assertEqual({ok, binary:part(<<"0123456789">>, 0, min(Count, 10))},
                      file:read_file(emmap_test:path(Config, "to"))),
         [ok = emmap:close(F) || F <- [From, To]]
     end || Count <- [0, 9, 10, 11, 1 bsl 70, infinity]].

copy_refuses_bad_arguments(Config) ->
    From = open(Config, <<"0123456789">>, []),
    {ok, To} = emmap:open(emmap_test:path(Config, "to"), [create, write, shared]),
    [?assertEqual({error, badarg}, emmap:copy(From, To, Bad)) || Bad <- [-1, <<>>, 1.0]],
    [?assertEqual({error, badarg}, emmap:copy(Bad, To, 1)) || Bad <- no_handles()],
    [?assertEqual({error, badarg}, emmap:copy(From, Bad, 1)) || Bad <- no_handles()],
    ?assertEqual({error, ebadf}, emmap:copy(From, From, 1)).

ipread_follows_a_header(Config) ->
    Both = both(Config, <<3:32, 20:32, 0:96, "abcdef">>),
    [same(Both, Config, fun(F) -> file:ipread_s32bu_p32bu(F, Offset, Max) end)
     || Offset <- [0, 8, 12, 20], Max <- [0, 2, 3, 4, 1 bsl 31 - 1]],
    {File, _} = Both,
    ?assertEqual({ok, {3, 20, <<"abc">>}}, emmap:ipread_s32bu_p32bu(File, 0, 100)).

ipread_past_the_end_is_eof(Config) ->
    {File, _} = Both = both(Config, <<3:32, 9:32, "ab", 3:32, 18:32, 3:32, 19:32>>),
    [same(Both, Config, fun(F) -> file:ipread_s32bu_p32bu(F, Offset, 100) end)
     || Offset <- [0, 10, 18, 19, 26, 27, 100]],
    ?assertEqual(eof, emmap:ipread_s32bu_p32bu(File, 26, 100)).

ipread_refuses_bad_arguments(Config) ->
    Both = both(Config, <<3:32, 8:32, "abc">>),
    [same(Both, Config, fun(F) -> file:ipread_s32bu_p32bu(F, Offset, Max) end)
     || {Offset, Max} <- [{-1, 1}, {a, 1}, {0, -1}, {0, a}, {0, 1 bsl 31}, {1.0, 1}, {0, 1.0}]],
    [?assertEqual({error, badarg}, emmap:ipread_s32bu_p32bu(Bad, 0, 1)) || Bad <- no_handles()].

%%% Through `file'

file_functions_take_a_handle(Config) ->
    File = open(Config, ?TEXT, [shared, write]),
    ?assertEqual({ok, <<"first">>}, file:read(File, 5)),
    ?assertEqual({ok, <<" line\n">>}, file:read_line(File)),
    ?assertEqual({ok, <<"second\n">>}, file:read_line(File)),
    ?assertEqual({ok, 6}, file:position(File, 6)),
    ?assertEqual({ok, <<"line">>}, file:pread(File, 6, 4)),
    ?assertEqual({ok, [<<"f">>, eof]}, file:pread(File, [{0, 1}, {1000, 1}])),
    ok = file:pwrite(File, 0, <<"F">>),
    ok = file:pwrite(File, [{1, "I"}, {2, <<"R">>}]),
    ok = file:write(File, ["LI", <<"NE">>]),
    ok = file:advise(File, 0, 10, sequential),
    ok = file:allocate(File, 0, 10),
    ok = file:datasync(File),
    ok = file:sync(File),
    ?assertEqual({ok, 16}, file:position(File, 16)),
    ok = file:truncate(File),
    ?assertEqual({ok, 0}, file:position(File, 0)),
    {ok, Bytes} = emmap:open(emmap_test:path(Config, "copy"), [create, write, shared]),
    ?assertEqual({ok, 16}, file:copy(File, Bytes)),
    ?assertMatch({ok, #file_info{size = 16}}, file:read_file_info(File)),
    ok = file:close(File),
    ?assertEqual({error, closed}, file:close(File)),
    ?assertEqual({error, closed}, file:read(File, 1)),
    ?assertEqual(<<"FIRst LINE\nsecon">>, contents(Config)).

read_handle_info_is_that_of_the_file(Config) ->
    Path = emmap_test:file(Config, "file", <<"data">>),
    {ok, File} = emmap:open(Path, [shared, write]),
    [begin
         {ok, OfPath} = file:read_file_info(Path, Options),
         ?assertEqual({ok, OfPath}, emmap:read_handle_info(File, Options)),
         ?assertEqual({ok, OfPath}, file:read_file_info(File, Options))
     end || Options <- [[], [{time, local}], [{time, universal}], [{time, posix}], [raw]]].

%% Only root may give a file away; others see that it is theirs.
read_handle_info_tells_owner_and_group(Config) ->
    Path = emmap_test:file(Config, "file", <<"data">>),
    {ok, File} = emmap:open(Path, []),
    case file:change_owner(Path, 1, 2) of
        ok -> ?assertMatch({ok, #file_info{uid = 1, gid = 2}}, emmap:read_handle_info(File, []));
        {error, eperm} -> ok
    end,
    ?assertEqual(file:read_file_info(Path), emmap:read_handle_info(File, [])).

read_handle_info_of_an_empty_file(Config) ->
    [begin
         File = open(Config, Bytes, [shared, write]),
         Size = byte_size(Bytes),
         ?assertMatch({ok, #file_info{size = Size, type = regular}}, emmap:read_handle_info(File, []))
     end || Bytes <- [<<>>, <<"1">>]].

read_handle_info_refuses_bad_arguments(Config) ->
    File = open(Config, <<"data">>, []),
    ?assertEqual({error, badarg}, emmap:read_handle_info(File, a)),
    ?assertEqual({error, badarg}, file:read_file_info(File, [{time, never}])),
    [?assertEqual({error, badarg}, emmap:read_handle_info(Bad, [])) || Bad <- no_handles()].

sendfile_falls_back_to_reading(Config) ->
    Bytes = emmap_test:bytes(300000),
    File = open(Config, Bytes, []),
    {ok, Name} = emmap:open(emmap_test:path(Config, "file"), []),
    [begin
         ?assertEqual({ok, 300000}, file:sendfile(Handle, Socket, 0, 0, [])),
         ?assertEqual({ok, Bytes}, receive_all(Peer, 300000))
     end || Handle <- [File, Name], {Socket, Peer} <- sockets()],
    ?assertEqual({error, enotsup}, emmap:sendfile(File, a, 0, 0, 0, [], [], [])),
    ?assertError(notsup, emmap:internal_get_nif_resource(File)).

sendfile_from_and_past_the_end(Config) ->
    File = open(Config, <<"0123456789">>, []),
    [begin
         ?assertEqual({ok, byte_size(Sent)}, file:sendfile(File, Socket, Offset, Count, [])),
         ?assertEqual({ok, Sent}, receive_all(Peer, byte_size(Sent)))
     end || {Offset, Count, Sent} <- [{3, 2, <<"34">>}, {9, 1, <<"9">>}, {9, 2, <<"9">>}], {Socket, Peer} <- sockets()].

sendfile_refuses_what_is_no_handle(Config) ->
    [begin
         ?assertEqual({error, badarg}, emmap:sendfile(Bad, a, 0, 0, 0, [], [], [])),
         case Bad of
             #file_descriptor{} -> ?assert(is_reference(emmap:internal_get_nif_resource(Bad)));
             _ -> ?assertError(badarg, emmap:internal_get_nif_resource(Bad))
         end
     end || Bad <- no_handles()],
    Closed = open(Config, <<"0123456789">>, []),
    %% The answers that make `file' fall back.
    ?assertEqual({error, enotsup}, emmap:sendfile(Closed, a, 0, 0, 0, [], [], [])),
    ?assertError(notsup, emmap:internal_get_nif_resource(Closed)),
    ok = emmap:close(Closed),
    [{Port, _}, {Socket, _}] = sockets(),
    ?assertEqual({error, closed}, file:sendfile(Closed, Port, 0, 0, [])),
    ?assertMatch({error, _}, file:sendfile(Closed, Socket, 0, 0, [])).

%% Two connections: one whose end is a port, one whose end is a socket of the `socket' module.
sockets() ->
    {ok, Listening} = gen_tcp:listen(0, [binary, {active, false}, {ip, {127, 0, 0, 1}}]),
    {ok, Number} = inet:port(Listening),
    {ok, Port} = gen_tcp:connect({127, 0, 0, 1}, Number, [binary, {active, false}]),
    {ok, Peer} = gen_tcp:accept(Listening),
    {ok, Socket} = socket:open(inet, stream, tcp),
    ok = socket:connect(Socket, #{family => inet, addr => {127, 0, 0, 1}, port => Number}),
    {ok, Other} = gen_tcp:accept(Listening),
    [{Port, Peer}, {Socket, Other}].

receive_all(Socket, Count) -> gen_tcp:recv(Socket, Count, 5000).

%%% Sizes

resize_sets_the_length_of_the_file(Config) ->
    File = open(Config, <<"0123456789">>, [shared, write]),
    [begin
         ?assertEqual({ok, Size}, emmap:resize(File, Size)),
         ?assertEqual(Size, byte_size(contents(Config))),
         ?assertMatch(#{size := Size}, emmap:info(File)),
         ?assertEqual({ok, <<"012345678">>}, emmap:pread(File, 0, 9)),
         ?assertEqual({ok, <<0>>}, emmap:pread(File, Size - 1, 2)),
         ?assertEqual(eof, emmap:pread(File, Size, 1)),
         ok = emmap:pwrite(File, Size - 1, <<0>>)
     end || Size <- [11, 5000, 4096, 4095, 1 bsl 24, 10000]],
    %% What was cut off comes back as zeroes.
    {ok, 2} = emmap:resize(File, 2),
    {ok, 4} = emmap:resize(File, 4),
    ?assertEqual({ok, <<"01", 0, 0>>}, emmap:pread(File, 0, 9)),
    {ok, 0} = emmap:resize(File, 0),
    ?assertEqual(<<>>, contents(Config)).

resize_doubles(Config) ->
    [begin
         File = open(Config, <<0:(8 * Size)>>, [shared, write]),
         ?assertEqual({ok, 2 * Size}, emmap:resize(File)),
         ?assertEqual(2 * Size, byte_size(contents(Config))),
         ok = emmap:close(File)
     end || Size <- [1, 4095, 4096, 4097, 1 bsl 20, 3 bsl 20]].

resize_keeps_direct_binaries(Config) ->
    Bytes = emmap_test:bytes(10000),
    File = open(Config, Bytes, [shared, write, direct]),
    {ok, Held} = emmap:pread(File, 0, 10000),
    {ok, _} = emmap:resize(File, 1 bsl 26),
    ?assertEqual(Bytes, Held),
    ok = emmap:pwrite(File, 0, <<"new">>),
    ?assertMatch(<<"new", _/binary>>, Held),
    {ok, 10} = emmap:resize(File, 10),
    ?assertEqual(binary:part(Bytes, 3, 7), binary:part(Held, 3, 7)),
    ok = emmap:close(File),
    ?assertMatch(<<"new", _/binary>>, Held).

resize_refuses_bad_sizes(Config) ->
    File = open(Config, <<"0123456789">>, [shared, write]),
    [?assertError(badarg, emmap:resize(File, Bad)) || Bad <- [-1, -(1 bsl 70), 1 bsl 63, 1 bsl 70, a, 1.0]],
    ?assertMatch({error, _}, emmap:resize(File, 1 bsl 63 - 1)),
    [begin
         ?assertError(badarg, emmap:resize(Bad)),
         ?assertError(badarg, emmap:resize(Bad, 1))
     end || Bad <- no_handles()],
    ?assertMatch(#{size := 10}, emmap:info(File)),
    ReadOnly = open(Config, <<"0123456789">>, [shared]),
    ?assertMatch({error, _}, emmap:resize(ReadOnly, 5)),
    ?assertMatch({error, _}, emmap:resize(ReadOnly)),
    [begin
         {ok, Fixed} = emmap:open(emmap_test:path(Config, "file"), 0, Length, Options),
         ?assertEqual({error, fixed_size}, emmap:resize(Fixed, 5)),
         ?assertEqual({error, fixed_size}, emmap:resize(Fixed))
     end || {Length, Options} <- [{0, [write]}, {5, [write, shared]}, {0, [write, shared, fixed_size]},
                                  {10, [write, anon]}]],
    ?assertEqual(<<"0123456789">>, contents(Config)).

truncate_cuts_at_the_position(Config) ->
    {File, _} = Both = both(Config, <<"0123456789">>),
    [begin
         same(Both, Config, fun(F) -> file:position(F, Position) end),
         ok = same(Both, Config, fun file:truncate/1),
         ?assertMatch(#{size := Position}, emmap:info(File)),
         ?assertEqual(eof, emmap:read(File, 1))
     end || Position <- [10, 9, 1, 0]].

truncate_fills_up_to_the_position(Config) ->
    {File, _} = Both = both(Config, <<"0123456789">>),
    [begin
         same(Both, Config, fun(F) -> file:position(F, Position) end),
         ok = same(Both, Config, fun file:truncate/1)
     end || Position <- [11, 5000, 1 bsl 21]],
    ok = emmap:truncate(File),
    ?assertEqual({ok, <<"9", 0>>}, emmap:pread(File, 9, 2)).

truncate_refuses_what_cannot_change(Config) ->
    [?assertEqual({error, badarg}, emmap:truncate(Bad)) || Bad <- no_handles()],
    ReadOnly = open(Config, <<"0123456789">>, [shared]),
    {ok, Raw} = file:open(emmap_test:path(Config, "file"), [raw, read]),
    ?assertEqual(file:truncate(Raw), emmap:truncate(ReadOnly)),
    Private = open(Config, <<"0123456789">>, [write]),
    ?assertEqual({error, fixed_size}, emmap:truncate(Private)),
    ?assertEqual(<<"0123456789">>, contents(Config)).

remap_follows_the_file(Config) ->
    [begin
         File = open(Config, <<"0123456789">>, Options),
         {ok, Raw} = file:open(emmap_test:path(Config, "file"), [raw, read, write]),
         [begin
              {ok, Size} = file:position(Raw, Size),
              ok = file:truncate(Raw),
              ok = file:pwrite(Raw, Size - 1, <<"x">>),
              ?assertEqual({ok, Size}, emmap:remap(File)),
              ?assertMatch(#{size := Size}, emmap:info(File)),
              ?assertEqual({ok, <<"x">>}, emmap:pread(File, Size - 1, 9))
          end || Size <- [11, 5000, 4096, 1 bsl 24, 10]],
         ok = emmap:close(File)
     end || Options <- [[], [shared], [shared, write], [write], [direct], [shared, write, fixed_size]]].

remap_of_an_unchanged_file_changes_nothing(Config) ->
    File = open(Config, <<"0123456789">>, [write]),
    ok = emmap:pwrite(File, 0, <<"abc">>),
    {ok, 3} = emmap:position(File, 3),
    ?assertEqual({ok, 10}, emmap:remap(File)),
    ?assertEqual({ok, <<"abc3456789">>}, emmap:pread(File, 0, 10)),
    ?assertEqual({ok, 3}, emmap:position(File, cur)),
    {ok, Window} = emmap:open(emmap_test:path(Config, "file"), 2, 5, []),
    ?assertEqual({ok, 5}, emmap:remap(Window)),
    {ok, Anonymous} = emmap:open("", 0, 7, [anon]),
    ?assertEqual({ok, 7}, emmap:remap(Anonymous)).

remap_refuses_what_is_no_handle(_) ->
    [?assertError(badarg, emmap:remap(Bad)) || Bad <- no_handles()].

allocate_takes_disk_space(Config) ->
    {File, _} = Both = both(Config, <<"0123456789">>),
    Before = blocks(emmap_test:path(Config, "mapped")),
    ok = same(Both, Config, fun(F) -> file:allocate(F, 0, 1 bsl 20) end),
    ?assert(blocks(emmap_test:path(Config, "mapped")) * 512 >= 1 bsl 20),
    ?assert(blocks(emmap_test:path(Config, "mapped")) > Before),
    %% A hole in the midst of a file.
    {ok, _} = emmap:resize(File, 4 bsl 20),
    Sparse = blocks(emmap_test:path(Config, "mapped")),
    ok = emmap:allocate(File, 2 bsl 20, 1 bsl 20),
    ?assert(blocks(emmap_test:path(Config, "mapped")) - Sparse >= (1 bsl 20) div 512),
    ?assertMatch(#{size := 4194304}, emmap:info(File)).

allocate_grows_a_file_only_past_its_end(Config) ->
    {File, _} = Both = both(Config, <<"0123456789">>),
    [begin
         ?assertEqual(ok, same(Both, Config, fun(F) -> file:allocate(F, Offset, Count) end)),
         ?assertMatch(#{size := Size}, emmap:info(File)),
         ?assertEqual({ok, <<"9">>}, emmap:pread(File, 9, 1))
     end || {Offset, Count, Size} <- [{0, 1, 10}, {0, 10, 10}, {9, 1, 10}, {9, 2, 11}, {11, 1, 12},
                                      {0, 1 bsl 20, 1 bsl 20}]].

blocks(Path) -> list_to_integer(string:trim(os:cmd("stat -c %b '" ++ Path ++ "'"))).

allocate_refuses_bad_ranges(Config) ->
    {File, _} = Both = both(Config, <<"0123456789">>),
    [?assertMatch({error, _}, same(Both, Config, fun(F) -> file:allocate(F, Offset, Count) end))
     || {Offset, Count} <- [{0, 0}, {-1, 1}, {0, -1}, {a, 1}, {0, a}]],
    ?assertEqual({error, einval}, emmap:allocate(File, 0, 0)),
    ?assertMatch({error, _}, emmap:allocate(File, 1 bsl 63 - 1, 1)),
    [?assertEqual({error, badarg}, emmap:allocate(Bad, 0, 1)) || Bad <- no_handles()].

%%% Durability

sync_returns_when_it_is_done(Config) ->
    [begin
         File = open(Config, emmap_test:bytes(10000), Options),
         ok = emmap:pwrite(File, 5000, <<"x">>),
         [?assertEqual(ok, Answer)
          || Answer <- [emmap:sync(File), emmap:datasync(File), emmap:flush(File), emmap:sync(File, 5000, 1),
                        emmap:sync(File, 0, 10000)]],
         ok = emmap:close(File)
     end || Options <- [[shared, write], [write], [shared, write, nolock], [shared, write, direct]]],
    %% A file that this handle made is not lost with its directory either.
    {ok, New} = emmap:open(emmap_test:path(Config, "new"), [create, write, shared, {size, 10}]),
    ?assertEqual(ok, emmap:sync(New)),
    ?assertEqual(ok, emmap:sync(New)).

sync_range_has_bounds(Config) ->
    File = open(Config, emmap_test:bytes(10000), [shared, write]),
    [?assertEqual(ok, emmap:sync(File, Offset, Count))
     || {Offset, Count} <- [{0, 0}, {0, 10000}, {9999, 1}, {10000, 0}]],
    [?assertError(badarg, emmap:sync(File, Offset, Count))
     || {Offset, Count} <- [{0, 10001}, {9999, 2}, {10000, 1}, {10001, 0}, {1, 1 bsl 63 - 1}, {1 bsl 63 - 1, 1}]],
    {ok, Window} = emmap:open(emmap_test:path(Config, "file"), 5, 10, [shared, write]),
    ?assertEqual(ok, emmap:sync(Window, 0, 10)),
    ?assertError(badarg, emmap:sync(Window, 0, 11)).

sync_refuses_bad_arguments(Config) ->
    File = open(Config, <<"0123456789">>, [shared, write]),
    [?assertError(badarg, emmap:sync(File, Offset, Count))
     || {Offset, Count} <- [{-1, 1}, {0, -1}, {a, 1}, {0, a}, {1.0, 1}, {1 bsl 70, 1}]],
    [begin
         ?assertEqual([{error, badarg}, {error, badarg}], [emmap:sync(Bad), emmap:datasync(Bad)]),
         ?assertError(badarg, emmap:sync(Bad, 0, 1)),
         ?assertError(badarg, emmap:flush(Bad))
     end || Bad <- no_handles()].

%% Empty, anonymous, private, and not open for writing: there is nothing to bring to disk.
sync_of_nothing_is_ok(Config) ->
    Path = emmap_test:file(Config, "file", <<>>),
    {ok, Empty} = emmap:open(Path, [shared, write]),
    {ok, Anonymous} = emmap:open("", 0, 10, [anon, write, shared]),
    ok = file:write_file(Path, <<"x">>),
    {ok, ReadOnly} = emmap:open(Path, [shared]),
    {ok, Private} = emmap:open(Path, []),
    [?assertEqual([ok],
                  lists:usort([emmap:sync(File), emmap:datasync(File), emmap:flush(File), emmap:sync(File, 0, 0)]))
     || File <- [Empty, Anonymous, ReadOnly, Private]].

advise_takes_every_advice(Config) ->
    Both = both(Config, emmap_test:bytes(10000)),
    [?assertEqual(ok, same(Both, Config, fun(F) -> file:advise(F, Offset, Count, Advice) end))
     || Advice <- [normal, sequential, random, will_need, dont_need, no_reuse],
        {Offset, Count} <- [{0, 0}, {0, 10000}, {4096, 4096}, {5000, 1}, {9999, 1}, {9999, 2}, {10000, 1}, {20000, 5}]],
    {File, _} = Both,
    ?assertEqual(ok, emmap:advise(File, 5, 0, sequential)).

advise_never_drops_data(Config) ->
    Bytes = emmap_test:bytes(10000),
    [begin
         {ok, File} = emmap:open(emmap_test:file(Config, "file", <<0:80000>>), 0, 10000, [write | Options]),
         ok = emmap:pwrite(File, 0, Bytes),
         [begin
              ok = emmap:advise(File, 0, 0, Advice),
              ?assertEqual({ok, Bytes}, emmap:pread(File, 0, 10000))
          end || Advice <- [dont_need, no_reuse, will_need]],
         ok = emmap:close(File)
     end || Options <- [[shared], [private], [anon], [anon, shared]]].

advise_refuses_bad_arguments(Config) ->
    {File, _} = Both = both(Config, <<"0123456789">>),
    [?assertMatch({error, _}, same(Both, Config, fun(F) -> file:advise(F, Offset, Count, Advice) end))
     || {Offset, Count, Advice} <- [{0, 0, unknown}, {0, 0, 1}, {a, 0, normal}, {0, a, normal}, {-1, 1, normal}]],
    ?assertEqual({error, einval}, emmap:advise(File, 0, 0, unknown)),
    ?assertMatch({error, _}, emmap:advise(File, 0, -1, normal)),
    [?assertEqual({error, badarg}, emmap:advise(Bad, 0, 1, normal)) || Bad <- no_handles()].

%%% Locking

-define(BLOCK, 8192).
-define(READS, 20000).
-define(APPENDED, 2048).

%% Two processes fill the same block, each with its own byte; a reader that finds both has seen half a write.
lock_never_shows_half_a_write(Config) ->
    [?assertEqual([], torn(Config, Options)) || Options <- [[], [lock]]].

%% Two processes fill the same block with lines of different lengths; the end of a line must be that of its bytes.
lock_keeps_lines_whole(Config) ->
    Lines = [[binary:copy(<<"a">>, 1023), "\n"], [binary:copy(<<"b">>, 4094), "\r\n"]],
    Blocks = [binary:copy(Line, ?BLOCK * 8 div byte_size(Line)) || Line <- [iolist_to_binary(L) || L <- Lines]],
    File = open(Config, hd(Blocks), [shared, write]),
    Writers = [spawn_monitor(fun() -> write_lines_until_told(File, Block) end) || Block <- Blocks],
    Broken = [Line || Line <- read_lines(File, ?READS, []), not is_whole(Line)],
    ok = stop(Writers),
    ?assertEqual([], lists:sublist(Broken, 3)).

write_lines_until_told(File, Block) ->
    ok = emmap:pwrite(File, 0, Block),
    receive stop -> ok after 0 -> write_lines_until_told(File, Block) end.

read_lines(_, 0, Lines) -> Lines;
read_lines(File, N, Lines) ->
    case emmap:read_line(File) of
        {ok, Line} -> read_lines(File, N - 1, [Line | Lines]);
        eof ->
            {ok, 0} = emmap:position(File, 0),
            read_lines(File, N, Lines)
    end.

%% A position in the middle of a line of the other kind gives the rest of it.
is_whole(Line) ->
    case lists:usort(binary_to_list(Line)) of
        [$\n, _] -> binary:last(Line) =:= $\n;
        [$\n] -> true;
        _ -> false
    end.

%% Reads may be torn here, but are of bytes that somebody wrote.
nolock_takes_the_same_calls(Config) ->
    Torn = torn(Config, [nolock]),
    ct:log("~b of ~b reads were torn", [length(Torn), ?READS]),
    [?assertEqual([], lists:usort(binary_to_list(Bytes)) -- "ab") || Bytes <- lists:sublist(Torn, 100)].

%% Reads while two processes write, until there are enough reads and enough writes of each; returns the reads that were
%% no single write.
torn(Config, Options) ->
    File = open(Config, binary:copy(<<"a">>, ?BLOCK + 100), [shared, write | Options]),
    Writes = atomics:new(2, []),
    Writers = [spawn_monitor(fun() -> write_until_told(File, binary:copy(Byte, ?BLOCK), Writes, Index) end)
               || {Index, Byte} <- [{1, <<"a">>}, {2, <<"b">>}]],
    Torn = read_blocks(File, ?READS, Writes, []),
    ok = stop(Writers),
    ok = emmap:close(File),
    Torn.

stop(Processes) ->
    [begin
         Pid ! stop,
         receive {'DOWN', Monitor, process, Pid, Reason} -> ?assertEqual(normal, Reason) end
     end || {Pid, Monitor} <- Processes],
    ok.

write_until_told(File, Block, Writes, Index) ->
    %% Not on a page boundary, and over more pages than one.
    ok = emmap:pwrite(File, 50, Block),
    ok = atomics:add(Writes, Index, 1),
    receive stop -> ok after 0 -> write_until_told(File, Block, Writes, Index) end.

read_blocks(File, N, Writes, Torn) ->
    {ok, Bytes} = emmap:pread(File, 50, ?BLOCK),
    More = case binary:copy(binary:part(Bytes, 0, 1), ?BLOCK) of
               Bytes -> Torn;
               _ -> [Bytes | Torn]
           end,
    case N =< 0 andalso atomics:get(Writes, 1) > 1000 andalso atomics:get(Writes, 2) > 1000 of
        true -> More;
        false -> read_blocks(File, N - 1, Writes, More)
    end.

%% Each write N puts N into blocks N and N + 1, the first inside the file and the second past its end. So in a file that
%% was read to its end, each block has its own number, and the last one that of the block before.
lock_never_shows_half_an_append(Config) ->
    Count = 20000,
    File = open(Config, <<0:(8 * ?APPENDED)>>, [shared, write]),
    Written = atomics:new(1, []),
    {_, Monitor} = spawn_monitor(fun() ->
        [begin
             ok = emmap:pwrite(File, N * ?APPENDED, binary:copy(<<N:32>>, 2 * ?APPENDED div 4)),
             ok = atomics:put(Written, 1, N)
         end || N <- lists:seq(0, Count)]
    end),
    ?assertEqual([], half_appends(File, Written, Monitor, [])),
    ok = emmap:close(File).

half_appends(File, Written, Monitor, Half) ->
    receive
        {'DOWN', Monitor, process, _, Reason} ->
            ?assertEqual(normal, Reason),
            lists:sublist(Half, 3)
    after 0 ->
        First = atomics:get(Written, 1),
        %% To its end, however long it has become meanwhile.
        {ok, Bytes} = emmap:pread(File, First * ?APPENDED, 1 bsl 40),
        Blocks = [Block || <<Block:?APPENDED/binary>> <= Bytes],
        Last = First + length(Blocks) - 1,
        Right = iolist_to_binary([binary:copy(<<(min(N, max(Last - 1, 0))):32>>, ?APPENDED div 4)
                                  || N <- lists:seq(First, Last)]),
        case Bytes of
            Right -> half_appends(File, Written, Monitor, Half);
            _ -> half_appends(File, Written, Monitor, [{First, [N || <<N:32, _/binary>> <- Blocks]} | Half])
        end
    end.

%% A file of one byte over and over, cut and filled up again: whatever is read, and however much, is of that byte.
shrinking_never_shows_what_was_not_there(Config) ->
    Bytes = binary:copy(<<"x">>, 5 * ?BLOCK),
    [begin
         File = open(Config, Bytes, [shared, write | Options]),
         Rounds = atomics:new(1, []),
         Shrinker = spawn_monitor(fun() -> shrink_until_told(File, Bytes, Rounds) end),
         Seen = read_shrinking(File, Rounds, 20000, #{}),
         ok = stop([Shrinker]),
         ct:log("~p", [Seen]),
         ?assertEqual({Options, []}, {Options, maps:keys(Seen) -- [100, byte_size(Bytes) - 100, byte_size(Bytes)]}),
         ok = emmap:close(File)
     end || Options <- [[], [nolock]]].

shrink_until_told(File, Bytes, Rounds) ->
    %% In the midst of the last page, which is the last to be read, and of the first.
    [begin
         {ok, Size} = emmap:resize(File, Size),
         ok = emmap:pwrite(File, 0, Bytes)
     end || Size <- [byte_size(Bytes) - 100, byte_size(Bytes) - 100, 100]],
    ok = atomics:add(Rounds, 1, 1),
    receive stop -> ok after 0 -> shrink_until_told(File, Bytes, Rounds) end.

read_shrinking(File, Rounds, N, Seen) ->
    Key = case emmap:pread(File, 0, 5 * ?BLOCK) of
              {ok, Bytes} ->
                  case binary:copy(<<"x">>, byte_size(Bytes)) of
                      Bytes -> byte_size(Bytes);
                      _ -> {wrong, byte_size(Bytes)}
                  end;
              Other -> Other
          end,
    case N =< 0 andalso atomics:get(Rounds, 1) > 1000 of
        true -> Seen;
        false -> read_shrinking(File, Rounds, N - 1, maps:update_with(Key, fun(Count) -> Count + 1 end, 1, Seen))
    end.

%% Processes that write at the position of one handle do not write over each other, nor leave gaps.
lock_gives_every_write_its_place(Config) ->
    [writers_take_turns(emmap_test:path(Config, integer_to_list(Round))) || Round <- lists:seq(1, 5)].

writers_take_turns(Path) ->
    {ok, File} = emmap:open(Path, [create, write, shared]),
    Writers = [spawn_monitor(fun() -> [ok = emmap:write(File, <<W:32, N:32>>) || N <- lists:seq(1, 2000)] end)
               || W <- lists:seq(1, 4)],
    [receive {'DOWN', Monitor, process, _, Reason} -> ?assertEqual(normal, Reason) end || {_, Monitor} <- Writers],
    {ok, Bytes} = file:read_file(Path),
    Records = [{W, N} || <<W:32, N:32>> <= Bytes],
    Written = [{W, N} || W <- lists:seq(1, 4), N <- lists:seq(1, 2000)],
    %% What is missing, what is there and was never written, and how much there is.
    ?assertEqual({[], [], 8000 * 8},
                 {ordsets:subtract(Written, lists:sort(Records)), ordsets:subtract(lists:usort(Records), Written),
                  byte_size(Bytes)}),
    ok = emmap:close(File).

%%% Processes that read from the position of one handle: none gets what another has got, and nothing is left out

-define(READERS, 4).

%% Pieces of a size that the calls do not divide the file into; each is of another place.
every_byte_is_read_once(Config) ->
    Bytes = << <<N:32>> || N <- lists:seq(1, 1000000) >>,
    Path = emmap_test:file(Config, "file", Bytes),
    [begin
         {ok, File} = emmap:open(Path, Options),
         read_in_turns({Options, Count}, Bytes, File, fun() -> emmap:read(File, Count) end, 10),
         ?assertEqual({ok, byte_size(Bytes)}, emmap:position(File, cur)),
         ok = emmap:close(File)
     end || Options <- [[], [direct], [nolock], [shared, write]], Count <- [40, 9992]].

%% Some with a carriage return, and one that is longer than a call looks for on an ordinary scheduler.
every_line_is_read_once(Config) ->
    {Path, Text} = numbered_lines(Config, 100000),
    [begin
         {ok, File} = emmap:open(Path, Options),
         read_in_turns(Options, Text, File, fun() -> emmap:read_line(File) end, 10),
         ok = emmap:close(File)
     end || Options <- [[], [direct], [nolock], [shared, write]]].

%% A line that a write has overlapped with is read again, with the writers kept away; here they write what is there.
every_line_is_read_once_while_others_write(Config) ->
    {Path, Text} = numbered_lines(Config, 20000),
    {ok, Block} = emmap:open(Path, []),
    {ok, Bytes} = emmap:pread(Block, 0, ?BLOCK),
    [begin
         {ok, File} = emmap:open(Path, [shared, write | Options]),
         Writer = spawn_monitor(fun() -> write_lines_until_told(File, Bytes) end),
         read_in_turns(Options, Text, File, fun() -> emmap:read_line(File) end, 3),
         ok = stop([Writer]),
         ok = emmap:close(File)
     end || Options <- [[], [direct], [nolock]]].

%% A file of lines that sort as they stand in it, and its text as it is read.
numbered_lines(Config, Count) ->
    Lines = [[io_lib:format("~8..0b", [N]), lists:duplicate(N rem 50, $x) | case N rem 7 of 0 -> "\r\n"; _ -> "\n" end]
             || N <- lists:seq(1, Count)],
    Long = [[io_lib:format("~8..0b", [Count + 1]), lists:duplicate(100000, $y), End] || End <- ["\n"]],
    Text = iolist_to_binary([Lines, Long]),
    {emmap_test:file(Config, "file", Text), binary:replace(Text, <<"\r\n">>, <<"\n">>, [global])}.

%% Has four processes read the file to its end, and looks at all that they have got: the parts sort as they stand in the
%% file. Again until the readers have alternated often, on a busy machine too, but so many times at most.
read_in_turns(_, _, _, _, 0) -> ok;
read_in_turns(What, Expected, File, Read, Rounds) ->
    {ok, 0} = emmap:position(File, 0),
    Parts = emmap_test:together([fun() -> [{Part, Reader} || Part <- read_all(Read, [])] end
                                 || Reader <- lists:seq(1, ?READERS)]),
    {Sorted, Readers} = lists:unzip(lists:sort(lists:append(Parts))),
    ?assertEqual({What, 0}, {What, length(Sorted) - length(lists:usort(Sorted))}),
    case iolist_to_binary(Sorted) of
        Expected -> ok;
        Other -> ct:fail("~p: ~b bytes that are not the ~b of the file", [What, byte_size(Other), byte_size(Expected)])
    end,
    Alternations = length([turn || {One, Next} <- lists:zip(lists:droplast(Readers), tl(Readers)), One =/= Next]),
    ct:log("~p: ~b times in ~b parts", [What, Alternations, length(Sorted)]),
    Alternations * 10 > length(Sorted) orelse read_in_turns(What, Expected, File, Read, Rounds - 1).

read_all(Read, Parts) ->
    case Read() of
        {ok, Part} -> read_all(Read, [Part | Parts]);
        eof -> Parts
    end.
