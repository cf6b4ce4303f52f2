%% Copyright 2026 the emmap authors. Licensed under the Apache License, Version 2.0.

%% The library as a whole: what it weighs and needs, that it loads, reloads and leaves nothing behind, and that no
%% function of emmap goes untested.
-module(emmap_library_SUITE).

-include_lib("stdlib/include/assert.hrl").

-compile([export_all, nowarn_export_all]).

-define(ROUNDS, 2000).

all() ->
    [the_library_is_small, the_library_needs_nothing_but_libc, the_library_exports_only_nif_init,
     init_has_loaded_the_library, every_nif_is_in_the_library, init_loads_once, init_keeps_what_is_open,
     init_says_what_is_missing,
     a_reloaded_module_keeps_its_handles, another_copy_of_the_library_takes_handles_over,
     closed_handles_leave_nothing, dropped_handles_leave_nothing, dropped_binaries_leave_nothing,
     failed_opens_leave_nothing, failed_counters_leave_nothing, no_open_leaves_memory_behind,
     the_shell_explains_wrong_arguments, elixir_explains_failures, every_export_is_tested,
     every_option_is_tested].

suite() -> [{timetrap, {minutes, 5}}].

init_per_testcase(Case, Config) -> emmap_test:directory(Case, Config).

end_per_testcase(_, _) -> ok.

%%% The file

library() -> filename:join([filename:dirname(filename:dirname(code:which(emmap))), "priv", "emmap.so"]).

the_library_is_small(_) ->
    Size = filelib:file_size(library()),
    ct:log("~b bytes", [Size]),
    ?assert(Size > 0),
    ?assert(Size < 400000).

%% Lines that a tool prints about the library.
lines(Tool, Arguments) ->
    Executable = os:find_executable(Tool),
    ?assertNotEqual(false, Executable),
    string:lexemes(os:cmd(lists:join($\s, [Executable | Arguments] ++ ["'" ++ library() ++ "'"])), "\n").

the_library_needs_nothing_but_libc(_) ->
    Needed = [Name || Line <- lines("readelf", ["-d", "-W"]),
                      {match, [Name]} <- [re:run(Line, "\\(NEEDED\\).*\\[(.*)\\]", [{capture, all_but_first, list}])]],
    ?assert(lists:member("libc.so.6", Needed)),
    ?assertEqual([], [Name || Name <- Needed, Name =/= "libc.so.6", not lists:prefix("ld-linux", Name)]),
    %% What is not found there, the VM has: its NIF functions, and its names of errors.
    Undefined = [lists:last(string:lexemes(Line, " ")) || Line <- lines("nm", ["-D", "--undefined-only"]),
                                                           lists:member("U", string:lexemes(Line, " "))],
    ?assert(length(Undefined) > 10),
    ?assertEqual(["erl_errno_id"], [Name || Name <- Undefined, string:find(Name, "@GLIBC_") =:= nomatch,
                                            not lists:prefix("enif_", Name)]).

the_library_exports_only_nif_init(_) ->
    %% Capital letters stand for symbols that others can bind to.
    ?assertEqual(["nif_init"], [Name || Line <- lines("nm", ["-D", "--defined-only"]),
                                        [_, Type, Name] <- [string:lexemes(Line, " ")],
                                        string:uppercase(Type) =:= Type]).

%%% Loading

init_has_loaded_the_library(_) ->
    ?assertEqual({module, emmap}, code:ensure_loaded(emmap)),
    {ok, Maps} = file:read_file("/proc/self/maps"),
    ?assertNotEqual(nomatch, binary:match(Maps, <<"/emmap.so">>)).

%% Only what the library has counts as a NIF. That it has no more than these, the VM sees to.
every_nif_is_in_the_library(_) ->
    {ok, {_, [{abstract_code, {_, Forms}}]}} = beam_lib:chunks(code:which(emmap_nif), [abstract_code]),
    [Declared] = [Nifs || {attribute, _, nifs, Nifs} <- Forms],
    ?assertEqual(lists:sort(Declared), lists:sort(emmap_nif:module_info(nifs))),
    ?assertEqual(lists:sort(Declared),
                 lists:sort(emmap_nif:module_info(exports)) -- [{init, 0}, {module_info, 0}, {module_info, 1}]).

init_loads_once(_) ->
    Vm = emmap_test:start_vm(),
    emmap_test:in_vm(Vm, fun() ->
        %% The first use loads the module, and so the library.
        [?assertMatch({error, {reload, _}}, emmap:init()) || _ <- [1, 2, 3]]
    end),
    emmap_test:stop_vm(Vm).

init_keeps_what_is_open(_) ->
    Vm = emmap_test:start_vm(),
    emmap_test:in_vm(Vm, fun() ->
        {ok, File} = emmap:open("", 0, 8, [anon, write]),
        ?assertMatch({error, {reload, _}}, emmap:init()),
        ?assertEqual({ok, <<0:64>>}, emmap:pread(File, 0, 8))
    end),
    emmap_test:stop_vm(Vm).

