%% Copyright 2026 the emmap authors. Licensed under the Apache License, Version 2.0.

%% @private
%% @doc The options of `emmap:open' as data, and the bits that the library knows them by.
%%
%% `emmap:open_option()' says what they do.
-module(emmap_options).

-export([table/0, parse/1, explain/1, traits/0, describe/1]).

-export_type([row/0, parsed/0, why/0]).

-define(MAX_INT64, 16#7fffffffffffffff).
%% The option with this number in OpenOptions.Flags.
-define(flag(Number), {flag, 1 bsl (Number)}).
-define(choice(Group, Number), {choice, Group, 1 bsl (Number)}).

-record(parsed, {flags = 0, address = 0, mode = 8#600, size = 0, step = 64 bsl 20, chosen = [],
                 needed = none}).

-type parsed() :: {Flags :: non_neg_integer(), Address :: non_neg_integer(), Mode :: non_neg_integer(),
                   Size :: non_neg_integer(), Step :: pos_integer()}.
%% What `emmap_nif:open/9' takes.

-type row() :: nothing
             | {flag, Bit :: pos_integer()}
             | {choice, Group :: atom(), Bit :: non_neg_integer()}
             | {needs, Field :: pos_integer(), Option :: atom()}
             | {number, Field :: pos_integer(), Min :: integer(), Max :: integer()}.
%% What an option does. `nothing': none. `flag': sets a bit. `choice': sets a bit, or none, and is the only one of its
%% group. `needs': nothing, but only beside the option that sets a number. `number': `{Name, N}' sets a number.

-type why() :: not_a_list | {bad_value, tuple()} | {unknown_option, term()} | {conflict, atom(), atom()}
             | {needs, atom(), atom()}.

%% @doc All options. A new one is a row here, one of the type `emmap:open_option()', and a bit in OpenOptions.Flags.
-spec table() -> #{atom() => row()}.
table() ->
    #{read => nothing,
      write => ?flag(0),
      create => ?flag(1),
      truncate => ?flag(2),
      private => {choice, sharing, 0},
      shared => ?choice(sharing, 3),
      shared_validate => ?choice(sharing, 4),
      anon => ?flag(5),
      direct => ?flag(6),
      lock => {choice, locking, 0},
      nolock => ?choice(locking, 7),
      populate => ?flag(8),
      noreserve => ?flag(9),
      sync => ?flag(10),
      uninitialized => ?flag(11),
      auto_unlink => ?flag(12),
      debug => ?flag(13),
      fit => ?flag(14),
      fixed_size => ?flag(15),
      hugetlb => ?flag(16),
      huge_2mb => ?flag(17),
      huge_1gb => ?flag(18),
      nonblock => ?flag(19),
      %% For macOS.
      nocache => nothing,
      fixed => {needs, #parsed.address, address},
      address => {number, #parsed.address, 1, ?MAX_INT64},
      chmod => {number, #parsed.mode, 0, 8#7777},
      size => {number, #parsed.size, 1, ?MAX_INT64},
      max_inc_size => {number, #parsed.step, 1, ?MAX_INT64}}.

%% @doc Makes of a list of options what the library takes.
-spec parse(term()) -> parsed() | {bad, why()}.
parse(List) when is_list(List), length(List) >= 0 -> parse(List, #parsed{});
parse(_) -> {bad, not_a_list}.

parse([{Name, N} = Option | Options], Parsed) ->
    case table() of
        #{Name := {number, Field, Min, Max}} when is_integer(N), N >= Min, N =< Max ->
            parse(Options, setelement(Field, Parsed, N));
        #{Name := {number, _, _, _}} -> {bad, {bad_value, Option}};
        #{} -> {bad, {unknown_option, Option}}
    end;
parse([Option | Options], #parsed{flags = Flags, chosen = Chosen} = Parsed) ->
    case table() of
        #{Option := {flag, Bit}} -> parse(Options, Parsed#parsed{flags = Flags bor Bit});
        #{Option := {choice, Group, Bit}} ->
            case lists:keyfind(Group, 1, Chosen) of
                false -> parse(Options, Parsed#parsed{flags = Flags bor Bit, chosen = [{Group, Option} | Chosen]});
                {_, Option} -> parse(Options, Parsed);
                {_, Other} -> {bad, {conflict, Other, Option}}
            end;
        #{Option := nothing} -> parse(Options, Parsed);
        #{Option := {needs, Field, Other}} -> parse(Options, Parsed#parsed{needed = {Field, Option, Other}});
        #{} -> {bad, {unknown_option, Option}}
    end;
parse([], #parsed{needed = {Field, Option, Other}} = Parsed) when element(Field, Parsed) =:= 0 ->
    {bad, {needs, Option, Other}};
parse([], #parsed{flags = Flags, address = Address, mode = Mode, size = Size, step = Step}) ->
    {Flags, Address, Mode, Size, Step}.

%% @doc Says what is wrong with a list of options.
-spec explain(why()) -> unicode:chardata().
explain(not_a_list) -> <<"not a list of options">>;
explain({needs, Option, Other}) ->
    io_lib:format("option ~ts needs {~ts, ~ts}", [Option, Other, string:titlecase(atom_to_list(Other))]);
explain({conflict, One, Other}) -> io_lib:format("options ~ts and ~ts exclude each other", [One, Other]);
explain({bad_value, Option}) -> io_lib:format("bad value in option ~tP", [Option, 10]);
explain({unknown_option, Option}) -> io_lib:format("unknown option ~tP", [Option, 10]).

%% @doc The bits of File.Traits that tell how a handle was opened.
-spec traits() -> #{atom() => pos_integer()}.
traits() -> #{writable => 1, shared => 2, anonymous => 4, direct => 8, locked => 16, fixed_size => 32}.

%% @doc The part of `emmap:info/1' that tells how a handle was opened.
-spec describe(Traits :: non_neg_integer()) -> #{mode := [read | write], sharing := shared | private | anon,
                                                 direct := boolean(), lock := boolean(), fixed_size := boolean()}.
describe(Traits) ->
    #{writable := Writable, shared := Shared, anonymous := Anonymous, direct := Direct, locked := Locked,
      fixed_size := FixedSize} = maps:map(fun(_, Bit) -> Traits band Bit =/= 0 end, traits()),
    #{mode => case Writable of true -> [read, write]; false -> [read] end,
      sharing => if Anonymous -> anon; Shared -> shared; true -> private end,
      direct => Direct, lock => Locked, fixed_size => FixedSize}.
