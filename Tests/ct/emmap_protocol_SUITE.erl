%% Copyright 2026 the emmap authors. Licensed under the Apache License, Version 2.0.

%% What programs do with raw files through `file' and its relatives, done with maps.
-module(emmap_protocol_SUITE).

-export([all/0, init_per_testcase/2, end_per_testcase/2]).
-export([sendfile_to_gen_tcp/1, sendfile_to_socket/1, sendfile_from_offset_in_chunks/1, sendfile_leaves_position/1,
         list_mode_gives_lists/1, read_file_info_of_handle_is_the_files/1,
         read_file_info_with_wrong_options_fails_as_on_raw_file/1, copy_between_all_kinds_of_handles/1,
         copy_more_than_a_chunk/1, copy_from_file_name_to_handle/1, ipread_reads_what_a_header_names/1,
         every_function_of_file_on_closed_handle_fails/1, handle_works_in_another_process/1,
         file_functions_dispatch_to_emmap/1]).

-include_lib("kernel/include/file.hrl").

all() ->
    [sendfile_to_gen_tcp, sendfile_to_socket, sendfile_from_offset_in_chunks, sendfile_leaves_position,
     list_mode_gives_lists, read_file_info_of_handle_is_the_files,
     read_file_info_with_wrong_options_fails_as_on_raw_file, copy_between_all_kinds_of_handles, copy_more_than_a_chunk,
     copy_from_file_name_to_handle, ipread_reads_what_a_header_names, every_function_of_file_on_closed_handle_fails,
     handle_works_in_another_process, file_functions_dispatch_to_emmap].

init_per_testcase(Case, Config) ->
    Directory = filename:join(proplists:get_value(priv_dir, Config), atom_to_list(Case)),
    ok = file:make_dir(Directory),
    [{directory, Directory} | Config].

end_per_testcase(_, Config) -> file:del_dir_r(proplists:get_value(directory, Config)).

path(Config, Name) -> filename:join(proplists:get_value(directory, Config), Name).

map(Config, Name, Bytes) -> map(Config, Name, Bytes, []).

map(Config, Name, Bytes, Options) ->
    ok = file:write_file(path(Config, Name), Bytes),
    {ok, Map} = emmap:open(path(Config, Name), [read, write, shared | Options]),
    Map.

%% Bytes that tell where they are from.
bytes(Count) -> << <<N:32>> || N <- lists:seq(1, Count div 4) >>.

%%% sendfile

sendfile_to_gen_tcp(Config) ->
    Bytes = bytes(300000),
    [begin
         Map = map(Config, "sent", Bytes, Options),
         Bytes = through_tcp(fun(Socket) -> {ok, 300000} = file:sendfile(Map, Socket, 0, 0, []) end),
         ok = file:close(Map)
     end || Options <- [[], [direct]]].

sendfile_to_socket(Config) ->
    Bytes = bytes(300000),
    Map = map(Config, "sent", Bytes),
    {ok, Listener} = socket:open(inet, stream, tcp),
    ok = socket:bind(Listener, #{family => inet, addr => loopback, port => 0}),
    ok = socket:listen(Listener),
    {ok, #{port := Port}} = socket:sockname(Listener),
    Receiver = receiver(Port),
    {ok, Socket} = socket:accept(Listener),
    {ok, 300000} = file:sendfile(Map, Socket, 0, 0, []),
    ok = socket:close(Socket),
    ok = socket:close(Listener),
    Bytes = received(Receiver),
    ok = file:close(Map).

sendfile_from_offset_in_chunks(Config) ->
    Bytes = bytes(300000),
    Map = map(Config, "sent", Bytes),
    [begin
         Expected = binary:part(Bytes, Offset, Count),
         Expected = through_tcp(fun(Socket) -> {ok, Count} = file:sendfile(Map, Socket, Offset, Asked, Options) end)
     end || {Offset, Asked, Count} <- [{1, 4096, 4096}, {4097, 0, 295903}, {299999, 10, 1}],
            Options <- [[], [{chunk_size, 1000}]]],
    ok = file:close(Map).

%% As with raw files, where sendfile moves nothing.
sendfile_leaves_position(Config) ->
    Map = map(Config, "sent", bytes(40000)),
    {ok, Raw} = file:open(path(Config, "sent"), [raw, binary, read]),
    [begin
         {ok, 12} = file:position(File, 12),
         _ = through_tcp(fun(Socket) -> {ok, 100} = file:sendfile(File, Socket, 50, 100, []) end),
         {Module, {ok, 12}} = {Module, file:position(File, cur)}
     end || #file_descriptor{module = Module} = File <- [Raw, Map]].

through_tcp(Send) ->
    {ok, Listener} = gen_tcp:listen(0, [binary, {active, false}, {ip, {127, 0, 0, 1}}]),
    {ok, Port} = inet:port(Listener),
    Receiver = receiver(Port),
    {ok, Socket} = gen_tcp:accept(Listener),
    _ = Send(Socket),
    ok = gen_tcp:close(Socket),
    ok = gen_tcp:close(Listener),
    received(Receiver).

receiver(Port) ->
    Self = self(),
    Tag = make_ref(),
    _ = spawn_link(fun() ->
                           {ok, Socket} = gen_tcp:connect({127, 0, 0, 1}, Port, [binary, {active, false}]),
                           Self ! {Tag, receive_all(Socket, [])}
                   end),
    Tag.

receive_all(Socket, Parts) ->
    case gen_tcp:recv(Socket, 0) of
        {ok, Part} -> receive_all(Socket, [Part | Parts]);
        {error, closed} -> iolist_to_binary(lists:reverse(Parts))
    end.

received(Tag) -> receive {Tag, Bytes} -> Bytes end.

%%% List mode

%% The layer that OTP puts around raw files that are not opened with `binary'.
list_mode_gives_lists(Config) ->
    Map = map(Config, "lists", "one\ntwo\nthree"),
    File = #file_descriptor{module = raw_file_io_list, data = Map},
    {ok, "one\n"} = file:read_line(File),
    {ok, "tw"} = file:read(File, 2),
    {ok, 6} = file:position(File, cur),
    {ok, "three"} = file:pread(File, 8, 100),
    {ok, ["one", eof, "two"]} = file:pread(File, [{0, 3}, {100, 1}, {4, 3}]),
    ok = file:pwrite(File, 0, "ONE"),
    ok = file:pwrite(File, [{4, "T"}, {5, "W"}]),
    {ok, 13} = file:position(File, eof),
    eof = file:read(File, 1),
    eof = file:read_line(File),
    ok = file:write(File, "!"),
    {ok, 14} = file:position(File, cur),
    {ok, 3} = file:position(File, 3),
    ok = file:truncate(File),
    ok = file:advise(File, 0, 0, normal),
    ok = file:allocate(File, 0, 1),
    ok = file:sync(File),
    ok = file:datasync(File),
    ok = file:pwrite(File, 0, [<<5:32, 8:32>>, "12345"]),
    {ok, {5, 8, "12345"}} = file:ipread_s32bu_p32bu(File, 0, 100),
    {ok, #file_info{size = 13}} = file:read_file_info(File),
    <<"12345">> = through_tcp(fun(Socket) -> {ok, 5} = file:sendfile(File, Socket, 8, 5, []) end),
    ok = file:close(File),
    {error, closed} = file:close(Map).

%%% Information and copies

read_file_info_of_handle_is_the_files(Config) ->
    [begin
         Map = map(Config, "info", bytes(5000)),
         Expected = file:read_file_info(path(Config, "info"), Options),
         Expected = file:read_file_info(Map, Options),
         ok = file:pwrite(Map, 5000, "more"),
         {ok, #file_info{size = 5004, access = read_write, type = regular}} = file:read_file_info(Map, Options),
         ok = file:close(Map)
     end || Options <- [[], [{time, posix}], [{time, universal}], [{time, local}], [raw, {time, posix}]]],
    %% What the owner may do, however the handle was opened.
    [begin
         Map = map(Config, "access", "abc"),
         {ok, Raw} = file:open(path(Config, "access"), [raw, read]),
         ok = file:change_mode(path(Config, "access"), Mode),
         Expected = file:read_file_info(Raw),
         {Mode, Expected} = {Mode, file:read_file_info(Map)},
         ok = file:change_mode(path(Config, "access"), 8#600),
         [ok = file:close(File) || File <- [Raw, Map]]
     end || Mode <- [8#600, 8#644, 8#400, 8#200, 8#044, 8#700]].

read_file_info_with_wrong_options_fails_as_on_raw_file(Config) ->
    Map = map(Config, "info", "abc"),
    {ok, Raw} = file:open(path(Config, "info"), [raw, read]),
    [begin
         Expected = outcome(fun() -> file:read_file_info(Raw, Options) end),
         {Options, Expected} = {Options, outcome(fun() -> file:read_file_info(Map, Options) end)}
     end || Options <- [[{time, anything}], [anything, {time, posix}], [{time, posix}, {time, local}], [1]]],
    {error, badarg} = emmap:read_handle_info(Map, anything).

%% What a call came to; the times of the file are the same for both.
outcome(Call) ->
    try Call() of
        {ok, #file_info{mtime = Time}} -> {ok, Time};
        Other -> Other
    catch Class:Reason -> {Class, Reason}
    end.

copy_between_all_kinds_of_handles(Config) ->
    Bytes = bytes(10000),
    Open = [{map, fun(Name) -> {ok, File} = emmap:open(Name, [read, write, shared]), File end},
            {direct, fun(Name) -> {ok, File} = emmap:open(Name, [read, write, shared, direct]), File end},
            {raw, fun(Name) -> {ok, File} = file:open(Name, [raw, binary, read, write]), File end},
            {list, fun(Name) -> {ok, File} = file:open(Name, [raw, read, write]), File end},
            {process, fun(Name) -> {ok, File} = file:open(Name, [binary, read, write]), File end}],
    [begin
         ok = file:write_file(path(Config, "from"), Bytes),
         ok = file:write_file(path(Config, "to"), "0123456789"),
         From = OpenFrom(path(Config, "from")),
         To = OpenTo(path(Config, "to")),
         {ok, 10} = file:position(From, 10),
         {ok, 5} = file:position(To, 5),
         {Kinds, {ok, 4000}} = {Kinds, file:copy(From, To, 4000)},
         {ok, 4010} = file:position(From, cur),
         {ok, 4005} = file:position(To, cur),
         {ok, 5990} = file:copy(From, To),
         ok = file:close(From),
         ok = file:close(To),
         Expected = <<"01234", (binary:part(Bytes, 10, 9990))/binary>>,
         {ok, Expected} = file:read_file(path(Config, "to"))
     end || {KindFrom, OpenFrom} <- Open, {KindTo, OpenTo} <- Open, Kinds <- [{KindFrom, KindTo}],
            lists:any(fun(Kind) -> Kind =:= map orelse Kind =:= direct end, [KindFrom, KindTo])].

copy_more_than_a_chunk(Config) ->
    Bytes = bytes(1000004),
    From = map(Config, "from", Bytes),
    To = map(Config, "to", ""),
    {ok, 1000004} = file:copy(From, To),
    {ok, 0} = file:copy(From, To),
    {ok, Bytes} = file:read_file(path(Config, "to")).

copy_from_file_name_to_handle(Config) ->
    To = map(Config, "to", ""),
    ok = file:write_file(path(Config, "from"), "abc"),
    {ok, 3} = file:copy(path(Config, "from"), To),
    {ok, 0} = file:position(To, bof),
    {ok, 3} = file:copy(To, path(Config, "third")),
    {ok, <<"abc">>} = file:read_file(path(Config, "third")).

%% The read that dets is built on.
ipread_reads_what_a_header_names(Config) ->
    Map = map(Config, "ipread", [<<3:32, 20:32, 100:32, 20:32, 5, 6, 7, 8>>, "abcdef"]),
    {ok, {3, 20, <<"abc">>}} = file:ipread_s32bu_p32bu(Map, 0, 3),
    eof = file:ipread_s32bu_p32bu(Map, 0, 2),
    {ok, {100, 20, <<"abcdef">>}} = file:ipread_s32bu_p32bu(Map, 8, 1000),
    {ok, {100, 20, <<"abcdef">>}} = file:ipread_s32bu_p32bu(Map, 8, infinity),
    eof = file:ipread_s32bu_p32bu(Map, 19, 1000),
    eof = file:ipread_s32bu_p32bu(Map, 1000, 1000).

%%% Handles

every_function_of_file_on_closed_handle_fails(Config) ->
    Map = map(Config, "closed", "abc"),
    Other = map(Config, "other", "abc"),
    ok = file:close(Map),
    [{Function, {error, closed}} = {Function, apply(file, Function, [Map | Args])}
     || {Function, Args} <- calls(), {Function, Args} =/= {copy, [Map, 1]}],
    {error, closed} = file:copy(Map, Other, 1),
    {error, closed} = file:copy(Other, Map, 1),
    {error, closed} = file:read_file_info(Map),
    {error, closed} = file:close(Map).

calls() ->
    [{read, [1]}, {read_line, []}, {pread, [0, 1]}, {pread, [[{0, 1}]]}, {write, ["x"]}, {pwrite, [0, "x"]},
     {position, [0]}, {position, [cur]}, {position, [{eof, 0}]}, {truncate, []}, {sync, []}, {datasync, []},
     {advise, [0, 0, normal]}, {allocate, [0, 1]}, {ipread_s32bu_p32bu, [0, 1]}].

%% Where a raw file refuses all but its owner.
handle_works_in_another_process(Config) ->
    Map = map(Config, "shared", "abcdef"),
    Self = self(),
    _ = spawn_link(fun() -> Self ! {read, file:read(Map, 3), file:pwrite(Map, 0, "x")} end),
    receive {read, {ok, <<"abc">>}, ok} -> ok end,
    {ok, <<"def">>} = file:read(Map, 3),
    {ok, <<"x">>} = file:pread(Map, 0, 1).

%% Whatever `file' asks of the module of a handle is there.
file_functions_dispatch_to_emmap(_) ->
    Asked = raw_file_io_list:module_info(exports) -- [{open_layer, 3}, {module_info, 0}, {module_info, 1}],
    [] = Asked -- emmap:module_info(exports).
