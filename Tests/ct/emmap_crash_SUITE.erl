%% Copyright 2026 the emmap authors. Licensed under the Apache License, Version 2.0.

%% Whatever happens to a file, and whatever a caller passes: the VM lives. Each case runs in a VM of its own, and what
%% counts first is how that VM ended.
-module(emmap_crash_SUITE).

-export([all/0, groups/0, suite/0, init_per_suite/1, end_per_suite/1, init_per_group/2, end_per_group/2,
         init_per_testcase/2, end_per_testcase/2]).
%% For other suites.
-export([in_vm/2, survives/2, child/0]).
%% Replaced by those of emmap_crash_SUITE_data/foreign_signals.c.
-export([install_handler/1, touch_own_truncated_mapping/1]).
-compile([export_all, nowarn_export_all]).
-nifs([install_handler/1, touch_own_truncated_mapping/1]).

-include_lib("common_test/include/ct.hrl").
-include_lib("kernel/include/file.hrl").

-define(PAGE, 4096).

suite() -> [{timetrap, {minutes, 4}}].

all() ->
    [{group, truncation}, {group, direct}, {group, full_disk}, {group, foreign}, {group, races}, {group, limits},
     {group, arguments}].

groups() ->
    [{truncation, [],
      [a_file_cut_to_nothing_is_an_error, a_file_cut_inside_a_page_keeps_the_rest,
       lines_before_the_cut_can_be_read_after_a_fault, a_window_of_a_file_that_was_cut_is_an_error,
       cutting_races_with_readers_writers_and_atomics, a_thousand_files_cut_in_a_row,
       half_a_gigabyte_cut_while_it_is_read]},
     {direct, [],
      [a_direct_binary_of_a_cut_file_ends_in_zeroes, a_direct_binary_outlives_close,
       a_direct_binary_outlives_its_handle, a_direct_binary_of_a_cut_file_can_be_written_elsewhere,
       half_a_gigabyte_of_direct_binary_cut_short]},
     {full_disk, [],
      [writing_a_hole_on_a_full_disk_is_enospc, reading_a_hole_on_a_full_disk_ends_nothing,
       many_holes_on_a_full_disk_leave_the_rest_usable, growing_on_a_full_disk_is_enospc,
       counters_on_a_full_disk_are_an_error]},
     {foreign, [],
      [a_bus_error_that_was_sent_ends_the_vm_as_ever, a_bus_error_of_another_library_ends_the_vm_as_ever,
       a_handler_that_was_there_before_is_called, a_handler_that_was_there_before_gets_no_fault_of_ours,
       an_ignored_bus_error_stays_ignored]},
     {races, [],
      [no_call_succeeds_after_close, no_bytes_of_another_file, collecting_races_with_nothing,
       purging_the_code_leaves_handles_working, a_newer_library_takes_over_handles_and_faults,
       resizing_races_leave_no_faults_behind, a_hundred_thousand_changes_hold_few_mappings]},
     {limits, [],
      [special_files_are_answered_at_once, out_of_descriptors_is_emfile, out_of_address_space_is_enomem,
       too_many_mappings_is_enomem, a_fault_with_too_many_mappings_ends_nothing, past_the_file_size_limit_is_efbig,
       failed_opens_leak_nothing]},
     {arguments, [],
      [odd_arguments_are_answered, odd_options_are_answered, odd_names_are_answered, odd_data_is_answered,
       data_larger_than_memory_is_answered, a_read_larger_than_memory_is_enomem]}].

init_per_suite(Config) -> Config.

end_per_suite(_) -> ok.

init_per_group(full_disk, Config) ->
    Mount = "unshare -rm sh -c 'mount -t tmpfs -o size=64k tmpfs \"$0\" && echo mounted' \"" ++ ?config(priv_dir, Config)
        ++ "\" 2>&1",
    case string:trim(os:cmd(Mount)) of
        "mounted" -> Config;
        Why -> {skip, "no file system may be mounted here (unshare -rm, mount -t tmpfs): " ++ Why}
    end;
init_per_group(foreign, Config) ->
    case os:find_executable("cc") of
        false -> {skip, "no C compiler (cc) to build a foreign signal handler with"};
        Compiler ->
            Source = filename:join(?config(data_dir, Config), "foreign_signals.c"),
            Library = filename:join(?config(priv_dir, Config), "foreign_signals"),
            Include = filename:join([code:root_dir(), "usr", "include"]),
            Command = io_lib:format("'~ts' -shared -fPIC -I'~ts' -o '~ts.so' '~ts' 2>&1",
                                    [Compiler, Include, Library, Source]),
            Output = os:cmd(lists:flatten(Command)),
            case filelib:is_regular(Library ++ ".so") of
                true -> [{foreign_signals, Library} | Config];
                false -> {skip, "the foreign signal handler does not compile: " ++ Output}
            end
    end;
init_per_group(_, Config) -> Config.

end_per_group(_, _) -> ok.

init_per_testcase(Case, Config) ->
    Dir = filename:join(?config(priv_dir, Config), Case),
    ok = filelib:ensure_path(Dir),
    [{dir, Dir} | Config].

end_per_testcase(_, Config) -> file:del_dir_r(?config(dir, Config)).

%%% A VM of its own

