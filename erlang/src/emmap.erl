%% Copyright 2026 the emmap authors. Licensed under the Apache License, Version 2.0.

%% @doc Memory-mapped files.
%%
%% {@link open/2} maps a file; the handle that it returns works with the functions of this module and, under the same
%% names, with those of OTP's `file' module. Positions and lengths are in bytes.
%%
%% Functions that `file' also has answer wrong arguments as a raw file does: `{error, badarg}', `{error, einval}'. All
%% others raise `badarg', with an explanation that the shell prints. What the system refuses is `{error, Reason}' with a
%% POSIX atom, or `closed', `truncated', `fixed_size', `too_short'; atomic operations and counters raise it.
%%
%% The library follows mmap(2), msync(2), madvise(2) and, for atomic words, the memory model of `atomics': every
%% operation is sequentially consistent.
%%
%% ```
%% {ok, File} = emmap:open("greeting", [create, write, shared]).
%% ok = file:write(File, "Hello, memory\n").
%% {ok, <<"memory">>} = emmap:pread(File, 7, 6).
%% '''
%%
%% What `open' can be told is listed with the type {@link emmap_options:option()}: `ht(emmap_options, option)' in the
%% Erlang shell, `t :emmap_options.option' in IEx.
-module(emmap).

-export([init/0, open/2, open/4, close/1, info/1, handles/0, stats/0]).
-export([read/2, read_line/1, pread/2, pread/3, snapshot/3, write/2, pwrite/2, pwrite/3, position/2, copy/3,
         ipread_s32bu_p32bu/3, read_handle_info/2, sendfile/8, internal_get_nif_resource/1]).
-export([match/2, match/3, matches/2, matches/3, lines/2, fold_lines/3]).
-export([resize/1, resize/2, truncate/1, remap/1, allocate/3]).
-export([sync/1, sync/3, datasync/1, flush/1, advise/4]).
-export([resident/3, populate/3, lock_memory/3, unlock_memory/3, punch_hole/3]).
-export([patomic/4, patomic/5, patomic_read/2, patomic_read/3, patomic_write/3, patomic_write/4, patomic_cas/4,
         patomic_cas/5]).
-export([lock_file/2, lock_file/3, unlock_file/1, await/4, notify/2]).
-export([open_counters/1, open_counters/2, close_counters/1, inc_counter/2, inc_counter/3, dec_counter/2,
         dec_counter/3, set_counter/3, read_counter/2]).

-export_type([mmap_file/0, open_option/0, resource/0, pattern/0, counters/0, location/0, advice/0, operation/0,
              word_type/0, reason/0, info/0]).

-on_load(load/0).

-include("emmap_api.hrl").
-include("emmap_counters.hrl").

-type mmap_file() :: #file_descriptor{}.
%% A handle. Any process of the node may use it; it is closed by {@link close/1} or when nothing refers to it any more.

-type resource() :: binary().
%% A binary that points into the mapping, as reads return it in `direct' mode. It keeps the mapping alive.
%% Its bytes change when the file does, which some functions of OTP do not survive: they end the VM, unless they are
%% given a copy (`binary:copy/1').

-type open_option() :: emmap_options:option().
%% How to open a file. {@link emmap_options:option()} says what each does.

-type pattern() :: binary() | [binary(), ...].
%% What to search for: bytes, or several of them. None may be empty.

-type location() :: integer() | bof | cur | eof | {bof | cur | eof, integer()}.
%% Where to move the position, in bytes: from the start of the mapping (`bof', and a bare integer), from the position
%% (`cur') or from the end (`eof'); without an integer, to there.

-type advice() :: normal | sequential | random | will_need | dont_need | no_reuse | huge_page | no_huge_page | cold
                | page_out.
%% How a range is going to be used, as in `file:advise/4'. `normal': in no special way. `sequential': from its start to
%% its end, so that more is read ahead. `random': in any order, so that nothing is. `will_need': soon, so that it is
%% brought into memory. `dont_need' and `no_reuse': not soon again, so that its memory may be taken first. Beside those
%% of `file': `huge_page' and `no_huge_page' (MADV_HUGEPAGE), `cold', as `no_reuse', and `page_out': the memory goes
%% now, to the file or to swap (MADV_PAGEOUT). What the system cannot do it leaves.

-type operation() :: add | sub | 'band' | 'bor' | 'bxor' | xchg | min | max.
%% What is done to a word in one step, with a value: `xchg' replaces it by that, `min' and `max' by the lesser and the
%% greater of the two.

-type word_type() :: i8 | i16 | i32 | i64 | u8 | u16 | u32 | u64.
%% How many bits a word has, and whether it is signed. Its position is a multiple of its bytes.

-type reason() :: file:posix() | badarg | closed | truncated | fixed_size | too_short.
%% Why a call failed. A POSIX atom is the system's; `enospc' also means that the handle cannot grow. `badarg': a wrong
%% argument, in a function that `file' has too. `closed': the handle was closed. `truncated': somebody else has cut the
%% file short, and these bytes are no longer in it. `fixed_size': the handle cannot change its size. `too_short': the
%% file ends before the window asked for.

-type counters() :: {mmap_file(), Count :: non_neg_integer()}.
%% A file of counters, as {@link open_counters/2} returns it.

-type info() :: #{path := file:name_all(), offset := non_neg_integer(), size := non_neg_integer(),
                  position := non_neg_integer(), mode := [read | write], sharing := shared | private | anon,
                  direct := boolean(), lock := boolean(), fixed_size := boolean(), address := non_neg_integer(),
                  faulted := false | {From :: non_neg_integer(), To :: non_neg_integer()}}.
%% What {@link info/1} tells of a handle. Offset, size and position are bytes; `path' is what `open' was given;
%% `address' is where position 0 is in memory. `faulted' is the span of positions that no longer reach the file, from
%% `From' up to but not including `To'; between them there may be others that do.

%%% Loading

%% @doc Loads the NIF library. It is loaded with this module; a second time is an error and changes nothing. Where the
%% library is not found, each place that was tried is printed on standard error.
-spec init() -> ok | {error, term()}.
init() -> emmap_nif:init().

%% So that this module is not loaded where its functions could not be called. A VM in embedded mode loads nothing here,
%% and all modules before it runs.
load() ->
    case code:ensure_loaded(emmap_nif) of
        {module, _} -> ok;
        {error, embedded} -> ok;
        {error, _} = Error -> Error
    end.

%%% Opening

%% @doc Maps a whole file. The same as `open(Name, 0, 0, Options)'. The options are those of
%% {@link emmap_options:option()}, which `ht(emmap_options, option)' prints.
-spec open(Name :: file:name_all(), Options :: [open_option()]) -> {ok, mmap_file()} | {error, reason()}.
open(Name, Options) -> ?answer(emmap_file:open(Name, Options), [Name, Options]).

%% @doc Maps `Length' bytes of a file from the byte `Offset', which becomes position 0. A length of 0 maps to the end
%% of the file. The options are those of {@link emmap_options:option()}, which `ht(emmap_options, option)' prints.
-spec open(Name :: file:name_all(), Offset :: non_neg_integer(), Length :: non_neg_integer(),
           Options :: [open_option()]) ->
          {ok, mmap_file()} | {error, reason()}.
open(Name, Offset, Length, Options) ->
    ?answer(emmap_file:open(Name, Offset, Length, Options), [Name, Offset, Length, Options]).

%% @doc Closes a file. Calls that are in progress fail, or have succeeded before this returns. Binaries of a `direct'
%% handle stay readable as long as they live. Returns `{error, closed}' if the file was closed before.
-spec close(File :: mmap_file()) -> ok | {error, reason()}.
close(File) -> emmap_nif:close(?resource(File)).

%% @doc Describes a handle: the path as given to `open'; offset, size and position in bytes; how it was opened; the
%% address of position 0; and the span of positions that no longer reach the file (`faulted'), if any.
-spec info(File :: mmap_file()) -> info().
info(File) -> ?described(emmap_nif:info(?resource(File)), [File]).

%% @doc Describes all handles of the node that are open: what is not closed and not yet collected.
-spec handles() -> [info()].
handles() -> [emmap_file:describe(Info) || Info <- emmap_nif:handles()].

%% @doc Tells what all handles have together: how many are open, and how many ranges of memory (a `direct' binary keeps
%% one, and a handle that has grown may have several) and bytes of address space they take; and how often, since the
%% library was loaded, pages could not be reached and ranges of such were mapped afresh.
-spec stats() -> #{handles := non_neg_integer(), regions := non_neg_integer(), mapped_bytes := non_neg_integer(),
                   faults := non_neg_integer(), heals := non_neg_integer()}.
