%% Copyright 2026 the emmap authors. Licensed under the Apache License, Version 2.0.

%% What a sync says and leaves behind: the time of a file that was written through its mapping, and what a handle
%% answers after the device has failed.
-module(emmap_hostile_sync_SUITE).

-export([suite/0, all/0, init_per_testcase/2, end_per_testcase/2]).
-compile([export_all, nowarn_export_all]).
-import(emmap_vm, [survives/2]).
-import(emmap_hostile, [run/1]).

-include_lib("common_test/include/ct.hrl").
-include_lib("kernel/include/file.hrl").

-define(PAGE, 4096).
%% Long ago.
-define(OLD, 1000000000).

suite() -> [{timetrap, {minutes, 2}}].

all() ->
    [sync_brings_the_time_of_the_file_up_to_date, sync_brings_the_time_up_to_date_on_tmpfs,
     sync_without_writes_leaves_the_time, a_sync_that_failed_is_not_forgotten,
     a_device_that_fails_is_not_forgotten].

init_per_testcase(Case, Config) -> emmap_hostile:directory(Case, Config).

end_per_testcase(_, Config) -> emmap_hostile:delete_directory(Config).

%%% Times

modified(Name) ->
    {ok, #file_info{mtime = Time}} = file:read_file_info(Name, [{time, posix}]),
    Time.

age(Name) -> ok = file:change_time(Name, calendar:system_time_to_local_time(?OLD, second)).

sync_brings_the_time_of_the_file_up_to_date(Config) -> times(?config(dir, Config)).

%% Stores never change a file's time there.
sync_brings_the_time_up_to_date_on_tmpfs(Config) -> emmap_hostile:on(Config, tmpfs, fun times/1).

times(Dir) ->
    Name = filename:join(Dir, "file"),
    ok = file:write_file(Name, <<0:(8 * 2 * ?PAGE)>>),
    {ok, File} = emmap:open(Name, [write, shared]),
    Now = erlang:system_time(second) - 1,
    Writes = [{pwrite, fun() -> emmap:pwrite(File, 0, <<"written">>) end},
              {write, fun() -> emmap:write(File, <<"written">>) end},
              {add, fun() -> emmap:patomic(File, ?PAGE, add, 1) end},
              {store, fun() -> emmap:patomic_write(File, ?PAGE, 1) end},
              {exchange, fun() -> ok = emmap:patomic_cas(File, ?PAGE, emmap:patomic_read(File, ?PAGE), 2) end},
              {count, fun() -> emmap:inc_counter({File, 10}, 1) end}],
    [begin
         %% The first store to a clean page may change the time; those that follow do not.
         _ = case Page of
                 clean -> emmap:sync(File);
                 dirty -> Write()
             end,
         age(Name),
         _ = Write(),
         ok = emmap:sync(File),
         Time = modified(Name),
         {How, Page, Time, true} = {How, Page, Time, Time >= Now}
     end || Page <- [clean, dirty], {How, Write} <- Writes],
    ok = emmap:close(File).

sync_without_writes_leaves_the_time(Config) ->
    Name = filename:join(?config(dir, Config), "file"),
    ok = file:write_file(Name, <<0:(8 * ?PAGE)>>),
    [begin
         age(Name),
         {ok, File} = emmap:open(Name, Options),
         {ok, _} = emmap:pread(File, 0, 10),
         ok = emmap:sync(File),
         ok = emmap:datasync(File),
         {Options, ?OLD} = {Options, modified(Name)},
         ok = emmap:close(File),
         {Options, ?OLD} = {Options, modified(Name)}
     end || Options <- [[read], [shared], [write, shared], [write, private]]],
    {ok, Private} = emmap:open(Name, [write, private]),
    ok = emmap:pwrite(Private, 0, <<"mine">>),
    ok = emmap:sync(Private),
    ?OLD = modified(Name).

%%% Failures

%% The system tells each failure once, and takes for written what is not. (TO BE DECIDED, as it stands here: a handle
%% whose sync has failed goes on saying so until remap/1, or until the file is opened again.)
a_sync_that_failed_is_not_forgotten(Config) ->
    Dir = ?config(dir, Config),
    Name = filename:join(Dir, "file"),
    ok = file:write_file(Name, <<0:(8 * ?PAGE)>>),
    case emmap_vm:may_trace() of
        true ->
            [begin
                 Calls = "fsync,fdatasync,msync,sync_file_range",
                 %% One thread: strace counts for each of its own.
                 survives(fun() -> not_forgotten(Name, How, Sync) end,
                          #{args => ["+SDio", "1"],
                            strace => ["-o", "/dev/null", "-e", "trace=" ++ Calls,
                                       "-e", "inject=" ++ Calls ++ ":error=EIO:when=1", "-e", "signal=none"]})
             end || {How, Sync} <- [{sync, fun emmap:sync/1}, {datasync, fun emmap:datasync/1},
                                    {range, fun(File) -> emmap:sync(File, 0, 100) end}]];
        Why -> {skip, Why}
    end.

not_forgotten(Name, How, Sync) ->
    {ok, File} = emmap:open(Name, [write, shared]),
    ok = emmap:pwrite(File, 0, <<"written">>),
    {How, first, {error, eio}} = {How, first, Sync(File)},
    {How, second, {error, eio}} = {How, second, Sync(File)},
    %% Nobody is told otherwise by another call.
    {How, all, {error, eio}} = {How, all, emmap:sync(File)},
    {ok, <<"written">>} = emmap:pread(File, 0, 7),
    {ok, ?PAGE} = emmap:remap(File),
    {How, healed, ok} = {How, healed, Sync(File)},
    ok = emmap:close(File).

%% A file system whose device has no room behind it: the blocks of the file are promised, and then cannot be had.
a_device_that_fails_is_not_forgotten(Config) ->
    case {element(1, file:read_file_info("/dev/loop-control")), emmap_hostile:missing(["mkfs.ext4", "fallocate"])} of
        {ok, none} -> emmap_hostile:on(Config, tmpfs, fun failing_device/1);
        {error, _} -> {skip, "there are no loop devices here"};
        {_, Why} -> {skip, Why}
    end.

failing_device(Dir) ->
    [Image, Mount, Filler] = [filename:join(Dir, Name) || Name <- ["image", "mount", "filler"]],
    Name = filename:join(Mount, "file"),
    ok = file:make_dir(Mount),
    _ = run(["truncate -s 8M ", Image, " && mkfs.ext4 -q -O ^has_journal ", Image, " && mount -o loop ", Image, " ",
             Mount]),
    _ = run(["fallocate -l 1M ", Name, " && sync -f ", Mount]),
    {ok, File} = emmap:open(Name, [write, shared]),
    emmap_hostile:fill(Filler),
    Lost = binary:copy(<<"lost">>, ?PAGE),
    ok = emmap:pwrite(File, 0, Lost),
    {error, Reason} = emmap:sync(File),
    {Reason, true} = {Reason, lists:member(Reason, [eio, enospc])},
    %% By now the system says that all is well.
    ok = file:delete(Filler),
    {second, {error, Reason}} = {second, emmap:sync(File)},
    {third, {error, Reason}} = {third, emmap:datasync(File)},
    {range, {error, Reason}} = {range, emmap:sync(File, 0, 100)},
    {ok, 1048576} = emmap:remap(File),
    ok = emmap:pwrite(File, 0, Lost),
    {healed, ok} = {healed, emmap:sync(File)},
    ok = emmap:close(File),
    {ok, Again} = emmap:open(Name, [write, shared]),
    {again, ok} = {again, emmap:sync(Again)},
    ok = emmap:close(Again).
