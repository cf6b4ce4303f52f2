%% Copyright 2026 the emmap authors. Licensed under the Apache License, Version 2.0.

%% What the functions that users call have in common: handles, and how failures become answers and exceptions. Macros,
%% so that the exported function is the one on top of the stack: that is where the shell looks for the arguments.
-include_lib("kernel/include/file.hrl").

-define(handle(Resource), #file_descriptor{module = emmap, data = Resource}).

%% What a NIF takes for a handle: it says itself that something else is none.
-define(resource(File), case File of ?handle(Resource) -> Resource; _ -> none end).

-define(MAX_INT64, 16#7fffffffffffffff).
-define(is_natural(N), (is_integer(N) andalso N >= 0 andalso N =< ?MAX_INT64)).

%% Raises badarg and says which argument is wrong and why.
-define(badarg(Args, Cause), erlang:error(badarg, Args, [{error_info, #{module => emmap_error, cause => Cause}}])).
%% Raises a reason that an atomic operation returned: the world's as it is, the caller's as badarg.
-define(raise(Reason, Args),
        case emmap_error:is_callers(Reason) of
            true -> ?badarg(Args, Reason);
            false -> erlang:error(Reason, Args, [{error_info, #{module => emmap_error, cause => Reason}}])
        end).

%% Passes on a word that an atomic operation returned, or raises why there is none.
-define(word(Result, Args),
        case Result of
            Word when is_integer(Word) -> Word;
            Reason -> ?raise(Reason, Args)
        end).

%% The same for one that returns `ok' or a word.
-define(done(Result, Args),
        case Result of
            Done when Done =:= ok; is_integer(Done) -> Done;
            Reason -> ?raise(Reason, Args)
        end).

%% Describes a handle, or raises why there is nothing to tell.
-define(described(Result, Args),
        case Result of
            {error, Reason} -> ?raise(Reason, Args);
            Info -> emmap_file:describe(Info)
        end).

%% Puts `ok' to bytes that were read, at less cost than the library.
-define(bytes(Result),
        case Result of
            Bytes when is_binary(Bytes) -> {ok, Bytes};
            Other -> Other
        end).

%% Passes on what a function that `file' does not have has returned: `badarg' there is what is no handle of ours.
-define(checked(Result, Args),
        case Result of
            {error, badarg} -> ?badarg(Args, badarg);
            Checked -> Checked
        end).

%% An open file of counters, and one of its counters.
-define(counters(Resource, Count), {?handle(Resource), Count}).
-define(is_counter(Number, Count),
        is_integer(Count) andalso is_integer(Number) andalso Number >= 0 andalso Number < Count).
%% Does an atomic operation on one of the counters.
-define(change_counter(Counters, Number, Operation, Value, Args),
        case Counters of
            ?counters(Resource, Count) when ?is_counter(Number, Count) ->
                ?word(emmap_nif:patomic(Resource, ?COUNTER(Number), Operation, Value), Args);
            _ -> ?badarg(Args, no_counter)
        end).

%% Passes on a file of counters that was opened, or raises why there is none.
-define(opened(Result, Args),
        case Result of
            {ok, File, Found} -> {File, Found};
            {error, {argument, Number, Why}} -> ?badarg(Args, {Number, Why});
            {error, Reason} -> erlang:error({Reason, hd(Args)}, Args,
                                            [{error_info, #{module => emmap_error, cause => {counters, Reason}}}])
        end).

%% Passes on what a function has answered that says which argument is wrong.
-define(answer(Result, Args),
        case Result of
            {bad, Number, Why} -> ?badarg(Args, {Number, Why});
            Answer -> Answer
        end).

%% The same for one that takes a range, where what lies outside, or a handle that cannot be written, is a mistake, too.
-define(ranged(Function, File, Offset, Count),
        case emmap_nif:Function(?resource(File), Offset, Count) of
            {error, Mistake} when Mistake =:= badarg; Mistake =:= read_only -> ?badarg([File, Offset, Count], Mistake);
            {error, out_of_range} -> ?badarg([File, Offset, Count], past_the_end);
            Ranged -> Ranged
        end).
