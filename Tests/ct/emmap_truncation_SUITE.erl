%% Copyright 2026 the emmap authors. Licensed under the Apache License, Version 2.0.

%% Files that others cut short under a mapping: calls say so, direct binaries read as zeroes, and the VM lives.
-module(emmap_truncation_SUITE).

-export([suite/0, all/0, init_per_testcase/2, end_per_testcase/2]).
-compile([export_all, nowarn_export_all]).
-import(emmap_vm, [survives/1, survives/2, content/1, is_content/1, new_file/2, cut/2, modes/0, raised/1, mappings/0,
                   descriptors/0, status_kb/1, while/2, eventually/1]).

-include_lib("common_test/include/ct.hrl").

-define(PAGE, 4096).

suite() -> [{timetrap, {minutes, 4}}].

all() ->
    [a_file_cut_to_nothing_is_an_error, counters_of_a_cut_file_raise_truncated,
     no_reader_gets_zeroes_while_an_append_heals, a_file_cut_inside_a_page_keeps_the_rest,
     lines_before_the_cut_can_be_read_after_a_fault, a_window_of_a_file_that_was_cut_is_an_error,
     cutting_races_with_readers_writers_and_atomics, a_thousand_files_cut_in_a_row,
     half_a_gigabyte_cut_while_it_is_read, a_direct_binary_of_a_cut_file_ends_in_zeroes,
     a_direct_binary_outlives_close, a_direct_binary_outlives_its_handle,
     a_direct_binary_of_a_cut_file_can_be_written_elsewhere, half_a_gigabyte_of_direct_binary_cut_short].

init_per_testcase(Case, Config) -> emmap_vm:directory(Case, Config).

end_per_testcase(_, Config) -> emmap_vm:delete_directory(Config).

%%% Truncation

a_file_cut_to_nothing_is_an_error(Config) ->
    Dir = ?config(dir, Config),
    survives(fun() -> [cut_to_nothing(Dir, Sharing, Mode) || Sharing <- [shared, private], Mode <- modes()] end).

cut_to_nothing(Dir, Sharing, Mode) ->
    Name = new_file(Dir, 10),
    {ok, File} = emmap:open(Name, [read, write, Sharing | Mode]),
    cut(Name, 0),
    {error, truncated} = emmap:pwrite(File, 5 * ?PAGE, <<"x">>),
    {error, truncated} = emmap:pwrite(File, 0, binary:copy(<<"x">>, 10 * ?PAGE)),
    {error, truncated} = emmap:pread(File, 0, 10),
    {error, truncated} = emmap:pread(File, 9 * ?PAGE, ?PAGE),
    {error, truncated} = emmap:pread(File, [{0, 1}]),
    {error, truncated} = emmap:read(File, 1),
    {error, truncated} = emmap:read_line(File),
    {error, truncated} = emmap:write(File, <<"x">>),
    {ok, 0} = emmap:position(File, cur),
    truncated = raised(fun() -> emmap:patomic(File, 8, add, 1) end),
    truncated = raised(fun() -> emmap:patomic_read(File, 8) end),
    truncated = raised(fun() -> emmap:patomic_write(File, 8, 1) end),
    truncated = raised(fun() -> emmap:patomic_cas(File, 8, 1, 2) end),
    #{faulted := {0, _}} = emmap:info(File),
    eof = emmap:pread(File, 10 * ?PAGE, 1),
    ok = file:write_file(Name, content(10)),
    {ok, Size} = emmap:remap(File),
    Size = 10 * ?PAGE,
    #{faulted := false} = emmap:info(File),
    Whole = content(10),
    {ok, Whole} = emmap:pread(File, 0, Size),
    ok = emmap:pwrite(File, 0, <<"x">>),
    {ok, <<"x">>} = emmap:pread(File, 0, 1),
    ok = emmap:close(File).