stats() -> emmap_file:statistics(emmap_nif:stats()).

%%% Reading

%% @doc Reads up to `Count' bytes from the position and moves it behind them. `eof' at the end.
-spec read(File :: mmap_file(), Count :: non_neg_integer()) -> {ok, binary() | resource()} | eof | {error, reason()}.
read(File, Count) -> ?bytes(emmap_nif:read(?resource(File), Count)).

%% @doc Reads a line from the position, with its newline; `\r\n' comes as `\n'. `eof' at the end.
-spec read_line(File :: mmap_file()) -> {ok, binary() | resource()} | eof | {error, reason()}.
read_line(File) -> ?bytes(emmap_nif:read_line(?resource(File))).

%% @doc Reads up to `Count' bytes from the byte `Offset'. `eof' at or past the end, and for no bytes.
-spec pread(File :: mmap_file(), Offset :: non_neg_integer(), Count :: non_neg_integer()) ->
          {ok, binary() | resource()} | eof | {error, reason()}.
pread(File, Offset, Count) -> ?bytes(emmap_nif:pread(?resource(File), Offset, Count)).

%% @doc Reads as {@link pread/3}, but always a copy, on a `direct' handle too: what it returns never changes.
-spec snapshot(File :: mmap_file(), Offset :: non_neg_integer(), Count :: non_neg_integer()) ->
          {ok, binary()} | eof | {error, reason()}.
snapshot(File, Offset, Count) -> ?bytes(emmap_nif:snapshot(?resource(File), Offset, Count)).

%% @doc Does a list of reads. An error ends it.
-spec pread(File :: mmap_file(), Reads :: [{Offset :: non_neg_integer(), Count :: non_neg_integer()}]) ->
          {ok, [binary() | resource() | eof]} | {error, reason()}.
pread(File, List) -> emmap_file:pread_list(File, List).

%%% Searching

%% @doc The same as `match(File, Pattern, [])'.
-spec match(File :: mmap_file(), Pattern :: pattern()) ->
          {Position :: non_neg_integer(), Length :: pos_integer()} | nomatch | {error, reason()}.
