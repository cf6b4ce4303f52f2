%% Copyright 2026 the emmap authors. Licensed under the Apache License, Version 2.0.
%%
%% Reads what the C program measurements.c wrote, as it lies in the file: each struct is one binary pattern.
%% After `make', and what measurements.c says:
%%
%%     ERL_LIBS=_build/default/lib escript examples/measurements.erl /tmp/measurements.bin
%%
%% The layout, in bytes, as the C ABI of x86-64 has it: little-endian, each member aligned to its own size, gaps (--)
%% of any content.
%%
%%     header        0        4         6     8       12
%%                   | "MEAS" | version | --  | count |
%%     measurement   0        1         8       16      18     24      32
%%                   | sensor | --      | value | error | unit | time  |
-module(measurements).
-mode(compile).

-export([read/1, main/1]).

-define(HEADER, 12).
-define(MEASUREMENT, 32).

-spec read(file:name_all()) ->
          {ok, [{Sensor :: byte(), float(), Unit :: binary(), Error :: integer(), Time :: integer()}]}
        | {error, emmap:reason() | not_measurements}.
read(File) ->
    case emmap:open(File, [read, shared]) of
        {ok, Map} ->
            try emmap:pread(Map, 0, ?HEADER) of
                {ok, <<"MEAS", 2:16/little, _:16, Count:32/little>>} ->
                    {ok, [measurement(Map, Number) || Number <- lists:seq(0, Count - 1)]};
                _ -> {error, not_measurements}
            after
                ok = emmap:close(Map)
            end;
        Error -> Error
    end.

measurement(Map, Number) ->
    {ok, <<Sensor, _:7/binary, Value:64/float-little, Error:16/signed-little, Unit:6/binary, Time:64/signed-little>>} =
        emmap:pread(Map, ?HEADER + Number * ?MEASUREMENT, ?MEASUREMENT),
    {Sensor, Value, hd(binary:split(Unit, <<0>>)), Error, Time}.

main([File]) ->
    case read(File) of
        {ok, Measurements} ->
            [io:format("~b: sensor ~b: ~.1f ~s (~b)~n", [Time, Sensor, Value, Unit, Error])
             || {Sensor, Value, Unit, Error, Time} <- Measurements];
        {error, Reason} ->
            io:format(standard_error, "~ts: ~ts~n", [File, why(Reason)]),
            halt(1)
    end;
main(_) ->
    io:put_chars(standard_error, "usage: escript measurements.erl FILE\n"),
    halt(2).

why(not_measurements) -> "not measurements of version 2";
why(Reason) -> file:format_error(Reason).
