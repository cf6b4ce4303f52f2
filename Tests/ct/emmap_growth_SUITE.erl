%% Copyright 2026 the emmap authors. Licensed under the Apache License, Version 2.0.

%% Files that grow and shrink, under handles, binaries and other programs.
-module(emmap_growth_SUITE).

-export([all/0, init_per_testcase/2, end_per_testcase/2]).
-export([append_is_exact_to_the_byte/1, nobody_sees_slack_while_appending/1, many_appends_take_few_mappings/1,
         smallest_steps_take_few_mappings/1,
         held_binaries_stay_correct_while_file_grows/1, held_binaries_show_later_writes/1,
         empty_file_grows/1, unaligned_offset_grows/1, resize_sets_length/1, resize_doubles_up_to_the_step/1,
         resize_of_mapping_that_cannot_grow_is_an_error/1, wrong_sizes_are_errors/1,
         truncate_cuts_and_extends_at_position/1, truncate_of_mapping_that_cannot_grow_is_an_error/1,
         remap_takes_over_growth_of_others/1, remap_of_window_stays_within_it/1, remap_of_private_keeps_changes/1,
         remap_of_anonymous_changes_nothing/1, allocate_extends_as_on_raw_file/1,
         allocate_of_mapping_that_cannot_grow_is_an_error/1, allocate_with_unaligned_offset/1,
         shrinking_under_held_binaries_is_survived/1, binaries_read_zeroes_past_new_end/1,
         cut_and_grown_again_reads_zeroes_as_file_does/1, two_handles_append_to_one_file/1,
         two_handles_write_and_grow_one_file/1, two_vms_write_and_grow_one_file/1, concurrent_writes_never_overlap/1,
         growth_past_file_limit_is_an_error/1]).
%% Called in other VMs.
-export([fill/3, shrink_under_binary/1]).

all() ->
    [append_is_exact_to_the_byte, nobody_sees_slack_while_appending, many_appends_take_few_mappings,
     smallest_steps_take_few_mappings,
     held_binaries_stay_correct_while_file_grows, held_binaries_show_later_writes, empty_file_grows,
     unaligned_offset_grows, resize_sets_length, resize_doubles_up_to_the_step,
     resize_of_mapping_that_cannot_grow_is_an_error, wrong_sizes_are_errors, truncate_cuts_and_extends_at_position,
     truncate_of_mapping_that_cannot_grow_is_an_error, remap_takes_over_growth_of_others,
     remap_of_window_stays_within_it, remap_of_private_keeps_changes, remap_of_anonymous_changes_nothing,
     allocate_extends_as_on_raw_file, allocate_of_mapping_that_cannot_grow_is_an_error,
     allocate_with_unaligned_offset, shrinking_under_held_binaries_is_survived, binaries_read_zeroes_past_new_end,
     cut_and_grown_again_reads_zeroes_as_file_does, two_handles_append_to_one_file,
     two_handles_write_and_grow_one_file, two_vms_write_and_grow_one_file,
     concurrent_writes_never_overlap, growth_past_file_limit_is_an_error].

-define(PAGE, 4096).

init_per_testcase(Case, Config) ->
    Directory = filename:join(proplists:get_value(priv_dir, Config), atom_to_list(Case)),
    ok = file:make_dir(Directory),
    [{directory, Directory} | Config].

end_per_testcase(_, Config) -> file:del_dir_r(proplists:get_value(directory, Config)).

path(Config) -> filename:join(proplists:get_value(directory, Config), "file").

file(Config, Bytes) ->
    ok = file:write_file(path(Config), Bytes),
    path(Config).

open(Config, Options) ->
    {ok, File} = emmap:open(path(Config), [read, write, shared | Options]),
    File.

%% As another program sees it.
length_of(Config) -> filelib:file_size(path(Config), prim_file).

size_of(File) -> maps:get(size, emmap:info(File)).

%% Bytes that tell where they are from.
bytes(Count) -> binary:part(<< <<N:32>> || N <- lists:seq(1, Count div 4 + 1) >>, 0, Count).

