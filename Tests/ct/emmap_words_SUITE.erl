%% Copyright 2026 the emmap authors. Licensed under the Apache License, Version 2.0.

%% An operation that answers was done, once, and stays; one that raises was not done: while the mapping grows, while
%% other bytes of it are healed, and while the word itself is cut off and comes back.
-module(emmap_words_SUITE).

-export([suite/0, all/0, init_per_testcase/2, end_per_testcase/2]).
-compile([export_all, nowarn_export_all]).
-import(emmap_vm, [cut/2]).

-include_lib("common_test/include/ct.hrl").

-define(PAGE, 4096).

suite() -> [{timetrap, {minutes, 2}}].

all() ->
    [remap_of_a_private_handle_loses_no_addition, remap_of_a_private_handle_loses_no_write,
     additions_beside_growth_of_a_shared_handle_all_answer, additions_beside_heals_of_other_pages_all_answer,
     a_word_that_is_cut_off_and_comes_back_is_what_the_answer_says].

init_per_testcase(Case, Config) -> emmap_vm:directory(Case, Config).

end_per_testcase(_, Config) -> emmap_vm:delete_directory(Config).

%%% Private handles

-define(CHANGED, (32 bsl 20)).

%% Growth takes long where it looks at many changed pages.
remap_of_a_private_handle_loses_no_addition(Config) ->
    [begin
         {Name, File} = changed_everywhere(Config, Lock),
         {Added, Raised} = beside(fun() -> emmap:patomic(File, 0, add, 1) end, 2, fun() -> grow(Name, File) end),
         {Lock, Added, Added, []} = {Lock, Added, emmap:patomic_read(File, 0) - 1, Raised},
         ok = emmap:close(File)
     end || Lock <- [lock, nolock]].

%% Each word is written once, so that none can be made good by a later one.
remap_of_a_private_handle_loses_no_write(Config) ->
    [begin
         {Name, File} = changed_everywhere(Config, Lock),
         Next = counters:new(1, []),
         Write = fun() ->
                         N = counters:get(Next, 1),
                         ok = emmap:pwrite(File, 8 * N rem ?CHANGED, <<(N + 1):64>>),
                         counters:add(Next, 1, 1)
                 end,
         _ = beside(Write, 1, fun() -> grow(Name, File) end),
         Written = min(counters:get(Next, 1), ?CHANGED div 8),
         {ok, Bytes} = emmap:pread(File, 0, 8 * Written),
         {Lock, Written, 0} = {Lock, Written, unwritten(Bytes, 0, 0)},
         ok = emmap:close(File)
     end || Lock <- [lock, nolock]].

%% A private handle of which each page has been changed: the first word is 1.
changed_everywhere(Config, Lock) ->
    Name = filename:join(?config(dir, Config), Lock),
    ok = file:write_file(Name, <<0:(?CHANGED * 8)>>),
    {ok, File} = emmap:open(Name, [write, private, Lock, {max_inc_size, 1}]),
    [ok = emmap:pwrite(File, At, <<1:64/native>>) || At <- lists:seq(0, ?CHANGED - 1, ?PAGE)],
    {Name, File}.

grow(Name, File) ->
    [begin
         cut(Name, Times * ?CHANGED),
         {ok, _} = emmap:remap(File)
     end || Times <- [2, 4]].

%% How many words do not have their number, or a later one if the writer came by again.
unwritten(<<N:64, Rest/binary>>, Index, Lost) when N rem (?CHANGED div 8) =:= (Index + 1) rem (?CHANGED div 8) ->
    unwritten(Rest, Index + 1, Lost);
unwritten(<<_:64, Rest/binary>>, Index, Lost) -> unwritten(Rest, Index + 1, Lost + 1);
unwritten(<<>>, _, Lost) -> Lost.

%%% Shared handles

%% The pages of a longer region are those of the one before.
additions_beside_growth_of_a_shared_handle_all_answer(Config) ->
    Name = emmap_vm:new_file(?config(dir, Config), 1),
    ok = file:write_file(Name, <<0:(?PAGE * 8)>>),
    {ok, File} = emmap:open(Name, [write, shared, {max_inc_size, 1}]),
    {Added, Raised} = beside(fun() -> emmap:patomic(File, 0, add, 1) end, 2,
                             fun() ->
                                     [begin
                                          cut(Name, Size bsl 20),
                                          {ok, _} = emmap:remap(File)
                                      end || Size <- lists:seq(2, 300, 2)]
                             end),
    #{faulted := false} = emmap:info(File),
    {Added, Added, []} = {Added, emmap:patomic_read(File, 0), Raised}.

