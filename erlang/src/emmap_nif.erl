%% Copyright 2026 the emmap authors. Licensed under the Apache License, Version 2.0.

%% @private
%% @doc The library in Swift: loads it, and has every function of it. All other modules call these.
%%
%% Sources/EmmapNif has what each takes and answers, and says in FunctionTable.swift where it runs. The arguments are
%% those of the function of the same name in `emmap', with a resource for the handle, unless a comment there says more.
-module(emmap_nif).

-export([init/0]).
%% All of them; the VM refuses a library that has others.
-define(NIFS, [open/9, close/1, handle_info/1, resize/2, truncate/1, remap/1, allocate/3, next_data/2, set_lock/2,
               datasync/1, sync/1, sync_range/3, flush/1, advise/4, pread/3, snapshot/3, read/2, read_line/1,
               pwrite/3, pwritev/3, write/2, writev/2, position/3, info/1, patomic/4, patomic_read/2,
               patomic_write/3, patomic_cas/4, patomic/5, patomic_read/3, patomic_write/4, patomic_cas/5,
               makers_lock/2, lines/2, search/5, resident/3, populate/3, lock_memory/3, unlock_memory/3,
               punch_hole/3, queue_open/7, queue_consumer/3, queue_remove_consumer/2, queue_purge/2, queue_info/2,
               queue_close/1, queue_push/2, queue_push_list/2, queue_pop/2, queue_pop_list/3, queue_peek/2,
               queue_take/2, queue_ack/4, queue_nack/4, queue_read/6, queue_length/2, queue_wait/3, queue_cancel/3,
               queue_sync/3, blocks_open/5, blocks_info/1, blocks_check/2, blocks_close/1, blocks_store/2, blocks_read/2,
               blocks_free/2, blocks_read_list/3, blocks_count/1, blocks_sync/3, handles/0, stats/0, await/4,
               await_end/1, notify/2]).
-export(?NIFS).

-export_type([handle/0, info/0]).

-on_load(init/0).
-nifs(?NIFS).

-type handle() :: reference() | none.
%% What is in an `emmap:mmap_file()', and `none' for something else, which is a wrong argument.

-type word_reason() :: emmap:reason() | misaligned | out_of_range | read_only.

-define(not_loaded, erlang:nif_error(not_loaded)).

%%% Loading

%% @doc Loads the library. The code server calls it when the module is loaded; a second call is an error and changes
%% nothing. Where it does not find the library it prints each place that it tried on standard error.
-spec init() -> ok | {error, term()}.
init() -> load(library_names(), []).

load([], Tried) ->
    Places = lists:reverse(Tried),
    explain(Places),
    {error, {emmap_library_not_loaded, Places}};
load([Name | Names], Tried) ->
    case erlang:load_nif(Name, 0) of
        ok -> ok;
        {error, {Kind, _}} = Error when Kind =:= upgrade; Kind =:= reload -> Error;
        {error, {_, Text}} -> load(Names, [{Name, Text} | Tried])
    end.

%% The caller sees no more than that a function is undefined, and what the code server logs is lost where the VM ends at
%% once, as with an escript.
explain(Places) ->
    try
        io:put_chars(standard_error, ["emmap: no NIF library was found, or none could be loaded:\n"
                                      | [["  ", Text, $\n] || {_, Text} <- Places]])
    catch
        _:_ -> ok
    end.

%% Beside the application, as ever; beside the beam file's ebin, where no application was made known; beside an
%% escript.
library_names() ->
    Application =
        case code:priv_dir(emmap) of
            {error, bad_name} -> [];
            Directory -> [Directory]
        end,
    {Beam, Script} =
        case code:which(?MODULE) of
            File when is_list(File), File =/= [] ->
                {[filename:join(filename:dirname(filename:dirname(File)), "priv")],
                 [Place || Path <- escript(File), Parent <- [filename:dirname(Path)],
                           Place <- [Parent, filename:join(Parent, "priv")]]};
            _ -> {[], []}
        end,
    [filename:join(Directory, "emmap") || Directory <- lists:uniq(Application ++ Beam ++ Script)].

