%% Copyright 2026 the emmap authors. Licensed under the Apache License, Version 2.0.

%% @private
%% @doc The file of counters behind `emmap:open_counters' and `emmap_atomics':
%%
%% <pre>
%%     0            8            16           24
%%     +------------+------------+------------+--
%%     | "EMMAP01\n" |     N      | counter 0  | counter 1 ...
%%     +------------+------------+------------+--
%% </pre>
%%
%% N and the counters are 64-bit words, little-endian; the file is exactly 16 + 8 N bytes long. A file that holds
%% anything else is refused and left untouched. A new file is all zeroes, and is made one of counters by setting N and
%% then the magic, both by compare-and-exchange: two that open it at once agree, and a crash in between leaves a file
%% that is still taken for a new one.
-module(emmap_counters).

-export([open/2, max_count/0]).

-include_lib("kernel/include/file.hrl").

-define(MAGIC, "EMMAP01\n").
-define(HEADER_SIZE, 16).
-define(CHUNK, 65536).

%% @doc The largest number of counters that a file can hold: its length must fit in a signed 64-bit integer.
-spec max_count() -> pos_integer().
max_count() -> (16#7fffffffffffffff - ?HEADER_SIZE) div 8.

%% @doc Opens a file of `Count' counters, or of as many as it has if that is 0; creates it if it does not exist.
-spec open(file:name_all(), non_neg_integer()) ->
          {ok, emmap:mmap_file(), non_neg_integer()}
        | {error, emmap:reason() | bad_magic | {wrong_length, non_neg_integer()} | {wrong_count, non_neg_integer()}
                | {argument, 1 | 2, atom()}}.
open(Name, Count) when is_integer(Count), Count >= 0, Count =< (16#7fffffffffffffff - ?HEADER_SIZE) div 8 ->
    Options = [read, write, shared, fixed_size]
        ++ case Count of
               0 -> [];
               _ -> [create, {size, ?HEADER_SIZE + 8 * Count}]
           end,
    Before = before(Name),
    try emmap:open(Name, Options) of
        {ok, File} ->
            try check(File, Count) of
                {ok, Found} -> {ok, File, Found};
                {error, Reason} -> close(File, leave(Name, File, Before, Reason))
            catch
                error:Reason when is_atom(Reason) -> close(File, leave(Name, File, Before, Reason))
            end;
        {error, Short} when Short =:= too_short; Short =:= einval, Count =:= 0 -> too_short(Name);
        {error, _} = Error -> Error
    catch
        error:badarg -> {error, {argument, 1, not_a_name}}
    end;
open(_, _) -> {error, {argument, 2, not_a_count}}.

%% What is there before anything is done. The guard: `file' would ask a process that is named here, and wait for its
%% answer.
before(Name) when is_list(Name); is_binary(Name); is_atom(Name) ->
    case file:read_file_info(Name, [raw]) of
        {error, enoent} -> nothing;
        {ok, #file_info{size = 0}} -> empty;
        _ -> other
    end;
before(_) -> other.

%% Counters that the system did not let us make leave nothing behind, and no room taken, unless somebody else has made
%% the file one of counters meanwhile.
leave(Name, File, Before, Reason) when is_atom(Reason), Reason =/= bad_magic ->
    _ = case emmap:pread(File, 0, 8) of
            {ok, <<?MAGIC>>} -> ok;
            _ when Before =:= nothing -> file:delete(Name, [raw]);
            _ when Before =:= empty -> empty(Name);
            _ -> ok
        end,
    {error, Reason};
leave(_, _, _, Reason) -> {error, Reason}.

empty(Name) ->
    case file:open(Name, [raw, read, write]) of
        {ok, File} ->
            _ = file:truncate(File),
            file:close(File);
        Error -> Error
    end.

close(File, Error) ->
    _ = emmap:close(File),
    Error.

%% A file that is too short for the counters that were asked for may be one of fewer.
too_short(Name) ->
    case file:open(Name, [raw, binary, read]) of
        {ok, File} ->
            Size = file:position(File, eof),
            Header = file:pread(File, 0, ?HEADER_SIZE),
            _ = file:close(File),
            case {Size, Header} of
                {{ok, Length}, {ok, <<?MAGIC, N:64/little>>}} when Length =:= ?HEADER_SIZE + 8 * N ->
                    {error, {wrong_count, N}};
                {{ok, Length}, _} -> {error, {wrong_length, Length}};
                {Error, _} -> Error
            end;
        Error -> Error
    end.

check(File, Count) ->
    case {emmap:read_handle_info(File, [{time, posix}]), emmap:pread(File, 0, ?HEADER_SIZE)} of
        {{ok, #file_info{size = Size}}, {ok, <<?MAGIC, N:64/little>>}} when Size =:= ?HEADER_SIZE + 8 * N ->
            if
                Count =:= 0; Count =:= N -> {ok, N};
                true -> {error, {wrong_count, N}}
            end;
        {{ok, #file_info{size = Size}}, {ok, <<0:64, N:64/little>>}}
          when Count > 0, Size =:= ?HEADER_SIZE + 8 * Count, N =:= 0 orelse N =:= Count ->
            initialise(File, Count, Size);
        {{ok, #file_info{size = Size}}, {ok, <<Magic:8/binary, _/binary>>}}
          when Magic =:= <<?MAGIC>>; Magic =:= <<0:64>> ->
            {error, {wrong_length, Size}};
        {{ok, _}, {ok, <<_:?HEADER_SIZE/binary>>}} -> {error, bad_magic};
        {{ok, #file_info{size = Size}}, {ok, _}} -> {error, {wrong_length, Size}};
        {{ok, #file_info{size = Size}}, eof} -> {error, {wrong_length, Size}};
        {{error, _} = Error, _} -> Error;
        {_, {error, _} = Error} -> Error
    end.

initialise(File, Count, Size) ->
    <<Magic:64/native>> = <<?MAGIC>>,
    case is_zero(File, ?HEADER_SIZE) andalso reserve(File, Size) of
        ok ->
            _ = emmap:patomic_cas(File, 8, 0, Count),
            _ = emmap:patomic_cas(File, 0, 0, Magic),
            %% Whoever came first, the header now says what is so.
            check(File, Count);
        {error, _} = Error -> Error;
        false ->
            case emmap:patomic_read(File, 0) of
                %% Somebody else has made it one of counters meanwhile, and counted.
                Magic -> check(File, Count);
                _ -> {error, bad_magic}
            end
    end.

%% So that a disk that fills up later cannot fail a counter.
reserve(File, Size) ->
    case emmap:allocate(File, 0, Size) of
        {error, Reason} when Reason =:= eopnotsupp; Reason =:= enosys -> ok;
        Other -> Other
    end.

is_zero(File, Offset) ->
    case emmap:pread(File, Offset, ?CHUNK) of
        {ok, Bytes} ->
            Bits = bit_size(Bytes),
            case Bytes of
                <<0:Bits>> -> is_zero(File, Offset + byte_size(Bytes));
                _ -> false
            end;
        eof -> true;
        {error, Reason} -> error(Reason)
    end.
