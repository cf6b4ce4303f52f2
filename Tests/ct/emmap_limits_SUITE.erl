%% Copyright 2026 the emmap authors. Licensed under the Apache License, Version 2.0.

%% Where the machine has no more to give: an error, nothing leaked, and everything works again afterwards.
-module(emmap_limits_SUITE).

-export([suite/0, all/0, init_per_testcase/2, end_per_testcase/2]).
-compile([export_all, nowarn_export_all]).
-import(emmap_vm, [survives/1, survives/2, new_file/2, cut/2, modes/0, raised/1, mappings/0, descriptors/0,
                   eventually/1]).

-include_lib("common_test/include/ct.hrl").
-include_lib("kernel/include/file.hrl").

-define(PAGE, 4096).

suite() -> [{timetrap, {minutes, 4}}].

all() ->
    [special_files_are_answered_at_once, a_link_to_nothing_is_followed_when_creating, out_of_descriptors_is_emfile,
     out_of_address_space_is_enomem, too_many_mappings_is_enomem, a_fault_with_too_many_mappings_ends_nothing,
     many_faults_with_few_mappings_left_end_nothing, many_faults_with_hardly_any_mappings_left_end_nothing,
     closing_with_no_mappings_left_gives_back_the_disk, what_is_dropped_with_no_mappings_left_goes_later,
     past_the_file_size_limit_is_efbig,
     growth_that_fails_keeps_no_address_space, failed_opens_leak_nothing].

init_per_testcase(Case, Config) -> emmap_vm:directory(Case, Config).

end_per_testcase(_, Config) -> emmap_vm:delete_directory(Config).

%%% Limits of the machine