%%% Appending

append_is_exact_to_the_byte(Config) ->
    _ = file(Config, ""),
    File = open(Config, []),
    Counts = [1, 1, 100, ?PAGE - 102, 1, ?PAGE - 1, ?PAGE, 3 * ?PAGE + 7, 300000, 1, 5000000, 1],
    Total = lists:foldl(
              fun(Count, Before) ->
                      ok = emmap:write(File, bytes(Count)),
                      After = Before + Count,
                      {After, After, After} = {length_of(Config), size_of(File), element(2, file:position(File, cur))},
                      After
              end, 0, Counts),
    Total = lists:sum(Counts),
    {ok, Written} = file:read_file(path(Config)),
    Written = iolist_to_binary([bytes(Count) || Count <- Counts]).

%% The file is never longer than what has been written. In the midst of a write it may end with a page: so it is with
%% write(2).
nobody_sees_slack_while_appending(Config) ->
    _ = file(Config, ""),
    File = open(Config, [direct]),
    Records = atomics:new(2, []),
    {_, Monitor} = spawn_monitor(fun() -> append_counting(File, Records, 30000) end),
    Seen = watch(Config, Monitor, Records, 0, 0),
    ct:log("~b lengths seen", [Seen]),
    true = Seen > 2,
    3000000 = length_of(Config).

append_counting(_, _, 0) -> ok;
append_counting(File, Records, N) ->
    ok = atomics:add(Records, 1, 1),
    ok = emmap:write(File, binary:copy(<<"r">>, 100)),
    ok = atomics:add(Records, 2, 1),
    append_counting(File, Records, N - 1).

watch(Config, Monitor, Records, Last, Seen) ->
    Done = atomics:get(Records, 2),
    Length = length_of(Config),
    Begun = atomics:get(Records, 1),
    true = Length >= Last andalso Length >= Done * 100 andalso Length =< Begun * 100,
    true = Length rem 100 =:= 0 orelse Length rem ?PAGE =:= 0,
    receive {'DOWN', Monitor, process, _, Reason} -> normal = Reason, Seen
    after 0 -> watch(Config, Monitor, Records, Length, Seen + case Length of Last -> 0; _ -> 1 end)
    end.

%% The time for so many would be minutes if each mapped the file anew; that it does not is seen in how many mappings
%% there are. EMMAP_LONG=1 appends a million records.
many_appends_take_few_mappings(Config) ->
    Records = case os:getenv("EMMAP_LONG") of
                  "1" -> 1000000;
                  _ -> 100000
              end,
    _ = file(Config, ""),
    File = open(Config, []),
    Record = binary:copy(<<"0123456789">>, 10),
    {Time, ok} = timer:tc(fun() -> append(File, Record, Records) end),
    ct:log("~b appends of 100 bytes: ~b microseconds", [Records, Time]),
    Length = Records * 100,
    Length = length_of(Config),
    Length = size_of(File),
    {ok, Record} = emmap:pread(File, Length - 100, 200),
    %% 1 MiB, and twice as much each time.
    Mappings = emmap_test:mappings_of(path(Config)),
    {_, true} = {Mappings, Mappings > 0 andalso Mappings =< 9},
    ok = emmap:close(File),
    %% Some fifty times what it takes.
    true = Time < 600 * Records.

%% The addresses that are kept for growth double, whatever the step of the file is.
smallest_steps_take_few_mappings(Config) ->
    _ = file(Config, ""),
    File = open(Config, [{max_inc_size, 1}]),
    ok = append(File, binary:copy(<<"r">>, 1000), 10000),
    10000000 = length_of(Config),
    Mappings = emmap_test:mappings_of(path(Config)),
    {_, true} = {Mappings, Mappings > 0 andalso Mappings =< 9},
    ok = emmap:close(File).

append(_, _, 0) -> ok;
append(File, Record, N) ->
    ok = emmap:write(File, Record),
    append(File, Record, N - 1).

