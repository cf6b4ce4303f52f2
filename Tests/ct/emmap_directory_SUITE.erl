%% Copyright 2026 the emmap authors. Licensed under the Apache License, Version 2.0.

%% `sync' of a new file brings its directory's entry to disk, too: that of the directory the file is in, whatever has
%% happened to names meanwhile. Where that cannot be done it is no failure of the file.
-module(emmap_directory_SUITE).

-export([suite/0, all/0, groups/0, init_per_group/2, end_per_group/2, init_per_testcase/2, end_per_testcase/2]).
-compile([export_all, nowarn_export_all]).
-import(emmap_vm, [survives/2]).

-include_lib("common_test/include/ct.hrl").

-define(PAGE, 4096).

suite() -> [{timetrap, {minutes, 2}}].

all() ->
    [{group, strace}, sync_in_a_directory_that_is_gone_is_ok, sync_in_a_directory_that_cannot_be_read_is_ok].

groups() ->
    [{strace, [sync_follows_a_renamed_directory, sync_leaves_a_directory_of_the_same_name_alone,
               sync_finds_the_directory_behind_a_link_to_nothing]}].

init_per_group(strace, Config) ->
    case emmap_vm:may_trace() of
        true -> Config;
        Why -> {skip, Why}
    end.

end_per_group(strace, _) -> ok.

init_per_testcase(Case, Config) -> emmap_vm:directory(Case, Config).

end_per_testcase(_, Config) -> emmap_vm:delete_directory(Config).

%%% Which directory it is

sync_follows_a_renamed_directory(Config) ->
    synced(Config, "b",
           fun(Path) ->
                   ok = file:make_dir(Path("a")),
                   Path("a/file")
           end,
           fun(Path) -> ok = file:rename(Path("a"), Path("b")) end).

sync_leaves_a_directory_of_the_same_name_alone(Config) ->
    synced(Config, "b",
           fun(Path) ->
                   ok = file:make_dir(Path("a")),
                   Path("a/file")
           end,
           fun(Path) ->
                   ok = file:rename(Path("a"), Path("b")),
                   ok = file:make_dir(Path("a"))
           end).

sync_finds_the_directory_behind_a_link_to_nothing(Config) ->
    synced(Config, "target",
           fun(Path) ->
                   ok = file:make_dir(Path("links")),
                   ok = file:make_dir(Path("target")),
                   ok = file:make_symlink("../target/file", Path("links/link")),
                   Path("links/link")
           end,
           fun(_) -> ok end).

%% Makes the file that `Prepare' names, has `Move' done to it, and syncs it. Of the directories that
%% it could have been, the one of this name alone must have reached the disk.
synced(Config, Name, Prepare, Move) ->
    Dir = ?config(dir, Config),
    Log = filename:join(Dir, "strace"),
    Path = fun(Part) -> filename:join([Dir, "tree", Part]) end,
    ok = file:make_dir(filename:join(Dir, "tree")),
    survives(fun() ->
                     {ok, File} = emmap:open(Prepare(Path), [create, write, shared, {size, ?PAGE}]),
                     Move(Path),
                     ok = emmap:sync(File),
                     ok = emmap:close(File)
             end, #{strace => ["-y", "-s", "500", "-e", "trace=fsync,fdatasync", "-e", "signal=none", "-o", Log]}),
    {ok, Calls} = file:read_file(Log),
    ct:log("~ts", [Calls]),
    Synced = case re:run(Calls, "/tree/([a-z]+)>\\)", [global, {capture, all_but_first, list}]) of
                 {match, Directories} -> lists:usort(lists:append(Directories));
                 nomatch -> []
             end,
    {[Name], _} = {Synced, Calls}.

%%% No directory to be had

sync_in_a_directory_that_is_gone_is_ok(Config) ->
    Dir = filename:join(?config(dir, Config), "directory"),
    Name = filename:join(Dir, "file"),
    ok = file:make_dir(Dir),
    {ok, File} = emmap:open(Name, [create, write, shared, {size, ?PAGE}]),
    ok = file:delete(Name),
    ok = file:del_dir(Dir),
    ok = emmap:sync(File),
    ok = emmap:sync(File),
    ok = emmap:close(File).

%% One in which all may make files, but nobody else may look, as a spool's; where the user nobody comes to it.
sync_in_a_directory_that_cannot_be_read_is_ok(_) ->
    Spool = filename:join("/tmp", "emmap_directory_SUITE." ++ os:getpid()),
    ok = file:make_dir(Spool),
    try
        ok = file:change_mode(Spool, 8#1733),
        case emmap_vm:may_be("nobody") of
            true ->
                survives(fun() ->
                                 {error, eacces} = file:list_dir(Spool),
                                 {ok, File} = emmap:open(filename:join(Spool, "file"),
                                                         [create, write, shared, {size, ?PAGE}]),
                                 ok = emmap:sync(File),
                                 ok = emmap:close(File),
                                 {ok, Atomics} = emmap_atomics:open(filename:join(Spool, "atomics"), 3, []),
                                 ok = emmap_atomics:sync(Atomics),
                                 ok = emmap_atomics:close(Atomics)
                         end, #{user => "nobody"});
            Why -> {skip, Why}
        end
    after
        ok = file:del_dir_r(Spool)
    end.
