%% Copyright 2026 the emmap authors. Licensed under the Apache License, Version 2.0.

%% Files that others cut, or rewrite, under calls that pass their bytes on: an error, and never bytes that were not in
%% the file.
-module(emmap_hostile_cut_SUITE).

-export([suite/0, all/0, init_per_testcase/2, end_per_testcase/2]).
-compile([export_all, nowarn_export_all]).
-import(emmap_vm, [cut/2, survives/1, raised/1]).

-include_lib("common_test/include/ct.hrl").

-define(PAGE, 4096).
-define(MIB, (1 bsl 20)).

suite() -> [{timetrap, {minutes, 2}}].

all() ->
    [copy_from_a_cut_file_is_truncated, sendfile_of_a_cut_file_is_truncated, a_block_of_a_cut_file_is_truncated,
     lost_bytes_are_not_written, bytes_of_the_same_file_are_written_as_they_were,
     private_writes_are_kept_when_the_file_is_rewritten, growth_on_tmpfs_shows_zeroes, growth_on_disk_shows_zeroes,
     resize_to_the_size_before_makes_a_cut_file_long_again].

init_per_testcase(Case, Config) -> emmap_hostile:directory(Case, Config).

end_per_testcase(_, Config) -> emmap_hostile:delete_directory(Config).

x(Count) -> binary:copy(<<"x">>, Count).

%% A file of x, opened; and then a page is left of it.
cut_file(Dir, Size, Options) ->
    Name = filename:join(Dir, "source"),
    ok = file:write_file(Name, x(Size)),
    {ok, File} = emmap:open(Name, [shared | Options]),
    {Name, File}.

%%% Reads that pass bytes on

copy_from_a_cut_file_is_truncated(Config) ->
    Dir = ?config(dir, Config),
    survives(
      fun() ->
              [begin
                   {Name, From} = cut_file(Dir, Size, Options),
                   Copy = filename:join(Dir, "copy"),
                   {ok, To} = emmap:open(Copy, [create, write, shared, truncate | Target]),
                   cut(Name, ?PAGE),
                   Label = {Size, Options, Target},
                   {Label, {error, truncated}} = {Label, emmap:copy(From, To, Size)},
                   ok = emmap:close(To),
                   {ok, Copied} = file:read_file(Copy),
                   {Label, nomatch} = {Label, binary:match(binary:part(Copied, 0, min(?PAGE, byte_size(Copied))),
                                                           <<0>>)},
                   ok = emmap:close(From)
               end || Size <- [60000, 3 * ?MIB], Options <- [[direct], [direct, nolock], []],
                      %% A target that is long enough, and one that grows.
                      Target <- [[{size, Size}], []]]
      end).

%% The receiver gets no byte that was not in the file, and the connection stays.
sendfile_of_a_cut_file_is_truncated(Config) ->
    Dir = ?config(dir, Config),
    survives(
      fun() ->
              {ok, Listener} = gen_tcp:listen(0, [binary, {active, false}]),
              {ok, Port} = inet:port(Listener),
              [begin
                   {ok, Socket} = gen_tcp:connect("localhost", Port, [binary, {active, false}]),
                   {ok, Peer} = gen_tcp:accept(Listener),
                   {Name, File} = cut_file(Dir, 60000, Options),
                   cut(Name, ?PAGE),
                   {Options, {error, truncated}} = {Options, file:sendfile(File, Socket, 0, 60000, [])},
                   ok = gen_tcp:send(Socket, <<"end">>),
                   ok = gen_tcp:shutdown(Socket, write),
                   Received = receive_all(Peer),
                   true = lists:member(Received, [<<"end">>, <<(x(?PAGE))/binary, "end">>]),
                   ok = gen_tcp:close(Socket),
                   ok = emmap:close(File)
               end || Options <- [[direct], [direct, nolock], []]]
      end).

receive_all(Socket) ->
    case gen_tcp:recv(Socket, 0) of
        {ok, Bytes} -> <<Bytes/binary, (receive_all(Socket))/binary>>;
        {error, closed} -> <<>>
    end.

