%% Copyright 2026 the emmap authors. Licensed under the Apache License, Version 2.0.

%% Huge pages: mapped, replaced and given back whole. Where the machine has none it is asked for some, and has back what
%% it was set to afterwards.
-module(emmap_huge_pages_SUITE).

-export([suite/0, all/0, init_per_testcase/2, end_per_testcase/2]).
-compile([export_all, nowarn_export_all]).
-import(emmap_vm, [survives/1, survives/2, cut/2, raised/1, eventually/1]).

-include_lib("common_test/include/ct.hrl").

-define(HUGE, (2 bsl 20)).

suite() -> [{timetrap, {minutes, 2}}].

all() ->
    [a_file_of_huge_pages_that_was_cut_is_an_error, more_huge_pages_than_there_are_is_an_error,
     closing_a_file_of_huge_pages_gives_them_back, closing_anonymous_huge_pages_gives_them_back,
     collecting_anonymous_huge_pages_gives_them_back, closing_a_page_of_1_gb_gives_it_back,
     without_huge_pages_is_enomem].

init_per_testcase(Case, Config) -> emmap_vm:directory(Case, Config).

end_per_testcase(_, Config) -> emmap_vm:delete_directory(Config).

%%% What the machine has

setting(Kind, Name) -> filename:join(["/sys/kernel/mm/hugepages/hugepages-" ++ Kind, Name]).

number(Kind, Name) ->
    case file:read_file(setting(Kind, Name)) of
        {ok, Text} -> binary_to_integer(string:trim(Text));
        {error, _} -> 0
    end.

set(Kind, Name, Number) -> file:write_file(setting(Kind, Name), integer_to_list(Number)).

%% Pages that somebody has, or has been promised.
used(Kind) -> number(Kind, "nr_hugepages") - number(Kind, "free_hugepages") + number(Kind, "resv_hugepages").

%% Runs the function with so many pages to be had.
with_pages(Kind, Count, Fun) ->
    %% Pages of 1 GB are not made when they are wanted.
    Name = case Kind of
               "1048576kB" -> "nr_hugepages";
               _ -> "nr_overcommit_hugepages"
           end,
    Before = number(Kind, Name),
    Free = number(Kind, "free_hugepages") - number(Kind, "resv_hugepages"),
    _ = Free >= Count orelse set(Kind, Name, Before + Count),
    try
        case number(Kind, "free_hugepages") - number(Kind, "resv_hugepages") >= Count
            orelse Name =:= "nr_overcommit_hugepages" andalso number(Kind, Name) >= Before + Count of
            true -> Fun();
            false -> {skip, "there are no huge pages of " ++ Kind ++ " to be had (" ++ setting(Kind, Name) ++ ")"}
        end
    after
        _ = Free >= Count orelse set(Kind, Name, Before)
    end.

