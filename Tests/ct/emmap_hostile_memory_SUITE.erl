%% Copyright 2026 the emmap authors. Licensed under the Apache License, Version 2.0.

%% Systems that give a process no more memory or address space than they have promised: mapped files take none of it
%% that they do not need, and what was cut or closed takes none at all.
-module(emmap_hostile_memory_SUITE).

-export([suite/0, all/0, init_per_testcase/2, end_per_testcase/2]).
-compile([export_all, nowarn_export_all]).
-import(emmap_vm, [survives/2, cut/2, status_kb/1, is_zero/1]).

-include_lib("common_test/include/ct.hrl").

-define(GIB, (1 bsl 30)).
-define(SIZE, (4 * ?GIB)).
%% kB that a VM may take for itself meanwhile.
-define(SLACK, (64 bsl 10)).

suite() -> [{timetrap, {minutes, 2}}].

all() ->
    [pages_of_a_cut_file_do_not_count_as_data, bytes_lost_behind_a_direct_binary_do_not_count_as_data,
     closing_does_not_count_as_data, a_cut_is_survived_where_memory_is_not_overcommitted,
     appending_takes_a_small_multiple_of_the_file, appending_goes_on_in_bounded_address_space].

init_per_testcase(Case, Config) -> emmap_hostile:directory(Case, Config).

end_per_testcase(_, Config) -> emmap_hostile:delete_directory(Config).

sparse(Dir) ->
    Name = filename:join(Dir, "sparse"),
    ok = file:write_file(Name, <<>>),
    cut(Name, ?SIZE),
    Name.

%%% RLIMIT_DATA

