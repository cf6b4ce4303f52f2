%% Copyright 2026 the emmap authors. Licensed under the Apache License, Version 2.0.

%% Whatever a caller passes, in any place: an answer as the contract has it, and the VM lives.
-module(emmap_arguments_SUITE).

-export([suite/0, all/0, init_per_testcase/2, end_per_testcase/2]).
-compile([export_all, nowarn_export_all]).
-import(emmap_vm, [survives/1, survives/2, new_file/2, cut/2]).

-include_lib("common_test/include/ct.hrl").

suite() -> [{timetrap, {minutes, 4}}].

all() ->
    [odd_arguments_are_answered, odd_options_are_answered, odd_names_are_answered, odd_data_is_answered,
     explanations_are_short_whatever_is_given, data_larger_than_memory_is_answered, a_read_larger_than_memory_is_enomem].

init_per_testcase(Case, Config) -> emmap_vm:directory(Case, Config).

end_per_testcase(_, Config) -> emmap_vm:delete_directory(Config).

%%% Arguments

%% The size limit keeps a call that means to grow a file by terabytes from doing so; that it ends nothing is the matter
%% of past_the_file_size_limit_is_efbig.
odd_arguments_are_answered(Config) ->
    Dir = ?config(dir, Config),
    survives(fun() -> emmap_fuzz:every_argument(Dir) end, #{ignore => "XFSZ", limit => "-f 131072", seconds => 120}).

odd_options_are_answered(Config) ->
    Dir = ?config(dir, Config),
    survives(
      fun() ->
              Name = new_file(Dir, 1),
              Options = [{Option, Value} || Option <- [size, address, chmod, max_inc_size, unknown],
                                            Value <- emmap_fuzz:odd_values()]
                  ++ emmap_fuzz:odd_values(),
              [case emmap_fuzz:call(emmap, open, [Name, [write, shared, Option]]) of
                   {returned, {ok, File}} -> ok = emmap:close(File);
                   {returned, {error, Reason}} when is_atom(Reason) -> ok;
                   {error, badarg} -> ok
               end || Option <- Options]
      end, #{ignore => "XFSZ", limit => "-f 131072"}).

odd_names_are_answered(Config) ->
    Dir = ?config(dir, Config),
    survives(
      fun() ->
              ok = file:set_cwd(Dir),
              Long = lists:duplicate(1 bsl 20, $n),
              Nested = lists:foldl(fun(_, Name) -> [Name] end, "name", lists:seq(1, 100000)),
              [{_, true} = {Name, is_refused(emmap_fuzz:call(emmap, open, [Name, [create, write, {size, 1}]]))}
               || Name <- [Long, list_to_binary(Long), [Long, $/ | Long], [[Long], [[Long]]], <<0>>, "a\0b", <<"a", 0>>,
                           [$a, 0], [-1], [16#110000], [16#d800], [$a | $b], [$a | <<"b">>], [<<"a">>], 1.5, 1, {}, #{},
                           self(), make_ref(), fun() -> ok end, <<1:7>>, "", <<>>, [], [[], [[]]],
                           [1 bsl 70], ['\0'], '\0']],
              Here = filename:join(Dir, "x"),
              {ok, _} = emmap:open([filename:dirname(Here), $/ | Nested], [create, write, {size, 1}]),
              {ok, _} = emmap:open(<<255, 254>>, [create, write, {size, 1}])
      end).

is_refused({returned, {error, Reason}}) -> is_atom(Reason);
is_refused({error, badarg}) -> true;
is_refused(_) -> false.

%% Of each place where what the caller gave is in the text.
explanations_are_short_whatever_is_given(Config) ->
    Dir = ?config(dir, Config),
    {ok, File} = emmap:open(new_file(Dir, 1), [write, shared]),
    Counters = emmap:open_counters(filename:join(Dir, "counters"), 1),
    Huge = [lists:seq(1, 1000000), lists:duplicate(1000000, $x), binary:copy(<<"x">>, 1000000), 1 bsl 100000,
            maps:from_list([{N, N} || N <- lists:seq(1, 100000)]), {lists:duplicate(1000, $x), [1 bsl 1000, {a, b}]}],
    [begin
         {badarg, Texts} = emmap_test:raised(Call),
         [{true, Text} = {string:length(Text) =< 600, Text} || Text <- maps:values(Texts)]
     end || Term <- Huge,
            Call <- [fun() -> emmap:patomic(File, 0, Term, 1) end, fun() -> emmap:patomic(File, Term, add, 1) end,
                     fun() -> emmap:patomic_read(File, Term) end, fun() -> emmap:patomic_write(File, 0, Term) end,
                     fun() -> emmap:inc_counter(Counters, Term) end, fun() -> emmap:inc_counter(Term, 0) end,
                     fun() -> emmap:open("", [Term]) end, fun() -> emmap:open("", [{size, Term}]) end,
                     fun() -> emmap:open("", [{Term, 1}]) end, fun() -> emmap:sync(File, 0, Term) end]
                 ++ [fun() -> emmap:patomic_read(File, 8 * Term + 1) end || is_integer(Term)]],
    [begin
         {{enametoolong, Long}, #{general := Text}} = emmap_test:raised(fun() -> emmap:open_counters(Long) end),
         true = string:length(Text) =< 600
     end || Long <- [lists:duplicate(1000000, $x), binary:copy(<<"x">>, 1000000),
                     [lists:duplicate(1000000, $x), $/, [16#10ffff]]]],
    ok = emmap:close(File),
    ok = emmap:close_counters(Counters).

odd_data_is_answered(Config) ->
    Dir = ?config(dir, Config),
    survives(
      fun() ->
              {ok, File} = emmap:open(new_file(Dir, 4), [write, shared, fixed_size]),
              Deep = lists:foldl(fun(N, Data) -> [Data, N band 255] end, [], lists:seq(1, 100000)),
              {error, enospc} = emmap:pwrite(File, 0, Deep),
              ok = emmap:pwrite(File, 0, lists:foldl(fun(_, Data) -> [[], Data | <<>>] end, [], lists:seq(1, 100000))),
              [begin
                   {error, badarg} = emmap:write(File, Data),
                   {error, badarg} = emmap:pwrite(File, 0, Data),
                   {error, badarg} = emmap:pwrite(File, [{0, Data}])
               end || Data <- [a, 1, 1.5, {}, #{}, self(), [a], [256], [-1], [1 | 2], [[1 | a]], <<1:7>>, [<<1:7>>], [1.0]]],
              [begin
                   {error, badarg} = emmap:pread(File, List),
                   {error, badarg} = emmap:pwrite(File, List)
               end || List <- [[a], [{1}], [{0, 1, 2} | a], [{0} | {0, 1}]]],
              {ok, <<"A">>} = emmap:pread(File, 64, 1)
      end).

%% A megabyte that is named a million times is a small term.
data_larger_than_memory_is_answered(Config) ->
    Dir = ?config(dir, Config),
    survives(
      fun() ->
              Terabyte = lists:duplicate(1 bsl 20, binary:copy(<<"x">>, 1 bsl 20)),
              {ok, Fixed} = emmap:open(new_file(Dir, 4), [write, shared, fixed_size]),
              {error, enospc} = emmap:pwrite(Fixed, 0, Terabyte),
              {error, enospc} = emmap:write(Fixed, Terabyte),
              {error, {0, enospc}} = emmap:pwrite(Fixed, [{0, Terabyte}]),
              {ok, <<"A">>} = emmap:pread(Fixed, 0, 1),
              {ok, Growing} = emmap:open(new_file(Dir, 4), [write, shared]),
              {error, Reason} = emmap:pwrite(Growing, 0, Terabyte),
              true = lists:member(Reason, [efbig, enomem, enospc])
      end, #{ignore => "XFSZ", limit => "-f 131072"}).

a_read_larger_than_memory_is_enomem(Config) ->
    Dir = ?config(dir, Config),
    survives(
      fun() ->
              Name = new_file(Dir, 1),
              cut(Name, 1 bsl 43),
              {ok, File} = emmap:open(Name, []),
              {error, enomem} = emmap:pread(File, 0, 1 bsl 43),
              {error, enomem} = emmap:read(File, 1 bsl 62),
              {ok, <<_:64>>} = emmap:pread(File, (1 bsl 43) - 8, 1 bsl 62),
              {ok, Direct} = emmap:open(Name, [direct]),
              {ok, Bytes} = emmap:pread(Direct, 0, 1 bsl 62),
              0 = binary:last(Bytes),
              byte_size(Bytes)
      end).