%% The escript that a beam file is in, and the one that it is a link to. The paths of its beam files lead through it as
%% if it were a directory.
escript(File) ->
    case filename:dirname(File) of
        File -> [];
        Parent ->
            case filelib:is_regular(Parent) of
                true -> [Parent | linked(Parent)];
                false -> escript(Parent)
            end
    end.

%% There is no circle: the path was opened before.
linked(Path) ->
    case file:read_link(Path) of
        {ok, Target} ->
            Next = filename:absname(Target, filename:dirname(Path)),
            [Next | linked(Next)];
        {error, _} -> []
    end.

%%% The NIFs

%% @doc Opens a file. `Path' ends with NUL, `Name' is what `info' gives back; emmap_options has the flags.
-spec open(Path :: binary(), Name :: file:name_all(), Offset :: non_neg_integer(), Length :: non_neg_integer(),
           Flags :: non_neg_integer(), Address :: non_neg_integer(), Mode :: non_neg_integer(),
           Size :: non_neg_integer(), MaximumStep :: pos_integer()) ->
          {ok, handle()} | {error, emmap:reason()}.
open(_, _, _, _, _, _, _, _, _) -> ?not_loaded.

%% @doc Closes a file.
-spec close(handle()) -> ok | {error, emmap:reason()}.
close(_) -> ?not_loaded.

-type info() :: {Name :: file:name_all(), Offset :: non_neg_integer(), Size :: non_neg_integer(),
                 Position :: non_neg_integer(), Traits :: non_neg_integer(), Address :: non_neg_integer(),
                 Faulted :: false | {non_neg_integer(), non_neg_integer()}}.

%% @doc Describes all handles that are open.
-spec handles() -> [info()].
handles() -> ?not_loaded.

%% @doc Tells how many handles and regions there are, bytes mapped, faults and heals.
-spec stats() -> {integer(), integer(), integer(), integer(), integer()}.
stats() -> ?not_loaded.

%% @doc Describes a handle; emmap_options has the bits of `Traits'.
-spec info(handle()) -> info() | {error, emmap:reason()}.
info(_) -> ?not_loaded.

%% @doc Gives the numbers of fstat(2), times in seconds since 1970: size, atime, mtime, ctime, mode, links, device,
%% device that it is, inode, user, group.
-spec handle_info(handle()) -> {ok, tuple()} | {error, emmap:reason()}.
handle_info(_) -> ?not_loaded.

%% @doc Reads at an offset. The bare bytes.
-spec pread(handle(), Offset :: term(), Count :: term()) -> binary() | eof | {error, emmap:reason()}.
pread(_, _, _) -> ?not_loaded.

%% @doc The same, and always a copy.
-spec snapshot(handle(), Offset :: term(), Count :: term()) -> binary() | eof | {error, emmap:reason()}.
snapshot(_, _, _) -> ?not_loaded.

%% @doc Reads at the position. The bare bytes; `{ok, <<>>}' if none were asked for at the end.
-spec read(handle(), Count :: term()) -> binary() | {ok, binary()} | eof | {error, emmap:reason()}.
read(_, _) -> ?not_loaded.

%% @doc Reads a line at the position. The bare bytes.
-spec read_line(handle()) -> binary() | eof | {error, emmap:reason()}.
read_line(_) -> ?not_loaded.

%% @doc Reads lines at the position, at most so many; there may be more than it gives. The bare list.
-spec lines(handle(), Limit :: pos_integer()) -> [binary(), ...] | eof | {error, emmap:reason()}.
lines(_, _) -> ?not_loaded.

