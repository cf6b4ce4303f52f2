%% Copyright 2026 the emmap authors. Licensed under the Apache License, Version 2.0.

%% Runs what README.md and the pages of docs show, as it is printed there: the Erlang and Elixir blocks in fresh VMs, the
%% installations in fresh projects. What stands behind `% =>' or `# =>' must be the value of that line. The blocks of
%% docs/elixir.md are one program; Tests/packages/mix_project makes the release of it.
%%
%% Of the commands, `make', `make package', the shells and what is to be typed on a machine without Swift are run by
%% Tests/packages, and `make demo' by scripts/run-tests. `make test' is what runs all of these, so that no test can run
%% it. `make bench' is not run: it takes minutes, and its figures mean nothing beside other tests.
%%
%% A comment before a block, <!-- kind -->, says what a block is that is not simply to be run.
-module(emmap_readme_SUITE).

-export([all/0, suite/0, init_per_suite/1, end_per_suite/1, init_per_testcase/2, end_per_testcase/2]).
-export([every_block_is_of_a_known_kind/1, first_screen_has_commands_and_examples/1, make_targets_exist/1,
         links_lead_to_files/1, every_page_is_linked_from_the_readme/1, erlang_blocks_do_as_printed/1,
         example_of_the_module_does_as_printed/1, rows_of_the_way_from_emmap_2_do_as_printed/1,
         elixir_blocks_do_as_printed/1, elixir_page_does_as_printed/1,
         wrong_value_in_a_block_is_found/1, rebar3_project_takes_a_git_dependency/1,
         rebar3_project_takes_a_checkout/1, mix_project_takes_a_git_dependency/1,
         mix_project_takes_a_directory/1]).
%% Called in another VM.
-export([wrong_lines/1]).

-include_lib("common_test/include/ct.hrl").
-include_lib("stdlib/include/assert.hrl").

%% Its blocks stand on each other.
-define(ELIXIR_PAGE, "docs/elixir.md").
-define(PLACEHOLDER, "https://github.com/emmap/emmap.git").

all() ->
    [every_block_is_of_a_known_kind, first_screen_has_commands_and_examples, make_targets_exist, links_lead_to_files,
     every_page_is_linked_from_the_readme, erlang_blocks_do_as_printed, example_of_the_module_does_as_printed,
     rows_of_the_way_from_emmap_2_do_as_printed, elixir_blocks_do_as_printed, elixir_page_does_as_printed,
     wrong_value_in_a_block_is_found,
     rebar3_project_takes_a_git_dependency, rebar3_project_takes_a_checkout, mix_project_takes_a_git_dependency,
     mix_project_takes_a_directory].

suite() -> [{timetrap, {minutes, 5}}].

init_per_suite(Config) ->
    Pages = [{Page, read(Page)} || Page <- ["README.md" | filelib:wildcard("docs/*.md", emmap_test:root())]],
    {_, Readme} = hd(Pages),
    Blocks = lists:append([blocks(Text) || {Page, Text} <- Pages, Page =/= ?ELIXIR_PAGE]),
    [{readme, Readme}, {pages, Pages}, {blocks, Blocks} | Config].

end_per_suite(Config) -> Config.

init_per_testcase(Case, Config) ->
    Directory = filename:join(?config(priv_dir, Config), Case),
    ok = file:make_dir(Directory),
    [{directory, Directory} | Config].

end_per_testcase(_, Config) -> file:del_dir_r(?config(directory, Config)).

%%% The text

every_block_is_of_a_known_kind(Config) ->
    Known = [{<<"erlang">>, run}, {<<"elixir">>, run}, {<<"sh">>, run},
             {<<"erlang">>, <<"rebar.config">>}, {<<"elixir">>, <<"mix.exs">>},
             {<<"sh">>, <<"in a rebar3 project">>}, {<<"sh">>, <<"in a Mix project">>},
             %% Tests/packages/no_swift
             {<<"sh">>, <<"in a rebar3 project, without Swift">>}, {<<"sh">>, <<"in a Mix project, without Swift">>}],
    Kinds = [{Language, Kind} || {Language, Kind, _} <- ?config(blocks, Config)],
    ?assertEqual([], lists:usort(Kinds) -- Known),
    ?assertEqual([], Known -- Kinds),
    %% No fence was missed.
    Fences = lists:sum([length(binary:matches(Text, <<"```">>))
                        || {Page, Text} <- ?config(pages, Config), Page =/= ?ELIXIR_PAGE]),
    ?assertEqual(2 * length(Kinds), Fences).

