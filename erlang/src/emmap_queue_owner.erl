%% Copyright 2026 the emmap authors. Licensed under the Apache License, Version 2.0.

%% @private
%% @doc The process behind `emmap_queue:start_link/2,3'. It opens and closes a queue; those who use it find it under the
%% name of the process without asking it.
-module(emmap_queue_owner).
-behaviour(gen_server).

-export([start_link/3, find/1]).
-export([init/1, handle_call/3, handle_cast/2, terminate/2]).

%% @doc Starts the process.
-spec start_link({local, atom()}, file:name_all(), [emmap_queue:option()]) -> {ok, pid()} | {error, term()}.
start_link({local, Name} = Local, File, Options) when is_atom(Name) ->
    gen_server:start_link(Local, ?MODULE, {Name, File, Options}, []).

%% @doc The queue of a name; `{error, closed}' while it has none.
-spec find(atom()) -> emmap_queue:queue() | {error, closed}.
find(Name) -> persistent_term:get({?MODULE, Name}, {error, closed}).

%% @doc Opens the queue. One that an owner has left open that was killed is closed first.
-spec init({atom(), file:name_all(), [emmap_queue:option()]}) ->
          {ok, {atom(), emmap_queue:queue()}} | {stop, term()}.
init({Name, File, Options}) ->
    process_flag(trap_exit, true),
    leave(Name, find(Name)),
    case emmap_queue:open(File, Options) of
        {ok, Queue} ->
            persistent_term:put({?MODULE, Name}, Queue),
            {ok, {Name, Queue}};
        {error, Reason} -> {stop, Reason}
    end.

leave(_, {error, closed}) -> ok;
leave(Name, Queue) ->
    _ = emmap_queue:close(Queue),
    _ = persistent_term:erase({?MODULE, Name}),
    ok.

%% @doc There are no calls.
-spec handle_call(term(), gen_server:from(), State) -> {noreply, State}.
handle_call(_, _, State) -> {noreply, State}.

%% @doc Nor casts.
-spec handle_cast(term(), State) -> {noreply, State}.
handle_cast(_, State) -> {noreply, State}.

%% @doc Closes the queue.
-spec terminate(term(), {atom(), emmap_queue:queue()}) -> ok.
terminate(_, {Name, Queue}) -> leave(Name, Queue).
