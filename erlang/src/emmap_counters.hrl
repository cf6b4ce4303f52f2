%% Copyright 2026 the emmap authors. Licensed under the Apache License, Version 2.0.

%% A file of counters, or of atomics:
%%
%%     0            8            16           24
%%     +------------+------------+------------+--
%%     | "EMMAP01\n" |     N      | counter 0  | counter 1 ...
%%     +------------+------------+------------+--
%%
%% N and the counters are 64-bit words, little-endian; the file is exactly 16 + 8 N bytes long.
-define(MAGIC, "EMMAP01\n").
-define(HEADER_SIZE, 16).
%% Where a counter is, by its number; and so how long a file of that many is.
-define(COUNTER(Number), (?HEADER_SIZE + 8 * (Number))).
%% The length of a file must fit in a signed 64-bit integer.
-define(MAX_COUNT, ((16#7fffffffffffffff - ?HEADER_SIZE) div 8)).