first_screen_has_commands_and_examples(Config) ->
    {Start, _} = binary:match(?config(readme, Config), <<"`h(emmap)`">>),
    First = binary:part(?config(readme, Config), 0, Start),
    ?assert(length(binary:split(First, <<"\n">>, [global])) =< 40),
    [{<<"sh">>, run, Commands}, {<<"erlang">>, run, Erlang}, {<<"elixir">>, run, Elixir}] = blocks(First),
    ?assertMatch([<<"make demo", _/binary>>, <<"make test", _/binary>>], lines(Commands)),
    ?assertEqual(5, length(lines(Erlang))),
    ?assertEqual(5, length(lines(Elixir))).

%% That each target is run by somebody is said above.
make_targets_exist(Config) ->
    {ok, Makefile} = file:read_file(filename:join(emmap_test:root(), "Makefile")),
    Commands = lists:append([lines(Text) || {<<"sh">>, run, Text} <- ?config(blocks, Config)]),
    Shown = [Target || <<"make ", Line/binary>> <- Commands, Target <- [hd(binary:split(Line, <<" ">>))]],
    ?assertEqual(length(Commands), length(Shown)),
    Mentioned = [Target || {_, Text} <- ?config(pages, Config), [Target] <- found(Text, "`make ([a-z]+)`")],
    ?assert(length(Mentioned) >= 5),
    [?assertMatch({match, _}, re:run(Makefile, ["^", Target, ":"], [multiline]), Target)
     || Target <- Shown ++ Mentioned].

links_lead_to_files(Config) ->
    Files = [{Page, Link}
             || {Page, Text} <- ?config(pages, Config), [Link] <- found(Text, "\\]\\(([^)#]+)(?:#[^)]*)?\\)"),
                binary:match(Link, <<"://">>) =:= nomatch],
    ?assert(length(Files) >= 20),
    ?assertEqual([], [Link || {Page, File} = Link <- Files,
                              not filelib:is_file(filename:join([emmap_test:root(), filename:dirname(Page), File]))]).

%% A page that nobody is told of might as well not be there.
every_page_is_linked_from_the_readme(Config) ->
    ?assertEqual([], [Page || {Page, _} <- tl(?config(pages, Config)),
                              binary:match(?config(readme, Config), iolist_to_binary(["](", Page, ")"])) =:= nomatch]).

%%% The examples

erlang_blocks_do_as_printed(Config) ->
    Blocks = [Text || {<<"erlang">>, run, Text} <- ?config(blocks, Config)],
    ?assert(length(Blocks) >= 3),
    lists:foreach(fun(Block) -> ?assertEqual({ok, []}, evaluate(Block, Config)) end, Blocks).

%% What h(emmap) prints.
example_of_the_module_does_as_printed(Config) ->
    {ok, Source} = file:read_file(filename:join([emmap_test:root(), "erlang", "src", "emmap.erl"])),
    {match, [Text]} = re:run(Source, "^%% ```\n(.*?)%% \'\'\'\n", [multiline, dotall, {capture, [1], binary}]),
    Lines = [Line || <<"%% ", Line/binary>> <- lines(Text)],
    ?assertEqual(3, length(Lines)),
    ?assertEqual({ok, []}, evaluate(iolist_to_binary(lists:join("\n", Lines)), Config)).

%% The second column is code, and the third one its value, or the exception that it raises.
rows_of_the_way_from_emmap_2_do_as_printed(Config) ->
    {_, Page} = lists:keyfind("docs/from-emmap-2.md", 1, ?config(pages, Config)),
    [_, _ | Rows] = [Line || <<"| ", Line/binary>> <- lines(Page)],
    Lines = [row(binary:split(Row, <<" |">>, [global])) || Row <- Rows],
    ?assert(length(Lines) > 30),
    ?assertEqual({ok, []}, evaluate(iolist_to_binary(lists:join("\n", Lines)), Config)).

row([_, Here, Answer, <<>>]) ->
    Code = lists:join(", ", lists:append(found(Here, "`([^`]+)`"))),
    case {binary:match(Answer, <<"exception">>), found(Answer, "`([^`]+)`")} of
        {nomatch, []} -> [Code, "."];
        {nomatch, [[Value]]} -> [Code, ".  % => ", Value];
        {_, [[Reason]]} -> ["try ", Code, ", returned catch error:Raised -> Raised end.  % => ", Reason]
    end.

