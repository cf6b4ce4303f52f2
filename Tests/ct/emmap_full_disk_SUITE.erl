%% Copyright 2026 the emmap authors. Licensed under the Apache License, Version 2.0.

%% Disks that have no room left: an error for the bytes concerned, and everything works again once there is room.
-module(emmap_full_disk_SUITE).

-export([suite/0, all/0, init_per_suite/1, end_per_suite/1, init_per_testcase/2, end_per_testcase/2]).
-compile([export_all, nowarn_export_all]).
-import(emmap_vm, [eventually/1, is_zero/1, survives/2, content/1, modes/0, raised/1]).

-include_lib("common_test/include/ct.hrl").
-include_lib("kernel/include/file.hrl").

-define(PAGE, 4096).

suite() -> [{timetrap, {minutes, 4}}].

all() ->
    [writing_a_hole_on_a_full_disk_is_enospc, reading_a_hole_on_a_full_disk_ends_nothing,
     many_holes_on_a_full_disk_leave_the_rest_usable, growing_on_a_full_disk_is_enospc,
     a_write_that_fails_half_way_leaves_the_position_behind_what_landed,
     counters_on_a_full_disk_are_an_error, counters_in_a_hole_on_a_full_disk_raise_enospc,
     counters_that_find_no_room_leave_the_disk_as_it_was, counters_that_find_no_room_leave_ext4_as_it_was,
     counters_that_find_no_room_leave_an_empty_file_as_it_was].

init_per_suite(Config) ->
    case emmap_vm:may_mount(?config(priv_dir, Config)) of
        true -> Config;
        Why -> {skip, Why}
    end.

end_per_suite(_) -> ok.

init_per_testcase(Case, Config) -> emmap_vm:directory(Case, Config).

end_per_testcase(_, Config) -> emmap_vm:delete_directory(Config).

%%% Full disks

%% Sizes in kB.
on_full_disk(Config, Fun) -> [on_full_disk(Config, Size, Fun) || Size <- [64, 128, 256]].

on_full_disk(Config, Size, Fun) ->
    Dir = ?config(dir, Config),
    survives(fun() -> Fun(Dir) end, #{tmpfs => {Dir, integer_to_list(Size) ++ "k"}}).

%% Takes all space that is left; returns how to give it back. What is mapped of files that were closed and deleted goes
%% first: it would make room later.
fill(Dir) ->
    true = erlang:garbage_collect(),
    emmap_test:wait_until(fun() ->
                                  #{handles := Handles, regions := Regions} = emmap:stats(),
                                  Regions =:= Handles
                          end),
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
                   {ok, <<_:(2 * ?PAGE)/binary, "kept", _:32, 7:64/native, Rest/binary>>} = file:read_file(Name),
                   <<_:(8 * ?PAGE - 16)/binary, "found", _/binary>> = Rest,
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
                       {ok, Zeroes} -> true = is_zero(Zeroes);
                       {error, enospc} -> ok
                   end,
                   case emmap:read_line(File) of
                       {ok, Line} -> true = is_zero(Line);
                       {error, enospc} -> ok
                   end,
                   ok = emmap:close(File),
                   Free(),
                   ok = file:delete(Name)
               end || Mode <- modes()]
      end).

