%% Copyright 2026 the emmap authors. Licensed under the Apache License, Version 2.0.

%% emmap_queue from Erlang: what it answers, who waits, who dies.
-module(emmap_queue_SUITE).

-compile([export_all, nowarn_export_all]).

-include_lib("common_test/include/ct.hrl").
-include_lib("kernel/include/file.hrl").
-include_lib("stdlib/include/assert.hrl").

suite() -> [{timetrap, {minutes, 30}}].

all() ->
    [terms_come_in_order, a_list_is_pushed_as_a_whole, bytes_stay_as_they_are, large_messages_come_whole,
     pop_list_takes_no_more_than_asked_for, peek_and_fold_leave_all_there, length_follows,
     what_is_taken_comes_back_from_a_dead_process, the_end_of_one_that_has_messages_holds_up_no_scheduler,
     a_receipt_is_good_once, acknowledged_is_gone_after_reopening,
     what_is_acknowledged_or_popped_behind_comes_again,
     a_waiting_pop_gets_what_is_pushed, a_waiting_take_gets_what_comes_back, waiting_ends_in_time,
     who_waits_is_told_of_close, a_message_for_a_dead_waiter_goes_to_another, every_waiter_gets_one,
     consumers_see_every_message, an_atom_and_a_binary_are_one_name, names_in_a_file_make_no_atoms,
     purge_is_for_one_consumer, a_queue_has_one_owner, another_vm_takes_the_lock_over,
     a_forgotten_queue_is_closed, a_changed_byte_is_found, a_file_cut_short_is_truncated,
     files_of_others_are_left_as_they_are, there_can_be_192_consumers, a_queue_that_is_nearly_empty_stays_small,
     a_million_messages_slow_nothing_down,
     closed_is_an_error, a_full_queue_says_so, options_are_kept_in_the_file, sync_every_shares_syncs,
     a_named_owner_is_restarted_without_loss, an_owner_without_a_queue_does_not_start,
     wrong_arguments_are_explained, errors_have_texts,
     a_full_disk_leaves_the_queue_as_it_was, no_mail_is_left_behind,
     a_killed_process_leaves_nobody_waiting, a_killed_pusher_leaves_nobody_waiting, waiters_end_together,
     behaves_as_queue, wrong_model_is_found_and_shrunk, killed_vms_lose_nothing].

init_per_testcase(Case, Config) -> emmap_test:directory(Case, Config).
end_per_testcase(_, _) -> ok.

open(Config) -> open(Config, []).
open(Config, Options) ->
    {ok, Queue} = emmap_queue:open(emmap_test:path(Config, "queue"), [{segment_size, 65536} | Options]),
    Queue.

drain(Queue) ->
    case emmap_queue:pop(Queue) of
        {ok, Term} -> [Term | drain(Queue)];
        empty -> []
    end.

%%% Pushing and popping

terms_come_in_order(Config) ->
    Queue = open(Config),
    Terms = [1, a, "list", <<"binary">>, {1, 2.5}, #{a => b}, self(), make_ref(), fun lists:map/2, <<1:3>>, [],
             1 bsl 100, <<>>],
    [ok = emmap_queue:push(Queue, Term) || Term <- Terms],
    ?assertEqual(Terms, drain(Queue)),
    ?assertEqual(empty, emmap_queue:pop(Queue)),
    ok = emmap_queue:close(Queue).

a_list_is_pushed_as_a_whole(Config) ->
    Queue = open(Config, [{max_size, 65536 * 3}]),
    ok = emmap_queue:push_list(Queue, []),
    ?assertEqual({error, full}, emmap_queue:push_list(Queue, [small, binary:copy(<<1>>, 200000)])),
    ?assertEqual(0, emmap_queue:length(Queue)),
    ok = emmap_queue:push_list(Queue, lists:seq(1, 2000)),
    ?assertEqual(lists:seq(1, 2000), drain(Queue)).

bytes_stay_as_they_are(Config) ->
    Queue = open(Config, [{type, binary}]),
    ok = emmap_queue:push(Queue, ["io", <<"data">>, $!]),
    ok = emmap_queue:push_list(Queue, [<<>>, <<"x">>]),
    ?assertEqual([<<"iodata!">>, <<>>, <<"x">>], drain(Queue)),
    ?assertError(badarg, emmap_queue:push(Queue, not_iodata)),
    ?assertError(badarg, emmap_queue:push_list(Queue, [<<"a">>, not_iodata])),
    ?assertEqual(empty, emmap_queue:pop(Queue)).

%% Below, at and above what is pushed on a normal scheduler, what fits in a segment, and what is kept in one binary.
large_messages_come_whole(Config) ->
    Queue = open(Config, [{type, binary}]),
    Sizes = [64, 65, 65464, 65465, 65536, 65537, 200000, 1 bsl 20, (1 bsl 20) + 1, 5 bsl 20],
    Messages = [crypto:strong_rand_bytes(Size) || Size <- Sizes],
    [ok = emmap_queue:push(Queue, Message) || Message <- Messages],
    ?assert(Messages =:= drain(Queue)),
    ok = emmap_queue:push_list(Queue, Messages),
    {ok, All} = emmap_queue:pop_list(Queue, 100),
    ?assert(Messages =:= All).