a_file_cut_inside_a_page_keeps_the_rest(Config) ->
    Dir = ?config(dir, Config),
    survives(fun() -> [cut_inside(Dir, Sharing, Mode) || Sharing <- [shared, private], Mode <- modes()] end).

cut_inside(Dir, Sharing, Mode) ->
    Name = new_file(Dir, 10),
    {ok, File} = emmap:open(Name, [read, write, Sharing | Mode]),
    Cut = 2 * ?PAGE + 100,
    cut(Name, Cut),
    {error, truncated} = emmap:pwrite(File, 3 * ?PAGE, <<"x">>),
    truncated = raised(fun() -> emmap:patomic_read(File, 9 * ?PAGE) end),
    {error, truncated} = emmap:pread(File, 3 * ?PAGE - 1, 2),
    Rest = binary:part(content(10), 0, Cut),
    {ok, Rest} = emmap:pread(File, 0, Cut),
    ok = emmap:pwrite(File, 8, <<1:64/native>>),
    1 = emmap:patomic(File, 8, add, 1),
    2 = emmap:patomic_read(File, 8),
    {ok, Cut} = emmap:remap(File),
    {ok, <<2:64/native>>} = emmap:pread(File, 8, 8),
    eof = emmap:pread(File, Cut, 1),
    ok = emmap:close(File).

lines_before_the_cut_can_be_read_after_a_fault(Config) ->
    Dir = ?config(dir, Config),
    survives(
      fun() ->
              [begin
                   Name = new_file(Dir, 10),
                   {ok, File} = emmap:open(Name, [read, write, shared | Mode]),
                   cut(Name, 2 * ?PAGE),
                   {error, truncated} = emmap:pwrite(File, 5 * ?PAGE, <<"x">>),
                   Line = binary:part(content(1), 0, 64),
                   [{ok, Line} = emmap:read_line(File) || _ <- lists:seq(1, 2 * ?PAGE div 64)],
                   {error, truncated} = emmap:read_line(File)
               end || Mode <- modes()]
      end).

a_window_of_a_file_that_was_cut_is_an_error(Config) ->
    Dir = ?config(dir, Config),
    survives(
      fun() ->
              [begin
                   Name = new_file(Dir, 10),
                   {ok, File} = emmap:open(Name, 2 * ?PAGE + 64, 4 * ?PAGE, [read, write, shared | Mode]),
                   cut(Name, 4 * ?PAGE),
                   {error, truncated} = emmap:pwrite(File, 2 * ?PAGE, <<"x">>),
                   {error, truncated} = emmap:pread(File, 2 * ?PAGE - 64, 1),
                   {ok, <<_:(2 * ?PAGE - 64)/binary>>} = emmap:pread(File, 0, 2 * ?PAGE - 64),
                   {ok, Left} = emmap:remap(File),
                   Left = 2 * ?PAGE - 64,
                   cut(Name, ?PAGE),
                   {error, too_short} = emmap:remap(File),
                   {error, truncated} = emmap:pwrite(File, 0, <<"x">>),
                   ok = file:write_file(Name, content(10)),
                   {ok, Again} = emmap:remap(File),
                   Again = 4 * ?PAGE,
                   {ok, <<"A">>} = emmap:pread(File, Again - ?PAGE, 1)
               end || Mode <- modes()]
      end).

counters_of_a_cut_file_raise_truncated(Config) ->
    Dir = ?config(dir, Config),
    survives(
      fun() ->
              Name = filename:join(Dir, "counters"),
              Counters = emmap:open_counters(Name, 2000),
              0 = emmap:set_counter(Counters, 1, 7),
              cut(Name, ?PAGE),
              [truncated = raised(Call) || Call <- emmap_vm:counter_calls(Counters, 1999)],
              7 = emmap:inc_counter(Counters, 1),
              8 = emmap:read_counter(Counters, 1),
              ok = emmap:close_counters(Counters)
      end).