%% Binaries taken at every size, from a byte to more than any mapping was first made for.
held_binaries_stay_correct_while_file_grows(Config) ->
    _ = file(Config, ""),
    File = open(Config, [direct, {max_inc_size, ?PAGE}]),
    Held = [begin
                ok = emmap:write(File, binary:copy(<<N>>, 1000003)),
                {ok, Binary} = emmap:pread(File, (N - 1) * 1000003, 1000003),
                {N, Binary}
            end || N <- lists:seq(1, 100)],
    [true = Binary =:= binary:copy(<<N>>, 1000003) || {N, Binary} <- Held],
    ok = emmap:close(File),
    [true = Binary =:= binary:copy(<<N>>, 1000003) || {N, Binary} <- Held].

%% They are not copies that were left behind: the pages are still the file's.
held_binaries_show_later_writes(Config) ->
    _ = file(Config, "first"),
    File = open(Config, [direct]),
    {ok, Held} = emmap:pread(File, 0, 5),
    {ok, Long} = emmap:pread(File, 0, 100),
    <<"first">> = Long,
    {ok, _} = emmap:resize(File, 200 bsl 20),
    ok = emmap:pwrite(File, 0, "later"),
    <<"later">> = Held,
    {ok, Big} = emmap:pread(File, 0, 100 bsl 20),
    {ok, _} = emmap:resize(File, 2 bsl 30),
    ok = emmap:pwrite(File, 0, "again"),
    ok = emmap:pwrite(File, (2 bsl 30) - 3, "end"),
    <<"again">> = Held,
    <<"again", _/binary>> = Big,
    {ok, <<"end">>} = emmap:pread(File, (2 bsl 30) - 3, 3),
    2 bsl 30 = length_of(Config).

empty_file_grows(Config) ->
    {ok, File} = emmap:open(path(Config), [read, write, create, shared]),
    0 = size_of(File),
    eof = emmap:read(File, 1),
    eof = emmap:pread(File, 0, 1),
    ok = emmap:pwrite(File, 3, "x"),
    {ok, <<0, 0, 0, "x">>} = emmap:read(File, 10),
    4 = length_of(Config).

unaligned_offset_grows(Config) ->
    [begin
         _ = file(Config, binary:copy(<<"p">>, Offset + 2)),
         {ok, File} = emmap:open(path(Config), Offset, 0, [read, write, shared | Options]),
         2 = size_of(File),
         {ok, Held} = emmap:pread(File, 0, 2),
         ok = emmap:pwrite(File, 2, bytes(10000)),
         Length = Offset + 10002,
         Length = length_of(Config),
         {ok, 5} = emmap:resize(File, 5),
         {ok, 100000} = emmap:resize(File, 100000),
         ok = emmap:write(File, "WX"),
         {ok, <<"WX", 0, 0, 0, 0, _/binary>>} = emmap:pread(File, 0, 100000),
         Expected = case Options of [] -> <<"pp">>; [direct] -> <<"WX">> end,
         Expected = Held,
         {ok, <<_:Offset/binary, "WX", _:3/binary, Rest/binary>>} = file:read_file(path(Config)),
         true = Rest =:= <<0:(100000 - 5)/unit:8>>,
         ok = emmap:close(File)
     end || Offset <- [1, ?PAGE - 1, ?PAGE, ?PAGE + 1, 3 * ?PAGE + 17], Options <- [[], [direct]]].

%%% resize

resize_sets_length(Config) ->
    _ = file(Config, bytes(10000)),
    File = open(Config, []),
    [begin
         {Size, {ok, Size}} = {Size, emmap:resize(File, Size)},
         {Size, Size} = {length_of(Config), size_of(File)}
     end || Size <- [10000, 9999, 10001, ?PAGE, ?PAGE + 1, ?PAGE - 1, 1, 0, 1, 1 bsl 20, 3, 100 bsl 20, 0]],
    eof = emmap:pread(File, 0, 1).

