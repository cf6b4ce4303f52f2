%% Copyright 2026 the emmap authors. Licensed under the Apache License, Version 2.0.

%% @doc Counters with labels, in a file that any number of VMs and programs have open at once: while they count, and
%% after one that counted was killed.
%%
%% The file, in slots of 128 bytes; words have 64 bits, little-endian:
%%
%% ```
%% 0            8            16           24                          128
%% +------------+------------+------------+---------------------------+
%% | "EMMAPNC1" | capacity   | 0                                      |   the header
%% +------------+------------+------------+---------------------------+
%% | state      | value      | length     | label, and zeroes         |   capacity times
%% +------------+------------+------------+---------------------------+
%% '''
%%
%% The last two bits of a state: 0, the slot is free; 1, it is a counter; 2, it was removed. The others are how often it
%% has been made one. Length and label of a counter never change. Who makes one has the lock of the file that flock(2)
%% takes, writes length, label and value into a slot that is free, and then the state: so whoever is killed on the way
%% leaves a slot that is free, and two who make the same counter at once get one.
%%
%% Who has the file open has its `shared' lock of `emmap:lock_file/2', and who opens it to write and finds that nobody
%% else has it makes removed slots free. So a slot is not given to another label while somebody may count in it.
%% `examples/recorder.c' reads such a file in C, `examples/recorder.erl' in Erlang.
-module(emmap_named_counters).

-export([open/2, close/1, counter/2, remove/2, to_list/1, add/2, sub/2, put/2, get/1, add_get/2]).

-include("emmap_api.hrl").

-export_type([counters/0, counter/0, option/0, open_reason/0]).

-record(emmap_named_counters, {file :: emmap:mmap_file(), path :: file:filename_all(), capacity :: pos_integer(),
                               mode :: read | write}).
-record(emmap_named_counter, {resource :: emmap_nif:handle(), position :: pos_integer()}).

-opaque counters() :: #emmap_named_counters{}.
%% An open file of counters. It is closed by {@link close/1}, or when nothing refers to it or to one of its counters any
%% more.

-opaque counter() :: #emmap_named_counter{}.
%% A counter. Any process of the node may use it. One that was removed takes what is added to it, and nobody sees it.

-type option() :: {capacity, pos_integer()} | read.
%% `{capacity, N}': how many counters there are room for; the file is created if it does not exist. Without it the file
%% has to be there. `read': only look; then {@link counter/2} adds nothing, and changing a counter raises `badarg'.

-type open_reason() :: emmap:reason() | bad_magic | {wrong_capacity, non_neg_integer()}.
%% `bad_magic': the file is something else. `wrong_capacity': it has another one.

-define(SLOT, 128).
-define(MAGIC, "EMMAPNC1").
-define(MAX_LABEL, 104).
%% Some 128 MB.
-define(MAX_CAPACITY, 1000000).

%% Of a slot: words, and the label.
-define(VALUE, 8).
-define(LENGTH, 16).
-define(kind(State), ((State) band 3)).
-define(FREE, 0).
-define(USED, 1).
-define(REMOVED, 2).
%% The state of a slot that becomes a counter again.
-define(next(State), (((State) bor 3) + 1 + ?USED)).

%% Opening takes a lock that others have for moments only.
-define(PATIENCE, 30000).

