%% Copyright 2026 the emmap authors. Licensed under the Apache License, Version 2.0.

%% Atomic operations on 64-bit words of a file. OTP's `atomics' says what is right.
-module(emmap_atomic_SUITE).

-include_lib("stdlib/include/assert.hrl").
-include_lib("kernel/include/file.hrl").

-compile([export_all, nowarn_export_all]).

-define(MIN, -(1 bsl 63)).
-define(MAX, (1 bsl 63 - 1)).
-define(raises(Argument, Text, Expression),
        ?assertEqual({badarg, #{Argument => Text}}, emmap_test:raised(fun() -> Expression end))).

all() ->
    [operations_agree_with_atomics, operations_return_the_old_value, operations_wrap_around,
     words_are_in_native_byte_order, words_have_bounds, words_of_an_unaligned_mapping_are_refused,
     words_of_a_window_are_those_of_the_file, values_have_64_bits, unknown_operations_are_refused,
     compare_exchange_tells_what_was_there, positions_that_are_no_word_are_refused, reading_needs_no_write,
     writing_needs_write, a_closed_file_is_refused, what_is_no_handle_is_refused, a_file_cut_short_raises_truncated,
     private_words_stay_private, processes_lose_nothing, exchanges_lose_nothing, bits_of_others_stay, vms_lose_nothing].

init_per_testcase(Case, Config) -> emmap_test:directory(Case, Config).

end_per_testcase(_, _) -> ok.

words(Config, Words) -> words(Config, Words, [shared, write]).

words(Config, Words, Options) ->
    {ok, File} = emmap:open(emmap_test:file(Config, "file", << <<Word:64/native>> || Word <- Words >>), Options),
    File.

operations_agree_with_atomics(Config) ->
    File = words(Config, [0, 0]),
    Ref = atomics:new(1, [{signed, true}]),
    Values = [0, 1, -1, 2, 7, 16#5555555555555555, ?MAX, ?MIN, ?MAX - 1, 1 bsl 32],
    [begin
         ok = emmap:patomic_write(File, 8, Start),
         ok = atomics:put(Ref, 1, Start),
         Old = atomics:get(Ref, 1),
         ?assertEqual(Old, emmap:patomic_read(File, 8)),
         ?assertEqual(Old, emmap:patomic(File, 8, Operation, Value)),
         model(Ref, Operation, Value),
         ?assertEqual({Operation, Start, Value, atomics:get(Ref, 1)},
                      {Operation, Start, Value, emmap:patomic_read(File, 8)})
     end || Operation <- [add, sub, 'band', 'bor', 'bxor', xchg], Start <- Values, Value <- Values],
    ?assertEqual(0, emmap:patomic_read(File, 0)).

model(Ref, add, Value) -> atomics:add(Ref, 1, Value);
model(Ref, sub, Value) -> atomics:sub(Ref, 1, Value);
model(Ref, xchg, Value) -> atomics:put(Ref, 1, Value);
model(Ref, 'band', Value) -> atomics:put(Ref, 1, atomics:get(Ref, 1) band Value);
model(Ref, 'bor', Value) -> atomics:put(Ref, 1, atomics:get(Ref, 1) bor Value);
model(Ref, 'bxor', Value) -> atomics:put(Ref, 1, atomics:get(Ref, 1) bxor Value).

operations_return_the_old_value(Config) ->
    File = words(Config, [12]),
    ?assertEqual(12, emmap:patomic(File, 0, add, 3)),
    ?assertEqual(15, emmap:patomic(File, 0, sub, 5)),
    ?assertEqual(10, emmap:patomic(File, 0, 'band', 6)),
    ?assertEqual(2, emmap:patomic(File, 0, 'bor', 9)),
    ?assertEqual(11, emmap:patomic(File, 0, 'bxor', 1)),
    ?assertEqual(10, emmap:patomic(File, 0, xchg, -7)),
    ?assertEqual(ok, emmap:patomic_write(File, 0, 99)),
    ?assertEqual(99, emmap:patomic_read(File, 0)),
    ?assertEqual({ok, <<99:64/native>>}, emmap:pread(File, 0, 8)).

operations_wrap_around(Config) ->
    File = words(Config, [?MAX, ?MIN]),
    ?assertEqual(?MAX, emmap:patomic(File, 0, add, 1)),
    ?assertEqual(?MIN, emmap:patomic(File, 0, sub, 1)),
    ?assertEqual(?MAX, emmap:patomic_read(File, 0)),
    ?assertEqual(?MIN, emmap:patomic(File, 8, sub, 1)),
    ?assertEqual(?MAX, emmap:patomic(File, 8, add, 2)),
    ?assertEqual(?MIN + 1, emmap:patomic_read(File, 8)).

words_are_in_native_byte_order(Config) ->
    File = words(Config, [0]),
    ok = emmap:patomic_write(File, 0, 16#0102030405060708),
    ?assertEqual({ok, <<16#0102030405060708:64/native>>}, file:read_file(emmap_test:path(Config, "file"))),
    ok = emmap:pwrite(File, 0, <<-2:64/native>>),
    ?assertEqual(-2, emmap:patomic_read(File, 0)).

words_have_bounds(Config) ->
    File = words(Config, [1, 2, 3]),
    ok = emmap:pwrite(File, 24, <<"1234567">>),
    ?assertEqual({1, 3}, {emmap:patomic_read(File, 0), emmap:patomic_read(File, 16)}),
    ?assertEqual({2, 3}, {emmap:patomic(File, 8, add, 0), emmap:patomic(File, 16, add, 1)}),
    ?assertEqual({ok, ok}, {emmap:patomic_write(File, 0, 1), emmap:patomic_write(File, 16, 3)}),
    ?assertEqual({ok, ok}, {emmap:patomic_cas(File, 0, 1, 1), emmap:patomic_cas(File, 16, 3, 3)}),
    %% The word at 24 lacks its last byte.
    [begin
         Text = lists:flatten(io_lib:format("position ~b is out of range: the mapping has 31 bytes", [Position])),
         ?raises(2, Text, emmap:patomic_read(File, Position)),
         ?raises(2, Text, emmap:patomic(File, Position, add, 1)),
         ?raises(2, Text, emmap:patomic_write(File, Position, 1)),
         ?raises(2, Text, emmap:patomic_cas(File, Position, 0, 1))
     end || Position <- [24, 32, 4096, 1 bsl 32, 1 bsl 63 - 8, 1 bsl 63, 1 bsl 64, 1 bsl 80, -8, -(1 bsl 63),
                         -(1 bsl 80)]],
    ?assertEqual({ok, <<1:64/native, 2:64/native, 3:64/native, "1234567">>}, emmap:pread(File, 0, 100)),
    ok = emmap:pwrite(File, 31, <<"8">>),
    ?assertEqual(<<"12345678">>, <<(emmap:patomic_read(File, 24)):64/native>>).

positions_that_are_no_word_are_refused(Config) ->
    File = words(Config, [1, 2, 3]),
    [begin
         Text = lists:flatten(io_lib:format("position ~b is not a multiple of 8", [Position])),
         ?raises(2, Text, emmap:patomic_read(File, Position)),
         ?raises(2, Text, emmap:patomic(File, Position, add, 1)),
         ?raises(2, Text, emmap:patomic_write(File, Position, 1)),
         ?raises(2, Text, emmap:patomic_cas(File, Position, 0, 1))
     end || Position <- [1, 4, 7, 9, 12, 15]],
    [begin
         ?raises(2, "not an integer", emmap:patomic_read(File, Bad)),
         ?raises(2, "not an integer", emmap:patomic(File, Bad, add, 1)),
         ?raises(2, "not an integer", emmap:patomic_write(File, Bad, 1)),
         ?raises(2, "not an integer", emmap:patomic_cas(File, Bad, 0, 1))
     end || Bad <- [a, 8.0, <<8>>, [8]]].

words_of_an_unaligned_mapping_are_refused(Config) ->
    Path = emmap_test:file(Config, "file", <<0:640>>),
    {ok, File} = emmap:open(Path, 4, 0, [shared, write]),
    Text = "the mapping begins at byte 4 of the file, which is not a multiple of 8",
    ?raises(1, Text, emmap:patomic_read(File, 0)),
    ?raises(1, Text, emmap:patomic(File, 8, add, 1)),
    ?raises(1, Text, emmap:patomic_write(File, 8, 1)),
    ?raises(1, Text, emmap:patomic_cas(File, 8, 0, 1)),
    ?assertMatch({badarg, _}, emmap_test:raised(fun() -> emmap:patomic_read(File, 4) end)),
    ?assertEqual({ok, <<0:640>>}, file:read_file(Path)).

words_of_a_window_are_those_of_the_file(Config) ->
    Page = emmap_test:page_size(),
    Path = emmap_test:file(Config, "file", <<0:(8 * 2 * Page)>>),
    [begin
         {ok, Window} = emmap:open(Path, Offset, 16, [shared, write]),
         ok = emmap:patomic_write(Window, 8, Offset + 1),
         ok = emmap:close(Window),
         {ok, Bytes} = file:read_file(Path),
         ?assertEqual(<<(Offset + 1):64/native>>, binary:part(Bytes, Offset + 8, 8))
     end || Offset <- [0, 8, Page - 8, Page, Page + 8]].

values_have_64_bits(Config) ->
    File = words(Config, [0]),
    [begin
         ok = emmap:patomic_write(File, 0, Value),
         <<Signed:64/signed>> = <<Value:64>>,
         ?assertEqual(Signed, emmap:patomic_read(File, 0)),
         ?assertEqual(ok, emmap:patomic_cas(File, 0, Value, Value)),
         ?assertEqual(Signed, emmap:patomic(File, 0, xchg, Value))
     end || Value <- [0, -1, ?MAX - 1, ?MAX, ?MAX + 1, 1 bsl 64 - 1, ?MIN, ?MIN + 1]],
    [begin
         ?raises(3, Text, emmap:patomic_write(File, 0, Bad)),
         ?raises(4, Text, emmap:patomic(File, 0, add, Bad)),
         ?raises(4, Text, emmap:patomic(File, 0, xchg, Bad)),
         ?raises(3, Text, emmap:patomic_cas(File, 0, Bad, 0)),
         ?raises(4, Text, emmap:patomic_cas(File, 0, 0, Bad))
     end || {Bad, Text} <- [{1 bsl 64, "does not fit in 64 bits"}, {?MIN - 1, "does not fit in 64 bits"},
                            {1 bsl 100, "does not fit in 64 bits"}, {1.0, "not an integer"}, {a, "not an integer"}]],
    ?assertEqual(?MIN + 1, emmap:patomic_read(File, 0)).

unknown_operations_are_refused(Config) ->
    File = words(Config, [5]),
    ?raises(3, "unknown operation mul", emmap:patomic(File, 0, mul, 1)),
    ?raises(3, "unknown operation 'and'", emmap:patomic(File, 0, 'and', 1)),
    ?raises(3, "unknown operation 7", emmap:patomic(File, 0, 7, 1)),
    ?assertEqual(5, emmap:patomic_read(File, 0)).

compare_exchange_tells_what_was_there(Config) ->
    File = words(Config, [5, ?MIN]),
    ?assertEqual(5, emmap:patomic_cas(File, 0, 4, 1)),
    ?assertEqual(5, emmap:patomic_cas(File, 0, 6, 1)),
    ?assertEqual(ok, emmap:patomic_cas(File, 0, 5, -1)),
    ?assertEqual(-1, emmap:patomic_cas(File, 0, 5, 2)),
    ?assertEqual(ok, emmap:patomic_cas(File, 0, 1 bsl 64 - 1, 3)),
    ?assertEqual(3, emmap:patomic_read(File, 0)),
    ?assertEqual(?MIN, emmap:patomic_cas(File, 8, ?MAX, 0)),
    ?assertEqual(ok, emmap:patomic_cas(File, 8, ?MIN, ?MAX)),
    ?assertEqual(?MAX, emmap:patomic_read(File, 8)).

reading_needs_no_write(Config) ->
    [?assertEqual(7, emmap:patomic_read(words(Config, [7], Options), 0))
     || Options <- [[], [shared], [shared, direct]]].

writing_needs_write(Config) ->
    [begin
         File = words(Config, [7], Options),
         Text = "the file is not open for writing",
         ?raises(1, Text, emmap:patomic(File, 0, add, 0)),
         ?raises(1, Text, emmap:patomic_write(File, 0, 7)),
         ?raises(1, Text, emmap:patomic_cas(File, 0, 7, 7)),
         ?raises(1, Text, emmap:patomic_cas(File, 0, 8, 7))
     end || Options <- [[], [shared]]].

a_closed_file_is_refused(Config) ->
    File = words(Config, [7]),
    ok = emmap:close(File),
    Text = "the file is closed",
    ?raises(1, Text, emmap:patomic_read(File, 0)),
    ?raises(1, Text, emmap:patomic(File, 0, add, 1)),
    ?raises(1, Text, emmap:patomic_write(File, 0, 1)),
    ?raises(1, Text, emmap:patomic_cas(File, 0, 0, 1)),
    ?assertEqual({ok, <<7:64/native>>}, file:read_file(emmap_test:path(Config, "file"))).

what_is_no_handle_is_refused(_) ->
    [begin
         Text = "not a memory-mapped file",
         ?raises(1, Text, emmap:patomic_read(Bad, 0)),
         ?raises(1, Text, emmap:patomic(Bad, 0, add, 1)),
         ?raises(1, Text, emmap:patomic_write(Bad, 0, 1)),
         ?raises(1, Text, emmap:patomic_cas(Bad, 0, 0, 1))
     end || Bad <- [a, {}, #file_descriptor{module = file, data = make_ref()},
                    #file_descriptor{module = emmap, data = a}]].

%% In a VM of its own, which a signal that nobody caught would end.
a_file_cut_short_raises_truncated(Config) ->
    Path = emmap_test:file(Config, "file", <<1:64/native, 0:(8 * 3 * emmap_test:page_size())>>),
    Far = 2 * emmap_test:page_size(),
    Vm = emmap_test:start_vm(),
    emmap_test:in_vm(Vm, fun() ->
        {ok, File} = emmap:open(Path, [shared, write]),
        {ok, Raw} = file:open(Path, [raw, read, write]),
        {ok, 8} = file:position(Raw, 8),
        ok = file:truncate(Raw),
        ?assertError(truncated, emmap:patomic_read(File, Far)),
        ?assertError(truncated, emmap:patomic(File, Far, add, 1)),
        ?assertError(truncated, emmap:patomic_write(File, Far, 1)),
        ?assertError(truncated, emmap:patomic_cas(File, Far, 0, 1)),
        ?assertEqual(1, emmap:patomic(File, 0, add, 1))
    end),
    emmap_test:stop_vm(Vm),
    ?assertEqual({ok, <<2:64/native>>}, file:read_file(Path)).

private_words_stay_private(Config) ->
    File = words(Config, [5], [write]),
    Other = words(Config, [5], [shared]),
    ?assertEqual(5, emmap:patomic(File, 0, add, 1)),
    ?assertEqual(6, emmap:patomic_read(File, 0)),
    ?assertEqual(5, emmap:patomic_read(Other, 0)).

%%% At once: see emmap_test:overlap/5

-define(OVERLAP, 64).

%% Through one handle, and through two.
processes_lose_nothing(Config) ->
    [begin
         File = words(Config, lists:duplicate(10, 0)),
         {ok, Second} = emmap:open(emmap_test:path(Config, "file"), [shared, write]),
         Other = case Handles of 1 -> File; 2 -> Second end,
         Steps = emmap_test:together([fun() -> count(Handle, 4) end || Handle <- [File, Other, File, Other]]),
         Sum = lists:sum(Steps),
         ?assertEqual({Handles, [Sum, -Sum, Sum]},
                      {Handles, [emmap:patomic_read(File, Position) || Position <- [0, 8, 16]]}),
         [ok = emmap:close(Handle) || Handle <- [File, Second]]
     end || Handles <- [1, 2]].

vms_lose_nothing(Config) ->
    File = words(Config, lists:duplicate(10, 0)),
    Path = emmap_test:path(Config, "file"),
    Steps = emmap_test:in_two_vms(fun() ->
        {ok, Theirs} = emmap:open(Path, [shared, write]),
        count(Theirs, 2)
    end),
    Sum = lists:sum(Steps),
    ?assertEqual([Sum, -Sum, Sum], [emmap:patomic_read(File, Position) || Position <- [0, 8, 16]]).

%% Counts up by addition, down by subtraction, and up by compare-and-exchange; gives how often.
count(File, Counting) ->
    {Steps, _} = emmap_test:overlap(File, ?OVERLAP, Counting, fun(Last) ->
        Old = emmap:patomic(File, 0, add, 1),
        _ = emmap:patomic(File, 8, sub, 1),
        exchange(File, emmap:patomic_read(File, 16)),
        {Old =/= Last + 1, Old}
    end, -1),
    Steps.

exchange(File, Old) ->
    case emmap:patomic_cas(File, 16, Old, Old + 1) of
        ok -> ok;
        Actual -> exchange(File, Actual)
    end.

%% What was put in has come out once, or is still there.
exchanges_lose_nothing(Config) ->
    File = words(Config, lists:duplicate(10, 0)),
    Sums = emmap_test:together([fun() -> put_and_take(File, Worker bsl 40) end || Worker <- lists:seq(1, 4)]),
    {Put, Taken} = lists:unzip(Sums),
    ?assertEqual(lists:sum(Put), lists:sum(Taken) + emmap:patomic_read(File, 0)).

put_and_take(File, First) ->
    {_, {_, Put, Taken}} = emmap_test:overlap(File, ?OVERLAP, 4, fun({N, Put, Taken}) ->
        Old = emmap:patomic(File, 0, xchg, N),
        {Old =/= N - 1, {N + 1, Put + N, Taken + Old}}
    end, {First, 0, 0}),
    {Put, Taken}.

%% Each process has a bit of the word to itself, and finds it as it left it.
bits_of_others_stay(Config) ->
    File = words(Config, lists:duplicate(10, 0)),
    _ = emmap_test:together([fun() -> turn(File, 1 bsl Bit) end || Bit <- [0, 1, 31, 62]]),
    ?assertEqual(0, emmap:patomic_read(File, 0)).

turn(File, Bit) ->
    emmap_test:overlap(File, ?OVERLAP, 4, fun(Last) ->
        Set = emmap:patomic(File, 0, 'bor', Bit),
        Cleared = emmap:patomic(File, 0, 'band', bnot Bit),
        SetAgain = emmap:patomic(File, 0, 'bxor', Bit),
        ClearedAgain = emmap:patomic(File, 0, 'bxor', Bit),
        ?assertEqual({0, Bit, 0, Bit},
                     {Set band Bit, Cleared band Bit, SetAgain band Bit, ClearedAgain band Bit}),
        {Set bxor Last =/= Bit, ClearedAgain}
    end, Bit).
