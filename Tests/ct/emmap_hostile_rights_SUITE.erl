%% Copyright 2026 the emmap authors. Licensed under the Apache License, Version 2.0.

%% Files of others: where permissions cannot be set, where the system tells a user less, and where others wait for a
%% file or have a lease on it.
-module(emmap_hostile_rights_SUITE).

-export([suite/0, all/0, init_per_testcase/2, end_per_testcase/2]).
-compile([export_all, nowarn_export_all]).
-import(emmap_vm, [survives/2]).
-import(emmap_hostile, [run/1, program/2, output/1, missing/1]).

-include_lib("common_test/include/ct.hrl").
-include_lib("kernel/include/file.hrl").

-define(MIB, (1 bsl 20)).
-define(READ_LEASE, 0).
-define(WRITE_LEASE, 1).

suite() -> [{timetrap, {minutes, 2}}].

all() ->
    [files_are_made_where_permissions_are_refused, permissions_asked_for_that_are_refused_are_an_error,
     files_are_made_on_vfat_of_another_owner, cold_files_of_others_are_read_on_dirty_schedulers,
     a_writer_that_waits_at_a_fifo_is_left_in_peace, a_lease_is_waited_for].

init_per_testcase(Case, Config) -> emmap_hostile:directory(Case, Config).

end_per_testcase(_, Config) -> emmap_hostile:delete_directory(Config).

%%% Permissions

%% Runs a function in a VM whose system refuses fchmod(2), for each reason that there is.
without_fchmod(Config, Fun) ->
    Dir = ?config(dir, Config),
    case emmap_vm:may_trace() of
        true ->
            [begin
                 Own = filename:join(Dir, Error),
                 ok = file:make_dir(Own),
                 survives(fun() -> Fun(Own, list_to_atom(string:lowercase(Error))) end,
                          #{strace => ["-o", "/dev/null", "-e", "trace=fchmod",
                                       "-e", "inject=fchmod:error=" ++ Error, "-e", "signal=none"]})
             end || Error <- ["EPERM", "EOPNOTSUPP"]];
        Why -> {skip, Why}
    end.

files_are_made_where_permissions_are_refused(Config) ->
    without_fchmod(Config, fun(Dir, _) -> files_are_made(Dir) end).

files_are_made(Dir) ->
    Name = filename:join(Dir, "file"),
    {ok, File} = emmap:open(Name, [create, write, shared, {size, 100}]),
    ok = emmap:pwrite(File, 0, <<"made">>),
    ok = emmap:close(File),
    {ok, <<"made", 0:(96 * 8)>>} = file:read_file(Name),
    Counted = filename:join(Dir, "counters"),
    Counters = emmap:open_counters(Counted, 10),
    0 = emmap:inc_counter(Counters, 9),
    ok = emmap:close_counters(Counters),
    96 = filelib:file_size(Counted),
    Words = filename:join(Dir, "words"),
    {ok, Ref} = emmap_atomics:open(Words, 10, []),
    ok = emmap_atomics:put(Ref, 10, 7),
    ok = emmap_atomics:close(Ref),
    {ok, Again} = emmap_atomics:open(Words, 10, []),
    7 = emmap_atomics:get(Again, 10),
    ok = emmap_atomics:close(Again).