match(File, Pattern) -> ?answer(emmap_search:match(File, Pattern, []), [File, Pattern]).

%% @doc Finds the first match in the range `scope', which is as in `binary:match/3'; of those that begin there, the
%% longest. By default the range is all that there is. With `last' it is the match that begins last.
%%
%% Large ranges are searched on dirty schedulers, and in pieces: a process that is killed searches no further. In `lock'
%% mode no half of a write is seen within a MiB; what is written meanwhile may be seen in one piece and not in
%% another. If a part of the range is no longer in the file it is `{error, truncated}', unless a match comes before.
-spec match(File :: mmap_file(), Pattern :: pattern(),
            Options :: [{scope, {Start :: non_neg_integer(), Length :: integer()}} | last]) ->
          {Position :: non_neg_integer(), Length :: pos_integer()} | nomatch | {error, reason()}.
match(File, Pattern, Options) ->
    ?answer(emmap_search:match(File, Pattern, Options), [File, Pattern, Options]).

%% @doc The same as `matches(File, Pattern, [])'.
-spec matches(File :: mmap_file(), Pattern :: pattern()) ->
          [{Position :: non_neg_integer(), Length :: pos_integer()}] | {error, reason()}.
matches(File, Pattern) -> ?answer(emmap_search:matches(File, Pattern, []), [File, Pattern]).

%% @doc Finds all matches that do not overlap, from the first one on, as `binary:matches/3'; with `limit', no more than
%% so many. What {@link match/3} says of large ranges holds here, too.
-spec matches(File :: mmap_file(), Pattern :: pattern(),
              Options :: [{scope, {Start :: non_neg_integer(), Length :: integer()}} | {limit, pos_integer()}]) ->
          [{Position :: non_neg_integer(), Length :: pos_integer()}] | {error, reason()}.