%% @doc Searches a part of a range. `Next' is where to go on: from there or, for the last match, up to there.
%% `out_of_range': the range ends past the end.
-spec search(handle(), Patterns :: [binary(), ...], From :: non_neg_integer(), To :: non_neg_integer() | eof,
             Limit :: pos_integer() | last) ->
          {Next :: non_neg_integer() | done, [{Position :: non_neg_integer(), Length :: pos_integer()}]}
        | {error, emmap:reason() | out_of_range}.
search(_, _, _, _, _) -> ?not_loaded.

%% @doc Writes at an offset. Lists are copied here, so they should not be long.
-spec pwrite(handle(), Offset :: term(), iodata()) -> ok | {error, emmap:reason()}.
pwrite(_, _, _) -> ?not_loaded.

%% @doc Writes binaries at an offset, one after the other.
-spec pwritev(handle(), Offset :: term(), [binary()]) -> ok | {error, emmap:reason()}.
pwritev(_, _, _) -> ?not_loaded.

%% @doc Writes at the position.
-spec write(handle(), iodata()) -> ok | {error, emmap:reason()}.
write(_, _) -> ?not_loaded.

%% @doc Writes binaries at the position.
-spec writev(handle(), [binary()]) -> ok | {error, emmap:reason()}.
writev(_, _) -> ?not_loaded.

%% @doc Moves the position.
-spec position(handle(), Origin :: term(), Offset :: term()) -> {ok, non_neg_integer()} | {error, emmap:reason()}.
position(_, _, _) -> ?not_loaded.

%% @doc Sets the size, or doubles it.
-spec resize(handle(), Size :: non_neg_integer() | double) -> {ok, non_neg_integer()} | {error, emmap:reason()}.
resize(_, _) -> ?not_loaded.

%% @doc Cuts the file at the position.
-spec truncate(handle()) -> ok | {error, emmap:reason()}.
truncate(_) -> ?not_loaded.

%% @doc Fits the handle to the file.
-spec remap(handle()) -> {ok, non_neg_integer()} | {error, emmap:reason()}.
remap(_) -> ?not_loaded.

%% @doc Sets disk space aside.
-spec allocate(handle(), Offset :: term(), Count :: term()) -> ok | {error, emmap:reason()}.
allocate(_, _, _) -> ?not_loaded.

%% @doc The first position from an offset on that is in no hole of the file; the size if there is none.
-spec next_data(handle(), Offset :: non_neg_integer()) -> {ok, non_neg_integer()} | {error, emmap:reason()}.
next_data(_, _) -> ?not_loaded.

%% @doc Takes the lock of those who make a file of counters, or gives it back: not that of `set_lock'.
-spec makers_lock(handle(), Take :: boolean()) -> ok | locked | {error, emmap:reason()}.
makers_lock(_, _) -> ?not_loaded.

%% @doc Sets the advisory lock of the file that the handle has, if nobody else has one in the way.
-spec set_lock(handle(), Kind :: shared | exclusive | none) -> ok | locked | {error, emmap:reason()}.
set_lock(_, _) -> ?not_loaded.

%% @doc Waits for data and metadata.
-spec sync(handle()) -> ok | {error, emmap:reason()}.
sync(_) -> ?not_loaded.

%% @doc Waits for a range. `out_of_range': it ends past the end.
-spec sync_range(handle(), Offset :: non_neg_integer(), Count :: non_neg_integer()) ->
          ok | {error, emmap:reason() | out_of_range}.
sync_range(_, _, _) -> ?not_loaded.

%% @doc Waits for data.
-spec datasync(handle()) -> ok | {error, emmap:reason()}.
datasync(_) -> ?not_loaded.

%% @doc Starts writing, and does not wait.
-spec flush(handle()) -> ok | {error, emmap:reason()}.
flush(_) -> ?not_loaded.

%% @doc Tells how a range is going to be used.
-spec advise(handle(), Offset :: term(), Count :: term(), Advice :: term()) -> ok | {error, emmap:reason()}.
advise(_, _, _, _) -> ?not_loaded.

