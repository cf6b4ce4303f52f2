%% Copyright 2026 the emmap authors. Licensed under the Apache License, Version 2.0.

%% What others have written to the file stays as they wrote it: what is still going on in a handle that was closed, and
%% a handle that grows, change nothing of it.
-module(emmap_others_SUITE).

-export([suite/0, all/0, init_per_testcase/2, end_per_testcase/2]).
-compile([export_all, nowarn_export_all]).
-import(emmap_vm, [survives/1]).

-include_lib("common_test/include/ct.hrl").

-define(PAGE, 4096).

suite() -> [{timetrap, {minutes, 2}}].

all() ->
    [a_write_in_progress_at_close_changes_nothing_afterwards, resize_to_more_keeps_what_others_appended,
     doubling_keeps_what_others_appended, resize_to_more_keeps_the_growth_of_another_handle,
     writing_past_the_end_keeps_what_others_appended, allocating_keeps_what_others_appended].

init_per_testcase(Case, Config) -> emmap_vm:directory(Case, Config).

end_per_testcase(_, Config) -> emmap_vm:delete_directory(Config).

%%% After close

-define(LARGE, (256 bsl 20)).

a_write_in_progress_at_close_changes_nothing_afterwards(Config) ->
    Name = filename:join(?config(dir, Config), "file"),
    survives(
      fun() ->
              Bytes = binary:copy(<<"w">>, ?LARGE),
              [close_while_writing(Name, Bytes, [Lock | Copy], 10)
               || Lock <- [lock, nolock], Copy <- [[direct], []]]
      end).

%% Tries until the write was in progress when the handle was closed.
close_while_writing(_, _, Mode, 0) -> error({no_write_was_in_progress_at_close, Mode});
close_while_writing(Name, Bytes, Mode, Tries) ->
    _ = file:delete(Name),
    {ok, File} = emmap:open(Name, [create, write, shared, {size, ?LARGE} | Mode]),
    {ok, Raw} = file:open(Name, [raw, binary, read, write]),
    {Writer, Reference} = spawn_monitor(fun() -> exit({answer, emmap:pwrite(File, 0, Bytes)}) end),
    %% Not the first byte: what copies memory may write that last.
    emmap_vm:eventually(fun() -> file:pread(Raw, 1 bsl 20, 1) =:= {ok, <<"w">>} end),
    Before = file:pread(Raw, ?LARGE - 8, 8),
    ok = emmap:close(File),
    ok = file:pwrite(Raw, ?LARGE - 8, <<"stays so">>),
    Answer = receive {'DOWN', Reference, process, Writer, {answer, Given}} -> Given end,
    {ok, Found} = file:pread(Raw, ?LARGE - 8, 8),
    ok = file:close(Raw),
    case Before of
        {ok, <<0:64>>} -> {Mode, Answer, <<"stays so">>} = {Mode, Answer, Found};
        _ -> close_while_writing(Name, Bytes, Mode, Tries - 1)
    end.

%%% Growth

%% A handle of 100 bytes, and 900 that somebody has appended since.
with_appended(Config, Grow) ->
    Name = filename:join(?config(dir, Config), "file"),
    ok = file:write_file(Name, binary:copy(<<"a">>, 100)),
    {ok, File} = emmap:open(Name, [write, shared]),
    Appended = binary:copy(<<"b">>, 900),
    ok = file:write_file(Name, Appended, [append]),
    Grow(File),
    {ok, <<_:100/binary, Found:900/binary, _/binary>>} = file:read_file(Name),
    {Appended, Appended} = {Appended, Found},
    {ok, Size} = emmap:remap(File),
    Size = filelib:file_size(Name),
    ok = emmap:close(File).

resize_to_more_keeps_what_others_appended(Config) ->
    with_appended(Config, fun(File) ->
                                  {ok, Size} = emmap:resize(File, 200),
                                  true = Size >= 200,
                                  {ok, <<"aabb">>} = emmap:pread(File, 98, 4)
                          end).

doubling_keeps_what_others_appended(Config) ->
    with_appended(Config, fun(File) ->
                                  {ok, Size} = emmap:resize(File),
                                  true = Size >= 200
                          end).

%% One byte past the end of the handle, in the midst of the file.
writing_past_the_end_keeps_what_others_appended(Config) ->
    with_appended(Config, fun(File) -> ok = emmap:pwrite(File, 99, <<"ab">>) end).

allocating_keeps_what_others_appended(Config) ->
    with_appended(Config, fun(File) -> ok = emmap:allocate(File, 50, 100) end).

resize_to_more_keeps_the_growth_of_another_handle(Config) ->
    Name = filename:join(?config(dir, Config), "file"),
    ok = file:write_file(Name, binary:copy(<<"a">>, 100)),
    [{ok, One}, {ok, Other}] = [emmap:open(Name, [write, shared]) || _ <- [1, 2]],
    Bytes = binary:copy(<<"b">>, 10 * ?PAGE),
    ok = emmap:pwrite(Other, 100, Bytes),
    {ok, _} = emmap:resize(One, 200),
    {ok, Bytes} = emmap:pread(Other, 100, 10 * ?PAGE),
    {ok, <<_:100/binary, Bytes/binary>>} = file:read_file(Name),
    [ok = emmap:close(File) || File <- [One, Other]].
