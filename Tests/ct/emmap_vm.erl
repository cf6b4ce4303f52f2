%% Copyright 2026 the emmap authors. Licensed under the Apache License, Version 2.0.

%% Runs functions in VMs of their own, where a bug may end the VM and not the suite, and makes what those functions
%% work on.
-module(emmap_vm).

-export([in_vm/2, survives/1, survives/2, may_be/1, child/0]).
-export([directory/2, delete_directory/1, content/1, is_content/1, is_zero/1, new_file/2, cut/2]).
-export([modes/0, raised/1, mappings/0, descriptors/0, status_kb/1, used/1]).
-export([while/2, until/2, eventually/1, in_process/1, is_in/2, may_trace/0, may_mount/1]).
-export([counter_calls/2]).

-include_lib("common_test/include/ct.hrl").

-define(PAGE, 4096).

%%% A VM of its own

%% Runs a function in a new VM and returns how that ended: 0 if the function returned, 1 if it raised, 128 + N after
%% signal N, `timeout' if it had to be killed. Options:
%%   args      of erl, such as ["+S", "1"]
%%   limit     of ulimit(1), such as "-n 64"
%%   ignore    a signal, such as "XFSZ"
%%   tmpfs     {Directory, Size}: a file system of that size, which only this VM sees
%%   mount     {Directory, Arguments}: what else mount(8) can mount there, for root
%%   strace    arguments of strace(1), which then runs the VM
%%   user      a name: the VM runs as that user, without groups or privileges; see may_be/1
%%   env       variables, as open_port/2 has them
%%   seconds   that it may take
in_vm(Fun, Options) ->
    Erl = filename:join([code:root_dir(), "bin", "erl"]),
    Vm = [Erl, "-noshell", "-noinput"] ++ lists:append([["-pa", Path] || Path <- code_paths()])
        ++ maps:get(args, Options, []) ++ ["-eval", "spawn(emmap_vm, child, [])."],
    Limits = lists:append([["trap '' ", maps:get(ignore, Options), "; "] || is_map_key(ignore, Options)]
                          ++ [["ulimit ", maps:get(limit, Options), " && "] || is_map_key(limit, Options)]),
    Traced = case Options of
                 #{strace := Tracing} -> [os:find_executable("strace"), "-f", "-qq", "--seccomp-bpf" | Tracing];
                 #{} -> []
             end ++
        case Options of
            #{user := User} -> [os:find_executable("setpriv") | as_user(User)];
            #{} -> []
        end,
    Command = "exec \"$@\"",
    {Executable, Args} =
        case Options of
            #{tmpfs := {Dir, Size}} ->
                {os:find_executable("unshare"),
                 ["-rm", "sh", "-c", lists:append(["mount -t tmpfs -o size=", Size, " tmpfs \"$0\" && " | Limits])
                  ++ Command, Dir | Traced ++ Vm]};
            #{mount := {Dir, What}} ->
                {os:find_executable("unshare"),
                 ["-m", "sh", "-c", lists:append(["mount ", What, " \"$0\" && " | Limits]) ++ Command,
                  Dir | Traced ++ Vm]};
            #{} -> {"/bin/sh", ["-c", lists:append(Limits) ++ Command, "sh" | Traced ++ Vm]}
        end,
    Child = binary_to_list(base64:encode(term_to_binary(Fun))),
    Port = open_port({spawn_executable, Executable},
                     [{args, Args}, {env, [{"EMMAP_CHILD", Child}, {"ERL_CRASH_DUMP_SECONDS", "0"}
                                             | [{"HOME", "/"} || is_map_key(user, Options)]
                                             ++ maps:get(env, Options, [])]},
                      binary, exit_status, stderr_to_stdout, hide]),
    {os_pid, Pid} = erlang:port_info(Port, os_pid),
    Timer = erlang:send_after(1000 * maps:get(seconds, Options, 60), self(), {Port, too_long}),
    Result = outcome(Port, Pid, []),
    _ = erlang:cancel_timer(Timer),
    Result.

outcome(Port, Pid, Output) ->
    receive
        {Port, {data, Data}} -> outcome(Port, Pid, [Output, Data]);
        {Port, {exit_status, Status}} -> {Status, iolist_to_binary(Output)};
        {Port, too_long} ->
            _ = os:cmd("kill -KILL " ++ integer_to_list(Pid)),
            receive {Port, {exit_status, _}} -> ok end,
            {timeout, iolist_to_binary(Output)}
    end.

%% Where the code is that such a VM runs.
code_paths() ->
    lists:usort([filename:dirname(File) || Module <- [emmap, ?MODULE], File <- [code:which(Module)],
                                           is_list(File), File =/= []]
                ++ [filename:join(Lib, "ebin") || Lib <- [code:lib_dir(emmap)], is_list(Lib)]).

%% Arguments of setpriv(1).
as_user(User) -> ["--reuid", User, "--regid", "65534", "--clear-groups", "--"].

%% Whether a VM can run as that user, and find the code: `true', or why not.
may_be(User) ->
    case {os:cmd("id -u"), os:find_executable("setpriv")} of
        {"0\n", false} -> "there is no setpriv(1), to be somebody else than root";
        {"0\n", _} ->
            Look = ["setpriv ", lists:join($\s, as_user(User)), " ls", [[" '", Path, "'"] || Path <- code_paths()],
                    " 2>&1 >/dev/null && echo yes"],
            case string:trim(os:cmd(lists:flatten(Look))) of
                "yes" -> true;
                Why -> lists:concat(["no VM of the user ", User, " can be run here: ", Why])
            end;
        _ -> "only root can run a VM as another user"
    end.

