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
    [no_call_succeeds_after_close, no_bytes_of_another_file, collecting_races_with_nothing,
     purging_the_code_leaves_handles_working, a_newer_library_takes_over_handles_and_faults,
     resizing_races_leave_no_faults_behind, a_hundred_thousand_changes_hold_few_mappings].

init_per_testcase(Case, Config) -> emmap_vm:directory(Case, Config).

end_per_testcase(_, Config) -> emmap_vm:delete_directory(Config).

%%% Races

no_call_succeeds_after_close(Config) ->
    Dir = ?config(dir, Config),
    survives(fun() -> [close_race(Dir, Mode) || Mode <- modes(), _ <- lists:seq(1, 60)] end, #{args => ["+S", "4"]}).

close_race(Dir, Mode) ->
    Name = new_file(Dir, 4),
    {ok, File} = emmap:open(Name, [read, write, shared | Mode]),
    Closed = atomics:new(1, []),
    Calls = [fun() -> emmap:pread(File, rand:uniform(3 * ?PAGE), ?PAGE) end,
             fun() -> emmap:pread(File, 0, 4 * ?PAGE) end,
             fun() -> emmap:pwrite(File, 0, content(4)) end,
             fun() -> emmap:pwrite(File, 4 * ?PAGE, <<"A">>) end,
             fun() -> emmap:read_line(File) end,
             fun() -> emmap:position(File, bof) end,
             fun() -> try emmap:patomic(File, 8, add, 0) of
                          Word -> {ok, <<Word:64/native>>}
                      catch
                          error:badarg -> {error, closed}
                      end
             end,
             fun() -> emmap:remap(File) end,
             fun() -> emmap:resize(File, 4 * ?PAGE) end,
             fun() -> emmap:sync(File, 0, ?PAGE) end,
             fun() -> emmap:advise(File, 0, ?PAGE, will_need) end,
             fun() -> emmap:read_handle_info(File, []) end,
             fun() -> try emmap:info(File) of
                          Info -> {ok, Info}
                      catch
                          error:badarg -> {error, closed}
                      end
             end],
    Ready = counters:new(1, []),
    Workers = [spawn_monitor(fun() -> call_until_closed(Call, Closed, Ready) end) || Call <- Calls],
    eventually(fun() -> counters:get(Ready, 1) >= length(Calls) end),
    ok = emmap:close(File),
    atomics:put(Closed, 1, 1),
    [receive {'DOWN', Reference, process, Pid, Why} -> {Call, normal} = {Call, Why} end
     || {{Pid, Reference}, Call} <- lists:zip(Workers, Calls)],
    ok = file:delete(Name).

call_until_closed(Call, Closed, Ready) ->
    WasClosed = atomics:get(Closed, 1),
    Result = Call(),
    counters:add(Ready, 1, 1),
    case Result of
        {error, closed} -> ok;
        _ when WasClosed =:= 1 -> exit({succeeded_after_close, Result});
        {ok, Bytes} when is_binary(Bytes) ->
            <<>> = << <<B>> || <<B>> <= Bytes, B =/= $A, B =/= $\n >>,
            call_until_closed(Call, Closed, Ready);
        eof -> call_until_closed(Call, Closed, Ready);
        ok -> call_until_closed(Call, Closed, Ready);
        {ok, _} -> call_until_closed(Call, Closed, Ready);
        Other -> exit({unexpected, Other})
    end.

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
                             end || _ <- lists:seq(1, 200)]
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
    Ebin = filename:dirname(code:which(emmap)),
    Priv = filename:join(filename:dirname(Ebin), "priv"),
    NewEbin = filename:join([Dir, "emmap", "ebin"]),
    NewPriv = filename:join([Dir, "emmap", "priv"]),
    ok = filelib:ensure_path(NewEbin),
    ok = filelib:ensure_path(NewPriv),
    Copy = fun(From, To, File) -> {ok, _} = file:copy(filename:join(From, File), filename:join(To, File)) end,
    [Copy(Ebin, NewEbin, File) || File <- filelib:wildcard("*", Ebin)],
    survives(
      fun() ->
              Copy(Priv, NewPriv, "emmap.so"),
              true = code:add_patha(NewEbin),
              {module, emmap} = code:load_file(emmap),
              [upgrade_once(Dir, Priv, NewPriv, Copy) || _ <- lists:seq(1, 3)]
      end).

upgrade_once(Dir, Priv, NewPriv, Copy) ->
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
    %% Another inode: the loader takes it for another library.
    ok = file:delete(filename:join(NewPriv, "emmap.so")),
    Copy(Priv, NewPriv, "emmap.so"),
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
                                      eof -> ok
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
                   while([Read, Read, Add, Add],
                         fun() ->
                                 [begin
                                      {ok, _} = emmap:resize(File, rand:uniform(64 * ?PAGE)),
                                      {ok, _} = emmap:resize(File, 64 * ?PAGE)
                                  end || _ <- lists:seq(1, 1000)]
                         end),
                   {ok, _} = emmap:pread(File, 0, 64 * ?PAGE)
               end || Mode <- [[lock], [nolock]]]
      end, #{args => ["+S", "4"]}).

a_hundred_thousand_changes_hold_few_mappings(Config) ->
    Dir = ?config(dir, Config),
    survives(
      fun() ->
              Name = new_file(Dir, 4),
              {ok, Raw} = file:open(Name, [read, write, raw]),
              [begin
                   {ok, File} = emmap:open(Name, [read, write, shared | Mode]),
                   Before = mappings(),
                   [change(File, Raw, N) || N <- lists:seq(1, 25000)],
                   After = mappings(),
                   io:format("~p mappings, then ~p~n", [Before, After]),
                   true = After < Before + 50,
                   ok = emmap:close(File)
               end || Mode <- modes()]
      end, #{seconds => 120}).

change(File, Raw, N) ->
    case N rem 4 of
        0 ->
            %% A fault, and its healing.
            {ok, 0} = file:position(Raw, 0),
            ok = file:truncate(Raw),
            {error, truncated} = emmap:pwrite(File, 0, <<"x">>),
            {ok, _} = file:position(Raw, 4 * ?PAGE),
            ok = file:truncate(Raw),
            {ok, _} = emmap:remap(File),
            ok = emmap:pwrite(File, 0, <<"x">>);
        1 -> {ok, _} = emmap:resize(File, 40 * ?PAGE);
        2 -> {ok, _} = emmap:remap(File);
        3 -> {ok, _} = emmap:resize(File, 4 * ?PAGE)
    end.