many_holes_on_a_full_disk_leave_the_rest_usable(Config) ->
    on_full_disk(
      Config, 128,
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

%% As of a raw file: whoever goes on writes neither over what is there, nor leaves a hole.
a_write_that_fails_half_way_leaves_the_position_behind_what_landed(Config) ->
    on_full_disk(
      Config,
      fun(Dir) ->
              [begin
                   Name = filename:join(Dir, "file"),
                   %% A handle that is not collected yet may keep the space of the file before.
                   eventually(fun() -> erlang:garbage_collect(), ok =:= file:write_file(Name, <<0:(Length * 8)>>) end),
                   {ok, File} = case Mode of
                                    raw -> file:open(Name, [raw, binary, read, write]);
                                    _ -> emmap:open(Name, [write, shared | Mode])
                                end,
                   {ok, 4} = file:position(File, 4),
                   Bytes = binary:copy(<<"x">>, 1 bsl 20),
                   {error, enospc} = file:write(File, Bytes),
                   {ok, Position} = file:position(File, cur),
                   {ok, <<0:32, Rest/binary>>} = file:read_file(Name),
                   Landed = length(lists:takewhile(fun(Byte) -> Byte =:= $x end, binary_to_list(Rest))),
                   {Mode, Length, Landed, Landed} = {Mode, Length, Landed, Position - 4},
                   ok = file:close(File),
                   ok = file:delete(Name)
               end || Mode <- [raw | modes()], Length <- [4, 100, 2 * ?PAGE]]
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

%% Somebody has made a hole where the space of the counters was.
counters_in_a_hole_on_a_full_disk_raise_enospc(Config) ->
    on_full_disk(
      Config, 128,
      fun(Dir) ->
              Name = filename:join(Dir, "counters"),
              Counters = emmap:open_counters(Name, 2000),
              0 = emmap:set_counter(Counters, 1, 7),
              ok = emmap:close_counters(Counters),
              Punch = ["fallocate --punch-hole --offset ", 2 * ?PAGE, " --length ", ?PAGE, " '", Name, "'"],
              "" = os:cmd(lists:concat(Punch)),
              Again = emmap:open_counters(Name, 2000),
              Free = fill(Dir),
              Index = (2 * ?PAGE + 800 - 16) div 8,
              [Change | Changes] = emmap_vm:counter_calls(Again, Index),
              enospc = raised(Change),
              [enospc = raised(Call) || Call <- Changes],
              7 = emmap:inc_counter(Again, 1),
              0 = emmap:inc_counter(Again, 1999),
              Free(),
              ok = emmap:close_counters(Again),
              Healed = emmap:open_counters(Name, 0),
              0 = emmap:inc_counter(Healed, Index),
              8 = emmap:read_counter(Healed, 1),
              ok = emmap:close_counters(Healed)
      end).

counters_that_find_no_room_leave_the_disk_as_it_was(Config) -> on_full_disk(Config, fun new_counters_without_room/1).

%% Some file systems keep what they could set aside of a space that is too large.
counters_that_find_no_room_leave_ext4_as_it_was(Config) -> on_ext4(Config, fun new_counters_without_room/1).

counters_that_find_no_room_leave_an_empty_file_as_it_was(Config) ->
    on_full_disk(Config, fun counters_without_room_in_empty_file/1),
    on_ext4(Config, fun counters_without_room_in_empty_file/1).

on_ext4(Config, Fun) ->
    Dir = ?config(dir, Config),
    Image = filename:join(?config(priv_dir, Config), "image"),
    Make = lists:concat(["truncate -s 2M '", Image, "' && mkfs.ext4 -q -O ^has_journal '", Image,
                         "' && unshare -m mount -o loop '", Image, "' '", Dir, "' && echo made"]),
    try string:trim(os:cmd(Make)) of
        "made" -> survives(fun() -> Fun(Dir) end, #{mount => {Dir, "-o loop '" ++ Image ++ "'"}});
        Why -> {skip, "no ext4 can be made and mounted here (mkfs.ext4, mount -o loop): " ++ Why}
    after
        file:delete(Image)
    end.

%% 8 MiB, where there is not a quarter of it.
-define(TOO_MANY, (1 bsl 20)).

new_counters_without_room(Dir) ->
    Name = filename:join(Dir, "counters"),
    %% What the directory itself takes for its first file stays taken.
    ok = file:write_file(filename:join(Dir, "other"), <<"x">>),
    Used = emmap_vm:used(Dir),
    {enospc, Name} = raised(fun() -> emmap:open_counters(Name, ?TOO_MANY) end),
    {error, enoent} = file:read_file_info(Name),
    {Used, Used} = {Used, emmap_vm:used(Dir)},
    fewer_fit(Name).

counters_without_room_in_empty_file(Dir) ->
    Name = filename:join(Dir, "counters"),
    ok = file:write_file(Name, <<>>),
    Used = emmap_vm:used(Dir),
    {enospc, Name} = raised(fun() -> emmap:open_counters(Name, ?TOO_MANY) end),
    {ok, #file_info{size = 0}} = file:read_file_info(Name),
    {Used, Used} = {Used, emmap_vm:used(Dir)},
    fewer_fit(Name).

fewer_fit(Name) ->
    Counters = emmap:open_counters(Name, 100),
    0 = emmap:inc_counter(Counters, 99),
    ok = emmap:close_counters(Counters).