%% Runs a function in a new VM and returns how that ended: 0 if the function returned, 1 if it raised, 128 + N after
%% signal N, `timeout' if it had to be killed. Options:
%%   args      of erl, such as ["+S", "1"]
%%   limit     of ulimit(1), such as "-n 64"
%%   ignore    a signal, such as "XFSZ"
%%   tmpfs     {Directory, Size}: a file system of that size, which only this VM sees
%%   seconds   that it may take
in_vm(Fun, Options) ->
    Erl = filename:join([code:root_dir(), "bin", "erl"]),
    Paths = lists:usort([filename:dirname(File) || Module <- [emmap, ?MODULE], File <- [code:which(Module)],
                                                   is_list(File), File =/= []]
                        ++ [filename:join(Lib, "ebin") || Lib <- [code:lib_dir(emmap)], is_list(Lib)]),
    Vm = [Erl, "-noshell", "-noinput"] ++ lists:append([["-pa", Path] || Path <- Paths])
        ++ maps:get(args, Options, []) ++ ["-eval", "spawn(emmap_crash_SUITE, child, [])."],
    Limits = lists:append([["trap '' ", maps:get(ignore, Options), "; "] || is_map_key(ignore, Options)]
                          ++ [["ulimit ", maps:get(limit, Options), " && "] || is_map_key(limit, Options)]),
    {Executable, Args} =
        case Options of
            #{tmpfs := {Dir, Size}} ->
                {os:find_executable("unshare"),
                 ["-rm", "sh", "-c", "mount -t tmpfs -o size=" ++ Size ++ " tmpfs \"$0\" && " ++ lists:append(Limits) ++ "exec \"$@\"",
                  Dir | Vm]};
            #{} -> {"/bin/sh", ["-c", lists:append(Limits) ++ "exec \"$0\" \"$@\"" | Vm]}
        end,
    Child = binary_to_list(base64:encode(term_to_binary(Fun))),
    Port = open_port({spawn_executable, Executable},
                     [{args, Args}, {env, [{"EMMAP_CHILD", Child}, {"ERL_CRASH_DUMP_SECONDS", "0"}]},
                      binary, exit_status, stderr_to_stdout, hide]),
    {os_pid, Pid} = erlang:port_info(Port, os_pid),
    Timer = erlang:send_after(1000 * maps:get(seconds, Options, 60), self(), {Port, too_long}),
    Result = outcome(Port, Pid, []),
    _ = erlang:cancel_timer(Timer),
    Result.

outcome(Port, Pid, Output) ->
    receive
        {Port, {data, Data}} -> outcome(Port, Pid, [Output, Data]);
        {Port, {exit_status, Status}} -> {Status, iolist_to_binary(Output)};
        {Port, too_long} ->
            _ = os:cmd("kill -KILL " ++ integer_to_list(Pid)),
            receive {Port, {exit_status, _}} -> ok end,
            {timeout, iolist_to_binary(Output)}
    end.

%% The other end of in_vm/2.
child() ->
    Fun = binary_to_term(base64:decode(os:getenv("EMMAP_CHILD"))),
    %% Where descriptors are out, nothing more can be loaded.
    [{module, _} = code:ensure_loaded(Module)
     || Module <- [emmap, emmap_counters, emmap_error, erl_error, erl_pp, io_lib_pretty, otp_internal]],
    try Fun() of
        _ -> halt(0)
    catch
        Class:Reason:Stack ->
            try io:format("~ts~n", [erl_error:format_exception(Class, Reason, Stack)])
            catch _:_ -> io:format("~p ~p~n", [Class, Reason])
            end,
            halt(1)
    end.

survives(Fun, Options) ->
    case in_vm(Fun, Options) of
        {0, Output} -> ct:log("~ts", [Output]), Output;
        {Status, Output} ->
            ct:log("~ts", [Output]),
            ct:fail({vm_ended, Status, Output})
    end.

survives(Fun) -> survives(Fun, #{}).

%%% Files

%% Lines of 63 letters and a newline: what is read must be made of these bytes.
content(Pages) -> binary:copy(<<(binary:copy(<<"A">>, 63))/binary, $\n>>, Pages * ?PAGE div 64).

new_file(Dir, Pages) ->
    Name = filename:join(Dir, integer_to_list(erlang:unique_integer([positive]))),
    ok = file:write_file(Name, content(Pages)),
    Name.

cut(Name, Size) ->
    {ok, File} = file:open(Name, [read, write, raw]),
    {ok, Size} = file:position(File, Size),
    ok = file:truncate(File),
    ok = file:close(File).

modes() -> [[Lock | Copy] || Lock <- [lock, nolock], Copy <- [[], [direct]]].

%% What a function raises.
raised(Fun) ->
    try Fun() of
        Result -> {returned, Result}
    catch
        error:Reason -> Reason
    end.

count_lines(File) ->
    {ok, Text} = file:read_file(File),
    length(binary:matches(Text, <<"\n">>)).

mappings() -> count_lines("/proc/self/maps").

descriptors() ->
    {ok, Names} = file:list_dir("/proc/self/fd"),
    length(Names).

%% Runs the function in processes until the other one returns. Each is called again and again with what it returned.
while(Workers, Main) ->
    Stop = atomics:new(1, []),
    Running = [spawn_monitor(fun() -> repeat(Stop, Worker, 0) end) || Worker <- Workers],
    Result = Main(),
    atomics:put(Stop, 1, 1),
    [receive {'DOWN', Reference, process, Pid, Why} -> normal = Why end || {Pid, Reference} <- Running],
    Result.

repeat(Stop, Worker, Times) ->
    case atomics:get(Stop, 1) of
        %% At least once: a busy machine may not have let it run before.
        1 when Times > 0 -> ok;
        _ -> Worker(), repeat(Stop, Worker, Times + 1)
    end.

%% Waits for what happens soon but not at a moment that anybody is told.
eventually(Condition) -> eventually(Condition, erlang:monotonic_time(second) + 20).

eventually(Condition, Deadline) ->
    case Condition() of
        true -> ok;
        Other ->
            case erlang:monotonic_time(second) > Deadline of
                true -> error({never, Other});
                false -> erlang:yield(), eventually(Condition, Deadline)
            end
    end.

%%% Truncation

a_file_cut_to_nothing_is_an_error(Config) ->
    Dir = ?config(dir, Config),
    survives(fun() -> [cut_to_nothing(Dir, Sharing, Mode) || Sharing <- [shared, private], Mode <- modes()] end).

cut_to_nothing(Dir, Sharing, Mode) ->
    Name = new_file(Dir, 10),
    {ok, File} = emmap:open(Name, [read, write, Sharing | Mode]),
    cut(Name, 0),
    {error, truncated} = emmap:pwrite(File, 5 * ?PAGE, <<"x">>),
    {error, truncated} = emmap:pwrite(File, 0, binary:copy(<<"x">>, 10 * ?PAGE)),
    {error, truncated} = emmap:pread(File, 0, 10),
    {error, truncated} = emmap:pread(File, 9 * ?PAGE, ?PAGE),
    {error, truncated} = emmap:pread(File, [{0, 1}]),
    {error, truncated} = emmap:read(File, 1),
    {error, truncated} = emmap:read_line(File),
    {error, truncated} = emmap:write(File, <<"x">>),
    {ok, 0} = emmap:position(File, cur),
    truncated = raised(fun() -> emmap:patomic(File, 8, add, 1) end),
    truncated = raised(fun() -> emmap:patomic_read(File, 8) end),
    truncated = raised(fun() -> emmap:patomic_write(File, 8, 1) end),
    truncated = raised(fun() -> emmap:patomic_cas(File, 8, 1, 2) end),
    #{faulted := {0, _}} = emmap:info(File),
    eof = emmap:pread(File, 10 * ?PAGE, 1),
    ok = file:write_file(Name, content(10)),
    {ok, Size} = emmap:remap(File),
    Size = 10 * ?PAGE,
    #{faulted := false} = emmap:info(File),
    Whole = content(10),
    {ok, Whole} = emmap:pread(File, 0, Size),
    ok = emmap:pwrite(File, 0, <<"x">>),
    {ok, <<"x">>} = emmap:pread(File, 0, 1),
    ok = emmap:close(File).

a_file_cut_inside_a_page_keeps_the_rest(Config) ->
    Dir = ?config(dir, Config),
    survives(fun() -> [cut_inside(Dir, Sharing, Mode) || Sharing <- [shared, private], Mode <- modes()] end).

cut_inside(Dir, Sharing, Mode) ->
    Name = new_file(Dir, 10),
    {ok, File} = emmap:open(Name, [read, write, Sharing | Mode]),
    Cut = 2 * ?PAGE + 100,
    cut(Name, Cut),
    {error, truncated} = emmap:pwrite(File, 3 * ?PAGE, <<"x">>),
    truncated = raised(fun() -> emmap:patomic_read(File, 9 * ?PAGE) end),
    {error, truncated} = emmap:pread(File, 3 * ?PAGE - 1, 2),
    Rest = binary:part(content(10), 0, Cut),
    {ok, Rest} = emmap:pread(File, 0, Cut),
    ok = emmap:pwrite(File, 8, <<1:64/native>>),
    1 = emmap:patomic(File, 8, add, 1),
    2 = emmap:patomic_read(File, 8),
    {ok, Cut} = emmap:remap(File),
    {ok, <<2:64/native>>} = emmap:pread(File, 8, 8),
    eof = emmap:pread(File, Cut, 1),
    ok = emmap:close(File).

lines_before_the_cut_can_be_read_after_a_fault(Config) ->
    Dir = ?config(dir, Config),
    survives(
      fun() ->
              [begin
                   Name = new_file(Dir, 10),
                   {ok, File} = emmap:open(Name, [read, write, shared | Mode]),
                   cut(Name, 2 * ?PAGE),
                   {error, truncated} = emmap:pwrite(File, 5 * ?PAGE, <<"x">>),
                   Line = binary:part(content(1), 0, 64),
                   [{ok, Line} = emmap:read_line(File) || _ <- lists:seq(1, 2 * ?PAGE div 64)],
                   {error, truncated} = emmap:read_line(File)
               end || Mode <- modes()]
      end).

a_window_of_a_file_that_was_cut_is_an_error(Config) ->
    Dir = ?config(dir, Config),
    survives(
      fun() ->
              [begin
                   Name = new_file(Dir, 10),
                   {ok, File} = emmap:open(Name, 2 * ?PAGE + 64, 4 * ?PAGE, [read, write, shared | Mode]),
                   cut(Name, 4 * ?PAGE),
                   {error, truncated} = emmap:pwrite(File, 2 * ?PAGE, <<"x">>),
                   {error, truncated} = emmap:pread(File, 2 * ?PAGE - 64, 1),
                   {ok, <<_:(2 * ?PAGE - 64)/binary>>} = emmap:pread(File, 0, 2 * ?PAGE - 64),
                   {ok, Left} = emmap:remap(File),
                   Left = 2 * ?PAGE - 64,
                   cut(Name, ?PAGE),
                   {error, too_short} = emmap:remap(File),
                   {error, truncated} = emmap:pwrite(File, 0, <<"x">>),
                   ok = file:write_file(Name, content(10)),
                   {ok, Again} = emmap:remap(File),
                   Again = 4 * ?PAGE,
                   {ok, <<"A">>} = emmap:pread(File, Again - ?PAGE, 1)
               end || Mode <- modes()]
      end).

cutting_races_with_readers_writers_and_atomics(Config) ->
    Dir = ?config(dir, Config),
    survives(
      fun() ->
              Name = new_file(Dir, 64),
              Handles = [begin
                             {ok, File} = emmap:open(Name, [read, write, Sharing | Mode]),
                             File
                         end || Sharing <- [shared, private], Mode <- modes()],
              Workers = [fun() -> race_once(lists:nth(rand:uniform(8), Handles)) end || _ <- lists:seq(1, 8)],
              {ok, Raw} = file:open(Name, [read, write, raw, binary]),
              Page = content(1),
              while(Workers,
                    fun() ->
                            [begin
                                 Size = rand:uniform(64 * ?PAGE) - 1,
                                 {ok, Size} = file:position(Raw, Size),
                                 ok = file:truncate(Raw),
                                 _ = emmap:remap(lists:nth(rand:uniform(8), Handles)),
                                 ok = file:pwrite(Raw, 63 * ?PAGE, Page),
                                 _ = emmap:remap(lists:nth(rand:uniform(8), Handles))
                             end || _ <- lists:seq(1, 3000)]
                    end)
      end, #{args => ["+S", "4"]}).

%% One random access. The file holds letters, newlines and, where it was cut and grew again, zeroes.
race_once(File) ->
    Offset = rand:uniform(64 * ?PAGE) - 1,
    case rand:uniform(5) of
        1 ->
            case emmap:pread(File, Offset, rand:uniform(3 * ?PAGE)) of
                {ok, Bytes} -> true = is_content(Bytes);
                eof -> ok;
                {error, truncated} -> ok
            end;
        2 ->
            case emmap:pwrite(File, Offset band bnot 63, content(1)) of
                ok -> ok;
                {error, truncated} -> ok;
                %% A private handle that a remap has made shorter.
                {error, enospc} -> ok
            end;
        3 ->
            case emmap:read_line(File) of
                {ok, Line} -> true = is_content(Line);
                eof -> {ok, 0} = emmap:position(File, bof);
                {error, truncated} -> {ok, 0} = emmap:position(File, bof)
            end;
        4 ->
            try emmap:patomic(File, Offset band bnot 7, add, 0) of
                Word -> true = is_content(<<Word:64/native>>)
            catch
                error:truncated -> ok;
                %% Past the end, after a remap.
                error:badarg -> ok
            end;
        5 ->
            try emmap:patomic_read(File, Offset band bnot 7) of
                Word -> true = is_content(<<Word:64/native>>)
            catch
                error:truncated -> ok;
                error:badarg -> ok
            end
    end.

is_content(Bytes) -> << <<B>> || <<B>> <= Bytes, B =/= $A, B =/= $\n, B =/= 0 >> =:= <<>>.

a_thousand_files_cut_in_a_row(Config) ->
    Dir = ?config(dir, Config),
    survives(
      fun() ->
              Handles = [begin
                             Name = new_file(Dir, 3),
                             {ok, File} = emmap:open(Name, [read, write, shared]),
                             cut(Name, N rem 3 * ?PAGE),
                             {error, truncated} = emmap:pread(File, 0, 3 * ?PAGE),
                             ok = file:delete(Name),
                             File
                         end || N <- lists:seq(1, 1000)],
              [{error, truncated} = emmap:pwrite(File, 2 * ?PAGE, <<"x">>) || File <- Handles],
              [ok = emmap:close(File) || File <- Handles]
      end).

%% Holes are cheap, so the file takes no space; the cut falls into reads that run on dirty schedulers.
half_a_gigabyte_cut_while_it_is_read(Config) ->
    Dir = ?config(dir, Config),
    survives(
      fun() ->
              Size = 512 bsl 20,
              Name = new_file(Dir, 1),
              [begin
                   cut(Name, Size),
                   {ok, File} = emmap:open(Name, [read, write, shared | Mode]),
                   Parent = self(),
                   Reader = spawn_link(fun() ->
                                               Parent ! {self(), emmap:pread(File, 0, 8)},
                                               Parent ! {self(), emmap:pread(File, 0, Size)}
                                       end),
                   receive {Reader, {ok, <<_:64>>}} -> ok end,
                   cut(Name, 1000),
                   receive
                       %% Read before the cut.
                       {Reader, {ok, Bytes}} -> Size = byte_size(Bytes);
                       {Reader, {error, truncated}} -> ok
                   end,
                   {error, truncated} = emmap:pwrite(File, Size - 1, <<1>>),
                   {error, truncated} = emmap:pread(File, 0, Size),
                   ok = emmap:close(File)
               end || Mode <- [[lock], [nolock]]]
      end).

%%% Direct binaries

%% Ways to touch all of a binary, in C code of the VM and in compiled Erlang.
touches() ->
    [{at, fun(B) -> [binary:at(B, I) || I <- lists:seq(0, byte_size(B) - 1, 1000)] end},
     {at_the_end, fun(B) -> binary:last(B) end},
     {matching_a_tail, fun(B) -> N = byte_size(B) - 8, <<_:N/binary, Word:64>> = B, Word end},
     {matching_bytes, fun(B) -> sum(B, 0) end},
     {matching_unaligned, fun(<<_:3, Rest/bits>>) -> Size = bit_size(Rest) - 5, <<N:Size, _:5>> = Rest, N end},
     {matching_floats, fun(B) -> [F || <<F:64/float>> <= B] end},
     {matching_utf8, fun(B) -> length([C || <<C/utf8>> <= B]) end},
     {md5, fun erlang:md5/1},
     {crc32, fun erlang:crc32/1},
     {adler32, fun erlang:adler32/1},
     {phash2, fun erlang:phash2/1},
     {equal, fun(B) -> B =:= binary:copy(<<0>>, byte_size(B)) end},
     {equal_to_itself, fun(B) -> <<First, _/binary>> = B, <<First, (binary:part(B, 1, byte_size(B) - 1))/binary>> =:= B end},
     {less, fun(B) -> B < <<"AAA">> end},
     {copy, fun binary:copy/1},
     {append, fun(B) -> <<B/binary, "x">> end},
     {term_to_binary, fun erlang:term_to_binary/1},
     {compressed, fun(B) -> binary_to_term(term_to_binary(B, [compressed])) end},
     {to_list, fun erlang:binary_to_list/1},
     {iolist, fun(B) -> iolist_to_binary([B, $x, B]) end},
     {match, fun(B) -> binary:matches(B, <<0>>) end},
     {split, fun(B) -> binary:split(B, <<"\n">>, [global]) end},
     {decode_unsigned, fun binary:decode_unsigned/1},
     {unicode, fun(B) -> unicode:characters_to_list(B) end},
     {regular_expression, fun(B) -> re:run(B, <<"\\x00+$">>) end},
     {zlib, fun(B) -> zlib:uncompress(zlib:compress(B)) end},
     {base64, fun base64:encode/1},
     {ets, fun(B) ->
                   Table = ets:new(table, []),
                   true = ets:insert(Table, {key, B}),
                   [{key, Back}] = ets:lookup(Table, key),
                   true = ets:delete(Table),
                   erlang:md5(Back)
           end},
     {ets_key, fun(B) ->
                       Table = ets:new(table, [ordered_set]),
                       true = ets:insert(Table, [{B}, {<<"A">>}]),
                       true = ets:member(Table, B),
                       ets:delete(Table)
               end},
     {message, fun(B) ->
                       Parent = self(),
                       Other = spawn_link(fun() -> receive Bytes -> Parent ! {self(), sum(Bytes, 0)} end end),
                       Other ! B,
                       receive {Other, Sum} -> Sum end
               end},
     {persistent_term, fun(B) ->
                               persistent_term:put(key, B),
                               erlang:crc32(persistent_term:get(key))
                       end},
     {list_to_atom, fun(B) -> raised(fun() -> binary_to_atom(B) end) end},
     {map_key, fun(B) -> maps:get(B, #{B => 1}) end}].

sum(<<Byte, Rest/binary>>, Sum) -> sum(Rest, Sum + Byte);
sum(<<>>, Sum) -> Sum.

%% Has `Prepare' make a direct binary afresh for each way to touch it, so that it is that way that faults.
touch_all(Expected, Prepare) ->
    [begin
         Bytes = Prepare(),
         case {Touch(Bytes), Touch(Expected)} of
             {Same, Same} -> ok;
             {Other, Wanted} -> error({Name, Other, Wanted})
         end
     end || {Name, Touch} <- touches()].