%% Others cut the file and fill it again; a call of ours then maps it afresh. Meanwhile a reader finds the bytes, or is
%% told that they were not there, but never the zeroes that stood in for them.
no_reader_gets_zeroes_while_an_append_heals(Config) ->
    Dir = ?config(dir, Config),
    survives(
      fun() -> [heal_beside_readers(Dir, Heal, Lock) || Heal <- [append, remap], Lock <- [lock, nolock]] end,
      #{args => ["+S", "4"]}).

heal_beside_readers(Dir, Heal, Lock) ->
    {Name, Pages} = {new_file(Dir, 16), 16},
    {ok, File} = emmap:open(Name, [read, write, shared, Lock]),
    {ok, Raw} = file:open(Name, [read, write, raw, binary]),
    Read = fun() ->
                   case emmap:pread(File, ?PAGE, 15 * ?PAGE) of
                       {ok, Bytes} -> {Heal, Lock, nomatch} = {Heal, Lock, binary:match(Bytes, <<0>>)};
                       {error, truncated} -> ok
                   end
           end,
    ReadWord = fun() ->
                       try emmap:patomic_read(File, ?PAGE + 8) of
                           Word -> {Heal, Lock, true} = {Heal, Lock, Word =/= 0}
                       catch
                           error:truncated -> ok
                       end
               end,
    Whole = content(Pages),
    Length = atomics:new(1, []),
    ok = atomics:put(Length, 1, Pages * ?PAGE),
    while([Read, Read, ReadWord],
          fun() ->
                  emmap_vm:until(
                    700,
                    fun() ->
                            Now = atomics:get(Length, 1),
                            {ok, ?PAGE} = file:position(Raw, ?PAGE),
                            ok = file:truncate(Raw),
                            erlang:yield(),
                            Rest = [binary:part(Whole, ?PAGE, 15 * ?PAGE), binary:copy(<<"A">>, Now - Pages * ?PAGE)],
                            ok = file:pwrite(Raw, ?PAGE, Rest),
                            case Heal of
                                append ->
                                    ok = emmap:pwrite(File, Now, <<"A">>),
                                    ok = atomics:add(Length, 1, 1);
                                remap -> {ok, Now} = emmap:remap(File)
                            end
                    end)
          end),
    ok = emmap:close(File).

cutting_races_with_readers_writers_and_atomics(Config) ->
    Dir = ?config(dir, Config),
    survives(
      fun() ->
              Name = new_file(Dir, 64),
              Handles = [begin
                             {ok, File} = emmap:open(Name, [read, write, Sharing | Mode]),
                             File
                         end || Sharing <- [shared, private], Mode <- modes()],
              Workers = [fun() -> race_once(lists:nth(rand:uniform(8), Handles)) end || _ <- lists:seq(1, 8)],
              {ok, Raw} = file:open(Name, [read, write, raw, binary]),
              Page = content(1),
              Cut = fun() ->
                            Size = rand:uniform(64 * ?PAGE) - 1,
                            {ok, Size} = file:position(Raw, Size),
                            ok = file:truncate(Raw),
                            _ = emmap:remap(lists:nth(rand:uniform(8), Handles)),
                            ok = file:pwrite(Raw, 63 * ?PAGE, Page),
                            _ = emmap:remap(lists:nth(rand:uniform(8), Handles))
                    end,
              while(Workers, fun() -> emmap_vm:until(5000, Cut) end)
      end, #{args => ["+S", "4"]}).

%% One random access. The file holds letters, newlines and, where it was cut and grew again, zeroes.
race_once(File) ->
    Offset = rand:uniform(64 * ?PAGE) - 1,
    case rand:uniform(5) of
        1 ->
            case emmap:pread(File, Offset, rand:uniform(3 * ?PAGE)) of
                {ok, Bytes} -> true = is_content(Bytes);
                eof -> ok;
                {error, truncated} -> ok
            end;
        2 ->
            case emmap:pwrite(File, Offset band bnot 63, content(1)) of
                ok -> ok;
                {error, truncated} -> ok;
                %% A private handle that a remap has made shorter.
                {error, enospc} -> ok
            end;
        3 ->
            case emmap:read_line(File) of
                {ok, Line} -> true = is_content(Line);
                eof -> {ok, 0} = emmap:position(File, bof);
                {error, truncated} -> {ok, 0} = emmap:position(File, bof)
            end;
        4 ->
            try emmap:patomic(File, Offset band bnot 7, add, 0) of
                Word -> true = is_content(<<Word:64/native>>)
            catch
                error:truncated -> ok;
                %% Past the end, after a remap.
                error:badarg -> ok
            end;
        5 ->
            try emmap:patomic_read(File, Offset band bnot 7) of
                Word -> true = is_content(<<Word:64/native>>)
            catch
                error:truncated -> ok;
                error:badarg -> ok
            end
    end.

a_thousand_files_cut_in_a_row(Config) ->
    Dir = ?config(dir, Config),
    survives(
      fun() ->
              Handles = [begin
                             Name = new_file(Dir, 3),
                             {ok, File} = emmap:open(Name, [read, write, shared]),
                             cut(Name, N rem 3 * ?PAGE),
                             {error, truncated} = emmap:pread(File, 0, 3 * ?PAGE),
                             ok = file:delete(Name),
                             File
                         end || N <- lists:seq(1, 1000)],
              [{error, truncated} = emmap:pwrite(File, 2 * ?PAGE, <<"x">>) || File <- Handles],
              [ok = emmap:close(File) || File <- Handles]
      end).

%% Holes are cheap, so the file takes no space. The cut is made when the read on a dirty scheduler has mapped some of
%% the pages and is still at it.
half_a_gigabyte_cut_while_it_is_read(Config) ->
    Dir = ?config(dir, Config),
    survives(fun() -> [true = cut_meets_a_read(new_file(Dir, 1), Mode, 10) || Mode <- [[lock], [nolock]]] end).

cut_meets_a_read(_, _, 0) -> false;
cut_meets_a_read(Name, Mode, Tries) ->
    Size = 512 bsl 20,
    cut(Name, Size),
    {ok, File} = emmap:open(Name, [read, write, shared | Mode]),
    Before = status_kb("RssFile"),
    {Reader, Reference} = spawn_monitor(fun() -> exit(element(2, emmap:pread(File, 0, Size))) end),
    eventually(fun() -> status_kb("RssFile") > Before + (16 bsl 10) orelse not is_process_alive(Reader) end),
    cut(Name, 1000),
    Met = receive
              {'DOWN', Reference, process, Reader, truncated} -> true;
              %% Read before the cut.
              {'DOWN', Reference, process, Reader, Bytes} -> Size = byte_size(Bytes), false
          end,
    {error, truncated} = emmap:pwrite(File, Size - 1, <<1>>),
    {error, truncated} = emmap:pread(File, 0, Size),
    ok = emmap:close(File),
    Met orelse cut_meets_a_read(Name, Mode, Tries - 1).

%%% Direct binaries

%% Ways to touch all of a binary, in C code of the VM and in compiled Erlang.
touches() ->
    [{at, fun(B) -> [binary:at(B, I) || I <- lists:seq(0, byte_size(B) - 1, 1000)] end},
     {at_the_end, fun(B) -> binary:last(B) end},
     {matching_a_tail, fun(B) -> N = byte_size(B) - 8, <<_:N/binary, Word:64>> = B, Word end},
     {matching_bytes, fun(B) -> sum(B, 0) end},
     {matching_unaligned, fun(<<_:3, Rest/bits>>) -> Size = bit_size(Rest) - 5, <<N:Size, _:5>> = Rest, N end},
     {matching_floats, fun(B) -> [F || <<F:64/float>> <= B] end},
     {matching_utf8, fun(B) -> length([C || <<C/utf8>> <= B]) end},
     {md5, fun erlang:md5/1},
     {crc32, fun erlang:crc32/1},
     {adler32, fun erlang:adler32/1},
     {phash2, fun erlang:phash2/1},
     {equal, fun(B) -> B =:= binary:copy(<<0>>, byte_size(B)) end},
     {equal_to_itself, fun(B) ->
                               <<First, _/binary>> = B,
                               <<First, (binary:part(B, 1, byte_size(B) - 1))/binary>> =:= B
                       end},
     {less, fun(B) -> B < <<"AAA">> end},
     {copy, fun binary:copy/1},
     {append, fun(B) -> <<B/binary, "x">> end},
     {term_to_binary, fun erlang:term_to_binary/1},
     {compressed, fun(B) -> binary_to_term(term_to_binary(B, [compressed])) end},
     {to_list, fun erlang:binary_to_list/1},
     {iolist, fun(B) -> iolist_to_binary([B, $x, B]) end},
     {match, fun(B) -> binary:matches(B, <<0>>) end},
     {split, fun(B) -> binary:split(B, <<"\n">>, [global]) end},
     {decode_unsigned, fun binary:decode_unsigned/1},
     {unicode, fun(B) -> unicode:characters_to_list(B) end},
     {regular_expression, fun(B) -> re:run(B, <<"\\x00+$">>) end},
     {zlib, fun(B) -> zlib:uncompress(zlib:compress(B)) end},
     {base64, fun base64:encode/1},
     {ets, fun(B) ->
                   Table = ets:new(table, []),
                   true = ets:insert(Table, {key, B}),
                   [{key, Back}] = ets:lookup(Table, key),
                   true = ets:delete(Table),
                   erlang:md5(Back)
           end},
     {ets_key, fun(B) ->
                       Table = ets:new(table, [ordered_set]),
                       true = ets:insert(Table, [{B}, {<<"A">>}]),
                       true = ets:member(Table, B),
                       ets:delete(Table)
               end},
     {message, fun(B) ->
                       Parent = self(),
                       Other = spawn_link(fun() -> receive Bytes -> Parent ! {self(), sum(Bytes, 0)} end end),
                       Other ! B,
                       receive {Other, Sum} -> Sum end
               end},
     {persistent_term, fun(B) ->
                               persistent_term:put(key, B),
                               erlang:crc32(persistent_term:get(key))
                       end},
     {list_to_atom, fun(B) -> raised(fun() -> binary_to_atom(B) end) end},
     {map_key, fun(B) -> maps:get(B, #{B => 1}) end}].

sum(<<Byte, Rest/binary>>, Sum) -> sum(Rest, Sum + Byte);
sum(<<>>, Sum) -> Sum.

%% Has `Prepare' make a direct binary afresh for each way to touch it, so that it is that way that faults.
touch_all(Expected, Prepare) ->
    [begin
         Bytes = Prepare(),
         case {Touch(Bytes), Touch(Expected)} of
             {Same, Same} -> ok;
             {Other, Wanted} -> error({Name, Other, Wanted})
         end
     end || {Name, Touch} <- touches()].

%% What a file of 10 pages reads as when it was cut inside the third.
cut_content() ->
    Cut = 2 * ?PAGE + 100,
    <<Rest:Cut/binary, _/binary>> = Whole = content(10),
    <<Rest/binary, 0:((byte_size(Whole) - Cut) * 8)>>.

a_direct_binary_of_a_cut_file_ends_in_zeroes(Config) ->
    Dir = ?config(dir, Config),
    survives(
      fun() ->
              [touch_all(cut_content(),
                         fun() ->
                                 Name = new_file(Dir, 10),
                                 {ok, File} = emmap:open(Name, [direct, Lock]),
                                 {ok, Bytes} = emmap:pread(File, 0, 10 * ?PAGE),
                                 cut(Name, 2 * ?PAGE + 100),
                                 Bytes
                         end) || Lock <- [lock, nolock]]
      end).

a_direct_binary_outlives_close(Config) ->
    Dir = ?config(dir, Config),
    survives(
      fun() ->
              Prepare = fun(Change, Options) ->
                                Name = new_file(Dir, 10),
                                {ok, File} = emmap:open(Name, [direct | Options]),
                                {ok, Bytes} = emmap:read(File, 10 * ?PAGE),
                                ok = emmap:close(File),
                                {error, closed} = emmap:close(File),
                                {error, closed} = emmap:read(File, 1),
                                Change(Name),
                                Bytes
                        end,
              [begin
                   touch_all(content(10), fun() -> Prepare(fun file:delete/1, Options) end),
                   touch_all(cut_content(), fun() -> Prepare(fun(Name) -> cut(Name, 2 * ?PAGE + 100) end, Options) end)
               end || Options <- [[read], [write, shared], [nolock, write, private]]]
      end).

a_direct_binary_outlives_its_handle(Config) ->
    Dir = ?config(dir, Config),
    survives(
      fun() ->
              Before = descriptors(),
              Prepare = fun(Change) ->
                                Name = new_file(Dir, 10),
                                Parent = self(),
                                {Pid, Reference} =
                                    spawn_monitor(fun() ->
                                                          {ok, File} = emmap:open(Name, [direct, auto_unlink]),
                                                          {ok, Bytes} = emmap:pread(File, 0, 10 * ?PAGE),
                                                          Parent ! {self(), Bytes}
                                                  end),
                                receive {'DOWN', Reference, process, Pid, normal} -> ok end,
                                Change(Name),
                                receive {Pid, Bytes} -> Bytes end
                        end,
              touch_all(content(10), fun() -> Prepare(fun(_) -> ok end) end),
              %% The file may have been deleted by then; a name that is there again is nobody's.
              Replace = fun(Name) -> file:write_file(Name, <<"other">>, [exclusive]) end,
              touch_all(content(10), fun() -> Prepare(Replace) end),
              erlang:garbage_collect(),
              eventually(fun() -> descriptors() =< Before + 1 end)
      end).

%% The kernel does not fault on behalf of the process: it says efault, or has copied nothing.
a_direct_binary_of_a_cut_file_can_be_written_elsewhere(Config) ->
    Dir = ?config(dir, Config),
    survives(
      fun() ->
              Name = new_file(Dir, 10),
              {ok, File} = emmap:open(Name, [direct]),
              {ok, Bytes} = emmap:pread(File, 0, 10 * ?PAGE),
              cut(Name, 0),
              _ = file:write_file(filename:join(Dir, "copy"), Bytes),
              {ok, Listener} = gen_tcp:listen(0, [binary, {active, false}, {ip, {127, 0, 0, 1}}]),
              {ok, Port} = inet:port(Listener),
              {ok, Out} = gen_tcp:connect({127, 0, 0, 1}, Port, [binary]),
              {ok, In} = gen_tcp:accept(Listener),
              _ = gen_tcp:send(Out, Bytes),
              ok = gen_tcp:close(Out),
              ok = gen_tcp:close(In),
              0 = sum(Bytes, 0)
      end).

half_a_gigabyte_of_direct_binary_cut_short(Config) ->
    Dir = ?config(dir, Config),
    survives(
      fun() ->
              Size = 512 bsl 20,
              Name = new_file(Dir, 1),
              [begin
                   cut(Name, Size),
                   {ok, File} = emmap:open(Name, [direct]),
                   {ok, Bytes} = emmap:pread(File, 0, Size),
                   Before = mappings(),
                   Close andalso (ok = emmap:close(File)),
                   cut(Name, 0),
                   %% From the end, so that each touch is a fault of its own where the end of the file is not known.
                   [0 = binary:at(Bytes, At) || At <- lists:seq(Size - 1, 0, -(1 bsl 20))],
                   true = erlang:crc32(Bytes) =:= erlang:crc32(binary:copy(<<0>>, Size)),
                   true = mappings() < Before + 100
               end || Close <- [false, true]]
      end).
