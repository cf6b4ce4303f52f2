%% Copyright 2026 the emmap authors. Licensed under the Apache License, Version 2.0.

%% Calls that need memory of the library's own, in a VM that may have hardly any more: an error, or the VM's own end
%% where Erlang itself gets none, but never a trap of the library's. Whatever was answered with `ok' is there
%% afterwards.
-module(emmap_no_memory_SUITE).

-export([suite/0, all/0, init_per_testcase/2, end_per_testcase/2]).
-compile([export_all, nowarn_export_all]).
-import(emmap_vm, [in_vm/2]).

-include_lib("common_test/include/ct.hrl").

-define(MANY, 200000).

suite() -> [{timetrap, {minutes, 2}}].

all() -> [hardly_any_memory_ends_no_vm_by_a_trap].

init_per_testcase(Case, Config) -> emmap_vm:directory(Case, Config).

end_per_testcase(_, Config) -> emmap_vm:delete_directory(Config).

hardly_any_memory_ends_no_vm_by_a_trap(Config) ->
    Ends = ends(?config(dir, Config)),
    ct:log("~p", [Ends]),
    [] = [End || {_, _, {not_by_erlang, _}} = End <- Ends],
    %% There was too little for some, and enough for others.
    [true = lists:keymember(How, 3, Ends) || How <- [ok, enomem]].

%% How each call ended in a VM of its own that may have so many kB more than before the call.
ends(Dir) ->
    Template = filename:join(Dir, "template"),
    make_files(Template),
    [begin
         Case = filename:join(Dir, lists:concat([Call, "_", Kilobytes])),
         ok = copy_files(Template, Case),
         Ended = in_vm(fun() -> call(Case, Call, Kilobytes) end,
                       %% Else malloc(3) has set addresses aside for each thread.
                       #{args => ["+S", "1", "+SDcpu", "1", "+SDio", "1"], env => [{"MALLOC_ARENA_MAX", "1"}],
                         seconds => 30}),
         How = how(Ended),
         {Call, Kilobytes, How, true} = {Call, Kilobytes, How, is_as_promised(Call, How, Case)},
         ok = file:del_dir_r(Case),
         {Call, Kilobytes, How}
     end || Call <- [push_list, take, pop_list, matches, blocks], Kilobytes <- headrooms(Call)].

headrooms(push_list) -> [0, 500, 2000, 4000, 8000, 16000];
headrooms(take) -> [0, 1000, 5000, 20000];
headrooms(blocks) -> [0, 500];
headrooms(_) -> [0, 1000, 4000, 30000].

%% What the call answered; else whether it was Erlang that had no memory.
how({0, Output}) ->
    {match, [Answer]} = re:run(Output, "answered ([a-z]+)", [{capture, [1], list}]),
    list_to_atom(Answer);
how({Status, Output}) ->
    case re:run(Output, "Cannot (re)?allocate") of
        {match, _} when Status =:= 1; Status =:= 134 -> end_of_erlang;
        _ -> {not_by_erlang, {Status, Output}}
    end.

%%% Files

make_files(Dir) ->
    ok = filelib:ensure_path(Dir),
    {ok, Queue} = emmap_queue:open(filename:join(Dir, "queue"), [{type, binary}, {segment_size, 1 bsl 20}]),
    ok = emmap_queue:push_list(Queue, messages()),
    ok = emmap_queue:close(Queue),
    {ok, Blocks} = emmap_blocks:open(filename:join(Dir, "blocks"), 16),
    [{ok, Address} = emmap_blocks:store(Blocks, <<Address:64>>) || Address <- lists:seq(0, ?MANY - 1)],
    ok = emmap_blocks:close(Blocks),
    ok = file:write_file(filename:join(Dir, "text"), <<"some text">>).

copy_files(From, To) ->
    ok = filelib:ensure_path(To),
    [{ok, _} = file:copy(filename:join(From, Name), filename:join(To, Name)) || Name <- ["queue", "blocks", "text"]],
    ok.

