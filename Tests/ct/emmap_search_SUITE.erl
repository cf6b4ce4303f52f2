%% Copyright 2026 the emmap authors. Licensed under the Apache License, Version 2.0.

%% Searches and lines: what `binary' and `read_line' give for the same bytes, across the borders of pages, of pieces and
%% of calls, and beside others who write, cut, close and kill.
-module(emmap_search_SUITE).

-include_lib("stdlib/include/assert.hrl").

-compile([export_all, nowarn_export_all]).

-import(emmap_test, [file/3, raised/1]).

%% What a call searches on a normal scheduler, what is looked through at once, and what before a call comes back.
-define(INLINE, (64 bsl 10)).
-define(PIECE, (1 bsl 20)).
-define(CALL, (64 bsl 20)).
%% Up to how many bytes, and how many, lines are made of at once.
-define(LINES, (64 bsl 10)).
-define(MANY_LINES, 4096).

all() ->
    [{group, matching}, {group, reading_lines}].

groups() ->
    [{matching, [], [match_gives_what_binary_match_gives, match_across_the_borders_of_pieces,
                     match_of_a_range_is_as_in_binary, matches_of_many_places, matches_go_on_where_a_call_ends,
                     limit_stops_matches, last_is_the_match_that_begins_last, long_patterns_are_found,
                     a_search_of_nothing_finds_nothing, a_search_looks_at_what_was_appended,
                     match_refuses_bad_arguments, a_search_of_a_cut_file_is_truncated,
                     a_search_of_a_closed_file_is_closed, a_search_sees_no_half_of_a_write,
                     a_killed_process_searches_no_further, a_pattern_may_point_into_the_file]},
     {reading_lines, [], [lines_gives_what_read_line_gives, lines_of_any_length, lines_are_as_many_as_there_is_room_for,
                          lines_move_the_position, lines_keep_no_more_than_they_say, each_line_is_read_once,
                          lines_follow_a_file, lines_refuse_bad_arguments, lines_of_a_cut_file_are_truncated,
                          fold_lines_calls_with_each_line, fold_lines_of_nothing_is_the_start,
                          fold_lines_takes_little_memory, fold_lines_refuses_bad_arguments]}].

suite() -> [{timetrap, {minutes, 3}}].

init_per_testcase(Case, Config) -> emmap_test:directory(Case, Config).

end_per_testcase(_, Config) -> file:del_dir_r(proplists:get_value(directory, Config)).

kinds() -> [[], [direct], [shared, nolock], [dirty]].

open(Config, Bytes, Options) ->
    {ok, File} = emmap:open(file(Config, "file", Bytes), Options),
    File.

%%% Matching

%% Few letters, so that there are matches, and parts of matches.
match_gives_what_binary_match_gives(Config) ->
    [begin
         _ = rand:seed(exsss, Seed),
         Bytes = letters(rand:uniform(300) - 1),
         File = open(Config, Bytes, lists:nth(1 + Seed rem 4, kinds())),
         [begin
              Pattern = pattern(),
              Start = rand:uniform(byte_size(Bytes) + 1) - 1,
              Length = rand:uniform(byte_size(Bytes) + 1) - 1 - Start,
              Scope = [{scope, {Start, Length}}],
              [?assertEqual({Seed, Bytes, Pattern, Options, binary:match(Bytes, Pattern, Options),
                             binary:matches(Bytes, Pattern, Options), last(Bytes, Pattern, Options)},
                            {Seed, Bytes, Pattern, Options, emmap:match(File, Pattern, Options),
                             emmap:matches(File, Pattern, Options), emmap:match(File, Pattern, [last | Options])})
               || Options <- [[], Scope]],
              ?assertEqual(binary:match(Bytes, Pattern), emmap:match(File, Pattern)),
              ?assertEqual(binary:matches(Bytes, Pattern), emmap:matches(File, Pattern))
          end || _ <- lists:seq(1, 10)],
         ok = emmap:close(File)
     end || Seed <- lists:seq(1, 300)].

letters(Count) -> << <<($a + rand:uniform(2))>> || _ <- lists:seq(1, Count) >>.

pattern() ->
    case rand:uniform(2) of
        1 -> letters(rand:uniform(6));
        2 -> [letters(rand:uniform(6)) || _ <- lists:seq(1, rand:uniform(4))]
    end.