%% What a file of 10 pages reads as when it was cut inside the third.
cut_content() ->
    Cut = 2 * ?PAGE + 100,
    <<Rest:Cut/binary, _/binary>> = Whole = content(10),
    <<Rest/binary, 0:((byte_size(Whole) - Cut) * 8)>>.

a_direct_binary_of_a_cut_file_ends_in_zeroes(Config) ->
    Dir = ?config(dir, Config),
    survives(
      fun() ->
              [touch_all(cut_content(),
                         fun() ->
                                 Name = new_file(Dir, 10),
                                 {ok, File} = emmap:open(Name, [direct, Lock]),
                                 {ok, Bytes} = emmap:pread(File, 0, 10 * ?PAGE),
                                 cut(Name, 2 * ?PAGE + 100),
                                 Bytes
                         end) || Lock <- [lock, nolock]]
      end).

a_direct_binary_outlives_close(Config) ->
    Dir = ?config(dir, Config),
    survives(
      fun() ->
              Prepare = fun(Change, Options) ->
                                Name = new_file(Dir, 10),
                                {ok, File} = emmap:open(Name, [direct | Options]),
                                {ok, Bytes} = emmap:read(File, 10 * ?PAGE),
                                ok = emmap:close(File),
                                {error, closed} = emmap:close(File),
                                {error, closed} = emmap:read(File, 1),
                                Change(Name),
                                Bytes
                        end,
              [begin
                   touch_all(content(10), fun() -> Prepare(fun file:delete/1, Options) end),
                   touch_all(cut_content(), fun() -> Prepare(fun(Name) -> cut(Name, 2 * ?PAGE + 100) end, Options) end)
               end || Options <- [[read], [write, shared], [nolock, write, private]]]
      end).