permissions_asked_for_that_are_refused_are_an_error(Config) ->
    without_fchmod(
      Config,
      fun(Dir, Reason) ->
              Name = filename:join(Dir, "file"),
              {error, Reason} = emmap:open(Name, [create, write, shared, {size, 100}, {chmod, 8#640}]),
              %% And leaves nothing behind.
              {error, enoent} = file:read_file_info(Name),
              %% Of a file that is there nothing is set.
              ok = file:write_file(Name, <<"here">>),
              {ok, File} = emmap:open(Name, [create, write, shared, {chmod, 8#640}]),
              ok = emmap:close(File)
      end).

%% All may write there, and nobody but its owner may set permissions.
files_are_made_on_vfat_of_another_owner(Config) ->
    emmap_hostile:on(Config, vfat, fun files_are_made/1,
                     #{flags => ",uid=0,gid=0,umask=0", user => "nobody"}).

%%% What is in memory

%% mincore(2) tells those who neither own a file nor may write it that all of it is.
cold_files_of_others_are_read_on_dirty_schedulers(Config) ->
    Dir = ?config(dir, Config),
    Name = filename:join(Dir, "cold"),
    case {emmap_vm:may_be("nobody"), missing(["fincore"])} of
        {true, none} ->
            ok = file:write_file(Name, binary:copy(<<"x">>, 32 * ?MIB)),
            ok = file:change_mode(Name, 8#644),
            case emmap_hostile:make_cold(Name) of
                true -> survives(fun() -> read_cold(Name) end, #{user => "nobody", args => ["+S", "2:2"]});
                Why -> {skip, Why}
            end;
        {true, Why} -> {skip, Why};
        {Why, _} -> {skip, Why}
    end.

read_cold(Name) ->
    {error, eacces} = file:open(Name, [raw, read, write]),
    {ok, File} = emmap:open(Name, [read]),
    ok = emmap:advise(File, 0, 0, random),
    %% From the end to the start: nobody reads ahead.
    Moved = [Offset || Offset <- lists:seq(31 * ?MIB, 0, -?MIB),
                       emmap_test:moves(fun() -> {ok, _} = emmap:pread(File, Offset, ?MIB) end)],
    {moved, 32} = {moved, length(Moved)},
    ok = emmap:close(File).

%%% Others who wait

%% Opening a FIFO for reading, if only for a moment, is what its writer waits for.
a_writer_that_waits_at_a_fifo_is_left_in_peace(Config) ->
    Fifo = filename:join(?config(dir, Config), "fifo"),
    _ = run(["mkfifo '", Fifo, "'"]),
    [begin
         Writer = program(["sh", "-c", "echo precious > \"$1\"", "sh", Fifo], []),
         emmap_vm:eventually(fun() -> emmap_hostile:is_opening(Writer) end),
         {error, _} = emmap:open(Fifo, Options),
         Reader = program(["timeout", "5", "cat", Fifo], []),
         {Options, {0, <<"precious\n">>}} = {Options, output(Reader)},
         {Options, {0, <<>>}} = {Options, output(Writer)}
     end || Options <- [[read], [shared], [write, shared], [create, write, shared, {size, 4096}],
                        [truncate, write, shared]]].

%% Its holder is told, and gives it up; who opens the file waits for that, as with open(2).
a_lease_is_waited_for(Config) ->
    Dir = ?config(dir, Config),
    Name = filename:join(Dir, "leased"),
    ok = file:write_file(Name, <<"leased">>),
    case missing(["perl"]) of
        none ->
            Opened = [{Kind, Options, leased(Name, Kind, Options)}
                      || {Kind, Options} <- [{?WRITE_LEASE, [read]}, {?WRITE_LEASE, [write, shared]},
                                             {?READ_LEASE, [write, shared]}]],
            case [Why || {_, _, {none, Why}} <- Opened] of
                [] -> [] = [Each || {_, _, Answer} = Each <- Opened, Answer =/= <<"leased">>];
                [Why | _] -> {skip, "no lease is to be had here: " ++ Why}
            end;
        Why -> {skip, Why}
    end.

leased(Name, Kind, Options) ->
    %% F_SETLEASE, and F_RDLCK, F_WRLCK, F_UNLCK, as Linux numbers them everywhere.
    Script = "my ($set, $kind, $name) = (1024, @ARGV); $| = 1; open(F, $kind ? '+<' : '<', $name) or die $!;"
        "$SIG{IO} = sub { select(undef, undef, undef, 0.2); fcntl(F, $set, 2); print 'given up'; exit 0 };"
        "fcntl(F, $set, $kind + 0) or die $!; print 'leased'; sleep 20;",
    Holder = program(["perl", "-e", Script, integer_to_list(Kind), Name], []),
    receive
        {Holder, {data, <<"leased">>}} ->
            Answer = emmap:open(Name, Options),
            %% Whatever that was, it has been told.
            {0, <<"given up">>} = output(Holder),
            case Answer of
                {ok, File} ->
                    {ok, Bytes} = emmap:pread(File, 0, 10),
                    ok = emmap:close(File),
                    Bytes;
                Error -> Error
            end;
        {Holder, {data, Why}} -> {none, binary_to_list(Why)}
    end.
