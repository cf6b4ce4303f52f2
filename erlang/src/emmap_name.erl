%% Copyright 2026 the emmap authors. Licensed under the Apache License, Version 2.0.

%% @private
%% @doc Names of files, as the library takes them.
-module(emmap_name).

-export([encode/1]).

%% @doc The bytes of a name as `file' would encode them, with a NUL at the end; `error' for what is no name.
-spec encode(term()) -> binary() | error.
encode(Name) when is_binary(Name) -> terminate(Name);
encode(Name) when is_list(Name); is_atom(Name) ->
    try unicode:characters_to_binary(flatten(Name), unicode, file:native_name_encoding()) of
        Binary when is_binary(Binary) -> terminate(Binary);
        _ -> error
    catch
        error:_ -> error
    end;
encode(_) -> error.

terminate(Binary) ->
    case binary:match(Binary, <<0>>) of
        nomatch when Binary =/= <<>> -> <<Binary/binary, 0>>;
        nomatch -> <<0>>;
        _ -> error
    end.

%% Deep lists of characters and atoms, as in `file'.
flatten([Head | Tail]) when is_list(Tail); is_atom(Tail) -> flatten(Head) ++ flatten(Tail);
flatten([]) -> [];
flatten(Atom) when is_atom(Atom) -> atom_to_list(Atom);
flatten(Character) when is_integer(Character) -> [Character].
