%% Copyright 2026 the emmap authors. Licensed under the Apache License, Version 2.0.

%% Some seconds of emmap_fuzz in VMs of their own. A run that fails says which seed to give to emmap_fuzz:run/2.
-module(emmap_fuzz_SUITE).

-export([suite/0, all/0, every_export_is_called/1, random_calls_end_no_vm/1,
         one_by_one_a_seed_gives_the_same_answers/1]).

-include_lib("common_test/include/ct.hrl").

suite() -> [{timetrap, {minutes, 3}}].

all() -> [every_export_is_called, random_calls_end_no_vm, one_by_one_a_seed_gives_the_same_answers].

every_export_is_called(_) ->
    [begin
         Called = lists:usort([{Function, length(Kinds)} || {Of, Function, Kinds} <- emmap_fuzz:functions(), Of =:= Module]),
         %% What the VM and the shell call, and what makes texts.
         Others = [{module_info, 0}, {module_info, 1}, {init, 0}, {format_error, 1}, {format_error, 2}],
         Exported = lists:sort(Module:module_info(exports) -- Others),
         {Called, Called} = {Called, Exported}
     end || Module <- [emmap, emmap_atomics, emmap_queue, emmap_blocks], {module, _} <- [code:ensure_loaded(Module)]].

random_calls_end_no_vm(Config) -> fuzz(Config, seed(), 60000, #{}).

%% Without others: the same calls, and the same answers, for the same seed.
one_by_one_a_seed_gives_the_same_answers(Config) ->
    Seed = seed(),
    Alone = #{workers => 1, meddle => false, digest => fun(Digest) -> io:format("DIGEST ~p~n", [Digest]) end},
    [Digest, Digest] = [begin
                            Output = fuzz(Config, Seed, 12000, Alone),
                            {match, [Found]} = re:run(Output, "DIGEST (\\d+)", [{capture, all_but_first, binary}]),
                            Found
                        end || _ <- [1, 2]].

seed() -> erlang:system_time(microsecond).

fuzz(Config, Seed, Calls, Options) ->
    Dir = filename:join(?config(priv_dir, Config), integer_to_list(Seed)),
    ct:pal("emmap_fuzz:run(~p, ~p, ~0p)", [Seed, Calls, maps:remove(digest, Options)]),
    emmap_vm:survives(fun() ->
                              %% Some names are relative.
                              ok = filelib:ensure_path(Dir),
                              ok = file:set_cwd(Dir),
                              ok = emmap_fuzz:run(Seed, Calls, Options#{dir => Dir})
                      end,
                      #{args => ["+S", "4"], ignore => "XFSZ", limit => "-f 131072", seconds => 120}).