a_direct_binary_outlives_its_handle(Config) ->
    Dir = ?config(dir, Config),
    survives(
      fun() ->
              Before = descriptors(),
              Prepare = fun(Change) ->
                                Name = new_file(Dir, 10),
                                Parent = self(),
                                {Pid, Reference} =
                                    spawn_monitor(fun() ->
                                                          {ok, File} = emmap:open(Name, [direct, auto_unlink]),
                                                          {ok, Bytes} = emmap:pread(File, 0, 10 * ?PAGE),
                                                          Parent ! {self(), Bytes}
                                                  end),
                                receive {'DOWN', Reference, process, Pid, normal} -> ok end,
                                Change(Name),
                                receive {Pid, Bytes} -> Bytes end
                        end,
              touch_all(content(10), fun() -> Prepare(fun(_) -> ok end) end),
              %% The file may have been deleted by then; a name that is there again is nobody's.
              touch_all(content(10), fun() -> Prepare(fun(Name) -> file:write_file(Name, <<"other">>, [exclusive]) end) end),
              erlang:garbage_collect(),
              eventually(fun() -> descriptors() =< Before + 1 end)
      end).

%% The kernel does not fault on behalf of the process: it says efault, or has copied nothing.
a_direct_binary_of_a_cut_file_can_be_written_elsewhere(Config) ->
    Dir = ?config(dir, Config),
    survives(
      fun() ->
              Name = new_file(Dir, 10),
              {ok, File} = emmap:open(Name, [direct]),
              {ok, Bytes} = emmap:pread(File, 0, 10 * ?PAGE),
              cut(Name, 0),
              _ = file:write_file(filename:join(Dir, "copy"), Bytes),
              {ok, Listener} = gen_tcp:listen(0, [binary, {active, false}, {ip, {127, 0, 0, 1}}]),
              {ok, Port} = inet:port(Listener),
              {ok, Out} = gen_tcp:connect({127, 0, 0, 1}, Port, [binary]),
              {ok, In} = gen_tcp:accept(Listener),
              _ = gen_tcp:send(Out, Bytes),
              ok = gen_tcp:close(Out),
              ok = gen_tcp:close(In),
              0 = sum(Bytes, 0)
      end).