init_says_what_is_missing(Config) ->
    Ebin = emmap_test:path(Config, "alone/ebin"),
    ok = filelib:ensure_dir(filename:join(Ebin, "x")),
    [{ok, _} = file:copy(code:which(Module), filename:join(Ebin, atom_to_list(Module) ++ ".beam"))
     || Module <- [emmap, emmap_nif]],
    Vm = emmap_test:start_vm(),
    emmap_test:in_vm(Vm, fun() ->
        [code:del_path(Path) || Path <- code:get_path(), filelib:is_file(filename:join(Path, "emmap.beam"))],
        true = code:add_patha(Ebin),
        ok = logger:add_handler(?MODULE, ?MODULE, #{config => self()}),
        ?assertEqual({error, on_load_failure}, code:load_file(emmap)),
        %% What else the VM has to say, of emmap for one, may come before.
        Text = logged("emmap_library_not_loaded"),
        ?assertNotEqual(nomatch, string:find(Text, "alone/priv/emmap")),
        ?assertError(undef, emmap:init())
    end),
    emmap_test:stop_vm(Vm).

logged(Part) ->
    Text = receive {logged, Logged} -> Logged end,
    case string:find(Text, Part) of
        nomatch -> logged(Part);
        _ -> Text
    end.

%% A handler of the logger that tells a process what was logged.
log(#{msg := {report, #{format := Format, args := Arguments}}}, #{config := Process}) ->
    Process ! {logged, lists:flatten(io_lib:format(Format, Arguments))};
log(#{msg := {Format, Arguments}}, #{config := Process}) when is_list(Format) ->
    Process ! {logged, lists:flatten(io_lib:format(Format, Arguments))};
log(_, _) -> ok.

%%% Reloading

a_reloaded_module_keeps_its_handles(Config) ->
    Vm = emmap_test:start_vm(),
    [begin
         Path = emmap_test:file(Config, lists:concat(Modules), emmap_test:bytes(10000)),
         emmap_test:in_vm(Vm, fun() -> survives(Path, fun() -> reload(Modules) end) end)
     end || Modules <- [[emmap], [emmap_nif], [emmap, emmap_nif], [emmap_nif, emmap]]],
    emmap_test:stop_vm(Vm).

reload(Modules) ->
    [begin
         false = code:purge(Module),
         {module, Module} = code:load_file(Module),
         false = code:purge(Module)
     end || Module <- Modules].

%% As when a new release is installed beside the old one: its library is another file, with state of its own.
another_copy_of_the_library_takes_handles_over(Config) ->
    Path = emmap_test:file(Config, "file", emmap_test:bytes(10000)),
    Vm = emmap_test:start_vm(),
    emmap_test:in_vm(Vm, fun() ->
        Old = filename:dirname(filename:dirname(code:which(emmap))),
        survives(Path, fun() -> upgrade(Old, filename:dirname(Path)) end)
    end),
    emmap_test:stop_vm(Vm).

upgrade(Old, Directory) ->
    New = filename:join(Directory, "emmap-" ++ integer_to_list(erlang:unique_integer([positive]))),
    [begin
         Target = filename:join([New | File]),
         ok = filelib:ensure_dir(Target),
         {ok, _} = file:copy(filename:join([Old | File]), Target)
     end || File <- [["priv", "emmap.so"] | [["ebin", filename:basename(Beam)]
                                             || Beam <- filelib:wildcard(filename:join(Old, "ebin/*"))]]],
    [code:del_path(Path) || Path <- code:get_path(), filelib:is_file(filename:join(Path, "emmap.beam"))],
    true = code:add_patha(filename:join(New, "ebin")),
    reload([emmap, emmap_nif]),
    ?assertEqual(filename:join(New, "ebin/emmap.beam"), code:which(emmap)),
    {ok, Maps} = file:read_file("/proc/self/maps"),
    ?assertNotEqual(nomatch, string:find(Maps, filename:join(New, "priv/emmap.so"))).

%% Uses handles and what came from them before and after the code was changed, three times over.
survives(Path, Change) ->
    {ok, File} = emmap:open(Path, [shared, write]),
    {ok, Direct} = emmap:open(Path, [shared, direct]),
    {ok, Held} = emmap:pread(Direct, 0, 10000),
    {ok, 8} = emmap:position(File, 8),
    [begin
         Change(),
         ?assertEqual({ok, 8}, emmap:position(File, cur)),
         ok = emmap:pwrite(File, 0, <<N:64/native>>),
         ?assertEqual(N, emmap:patomic(File, 0, add, 1)),
         ?assertEqual({ok, <<(N + 1):64/native>>}, emmap:pread(Direct, 0, 8)),
         ?assertEqual(<<(N + 1):64/native>>, binary:part(Held, 0, 8)),
         {ok, New} = emmap:open(Path, [shared]),
         ?assertEqual({ok, <<(N + 1):64/native>>}, emmap:pread(New, 0, 8)),
         ok = emmap:close(New)
     end || N <- [100, 200, 300]],
    ok = emmap:write(File, binary:copy(<<"x">>, 3 bsl 20)),
    ?assertEqual({ok, <<"x">>}, emmap:pread(File, (3 bsl 20) + 7, 2)),
    ok = emmap:close(Direct),
    ?assertEqual(<<301:64/native>>, binary:part(Held, 0, 8)),
    %% Faults of a mapping that was made before the change are still caught.
    {ok, Raw} = file:open(Path, [raw, read, write]),
    {ok, 100} = file:position(Raw, 100),
    ok = file:truncate(Raw),
    ?assertEqual({error, truncated}, emmap:pread(File, 1 bsl 20, 10)),
    ok = emmap:close(File),
    ?assertEqual({error, closed}, emmap:pread(File, 0, 1)).

%%% Nothing left behind

%% In a VM of its own, so that nothing else moves what is counted. Leaked, the rounds would hold 2,000 descriptors, as
%% many mappings, and 128 MB.
leaves_nothing(Config, Round) -> leaves_nothing(Config, Round, fun() -> ok end).

leaves_nothing(Config, Round, Finish) ->
    Path = emmap_test:file(Config, "file", emmap_test:bytes(1 bsl 16)),
    Vm = emmap_test:start_vm(),
    emmap_test:in_vm(Vm, fun() ->
        %% Once, so that what is made once and kept is there.
        [Round(Path) || _ <- lists:seq(1, 50)],
        Finish(),
        settle(emmap_test:descriptors(), 0, Path),
        Before = emmap_test:descriptors(),
        Kilobytes = emmap_test:status_kb("VmRSS"),
        Mappings = length(emmap_test:mappings()),
        [Round(Path) || _ <- lists:seq(1, ?ROUNDS)],
        Finish(),
        settle(Before, Mappings + 100, Path),
        ?assert(emmap_test:status_kb("VmRSS") - Kilobytes < 12 bsl 10)
    end),
    emmap_test:stop_vm(Vm),
    ?assertEqual({ok, emmap_test:bytes(1 bsl 16)}, file:read_file(Path)).

%% Handles are collected with the processes that had them, and a thread of the library takes down what they held.
settle(Descriptors, Mappings, Path) ->
    erlang:garbage_collect(),
    emmap_test:wait_until(fun() ->
        case {emmap_test:descriptors(), emmap_test:mappings_of(Path), length(emmap_test:mappings())} of
            {Now, 0, All} when Now =< Descriptors, All =< Mappings; Now =< Descriptors, Mappings =:= 0, All > 0 -> true;
            Other -> Other
        end
    end).

closed_handles_leave_nothing(Config) ->
    leaves_nothing(Config, fun(Path) ->
        {ok, File} = open_some(Path),
        ok = emmap:close(File)
    end).

%% A different kind of mapping each time, all their pages in use.
open_some(Path) ->
    Kinds = {[shared, write], [], [write, populate], [shared, direct, populate], [nolock, shared, write, fixed_size],
             [anon, write, populate, {size, 1 bsl 16}]},
    {ok, File} = emmap:open(Path, element(rand:uniform(tuple_size(Kinds)), Kinds)),
    {ok, <<_:(1 bsl 16)/binary>>} = emmap:pread(File, 0, 1 bsl 16),
    {ok, File}.

dropped_handles_leave_nothing(Config) ->
    leaves_nothing(Config, fun(Path) ->
        emmap_test:in_process(fun() -> {ok, _} = open_some(Path), dropped end)
    end).

%% A direct binary outlives its handle, here by far, and goes at last.
dropped_binaries_leave_nothing(Config) ->
    leaves_nothing(Config, fun(Path) ->
        Bytes = emmap_test:in_process(fun() ->
            {ok, File} = emmap:open(Path, [shared, direct]),
            {ok, Bytes} = emmap:pread(File, 0, 1 bsl 16),
            Bytes
        end),
        ?assertEqual(emmap_test:bytes(100), binary:part(Bytes, 0, 100)),
        put(bytes, Bytes)
    end, fun() -> erase(bytes) end).

failed_opens_leave_nothing(Config) ->
    leaves_nothing(Config, fun(Path) ->
        Failing = [{Path ++ "none", 0, 0, []}, {Path, 0, 1 bsl 17, [shared]}, {Path, 1 bsl 17, 0, []},
                   {Path, 0, 1, [shared_validate, sync]}, {Path, 0, 1, [{address, in_use()}]},
                   {filename:dirname(Path), 0, 0, []}, {Path, 0, 0, [hugetlb]}, {Path ++ "new", 0, 0, [create, write, {size, 1 bsl 62}]},
                   {Path ++ "new", 0, 1 bsl 62, [create, write, shared]}, {Path, 0, 0, [truncate]},
                   {Path, 0, 0, [auto_unlink, {address, in_use()}]}],
        {Name, Offset, Length, Options} = lists:nth(rand:uniform(length(Failing)), Failing),
        {error, _} = emmap:open(Name, Offset, Length, Options),
        {badarg, _} = emmap_test:raised(fun() -> emmap:open(Path, [raed]) end)
    end).

%% Where this VM's program is.
in_use() ->
    case get(in_use) of
        undefined ->
            [{From, _} | _] = emmap_test:mappings(),
            put(in_use, From),
            From;
        From -> From
    end.

failed_counters_leave_nothing(Config) ->
    leaves_nothing(Config, fun(Path) -> ?assertError({bad_magic, Path}, emmap:open_counters(Path, 0)) end).

%% What a single open loses is too little to be seen in what a VM takes and gives back; what thousands lose is seen in
%% each of several windows, while the VM itself comes to rest: in most of them nothing changes.
no_open_leaves_memory_behind(Config) ->
    Path = emmap_test:file(Config, "file", emmap_test:bytes(1 bsl 16)),
    Rounds = 1000,
    Vm = emmap_test:start_vm(),
    Growth = emmap_test:in_vm(Vm, fun() ->
        Window = fun() ->
            Before = emmap_test:status_kb("RssAnon"),
            [open_in_all_ways(Path) || _ <- lists:seq(1, Rounds)],
            settle(emmap_test:descriptors(), 1 bsl 20, Path),
            emmap_test:status_kb("RssAnon") - Before
        end,
        _ = Window(),
        [Window() || _ <- lists:seq(1, 5)]
    end),
    emmap_test:stop_vm(Vm),
    ct:log("growth in kB: ~w", [Growth]),
    %% 50 bytes a round.
    ?assert(lists:nth(3, lists:sort(Growth)) < Rounds * 50 div 1024).

%% Opens that succeed and fail, with all that an open may allocate: names, the file's new directory, counters.
open_in_all_ways(Path) ->
    New = Path ++ "new",
    {ok, One} = emmap:open(Path, [shared, write]),
    ok = emmap:close(One),
    {ok, Two} = emmap:open(New, [shared, write, create, auto_unlink, {size, 10}]),
    ok = emmap:close(Two),
    emmap_test:in_process(fun() -> {ok, _} = emmap:open(Path, [shared, direct]), dropped end),
    emmap_test:in_process(fun() ->
        {ok, _} = emmap:open(New ++ integer_to_list(erlang:unique_integer([positive])),
                             [shared, write, create, auto_unlink, {size, 10}]),
        dropped
    end),
    %% Before anything is allocated for it, and at the last step: where the file need not grow.
    {error, eexist} = emmap:open(New, 0, 10, [create, write, auto_unlink, {address, in_use()}]),
    {error, eexist} = emmap:open(New, [create, write, shared, auto_unlink, {address, in_use()}]),
    {error, enoent} = emmap:open(New, [auto_unlink]),
    {badarg, _} = emmap_test:raised(fun() -> emmap:open(Path, [raed]) end),
    ?assertError({bad_magic, Path}, emmap:open_counters(Path, 0)).

%%% What the shells print

the_shell_explains_wrong_arguments(Config) ->
    Path = emmap_test:file(Config, "file", <<0:640>>),
    {ok, File} = emmap:open(Path, [shared, write]),
    {ok, Closed} = emmap:open(Path, []),
    ok = emmap:close(Closed),
    [?assertNotEqual({Text, nomatch}, {Text, string:find(printed(Fun), Text)})
     || {Text, Fun} <- [{"argument 2: unknown option raed", fun() -> emmap:open(Path, [raed]) end},
                        {"argument 4: unknown option raed", fun() -> emmap:open(Path, 0, 0, [raed]) end},
                        {"argument 2: position 12 is not a multiple of 8", fun() -> emmap:patomic_read(File, 12) end},
                        {"argument 1: the file is closed", fun() -> emmap:info(Closed) end},
                        {"argument 1: the file is closed", fun() -> emmap:patomic(Closed, 0, add, 1) end},
                        {"argument 1: not a memory-mapped file", fun() -> emmap:info(closed) end}]].

%% As the shell prints an exception, with the exported function on top.
printed(Fun) ->
    try Fun() of
        Value -> error({no_exception, Value})
    catch
        Class:Reason:Stack ->
            ?assertMatch([{emmap, _, Arguments, _} | _] when is_list(Arguments), Stack),
            unicode:characters_to_list(erl_error:format_exception(Class, Reason, Stack))
    end.

%% For each kind of cause: an argument, a file of counters that is none, one that is not there, a file cut short.
elixir_explains_failures(Config) ->
    case os:find_executable("elixir") of
        false -> {skip, "elixir is not installed"};
        Elixir ->
            Path = emmap_test:file(Config, "words", <<"no counters", 0:(8 * 20000)>>),
            Script = emmap_test:file(Config, "script.exs", elixir_script()),
            Port = open_port({spawn_executable, Elixir},
                             [{args, ["-pa", filename:dirname(code:which(emmap)), Script, Path]},
                              {env, [{"LC_ALL", "C.UTF-8"}]}, exit_status, stderr_to_stdout, binary]),
            {0, Output} = printed_by(Port, []),
            ct:log("~ts", [Output]),
            [?assertNotEqual({Kind, Text, nomatch}, {Kind, Text, string:find(section(Kind, Output), Text)})
             || {Kind, Texts} <-
                    [{"argument", ["(ArgumentError)", "2nd argument: unknown option raed", "explained: true"]},
                     {"position", ["(ArgumentError)", "2nd argument: position 12 is not a multiple of 8",
                                   "explained: true"]},
                     {"counter", ["(ArgumentError)", "2nd argument: no counter 7: the file has 1, numbered from 0",
                                  "explained: true"]},
                     {"counters", ["(ErlangError)", "{:bad_magic,", "words: not a file of counters",
                                   "explained: true"]},
                     {"enoent", ["(ErlangError)", "{:enoent,", "none: no such file or directory",
                                 "explained: true"]},
                     {"truncated", ["(ErlangError)", ":truncated", "the file was cut short by somebody else",
                                    "explained: true"]},
                     {"index", ["(ArgumentError)", "2nd argument: out of range", "explained: true"]},
                     {"atomics", ["(ErlangError)", ":truncated", "the file was cut short by somebody else",
                                  "explained: true"]}],
                Text <- Texts]
    end.

section(Kind, Output) ->
    [_, Rest] = string:split(Output, "== " ++ Kind ++ "\n"),
    hd(string:split(Rest, "== ")).

printed_by(Port, Output) ->
    receive
        {Port, {data, Data}} -> printed_by(Port, [Output, Data]);
        {Port, {exit_status, Status}} -> {Status, iolist_to_binary(Output)}
    end.

%% What Exception makes of each, and what it is given by: texts that are no binaries end in an error of its own. Before
%% 1.15 it does not print what does not belong to an argument.
elixir_script() ->
    "[path] = System.argv()

     explain = fn kind, fun ->
       try do
         fun.()
         raise \"nothing was raised\"
       rescue
         error ->
           {blamed, stack} = Exception.blame(:error, error, __STACKTRACE__)
           IO.puts(\"== #{kind}\")
           IO.puts(Exception.message(blamed))
           IO.puts(Exception.format(:error, blamed, stack))
           [{_, _, _, location} | _] = __STACKTRACE__
           reason = case error do
             %ErlangError{original: original} -> original
             %ArgumentError{} -> :badarg
           end
           texts = location[:error_info][:module].format_error(reason, __STACKTRACE__)
           IO.puts(\"texts: #{inspect(texts)}\")
           IO.puts(\"explained: #{texts != %{} and Enum.all?(Map.values(texts), &String.valid?/1)}\")
       end
     end

     File.write!(path <> \"_one\", \"EMMAP01\\n\" <> <<1::little-64, 0::64>>)
     one = :emmap.open_counters(path <> \"_one\")
     File.write!(path <> \"_many\", \"EMMAP01\\n\" <> <<2000::little-64, 0::size(128000)>>)
     {:ok, atomics} = :emmap_atomics.open(path <> \"_many\", 2000, [])
     {:ok, words} = :emmap.open(path, [:shared, :write])

     explain.(\"argument\", fn -> :emmap.open(path, [:raed]) end)
     explain.(\"position\", fn -> :emmap.patomic_read(words, 12) end)
     explain.(\"counter\", fn -> :emmap.inc_counter(one, 7) end)
     explain.(\"counters\", fn -> :emmap.open_counters(path, 1) end)
     explain.(\"enoent\", fn -> :emmap.open_counters(Path.join(Path.dirname(path), \"none\"), 0) end)
     explain.(\"index\", fn -> :emmap_atomics.get(atomics, 2001) end)
     File.write!(path, \"\")
     File.write!(path <> \"_many\", \"\")
     explain.(\"truncated\", fn -> :emmap.patomic(words, 16000, :add, 1) end)
     explain.(\"atomics\", fn -> :emmap_atomics.add(atomics, 2000, 1) end)
     ".

%%% Nothing untested

%% For each export, the case that uses it well, the one that goes to its limits (below, at and above), and the one that
%% gives it wrong arguments.
cases() ->
    L = emmap_library_SUITE, O = emmap_open_SUITE, P = emmap_options_SUITE, I = emmap_io_SUITE,
    A = emmap_atomic_SUITE, C = emmap_counters_SUITE, S = emmap_search_SUITE,
    [{init, 0, {L, init_loads_once}, {L, init_keeps_what_is_open}, {L, init_says_what_is_missing}},
     {open, 2, {O, the_whole_file_is_mapped}, {P, size_is_the_size_of_the_mapping}, {P, unknown_options_are_refused}},
     {open, 4, {O, an_unaligned_offset_reads_the_right_bytes}, {O, a_window_past_the_end_is_too_short},
      {O, what_is_no_offset_or_length_is_refused}},
     {close, 1, {O, close_gives_the_descriptor_back}, {O, close_closes_once}, {O, close_refuses_what_is_no_handle}},
     {info, 1, {O, info_describes_the_handle}, {O, info_of_an_empty_handle_has_size_0},
      {O, info_refuses_what_is_no_handle}},
     {read, 2, {I, read_moves_the_position}, {I, read_stops_at_the_end}, {I, read_refuses_bad_counts}},
     {read_line, 1, {I, read_line_gives_lines}, {I, read_line_of_any_length}, {I, read_line_refuses_what_is_no_handle}},
     {lines, 2, {S, lines_gives_what_read_line_gives}, {S, lines_of_any_length}, {S, lines_refuse_bad_arguments}},
     {fold_lines, 3, {S, fold_lines_calls_with_each_line}, {S, fold_lines_of_nothing_is_the_start},
      {S, fold_lines_refuses_bad_arguments}},
     {match, 2, {S, match_gives_what_binary_match_gives}, {S, match_across_the_borders_of_pieces},
      {S, match_refuses_bad_arguments}},
     {match, 3, {S, match_gives_what_binary_match_gives}, {S, match_across_the_borders_of_pieces},
      {S, match_refuses_bad_arguments}},
     {matches, 2, {S, match_gives_what_binary_match_gives}, {S, matches_go_on_where_a_call_ends},
      {S, match_refuses_bad_arguments}},
     {matches, 3, {S, match_gives_what_binary_match_gives}, {S, limit_stops_matches}, {S, match_refuses_bad_arguments}},
     {pread, 2, {I, pread_list_gives_a_list}, {I, pread_list_goes_to_the_end}, {I, pread_list_refuses_bad_arguments}},
     {snapshot, 3, {I, snapshot_is_a_copy_on_any_handle}, {I, snapshot_ends_as_pread},
      {I, snapshot_refuses_what_pread_refuses}},
     {pread, 3, {I, large_reads_are_whole}, {I, pread_past_the_end_is_eof}, {I, pread_refuses_bad_arguments}},
     {write, 2, {I, write_moves_the_position}, {I, write_past_the_end_grows_the_file}, {I, write_refuses_bad_data}},
     {pwrite, 2, {I, pwrite_list_writes_in_order}, {I, pwrite_list_says_how_many_were_done},
      {I, pwrite_list_refuses_bad_lists}},
     {pwrite, 3, {I, pwrite_keeps_the_position}, {I, write_past_a_fixed_end_writes_nothing},
      {I, pwrite_refuses_bad_arguments}},
     {position, 2, {I, position_moves_from_everywhere}, {I, position_before_the_start_is_einval},
      {I, position_refuses_bad_locations}},
     {copy, 3, {I, copy_moves_both_positions}, {I, copy_stops_at_the_end}, {I, copy_refuses_bad_arguments}},
     {ipread_s32bu_p32bu, 3, {I, ipread_follows_a_header}, {I, ipread_past_the_end_is_eof},
      {I, ipread_refuses_bad_arguments}},
     {read_handle_info, 2, {I, read_handle_info_is_that_of_the_file}, {I, read_handle_info_of_an_empty_file},
      {I, read_handle_info_refuses_bad_arguments}},
     {sendfile, 8, {I, sendfile_falls_back_to_reading}, {I, sendfile_from_and_past_the_end},
      {I, sendfile_refuses_what_is_no_handle}},
     {internal_get_nif_resource, 1, {I, sendfile_falls_back_to_reading}, {I, sendfile_from_and_past_the_end},
      {I, sendfile_refuses_what_is_no_handle}},
     {resize, 1, {P, max_inc_size_bounds_a_step_of_growth}, {I, resize_doubles}, {I, resize_refuses_bad_sizes}},
     {resize, 2, {I, resize_keeps_direct_binaries}, {I, resize_sets_the_length_of_the_file},
      {I, resize_refuses_bad_sizes}},
     {truncate, 1, {I, truncate_fills_up_to_the_position}, {I, truncate_cuts_at_the_position},
      {I, truncate_refuses_what_cannot_change}},
     {remap, 1, {I, remap_of_an_unchanged_file_changes_nothing}, {I, remap_follows_the_file},
      {I, remap_refuses_what_is_no_handle}},
     {allocate, 3, {I, allocate_takes_disk_space}, {I, allocate_grows_a_file_only_past_its_end},
      {I, allocate_refuses_bad_ranges}},
     {sync, 1, {I, sync_returns_when_it_is_done}, {I, sync_of_nothing_is_ok}, {I, sync_refuses_bad_arguments}},
     {sync, 3, {I, sync_returns_when_it_is_done}, {I, sync_range_has_bounds}, {I, sync_refuses_bad_arguments}},
     {datasync, 1, {I, sync_returns_when_it_is_done}, {I, sync_of_nothing_is_ok}, {I, sync_refuses_bad_arguments}},
     {flush, 1, {I, sync_returns_when_it_is_done}, {I, sync_of_nothing_is_ok}, {I, sync_refuses_bad_arguments}},
     {advise, 4, {I, advise_never_drops_data}, {I, advise_takes_every_advice}, {I, advise_refuses_bad_arguments}},
     {patomic, 4, {A, operations_agree_with_atomics}, {A, words_have_bounds},
      {A, positions_that_are_no_word_are_refused}},
     {patomic_read, 2, {A, operations_return_the_old_value}, {A, words_have_bounds},
      {A, positions_that_are_no_word_are_refused}},
     {patomic_write, 3, {A, operations_return_the_old_value}, {A, words_have_bounds},
      {A, positions_that_are_no_word_are_refused}},
     {patomic_cas, 4, {A, compare_exchange_tells_what_was_there}, {A, words_have_bounds},
      {A, positions_that_are_no_word_are_refused}},
     {open_counters, 1, {C, one_counter_is_the_default}, {C, a_file_of_one_is_neither_less_nor_more},
      {C, what_is_no_name_is_refused}},
     {open_counters, 2, {C, a_file_written_by_hand_opens}, {C, a_number_must_be_right},
      {C, a_number_must_be_possible}},
     {close_counters, 1, {C, counters_return_the_old_value}, {C, close_counters_closes_once},
      {C, what_is_no_file_of_counters_is_refused}}
     | [{Function, Arity, {C, counters_return_the_old_value}, {C, counters_are_numbered_from_0},
         {C, what_is_no_file_of_counters_is_refused}}
        || {Function, Arity} <- [{inc_counter, 2}, {inc_counter, 3}, {dec_counter, 2}, {dec_counter, 3},
                                 {set_counter, 3}, {read_counter, 2}]]]
        ++ memory_cases().

memory_cases() ->
    T = emmap_typed_words_SUITE, K = emmap_lock_SUITE, M = emmap_memory_SUITE, W = emmap_await_SUITE,
    N = emmap_node_SUITE,
    [{Function, Arity, {T, operations_agree_with_arithmetic}, {T, typed_words_have_bounds},
      {T, wrong_arguments_are_refused}}
     || {Function, Arity} <- [{patomic, 5}, {patomic_read, 3}, {patomic_write, 4}]]
        ++ [{handles, 0, {N, handles_are_those_that_are_open}, {N, more_handles_than_are_looked_at_at_once},
             {N, the_node_takes_no_arguments}},
            {stats, 0, {N, stats_count_what_is_mapped}, {N, a_node_without_handles_has_nothing},
             {N, the_node_takes_no_arguments}},
            {patomic_cas, 5, {T, compare_exchange_compares_the_word}, {T, typed_words_have_bounds},
             {T, wrong_arguments_are_refused}},
            {lock_file, 2, {K, lock_file_keeps_other_handles_out}, {K, a_lock_takes_the_place_of_another},
             {K, locks_refuse_wrong_arguments}},
            {lock_file, 3, {K, lock_file_waits_for_its_turn}, {K, a_timeout_has_bounds},
             {K, locks_refuse_wrong_arguments}},
            {unlock_file, 1, {K, unlock_file_gives_it_back}, {K, a_closed_handle_has_no_lock},
             {K, locks_refuse_wrong_arguments}},
            {await, 4, {W, await_returns_what_the_word_has_become}, {W, a_timeout_has_bounds},
             {W, waiting_refuses_wrong_arguments}},
            {notify, 2, {W, await_returns_what_the_word_has_become}, {W, notify_wakes_those_at_the_word_alone},
             {W, waiting_refuses_wrong_arguments}}]
        ++ [{Function, 3, {M, Good}, {M, Limit}, {M, ranges_refuse_wrong_arguments}}
            || {Function, Good, Limit} <- [{resident, resident_counts_what_is_in_memory, resident_counts_bytes},
                                           {populate, populate_makes_private_pages, ranges_have_bounds},
                                           {lock_memory, lock_memory_keeps_a_range_in_memory,
                                            lock_memory_has_the_limit_of_the_process},
                                           {unlock_memory, unlock_memory_lets_a_range_go, ranges_have_bounds},
                                           {punch_hole, punch_hole_gives_disk_space_back,
                                            punch_hole_past_the_end_is_left_out}]].

%% The same for emmap_atomics.
atomics_cases() ->
    S = emmap_atomics_SUITE,
    [{open, 3, {S, words_are_where_the_layout_says}, {S, an_array_larger_than_files_can_be_is_an_error},
      {S, wrong_arguments_are_refused}},
     {close, 1, {S, words_are_where_the_layout_says}, {S, closed_array_is_badarg}, {S, wrong_arguments_are_refused}},
     {sync, 1, {S, each_operation_does_what_it_says}, {S, closed_array_is_badarg}, {S, wrong_arguments_are_refused}},
     {info, 1, {S, signedness_is_the_readers}, {S, info_tells_how_many_and_what_they_take},
      {S, wrong_arguments_are_refused}}
     | [{Function, Arity, {S, each_operation_does_what_it_says}, {S, indexes_and_values_have_limits},
         {S, wrong_arguments_are_refused}}
        || {Function, Arity} <- [{put, 3}, {get, 2}, {add, 3}, {add_get, 3}, {sub, 3}, {sub_get, 3}, {exchange, 3},
                                 {compare_exchange, 4}]]].

%% And for emmap_queue.
queue_cases() ->
    S = emmap_queue_SUITE,
    [{Function, Arity, {S, Good}, {S, Limit}, {S, wrong_arguments_are_explained}}
     || {Function, Arity, Good, Limit} <-
            [{open, 1, a_queue_has_one_owner, another_vm_takes_the_lock_over},
             {open, 2, options_are_kept_in_the_file, a_full_queue_says_so},
             {close, 1, a_queue_has_one_owner, closed_is_an_error},
             {start_link, 2, a_named_owner_is_restarted_without_loss, an_owner_without_a_queue_does_not_start},
             {start_link, 3, a_named_owner_is_restarted_without_loss, an_owner_without_a_queue_does_not_start},
             {push, 2, terms_come_in_order, large_messages_come_whole},
             {push_list, 2, a_list_is_pushed_as_a_whole, large_messages_come_whole},
             {pop, 1, terms_come_in_order, closed_is_an_error},
             {pop, 2, a_waiting_pop_gets_what_is_pushed, waiting_ends_in_time},
             {pop_list, 2, pop_list_takes_no_more_than_asked_for, large_messages_come_whole},
             {peek, 1, peek_and_fold_leave_all_there, closed_is_an_error},
             {fold, 3, peek_and_fold_leave_all_there, closed_is_an_error},
             {length, 1, length_follows, a_full_queue_says_so},
             {is_empty, 1, length_follows, closed_is_an_error},
             {take, 1, what_is_taken_comes_back_from_a_dead_process, a_receipt_is_good_once},
             {take, 2, a_waiting_take_gets_what_comes_back, waiting_ends_in_time},
             {ack, 2, acknowledged_is_gone_after_reopening, a_receipt_is_good_once},
             {nack, 2, a_waiting_take_gets_what_comes_back, a_receipt_is_good_once},
             {purge, 1, purge_is_for_one_consumer, closed_is_an_error},
             {consumer, 2, consumers_see_every_message, closed_is_an_error},
             {consumer, 3, consumers_see_every_message, purge_is_for_one_consumer},
             {remove_consumer, 2, consumers_see_every_message, closed_is_an_error},
             {sync, 1, no_mail_is_left_behind, closed_is_an_error},
             {info, 1, length_follows, options_are_kept_in_the_file}]].

%% And for emmap_blocks.
blocks_cases() ->
    S = emmap_blocks_SUITE,
    [{Function, Arity, {S, Good}, {S, Limit}, {S, wrong_arguments_are_explained}}
     || {Function, Arity, Good, Limit} <-
            [{open, 2, block_size_0_takes_what_is_there, another_block_size_is_refused},
             {open, 3, options_are_kept, full_blocks_say_so},
             {close, 1, blocks_are_there_after_reopening, closed_is_an_error},
             {store, 2, what_is_stored_is_read, a_block_has_a_size},
             {read, 2, what_is_stored_is_read, addresses_have_bounds},
             {free, 2, what_is_freed_is_not_found, addresses_have_bounds},
             {fold, 3, fold_sees_all_in_order, closed_is_an_error},
             {read_list, 3, read_list_goes_on_where_it_ended, read_list_has_bounds},
             {count, 1, count_and_info_follow, closed_is_an_error},
             {info, 1, count_and_info_follow, closed_is_an_error},
             {sync, 1, syncs_are_shared, closed_is_an_error},
             {check, 1, a_changed_byte_is_found, closed_is_an_error}]].

%% And for emmap_named_counters.
named_cases() ->
    S = emmap_named_counters_SUITE,
    [{Function, Arity, {S, Good}, {S, Limit}, {S, wrong_arguments_are_refused}}
     || {Function, Arity, Good, Limit} <-
            [{open, 2, counters_count, capacity_has_bounds}, {close, 1, counters_count, a_closed_file_is_refused},
             {counter, 2, counters_count, labels_have_bounds},
             {remove, 2, a_removed_slot_waits_for_all_who_may_count, labels_have_bounds},
             {to_list, 1, counters_count, a_cut_file_is_truncated}, {add, 2, counters_count, a_cut_file_is_truncated},
             {sub, 2, counters_count, readers_only_read}, {put, 2, counters_count, counters_wrap_around},
             {get, 1, counters_count, counters_wrap_around}, {add_get, 2, counters_count, counters_wrap_around}]].

%% The tables name every export and nothing else; the three cases that they name for it are three, are run, and call it.
every_export_is_tested(_) ->
    [begin
         %% format_error is for the shells, and called with every failure that is looked at.
         Exports = [Export || {Function, _} = Export <- Module:module_info(exports),
                              Function =/= module_info, Function =/= format_error],
         ?assertEqual(lists:sort(Exports), lists:sort([{Function, Arity} || {Function, Arity, _, _, _} <- Cases])),
         ?assertEqual([], [{Function, Arity} || {Function, Arity, Good, Limit, Bad} <- Cases,
                                                length(lists:usort([Good, Limit, Bad])) < 3]),
         Calls = maps:from_list([{Suite, calls(Suite)} || Suite <- suites(Cases)]),
         [begin
              ?assert(lists:member(Case, cases_of(Suite))),
              ?assertEqual({{Suite, Case}, {Function, Arity}, true},
                           {{Suite, Case}, {Function, Arity},
                            lists:member({Function, Arity}, reached(Module, Case, maps:get(Suite, Calls)))})
          end || {Function, Arity, Good, Limit, Bad} <- Cases, {Suite, Case} <- [Good, Limit, Bad]]
     end || {Module, Cases} <- [{emmap, cases()}, {emmap_atomics, atomics_cases()},
                            {emmap_queue, queue_cases()}, {emmap_blocks, blocks_cases()},
                            {emmap_named_counters, named_cases()}]].

suites(Cases) -> lists:usort([Suite || {_, _, Good, Limit, Bad} <- Cases, {Suite, _} <- [Good, Limit, Bad]]).

cases_of(Suite) ->
    lists:append([case Entry of
                      {group, Group} -> element(3, lists:keyfind(Group, 1, Suite:groups()));
                      Case -> [Case]
                  end || Entry <- Suite:all()]).

%% What each function of a suite calls: functions of emmap (those of `file' that pass a handle on among them), and other
%% functions of the suite.
calls(Suite) ->
    {ok, {_, [{abstract_code, {_, Forms}}]}} = beam_lib:chunks(code:which(Suite), [abstract_code]),
    Functions = [{Name, calls_in(Clauses)} || {function, _, Name, _, Clauses} <- Forms],
    lists:foldl(fun({Name, Calls}, Map) -> maps:update_with(Name, fun(Old) -> Calls ++ Old end, Calls, Map) end,
                #{}, Functions).

calls_in({call, _, {remote, _, {atom, _, Module}, {atom, _, Function}}, Arguments})
  when Module =:= emmap; Module =:= emmap_atomics; Module =:= emmap_queue; Module =:= emmap_blocks;
       Module =:= emmap_named_counters ->
    [{Module, Function, length(Arguments)} | calls_in(Arguments)];
calls_in({call, _, {remote, _, {atom, _, file}, {atom, _, sendfile}}, Arguments}) ->
    [{emmap, sendfile, 8}, {emmap, internal_get_nif_resource, 1} | calls_in(Arguments)];
calls_in({call, _, {remote, _, {atom, _, file}, {atom, _, Function}}, Arguments}) ->
    [{emmap, Function, length(Arguments)} | calls_in(Arguments)];
calls_in({'fun', _, {function, {atom, _, Module}, {atom, _, Function}, {integer, _, Arity}}})
  when Module =:= emmap; Module =:= file ->
    [{emmap, Function, Arity}];
calls_in({call, _, {atom, _, Function}, Arguments}) -> [{local, Function} | calls_in(Arguments)];
calls_in({'fun', _, {function, Function, _}}) -> [{local, Function}];
calls_in(Form) when is_tuple(Form) -> calls_in(tuple_to_list(Form));
calls_in([Form | Forms]) -> calls_in(Form) ++ calls_in(Forms);
calls_in(_) -> [].

reached(Module, Case, Calls) ->
    [{Function, Arity} || {Called, Function, Arity} <- reach([Case], [], Calls), Called =:= Module].

reach([], _, _) -> [];
reach([Function | Rest], Seen, Calls) ->
    case lists:member(Function, Seen) of
        true -> reach(Rest, Seen, Calls);
        false ->
            Here = maps:get(Function, Calls, []),
            Here ++ reach([Local || {local, Local} <- Here] ++ Rest, [Function | Seen], Calls)
    end.

%% Every option of the type has a case in the suite of options that is named after it.
every_option_is_tested(_) ->
    {ok, {_, [{abstract_code, {_, Forms}}]}} = beam_lib:chunks(code:which(emmap_options), [abstract_code]),
    [Alternatives] = [Types || {attribute, _, type, {option, {type, _, union, Types}, []}} <- Forms],
    Options = [case Type of
                   {atom, _, Name} -> Name;
                   {type, _, tuple, [{atom, _, Name} | _]} -> Name
               end || Type <- Alternatives],
    ?assertEqual(lists:sort(Options), lists:sort(maps:keys(emmap_options:table()))),
    Cases = [atom_to_list(Case) || Case <- emmap_options_SUITE:all()],
    Named = #{hugetlb => "huge_pages", huge_2mb => "huge_pages", huge_1gb => "huge_pages"},
    ?assertEqual([], [Option || Option <- Options,
                                Prefix <- [maps:get(Option, Named, atom_to_list(Option)) ++ "_"],
                                not lists:any(fun(Case) -> lists:prefix(Prefix, Case) end, Cases)]).