%% What keeps the cases above from holding good whatever the text says.
wrong_value_in_a_block_is_found(Config) ->
    ?assertMatch({ok, [{<<"1 + 1.">>, 3, 2}]}, evaluate(<<"X = 1.\n1 + 1.  % => 3\nX.  % => 1\n">>, Config)),
    ?assertMatch({error, _}, evaluate(<<"{ok, 1} = {ok, 2}.\n">>, Config)),
    ?assertMatch({1, _}, elixir_values(<<"1 + 1  # => 3\n">>, Config)).

%% The lines whose value is not what is printed behind them; or how the block failed.
evaluate(Block, Config) ->
    Paths = ["-pa", ebin(), filename:dirname(code:which(?MODULE))],
    {ok, Peer, _} = peer:start(#{connection => standard_io, args => Paths}),
    try
        ok = peer:call(Peer, file, set_cwd, [?config(directory, Config)]),
        {ok, peer:call(Peer, ?MODULE, wrong_lines, [lines(Block)])}
    catch
        _:Reason -> {error, Reason}
    after
        peer:stop(Peer)
    end.

%% In that VM, as its shell would do it: handles cannot leave it.
wrong_lines(Lines) ->
    {Wrong, _} = lists:foldl(fun evaluate_line/2, {[], erl_eval:new_bindings()}, Lines),
    lists:reverse(Wrong).

evaluate_line(Line, {Wrong, Bindings}) ->
    {ok, Tokens, _} = erl_scan:string(unicode:characters_to_list(Line)),
    {ok, Expressions} = erl_parse:parse_exprs(Tokens),
    {value, Value, Next} = erl_eval:exprs(Expressions, Bindings),
    case printed_value(Line, <<"% =>">>) of
        none -> {Wrong, Next};
        {Code, Printed} ->
            {ok, Words, _} = erl_scan:string(unicode:characters_to_list([Printed, "."])),
            case erl_parse:parse_term(Words) of
                {ok, Value} -> {Wrong, Next};
                {ok, Other} -> {[{Code, Other, Value} | Wrong], Next}
            end
    end.

elixir_blocks_do_as_printed(Config) ->
    Blocks = [Text || {<<"elixir">>, run, Text} <- ?config(blocks, Config)],
    ?assertNotEqual([], Blocks),
    lists:foreach(fun(Block) ->
        ?assertMatch({0, _}, elixir(Block, Config)),
        ok = empty(?config(directory, Config)),
        ?assertEqual({0, <<>>}, elixir_values(Block, Config))
    end, Blocks).

elixir_page_does_as_printed(Config) ->
    {_, Page} = lists:keyfind(?ELIXIR_PAGE, 1, ?config(pages, Config)),
    Blocks = blocks(Page),
    Owner = {<<"elixir">>, <<"lib/shop/visits.ex">>},
    Released = [{<<"elixir">>, <<"config/runtime.exs">>}, {<<"elixir">>, <<"lib/shop/application.ex">>},
                {<<"sh">>, <<"in shop">>}, {<<"sh">>, <<"in shop, released">>}],
    ?assertEqual(lists:sort([{<<"elixir">>, run}, Owner | Released]),
                 lists:usort([{Language, Kind} || {Language, Kind, _} <- Blocks])),
    ?assertEqual(2 * length(Blocks), length(binary:matches(Page, <<"```">>))),
    Program = iolist_to_binary([Text || {Language, Kind, Text} <- Blocks,
                                        not lists:member({Language, Kind}, Released)]),
    %% The supervisor reports that the owner was killed; the compiler has nothing to say.
    {Status, Output} = elixir_values(Program, Config),
    ?assertEqual({0, nomatch}, {Status, binary:match(Output, <<"warning:">>)}).

%% Runs the block with each printed value turned into a match.
elixir_values(Block, Config) ->
    Lines = [case printed_value(Line, <<"# =>">>) of
                 none -> Line;
                 {Code, Value} -> [Value, " = ", Code]
             end || Line <- lines(Block)],
    elixir(iolist_to_binary(lists:join("\n", Lines)), Config).

elixir(Code, Config) ->
    run(?config(directory, Config), program("elixir"), ["-pa", ebin(), "-e", Code], []).

printed_value(Line, Mark) ->
    case binary:split(Line, Mark) of
        [_] -> none;
        [Code, Value] -> {string:trim(Code), string:trim(Value)}
    end.

%%% The installations

rebar3_project_takes_a_git_dependency(Config) ->
    Deps = replace(block(<<"rebar.config">>, 1, Config), <<?PLACEHOLDER>>, repository(Config)),
    Project = rebar3_project(Deps, Config),
    {0, _} = run(Project, program("rebar3"), ["compile"], [prebuilt(Config)]),
    ?assertEqual(<<"0">>, counter_of(Project, "_build/default/lib")).

%% What a user without Swift has: a library that was built elsewhere. That the sources build where a dependency from git
%% is put, Tests/packages/rebar3_project sees.
prebuilt(Config) ->
    Name = string:trim(element(2, {0, _} = run(emmap_test:root(), "/bin/sh", ["build.sh", "name"], []))),
    Prebuilt = filename:join(?config(directory, Config), "prebuilt"),
    Library = unicode:characters_to_list([filename:join(Prebuilt, Name), ".so"]),
    ok = filelib:ensure_dir(Library),
    {ok, Bytes} = file:read_file(filename:join([filename:dirname(ebin()), "priv", "emmap.so"])),
    ok = file:write_file(Library, Bytes),
    Sum = [io_lib:format("~2.16.0b", [Byte]) || <<Byte>> <= crypto:hash(sha256, Bytes)],
    ok = file:write_file([Library, ".sha256"], [Sum, "  ", Name, ".so\n"]),
    {"EMMAP_PREBUILT", Prebuilt}.

rebar3_project_takes_a_checkout(Config) ->
    Project = rebar3_project(block(<<"rebar.config">>, 2, Config), Config),
    %% Beside the project, as the text has it.
    ok = file:make_symlink(emmap_test:root(), filename:join(?config(directory, Config), "emmap")),
    {0, _} = run(Project, "/bin/sh", ["-e", "-c", block(<<"in a rebar3 project">>, 1, Config)], []),
    ?assertEqual(<<"0">>, counter_of(Project, "_build/default/checkouts")).

mix_project_takes_a_git_dependency(Config) ->
    mix_project(block(<<"mix.exs">>, 1, Config), [prebuilt(Config)], Config).

mix_project_takes_a_directory(Config) ->
    ok = file:make_symlink(emmap_test:root(), filename:join(?config(directory, Config), "emmap")),
    mix_project(block(<<"mix.exs">>, 2, Config), [], Config).

mix_project(Deps, Environment, Config) ->
    Directory = ?config(directory, Config),
    Mix = program("mix"),
    %% An account that has never used Mix, and nothing that tells Mix where rebar3 is.
    Home = filename:join(Directory, "home"),
    ok = file:make_dir(Home),
    Account = [{"HOME", Home} | Environment],
    {0, _} = run(Directory, Mix, ["new", "shop"], Account),
    Project = filename:join(Directory, "shop"),
    {ok, Old} = file:read_file(filename:join(Project, "mix.exs")),
    {match, [Empty]} = re:run(Old, "  defp deps do.*?\n  end\n", [dotall, {capture, first, binary}]),
    Source = case binary:match(Deps, <<?PLACEHOLDER>>) of
                 nomatch -> Deps;
                 _ -> replace(Deps, <<?PLACEHOLDER>>, repository(Config))
             end,
    ok = file:write_file(filename:join(Project, "mix.exs"), replace(Old, Empty, Source)),
    {0, _} = run(Project, "/bin/sh", ["-e", "-c", block(<<"in a Mix project">>, 1, Config)], Account),
    {0, _} = run(Project, Mix, ["deps.get"], Account),
    [Example | _] = [Text || {<<"elixir">>, run, Text} <- ?config(blocks, Config)],
    Run = ["run", "-e", [Example, "\nIO.puts(:emmap.read_counter(counters, 0))"]],
    {0, Output} = run(Project, Mix, Run, Account),
    ?assertEqual(<<"1">>, lists:last(lines(Output))).

rebar3_project(Deps, Config) ->
    Directory = ?config(directory, Config),
    {0, _} = run(Directory, program("rebar3"), ["new", "app", "shop"], []),
    Project = filename:join(Directory, "shop"),
    {ok, Old} = file:read_file(filename:join(Project, "rebar.config")),
    ok = file:write_file(filename:join(Project, "rebar.config"), replace(Old, <<"{deps, []}.">>, Deps)),
    Project.

%% What the first screen's counter is in a VM that has the libraries of a project.
counter_of(Project, Libraries) ->
    Code = "io:format(\"~b\", [emmap:inc_counter(emmap:open_counters(\"visits\"), 0)]), halt().",
    {0, Output} = run(Project, program("erl"), ["-noshell", "-eval", Code],
                      [{"ERL_LIBS", filename:join(Project, Libraries)}]),
    Output.

%% A git repository of the sources as they are now, and the URL of it.
repository(Config) ->
    Repository = filename:join(?config(directory, Config), "repository"),
    ok = file:make_dir(Repository),
    Script = "tar -C \"$1\" --exclude=./.git --exclude=./.build* --exclude=./_build --exclude=./_packages "
             "--exclude='./priv/[!.]*' -cf - . "
             "| tar -xf -; git init -q; git checkout -q -b main; git add -A; "
             "git -c user.name=x -c user.email=x@example.org commit -q -m x",
    {0, _} = run(Repository, "/bin/sh", ["-e", "-c", Script, "sh", emmap_test:root()], []),
    iolist_to_binary(["file://", Repository]).

%% The N-th block of a kind.
block(Kind, N, Config) -> lists:nth(N, [Text || {_, Of, Text} <- ?config(blocks, Config), Of =:= Kind]).

replace(Text, Old, New) ->
    [Before, After] = binary:split(Text, Old),
    <<Before/binary, New/binary, After/binary>>.

%%% What the cases need

%% {Language, Kind, Text} of each fenced block; Kind is `run', or what the comment before it says.
blocks(Text) -> blocks(binary:split(Text, <<"\n">>, [global]), run).

blocks([<<"```", Language/binary>> | Lines], Kind) ->
    {Block, [<<"```">> | Rest]} = lists:splitwith(fun(Line) -> Line =/= <<"```">> end, Lines),
    [{Language, Kind, iolist_to_binary([[Line, "\n"] || Line <- Block])} | blocks(Rest, run)];
blocks([<<"<!-- ", Comment/binary>> | Lines], _) -> blocks(Lines, hd(binary:split(Comment, <<" -->">>)));
blocks([_ | Lines], _) -> blocks(Lines, run);
blocks([], _) -> [].

read(Path) ->
    {ok, Text} = file:read_file(filename:join(emmap_test:root(), Path)),
    Text.

%% The groups of each place where the pattern matches.
found(Text, Pattern) ->
    case re:run(Text, Pattern, [global, {capture, all_but_first, binary}]) of
        {match, Groups} -> Groups;
        nomatch -> []
    end.

lines(Text) -> [Line || Line <- binary:split(Text, <<"\n">>, [global]), Line =/= <<>>].

ebin() -> filename:dirname(code:which(emmap)).

empty(Directory) ->
    ok = file:del_dir_r(Directory),
    file:make_dir(Directory).

program(Name) ->
    case os:find_executable(Name) of
        false -> throw({skip, "there is no " ++ Name ++ " on the path"});
        Path -> Path
    end.

%% Runs a program in a directory, free of what the test runner has set for itself, and without a question to anybody.
run(Directory, Program, Args, Environment) ->
    Clean = [{Name, false} || Name <- ["ERL_LIBS", "ERL_FLAGS", "ERL_AFLAGS", "REBAR_PROFILE", "MIX_ENV", "BINDIR",
                                       "ROOTDIR", "EMU", "PROGNAME", "ERLANG_ROOT_DIR", "GIT_DIR",
                                       "EMMAP_PREBUILT", "MIX_REBAR3", "MIX_HOME"]],
    All = Clean ++ [{"LC_ALL", "C.UTF-8"}, {"GIT_TERMINAL_PROMPT", "0"}]
        ++ [{Name, unicode:characters_to_list(iolist_to_binary(Value))} || {Name, Value} <- Environment],
    Port = open_port({spawn_executable, Program},
                     [{args, [iolist_to_binary(Arg) || Arg <- Args]}, {cd, Directory}, {env, All}, binary, exit_status,
                      stderr_to_stdout, hide]),
    Result = finish(Port, <<>>),
    ct:pal("~ts ~tp~n~tp", [Program, Args, Result]),
    Result.

finish(Port, Output) ->
    receive
        {Port, {data, More}} -> finish(Port, <<Output/binary, More/binary>>);
        {Port, {exit_status, Status}} -> {Status, Output}
    end.