%% The other end of in_vm/2.
child() ->
    Fun = binary_to_term(base64:decode(os:getenv("EMMAP_CHILD"))),
    %% Where descriptors are out, nothing more can be loaded.
    [{module, _} = code:ensure_loaded(Module)
     || Module <- [emmap, emmap_nif, emmap_options, emmap_counters, emmap_error, erl_error, erl_pp, io_lib_pretty,
                   otp_internal]],
    try Fun() of
        _ -> halt(0)
    catch
        Class:Reason:Stack ->
            try io:format("~ts~n", [erl_error:format_exception(Class, Reason, Stack)])
            catch _:_ -> io:format("~p ~p~n", [Class, Reason])
            end,
            halt(1)
    end.

survives(Fun, Options) ->
    case in_vm(Fun, Options) of
        {0, Output} -> ct:log("~ts", [Output]), Output;
        {Status, Output} ->
            ct:log("~ts", [Output]),
            ct:fail({vm_ended, Status, Output})
    end.

survives(Fun) -> survives(Fun, #{}).

%%% Files

%% Gives a case an empty directory of its own, as `dir'.
directory(Case, Config) ->
    Dir = filename:join(?config(priv_dir, Config), Case),
    ok = filelib:ensure_path(Dir),
    [{dir, Dir} | Config].

delete_directory(Config) -> file:del_dir_r(?config(dir, Config)).

%% Lines of 63 letters and a newline: what is read must be made of these bytes.
content(Pages) -> binary:copy(<<(binary:copy(<<"A">>, 63))/binary, $\n>>, Pages * ?PAGE div 64).

new_file(Dir, Pages) ->
    Name = filename:join(Dir, integer_to_list(erlang:unique_integer([positive]))),
    ok = file:write_file(Name, content(Pages)),
    Name.

cut(Name, Size) ->
    {ok, File} = file:open(Name, [read, write, raw]),
    {ok, Size} = file:position(File, Size),
    ok = file:truncate(File),
    ok = file:close(File).

%% Whether all bytes are of the content, or zeroes that have come when a file was cut and grew again.
is_content(Bytes) -> << <<B>> || <<B>> <= Bytes, B =/= $A, B =/= $\n, B =/= 0 >> =:= <<>>.

is_zero(Bytes) -> Bytes =:= <<0:(bit_size(Bytes))>>.

modes() -> [[Lock | Copy] || Lock <- [lock, nolock], Copy <- [[], [direct]]].

%% What a function raises.
raised(Fun) ->
    try Fun() of
        Result -> {returned, Result}
    catch
        error:Reason -> Reason
    end.

count_lines(File) ->
    {ok, Text} = file:read_file(File),
    length(binary:matches(Text, <<"\n">>)).

mappings() -> count_lines("/proc/self/maps").

%% Without the one that the library keeps from the first open on.
descriptors() ->
    {ok, Names} = file:list_dir("/proc/self/fd"),
    length([Name || Name <- Names,
                    file:read_link("/proc/self/fd/" ++ Name) =/= {ok, "/memfd:emmap (deleted)"}]).

%% A number of /proc/self/status, such as "VmRSS", in kB.
status_kb(Name) -> emmap_test:status_kb(Name).

%% Bytes that are in use on the file system of a directory.
used(Dir) ->
    [_, Line] = string:lexemes(os:cmd("df --output=used -B1 '" ++ Dir ++ "'"), "\n"),
    list_to_integer(string:trim(Line)).

%% Whether a thread of a process ("self" is this one) is held up in one of these calls of the system.
is_in(Calls, Pid) ->
    Numbers = [integer_to_binary(Number) || Call <- Calls, Number <- [call_number(Call)], Number >= 0],
    lists:any(fun(File) ->
                      case file:read_file(File) of
                          {ok, Text} -> lists:member(hd(binary:split(Text, <<" ">>)), Numbers);
                          {error, _} -> false
                      end
              end, filelib:wildcard("/proc/" ++ Pid ++ "/task/*/syscall")).

%% On x86-64, and on the systems whose numbers are all the same.
call_number(Call) ->
    {X86, Other} = maps:get(Call, #{ftruncate => {77, 46}, fallocate => {285, 47}, unlink => {87, -1},
                                    unlinkat => {263, 35}, fsync => {74, 82}, fdatasync => {75, 83}}),
    case erlang:system_info(system_architecture) of
        "x86_64" ++ _ -> X86;
        _ -> Other
    end.

%% Whether strace(1) may change what the system says: `true', or why not.
may_trace() ->
    Try = "strace -f -qq --seccomp-bpf -o /dev/null -P / -e trace=fsync -e inject=fsync:error=EIO true 2>&1; echo $?",
    case string:trim(os:cmd(Try)) of
        "0" -> true;
        Why -> "strace may not inject failures here: " ++ Why
    end.

%% Whether a memory file system may be mounted on the directory: `true', or why not.
may_mount(Dir) ->
    Mount = "unshare -rm sh -c 'mount -t tmpfs -o size=64k tmpfs \"$0\" && echo mounted' \"" ++ Dir ++ "\" 2>&1",
    case string:trim(os:cmd(Mount)) of
        "mounted" -> true;
        Why -> "no file system may be mounted here (unshare -rm, mount -t tmpfs): " ++ Why
    end.

%%% Counters

%% A call of each function for one counter.
counter_calls(Counters, Index) ->
    [fun() -> emmap:inc_counter(Counters, Index) end, fun() -> emmap:inc_counter(Counters, Index, 2) end,
     fun() -> emmap:dec_counter(Counters, Index) end, fun() -> emmap:dec_counter(Counters, Index, 2) end,
     fun() -> emmap:set_counter(Counters, Index, 3) end, fun() -> emmap:read_counter(Counters, Index) end].

%%% Processes

%% Runs the function in processes until the other one returns. Each is called again and again with what it returned.
while(Workers, Main) ->
    Stop = atomics:new(1, []),
    Running = [spawn_monitor(fun() -> repeat(Stop, Worker, 0) end) || Worker <- Workers],
    Result = Main(),
    atomics:put(Stop, 1, 1),
    [receive {'DOWN', Reference, process, Pid, Why} -> normal = Why end || {Pid, Reference} <- Running],
    Result.

repeat(Stop, Worker, Times) ->
    case atomics:get(Stop, 1) of
        %% At least once: a busy machine may not have let it run before.
        1 when Times > 0 -> ok;
        _ -> Worker(), repeat(Stop, Worker, Times + 1)
    end.

%% Calls the function again and again for so many milliseconds; returns how often.
until(Milliseconds, Fun) -> until(erlang:monotonic_time(millisecond) + Milliseconds, Fun, 0).

until(Deadline, Fun, Times) ->
    _ = Fun(),
    case erlang:monotonic_time(millisecond) < Deadline of
        true -> until(Deadline, Fun, Times + 1);
        false -> Times + 1
    end.

%% Runs the function in a process of its own: what it opened and did not return is garbage afterwards.
in_process(Fun) -> emmap_test:in_process(Fun).

%% Waits for what happens soon but not at a moment that anybody is told.
eventually(Condition) -> eventually(Condition, erlang:monotonic_time(second) + 20).

eventually(Condition, Deadline) ->
    case Condition() of
        true -> ok;
        Other ->
            case erlang:monotonic_time(second) > Deadline of
                true -> error({never, Other});
                false -> erlang:yield(), eventually(Condition, Deadline)
            end
    end.