%% Runs the function in a VM that sees a file system of huge pages in the directory.
on_huge_pages(Config, Count, Fun) ->
    Dir = ?config(dir, Config),
    Try = "unshare -m mount -t hugetlbfs none '" ++ Dir ++ "' 2>&1 && echo mounted",
    case string:trim(os:cmd(Try)) of
        "mounted" ->
            with_pages("2048kB", Count,
                       fun() ->
                               survives(fun() -> Fun(Dir) end, #{mount => {Dir, "-t hugetlbfs -o pagesize=2M none"}})
                       end);
        Why -> {skip, "hugetlbfs may not be mounted here: " ++ Why}
    end.

%%% Files

a_file_of_huge_pages_that_was_cut_is_an_error(Config) ->
    on_huge_pages(
      %% What was given out of direct handles is given back when they are collected.
      Config, 16,
      fun(Dir) ->
              [begin
                   Name = filename:join(Dir, "file"),
                   {ok, Whole} = emmap:open(Name, [create, write, shared, {size, 2 * ?HUGE} | Mode]),
                   ok = emmap:pwrite(Whole, 0, <<"x">>),
                   ok = emmap:pwrite(Whole, ?HUGE, <<"y">>),
                   %% Of a huge page, the system maps all.
                   {ok, Window} = emmap:open(Name, 0, 4096, [write, shared | Mode]),
                   {ok, <<"x">>} = emmap:pread(Window, 0, 1),
                   cut(Name, ?HUGE),
                   {error, truncated} = emmap:pwrite(Whole, ?HUGE + 5, <<"z">>),
                   {error, truncated} = emmap:pread(Whole, ?HUGE, 1),
                   truncated = raised(fun() -> emmap:patomic_read(Whole, ?HUGE + 8) end),
                   {ok, <<"x">>} = emmap:pread(Whole, 0, 1),
                   {ok, <<"x">>} = emmap:pread(Window, 0, 1),
                   cut(Name, 0),
                   {error, truncated} = emmap:pwrite(Window, 1, <<"z">>),
                   {error, truncated} = emmap:pread(Window, 0, 1),
                   {error, truncated} = emmap:pwrite(Whole, 1, <<"z">>),
                   {error, truncated} = emmap:pread(Whole, 0, 1),
                   cut(Name, 2 * ?HUGE),
                   {ok, Size} = emmap:remap(Whole),
                   Size = 2 * ?HUGE,
                   ok = emmap:pwrite(Whole, ?HUGE, <<"again">>),
                   {ok, <<"again">>} = emmap:pread(Whole, ?HUGE, 5),
                   [ok = emmap:close(File) || File <- [Whole, Window]],
                   ok = file:delete(Name)
               end || Mode <- emmap_vm:modes()]
      end).

%% Without a reservation there may be no page when one is touched.
more_huge_pages_than_there_are_is_an_error(Config) ->
    on_huge_pages(
      Config, 2,
      fun(Dir) ->
              Pages = 64 + number("2048kB", "free_hugepages") + number("2048kB", "nr_overcommit_hugepages"),
              {ok, File} = emmap:open(filename:join(Dir, "file"),
                                      [create, write, shared, noreserve, {size, Pages * ?HUGE}]),
              Answers = [emmap:pwrite(File, Page * ?HUGE, <<"x">>) || Page <- lists:seq(0, Pages - 1)],
              {[ok | _], [{error, Reason} | _] = Failed} = lists:partition(fun(Answer) -> Answer =:= ok end, Answers),
              true = lists:member(Reason, [enospc, enomem]),
              [Reason] = lists:usort([Why || {error, Why} <- Failed]),
              {ok, <<"x">>} = emmap:pread(File, 0, 1),
              ok = emmap:close(File)
      end).

closing_a_file_of_huge_pages_gives_them_back(Config) ->
    on_huge_pages(
      Config, 4,
      fun(Dir) ->
              Before = used("2048kB"),
              Name = filename:join(Dir, "file"),
              [begin
                   {ok, File} = emmap:open(Name, 0, Length, [create, write, shared, fit, {size, 3 * ?HUGE}]),
                   ok = emmap:pwrite(File, 0, <<"x">>),
                   true = used("2048kB") > Before,
                   ok = file:delete(Name),
                   ok = emmap:close(File),
                   {Before, Before} = {Before, used("2048kB")},
                   {error, closed} = emmap:pread(File, 0, 1)
               end || Length <- [0, 3 * ?HUGE]]
      end).

%%% Anonymous

anonymous(Extra) -> emmap:open("", [anon, write | Extra]).

closing_anonymous_huge_pages_gives_them_back(_) ->
    with_pages("2048kB", 4,
               fun() -> survives(fun() -> [close_anonymous("2048kB", [Kind, Sharing, {size, 2 * ?HUGE}], ?HUGE)
                                           || Kind <- [hugetlb, huge_2mb], Sharing <- [private, shared]]
                                 end)
               end).

closing_a_page_of_1_gb_gives_it_back(_) ->
    with_pages("1048576kB", 1,
               fun() -> survives(fun() -> [close_anonymous("1048576kB", [huge_1gb, Sharing, {size, 1 bsl 30}], 1 bsl 29)
                                           || Sharing <- [private, shared]]
                                 end)
               end).

close_anonymous(Kind, Options, At) ->
    Before = used(Kind),
    {ok, File} = anonymous(Options),
    ok = emmap:pwrite(File, At, <<"x">>),
    {ok, <<"x">>} = emmap:pread(File, At, 1),
    {true, Options} = {used(Kind) > Before, Options},
    ok = emmap:close(File),
    {Options, Before, Before} = {Options, Before, used(Kind)},
    {error, closed} = emmap:pread(File, 0, 1).

collecting_anonymous_huge_pages_gives_them_back(_) ->
    with_pages("2048kB", 4,
               fun() ->
                       survives(fun() ->
                                        Before = used("2048kB"),
                                        Open = fun() ->
                                                       {ok, File} = anonymous([hugetlb, {size, ?HUGE}]),
                                                       emmap:pwrite(File, 0, <<"x">>)
                                               end,
                                        ok = emmap_vm:in_process(Open),
                                        eventually(fun() -> used("2048kB") =:= Before end)
                                end)
               end).

without_huge_pages_is_enomem(_) ->
    Names = ["free_hugepages", "nr_overcommit_hugepages"],
    Had = [number(Kind, Name) || Kind <- ["2048kB", "1048576kB"], Name <- Names],
    case lists:sum(Had) of
        0 ->
            survives(
              fun() ->
                      [begin
                           {error, enomem} = anonymous([Kind, Sharing, {size, 1 bsl 30}]),
                           %% Nothing is promised, and nothing is there.
                           {ok, File} = anonymous([Kind, Sharing, noreserve, {size, 1 bsl 30}]),
                           {error, enomem} = emmap:pwrite(File, 0, <<"x">>),
                           {error, enomem} = emmap:pread(File, 0, 1),
                           enomem = raised(fun() -> emmap:patomic(File, 1 bsl 29, add, 1) end),
                           enomem = raised(fun() -> emmap:patomic_read(File, 1 bsl 29) end),
                           ok = emmap:close(File)
                       end || Kind <- [hugetlb, huge_2mb, huge_1gb], Sharing <- [private, shared]]
              end);
        _ -> {skip, "there are huge pages here"}
    end.
