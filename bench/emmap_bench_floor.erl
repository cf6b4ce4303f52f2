%% Copyright 2026 the emmap authors. Licensed under the Apache License, Version 2.0.

%% @doc The cost of a call as such: NIFs in C without any of the checks that a file needs; see floor_nif.c.
-module(emmap_bench_floor).

-export([init/0, open/0, call/3, add/3, copy/3, put/3, point/3]).
-export_type([handle/0]).

-on_load(init/0).
-nifs([open/0, call/3, add/3, copy/3, put/3, point/3]).

-opaque handle() :: reference().

%% @doc Loads the library beside this module.
-spec init() -> ok | {error, term()}.
init() -> erlang:load_nif(filename:join(filename:dirname(code:which(?MODULE)), "emmap_bench_floor"), 0).

%% @doc Makes a handle.
-spec open() -> handle().
open() -> erlang:nif_error(not_loaded).

%% @doc N: decodes a handle and two integers and returns an integer.
-spec call(handle(), integer(), integer()) -> integer().
call(_, _, _) -> erlang:nif_error(not_loaded).

%% @doc N, and an atomic addition, unchecked; returns the old value.
-spec add(handle(), non_neg_integer(), integer()) -> integer().
add(_, _, _) -> erlang:nif_error(not_loaded).

%% @doc N, and a copy of up to 4096 bytes, unchecked.
-spec copy(handle(), non_neg_integer(), non_neg_integer()) -> {ok, binary()}.
copy(_, _, _) -> erlang:nif_error(not_loaded).

%% @doc N, with a binary for the second integer, which is copied, unchecked.
-spec put(handle(), non_neg_integer(), binary()) -> ok.
put(_, _, _) -> erlang:nif_error(not_loaded).

%% @doc N, and a binary that points to up to 4096 bytes, unchecked.
-spec point(handle(), non_neg_integer(), non_neg_integer()) -> {ok, binary()}.
point(_, _, _) -> erlang:nif_error(not_loaded).
