%% Copyright 2026 the emmap authors. Licensed under the Apache License, Version 2.0.

%% @doc Blocks of bytes at addresses, in a file: what a disk is to a file system.
%%
%% A block has as many bytes as it was given, up to so many, and an address that {@link store/2} chooses: an integer, to
%% be kept wherever the block is to be found again (in ETS, in another block, in a queue). For caches, indexes and tables
%% that must outlive the VM and are read and changed here and there.
%%
%% <ul>
%% <li>When the VM dies, at any moment, whatever returned `ok' is there, whole; what had not returned is there whole, or
%% not at all.</li>
%% <li>When the power fails, whatever was `ok' before a {@link sync/1} that returned `ok' is there. Of later changes any
%% may be missing; no block comes back by halves, and none that was freed before the sync.</li>
%% <li>Damage of the file is found before a wrong byte is returned: `{error, {corrupt, Address}}'.</li>
%% <li>Memory and disk are bounded by what is stored. A store, a read or a free takes as long with a thousand blocks as
%% with ten million.</li>
%% </ul>
%%
%% One owner at a time has a file open; any number of processes of the node may use the handle. A handle is closed by
%% {@link close/1}, or when nothing refers to it any more; the blocks stay either way.
%%
%% ```
%% {ok, Blocks} = emmap_blocks:open("pages.blocks", 4096).
%% {ok, Address} = emmap_blocks:store(Blocks, [<<"a page">>, " of up to 4096 bytes"]).
%% {ok, <<"a page of up to 4096 bytes">>} = emmap_blocks:read(Blocks, Address).
%% ok = emmap_blocks:free(Blocks, Address).
%% '''
-module(emmap_blocks).

-export([open/2, open/3, close/1, store/2, read/2, free/2, fold/3, read_list/3, count/1, info/1, sync/1, check/1]).
-export([format_error/1]).

-export_type([blocks/0, address/0, block_size/0, option/0, reason/0, info/0, report/0]).

-record(emmap_blocks, {handle :: emmap_nif:handle(), size :: pos_integer()}).

-opaque blocks() :: #emmap_blocks{}.
%% Blocks that are open.

-type address() :: 0..16#fffffffff.
%% Where a block is. No two blocks that are stored have the same; that of one that was freed is used again, after two
%% syncs at the earliest unless the block was younger than the last sync.

-type block_size() :: 1..16#1000000.
%% The most bytes in a block, up to 16 MiB. It is chosen for the file, which has that much room for each.

-type option() :: {max_size, pos_integer()} | {chmod, non_neg_integer()}.
%% How to open blocks.
%%
%% <dl>
%% <dt>`{max_size, Bytes}'</dt><dd>The file gets no longer than this; a store that would need more is `{error, full}'.
%% The first block makes it 268 KiB and more. Default: no limit, but for that of 2^36 blocks.</dd>
%% <dt>`{chmod, Mode}'</dt><dd>The permissions of a new file. Default: `8#600'.</dd>
%% </dl>

-type reason() ::
        file:posix() | badarg | closed | truncated | full | locked | bad_magic | not_found | too_long
      | {wrong_block_size, block_size()} | {corrupt, non_neg_integer()}.
%% Why a call failed; {@link format_error/1} makes a sentence of it. A POSIX atom is the system's. After an error of the
%% file the handle goes on answering it until the blocks are opened anew: what the system lost it does not tell twice.

-type info() ::
        #{block_size := block_size(), count := non_neg_integer(), waiting := non_neg_integer(),
          room := non_neg_integer(), file_size := non_neg_integer(),
          recovered := clean | #{dropped := non_neg_integer()}}.
%% What is known of blocks, as {@link info/1} returns it.

-type report() :: #{count := non_neg_integer(), bytes := non_neg_integer(), corrupt := [address()]}.
%% What {@link check/1} has found.

-define(badarg(Args, Cause), erlang:error(badarg, Args, [{error_info, #{module => emmap_error, cause => Cause}}])).
-define(blocks(Handle), #emmap_blocks{handle = Handle}).
-define(MAX_BLOCK_SIZE, 16#1000000).
-define(is_address(A), (is_integer(A) andalso A >= 0 andalso A =< 16#fffffffff)).
-define(is_count(N), (is_integer(N) andalso N > 0 andalso N =< 16#7fffffff)).
%% How many blocks a fold asks for at a time.
-define(FOLDED, 100).

%%% Opening

%% @doc Opens blocks with no options. See {@link open/3}.
-spec open(Name :: file:name_all(), BlockSize :: 0 | block_size()) -> {ok, blocks()} | {error, reason()}.
open(Name, BlockSize) ->
    case open_checked(Name, BlockSize, []) of
        {bad, Argument, Why} -> ?badarg([Name, BlockSize], {Argument, Why});
        Result -> Result
    end.

%% @doc Opens a file of blocks, and makes it if it does not exist. An existing one has a block size of its own: if it is
%% another than that asked for, it is `{error, {wrong_block_size, Bytes}}'; 0 takes what the file has, which must exist.
%% `{error, locked}': it is open already, in this VM or another. What the last owner had not synced when the power failed
%% may be missing: {@link info/1} tells.
-spec open(Name :: file:name_all(), BlockSize :: 0 | block_size(), Options :: [option()]) ->
          {ok, blocks()} | {error, reason()}.
open(Name, BlockSize, Options) ->
    case open_checked(Name, BlockSize, Options) of
        {bad, Argument, Why} -> ?badarg([Name, BlockSize, Options], {Argument, Why});
        Result -> Result
    end.

open_checked(Name, BlockSize, Options) when is_integer(BlockSize), BlockSize >= 0, BlockSize =< ?MAX_BLOCK_SIZE ->
    case {emmap_name:encode(Name), options(Options, {16#7fffffffffffffff, 8#600})} of
        {error, _} -> {bad, 1, not_a_name};
        {_, {bad, Why}} -> {bad, 3, Why};
        {Path, {MaxSize, Mode}} ->
            %% Made of what no other file has.
            Uuid = erlang:md5(term_to_binary({node(), os:getpid(), make_ref(), os:system_time()})),
            case emmap_nif:blocks_open(Path, BlockSize, MaxSize, Mode, Uuid) of
                {ok, Handle, Size} -> {ok, #emmap_blocks{handle = Handle, size = Size}};
                Error -> Error
            end
    end;
open_checked(_, _, _) -> {bad, 2, not_a_block_size}.

options([], Parsed) -> Parsed;
options([{max_size, Bytes} | Rest], Parsed) when is_integer(Bytes), Bytes > 0, Bytes =< 16#7fffffffffffffff ->
    options(Rest, setelement(1, Parsed, Bytes));
options([{chmod, Mode} | Rest], Parsed) when is_integer(Mode), Mode >= 0, Mode =< 8#7777 ->
    options(Rest, setelement(2, Parsed, Mode));
options([{Key, _} = Option | _], _) when Key =:= max_size; Key =:= chmod -> {bad, {bad_value, Option}};
options([Option | _], _) -> {bad, {unknown_option, Option}};
options(_, _) -> {bad, not_a_list}.

%% @doc Closes blocks; all of them are on disk then.
-spec close(Blocks :: blocks()) -> ok | {error, reason()}.
close(?blocks(Handle)) when is_reference(Handle) -> emmap_nif:blocks_close(Handle);
close(Blocks) -> ?badarg([Blocks], {1, not_blocks}).

%%% Storing, reading, freeing

%% @doc Stores bytes in a free block, and returns its address: the lowest that is free near the last one. From 0 bytes to
%% the block size; more are `{error, too_long}'. `{error, full}': the file must not get longer; `{error, enospc}': it
%% cannot. The blocks are then as they were. Where the file would have to get longer and enough blocks wait for a sync
%% (`waiting' in {@link info/1}), a store makes one.
-spec store(Blocks :: blocks(), Data :: iodata()) -> {ok, address()} | {error, reason()}.
store(?blocks(Handle), Data) when is_reference(Handle), is_binary(Data) ->
    case emmap_nif:blocks_store(Handle, Data) of
        Address when is_integer(Address) -> {ok, Address};
        Error -> Error
    end;
store(#emmap_blocks{handle = Handle, size = Size} = Blocks, Data) when is_reference(Handle) ->
    try iolist_size(Data) of
        Bytes when Bytes > Size -> {error, too_long};
        _ -> store(Blocks, iolist_to_binary(Data))
    catch
        error:_ -> ?badarg([Blocks, Data], {2, not_bytes})
    end;
store(Blocks, Data) -> ?badarg([Blocks, Data], {1, not_blocks}).

%% @doc Reads a block. `{error, not_found}': there is none at this address; `{error, {corrupt, Address}}': its bytes are
%% not those that were stored.
-spec read(Blocks :: blocks(), Address :: address()) -> {ok, binary()} | {error, reason()}.
read(?blocks(Handle) = Blocks, Address) ->
    %% The library looks at its arguments anyway; what is wrong with them is asked only then.
    case emmap_nif:blocks_read(Handle, Address) of
        Data when is_binary(Data) -> {ok, Data};
        Error when is_reference(Handle), ?is_address(Address) -> Error;
        _ -> ?badarg([Blocks, Address], wrong(Blocks, not_an_address))
    end;
read(Blocks, Address) -> ?badarg([Blocks, Address], {1, not_blocks}).

%% @doc Frees a block, a damaged one too. `{error, not_found}': there is none at this address. A block that was there at
%% the last sync is stored to again after two more, so that none that was freed comes back, whatever fails.
-spec free(Blocks :: blocks(), Address :: address()) -> ok | {error, reason()}.
free(?blocks(Handle), Address) when is_reference(Handle), ?is_address(Address) ->
    emmap_nif:blocks_free(Handle, Address);
free(Blocks, Address) -> ?badarg([Blocks, Address], wrong(Blocks, not_an_address)).

wrong(?blocks(Handle), Why) when is_reference(Handle) -> {2, Why};
wrong(_, _) -> {1, not_blocks}.

%%% All of them

%% @doc Calls `Fun(Address, Data, Acc)' for each block in order of addresses. What is stored or freed meanwhile may be
%% seen or not. It ends with an error at a block that is damaged; {@link read_list/3} goes on behind that.
-spec fold(Fun :: fun((address(), binary(), Acc) -> Acc), Acc, Blocks :: blocks()) -> {ok, Acc} | {error, reason()}.
fold(Fun, Acc, ?blocks(Handle)) when is_function(Fun, 3), is_reference(Handle) -> fold(Fun, Acc, Handle, 0);
fold(Fun, Acc, Blocks) when is_function(Fun, 3) -> ?badarg([Fun, Acc, Blocks], {3, not_blocks});
fold(Fun, Acc, Blocks) -> ?badarg([Fun, Acc, Blocks], {1, not_a_function_of_3}).

fold(_, Acc, _, done) -> {ok, Acc};
fold(Fun, Acc, Handle, From) ->
    case emmap_nif:blocks_read_list(Handle, From, ?FOLDED) of
        {List, Next} when is_list(List) -> fold(Fun, fold_list(Fun, Acc, List), Handle, Next);
        Error -> Error
    end.

fold_list(_, Acc, []) -> Acc;
fold_list(Fun, Acc, [{Address, Data} | Rest]) -> fold_list(Fun, Fun(Address, Data, Acc), Rest).

%% @doc Reads up to `Max' blocks in order of addresses, from `From' on, and says where to go on: `done' if there are no
%% more. A block that is damaged is `{error, {corrupt, Address}}' if it is the first; otherwise the list ends before it.
-spec read_list(Blocks :: blocks(), From :: address(), Max :: pos_integer()) ->
          {[{address(), binary()}], Next :: address() | done} | {error, reason()}.
read_list(?blocks(Handle), From, Max) when is_reference(Handle), ?is_address(From), ?is_count(Max) ->
    read_list(Handle, From, Max, []);
read_list(Blocks, From, Max) when ?is_address(From) ->
    {_, Why} = Wrong = wrong(Blocks, not_a_number_of_blocks),
    ?badarg([Blocks, From, Max], case Why of not_blocks -> Wrong; _ -> {3, Why} end);
read_list(Blocks, From, Max) -> ?badarg([Blocks, From, Max], wrong(Blocks, not_an_address)).

read_list(Handle, From, Max, Lists) ->
    case emmap_nif:blocks_read_list(Handle, From, Max) of
        {List, Next} when is_list(List), Next =/= done, length(List) < Max ->
            read_list(Handle, Next, Max - length(List), [List | Lists]);
        {List, Next} when is_list(List) -> {lists:append(lists:reverse(Lists, [List])), Next};
        {error, {corrupt, From}} when Lists =/= [] -> found_before(From, lists:append(lists:reverse(Lists)));
        Error -> Error
    end.

found_before(From, []) -> {error, {corrupt, From}};
found_before(From, List) -> {List, From}.

%% @doc Counts the blocks that are stored. In constant time.
-spec count(Blocks :: blocks()) -> non_neg_integer() | {error, reason()}.
count(?blocks(Handle)) when is_reference(Handle) -> emmap_nif:blocks_count(Handle);
count(Blocks) -> ?badarg([Blocks], {1, not_blocks}).

%% @doc Reads every block, and reports how many are as they were stored, how many bytes those have, and the addresses of
%% those that are damaged. Others go on using the blocks meanwhile.
-spec check(Blocks :: blocks()) -> {ok, report()} | {error, reason()}.
check(?blocks(Handle)) when is_reference(Handle) -> check(Handle, 0, {0, 0, []});
check(Blocks) -> ?badarg([Blocks], {1, not_blocks}).

check(_, done, {Count, Bytes, Corrupt}) ->
    {ok, #{count => Count, bytes => Bytes, corrupt => lists:append(lists:reverse(Corrupt))}};
check(Handle, From, {Count, Bytes, Corrupt}) ->
    case emmap_nif:blocks_check(Handle, From) of
        {MoreCount, MoreBytes, MoreCorrupt, Next} ->
            check(Handle, Next, {Count + MoreCount, Bytes + MoreBytes, [MoreCorrupt | Corrupt]});
        Error -> Error
    end.

%% @doc Describes blocks. `count': how many are stored; `waiting': how many were freed and wait for syncs before they can
%% be stored to; `room': for how many the file is long enough; `recovered': what opening found: `clean', or how many
%% blocks were being stored when the last owner ended, and were dropped.
-spec info(Blocks :: blocks()) -> info() | {error, reason()}.
info(?blocks(Handle)) when is_reference(Handle) ->
    case emmap_nif:blocks_info(Handle) of
        {error, _} = Error -> Error;
        {BlockSize, Count, Waiting, Room, FileSize, Recovered} ->
            #{block_size => BlockSize, count => Count, waiting => Waiting, room => Room, file_size => FileSize,
              recovered => case Recovered of clean -> clean; Dropped -> #{dropped => Dropped} end}
    end;
info(Blocks) -> ?badarg([Blocks], {1, not_blocks}).

%%% The disk

%% @doc Returns when all that was done before is on disk. Those who call at the same time share one sync.
-spec sync(Blocks :: blocks()) -> ok | {error, reason()}.
sync(?blocks(Handle)) when is_reference(Handle) -> sync(Handle, make_ref(), 0);
sync(Blocks) -> ?badarg([Blocks], {1, not_blocks}).

sync(Handle, Reference, Ticket) ->
    case emmap_nif:blocks_sync(Handle, Reference, Ticket) of
        Later when is_integer(Later) -> receive {emmap_blocks, Reference} -> sync(Handle, Reference, Later) end;
        Answer -> Answer
    end.

%% @doc Makes a sentence of a reason.
-spec format_error(Reason :: reason() | {error, reason()}) -> string().
format_error({error, Reason}) -> format_error(Reason);
format_error(closed) -> "the blocks are closed";
format_error(truncated) -> "the file was cut short by somebody else";
format_error(full) -> "the file has reached its max_size, or the number of blocks its limit";
format_error(locked) -> "the blocks are open already, in this VM or another";
format_error(bad_magic) -> "the file has no blocks";
format_error(not_found) -> "there is no block at this address";
format_error(too_long) -> "the bytes are more than a block has";
format_error({wrong_block_size, Bytes}) ->
    lists:flatten(io_lib:format("the file's blocks have ~b bytes, another size was asked for", [Bytes]));
format_error({corrupt, Place}) ->
    lists:flatten(io_lib:format("the file is damaged: ~b is not what was stored there", [Place]));
format_error(Reason) -> file:format_error(Reason).
