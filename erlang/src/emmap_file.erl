%% Copyright 2026 the emmap authors. Licensed under the Apache License, Version 2.0.

%% @private
%% @doc What `file' does in Erlang, too, done as there: opening by a name, lists of reads and writes, copies, sending,
%% and `#file_info{}'.
-module(emmap_file).

-export([open/2, open/4, describe/1, statistics/1, write/2, pwrite/3, pread_list/2, pwrite_list/2, copy/3, send/6,
         resource_to_send/1, ipread/3, read_info/2]).

-include("emmap_api.hrl").

%% @doc Opens a whole file. `bad' is for the arguments by their numbers.
-spec open(term(), term()) ->
          {ok, emmap:mmap_file()} | {error, emmap:reason()} | {bad, Argument :: 1..2, Why :: term()}.
open(Name, Options) ->
    case open(Name, 0, 0, Options) of
        {bad, 4, Why} -> {bad, 2, Why};
        Result -> Result
    end.

%% @doc Opens a file. `bad' is for the arguments by their numbers.
-spec open(term(), term(), term(), term()) ->
          {ok, emmap:mmap_file()} | {error, emmap:reason()} | {bad, Argument :: 1..4, Why :: term()}.
open(Name, Offset, Length, Options) ->
    case {emmap_name:encode(Name), emmap_options:parse(Options)} of
        {error, _} -> {bad, 1, not_a_name};
        _ when not ?is_natural(Offset) -> {bad, 2, not_an_offset};
        _ when not ?is_natural(Length) -> {bad, 3, not_a_length};
        {_, {bad, Why}} -> {bad, 4, Why};
        {Path, {Flags, Address, Mode, Size, Step}} ->
            case emmap_nif:open(Path, Name, Offset, Length, Flags, Address, Mode, Size, Step) of
                {ok, Resource} -> {ok, ?handle(Resource)};
                Error -> Error
            end
    end.

%% @doc Makes of what the library tells of a handle what `emmap:info' does.
-spec describe(emmap_nif:info()) -> emmap:info().
describe({Path, Offset, Size, Position, Traits, Address, Faulted}) ->
    (emmap_options:describe(Traits))#{path => Path, offset => Offset, size => Size, position => Position,
                                      address => Address, faulted => Faulted}.

%% @doc Makes of what the library tells of all handles what `emmap:stats' does.
-spec statistics(tuple()) -> #{atom() => non_neg_integer()}.
statistics({Handles, Regions, Bytes, Faults, Heals}) ->
    #{handles => Handles, regions => Regions, mapped_bytes => Bytes, faults => Faults, heals => Heals}.

%% Up to how many bytes iodata is copied into one piece, instead of made a list of its parts.
-define(ONE_PIECE, 1 bsl 20).

%% @doc Writes data that is no binary at the position.
-spec write(emmap_nif:handle(), term()) -> ok | {error, emmap:reason()}.
write(Resource, Data) ->
    try iolist_size(Data) of
        Size when Size =< ?ONE_PIECE -> emmap_nif:write(Resource, Data);
        _ -> emmap_nif:writev(Resource, erlang:iolist_to_iovec(Data))
    catch
        error:badarg -> {error, badarg}
    end.

