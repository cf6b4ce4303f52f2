%% Copyright 2026 the emmap authors. Licensed under the Apache License, Version 2.0.

%% Files that are empty, that are deleted by their handle, that must not be there, or that have odd times.
-module(emmap_hostile_open_SUITE).

-export([suite/0, all/0, init_per_testcase/2, end_per_testcase/2]).
-compile([export_all, nowarn_export_all]).
-import(emmap_vm, [raised/1, survives/1]).

-include_lib("common_test/include/ct.hrl").
-include_lib("kernel/include/file.hrl").

-define(PAGE, 4096).
-define(MIB, (1 bsl 20)).

suite() -> [{timetrap, {minutes, 2}}].

all() ->
    [auto_unlink_by_a_link_deletes_the_file, auto_unlink_holds_when_the_vm_halts,
     an_empty_file_opens_as_an_empty_handle, a_window_at_the_end_opens_as_an_empty_handle,
     exclusive_refuses_a_file_that_is_there, exclusive_lets_one_of_many_make_the_file,
     dont_need_gives_back_the_page_cache, dont_need_keeps_what_was_written,
     times_before_1902_are_those_of_a_raw_file].

init_per_testcase(Case, Config) -> emmap_hostile:directory(Case, Config).

end_per_testcase(_, Config) -> emmap_hostile:delete_directory(Config).

path(Config, Name) -> filename:join(?config(dir, Config), Name).

%%% Deletion

%% TO BE DECIDED, as it stands here: the file itself goes, which the link led to when it was opened; the link stays.
auto_unlink_by_a_link_deletes_the_file(Config) ->
    File = path(Config, "file"),
    ok = file:make_symlink("file", path(Config, "link")),
    ok = file:make_symlink("link", path(Config, "link_to_link")),
    [begin
         ok = file:write_file(File, <<"bytes">>),
         {ok, Handle} = emmap:open(path(Config, Name), [auto_unlink | Options]),
         ok = emmap:close(Handle),
         {Name, {error, enoent}} = {Name, file:read_file_info(File)},
         {ok, "file"} = file:read_link(path(Config, "link")),
         {ok, "link"} = file:read_link(path(Config, "link_to_link"))
     end || Name <- ["link", "link_to_link"], Options <- [[], [write, shared], [create, write, shared]]],
    %% Through a link to nothing.
    {ok, Made} = emmap:open(path(Config, "link"), [auto_unlink, create, write, shared, {size, 10}]),
    {ok, _} = file:read_file_info(File),
    ok = emmap:close(Made),
    {error, enoent} = file:read_file_info(File).

%% TO BE DECIDED, as it stands here: it holds.
auto_unlink_holds_when_the_vm_halts(Config) ->
    [begin
         Name = path(Config, How),
         ok = file:write_file(Name, <<"bytes">>),
         _ = survives(fun() ->
                              {ok, File} = emmap:open(Name, [auto_unlink]),
                              {ok, <<"bytes">>} = emmap:pread(File, 0, 10),
                              _ = persistent_term:put(kept, File),
                              End()
                      end),
         {How, {error, enoent}} = {How, file:read_file_info(Name)}
     end || {How, End} <- [{"halt", fun() -> halt(0) end}, {"no_flush", fun() -> halt(0, [{flush, false}]) end},
                           {"stop", fun() -> init:stop(), receive after infinity -> ok end end}]].

%%% Nothing to map

an_empty_file_opens_as_an_empty_handle(Config) ->
    Name = path(Config, "empty"),
    [begin
         ok = file:write_file(Name, <<>>),
         {Options, {ok, File}} = {Options, emmap:open(Name, Options)},
         is_empty(File),
         ok = file:write_file(Name, <<"0123456789">>),
         {ok, 10} = emmap:remap(File),
         {ok, <<"0123456789">>} = emmap:pread(File, 0, 100),
         {ok, <<"0123">>} = emmap:read(File, 4),
         ok = emmap:close(File)
     end || Options <- modes()].

%% A read-only one, private ones, and copies or not.
modes() ->
    [Sharing ++ Copy || Sharing <- [[], [read], [shared], [private], [private, write]], Copy <- [[], [direct]]].

is_empty(File) ->
    #{size := 0, position := 0, faulted := false} = emmap:info(File),
    eof = emmap:read(File, 10),
    eof = emmap:pread(File, 0, 10),
    eof = emmap:pread(File, 5, 10),
    {ok, [eof]} = emmap:pread(File, [{0, 1}]),
    eof = emmap:read_line(File),
    {ok, 0} = emmap:position(File, eof),
    badarg = raised(fun() -> emmap:patomic_read(File, 0) end),
    ok = emmap:sync(File),
    {ok, 0} = emmap:remap(File).