resize_doubles_up_to_the_step(Config) ->
    _ = file(Config, bytes(10000)),
    File = open(Config, [{max_inc_size, 20000}]),
    {ok, 20000} = emmap:resize(File),
    {ok, 40000} = emmap:resize(File),
    {ok, 60000} = emmap:resize(File),
    60000 = length_of(Config),
    {ok, Bytes} = emmap:pread(File, 0, 10000),
    Bytes = bytes(10000),
    {ok, <<0:50000/unit:8>>} = emmap:pread(File, 10000, 100000).

%% {Name, how to open, what a change of size says}
unresizable(Config) ->
    Path = path(Config),
    [{private, fun() -> emmap:open(Path, [read, write, private]) end, fixed_size},
     {fixed_size, fun() -> emmap:open(Path, [read, write, shared, fixed_size]) end, fixed_size},
     {window, fun() -> emmap:open(Path, 17, 100, [read, write, shared]) end, fixed_size},
     {anon, fun() -> emmap:open(Path, 0, 10000, [read, write, anon]) end, fixed_size},
     %% As ftruncate(2) of a descriptor that is not open for writing.
     {read_only, fun() -> emmap:open(Path, [read, shared]) end, einval}].

each_unresizable(Config, Test) ->
    [begin
         _ = file(Config, bytes(10000)),
         {ok, File} = Open(),
         Size = size_of(File),
         Test(Name, File, Reason),
         {Name, Size} = {Name, size_of(File)},
         {ok, Bytes} = file:read_file(path(Config)),
         {Name, true} = {Name, Bytes =:= bytes(10000)},
         ok = emmap:close(File)
     end || {Name, Open, Reason} <- unresizable(Config)].

resize_of_mapping_that_cannot_grow_is_an_error(Config) ->
    each_unresizable(
      Config,
      fun(Name, File, Reason) ->
              [{Name, {error, Reason}} = {Name, emmap:resize(File, Size)} || Size <- [0, 1, 50, 20000]],
              {Name, {error, Reason}} = {Name, emmap:resize(File)}
      end).

wrong_sizes_are_errors(Config) ->
    _ = file(Config, "abc"),
    File = open(Config, []),
    [{Size, error} = {Size, result(fun() -> emmap:resize(File, Size) end)}
     || Size <- [-1, 1 bsl 62, (1 bsl 63) - 1, 1 bsl 63, 1 bsl 64, -(1 bsl 70), anything, 1.0, <<>>]],
    3 = length_of(Config),
    {ok, <<"abc">>} = emmap:pread(File, 0, 10).

result(Call) ->
    try Call() of
        {error, Reason} when is_atom(Reason) -> error;
        Other -> Other
    catch error:badarg -> error
    end.

%%% truncate

truncate_cuts_and_extends_at_position(Config) ->
    _ = file(Config, bytes(10000)),
    File = open(Config, []),
    [begin
         {ok, Position} = file:position(File, Position),
         ok = file:truncate(File),
         {Position, Position} = {length_of(Config), size_of(File)},
         {ok, Position} = file:position(File, cur)
     end || Position <- [9999, ?PAGE, 12000, 0, 5]],
    {ok, <<0, 0, 0, 0, 0>>} = emmap:pread(File, 0, 10).

truncate_of_mapping_that_cannot_grow_is_an_error(Config) ->
    each_unresizable(Config, fun(Name, File, Reason) ->
                                     {ok, 5} = emmap:position(File, 5),
                                     {Name, {error, Reason}} = {Name, emmap:truncate(File)},
                                     {ok, 5} = emmap:position(File, cur)
                             end).

%%% remap

remap_takes_over_growth_of_others(Config) ->
    _ = file(Config, "abc"),
    File = open(Config, [direct]),
    {ok, Held} = emmap:pread(File, 0, 3),
    ok = file:write_file(path(Config), bytes(200000), [append]),
    eof = emmap:pread(File, 3, 10),
    {ok, 200003} = emmap:remap(File),
    {ok, <<0, 0, 0, 1>>} = emmap:pread(File, 3, 4),
    <<"abc">> = Held,
    {ok, Other} = file:open(path(Config), [raw, read, write]),
    {ok, 2} = file:position(Other, 2),
    ok = file:truncate(Other),
    {ok, 2} = emmap:remap(File),
    {ok, <<"ab">>} = emmap:pread(File, 0, 10),
    ok = emmap:pwrite(File, 2, "!"),
    {ok, <<"ab!">>} = file:read_file(path(Config)).