pop_list_takes_no_more_than_asked_for(Config) ->
    Queue = open(Config),
    ?assertEqual(empty, emmap_queue:pop_list(Queue, 5)),
    ok = emmap_queue:push_list(Queue, lists:seq(1, 3000)),
    ?assertEqual({ok, []}, emmap_queue:pop_list(Queue, 0)),
    ?assertEqual({ok, [1]}, emmap_queue:pop_list(Queue, 1)),
    ?assertEqual({ok, lists:seq(2, 2002)}, emmap_queue:pop_list(Queue, 2001)),
    ?assertEqual({ok, lists:seq(2003, 3000)}, emmap_queue:pop_list(Queue, 5000)),
    %% Nor of those that came back.
    ok = emmap_queue:push_list(Queue, [a, b, c]),
    {ok, a, Receipt} = emmap_queue:take(Queue),
    ok = emmap_queue:nack(Queue, Receipt),
    ?assertEqual({ok, []}, emmap_queue:pop_list(Queue, 0)),
    ?assertEqual({ok, [a]}, emmap_queue:pop_list(Queue, 3)),
    ?assertEqual({ok, [b, c]}, emmap_queue:pop_list(Queue, 3)).

peek_and_fold_leave_all_there(Config) ->
    Queue = open(Config),
    ?assertEqual(empty, emmap_queue:peek(Queue)),
    Collect = fun(Term, Acc) -> [Term | Acc] end,
    ?assertEqual({ok, []}, emmap_queue:fold(Collect, [], Queue)),
    ok = emmap_queue:push_list(Queue, lists:seq(1, 250)),
    ?assertEqual({ok, 1}, emmap_queue:peek(Queue)),
    ?assertEqual({ok, lists:seq(250, 1, -1)}, emmap_queue:fold(Collect, [], Queue)),
    ?assertEqual(250, emmap_queue:length(Queue)),
    ?assertError(stop, emmap_queue:fold(fun(_, _) -> error(stop) end, [], Queue)),
    %% What is taken away meanwhile need not be seen; the rest is.
    {ok, Seen} = emmap_queue:fold(fun(Term, Acc) ->
                                      Acc =:= [] andalso emmap_queue:pop_list(Queue, 120),
                                      [Term | Acc]
                                  end, [], Queue),
    ?assertEqual(lists:seq(250, 121, -1), lists:sublist(Seen, 130)).

