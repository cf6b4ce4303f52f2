%% Copyright 2026 the emmap authors. Licensed under the Apache License, Version 2.0.

%% Random calls of every export, on handles opened with random options, by processes that share the handles, while
%% another process cuts, extends, deletes and replaces the files.
%%
%% A call depends on nothing but the seed, the number of its process and its own number, so a seed gives the same calls
%% every time; how the processes interleave is up to the machine. With one worker and no meddling, all is the same:
%%
%%     emmap_fuzz:run(Seed, Calls)                                    % what the suite does
%%     emmap_fuzz:run(Seed, Calls, #{workers => 1, meddle => false})
%%     emmap_fuzz:call_number(Seed, Worker, Number)                   % the call that `run' says has gone wrong
%%
%% The long form, in a directory with the compiled suites (rebar3 ct leaves them in _build/test/lib/emmap/Tests/ct):
%%
%%     trap '' XFSZ; ulimit -f 131072; erl -pa ../../ebin -noshell -eval 'emmap_fuzz:long(1000000), halt().'
%%
%% The limit on file sizes keeps a call that means to grow a file by terabytes from doing so.
-module(emmap_fuzz).

-export([run/2, run/3, long/1, call_number/3, functions/0, every_argument/1, odd_values/0, call/3]).

-include_lib("kernel/include/file.hrl").

-define(HANDLES, 16).
-define(FILES, 6).
-define(LIMIT, 65536).

%%% What can be called

%% Every export, with the kind of each argument. Kinds: see value/2.
functions() ->
    [{emmap, Function, Kinds} || {Function, Kinds} <- emmap_functions()]
        ++ case code:ensure_loaded(emmap_atomics) of
               {module, _} -> [{emmap_atomics, Function, Kinds} || {Function, Kinds} <- atomics_functions()];
               {error, _} -> []
           end
        ++ [{emmap_queue, Function, Kinds} || {Function, Kinds} <- queue_functions()]
        ++ [{emmap_blocks, Function, Kinds} || {Function, Kinds} <- blocks_functions()].

emmap_functions() ->
    [{open, [name, options]}, {open, [name, offset, count, options]}, {close, [handle]}, {info, [handle]},
     {read, [handle, count]}, {read_line, [handle]}, {pread, [handle, reads]}, {pread, [handle, offset, count]},
     {snapshot, [handle, offset, count]},
     {write, [handle, data]}, {pwrite, [handle, writes]}, {pwrite, [handle, offset, data]},
     {position, [handle, location]}, {copy, [handle, handle, count]}, {ipread_s32bu_p32bu, [handle, offset, count]},
     {read_handle_info, [handle, info_options]},
     {sendfile, [handle, any, any, any, any, any, any, any]}, {internal_get_nif_resource, [handle]},
     {match, [handle, pattern]}, {match, [handle, pattern, match_options]}, {matches, [handle, pattern]},
     {matches, [handle, pattern, match_options]}, {lines, [handle, count]}, {fold_lines, [fold_function, any, handle]},
     {resize, [handle]}, {resize, [handle, offset]}, {truncate, [handle]}, {remap, [handle]},
     {allocate, [handle, offset, allocation]}, {sync, [handle]}, {sync, [handle, offset, count]}, {datasync, [handle]},
     {flush, [handle]}, {advise, [handle, offset, count, advice]}, {patomic, [handle, word_position, operation, word]},
     {patomic_read, [handle, word_position]}, {patomic_write, [handle, word_position, word]},
     {patomic_cas, [handle, word_position, word, word]}, {open_counters, [counters_name]},
     {open_counters, [counters_name, number]}, {close_counters, [counters]}, {inc_counter, [counters, number]},
     {inc_counter, [counters, number, word]}, {dec_counter, [counters, number]}, {dec_counter, [counters, number, word]},
     {set_counter, [counters, number, word]}, {read_counter, [counters, number]}] ++ memory_functions().

memory_functions() ->
    [{handles, []}, {stats, []},
     {patomic, [handle, word_position, type, operation, word]}, {patomic_read, [handle, word_position, type]},
     {patomic_write, [handle, word_position, type, word]}, {patomic_cas, [handle, word_position, type, word, word]},
     {resident, [handle, offset, count]}, {populate, [handle, offset, count]}, {lock_memory, [handle, offset, count]},
     {unlock_memory, [handle, offset, count]}, {punch_hole, [handle, offset, count]},
     {lock_file, [handle, lock]}, {lock_file, [handle, lock, timeout]}, {unlock_file, [handle]},
     {await, [handle, word_position, word, timeout]}, {notify, [handle, word_position]}].

atomics_functions() ->
    [{open, [counters_name, number, atomics_options]}, {close, [atomics]}, {sync, [atomics]}, {info, [atomics]},
     {put, [atomics, number, word]}, {get, [atomics, number]}, {add, [atomics, number, word]},
     {add_get, [atomics, number, word]}, {sub, [atomics, number, word]}, {sub_get, [atomics, number, word]},
     {exchange, [atomics, number, word]}, {compare_exchange, [atomics, number, word, word]}].

queue_functions() ->
    [{open, [queue_name]}, {open, [queue_name, queue_options]}, {start_link, [owner, queue_name]},
     {start_link, [owner, queue_name, queue_options]}, {close, [queue]}, {push, [queue, term]},
     {push_list, [queue, terms]}, {pop, [queue]}, {pop, [queue, timeout]}, {pop_list, [queue, count]}, {peek, [queue]},
     {fold, [fold_function, any, queue]}, {length, [queue]}, {is_empty, [queue]}, {take, [queue]},
     {take, [queue, timeout]}, {ack, [queue, receipt]}, {nack, [queue, receipt]}, {purge, [queue]},
     {consumer, [queue, consumer_name]}, {consumer, [queue, consumer_name, from]},
     {remove_consumer, [queue, consumer_name]}, {sync, [queue]}, {info, [queue]}].

blocks_functions() ->
    [{open, [blocks_name, block_size]}, {open, [blocks_name, block_size, blocks_options]}, {close, [blocks]},
     {store, [blocks, block_data]}, {read, [blocks, address]}, {free, [blocks, address]},
     {fold, [blocks_function, any, blocks]}, {read_list, [blocks, address, count]}, {count, [blocks]}, {info, [blocks]},
     {sync, [blocks]}, {check, [blocks]}].

%% Integers on both sides of what fits somewhere, and what is no integer at all.
odd_values() -> odd_integers() ++ odd_terms().

odd_integers() ->
    [Sign * ((1 bsl Bits) + Delta) || Bits <- [0, 3, 12, 16, 31, 32, 47, 52, 59, 60, 62, 63, 64, 65, 127, 1000],
                                      Sign <- [1, -1], Delta <- [-9, -8, -1, 0, 1, 8]].

odd_terms() ->
    [0.0, -1.5, 1.0e300, foo, true, undefined, [], [a], [1 | 2], [[] | []], [{}], {}, {a}, {bof}, {cur, a}, {eof, 1.5},
     {bof, 1 bsl 64}, {cur, -(1 bsl 63)}, {eof, (1 bsl 63) - 1}, #{}, <<>>, <<1:3>>, <<"binary">>, "string",
     [<<"io">>, [["list"], $x]], fun() -> ok end, make_ref(), self(), #file_descriptor{module = emmap, data = 1},
     #file_descriptor{module = emmap, data = make_ref()}, #file_descriptor{module = emmap, data = {}}, {file_descriptor},
     {#file_descriptor{module = emmap, data = make_ref()}, 1}, {make_ref(), 1}, {a, -1}, {1, 1 bsl 64}].

%% Calls and says what came of it. The caller is linked to no process that was started, which may end.
call(emmap_queue, start_link, Args) ->
    {Pid, Monitor} = spawn_monitor(fun() ->
                                           process_flag(trap_exit, true),
                                           Answer = called(emmap_queue, start_link, Args),
                                           case Answer of {returned, {ok, Owner}} -> unlink(Owner); _ -> ok end,
                                           exit({answer, Answer})
                                   end),
    receive {'DOWN', Monitor, process, Pid, {answer, Answer}} -> Answer end;
call(Module, Function, Args) -> called(Module, Function, Args).

called(Module, Function, Args) ->
    try apply(Module, Function, Args) of
        Result -> {returned, Result}
    catch
        Class:Reason -> {Class, Reason}
    end.

%%% Every odd value in every argument

%% Calls each function with each odd value in each place, all other arguments being right. Raises if an answer is not
%% one that a caller can be given.
every_argument(Dir) ->
    quiet_starts(),
    [every_value(Dir, Module, Function, Kinds, Place, Mode)
     || {Module, Function, Kinds} <- functions(), Place <- lists:seq(1, length(Kinds)),
        Mode <- case Kinds of [handle | _] -> [[shared], [private, direct, nolock]]; _ -> [[shared]] end],
    ok.

every_value(Dir, Module, Function, Kinds, Place, Mode) ->
    Name = filename:join(Dir, "file"),
    ok = file:write_file(Name, binary:copy(<<"line\n">>, 1000)),
    {ok, File} = emmap:open(Name, [read, write | Mode]),
    Counters = emmap:open_counters(filename:join(Dir, "counters"), 10),
    Atomics = case code:ensure_loaded(emmap_atomics) of
                  {module, _} -> {ok, Words} = emmap_atomics:open(filename:join(Dir, "atomics"), 10, []), Words;
                  _ -> none
              end,
    {Queue, Receipt} = case Module of emmap_queue -> queue(filename:join(Dir, "queue")); _ -> {none, none} end,
    Blocks = case Module of emmap_blocks -> blocks(filename:join(Dir, "blocks")); _ -> none end,
    Open = #{handle => File, counters => Counters, atomics => Atomics, queue => Queue, receipt => Receipt,
             blocks => Blocks},
    Right = [case Open of #{Kind := Opened} -> Opened; #{} -> right(Kind, Dir) end || Kind <- Kinds],
    Odd = case lists:nth(Place, Kinds) of
              %% What a disk may have room for is nobody's mistake.
              allocation -> odd_values() -- [N || N <- odd_integers(), N > 1 bsl 20, N < 1 bsl 47];
              _ -> odd_values()
          end,
    [begin
         Args = lists:sublist(Right, Place - 1) ++ [Value | lists:nthtail(Place, Right)],
         Answer = call(Module, Function, Args),
         case is_answer(Function, Answer) of
             true -> ok;
             false -> error({no_answer, {Module, Function, Args}, Answer})
         end,
         case {Function, Answer} of
             {start_link, {returned, {ok, Owner}}} -> stop(Owner);
             _ -> close_returned(Answer)
         end
     end || Value <- Odd],
    _ = emmap:close(File),
    _ = call(emmap, close_counters, [Counters]),
    _ = call(emmap_atomics, close, [Atomics]),
    _ = call(emmap_queue, close, [Queue]),
    _ = call(emmap_blocks, close, [Blocks]),
    [ok = file:delete(Path) || Path <- filelib:wildcard(filename:join(Dir, "*")), filelib:is_regular(Path)],
    ok.

close_returned({returned, {ok, #file_descriptor{} = File}}) -> _ = emmap:close(File), ok;
close_returned({returned, {#file_descriptor{} = File, _}}) -> _ = emmap:close(File), ok;
close_returned(_) -> ok.

right(name, Dir) -> filename:join(Dir, "file");
right(counters_name, Dir) -> filename:join(Dir, "counters");
right(options, _) -> [read];
right(atomics_options, _) -> [];
right(info_options, _) -> [];
right(offset, _) -> 8;
right(count, _) -> 16;
right(allocation, _) -> 4096;
right(reads, _) -> [{0, 1}];
right(writes, _) -> [{0, <<"x">>}];
right(data, _) -> <<"data">>;
right(location, _) -> bof;
right(advice, _) -> normal;
right(word_position, _) -> 8;
right(operation, _) -> add;
right(type, _) -> i16;
right(lock, _) -> shared;
right(timeout, _) -> 0;
right(pattern, _) -> <<"line">>;
right(match_options, _) -> [{scope, {1, 100}}];
right(fold_function, _) -> fun max/2;
right(word, _) -> 1;
right(number, _) -> 10;
right(queue_name, Dir) -> filename:join(Dir, "other_queue");
right(queue_options, _) -> [{segment_size, 65536}];
right(owner, _) -> {local, emmap_fuzz_owner};
right(term, _) -> term;
right(terms, _) -> [a, term];
right(consumer_name, _) -> consumer;
right(from, _) -> oldest;
right(blocks_name, Dir) -> filename:join(Dir, "other_blocks");
right(blocks_options, _) -> [];
right(block_size, _) -> 100;
right(address, _) -> 0;
right(block_data, _) -> <<"data">>;
right(blocks_function, _) -> fun(_, Data, _) -> Data end;
right(any, _) -> 1.

%% With as much in it as all odd values can take, and the receipt of one that is taken.
queue(Name) ->
    {ok, Queue} = emmap_queue:open(Name, [{segment_size, 65536}]),
    ok = emmap_queue:push_list(Queue, lists:seq(0, length(odd_values()))),
    {ok, 0, Receipt} = emmap_queue:take(Queue),
    {Queue, Receipt}.

%% With one at address 0.
blocks(Name) ->
    {ok, Blocks} = emmap_blocks:open(Name, 1000),
    {ok, 0} = emmap_blocks:store(Blocks, <<"block">>),
    Blocks.

%%% Answers

%% What a caller may be told. An exception is the caller's mistake, or a reason of the world where the answer is bare.
is_answer(_, {error, badarg}) -> true;
%% As OTP's atomics do: sub/3, new/2.
is_answer(Function, {error, badarith}) -> Function =:= sub orelse Function =:= sub_get;
is_answer(open, {error, system_limit}) -> true;
is_answer(internal_get_nif_resource, {error, notsup}) -> true;
is_answer(internal_get_nif_resource, {returned, Reference}) -> is_reference(Reference);
is_answer(Function, {error, {Reason, _Name}}) when Function =:= open_counters; Function =:= open -> is_reason(Reason);
is_answer(Function, {error, Reason}) -> is_bare(Function) andalso is_reason(Reason);
is_answer(start_link, {returned, {error, Reason}}) when Reason =:= killed; element(1, Reason) =:= already_started -> true;
is_answer(_, {returned, {error, {Done, Reason}}}) when is_integer(Done) -> is_reason(Reason);
is_answer(_, {returned, {error, Reason}}) -> is_reason(Reason) orelse is_tuple(Reason) andalso is_reason(element(1, Reason));
is_answer(_, {returned, ok}) -> true;
is_answer(_, {returned, eof}) -> true;
is_answer(await, {returned, timeout}) -> true;
is_answer(_, {returned, {ok, _}}) -> true;
is_answer(Function, {returned, Info}) when Function =:= info; Function =:= stats -> is_map(Info);
is_answer(handles, {returned, Infos}) -> lists:all(fun is_map/1, Infos);
is_answer(take, {returned, {ok, _, _}}) -> true;
is_answer(Function, {returned, empty}) -> lists:member(Function, [pop, pop_list, peek, take]);
is_answer(count, {returned, Count}) -> is_integer(Count);
is_answer(read_list, {returned, {List, Next}}) -> is_list(List) andalso (Next =:= done orelse is_integer(Next));
is_answer(length, {returned, Length}) -> is_integer(Length);
is_answer(is_empty, {returned, Is}) -> is_boolean(Is);
is_answer(Function, {returned, nomatch}) -> Function =:= match;
is_answer(match, {returned, {Position, Length}}) -> is_integer(Position) andalso is_integer(Length);
is_answer(matches, {returned, Matches}) -> is_list(Matches);
is_answer(open_counters, {returned, {#file_descriptor{}, N}}) -> is_integer(N);
is_answer(Function, {returned, Word}) -> is_bare(Function) andalso is_integer(Word);
is_answer(_, _) -> false.

is_bare(Function) ->
    lists:member(Function, [await, notify, patomic, patomic_read, patomic_write, patomic_cas, inc_counter, dec_counter,
                            set_counter, read_counter, put, get, add, add_get, sub, sub_get, exchange,
                            compare_exchange, info]).

is_reason(Reason) when is_atom(Reason) ->
    lists:member(Reason, [badarg, closed, locked, truncated, fixed_size, too_short, bad_magic, notsup, enotsup,
                           full, not_found, last_consumer, too_long])
        orelse file:format_error(Reason) =/= "unknown POSIX error"
        andalso not lists:member(Reason, [undef, function_clause, badmatch, case_clause, system_limit, terminated]);
is_reason({corrupt, Where}) -> Where =:= term orelse is_integer(Where);
is_reason({Kind, N}) -> is_integer(N) andalso lists:member(Kind, [wrong_length, wrong_count, wrong_block_size]);
is_reason(_) -> false.

%%% Running

%% Runs some calls in this VM. `ok', or the first call with an answer that is none.
run(Seed, Calls) -> run(Seed, Calls, #{}).

%% Options: `workers' (4), `meddle' (true), `dir' (a new one in the current directory), `digest' (a function that is
%% given a hash of all calls and answers; to be had from one worker only).
run(Seed, Calls, Options) ->
    Workers = maps:get(workers, Options, 4),
    Dir = maps:get(dir, Options, "emmap_fuzz." ++ os:getpid()),
    ok = filelib:ensure_path(Dir),
    quiet_starts(),
    io:format("emmap_fuzz:run(~p, ~p), ~p workers, in ~ts~n", [Seed, Calls, Workers, Dir]),
    _ = os:cmd("mkfifo '" ++ filename:join(Dir, "fifo") ++ "'"),
    Table = ets:new(?MODULE, [public, {read_concurrency, true}]),
    Meddler = case maps:get(meddle, Options, true) of
                  true -> spawn_link(fun() -> meddle(Dir, seeded(Seed, meddler, 0)) end);
                  false -> none
              end,
    Each = Calls div Workers,
    %% Without others, nothing may depend on when the collector comes.
    TellDigest = maps:get(digest, Options, fun(_) -> ok end),
    Closes = Workers =:= 1 andalso Meddler =:= none,
    Monitored = [spawn_monitor(fun() ->
                                       put(closes, Closes),
                                       TellDigest(work(Seed, Worker, Each, Dir, Table))
                               end) || Worker <- lists:seq(1, Workers)],
    Ends = [receive {'DOWN', Reference, process, Pid, Why} -> Why end || {Pid, Reference} <- Monitored],
    stop(Meddler),
    [stop(whereis(Owner)) || Owner <- owners()],
    Counts = lists:sort([{Count, What} || {{answer, What}, Count} <- ets:tab2list(Table)]),
    true = ets:delete(Table),
    _ = file:del_dir_r(Dir),
    io:format("~p answers: ~0p~n", [lists:sum([Count || {Count, _} <- Counts]), lists:reverse(Counts)]),
    case [End || End <- Ends, End =/= normal] of
        [] -> ok;
        [First | _] -> {error, First}
    end.

stop(Pid) when is_pid(Pid) ->
    Reference = monitor(process, Pid),
    unlink(Pid),
    exit(Pid, kill),
    receive {'DOWN', Reference, process, Pid, _} -> ok end;
stop(_) -> ok.

%% An owner of a queue that cannot be opened is no news.
quiet_starts() -> ok = logger:set_module_level([proc_lib, gen_server], none).

%% Runs with seeds of the time until so many calls were made; raises when one goes wrong.
long(Calls) ->
    Started = erlang:monotonic_time(millisecond),
    long(Calls, 100000),
    io:format("~p calls in ~p s~n", [Calls, (erlang:monotonic_time(millisecond) - Started) / 1000]).

long(Calls, Each) when Calls > 0 ->
    ok = run(erlang:system_time(microsecond), Each),
    long(Calls - Each, Each);
long(_, _) -> ok.

work(Seed, Worker, Calls, Dir, Table) ->
    put(dir, Dir),
    put(table, Table),
    lists:foldl(fun(Number, Digest) -> erlang:phash2({Digest, one(Seed, Worker, Number, Table)}) end, 0,
                lists:seq(1, Calls)).

one(Seed, Worker, Number, Table) ->
    {Module, Function, Args, Slot} = generate(Seed, Worker, Number),
    Answer = call(Module, Function, Args),
    case is_answer(Function, Answer) of
        true ->
            keep(Answer, Function, Slot, Table),
            %% What is in memory is the system's affair, and what is open may be the collector's.
            case lists:member(Function, [resident, handles, stats]) of
                true -> Function;
                false -> {Function, essence(Answer)}
            end;
        false -> exit({no_answer, {call_number, Seed, Worker, Number}, {Module, Function, Args}, Answer})
    end.

%% What is the same in every run: no addresses, times or references.
essence({returned, #{address := _} = Info}) -> maps:without([address], Info);
essence({returned, {ok, #file_info{size = Size, type = Type}}}) -> {Size, Type};
essence({returned, {ok, #file_descriptor{}}}) -> file;
essence({returned, {#file_descriptor{}, N}}) -> {counters, N};
essence({returned, {ok, List}}) when is_list(List) -> plain(List);
essence({returned, {ok, _, _}}) -> taken;
essence({returned, {error, {already_started, _}}}) -> already_started;
essence({returned, {error, {badarg, [_ | _]}}}) -> badarg;
essence({returned, Reference}) when is_reference(Reference) -> reference;
essence({returned, {ok, Other}}) when not is_binary(Other), not is_integer(Other), not is_list(Other) -> ok;
essence(Answer) -> Answer.

plain([Value | Rest]) when is_binary(Value); is_integer(Value) -> [Value | plain(Rest)];
plain([_ | Rest]) -> plain(Rest);
plain(_) -> [].

%% A call by its numbers, with places of handles instead of handles.
call_number(Seed, Worker, Number) ->
    put(dir, "."),
    put(table, none),
    generate(Seed, Worker, Number).

generate(Seed, Worker, Number) ->
    _ = seeded(Seed, Worker, Number),
    Functions = cached_functions(),
    {Module, Function, Kinds} =
        case rand:uniform(8) of
            1 -> element(1, Functions);
            _ -> element(rand:uniform(tuple_size(Functions)), Functions)
        end,
    Seldom = rand:uniform(8) =:= 1,
    if
        %% Waiting for the disk is tested elsewhere.
        Function =:= sync, not Seldom; Function =:= datasync, not Seldom -> {emmap, info, [value(handle)], 1};
        %% Those that are closed have nothing more to say.
        Module =:= emmap_blocks, Function =:= close, not Seldom ->
            {emmap_blocks, store, [value(blocks), value(block_data)], 1};
        true -> {Module, Function, [value(Kind) || Kind <- Kinds], rand:uniform(?HANDLES)}
    end.

cached_functions() ->
    case get(functions) of
        undefined ->
            Functions = list_to_tuple(functions()),
            put(functions, Functions),
            Functions;
        Functions -> Functions
    end.

seeded(Seed, Worker, Number) -> rand:seed(exsss, erlang:phash2({Seed, Worker, Number}, 1 bsl 32)).

%% Puts what was opened into its place. What was there before is left to the collector, open or not.
fill(Table, Key, Opened) ->
    case get(closes) of
        true ->
            Old = case ets:lookup(Table, Key) of
                      [{_, Found}] -> Found;
                      [] -> none
                  end,
            _ = case Key of
                    {handle, _} -> call(emmap, close, [Old]);
                    {counters, _} -> call(emmap, close_counters, [Old]);
                    {atomics, _} -> call(emmap_atomics, close, [Old]);
                    {queue, _} -> call(emmap_queue, close, [Old]);
                    {blocks, _} -> call(emmap_blocks, close, [Old])
                end;
        false -> ok
    end,
    ets:insert(Table, {Key, Opened}).

%% Keeps what was opened, reads what was read to the end, and counts.
keep(Answer, Function, Slot, Table) ->
    What = case Answer of
               {returned, {ok, #file_descriptor{} = File}} -> fill(Table, {handle, Slot}, File), opened;
               {returned, {#file_descriptor{}, _} = Counters} -> fill(Table, {counters, Slot}, Counters), opened;
               {returned, {ok, Queue}} when element(1, Queue) =:= emmap_queue ->
                   fill(Table, {queue, Slot}, Queue),
                   opened;
               {returned, {ok, Blocks}} when element(1, Blocks) =:= emmap_blocks ->
                   fill(Table, {blocks, Slot}, Blocks),
                   opened;
               {returned, {ok, _, Receipt}} -> ets:insert(Table, {{receipt, Slot}, Receipt}), taken;
               {returned, {ok, Atomics}} when Function =:= open -> fill(Table, {atomics, Slot}, Atomics), opened;
               {returned, {ok, Bytes}} when is_binary(Bytes) ->
                   _ = erlang:crc32(Bytes),
                   %% To be read again, when the file and the handle have become something else.
                   case put({held, Slot}, Bytes) of
                       Held when is_binary(Held) -> _ = erlang:crc32(Held), ok;
                       undefined -> ok
                   end,
                   bytes;
               {returned, {ok, _}} -> ok;
               {returned, {error, Reason}} when is_tuple(Reason) -> tuple;
               {returned, {error, Reason}} -> Reason;
               {returned, Other} when is_atom(Other) -> Other;
               {returned, _} -> word;
               {error, {Reason, _}} when is_atom(Reason) -> {raised, Reason};
               {error, {Reason, _}} -> {raised, element(1, Reason)};
               {error, Reason} -> {raised, Reason}
           end,
    _ = ets:update_counter(Table, {answer, What}, 1, {{answer, What}, 0}),
    ok.

%%% Values

value(Kind) ->
    case rand:uniform(25) of
        1 -> odd(Kind);
        _ -> usual(Kind)
    end.

%% No offset that a disk may have room for: see every_value/6.
odd(allocation) -> one_of([0, -1, 1 bsl 62, (1 bsl 63) - 1, 1 bsl 64, foo, 1.5]);
%% No time that one would have to wait for.
odd(timeout) -> one_of([0, -1, -(1 bsl 64), foo, 1.5]);
%% No file beside the others: what a queue has in its file, or blocks have, is not the same each time.
odd(Name) when Name =:= queue_name; Name =:= blocks_name -> one_of([0, 1.5, {a}, <<1:3>>, [1 | 2], #{}, self(), [0]]);
odd(_) -> one_of_tuple(cached_odd_values()).

cached_odd_values() ->
    case get(odd_values) of
        undefined ->
            Values = list_to_tuple(odd_values()),
            put(odd_values, Values),
            Values;
        Values -> Values
    end.

usual(handle) -> kept(handle);
usual(counters) -> kept(counters);
usual(atomics) -> kept(atomics);
usual(queue) ->
    case rand:uniform(10) of
        1 -> one_of(owners());
        _ -> kept(queue)
    end;
usual(receipt) -> kept(receipt);
usual(owner) -> {local, one_of(owners())};
usual(queue_name) ->
    case rand:uniform(60) of
        1 -> "/dev/null";
        2 -> get(dir);
        3 -> filename:join(get(dir), "fifo");
        4 -> filename:join([get(dir), "none", "such"]);
        5 -> another_kind(a_file(), a_queue());
        _ -> a_queue()
    end;
usual(queue_options) ->
    [{segment_size, 1 bsl (15 + rand:uniform(4))}
     | [one_of([{max_size, 1 bsl (15 + rand:uniform(10))}, {type, one_of([term, binary, text])},
                {sync, one_of([none, none, none, every])}, {chmod, 8#600}, {segment_size, 65537}, foo])
        || _ <- lists:seq(1, max(0, rand:uniform(4) - 2))]];
usual(blocks) -> kept(blocks);
usual(blocks_name) ->
    case rand:uniform(60) of
        1 -> "/dev/null";
        2 -> get(dir);
        3 -> filename:join(get(dir), "fifo");
        4 -> filename:join([get(dir), "none", "such"]);
        5 -> another_kind(one_of([a_file(), a_queue()]), some_blocks());
        _ -> some_blocks()
    end;
usual(block_size) -> one_of([0, 0, 1, 64, 64, 64, 1000, 1000, 65536, 200000]);
usual(blocks_options) ->
    [one_of([{max_size, 1 bsl (11 + rand:uniform(12))}, {chmod, 8#600}, {max_size, 0}, foo])
     || _ <- lists:seq(1, max(0, rand:uniform(4) - 2))];
usual(address) ->
    case rand:uniform(10) of
        1 -> rand:uniform(1 bsl 36) - 1;
        2 -> rand:uniform(300) - 1;
        _ -> rand:uniform(8) - 1
    end;
usual(block_data) ->
    case rand:uniform(8) of
        1 -> value(data);
        _ -> binary:copy(<<"0123456789abcdef">>, rand:uniform(4))
    end;
usual(blocks_function) -> one_of([fun(_, Data, _) -> Data end, fun(Address, _, _) -> Address end]);
usual(term) -> one_of([value(data), value(number), {value(any), value(data)}]);
usual(terms) -> [value(term) || _ <- lists:seq(1, 1 bsl (rand:uniform(8) - 1))];
usual(consumer_name) ->
    one_of([default, one, <<"two">>, three, <<"default">>, binary:copy(<<"n">>, 108 + rand:uniform(4))]);
usual(from) -> one_of([oldest, newest]);
usual(any) -> one_of([0, 1, [], <<"x">>]);
usual(name) ->
    case rand:uniform(40) of
        1 -> "/dev/null";
        2 -> another_kind(a_queue(), a_file());
        3 -> get(dir);
        4 -> filename:join(get(dir), "fifo");
        5 -> filename:join([get(dir), "none", "such"]);
        6 -> lists:duplicate(1 bsl rand:uniform(16), $n);
        7 -> [get(dir), $/, ["file", [$1]]];
        8 -> filename:join(get(dir), <<"file2">>);
        _ -> a_file()
    end;
usual(counters_name) ->
    case rand:uniform(4) of
        1 -> a_file();
        _ -> filename:join(get(dir), "counters" ++ integer_to_list(rand:uniform(3)))
    end;
usual(offset) ->
    case rand:uniform(4) of
        1 -> 0;
        2 -> 4096 * rand:uniform(?LIMIT div 4096);
        3 -> 4096 * rand:uniform(?LIMIT div 4096) - rand:uniform(17) + 9;
        4 -> rand:uniform(?LIMIT + 10000) - 1
    end;
usual(count) ->
    case rand:uniform(4) of
        1 -> rand:uniform(9) - 1;
        2 -> rand:uniform(100);
        3 -> rand:uniform(5000);
        4 -> rand:uniform(2 * ?LIMIT)
    end;
usual(allocation) -> rand:uniform(?LIMIT);
usual(reads) -> [{value(offset), value(count)} || _ <- lists:seq(1, rand:uniform(4) - 1)];
usual(writes) -> [{value(offset), value(data)} || _ <- lists:seq(1, rand:uniform(4) - 1)];
usual(data) ->
    case rand:uniform(5) of
        1 -> <<>>;
        2 -> <<"a line\r\nand another\n">>;
        3 -> [$a, [<<"b">>, "c"] | <<"\n">>];
        4 -> binary:copy(<<"0123456789abcde\n">>, rand:uniform(600));
        5 -> binary:copy(<<"x">>, rand:uniform(300000))
    end;
usual(location) ->
    case rand:uniform(5) of
        1 -> one_of([bof, cur, eof]);
        2 -> value(offset);
        _ -> {one_of([bof, cur, eof]), usual(offset) - value_number()}
    end;
usual(advice) ->
    one_of([normal, sequential, random, will_need, dont_need, no_reuse, huge_page, no_huge_page, cold, page_out,
            never]);
usual(pattern) ->
    Patterns = [<<0>>, <<"\n">>, <<"x">>, <<"line\r\n">>, <<"other\nother">>, <<0:8192>>, binary:copy(<<"x">>, 100000)],
    one_of([one_of(Patterns), [one_of(Patterns), one_of(Patterns), <<"bc">>]]);
usual(match_options) ->
    [one_of([last, {limit, rand:uniform(3000)}, {scope, {value(offset), usual(count) - ?LIMIT div 2}}])
     || _ <- lists:seq(1, rand:uniform(3) - 1)];
usual(fold_function) -> one_of([fun max/2, fun(_, Count) -> Count end]);
usual(word_position) -> 8 * (rand:uniform(?LIMIT div 8) - 1);
usual(operation) -> one_of([add, sub, 'band', 'bor', 'bxor', xchg, min, max]);
usual(lock) -> one_of([shared, shared, exclusive]);
usual(timeout) -> rand:uniform(4) - 1;
usual(type) -> one_of([i8, i16, i32, i64, u8, u16, u32, u64]);
usual(word) -> one_of([0, 1, -1, rand:uniform(1 bsl 40), (1 bsl 63) - 1, -(1 bsl 63), (1 bsl 64) - 1]);
usual(number) -> rand:uniform(12) - 1;
usual(info_options) -> one_of([[], [raw], [{time, posix}], [{time, universal}], [{time, local}, raw], [{time, foo}]]);
usual(atomics_options) -> one_of([[], [{signed, true}], [{signed, false}], [{signed, foo}], [foo]]);
usual(options) ->
    Table = lists:sort(maps:to_list(emmap_options:table())),
    Groups = lists:usort([Group || {_, {choice, Group, _}} <- Table]),
    Options = lists:append([[option(Name, Row) || rand:uniform(one_in(Name)) =:= 1]
                            || {Name, Row} <- Table, not is_tuple(Row) orelse element(1, Row) =/= choice]
                           ++ [one_of([[] | [[Name] || {Name, {choice, Of, _}} <- Table, Of =:= Group,
                                                       _ <- lists:seq(1, copies(Name))]]) || Group <- Groups]),
    case get(closes) of
        %% Whether a private mapping can take over what others have appended depends on what memory lies behind it.
        true -> [shared | Options -- [private, shared, shared_validate]];
        _ -> Options
    end.

option(size, _) -> {size, size()};
option(max_inc_size, _) -> {max_inc_size, 1 bsl (rand:uniform(40) - 1)};
option(chmod, _) -> {chmod, rand:uniform(8#1000) - 1};
option(address, _) -> {address, 16#10000000 * rand:uniform(64)};
option(Name, {number, _, Min, Max}) -> {Name, Min + rand:uniform(Max - Min + 1) - 1};
option(Name, _) -> Name.

%% Of how many lists an option is in one. What makes most opens fail, or much output, is rare.
one_in(Name) ->
    Special = #{read => 2, write => 1 + rand:uniform(2) div 2, create => 2, size => 2, direct => 2, fit => 4,
                max_inc_size => 6, anon => 12, chmod => 12, sync => 30, uninitialized => 30, fixed => 30,
                address => 30, hugetlb => 60, huge_2mb => 60, huge_1gb => 60, debug => 2000},
    maps:get(Name, Special, 10).

%% How often a choice is among those that one is taken of.
copies(shared) -> 3;
copies(_) -> 1.

value_number() -> rand:uniform(?LIMIT) - 1.

%% What a memory has room for, or what none has: a file may be large and empty, but `anon' with `populate' is not.
size() ->
    case rand:uniform(12) of
        1 -> 1 bsl (46 + rand:uniform(17));
        2 -> one_of([0, -1, foo, 1.5, 1 bsl 63, 1 bsl 64]);
        _ -> value_number()
    end.

a_file() -> filename:join(get(dir), "file" ++ integer_to_list(rand:uniform(?FILES))).

%% A file that others use in another way; the usual one where all answers are to be the same each time.
another_kind(Other, Usual) ->
    case get(closes) of
        true -> Usual;
        _ -> Other
    end.

a_queue() -> filename:join(get(dir), "queue" ++ integer_to_list(rand:uniform(?FILES))).

some_blocks() -> filename:join(get(dir), "blocks" ++ integer_to_list(rand:uniform(?FILES))).

owners() -> [emmap_fuzz_owner1, emmap_fuzz_owner2].

kept(Kind) ->
    Slot = rand:uniform(?HANDLES),
    case get(table) of
        none -> {Kind, Slot};
        Table ->
            case ets:lookup(Table, {Kind, Slot}) of
                [{_, Kept}] -> Kept;
                [] -> {none, Kind}
            end
    end.

one_of(List) -> lists:nth(rand:uniform(length(List)), List).
one_of_tuple(Tuple) -> element(rand:uniform(tuple_size(Tuple)), Tuple).

%%% The others who use the files

%% Does to the files what other programs do, for ever.
meddle(Dir, _) ->
    put(dir, Dir),
    meddle_on().

meddle_on() ->
    Other = one_of([a_queue(), some_blocks()]),
    _ = case rand:uniform(1500) of
            1 -> stop(whereis(one_of(owners())));
            2 -> file:delete(Other);
            3 -> file:write_file(Other, binary:copy(<<"other\n">>, value_number()));
            4 -> with_raw(Other, fun(File) -> file:pwrite(File, 16 * value_number(), <<"other">>) end);
            5 ->
                with_raw(Other, fun(File) ->
                                        {ok, _} = file:position(File, value_number()),
                                        file:truncate(File)
                                end);
            _ -> ok
        end,
    Name = a_file(),
    Size = value_number(),
    _ = case rand:uniform(12) of
            1 -> file:delete(Name);
            2 -> file:write_file(Name, binary:copy(<<"other\n">>, Size div 6));
            3 -> file:rename(Name, a_file());
            4 -> file:change_mode(Name, one_of([8#400, 8#600, 8#666]));
            5 -> file:write_file(filename:join(get(dir), "counters" ++ integer_to_list(rand:uniform(3))),
                                 one_of([<<>>, <<"EMMAP01\n">>, binary:copy(<<0>>, 96)]));
            6 -> file:write_file(Name, <<>>);
            _ ->
                with_raw(Name, fun(File) ->
                                       {ok, Size} = file:position(File, Size),
                                       file:truncate(File)
                               end)
        end,
    meddle_on().

with_raw(Name, Do) ->
    case file:open(Name, [read, write, raw]) of
        {ok, File} ->
            _ = Do(File),
            file:close(File);
        Error -> Error
    end.