%% @doc Writes data that is no binary at the byte `Offset'.
-spec pwrite(emmap_nif:handle(), term(), term()) -> ok | {error, emmap:reason()}.
pwrite(Resource, Offset, Data) ->
    try iolist_size(Data) of
        Size when Size =< ?ONE_PIECE -> emmap_nif:pwrite(Resource, Offset, Data);
        _ -> emmap_nif:pwritev(Resource, Offset, erlang:iolist_to_iovec(Data))
    catch
        error:badarg -> {error, badarg}
    end.

%% @doc Does a list of reads.
-spec pread_list(emmap:mmap_file(), term()) -> {ok, [binary() | eof]} | {error, emmap:reason()}.
pread_list(?handle(Resource), List) -> pread_list(Resource, List, []);
pread_list(_, _) -> {error, badarg}.

pread_list(_, [], Done) -> {ok, lists:reverse(Done)};
pread_list(Resource, [{Offset, Count} | Rest], Done) ->
    case emmap_nif:pread(Resource, Offset, Count) of
        Bytes when is_binary(Bytes) -> pread_list(Resource, Rest, [Bytes | Done]);
        eof -> pread_list(Resource, Rest, [eof | Done]);
        %% As raw files have it: in a list, a number that is no count is einval.
        {error, badarg} when is_number(Offset), is_number(Count), is_float(Count) orelse Count < 0 -> {error, einval};
        Error -> Error
    end;
pread_list(_, _, _) -> {error, badarg}.

%% @doc Does a list of writes.
-spec pwrite_list(emmap:mmap_file(), term()) ->
          ok | {error, {non_neg_integer(), emmap:reason()} | emmap:reason()}.
pwrite_list(?handle(_) = File, List) -> pwrite_list(File, List, 0);
pwrite_list(_, _) -> {error, badarg}.

pwrite_list(_, [], _) -> ok;
pwrite_list(File, [{Offset, Data} | Rest], Done) ->
    case emmap:pwrite(File, Offset, Data) of
        ok -> pwrite_list(File, Rest, Done + 1);
        {error, badarg} -> {error, badarg};
        {error, Reason} -> {error, {Done, Reason}}
    end;
pwrite_list(_, _, _) -> {error, badarg}.

%% More than a read answers without asking whether it is in memory, so that it waits for the disk elsewhere.
-define(COPY_CHUNK, 128 bsl 10).

%% @doc Copies from one handle to another. Any atom means infinity, as in `file', and is greater than any number.
-spec copy(emmap:mmap_file(), emmap:mmap_file(), non_neg_integer() | atom()) ->
          {ok, non_neg_integer()} | {error, emmap:reason()}.
copy(?handle(_) = From, ?handle(_) = To, Count) when is_integer(Count), Count >= 0; is_atom(Count) ->
    copy(From, To, Count, 0);
copy(_, _, _) -> {error, badarg}.

copy(From, To, Count, Done) ->
    case emmap:read(From, min(?COPY_CHUNK, Count)) of
        {ok, <<>>} -> {ok, Done};
        eof -> {ok, Done};
        {ok, Bytes} ->
            case emmap:write(To, Bytes) of
                ok when is_atom(Count) -> copy(From, To, Count, Done + byte_size(Bytes));
                ok -> copy(From, To, Count - byte_size(Bytes), Done + byte_size(Bytes));
                Error -> Error
            end;
        Error -> Error
    end.