%% @doc Changes a word. The old value, or the bare reason why not.
-spec patomic(handle(), Position :: term(), Operation :: term(), Value :: term()) -> integer() | word_reason().
patomic(_, _, _, _) -> ?not_loaded.

%% @doc Reads a word. The value, or the bare reason why not.
-spec patomic_read(handle(), Position :: term()) -> integer() | word_reason().
patomic_read(_, _) -> ?not_loaded.

%% @doc Writes a word. `ok', or the bare reason why not.
-spec patomic_write(handle(), Position :: term(), Value :: term()) -> ok | word_reason().
patomic_write(_, _, _) -> ?not_loaded.

%% @doc Compares and exchanges a word. `ok', the word that was there, or the bare reason why not.
-spec patomic_cas(handle(), Position :: term(), Expected :: term(), New :: term()) -> ok | integer() | word_reason().
patomic_cas(_, _, _, _) -> ?not_loaded.

%% @doc Changes a word of a type. The old value, or the bare reason why not.
-spec patomic(handle(), Position :: term(), Type :: term(), Operation :: term(), Value :: term()) ->
          integer() | word_reason().
patomic(_, _, _, _, _) -> ?not_loaded.

%% @doc Reads a word of a type. The value, or the bare reason why not.
-spec patomic_read(handle(), Position :: term(), Type :: term()) -> integer() | word_reason().
patomic_read(_, _, _) -> ?not_loaded.

%% @doc Writes a word of a type. `ok', or the bare reason why not.
-spec patomic_write(handle(), Position :: term(), Type :: term(), Value :: term()) -> ok | word_reason().
patomic_write(_, _, _, _) -> ?not_loaded.

%% @doc Compares and exchanges a word of a type. `ok', the word that was there, or the bare reason why not.
-spec patomic_cas(handle(), Position :: term(), Type :: term(), Expected :: term(), New :: term()) ->
          ok | integer() | word_reason().
patomic_cas(_, _, _, _, _) -> ?not_loaded.

%% @doc Looks at a word, and waits for it to change. The word, if it is not the value; otherwise `timeout' for `none',
%% and for a reference the name of the one who waits, who is sent `{emmap_await, Reference}' when it is worth looking
%% again, and is forgotten with this name. Or the bare reason why not.
-spec await(handle(), Position :: term(), Value :: term(), reference() | none) ->
          integer() | timeout | reference() | word_reason().
await(_, _, _, _) -> ?not_loaded.

%% @doc Waits no longer. `false' if the message was sent.
-spec await_end(reference()) -> boolean().
await_end(_) -> ?not_loaded.

