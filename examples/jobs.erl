%% Copyright 2026 the emmap authors. Licensed under the Apache License, Version 2.0.
%%
%% A queue of jobs that outlives its workers and the VM: a job is gone when it is done, and not before. Here a job is to
%% put a line into a file; every third worker dies while it has one. After `make':
%%
%%     ERL_LIBS=_build/default/lib escript examples/jobs.erl /tmp/jobs push first second third
%%     ERL_LIBS=_build/default/lib escript examples/jobs.erl /tmp/jobs work /tmp/done
%%     ERL_LIBS=_build/default/lib escript examples/jobs.erl /tmp/jobs left
%%
%% A worker may die between doing a job and saying so. Then the job is done twice: so a job has a key, and whoever does it
%% looks whether that is done already.
-module(jobs).
-mode(compile).

-export([push/2, work/2]).
-export([main/1]).

%% Adds jobs, all or none; they are on disk when this returns.
-spec push(emmap_queue:name(), [string()]) -> ok | {error, emmap_queue:reason()}.
push(Queue, Texts) ->
    case emmap_queue:push_list(Queue, [{make_key(), Text} || Text <- Texts]) of
        ok -> emmap_queue:sync(Queue);
        Error -> Error
    end.

make_key() -> binary:encode_hex(crypto:strong_rand_bytes(8)).

%% Does jobs until there are none, with one worker after the other. Returns how many workers it took.
-spec work(emmap_queue:name(), file:name_all()) -> pos_integer().
work(Queue, Target) -> work(Queue, Target, 1).

work(Queue, Target, Worker) ->
    {_, Monitor} = spawn_monitor(fun() -> worker(Queue, Target, Worker) end),
    receive
        {'DOWN', Monitor, _, _, done} -> Worker;
        %% What it had taken comes back, and is the next.
        {'DOWN', Monitor, _, _, _} -> work(Queue, Target, Worker + 1)
    end.

worker(Queue, Target, Worker) ->
    case emmap_queue:take(Queue, 100) of
        empty -> exit(done);
        {ok, _, _} when Worker rem 3 =:= 1 -> exit(accident);
        {ok, {Key, Text}, Receipt} ->
            is_done(Target, Key) orelse (ok = file:write_file(Target, [Key, $\s, Text, $\n], [append])),
            Worker rem 3 =:= 2 andalso exit(accident),
            ok = emmap_queue:ack(Queue, Receipt),
            worker(Queue, Target, Worker)
    end.

is_done(Target, Key) ->
    case file:read_file(Target) of
        {ok, Bytes} -> binary:match(Bytes, Key) =/= nomatch;
        {error, enoent} -> false
    end.

-spec main([string()]) -> ok.
main([File, "push", Text | Texts]) -> with(File, fun(Queue) -> push(Queue, [Text | Texts]) end);
main([File, "work", Target]) ->
    with(File, fun(Queue) -> io:format("done, by ~b workers~n", [work(Queue, Target)]) end);
main([File, "left"]) -> with(File, fun(Queue) -> io:format("~b left~n", [emmap_queue:length(Queue)]) end);
main(_) ->
    io:put_chars(standard_error, "usage: escript jobs.erl FILE push TEXT... | work DONE | left\n"),
    halt(2).

with(File, Fun) ->
    case emmap_queue:open(File) of
        {ok, Queue} ->
            ok = Fun(Queue),
            ok = emmap_queue:close(Queue);
        {error, Reason} ->
            io:format(standard_error, "~ts: ~ts~n", [File, emmap_queue:format_error(Reason)]),
            halt(1)
    end.