%% The match that begins last, and of those the longest: every place is tried.
last(Bytes, Pattern, Options) ->
    {Start, Length} = proplists:get_value(scope, Options, {0, byte_size(Bytes)}),
    {From, To} = {min(Start, Start + Length), max(Start, Start + Length)},
    Patterns = lists:flatten([Pattern]),
    All = [{Place, Size} || Place <- lists:seq(From, To - 1), P <- Patterns, Size <- [byte_size(P)],
                            Place + Size =< To, binary:part(Bytes, Place, Size) =:= P],
    case All of
        [] -> nomatch;
        _ -> lists:max(All)
    end.

%% A file that is mostly a hole: what is searched is zeroes, and a pattern at one place.
match_across_the_borders_of_pieces(Config) ->
    Pattern = <<"pattern">>,
    Size = ?CALL + 3 * ?PIECE,
    [begin
         Path = file(Config, "file", <<>>),
         {ok, Raw} = file:open(Path, [write, raw]),
         ok = file:pwrite(Raw, [{Place, Pattern}, {Size - 1, <<0>>}]),
         ok = file:close(Raw),
         {ok, File} = emmap:open(Path, Options),
         Found = {Place, byte_size(Pattern)},
         ?assertEqual(Found, emmap:match(File, Pattern)),
         ?assertEqual(Found, emmap:match(File, [<<"terns">>, Pattern, <<"pat">>, <<"xyz">>])),
         ?assertEqual(Found, emmap:match(File, Pattern, [last])),
         ?assertEqual([Found], emmap:matches(File, Pattern)),
         %% The range ends within it.
         [?assertEqual(Expected, emmap:match(File, Pattern, [{scope, {0, Place + Length}} | Last]))
          || {Length, Expected} <- [{7, Found}, {6, nomatch}], Last <- [[], [last]]],
         [?assertEqual(Expected, emmap:match(File, Pattern, [{scope, {Size, Place + Skipped - Size}} | Last]))
          || {Skipped, Expected} <- [{0, Found}, {1, nomatch}], Last <- [[], [last]]],
         ok = emmap:close(File)
     end || Border <- [4096, ?INLINE, ?PIECE, ?CALL, Size - ?PIECE, Size - ?CALL, Size - ?INLINE],
            Before <- [0, 1, 3, 6, 7, 8], Place <- [Border - Before],
            Options <- [lists:nth(1 + Before rem 2, [[], [direct]])]].

match_of_a_range_is_as_in_binary(Config) ->
    Bytes = <<"0123456789">>,
    File = open(Config, Bytes, []),
    [begin
         Options = [{scope, {Start, Length}}],
         Same = fun(Module, Subject, Function) ->
                        try Module:Function(Subject, Pattern, Options) catch error:badarg -> badarg end
                end,
         [?assertEqual({Function, Pattern, Options, Same(binary, Bytes, Function)},
                       {Function, Pattern, Options, Same(emmap, File, Function)}) || Function <- [match, matches]]
     end || Start <- [-1, 0, 1, 9, 10, 11], Length <- [-11, -10, -9, -1, 0, 1, 9, 10, 11],
            Pattern <- [<<"0">>, <<"9">>, <<"89">>, Bytes, [<<"1">>, <<"12">>], <<Bytes/binary, "x">>]],
    %% Of two ranges the last counts, as there.
    Two = [{scope, {0, 1}}, {scope, {5, 5}}],
    ?assertEqual(binary:match(Bytes, <<"7">>, Two), emmap:match(File, <<"7">>, Two)).

matches_of_many_places(Config) ->
    _ = rand:seed(exsss, 1),
    Bytes = letters(300000),
    [begin
         File = open(Config, Bytes, Options),
         [?assert(binary:matches(Bytes, Pattern) =:= emmap:matches(File, Pattern))
          || Pattern <- [<<"b">>, <<"bc">>, <<"bbbbbbbb">>, [<<"b">>, <<"c">>], [<<"bc">>, <<"bcb">>, <<"ccccccc">>],
                           [letters(8) || _ <- lists:seq(1, 65)], [letters(5000), <<"bcbcbcbc">>]]],
         ok = emmap:close(File)
     end || Options <- kinds()].

