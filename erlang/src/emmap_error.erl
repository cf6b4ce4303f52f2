%% Copyright 2026 the emmap authors. Licensed under the Apache License, Version 2.0.

%% @private
%% @doc Explains exceptions to the shell (EEP 54).
-module(emmap_error).

-export([format_error/2]).

-include_lib("kernel/include/file.hrl").

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

explain(_, [_ | _], closed) -> #{1 => <<"the file is closed">>};
explain(_, [_ | _], read_only) -> #{1 => <<"the file is not open for writing">>};
explain(_, [{File, Count}, Number | Rest], Why) when Why =:= no_counter; Why =:= badarg ->
    case is_handle(File) andalso is_integer(Count) of
        false -> #{1 => <<"not a file of counters">>};
        true when not is_integer(Number) -> #{2 => <<"not an integer">>};
        true when Number < 0; Number >= Count ->
            #{2 => text("no counter ~b: the file has ~b, numbered from 0", [Number, Count])};
        true -> values(3, Rest)
    end;
explain(_, [_ | _], no_counter) -> #{1 => <<"not a file of counters">>};
explain(_, [File, Position | _], misaligned) when is_integer(Position), Position rem 8 =:= 0 ->
    #{offset := Offset} = emmap:info(File),
    #{1 => text("the mapping begins at byte ~b of the file, which is not a multiple of 8", [Offset])};
explain(_, [_, Position | _], misaligned) ->
    #{2 => text("position ~tp is not a multiple of 8", [Position])};
explain(_, [{File, _}, Number | _], out_of_range) when is_integer(Number) ->
    #{1 => text("counter ~b is not in the file, which has ~b bytes", [Number, size_of(File)])};
explain(_, [File, Position | _], out_of_range) ->
    #{2 => text("position ~tp is out of range: the mapping has ~b bytes", [Position, size_of(File)])};
explain(Function, [File | Rest], badarg) ->
    case is_handle(File) andalso arguments(Function, Rest) of
        %% A reference, and arguments that are right: then it is not one of ours.
        Nothing when Nothing =:= false; Nothing =:= #{} -> #{1 => <<"not a memory-mapped file">>};
        Explained -> Explained
    end;
explain(_, _, Why) when is_atom(Why) -> #{general => reason_text(Why)}.

arguments(Function, Args) when Function =:= resize; Function =:= sync ->
    maps:from_list([{Number, <<"not an integer from 0 to 2^63 - 1">>}
                    || {Number, Arg} <- lists:zip(lists:seq(2, length(Args) + 1), Args),
                       not is_integer(Arg) orelse Arg < 0 orelse Arg >= 1 bsl 63]);
arguments(_, [Position | _]) when not is_integer(Position) -> #{2 => <<"not an integer">>};
arguments(patomic, [_, Operation, Value]) ->
    case lists:member(Operation, [add, sub, 'band', 'bor', 'bxor', xchg]) of
        true -> values(4, [Value]);
        false -> #{3 => text("unknown operation ~tp", [Operation])}
    end;
arguments(_, [_ | Values]) -> values(3, Values);
arguments(_, []) -> #{}.

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

is_handle(#file_descriptor{module = emmap, data = Data}) -> is_reference(Data);
is_handle(_) -> false.

argument_text(not_a_name) -> <<"not a file name">>;
argument_text(not_an_offset) -> <<"not an integer from 0 to 2^63 - 1">>;
argument_text(not_a_length) -> <<"not an integer from 0 to 2^63 - 1">>;
argument_text(not_a_count) ->
    text("not a number of counters: an integer from 0 to ~b", [emmap_counters:max_count()]);
argument_text(past_the_end) -> <<"the range ends past the end of the mapping">>;
argument_text(not_counters) -> <<"not a file of counters">>;
argument_text(not_a_local_name) -> <<"not {local, Name} with an atom">>;
argument_text(not_a_queue) -> <<"not a queue">>;
argument_text(not_iodata) -> <<"not iodata, and the queue is one of bytes">>;
argument_text(not_messages) -> <<"not a list of messages">>;
argument_text(not_a_timeout) -> <<"not a time-out: an integer from 0 to 2^32 - 1, or infinity">>;
argument_text(not_a_number_of_messages) -> <<"not an integer from 0 to 2^31 - 1">>;
argument_text(not_a_function) -> <<"not a function of two arguments">>;
argument_text(not_a_receipt) -> <<"not a receipt">>;
argument_text(not_a_consumer) -> <<"not a name of a consumer: an atom or a binary of at most 110 bytes">>;
argument_text(not_an_end) -> <<"neither oldest nor newest">>;
argument_text(Option) -> text("~ts", [emmap_options:explain(Option)]).

counters_text(bad_magic) -> <<"not a file of counters">>;
counters_text({wrong_count, N}) -> text("the file has ~b counters, another number was asked for", [N]);
counters_text({wrong_length, Size}) ->
    text("~b bytes are not the length of a file of that many counters", [Size]);
counters_text(Reason) -> reason_text(Reason).

reason_text(truncated) -> <<"the file was cut short by somebody else">>;
reason_text(Reason) -> text("~ts", [file:format_error(Reason)]).

printable(Name) ->
    case io_lib:printable_unicode_list(Name) orelse is_binary(Name) of
        true -> Name;
        false -> text("~tp", [Name])
    end.