%% @doc Wakes all who wait for a word, wherever they are. `ok', or the bare reason why not.
-spec notify(handle(), Position :: term()) -> ok | word_reason().
notify(_, _) -> ?not_loaded.

%% @doc Counts the bytes of a range that are in memory.
-spec resident(handle(), Offset :: term(), Count :: term()) ->
          {ok, non_neg_integer()} | {error, emmap:reason() | out_of_range}.
resident(_, _, _) -> ?not_loaded.

%% @doc Brings a range into memory.
-spec populate(handle(), Offset :: term(), Count :: term()) ->
          ok | {error, emmap:reason() | out_of_range}.
populate(_, _, _) -> ?not_loaded.

%% @doc Keeps a range in memory.
-spec lock_memory(handle(), Offset :: term(), Count :: term()) ->
          ok | {error, emmap:reason() | out_of_range}.
lock_memory(_, _, _) -> ?not_loaded.

%% @doc Lets a range go.
-spec unlock_memory(handle(), Offset :: term(), Count :: term()) ->
          ok | {error, emmap:reason() | out_of_range}.
unlock_memory(_, _, _) -> ?not_loaded.

%% @doc Gives back what a range takes.
-spec punch_hole(handle(), Offset :: term(), Count :: term()) ->
          ok | {error, emmap:reason() | read_only}.
punch_hole(_, _, _) -> ?not_loaded.

%%% Queues; a consumer is its index and which one of that index it is, in one number

-type consumer() :: non_neg_integer().
-type queue_error() :: {error, emmap_queue:reason()}.

%% @doc Opens a queue, and looks for a consumer by its name.
-spec queue_open(Path :: binary(), Consumer :: binary(), SegmentShift :: 16..29, MaxSize :: pos_integer(),
                 Type :: 0 | 1, Mode :: non_neg_integer(), Uuid :: <<_:128>>) ->
          {ok, handle(), Type :: non_neg_integer(), consumer() | not_found} | queue_error().
queue_open(_, _, _, _, _, _, _) -> ?not_loaded.

%% @doc Finds a consumer, or makes it.
-spec queue_consumer(handle(), Name :: binary(), FromOldest :: boolean()) -> {ok, consumer()} | queue_error().
queue_consumer(_, _, _) -> ?not_loaded.

%% @doc Removes a consumer.
-spec queue_remove_consumer(handle(), Name :: binary()) -> ok | queue_error().
queue_remove_consumer(_, _) -> ?not_loaded.

%% @doc Drops all that is there for a consumer.
-spec queue_purge(handle(), consumer()) -> ok | queue_error().
queue_purge(_, _) -> ?not_loaded.

%% @doc Describes a queue: messages, bytes, messages taken, bytes of the file and of a segment, names of consumers, and
%% what opening found: `clean', or the messages and bytes that were given up.
-spec queue_info(handle(), consumer()) ->
          {non_neg_integer(), non_neg_integer(), non_neg_integer(), non_neg_integer(), pos_integer(), [binary()],
           clean | {non_neg_integer(), non_neg_integer()}}
        | queue_error().
queue_info(_, _) -> ?not_loaded.

%% @doc Closes a queue.
-spec queue_close(handle()) -> ok | queue_error().
queue_close(_) -> ?not_loaded.

%% @doc Pushes a message.
-spec queue_push(handle(), binary()) -> ok | queue_error().
queue_push(_, _) -> ?not_loaded.

%% @doc Pushes messages, all or none.
-spec queue_push_list(handle(), [binary()]) -> ok | queue_error().
queue_push_list(_, _) -> ?not_loaded.

%% @doc Takes a message away.
-spec queue_pop(handle(), consumer()) -> {ok, term()} | empty | queue_error().
queue_pop(_, _) -> ?not_loaded.

%% @doc Takes messages away.
-spec queue_pop_list(handle(), consumer(), Max :: non_neg_integer()) -> {ok, [term()]} | empty | queue_error().
queue_pop_list(_, _, _) -> ?not_loaded.

%% @doc Looks at the next message.
-spec queue_peek(handle(), consumer()) -> {ok, term()} | empty | queue_error().
queue_peek(_, _) -> ?not_loaded.

%% @doc Hands a message to the caller.
-spec queue_take(handle(), consumer()) ->
          {ok, term(), {Number :: non_neg_integer(), Delivery :: non_neg_integer()}} | empty | queue_error().
queue_take(_, _) -> ?not_loaded.

%% @doc Lets a message that was taken go.
-spec queue_ack(handle(), consumer(), Number :: non_neg_integer(), Delivery :: non_neg_integer()) ->
          ok | queue_error().
queue_ack(_, _, _, _) -> ?not_loaded.

%% @doc Gives a message that was taken back.
-spec queue_nack(handle(), consumer(), Number :: non_neg_integer(), Delivery :: non_neg_integer()) ->
          ok | queue_error().
queue_nack(_, _, _, _) -> ?not_loaded.

%% @doc Reads messages from a place on, or with epoch 0 from the first, and leaves them there.
-spec queue_read(handle(), consumer(), Position :: non_neg_integer(), Number :: non_neg_integer(),
                 Epoch :: non_neg_integer(), Max :: pos_integer()) ->
          {[term()], Position :: non_neg_integer(), Number :: non_neg_integer(), Epoch :: non_neg_integer()}
        | queue_error().