a_block_of_a_cut_file_is_truncated(Config) ->
    Dir = ?config(dir, Config),
    survives(
      fun() ->
              Name = filename:join(Dir, "blocks"),
              Header = <<100:32, (3 * ?PAGE):32>>,
              [begin
                   ok = file:write_file(Name, [Header, x(4 * ?PAGE - 8)]),
                   {ok, File} = emmap:open(Name, [shared | Options]),
                   Whole = x(100),
                   {ok, {100, _, Whole}} = emmap:ipread_s32bu_p32bu(File, 0, 1000),
                   cut(Name, ?PAGE),
                   {Options, {error, truncated}} = {Options, emmap:ipread_s32bu_p32bu(File, 0, 1000)},
                   cut(Name, 0),
                   {Options, {error, truncated}} = {Options, emmap:ipread_s32bu_p32bu(File, 0, 1000)},
                   ok = emmap:close(File)
               end || Options <- [[direct], [direct, nolock], []]]
      end).

%%% Writes of bytes that may be gone

lost_bytes_are_not_written(Config) ->
    Dir = ?config(dir, Config),
    survives(
      fun() ->
              [lost_bytes_are_not_written(Dir, Count, Size, Shape, Call)
               || Count <- [100, ?PAGE, 3 * ?MIB],
                  %% Inside the target, and past its end.
                  Size <- [3 * ?MIB, 1],
                  Shape <- [fun(Bytes) -> Bytes end, fun(Bytes) -> [Bytes] end,
                            fun(Bytes) -> ["t", [Bytes | Bytes]] end],
                  Call <- [fun(File, Data) -> emmap:pwrite(File, 0, Data) end, fun emmap:write/2]]
      end).

lost_bytes_are_not_written(Dir, Count, Size, Shape, Call) ->
    {Name, Source} = cut_file(Dir, 8 * ?MIB, [direct]),
    {ok, Bytes} = emmap:pread(Source, 2 * ?PAGE, Count),
    Target = filename:join(Dir, "target"),
    ok = file:write_file(Target, binary:copy(<<"t">>, Size)),
    {ok, File} = emmap:open(Target, [write, shared]),
    cut(Name, ?PAGE),
    Data = Shape(Bytes),
    Label = {Count, Size, is_binary(Data)},
    {Label, {error, _}} = {Label, Call(File, Data)},
    ok = emmap:close(File),
    {ok, Found} = file:read_file(Target),
    {Label, nomatch} = {Label, binary:match(Found, <<0>>)},
    ok = emmap:close(Source).

%% As if they had been copied before: memmove(3), not memcpy(3), whatever the pieces are.
bytes_of_the_same_file_are_written_as_they_were(Config) ->
    Dir = ?config(dir, Config),
    Name = filename:join(Dir, "file"),
    Content = emmap_test:bytes(6 * ?MIB),
    [begin
         ok = file:write_file(Name, Content),
         {ok, To} = emmap:open(Name, [write, shared, direct | Options]),
         {ok, From} = case Other of
                          same -> {ok, To};
                          other -> emmap:open(Name, [shared, direct])
                      end,
         Pieces = [begin {ok, Bytes} = emmap:pread(From, At, Count), Bytes end || {At, Count} <- Ranges],
         Copies = iolist_to_binary([binary:part(Content, Range) || Range <- Ranges]),
         ok = emmap:pwrite(To, Place, case Pieces of [One] -> One; _ -> Pieces end),
         <<Head:Place/binary, _:(byte_size(Copies))/binary, Tail/binary>> =
             <<Content/binary, 0:(8 * max(0, Place + byte_size(Copies) - byte_size(Content)))>>,
         {ok, Found} = file:read_file(Name),
         Label = {Ranges, Place, Options, Other},
         {Label, true} = {Label, Found =:= <<Head/binary, Copies/binary, Tail/binary>>},
         ok = emmap:close(To)
     end || {Ranges, Place} <- [{[{0, 4 * ?MIB}], ?MIB}, {[{?MIB, 4 * ?MIB}], 0},
                                {[{0, 2 * ?MIB}, {2 * ?MIB, 2 * ?MIB}], ?MIB},
                                {[{0, 2 * ?MIB}, {2 * ?MIB, 2 * ?MIB}], 100},
                                {[{2 * ?MIB, 2 * ?MIB}, {0, 2 * ?MIB}], 0},
                                %% Into growth.
                                {[{3 * ?MIB, ?MIB}, {4 * ?MIB, 2 * ?MIB}], 5 * ?MIB}],
            Options <- [[], [nolock]], Other <- [same, other]].