length_follows(Config) ->
    Queue = open(Config),
    ?assert(emmap_queue:is_empty(Queue)),
    ok = emmap_queue:push_list(Queue, [a, b, c]),
    ?assertEqual(3, emmap_queue:length(Queue)),
    ?assertNot(emmap_queue:is_empty(Queue)),
    {ok, a, Receipt} = emmap_queue:take(Queue),
    ?assertMatch(#{length := 2, taken := 1}, emmap_queue:info(Queue)),
    ok = emmap_queue:nack(Queue, Receipt),
    ?assertMatch(#{length := 3, taken := 0}, emmap_queue:info(Queue)).

%%% Taking

what_is_taken_comes_back_from_a_dead_process(Config) ->
    Queue = open(Config),
    ok = emmap_queue:push_list(Queue, [a, b, c, d]),
    {_, Monitor} = spawn_monitor(fun() ->
        {ok, a, _} = emmap_queue:take(Queue),
        {ok, b, Receipt} = emmap_queue:take(Queue),
        {ok, c, _} = emmap_queue:take(Queue),
        ok = emmap_queue:ack(Queue, Receipt)
    end),
    receive {'DOWN', Monitor, _, _, Why} -> normal = Why end,
    {ok, First, _} = emmap_queue:take(Queue, 5000),
    {ok, Second, _} = emmap_queue:take(Queue, 5000),
    ?assertEqual({a, c}, {First, Second}),
    ?assertEqual({ok, d}, emmap_queue:pop(Queue)).

%% Nor does it wait for somebody who takes many at once, on a dirty scheduler.
the_end_of_one_that_has_messages_holds_up_no_scheduler(Config) ->
    Path = emmap_test:path(Config, "queue"),
    emmap_vm:survives(fun() -> ends_during_a_long_pop(Path) end, #{args => ["+S", "1:1"]}).

ends_during_a_long_pop(Path) ->
    {ok, Queue} = emmap_queue:open(Path),
    Term = lists:seq(1, 10),
    [ok = emmap_queue:push_list(Queue, lists:duplicate(10000, Term)) || _ <- lists:seq(1, 100)],
    Self = self(),
    {Taking, Monitor} = spawn_monitor(fun() ->
        {ok, Term, _} = emmap_queue:take(Queue),
        Self ! taken,
        receive after infinity -> ok end
    end),
    receive taken -> ok end,
    {Popping, _} = spawn_monitor(fun() ->
        {Time, {ok, Popped}} = timer:tc(fun() -> emmap_queue:pop_list(Queue, 1000000) end),
        exit({Time, length(Popped)})
    end),
    %% There is one normal scheduler, and this runs on it.
    emmap_test:wait_until(fun() -> process_info(Popping, status) =:= {status, running} end),
    %% It has begun on a normal scheduler, and goes on elsewhere by now.
    timer:sleep(20),
    {Held, ok} = timer:tc(fun() ->
        exit(Taking, kill),
        receive {'DOWN', Monitor, process, _, killed} -> ok end
    end),
    receive {'DOWN', _, process, Popping, Early} -> error({over, Early}) after 0 -> ok end,
    receive
        {'DOWN', _, process, Popping, {Time, Count}} ->
            ?assertEqual(999999, Count),
            ?assert(Held * 4 < Time, {Held, Time})
    end,
    ?assertEqual(1, emmap_queue:length(Queue)),
    {ok, Term} = emmap_queue:pop(Queue).

a_receipt_is_good_once(Config) ->
    Queue = open(Config),
    ok = emmap_queue:push_list(Queue, [a, b]),
    {ok, a, Old} = emmap_queue:take(Queue),
    ok = emmap_queue:nack(Queue, Old),
    ?assertEqual({error, not_found}, emmap_queue:nack(Queue, Old)),
    {ok, a, New} = emmap_queue:take(Queue),
    ?assertEqual({error, not_found}, emmap_queue:ack(Queue, Old)),
    %% Any process may acknowledge.
    ok = emmap_test:in_process(fun() -> emmap_queue:ack(Queue, New) end),
    ?assertEqual({error, not_found}, emmap_queue:ack(Queue, New)).

acknowledged_is_gone_after_reopening(Config) ->
    Queue = open(Config),
    ok = emmap_queue:push_list(Queue, [a, b, c]),
    {ok, a, Receipt} = emmap_queue:take(Queue),
    {ok, b, Unacknowledged} = emmap_queue:take(Queue),
    ok = emmap_queue:ack(Queue, Receipt),
    ok = emmap_queue:close(Queue),
    Again = open(Config),
    ?assertEqual({error, not_found}, emmap_queue:ack(Again, Unacknowledged)),
    ?assertEqual([b, c], drain(Again)).

what_is_acknowledged_or_popped_behind_comes_again(Config) ->
    Queue = open(Config),
    ok = emmap_queue:push_list(Queue, [a, b, c, d]),
    {ok, a, _} = emmap_queue:take(Queue),
    {ok, b, Receipt} = emmap_queue:take(Queue),
    {ok, c} = emmap_queue:pop(Queue),
    ok = emmap_queue:ack(Queue, Receipt),
    ok = emmap_queue:close(Queue),
    ?assertEqual([a, b, c, d], drain(open(Config))).

%%% Waiting

%% Runs a fun in a process that is waiting when this returns.
waiting(Fun) ->
    Self = self(),
    Pid = spawn_link(fun() -> Self ! {self(), Fun()} end),
    emmap_test:wait_until(fun() ->
        process_info(Pid, status) =:= {status, waiting}
            andalso process_info(Pid, current_function) =:= {current_function, {emmap_queue, wait_until, 4}}
    end),
    Pid.

answer(Pid) -> receive {Pid, Answer} -> Answer after 10000 -> error(no_answer) end.

a_waiting_pop_gets_what_is_pushed(Config) ->
    Queue = open(Config),
    Pid = waiting(fun() -> emmap_queue:pop(Queue, infinity) end),
    ok = emmap_queue:push(Queue, it),
    ?assertEqual({ok, it}, answer(Pid)),
    ?assertEqual({ok, there}, begin ok = emmap_queue:push(Queue, there), emmap_queue:pop(Queue, infinity) end).

a_waiting_take_gets_what_comes_back(Config) ->
    Queue = open(Config),
    ok = emmap_queue:push(Queue, it),
    {ok, it, Receipt} = emmap_queue:take(Queue),
    Pid = waiting(fun() -> emmap_queue:take(Queue, infinity) end),
    ok = emmap_queue:nack(Queue, Receipt),
    {ok, it, _} = answer(Pid),
    %% It died without acknowledging: it comes back once more.
    {ok, it, _} = emmap_queue:take(Queue, 10000).

waiting_ends_in_time(Config) ->
    Queue = open(Config),
    ?assertEqual(empty, emmap_queue:pop(Queue, 0)),
    ?assertEqual(empty, emmap_queue:pop(Queue, 1)),
    ?assertEqual(empty, emmap_queue:take(Queue, 1)),
    ok = emmap_queue:push(Queue, it),
    ?assertEqual({ok, it}, emmap_queue:pop(Queue, 1)).

who_waits_is_told_of_close(Config) ->
    Queue = open(Config),
    Pids = [waiting(fun() -> emmap_queue:pop(Queue, infinity) end) || _ <- [1, 2, 3]],
    ok = emmap_queue:close(Queue),
    [?assertEqual({error, closed}, answer(Pid)) || Pid <- Pids].

%% One waiter is suspended when it is told, and killed before it can pop.
a_message_for_a_dead_waiter_goes_to_another(Config) ->
    Queue = open(Config),
    Doomed = waiting(fun() -> emmap_queue:pop(Queue, infinity) end),
    Other = waiting(fun() -> emmap_queue:pop(Queue, infinity) end),
    true = erlang:suspend_process(Doomed),
    ok = emmap_queue:push(Queue, it),
    unlink(Doomed),
    exit(Doomed, kill),
    ?assertEqual({ok, it}, answer(Other)).

every_waiter_gets_one(Config) ->
    Queue = open(Config),
    Pids = [waiting(fun() -> emmap_queue:pop(Queue, infinity) end) || _ <- lists:seq(1, 50)],
    ok = emmap_queue:push_list(Queue, lists:seq(1, 30)),
    [ok = emmap_queue:push(Queue, N) || N <- lists:seq(31, 50)],
    ?assertEqual(lists:seq(1, 50), lists:sort([begin {ok, N} = answer(Pid), N end || Pid <- Pids])).

a_killed_process_leaves_nobody_waiting(Config) ->
    Queue = open(Config),
    emmap_test:is_told_when_another_is_killed(fun() -> emmap_queue:sync(Queue) end, 60).

%% What it had begun to push is there, or is not; if it is, somebody gets it.
a_killed_pusher_leaves_nobody_waiting(Config) ->
    Queue = open(Config, [{type, binary}]),
    Large = binary:copy(<<"x">>, 30000000),
    [begin
         {Popping, Monitor} = spawn_monitor(fun() -> exit(emmap_queue:pop(Queue, infinity)) end),
         timer:sleep(1),
         Pushing = spawn(fun() -> emmap_queue:push(Queue, Large) end),
         timer:sleep(Round rem 6),
         exit(Pushing, kill),
         receive {'DOWN', Monitor, process, _, {ok, Large}} -> ok
         after 500 ->
             ?assertEqual(0, emmap_queue:length(Queue)),
             exit(Popping, kill),
             receive {'DOWN', Monitor, process, _, _} -> ok end
         end
     end || Round <- lists:seq(1, 30)].

%% Where one that waited has ended another is told, which may be ending, too.
waiters_end_together(Config) ->
    Path = emmap_test:path(Config, "queue"),
    emmap_vm:survives(fun() -> waiters_end_together(Path, 1000) end, #{args => ["+S", "4"]}).

waiters_end_together(Path, Rounds) ->
    {ok, Queue} = emmap_queue:open(Path, [{segment_size, 65536}]),
    [begin
         Waiting = [spawn_monitor(fun() -> emmap_queue:pop(Queue, infinity) end) || _ <- lists:seq(1, 20)],
         erlang:yield(),
         [spawn(fun() -> [exit(Pid, kill) || {Pid, _} <- Some] end)
          || Some <- tuple_to_list(lists:split(10, Waiting))],
         [receive {'DOWN', Monitor, process, _, _} -> ok end || {_, Monitor} <- Waiting]
     end || _ <- lists:seq(1, Rounds)],
    ok = emmap_queue:push(Queue, message),
    {ok, message} = emmap_queue:pop(Queue, infinity).

no_mail_is_left_behind(Config) ->
    Queue = open(Config),
    Pusher = spawn_link(fun() -> push_for_ever(Queue) end),
    [_ = emmap_queue:pop(Queue, N rem 3) || N <- lists:seq(1, 3000)],
    unlink(Pusher),
    exit(Pusher, kill),
    [ok = emmap_queue:sync(Queue) || _ <- lists:seq(1, 20)],
    ?assertEqual({messages, []}, process_info(self(), messages)).

push_for_ever(Queue) ->
    ok = emmap_queue:push(Queue, it),
    erlang:yield(),
    push_for_ever(Queue).

%%% Consumers

consumers_see_every_message(Config) ->
    Queue = open(Config),
    ok = emmap_queue:push_list(Queue, [a, b]),
    {ok, One} = emmap_queue:consumer(Queue, one),
    {ok, Two} = emmap_queue:consumer(Queue, <<"two">>, newest),
    ok = emmap_queue:push(Queue, c),
    ?assertEqual({[a, b, c], [a, b, c], [c]}, {drain(Queue), drain(One), drain(Two)}),
    #{consumers := Names} = emmap_queue:info(Queue),
    ?assertEqual(lists:sort([default, one, <<"two">>]), lists:sort(Names)),
    ok = emmap_queue:remove_consumer(Queue, one),
    ?assertEqual({error, not_found}, emmap_queue:pop(One)),
    ?assertEqual({error, not_found}, emmap_queue:remove_consumer(Queue, one)),
    ok = emmap_queue:remove_consumer(Queue, default),
    ?assertEqual({error, last_consumer}, emmap_queue:remove_consumer(Queue, <<"two">>)),
    ?assertEqual({error, not_found}, emmap_queue:pop(Queue)),
    ok = emmap_queue:push(Queue, d),
    ok = emmap_queue:close(Queue),
    Again = open(Config),
    {ok, TwoAgain} = emmap_queue:consumer(Again, <<"two">>),
    ?assertEqual([d], drain(TwoAgain)),
    {ok, _} = emmap_queue:consumer(Again, binary:copy(<<"x">>, 110)),
    ?assertError(badarg, emmap_queue:consumer(Again, binary:copy(<<"x">>, 111))).

an_atom_and_a_binary_are_one_name(Config) ->
    Queue = open(Config),
    {ok, One} = emmap_queue:consumer(Queue, one),
    ?assertEqual({ok, One}, emmap_queue:consumer(Queue, <<"one">>)),
    {ok, Two} = emmap_queue:consumer(Queue, <<"two">>),
    ?assertEqual({ok, Two}, emmap_queue:consumer(Queue, two)),
    ?assertEqual({ok, Queue}, emmap_queue:consumer(Queue, <<"default">>)),
    %% As they were given first.
    ?assertMatch(#{consumers := [default, one, <<"two">>]}, emmap_queue:info(Queue)),
    ok = emmap_queue:remove_consumer(Queue, <<"one">>),
    ok = emmap_queue:remove_consumer(Queue, two),
    ?assertMatch(#{consumers := [default]}, emmap_queue:info(Queue)).

%% What a file says, with checksums that are right, that nobody has written with this library.
names_in_a_file_make_no_atoms(Config) ->
    Unknown = "an atom that this VM has not " ++ integer_to_list(erlang:unique_integer()),
    [begin
         Queue = open(Config),
         {ok, _} = emmap_queue:consumer(Queue, victim),
         Path = emmap_test:path(Config, "copy"),
         %% What a killed VM leaves: at a clean close the superblock has a checksum of all names.
         {ok, _} = file:copy(emmap_test:path(Config, "queue"), Path),
         ok = emmap_queue:close(Queue),
         Name = iolist_to_binary(Text),
         ok = write_name(Path, victim, Name),
         {ok, Again} = emmap_queue:open(Path),
         Atoms = erlang:system_info(atom_count),
         ?assertMatch(#{consumers := [default, Name]}, emmap_queue:info(Again)),
         ?assertEqual(Atoms, erlang:system_info(atom_count)),
         ok = emmap_queue:remove_consumer(Again, Name),
         ok = emmap_queue:close(Again)
     end || Text <- [Unknown, <<255, 254, 0>>]].

%% Writes a name over that of an atom, as one of an atom.
write_name(Path, Old, New) ->
    OldName = <<$a, (atom_to_binary(Old))/binary>>,
    {ok, Bytes} = file:read_file(Path),
    {Place, _} = binary:match(Bytes, OldName),
    Length = <<(byte_size(New) + 1):32/little>>,
    Name = <<$a, New/binary, 0:(111 - byte_size(New))/unit:8>>,
    {ok, File} = file:open(Path, [raw, read, write, binary]),
    ok = file:pwrite(File, Place - 8, [Length, <<(crc32c(<<Length/binary, Name/binary>>)):32/little>>, Name]),
    ok = file:close(File).

crc32c(Bytes) -> crc32c(Bytes, 16#ffffffff) bxor 16#ffffffff.

crc32c(<<Byte, Rest/binary>>, Crc) ->
    crc32c(Rest, lists:foldl(fun(_, C) -> (C bsr 1) bxor (16#82f63b78 * (C band 1)) end, Crc bxor Byte,
                             lists:seq(1, 8)));
crc32c(<<>>, Crc) -> Crc.

purge_is_for_one_consumer(Config) ->
    Queue = open(Config),
    {ok, Other} = emmap_queue:consumer(Queue, other, newest),
    ok = emmap_queue:push_list(Queue, [a, b]),
    ok = emmap_queue:purge(Queue),
    ?assertEqual({[], [a, b]}, {drain(Queue), drain(Other)}).

%%% Files

a_queue_has_one_owner(Config) ->
    Queue = open(Config),
    ?assertEqual({error, locked}, emmap_queue:open(emmap_test:path(Config, "queue"))),
    ok = emmap_queue:close(Queue),
    ok = emmap_queue:close(open(Config)).

another_vm_takes_the_lock_over(Config) ->
    Path = emmap_test:path(Config, "queue"),
    Vm = emmap_test:start_vm(),
    ok = emmap_test:in_vm(Vm, fun() ->
        Self = self(),
        spawn(fun() ->
            {ok, Queue} = emmap_queue:open(Path),
            ok = emmap_queue:push(Queue, it),
            Self ! open,
            receive never -> emmap_queue:close(Queue) end
        end),
        receive open -> ok end
    end),
    ?assertEqual({error, locked}, emmap_queue:open(Path)),
    emmap_test:kill_vm(Vm),
    {ok, Queue} = emmap_queue:open(Path),
    ?assertMatch(#{recovered := #{messages := 0, bytes := 0}}, emmap_queue:info(Queue)),
    ?assertEqual([it], drain(Queue)).

%% Nobody has closed it: what was not synced is read.
a_forgotten_queue_is_closed(Config) ->
    ok = emmap_test:in_process(fun() -> emmap_queue:push_list(open(Config), [a, b]) end),
    Path = emmap_test:path(Config, "queue"),
    emmap_test:wait_until(fun() ->
        case emmap_queue:open(Path) of
            {ok, Queue} ->
                ?assertMatch(#{recovered := #{messages := 0, bytes := 0}}, emmap_queue:info(Queue)),
                ?assertEqual([a, b], drain(Queue)),
                true;
            {error, locked} -> false
        end
    end).

a_changed_byte_is_found(Config) ->
    Queue = open(Config, [{type, binary}]),
    ok = emmap_queue:push_list(Queue, [<<"first">>, <<"second">>, <<"third">>]),
    Path = emmap_test:path(Config, "queue"),
    {ok, Bytes} = file:read_file(Path),
    {Place, _} = binary:match(Bytes, <<"second">>),
    {ok, File} = file:open(Path, [raw, read, write]),
    ok = file:pwrite(File, Place, <<"S">>),
    ?assertEqual({ok, <<"first">>}, emmap_queue:pop(Queue)),
    {error, {corrupt, Where}} = emmap_queue:pop(Queue),
    ok = file:close(File),
    [?assertEqual({error, {corrupt, Where}}, Call(Queue))
     || Call <- [fun emmap_queue:pop/1, fun emmap_queue:peek/1, fun emmap_queue:take/1,
                 fun(Q) -> emmap_queue:pop_list(Q, 2) end, fun(Q) -> emmap_queue:fold(fun max/2, <<>>, Q) end]],
    ok = emmap_queue:close(Queue),
    ?assertEqual({error, {corrupt, Where}}, emmap_queue:pop(open(Config, [{type, binary}]))).

a_file_cut_short_is_truncated(Config) ->
    Queue = open(Config),
    ok = emmap_queue:push_list(Queue, [{N, binary:copy(<<N>>, 30000)} || N <- lists:seq(1, 20)]),
    Path = emmap_test:path(Config, "queue"),
    Size = filelib:file_size(Path),
    emmap_vm:cut(Path, Size div 2),
    Popped = (fun Pop(N) ->
                  case emmap_queue:pop(Queue) of
                      {ok, Term} ->
                          ?assertEqual({N, binary:copy(<<N>>, 30000)}, Term),
                          Pop(N + 1);
                      {error, truncated} -> N - 1
                  end
              end)(1),
    ?assert(Popped < 20).

%% That of saleyn/emmap begins with its size, and where its messages begin and end, as 32-bit big-endian words.
files_of_others_are_left_as_they_are(Config) ->
    Message = term_to_binary(message),
    Size = byte_size(Message) + 8,
    Other = <<1024:32, 16:32, (16 + Size):32, (16 + Size):32, Size:32, Message/binary, Size:32>>,
    [begin
         Path = emmap_test:file(Config, "other", Bytes),
         ?assertEqual({error, bad_magic}, emmap_queue:open(Path)),
         ?assertEqual({ok, Bytes}, file:read_file(Path))
     end || Bytes <- [<<Other/binary, 0:(1024 - byte_size(Other))/unit:8>>, <<Other/binary, 0:100000/unit:8>>, <<"x">>,
                      <<"EMMAP01\n", 2:64/little, 0:64, 0:64>>]].

there_can_be_192_consumers(Config) ->
    Queue = open(Config),
    Consumers = [begin {ok, Consumer} = emmap_queue:consumer(Queue, integer_to_binary(N)), Consumer end
                 || N <- lists:seq(2, 192)],
    ?assertEqual({error, full}, emmap_queue:consumer(Queue, <<"193">>)),
    ok = emmap_queue:push(Queue, it),
    ?assertEqual([{ok, it}], lists:usort([emmap_queue:pop(Consumer) || Consumer <- [Queue | Consumers]])),
    ok = emmap_queue:remove_consumer(Queue, <<"100">>),
    {ok, _} = emmap_queue:consumer(Queue, <<"193">>).

%% 60 MB through each consumer; one of them acknowledges.
a_queue_that_is_nearly_empty_stays_small(Config) ->
    Queue = open(Config),
    {ok, Taking} = emmap_queue:consumer(Queue, taking),
    Message = binary:copy(<<1>>, 1000),
    [begin
         ok = emmap_queue:push(Queue, {N, Message}),
         {ok, {N, _}} = emmap_queue:pop(Queue),
         {ok, {N, _}, Receipt} = emmap_queue:take(Taking),
         ok = emmap_queue:ack(Taking, Receipt)
     end || N <- lists:seq(1, 60000)],
    #{file_size := Size} = emmap_queue:info(Queue),
    ?assert(Size =< 65536 + 4 * 65536, Size).

%% The best of some rounds, for others use the machine, too: what looks at each message takes a thousand times as long.
a_million_messages_slow_nothing_down(Config) ->
    Path = emmap_test:path(Config, "queue"),
    {ok, Queue} = emmap_queue:open(Path),
    Terms = lists:seq(1, 1000),
    ok = emmap_queue:push_list(Queue, Terms),
    Few = best(fun() -> push_and_pop(Queue, 200) end),
    [ok = emmap_queue:push_list(Queue, Terms) || _ <- Terms],
    Many = best(fun() -> push_and_pop(Queue, 200) end),
    ?assertEqual(1001000, emmap_queue:length(Queue)),
    ?assert(Many < 3 * Few + 100, {Few, Many}),
    Reopen = fun(Handle) ->
                 ok = emmap_queue:close(Handle),
                 {Time, {ok, Next}} = timer:tc(fun() -> emmap_queue:open(Path) end),
                 {Next, Time}
             end,
    {Last, Times} = lists:foldl(fun(_, {Handle, All}) -> {Next, Time} = Reopen(Handle), {Next, [Time | All]} end,
                                {Queue, []}, lists:seq(1, 10)),
    ?assert(lists:min(Times) < 10000, Times),
    ?assertMatch(#{recovered := clean, length := 1001000}, emmap_queue:info(Last)).

push_and_pop(_, 0) -> ok;
push_and_pop(Queue, N) ->
    ok = emmap_queue:push(Queue, N),
    {ok, _} = emmap_queue:pop(Queue),
    true = emmap_queue:length(Queue) >= 1000,
    push_and_pop(Queue, N - 1).

%% Microseconds.
best(Fun) -> lists:min([element(1, timer:tc(Fun)) || _ <- lists:seq(1, 50)]).

closed_is_an_error(Config) ->
    Queue = open(Config),
    ok = emmap_queue:push(Queue, it),
    {ok, it, Receipt} = emmap_queue:take(Queue),
    ok = emmap_queue:close(Queue),
    [?assertEqual({error, closed}, Call())
     || Call <- [fun() -> emmap_queue:close(Queue) end, fun() -> emmap_queue:push(Queue, a) end,
                 fun() -> emmap_queue:push_list(Queue, [a]) end, fun() -> emmap_queue:pop(Queue) end,
                 fun() -> emmap_queue:pop(Queue, 10) end, fun() -> emmap_queue:pop_list(Queue, 1) end,
                 fun() -> emmap_queue:peek(Queue) end, fun() -> emmap_queue:take(Queue) end,
                 fun() -> emmap_queue:ack(Queue, Receipt) end, fun() -> emmap_queue:nack(Queue, Receipt) end,
                 fun() -> emmap_queue:length(Queue) end, fun() -> emmap_queue:is_empty(Queue) end,
                 fun() -> emmap_queue:purge(Queue) end, fun() -> emmap_queue:sync(Queue) end,
                 fun() -> emmap_queue:info(Queue) end, fun() -> emmap_queue:consumer(Queue, a) end,
                 fun() -> emmap_queue:remove_consumer(Queue, a) end,
                 fun() -> emmap_queue:fold(fun(_, Acc) -> Acc end, [], Queue) end]].

a_full_queue_says_so(Config) ->
    Queue = open(Config, [{max_size, 65536 * 2}]),
    Push = fun Push(N) ->
               case emmap_queue:push(Queue, {N, binary:copy(<<0>>, 1000)}) of
                   ok -> Push(N + 1);
                   {error, full} -> N
               end
           end,
    Count = Push(0),
    ?assertEqual(Count, emmap_queue:length(Queue)),
    ?assertMatch(#{file_size := 131072}, emmap_queue:info(Queue)),
    ?assertEqual(lists:seq(0, Count - 1), [N || {N, _} <- drain(Queue)]),
    ok = emmap_queue:push(Queue, again),
    ?assertEqual([again], drain(Queue)).

%% In a VM of its own, which a page that the disk has no room for would end.
a_full_disk_leaves_the_queue_as_it_was(Config) ->
    Directory = ?config(directory, Config),
    case emmap_vm:may_mount(Directory) of
        true -> emmap_vm:survives(fun() -> fill_disk(Directory) end, #{tmpfs => {Directory, "400k"}});
        Why -> {skip, Why}
    end.

fill_disk(Directory) ->
    {ok, Queue} = emmap_queue:open(filename:join(Directory, "queue"), [{segment_size, 65536}]),
    Push = fun Push(N) ->
               case emmap_queue:push(Queue, {N, binary:copy(<<0>>, 1000)}) of
                   ok -> Push(N + 1);
                   {error, enospc} -> N
               end
           end,
    Count = Push(0),
    true = Count > 100,
    {error, enospc} = emmap_queue:push_list(Queue, [binary:copy(<<1>>, 100000), small]),
    Count = emmap_queue:length(Queue),
    ok = emmap_queue:sync(Queue),
    %% What consumers have passed makes room.
    [{ok, {N, _}} = emmap_queue:pop(Queue) || N <- lists:seq(0, 99)],
    ok = emmap_queue:push(Queue, {Count, binary:copy(<<0>>, 1000)}),
    Left = [N || {N, _} <- drain(Queue)],
    Left = lists:seq(100, Count),
    ok = emmap_queue:close(Queue).

options_are_kept_in_the_file(Config) ->
    Queue = open(Config, [{type, binary}, {chmod, 8#640}]),
    {ok, #file_info{mode = Mode}} = file:read_file_info(emmap_test:path(Config, "queue")),
    ?assertEqual(8#640, Mode band 8#777),
    ok = emmap_queue:push(Queue, <<"x">>),
    ok = emmap_queue:close(Queue),
    {ok, Again} = emmap_queue:open(emmap_test:path(Config, "queue"), [{segment_size, 1 bsl 20}, {type, term}]),
    ?assertMatch(#{type := binary, segment_size := 65536, recovered := clean}, emmap_queue:info(Again)),
    ?assertEqual([<<"x">>], drain(Again)).

sync_every_shares_syncs(Config) ->
    Queue = open(Config, [{sync, every}]),
    Results = emmap_test:together([fun() -> [emmap_queue:push(Queue, N) || N <- lists:seq(1, 20)] end
                                   || _ <- lists:seq(1, 32)]),
    ?assertEqual([ok], lists:usort(lists:append(Results))),
    ?assertEqual(640, emmap_queue:length(Queue)),
    {ok, _, Receipt} = emmap_queue:take(Queue),
    ok = emmap_queue:ack(Queue, Receipt).

a_named_owner_is_restarted_without_loss(Config) ->
    process_flag(trap_exit, true),
    Path = emmap_test:path(Config, "queue"),
    Name = a_queue_of_the_suite,
    ?assertEqual({error, closed}, emmap_queue:push(Name, it)),
    {ok, Owner} = emmap_queue:start_link({local, Name}, Path),
    ok = emmap_queue:push(Name, one),
    exit(Owner, kill),
    receive {'EXIT', Owner, killed} -> ok end,
    %% It went through no process.
    ok = emmap_queue:push(Name, meanwhile),
    {ok, Next} = emmap_queue:start_link({local, Name}, Path, []),
    ok = emmap_queue:push(Name, two),
    ?assertEqual([one, meanwhile, two], drain(Name)),
    ok = gen_server:stop(Next),
    ?assertEqual({error, closed}, emmap_queue:pop(Name)),
    Queue = open(Config),
    ?assertMatch({error, locked}, emmap_queue:start_link({local, Name}, Path)),
    ok = emmap_queue:close(Queue).

an_owner_without_a_queue_does_not_start(Config) ->
    process_flag(trap_exit, true),
    Name = a_queue_of_the_suite,
    Path = emmap_test:path(Config, "none/queue"),
    ?assertEqual({error, enoent}, emmap_queue:start_link({local, Name}, Path)),
    ?assertEqual({error, enoent}, emmap_queue:start_link({local, Name}, Path, [])),
    ?assertEqual({error, bad_magic},
                 emmap_queue:start_link({local, Name}, emmap_test:file(Config, "text", "no queue, but a text"), [])),
    ?assertEqual({error, closed}, emmap_queue:pop(Name)).

%%% Arguments

wrong_arguments_are_explained(Config) ->
    Queue = open(Config),
    Path = emmap_test:path(Config, "other"),
    Fun = fun(_, Acc) -> Acc end,
    [begin
         {badarg, #{Number := Text}} = emmap_test:raised(Call),
         ?assertNotEqual(nomatch, string:find(Text, Part), {Text, Part})
     end || {Call, Number, Part} <-
                [{fun() -> emmap_queue:open({a}) end, 1, "file name"},
                 {fun() -> emmap_queue:open({a}, []) end, 1, "file name"},
                 {fun() -> emmap_queue:open(Path, [no_option]) end, 2, "unknown option no_option"},
                 {fun() -> emmap_queue:open(Path, [{segment_size, 65535}]) end, 2, "bad value"},
                 {fun() -> emmap_queue:open(Path, [{segment_size, 100000}]) end, 2, "bad value"},
                 {fun() -> emmap_queue:open(Path, [{segment_size, 1 bsl 30}]) end, 2, "bad value"},
                 {fun() -> emmap_queue:open(Path, [{max_size, 0}]) end, 2, "bad value"},
                 {fun() -> emmap_queue:open(Path, [{type, text}]) end, 2, "bad value"},
                 {fun() -> emmap_queue:open(Path, [{sync, always}]) end, 2, "bad value"},
                 {fun() -> emmap_queue:open(Path, [{chmod, -1}]) end, 2, "bad value"},
                 {fun() -> emmap_queue:open(Path, options) end, 2, "list"},
                 {fun() -> emmap_queue:start_link(a, Path) end, 1, "local"},
                 {fun() -> emmap_queue:start_link({global, a}, Path, []) end, 1, "local"},
                 {fun() -> emmap_queue:close({a}) end, 1, "not a queue"},
                 {fun() -> emmap_queue:push({a}, b) end, 1, "not a queue"},
                 {fun() -> emmap_queue:push_list({a}, []) end, 1, "not a queue"},
                 {fun() -> emmap_queue:push_list(Queue, [a | b]) end, 2, "list of messages"},
                 {fun() -> emmap_queue:pop({a}) end, 1, "not a queue"},
                 {fun() -> emmap_queue:pop({a}, 1) end, 1, "not a queue"},
                 {fun() -> emmap_queue:pop(Queue, -1) end, 2, "time-out"},
                 {fun() -> emmap_queue:pop_list({a}, 1) end, 1, "not a queue"},
                 {fun() -> emmap_queue:pop_list(Queue, -1) end, 2, "not an integer"},
                 {fun() -> emmap_queue:peek({a}) end, 1, "not a queue"},
                 {fun() -> emmap_queue:fold(a, [], Queue) end, 1, "function"},
                 {fun() -> emmap_queue:fold(Fun, [], {a}) end, 3, "not a queue"},
                 {fun() -> emmap_queue:length({a}) end, 1, "not a queue"},
                 {fun() -> emmap_queue:is_empty({a}) end, 1, "not a queue"},
                 {fun() -> emmap_queue:take({a}) end, 1, "not a queue"},
                 {fun() -> emmap_queue:take({a}, 1) end, 1, "not a queue"},
                 {fun() -> emmap_queue:take(Queue, a) end, 2, "time-out"},
                 {fun() -> emmap_queue:ack({a}, {1, 2}) end, 1, "not a queue"},
                 {fun() -> emmap_queue:ack(Queue, a) end, 2, "receipt"},
                 {fun() -> emmap_queue:ack(Queue, {-1, 1 bsl 70}) end, 2, "receipt"},
                 {fun() -> emmap_queue:nack({a}, {1, 2}) end, 1, "not a queue"},
                 {fun() -> emmap_queue:nack(Queue, a) end, 2, "receipt"},
                 {fun() -> emmap_queue:nack(Queue, {-1, 1 bsl 70}) end, 2, "receipt"},
                 {fun() -> emmap_queue:purge({a}) end, 1, "not a queue"},
                 {fun() -> emmap_queue:consumer({a}, b) end, 1, "not a queue"},
                 {fun() -> emmap_queue:consumer(Queue, {b}) end, 2, "name of a consumer"},
                 {fun() -> emmap_queue:consumer(Queue, b, middle) end, 3, "oldest"},
                 {fun() -> emmap_queue:remove_consumer({a}, b) end, 1, "not a queue"},
                 {fun() -> emmap_queue:remove_consumer(Queue, {b}) end, 2, "name of a consumer"},
                 {fun() -> emmap_queue:sync({a}) end, 1, "not a queue"},
                 {fun() -> emmap_queue:info({a}) end, 1, "not a queue"}]],
    ?assertEqual({error, enoent}, file:read_file_info(Path)).

errors_have_texts(_) ->
    [?assertMatch([_ | _], emmap_queue:format_error(Reason))
     || Reason <- [closed, truncated, full, locked, bad_magic, not_found, last_consumer, {corrupt, term}, {corrupt, 7},
                   enospc, {error, full}]].

%%% Random calls

%% EMMAP_LONG=1 in the environment of `rebar3 ct' runs 10,000 sequences.
behaves_as_queue(Config) ->
    Sequences = case os:getenv("EMMAP_LONG") of false -> 500; _ -> 10000 end,
    Property = emmap_queue_prop:prop_same_as_queue(?config(directory, Config)),
    case proper:quickcheck(Property, [{numtests, Sequences}, {max_size, 60}, quiet, long_result]) of
        true -> ok;
        CounterExample -> ct:fail("~tP~n~tP", [CounterExample, 200, emmap_queue_prop:difference(), 200])
    end.

%% A property that nothing can fail proves nothing.
wrong_model_is_found_and_shrunk(Config) ->
    Wrong = fun({length, _}, Length) when is_integer(Length), Length > 1 -> Length - 1;
               (_, Answer) -> Answer
            end,
    Property = emmap_queue_prop:prop_same_as_queue(?config(directory, Config), Wrong),
    [{_, _, Steps}] = proper:quickcheck(Property, [{numtests, 500}, {max_size, 60}, quiet, long_result]),
    %% The length is asked for at the end of every sequence.
    ?assert(length(Steps) =< 2, Steps).

%%% Kills

killed_vms_lose_nothing(Config) ->
    Rounds = case os:getenv("EMMAP_LONG") of false -> 20; _ -> 1000 end,
    {Pushed, Gone} = emmap_queue_kill:rounds(?config(directory, Config), Rounds),
    ct:log("~b messages pushed, ~b taken away, ~b kills", [Pushed, Gone, Rounds]),
    ?assert(Pushed > Rounds).
