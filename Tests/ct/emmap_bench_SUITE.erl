%% Copyright 2026 the emmap authors. Licensed under the Apache License, Version 2.0.

%% The benchmark beside another library with emmap's functions, which does not have all of them. Here it is a module
%% `emmap' on top of `file'. What is measured does not matter.
-module(emmap_bench_SUITE).

-export([suite/0, all/0, init_per_suite/1, end_per_suite/1, init_per_testcase/2, end_per_testcase/2]).
-export([rows_that_the_other_lacks_are_named/1, other_without_a_common_row_is_an_error/1,
         row_that_ends_the_other_vm_is_left_out/1]).
-import(emmap_test, [run_erl/2]).

-include_lib("common_test/include/ct.hrl").
-include_lib("stdlib/include/assert.hrl").

suite() -> [{timetrap, {minutes, 4}}].

all() ->
    [rows_that_the_other_lacks_are_named, other_without_a_common_row_is_an_error,
     row_that_ends_the_other_vm_is_left_out].

%% `emmap_bench' and what belongs to it, as bench/run makes them, but for a file that is a thousand times smaller.
init_per_suite(Config) ->
    Bench = filename:join(root(filename:dirname(code:which(?MODULE))), "bench"),
    Output = ?config(priv_dir, Config),
    case os:find_executable("cc") of
        false -> {skip, "no C compiler (cc) to build the benchmark's NIFs with"};
        Compiler ->
            Include = filename:join([code:root_dir(), "usr", "include"]),
            Library = filename:join(Output, "emmap_bench_floor.so"),
            "" = os:cmd(lists:flatten(io_lib:format("'~ts' -shared -fPIC -I'~ts' -o '~ts' '~ts' 2>&1",
                                                    [Compiler, Include, Library, filename:join(Bench, "floor_nif.c")]))),
            [{ok, _} = compile:file(Source, [report, {outdir, Output}, {d, 'LARGE_BITS', 20}])
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
    {ok, Bars} = file:read_file(filename:join(?config(directory, Config), "bars.tsv")),
    ?assertMatch([<<"open and close", _/binary>>, <<"pwrite 8 B, lock\temmap 2.9 (C++)\t", _/binary>>,
                  <<"pwrite 8 B, nolock", _/binary>>],
                 lists:sort(binary:split(Bars, <<"\n">>, [global, trim]))).

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

%% The sources that this suite belongs to: above the directory that it was compiled into.
root(Directory) ->
    case filelib:is_regular(filename:join(Directory, "Package.swift")) of
        true -> Directory;
        false when Directory =/= "/" -> root(filename:dirname(Directory))
    end.

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