queue_read(_, _, _, _, _, _) -> ?not_loaded.

%% @doc Counts the messages.
-spec queue_length(handle(), consumer()) -> non_neg_integer() | queue_error().
queue_length(_, _) -> ?not_loaded.

%% @doc Asks for `{emmap_queue, Reference}' when there may be a message, unless there is one already.
-spec queue_wait(handle(), consumer(), reference()) -> ok | ready | queue_error().
queue_wait(_, _, _) -> ?not_loaded.

%% @doc Takes that back. `false': it was sent.
-spec queue_cancel(handle(), consumer(), reference()) -> boolean() | queue_error().
queue_cancel(_, _, _) -> ?not_loaded.

%% @doc Waits for the disk; or says with which ticket to ask again when `{emmap_queue, Reference}' has come.
-spec queue_sync(handle(), reference(), Ticket :: non_neg_integer()) -> ok | pos_integer() | queue_error().
queue_sync(_, _, _) -> ?not_loaded.

%%% Blocks

-type blocks_error() :: {error, emmap_blocks:reason()}.

%% @doc Opens a file of blocks; a block size of 0 stands for the file's own.
-spec blocks_open(Path :: binary(), BlockSize :: non_neg_integer(), MaxSize :: pos_integer(),
                  Mode :: non_neg_integer(), Uuid :: <<_:128>>) ->
          {ok, handle(), BlockSize :: pos_integer()} | blocks_error().
blocks_open(_, _, _, _, _) -> ?not_loaded.

%% @doc Describes blocks: bytes of one, how many are stored, how many wait for a sync, how many the file has room for,
%% bytes of the file, and what opening found: `clean', or how many blocks were dropped.
-spec blocks_info(handle()) ->
          {pos_integer(), non_neg_integer(), non_neg_integer(), non_neg_integer(), non_neg_integer(),
           clean | non_neg_integer()}
        | blocks_error().
blocks_info(_) -> ?not_loaded.

%% @doc Reads some of the blocks from an address on: how many are good, their bytes, which are not, and where to go on.
-spec blocks_check(handle(), From :: non_neg_integer()) ->
          {non_neg_integer(), non_neg_integer(), [non_neg_integer()], Next :: non_neg_integer() | done}
        | blocks_error().
blocks_check(_, _) -> ?not_loaded.

%% @doc Closes blocks.
-spec blocks_close(handle()) -> ok | blocks_error().
blocks_close(_) -> ?not_loaded.

%% @doc Stores a block. Its address, and not in a tuple.
-spec blocks_store(handle(), binary()) -> non_neg_integer() | blocks_error().
blocks_store(_, _) -> ?not_loaded.

%% @doc Reads a block. Its bytes, and not in a tuple.
-spec blocks_read(handle(), Address :: non_neg_integer()) -> binary() | blocks_error().
blocks_read(_, _) -> ?not_loaded.

%% @doc Frees a block.
-spec blocks_free(handle(), Address :: non_neg_integer()) -> ok | blocks_error().
blocks_free(_, _) -> ?not_loaded.

%% @doc Reads some blocks from an address on, and says where to go on.
-spec blocks_read_list(handle(), From :: non_neg_integer(), Max :: pos_integer()) ->
          {[{Address :: non_neg_integer(), binary()}], Next :: non_neg_integer() | done} | blocks_error().
blocks_read_list(_, _, _) -> ?not_loaded.

%% @doc Counts the blocks.
-spec blocks_count(handle()) -> non_neg_integer() | blocks_error().
blocks_count(_) -> ?not_loaded.

%% @doc Waits for the disk; or says with which ticket to ask again when `{emmap_blocks, Reference}' has come.
-spec blocks_sync(handle(), reference(), Ticket :: non_neg_integer()) -> ok | pos_integer() | blocks_error().
blocks_sync(_, _, _) -> ?not_loaded.