%% More matches than one call gives, and a pattern that is across the places where they end.
matches_go_on_where_a_call_ends(Config) ->
    Bytes = binary:copy(<<"aaaab">>, 2 * ?PIECE div 5 + 10),
    File = open(Config, Bytes, []),
    [?assert(binary:matches(Bytes, Pattern) =:= emmap:matches(File, Pattern))
     || Pattern <- [<<"aa">>, <<"b">>, <<"aaaabaaaab">>, [<<"ba">>, <<"aaa">>]]].

limit_stops_matches(Config) ->
    Bytes = binary:copy(<<"ab">>, 100000),
    File = open(Config, Bytes, []),
    All = binary:matches(Bytes, <<"b">>),
    [?assert(lists:sublist(All, Limit) =:= emmap:matches(File, <<"b">>, [{limit, Limit}]))
     || Limit <- [1, 2, 1023, 1024, 1025, 2048, 16384, 16385, 99999, 100000, 100001, 1 bsl 62]],
    ?assertEqual([{3, 1}], emmap:matches(File, <<"b">>, [{limit, 1}, {scope, {2, 10}}])).

last_is_the_match_that_begins_last(Config) ->
    File = open(Config, <<"abab aaa">>, []),
    ?assertEqual({6, 2}, emmap:match(File, <<"aa">>, [last])),
    ?assertEqual({2, 2}, emmap:match(File, <<"ab">>, [last])),
    ?assertEqual({5, 3}, emmap:match(File, [<<"aaa">>, <<"b">>], [last])),
    ?assertEqual({2, 3}, emmap:match(File, [<<"ab">>, <<"ab ">>, <<"bab">>], [last])),
    ?assertEqual({0, 2}, emmap:match(File, <<"ab">>, [last, {scope, {0, 3}}])),
    ?assertEqual(nomatch, emmap:match(File, <<"x">>, [last])).

%% Longer than what is looked through at once.
long_patterns_are_found(Config) ->
    _ = rand:seed(exsss, 2),
    Pattern = rand:bytes(3 * ?PIECE + 17),
    Bytes = [rand:bytes(2 * ?PIECE + 5), binary:part(Pattern, 0, 2 * ?PIECE), Pattern, "end"],
    Place = 4 * ?PIECE + 5,
    File = open(Config, Bytes, []),
    ?assertEqual({Place, byte_size(Pattern)}, emmap:match(File, Pattern)),
    ?assertEqual({Place, byte_size(Pattern)}, emmap:match(File, Pattern, [last])),
    ?assertEqual({Place, byte_size(Pattern)}, emmap:match(File, [<<"end">>, Pattern])),
    ?assertEqual(nomatch, emmap:match(File, Pattern, [{scope, {Place + 1, 100}}])).