matches(File, Pattern, Options) ->
    ?answer(emmap_search:matches(File, Pattern, Options), [File, Pattern, Options]).

%% @doc Reads lines from the position, each as {@link read_line/1} gives it, and moves the position behind them: up to
%% `Max' of them, and at least one, but no more than 64 KiB or 4096 of them at once. They are parts of one binary of at
%% most 64 KiB, which each of them keeps alive (`binary:copy/1' lets go of it); a longer line is a binary of its own.
%% With `direct' they point into the mapping. `eof' at the end.
-spec lines(File :: mmap_file(), Max :: pos_integer()) ->
          {ok, [binary() | resource(), ...]} | eof | {error, reason()}.
lines(File, Max) -> ?answer(emmap_search:lines(File, Max), [File, Max]).

%% @doc Calls `Fun(Line, Acc)' with each line from the position to the end, as `lists:foldl/3'. In little memory,
%% however long the file is. The position moves ahead of the lines, several of them at a time.
-spec fold_lines(Fun :: fun((Line :: binary() | resource(), Acc) -> Acc), Acc, File :: mmap_file()) ->
          {ok, Acc} | {error, reason()}.
fold_lines(Fun, Acc, File) -> ?answer(emmap_search:fold_lines(Fun, Acc, File), [Fun, Acc, File]).

%%% Writing

%% @doc Writes at the position and moves it behind what was written. Past the end, the file grows if it can.
-spec write(File :: mmap_file(), Bytes :: iodata()) -> ok | {error, reason()}.
write(File, Bytes) when is_binary(Bytes) -> emmap_nif:write(?resource(File), Bytes);
write(File, Data) -> emmap_file:write(?resource(File), Data).

%% @doc Writes at the byte `Offset'. Past the end, the file grows if the handle is `shared', reaches the end of the file
%% and was not opened with `fixed_size'; otherwise `{error, enospc}', and nothing is written.
-spec pwrite(File :: mmap_file(), Offset :: non_neg_integer(), Bytes :: iodata()) -> ok | {error, reason()}.
pwrite(File, Offset, Bytes) when is_binary(Bytes) -> emmap_nif:pwrite(?resource(File), Offset, Bytes);
pwrite(File, Offset, Data) -> emmap_file:pwrite(?resource(File), Offset, Data).

%% @doc Does a list of writes. An error ends it: `{error, {N, Reason}}' after N writes that were done.
-spec pwrite(File :: mmap_file(), Writes :: [{Offset :: non_neg_integer(), Bytes :: iodata()}]) ->
          ok | {error, {Done :: non_neg_integer(), reason()} | reason()}.
pwrite(File, List) -> emmap_file:pwrite_list(File, List).

%%% Moving, and the rest of what `file' asks of a handle

%% @doc Moves the position, from the start, from itself or from the end, and returns it. It may lie past the end; before
%% the start it is `{error, einval}'.
-spec position(File :: mmap_file(), Location :: location()) -> {ok, non_neg_integer()} | {error, reason()}.
position(File, {Origin, Offset}) -> emmap_nif:position(?resource(File), Origin, Offset);
position(File, Offset) when is_integer(Offset) -> emmap_nif:position(?resource(File), bof, Offset);
position(File, Origin) -> emmap_nif:position(?resource(File), Origin, 0).

%% @doc Copies up to `Count' bytes from the position of one handle to that of another and returns how many it were.
-spec copy(From :: mmap_file(), To :: mmap_file(), Count :: non_neg_integer() | infinity) ->
          {ok, non_neg_integer()} | {error, reason()}.
copy(From, To, Count) -> emmap_file:copy(From, To, Count).