%% @doc Reads a header, and what it points to. Copies, also of a `direct' handle: of bytes that are lost it is known.
-spec ipread(emmap:mmap_file(), non_neg_integer(), non_neg_integer() | atom()) ->
          {ok, {non_neg_integer(), non_neg_integer(), binary() | eof}} | eof | {error, emmap:reason()}.
ipread(File, Offset, Infinity) when is_atom(Infinity) -> ipread(File, Offset, (1 bsl 31) - 1);
ipread(_, Offset, MaxSize) when is_integer(Offset), is_integer(MaxSize), MaxSize >= 1 bsl 31 -> {error, einval};
ipread(File, Offset, MaxSize) when is_integer(Offset), is_integer(MaxSize) ->
    case emmap:snapshot(File, Offset, 8) of
        {ok, <<0:32, Pointer:32>>} when MaxSize >= 0 -> {ok, {0, Pointer, eof}};
        {ok, <<Size:32, Pointer:32>>} when Size =< MaxSize ->
            case emmap:snapshot(File, Pointer, Size) of
                {ok, Bytes} -> {ok, {Size, Pointer, Bytes}};
                eof -> {ok, {Size, Pointer, eof}};
                Error -> Error
            end;
        {ok, _} -> eof;
        Other -> Other
    end;
ipread(_, _, _) -> {error, badarg}.

%% @doc Sends copies of a range, `Bytes' of them or, if that is 0, all that follow, so many at a time. Where `file'
%% sends in another way, as it has to where something goes before or behind, it is `{error, enotsup}'.
-spec send(emmap:mmap_file(), term(), term(), term(), term(), {term(), term()}) ->
          {ok, non_neg_integer()} | {error, emmap:reason() | inet:posix() | enotsup}.
send(?handle(_) = File, Socket, Offset, Bytes, ChunkSize, {[], []})
  when is_port(Socket), ?is_natural(Offset), ?is_natural(Bytes), is_integer(ChunkSize) ->
    send_chunks(File, Socket, Offset, case Bytes of 0 -> ?MAX_INT64 - Offset; _ -> Bytes end,
                case ChunkSize of 0 -> 1 bsl 20; _ -> ChunkSize end, 0);
send(File, _, _, _, _, _) ->
    case emmap:position(File, cur) of
        {ok, _} -> {error, enotsup};
        Error -> Error
    end.

send_chunks(_, _, _, 0, _, Sent) -> {ok, Sent};
send_chunks(File, Socket, Offset, Rest, ChunkSize, Sent) ->
    case emmap:snapshot(File, Offset, min(Rest, ChunkSize)) of
        {ok, Bytes} ->
            Count = byte_size(Bytes),
            case gen_tcp:send(Socket, Bytes) of
                ok -> send_chunks(File, Socket, Offset + Count, Rest - Count, ChunkSize, Sent + Count);
                Error -> Error
            end;
        eof -> {ok, Sent};
        Error -> Error
    end.

%% @doc What `file:sendfile' asks for, and does not get, before it reads and sends.
-spec resource_to_send(emmap:mmap_file()) -> reference().
resource_to_send(?handle(_) = File) ->
    case emmap:position(File, cur) of
        {ok, _} -> erlang:error(notsup);
        %% No file of the VM's own, which is an error as a closed one is.
        {error, _} -> make_ref()
    end;
resource_to_send(_) -> erlang:error(badarg).

%% @doc The status of the file behind a handle.
-spec read_info(emmap_nif:handle(), list()) -> {ok, file:file_info()} | {error, emmap:reason()}.
read_info(Resource, Options) ->
    try proplists:get_value(time, Options, local) of
        Time when Time =:= posix; Time =:= universal; Time =:= local -> read_info_in(Resource, Time);
        _ -> {error, badarg}
    catch
        error:_ -> {error, badarg}
    end.

read_info_in(Resource, Time) ->
    case emmap_nif:handle_info(Resource) of
        {ok, {Size, Accessed, Modified, Changed, Mode, Links, Major, Minor, Inode, User, Group}} ->
            {ok, #file_info{size = Size, type = type(Mode), access = access(Mode), atime = time(Accessed, Time),
                            mtime = time(Modified, Time), ctime = time(Changed, Time), mode = Mode, links = Links,
                            major_device = Major, minor_device = Minor, inode = Inode, uid = User, gid = Group}};
        Error -> Error
    end.

%% Of the owner, as for a raw file.
access(Mode) ->
    case Mode band 8#600 of
        8#600 -> read_write;
        8#400 -> read;
        8#200 -> write;
        0 -> none
    end.

type(Mode) ->
    case Mode band 8#170000 of
        8#100000 -> regular;
        8#020000 -> device;
        8#060000 -> device;
        _ -> other
    end.

%% The start of 1902, in seconds since 1970: whatever is older is this old, as for a raw file.
-define(OLDEST, -2145916800).

time(Seconds, Time) when Seconds < ?OLDEST -> time(?OLDEST, Time);
time(Seconds, posix) -> Seconds;
time(Seconds, universal) -> calendar:system_time_to_universal_time(Seconds, second);
time(Seconds, local) -> calendar:system_time_to_local_time(Seconds, second).