%%% Private handles

%% file:write_file/2 cuts the file and makes it long again, and cutting drops the private copies of its pages. What was
%% written is there, or the caller is told, until remap/1; the bytes of the file, as if nothing had been written, are
%% the one answer that there must not be. (TO BE DECIDED: which of the two; both pass here.)
private_writes_are_kept_when_the_file_is_rewritten(Config) ->
    Dir = ?config(dir, Config),
    survives(
      fun() ->
              Name = filename:join(Dir, "file"),
              [begin
                   ok = file:write_file(Name, x(3 * ?PAGE)),
                   {ok, File} = emmap:open(Name, [write, private | Options]),
                   ok = emmap:pwrite(File, ?PAGE, <<"mine">>),
                   0 = emmap:patomic(File, ?PAGE + 8, xchg, 7) band 0,
                   ok = file:write_file(Name, binary:copy(<<"y">>, 3 * ?PAGE)),
                   case emmap:pread(File, ?PAGE, 4) of
                       {ok, Bytes} -> {Options, <<"mine">>} = {Options, binary:copy(Bytes)};
                       {error, truncated} -> true = is_tuple(maps:get(faulted, emmap:info(File)))
                   end,
                   true = lists:member(raised(fun() -> emmap:patomic_read(File, ?PAGE + 8) end),
                                       [{returned, 7}, truncated]),
                   %% Pages that were never written to are the file's.
                   case emmap:pread(File, 0, 2) of
                       {ok, Other} -> {Options, <<"yy">>} = {Options, binary:copy(Other)};
                       {error, truncated} -> ok
                   end,
                   {ok, _} = emmap:remap(File),
                   {ok, _} = emmap:pread(File, ?PAGE, 4),
                   ok = emmap:close(File)
               end || Options <- [[], [nolock], [direct]]]
      end).

%%% Growth after a cut

growth_on_tmpfs_shows_zeroes(Config) -> emmap_hostile:on(Config, tmpfs, fun growth_shows_zeroes/1).

growth_on_disk_shows_zeroes(Config) -> emmap_hostile:on(Config, ext4, fun growth_shows_zeroes/1).

%% What is stored behind the end, within the last page, stays in that page on some file systems.
growth_shows_zeroes(Dir) ->
    Name = filename:join(Dir, "file"),
    [begin
         ok = file:write_file(Name, x(2 * ?PAGE)),
         {ok, File} = emmap:open(Name, [write, shared | Options]),
         cut(Name, 512),
         case Store(File) of
             ok -> ok;
             {error, truncated} -> ok
         end,
         {How, ok} = {How, Grow(File)},
         {ok, <<_:512/binary, Behind:1000/binary, _/binary>>} = file:read_file(Name),
         {Options, How, true} = {Options, How, emmap_vm:is_zero(Behind)},
         ok = emmap:close(File)
     end || Options <- [[], [nolock], [direct]],
            Store <- [fun(File) -> emmap:pwrite(File, 600, <<"behind">>) end,
                      fun(File) -> emmap:pwrite(File, 500, x(200)) end,
                      fun(File) ->
                              case raised(fun() -> emmap:patomic(File, 1024, xchg, 7) end) of
                                  {returned, _} -> ok;
                                  Reason -> {error, Reason}
                              end
                      end],
            {How, Grow} <- [{resize, fun(File) -> {ok, N} = emmap:resize(File, 3 * ?PAGE), N = 3 * ?PAGE, ok end},
                            {pwrite, fun(File) -> emmap:pwrite(File, 2 * ?PAGE, <<"x">>) end},
                            {allocate, fun(File) -> emmap:allocate(File, 0, 3 * ?PAGE) end}]].

resize_to_the_size_before_makes_a_cut_file_long_again(Config) ->
    Name = filename:join(?config(dir, Config), "file"),
    ok = file:write_file(Name, x(2 * ?PAGE)),
    {ok, File} = emmap:open(Name, [write, shared]),
    cut(Name, 512),
    {ok, 8192} = emmap:resize(File, 2 * ?PAGE),
    Expected = <<(x(512))/binary, 0:(8 * (2 * ?PAGE - 512))>>,
    {ok, Found} = file:read_file(Name),
    {512, true} = {binary:longest_common_prefix([Found, x(?PAGE)]), Found =:= Expected},
    ok = emmap:close(File).