%% @doc Reads a header of two 32-bit words, big-endian, at the byte `Offset': a size, and the offset of as many bytes.
%% Reads those, and returns size, offset and bytes (`eof' if there are none). `eof' if there is no header, or if the
%% size is greater than `MaxSize', which is below 2^31; `infinity' is the greatest. It is here for `dets', which calls
%% the function of this name in `file'.
-spec ipread_s32bu_p32bu(File :: mmap_file(), Offset :: non_neg_integer(), MaxSize :: non_neg_integer() | infinity) ->
          {ok, {non_neg_integer(), non_neg_integer(), binary() | eof}} | eof | {error, reason()}.
ipread_s32bu_p32bu(File, Offset, MaxSize) -> emmap_file:ipread(File, Offset, MaxSize).

%% @doc Reads the status of the file behind a handle, for `file:read_file_info/2'.
-spec read_handle_info(File :: mmap_file(), Options :: [{time, local | universal | posix} | raw]) ->
          {ok, file:file_info()} | {error, reason()}.
read_handle_info(File, Options) -> emmap_file:read_info(?resource(File), Options).

%% @private
%% @doc Sends copies of a range, for `file:sendfile': what the kernel would take from a page that is lost ends the
%% connection.
-spec sendfile(File :: mmap_file(), term(), term(), term(), term(), term(), term(), term()) ->
          {ok, non_neg_integer()} | {error, reason() | inet:posix() | enotsup}.
sendfile(File, Socket, Offset, Bytes, ChunkSize, Headers, Trailers, _) ->
    emmap_file:send(File, Socket, Offset, Bytes, ChunkSize, {Headers, Trailers}).

%% @private
%% @doc Has `file:sendfile' to a `socket' fall back to reading and sending: this exception is what it looks for.
-spec internal_get_nif_resource(File :: mmap_file()) -> reference().
internal_get_nif_resource(File) -> emmap_file:resource_to_send(File).

%%% Changing size

%% @doc Doubles the size of the file, by no more than `max_inc_size' bytes at a time, and returns the new size. See
%% {@link resize/2}.
-spec resize(File :: mmap_file()) -> {ok, non_neg_integer()} | {error, reason()}.
resize(File) -> ?checked(emmap_nif:resize(?resource(File), double), [File]).

%% @doc Sets the size of the handle, and so the length of the file, and returns it. Binaries of a `direct' handle that
%% point past the new end read as zeroes. Growing never makes a file shorter: where others have made it longer than
%% `Size' meanwhile, all of it becomes the handle's, and its size is returned. Private and anonymous mappings, windows
%% that do not end where the file does, and `fixed_size' are `{error, fixed_size}'.
-spec resize(File :: mmap_file(), Size :: non_neg_integer()) -> {ok, non_neg_integer()} | {error, reason()}.
resize(?handle(Resource) = File, Size) when ?is_natural(Size) ->
    ?checked(emmap_nif:resize(Resource, Size), [File, Size]);
resize(File, Size) -> ?badarg([File, Size], badarg).

%% @doc Cuts the file at the position, or fills it with zeroes up to there.
-spec truncate(File :: mmap_file()) -> ok | {error, reason()}.
truncate(File) -> emmap_nif:truncate(?resource(File)).

%% @doc Fits the handle to the file as it is now, and returns its size: takes over what others have appended, and heals
%% what had faulted once the file is long enough again. `{error, enomem}' where other memory lies behind a `private'
%% handle with `write', which can grow nowhere else with its changes: it goes on as it is; open the file anew.
-spec remap(File :: mmap_file()) -> {ok, non_neg_integer()} | {error, reason()}.
remap(File) -> ?checked(emmap_nif:remap(?resource(File)), [File]).

%% @doc Has the file system set disk space aside for a range, as `file:allocate/3'. Where the range ends past the end of
%% the file, the file grows to there.
-spec allocate(File :: mmap_file(), Offset :: non_neg_integer(), Count :: pos_integer()) -> ok | {error, reason()}.
allocate(File, Offset, Count) -> emmap_nif:allocate(?resource(File), Offset, Count).

%%% Durability

%% @doc Returns when data and metadata are on disk, as fsync(2); for a file that this handle made, its directory entry
%% too. Nothing to do on private and anonymous mappings.
-spec sync(File :: mmap_file()) -> ok | {error, reason()}.
sync(File) -> emmap_nif:sync(?resource(File)).

%% @doc Returns when a range is on disk, as msync(2).
-spec sync(File :: mmap_file(), Offset :: non_neg_integer(), Count :: non_neg_integer()) -> ok | {error, reason()}.
sync(File, Offset, Count) -> ?ranged(sync_range, File, Offset, Count).