a_window_at_the_end_opens_as_an_empty_handle(Config) ->
    [begin
         Name = path(Config, "file"),
         ok = file:write_file(Name, binary:copy(<<"x">>, Size)),
         {{Size, Options}, {ok, File}} = {{Size, Options}, emmap:open(Name, Size, 0, Options)},
         is_empty(File),
         ok = file:write_file(Name, <<"0123456789">>, [append]),
         {ok, 10} = emmap:remap(File),
         {ok, <<"0123456789">>} = emmap:pread(File, 0, 100),
         ok = emmap:close(File),
         {error, too_short} = emmap:open(Name, Size + 11, 0, Options),
         {error, too_short} = emmap:open(Name, Size + 10, 1, Options)
     end || Size <- [1, 100, ?PAGE, ?PAGE + 1], Options <- modes()].

%%% `exclusive'

exclusive_refuses_a_file_that_is_there(Config) ->
    Name = path(Config, "file"),
    Options = [create, exclusive, write, shared, {size, 10}],
    {ok, File} = emmap:open(Name, Options),
    ok = emmap:pwrite(File, 0, <<"mine">>),
    {error, eexist} = emmap:open(Name, Options),
    {error, eexist} = emmap:open(Name, [truncate | Options]),
    ok = emmap:close(File),
    {ok, <<"mine", 0:48>>} = file:read_file(Name),
    ok = file:make_symlink("nothing", path(Config, "dangling")),
    {error, eexist} = emmap:open(path(Config, "dangling"), Options),
    {error, enoent} = file:read_file_info(path(Config, "nothing")),
    {error, eexist} = emmap:open(?config(dir, Config), Options).

exclusive_lets_one_of_many_make_the_file(Config) ->
    [begin
         Name = path(Config, integer_to_list(Round)),
         Open = fun() ->
                        case emmap:open(Name, [create, exclusive, write, shared, {size, 10}]) of
                            {ok, _} -> made;
                            {error, Reason} -> Reason
                        end
                end,
         [made | Others] = lists:reverse(lists:sort(emmap_test:together(lists:duplicate(8, Open)))),
         [eexist] = lists:usort(Others)
     end || Round <- lists:seq(1, 20)].

%%% Advice

dont_need_gives_back_the_page_cache(Config) ->
    Name = path(Config, "file"),
    case emmap_hostile:missing(["fincore"]) of
        none ->
            ok = file:write_file(Name, binary:copy(<<"x">>, 4 * ?MIB)),
            case emmap_hostile:make_cold(Name) of
                true -> [given_back(Name, Options) || Options <- [[read], [shared], [write, shared], [direct]]];
                Why -> {skip, Why}
            end;
        Why -> {skip, Why}
    end.

given_back(Name, Options) ->
    {ok, File} = emmap:open(Name, Options),
    Whole = binary:copy(<<"x">>, 4 * ?MIB),
    {ok, Bytes} = emmap:pread(File, 0, 4 * ?MIB),
    true = Bytes =:= Whole,
    Pages = 4 * ?MIB div ?PAGE,
    {Options, Pages} = {Options, emmap_hostile:pages_in_memory(Name)},
    given_back(File, 2 * ?MIB, Options, Name, Pages div 2),
    given_back(File, 0, Options, Name, 0),
    {ok, Again} = emmap:pread(File, 0, 4 * ?MIB),
    true = Again =:= Whole,
    ok = emmap:close(File).

%% A page that the system was about to use may take a second try.
given_back(File, Count, Options, Name, Pages) -> given_back(File, Count, Options, Name, Pages, 20).

given_back(File, Count, Options, Name, Pages, Tries) ->
    ok = emmap:advise(File, 0, Count, dont_need),
    case emmap_hostile:pages_in_memory(Name) of
        Pages -> ok;
        Left when Left > Pages, Tries > 1 -> given_back(File, Count, Options, Name, Pages, Tries - 1);
        Left -> error({Options, Count, {left, Left, instead_of, Pages}})
    end.

dont_need_keeps_what_was_written(Config) ->
    Name = path(Config, "file"),
    [begin
         ok = file:write_file(Name, binary:copy(<<"x">>, 4 * ?PAGE)),
         {ok, File} = emmap:open(Name, Options),
         ok = emmap:pwrite(File, ?PAGE, <<"mine">>),
         ok = emmap:advise(File, 0, 0, dont_need),
         {Options, {ok, <<"mine">>}} = {Options, emmap:pread(File, ?PAGE, 4)},
         ok = emmap:close(File)
     end || Options <- [[write, shared], [write, private], [write, anon, {size, 4 * ?PAGE}]]].

%%% Times

times_before_1902_are_those_of_a_raw_file(Config) ->
    Name = path(Config, "old"),
    ok = file:write_file(Name, <<"x">>),
    {ok, File} = emmap:open(Name, [read]),
    {ok, Raw} = file:open(Name, [raw, read]),
    [begin
         _ = emmap_hostile:run(["touch -d @", integer_to_list(Seconds), " '", Name, "'"]),
         Expected = file:read_file_info(Raw, Options),
         {Seconds, Options, Expected} = {Seconds, Options, file:read_file_info(File, Options)}
     end || Seconds <- [-2147483648, -2147483647, -2145916800, -1, 0, 1, 4294967296],
            Options <- [[], [{time, local}], [{time, universal}], [{time, posix}]]],
    ok = emmap:close(File).
