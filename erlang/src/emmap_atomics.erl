%% Copyright 2026 the emmap authors. Licensed under the Apache License, Version 2.0.

%% @doc `atomics' in a file: the same functions, and the values outlive the node.
%%
%% Arrays of 64-bit integers, signed or unsigned, that all who have the file open may change at the same time:
%% processes, nodes, other programs. As with `atomics', indexes begin at 1, every operation is sequentially consistent,
%% results wrap around, and wrong arguments raise what they raise there. The differences: {@link open/3} takes a file;
%% the array of a closed file is a wrong argument; and if the words cannot be reached any more, operations raise the
%% reason (`truncated' when somebody has cut the file short).
%%
%% The file is one of counters, as `emmap:open_counters/2' opens it. It does not say whether its words are signed: that
%% is how they are looked at.
-module(emmap_atomics).

-export([open/3, close/1, sync/1]).
-export([put/3, get/2, add/3, add_get/3, sub/3, sub_get/3, exchange/3, compare_exchange/4, info/1]).
-export([format_error/2]).

-include("emmap_counters.hrl").

-export_type([atomics_ref/0, option/0, open_reason/0]).

-record(atomics, {file :: emmap:mmap_file(), arity :: pos_integer(), signed :: boolean()}).

-opaque atomics_ref() :: #atomics{}.
%% An open array. Any process of the node may use it; its file is closed by {@link close/1} or when nothing refers to it
%% any more.

-type option() :: {signed, boolean()}.
%% Whether the integers are signed, from -(2^63) to 2^63 - 1, or unsigned, from 0 to 2^64 - 1. Default: signed. If given
%% more than once, the last one counts.

-type open_reason() :: emmap:reason() | bad_magic | {wrong_length, Bytes :: non_neg_integer()}
                     | {wrong_count, Arity :: non_neg_integer()}.
%% `bad_magic' and `wrong_length': not a file of counters. `wrong_count': it has another number of them.

%% Where a word is in its file.
-define(position(Index), ?COUNTER((Index) - 1)).

-define(MIN_SIGNED, -16#8000000000000000).
-define(MAX_SIGNED, 16#7fffffffffffffff).
-define(MAX_UNSIGNED, 16#ffffffffffffffff).

-define(is_index(Index, Arity), is_integer(Index) andalso Index >= 1 andalso Index =< Arity).
-define(is_value(Value, Signed),
        is_integer(Value) andalso
        (Signed andalso Value >= ?MIN_SIGNED andalso Value =< ?MAX_SIGNED orelse
         not Signed andalso Value >= 0 andalso Value =< ?MAX_UNSIGNED)).
%% What is added may be signed or unsigned, whatever the words are.
-define(is_increment(Value), is_integer(Value) andalso Value >= ?MIN_SIGNED andalso Value =< ?MAX_UNSIGNED).

%% Macros, so that the exported function is the one on top of the stack: that is where the shell looks for the
%% arguments.
-define(raise(Reason, Args), erlang:error(Reason, Args, [{error_info, #{module => ?MODULE}}])).
-define(badarg(Args), ?raise(badarg, Args)).
%% Raises what the file of an array answered to arguments that are right.
-define(failed(Reason, Args), erlang:error(Reason, Args, [{error_info, #{module => ?MODULE, cause => failed}}])).

%% @doc Opens a file of `Arity' integers; creates it, all zero, if it does not exist. `{signed, true}' is the default. A
%% file that is anything else is left untouched.
-spec open(Name :: file:name_all(), Arity :: pos_integer(), Options :: [option()]) ->
          {ok, atomics_ref()} | {error, open_reason()}.
open(Name, Arity, Options) when is_integer(Arity), Arity >= 1 ->
    case signed(Options, true) of
        Signed when is_boolean(Signed) ->
            case Arity =< ?MAX_COUNT andalso emmap_counters:open(Name, Arity) of
                {ok, File, Arity} -> {ok, #atomics{file = File, arity = Arity, signed = Signed}};
                {error, {argument, _, _}} -> ?badarg([Name, Arity, Options]);
                {error, _} = Error -> Error;
                false -> ?raise(system_limit, [Name, Arity, Options])
            end;
        badarg -> ?badarg([Name, Arity, Options])
    end;
open(Name, Arity, Options) -> ?badarg([Name, Arity, Options]).

signed([{signed, Signed} | Options], _) when is_boolean(Signed) -> signed(Options, Signed);
signed([], Signed) -> Signed;
signed(_, _) -> badarg.

%% @doc Closes the file. Returns `{error, closed}' if it was closed before.
-spec close(Ref :: atomics_ref()) -> ok | {error, emmap:reason()}.
close(#atomics{file = File}) -> emmap:close(File);
close(Ref) -> ?badarg([Ref]).

%% @doc Returns when all that was written is on disk, as `emmap:sync/1'.
-spec sync(Ref :: atomics_ref()) -> ok | {error, emmap:reason()}.
sync(#atomics{file = File}) -> emmap:sync(File);
sync(Ref) -> ?badarg([Ref]).

%% @doc Sets an atomic to `Value'.
-spec put(Ref :: atomics_ref(), Index :: pos_integer(), Value :: integer()) -> ok.
put(#atomics{file = File, arity = Arity, signed = Signed} = Ref, Index, Value)
  when ?is_index(Index, Arity), ?is_value(Value, Signed) ->
    try emmap:patomic_write(File, ?position(Index), Value)
    catch error:Reason -> ?failed(Reason, [Ref, Index, Value])
    end;
put(Ref, Index, Value) -> ?badarg([Ref, Index, Value]).

%% @doc Reads an atomic.
-spec get(Ref :: atomics_ref(), Index :: pos_integer()) -> integer().
get(#atomics{file = File, arity = Arity, signed = Signed} = Ref, Index) when ?is_index(Index, Arity) ->
    try emmap:patomic_read(File, ?position(Index)) of
        Value -> value(Value, Signed)
    catch error:Reason -> ?failed(Reason, [Ref, Index])
    end;
get(Ref, Index) -> ?badarg([Ref, Index]).

%% @doc Adds `Increment' to an atomic.
-spec add(Ref :: atomics_ref(), Index :: pos_integer(), Increment :: integer()) -> ok.
add(#atomics{file = File, arity = Arity} = Ref, Index, Increment)
  when ?is_index(Index, Arity), ?is_increment(Increment) ->
    try emmap:patomic(File, ?position(Index), add, Increment) of
        _ -> ok
    catch error:Reason -> ?failed(Reason, [Ref, Index, Increment])
    end;
add(Ref, Index, Increment) -> ?badarg([Ref, Index, Increment]).

%% @doc Adds `Increment' to an atomic and returns the result.
-spec add_get(Ref :: atomics_ref(), Index :: pos_integer(), Increment :: integer()) -> integer().
add_get(#atomics{file = File, arity = Arity, signed = Signed} = Ref, Index, Increment)
  when ?is_index(Index, Arity), ?is_increment(Increment) ->
    try emmap:patomic(File, ?position(Index), add, Increment) of
        Old -> wrap(Old + Increment, Signed)
    catch error:Reason -> ?failed(Reason, [Ref, Index, Increment])
    end;
add_get(Ref, Index, Increment) -> ?badarg([Ref, Index, Increment]).

%% @doc Subtracts `Decrement' from an atomic.
-spec sub(Ref :: atomics_ref(), Index :: pos_integer(), Decrement :: integer()) -> ok.
sub(#atomics{file = File, arity = Arity} = Ref, Index, Decrement)
  when ?is_index(Index, Arity), ?is_increment(-Decrement) ->
    try emmap:patomic(File, ?position(Index), add, -Decrement) of
        _ -> ok
    catch error:Reason -> ?failed(Reason, [Ref, Index, Decrement])
    end;
%% As in `atomics', where the decrement is negated before anything else is looked at.
sub(Ref, Index, Decrement) when not is_number(Decrement) -> ?raise(badarith, [Ref, Index, Decrement]);
sub(Ref, Index, Decrement) -> ?badarg([Ref, Index, Decrement]).

%% @doc Subtracts `Decrement' from an atomic and returns the result.
-spec sub_get(Ref :: atomics_ref(), Index :: pos_integer(), Decrement :: integer()) -> integer().
sub_get(#atomics{file = File, arity = Arity, signed = Signed} = Ref, Index, Decrement)
  when ?is_index(Index, Arity), ?is_increment(-Decrement) ->
    try emmap:patomic(File, ?position(Index), add, -Decrement) of
        Old -> wrap(Old - Decrement, Signed)
    catch error:Reason -> ?failed(Reason, [Ref, Index, Decrement])
    end;
sub_get(Ref, Index, Decrement) when not is_number(Decrement) -> ?raise(badarith, [Ref, Index, Decrement]);
sub_get(Ref, Index, Decrement) -> ?badarg([Ref, Index, Decrement]).

%% @doc Sets an atomic to `Desired' and returns the value that it had.
-spec exchange(Ref :: atomics_ref(), Index :: pos_integer(), Desired :: integer()) -> integer().
exchange(#atomics{file = File, arity = Arity, signed = Signed} = Ref, Index, Desired)
  when ?is_index(Index, Arity), ?is_value(Desired, Signed) ->
    try emmap:patomic(File, ?position(Index), xchg, Desired) of
        Old -> value(Old, Signed)
    catch error:Reason -> ?failed(Reason, [Ref, Index, Desired])
    end;
exchange(Ref, Index, Desired) -> ?badarg([Ref, Index, Desired]).

%% @doc Sets an atomic to `Desired' if it is `Expected', and returns `ok'; otherwise returns what it is.
-spec compare_exchange(Ref :: atomics_ref(), Index :: pos_integer(), Expected :: integer(), Desired :: integer()) ->
          ok | integer().
compare_exchange(#atomics{file = File, arity = Arity, signed = Signed} = Ref, Index, Expected, Desired)
  when ?is_index(Index, Arity), ?is_value(Expected, Signed), ?is_value(Desired, Signed) ->
    try emmap:patomic_cas(File, ?position(Index), Expected, Desired) of
        ok -> ok;
        Actual -> value(Actual, Signed)
    catch error:Reason -> ?failed(Reason, [Ref, Index, Expected, Desired])
    end;
compare_exchange(Ref, Index, Expected, Desired) -> ?badarg([Ref, Index, Expected, Desired]).

%% @doc Describes an array: how many integers it has (`size'), the least and the greatest that they can be (`min',
%% `max'), and the bytes that they take in the file and in memory (`memory').
-spec info(Ref :: atomics_ref()) -> #{size := non_neg_integer(), max := integer(), min := integer(),
                               memory := non_neg_integer()}.
info(#atomics{file = File, arity = Arity, signed = Signed} = Ref) ->
    try emmap:info(File) of
        #{size := Bytes} ->
            {Min, Max} = limits(Signed),
            #{size => Arity, max => Max, min => Min, memory => Bytes}
    catch error:Reason -> ?failed(Reason, [Ref])
    end;
info(Ref) -> ?badarg([Ref]).

%% A word as emmap returns it, signed, in the array's own range.
value(Word, Signed) when Word >= 0; Signed -> Word;
value(Word, _) -> Word + (?MAX_UNSIGNED + 1).

%% The low 64 bits of a sum.
wrap(Sum, true) when Sum >= ?MIN_SIGNED, Sum =< ?MAX_SIGNED -> Sum;
wrap(Sum, true) -> ((Sum - ?MIN_SIGNED) band ?MAX_UNSIGNED) + ?MIN_SIGNED;
wrap(Sum, false) -> Sum band ?MAX_UNSIGNED.

limits(true) -> {?MIN_SIGNED, ?MAX_SIGNED};
limits(false) -> {0, ?MAX_UNSIGNED}.

%%% Explaining exceptions (EEP 54)

%% @private
%% @doc Says which arguments are wrong, in the words of `atomics'.
-spec format_error(term(), [tuple()]) -> #{general | pos_integer() => binary() | string()}.
format_error(Reason, [{_, Function, Args, Info} | _]) ->
    case {proplists:get_value(error_info, Info, #{}), Args} of
        {#{cause := failed}, _} when Reason =:= badarg -> #{1 => <<"the file is closed">>};
        {#{cause := failed}, _} -> #{general => emmap_error:reason_text(Reason)};
        {_, [_ | _]} -> explain(Function, Reason, Args);
        _ -> #{}
    end.

explain(open, system_limit, _) -> #{2 => <<"atomics array size reached a system limit">>};
explain(open, _, [_, Arity, Options]) ->
    case texts([none, arity_text(Arity), options_text(Options)]) of
        None when map_size(None) =:= 0 -> #{1 => <<"not a file name">>};
        Texts -> Texts
    end;
explain(_, _, [Ref]) -> texts([ref_text(Ref)]);
explain(_, _, [Ref, Index | Values]) ->
    case texts([ref_text(Ref), index_text(Ref, Index) | [value_text(Ref, Value) || Value <- Values]]) of
        %% A decrement that the array could hold, but of which the negative has more than 64 bits.
        None when map_size(None) =:= 0 -> #{3 => <<"out of range">>};
        Texts -> Texts
    end.

texts(Texts) ->
    maps:from_list([{Number, Text} || {Number, Text} <- lists:zip(lists:seq(1, length(Texts)), Texts), Text =/= none]).

arity_text(Arity) when not is_integer(Arity) -> <<"not an integer">>;
arity_text(Arity) when Arity < 1 -> <<"out of range">>;
arity_text(_) -> none.

options_text(Options) when not is_list(Options) -> <<"not a list">>;
options_text(Options) ->
    try length(Options) of
        _ when Options =:= [] -> none;
        _ -> case signed(Options, true) of
                 badarg -> <<"invalid option in list">>;
                 _ -> none
             end
    catch error:badarg -> <<"not a proper list">>
    end.

ref_text(#atomics{}) -> none;
ref_text(_) -> <<"invalid atomics reference">>.

index_text(_, Index) when not is_integer(Index) -> <<"not an integer">>;
index_text(#atomics{arity = Arity}, Index) when Index > Arity -> <<"out of range">>;
index_text(_, Index) when Index < 1 -> <<"out of range">>;
index_text(_, _) -> none.

%% As `atomics' does, which holds what is added against the limits of the array too, although it takes more than that.
value_text(_, Value) when not is_integer(Value) -> <<"not an integer">>;
value_text(#atomics{signed = Signed}, Value) ->
    case limits(Signed) of
        {Min, Max} when Value < Min; Value > Max -> <<"out of range">>;
        _ -> none
    end;
value_text(_, _) -> none.