%% @doc Returns when the data is on disk, as fdatasync(2).
-spec datasync(File :: mmap_file()) -> ok | {error, reason()}.
datasync(File) -> emmap_nif:datasync(?resource(File)).

%% @doc Starts writing dirty pages to disk and returns at once.
-spec flush(File :: mmap_file()) -> ok | {error, reason()}.
flush(File) -> ?checked(emmap_nif:flush(?resource(File)), [File]).

%% @doc Tells the system how a range (a count of 0: all that follows) is going to be used, as madvise(2). Never drops
%% data.
-spec advise(File :: mmap_file(), Offset :: non_neg_integer(), Count :: non_neg_integer(), Advice :: advice()) ->
          ok | {error, reason()}.
advise(File, Offset, Count, Advice) -> emmap_nif:advise(?resource(File), Offset, Count, Advice).

%%% Memory

%% @doc Counts the bytes of a range that are in memory, as mincore(2). `{error, eperm}' for a file that the user of the
%% VM neither owns nor may write: of such the system does not tell.
-spec resident(File :: mmap_file(), Offset :: non_neg_integer(), Count :: non_neg_integer()) ->
          {ok, non_neg_integer()} | {error, reason()}.
resident(File, Offset, Count) -> ?ranged(resident, File, Offset, Count).

%% @doc Brings a range into memory, as the option `populate' does with all: its pages may go again.
-spec populate(File :: mmap_file(), Offset :: non_neg_integer(), Count :: non_neg_integer()) -> ok | {error, reason()}.
populate(File, Offset, Count) -> ?ranged(populate, File, Offset, Count).

%% @doc Brings the pages of a range into memory and keeps them there, as mlock(2), until {@link unlock_memory/3}, or
%% until the handle is closed or collected and no binary points into it. `{error, enomem}' or `{error, eperm}' where the
%% limit of the process (RLIMIT_MEMLOCK) is reached; nothing of the range is locked then. Pages are locked or not,
%% however often they were locked. A mapping that outgrows its place, or is healed by {@link remap/1}, is to be locked
%% again.
-spec lock_memory(File :: mmap_file(), Offset :: non_neg_integer(), Count :: non_neg_integer()) ->
          ok | {error, reason()}.
lock_memory(File, Offset, Count) -> ?ranged(lock_memory, File, Offset, Count).

%% @doc Lets all pages go that have bytes in a range, as munlock(2).
-spec unlock_memory(File :: mmap_file(), Offset :: non_neg_integer(), Count :: non_neg_integer()) ->
          ok | {error, reason()}.
unlock_memory(File, Offset, Count) -> ?ranged(unlock_memory, File, Offset, Count).

%% @doc Gives the disk space of a range back, or the memory of an `anon' one: its bytes are zeroes then, and the size
%% stays (fallocate(2), FALLOC_FL_PUNCH_HOLE). What lies past the end is left out. `{error, eopnotsupp}' on `private'
%% handles, and where the file system cannot do it.
-spec punch_hole(File :: mmap_file(), Offset :: non_neg_integer(), Count :: non_neg_integer()) ->
          ok | {error, reason()}.
punch_hole(File, Offset, Count) -> ?ranged(punch_hole, File, Offset, Count).

%%% Atomic words

%% @doc Does an atomic operation on the 64-bit word at `Position', a multiple of 8, and returns the old value. Values
%% are taken modulo 2^64 and returned signed; overflow wraps.
-spec patomic(File :: mmap_file(), Position :: non_neg_integer(),
              Operation :: operation(), Value :: integer()) -> integer().
patomic(File, Position, Operation, Value) ->
    ?word(emmap_nif:patomic(?resource(File), Position, Operation, Value), [File, Position, Operation, Value]).

%% @doc Reads the 64-bit word at `Position', a multiple of 8.
-spec patomic_read(File :: mmap_file(), Position :: non_neg_integer()) -> integer().
patomic_read(File, Position) -> ?word(emmap_nif:patomic_read(?resource(File), Position), [File, Position]).