messages() -> [<<N:64>> || N <- lists:seq(1, ?MANY)].

%% Whether all is there that was, but for what the call was to do, which is done if it said so, and else done or not.
is_as_promised(matches, _, Dir) -> {ok, <<"some text">>} =:= file:read_file(filename:join(Dir, "text"));
is_as_promised(blocks, _, Dir) ->
    {ok, Blocks} = emmap_blocks:open(filename:join(Dir, "blocks"), 16),
    {ok, #{corrupt := []}} = emmap_blocks:check(Blocks),
    {ok, Stored} = emmap_blocks:fold(fun(Address, <<Address:64>>, Stored) -> [Address | Stored] end, [], Blocks),
    ok = emmap_blocks:close(Blocks),
    lists:reverse(Stored) =:= lists:seq(1, ?MANY - 1, 2);
is_as_promised(Call, How, Dir) ->
    {ok, Queue} = emmap_queue:open(filename:join(Dir, "queue")),
    Found = case emmap_queue:pop_list(Queue, 3 * ?MANY) of
                {ok, List} -> List;
                empty -> []
            end,
    ok = emmap_queue:close(Queue),
    {Done, NotDone} = {case Call of
                           push_list -> messages() ++ lists:duplicate(?MANY, <<"pushed">>);
                           take -> messages();
                           pop_list -> []
                       end, messages()},
    case How of
        ok -> Found =:= Done;
        enomem -> Found =:= NotDone;
        _ -> Found =:= Done orelse Found =:= NotDone
    end.

%%% In that VM

call(Dir, Call, Kilobytes) ->
    Run = prepare(Call, Dir),
    Told = "prlimit --pid " ++ os:getpid() ++ " --as=",
    "" = os:cmd(Told ++ integer_to_list((emmap_vm:status_kb("VmSize") + Kilobytes) * 1024) ++ ":"),
    Answer = Run(),
    erlang:display_string("answered " ++ atom_to_list(Answer) ++ "\n"),
    erlang:halt(0, [{flush, false}]).

%% What the call needs is there before; the call itself is in the function.
prepare(push_list, Dir) ->
    {ok, Queue} = emmap_queue:open(filename:join(Dir, "queue")),
    Messages = lists:duplicate(?MANY, <<"pushed">>),
    fun() -> answer(emmap_queue:push_list(Queue, Messages)) end;
prepare(take, Dir) ->
    {ok, Queue} = emmap_queue:open(filename:join(Dir, "queue")),
    fun() -> take(Queue) end;
prepare(pop_list, Dir) ->
    {ok, Queue} = emmap_queue:open(filename:join(Dir, "queue")),
    fun() -> answer(emmap_queue:pop_list(Queue, ?MANY)) end;
prepare(matches, Dir) ->
    {ok, File} = emmap:open(filename:join(Dir, "text"), []),
    Patterns = lists:duplicate(?MANY, <<"none of these">>),
    fun() ->
            case emmap:matches(File, Patterns) of
                [] -> ok;
                {error, Reason} -> Reason
            end
    end;
prepare(blocks, Dir) ->
    {ok, Blocks} = emmap_blocks:open(filename:join(Dir, "blocks"), 16),
    [ok = emmap_blocks:free(Blocks, Address) || Address <- lists:seq(0, ?MANY - 1, 2)],
    fun() ->
            Answers = [answer(emmap_blocks:sync(Blocks)), answer(emmap_blocks:read_list(Blocks, 0, 100)),
                       answer(emmap_blocks:check(Blocks)), answer(emmap_blocks:close(Blocks))],
            hd([Answer || Answer <- Answers, Answer =/= ok] ++ [ok])
    end.

answer({error, Reason}) -> Reason;
answer(_) -> ok.

take(Queue) ->
    case emmap_queue:take(Queue) of
        {ok, _, _} -> take(Queue);
        empty -> ok;
        {error, Reason} -> Reason
    end.