%% Runs a function in a VM that may have 2 GiB of data. Meanwhile it takes none, and afterwards there is still some to
%% be had: a VM that gets none ends.
with_little_data(Config, Fun) ->
    Dir = ?config(dir, Config),
    survives(fun() ->
                     Name = sparse(Dir),
                     Before = status_kb("VmData"),
                     Kept = Fun(Name),
                     Taken = status_kb("VmData") - Before,
                     100 = byte_size(binary:copy(<<1>>, 100 bsl 20)) bsr 20,
                     true = is_list(Kept),
                     {taken, Taken, true} = {taken, Taken, Taken < ?SLACK}
             end, #{limit => "-d 2097152"}).

pages_of_a_cut_file_do_not_count_as_data(Config) ->
    with_little_data(
      Config,
      fun(Name) ->
              [begin
                   cut(Name, ?SIZE),
                   {ok, File} = emmap:open(Name, [shared | Options]),
                   {ok, <<0, 0, 0, 0>>} = emmap:pread(File, 8192, 4),
                   cut(Name, 0),
                   {error, truncated} = emmap:pread(File, 8192, 4),
                   {error, truncated} = emmap:pread(File, ?SIZE - 4, 4),
                   File
               end || Options <- [[write], [], [write, nolock]]]
      end).

bytes_lost_behind_a_direct_binary_do_not_count_as_data(Config) ->
    with_little_data(
      Config,
      fun(Name) ->
              [begin
                   cut(Name, ?SIZE),
                   {ok, File} = emmap:open(Name, [shared, direct | Options]),
                   {ok, Bytes} = emmap:pread(File, ?GIB, 2 * ?GIB),
                   cut(Name, 0),
                   [ok = emmap:close(File) || IsClosed],
                   true = is_zero(binary:part(Bytes, ?GIB, 4096)),
                   {File, Bytes}
               end || Options <- [[write], []], IsClosed <- [false, true]]
      end).

closing_does_not_count_as_data(Config) ->
    with_little_data(
      Config,
      fun(Name) ->
              [begin
                   {ok, File} = emmap:open(Name, Options),
                   {ok, <<0>>} = emmap:pread(File, ?GIB, 1),
                   ok = emmap:close(File),
                   %% Until it is collected it may keep its addresses.
                   File
               end || Options <- [[shared], [read], [direct], [shared, write], [shared, write, direct]]]
      end).

%%% Memory that is not overcommitted

-define(ASKED_BY, "EMMAP_TEST_OVERCOMMIT").

%% It is the whole machine's that must be told, so only where somebody asks for it.
a_cut_is_survived_where_memory_is_not_overcommitted(Config) ->
    Dir = ?config(dir, Config),
    case {os:getenv(?ASKED_BY), file:open("/proc/sys/vm/overcommit_memory", [raw, read, write])} of
        {false, _} -> {skip, "vm.overcommit_memory is the whole machine's; set " ++ ?ASKED_BY ++ "=1 to try it"};
        {_, {error, Reason}} -> {skip, "vm.overcommit_memory cannot be set here: " ++ atom_to_list(Reason)};
        {_, {ok, Setting}} ->
            ok = file:close(Setting),
            survives(fun() -> [cut_without_overcommit(Dir, Options) || Options <- [[write], [write, nolock], []]] end,
                     #{})
    end.

cut_without_overcommit(Dir, Options) ->
    Name = filename:join(Dir, "sparse"),
    ok = file:write_file(Name, <<>>),
    %% More than any machine has.
    cut(Name, 1 bsl 42),
    {ok, File} = emmap:open(Name, [shared | Options]),
    {ok, Direct} = emmap:open(Name, [shared, direct | Options]),
    {ok, Bytes} = emmap:pread(Direct, 1 bsl 41, 4096),
    {ok, <<0>>} = emmap:pread(File, 8192, 1),
    %% It is put back when told to, when this VM ends, and at the latest after some seconds.
    Script = "trap '' TERM HUP INT PIPE; f=/proc/sys/vm/overcommit_memory; old=$(cat $f); echo 2 >$f && echo set && "
        "timeout -s KILL 3 head -n 1 >/dev/null; echo $old >$f",
    Guard = emmap_hostile:program(["sh", "-c", Script], []),
    receive {Guard, {data, <<"set", _/binary>>}} -> ok end,
    cut(Name, 0),
    Answers = {emmap:pread(File, 8192, 4), is_zero(Bytes), emmap:close(Direct)},
    port_command(Guard, "\n"),
    {0, _} = emmap_hostile:output(Guard),
    {{error, truncated}, true, ok} = Answers,
    ok = emmap:close(File).

%%% Address space

%% In pieces of 1 MiB, up to 500 MiB; 4 times that at the most.
appending_takes_a_small_multiple_of_the_file(Config) ->
    Dir = ?config(dir, Config),
    survives(fun() ->
                     Count = 500,
                     {ok, File} = emmap:open(filename:join(Dir, "new"), [create, write, shared]),
                     Before = status_kb("VmPeak"),
                     Piece = binary:copy(<<"x">>, 1 bsl 20),
                     [{N, ok} = {N, emmap:write(File, Piece)} || N <- lists:seq(1, Count)],
                     Taken = status_kb("VmPeak") - Before,
                     {ok, <<"xx">>} = emmap:pread(File, (Count bsl 20) - 2, 3),
                     ok = emmap:close(File),
                     {taken, Taken, true} = {taken, Taken, Taken < 4 * Count * 1024 + ?SLACK}
             end, #{limit => "-v 8388608"}).

%% Three times as far, sparsely: twice the file must fit beside the VM.
appending_goes_on_in_bounded_address_space(Config) ->
    Dir = ?config(dir, Config),
    survives(fun() ->
                     %% What one has taken is garbage when the next one starts.
                     [emmap_vm:in_process(fun() -> append_sparsely(filename:join(Dir, "new"), Options) end)
                      || Options <- [[], [nolock], [{max_inc_size, 1 bsl 20}]]]
             end, #{limit => "-v 8388608"}).

append_sparsely(Name, Options) ->
    {ok, File} = emmap:open(Name, [create, write, shared, auto_unlink | Options]),
    [{Options, N, ok} = {Options, N, emmap:pwrite(File, (N bsl 20) - 1, <<N>>)} || N <- lists:seq(1, 1500)],
    [{N, {ok, <<N:8>>}} = {N, emmap:pread(File, (N bsl 20) - 1, 1)} || N <- lists:seq(1, 255)],
    ok = emmap:close(File).