half_a_gigabyte_of_direct_binary_cut_short(Config) ->
    Dir = ?config(dir, Config),
    survives(
      fun() ->
              Size = 512 bsl 20,
              Name = new_file(Dir, 1),
              [begin
                   cut(Name, Size),
                   {ok, File} = emmap:open(Name, [direct]),
                   {ok, Bytes} = emmap:pread(File, 0, Size),
                   Before = mappings(),
                   Close andalso (ok = emmap:close(File)),
                   cut(Name, 0),
                   %% From the end, so that each touch is a fault of its own where the end of the file is not known.
                   [0 = binary:at(Bytes, At) || At <- lists:seq(Size - 1, 0, -(1 bsl 20))],
                   true = erlang:crc32(Bytes) =:= erlang:crc32(binary:copy(<<0>>, Size)),
                   true = mappings() < Before + 100
               end || Close <- [false, true]]
      end).

%%% Full disks

on_full_disk(Config, Fun) ->
    Dir = ?config(dir, Config),
    survives(fun() -> Fun(Dir) end, #{tmpfs => {Dir, "128k"}}).

%% Takes all space that is left; returns how to give it back.
fill(Dir) ->
    Name = filename:join(Dir, "filler"),
    {ok, File} = file:open(Name, [append, raw]),
    fill_up(File),
    ok = file:close(File),
    fun() -> ok = file:delete(Name) end.

fill_up(File) ->
    case file:write(File, binary:copy(<<"f">>, 1024)) of
        ok -> fill_up(File);
        {error, enospc} -> ok
    end.

writing_a_hole_on_a_full_disk_is_enospc(Config) ->
    on_full_disk(
      Config,
      fun(Dir) ->
              [begin
                   Name = filename:join(Dir, "sparse"),
                   Size = 64 * ?PAGE,
                   {ok, File} = emmap:open(Name, [create, read, write, shared, {size, Size} | Mode]),
                   ok = emmap:pwrite(File, 2 * ?PAGE, <<"kept">>),
                   Free = fill(Dir),
                   {error, enospc} = emmap:pwrite(File, 10 * ?PAGE, <<"lost">>),
                   {error, enospc} = emmap:pwrite(File, 2 * ?PAGE, binary:copy(<<"x">>, 2 * ?PAGE)),
                   enospc = raised(fun() -> emmap:patomic(File, 20 * ?PAGE, add, 1) end),
                   enospc = raised(fun() -> emmap:patomic_write(File, 21 * ?PAGE, 1) end),
                   enospc = raised(fun() -> emmap:patomic_cas(File, 22 * ?PAGE, 0, 1) end),
                   {error, enospc} = emmap:pread(File, 10 * ?PAGE, 4),
                   %% All else is as it was.
                   ok = emmap:pwrite(File, 2 * ?PAGE, <<"kept">>),
                   {ok, <<"kept">>} = emmap:pread(File, 2 * ?PAGE, 4),
                   0 = emmap:patomic(File, 2 * ?PAGE + 8, xchg, 7) band 0,
                   #{faulted := {_, _}} = emmap:info(File),
                   Free(),
                   {ok, Size} = emmap:remap(File),
                   #{faulted := false} = emmap:info(File),
                   ok = emmap:pwrite(File, 10 * ?PAGE, <<"found">>),
                   0 = emmap:patomic(File, 20 * ?PAGE, add, 1),
                   1 = emmap:patomic_read(File, 20 * ?PAGE),
                   ok = emmap:close(File),
                   {ok, <<_:(2 * ?PAGE)/binary, "kept", _:32, 7:64/native, _:(8 * ?PAGE - 16)/binary, "found", _/binary>>} =
                       file:read_file(Name),
                   ok = file:delete(Name)
               end || Mode <- modes()]
      end).

reading_a_hole_on_a_full_disk_ends_nothing(Config) ->
    on_full_disk(
      Config,
      fun(Dir) ->
              Name = filename:join(Dir, "sparse"),
              [begin
                   {ok, File} = emmap:open(Name, [create, read, write, shared, {size, 64 * ?PAGE} | Mode]),
                   Free = fill(Dir),
                   %% Zeroes are what the file holds; a file system that cannot even give those says so.
                   case emmap:pread(File, 0, 64 * ?PAGE) of
                       {ok, Zeroes} -> 0 = sum(Zeroes, 0);
                       {error, enospc} -> ok
                   end,
                   case emmap:read_line(File) of
                       {ok, Line} -> 0 = sum(Line, 0);
                       {error, enospc} -> ok
                   end,
                   ok = emmap:close(File),
                   Free(),
                   ok = file:delete(Name)
               end || Mode <- modes()]
      end).

many_holes_on_a_full_disk_leave_the_rest_usable(Config) ->
    on_full_disk(
      Config,
      fun(Dir) ->
              Name = filename:join(Dir, "sparse"),
              {ok, File} = emmap:open(Name, [create, read, write, shared, {size, 256 * ?PAGE}]),
              Kept = lists:seq(0, 252, 12),
              [ok = emmap:pwrite(File, Page * ?PAGE, <<"kept">>) || Page <- Kept],
              Free = fill(Dir),
              [begin
                   {error, enospc} = emmap:pwrite(File, (Page + 2) * ?PAGE, <<"lost">>),
                   [{_, {ok, <<"kept">>}} = {Other, emmap:pread(File, Other * ?PAGE, 4)} || Other <- Kept],
                   [{_, ok} = {Other, emmap:pwrite(File, Other * ?PAGE, <<"kept">>)} || Other <- Kept]
               end || Page <- Kept],
              Free(),
              {ok, _} = emmap:remap(File),
              [{ok, <<"kept">>} = emmap:pread(File, Page * ?PAGE, 4) || Page <- Kept]
      end).

growing_on_a_full_disk_is_enospc(Config) ->
    on_full_disk(
      Config,
      fun(Dir) ->
              [begin
                   Name = filename:join(Dir, "growing"),
                   {ok, File} = emmap:open(Name, [create, write, shared, {size, ?PAGE} | Mode]),
                   ok = emmap:pwrite(File, 0, content(1)),
                   Free = fill(Dir),
                   {error, enospc} = emmap:pwrite(File, ?PAGE, content(40)),
                   {error, enospc} = emmap:pwrite(File, ?PAGE - 10, content(40)),
                   #{size := ?PAGE} = emmap:info(File),
                   {ok, #file_info{size = ?PAGE}} = file:read_file_info(Name),
                   {error, enospc} = emmap:allocate(File, 0, 60 * ?PAGE),
                   %% Of the write that began inside, that part may have landed.
                   Before = binary:part(content(1), 0, ?PAGE - 10),
                   {ok, Before} = emmap:pread(File, 0, ?PAGE - 10),
                   Free(),
                   ok = emmap:pwrite(File, 0, content(5)),
                   ok = emmap:close(File),
                   Longer = content(5),
                   {ok, Longer} = file:read_file(Name),
                   ok = file:delete(Name)
               end || Mode <- modes()]
      end).

counters_on_a_full_disk_are_an_error(Config) ->
    on_full_disk(
      Config,
      fun(Dir) ->
              Name = filename:join(Dir, "counters"),
              Free = fill(Dir),
              {enospc, Name} = raised(fun() -> emmap:open_counters(Name, 1000) end),
              Free(),
              Counters = emmap:open_counters(Name, 1000),
              _ = fill(Dir),
              %% Their space was set aside.
              [0 = emmap:inc_counter(Counters, N) || N <- lists:seq(0, 999)],
              ok = emmap:close_counters(Counters)
      end).

%%% Signals that are not ours

%% Loads the library of foreign signals into this VM.
load_foreign(Library) -> ok = erlang:load_nif(Library, 0).

install_handler(_) -> erlang:nif_error(not_loaded).
touch_own_truncated_mapping(_) -> erlang:nif_error(not_loaded).

%% Opens a file and has a fault of ours handled.
fault_once(Dir) ->
    Name = new_file(Dir, 2),
    {ok, File} = emmap:open(Name, [read, write, shared]),
    cut(Name, 0),
    {error, truncated} = emmap:pread(File, 0, 10),
    File.

a_bus_error_that_was_sent_ends_the_vm_as_ever(Config) ->
    Dir = ?config(dir, Config),
    Kill = fun() ->
                   _ = os:cmd("kill -BUS " ++ os:getpid()),
                   receive never -> ok after 20000 -> survived end
           end,
    {Status, _} = in_vm(Kill, #{}),
    {Status, _} = in_vm(fun() -> _ = fault_once(Dir), Kill() end, #{}),
    {Status, 128 + 7} = {Status, 135}.

a_bus_error_of_another_library_ends_the_vm_as_ever(Config) ->
    {Dir, Library} = {?config(dir, Config), ?config(foreign_signals, Config)},
    Touch = fun() ->
                    load_foreign(Library),
                    touch_own_truncated_mapping(filename:join(Dir, "foreign"))
            end,
    {Status, _} = in_vm(Touch, #{}),
    {Status, _} = in_vm(fun() -> _ = fault_once(Dir), Touch() end, #{}),
    {Status, 128 + 7} = {Status, 135}.

a_handler_that_was_there_before_is_called(Config) ->
    {Dir, Library} = {?config(dir, Config), ?config(foreign_signals, Config)},
    [begin
         {Status, Output} =
             in_vm(fun() ->
                           load_foreign(Library),
                           0 = install_handler(Kind),
                           _ = fault_once(Dir),
                           touch_own_truncated_mapping(filename:join(Dir, "foreign"))
                   end, #{}),
         {Said, Said} = {Said, binary:part(Output, byte_size(Output), -byte_size(Said))}
     end || {Kind, Status, Said} <- [{plain, 42, <<"foreign plain handler\n">>}, {info, 43, <<"foreign info handler\n">>}]].

a_handler_that_was_there_before_gets_no_fault_of_ours(Config) ->
    {Dir, Library} = {?config(dir, Config), ?config(foreign_signals, Config)},
    [survives(fun() ->
                      load_foreign(Library),
                      0 = install_handler(Kind),
                      File = fault_once(Dir),
                      {error, truncated} = emmap:pwrite(File, 0, <<"x">>)
              end) || Kind <- [plain, info, ignore]].

%% Only a fault cannot be ignored.
an_ignored_bus_error_stays_ignored(Config) ->
    {Dir, Library} = {?config(dir, Config), ?config(foreign_signals, Config)},
    survives(fun() ->
                     load_foreign(Library),
                     0 = install_handler(ignore),
                     _ = fault_once(Dir),
                     %% kill(1) returns when the signal was sent, which to an own thread means delivered soon.
                     [_ = os:cmd("kill -BUS " ++ os:getpid()) || _ <- lists:seq(1, 3)],
                     _ = fault_once(Dir)
             end).

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

%%% Limits of the machine

%% One dirty IO thread: a call that waited would have all others wait.
special_files_are_answered_at_once(Config) ->
    Dir = ?config(dir, Config),
    survives(
      fun() ->
              Fifo = filename:join(Dir, "fifo"),
              _ = os:cmd("mkfifo '" ++ Fifo ++ "'"),
              %% A path of a socket is short; the directory is entered for it.
              ok = file:set_cwd(Dir),
              {ok, Listener} = gen_tcp:listen(0, [{ifaddr, {local, "socket"}}]),
              Options = [[], [write], [write, shared], [write, shared, create], [write, shared, create, {size, 4096}],
                         [write, truncate, shared], [write, shared, fit, {size, 4096}]],
              [begin
                   case Kind of
                       eisdir -> {Name, {error, eisdir}} = {Name, emmap:open(Name, Extra)};
                       _ -> refused_or_device(Kind, emmap:open(Name, Extra))
                   end,
                   refused_or_device(Kind, emmap:open(Name, 0, 4096, Extra))
               end || {Kind, Name} <- [{eisdir, Dir}, {eisdir, "/"}, {fifo, Fifo}, {socket, "socket"},
                                       {device, "/dev/null"}, {device, "/dev/zero"}, {device, "/dev/full"},
                                       {device, "/dev/tty"}, {device, "/dev/random"}, {other, "/proc/self/status"},
                                       {other, "/proc/self/environ"}],
                      Extra <- Options],
              ok = gen_tcp:close(Listener),
              {ok, _} = emmap:open(new_file(Dir, 1), [])
      end, #{args => ["+S", "1", "+SDio", "1"], seconds => 30}).

refused_or_device(_, {error, Reason}) when is_atom(Reason) -> ok;
%% The system maps some devices.
refused_or_device(device, {ok, File}) -> ok = emmap:close(File).

%% Opens until an error comes; returns the handles and the error.
open_all(Open, Done) ->
    case Open() of
        {ok, File} -> open_all(Open, [File | Done]);
        {error, Reason} -> {Done, Reason}
    end.

out_of_descriptors_is_emfile(Config) ->
    Dir = ?config(dir, Config),
    survives(
      fun() ->
              Name = new_file(Dir, 1),
              Open = fun() -> emmap:open(Name, [write, shared, create]) end,
              {Before, Maps} = {descriptors(), mappings()},
              [begin
                   {Handles, emfile} = open_all(Open, []),
                   %% What is open goes on working.
                   [{ok, <<"A">>} = emmap:pread(File, 0, 1) || File <- Handles],
                   {emfile, _} = raised(fun() -> emmap:open_counters(filename:join(Dir, "counters"), 10) end),
                   [ok = emmap:close(File) || File <- Handles],
                   Before = descriptors()
               end || _ <- lists:seq(1, 3)],
              %% Handles that nobody closed.
              {Pid, Reference} = spawn_monitor(fun() -> {_, emfile} = open_all(Open, []) end),
              receive {'DOWN', Reference, process, Pid, Why} -> {_, normal} = {Why, Why} end,
              eventually(fun() -> case Open() of {ok, File} -> ok =:= emmap:close(File); Error -> Error end end),
              eventually(fun() -> erlang:garbage_collect(), descriptors() =< Before end),
              eventually(fun() -> erlang:garbage_collect(), mappings() =< Maps + 50 end)
      end, #{limit => "-n 256"}).

out_of_address_space_is_enomem(Config) ->
    Dir = ?config(dir, Config),
    survives(
      fun() ->
              Name = new_file(Dir, 1),
              cut(Name, 4 bsl 30),
              Before = descriptors(),
              [begin
                   {Pid, Reference} =
                       spawn_monitor(
                         fun() ->
                                 {Handles, enomem} = open_all(fun() -> emmap:open(Name, [write, shared | Mode]) end, []),
                                 true = Handles =/= [],
                                 [ok = emmap:pwrite(File, 1 bsl 30, <<"x">>) || File <- Handles],
                                 {error, enomem} = emmap:open(Name, []),
                                 {error, enomem} = emmap:open("", [anon, write, {size, 64 bsl 30}]),
                                 {error, enomem} = emmap:resize(hd(Handles), 64 bsl 30),
                                 #{size := Size} = emmap:info(hd(Handles)),
                                 Size = 4 bsl 30,
                                 [ok = emmap:close(File) || File <- Handles]
                         end),
                   receive {'DOWN', Reference, process, Pid, Why} -> {_, normal} = {Why, Why} end,
                   %% What the process had is collected soon after it.
                   eventually(fun() -> opens_in_passing(Name) end),
                   eventually(fun() -> descriptors() =< Before end)
               end || Mode <- modes() ++ modes()],
              {ok, #file_info{size = Size}} = file:read_file_info(Name),
              Size = 4 bsl 30
      end, #{limit => "-v 20000000"}).

opens_in_passing(Name) ->
    {Pid, Reference} = spawn_monitor(fun() -> exit(element(1, emmap:open(Name, []))) end),
    receive {'DOWN', Reference, process, Pid, Why} -> Why =:= ok end.

%% Shared anonymous mappings never merge with their neighbours, and need no descriptor.
open_anonymous() -> emmap:open("", [anon, shared, write, {size, ?PAGE}]).

too_many_mappings_is_enomem(Config) ->
    Dir = ?config(dir, Config),
    with_all_mappings(
      fun(Handles) ->
              {error, enomem} = open_anonymous(),
              [begin
                   ok = emmap:pwrite(File, 0, <<"x">>),
                   {ok, <<"x">>} = emmap:pread(File, 0, 1)
               end || File <- lists:sublist(Handles, 100)],
              [ok = emmap:close(File) || File <- lists:sublist(Handles, 100)]
      end,
      fun() ->
              {ok, File} = emmap:open(new_file(Dir, 1), []),
              {ok, <<"A">>} = emmap:pread(File, 0, 1)
      end).

%% Replacing a page splits a mapping in three.
a_fault_with_too_many_mappings_ends_nothing(Config) ->
    Dir = ?config(dir, Config),
    Name = new_file(Dir, 10),
    with_all_mappings(
      fun(_) -> ok end,
      fun() ->
              {ok, File} = emmap:open(Name, [write, shared]),
              {ok, Direct} = emmap:open(Name, [direct]),
              {ok, Bytes} = emmap:pread(Direct, 0, 10 * ?PAGE),
              {ok, Raw} = file:open(Name, [read, write, raw]),
              {ok, _} = file:position(Raw, 5 * ?PAGE),
              {_, enomem} = All = open_all(fun open_anonymous/0, []),
              ok = file:truncate(Raw),
              {error, truncated} = emmap:pwrite(File, 7 * ?PAGE, <<"x">>),
              {error, truncated} = emmap:pread(File, 7 * ?PAGE, 1),
              0 = binary:at(Bytes, 7 * ?PAGE),
              {Handles, enomem} = All,
              [ok = emmap:close(Other) || Other <- Handles],
              {ok, _} = file:position(Raw, 10 * ?PAGE),
              ok = file:truncate(Raw),
              {Pid, Reference} = spawn_monitor(fun() -> {ok, _} = emmap:remap(File) end),
              receive {'DOWN', Reference, process, Pid, normal} -> ok end
      end).

with_all_mappings(Then, Afterwards) ->
    case file:read_file("/proc/sys/vm/max_map_count") of
        {ok, Text} ->
            case binary_to_integer(string:trim(Text)) of
                Count when Count =< 200000 ->
                    survives(
                      fun() ->
                              Before = mappings(),
                              {Pid, Reference} =
                                  spawn_monitor(fun() ->
                                                        {Handles, enomem} = open_all(fun open_anonymous/0, []),
                                                        true = length(Handles) > Count div 2,
                                                        Then(Handles)
                                                end),
                              receive {'DOWN', Reference, process, Pid, Why} -> {_, normal} = {Why, Why} end,
                              eventually(fun() -> mappings() =< Before + 50 end),
                              Afterwards()
                      end);
                Count -> {skip, lists:flatten(io_lib:format("vm.max_map_count is ~b: too many to use up", [Count]))}
            end;
        {error, Why} -> {skip, lists:flatten(io_lib:format("vm.max_map_count cannot be read: ~p", [Why]))}
    end.

%% SIGXFSZ would end the VM if nobody ignored it.
past_the_file_size_limit_is_efbig(Config) ->
    Dir = ?config(dir, Config),
    survives(
      fun() ->
              Limit = 1 bsl 20,
              %% Not before the VM runs: its own start makes larger files, where code is mapped twice.
              "" = os:cmd(lists:concat(["prlimit --pid ", os:getpid(), " --fsize=", Limit])),
              [begin
                   Name = new_file(Dir, 1),
                   {ok, File} = emmap:open(Name, [read, write, shared | Mode]),
                   {error, efbig} = emmap:resize(File, Limit + 1),
                   {error, efbig} = emmap:pwrite(File, Limit, <<"x">>),
                   {ok, _} = emmap:position(File, 2 * Limit),
                   {error, efbig} = emmap:write(File, <<"x">>),
                   {error, efbig} = emmap:truncate(File),
                   #{size := ?PAGE} = emmap:info(File),
                   {ok, #file_info{size = ?PAGE}} = file:read_file_info(Name),
                   %% As with write(2), what has landed up to the limit is there.
                   {error, efbig} = emmap:pwrite(File, Limit - 10, binary:copy(<<"x">>, 20)),
                   #{size := Limit} = emmap:info(File),
                   {ok, #file_info{size = Limit}} = file:read_file_info(Name),
                   {ok, <<"xxxxxxxxxx">>} = emmap:pread(File, Limit - 10, 20),
                   ok = emmap:close(File),
                   New = filename:join(Dir, "new"),
                   {error, efbig} = emmap:open(New, [create, write, shared, {size, 2 * Limit} | Mode]),
                   {error, enoent} = file:read_file_info(New),
                   {efbig, New} = raised(fun() -> emmap:open_counters(New, Limit) end),
                   {error, enoent} = file:read_file_info(New)
               end || Mode <- modes()]
      end).

failed_opens_leak_nothing(Config) ->
    Dir = ?config(dir, Config),
    survives(
      fun() ->
              Name = new_file(Dir, 1),
              Fail = fun() ->
                             {error, enoent} = emmap:open(filename:join(Dir, "none"), []),
                             {error, too_short} = emmap:open(Name, 0, 2 * ?PAGE, []),
                             {error, too_short} = emmap:open(Name, 2 * ?PAGE, 0, []),
                             {error, eisdir} = emmap:open(Dir, []),
                             {error, eopnotsupp} = emmap:open(Name, [shared_validate, sync]),
                             {error, _} = emmap:open(Name, [{address, 16#400000}, fixed, {size, 1 bsl 50}]),
                             {error, _} = emmap:open("/dev/null", 0, 1 bsl 50, []),
                             {error, _} = emmap:open(filename:join(Dir, "new"), [create, write]),
                             {error, _} = emmap:open("", [anon, {size, 1 bsl 60}])
                     end,
              Fail(),
              ok = file:write_file(filename:join(Dir, "x"), <<>>),
              {Maps, Descriptors} = {mappings(), descriptors()},
              [Fail() || _ <- lists:seq(1, 1000)],
              Descriptors = descriptors(),
              true = mappings() < Maps + 50
      end).

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