remap_of_window_stays_within_it(Config) ->
    _ = file(Config, bytes(10000)),
    {ok, File} = emmap:open(path(Config), 4, 100, [read, write, shared]),
    ok = file:write_file(path(Config), bytes(10000), [append]),
    {ok, 100} = emmap:remap(File),
    {ok, Other} = file:open(path(Config), [raw, read, write]),
    {ok, 12} = file:position(Other, 12),
    ok = file:truncate(Other),
    {ok, 8} = emmap:remap(File),
    {ok, <<2:32, 3:32>>} = emmap:pread(File, 0, 100),
    {ok, 100} = file:position(Other, 100),
    ok = file:truncate(Other),
    {ok, 96} = emmap:remap(File).

remap_of_private_keeps_changes(Config) ->
    _ = file(Config, "abc"),
    {ok, File} = emmap:open(path(Config), [read, write, private]),
    ok = emmap:pwrite(File, 1, "X"),
    ok = file:write_file(path(Config), "def", [append]),
    {ok, 6} = emmap:remap(File),
    {ok, <<"aXcdef">>} = emmap:pread(File, 0, 10),
    {ok, <<"abcdef">>} = file:read_file(path(Config)).

remap_of_anonymous_changes_nothing(_) ->
    {ok, File} = emmap:open("", 0, 5000, [read, write, anon]),
    ok = emmap:pwrite(File, 4999, "x"),
    {ok, 5000} = emmap:remap(File),
    {ok, <<"x">>} = emmap:pread(File, 4999, 1).

%%% allocate

allocate_extends_as_on_raw_file(Config) ->
    _ = file(Config, "abc"),
    RawPath = path(Config) ++ "_raw",
    ok = file:write_file(RawPath, "abc"),
    {ok, Raw} = file:open(RawPath, [raw, binary, read, write]),
    File = open(Config, []),
    [begin
         Expected = file:allocate(Raw, Offset, Count),
         {Offset, Count, Expected} = {Offset, Count, file:allocate(File, Offset, Count)},
         Length = filelib:file_size(RawPath, prim_file),
         {Offset, Count, Length, Length} = {Offset, Count, length_of(Config), size_of(File)},
         {ok, Bytes} = file:pread(Raw, 0, 1 bsl 20),
         {ok, Bytes} = file:pread(File, 0, 1 bsl 20)
     end || {Offset, Count} <- [{0, 1}, {0, 3}, {0, 4}, {2, 2}, {10, 100}, {?PAGE, ?PAGE}, {0, 0}, {-1, 1}, {0, -1},
                                {5, 200000}, {0, 1 bsl 62}, {1 bsl 62, 1}]].

allocate_of_mapping_that_cannot_grow_is_an_error(Config) ->
    each_unresizable(Config, fun(Name, File, _) ->
                                     {Name, {error, Reason}} = {Name, emmap:allocate(File, 0, 20000)},
                                     true = lists:member(Reason, [fixed_size, ebadf])
                             end),
    _ = file(Config, bytes(10000)),
    File = open(Config, [fixed_size]),
    ok = emmap:allocate(File, 0, 10000),
    ok = emmap:allocate(File, 9999, 1),
    {error, fixed_size} = emmap:allocate(File, 9999, 2),
    10000 = length_of(Config).

allocate_with_unaligned_offset(Config) ->
    _ = file(Config, "0123456789"),
    {ok, File} = emmap:open(path(Config), 7, 0, [read, write, shared]),
    ok = emmap:allocate(File, 0, 3),
    10 = length_of(Config),
    {ok, <<"789">>} = emmap:pread(File, 0, 3).

%%% Shrinking under binaries