%% @doc Opens a file of counters.
-spec open(Name :: file:name_all(), Options :: [option()]) -> {ok, counters()} | {error, open_reason()}.
open(Name, Options) ->
    case options(Options, #{}) of
        {bad, Why} -> ?badarg([Name, Options], {2, Why});
        Parsed ->
            case emmap_file:open(Name, modes(Parsed)) of
                {bad, 1, Why} -> ?badarg([Name, Options], {1, Why});
                {ok, File} -> opened(File, filename:absname(Name), Parsed);
                {error, too_short} -> why_not(Name, Parsed);
                {error, _} = Error -> Error
            end
    end.

%% A file that is shorter than for the capacity that is asked for may be one of another.
why_not(Name, Parsed) ->
    case emmap:open(Name, [read, shared]) of
        {ok, File} -> opened(File, Name, Parsed#{read => true});
        {error, too_short} -> {error, bad_magic};
        {error, _} = Error -> Error
    end.

options([read | Rest], Parsed) -> options(Rest, Parsed#{read => true});
options([{capacity, N} | Rest], Parsed) when is_integer(N), N > 0, N =< ?MAX_CAPACITY ->
    options(Rest, Parsed#{capacity => N});
options([{capacity, _} = Option | _], _) -> {bad, {bad_value, Option}};
options([Option | _], _) -> {bad, {unknown_option, Option}};
options([], Parsed) -> Parsed;
options(_, _) -> {bad, not_a_list}.

modes(#{read := true}) -> [read, shared];
modes(#{capacity := N}) -> [create, read, write, shared, fixed_size, {size, ?SLOT * (N + 1)}];
modes(#{}) -> [read, write, shared, fixed_size].

%% The handle is this process's alone until it is returned: if that is killed, its locks go with it.
opened(File, Path, Parsed) ->
    try
        Capacity = case Parsed of
                       #{read := true} -> check(File, Parsed);
                       #{} -> locked(File, fun() -> make(File, Parsed), reclaim(File, check(File, Parsed)) end)
                   end,
        hold(File),
        Mode = case Parsed of #{read := true} -> read; #{} -> write end,
        {ok, #emmap_named_counters{file = File, path = Path, capacity = Capacity, mode = Mode}}
    catch
        throw:Reason -> _ = emmap:close(File), {error, Reason};
        error:Reason when is_atom(Reason) -> _ = emmap:close(File), {error, Reason}
    end.

%% So that nobody makes slots free that are in use here. A file system without such locks has them for nobody, and
%% removed slots are not used again there.
hold(File) ->
    case emmap:lock_file(File, shared, ?PATIENCE) of
        {error, Reason} when Reason =:= locked; Reason =:= closed; Reason =:= truncated -> throw(Reason);
        _ -> ok
    end.

%% A file of zeroes becomes one of counters; the magic comes last.
make(File, #{capacity := Capacity}) ->
    case emmap:snapshot(File, 0, ?SLOT) of
        {ok, <<0:64, N:64/little, 0:112/unit:8>>} when N =:= 0; N =:= Capacity ->
            case emmap:allocate(File, 0, ?SLOT * (Capacity + 1)) of
                {error, Reason} when Reason =/= eopnotsupp, Reason =/= enosys -> throw(Reason);
                _ -> ok
            end,
            ok = emmap:patomic_write(File, 8, Capacity),
            <<Magic:64/little>> = <<?MAGIC>>,
            ok = emmap:patomic_write(File, 0, Magic);
        _ -> ok
    end;
make(_, _) -> ok.

check(File, Parsed) ->
    %% Of the file: a capacity that is asked for makes the mapping as long.
    {ok, #file_info{size = Size}} = emmap:read_handle_info(File, [{time, posix}]),
    case emmap:snapshot(File, 0, ?SLOT) of
        {ok, <<?MAGIC, N:64/little, _/binary>>} when N > 0, N =< ?MAX_CAPACITY, Size >= ?SLOT * (N + 1) ->
            case maps:get(capacity, Parsed, N) of
                N -> N;
                _ -> throw({wrong_capacity, N})
            end;
        {error, Reason} -> throw(Reason);
        _ -> throw(bad_magic)
    end.

%% Nobody else has the file open: no slot that was removed is anybody's any more.
reclaim(File, Capacity) ->
    _ = case emmap:lock_file(File, exclusive) of
            ok -> [emmap:patomic_write(File, Position, State - ?REMOVED)
                   || Position <- positions(Capacity), State <- [emmap:patomic_read(File, Position)],
                      ?kind(State) =:= ?REMOVED];
            {error, _} -> []
        end,
    Capacity.

positions(Capacity) -> lists:seq(?SLOT, ?SLOT * Capacity, ?SLOT).

%% @doc Closes the file. Its counters are wrong arguments then. `{error, closed}' if it was closed before.
-spec close(Counters :: counters()) -> ok | {error, emmap:reason()}.
close(#emmap_named_counters{file = File}) -> emmap:close(File);
close(Counters) -> ?badarg([Counters], {1, not_counters}).

%%% Counters

%% @doc Finds the counter of a label, iodata of up to 104 bytes, or adds it, at 0. `{error, full}': there is no room for
%% it. `{error, not_found}': the file is open to `read', and it is not there. `{error, enoent}': the file has been
%% deleted or replaced by another.
-spec counter(Counters :: counters(), Label :: iodata()) ->
          {ok, counter()} | {error, full | not_found | emmap:reason()}.
counter(#emmap_named_counters{mode = Mode} = Counters, Label) ->
    case label(Label) of
        bad -> ?badarg([Counters, Label], {2, not_a_label});
        Bytes ->
            answer(fun() ->
                case find(Counters, Bytes) of
                    none when Mode =:= read -> {error, not_found};
                    none -> alone(Counters, fun() -> find_or_add(Counters, Bytes) end);
                    Position -> counter_at(Counters, Position)
                end
            end)
    end;
counter(Counters, Label) -> ?badarg([Counters, Label], {1, not_counters}).

%% @doc Removes the counter of a label. Who still has it goes on counting, and nobody sees it.
-spec remove(Counters :: counters(), Label :: iodata()) -> ok | {error, not_found | emmap:reason()}.
remove(#emmap_named_counters{file = File, mode = write} = Counters, Label) ->
    case label(Label) of
        bad -> ?badarg([Counters, Label], {2, not_a_label});
        Bytes ->
            answer(fun() ->
                alone(Counters, fun() ->
                    case find(Counters, Bytes) of
                        none -> {error, not_found};
                        Position ->
                            _ = emmap:patomic(File, Position, add, ?REMOVED - ?USED),
                            ok
                    end
                end)
            end)
    end;
remove(#emmap_named_counters{} = Counters, Label) -> ?badarg([Counters, Label], read_only);
remove(Counters, Label) -> ?badarg([Counters, Label], {1, not_counters}).

%% @doc Lists all labels with their values, in the order of their slots. Raises why they cannot be read.
-spec to_list(Counters :: counters()) -> [{Label :: binary(), Value :: integer()}].
to_list(#emmap_named_counters{file = File, capacity = Capacity} = Counters) ->
    try [{label_at(File, Position), emmap:patomic_read(File, Position + ?VALUE)}
         || Position <- positions(Capacity), ?kind(emmap:patomic_read(File, Position)) =:= ?USED]
    catch
        throw:Reason -> ?raise(Reason, [Counters]);
        error:badarg -> ?badarg([Counters], closed);
        error:Reason -> ?raise(Reason, [Counters])
    end;
to_list(Counters) -> ?badarg([Counters], {1, not_counters}).

label(Label) ->
    try iolist_to_binary(Label) of
        Bytes when byte_size(Bytes) =< ?MAX_LABEL -> Bytes;
        _ -> bad
    catch
        error:badarg -> bad
    end.

answer(Call) ->
    try Call()
    catch
        throw:Reason -> {error, Reason};
        error:badarg -> {error, closed};
        error:Reason when is_atom(Reason) -> {error, Reason}
    end.

counter_at(#emmap_named_counters{file = ?handle(Resource)}, Position) ->
    {ok, #emmap_named_counter{resource = Resource, position = Position + ?VALUE}}.

find(#emmap_named_counters{file = File, capacity = Capacity}, Label) -> find(File, Label, positions(Capacity)).

find(_, _, []) -> none;
find(File, Label, [Position | Positions]) ->
    case ?kind(emmap:patomic_read(File, Position)) =:= ?USED andalso label_at(File, Position) of
        Label -> Position;
        _ -> find(File, Label, Positions)
    end.

label_at(File, Position) ->
    case emmap:snapshot(File, Position + ?LENGTH, ?SLOT - ?LENGTH) of
        {ok, <<Length:64/little, Label:Length/binary, _/binary>>} -> Label;
        {ok, _} -> throw(bad_magic);
        {error, Reason} -> throw(Reason)
    end.

find_or_add(#emmap_named_counters{file = File, capacity = Capacity} = Counters, Label) ->
    case find(Counters, Label) of
        none ->
            Free = [{Position, State} || Position <- positions(Capacity), State <- [emmap:patomic_read(File, Position)],
                                         ?kind(State) =:= ?FREE],
            case Free of
                [] -> {error, full};
                [{Position, State} | _] ->
                    Padding = ?MAX_LABEL - byte_size(Label),
                    ok = written(emmap:pwrite(File, Position + ?VALUE,
                                              <<0:64, (byte_size(Label)):64/little, Label/binary, 0:Padding/unit:8>>)),
                    ok = emmap:patomic_write(File, Position, ?next(State)),
                    counter_at(Counters, Position)
            end;
        Position -> counter_at(Counters, Position)
    end.

written(ok) -> ok;
written({error, Reason}) -> throw(Reason).

%%% The lock of who changes labels

%% Through a handle of this process's own, so that it goes with the process.
alone(#emmap_named_counters{file = File, path = Path}, Fun) ->
    case emmap_file:open(Path, [read, shared]) of
        {ok, Own} ->
            try
                identity(File) =:= identity(Own) orelse throw(enoent),
                locked(Own, Fun)
            after
                emmap:close(Own)
            end;
        {error, Reason} -> throw(Reason)
    end.

identity(File) ->
    case emmap:read_handle_info(File, [{time, posix}]) of
        {ok, #file_info{inode = Inode, major_device = Device}} -> {Device, Inode};
        {error, Reason} -> throw(Reason)
    end.

locked(?handle(Resource) = File, Fun) ->
    case emmap_nif:makers_lock(Resource, true) of
        ok ->
            try Fun()
            after emmap_nif:makers_lock(Resource, false)
            end;
        %% Others have it for as long as it takes to write a label.
        locked -> receive after 1 -> locked(File, Fun) end;
        {error, Reason} -> throw(Reason)
    end.

%%% Values

%% Raises what an operation on a word has answered instead: the library has looked at the number.
-define(refused(Reason, Args),
        case Reason of
            badarg -> ?badarg(Args, {2, not_a_word});
            _ -> ?raise(Reason, Args)
        end).

%% That a position is an integer is said for the compiler: what it makes of a call is 3 ns faster then.

%% @doc Adds to a counter; overflow wraps. Raises `badarg' if the file is closed, or open to `read'; `truncated' if
%% somebody has cut it short.
-spec add(Counter :: counter(), Increment :: integer()) -> ok.
add(#emmap_named_counter{resource = Resource, position = Position} = Counter, Increment) when is_integer(Position) ->
    case emmap_nif:patomic(Resource, Position, add, Increment) of
        Old when is_integer(Old) -> ok;
        Reason -> ?refused(Reason, [Counter, Increment])
    end;
add(Counter, Increment) -> ?badarg([Counter, Increment], {1, not_a_counter}).

%% @doc Subtracts from a counter. As {@link add/2}.
-spec sub(Counter :: counter(), Decrement :: integer()) -> ok.
sub(#emmap_named_counter{resource = Resource, position = Position} = Counter, Decrement) when is_integer(Position) ->
    case emmap_nif:patomic(Resource, Position, sub, Decrement) of
        Old when is_integer(Old) -> ok;
        Reason -> ?refused(Reason, [Counter, Decrement])
    end;
sub(Counter, Decrement) -> ?badarg([Counter, Decrement], {1, not_a_counter}).

%% @doc Sets a counter. As {@link add/2}.
-spec put(Counter :: counter(), Value :: integer()) -> ok.
put(#emmap_named_counter{resource = Resource, position = Position} = Counter, Value) when is_integer(Position) ->
    case emmap_nif:patomic_write(Resource, Position, Value) of
        ok -> ok;
        Reason -> ?refused(Reason, [Counter, Value])
    end;
put(Counter, Value) -> ?badarg([Counter, Value], {1, not_a_counter}).

%% @doc Reads a counter.
-spec get(Counter :: counter()) -> integer().
get(#emmap_named_counter{resource = Resource, position = Position} = Counter) ->
    ?word(emmap_nif:patomic_read(Resource, Position), [Counter]);
get(Counter) -> ?badarg([Counter], {1, not_a_counter}).

%% @doc Adds to a counter and returns what it is then. As {@link add/2}.
-spec add_get(Counter :: counter(), Increment :: integer()) -> integer().
add_get(#emmap_named_counter{resource = Resource, position = Position} = Counter, Increment)
  when is_integer(Position) ->
    case emmap_nif:patomic(Resource, Position, add, Increment) of
        Old when is_integer(Old) ->
            <<New:64/signed>> = <<(Old + Increment):64>>,
            New;
        Reason -> ?refused(Reason, [Counter, Increment])
    end;
add_get(Counter, Increment) -> ?badarg([Counter, Increment], {1, not_a_counter}).
