%% Copyright 2026 the emmap authors. Licensed under the Apache License, Version 2.0.

%% @private
%% @doc Explains exceptions to the shell (EEP 54).
-module(emmap_error).

-export([format_error/2, is_callers/1, reason_text/1]).

-include("emmap_api.hrl").
-include("emmap_counters.hrl").

%% @doc Says which argument of the function on top of the stack is wrong, and why.
-spec format_error(term(), [tuple()]) -> #{general | pos_integer() => binary()}.
format_error(_Reason, [{_Module, Function, Args, Info} | _]) ->
    ErrorInfo = proplists:get_value(error_info, Info, #{}),
    case {maps:get(cause, ErrorInfo, none), Args} of
        {{counters, Why}, [Name | _]} ->
            #{general => text("~ts: ~ts", [printable(Name), counters_text(Why)])};
        {{Number, Why}, _} when is_integer(Number) -> #{Number => argument_text(Why)};
        {Why, _} when is_list(Args) -> explain(Function, Args, Why);
        _ -> #{}
    end.

%% @doc Whether a reason that an operation on a word gives is the caller's mistake, and so raised as `badarg'.
-spec is_callers(atom()) -> boolean().
is_callers(Reason) -> lists:member(Reason, [badarg, closed, misaligned, out_of_range, read_only]).

-define(TYPES, [i8, i16, i32, i64, u8, u16, u32, u64]).
%% Operations on words whose type is an argument.
-define(is_typed(Function, Arity),
        (Function =:= patomic_read andalso Arity =:= 3 orelse Function =:= patomic_write andalso Arity =:= 4
         orelse (Function =:= patomic orelse Function =:= patomic_cas) andalso Arity =:= 5)).

explain(_, [File, Offset | _], past_the_end) ->
    #{case Offset > size_of(File) of true -> 2; false -> 3 end => argument_text(past_the_end)};
explain(_, [_ | _], closed) -> #{1 => <<"the file is closed">>};
explain(_, [_ | _], read_only) -> #{1 => <<"the file is not open for writing">>};
explain(_, [{File, Count}, Number | Rest], Why) when Why =:= no_counter; Why =:= badarg ->
    case is_handle(File) andalso is_integer(Count) of
        false -> #{1 => <<"not a file of counters">>};
        true when not is_integer(Number) -> #{2 => <<"not an integer">>};
        true when Number < 0; Number >= Count ->
            #{2 => text("no counter ~ts: the file has ~b, numbered from 0", [shown(Number), Count])};
        true -> values(3, Rest)
    end;
explain(_, [_ | _], no_counter) -> #{1 => <<"not a file of counters">>};
explain(Function, [File, Position | _] = Args, misaligned) ->
    Size = word_size(Function, Args),
    case is_integer(Position) andalso Position rem Size =:= 0 of
        true ->
            #{offset := Offset} = emmap:info(File),
            #{1 => text("the mapping begins at byte ~b of the file, which is not a multiple of ~b", [Offset, Size])};
        false -> #{2 => text("position ~ts is not a multiple of ~b", [shown(Position), Size])}
    end;
explain(_, [{File, _}, Number | _], out_of_range) when is_integer(Number) ->
    #{1 => text("counter ~ts is not in the file, which has ~b bytes", [shown(Number), size_of(File)])};
explain(_, [File, Position | _], out_of_range) ->
    #{2 => text("position ~ts is out of range: the mapping has ~b bytes", [shown(Position), size_of(File)])};
explain(Function, [File | Rest], badarg) ->
    case is_handle(File) andalso arguments(Function, Rest) of
        %% A reference, and arguments that are right: then it is not one of ours.
        Nothing when Nothing =:= false; Nothing =:= #{} -> #{1 => <<"not a memory-mapped file">>};
        Explained -> Explained
    end;
explain(_, _, Why) when is_atom(Why) -> #{general => reason_text(Why)}.

arguments(Function, Args)
  when Function =:= resize; Function =:= sync; Function =:= resident; Function =:= populate; Function =:= lock_memory;
       Function =:= unlock_memory; Function =:= punch_hole ->
    maps:from_list([{Number, <<"not an integer from 0 to 2^63 - 1">>}
                    || {Number, Arg} <- lists:zip(lists:seq(2, length(Args) + 1), Args),
                       not is_integer(Arg) orelse Arg < 0 orelse Arg >= 1 bsl 63]);
arguments(lock_file, [Kind | _]) when Kind =/= shared, Kind =/= exclusive ->
    #{2 => text("neither shared nor exclusive: ~ts", [shown(Kind)])};
arguments(lock_file, [_, Timeout]) when not is_integer(Timeout), Timeout =/= infinity; Timeout < 0 ->
    #{3 => <<"not a number of milliseconds, nor infinity">>};
arguments(lock_file, _) -> #{};
arguments(await, [_, _, Timeout]) when not (is_integer(Timeout) andalso Timeout >= 0 andalso Timeout < 1 bsl 32),
                                       Timeout =/= infinity ->
    #{4 => argument_text(not_a_timeout)};
arguments(await, [Position, Value, _]) -> arguments(patomic_write, [Position, Value]);
arguments(_, [Position | _]) when not is_integer(Position) -> #{2 => <<"not an integer">>};
arguments(patomic, [_, Operation, Value]) -> operation(3, Operation, Value);
arguments(Function, [_, Type | Rest] = Args) when ?is_typed(Function, length(Args) + 1) ->
    case {lists:member(Type, ?TYPES), Rest} of
        {false, _} -> #{3 => text("unknown type ~ts", [shown(Type)])};
        {true, [Operation, Value]} when Function =:= patomic -> operation(4, Operation, Value);
        {true, _} -> values(4, Rest)
    end;
arguments(_, [_ | Values]) -> values(3, Values);
arguments(_, []) -> #{}.

operation(Number, Operation, Value) ->
    case lists:member(Operation, [add, sub, 'band', 'bor', 'bxor', xchg, min, max]) of
        true -> values(Number + 1, [Value]);
        false -> #{Number => text("unknown operation ~ts", [shown(Operation)])}
    end.

%% Bytes of the word that a function was called for.
word_size(Function, [_, _, Type | _] = Args) when ?is_typed(Function, length(Args)) ->
    list_to_integer(tl(atom_to_list(Type))) div 8;
word_size(_, _) -> 8.

%% 64-bit words, signed or unsigned.
values(_, []) -> #{};
values(Number, [Value | Rest]) ->
    if
        not is_integer(Value) -> #{Number => <<"not an integer">>};
        Value < -(1 bsl 63); Value >= 1 bsl 64 -> #{Number => <<"does not fit in 64 bits">>};
        true -> values(Number + 1, Rest)
    end.

size_of(File) -> try maps:get(size, emmap:info(File)) catch error:_ -> 0 end.

%% Elixir takes nothing but binaries.
text(Format, Args) -> unicode:characters_to_binary(io_lib:format(Format, Args)).

is_handle(?handle(Resource)) -> is_reference(Resource);
is_handle(_) -> false.

%% Up to how many characters of what the caller gave are in a text.
-define(SHOWN, 400).

%% A term, as the shell prints it. Strings and lists are cut by what prints them, integers are not.
shown(Term) -> cut(io_lib:format("~0tP", [Term, 10], [{chars_limit, ?SHOWN}])).

%% A file name.
printable(Name) ->
    case io_lib:printable_unicode_list(Name) orelse is_binary(Name) of
        true -> cut(Name);
        false -> shown(Name)
    end.

cut(Text) ->
    case string:slice(Text, ?SHOWN) of
        Rest when Rest =:= []; Rest =:= <<>> -> Text;
        _ -> [string:slice(Text, 0, ?SHOWN), "..."]
    end.

argument_text(not_a_file) -> <<"not a memory-mapped file">>;
argument_text(not_a_pattern) -> <<"not a binary with a byte or more, nor a list of such binaries">>;
argument_text(not_a_positive_number) -> <<"not an integer from 1 to 2^63 - 1">>;
argument_text(not_a_function) -> <<"not a function of two arguments">>;
argument_text(not_a_function_of_3) -> <<"not a function of three arguments">>;
argument_text(not_a_name) -> <<"not a file name">>;
argument_text(not_an_offset) -> <<"not an integer from 0 to 2^63 - 1">>;
argument_text(not_a_length) -> <<"not an integer from 0 to 2^63 - 1">>;
argument_text(not_a_count) ->
    text("not a number of counters: an integer from 0 to ~b", [?MAX_COUNT]);
argument_text(past_the_end) -> <<"the range ends past the end of the mapping">>;
argument_text(not_counters) -> <<"not a file of counters">>;
argument_text(not_a_counter) -> <<"not a counter">>;
argument_text(not_a_label) -> <<"not a label: iodata of at most 104 bytes">>;
argument_text(not_a_word) -> <<"not an integer of 64 bits">>;
argument_text(not_a_local_name) -> <<"not {local, Name} with an atom">>;
argument_text(not_a_queue) -> <<"not a queue">>;
argument_text(not_iodata) -> <<"not iodata, and the queue is one of bytes">>;
argument_text(not_messages) -> <<"not a list of messages">>;
argument_text(not_a_timeout) -> <<"not a time-out: an integer from 0 to 2^32 - 1, or infinity">>;
argument_text(not_a_number_of_messages) -> <<"not an integer from 0 to 2^31 - 1">>;
argument_text(not_a_receipt) -> <<"not a receipt">>;
argument_text(not_a_consumer) -> <<"not a name of a consumer: an atom or a binary of at most 110 bytes">>;
argument_text(not_an_end) -> <<"neither oldest nor newest">>;
argument_text(not_blocks) -> <<"not blocks">>;
argument_text(not_a_block_size) -> <<"not an integer from 0 to 2^24">>;
argument_text(not_an_address) -> <<"not an address: an integer from 0 to 2^36 - 1">>;
argument_text(not_a_number_of_blocks) -> <<"not an integer from 1 to 2^31 - 1">>;
argument_text(not_bytes) -> <<"not iodata">>;
argument_text(not_a_list) -> <<"not a list of options">>;
argument_text({needs, Option, Other}) ->
    text("option ~ts needs {~ts, ~ts}", [Option, Other, string:titlecase(atom_to_list(Other))]);
argument_text({conflict, One, Other}) -> text("options ~ts and ~ts exclude each other", [One, Other]);
argument_text({bad_value, Option}) -> text("bad value in option ~ts", [shown(Option)]);
argument_text({unknown_option, Option}) -> text("unknown option ~ts", [shown(Option)]).

counters_text(bad_magic) -> <<"not a file of counters">>;
counters_text({wrong_count, N}) -> text("the file has ~b counters, another number was asked for", [N]);
counters_text({wrong_length, Size}) ->
    text("~b bytes are not the length of a file of that many counters", [Size]);
counters_text(Reason) -> reason_text(Reason).

%% @doc Says what the world refused.
-spec reason_text(atom()) -> binary().
reason_text(truncated) -> <<"the file was cut short by somebody else">>;
reason_text(Reason) -> text("~ts", [file:format_error(Reason)]).
