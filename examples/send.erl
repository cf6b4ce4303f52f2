%% Copyright 2026 the emmap authors. Licensed under the Apache License, Version 2.0.
%%
%% Sends a mapped file over a socket in two ways: the whole of it by file:sendfile/5, as one would send a raw file, and
%% a part of it as a `direct' binary, which the socket takes from the file's own pages. A second process receives both
%% and compares digests. Where others may cut the file short meanwhile, send binary:copy/1 of the part instead: the VM
%% closes the connection if the bytes are gone (docs/direct.md). After `make':
%%
%%     ERL_LIBS=_build/default/lib escript examples/send.erl FILE
-module(send).
-mode(compile).

-export([main/1]).

main([File]) ->
    case open(File) of
        {ok, Map} -> send(Map);
        {error, Reason} ->
            io:format(standard_error, "~ts: ~ts~n", [File, why(Reason)]),
            halt(1)
    end;
main(_) ->
    io:put_chars(standard_error, "usage: escript send.erl FILE\n"),
    halt(2).

open(File) ->
    case emmap:open(File, [read, shared, direct]) of
        {ok, Map} ->
            case emmap:pread(Map, 0, 1) of
                eof -> {error, empty};
                _ -> {ok, Map}
            end;
        Error -> Error
    end.

send(Map) ->
    #{size := Size} = emmap:info(Map),
    {Bytes, Digest} = transfer(fun(Socket) -> {ok, Size} = file:sendfile(Map, Socket, 0, 0, []) end),
    {ok, Whole} = emmap:pread(Map, 0, Size),
    io:format("whole file: ~b bytes, ~s~n", [Bytes, same(Digest, Whole)]),
    {ok, Part} = emmap:pread(Map, Size div 3, Size div 2),
    {PartBytes, PartDigest} = transfer(fun(Socket) -> ok = gen_tcp:send(Socket, Part) end),
    io:format("a part: ~b bytes, ~s~n", [PartBytes, same(PartDigest, Part)]),
    ok = emmap:close(Map).

why(empty) -> "the file is empty, so there is nothing to send";
why(Reason) -> file:format_error(Reason).

same(Digest, Bytes) ->
    case erlang:md5(Bytes) of
        Digest -> "same";
        _ -> "NOT the same"
    end.

%% Has Send write to a connection, and returns how much came out of its other end, and the digest of it.
transfer(Send) ->
    {ok, Listener} = gen_tcp:listen(0, [binary, {active, false}, {ip, {127, 0, 0, 1}}]),
    {ok, Port} = inet:port(Listener),
    {Receiver, Monitor} = spawn_monitor(fun() -> exit({received, receive_from(Port)}) end),
    {ok, Socket} = gen_tcp:accept(Listener),
    _ = Send(Socket),
    ok = gen_tcp:close(Socket),
    ok = gen_tcp:close(Listener),
    receive {'DOWN', Monitor, process, Receiver, {received, Result}} -> Result end.

receive_from(Port) ->
    {ok, Socket} = gen_tcp:connect({127, 0, 0, 1}, Port, [binary, {active, false}]),
    receive_from(Socket, 0, erlang:md5_init()).

receive_from(Socket, Count, Digest) ->
    case gen_tcp:recv(Socket, 0) of
        {ok, Bytes} -> receive_from(Socket, Count + byte_size(Bytes), erlang:md5_update(Digest, Bytes));
        {error, closed} -> {Count, erlang:md5_final(Digest)}
    end.
