%% Copyright 2026 the emmap authors. Licensed under the Apache License, Version 2.0.

%% @private
%% @doc The file of counters behind `emmap:open_counters' and `emmap_atomics'; emmap_counters.hrl draws it.
%%
%% A file that holds anything else is refused and left untouched. A new file is all zeroes, and is made one of counters
%% by setting N and then the magic, both by compare-and-exchange: two that open it at once agree, and a crash in between
%% leaves a file that is still taken for a new one.
%%
%% Whoever makes one holds a lock of the file (flock(2)), from the first look to the end. So who finds no room can take
%% back what it has made: nobody has counted in it yet, and who waits for the lock opens the file anew when it has
%% changed.
-module(emmap_counters).

-export([open/2]).

-include("emmap_api.hrl").
-include("emmap_counters.hrl").

-define(CHUNK, 65536).

%% @doc Opens a file of `Count' counters, or of as many as it has if that is 0; creates it if it does not exist.
-spec open(file:name_all(), non_neg_integer()) ->
          {ok, emmap:mmap_file(), non_neg_integer()}
        | {error, emmap:reason() | bad_magic | {wrong_length, non_neg_integer()} | {wrong_count, non_neg_integer()}
                | {argument, 1 | 2, atom()}}.
open(Name, Count) when is_integer(Count), Count >= 0, Count =< ?MAX_COUNT ->
    try open_once(Name, Count) of
        changed -> open(Name, Count);
        Result -> Result
    catch
        error:badarg -> {error, {argument, 1, not_a_name}}
    end;
open(_, _) -> {error, {argument, 2, not_a_count}}.

open_once(Name, Count) ->
    Options = [read, write, shared, fixed_size]
        ++ case Count of
               0 -> [];
               _ -> [create, {size, ?COUNTER(Count)}]
           end,
    Before = before(Name),
    case emmap:open(Name, Options) of
        {ok, File} ->
            try check(File, Count) of
                {ok, Found} -> {ok, File, Found};
                new -> make(Name, File, Count, Before);
                {error, _} = Error -> close(File, Error)
            catch
                error:Reason when is_atom(Reason) -> close(File, {error, Reason})
            end;
        {error, too_short} -> too_short(Name);
        {error, _} = Error -> Error
    end.

%% What is there before anything is done. The guard: `file' would ask a process that is named here, and wait for its
%% answer.
before(Name) when is_list(Name); is_binary(Name); is_atom(Name) ->
    case file:read_file_info(Name, [raw]) of
        {error, enoent} -> nothing;
        {ok, #file_info{size = 0}} -> empty;
        _ -> other
    end;
before(_) -> other.

make(Name, File, Count, Before) ->
    try
        lock(File),
        case is_as_opened(File, ?COUNTER(Count)) andalso check(File, Count) of
            false -> close(File, changed);
            new ->
                case initialise(File, Count) of
                    {ok, Found} -> unlocked(File, {ok, File, Found});
                    %% Somebody has written zeroes over it meanwhile.
                    new -> close(File, changed);
                    Error -> take_back(Name, File, Before, Error)
                end;
            {ok, Found} -> unlocked(File, {ok, File, Found});
            Error -> close(File, Error)
        end
    catch
        error:Reason when is_atom(Reason) -> take_back(Name, File, Before, {error, Reason})
    end.

%% Others have it for no longer than it takes to set disk space aside.
lock(?handle(Resource) = File) ->
    case emmap_nif:makers_lock(Resource, true) of
        ok -> ok;
        locked -> receive after 2 -> lock(File) end;
        %% A file system without such locks: there the compare-and-exchange has to do.
        {error, Reason} when Reason =:= eopnotsupp; Reason =:= enolck; Reason =:= enosys; Reason =:= einval -> ok;
        {error, Reason} -> error(Reason)
    end.

%% Not only when it is closed: somebody may empty the file, and counters be made in it anew.
unlocked(?handle(Resource), Result) ->
    _ = emmap_nif:makers_lock(Resource, false),
    Result.

%% Whether the file still has a name, and the length that it was opened with.
is_as_opened(File, Size) ->
    case emmap:read_handle_info(File, [{time, posix}]) of
        {ok, #file_info{links = Links, size = Size}} -> Links > 0;
        _ -> false
    end.

%% With the lock held: counters that the system did not let us make leave nothing behind, and no room taken.
take_back(Name, File, Before, Error) ->
    _ = case {check(File, 0), Before} of
            {{ok, _}, _} -> ok;
            {_, nothing} -> file:delete(Name, [raw]);
            {_, empty} -> empty(Name);
            _ -> ok
        end,
    close(File, Error).

empty(Name) ->
    case file:open(Name, [raw, read, write]) of
        {ok, File} ->
            _ = file:truncate(File),
            file:close(File);
        Error -> Error
    end.

close(File, Result) ->
    _ = emmap:close(File),
    Result.

%% A file that is too short for the counters that were asked for may be one of fewer.
too_short(Name) ->
    case file:open(Name, [raw, binary, read]) of
        {ok, File} ->
            Size = file:position(File, eof),
            Header = file:pread(File, 0, ?HEADER_SIZE),
            _ = file:close(File),
            case {Size, Header} of
                {{ok, Length}, {ok, <<?MAGIC, N:64/little>>}} when Length =:= ?COUNTER(N) ->
                    {error, {wrong_count, N}};
                {{ok, Length}, _} -> {error, {wrong_length, Length}};
                {Error, _} -> Error
            end;
        Error -> Error
    end.

check(File, Count) ->
    case {emmap:read_handle_info(File, [{time, posix}]), emmap:pread(File, 0, ?HEADER_SIZE)} of
        {{ok, #file_info{size = Size}}, {ok, <<?MAGIC, N:64/little>>}} when Size =:= ?COUNTER(N) ->
            if
                Count =:= 0; Count =:= N -> {ok, N};
                true -> {error, {wrong_count, N}}
            end;
        {{ok, #file_info{size = Size}}, {ok, <<0:64, N:64/little>>}}
          when Count > 0, Size =:= ?COUNTER(Count), N =:= 0 orelse N =:= Count ->
            new;
        {{ok, #file_info{size = Size}}, {ok, <<Magic:8/binary, _/binary>>}}
          when Magic =:= <<?MAGIC>>; Magic =:= <<0:64>> ->
            {error, {wrong_length, Size}};
        {{ok, _}, {ok, <<_:?HEADER_SIZE/binary>>}} -> {error, bad_magic};
        {{ok, #file_info{size = Size}}, {ok, _}} -> {error, {wrong_length, Size}};
        {{ok, #file_info{size = Size}}, eof} -> {error, {wrong_length, Size}};
        {{error, _} = Error, _} -> Error;
        {_, {error, _} = Error} -> Error
    end.

initialise(File, Count) ->
    <<Magic:64/native>> = <<?MAGIC>>,
    case is_zero(File, ?HEADER_SIZE) andalso reserve(File, ?COUNTER(Count)) of
        ok ->
            _ = emmap:patomic_cas(File, 8, 0, Count),
            _ = emmap:patomic_cas(File, 0, 0, Magic),
            %% Whoever came first, the header now says what is so.
            check(File, Count);
        {error, _} = Error -> Error;
        false ->
            case emmap:patomic_read(File, 0) of
                %% Somebody else has made it one of counters meanwhile, and counted, without asking for the lock.
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

%% Holes are not read: a new file is nothing else.
is_zero(?handle(Resource) = File, Offset) ->
    case emmap_nif:next_data(Resource, Offset) of
        {ok, Data} ->
            case emmap:pread(File, Data, ?CHUNK) of
                {ok, Bytes} ->
                    Bits = bit_size(Bytes),
                    case Bytes of
                        <<0:Bits>> -> is_zero(File, Data + byte_size(Bytes));
                        _ -> false
                    end;
                eof -> true;
                {error, Reason} -> error(Reason)
            end;
        {error, Reason} -> error(Reason)
    end.
