%% Copyright 2026 the emmap authors. Licensed under the Apache License, Version 2.0.

%% File systems that refuse writes, that lack a call, or that show another file behind the same name; and block devices.
%% Answers are the file system's, and what can be read goes on being read.
-module(emmap_hostile_disks_SUITE).

-export([suite/0, all/0, init_per_testcase/2, end_per_testcase/2]).
-compile([export_all, nowarn_export_all]).
-import(emmap_vm, [raised/1, survives/1]).
-import(emmap_hostile, [on/3, on/4, run/1]).

-include_lib("common_test/include/ct.hrl").

-define(PAGE, 4096).
-define(MIB, (1 bsl 20)).

suite() -> [{timetrap, {minutes, 2}}].

all() ->
    [writing_an_immutable_file_is_eperm, writing_a_file_system_that_went_read_only_is_erofs,
     a_file_system_that_went_read_only_says_so_at_sync, overwriting_on_a_full_btrfs_is_enospc,
     overwriting_a_shared_block_on_a_full_xfs_is_enospc,
     remap_follows_a_copy_up, allocate_grows_without_fallocate, files_are_made_without_fallocate,
     a_device_is_as_long_as_it_is, one_fault_of_a_device_leaves_the_rest].

init_per_testcase(Case, Config) -> emmap_hostile:directory(Case, Config).

%% Mounts end with their VMs; devices are given back here, also when a case has failed.
end_per_testcase(_, Config) ->
    _ = [os:cmd("losetup --detach " ++ Device) || Device <- loop_devices(?config(dir, Config))],
    emmap_hostile:delete_directory(Config).

loop_devices(Dir) ->
    [Device || Line <- string:lexemes(os:cmd("losetup --list --noheadings --output NAME,BACK-FILE 2>&1"), "\n"),
               string:find(Line, Dir ++ "/") =/= nomatch, Device <- [hd(string:lexemes(Line, " "))]].

%%% Writes that are refused

a(Count) -> binary:copy(<<"a">>, Count).

