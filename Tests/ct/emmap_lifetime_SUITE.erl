%% Copyright 2026 the emmap authors. Licensed under the Apache License, Version 2.0.

%% close, remap, resize, collection and code upgrade against calls in flight.
-module(emmap_lifetime_SUITE).

-export([suite/0, all/0, init_per_testcase/2, end_per_testcase/2]).
-compile([export_all, nowarn_export_all]).
-import(emmap_vm, [survives/1, survives/2, content/1, is_content/1, new_file/2, cut/2, modes/0, mappings/0,
                   descriptors/0, while/2, eventually/1]).

-include_lib("common_test/include/ct.hrl").

-define(PAGE, 4096).

suite() -> [{timetrap, {minutes, 4}}].

all() ->
    [no_call_succeeds_after_close, calls_that_change_the_file_race_with_close, no_answered_write_is_lost_at_close,
     close_gives_back_all_at_once, a_large_write_that_races_with_close_leaves_no_memory, no_bytes_of_another_file,
     collecting_races_with_nothing, purging_the_code_leaves_handles_working,
     a_newer_library_takes_over_handles_and_faults, a_newer_library_comes_while_calls_are_running,
     resizing_races_leave_no_faults_behind, a_word_that_is_cut_off_is_never_zero,
     what_races_with_a_shrink_leaves_nothing_past_the_end, remapping_a_private_handle_keeps_its_changes,
     a_hundred_thousand_heals_hold_few_mappings, a_hundred_thousand_remaps_hold_few_mappings,
     a_hundred_thousand_resizes_hold_few_mappings].

init_per_testcase(Case, Config) -> emmap_vm:directory(Case, Config).

end_per_testcase(_, Config) -> emmap_vm:delete_directory(Config).

%%% Races