a_search_of_nothing_finds_nothing(Config) ->
    File = open(Config, <<>>, []),
    ?assertEqual(nomatch, emmap:match(File, <<"x">>)),
    ?assertEqual(nomatch, emmap:match(File, <<"x">>, [last])),
    ?assertEqual(nomatch, emmap:match(File, <<"x">>, [{scope, {0, 0}}])),
    ?assertEqual([], emmap:matches(File, [<<"x">>, <<"yz">>])),
    ?assertMatch({badarg, #{3 := _}}, raised(fun() -> emmap:match(File, <<"x">>, [{scope, {0, 1}}]) end)).

a_search_looks_at_what_was_appended(Config) ->
    Path = file(Config, "file", <<>>),
    {ok, File} = emmap:open(Path, [shared, follow]),
    {ok, Other} = emmap:open(Path, [shared]),
    ?assertEqual(nomatch, emmap:match(File, <<"ab">>)),
    ok = file:write_file(Path, <<"a">>, [append]),
    ?assertEqual(nomatch, emmap:match(File, <<"ab">>)),
    ok = file:write_file(Path, <<"bab">>, [append]),
    ?assertEqual({0, 2}, emmap:match(File, <<"ab">>)),
    ?assertEqual({2, 2}, emmap:match(File, <<"ab">>, [last])),
    ok = file:write_file(Path, [<<0:(8 * ?PIECE)>>, <<"ab">>], [append]),
    ?assertEqual([{0, 2}, {2, 2}, {4 + ?PIECE, 2}], emmap:matches(File, <<"ab">>)),
    ok = file:write_file(Path, <<"ab">>, [append]),
    ?assertEqual({6 + ?PIECE, 2}, emmap:match(File, <<"ab">>, [last])),
    ok = file:write_file(Path, <<"x">>, [append]),
    ?assertEqual({8 + ?PIECE, 1}, emmap:match(File, <<"x">>, [{scope, {8 + ?PIECE, 1}}])),
    ?assertEqual(nomatch, emmap:match(Other, <<"ab">>)).

match_refuses_bad_arguments(Config) ->
    File = open(Config, <<"0123456789">>, []),
    [begin
         ?assertMatch({badarg, #{1 := _}}, raised(fun() -> emmap:match(Bad, <<"x">>) end)),
         ?assertMatch({badarg, #{1 := _}}, raised(fun() -> emmap:match(Bad, <<"x">>, []) end)),
         ?assertMatch({badarg, #{1 := _}}, raised(fun() -> emmap:matches(Bad, <<"x">>) end)),
         ?assertMatch({badarg, #{1 := _}}, raised(fun() -> emmap:matches(Bad, <<"x">>, [{limit, 1}]) end))
     end || Bad <- no_handles()],
    [begin
         ?assertMatch({badarg, #{2 := _}}, raised(fun() -> emmap:match(File, Bad) end)),
         ?assertMatch({badarg, #{2 := _}}, raised(fun() -> emmap:match(File, Bad, [last]) end)),
         ?assertMatch({badarg, #{2 := _}}, raised(fun() -> emmap:matches(File, Bad) end)),
         ?assertMatch({badarg, #{2 := _}}, raised(fun() -> emmap:matches(File, Bad, []) end))
     end || Bad <- [<<>>, [], [<<>>], [<<"a">>, <<>>], [<<"a">> | <<"b">>], "abc", a, 1, <<1:3>>, [<<1:3>>],
                    binary:compile_pattern(<<"a">>)]],
    [?assertEqual({Options, {badarg, #{3 => Text}}},
                  {Options, raised(fun() -> emmap:match(File, <<"1">>, Options) end)})
     || {Options, Text} <- [{[first], "unknown option first"}, {[{limit, 1}], "unknown option {limit,1}"},
                            {last, "not a list of options"}, {[last | last], "not a list of options"},
                            {[{scope, 1}], "bad value in option {scope,1}"},
                            {[{scope, {0, a}}], "bad value in option {scope,{0,a}}"},
                            {[{scope, {-1, 1}}], "bad value in option {scope,{-1,1}}"},
                            {[{scope, {1 bsl 63, 1}}],
                             "bad value in option {scope,{9223372036854775808,1}}"},
                            {[{scope, {0, 11}}], "the range ends past the end of the mapping"},
                            {[{scope, {11, 0}}, last], "the range ends past the end of the mapping"}]],
    [?assertEqual({Options, {badarg, #{3 => Text}}},
                  {Options, raised(fun() -> emmap:matches(File, <<"1">>, Options) end)})
     || {Options, Text} <- [{[last], "unknown option last"}, {[{limit, 0}], "bad value in option {limit,0}"},
                            {[{limit, a}], "bad value in option {limit,a}"},
                            {[{limit, 1 bsl 63}], "bad value in option {limit,9223372036854775808}"},
                            {[{scope, {10, 1}}], "the range ends past the end of the mapping"}]].

no_handles() ->
    {ok, Raw} = file:open("/dev/null", [raw]),
    [a, 1, {}, self(), make_ref(), Raw, setelement(3, Raw, make_ref()), {file_descriptor, emmap, make_ref()},
     {file_descriptor, emmap, a}].

a_search_of_a_cut_file_is_truncated(Config) ->
    [begin
         Path = file(Config, "file", [<<"first">>, <<0:(8 * 4 * ?PIECE)>>, <<"last">>]),
         {ok, File} = emmap:open(Path, Options),
         emmap_vm:cut(Path, ?PIECE),
         %% What is there is found; what is not there is no sequence of zeroes.
         ?assertEqual({0, 5}, emmap:match(File, <<"first">>)),
         [?assertEqual({error, truncated}, emmap:match(File, <<"last">>, Last)) || Last <- [[], [last]]],
         ?assertEqual({error, truncated}, emmap:matches(File, <<"first">>)),
         ?assertEqual({error, truncated}, emmap:match(File, <<0>>, [{scope, {2 * ?PIECE, 100}}])),
         ?assertEqual([{0, 5}], emmap:matches(File, <<"first">>, [{scope, {0, ?PIECE}}])),
         {ok, _} = emmap:remap(File),
         ?assertEqual(nomatch, emmap:match(File, <<"last">>)),
         ok = emmap:close(File)
     end || Options <- kinds()].

a_search_of_a_closed_file_is_closed(Config) ->
    [begin
         File = open(Config, <<"text\n">>, Options),
         ok = emmap:close(File),
         [?assertEqual({error, closed}, Call())
          || Call <- [fun() -> emmap:match(File, <<"x">>) end, fun() -> emmap:match(File, <<"x">>, [last]) end,
                      fun() -> emmap:match(File, <<"x">>, [{scope, {0, 0}}]) end,
                      fun() -> emmap:matches(File, <<"x">>, [{scope, {0, 100}}]) end,
                      fun() -> emmap:lines(File, 1) end, fun() -> emmap:fold_lines(fun max/2, 0, File) end]]
     end || Options <- kinds()].

%% Two patterns take turns; whoever sees a half of a write finds bytes of both.
a_search_sees_no_half_of_a_write(Config) ->
    Size = 256 bsl 10,
    [A, B] = [binary:copy(<<Letter>>, Size) || Letter <- "ab"],
    {ok, File} = emmap:open(file(Config, "file", A), [write, shared, fixed_size]),
    Writer = fun() -> ok = emmap:pwrite(File, 0, A), ok = emmap:pwrite(File, 0, B) end,
    emmap_vm:while([Writer], fun() ->
        [?assertEqual(nomatch, emmap:match(File, [<<"ab">>, <<"ba">>])) || _ <- lists:seq(1, 200)]
    end).

%% The file is sparse and so large that no search of it ends while the test runs.
a_killed_process_searches_no_further(Config) ->
    Path = file(Config, "file", <<>>),
    emmap_vm:cut(Path, 1 bsl 42),
    {ok, File} = emmap:open(Path, []),
    Test = self(),
    [begin
         {Pid, Monitor} = spawn_monitor(fun() -> Test ! {self(), searches}, emmap:match(File, <<"x">>, Options) end),
         receive {Pid, searches} -> ok end,
         emmap_test:wait_until(fun() -> element(2, process_info(Pid, reductions)) > 100 end),
         exit(Pid, kill),
         receive {'DOWN', Monitor, process, Pid, Reason} -> ?assertEqual(killed, Reason) end
     end || Options <- [[], [last]]],
    %% Nobody is at it any more: closing waits for nobody.
    ok = emmap:close(File).

%% A binary of a `direct' handle, of bytes that are lost.
a_pattern_may_point_into_the_file(Config) ->
    Path = file(Config, "file", emmap_test:bytes(3 * 4096)),
    {ok, File} = emmap:open(Path, [direct, shared]),
    {ok, Pattern} = emmap:pread(File, 8192, 16),
    ?assertEqual({8192, 16}, emmap:match(File, Pattern)),
    emmap_vm:cut(Path, 4096),
    ?assertEqual({error, truncated}, emmap:match(File, Pattern)).

%%% Lines

lines_gives_what_read_line_gives(Config) ->
    Parts = [<<"\n">>, <<"\r\n">>, <<"\r">>, <<"a">>, <<0>>, <<"some words">>, <<"\n\n">>, binary:copy(<<"x">>, 100)],
    Random = [begin
                  _ = rand:seed(exsss, Seed),
                  iolist_to_binary([lists:nth(rand:uniform(length(Parts)), Parts)
                                    || _ <- lists:seq(1, rand:uniform(60))])
              end || Seed <- lists:seq(1, 200)],
    Given = [<<>>, <<"\n">>, <<"\r\n">>, <<"\r">>, <<"a">>, <<"a\n">>, <<"\n\n">>, <<"a\rb\r\r\nc\r">>,
             <<"one\ntwo\r\nthree">>, <<0, 10, 0, 13, 10, 0>>],
    [begin
         File = open(Config, Text, Options),
         Expected = read_lines(File),
         [begin
              {ok, 0} = emmap:position(File, 0),
              ?assertEqual({Text, Max, Expected}, {Text, Max, all_lines(File, Max)}),
              ?assertEqual(eof, emmap:lines(File, Max)),
              ?assertEqual({ok, byte_size(Text)}, emmap:position(File, cur))
          end || Max <- [1, 2, 7, 1000]],
         ok = emmap:close(File)
     end || Text <- Given ++ Random, Options <- kinds()].

read_lines(File) ->
    case emmap:read_line(File) of
        {ok, Line} -> [Line | read_lines(File)];
        eof -> []
    end.

all_lines(File, Max) ->
    case emmap:lines(File, Max) of
        {ok, Lines} when length(Lines) =< Max -> Lines ++ all_lines(File, Max);
        eof -> []
    end.

%% Around what lines are made of at once, and what is read at all on a normal scheduler.
lines_of_any_length(Config) ->
    [begin
         Line = <<(binary:copy(<<"x">>, Length - byte_size(End)))/binary, End/binary>>,
         Text = iolist_to_binary(["a\n", Line, Line, "b\n", Line, "end"]),
         File = open(Config, Text, Options),
         Expected = read_lines(File),
         {ok, 0} = emmap:position(File, 0),
         ?assert(Expected =:= all_lines(File, 100)),
         ok = emmap:close(File)
     end || Base <- [?LINES, ?LINES div 2, 3 bsl 20], Delta <- lists:seq(-6, 3), Length <- [Base + Delta],
            End <- [<<"\n">>, <<"\r\n">>, <<"y">>], Options <- [[], [direct]]].

lines_are_as_many_as_there_is_room_for(Config) ->
    File = open(Config, binary:copy(<<"\n">>, 2 * ?MANY_LINES + 2), []),
    ?assertEqual([1, ?MANY_LINES - 1, ?MANY_LINES, 2],
                 [begin {ok, Lines} = emmap:lines(File, Max), length(Lines) end
                  || Max <- [1, ?MANY_LINES - 1, ?MANY_LINES + 1, 1 bsl 62]]),
    ?assertEqual(eof, emmap:lines(File, 1)).

lines_move_the_position(Config) ->
    File = open(Config, <<"one\ntwo\r\nthree\nfour">>, []),
    ?assertEqual({ok, [<<"one\n">>, <<"two\n">>]}, emmap:lines(File, 2)),
    ?assertEqual({ok, 9}, emmap:position(File, cur)),
    {ok, 11} = emmap:position(File, 11),
    ?assertEqual({ok, [<<"ree\n">>, <<"four">>]}, emmap:lines(File, 3)),
    {ok, 1000} = emmap:position(File, 1000),
    ?assertEqual(eof, emmap:lines(File, 3)),
    ?assertEqual({ok, 1000}, emmap:position(File, cur)).

lines_keep_no_more_than_they_say(Config) ->
    File = open(Config, [binary:copy(<<"a line of some twenty\n">>, 10000), binary:copy(<<"x">>, 1 bsl 20), "\nz\n"],
                []),
    Lines = all_lines(File, 100000),
    ?assertEqual(10002, length(Lines)),
    [?assert(binary:referenced_byte_size(Line) =< max(?LINES, byte_size(Line))) || Line <- Lines],
    %% As one of its own: of 2 bytes OTP 25 says 2, and OTP 27, which counts words of the heap, 16.
    Last = lists:last(Lines),
    ?assertEqual(binary:referenced_byte_size(binary:copy(Last)), binary:referenced_byte_size(Last)).

%% Several processes read lines from one handle: each line comes to one of them, whole.
each_line_is_read_once(Config) ->
    Lines = [<<(integer_to_binary(N))/binary, "\n">> || N <- lists:seq(1, 100000)],
    File = open(Config, Lines, []),
    Read = emmap_test:together([fun() -> all_lines(File, Max) end || Max <- [10, 100, 1000]]),
    ?assert(lists:sort(Lines) =:= lists:sort(lists:append(Read))).

lines_follow_a_file(Config) ->
    Path = file(Config, "file", <<>>),
    [begin
         ok = file:write_file(Path, <<>>),
         {ok, File} = emmap:open(Path, [follow | Options]),
         ?assertEqual(eof, emmap:lines(File, 10)),
         ok = file:write_file(Path, <<"one\ntw">>, [append]),
         ?assertEqual({ok, [<<"one\n">>, <<"tw">>]}, emmap:lines(File, 10)),
         ?assertEqual(eof, emmap:lines(File, 10)),
         ok = file:write_file(Path, <<"o\nthree\n">>, [append]),
         ?assertEqual({ok, <<"o\n">>}, emmap:read_line(File)),
         ok = file:write_file(Path, binary:copy(<<"four\n">>, 50000), [append]),
         ?assertEqual({ok, [<<"three\n">>, <<"four\n">>]}, emmap:lines(File, 2)),
         ?assertEqual({ok, 49999}, emmap:fold_lines(fun(<<"four\n">>, Count) -> Count + 1 end, 0, File)),
         ok = emmap:close(File)
     end || Options <- kinds()].

lines_refuse_bad_arguments(Config) ->
    File = open(Config, <<"text\n">>, []),
    [?assertMatch({badarg, #{1 := "not a memory-mapped file"}}, raised(fun() -> emmap:lines(Bad, 1) end))
     || Bad <- no_handles()],
    [?assertEqual({badarg, #{2 => "not an integer from 1 to 2^63 - 1"}}, raised(fun() -> emmap:lines(File, Bad) end))
     || Bad <- [0, -1, 1 bsl 63, 1.0, a, infinity]],
    ?assertEqual({ok, [<<"text\n">>]}, emmap:lines(File, (1 bsl 63) - 1)).

lines_of_a_cut_file_are_truncated(Config) ->
    [begin
         Line = <<(binary:copy(<<"x">>, 999))/binary, "\n">>,
         Path = file(Config, "file", binary:copy(Line, 200)),
         {ok, File} = emmap:open(Path, Options),
         emmap_vm:cut(Path, 8192),
         %% Of lines that are not there none is made up; those before the cut are there.
         {ok, Lines} = emmap:lines(File, 8),
         ?assertEqual(lists:duplicate(8, Line), Lines),
         ?assertEqual({error, truncated}, emmap:lines(File, 100)),
         ?assertEqual({ok, 8000}, emmap:position(File, cur)),
         ?assertEqual({error, truncated}, emmap:fold_lines(fun(_, N) -> N + 1 end, 0, File)),
         ok = emmap:close(File)
     end || Options <- kinds()].

fold_lines_calls_with_each_line(Config) ->
    [begin
         File = open(Config, <<"one\ntwo\r\n\nfour">>, Options),
         ?assertEqual({ok, [<<"four">>, <<"\n">>, <<"two\n">>, <<"one\n">>]},
                      emmap:fold_lines(fun(Line, Lines) -> [Line | Lines] end, [], File)),
         {ok, 4} = emmap:position(File, 4),
         ?assertEqual({ok, 3}, emmap:fold_lines(fun(_, Count) -> Count + 1 end, 0, File)),
         %% What the function raises is the caller's.
         {ok, 0} = emmap:position(File, 0),
         ?assertError(mine, emmap:fold_lines(fun(_, _) -> error(mine) end, 0, File)),
         ok = emmap:close(File)
     end || Options <- kinds()].

fold_lines_of_nothing_is_the_start(Config) ->
    File = open(Config, <<>>, []),
    ?assertEqual({ok, start}, emmap:fold_lines(fun(_, _) -> error(called) end, start, File)).

%% 64 MiB, in a process that may have 2 MiB, and lets no binaries pile up.
fold_lines_takes_little_memory(Config) ->
    Line = <<"0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcde\n">>,
    File = open(Config, binary:copy(Line, 1 bsl 20), []),
    Limit = #{size => 262144, kill => true, error_logger => false, include_shared_binaries => true},
    {Pid, Monitor} =
        spawn_opt(fun() ->
                          exit(emmap:fold_lines(fun(_, {Count, Most}) ->
                                                        {Count + 1, max(Most, case Count rem 4096 of
                                                                                  0 -> erlang:memory(binary);
                                                                                  _ -> 0
                                                                              end)}
                                                end, {0, 0}, File))
                  end, [monitor, {max_heap_size, Limit}]),
    Before = erlang:memory(binary),
    receive
        {'DOWN', Monitor, process, Pid, Result} ->
            {ok, {Count, Most}} = Result,
            ?assertEqual(1 bsl 20, Count),
            ?assert(Most - Before < 16 bsl 20)
    end.

fold_lines_refuses_bad_arguments(Config) ->
    File = open(Config, <<"text\n">>, []),
    Fun = fun(_, Acc) -> Acc end,
    [?assertEqual({badarg, #{3 => "not a memory-mapped file"}}, raised(fun() -> emmap:fold_lines(Fun, 0, Bad) end))
     || Bad <- no_handles()],
    [?assertEqual({badarg, #{1 => "not a function of two arguments"}},
                  raised(fun() -> emmap:fold_lines(Bad, 0, File) end))
     || Bad <- [a, fun() -> ok end, fun hd/1, {a, b}]].
