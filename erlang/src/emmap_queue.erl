%% Copyright 2026 the emmap authors. Licensed under the Apache License, Version 2.0.

%% @doc A persistent queue that loses nothing.
%%
%% A first-in-first-out queue of Erlang terms, or of bytes, in a memory-mapped file: for job queues, outboxes, and as a
%% buffer before something slow.
%%
%% <ul>
%% <li>When the VM dies, at any moment, whatever returned `ok' is there, whole and in order. What had not returned is
%% there whole, or not at all.</li>
%% <li>When the power fails, whatever was `ok' before a {@link sync/1} that returned `ok' is there. Of later changes any
%% may be missing; none comes back by halves, twice, or out of order.</li>
%% <li>Damage of the file is found before a wrong byte is returned: `{error, {corrupt, Where}}'.</li>
%% <li>Memory and disk are bounded by what is in the queue.</li>
%% </ul>
%%
%% One owner at a time has a file open; any number of processes of the node may use the handle. A handle is closed by
%% {@link close/1}, or when nothing refers to it any more; what is in the queue stays either way.
%%
%% ```
%% {ok, Queue} = emmap_queue:open("jobs.queue").
%% ok = emmap_queue:push(Queue, {resize, "cat.png"}).
%% {ok, Job, Receipt} = emmap_queue:take(Queue).
%% ok = emmap_queue:ack(Queue, Receipt).
%% '''
-module(emmap_queue).

-export([open/1, open/2, close/1, start_link/2, start_link/3]).
-export([push/2, push_list/2, pop/1, pop/2, pop_list/2, peek/1, fold/3, length/1, is_empty/1]).
-export([take/1, take/2, ack/2, nack/2, purge/1]).
-export([consumer/2, consumer/3, remove_consumer/2, sync/1, info/1, format_error/1]).

-export_type([queue/0, name/0, option/0, receipt/0, consumer_name/0, reason/0, info/0]).

-compile({no_auto_import, [length/1]}).

-record(emmap_queue, {handle :: emmap_nif:handle(), consumer :: non_neg_integer(), type :: term | binary,
                      sync :: none | every}).

-opaque queue() :: #emmap_queue{}.
%% A queue, as one of its consumers.

-type name() :: queue() | atom().
%% A queue, or the name that {@link start_link/3} gave it.

-type option() ::
        {segment_size, pos_integer()} | {max_size, pos_integer()} | {type, term | binary} | {sync, none | every}
      | {chmod, non_neg_integer()}.
%% How to open a queue.
%%
%% <dl>
%% <dt>`{segment_size, Bytes}'</dt><dd>What a new file grows by: a power of two from 64 KiB to 512 MiB. An existing file
%% keeps its own. Default: 16 MiB.</dd>
%% <dt>`{max_size, Bytes}'</dt><dd>The file gets no longer than this; a push that would need more is `{error, full}'.
%% Default: no limit.</dd>
%% <dt>`{type, Type}'</dt><dd>What a new file is for: terms, or bytes as they are (`binary'), for programs in other
%% languages. An existing file keeps its own. Default: `term'.</dd>
%% <dt>`{sync, every}'</dt><dd>Pushes and acknowledgements return when they are on disk; those that wait at the same time
%% share one sync. Default: `none'.</dd>
%% <dt>`{chmod, Mode}'</dt><dd>The permissions of a new file. Default: `8#600'.</dd>
%% </dl>

-opaque receipt() :: {non_neg_integer(), non_neg_integer()}.
%% What {@link ack/2} and {@link nack/2} want to know of a message that was taken.

-type consumer_name() :: atom() | binary().
%% The name of a consumer: at most 110 bytes. The one that `open' gives is called `default'. An atom and a binary of the
%% same text are the same name. {@link info/1} tells it as it was given first; an atom that this VM has not is a binary
%% there, so that no file can fill the table of atoms.

-type reason() ::
        file:posix() | badarg | closed | truncated | full | locked | bad_magic | not_found | last_consumer
      | {corrupt, non_neg_integer() | term}.
%% Why a call failed; {@link format_error/1} makes a sentence of it. A POSIX atom is the system's. After an error of the
%% file the handle goes on answering it until the queue is opened anew: what the system lost it does not tell twice.

-type info() ::
        #{length := non_neg_integer(), taken := non_neg_integer(), bytes := non_neg_integer(),
          file_size := non_neg_integer(), segment_size := pos_integer(), type := term | binary,
          consumers := [consumer_name()],
          recovered := clean | #{messages := non_neg_integer(), bytes := non_neg_integer()}}.
%% What is known of a queue, as {@link info/1} returns it.

-define(badarg(Args, Cause), erlang:error(badarg, Args, [{error_info, #{module => emmap_error, cause => Cause}}])).
-define(not_a_queue(Args), ?badarg(Args, {1, not_a_queue})).
%% Answers for a queue that is given by its handle or its name; raises what is wrong with Args where it is neither.
-define(on(Queue, Handle, Consumer, Args, Answer),
        case find(Queue) of
            #emmap_queue{handle = Handle, consumer = Consumer} -> Answer;
            {error, _} = Error -> Error;
            false -> ?not_a_queue(Args)
        end).
-define(is_natural(N), (is_integer(N) andalso N >= 0 andalso N =< 16#7fffffffffffffff)).
-define(is_timeout(T), (T =:= infinity orelse is_integer(T) andalso T >= 0 andalso T =< 16#ffffffff)).

%%% Opening

%% @doc Opens a queue with no options. See {@link open/2}.
-spec open(Name :: file:name_all()) -> {ok, queue()} | {error, reason()}.
open(Name) ->
    case open_checked(Name, []) of
        {bad, Argument, Why} -> ?badarg([Name], {Argument, Why});
        Result -> Result
    end.

%% @doc Opens a queue, and makes it if it does not exist. `{error, locked}': it is open already, in this VM or another.
%% What the last owner had not synced when the power failed may be missing: {@link info/1} tells.
-spec open(Name :: file:name_all(), Options :: [option()]) -> {ok, queue()} | {error, reason()}.
open(Name, Options) ->
    case open_checked(Name, Options) of
        {bad, Argument, Why} -> ?badarg([Name, Options], {Argument, Why});
        Result -> Result
    end.

open_checked(Name, Options) ->
    case {emmap_name:encode(Name), options(Options, {24, 16#7fffffffffffffff, 0, 8#600, none})} of
        {error, _} -> {bad, 1, not_a_name};
        {_, {bad, Why}} -> {bad, 2, Why};
        {Path, {Shift, MaxSize, Type, Mode, Sync}} ->
            %% Made of what no other file has.
            Uuid = erlang:md5(term_to_binary({node(), os:getpid(), make_ref(), os:system_time()})),
            case emmap_nif:queue_open(Path, <<>>, Shift, MaxSize, Type, Mode, Uuid) of
                {ok, Handle, FileType, Found} ->
                    Consumer = case Found of not_found -> 0; _ -> Found end,
                    {ok, #emmap_queue{handle = Handle, consumer = Consumer, type = type(FileType), sync = Sync}};
                Error -> Error
            end
    end.

type(0) -> term;
type(_) -> binary.

options([], Parsed) -> Parsed;
options([{segment_size, Bytes} | Rest], Parsed) when is_integer(Bytes), Bytes >= 1 bsl 16, Bytes =< 1 bsl 29,
                                                     Bytes band (Bytes - 1) =:= 0 ->
    options(Rest, setelement(1, Parsed, shift(Bytes, 0)));
options([{max_size, Bytes} | Rest], Parsed) when is_integer(Bytes), Bytes > 0, Bytes =< 16#7fffffffffffffff ->
    options(Rest, setelement(2, Parsed, Bytes));
options([{type, term} | Rest], Parsed) -> options(Rest, setelement(3, Parsed, 0));
options([{type, binary} | Rest], Parsed) -> options(Rest, setelement(3, Parsed, 1));
options([{chmod, Mode} | Rest], Parsed) when is_integer(Mode), Mode >= 0, Mode =< 8#7777 ->
    options(Rest, setelement(4, Parsed, Mode));
options([{sync, When} | Rest], Parsed) when When =:= none; When =:= every ->
    options(Rest, setelement(5, Parsed, When));
options([{Key, _} = Option | _], _) when Key =:= segment_size; Key =:= max_size; Key =:= type; Key =:= chmod;
                                         Key =:= sync ->
    {bad, {bad_value, Option}};
options([Option | _], _) -> {bad, {unknown_option, Option}};
options(_, _) -> {bad, not_a_list}.

shift(1, Shift) -> Shift;
shift(Bytes, Shift) -> shift(Bytes bsr 1, Shift + 1).

%% @doc Starts a process that owns a queue, with no options. See {@link start_link/3}.
-spec start_link(Name :: {local, atom()}, File :: file:name_all()) -> {ok, pid()} | {error, term()}.
start_link({local, Name}, File) when is_atom(Name) -> emmap_queue_owner:start_link({local, Name}, File, []);
start_link(Name, File) -> ?badarg([Name, File], {1, not_a_local_name}).

%% @doc Starts a process that opens a queue, and closes it when it ends: for a supervisor. All functions of this module
%% take its name in place of the queue, and go to no process for that; so nothing is lost when the owner is started
%% again, and who waits for a message then goes on waiting with the new one when it calls again.
-spec start_link(Name :: {local, atom()}, File :: file:name_all(), Options :: [option()]) ->
          {ok, pid()} | {error, term()}.
start_link({local, Name}, File, Options) when is_atom(Name) ->
    emmap_queue_owner:start_link({local, Name}, File, Options);
start_link(Name, File, Options) -> ?badarg([Name, File, Options], {1, not_a_local_name}).

%% @doc Closes a queue; all that is in it is on disk then. Whoever waits for a message gets `{error, closed}'.
-spec close(Queue :: name()) -> ok | {error, reason()}.
close(Queue) -> ?on(Queue, Handle, _, [Queue], emmap_nif:queue_close(Handle)).

%% A queue by its name; an owner that is being started again has none for a moment.
find(#emmap_queue{handle = Handle} = Queue) when is_reference(Handle) -> Queue;
find(Name) when is_atom(Name) -> emmap_queue_owner:find(Name);
find(_) -> false.

%%% Pushing and popping

%% @doc Puts a term at the end. `{error, full}': the file must not get longer; `{error, enospc}': it cannot. The queue is
%% then as it was.
-spec push(Queue :: name(), Term :: term()) -> ok | {error, reason()}.
push(#emmap_queue{handle = Handle, type = term, sync = none}, Term) when is_reference(Handle) ->
    emmap_nif:queue_push(Handle, term_to_binary(Term));
push(Queue, Term) ->
    case find(Queue) of
        #emmap_queue{handle = Handle, type = Type} = Found ->
            case encode(Type, Term) of
                error -> ?badarg([Queue, Term], {2, not_iodata});
                Bytes -> synced(Found, emmap_nif:queue_push(Handle, Bytes))
            end;
        {error, _} = Error -> Error;
        false -> ?not_a_queue([Queue, Term])
    end.

%% @doc Puts all terms of a list at the end, in order, with nobody else's between them: all or none, after a crash too.
-spec push_list(Queue :: name(), Terms :: [term()]) -> ok | {error, reason()}.
push_list(Queue, Terms) ->
    case find(Queue) of
        #emmap_queue{handle = Handle, type = Type} = Found ->
            case encode_list(Type, Terms) of
                error -> ?badarg([Queue, Terms], {2, not_messages});
                List -> synced(Found, emmap_nif:queue_push_list(Handle, List))
            end;
        {error, _} = Error -> Error;
        false -> ?not_a_queue([Queue, Terms])
    end.

encode(term, Term) -> term_to_binary(Term);
encode(binary, Bytes) when is_binary(Bytes) -> Bytes;
encode(binary, Bytes) -> try iolist_to_binary(Bytes) catch error:badarg -> error end.

encode_list(Type, Terms) ->
    try [case encode(Type, Term) of error -> throw(error); Bytes -> Bytes end || Term <- Terms]
    catch
        throw:error -> error;
        error:_ -> error
    end.

synced(#emmap_queue{handle = Handle, sync = every}, ok) -> wait_for_disk(Handle);
synced(_, Result) -> Result.

%% @doc Takes the first term away; `empty' if there is none.
-spec pop(Queue :: name()) -> {ok, term()} | empty | {error, reason()}.
pop(#emmap_queue{handle = Handle, consumer = Consumer}) when is_reference(Handle) ->
    emmap_nif:queue_pop(Handle, Consumer);
pop(Queue) -> ?on(Queue, Handle, Consumer, [Queue], emmap_nif:queue_pop(Handle, Consumer)).

%% @doc The same; waits for a term for so many milliseconds.
-spec pop(Queue :: name(), Timeout :: timeout()) -> {ok, term()} | empty | {error, reason()}.
pop(Queue, Timeout) when ?is_timeout(Timeout) ->
    ?on(Queue, Handle, Consumer, [Queue, Timeout], wait(fun emmap_nif:queue_pop/2, Handle, Consumer, Timeout));
pop(Queue, Timeout) -> ?badarg([Queue, Timeout], {2, not_a_timeout}).

%% @doc Takes up to `Max' terms away at once. Those that were taken and came back are first, one by one.
-spec pop_list(Queue :: name(), Max :: non_neg_integer()) -> {ok, [term()]} | empty | {error, reason()}.
pop_list(Queue, Max) when is_integer(Max), Max >= 0, Max =< 16#7fffffff ->
    ?on(Queue, Handle, Consumer, [Queue, Max], emmap_nif:queue_pop_list(Handle, Consumer, Max));
pop_list(Queue, Max) -> ?badarg([Queue, Max], {2, not_a_number_of_messages}).

%% @doc Returns the first term and leaves it there.
-spec peek(Queue :: name()) -> {ok, term()} | empty | {error, reason()}.
peek(Queue) -> ?on(Queue, Handle, Consumer, [Queue], emmap_nif:queue_peek(Handle, Consumer)).

%% @doc Calls `Fun(Term, Acc)' for each term in order, and leaves them there. Those that are taken, or came back, are not
%% seen, and those that are taken away meanwhile need not be.
-spec fold(Fun :: fun((term(), Acc) -> Acc), Acc, Queue :: name()) -> {ok, Acc} | {error, reason()}.
fold(Fun, Acc, Queue) when is_function(Fun, 2) ->
    case find(Queue) of
        #emmap_queue{} = Found -> fold(Fun, Acc, Found, {0, 0, 0});
        {error, _} = Error -> Error;
        false -> ?badarg([Fun, Acc, Queue], {3, not_a_queue})
    end;
fold(Fun, Acc, Queue) -> ?badarg([Fun, Acc, Queue], {1, not_a_function}).

fold(Fun, Acc, #emmap_queue{handle = Handle, consumer = Consumer} = Queue, {Position, Number, Epoch}) ->
    case emmap_nif:queue_read(Handle, Consumer, Position, Number, Epoch, 100) of
        {[], _, _, _} -> {ok, Acc};
        {Terms, NextPosition, NextNumber, NextEpoch} ->
            fold(Fun, lists:foldl(Fun, Acc, Terms), Queue, {NextPosition, NextNumber, NextEpoch});
        Error -> Error
    end.

%% @doc Counts the terms, those that are taken not among them. In constant time.
-spec length(Queue :: name()) -> non_neg_integer() | {error, reason()}.
length(Queue) -> ?on(Queue, Handle, Consumer, [Queue], emmap_nif:queue_length(Handle, Consumer)).

%% @doc Tells whether {@link length/1} is 0.
-spec is_empty(Queue :: name()) -> boolean() | {error, reason()}.
is_empty(Queue) ->
    case find(Queue) of
        #emmap_queue{handle = Handle, consumer = Consumer} ->
            case emmap_nif:queue_length(Handle, Consumer) of
                Length when is_integer(Length) -> Length =:= 0;
                Error -> Error
            end;
        {error, _} = Error -> Error;
        false -> ?not_a_queue([Queue])
    end.

%%% Taking and acknowledging

%% @doc Hands the first term to the caller, until it is acknowledged. It comes back, and is then the first again, when
%% it is given back ({@link nack/2}), when the caller dies, and when the queue is opened again: so each term is handed out
%% at least once. When it is opened again, those that were acknowledged behind one that was not come again, too.
-spec take(Queue :: name()) -> {ok, term(), receipt()} | empty | {error, reason()}.
take(Queue) -> ?on(Queue, Handle, Consumer, [Queue], emmap_nif:queue_take(Handle, Consumer)).

%% @doc The same; waits for a term for so many milliseconds.
-spec take(Queue :: name(), Timeout :: timeout()) -> {ok, term(), receipt()} | empty | {error, reason()}.
take(Queue, Timeout) when ?is_timeout(Timeout) ->
    ?on(Queue, Handle, Consumer, [Queue, Timeout], wait(fun emmap_nif:queue_take/2, Handle, Consumer, Timeout));
take(Queue, Timeout) -> ?badarg([Queue, Timeout], {2, not_a_timeout}).

%% @doc Lets a term that was taken go for good. Any process may do it. `{error, not_found}': it is not taken any more
%% under this receipt.
-spec ack(Queue :: name(), Receipt :: receipt()) -> ok | {error, reason()}.
ack(Queue, {Number, Delivery} = Receipt) when ?is_natural(Number), ?is_natural(Delivery) ->
    case find(Queue) of
        #emmap_queue{handle = Handle, consumer = Consumer} = Found ->
            synced(Found, emmap_nif:queue_ack(Handle, Consumer, Number, Delivery));
        {error, _} = Error -> Error;
        false -> ?not_a_queue([Queue, Receipt])
    end;
ack(Queue, Receipt) -> ?badarg([Queue, Receipt], {2, not_a_receipt}).

%% @doc Gives a term that was taken back: it is the first again.
-spec nack(Queue :: name(), Receipt :: receipt()) -> ok | {error, reason()}.
nack(Queue, {Number, Delivery} = Receipt) when ?is_natural(Number), ?is_natural(Delivery) ->
    ?on(Queue, Handle, Consumer, [Queue, Receipt], emmap_nif:queue_nack(Handle, Consumer, Number, Delivery));
nack(Queue, Receipt) -> ?badarg([Queue, Receipt], {2, not_a_receipt}).

%% Tries again each time that there may be something, until it has something or the time is over.
wait(Try, Handle, Consumer, Timeout) ->
    case Try(Handle, Consumer) of
        empty when Timeout =/= 0 -> wait_until(Try, Handle, Consumer, deadline(Timeout));
        Answer -> Answer
    end.

deadline(infinity) -> infinity;
deadline(Timeout) -> erlang:monotonic_time(millisecond) + Timeout.

wait_until(Try, Handle, Consumer, Deadline) ->
    Reference = make_ref(),
    case emmap_nif:queue_wait(Handle, Consumer, Reference) of
        ready -> try_again(Try, Handle, Consumer, Deadline);
        ok ->
            receive
                {emmap_queue, Reference} -> try_again(Try, Handle, Consumer, Deadline)
            after remaining(Deadline) ->
                case emmap_nif:queue_cancel(Handle, Consumer, Reference) of
                    true -> empty;
                    %% It was sent: there may be something, and nobody else was told.
                    _ ->
                        receive {emmap_queue, Reference} -> ok end,
                        Try(Handle, Consumer)
                end
            end;
        Error -> Error
    end.

try_again(Try, Handle, Consumer, Deadline) ->
    case Try(Handle, Consumer) of
        empty -> wait_until(Try, Handle, Consumer, Deadline);
        Answer -> Answer
    end.

remaining(infinity) -> infinity;
remaining(Deadline) -> max(0, Deadline - erlang:monotonic_time(millisecond)).

%% @doc Drops all that is in the queue for this consumer; receipts are void then.
-spec purge(Queue :: name()) -> ok | {error, reason()}.
purge(Queue) -> ?on(Queue, Handle, Consumer, [Queue], emmap_nif:queue_purge(Handle, Consumer)).

%%% Consumers

%% @doc The same as `consumer(Queue, Name, oldest)'.
-spec consumer(Queue :: name(), Name :: consumer_name()) -> {ok, queue()} | {error, reason()}.
consumer(Queue, Name) ->
    case find_consumer(Queue, Name, oldest) of
        {bad, Argument, Why} -> ?badarg([Queue, Name], {Argument, Why});
        Result -> Result
    end.

%% @doc Returns the queue as another consumer, which has a place of its own, kept in the file: every consumer sees every
%% message, and a message goes when all are past it. One that does not exist yet begins with the oldest message that
%% any consumer has not taken away, or behind the newest. There can be 192.
-spec consumer(Queue :: name(), Name :: consumer_name(), From :: oldest | newest) -> {ok, queue()} | {error, reason()}.
consumer(Queue, Name, From) ->
    case find_consumer(Queue, Name, From) of
        {bad, Argument, Why} -> ?badarg([Queue, Name, From], {Argument, Why});
        Result -> Result
    end.

find_consumer(Queue, Name, From) when From =:= oldest; From =:= newest ->
    case {find(Queue), consumer_bytes(Name)} of
        {false, _} -> {bad, 1, not_a_queue};
        {_, error} -> {bad, 2, not_a_consumer};
        {#emmap_queue{handle = Handle} = Found, Bytes} ->
            case emmap_nif:queue_consumer(Handle, Bytes, From =:= oldest) of
                {ok, Consumer} -> {ok, Found#emmap_queue{consumer = Consumer}};
                Error -> Error
            end;
        {Error, _} -> Error
    end;
find_consumer(_, _, _) -> {bad, 3, not_an_end}.

%% @doc Removes a consumer, and what is in the queue for it alone. The last one stays: `{error, last_consumer}'.
-spec remove_consumer(Queue :: name(), Name :: consumer_name()) -> ok | {error, reason()}.
remove_consumer(Queue, Name) ->
    case {find(Queue), consumer_bytes(Name)} of
        {false, _} -> ?not_a_queue([Queue, Name]);
        {_, error} -> ?badarg([Queue, Name], {2, not_a_consumer});
        {#emmap_queue{handle = Handle}, Bytes} -> emmap_nif:queue_remove_consumer(Handle, Bytes);
        {Error, _} -> Error
    end.

%% The name as the file has it: `a' or `b', which distinguishes nothing, and the text; nothing for the first consumer.
consumer_bytes(Name) when Name =:= default; Name =:= <<"default">> -> <<>>;
consumer_bytes(Name) when is_atom(Name) -> consumer_bytes($a, atom_to_binary(Name));
consumer_bytes(Name) when is_binary(Name) -> consumer_bytes($b, Name);
consumer_bytes(_) -> error.

consumer_bytes(Tag, Bytes) when byte_size(Bytes) =< 110 -> <<Tag, Bytes/binary>>;
consumer_bytes(_, _) -> error.

consumer_name(<<>>) -> default;
consumer_name(<<$a, Name/binary>>) -> try binary_to_existing_atom(Name) catch error:badarg -> Name end;
consumer_name(<<_, Name/binary>>) -> Name.

%%% The disk

%% @doc Returns when all that was done before is on disk. Those who call at the same time share one sync.
-spec sync(Queue :: name()) -> ok | {error, reason()}.
sync(Queue) -> ?on(Queue, Handle, _, [Queue], wait_for_disk(Handle)).

wait_for_disk(Handle) -> wait_for_disk(Handle, make_ref(), 0).

wait_for_disk(Handle, Reference, Ticket) ->
    case emmap_nif:queue_sync(Handle, Reference, Ticket) of
        Later when is_integer(Later) ->
            receive {emmap_queue, Reference} -> wait_for_disk(Handle, Reference, Later) end;
        Answer -> Answer
    end.

%% @doc Describes a queue, as this consumer sees it. `length': terms that are not taken; `taken': those that are; `bytes':
%% what both use in the file; `recovered': what opening found: `clean', or how much behind the last sync, as far as is
%% known, was given up.
-spec info(Queue :: name()) -> info() | {error, reason()}.
info(Queue) ->
    case find(Queue) of
        #emmap_queue{handle = Handle, consumer = Consumer, type = Type} ->
            case emmap_nif:queue_info(Handle, Consumer) of
                {error, _} = Error -> Error;
                {Length, Bytes, Taken, FileSize, SegmentSize, Names, Recovered} ->
                    #{length => Length, bytes => Bytes, taken => Taken, file_size => FileSize,
                      segment_size => SegmentSize, type => Type,
                      consumers => [consumer_name(Name) || Name <- Names],
                      recovered => case Recovered of
                                       clean -> clean;
                                       {Messages, Lost} -> #{messages => Messages, bytes => Lost}
                                   end}
            end;
        {error, _} = Error -> Error;
        false -> ?not_a_queue([Queue])
    end.

%% @doc Makes a sentence of a reason.
-spec format_error(Reason :: reason() | {error, reason()}) -> string().
format_error({error, Reason}) -> format_error(Reason);
format_error(closed) -> "the queue is closed";
format_error(truncated) -> "the file was cut short by somebody else";
format_error(full) -> "the queue has reached its max_size, or the number of consumers its limit";
format_error(locked) -> "the queue is open already, in this VM or another";
format_error(bad_magic) -> "the file is not a queue";
format_error(not_found) -> "no such consumer, or the receipt stands for nothing that is taken";
format_error(last_consumer) -> "the last consumer cannot be removed";
format_error({corrupt, term}) -> "a message is not a term that this VM can read";
format_error({corrupt, Place}) ->
    lists:flatten(io_lib:format("the file is damaged: ~b is not what was stored there", [Place]));
format_error(Reason) -> file:format_error(Reason).
