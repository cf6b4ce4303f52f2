%% Copyright 2026 the emmap authors. Licensed under the Apache License, Version 2.0.

%% Atomic operations on words of each type. What they do to 64 bits is in emmap_atomic_SUITE.
-module(emmap_typed_words_SUITE).

-include_lib("stdlib/include/assert.hrl").

-compile([export_all, nowarn_export_all]).

-define(TYPES, [i8, i16, i32, i64, u8, u16, u32, u64]).
-define(OPERATIONS, [add, sub, 'band', 'bor', 'bxor', xchg, min, max]).
-define(raises(Argument, Text, Expression),
        ?assertEqual({badarg, #{Argument => Text}}, emmap_test:raised(fun() -> Expression end))).

all() ->
    [operations_agree_with_arithmetic, neighbours_stay, values_are_taken_modulo_the_word,
     compare_exchange_compares_the_word, min_and_max_of_64_bits, typed_words_have_bounds, typed_words_are_at_multiples_of_their_size,
     words_of_an_unaligned_mapping_are_refused, wrong_arguments_are_refused, reading_needs_no_write,
     a_file_cut_short_raises_truncated, processes_lose_nothing].

init_per_testcase(Case, Config) -> emmap_test:directory(Case, Config).

end_per_testcase(_, _) -> ok.

open(Config, Bytes, Options) ->
    {ok, File} = emmap:open(emmap_test:file(Config, "file", Bytes), Options),
    File.

bits(Type) -> list_to_integer(tl(atom_to_list(Type))).

size_of(Type) -> bits(Type) div 8.

%% The lower bits of a number, as the type has them.
as(Type, Value) ->
    Bits = bits(Type),
    case hd(atom_to_list(Type)) of
        $i -> <<Word:Bits/signed>> = <<Value:Bits>>, Word;
        $u -> <<Word:Bits>> = <<Value:Bits>>, Word
    end.

model(Type, Operation, Old, Value) -> as(Type, apply_to(Operation, Old, as(Type, Value))).

apply_to(add, Old, Value) -> Old + Value;
apply_to(sub, Old, Value) -> Old - Value;
apply_to('band', Old, Value) -> Old band Value;
apply_to('bor', Old, Value) -> Old bor Value;
apply_to('bxor', Old, Value) -> Old bxor Value;
apply_to(xchg, _, Value) -> Value;
apply_to(min, Old, Value) -> min(Old, Value);
apply_to(max, Old, Value) -> max(Old, Value).

%% On both sides of where a type ends, and where its sign changes.
values(Type) ->
    Bits = bits(Type),
    lists:usort([as(Type, N) || N <- [0, 1, -1, 2, 7, 16#55]
                                    ++ [(1 bsl (Bits - 1)) + Delta || Delta <- [-2, -1, 0, 1]]]).

operations_agree_with_arithmetic(Config) ->
    File = open(Config, <<0:192>>, [shared, write]),
    [begin
         ok = emmap:patomic_write(File, 8, Type, Start),
         ?assertEqual({Type, Start}, {Type, emmap:patomic_read(File, 8, Type)}),
         ?assertEqual({Type, Operation, Value, Start},
                      {Type, Operation, Value, emmap:patomic(File, 8, Type, Operation, Value)}),
         ?assertEqual({Type, Operation, Start, Value, model(Type, Operation, Start, Value)},
                      {Type, Operation, Start, Value, emmap:patomic_read(File, 8, Type)})
     end || Type <- ?TYPES, Operation <- ?OPERATIONS, Start <- values(Type), Value <- values(Type)],
    ?assertEqual({ok, <<0:64>>}, emmap:pread(File, 0, 8)),
    ?assertEqual({ok, <<0:64>>}, emmap:pread(File, 16, 8)).

%% No operation touches a byte beside its word, at whichever place in the file.
neighbours_stay(Config) ->
    Ones = binary:copy(<<255>>, 16),
    File = open(Config, Ones, [shared, write]),
    [begin
         ok = emmap:pwrite(File, 0, Ones),
         Change(Type, Position),
         {Size, Zeroes} = {size_of(Type), 8 * size_of(Type)},
         <<Before:Position/binary, Word:Size/binary, After/binary>> = Ones,
         ?assertEqual(<<255>>, binary:part(Word, 0, 1)),
         ?assertEqual({Type, Position, {ok, <<Before/binary, 0:Zeroes, After/binary>>}},
                      {Type, Position, emmap:pread(File, 0, 16)})
     end || Type <- ?TYPES, Position <- lists:seq(0, 15, size_of(Type)),
            Change <- [fun(T, At) -> -1 = as(i64, emmap:patomic(File, At, T, add, 1) bor -(1 bsl bits(T))) end,
                       fun(T, At) -> ok = emmap:patomic_write(File, At, T, 0) end,
                       fun(T, At) -> ok = emmap:patomic_cas(File, At, T, -1, 0) end]].

values_are_taken_modulo_the_word(Config) ->
    File = open(Config, <<0:64>>, [shared, write]),
    [begin
         ok = emmap:patomic_write(File, 0, Type, Value),
         ?assertEqual({Type, Value, as(Type, Value)}, {Type, Value, emmap:patomic_read(File, 0, Type)}),
         ?assertEqual(as(Type, Value), emmap:patomic(File, 0, Type, add, Value)),
         ?assertEqual(as(Type, 2 * Value), emmap:patomic_read(File, 0, Type))
     end || Type <- ?TYPES,
            Value <- [Sign * (1 bsl Bits) + Delta || Bits <- [7, 8, 15, 16, 31, 32, 62], Sign <- [1, -1],
                                                     Delta <- [-1, 0, 1]]
                ++ [(1 bsl 64) - 1, -(1 bsl 63)]].

compare_exchange_compares_the_word(Config) ->
    File = open(Config, <<0:64>>, [shared, write]),
    [begin
         ok = emmap:patomic_write(File, 0, Type, -1),
         ?assertEqual(as(Type, -1), emmap:patomic_cas(File, 0, Type, 0, 5)),
         ?assertEqual(ok, emmap:patomic_cas(File, 0, Type, -1, 5)),
         ?assertEqual(5, emmap:patomic_cas(File, 0, Type, -1, 6)),
         %% The same bits in the word.
         Same = (5 + (1 bsl bits(Type))) rem (1 bsl 64),
         ?assertEqual(ok, emmap:patomic_cas(File, 0, Type, Same, (1 bsl bits(Type)) - 1)),
         ?assertEqual(as(Type, -1), emmap:patomic_read(File, 0, Type)),
         ok = emmap:patomic_write(File, 0, 0)
     end || Type <- ?TYPES].

min_and_max_of_64_bits(Config) ->
    File = open(Config, <<0:64>>, [shared, write]),
    [begin
         ok = emmap:patomic_write(File, 0, Start),
         ?assertEqual(Start, emmap:patomic(File, 0, Operation, Value)),
         ?assertEqual(model(i64, Operation, Start, Value), emmap:patomic_read(File, 0))
     end || Operation <- [min, max], Start <- values(i64), Value <- values(i64)].

%% 31 bytes: the last word of each size that lies within them, and the first that does not.
typed_words_have_bounds(Config) ->
    File = open(Config, <<0:(31 * 8)>>, [shared, write]),
    [begin
         Size = size_of(Type),
         Last = (31 div Size - 1) * Size,
         ?assertEqual(0, emmap:patomic(File, Last, Type, add, 1)),
         ?assertEqual(1, emmap:patomic_read(File, Last, Type)),
         ?assertEqual(ok, emmap:patomic_cas(File, Last, Type, 1, 2)),
         ?assertEqual(ok, emmap:patomic_write(File, Last, Type, 0)),
         [begin
              Text = lists:flatten(io_lib:format("position ~b is out of range: the mapping has 31 bytes", [Position])),
              ?raises(2, Text, emmap:patomic(File, Position, Type, add, 1)),
              ?raises(2, Text, emmap:patomic_read(File, Position, Type)),
              ?raises(2, Text, emmap:patomic_write(File, Position, Type, 1)),
              ?raises(2, Text, emmap:patomic_cas(File, Position, Type, 0, 1))
          end || Position <- [Last + Size, -Size, 1 bsl 40, (1 bsl 63) - Size, 1 bsl 64]]
     end || Type <- ?TYPES],
    ?assertEqual({ok, <<0:(31 * 8)>>}, emmap:pread(File, 0, 100)).

typed_words_are_at_multiples_of_their_size(Config) ->
    File = open(Config, <<0:256>>, [shared, write]),
    [begin
         Size = size_of(Type),
         case Position rem Size of
             0 -> ?assertEqual(0, emmap:patomic(File, Position, Type, add, 0));
             _ ->
                 Text = lists:flatten(io_lib:format("position ~b is not a multiple of ~b", [Position, Size])),
                 ?raises(2, Text, emmap:patomic(File, Position, Type, add, 0)),
                 ?raises(2, Text, emmap:patomic_read(File, Position, Type)),
                 ?raises(2, Text, emmap:patomic_write(File, Position, Type, 0)),
                 ?raises(2, Text, emmap:patomic_cas(File, Position, Type, 0, 0))
         end
     end || Type <- ?TYPES, Position <- lists:seq(0, 16)].

words_of_an_unaligned_mapping_are_refused(Config) ->
    Path = emmap_test:file(Config, "file", <<0:640>>),
    {ok, File} = emmap:open(Path, 2, 0, [shared, write]),
    ?assertEqual(0, emmap:patomic(File, 1, u8, add, 1)),
    ?assertEqual(0, emmap:patomic(File, 2, u16, add, 1)),
    ?raises(1, "the mapping begins at byte 2 of the file, which is not a multiple of 4",
            emmap:patomic(File, 4, i32, add, 1)),
    ?assertEqual({ok, <<0:24, 1, 1:16/native, 0:(74 * 8)>>}, file:read_file(Path)).

wrong_arguments_are_refused(Config) ->
    File = open(Config, <<0:64>>, [shared, write]),
    [begin
         Text = lists:flatten(io_lib:format("unknown type ~0tp", [Type])),
         ?raises(3, Text, emmap:patomic(File, 0, Type, add, 1)),
         ?raises(3, Text, emmap:patomic_read(File, 0, Type)),
         ?raises(3, Text, emmap:patomic_write(File, 0, Type, 1)),
         ?raises(3, Text, emmap:patomic_cas(File, 0, Type, 0, 1))
     end || Type <- [i128, f32, add, 8, "u8", <<"u8">>]],
    ?raises(4, "unknown operation mul", emmap:patomic(File, 0, u8, mul, 1)),
    [begin
         ?raises(5, Text, emmap:patomic(File, 0, u8, add, Bad)),
         ?raises(4, Text, emmap:patomic_write(File, 0, u8, Bad)),
         ?raises(4, Text, emmap:patomic_cas(File, 0, u8, Bad, 0)),
         ?raises(5, Text, emmap:patomic_cas(File, 0, u8, 0, Bad))
     end || {Bad, Text} <- [{1 bsl 64, "does not fit in 64 bits"}, {-(1 bsl 63) - 1, "does not fit in 64 bits"},
                            {1.0, "not an integer"}, {a, "not an integer"}]],
    ?raises(2, "not an integer", emmap:patomic(File, a, u8, add, 1)),
    [begin
         ?raises(1, Text, emmap:patomic(Bad, 0, u8, add, 1)),
         ?raises(1, Text, emmap:patomic_read(Bad, 0, u8)),
         ?raises(1, Text, emmap:patomic_write(Bad, 0, u8, 1)),
         ?raises(1, Text, emmap:patomic_cas(Bad, 0, u8, 0, 1))
     end || {Bad, Text} <- [{a, "not a memory-mapped file"}, {closed(Config), "the file is closed"}]],
    ?assertEqual({ok, <<0:64>>}, emmap:pread(File, 0, 8)).

closed(Config) ->
    {ok, File} = emmap:open(emmap_test:file(Config, "closed", <<0:64>>), [shared, write]),
    ok = emmap:close(File),
    File.

reading_needs_no_write(Config) ->
    File = open(Config, <<-7:64/native>>, [shared]),
    ?assertEqual(-7, emmap:patomic_read(File, 0, i64)),
    Text = "the file is not open for writing",
    ?raises(1, Text, emmap:patomic(File, 0, u8, add, 0)),
    ?raises(1, Text, emmap:patomic_write(File, 0, u8, 0)),
    ?raises(1, Text, emmap:patomic_cas(File, 0, u8, 0, 0)).

%% In a VM of its own, which a signal that nobody caught would end.
a_file_cut_short_raises_truncated(Config) ->
    Far = 2 * emmap_test:page_size(),
    Path = emmap_test:file(Config, "file", <<0:(2 * 8 * Far)>>),
    Vm = emmap_test:start_vm(),
    emmap_test:in_vm(Vm, fun() ->
        {ok, File} = emmap:open(Path, [shared, write]),
        {ok, Raw} = file:open(Path, [raw, read, write]),
        {ok, 8} = file:position(Raw, 8),
        ok = file:truncate(Raw),
        [begin
             ?assertError(truncated, emmap:patomic(File, Far, Type, add, 1)),
             ?assertError(truncated, emmap:patomic_read(File, Far, Type)),
             ?assertError(truncated, emmap:patomic_write(File, Far, Type, 1)),
             ?assertError(truncated, emmap:patomic_cas(File, Far, Type, 0, 1)),
             ?assertEqual(0, emmap:patomic(File, 0, Type, 'bor', 0))
         end || Type <- ?TYPES]
    end),
    emmap_test:stop_vm(Vm),
    ?assertEqual({ok, <<0:64>>}, file:read_file(Path)).

%% Neighbouring words of one 64-bit word, added to at once, and a greatest value that only rises.
processes_lose_nothing(Config) ->
    File = open(Config, <<0:(64 * 16)>>, [shared, write]),
    Sums = emmap_test:together([fun() -> add(File, Type, At) end
                                || {Type, At} <- [{u8, 0}, {u8, 0}, {i16, 2}, {u32, 4}]]),
    [A, B, C, D] = Sums,
    ?assertEqual({as(u8, A + B), as(i16, C), as(u32, D)},
                 {emmap:patomic_read(File, 0, u8), emmap:patomic_read(File, 2, i16), emmap:patomic_read(File, 4, u32)}),
    ?assertEqual(lists:max(Sums), emmap:patomic_read(File, 8, u32)).

%% Beside additions, which are one instruction, one that is a comparison and an exchange, and changes nothing.
add(File, Type, At) ->
    {Steps, _} = emmap_test:overlap(File, 64, 4, fun(N) ->
        _ = emmap:patomic(File, At, Type, add, 1),
        _ = emmap:patomic(File, At, Type, 'bxor', 0),
        Greatest = emmap:patomic(File, 8, u32, max, N + 1),
        {Greatest =/= N, N + 1}
    end, 0),
    Steps.
