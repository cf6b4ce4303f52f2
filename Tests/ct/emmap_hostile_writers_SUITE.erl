%% Copyright 2026 the emmap authors. Licensed under the Apache License, Version 2.0.

%% Others who write to the end of the same file: with handles, in other VMs, and with other programs. Nobody's bytes are
%% lost.
-module(emmap_hostile_writers_SUITE).

-export([suite/0, all/0, init_per_testcase/2, end_per_testcase/2]).
-compile([export_all, nowarn_export_all]).
-import(emmap_vm, [content/1]).

-include_lib("common_test/include/ct.hrl").

suite() -> [{timetrap, {minutes, 2}}].

all() ->
    [eof_is_where_the_file_ends_by_now, writes_to_the_end_in_turn_are_all_there,
     appends_of_handles_vms_and_programs_are_all_there_and_whole, append_answers_as_on_a_raw_file,
     append_grows_only_what_can_grow, doubling_keeps_what_others_appended, growing_keeps_what_others_appended,
     writing_past_the_end_keeps_what_others_appended, making_smaller_still_cuts].

init_per_testcase(Case, Config) -> emmap_hostile:directory(Case, Config).

end_per_testcase(_, Config) -> emmap_hostile:delete_directory(Config).

name(Config) -> filename:join(?config(dir, Config), "file").

append(Name, Bytes) -> ok = file:write_file(Name, Bytes, [append]).

%%% The end of the file

eof_is_where_the_file_ends_by_now(Config) ->
    Name = name(Config),
    ok = file:write_file(Name, content(1)),
    {ok, File} = emmap:open(Name, [write, shared]),
    {ok, 4096} = emmap:position(File, eof),
    append(Name, binary:copy(<<"x">>, 904)),
    {ok, 5000} = emmap:position(File, eof),
    {ok, 4990} = emmap:position(File, {eof, -10}),
    {ok, 5010} = emmap:position(File, {eof, 10}),
    %% And where it was cut.
    emmap_vm:cut(Name, 100),
    {ok, 100} = emmap:position(File, eof),
    ok = emmap:close(File).

writes_to_the_end_in_turn_are_all_there(Config) ->
    [in_turn(name(Config), Options) || Options <- [[], [nolock], [direct], [{max_inc_size, 4096}]]].

in_turn(Name, Options) ->
    ok = file:write_file(Name, <<>>),
    Handles = [begin {ok, File} = emmap:open(Name, [write, shared | Options]), File end || _ <- [1, 2, 3]],
    Records = [{lists:nth(1 + N rem 3, Handles), record("turn", N)} || N <- lists:seq(1, 200)],
    [begin
         {ok, _} = emmap:position(File, eof),
         ok = emmap:write(File, Record)
     end || {File, Record} <- Records],
    Expected = iolist_to_binary([Record || {_, Record} <- Records]),
    {ok, Found} = file:read_file(Name),
    {Options, true} = {Options, Expected =:= Found},
    [begin
         {ok, _} = emmap:remap(File),
         {ok, Expected} = emmap:pread(File, 0, byte_size(Expected) + 1),
         ok = emmap:close(File)
     end || File <- Handles].

