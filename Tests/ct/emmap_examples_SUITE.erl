%% Copyright 2026 the emmap authors. Licensed under the Apache License, Version 2.0.

%% Runs every program of examples/ as its header says, in VMs of its own, and checks what it did with ordinary means.
-module(emmap_examples_SUITE).

-export([all/0, suite/0, init_per_testcase/2, end_per_testcase/2]).
-export([every_example_has_a_case/1, head_comments_do_as_printed/1, wrong_arguments_get_a_usage_line/1,
         empty_files_get_a_clear_message/1, sequences_go_on_after_their_server_was_killed/1,
         sequences_go_on_after_their_vm_was_killed/1, erlang_and_elixir_talk_through_memory/1,
         head_comment_of_ask_does_as_printed/1, answerer_may_come_second/1,
         erlang_and_c_talk_through_memory/1,
         programs_take_turns_at_a_journal/1, nobody_takes_what_is_not_there/1,
         head_comment_of_deposit_does_as_printed/1,
         search_counts_as_binary_matches_does/1, search_finds_words_at_every_place/1,
         search_needs_less_memory_than_the_text/1, search_keeps_its_heap_small_whatever_it_finds/1,
         follow_prints_lines_as_they_are_written/1, search_survives_that_its_text_is_rewritten/1,
         search_of_a_text_that_is_cut_short_is_an_error/1,
         accounts_are_changed_in_place/1, accounts_take_deposits_of_two_vms_at_once/1,
         account_that_is_not_there_is_eof/1, jobs_are_done_once_whoever_dies/1,
         cache_is_warm_after_a_kill/1, cache_keeps_its_bound_and_the_newest/1, cache_forgets_what_is_damaged/1,
         payments_arrive_once_whoever_is_killed/1, events_go_to_who_asks/1,
         file_arrives_through_a_socket_as_it_is/1,
         c_structs_are_read_as_c_wrote_them/1, file_of_another_layout_is_refused/1,
         recorders_print_what_a_killed_node_counted/1, recorders_refuse_another_file/1]).

-include_lib("common_test/include/ct.hrl").
-include_lib("stdlib/include/assert.hrl").

all() ->
    [every_example_has_a_case, head_comments_do_as_printed, wrong_arguments_get_a_usage_line,
     empty_files_get_a_clear_message,
     sequences_go_on_after_their_server_was_killed, sequences_go_on_after_their_vm_was_killed,
     erlang_and_elixir_talk_through_memory, head_comment_of_ask_does_as_printed, answerer_may_come_second,
     erlang_and_c_talk_through_memory,
     programs_take_turns_at_a_journal, nobody_takes_what_is_not_there, head_comment_of_deposit_does_as_printed,
     search_counts_as_binary_matches_does, search_finds_words_at_every_place,
     search_needs_less_memory_than_the_text, search_keeps_its_heap_small_whatever_it_finds,
     follow_prints_lines_as_they_are_written, search_survives_that_its_text_is_rewritten,
     search_of_a_text_that_is_cut_short_is_an_error,
     accounts_are_changed_in_place, accounts_take_deposits_of_two_vms_at_once, account_that_is_not_there_is_eof,
     jobs_are_done_once_whoever_dies, cache_is_warm_after_a_kill, cache_keeps_its_bound_and_the_newest,
     cache_forgets_what_is_damaged, payments_arrive_once_whoever_is_killed, events_go_to_who_asks,
     file_arrives_through_a_socket_as_it_is, c_structs_are_read_as_c_wrote_them, file_of_another_layout_is_refused,
     recorders_print_what_a_killed_node_counted, recorders_refuse_another_file].

suite() -> [{timetrap, {seconds, 60}}].

init_per_testcase(Case, Config) ->
    Directory = filename:join(?config(priv_dir, Config), Case),
    ok = filelib:ensure_dir(filename:join(Directory, "x")),
    [{directory, Directory} | Config].

end_per_testcase(_, Config) -> file:del_dir_r(?config(directory, Config)).