no_call_succeeds_after_close(Config) ->
    Dir = ?config(dir, Config),
    survives(fun() -> [close_race(Dir, Mode, fun calls_that_keep/2) || Mode <- modes(), _ <- lists:seq(1, 50)] end,
             #{args => ["+S", "4"]}).

%% Whoever writes where another has just cut fills with zeroes; so these calls are on their own.
calls_that_change_the_file_race_with_close(Config) ->
    Dir = ?config(dir, Config),
    survives(fun() -> [close_race(Dir, Mode, fun calls_that_change/2) || Mode <- modes(), _ <- lists:seq(1, 40)] end,
             #{args => ["+S", "4"]}).

close_race(Dir, Mode, CallsOf) ->
    Name = new_file(Dir, 4),
    {ok, File} = emmap:open(Name, [read, write, shared | Mode]),
    {ok, Sink} = emmap:open(filename:join(Dir, "sink"), [create, write, shared, {size, ?PAGE}]),
    Closed = atomics:new(1, []),
    Calls = CallsOf(File, Sink),
    Ready = counters:new(1, []),
    Workers = [spawn_monitor(fun() -> call_until_closed(Call, Closed, Ready) end) || Call <- Calls],
    eventually(fun() -> counters:get(Ready, 1) >= length(Calls) end),
    ok = emmap:close(File),
    atomics:put(Closed, 1, 1),
    [receive {'DOWN', Reference, process, Pid, Why} -> {Call, normal} = {Call, Why} end
     || {{Pid, Reference}, Call} <- lists:zip(Workers, Calls)],
    ok = emmap:close(Sink),
    ok = file:delete(Name).

calls_that_keep(File, Sink) ->
    <<Word:64/native, _/binary>> = content(1),
    [fun() -> strictly(emmap:pread(File, rand:uniform(3 * ?PAGE), ?PAGE)) end,
     fun() -> strictly(emmap:pread(File, 0, 4 * ?PAGE)) end,
     fun() -> strictly(emmap:read(File, 100)) end,
     fun() -> strictly(emmap:read_line(File)) end,
     fun() -> emmap:pwrite(File, 0, content(4)) end,
     fun() -> emmap:position(File, bof) end,
     fun() -> word(fun() -> emmap:patomic(File, 8, add, 0) end) end,
     fun() -> word(fun() -> emmap:patomic_read(File, 8) end) end,
     fun() -> word(fun() -> emmap:patomic_write(File, 8, Word) end) end,
     fun() -> word(fun() -> emmap:patomic_cas(File, 8, Word, Word) end) end,
     fun() -> emmap:remap(File) end,
     fun() -> emmap:resize(File, 4 * ?PAGE) end,
     fun() -> emmap:allocate(File, 0, ?PAGE) end,
     fun() -> emmap:sync(File, 0, ?PAGE) end,
     fun() -> emmap:datasync(File) end,
     fun() -> emmap:flush(File) end,
     fun() -> emmap:advise(File, 0, ?PAGE, will_need) end,
     fun() -> {ok, 0} = emmap:position(Sink, bof), emmap:copy(File, Sink, 100) end,
     fun() -> emmap:read_handle_info(File, []) end,
     fun() -> raises_closed(fun() -> {ok, emmap:info(File)} end) end].

calls_that_change(File, _) ->
    [fun() -> emmap:write(File, content(1)) end,
     fun() -> emmap:write(File, [<<"A">>, content(1)]) end,
     fun() -> emmap:pwrite(File, 3 * ?PAGE, content(2)) end,
     fun() -> emmap:pwrite(File, 4 * ?PAGE, <<"A">>) end,
     fun() -> emmap:position(File, {bof, 64 * rand:uniform(3 * ?PAGE div 64)}) end,
     fun() -> emmap:truncate(File) end,
     fun() -> emmap:resize(File) end,
     fun() -> emmap:resize(File, 6 * ?PAGE) end,
     fun() -> emmap:allocate(File, 5 * ?PAGE, ?PAGE) end,
     fun() -> loosely(emmap:read(File, 1000)) end,
     fun() -> loosely(emmap:pread(File, rand:uniform(3 * ?PAGE), ?PAGE)) end,
     fun() -> emmap:remap(File) end].

%% The zeroes of a page that was taken away by close would be no content.
strictly({ok, Bytes}) ->
    <<>> = << <<B>> || <<B>> <= Bytes, B =/= $A, B =/= $\n >>,
    ok;
strictly(Other) -> Other.

loosely({ok, Bytes}) ->
    true = is_content(Bytes),
    ok;
%% Cut off by another call, under the reader.
loosely({error, truncated}) -> ok;
loosely(Other) -> Other.

word(Call) ->
    raises_closed(fun() ->
                          case Call() of
                              ok -> ok;
                              Word -> strictly({ok, <<Word:64/native>>})
                          end
                  end).

raises_closed(Call) ->
    try Call()
    catch error:badarg -> {error, closed}
    end.

call_until_closed(Call, Closed, Ready) ->
    WasClosed = atomics:get(Closed, 1),
    Result = Call(),
    counters:add(Ready, 1, 1),
    case Result of
        {error, closed} -> ok;
        _ when WasClosed =:= 1 -> exit({succeeded_after_close, Result});
        eof -> call_until_closed(Call, Closed, Ready);
        ok -> call_until_closed(Call, Closed, Ready);
        {ok, _} -> call_until_closed(Call, Closed, Ready);
        Other -> exit({unexpected, Other})
    end.

%% Each word goes up; what was answered with `ok' before the handle was closed is in the file.
no_answered_write_is_lost_at_close(Config) ->
    Dir = ?config(dir, Config),
    survives(fun() -> [count_up_to_close(Dir, Mode) || Mode <- modes(), _ <- lists:seq(1, 100)] end,
             #{args => ["+S", "4"]}).

count_up_to_close(Dir, Mode) ->
    Name = filename:join(Dir, "words"),
    ok = file:write_file(Name, <<0:(4 * ?PAGE * 8)>>),
    {ok, File} = emmap:open(Name, [write, shared | Mode]),
    Writes = [fun(N) -> emmap:pwrite(File, 0, <<N:64/native>>) end,
              fun(N) -> emmap:pwrite(File, ?PAGE, [<<N:32/native>>, <<0:32>>]) end,
              fun(N) -> raises_closed(fun() -> emmap:patomic_write(File, 2 * ?PAGE, N) end) end,
              fun(_) ->
                      raises_closed(fun() ->
                                            _ = emmap:patomic(File, 3 * ?PAGE, add, 1),
                                            ok
                                    end)
              end],
    Started = counters:new(1, []),
    Workers = [spawn_monitor(fun() -> exit({last, count_up(Write, 1, Started)}) end) || Write <- Writes],
    eventually(fun() -> counters:get(Started, 1) >= length(Writes) end),
    ok = emmap:close(File),
    Last = [receive {'DOWN', Reference, process, Pid, {last, N}} -> N end || {Pid, Reference} <- Workers],
    {ok, Bytes} = file:read_file(Name),
    [begin
         <<_:(Page * ?PAGE)/binary, Word:64/native, _/binary>> = Bytes,
         %% A call that was under way at the close may or may not have landed.
         {Mode, Page, true} = {Mode, Page, Word >= N andalso Word =< N + 1}
     end || {Page, N} <- lists:enumerate(0, Last)].

count_up(Write, N, Started) ->
    case Write(N) of
        ok ->
            N =:= 1 andalso counters:add(Started, 1, 1),
            count_up(Write, N + 1, Started);
        {error, closed} -> N - 1
    end.

%% The handle still lives: it is close that gives back, not the collector.
close_gives_back_all_at_once(Config) ->
    Dir = ?config(dir, Config),
    case emmap_vm:may_mount(Dir) of
        true ->
            survives(fun() -> [close_a_deleted_file(Dir, Mode) || Mode <- [[lock], [nolock]]] end,
                     #{tmpfs => {Dir, "300m"}});
        Why -> {skip, Why}
    end.

close_a_deleted_file(Dir, Mode) ->
    Size = 256 bsl 20,
    Name = filename:join(Dir, "large"),
    {Descriptors, Used} = {descriptors(), emmap_vm:used(Dir)},
    {ok, File} = emmap:open(Name, [create, write, shared, {size, Size} | Mode]),
    [ok = emmap:pwrite(File, At, binary:copy(<<"A">>, 1 bsl 20)) || At <- lists:seq(0, Size - 1, 1 bsl 20)],
    ok = file:delete(Name),
    {Memory, Disk} = {emmap_vm:status_kb("VmRSS"), emmap_vm:used(Dir)},
    true = Disk >= Used + Size,
    ok = emmap:close(File),
    {Used, Used} = {Used, emmap_vm:used(Dir)},
    Descriptors = descriptors(),
    Left = emmap_vm:status_kb("VmRSS"),
    {true, _, _} = {Left < Memory - (Size bsr 10) * 9 div 10, Left, Memory},
    {error, closed} = emmap:close(File).

%% What is written after the file's pages have been replaced lands nowhere, and must not stay in memory.
a_large_write_that_races_with_close_leaves_no_memory(Config) ->
    Dir = ?config(dir, Config),
    survives(fun() -> [close_while_writing(Dir, Mode) || Mode <- [[lock], [nolock]], _ <- [1, 2]] end,
             #{args => ["+S", "4"]}).

close_while_writing(Dir, Mode) ->
    Size = 256 bsl 20,
    Name = filename:join(Dir, "large"),
    ok = file:write_file(Name, <<>>),
    {ok, File} = emmap:open(Name, [write, shared, {size, Size} | Mode]),
    Bytes = binary:copy(<<"m">>, Size),
    Mapped = emmap_vm:status_kb("RssFile"),
    Before = emmap_vm:status_kb("VmRSS"),
    {Pid, Reference} = spawn_monitor(fun() -> exit({wrote, emmap:pwrite(File, 0, Bytes)}) end),
    eventually(fun() -> emmap_vm:status_kb("RssFile") > Mapped + (8 bsl 10) end),
    ok = emmap:close(File),
    receive {'DOWN', Reference, process, Pid, {wrote, Answer}} -> true = lists:member(Answer, [ok, {error, closed}]) end,
    eventually(fun() -> emmap_vm:status_kb("VmRSS") < Before + (16 bsl 10) end),
    {error, closed} = emmap:pread(File, 0, byte_size(Bytes)).

%% Addresses that one handle gave up are taken by another at once, so a late access would find the other's bytes.
no_bytes_of_another_file(Config) ->
    Dir = ?config(dir, Config),
    survives(
      fun() ->
              Parent = self(),
              Processes =
                  [spawn_link(fun() ->
                                      Name = filename:join(Dir, [Letter]),
                                      ok = file:write_file(Name, binary:copy(<<Letter>>, 8 * ?PAGE)),
                                      [own_bytes(Name, Letter, Mode) || _ <- lists:seq(1, 300), Mode <- modes()],
                                      Parent ! {self(), done}
                              end) || Letter <- "bcdefgh"],
              [receive {Process, done} -> ok end || Process <- Processes]
      end, #{args => ["+S", "4"]}).

own_bytes(Name, Letter, Mode) ->
    {ok, File} = emmap:open(Name, [write, shared | Mode]),
    Wanted = binary:copy(<<Letter>>, 8 * ?PAGE),
    Reader = spawn_monitor(fun() -> read_until_closed(File, Wanted, []) end),
    <<Word:64/native-signed, _/binary>> = Wanted,
    Word = emmap:patomic(File, 8, 'bor', Word),
    ok = emmap:pwrite(File, ?PAGE, binary:part(Wanted, 0, ?PAGE)),
    ok = emmap:close(File),
    {Pid, Reference} = Reader,
    receive {'DOWN', Reference, process, Pid, Why} -> normal = Why end.

%% Holds some of the binaries, and looks at them again at the end.
read_until_closed(File, Wanted, Held) ->
    case emmap:pread(File, 0, 8 * ?PAGE) of
        {ok, Wanted} when length(Held) > 20 -> read_until_closed(File, Wanted, Held);
        {ok, Bytes} ->
            Wanted = Bytes,
            read_until_closed(File, Wanted, [Bytes | Held]);
        {error, closed} -> [Wanted = Bytes || Bytes <- Held]
    end.

%% Handles and binaries are given up by processes that die, while others use the same file.
collecting_races_with_nothing(Config) ->
    Dir = ?config(dir, Config),
    survives(
      fun() ->
              Name = new_file(Dir, 8),
              Wanted = content(8),
              {Maps, Descriptors} = {mappings(), descriptors()},
              Parent = self(),
              [begin
                   Processes = [spawn_link(fun() ->
                                                   {ok, File} = emmap:open(Name, [write, shared | Mode]),
                                                   {ok, Wanted} = emmap:pread(File, 0, 8 * ?PAGE),
                                                   {ok, Part} = emmap:pread(File, 64, 64),
                                                   ok = emmap:pwrite(File, 64, Part),
                                                   Parent ! {self(), Part}
                                           end) || Mode <- modes()],
                   [receive {Process, Part} -> Part = binary:part(Wanted, 64, 64) end || Process <- Processes]
               end || _ <- lists:seq(1, 500)],
              erlang:garbage_collect(),
              eventually(fun() -> descriptors() =< Descriptors end),
              eventually(fun() -> mappings() =< Maps + 50 end)
      end, #{args => ["+S", "4"]}).

purging_the_code_leaves_handles_working(Config) ->
    Dir = ?config(dir, Config),
    survives(
      fun() ->
              Handles = [begin
                             {ok, File} = emmap:open(new_file(Dir, 4), [write, shared | Mode]),
                             File
                         end || Mode <- modes()],
              {ok, Direct} = emmap:pread(lists:last(Handles), 0, ?PAGE),
              %% Calls from a file handle meet a module that is not loaded for a moment, which is the code server's
              %% affair; so these go on where it says undef.
              Use = fun() ->
                            File = lists:nth(rand:uniform(4), Handles),
                            try
                                {ok, <<_:?PAGE/binary>>} = emmap:pread(File, 0, ?PAGE),
                                ok = emmap:pwrite(File, ?PAGE, content(1)),
                                _ = emmap:patomic(File, 0, add, 0),
                                ok
                            catch
                                error:undef -> ok;
                                exit:killed -> ok
                            end
                    end,
              while([Use, Use, Use, Use],
                    fun() ->
                            [begin
                                 _ = code:soft_purge(emmap),
                                 case code:load_file(emmap) of
                                     {module, emmap} -> ok;
                                     %% Somebody is still inside the one before.
                                     {error, not_purged} -> ok
                                 end
                             end || _ <- lists:seq(1, 60)]
                    end),
              %% Quite gone, and back: then the handles are nobody's, but the binaries are whole.
              _ = code:purge(emmap),
              true = code:delete(emmap),
              _ = code:purge(emmap),
              true = Direct =:= content(1),
              {module, emmap} = code:load_file(emmap),
              [case emmap:pread(File, 0, 4) of
                   {ok, <<"AAAA">>} -> ok;
                   {error, badarg} -> ok
               end || File <- Handles],
              true = Direct =:= content(1),
              Name = new_file(Dir, 2),
              {ok, File} = emmap:open(Name, []),
              cut(Name, 0),
              {error, truncated} = emmap:pread(File, 0, 10)
      end, #{args => ["+S", "4"]}).

%% An upgrade brings another library file: two of them, with two fault handlers, are then in the VM.
a_newer_library_takes_over_handles_and_faults(Config) ->
    Dir = ?config(dir, Config),
    {Priv, NewEbin, NewPriv} = copied_application(Dir),
    survives(
      fun() ->
              copy_file(Priv, NewPriv, "emmap.so"),
              true = code:add_patha(NewEbin),
              {module, emmap} = code:load_file(emmap),
              [upgrade_once(Dir, Priv, NewPriv) || _ <- lists:seq(1, 3)]
      end).

upgrade_once(Dir, Priv, NewPriv) ->
    Open = fun() ->
                   [begin
                        Name = new_file(Dir, 4),
                        {ok, File} = emmap:open(Name, [read, write, shared | Mode]),
                        {Name, File}
                    end || Mode <- modes()]
           end,
    Old = Open(),
    Parent = self(),
    spawn_link(fun() -> [{ok, _} = emmap:open(Name, [direct]) || {Name, _} <- Open()], Parent ! opened end),
    receive opened -> ok end,
    copy_file(Priv, NewPriv, "emmap.so"),
    _ = code:purge(emmap),
    {module, emmap} = code:load_file(emmap),
    _ = code:purge(emmap),
    New = Open(),
    [begin
         {ok, <<"AAAA">>} = emmap:pread(File, 0, 4),
         cut(Name, ?PAGE),
         {error, truncated} = emmap:pwrite(File, 2 * ?PAGE, <<"x">>),
         {ok, <<"AAAA">>} = emmap:pread(File, 0, 4),
         {ok, ?PAGE} = emmap:remap(File)
     end || {Name, File} <- Old ++ New],
    [ok = emmap:close(File) || {_, File} <- Old],
    erlang:garbage_collect(),
    %% The places that those had are taken by new ones, which must fault as well as any.
    [begin
         cut(Name, 0),
         {error, truncated} = emmap:pwrite(File, 2 * ?PAGE, <<"x">>),
         ok = emmap:close(File)
     end || {Name, File} <- Open()].

a_newer_library_comes_while_calls_are_running(Config) ->
    Dir = ?config(dir, Config),
    {Priv, NewEbin, NewPriv} = copied_application(Dir),
    survives(
      fun() ->
              true = code:add_patha(NewEbin),
              Handles = [begin
                             {ok, File} = emmap:open(new_file(Dir, 4), [write, shared | Mode]),
                             File
                         end || Mode <- modes()],
              Word = binary:decode_unsigned(binary:part(content(1), 0, 8), little),
              %% A call meets a module that is not loaded for a moment, which is the code server's affair.
              Use = fun(Call) ->
                            fun() ->
                                    try Call(lists:nth(rand:uniform(4), Handles))
                                    catch error:undef -> ok
                                    end
                            end
                    end,
              Calls = [Use(fun(File) -> {ok, <<_:(4 * ?PAGE)/binary>>} = emmap:pread(File, 0, 4 * ?PAGE) end),
                       Use(fun(File) -> ok = emmap:pwrite(File, 0, content(2)) end),
                       Use(fun(File) -> Word = emmap:patomic(File, 3 * ?PAGE, add, 0) end),
                       Use(fun(File) -> ok = emmap:datasync(File) end),
                       Use(fun(File) -> {ok, _} = emmap:remap(File) end)],
              while(Calls,
                    fun() ->
                            [begin
                                 copy_file(Priv, NewPriv, "emmap.so"),
                                 _ = code:soft_purge(emmap),
                                 case code:load_file(emmap) of
                                     {module, emmap} -> loaded;
                                     %% Somebody is still inside the one before.
                                     {error, not_purged} -> busy
                                 end
                             end || _ <- lists:seq(1, 20)]
                    end),
              [begin
                   {ok, <<"AAAA">>} = emmap:pread(File, 0, 4),
                   ok = emmap:close(File)
               end || File <- Handles],
              Name = new_file(Dir, 2),
              {ok, File} = emmap:open(Name, []),
              cut(Name, 0),
              {error, truncated} = emmap:pread(File, 0, 10)
      end, #{args => ["+S", "4"]}).

%% A copy of the application: where its library is, where the copied modules and their library are.
copied_application(Dir) ->
    Ebin = filename:dirname(code:which(emmap)),
    Priv = filename:join(filename:dirname(Ebin), "priv"),
    NewEbin = filename:join([Dir, "emmap", "ebin"]),
    NewPriv = filename:join([Dir, "emmap", "priv"]),
    ok = filelib:ensure_path(NewEbin),
    ok = filelib:ensure_path(NewPriv),
    [copy_file(Ebin, NewEbin, File) || File <- filelib:wildcard("*", Ebin)],
    {Priv, NewEbin, NewPriv}.

%% Another inode: the loader takes it for another library.
copy_file(From, To, File) ->
    _ = file:delete(filename:join(To, File)),
    {ok, _} = file:copy(filename:join(From, File), filename:join(To, File)).

%% A reader may touch what a resize takes away, but what comes back is as good as new.
resizing_races_leave_no_faults_behind(Config) ->
    Dir = ?config(dir, Config),
    survives(
      fun() ->
              [begin
                   {ok, File} = emmap:open(new_file(Dir, 64), [read, write, shared | Mode]),
                   Read = fun() ->
                                  case emmap:pread(File, rand:uniform(63 * ?PAGE), ?PAGE) of
                                      {ok, Bytes} -> true = is_content(Bytes);
                                      eof -> ok;
                                      %% Cut off while it was handed out.
                                      {error, truncated} when Mode =:= [lock, direct]; Mode =:= [nolock, direct] -> ok
                                  end
                          end,
                   Add = fun() ->
                                 try emmap:patomic(File, 8 * rand:uniform(63 * ?PAGE div 8), add, 0) of
                                     _ -> ok
                                 catch
                                     error:badarg -> ok;
                                     %% The word was cut off while it was added to.
                                     error:truncated -> ok
                                 end
                         end,
                   Resize = fun() ->
                                    {ok, _} = emmap:resize(File, rand:uniform(64 * ?PAGE)),
                                    {ok, _} = emmap:resize(File, 64 * ?PAGE)
                            end,
                   while([Read, Read, Add, Add], fun() -> emmap_vm:until(1500, Resize) end),
                   {ok, _} = emmap:pread(File, 0, 64 * ?PAGE)
               end || Mode <- modes()]
      end, #{args => ["+S", "4"]}).

%% The new end lies within the page of the word, where no fault can tell that it is gone.
-define(NEW_END, (?PAGE + 4)).
-define(WORD_AT, (?PAGE + 8)).

a_word_that_is_cut_off_is_never_zero(Config) ->
    Dir = ?config(dir, Config),
    survives(fun() -> [cut_off_word(Dir, Lock) || Lock <- [lock, nolock]] end, in_memory(Dir)).

cut_off_word(Dir, Lock) ->
    Operations = [fun(File) -> emmap:patomic_read(File, ?WORD_AT) end,
                  fun(File) -> emmap:patomic(File, ?WORD_AT, add, 0) end,
                  fun(File) ->
                          case emmap:patomic_cas(File, ?WORD_AT, -1, -1) of
                              ok -> -1;
                              Actual -> Actual
                          end
                  end],
    [emmap_vm:until(
       400,
       fun() ->
               {File, Worker} = start_at_word(Dir, Lock, fun(F) -> repeat_until_raised(F, Operation) end),
               {ok, ?NEW_END} = emmap:resize(File, ?NEW_END),
               Result = answer(Worker),
               {Lock, Result, true} = {Lock, Result, lists:member(Result, [badarg, truncated])},
               ok = emmap:close(File)
       end) || Operation <- Operations].

%% Where a memory file system may be mounted, on one: there the page stays while it is zeroed.
in_memory(Dir) ->
    case emmap_vm:may_mount(Dir) of
        true -> #{tmpfs => {Dir, "1m"}, args => ["+S", "4"]};
        _ -> #{args => ["+S", "4"]}
    end.

%% A file of ones, and a process that works on a word of it.
start_at_word(Dir, Lock, Work) ->
    Name = filename:join(Dir, "ones"),
    ok = file:write_file(Name, binary:copy(<<255>>, 2 * ?PAGE)),
    {ok, File} = emmap:open(Name, [write, shared, Lock]),
    Parent = self(),
    Worker = spawn_monitor(fun() -> Parent ! {self(), started}, exit({answer, Work(File)}) end),
    receive {Pid, started} when Pid =:= element(1, Worker) -> ok end,
    {File, Worker}.

answer({Pid, Reference}) -> receive {'DOWN', Reference, process, Pid, {answer, Answer}} -> Answer end.

repeat_until_raised(File, Operation) ->
    try Operation(File) of
        -1 -> repeat_until_raised(File, Operation);
        Other -> {word, Other}
    catch
        error:Reason -> Reason
    end.

%% What landed past the new end, too late, is not there when the file grows again.
what_races_with_a_shrink_leaves_nothing_past_the_end(Config) ->
    Dir = ?config(dir, Config),
    survives(fun() -> [shrink_and_grow(Dir, Lock) || Lock <- [lock, nolock]] end, in_memory(Dir)).

shrink_and_grow(Dir, Lock) ->
    %% Somewhere within the time that the shrink takes.
    Raising = fun(Operation) ->
                      fun(File) ->
                              spin(rand:uniform(5000)),
                              emmap_vm:raised(fun() -> Operation(File) end)
                      end
              end,
    Writes = [Raising(fun(File) -> emmap:patomic(File, ?WORD_AT, xchg, 77) end),
              Raising(fun(File) -> emmap:patomic_write(File, ?WORD_AT, 77) end),
              Raising(fun(File) -> emmap:patomic_cas(File, ?WORD_AT, -1, 77) end),
              Raising(fun(File) -> emmap:pwrite(File, ?WORD_AT, <<77:64/native>>) end)],
    [emmap_vm:until(
       500,
       fun() ->
               {File, Worker} = start_at_word(Dir, Lock, Write),
               {ok, ?NEW_END} = emmap:resize(File, ?NEW_END),
               Answer = answer(Worker),
               %% Appended, after the shrink: then it belongs there.
               Grew = maps:get(size, emmap:info(File)) > ?NEW_END,
               {ok, _} = emmap:resize(File, 2 * ?PAGE),
               Word = emmap:patomic_read(File, ?WORD_AT),
               {Lock, Number, Answer, true} = {Lock, Number, Answer, Grew orelse Word =:= 0},
               ok = emmap:close(File)
       end) || {Number, Write} <- lists:enumerate(Writes)].

spin(0) -> ok;
spin(Times) -> spin(Times - 1).

remapping_a_private_handle_keeps_its_changes(Config) ->
    Dir = ?config(dir, Config),
    survives(
      fun() ->
              [begin
                   Name = new_file(Dir, 1),
                   {ok, File} = emmap:open(Name, [write, private | Mode]),
                   ok = emmap:pwrite(File, 10, <<"changed">>),
                   ok = file:write_file(Name, binary:copy(<<"B">>, Growth), [append]),
                   {ok, Size} = emmap:remap(File),
                   Size = ?PAGE + Growth,
                   {ok, <<"changed">>} = emmap:pread(File, 10, 7),
                   {ok, <<"B">>} = emmap:pread(File, Size - 1, 1),
                   %% And again, from there.
                   ok = emmap:pwrite(File, Size - 1, <<"C">>),
                   ok = file:write_file(Name, binary:copy(<<"B">>, Growth), [append]),
                   {ok, _} = emmap:remap(File),
                   {ok, <<"changed">>} = emmap:pread(File, 10, 7),
                   {ok, <<"CB">>} = emmap:pread(File, Size - 1, 2),
                   {ok, <<"AAAAAAAAAAAAAAAAAAAA", _/binary>>} = file:read_file(Name),
                   ok = emmap:close(File)
               end || Mode <- modes(), Growth <- [1, ?PAGE, 100000, 3 bsl 20]]
      end).

%%% 100,000 of a kind, on a handle that has outgrown its first region

a_hundred_thousand_heals_hold_few_mappings(Config) ->
    changes(Config,
            fun(File, Raw, _) ->
                    {ok, ?PAGE} = file:position(Raw, ?PAGE),
                    ok = file:truncate(Raw),
                    {error, truncated} = emmap:pwrite(File, ?PAGE, <<"x">>),
                    {ok, Size} = file:position(Raw, 3 bsl 20),
                    ok = file:truncate(Raw),
                    {ok, Size} = emmap:remap(File)
            end).

a_hundred_thousand_remaps_hold_few_mappings(Config) ->
    changes(Config,
            fun(File, Raw, N) ->
                    {ok, Size} = file:position(Raw, (2 bsl 20) + N band 1 bsl 20),
                    ok = file:truncate(Raw),
                    {ok, Size} = emmap:remap(File)
            end).

a_hundred_thousand_resizes_hold_few_mappings(Config) ->
    changes(Config,
            fun(File, _, N) ->
                    Size = (2 bsl 20) + N band 1 bsl 20,
                    {ok, Size} = emmap:resize(File, Size)
            end).

changes(Config, Change) ->
    Dir = ?config(dir, Config),
    survives(
      fun() ->
              [begin
                   Name = new_file(Dir, 4),
                   {ok, File} = emmap:open(Name, [read, write, shared, {max_inc_size, ?PAGE} | Mode]),
                   #{address := First} = emmap:info(File),
                   {ok, Raw} = file:open(Name, [read, write, raw]),
                   {ok, _} = emmap:resize(File, 3 bsl 20),
                   #{address := Second} = emmap:info(File),
                   true = First =/= Second,
                   Before = {mappings(), descriptors()},
                   [{ok, _} = Change(File, Raw, N) || N <- lists:seq(1, 50000)],
                   After = {mappings(), descriptors()},
                   io:format("mappings and descriptors: ~p, then ~p~n", [Before, After]),
                   true = element(1, After) < element(1, Before) + 20,
                   true = element(2, After) =:= element(2, Before),
                   ok = emmap:close(File)
               end || Mode <- [[lock], [nolock, direct]]]
      end, #{seconds => 120}).
