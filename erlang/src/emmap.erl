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
%% What `open' can be told is listed with the type {@link open_option()}: `ht(emmap, open_option)' in the Erlang shell,
%% `t :emmap.open_option' in IEx.
-module(emmap).

-export([init/0, open/2, open/4, close/1, info/1]).
-export([read/2, read_line/1, pread/2, pread/3, snapshot/3, write/2, pwrite/2, pwrite/3, position/2, copy/3,
         ipread_s32bu_p32bu/3, read_handle_info/2, sendfile/8, internal_get_nif_resource/1]).
-export([match/2, match/3, matches/2, matches/3, lines/2, fold_lines/3]).
-export([resize/1, resize/2, truncate/1, remap/1, allocate/3]).
-export([sync/1, sync/3, datasync/1, flush/1, advise/4]).
-export([patomic/4, patomic/5, patomic_read/2, patomic_read/3, patomic_write/3, patomic_write/4, patomic_cas/4,
         patomic_cas/5]).
-export([lock_file/2, lock_file/3, unlock_file/1]).
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

-type open_option() ::
        anon | append | auto_unlink | create | debug | direct | dirty | exclusive | fit | fixed | fixed_size | follow
      | huge_1gb | huge_2mb | hugetlb | lock | nocache | nolock | nonblock | noreserve | populate | private | read
      | shared | shared_validate | sync | truncate | uninitialized | unlink | write | {address, pos_integer()}
      | {chmod, non_neg_integer()} | {max_inc_size, pos_integer()} | {size, pos_integer()}.
%% How to open a file. Unless said otherwise, an option is off by default; the names in capitals are those of mmap(2).
%% Of `private', `shared' and `shared_validate' only one can be given, and of `lock' and `nolock'.
%%
%% <dl>
%% <dt>`read'</dt><dd>Allow reading (PROT_READ). Every handle allows it, so this adds nothing.</dd>
%% <dt>`write'</dt><dd>Allow writing too (PROT_WRITE). A `private' mapping needs no write permission on the file.</dd>
%% <dt>`create'</dt><dd>With `write': create the file if it does not exist.</dd>
%% <dt>`exclusive'</dt><dd>With `create': the file is new, or it is `{error, eexist}'.</dd>
%% <dt>`append'</dt><dd>Each write, by `pwrite' too, goes to the end of the file as it is then, whole, whoever else
%% appends (O_APPEND); up to 2 GiB at once. On a handle that cannot grow each write is `{error, enospc}'.</dd>
%% <dt>`{chmod, Mode}'</dt><dd>The permissions of a file that is created, whatever the umask. Default: `8#600'.</dd>
%% <dt>`{size, N}'</dt><dd>The length in bytes of a new or empty file, with `write'; of an existing one, how much of it
%% to map if no length is given. Default: a new file is as long as the window asked for, and of an existing one all is
%% mapped.</dd>
%% <dt>`truncate'</dt><dd>With `write': drop what is in the file, before it is given its size.</dd>
%% <dt>`fit'</dt><dd>With `write': make a file that is shorter than the window asked for as long as that. Otherwise it
%% is `{error, too_short}'.</dd>
%% <dt>`private'</dt><dd>Keep changes from the file and from other mappings (MAP_PRIVATE, copy on write). The default.
%% What was written is kept until the handle is closed, unless somebody cuts the file short: the system then drops the
%% changes to the bytes cut off, and says nothing if the file is long again by the time they are read.
%% `file:write_file/2' cuts a file before it writes. Where that may happen, work on a copy of the file, or on `anon'.
%% There is nothing to sync, and the size is fixed.</dd>
%% <dt>`shared'</dt><dd>Share changes with everybody who maps the file, and write them to it (MAP_SHARED).</dd>
%% <dt>`shared_validate'</dt><dd>As `shared', but refuse flags that the system does not know, with `eopnotsupp'
%% (MAP_SHARED_VALIDATE).</dd>
%% <dt>`sync'</dt><dd>With `shared_validate', on a file system with DAX: what is written stays written after a crash
%% (MAP_SYNC); elsewhere `{error, eopnotsupp}'. Without `shared_validate' ignored.</dd>
%% <dt>`anon'</dt><dd>Map zeroes and no file (MAP_ANONYMOUS), whatever the name is. The offset must be 0.</dd>
%% <dt>`direct'</dt><dd>Reads copy nothing: they return binaries that point into the mapping, and so change when it
%% does. They stay readable as long as they live; where the file was cut short they read as zeroes. Where others may
%% write to the file, copy them (`binary:copy/1') before they are searched, decoded or sent: OTP reads some binaries
%% twice, and a change in between can end the VM. docs/direct.md of the sources has a table of what is safe.</dd>
%% <dt>`lock'</dt><dd>A read never sees half of a write that was made through the same handle. The default.</dd>
%% <dt>`nolock'</dt><dd>Reads and writes through the same handle may interleave. Just as safe for the VM.</dd>
%% <dt>`fixed_size'</dt><dd>Once the file is open, never make it longer or shorter.</dd>
%% <dt>`{max_inc_size, N}'</dt><dd>The step in bytes past which {@link resize/1} stops doubling. Default: 64 MiB.</dd>
%% <dt>`auto_unlink'</dt><dd>Delete the file when it is closed, or when the handle is collected; of a symbolic link, the
%% file that it led to when it was opened. Not when the VM ends before, by `halt/0' or otherwise: then take `unlink'.
%% With `anon' nothing is deleted.</dd>
%% <dt>`unlink'</dt><dd>Delete the file's name as soon as it is open; the file itself goes with its last user, however
%% that ends.</dd>
%% <dt>`follow'</dt><dd>A read that meets the end looks whether the file has become longer, as `tail -f' does, without
%% {@link remap/1}.</dd>
%% <dt>`dirty'</dt><dd>All that touches the mapping runs on dirty IO schedulers, which takes some microseconds a call:
%% for files whose file system may stall (one that is frozen for snapshots, a network, FUSE). Otherwise small reads and
%% writes and all atomic operations run on the caller's scheduler, and wait there if the system has them wait.</dd>
%% <dt>`populate'</dt><dd>Bring all pages into memory at once (as MAP_POPULATE, in slices).</dd>
%% <dt>`nonblock'</dt><dd>With `populate': only map pages that are in memory already (MAP_NONBLOCK).</dd>
%% <dt>`noreserve'</dt><dd>Reserve no swap space (MAP_NORESERVE).</dd>
%% <dt>`{address, A}', `fixed'</dt><dd>Map at the address A, rounded down to a page; if memory there is in use it is
%% `{error, eexist}' (MAP_FIXED_NOREPLACE). `fixed' needs an address and adds nothing to it. The address is taken until
%% the handle is collected. With `direct' the page below is taken, too. Where the file outgrows the mapping, that stays,
%% and a longer one is added elsewhere. Default: the system chooses.</dd>
%% <dt>`hugetlb', `huge_2mb', `huge_1gb'</dt><dd>Use huge pages, of the default size, 2 MiB or 1 GiB (MAP_HUGETLB,
%% MAP_HUGE_2MB, MAP_HUGE_1GB): for `anon', and for files on hugetlbfs.</dd>
%% <dt>`uninitialized'</dt><dd>Do not clear anonymous pages, where the kernel was built to allow it
%% (MAP_UNINITIALIZED).</dd>
%% <dt>`nocache'</dt><dd>For macOS; without effect elsewhere.</dd>
%% <dt>`debug'</dt><dd>Say on standard error when the handle is opened, closed, resized or remapped.</dd>
%% </dl>

-type pattern() :: binary() | [binary(), ...].
%% What to search for: bytes, or several of them. None may be empty.

-type location() :: integer() | bof | cur | eof | {bof | cur | eof, integer()}.
%% Where to move the position, in bytes: from the start of the mapping (`bof', and a bare integer), from the position
%% (`cur') or from the end (`eof'); without an integer, to there.

-type advice() :: normal | sequential | random | will_need | dont_need | no_reuse.
%% How a range is going to be used, as in `file:advise/4'. `normal': in no special way. `sequential': from its start to
%% its end, so that more is read ahead. `random': in any order, so that nothing is. `will_need': soon, so that it is
%% brought into memory. `dont_need' and `no_reuse': not soon again, so that its memory may be taken first.

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

%% @doc Maps a whole file. The same as `open(Name, 0, 0, Options)'. The options are those of {@link open_option()},
%% which `ht(emmap, open_option)' prints.
-spec open(Name :: file:name_all(), Options :: [open_option()]) -> {ok, mmap_file()} | {error, reason()}.
open(Name, Options) ->
    case emmap_file:open(Name, 0, 0, Options) of
        {bad, 1, Why} -> ?badarg([Name, Options], {1, Why});
        {bad, _, Why} -> ?badarg([Name, Options], {2, Why});
        Result -> Result
    end.

%% @doc Maps `Length' bytes of a file from the byte `Offset', which becomes position 0. A length of 0 maps to the end
%% of the file. The options are those of {@link open_option()}, which `ht(emmap, open_option)' prints.
-spec open(Name :: file:name_all(), Offset :: non_neg_integer(), Length :: non_neg_integer(),
           Options :: [open_option()]) ->
          {ok, mmap_file()} | {error, reason()}.
open(Name, Offset, Length, Options) ->
    case emmap_file:open(Name, Offset, Length, Options) of
        {bad, Argument, Why} -> ?badarg([Name, Offset, Length, Options], {Argument, Why});
        Result -> Result
    end.

%% @doc Closes a file. Calls that are in progress fail, or have succeeded before this returns. Binaries of a `direct'
%% handle stay readable as long as they live. Returns `{error, closed}' if the file was closed before.
-spec close(File :: mmap_file()) -> ok | {error, reason()}.
close(?handle(Resource)) -> emmap_nif:close(Resource);
close(_) -> {error, badarg}.

%% @doc Describes a handle: the path as given to `open'; offset, size and position in bytes; how it was opened; the
%% address of position 0; and the span of positions that no longer reach the file (`faulted'), if any.
-spec info(File :: mmap_file()) -> info().
info(?handle(Resource) = File) ->
    case emmap_nif:info(Resource) of
        {error, Reason} -> ?raise(Reason, [File]);
        {Path, Offset, Size, Position, Traits, Address, Faulted} ->
            (emmap_options:describe(Traits))#{path => Path, offset => Offset, size => Size, position => Position,
                                              address => Address, faulted => Faulted}
    end;
info(File) -> ?badarg([File], badarg).

%%% Reading

%% @doc Reads up to `Count' bytes from the position and moves it behind them. `eof' at the end.
-spec read(File :: mmap_file(), Count :: non_neg_integer()) -> {ok, binary() | resource()} | eof | {error, reason()}.
read(?handle(Resource), Count) ->
    ?bytes(emmap_nif:read(Resource, Count));
read(_, _) -> {error, badarg}.

%% @doc Reads a line from the position, with its newline; `\r\n' comes as `\n'. `eof' at the end.
-spec read_line(File :: mmap_file()) -> {ok, binary() | resource()} | eof | {error, reason()}.
read_line(?handle(Resource)) ->
    ?bytes(emmap_nif:read_line(Resource));
read_line(_) -> {error, badarg}.

%% @doc Reads up to `Count' bytes from the byte `Offset'. `eof' at or past the end, and for no bytes.
-spec pread(File :: mmap_file(), Offset :: non_neg_integer(), Count :: non_neg_integer()) ->
          {ok, binary() | resource()} | eof | {error, reason()}.
pread(?handle(Resource), Offset, Count) ->
    ?bytes(emmap_nif:pread(Resource, Offset, Count));
pread(_, _, _) -> {error, badarg}.

%% @doc Reads as {@link pread/3}, but always a copy, on a `direct' handle too: what it returns never changes.
-spec snapshot(File :: mmap_file(), Offset :: non_neg_integer(), Count :: non_neg_integer()) ->
          {ok, binary()} | eof | {error, reason()}.
snapshot(?handle(Resource), Offset, Count) -> ?bytes(emmap_nif:snapshot(Resource, Offset, Count));
snapshot(_, _, _) -> {error, badarg}.

%% @doc Does a list of reads. An error ends it.
-spec pread(File :: mmap_file(), Reads :: [{Offset :: non_neg_integer(), Count :: non_neg_integer()}]) ->
          {ok, [binary() | resource() | eof]} | {error, reason()}.
pread(?handle(Resource), List) -> emmap_file:pread_list(Resource, List);
pread(_, _) -> {error, badarg}.

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
write(?handle(Resource), Bytes) when is_binary(Bytes) -> emmap_nif:write(Resource, Bytes);
write(?handle(Resource), Data) ->
    case emmap_file:is_small(Data) of
        true -> emmap_nif:write(Resource, Data);
        false -> emmap_nif:writev(Resource, erlang:iolist_to_iovec(Data));
        badarg -> {error, badarg}
    end;
write(_, _) -> {error, badarg}.

%% @doc Writes at the byte `Offset'. Past the end, the file grows if the handle is `shared', reaches the end of the file
%% and was not opened with `fixed_size'; otherwise `{error, enospc}', and nothing is written.
-spec pwrite(File :: mmap_file(), Offset :: non_neg_integer(), Bytes :: iodata()) -> ok | {error, reason()}.
pwrite(?handle(Resource), Offset, Bytes) when is_binary(Bytes) -> emmap_nif:pwrite(Resource, Offset, Bytes);
pwrite(?handle(Resource), Offset, Data) ->
    case emmap_file:is_small(Data) of
        true -> emmap_nif:pwrite(Resource, Offset, Data);
        false -> emmap_nif:pwritev(Resource, Offset, erlang:iolist_to_iovec(Data));
        badarg -> {error, badarg}
    end;
pwrite(_, _, _) -> {error, badarg}.

%% @doc Does a list of writes. An error ends it: `{error, {N, Reason}}' after N writes that were done.
-spec pwrite(File :: mmap_file(), Writes :: [{Offset :: non_neg_integer(), Bytes :: iodata()}]) ->
          ok | {error, {Done :: non_neg_integer(), reason()} | reason()}.
pwrite(?handle(_) = File, List) -> emmap_file:pwrite_list(File, List);
pwrite(_, _) -> {error, badarg}.

%%% Moving, and the rest of what `file' asks of a handle

%% @doc Moves the position, from the start, from itself or from the end, and returns it. It may lie past the end; before
%% the start it is `{error, einval}'.
-spec position(File :: mmap_file(), Location :: location()) -> {ok, non_neg_integer()} | {error, reason()}.
position(?handle(Resource), Location) ->
    case Location of
        {Origin, Offset} -> emmap_nif:position(Resource, Origin, Offset);
        Offset when is_integer(Offset) -> emmap_nif:position(Resource, bof, Offset);
        Origin -> emmap_nif:position(Resource, Origin, 0)
    end;
position(_, _) -> {error, badarg}.

%% @doc Copies up to `Count' bytes from the position of one handle to that of another and returns how many it were.
-spec copy(From :: mmap_file(), To :: mmap_file(), Count :: non_neg_integer() | infinity) ->
          {ok, non_neg_integer()} | {error, reason()}.
copy(?handle(_) = From, ?handle(_) = To, Count) when is_integer(Count), Count >= 0; is_atom(Count) ->
    emmap_file:copy(From, To, Count);
copy(_, _, _) -> {error, badarg}.

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
read_handle_info(?handle(Resource), Options) when is_list(Options) -> emmap_file:read_info(Resource, Options);
read_handle_info(_, _) -> {error, badarg}.

%% @private
%% @doc Sends copies of a range, for `file:sendfile': what the kernel would take from a page that is lost ends the
%% connection.
-spec sendfile(File :: mmap_file(), term(), term(), term(), term(), term(), term(), term()) ->
          {ok, non_neg_integer()} | {error, reason() | inet:posix() | enotsup}.
sendfile(?handle(_) = File, Socket, Offset, Bytes, ChunkSize, [], [], _)
  when is_port(Socket), ?is_natural(Offset), ?is_natural(Bytes), is_integer(ChunkSize) ->
    emmap_file:send(File, Socket, Offset, Bytes, ChunkSize);
sendfile(File, _, _, _, _, _, _, _) ->
    case position(File, cur) of
        {ok, _} -> {error, enotsup};
        Error -> Error
    end.

%% @private
%% @doc Has `file:sendfile' to a `socket' fall back to reading and sending: this exception is what it looks for.
-spec internal_get_nif_resource(File :: mmap_file()) -> reference().
internal_get_nif_resource(?handle(_) = File) ->
    case position(File, cur) of
        {ok, _} -> erlang:error(notsup);
        %% No file of the VM's own, which is an error as a closed one is.
        {error, _} -> make_ref()
    end;
internal_get_nif_resource(_) -> erlang:error(badarg).

%%% Changing size

%% @doc Doubles the size of the file, by no more than `max_inc_size' bytes at a time, and returns the new size. See
%% {@link resize/2}.
-spec resize(File :: mmap_file()) -> {ok, non_neg_integer()} | {error, reason()}.
resize(?handle(Resource) = File) -> ?checked(emmap_nif:resize(Resource, double), [File]);
resize(File) -> ?badarg([File], badarg).

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
truncate(?handle(Resource)) -> emmap_nif:truncate(Resource);
truncate(_) -> {error, badarg}.

%% @doc Fits the handle to the file as it is now, and returns its size: takes over what others have appended, and heals
%% what had faulted once the file is long enough again.
-spec remap(File :: mmap_file()) -> {ok, non_neg_integer()} | {error, reason()}.
remap(?handle(Resource) = File) -> ?checked(emmap_nif:remap(Resource), [File]);
remap(File) -> ?badarg([File], badarg).

%% @doc Has the file system set disk space aside for a range, as `file:allocate/3'. Where the range ends past the end of
%% the file, the file grows to there.
-spec allocate(File :: mmap_file(), Offset :: non_neg_integer(), Count :: pos_integer()) -> ok | {error, reason()}.
allocate(?handle(Resource), Offset, Count) -> emmap_nif:allocate(Resource, Offset, Count);
allocate(_, _, _) -> {error, badarg}.

%%% Durability

%% @doc Returns when data and metadata are on disk, as fsync(2); for a file that this handle made, its directory entry
%% too. Nothing to do on private and anonymous mappings.
-spec sync(File :: mmap_file()) -> ok | {error, reason()}.
sync(?handle(Resource)) -> emmap_nif:sync(Resource);
sync(_) -> {error, badarg}.

%% @doc Returns when a range is on disk, as msync(2).
-spec sync(File :: mmap_file(), Offset :: non_neg_integer(), Count :: non_neg_integer()) -> ok | {error, reason()}.
sync(?handle(Resource) = File, Offset, Count) when ?is_natural(Offset), ?is_natural(Count) ->
    case emmap_nif:sync_range(Resource, Offset, Count) of
        {error, out_of_range} ->
            #{size := Size} = info(File),
            ?badarg([File, Offset, Count], {if Offset > Size -> 2; true -> 3 end, past_the_end});
        Result -> ?checked(Result, [File, Offset, Count])
    end;
sync(File, Offset, Count) -> ?badarg([File, Offset, Count], badarg).

%% @doc Returns when the data is on disk, as fdatasync(2).
-spec datasync(File :: mmap_file()) -> ok | {error, reason()}.
datasync(?handle(Resource)) -> emmap_nif:datasync(Resource);
datasync(_) -> {error, badarg}.

%% @doc Starts writing dirty pages to disk and returns at once.
-spec flush(File :: mmap_file()) -> ok | {error, reason()}.
flush(?handle(Resource) = File) -> ?checked(emmap_nif:flush(Resource), [File]);
flush(File) -> ?badarg([File], badarg).

%% @doc Tells the system how a range (a count of 0: all that follows) is going to be used, as madvise(2). Never drops
%% data.
-spec advise(File :: mmap_file(), Offset :: non_neg_integer(), Count :: non_neg_integer(),
             Advice :: advice()) ->
          ok | {error, reason()}.
advise(?handle(Resource), Offset, Count, Advice) -> emmap_nif:advise(Resource, Offset, Count, Advice);
advise(_, _, _, _) -> {error, badarg}.

%%% Atomic words

%% @doc Does an atomic operation on the 64-bit word at `Position', a multiple of 8, and returns the old value. Values
%% are taken modulo 2^64 and returned signed; overflow wraps.
-spec patomic(File :: mmap_file(), Position :: non_neg_integer(),
              Operation :: operation(), Value :: integer()) -> integer().
patomic(?handle(Resource) = File, Position, Operation, Value) ->
    ?word(emmap_nif:patomic(Resource, Position, Operation, Value), [File, Position, Operation, Value]);
patomic(File, Position, Operation, Value) -> ?badarg([File, Position, Operation, Value], badarg).

%% @doc Reads the 64-bit word at `Position', a multiple of 8.
-spec patomic_read(File :: mmap_file(), Position :: non_neg_integer()) -> integer().
patomic_read(?handle(Resource) = File, Position) ->
    ?word(emmap_nif:patomic_read(Resource, Position), [File, Position]);
patomic_read(File, Position) -> ?badarg([File, Position], badarg).

%% @doc Writes the 64-bit word at `Position', a multiple of 8.
-spec patomic_write(File :: mmap_file(), Position :: non_neg_integer(), Value :: integer()) -> ok.
patomic_write(?handle(Resource) = File, Position, Value) ->
    case emmap_nif:patomic_write(Resource, Position, Value) of
        ok -> ok;
        Reason -> ?raise(Reason, [File, Position, Value])
    end;
patomic_write(File, Position, Value) -> ?badarg([File, Position, Value], badarg).

%% @doc Writes `New' at `Position' if the word there is `Expected', and otherwise returns the word that is.
-spec patomic_cas(File :: mmap_file(), Position :: non_neg_integer(), Expected :: integer(), New :: integer()) ->
          ok | integer().
patomic_cas(?handle(Resource) = File, Position, Expected, New) ->
    case emmap_nif:patomic_cas(Resource, Position, Expected, New) of
        ok -> ok;
        Actual when is_integer(Actual) -> Actual;
        Reason -> ?raise(Reason, [File, Position, Expected, New])
    end;
patomic_cas(File, Position, Expected, New) -> ?badarg([File, Position, Expected, New], badarg).

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
inc_counter(?counters(Resource, Count) = Counters, Number) when ?is_counter(Number, Count) ->
    ?word(emmap_nif:patomic(Resource, ?COUNTER(Number), add, 1), [Counters, Number]);
inc_counter(Counters, Number) -> ?badarg([Counters, Number], no_counter).

%% @doc Adds to a counter and returns the old value. Overflow wraps.
-spec inc_counter(Counters :: counters(), Number :: non_neg_integer(), Increment :: integer()) -> integer().
inc_counter(?counters(Resource, Count) = Counters, Number, Increment) when ?is_counter(Number, Count) ->
    ?word(emmap_nif:patomic(Resource, ?COUNTER(Number), add, Increment), [Counters, Number, Increment]);
inc_counter(Counters, Number, Increment) -> ?badarg([Counters, Number, Increment], no_counter).

%% @doc Subtracts one from a counter and returns the old value.
-spec dec_counter(Counters :: counters(), Number :: non_neg_integer()) -> integer().
dec_counter(?counters(Resource, Count) = Counters, Number) when ?is_counter(Number, Count) ->
    ?word(emmap_nif:patomic(Resource, ?COUNTER(Number), sub, 1), [Counters, Number]);
dec_counter(Counters, Number) -> ?badarg([Counters, Number], no_counter).

%% @doc Subtracts from a counter and returns the old value. Overflow wraps.
-spec dec_counter(Counters :: counters(), Number :: non_neg_integer(), Decrement :: integer()) -> integer().
dec_counter(?counters(Resource, Count) = Counters, Number, Decrement) when ?is_counter(Number, Count) ->
    ?word(emmap_nif:patomic(Resource, ?COUNTER(Number), sub, Decrement), [Counters, Number, Decrement]);
dec_counter(Counters, Number, Decrement) -> ?badarg([Counters, Number, Decrement], no_counter).

%% @doc Sets a counter and returns the old value.
-spec set_counter(Counters :: counters(), Number :: non_neg_integer(), Value :: integer()) -> integer().
set_counter(?counters(Resource, Count) = Counters, Number, Value) when ?is_counter(Number, Count) ->
    ?word(emmap_nif:patomic(Resource, ?COUNTER(Number), xchg, Value), [Counters, Number, Value]);
set_counter(Counters, Number, Value) -> ?badarg([Counters, Number, Value], no_counter).

%% @doc Returns the value of a counter.
-spec read_counter(Counters :: counters(), Number :: non_neg_integer()) -> integer().
read_counter(?counters(Resource, Count) = Counters, Number) when ?is_counter(Number, Count) ->
    ?word(emmap_nif:patomic_read(Resource, ?COUNTER(Number)), [Counters, Number]);
read_counter(Counters, Number) -> ?badarg([Counters, Number], no_counter).