%% @doc Writes the 64-bit word at `Position', a multiple of 8.
-spec patomic_write(File :: mmap_file(), Position :: non_neg_integer(), Value :: integer()) -> ok.
patomic_write(File, Position, Value) ->
    ?done(emmap_nif:patomic_write(?resource(File), Position, Value), [File, Position, Value]).

%% @doc Writes `New' at `Position' if the word there is `Expected', and otherwise returns the word that is.
-spec patomic_cas(File :: mmap_file(), Position :: non_neg_integer(), Expected :: integer(), New :: integer()) ->
          ok | integer().
patomic_cas(File, Position, Expected, New) ->
    ?done(emmap_nif:patomic_cas(?resource(File), Position, Expected, New), [File, Position, Expected, New]).

%% @doc As {@link patomic/4}, on a word of a type: values are taken modulo 2^N and returned as the type has them.
-spec patomic(File :: mmap_file(), Position :: non_neg_integer(), Type :: word_type(), Operation :: operation(),
              Value :: integer()) -> integer().
patomic(File, Position, Type, Operation, Value) ->
    ?word(emmap_nif:patomic(?resource(File), Position, Type, Operation, Value),
          [File, Position, Type, Operation, Value]).

%% @doc As {@link patomic_read/2}, of a word of a type.
-spec patomic_read(File :: mmap_file(), Position :: non_neg_integer(), Type :: word_type()) -> integer().
patomic_read(File, Position, Type) ->
    ?word(emmap_nif:patomic_read(?resource(File), Position, Type), [File, Position, Type]).

%% @doc As {@link patomic_write/3}, of a word of a type.
-spec patomic_write(File :: mmap_file(), Position :: non_neg_integer(), Type :: word_type(), Value :: integer()) ->
          ok.
patomic_write(File, Position, Type, Value) ->
    ?done(emmap_nif:patomic_write(?resource(File), Position, Type, Value), [File, Position, Type, Value]).

%% @doc As {@link patomic_cas/4}, on a word of a type.
-spec patomic_cas(File :: mmap_file(), Position :: non_neg_integer(), Type :: word_type(), Expected :: integer(),
                  New :: integer()) -> ok | integer().
patomic_cas(File, Position, Type, Expected, New) ->
    ?done(emmap_nif:patomic_cas(?resource(File), Position, Type, Expected, New), [File, Position, Type, Expected, New]).

%%% Between programs

%% @doc Takes the advisory lock of the whole file for the handle, if nobody else has one in the way. See
%% {@link lock_file/3}.
-spec lock_file(File :: mmap_file(), Kind :: shared | exclusive) -> ok | {error, locked | reason()}.
lock_file(File, Kind) -> ?checked(emmap_lock:lock(File, Kind, 0), [File, Kind]).

%% @doc Takes the advisory lock of the whole file for the handle, as fcntl(2) with F_OFD_SETLK, waiting up to
%% `Timeout' milliseconds. Any number of handles can have the `shared' one, or one handle the `exclusive' one, which
%% needs a file that was opened for writing: a handle with `write' that is not `private', or else it is `{error,
%% ebadf}'. It keeps out nobody but those who ask for the lock, in this VM, in others and in other programs. It
%% belongs to the handle and all processes that use it: one that has a lock takes the other kind instead, or keeps it
%% where that is refused. It goes with {@link unlock_file/1}, with the handle, and with the VM.
%%
%% Who waits tries again and again, with pauses of up to 32 ms, and in no order: the system tells nobody that a lock
%% was given back. A process that waits holds no scheduler, and gets no lock once it was killed. Nobody notices where
%% two wait for each other.
-spec lock_file(File :: mmap_file(), Kind :: shared | exclusive, Timeout :: non_neg_integer() | infinity) ->
          ok | {error, locked | reason()}.
lock_file(File, Kind, Timeout) -> ?checked(emmap_lock:lock(File, Kind, Timeout), [File, Kind, Timeout]).

%% @doc Gives back the lock of {@link lock_file/3}; `ok' also if the handle has none.
-spec unlock_file(File :: mmap_file()) -> ok | {error, reason()}.
unlock_file(File) -> ?checked(emmap_lock:unlock(File), [File]).

