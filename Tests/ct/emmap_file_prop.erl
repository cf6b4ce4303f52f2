%% Copyright 2026 the emmap authors. Licensed under the Apache License, Version 2.0.

%% Properties of handles, with OTP's raw binary files as the model: the same calls on both, in random order, give the
%% same results, positions and bytes.
-module(emmap_file_prop).

-export([prop_growable/1, prop_growable/2, prop_fixed/1, difference/0]).

-include_lib("proper/include/proper.hrl").

%% Nothing in a sequence reaches further than this, so that files stay small.
-define(REACH, 3 * 4096 + 100).

-record(pair, {raw, map, other_raw, other_map, path, raw_path, other_path, other_raw_path, prefix, can_grow = true,
               change}).


%%% Properties

%% A handle that can grow behaves as a raw file, however it was opened.
prop_growable(Directory) -> prop_growable(Directory, fun right/3).

%% With a fun that changes what the raw file answers, or the file, for a model that is wrong.
prop_growable(Directory, Change) ->
    ?FORALL({Prefix, Content, Options, Other, Steps},
            {prefix(), content(), growable_options(), oneof([raw, map]), steps()},
            compare(Directory, Prefix, 0, Content, Options, Other, Steps, true, Change)).

right(_Raw, _Function, Answer) -> Answer.

%% A handle that cannot grow behaves as a raw file whose writes past the end fail with enospc and change nothing, and
%% whose length is fixed.
prop_fixed(Directory) ->
    ?FORALL({Kind, Prefix, Content, Options, Steps},
            {oneof([private, fixed_size, window, anon]), prefix(), ?SUCHTHAT(C, content(), C =/= <<>>),
             locking(), steps()},
            case Kind of
                anon ->
                    Zeroes = <<0:(byte_size(Content))/unit:8>>,
                    compare(Directory, 0, 0, Zeroes, [anon, write | Options], raw, within_reach(Steps), false);
                window -> compare(Directory, Prefix, 17, Content, [write, shared | Options], raw, Steps, false);
                private -> compare(Directory, Prefix, 0, Content, [write, private | Options], raw, Steps, false);
                fixed_size ->
                    compare(Directory, Prefix, 0, Content, [write, shared, fixed_size | Options], raw, Steps, false)
            end).

%% How far a position may move is for the file system to say, and here there is none.
within_reach(Steps) ->
    [Step || {_, Function, Args} = Step <- Steps,
             Function =/= position orelse not lists:any(fun is_far/1, Args)].

is_far({_, Distance}) -> is_far(Distance);
is_far(Place) -> is_integer(Place) andalso Place >= 1 bsl 62.

%%% Running

compare(Directory, Prefix, Suffix, Content, Options, Other, Steps, CanGrow) ->
    compare(Directory, Prefix, Suffix, Content, Options, Other, Steps, CanGrow, fun right/3).

compare(Directory, Prefix, Suffix, Content, Options, Other, Steps, CanGrow, Change) ->
    %% This version of PropEr cannot report an exception, nor say more of a failure than its input.
    try
        Pair = (open(Directory, Prefix, Suffix, Content, Options, Other, CanGrow))#pair{change = Change},
        try run(Pair, Steps, 1) of
            ok -> same_bytes(Pair, Options, Prefix, Suffix, Content);
            {differ, Details} -> failed(Details)
        after
            close(Pair)
        end
    catch
        Class:Reason:Stack -> failed({Class, Reason, Stack})
    end.

failed(Details) ->
    _ = put(?MODULE, Details),
    false.

%% How the map and the raw file differed in the last sequence that failed.
difference() -> get(?MODULE).

open(Directory, Prefix, Suffix, Content, Options, Other, CanGrow) ->
    Name = fun(Text) -> filename:join(Directory, Text) end,
    RawPath = Name("raw"),
    Path = Name("map"),
    OtherRawPath = Name("other_raw"),
    OtherPath = Name("other"),
    ok = file:write_file(RawPath, Content),
    ok = file:write_file(Path, [binary:copy(<<"p">>, Prefix), Content, binary:copy(<<"s">>, Suffix)]),
    ok = file:write_file(OtherRawPath, "other\n"),
    ok = file:write_file(OtherPath, "other\n"),
    {ok, Raw} = file:open(RawPath, [raw, binary, read, write]),
    {ok, OtherRaw} = file:open(OtherRawPath, [raw, binary, read, write]),
    Length = case CanGrow of true -> 0; false -> byte_size(Content) end,
    {ok, Map} = emmap:open(Path, Prefix, Length, Options),
    {ok, OtherMap} =
        case Other of
            raw -> file:open(OtherPath, [raw, binary, read, write]);
            map -> emmap:open(OtherPath, [read, write, shared])
        end,
    #pair{raw = Raw, map = Map, other_raw = OtherRaw, other_map = OtherMap, path = Path, raw_path = RawPath,
          other_path = OtherPath, other_raw_path = OtherRawPath, prefix = Prefix, can_grow = CanGrow}.