%%% `append'

%% A line of up to three pages that no other one is like.
record(Writer, N) ->
    iolist_to_binary([Writer, $\s, integer_to_list(N), $\s, lists:duplicate(N * 97 rem 10000, $x), $\n]).

-define(RECORDS, 150).

appends_of_handles_vms_and_programs_are_all_there_and_whole(Config) ->
    Name = name(Config),
    ok = file:write_file(Name, <<>>),
    %% The shell's appends are one write(2) each.
    Shell = "i=1; while [ $i -le 150 ]; do echo \"sh $i some more\" >> '" ++ Name ++ "'; i=$((i+1)); done",
    Vms = [{Vm, emmap_test:start_vm()} || Vm <- ["vm1", "vm2"]],
    Here = ["here1", "here2"],
    try
        _ = emmap_test:together(
              [fun() -> [] = os:cmd(Shell) end]
              ++ [fun() -> emmap_test:in_vm(Vm, fun() -> append_records(Name, Writer) end) end || {Writer, Vm} <- Vms]
              ++ [fun() -> append_records(Name, Writer) end || Writer <- Here])
    after
        [emmap_test:stop_vm(Vm) || {_, Vm} <- Vms]
    end,
    Expected = [iolist_to_binary(["sh ", integer_to_list(N), " some more\n"]) || N <- lists:seq(1, ?RECORDS)]
        ++ [record(writer(Writer, Number), N)
            || Writer <- Here ++ [Vm || {Vm, _} <- Vms], Number <- [1, 2, 3], N <- lists:seq(1, ?RECORDS)],
    {ok, Bytes} = file:read_file(Name),
    Found = [<<Line/binary, $\n>> || Line <- binary:split(Bytes, <<"\n">>, [global, trim])],
    {lost, []} = {lost, Expected -- Found},
    {invented, []} = {invented, Found -- Expected}.

writer(Name, Number) -> lists:concat([Name, $., Number]).

%% Two processes share a handle, one has its own.
append_records(Name, Writer) ->
    {ok, Both} = emmap:open(Name, [write, shared, append]),
    {ok, Own} = emmap:open(Name, [write, shared, append, nolock]),
    _ = emmap_test:together([fun() ->
                                     [ok = emmap:write(File, record(writer(Writer, Number), N))
                                      || N <- lists:seq(1, ?RECORDS)]
                             end || {Number, File} <- [{1, Both}, {2, Both}, {3, Own}]]),
    ok = emmap:close(Both),
    ok = emmap:close(Own).

%% With O_APPEND, Linux appends what pwrite(2) writes, too, wherever it was told to.
append_answers_as_on_a_raw_file(Config) ->
    Dir = ?config(dir, Config),
    Open = [{"raw", fun(Name) -> file:open(Name, [raw, binary, read, append]) end},
            {"lock", fun(Name) -> emmap:open(Name, [write, shared, append]) end},
            {"nolock", fun(Name) -> emmap:open(Name, [write, shared, append, nolock]) end}],
    [Raw | Others] =
        [begin
             Name = filename:join(Dir, Kind),
             ok = file:write_file(Name, <<"0123456789">>),
             {ok, File} = Fun(Name),
             Answers = [{Step, Call(File, Name)} || {Step, Call} <- append_steps()],
             ok = file:close(File),
             {Kind, Answers, file:read_file(Name)}
         end || {Kind, Fun} <- Open],
    [{Kind, [], Bytes, Bytes} = {Kind, Answers -- element(2, Raw), element(3, Raw), Bytes}
     || {Kind, Answers, Bytes} <- Others].

append_steps() ->
    Large = binary:copy(<<"large">>, 300000),
    [{read, fun(File, _) -> file:read(File, 2) end},
     {write, fun(File, _) -> file:write(File, <<"abc">>) end},
     {place, fun(File, _) -> file:position(File, cur) end},
     {read_at_end, fun(File, _) -> file:read(File, 2) end},
     {to_start, fun(File, _) -> file:position(File, bof) end},
     {pwrite, fun(File, _) -> file:pwrite(File, 0, <<"PWRITE">>) end},
     {place_after_pwrite, fun(File, _) -> file:position(File, cur) end},
     {read_start, fun(File, _) -> file:read(File, 4) end},
     {pwrite_list, fun(File, _) -> file:pwrite(File, [{2, <<"first">>}, {1000, "second"}]) end},
     {write_list, fun(File, _) -> file:write(File, ["li", [<<"st">>]]) end},
     {write_nothing, fun(File, _) -> file:write(File, <<>>) end},
     {pwrite_nothing, fun(File, _) -> file:pwrite(File, 0, <<>>) end},
     {write_pieces, fun(File, _) -> file:write(File, [Large, Large]) end},
     {others, fun(_, Name) -> append(Name, <<"others">>) end},
     {write_after_others, fun(File, _) -> file:write(File, <<"mine">>) end},
     {end_of_file, fun(File, _) -> file:position(File, eof) end},
     {pread, fun(File, _) -> file:pread(File, 3000040, 100) end}].

append_grows_only_what_can_grow(Config) ->
    Name = name(Config),
    ok = file:write_file(Name, <<"0123456789">>),
    {ok, File} = emmap:open(Name, [write, shared, append, fixed_size]),
    {error, enospc} = emmap:write(File, <<"x">>),
    ok = emmap:close(File),
    {ok, <<"0123456789">>} = file:read_file(Name).

%%% Growth

-define(OTHERS, (binary:copy(<<"others ">>, 100000))).

%% A handle of two pages, and behind them 700,000 bytes of others.
overtaken(Config) ->
    Name = name(Config),
    ok = file:write_file(Name, content(2)),
    {ok, File} = emmap:open(Name, [write, shared]),
    append(Name, ?OTHERS),
    {Name, File}.

all_there(Name, Size) ->
    Length = filelib:file_size(Name),
    {length, Length, true} = {length, Length, Length >= 708192 andalso Length >= Size},
    {ok, <<Content:8192/binary, Others:700000/binary, Rest/binary>>} = file:read_file(Name),
    true = Content =:= content(2),
    true = Others =:= ?OTHERS,
    true = emmap_vm:is_zero(Rest).

doubling_keeps_what_others_appended(Config) ->
    {Name, File} = overtaken(Config),
    {ok, Size} = emmap:resize(File),
    true = Size >= 16384,
    all_there(Name, Size),
    #{size := Size} = emmap:info(File),
    {ok, <<"others">>} = emmap:pread(File, 8192, 6),
    ok = emmap:close(File).

growing_keeps_what_others_appended(Config) ->
    [begin
         {Name, File} = overtaken(Config),
         {ok, Size} = emmap:resize(File, Wanted),
         {Wanted, true} = {Wanted, Size >= Wanted},
         all_there(Name, Size),
         #{size := Size} = emmap:info(File),
         {ok, <<"others">>} = emmap:pread(File, 8192, 6),
         ok = emmap:close(File)
     end || Wanted <- [8200, 50000, 708191, 708192, 708193, 1000000]].

writing_past_the_end_keeps_what_others_appended(Config) ->
    {Name, File} = overtaken(Config),
    ok = emmap:pwrite(File, 708192 + 10, <<0>>),
    ok = emmap:allocate(File, 0, 10000),
    all_there(Name, 708203),
    ok = emmap:close(File).

making_smaller_still_cuts(Config) ->
    {Name, File} = overtaken(Config),
    {ok, 100} = emmap:resize(File, 100),
    100 = filelib:file_size(Name),
    ok = emmap:close(File).