%% One dirty IO thread: a call that waited would have all others wait.
special_files_are_answered_at_once(Config) ->
    Dir = ?config(dir, Config),
    survives(
      fun() ->
              Fifo = filename:join(Dir, "fifo"),
              _ = os:cmd("mkfifo '" ++ Fifo ++ "'"),
              %% A path of a socket is short; the directory is entered for it.
              ok = file:set_cwd(Dir),
              {ok, Listener} = gen_tcp:listen(0, [{ifaddr, {local, "socket"}}]),
              Options = [[], [write], [write, shared], [write, shared, create], [write, shared, create, {size, 4096}],
                         [write, truncate, shared], [write, shared, fit, {size, 4096}]],
              [begin
                   case Kind of
                       eisdir -> {Name, {error, eisdir}} = {Name, emmap:open(Name, Extra)};
                       _ -> refused_or_device(Kind, emmap:open(Name, Extra))
                   end,
                   refused_or_device(Kind, emmap:open(Name, 0, 4096, Extra))
               end || {Kind, Name} <- [{eisdir, Dir}, {eisdir, "/"}, {fifo, Fifo}, {socket, "socket"},
                                       {device, "/dev/null"}, {device, "/dev/zero"}, {device, "/dev/full"},
                                       {device, "/dev/tty"}, {device, "/dev/random"}, {other, "/proc/self/status"},
                                       {other, "/proc/self/environ"}],
                      Extra <- Options],
              ok = gen_tcp:close(Listener),
              {ok, _} = emmap:open(new_file(Dir, 1), [])
      end, #{args => ["+S", "1", "+SDio", "1"], seconds => 30}).

refused_or_device(_, {error, Reason}) when is_atom(Reason) -> ok;
%% The system maps some devices.
refused_or_device(device, {ok, File}) -> ok = emmap:close(File).

a_link_to_nothing_is_followed_when_creating(Config) ->
    Dir = ?config(dir, Config),
    survives(
      fun() ->
              Link = fun(To, Name) ->
                             Path = filename:join(Dir, Name),
                             ok = file:make_symlink(To, Path),
                             Path
                     end,
              Target = filename:join(Dir, "target"),
              Dangling = Link("target", "dangling"),
              {error, enoent} = emmap:open(Dangling, [write, shared]),
              {ok, File} = emmap:open(Dangling, [create, write, shared, {size, 10}]),
              ok = emmap:pwrite(File, 0, <<"0123456789">>),
              ok = emmap:close(File),
              {ok, <<"0123456789">>} = file:read_file(Target),
              {ok, "target"} = file:read_link(Dangling),
              %% What cannot be made is refused at once, and what is refused makes nothing.
              Options = [create, write, shared, {size, 10}],
              {error, eloop} = emmap:open(Link("loop", "loop"), Options),
              {error, enoent} = emmap:open(Link("none/such", "deep"), Options),
              {error, eisdir} = emmap:open(Link(".", "here"), Options),
              {error, _} = emmap:open(Link("refused", "other"), [create, write, private, {size, 1 bsl 60}]),
              {error, enoent} = file:read_link_info(filename:join(Dir, "refused")),
              Fifo = filename:join(Dir, "fifo"),
              _ = os:cmd("mkfifo '" ++ Fifo ++ "'"),
              refused_or_device(fifo, emmap:open(Link("fifo", "to_fifo"), Options))
      end, #{args => ["+S", "1", "+SDio", "1"], seconds => 30}).

%% Opens until an error comes; returns the handles and the error.
open_all(Open, Done) ->
    case Open() of
        {ok, File} -> open_all(Open, [File | Done]);
        {error, Reason} -> {Done, Reason}
    end.

out_of_descriptors_is_emfile(Config) ->
    Dir = ?config(dir, Config),
    survives(
      fun() ->
              Name = new_file(Dir, 1),
              Open = fun() -> emmap:open(Name, [write, shared, create]) end,
              {Before, Maps} = {descriptors(), mappings()},
              [begin
                   {Handles, emfile} = open_all(Open, []),
                   %% What is open goes on working.
                   [{ok, <<"A">>} = emmap:pread(File, 0, 1) || File <- Handles],
                   {emfile, _} = raised(fun() -> emmap:open_counters(filename:join(Dir, "counters"), 10) end),
                   [ok = emmap:close(File) || File <- Handles],
                   Before = descriptors()
               end || _ <- lists:seq(1, 3)],
              %% Handles that nobody closed.
              {Pid, Reference} = spawn_monitor(fun() -> {_, emfile} = open_all(Open, []) end),
              receive {'DOWN', Reference, process, Pid, Why} -> {_, normal} = {Why, Why} end,
              eventually(fun() -> case Open() of {ok, File} -> ok =:= emmap:close(File); Error -> Error end end),
              eventually(fun() -> erlang:garbage_collect(), descriptors() =< Before end),
              eventually(fun() -> erlang:garbage_collect(), mappings() =< Maps + 50 end)
      end, #{limit => "-n 256"}).

out_of_address_space_is_enomem(Config) ->
    Dir = ?config(dir, Config),
    survives(
      fun() ->
              Name = new_file(Dir, 1),
              cut(Name, 4 bsl 30),
              Before = descriptors(),
              [begin
                   {Pid, Reference} =
                       spawn_monitor(
                         fun() ->
                                 {Handles, enomem} = open_all(fun() -> emmap:open(Name, [write, shared | Mode]) end, []),
                                 true = Handles =/= [],
                                 [ok = emmap:pwrite(File, 1 bsl 30, <<"x">>) || File <- Handles],
                                 {error, enomem} = emmap:open(Name, []),
                                 {error, enomem} = emmap:open("", [anon, write, {size, 64 bsl 30}]),
                                 {error, enomem} = emmap:resize(hd(Handles), 64 bsl 30),
                                 #{size := Size} = emmap:info(hd(Handles)),
                                 Size = 4 bsl 30,
                                 [ok = emmap:close(File) || File <- Handles]
                         end),
                   receive {'DOWN', Reference, process, Pid, Why} -> {_, normal} = {Why, Why} end,
                   %% What the process had is collected soon after it.
                   eventually(fun() -> opens_in_passing(Name) end),
                   eventually(fun() -> descriptors() =< Before end)
               end || Mode <- modes() ++ modes()],
              {ok, #file_info{size = Size}} = file:read_file_info(Name),
              Size = 4 bsl 30
      end, #{limit => "-v 20000000"}).

opens_in_passing(Name) ->
    {Pid, Reference} = spawn_monitor(fun() -> exit(element(1, emmap:open(Name, []))) end),
    receive {'DOWN', Reference, process, Pid, Why} -> Why =:= ok end.

%% Shared anonymous mappings never merge with their neighbours, and need no descriptor.
open_anonymous() -> emmap:open("", [anon, shared, write, {size, ?PAGE}]).

too_many_mappings_is_enomem(Config) ->
    Dir = ?config(dir, Config),
    with_all_mappings(
      fun(Handles) ->
              {error, enomem} = open_anonymous(),
              [begin
                   ok = emmap:pwrite(File, 0, <<"x">>),
                   {ok, <<"x">>} = emmap:pread(File, 0, 1)
               end || File <- lists:sublist(Handles, 100)],
              [ok = emmap:close(File) || File <- lists:sublist(Handles, 100)]
      end,
      fun() ->
              {ok, File} = emmap:open(new_file(Dir, 1), []),
              {ok, <<"A">>} = emmap:pread(File, 0, 1)
      end).

%% Replacing a page splits a mapping in three.
a_fault_with_too_many_mappings_ends_nothing(Config) ->
    Dir = ?config(dir, Config),
    Name = new_file(Dir, 10),
    where_mappings_can_be_used_up(
      fun(_) ->
              {ok, File} = emmap:open(Name, [write, shared]),
              {ok, Direct} = emmap:open(Name, [direct]),
              {ok, Bytes} = emmap:pread(Direct, 0, 10 * ?PAGE),
              {ok, Raw} = file:open(Name, [read, write, raw]),
              {ok, _} = file:position(Raw, 5 * ?PAGE),
              {_, enomem} = All = open_all(fun open_anonymous/0, []),
              ok = file:truncate(Raw),
              {error, truncated} = emmap:pwrite(File, 7 * ?PAGE, <<"x">>),
              {error, truncated} = emmap:pread(File, 7 * ?PAGE, 1),
              0 = binary:at(Bytes, 7 * ?PAGE),
              {Handles, enomem} = All,
              [ok = emmap:close(Other) || Other <- Handles],
              {ok, _} = file:position(Raw, 10 * ?PAGE),
              ok = file:truncate(Raw),
              {Pid, Reference} = spawn_monitor(fun() -> {ok, _} = emmap:remap(File) end),
              receive {'DOWN', Reference, process, Pid, normal} -> ok end
      end, #{}).

%% Each fault takes a mapping more, and some that are kept for this are soon given up.
many_faults_with_few_mappings_left_end_nothing(Config) -> fault_with_mappings_left(Config, [250]).

%% Here not all faults can have one: pages must then be replaced in some other way.
many_faults_with_hardly_any_mappings_left_end_nothing(Config) -> fault_with_mappings_left(Config, [40, 5, 0]).

fault_with_mappings_left(Config, Numbers) ->
    Dir = ?config(dir, Config),
    where_mappings_can_be_used_up(fun(_) -> [faults_with_mappings_left(Dir, Numbers, Options)
                                             || Options <- [[], [write, shared]]]
                                  end, #{}).

faults_with_mappings_left(Dir, Numbers, Options) ->
    Rounds = [{Left, [begin
                          Name = new_file(Dir, 4),
                          {ok, File} = emmap:open(Name, Options),
                          {Name, File}
                      end || _ <- lists:seq(1, 200)]} || Left <- Numbers],
    {All, enomem} = open_all(fun open_anonymous/0, []),
    Rest = lists:foldl(fun faults_with_mappings_left/2, All, Rounds),
    [ok = emmap:close(File) || File <- Rest].

%% Of the handles that take all mappings, lets some go and, after the faults, opens new ones. Returns what is open then.
faults_with_mappings_left({Left, Files}, All) ->
    [cut(Name, ?PAGE) || {Name, _} <- Files],
    {Given, Kept} = lists:split(Left, All),
    [ok = emmap:close(File) || File <- Given],
    erlang:garbage_collect(),
    Answers = [emmap:pread(File, 2 * ?PAGE, 10) || {_, File} <- Files],
    {_, []} = {Left, [Answer || Answer <- Answers, Answer =/= {error, truncated}]},
    [{error, truncated} = emmap:pread(File, 3 * ?PAGE, 10) || {_, File} <- Files],
    [ok = emmap:close(File) || {_, File} <- Files],
    {Again, enomem} = open_all(fun open_anonymous/0, []),
    Again ++ Kept.

%% Replacing a mapping takes no new one where it is replaced whole.
closing_with_no_mappings_left_gives_back_the_disk(Config) ->
    Dir = ?config(dir, Config),
    case emmap_vm:may_mount(Dir) of
        true ->
            where_mappings_can_be_used_up(
              fun(_) ->
                      Used = emmap_vm:used(Dir),
                      Name = filename:join(Dir, "large"),
                      %% More than one slice of those that close goes by.
                      ok = file:write_file(Name, binary:copy(<<"x">>, 64 bsl 20)),
                      {ok, File} = emmap:open(Name, [write, shared]),
                      {ok, _} = emmap:pread(File, 0, 64 bsl 20),
                      ok = file:delete(Name),
                      erlang:garbage_collect(),
                      {Handles, enomem} = open_all(fun open_anonymous/0, []),
                      ok = emmap:close(File),
                      %% Now there are some again.
                      [ok = emmap:close(Other) || Other <- Handles],
                      eventually(fun() -> erlang:garbage_collect(), emmap_vm:used(Dir) =:= Used end),
                      {error, closed} = emmap:pread(File, 0, 1)
              end, #{tmpfs => {Dir, "100m"}});
        Why -> {skip, Why}
    end.

%% Unmapping the midst of what the system has made one mapping of takes another one.
what_is_dropped_with_no_mappings_left_goes_later(_) ->
    where_mappings_can_be_used_up(
      fun(_) ->
              Size = 1 bsl 20,
              Holders = lists:sort([hold(fun() -> emmap:open("", [anon, write, {size, Size}]) end)
                                    || _ <- lists:seq(1, 32)]),
              %% From the lowest address to the highest: each second one has others on both sides.
              {Middle, Rest} = lists:partition(fun({N, _}) -> N rem 2 =:= 0 end,
                                               lists:zip(lists:seq(1, 32), Holders)),
              Addresses = [Address || {_, {Address, _}} <- Middle],
              Between = [Address || Address <- Addresses, lists:keymember(Address - Size, 1, Holders),
                                    lists:keymember(Address + Size, 1, Holders)],
              true = length(Between) > 4,
              Others = hold_all(),
              [drop(Holder) || {_, {_, Holder}} <- Middle],
              drop(Others),
              [drop(Holder) || {_, {_, Holder}} <- Rest],
              emmap_test:wait_until(
                fun() ->
                        case [Address || {Address, End} <- emmap_test:mappings(), End =:= Address + Size,
                                         lists:member(Address, Addresses)] of
                            [] -> true;
                            Left -> Left
                        end
                end, 5000)
      end, #{}).

hold_all() ->
    Parent = self(),
    Holder = spawn(fun() ->
                           {Handles, enomem} = open_all(fun open_anonymous/0, []),
                           Parent ! {self(), all},
                           receive drop -> length(Handles) end
                   end),
    receive {Holder, all} -> Holder end.

%% A process that has a handle until it ends, and the handle's address.
hold(Open) ->
    Parent = self(),
    Holder = spawn(fun() ->
                           {ok, File} = Open(),
                           ok = emmap:pwrite(File, 0, <<"x">>),
                           Parent ! {self(), maps:get(address, emmap:info(File))},
                           receive drop -> tuple_size(File) end
                   end),
    receive {Holder, Address} -> {Address, Holder} end.

drop(Holder) ->
    Reference = monitor(process, Holder),
    Holder ! drop,
    receive {'DOWN', Reference, process, Holder, normal} -> ok end.

with_all_mappings(Then, Afterwards) ->
    where_mappings_can_be_used_up(
      fun(Count) ->
              Before = mappings(),
              {Pid, Reference} =
                  spawn_monitor(fun() ->
                                        {Handles, enomem} = open_all(fun open_anonymous/0, []),
                                        true = length(Handles) > Count div 2,
                                        Then(Handles)
                                end),
              receive {'DOWN', Reference, process, Pid, Why} -> {_, normal} = {Why, Why} end,
              eventually(fun() -> mappings() =< Before + 50 end),
              Afterwards()
      end, #{}).

%% Runs the function in a VM, with the number of mappings that it may have.
where_mappings_can_be_used_up(Fun, Options) ->
    case file:read_file("/proc/sys/vm/max_map_count") of
        {ok, Text} ->
            case binary_to_integer(string:trim(Text)) of
                Count when Count =< 200000 -> survives(fun() -> Fun(Count) end, Options);
                Count -> {skip, lists:flatten(io_lib:format("vm.max_map_count is ~b: too many to use up", [Count]))}
            end;
        {error, Why} -> {skip, lists:flatten(io_lib:format("vm.max_map_count cannot be read: ~p", [Why]))}
    end.

%% SIGXFSZ would end the VM if nobody ignored it.
past_the_file_size_limit_is_efbig(Config) ->
    Dir = ?config(dir, Config),
    survives(
      fun() ->
              Limit = 1 bsl 20,
              %% Not before the VM runs: its own start makes larger files, where code is mapped twice.
              "" = os:cmd(lists:concat(["prlimit --pid ", os:getpid(), " --fsize=", Limit])),
              [begin
                   Name = new_file(Dir, 1),
                   {ok, File} = emmap:open(Name, [read, write, shared | Mode]),
                   {error, efbig} = emmap:resize(File, Limit + 1),
                   {error, efbig} = emmap:pwrite(File, Limit, <<"x">>),
                   {ok, _} = emmap:position(File, 2 * Limit),
                   {error, efbig} = emmap:write(File, <<"x">>),
                   {error, efbig} = emmap:truncate(File),
                   #{size := ?PAGE} = emmap:info(File),
                   {ok, #file_info{size = ?PAGE}} = file:read_file_info(Name),
                   %% As with write(2), what has landed up to the limit is there.
                   {error, efbig} = emmap:pwrite(File, Limit - 10, binary:copy(<<"x">>, 20)),
                   #{size := Limit} = emmap:info(File),
                   {ok, #file_info{size = Limit}} = file:read_file_info(Name),
                   {ok, <<"xxxxxxxxxx">>} = emmap:pread(File, Limit - 10, 20),
                   ok = emmap:close(File),
                   New = filename:join(Dir, "new"),
                   {error, efbig} = emmap:open(New, [create, write, shared, {size, 2 * Limit} | Mode]),
                   {error, enoent} = file:read_file_info(New),
                   {efbig, New} = raised(fun() -> emmap:open_counters(New, Limit) end),
                   {error, enoent} = file:read_file_info(New)
               end || Mode <- modes()]
      end).

%% What was mapped for a growth that the file system then refuses is given back.
growth_that_fails_keeps_no_address_space(Config) ->
    Dir = ?config(dir, Config),
    survives(
      fun() ->
              "" = os:cmd(lists:concat(["prlimit --pid ", os:getpid(), " --fsize=", 1 bsl 20])),
              [begin
                   {ok, File} = emmap:open(new_file(Dir, 1), [read, write, shared | Mode]),
                   Grow = fun(Size) ->
                                  {error, efbig} = emmap:resize(File, Size),
                                  {error, efbig} = emmap:pwrite(File, Size, <<"x">>),
                                  {error, efbig} = emmap:allocate(File, Size, ?PAGE),
                                  {ok, _} = emmap:position(File, Size),
                                  {error, efbig} = emmap:write(File, <<"x">>),
                                  {error, efbig} = emmap:truncate(File)
                          end,
                   Grow(1 bsl 30),
                   {Before, Maps} = {emmap_vm:status_kb("VmSize"), mappings()},
                   [Grow(1 bsl Bits) || Bits <- [31, 33, 36, 40, 43]],
                   %% In kB; the smallest of them would be 2 GiB. It may be another thread that gives them back.
                   eventually(fun() -> emmap_vm:status_kb("VmSize") < Before + (1 bsl 20) end),
                   eventually(fun() -> mappings() < Maps + 10 end),
                   ok = emmap:pwrite(File, 0, <<"x">>),
                   ok = emmap:close(File)
               end || Mode <- modes()]
      end, #{ignore => "XFSZ"}).

failed_opens_leak_nothing(Config) ->
    Dir = ?config(dir, Config),
    survives(
      fun() ->
              Name = new_file(Dir, 1),
              Fail = fun() ->
                             {error, enoent} = emmap:open(filename:join(Dir, "none"), []),
                             {error, too_short} = emmap:open(Name, 0, 2 * ?PAGE, []),
                             {error, too_short} = emmap:open(Name, 2 * ?PAGE, 0, []),
                             {error, eisdir} = emmap:open(Dir, []),
                             {error, eopnotsupp} = emmap:open(Name, [shared_validate, sync]),
                             {error, _} = emmap:open(Name, [{address, 16#400000}, fixed, {size, 1 bsl 50}]),
                             {error, _} = emmap:open("/dev/null", 0, 1 bsl 50, []),
                             {error, _} = emmap:open(filename:join(Dir, "new"), [create, write, {size, 1 bsl 60}]),
                             {error, _} = emmap:open("", [anon, {size, 1 bsl 60}])
                     end,
              Fail(),
              ok = file:write_file(filename:join(Dir, "x"), <<>>),
              {Maps, Descriptors} = {mappings(), descriptors()},
              [Fail() || _ <- lists:seq(1, 1000)],
              Descriptors = descriptors(),
              true = mappings() < Maps + 50
      end).