%% The first page is on disk and clean, the second is written to: that is refused, for one of these reasons, and the
%% bytes of the file are still there to be read, with `faulted' or without.
refused(File, At, Reasons) ->
    Size = maps:get(size, emmap:info(File)),
    {ok, Before} = emmap:pread(File, At, 100),
    Copy = binary:copy(Before),
    [begin
         {How, {error, Reason}} = {How, Write()},
         {How, Reason, true} = {How, Reason, lists:member(Reason, Reasons)},
         {How, {ok, Copy}} = {How, emmap:pread(File, At, 100)},
         {How, {ok, <<"aaaa">>}} = {How, emmap:pread(File, 0, 4)},
         {How, {ok, Size}} = {How, emmap:remap(File)},
         {How, {ok, Copy}} = {How, emmap:pread(File, At, 100)}
     end || {How, Write} <- [{pwrite, fun() -> emmap:pwrite(File, At + 8, <<"lost">>) end},
                             {pwrite_much, fun() -> emmap:pwrite(File, At, a(?PAGE)) end},
                             {patomic, fun() ->
                                               case raised(fun() -> emmap:patomic(File, At + 16, add, 1) end) of
                                                   {returned, Old} -> {returned, Old};
                                                   Why -> {error, Why}
                                               end
                                       end}]].

writing_an_immutable_file_is_eperm(Config) ->
    case emmap_hostile:missing(["chattr"]) of
        none -> on(Config, ext4, fun immutable/1);
        Why -> {skip, Why}
    end.

immutable(Dir) ->
    Name = filename:join(Dir, "file"),
    [begin
         ok = file:write_file(Name, a(4 * ?PAGE)),
         {ok, File} = emmap:open(Name, [write, shared | Options]),
         ok = emmap:sync(File),
         _ = run(["chattr +i '", Name, "'"]),
         refused(File, 2 * ?PAGE, [eperm, eacces, eio]),
         _ = run(["chattr -i '", Name, "'"]),
         {ok, _} = emmap:remap(File),
         ok = emmap:pwrite(File, 2 * ?PAGE, <<"found">>),
         {ok, <<"found">>} = emmap:pread(File, 2 * ?PAGE, 5),
         ok = emmap:close(File)
     end || Options <- [[], [nolock]]].

%% A hole needs a block of its own, which is asked for at the first store. Such a file system maps nothing afresh, so the
%% page that was refused cannot be read any more either; all others can.
writing_a_file_system_that_went_read_only_is_erofs(Config) ->
    on(Config, ext4,
       fun(Dir) ->
               Name = filename:join(Dir, "file"),
               ok = file:write_file(Name, a(?PAGE)),
               emmap_vm:cut(Name, 4 * ?PAGE),
               {ok, File} = emmap:open(Name, [write, shared]),
               ok = emmap:sync(File),
               _ = run(["mount -o remount,abort '", Dir, "'"]),
               {error, Reason} = emmap:pwrite(File, 2 * ?PAGE, <<"lost">>),
               {Reason, true} = {Reason, lists:member(Reason, [erofs, eio])},
               {error, Reason} = emmap:pread(File, 2 * ?PAGE, 4),
               {error, Reason} = emmap:remap(File),
               {ok, <<"aaaa">>} = emmap:pread(File, 0, 4),
               {ok, <<0:32>>} = emmap:pread(File, 3 * ?PAGE, 4),
               ok = emmap:close(File)
       end, #{flags => ",nodelalloc"}).

%% What is written to blocks that are there is taken, and never gets to the disk: only a sync tells.
a_file_system_that_went_read_only_says_so_at_sync(Config) ->
    on(Config, ext4,
       fun(Dir) ->
               Name = filename:join(Dir, "file"),
               ok = file:write_file(Name, a(4 * ?PAGE)),
               {ok, File} = emmap:open(Name, [write, shared]),
               ok = emmap:pwrite(File, 0, <<"before">>),
               ok = emmap:sync(File),
               _ = run(["mount -o remount,abort '", Dir, "'"]),
               ok = emmap:pwrite(File, 0, <<"behind">>),
               [begin
                    {error, Reason} = Sync(File),
                    {Reason, true} = {Reason, lists:member(Reason, [erofs, eio])}
                end || Sync <- [fun emmap:sync/1, fun emmap:datasync/1]],
               ok = emmap:close(File)
       end).

overwriting_on_a_full_btrfs_is_enospc(Config) ->
    on(Config, btrfs,
       fun(Dir) ->
               Name = filename:join(Dir, "file"),
               ok = file:write_file(Name, a(16 * ?PAGE)),
               {ok, File} = emmap:open(Name, [write, shared]),
               ok = emmap:sync(File),
               Filler = filename:join(Dir, "filler"),
               emmap_hostile:fill(Filler),
               _ = run(["sync -f '", Dir, "'"]),
               emmap_hostile:fill(Filler ++ "2"),
               refused(File, 8 * ?PAGE, [enospc, eio]),
               ok = emmap:close(File)
       end).

overwriting_a_shared_block_on_a_full_xfs_is_enospc(Config) ->
    on(Config, xfs,
       fun(Dir) ->
               Name = filename:join(Dir, "file"),
               Twin = filename:join(Dir, "twin"),
               ok = file:write_file(Name, a(16 * ?PAGE)),
               _ = run(["cp --reflink=always '", Name, "' '", Twin, "' && sync -f '", Dir, "'"]),
               {ok, File} = emmap:open(Twin, [write, shared]),
               _ = run(["fallocate -l $((($(stat -f -c %a '", Dir, "') - 5) * 4096)) '", Dir, "/filler' && sync -f '",
                        Dir, "'"]),
               refused(File, 8 * ?PAGE, [enospc, eio]),
               {ok, Bytes} = file:read_file(Name),
               true = Bytes =:= a(16 * ?PAGE),
               ok = emmap:close(File)
       end).

%%% Overlays

remap_follows_a_copy_up(Config) ->
    {ok, FileSystems} = file:read_file("/proc/filesystems"),
    case binary:match(FileSystems, <<"\toverlay\n">>) of
        nomatch -> {skip, "this kernel has no overlays"};
        _ -> on(Config, tmpfs, fun copied_up/1)
    end.

copied_up(Dir) ->
    [Lower, Upper, Work, Merged] = Dirs = [filename:join(Dir, Name) || Name <- ["lower", "upper", "work", "merged"]],
    [ok = file:make_dir(Each) || Each <- Dirs],
    [ok = file:write_file(filename:join(Lower, Name), a(5000)) || Name <- ["appended", "rewritten", "private"]],
    _ = run(["mount -t overlay -o lowerdir=", Lower, ",upperdir=", Upper, ",workdir=", Work, " overlay ", Merged]),
    [begin
         Path = filename:join(Merged, Name),
         {ok, File} = emmap:open(Path, Options),
         {ok, <<"aaaa">>} = emmap:pread(File, 0, 4),
         {ok, Raw} = file:open(Path, [raw, read, write, binary]),
         ok = Change(Raw),
         ok = file:close(Raw),
         {ok, Now} = file:read_file(Path),
         Size = byte_size(Now),
         {Name, {ok, Size}} = {Name, emmap:remap(File)},
         {ok, Found} = emmap:pread(File, 0, Size + 1),
         {Name, true} = {Name, Found =:= Now},
         #{faulted := false} = emmap:info(File),
         {ok, Size} = emmap:position(File, eof),
         ok = emmap:close(File)
     end || {Name, Options, Change} <-
                [{"appended", [shared], fun(Raw) -> file:pwrite(Raw, 5000, binary:copy(<<"b">>, 20000)) end},
                 {"rewritten", [shared], fun(Raw) -> file:pwrite(Raw, 0, binary:copy(<<"b">>, 5000)) end},
                 {"private", [private], fun(Raw) -> file:pwrite(Raw, 0, binary:copy(<<"b">>, 9000)) end}]].

%%% Without fallocate(2)

allocate_grows_without_fallocate(Config) ->
    on(Config, ext2,
       fun(Dir) ->
               [Name, RawName] = [filename:join(Dir, Each) || Each <- ["file", "raw"]],
               [ok = file:write_file(Each, a(5000)) || Each <- [Name, RawName]],
               {ok, File} = emmap:open(Name, [write, shared]),
               {ok, Raw} = file:open(RawName, [raw, read, write]),
               [begin
                    Expected = file:allocate(Raw, Offset, Count),
                    {{Offset, Count}, Expected} = {{Offset, Count}, emmap:allocate(File, Offset, Count)},
                    {{Offset, Count}, Same} = {{Offset, Count}, file:read_file(RawName)},
                    Same = file:read_file(Name)
                end || {Offset, Count} <- [{0, 100}, {4000, 1000}, {0, 20000}, {30000, 1}, {100000, 5000}]],
               {ok, 105000} = emmap:position(File, eof),
               ok = emmap:close(File)
       end).

files_are_made_without_fallocate(Config) ->
    on(Config, ext2,
       fun(Dir) ->
               Name = filename:join(Dir, "file"),
               {ok, File} = emmap:open(Name, [create, write, shared, {size, 10000}]),
               ok = emmap:pwrite(File, 9999, <<"grown">>),
               {ok, 20008} = emmap:resize(File),
               ok = emmap:close(File),
               {ok, Fit} = emmap:open(Name, 0, 30000, [write, shared, fit]),
               ok = emmap:close(Fit),
               30000 = filelib:file_size(Name),
               Counters = emmap:open_counters(filename:join(Dir, "counters"), 2000),
               0 = emmap:inc_counter(Counters, 1999),
               ok = emmap:close_counters(Counters),
               {ok, Words} = emmap_atomics:open(filename:join(Dir, "words"), 2000, []),
               ok = emmap_atomics:add(Words, 2000, 1),
               ok = emmap_atomics:close(Words)
       end).

%%% Block devices

%% Runs a function of a device of 4 MiB, and of the file behind it.
with_device(Config, Fun) ->
    Image = filename:join(?config(dir, Config), "image"),
    ok = file:write_file(Image, a(4 * ?MIB)),
    case string:trim(os:cmd("losetup --find --show '" ++ Image ++ "' 2>&1")) of
        "/dev/loop" ++ _ = Device -> survives(fun() -> Fun(Device, Image) end);
        Why -> {skip, "there are no loop devices here: " ++ Why}
    end.

a_device_is_as_long_as_it_is(Config) ->
    Size = 4 * ?MIB,
    with_device(
      Config,
      fun(Device, Image) ->
              [begin
                   {Options, {ok, File}} = {Options, emmap:open(Device, Options)},
                   #{size := Size} = emmap:info(File),
                   {ok, Size} = emmap:position(File, eof),
                   {ok, <<"aa">>} = emmap:pread(File, Size - 2, 10),
                   eof = emmap:pread(File, Size, 1),
                   {ok, Size} = emmap:remap(File),
                   {ok, <<"aa">>} = emmap:pread(File, Size - 2, 10),
                   ok = emmap:close(File)
               end || Options <- [[read], [shared], [write, shared], [write, private]]],
              {ok, Window} = emmap:open(Device, ?MIB, 2 * ?MIB, [write, shared]),
              TwoMiB = 2 * ?MIB,
              #{size := TwoMiB} = emmap:info(Window),
              ok = emmap:pwrite(Window, 10, <<"on the device">>),
              ok = emmap:sync(Window),
              {ok, TwoMiB} = emmap:remap(Window),
              {ok, <<"on the device">>} = emmap:pread(Window, 10, 13),
              {error, _} = emmap:pwrite(Window, TwoMiB, <<"past it">>),
              ok = emmap:close(Window),
              {ok, Raw} = file:open(Image, [raw, read, binary]),
              {ok, <<"on the device">>} = file:pread(Raw, ?MIB + 10, 13),
              {error, too_short} = emmap:open(Device, 5 * ?MIB, 0, [read])
      end).

%% A device whose second half cannot be read: the file behind it was cut.
one_fault_of_a_device_leaves_the_rest(Config) ->
    with_device(
      Config,
      fun(Device, Image) ->
              {ok, File} = emmap:open(Device, 0, 4 * ?MIB, [read, shared]),
              emmap_vm:cut(Image, 2 * ?MIB),
              %% All that the device has read is forgotten.
              _ = run(["blockdev --flushbufs ", Device]),
              [begin
                   {error, eio} = emmap:pread(File, Bad, 4),
                   {ok, <<"aaaa">>} = emmap:pread(File, 0, 4),
                   {ok, <<"aaaa">>} = emmap:pread(File, ?MIB, 4),
                   #{faulted := {From, To}} = emmap:info(File),
                   {Bad, {From, To}, true} = {Bad, {From, To}, From >= 2 * ?MIB andalso To =< Bad + ?PAGE}
               end || Bad <- [3 * ?MIB, 3 * ?MIB + 10 * ?PAGE]],
              Whole = 4 * ?MIB,
              {ok, Whole} = emmap:remap(File),
              {ok, <<"aaaa">>} = emmap:pread(File, ?MIB + ?PAGE, 4),
              {error, eio} = emmap:pread(File, 3 * ?MIB, 4),
              ok = emmap:close(File)
      end).