shrinking_under_held_binaries_is_survived(Config) ->
    Path = file(Config, bytes(1 bsl 20)),
    Vm = start_vm(),
    {1 bsl 20, 100, 0} = peer:call(Vm, ?MODULE, shrink_under_binary, [Path], 60000),
    %% And it lives on.
    {ok, [[_]]} = peer:call(Vm, init, get_argument, [root]),
    peer:stop(Vm).

shrink_under_binary(Path) ->
    {ok, File} = emmap:open(Path, [read, write, shared, direct]),
    {ok, Held} = emmap:pread(File, 0, 1 bsl 20),
    {ok, 100} = emmap:resize(File, 100),
    Tail = binary:part(Held, ?PAGE, (1 bsl 20) - ?PAGE),
    {byte_size(Held), maps:get(size, emmap:info(File)), lists:sum(binary_to_list(Tail))}.

binaries_read_zeroes_past_new_end(Config) ->
    _ = file(Config, bytes(100000)),
    File = open(Config, [direct]),
    {ok, Held} = emmap:pread(File, 0, 100000),
    {ok, 10} = emmap:resize(File, 10),
    Expected = bytes(100000),
    true = binary:part(Held, 0, 10) =:= binary:part(Expected, 0, 10),
    true = binary:part(Held, 10, 99990) =:= <<0:99990/unit:8>>,
    {ok, Short} = emmap:pread(File, 0, 100000),
    10 = byte_size(Short).

%% What was cut off does not come back.
cut_and_grown_again_reads_zeroes_as_file_does(Config) ->
    [begin
         _ = file(Config, bytes(100000)),
         File = open(Config, Options),
         {ok, Held} = emmap:pread(File, 0, 100000),
         {ok, 5001} = emmap:resize(File, 5001),
         _ = erlang:phash2(Held),
         {ok, 100000} = emmap:resize(File, 100000),
         {ok, Bytes} = file:read_file(path(Config)),
         {ok, Bytes} = emmap:pread(File, 0, 100000),
         true = binary:part(Bytes, 5001, 94999) =:= <<0:94999/unit:8>>,
         ok = emmap:pwrite(File, 99999, "z"),
         {ok, <<"z">>} = emmap:pread(File, 99999, 1),
         {ok, Again} = file:read_file(path(Config)),
         <<"z">> = binary:part(Again, 99999, 1),
         ok = emmap:close(File)
     end || Options <- [[], [direct]]].

%%% Together

%% A handle knows of what others append when it is told to look.
two_handles_append_to_one_file(Config) ->
    _ = file(Config, ""),
    One = open(Config, []),
    Other = open(Config, [direct]),
    [begin
         {ok, Size} = emmap:remap(File),
         {ok, Size} = emmap:position(File, eof),
         ok = emmap:write(File, <<N:32, 0:(N rem 5000)/unit:8>>)
     end || N <- lists:seq(1, 2000), File <- [case N rem 3 of 0 -> One; _ -> Other end]],
    {ok, Size} = emmap:remap(One),
    {ok, Size} = emmap:remap(Other),
    {ok, Bytes} = emmap:pread(One, 0, Size),
    {ok, Bytes} = emmap:pread(Other, 0, Size),
    {ok, Bytes} = file:read_file(path(Config)),
    2000 = records(Bytes, 1).

records(<<>>, N) -> N - 1;
records(<<N:32, Rest/binary>>, N) ->
    Count = N rem 5000,
    <<0:Count/unit:8, More/binary>> = Rest,
    records(More, N + 1).

%% One writes the even blocks, one the odd ones; both grow the file, and each looks at what the other has written.
two_handles_write_and_grow_one_file(Config) ->
    [two_fill(Config, fun(Fill) -> emmap_test:together([Fill, Fill]) end, Options)
     || Options <- [[], [direct], [{max_inc_size, ?PAGE}]]].

two_vms_write_and_grow_one_file(Config) -> two_fill(Config, fun emmap_test:in_two_vms/1, []).