%% @doc Waits until the 64-bit word at `Position', a multiple of 8, is no longer `Value', and returns what it is then;
%% for up to `Timeout' milliseconds, at most 2^32 - 1, or for ever. Who changes the word calls {@link notify/2}, or, in
%% another language, futex(2). Any number of processes can wait, also on a handle that was opened to read, and be killed
%% meanwhile; none holds a scheduler. Raises what {@link patomic_read/2} would, when the handle is closed or, a second
%% later, the file is cut short; `eagain' if 16,000 words are waited for already, or the system has no thread left.
-spec await(File :: mmap_file(), Position :: non_neg_integer(), Value :: integer(), Timeout :: timeout()) ->
          {ok, integer()} | timeout.
await(File, Position, Value, Timeout) -> emmap_await:await(File, Position, Value, Timeout).

%% @doc Wakes all who wait for the word at `Position', a multiple of 8, in {@link await/4}, in this VM and in others,
%% and with futex(2) for its lower half, in any language. To be called after the word was changed. On `private' and
%% `anon' handles nobody waits but at the same handle.
-spec notify(File :: mmap_file(), Position :: non_neg_integer()) -> ok.
notify(File, Position) -> ?done(emmap_nif:notify(?resource(File), Position), [File, Position]).

%%% Counters

%% @doc Opens a file with one counter. See {@link open_counters/2}.
-spec open_counters(Name :: file:name_all()) -> counters().
open_counters(Name) -> ?opened(emmap_counters:open(Name, 1), [Name]).

%% @doc Opens a file of `Count' 64-bit counters, numbered from 0. It is created if it does not exist; a count of 0 takes
%% the number from the file. Raises `{Reason, Name}' if that fails; a file that is not one of exactly `Count' counters
%% is left untouched.
-spec open_counters(Name :: file:name_all(), Count :: non_neg_integer()) -> counters().
open_counters(Name, Count) -> ?opened(emmap_counters:open(Name, Count), [Name, Count]).

%% @doc Closes a file of counters.
-spec close_counters(Counters :: counters()) -> ok | {error, reason()}.
close_counters(?counters(Resource, Count) = Counters) when is_integer(Count) ->
    ?checked(emmap_nif:close(Resource), [Counters]);
close_counters(Counters) -> ?badarg([Counters], {1, not_counters}).

%% @doc Adds one to a counter and returns the old value.
-spec inc_counter(Counters :: counters(), Number :: non_neg_integer()) -> integer().
inc_counter(Counters, Number) -> ?change_counter(Counters, Number, add, 1, [Counters, Number]).

%% @doc Adds to a counter and returns the old value. Overflow wraps.
-spec inc_counter(Counters :: counters(), Number :: non_neg_integer(), Increment :: integer()) -> integer().
inc_counter(Counters, Number, Increment) ->
    ?change_counter(Counters, Number, add, Increment, [Counters, Number, Increment]).

%% @doc Subtracts one from a counter and returns the old value.
-spec dec_counter(Counters :: counters(), Number :: non_neg_integer()) -> integer().
dec_counter(Counters, Number) -> ?change_counter(Counters, Number, sub, 1, [Counters, Number]).

%% @doc Subtracts from a counter and returns the old value. Overflow wraps.
-spec dec_counter(Counters :: counters(), Number :: non_neg_integer(), Decrement :: integer()) -> integer().
dec_counter(Counters, Number, Decrement) ->
    ?change_counter(Counters, Number, sub, Decrement, [Counters, Number, Decrement]).

%% @doc Sets a counter and returns the old value.
-spec set_counter(Counters :: counters(), Number :: non_neg_integer(), Value :: integer()) -> integer().
set_counter(Counters, Number, Value) -> ?change_counter(Counters, Number, xchg, Value, [Counters, Number, Value]).

%% @doc Returns the value of a counter.
-spec read_counter(Counters :: counters(), Number :: non_neg_integer()) -> integer().
read_counter(?counters(Resource, Count) = Counters, Number) when ?is_counter(Number, Count) ->
    ?word(emmap_nif:patomic_read(Resource, ?COUNTER(Number)), [Counters, Number]);
read_counter(Counters, Number) -> ?badarg([Counters, Number], no_counter).
