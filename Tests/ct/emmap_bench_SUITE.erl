%% Copyright 2026 the emmap authors. Licensed under the Apache License, Version 2.0.

%% The benchmark beside another library with emmap's functions, which does not have all of them. Here it is a module
%% `emmap' on top of `file'. What is measured does not matter.
-module(emmap_bench_SUITE).

-export([suite/0, all/0, init_per_suite/1, end_per_suite/1, init_per_testcase/2, end_per_testcase/2]).
-export([rows_that_the_other_lacks_are_named/1, pages_have_pictures/1, other_without_a_common_row_is_an_error/1,
         row_that_ends_the_other_vm_is_left_out/1]).
-import(emmap_test, [run_erl/2]).

-include_lib("common_test/include/ct.hrl").
-include_lib("stdlib/include/assert.hrl").

suite() -> [{timetrap, {minutes, 4}}].

all() ->
    [rows_that_the_other_lacks_are_named, pages_have_pictures, other_without_a_common_row_is_an_error,
     row_that_ends_the_other_vm_is_left_out].

%% `emmap_bench' and what belongs to it, as bench/run makes them, but for a file that is a thousand times smaller.
init_per_suite(Config) ->
    Bench = filename:join(emmap_test:root(), "bench"),
    Output = ?config(priv_dir, Config),
    case os:find_executable("cc") of
        false -> {skip, "no C compiler (cc) to build the benchmark's NIFs with"};
        Compiler ->
            Include = filename:join([code:root_dir(), "usr", "include"]),
            Library = filename:join(Output, "emmap_bench_floor.so"),
            "" = os:cmd(lists:flatten(io_lib:format("'~ts' -shared -fPIC -I'~ts' -o '~ts' '~ts' 2>&1",
                                                    [Compiler, Include, Library, filename:join(Bench, "floor_nif.c")]))),
            [{ok, _} = compile:file(Source, [report, {outdir, Output}, {d, 'LARGE_BITS', 20}, {d, 'MANY_BLOCKS', 1000}])
             || Source <- filelib:wildcard(filename:join(Bench, "*.erl"))],
            Config
    end.

end_per_suite(_) -> ok.

init_per_testcase(Case, Config) -> emmap_test:directory(Case, Config).

end_per_testcase(_, _) -> ok.

rows_that_the_other_lacks_are_named(Config) ->
    {0, _} = peer(Config, #{rows => "^(atomic add|counter|open and close|pwrite 8 B)"}),
    Page = page(Config),
    ?assertMatch({_, _}, binary:match(Page, <<"\n| open and close, 4 KiB | 1 | ">>)),
    ?assertMatch({_, _}, binary:match(Page, <<"\n| pwrite 8 B, lock | 2 | ">>)),
    ?assertEqual(nomatch, binary:match(Page, [<<"| atomic add">>, <<"| counter">>])),
    ?assertMatch({_, _}, binary:match(Page, <<"\nNot compared, because one of the two cannot do it: "
                                              "atomic add; atomic add, all to one word; counter + 1.\n">>)),
    {match, Rows} = re:run(Page, "^\\| (.*) \\| 1 \\| ", [global, multiline, {capture, all_but_first, binary}]),
    ?assertEqual([<<"open and close, 4 KiB">>, <<"pwrite 8 B, lock">>, <<"pwrite 8 B, nolock">>],
                 lists:sort(lists:append(Rows))).

pages_have_pictures(Config) ->
    Bench = filename:join(emmap_test:root(), "bench"),
    Python = [Program || Program <- ["python3", "/usr/bin/python3"],
                         os:cmd(Program ++ " -c 'import matplotlib' 2>&1") =:= ""],
    Python =/= [] orelse throw({skip, "no python3 with matplotlib"}),
    [begin
         Picture = emmap_test:path(Config, Name),
         "" = os:cmd(lists:join($\s, [hd(Python), filename:join(Bench, "chart.py"), filename:join(Bench, Page), Picture,
                                      "2>&1"])),
         {ok, Drawn} = file:read_file(Picture ++ ".svg"),
         [?assertNotEqual({Text, nomatch}, {Text, string:find(Drawn, unicode:characters_to_binary([$>, Text, $<]))})
          || Text <- Texts],
         ?assert(filelib:file_size(Picture ++ ".png") < 200000)
     end || {Page, Name, Texts} <- [{"RESULTS.md", "results", ["pread, lock", "64 KiB", [$4, 16#d7]]},
                                    {"PEER.md", "peer", ["pread, lock", "64 KiB", "0.5" ++ [16#d7]]}]].

other_without_a_common_row_is_an_error(Config) ->
    {Status, Output} = peer(Config, #{rows => "^counter"}),
    ?assertNotEqual(0, Status),
    ?assertMatch({_, _}, binary:match(Output, <<"no_row_that_both_have">>)).

%% Rows come in the order of emmap_bench_rows; the one that ends it comes last.
row_that_ends_the_other_vm_is_left_out(Config) ->
    {0, _} = peer(Config, #{rows => "^(open and close|datasync)", datasync => "halt(3, [{flush, Name =:= none}])"}),
    ?assertMatch({_, _}, binary:match(page(Config), <<"\n| open and close, 4 KiB | 1 | ">>)),
    ?assertMatch({_, _}, binary:match(page(Config), <<"cannot do it: datasync of a dirty page.\n">>)).

%%% Helpers

%% What `bench/run --peer' does when all is built.
peer(Config, #{rows := Rows} = Other) ->
    Directory = ?config(directory, Config),
    [begin
         ok = file:make_dir(filename:join(Directory, Build)),
         ok = file:write_file(filename:join([Directory, Build, "text"]), lines(100000))
     end || Build <- ["old", "new"]],
    Ebin = other_library(filename:join(Directory, "other"), Other),
    Args = [Directory, Directory, Ebin, filename:dirname(code:which(emmap))],
    run_erl(io_lib:format("emmap_bench:peer(~p), halt()", [Args]),
            lists:flatten(io_lib:format("export BENCH_ROWS='~ts' ERL_FLAGS='-pa \"~ts\"' ERL_CRASH_DUMP_SECONDS=0",
                                        [Rows, ?config(priv_dir, Config)]))).

lines(Count) -> binary:copy(<<"a line of a text, longer than a few bytes\n">>, Count).

%% A library without counters, atomic words, and a position. A raw file belongs to one process; these handles do not.
other_library(Directory, Other) ->
    ok = file:make_dir(Directory),
    Source = filename:join(Directory, "emmap.erl"),
    ok = file:write_file(Source,
        ["-module(emmap).\n"
         "-export([open/2, close/1, pread/3, pwrite/3, datasync/1]).\n"
         "open(Name, _) -> {ok, Name}.\n"
         "close(_) -> ok.\n"
         "pread(Name, At, Count) -> with(Name, fun(File) -> file:pread(File, At, Count) end).\n"
         "pwrite(Name, At, Bytes) -> with(Name, fun(File) -> file:pwrite(File, At, Bytes) end).\n"
         "datasync(Name) -> ", maps:get(datasync, Other, "with(Name, fun file:datasync/1)"), ".\n"
         "with(Name, Do) ->\n"
         "    {ok, File} = file:open(Name, [raw, binary, read, write]),\n"
         "    try Do(File) after file:close(File) end.\n"]),
    {ok, emmap} = compile:file(Source, [report, {outdir, Directory}]),
    ok = file:write_file(filename:join(Directory, "emmap.app"), "{application, emmap, [{vsn, \"2.9\"}]}.\n"),
    Directory.

page(Config) ->
    {ok, Page} = file:read_file(filename:join(?config(directory, Config), "PEER.md")),
    Page.
