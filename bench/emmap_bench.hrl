%% One way of doing what a row measures.
-record(side, {label :: binary(),
               %% Makes what the loop needs; called in the process that then runs the loop, with the number of the
               %% round and that of the process, both from 1.
               prepare = fun(_, _) -> none end :: fun((pos_integer(), pos_integer()) -> term()),
               %% Does the operation that many times. It calls a loop that is compiled, with no call of a fun inside.
               loop :: fun((pos_integer(), term()) -> term()),
               finish = fun(_) -> ok end :: fun((term()) -> term()),
               %% Whether the loop may be run before it is measured.
               warm = true :: boolean()}).

%% Things to compare: emmap, and then what a user would call in its place.
-record(row, {id :: term(),
              name :: binary(),
              %% For the report, their labels alone.
              sides :: [#side{}] | [binary()],
              %% Operations in a batch, the same for all sides; or as many as fill some milliseconds.
              count = auto :: auto | pos_integer(),
              %% Whether two processes at once are measured too.
              scale = false :: boolean(),
              %% Options of the processes.
              spawn = [] :: [{atom(), term()}]}).