every_example_has_a_case(_) ->
    %% What `make demo' runs is no example.
    ?assertEqual(["accounts.erl", "answer.c", "answer.exs", "ask.erl", "cache.erl", "cluster.erl",
                  "deposit.erl", "follow.erl", "jobs.erl", "measurements.c", "measurements.erl", "outbox.erl", "recorder.c",
                  "recorder.erl", "search.erl", "send.erl", "sequences.erl", "stages.exs", "withdraw.exs"],
                 filelib:wildcard("*.{erl,exs,c}", examples()) -- ["demo.erl"]).

%%% All of them

%% The commands in the comment that an example begins with, as they are printed, in a directory that looks like a
%% checkout after `make'. Files in /tmp and /dev/shm are put elsewhere, so that nobody's are touched; `forever' ends
%% when nobody reads any more. Cases below run those of ask.erl and of deposit.erl, which belong to two programs each,
%% and of stages.exs, and what answer.c is to do; answer.exs and withdraw.exs have none.
head_comments_do_as_printed(Config) ->
    Checkout = checkout(Config),
    Text = path(Config, "TEXT"),
    ok = file:write_file(Text, <<"a WORD in a text\n">>),
    Expected = #{"accounts.erl" => [<<"0">>, <<"250">>, <<"Anna 250">>],
                 "cache.erl" => [<<"blue">>, <<" of 30000 pages are there, the last one too: true">>],
                 "cluster.erl" => [<<"60 jobs sent to 3 nodes, 60 counted">>,
                                   <<"refused, the others' are not: true">>, <<"it is back, with what it had: true">>,
                                   <<"98 jobs pushed, 98 done">>],
                 "jobs.erl" => [<<"done, by 3 workers">>, <<"0 left">>],
                 "follow.erl" => [<<"a WORD in a text">>],
                 "measurements.c" => [],
                 "measurements.erl" => [<<"1700000002: sensor 252: 61.5 % (-2)">>],
                 "outbox.erl" => [<<"2 new, 1 known">>, <<"290">>],
                 "recorder.c" => [<<"requests 3">>],
                 "recorder.erl" => [<<"requests 3">>],
                 "search.erl" => [<<"1 times in 17 bytes">>],
                 "send.erl" => [<<"whole file: 17 bytes, same">>, <<"a part: 8 bytes, same">>],
                 "sequences.erl" => [<<"order 0">>, <<"order 4">>, <<"order 5">>]},
    HasCompiler = os:find_executable("cc") =/= false,
    [begin
         Commands = [command(Line, Config) || Line <- head_commands(Name)],
         ?assertNotEqual({Name, []}, {Name, Commands}),
         {Status, Output} = in_shell(Checkout, lists:join("\n", Commands)),
         ?assertEqual({Name, 0}, {Name, Status}),
         [?assertMatch({Line, {_, _}}, {Line, binary:match(Output, Line)}) || Line <- Lines]
     end || {Name, Lines} <- lists:sort(maps:to_list(Expected)),
            HasCompiler orelse not lists:member(Name, ["measurements.c", "measurements.erl", "recorder.c"])].

head_commands(Name) ->
    {ok, Text} = file:read_file(example(Name)),
    {match, Found} = re:run(Text, "^(?:%%| \\*|#) {5}(.*(?:escript|elixir|cc) .*)$",
                            [global, multiline, {capture, all_but_first, list}]),
    [Line || [Line] <- Found].

%% With files of this case's own.
command(Line, Config) ->
    Own = filename:join(?config(directory, Config), "at"),
    Elsewhere = lists:foldl(fun({From, To}, Text) -> string:replace(Text, From, To, all) end, Line,
                            [{"/tmp/", Own ++ "-"}, {"/dev/shm/", Own ++ "-"},
                             {" TEXT", " " ++ path(Config, "TEXT")}, {" FILE", " " ++ path(Config, "TEXT")}]),
    case string:find(Line, "forever") of
        nomatch -> Elsewhere;
        _ -> ["{ ", Elsewhere, "; } | head -n 2"]
    end.

checkout(Config) ->
    Checkout = path(Config, "checkout"),
    Libraries = filename:join(Checkout, "_build/default/lib"),
    ok = filelib:ensure_path(Libraries),
    ok = file:make_symlink(filename:dirname(filename:dirname(code:which(emmap))), filename:join(Libraries, "emmap")),
    ok = file:make_symlink(examples(), filename:join(Checkout, "examples")),
    Checkout.

in_shell(Directory, Commands) ->
    run("/bin/sh", ["-e", "-c", ["cd \"$0\"\n", Commands], Directory]).

wrong_arguments_get_a_usage_line(_) ->
    Wrong = [{"accounts.erl", ["file", "withdraw"]}, {"ask.erl", ["file"]}, {"cache.erl", ["file", "put", "key"]},
             {"cluster.erl", []},
             {"deposit.erl", ["file"]},
             {"follow.erl", []}, {"follow.erl", ["file", "0"]}, {"jobs.erl", ["file", "push"]},
             {"measurements.erl", []}, {"outbox.erl", ["file", "pay", "key"]}, {"recorder.erl", ["file", "add"]},
             {"search.erl", ["file"]}, {"search.erl", ["file", ""]},
             {"send.erl", ["one", "two"]}, {"sequences.erl", ["file"]}],
    [begin
         {Status, Output} = escript(Name, Args),
         ?assertEqual({Name, 2}, {Name, Status}),
         ?assertMatch({match, _}, re:run(Output, "^usage: escript " ++ Name ++ " [^\n]*\n$"))
     end || {Name, Args} <- Wrong],
    case os:find_executable("elixir") of
        false -> ok;
        Elixir ->
            ?assertEqual({2, <<"usage: elixir answer.exs FILE\n">>}, run(Elixir, [example("answer.exs")])),
            ?assertEqual({2, <<"usage: elixir withdraw.exs JOURNAL AMOUNT...\n">>},
                         run(Elixir, [example("withdraw.exs"), "file"])),
            ?assertEqual({2, <<"usage: elixir stages.exs FILE COUNT\n">>}, run(Elixir, [example("stages.exs")]))
    end.

empty_files_get_a_clear_message(Config) ->
    File = path(Config, "empty"),
    ok = file:write_file(File, <<>>),
    [?assertEqual({Name, {1, unicode:characters_to_binary([File, Message])}}, {Name, escript(Name, [File])})
     || {Name, Message} <- [{"send.erl", ": the file is empty, so there is nothing to send\n"},
                            {"measurements.erl", ": not measurements of version 2\n"}]],
    ?assertMatch({0, <<"0 times in 0 bytes", _/binary>>}, escript("search.erl", [File, "word"])),
    Missing = path(Config, "missing"),
    [?assertEqual({Name, {1, unicode:characters_to_binary([Missing, ": no such file or directory\n"])}},
                  {Name, escript(Name, [Missing | Args])})
     || {Name, Args} <- [{"search.erl", ["word"]}, {"send.erl", []}, {"measurements.erl", []}]],
    ?assertEqual({0, <<"no accounts yet\n">>}, escript("accounts.erl", [File, "list"])).

%%% sequences.erl

sequences_go_on_after_their_server_was_killed(Config) ->
    File = path(Config, "counters"),
    {0, First} = escript("sequences.erl", [File, "4"]),
    ?assertEqual([0, 1, 2, 3], orders(First)),
    {0, Second} = escript("sequences.erl", [File, "2"]),
    ?assertEqual([4, 5], orders(Second)),
    %% Two counters, of which the second was never used.
    ?assertEqual({ok, <<"EMMAP01\n", 2:64/little, 6:64/little, 0:64/little>>}, file:read_file(File)).

sequences_go_on_after_their_vm_was_killed(Config) ->
    File = path(Config, "counters"),
    Port = start(os:find_executable("escript"), [example("sequences.erl"), File, "forever"]),
    Before = wait_for(Port, fun(Output) -> length(orders(Output)) >= 100 end, <<>>),
    {os_pid, Pid} = erlang:port_info(Port, os_pid),
    _ = os:cmd("kill -KILL " ++ integer_to_list(Pid)),
    {Status, After} = finish(Port, Before),
    ?assertEqual(128 + 9, Status),
    Numbers = orders(After),
    ?assertEqual(lists:seq(0, length(Numbers) - 1), Numbers),
    {0, Next} = escript("sequences.erl", [File, "3"]),
    [Number | _] = orders(Next),
    %% What was taken is gone even if it was not printed any more.
    ?assert(Number >= length(Numbers)),
    ?assertEqual([Number, Number + 1, Number + 2], orders(Next)).

%% Of whole lines only.
orders(Output) ->
    Lines = lists:droplast(binary:split(Output, <<"\n">>, [global])),
    [binary_to_integer(Number) || <<"order ", Number/binary>> <- Lines].

%%% ask.erl and answer.exs

erlang_and_elixir_talk_through_memory(Config) ->
    File = path(Config, "mailbox"),
    Answerer = start(elixir(), [example("answer.exs"), File]),
    Asker = start(os:find_executable("escript"), [example("ask.erl"), File, "hello", "wörld"]),
    ?assertEqual({0, <<"hello -> HELLO\nwörld -> WÖRLD\n4 messages\n"/utf8>>}, finish(Asker, <<>>)),
    ?assertEqual({0, <<"answered\n">>}, finish(Answerer, <<>>)),
    ?assertNot(filelib:is_file(File)).

head_comment_of_ask_does_as_printed(Config) ->
    _ = elixir(),
    [Answer, Ask] = [command(Line, Config) || Line <- head_commands("ask.erl")],
    {0, Output} = in_shell(checkout(Config), [Answer, " &\n", Ask, "\nwait\n"]),
    [?assertMatch({_, _}, binary:match(Output, Line))
     || Line <- [<<"hello -> HELLO\n">>, <<"world -> WORLD\n">>, <<"answered\n">>]].

answerer_may_come_second(Config) ->
    File = path(Config, "mailbox"),
    Asker = start(os:find_executable("escript"), [example("ask.erl"), File, "one"]),
    ok = until(fun() -> filelib:file_size(File) =:= 4096 end),
    Answerer = start(elixir(), [example("answer.exs"), File]),
    ?assertEqual({0, <<"one -> ONE\n2 messages\n">>}, finish(Asker, <<>>)),
    ?assertEqual({0, <<"answered\n">>}, finish(Answerer, <<>>)).

erlang_and_c_talk_through_memory(Config) ->
    Program = compiled("answer", Config),
    [begin
         File = path(Config, Name),
         Ask = [example("ask.erl"), File, "hello", "you"],
         Start = #{asker => fun() -> start(os:find_executable("escript"), Ask) end,
                   answerer => fun() -> start(Program, [File]) end},
         One = (maps:get(First, Start))(),
         ok = until(fun() -> filelib:file_size(File) =:= 4096 end),
         Other = (maps:get(Second, Start))(),
         Ends = #{First => finish(One, <<>>), Second => finish(Other, <<>>)},
         ?assertEqual(#{asker => {0, <<"hello -> HELLO\nyou -> YOU\n4 messages\n">>},
                        answerer => {0, <<"answered\n">>}}, Ends)
     end || {Name, First, Second} <- [{"one", asker, answerer}, {"two", answerer, asker}]].

%%% deposit.erl and withdraw.exs

%% All of them wait for their first turn until the last of them does.
programs_take_turns_at_a_journal(Config) ->
    File = path(Config, "journal"),
    {ok, Journal} = emmap:open(File, [create, write, shared]),
    ok = emmap:lock_file(Journal, exclusive),
    Elixir = elixir(),
    Ports = [start(Program, [Example, File | lists:duplicate(100, "7")])
             || {Program, Example} <- [{Elixir, example("withdraw.exs")}, {Elixir, example("withdraw.exs")},
                                       {os:find_executable("escript"), example("deposit.erl")},
                                       {os:find_executable("escript"), example("deposit.erl")}]],
    [ok = until(fun() -> has_open(Port, File) end) || Port <- Ports],
    ?assertEqual(0, filelib:file_size(File)),
    ok = emmap:unlock_file(Journal),
    [{0, _} = finish(Port, <<>>) || Port <- Ports],
    Lines = turns(File),
    ?assertEqual(lists:duplicate(200, -7) ++ lists:duplicate(200, 7), lists:sort([Amount || {Amount, _} <- Lines])),
    %% Each goes on from the one before, and none goes below nothing.
    0 = lists:foldl(fun({Amount, Balance}, Before) ->
                            ?assertEqual(Before + Amount, Balance),
                            ?assert(Balance >= 0),
                            Balance
                    end, 0, Lines),
    ok = emmap:close(Journal).

nobody_takes_what_is_not_there(Config) ->
    File = path(Config, "journal"),
    Port = start(elixir(), [example("withdraw.exs"), File, "25"]),
    ok = until(fun() -> has_open(Port, File) end),
    ?assertEqual({0, <<"24 -> 24\n1 -> 25\n">>}, escript("deposit.erl", [File, "24", "1"])),
    ?assertEqual({0, <<"25 <- 0\n">>}, finish(Port, <<>>)),
    ?assertEqual([{24, 24}, {1, 25}, {-25, 0}], turns(File)).

head_comment_of_deposit_does_as_printed(Config) ->
    _ = elixir(),
    [Withdraw, Deposit] = [command(Line, Config) || Line <- head_commands("deposit.erl")],
    {0, Output} = in_shell(checkout(Config), [Withdraw, " &\n", Deposit, "\nwait\n"]),
    [?assertMatch({_, _}, binary:match(Output, Line)) || Line <- [<<"10 -> 10\n">>, <<"30 <- 5\n">>]].

%% {Amount, Balance} of each line.
turns(File) ->
    {ok, Bytes} = file:read_file(File),
    [{number(Amount), number(Balance)} || <<Amount:11/binary, Balance:20/binary, "\n">> <= Bytes].

number(Text) -> binary_to_integer(string:trim(Text)).

has_open(Port, File) ->
    {os_pid, Pid} = erlang:port_info(Port, os_pid),
    Directory = filename:join(["/proc", integer_to_list(Pid), "fd"]),
    {ok, Names} = file:list_dir(Directory),
    lists:any(fun(Name) -> file:read_link(filename:join(Directory, Name)) =:= {ok, File} end, Names).

elixir() ->
    case os:find_executable("elixir") of
        false -> throw({skip, "there is no elixir on the path"});
        Path -> Path
    end.

%%% follow.erl

%% Lines are printed when they are whole; what was written anew is read from the start.
follow_prints_lines_as_they_are_written(Config) ->
    File = path(Config, "log"),
    ok = file:write_file(File, <<"first\n">>),
    Port = start(os:find_executable("escript"), [example("follow.erl"), File, "6"]),
    First = wait_for(Port, fun(Output) -> Output =:= <<"first\n">> end, <<>>),
    ok = file:write_file(File, <<"second\nthi">>, [append]),
    Second = wait_for(Port, fun(Output) -> Output =:= <<"first\nsecond\n">> end, First),
    ok = file:write_file(File, [<<"rd\n">>, binary:copy(<<"x">>, 1 bsl 20), $\n], [append]),
    Third = wait_for(Port, fun(Output) -> byte_size(Output) =:= 20 + (1 bsl 20) end, Second),
    ok = file:write_file(File, <<"new\nend\nmore\n">>),
    ?assertEqual({0, <<"first\nsecond\nthird\n", (binary:copy(<<"x">>, 1 bsl 20))/binary, "\nnew\nend\n">>},
                 finish(Port, Third)).

%%% search.erl

search_counts_as_binary_matches_does(Config) ->
    {ok, Text} = file:read_file(filename:join([emmap_test:root(), "erlang", "src", "emmap.erl"])),
    File = path(Config, "text"),
    ok = file:write_file(File, Text),
    [begin
         {0, Output} = escript("search.erl", [File, Word]),
         Count = length(binary:matches(Text, list_to_binary(Word))),
         ?assertEqual({Count, byte_size(Text)}, found(Output))
     end || Word <- ["mmap_file", "e", "no such word"]].

search_finds_words_at_every_place(Config) ->
    %% Around every kilobyte, and at the very end.
    File = path(Config, "text"),
    Gap = binary:copy(<<".">>, 1018),
    ok = file:write_file(File, [[Gap, binary:copy(<<"-">>, N), <<"needle">>] || N <- lists:seq(0, 13)]),
    {0, Output} = escript("search.erl", [File, "needle"]),
    ?assertMatch({14, _}, found(Output)).

search_needs_less_memory_than_the_text(Config) ->
    File = path(Config, "text"),
    ok = sparse(File, 512 bsl 20, [100, 65530, 300000000, 512 bsl 20 - 6]),
    %% Kilobytes of writable memory that the VM may have: enough for a VM, not for the text.
    Limit = "ulimit -d 400000; ",
    Control = Limit ++ "exec erl -noshell -eval '{error, enomem} = file:read_file(\"" ++ File ++ "\"), halt().'",
    {0, _} = run("/bin/sh", ["-c", Control]),
    {0, Output} = run("/bin/sh", ["-c", Limit ++ "exec \"$@\"", "sh", os:find_executable("escript"),
                                  example("search.erl"), File, "needle"]),
    ?assertEqual({4, 512 bsl 20}, found(Output)),
    {match, [Megabytes]} = re:run(Output, "VM of ([0-9]+) MB", [{capture, all_but_first, list}]),
    ?assert(list_to_integer(Megabytes) < 100).

search_keeps_its_heap_small_whatever_it_finds(Config) ->
    File = path(Config, "text"),
    ok = file:write_file(File, binary:copy(<<"e">>, 3000000)),
    {0, Output} = escript("search.erl", [File, "e"]),
    ?assertEqual({3000000, 3000000}, found(Output)).

%% With a word of one byte, for which binary:matches/3 of bytes that change would end the VM.
search_survives_that_its_text_is_rewritten(Config) ->
    File = path(Config, "text"),
    Size = 1 bsl 20,
    emmap_vm:survives(fun() ->
        [Old, New] = [binary:copy(Letter, Size) || Letter <- [<<"a">>, <<"z">>]],
        Search = load("search.erl"),
        ok = file:write_file(File, Old),
        {ok, Writer} = emmap:open(File, [read, write, shared, nolock]),
        Rewrite = fun() -> ok = emmap:pwrite(Writer, 0, New), ok = emmap:pwrite(Writer, 0, Old) end,
        Count = fun() -> {Found, Size} = Search:count(File, <<"a">>), true = Found =< Size end,
        emmap_vm:while([Rewrite], fun() -> emmap_vm:until(3000, Count) end)
    end, #{args => ["+S", "2:2"], limit => "-c 0"}).

search_of_a_text_that_is_cut_short_is_an_error(Config) ->
    File = path(Config, "text"),
    %% So large that the search goes on until it is cut.
    ok = sparse(File, 1 bsl 36, [0]),
    Port = start(os:find_executable("escript"), [example("search.erl"), File, "needle"]),
    {os_pid, Pid} = erlang:port_info(Port, os_pid),
    Maps = "/proc/" ++ integer_to_list(Pid) ++ "/maps",
    ok = until(fun() ->
                       {ok, Text} = file:read_file(Maps),
                       binary:match(Text, list_to_binary(File)) =/= nomatch
               end),
    emmap_vm:cut(File, 0),
    Message = unicode:characters_to_binary([File, ": the file was cut short\n"]),
    ?assertEqual({1, Message}, finish(Port, <<>>)).

found(Output) ->
    {match, Numbers} = re:run(Output, "^([0-9]+) times in ([0-9]+) bytes", [{capture, all_but_first, list}]),
    list_to_tuple([list_to_integer(Number) || Number <- Numbers]).

sparse(File, Size, Places) ->
    {ok, Handle} = file:open(File, [write, raw, binary]),
    {ok, Size} = file:position(Handle, Size),
    ok = file:truncate(Handle),
    ok = file:pwrite(Handle, [{Place, <<"needle">>} || Place <- Places]),
    file:close(Handle).

%%% accounts.erl

accounts_are_changed_in_place(Config) ->
    File = path(Config, "accounts"),
    Run = fun(Args) -> escript("accounts.erl", [File | Args]) end,
    ?assertEqual({0, <<"0\n">>}, Run(["add", "Anna"])),
    ?assertEqual({0, <<"1\n">>}, Run(["add", "Björn"])),
    ?assertEqual({0, <<"250\n">>}, Run(["deposit", "1", "250"])),
    ?assertEqual({0, <<"-50\n">>}, Run(["deposit", "1", "-300"])),
    ?assertEqual({0, <<"Anna 0\nBjörn -50\n"/utf8>>}, Run(["list"])),
    {ok, Bytes} = file:read_file(File),
    ?assertMatch(<<0:64, "Anna", 0:52/unit:8, -50:64/signed-little, "Björn"/utf8, 0:50/unit:8>>, Bytes).

accounts_take_deposits_of_two_vms_at_once(Config) ->
    File = path(Config, "accounts"),
    {0, _} = escript("accounts.erl", [File, "add", "Anna"]),
    Ports = [start(os:find_executable("escript"), [example("accounts.erl"), File, "deposit", "0", Amount])
             || Amount <- ["1", "10", "100", "1000"]],
    [{0, _} = finish(Port, <<>>) || Port <- Ports],
    ?assertEqual({0, <<"Anna 1111\n">>}, escript("accounts.erl", [File, "list"])).

account_that_is_not_there_is_eof(Config) ->
    File = path(Config, "accounts"),
    {0, _} = escript("accounts.erl", [File, "add", "Anna"]),
    {ok, Table} = emmap:open(File, [read, shared]),
    Accounts = load("accounts.erl"),
    ?assertEqual({<<"Anna">>, 0}, Accounts:read(Table, 0)),
    ?assertEqual(eof, Accounts:read(Table, 1)),
    ok = emmap:close(Table).

%%% jobs.erl

jobs_are_done_once_whoever_dies(Config) ->
    Queue = path(Config, "queue"),
    Target = path(Config, "done"),
    Run = fun(Args) -> escript("jobs.erl", [Queue | Args]) end,
    Texts = ["job " ++ integer_to_list(N) || N <- lists:seq(1, 20)],
    ?assertEqual({0, <<>>}, Run(["push" | Texts])),
    ?assertEqual({0, <<"20 left\n">>}, Run(["left"])),
    ?assertEqual({0, <<"done, by 3 workers\n">>}, Run(["work", Target])),
    ?assertEqual({0, <<"0 left\n">>}, Run(["left"])),
    {ok, Done} = file:read_file(Target),
    ?assertEqual(Texts, [lists:nthtail(17, Line) || Line <- string:lexemes(binary_to_list(Done), "\n")]).

%%% cache.erl

-define(CACHE, (1 bsl 20)).

cache_is_warm_after_a_kill(Config) ->
    File = path(Config, "cache"),
    Module = load("cache.erl"),
    %% All is put, and then the VM is killed; or it is killed while it puts.
    [begin
         Vm = emmap_test:start_vm(),
         Before = emmap_test:in_vm(Vm, fun() ->
             _ = load("cache.erl"),
             Self = self(),
             _ = spawn(fun() ->
                           Cache = started(Module, File),
                           Puts = lists:seq(Round * 1000, Round * 1000 + 700),
                           [ok = Module:put(Cache, N, value(N)) || N <- Puts],
                           [ok = Module:remove(Cache, N) || N <- lists:sublist(Puts, 10)],
                           Self ! {put, Module:count(Cache)},
                           [Module:put(Cache, N, value(N)) || GoesOn, N <- lists:seq(1000000, 2000000)],
                           receive never -> ok end
                       end),
             receive {put, Count} -> Count end
         end),
         emmap_test:kill_vm(Vm),
         Cache = started(Module, File),
         ?assert(filelib:file_size(File) =< ?CACHE),
         Last = Round * 1000 + 700,
         case GoesOn of
             false ->
                 ?assertEqual(Before, Module:count(Cache)),
                 ?assertEqual({ok, value(Last)}, Module:get(Cache, Last)),
                 [?assertEqual(error, Module:get(Cache, N)) || N <- lists:seq(Round * 1000, Round * 1000 + 9)];
             true -> ?assert(Module:count(Cache) > 0)
         end,
         [?assert(lists:member(Module:get(Cache, N), [error, {ok, value(N)}]))
          || N <- lists:seq(1000, Last) ++ lists:seq(1000000, 1010000)],
         ok = Module:stop(Cache)
     end || {Round, GoesOn} <- [{1, false}, {2, true}, {3, true}, {4, false}]].

cache_keeps_its_bound_and_the_newest(Config) ->
    File = path(Config, "cache"),
    Module = load("cache.erl"),
    Fill = fun() ->
               Cache = started(Module, File),
               [ok = Module:put(Cache, N, value(N)) || N <- lists:seq(1, 10000)],
               ?assert(filelib:file_size(File) =< ?CACHE),
               There = [N || N <- lists:seq(1, 10000), Module:get(Cache, N) =:= {ok, value(N)}],
               ?assertEqual(Module:count(Cache), length(There)),
               ?assertEqual(lists:seq(10001 - length(There), 10000), There),
               ?assertEqual({error, too_long}, Module:put(Cache, big, lists:duplicate(2000, $x))),
               ok = Module:put(Cache, 9999, changed),
               ?assertEqual({ok, changed}, Module:get(Cache, 9999)),
               ok = Module:put(Cache, 9999, value(9999)),
               ok = Module:stop(Cache),
               There
           end,
    There = Fill(),
    ?assert(length(There) > 400, length(There)),
    Cache = started(Module, File),
    ?assertEqual(There, [N || N <- lists:seq(1, 10000), Module:get(Cache, N) =:= {ok, value(N)}]),
    ok = Module:stop(Cache),
    %% What is on disk has to wait for syncs before there is room.
    _ = Fill().

cache_forgets_what_is_damaged(Config) ->
    File = path(Config, "cache"),
    Module = load("cache.erl"),
    Cache = started(Module, File),
    [ok = Module:put(Cache, N, <<"value ", N>>) || N <- "abc"],
    ok = Module:stop(Cache),
    {ok, Bytes} = file:read_file(File),
    ok = file:write_file(File, binary:replace(Bytes, <<"value b">>, <<"valve b">>)),
    Again = started(Module, File),
    ?assertEqual([{ok, <<"value a">>}, error, {ok, <<"value c">>}], [Module:get(Again, N) || N <- "abc"]),
    ok = Module:put(Again, $b, <<"value b">>),
    ?assertEqual(3, Module:count(Again)),
    ok = Module:stop(Again).

started(Module, File) ->
    {ok, Server} = Module:start_link(File, ?CACHE),
    Module:handle(Server).

value(N) -> lists:duplicate(N rem 500, N band 127).

%%% outbox.erl

%% The program that drains it is killed again and again, wherever it is.
payments_arrive_once_whoever_is_killed(Config) ->
    Outbox = path(Config, "outbox"),
    Database = path(Config, "payments"),
    Module = load("outbox.erl"),
    Keys = lists:seq(1, 20000),
    {ok, Queue} = emmap_queue:open(Outbox),
    %% Each is paid twice: who pays may not have heard that it was.
    [ok = Module:pay(Queue, [{integer_to_binary(Key), Key} || Key <- Keys]) || _ <- [1, 2]],
    ok = emmap_queue:close(Queue),
    Killed = [begin
                  Port = start(os:find_executable("escript"), [example("outbox.erl"), Outbox, "drain", Database]),
                  {os_pid, Pid} = erlang:port_info(Port, os_pid),
                  ok = until(fun() -> filelib:file_size(Database) > Bytes orelse not is_running(Pid) end),
                  _ = os:cmd("kill -KILL " ++ integer_to_list(Pid)),
                  element(1, finish(Port, <<>>))
              end || Bytes <- [0, 50000, 100000, 200000]],
    ?assert(lists:member(128 + 9, Killed)),
    ?assertMatch({0, _}, escript("outbox.erl", [Outbox, "drain", Database])),
    ?assertEqual(lists:sum(Keys), Module:total(Database)).

is_running(Pid) -> filelib:is_file("/proc/" ++ integer_to_list(Pid)).

%%% stages.exs

events_go_to_who_asks(Config) ->
    _ = elixir(),
    [Line] = head_commands("stages.exs"),
    {0, Output} = in_shell(checkout(Config), command(Line, Config)),
    Events = [list_to_integer(Event) || "event " ++ Event <- string:lexemes(binary_to_list(Output), "\n")],
    ?assertEqual(lists:seq(1, 10), lists:sort(Events)),
    ?assertMatch({_, _}, binary:match(Output, <<"10 handled, consumers that died: ">>)),
    ?assert(filelib:is_file(path(Config, "at-events"))),
    {ok, Queue} = emmap_queue:open(path(Config, "at-events")),
    ?assertEqual(0, emmap_queue:length(Queue)),
    ok = emmap_queue:close(Queue).

%%% send.erl

file_arrives_through_a_socket_as_it_is(Config) ->
    File = path(Config, "file"),
    Size = 5000001,
    ok = file:write_file(File, crypto:strong_rand_bytes(Size)),
    ?assertEqual({0, <<"whole file: 5000001 bytes, same\na part: 2500000 bytes, same\n">>},
                 escript("send.erl", [File])).

%%% measurements.c and measurements.erl

c_structs_are_read_as_c_wrote_them(Config) ->
    File = measurements(Config),
    ?assertEqual({0, <<"1700000000: sensor 250: 20.5 C (0)\n"
                       "1700000001: sensor 251: 41.0 hPa (-1)\n"
                       "1700000002: sensor 252: 61.5 % (-2)\n">>}, escript("measurements.erl", [File])).

file_of_another_layout_is_refused(Config) ->
    File = measurements(Config),
    {ok, <<"MEAS", 2:16/little, Rest/binary>>} = file:read_file(File),
    ok = file:write_file(File, <<"MEAS", 3:16/little, Rest/binary>>),
    {Status, Output} = escript("measurements.erl", [File]),
    ?assertEqual(1, Status),
    ?assertMatch({match, _}, re:run(Output, "not measurements of version 2\n$")).

measurements(Config) ->
    File = path(Config, "measurements.bin"),
    {0, <<>>} = run(compiled("measurements", Config), [File]),
    File.

%% A program in C.
compiled(Name, Config) ->
    case os:find_executable("cc") of
        false -> throw({skip, "there is no C compiler (cc) on the path"});
        Compiler ->
            Program = path(Config, Name),
            {0, <<>>} = run(Compiler, ["-Wall", "-Wextra", "-Werror", "-o", Program, example(Name ++ ".c")]),
            Program
    end.

%%% recorder.c and recorder.erl

recorders_print_what_a_killed_node_counted(Config) ->
    File = path(Config, "counters"),
    Program = recorder(Config),
    Vm = emmap_test:start_vm(),
    ok = emmap_test:in_vm(Vm, fun() ->
        Parent = self(),
        _ = spawn(fun() ->
            {ok, Counters} = emmap_named_counters:open(File, [{capacity, 1000}]),
            [begin
                 {ok, Counter} = emmap_named_counters:counter(Counters, Label),
                 ok = emmap_named_counters:put(Counter, Value)
             end || {Label, Value} <- [{"requests", 1 bsl 40}, {"gone", 1}, {"errors", -3}]],
            ok = emmap_named_counters:remove(Counters, "gone"),
            Parent ! counted,
            receive stop -> emmap_named_counters:close(Counters) end
        end),
        receive counted -> ok end
    end),
    Both = fun() -> [run(Program, [File]), escript("recorder.erl", [File])] end,
    Lines = {0, <<"requests 1099511627776\nerrors -3\n">>},
    ?assertEqual([Lines], lists:usort(Both())),
    emmap_test:kill_vm(Vm),
    ?assertEqual([Lines], lists:usort(Both())),
    ?assertEqual({0, <<>>}, escript("recorder.erl", [File, "add", "requests", "-5"])).

recorders_refuse_another_file(Config) ->
    File = path(Config, "file"),
    [begin
         ok = file:write_file(File, Bytes),
         Message = unicode:characters_to_binary([File, ": not a file of named counters\n"]),
         ?assertEqual([{1, Message}], lists:usort([run(recorder(Config), [File]), escript("recorder.erl", [File])]))
     end || Bytes <- [<<0:4096/unit:8>>, <<"EMMAPNC1", 9:64/little, 0:112/unit:8, 0:128/unit:8>>, <<"short">>]].

recorder(Config) -> compiled("recorder", Config).

%%% What the cases need

path(Config, Name) -> filename:join(?config(directory, Config), Name).

examples() -> filename:join(emmap_test:root(), "examples").

example(Name) -> filename:join(examples(), Name).

load(Name) ->
    {ok, Module, Code} = compile:file(example(Name), [binary, return_errors]),
    {module, Module} = code:load_binary(Module, example(Name), Code),
    Module.

escript(Name, Args) -> run(os:find_executable("escript"), [example(Name) | Args]).

run(Program, Args) -> finish(start(Program, Args), <<>>).

%% A program that finds emmap as the headers of the examples say, in a locale that knows all letters.
start(Program, Args) ->
    Libraries = filename:dirname(filename:dirname(filename:dirname(code:which(emmap)))),
    Environment = [{"ERL_LIBS", Libraries}, {"LC_ALL", "C.UTF-8"}, {"ERL_FLAGS", false}, {"ERL_AFLAGS", false}],
    open_port({spawn_executable, Program},
              [{args, Args}, {env, Environment}, binary, exit_status, stderr_to_stdout, hide]).

%% Collects what a program writes until it ends.
finish(Port, Output) ->
    receive
        {Port, {data, More}} -> finish(Port, <<Output/binary, More/binary>>);
        {Port, {exit_status, Status}} ->
            ct:pal("~ts", [Output]),
            {Status, Output}
    end.

wait_for(Port, IsEnough, Output) ->
    case IsEnough(Output) of
        true -> Output;
        false ->
            receive
                {Port, {data, More}} -> wait_for(Port, IsEnough, <<Output/binary, More/binary>>);
                {Port, {exit_status, Status}} -> error({ended_early, Status, Output})
            end
    end.

%% The time limit of the case ends this if it never comes true.
until(IsTrue) ->
    case IsTrue() of
        true -> ok;
        false -> erlang:yield(), until(IsTrue)
    end.