two_fill(Config, Together, Options) ->
    Path = file(Config, ""),
    Control = Path ++ "_control",
    ok = file:write_file(Control, <<0:(6 * 64)>>),
    [ok, ok] = Together(fun() -> fill(Path, Control, Options) end),
    {ok, Bytes} = file:read_file(Path),
    true = Bytes =:= << <<(block(N + 1))/binary>> || N <- lists:seq(0, 3999) >>.

%% First past the end of what the handle knows, then inside. Words of the control file: who has come, who is ready, who
%% is done with the first, and how many blocks each has written.
%%
%% A handle that has taken over the other's growth would write into holes by storing to memory. On Linux (6.18 with ext4)
%% what is stored there while the write(2) is still running that left the hole behind may be overwritten with zeroes,
%% whatever program stores it. So another handle looks.
fill(Path, ControlPath, Options) ->
    {ok, File} = emmap:open(Path, [read, write, shared | Options]),
    {ok, Looking} = emmap:open(Path, [read, write, shared]),
    {ok, Control} = emmap:open(ControlPath, [read, write, shared]),
    Parity = emmap:patomic(Control, 0, add, 1),
    Write = fun(I, Before, Expected) ->
        Own = 2 * I + Parity,
        ok = emmap:pwrite(File, Own * 1001, Expected(Own)),
        {Own, {ok, Block}} = {Own, emmap:pread(File, Own * 1001, 1001)},
        {Own, Block} = {Own, Expected(Own)},
        ok = emmap:patomic_write(Control, 32 + 8 * Parity, Before + I + 1),
        case emmap:patomic_read(Control, 32 + 8 * (1 - Parity)) - Before of
            Count when Count > 0 ->
                {ok, _} = emmap:remap(Looking),
                Other = 2 * (Count - 1) + 1 - Parity,
                {ok, Seen} = emmap:pread(Looking, Other * 1001, 1001),
                {Other, Seen} = {Other, Expected(Other)};
            _ -> ok
        end
    end,
    emmap_test:meet(Control, 8, 2),
    [Write(I, 0, fun block/1) || I <- lists:seq(0, 1999)],
    emmap_test:meet(Control, 16, 2),
    {ok, 4004000} = emmap:remap(File),
    [Write(I, 2000, fun(N) -> block(N + 1) end) || I <- lists:seq(0, 1999)],
    [ok = emmap:close(Handle) || Handle <- [Control, Looking]],
    emmap:close(File).

block(N) -> binary:part(binary:copy(<<N:32>>, 251), 0, 1001).

concurrent_writes_never_overlap(Config) ->
    _ = file(Config, ""),
    File = open(Config, []),
    Workers = [spawn_monitor(fun() -> append(File, binary:copy(<<W>>, 97), 2000) end) || W <- lists:seq(1, 8)],
    [receive {'DOWN', Monitor, process, _, Reason} -> normal = Reason end || {_, Monitor} <- Workers],
    {ok, Bytes} = file:read_file(path(Config)),
    Records = [Record || <<Record:97/binary>> <= Bytes],
    [2000 = length([Record || Record <- Records, Record =:= binary:copy(<<W>>, 97)]) || W <- lists:seq(1, 8)],
    8 * 2000 * 97 = byte_size(Bytes).

growth_past_file_limit_is_an_error(Config) ->
    _ = file(Config, "abc"),
    File = open(Config, []),
    [{Offset, {error, Reason}} = {Offset, emmap:pwrite(File, Offset, "xy")}
     || {Offset, Reason} <- [{1 bsl 62, efbig}, {(1 bsl 63) - 2, einval}, {(1 bsl 63) - 1, einval}]],
    3 = length_of(Config),
    3 = size_of(File),
    ok = emmap:pwrite(File, 3, "d"),
    {ok, <<"abcd">>} = file:read_file(path(Config)).

%%% Other VMs

start_vm() ->
    Paths = lists:usort([filename:dirname(code:which(Module)) || Module <- [emmap, ?MODULE]]),
    {ok, Vm, _} = peer:start_link(#{connection => standard_io, args => ["-pa" | Paths]}),
    Vm.