close(#pair{raw = Raw, map = Map, other_raw = OtherRaw, other_map = OtherMap}) ->
    ok = file:close(Raw),
    ok = file:close(Map),
    ok = file:close(OtherRaw),
    ok = file:close(OtherMap).

run(_, [], _) -> ok;
run(Pair, [{Via, Function, Args} | Steps], Number) ->
    case expect(Pair, Function, Args) of
        leave_out -> run(Pair, Steps, Number + 1);
        Answer ->
            Expected = (Pair#pair.change)(Pair#pair.raw, Function, Answer),
            Result = result(via(Via, Pair), Function, arguments(Function, Args, Pair#pair.map, Pair#pair.other_map)),
            Position = file:position(Pair#pair.raw, cur),
            case file:position(Pair#pair.map, cur) of
                Position when Result =:= Expected -> run(Pair, Steps, Number + 1);
                Other ->
                    {differ, [{step, Number}, {call, {Via, Function, Args}}, {raw, Expected, Position},
                              {map, Result, Other}]}
            end
    end.

%% emmap:copy/3 takes handles of emmap alone, as the function of that name behind raw files does.
via(emmap, #pair{other_map = Other}) -> {emmap, Other};
via(file, #pair{other_map = Other}) -> {file, Other}.

result({emmap, Other}, copy, Args) when element(2, Other) =/= emmap -> catch_call(file, copy, Args);
result({Module, _}, Function, Args) -> catch_call(Module, Function, Args).

catch_call(Module, Function, Args) ->
    try apply(Module, Function, Args)
    catch Class:Reason -> {Class, Reason}
    end.

arguments(copy, [out, Count], File, Other) -> [File, Other, Count];
arguments(copy, [in, Count], File, Other) -> [Other, File, Count];
arguments(_, Args, File, _) -> [File | Args].

%% What a raw file answers. Where the map cannot grow, what it must answer instead, with the raw file left as the map
%% must be.
expect(#pair{can_grow = true} = Pair, Function, Args) -> on_raw(Pair, Function, Args);
expect(#pair{raw = Raw} = Pair, Function, Args) ->
    {ok, Position} = file:position(Raw, cur),
    {ok, Size} = file:position(Raw, eof),
    {ok, _} = file:position(Raw, Position),
    case {Function, Args} of
        {truncate, []} -> {error, fixed_size};
        %% Tested with the functions that change sizes; what it answers depends on what is mapped.
        {allocate, _} -> leave_out;
        {copy, [in, _]} -> leave_out;
        {write, [Data]} -> fixed_write(Pair, Position, Data, Size, fun() -> on_raw(Pair, write, [Data]) end);
        {pwrite, [At, Data]} -> fixed_write(Pair, At, Data, Size, fun() -> on_raw(Pair, pwrite, [At, Data]) end);
        {pwrite, [List]} when is_list(List) -> fixed_writes(Pair, List, Size, 0);
        _ -> on_raw(Pair, Function, Args)
    end.

fixed_writes(_, [], _, _) -> ok;
fixed_writes(Pair, [{At, Data} | Rest], Size, Done) ->
    case fixed_write(Pair, At, Data, Size, fun() -> on_raw(Pair, pwrite, [At, Data]) end) of
        ok -> fixed_writes(Pair, Rest, Size, Done + 1);
        {error, badarg} -> {error, badarg};
        {error, Reason} -> {error, {Done, Reason}}
    end;
fixed_writes(_, _, _, _) -> {error, badarg}.

fixed_write(_, At, Data, Size, Write) ->
    try iolist_size(Data) of
        Count when is_integer(At), Count > 0, At >= 0, At < 1 bsl 63, At + Count > Size -> {error, enospc};
        _ -> Write()
    catch
        error:badarg -> Write()
    end.

on_raw(#pair{raw = Raw, other_raw = Other}, Function, Args) ->
    try apply(file, Function, arguments(Function, Args, Raw, Other))
    %% A raw file meets a list that is none, or a distance that is no number, with a crash of its innards; we say
    %% badarg.
    catch error:_ -> {error, badarg}
    end.

same_bytes(#pair{map = Map} = Pair, Options, Prefix, Suffix, Content) ->
    {ok, Bytes} = file:read_file(Pair#pair.raw_path),
    {ok, OtherBytes} = file:read_file(Pair#pair.other_raw_path),
    Checks =
        [{mapping, same_or_eof(Bytes), emmap:pread(Map, 0, byte_size(Bytes) + 1)},
         {size, byte_size(Bytes), maps:get(size, emmap:info(Map))},
         {other, {ok, OtherBytes}, file:read_file(Pair#pair.other_path)},
         {file,
          {ok, iolist_to_binary(
                 [binary:copy(<<"p">>, Prefix),
                  case lists:member(private, Options) orelse lists:member(anon, Options) of
                      true -> Content;
                      false -> Bytes
                  end,
                  binary:copy(<<"s">>, Suffix)])},
          file:read_file(Pair#pair.path)}],
    case [Check || {_, Expected, Found} = Check <- Checks, Expected =/= Found] of
        [] -> true;
        Differences -> failed(Differences)
    end.

same_or_eof(<<>>) -> eof;
same_or_eof(Bytes) -> {ok, Bytes}.

%%% Generators

growable_options() ->
    ?LET({Locking, Step}, {locking(), oneof([[], [{max_inc_size, 1}], [{max_inc_size, 4096}]])},
         [read, write, shared] ++ Locking ++ Step).

locking() -> ?LET({Direct, Lock}, {oneof([[], [direct]]), oneof([[], [nolock], [lock]])}, Direct ++ Lock).

prefix() -> oneof([0, 1, 4095, 4096, 5000]).

%% Lines, words of 32 bits that name a size and a place, and other bytes.
content() ->
    ?LET(Parts, list(frequency([{3, line()}, {1, pointer()}, {1, binary()}, {1, page()}])),
         begin
             Bytes = iolist_to_binary(Parts),
             binary:part(Bytes, 0, min(byte_size(Bytes), ?REACH))
         end).

line() -> ?LET({Text, End}, {binary(), oneof(["\n", "\r\n", "\r", "\r\r\n", ""])}, [Text, End]).
pointer() -> ?LET({Size, Pointer}, {range(0, 40), range(0, 200)}, <<Size:32, Pointer:32>>).
page() -> ?LET({Byte, Count}, {byte(), range(4000, 4200)}, binary:copy(<<Byte>>, Count)).

steps() -> list({oneof([file, emmap]), step()}, flat).

list(Generator, flat) -> ?LET(List, list(Generator), [{Via, Function, Args} || {Via, {Function, Args}} <- List]).

step() ->
    frequency([{4, {read, [count()]}},
               {3, {read_line, []}},
               {4, {pread, [offset(), count()]}},
               {2, {pread, [oneof([list({offset(), count()}), not_a_list({0, 1})])]}},
               {4, {write, [data()]}},
               {4, {pwrite, [offset(), data()]}},
               {2, {pwrite, [oneof([list({offset(), data()}), not_a_list({0, <<"x">>})])]}},
               {5, {position, [location()]}},
               {2, {truncate, []}},
               {1, {allocate, [offset(), count()]}},
               {1, {advise, [offset(), count(), oneof([normal, sequential, random, will_need, dont_need, no_reuse,
                                                       anything, 1])]}},
               {1, {sync, []}},
               {1, {datasync, []}},
               {2, {copy, [oneof([in, out]), copy_count()]}},
               {2, {ipread_s32bu_p32bu,
                    [offset(), oneof([range(0, 100), (1 bsl 31) - 1, 1 bsl 31, -1, infinity, 1.0])]}}]).

location() ->
    oneof([place(), bof, cur, eof, {bof, place()}, {cur, distance()}, {eof, distance()},
           oneof([anything, {anything, 1}, {bof, anything}, {bof, 1.0}, 1.0, <<>>, {cur, <<>>}, {bof, 1, 2}])]).

%% A multiple of the page size is where mappings end and begin.
near() -> frequency([{4, range(0, 60)}, {2, range(4090, 4100)}, {1, range(8180, 8200)}, {1, range(0, ?REACH)}]).

place() -> frequency([{12, near()}, {1, too_far()}]).
distance() -> frequency([{6, near()}, {6, ?LET(N, near(), -N)}, {1, too_far()}]).
offset() -> frequency([{16, near()}, {1, too_far()}, {1, oneof([anything, 1.0, <<>>, []])}]).

too_far() ->
    oneof([-1, -(1 bsl 63), -(1 bsl 63) - 1, 1 bsl 62, (1 bsl 63) - 1, 1 bsl 63, (1 bsl 64) - 1, 1 bsl 64, 1 bsl 70]).

%% A raw file allocates what it is asked for before it reads: nothing large.
count() -> frequency([{12, near()}, {1, oneof([-1, 1 bsl 63, 1 bsl 64, anything, 1.0, <<>>])}]).

copy_count() -> frequency([{4, near()}, {1, infinity}, {1, oneof([-1, 1.0, <<>>, anything])}]).

data() ->
    frequency([{6, binary()}, {3, line()}, {2, pointer()}, {1, page()},
               {1, oneof([<<>>, [], [<<>>, []], anything, 1, [256], [-1], [$a | $b], [<<"a">> | <<"b">>],
                          <<1:7>>, [<<1:7>>]])}]).

not_a_list(Element) -> oneof([anything, <<>>, [anything], [Element | anything], [Element, anything], [{0}]]).
