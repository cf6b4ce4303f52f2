%% Copyright 2026 the emmap authors. Licensed under the Apache License, Version 2.0.

%% @doc The options of {@link emmap:open/2}: {@link option()} says what each does.
-module(emmap_options).

-export([table/0, parse/1, traits/0, describe/1]).

-export_type([option/0, row/0, parsed/0, why/0]).

-define(MAX_INT64, 16#7fffffffffffffff).
%% The option with this number in OpenOptions.Flags.
-define(flag(Number), {flag, 1 bsl (Number)}).
-define(choice(Group, Number), {choice, Group, 1 bsl (Number)}).

%% More than any mode: none was given.
-define(NO_MODE, 8#10000).

-record(parsed, {flags = 0, address = 0, mode = ?NO_MODE, size = 0, step = 64 bsl 20, chosen = [],
                 needed = none}).

-type option() ::
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
%% <dt>`{max_inc_size, N}'</dt><dd>The step in bytes past which {@link emmap:resize/1} stops doubling. Default: 64 MiB.</dd>
%% <dt>`auto_unlink'</dt><dd>Delete the file when it is closed, or when the handle is collected; of a symbolic link, the
%% file that it led to when it was opened. Not when the VM ends before, by `halt/0' or otherwise: then take `unlink'.
%% With `anon' nothing is deleted.</dd>
%% <dt>`unlink'</dt><dd>Delete the file's name as soon as it is open; the file itself goes with its last user, however
%% that ends.</dd>
%% <dt>`follow'</dt><dd>A read that meets the end looks whether the file has become longer, as `tail -f' does, without
%% {@link emmap:remap/1}.</dd>
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

-type parsed() :: {Flags :: non_neg_integer(), Address :: non_neg_integer(), Mode :: non_neg_integer(),
                   Size :: non_neg_integer(), Step :: pos_integer()}.
%% What `emmap_nif:open/9' takes.

-type row() :: nothing
             | {flag, Bit :: pos_integer()}
             | {choice, Group :: atom(), Bit :: non_neg_integer()}
             | {needs, Field :: pos_integer(), Option :: atom()}
             | {number, Field :: pos_integer(), Min :: integer(), Max :: integer()}.
%% What an option does. `nothing': none. `flag': sets a bit. `choice': sets a bit, or none, and is the only one of its
%% group. `needs': nothing, but only beside the option that sets a number. `number': `{Name, N}' sets a number.

-type why() :: not_a_list | {bad_value, tuple()} | {unknown_option, term()} | {conflict, atom(), atom()}
             | {needs, atom(), atom()}.

%% @private
%% @doc All options, with the bits that the library knows them by. A new one is a row here, one of the type `option()',
%% and a bit in OpenOptions.Flags.
-spec table() -> #{atom() => row()}.
table() ->
    #{read => nothing,
      write => ?flag(0),
      create => ?flag(1),
      truncate => ?flag(2),
      private => {choice, sharing, 0},
      shared => ?choice(sharing, 3),
      shared_validate => ?choice(sharing, 4),
      anon => ?flag(5),
      direct => ?flag(6),
      lock => {choice, locking, 0},
      nolock => ?choice(locking, 7),
      populate => ?flag(8),
      noreserve => ?flag(9),
      sync => ?flag(10),
      uninitialized => ?flag(11),
      auto_unlink => ?flag(12),
      debug => ?flag(13),
      fit => ?flag(14),
      fixed_size => ?flag(15),
      hugetlb => ?flag(16),
      huge_2mb => ?flag(17),
      huge_1gb => ?flag(18),
      nonblock => ?flag(19),
      append => ?flag(20),
      exclusive => ?flag(21),
      dirty => ?flag(22),
      follow => ?flag(23),
      unlink => ?flag(24),
      %% For macOS.
      nocache => nothing,
      fixed => {needs, #parsed.address, address},
      address => {number, #parsed.address, 1, ?MAX_INT64},
      chmod => {number, #parsed.mode, 0, 8#7777},
      size => {number, #parsed.size, 1, ?MAX_INT64},
      max_inc_size => {number, #parsed.step, 1, ?MAX_INT64}}.

%% @private
%% @doc Makes of a list of options what the library takes.
-spec parse(term()) -> parsed() | {bad, why()}.
parse(List) when is_list(List), length(List) >= 0 -> parse(List, #parsed{});
parse(_) -> {bad, not_a_list}.

parse([{Name, N} = Option | Options], Parsed) ->
    case table() of
        #{Name := {number, Field, Min, Max}} when is_integer(N), N >= Min, N =< Max ->
            parse(Options, setelement(Field, Parsed, N));
        #{Name := {number, _, _, _}} -> {bad, {bad_value, Option}};
        #{} -> {bad, {unknown_option, Option}}
    end;
parse([Option | Options], #parsed{flags = Flags, chosen = Chosen} = Parsed) ->
    case table() of
        #{Option := {flag, Bit}} -> parse(Options, Parsed#parsed{flags = Flags bor Bit});
        #{Option := {choice, Group, Bit}} ->
            case lists:keyfind(Group, 1, Chosen) of
                false -> parse(Options, Parsed#parsed{flags = Flags bor Bit, chosen = [{Group, Option} | Chosen]});
                {_, Option} -> parse(Options, Parsed);
                {_, Other} -> {bad, {conflict, Other, Option}}
            end;
        #{Option := nothing} -> parse(Options, Parsed);
        #{Option := {needs, Field, Other}} -> parse(Options, Parsed#parsed{needed = {Field, Option, Other}});
        #{} -> {bad, {unknown_option, Option}}
    end;
parse([], #parsed{needed = {Field, Option, Other}} = Parsed) when element(Field, Parsed) =:= 0 ->
    {bad, {needs, Option, Other}};
parse([], #parsed{flags = Flags, address = Address, mode = Mode, size = Size, step = Step}) ->
    {Flags, Address, Mode, Size, Step}.

%% @private
%% @doc The bits of File.Traits that tell how a handle was opened.
-spec traits() -> #{atom() => pos_integer()}.
traits() -> #{writable => 1, shared => 2, anonymous => 4, direct => 8, locked => 16, fixed_size => 32}.

%% @private
%% @doc The part of `emmap:info/1' that tells how a handle was opened.
-spec describe(Traits :: non_neg_integer()) -> #{mode := [read | write], sharing := shared | private | anon,
                                                 direct := boolean(), lock := boolean(), fixed_size := boolean()}.
describe(Traits) ->
    #{writable := Writable, shared := Shared, anonymous := Anonymous, direct := Direct, locked := Locked,
      fixed_size := FixedSize} = maps:map(fun(_, Bit) -> Traits band Bit =/= 0 end, traits()),
    #{mode => case Writable of true -> [read, write]; false -> [read] end,
      sharing => if Anonymous -> anon; Shared -> shared; true -> private end,
      direct => Direct, lock => Locked, fixed_size => FixedSize}.