%% What was healed lies pages away from the word.
additions_beside_heals_of_other_pages_all_answer(Config) ->
    Name = filename:join(?config(dir, Config), "file"),
    ok = file:write_file(Name, <<0:(8 * ?PAGE * 8)>>),
    {ok, File} = emmap:open(Name, [write, shared]),
    Heal = fun() ->
                   cut(Name, 6 * ?PAGE),
                   {error, truncated} = emmap:pread(File, 7 * ?PAGE, 1),
                   cut(Name, 8 * ?PAGE),
                   {ok, _} = emmap:remap(File)
           end,
    {Added, Raised} = beside(fun() -> emmap:patomic(File, 0, add, 1) end, 1, fun() -> emmap_vm:until(2000, Heal) end),
    {Added, Added, []} = {Added, emmap:patomic_read(File, 0), Raised}.

%%% Words that are cut off

%% Two operations run freely beside a shrink and a growth. The first is a comparison of which each answer says what the
%% word must be afterwards; the second a store, whose value nobody may take back.
a_word_that_is_cut_off_and_comes_back_is_what_the_answer_says(Config) ->
    Dirs = [?config(dir, Config) | [Memory || Memory <- ["/dev/shm"], emmap_test:is_tmpfs(Memory)]],
    [begin
         Name = filename:join(Dir, "emmap_words_SUITE." ++ os:getpid()),
         try cut_off(Name) after file:delete(Name) end
     end || Dir <- Dirs].

cut_off(Name) ->
    ok = file:write_file(Name, <<0:128>>),
    {ok, File} = emmap:open(Name, [write, shared]),
    Round = atomics:new(2, []),
    Parent = self(),
    Pid = spawn_link(fun() -> rival(File, Round, Parent, 1) end),
    Rounds = emmap_vm:until(1500, fun() -> play(File, Round, Pid) end),
    atomics:put(Round, 1, -1),
    ct:log("~p rounds", [Rounds]),
    ok = emmap:close(File).

play(File, Round, Pid) ->
    N = atomics:get(Round, 1) + 1,
    ok = emmap:patomic_write(File, 8, 5),
    atomics:put(Round, 1, N),
    {ok, 8} = emmap:resize(File, 8),
    {ok, 16} = emmap:resize(File, 16),
    case N rem 2 of
        0 ->
            Answer = receive {Pid, N, Given} -> Given end,
            {Answer, Expected} = {Answer, emmap:patomic_read(File, 8)},
            %% 5: compared before the cut; raised: cut off; ok: compared after the growth.
            Expected = case Answer of
                           {returned, 5} -> 0;
                           {returned, ok} -> 1;
                           badarg -> 0
                       end;
        1 ->
            ok = emmap:patomic_write(File, 8, 7),
            receive {Pid, N, _} -> ok end,
            {N, 7} = {N, emmap:patomic_read(File, 8)}
    end.

%% Waits for its round in a loop: a message would come too late.
rival(File, Round, Parent, N) ->
    case atomics:get(Round, 1) of
        N ->
            Answer = emmap_vm:raised(fun() -> operation(File, N) end),
            Parent ! {self(), N, Answer},
            rival(File, Round, Parent, N + 1);
        -1 -> ok;
        _ -> rival(File, Round, Parent, N)
    end.

operation(File, N) when N rem 2 =:= 0 -> emmap:patomic_cas(File, 8, 0, 1);
operation(File, _) -> emmap:patomic_write(File, 8, 7).

%%% Processes

%% Runs a call again and again in processes while another function runs; gives how often it answered, and how often it
%% raised what.
beside(Call, Processes, Main) ->
    Stop = atomics:new(2, []),
    Runners = [spawn_monitor(fun() -> exit({did, repeat(Call, Stop, 0, #{})}) end) || _ <- lists:seq(1, Processes)],
    emmap_test:wait_until(fun() -> atomics:get(Stop, 2) > 1000 end),
    _ = Main(),
    atomics:put(Stop, 1, 1),
    Results = [receive {'DOWN', Reference, process, Pid, {did, Result}} -> Result end || {Pid, Reference} <- Runners],
    {lists:sum([Answered || {Answered, _} <- Results]), lists:append([maps:to_list(Raised) || {_, Raised} <- Results])}.

repeat(Call, Stop, Answered, Raised) ->
    case atomics:get(Stop, 1) of
        1 -> {Answered, Raised};
        0 ->
            atomics:add(Stop, 2, 1),
            try Call() of
                _ -> repeat(Call, Stop, Answered + 1, Raised)
            catch
                error:Reason -> repeat(Call, Stop, Answered, maps:update_with(Reason, fun(N) -> N + 1 end, 1, Raised))
            end
    end.
