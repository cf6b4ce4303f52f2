%% Copyright 2026 the emmap authors. Licensed under the Apache License, Version 2.0.

%% What OTP's functions do with a `direct' binary while its bytes change: what is known of each, and a way to find out.
%% docs/direct.md has the same in its tables. Where OTP has changed, in a shell that finds emmap and this module:
%%
%%     emmap_direct:try_all(10, "/tmp").   % seconds for each, and where files may be; prints what differs from here
%%     io:put_chars(emmap_direct:tables()).
-module(emmap_direct).

-export([functions/0, names/1, is_here/1, races/4, try_all/2, tables/0]).

%%% Finding out

%% Calls functions by name in this VM, each for so many milliseconds beside a writer, with what `Prepare' makes of the
%% binary and the handle that it is from. Prints which one is running, and whether it went wrong.
races(Names, Milliseconds, Dir, Prepare) ->
    [race(Name, Milliseconds, Dir, Prepare) || Name <- Names],
    io:put_chars("all have run\n").

race(Name, Milliseconds, Dir, Prepare) ->
    {_, {Old, New}, Call} = lists:keyfind(Name, 1, functions()),
    io:format("~ts\n", [Name]),
    File = filename:join(Dir, integer_to_list(erlang:unique_integer([positive]))),
    ok = file:write_file(File, Old),
    {ok, Writer} = emmap:open(File, [read, write, shared, nolock]),
    {ok, Reader} = emmap:open(File, [read, shared, direct, nolock]),
    {ok, Binary} = emmap:pread(Reader, 0, byte_size(Old)),
    ok = file:set_cwd(Dir),
    Toggle = fun() -> ok = emmap:pwrite(Writer, 0, New), ok = emmap:pwrite(Writer, 0, Old) end,
    Write = fun() -> [Toggle() || _ <- lists:seq(1, 100)] end,
    Try = fun() -> try Call(Prepare(Binary, Reader)) catch _:_ -> failed end =:= wrong andalso put(Name, wrong) end,
    _ = emmap_vm:while([Write], fun() -> emmap_vm:until(Milliseconds, Try) end),
    %% Memory that was overwritten is noticed here at the latest, or never.
    [garbage_collect(Pid) || Pid <- processes()],
    get(Name) =:= wrong andalso io:format("WRONG\n"),
    ok = emmap:close(Reader),
    ok = emmap:close(Writer).

%% Runs each function in a VM of its own for so many seconds. Prints what came of it, and returns what is not as known.
try_all(Seconds, Dir) ->
    lists:append([try_one(Name, Seconds, Dir) || {Name, _, _} <- functions(), is_here(Name)]).

try_one(Name, Seconds, Dir) ->
    Run = fun() -> races([Name], 1000 * Seconds, Dir, fun(Binary, _) -> Binary end) end,
    Found = case emmap_vm:in_vm(Run, #{args => ["+S", "2:2"], limit => "-c 0", seconds => 3 * Seconds + 30}) of
                {0, Output} ->
                    case binary:match(Output, <<"WRONG">>) of
                        nomatch -> safe;
                        _ -> wrong
                    end;
                {_, _} -> ends
            end,
    Known = kind(Name),
    io:format("~ts: ~ts~ts~n", [Name, Found, [[", was known as ", atom_to_list(Known)] || Found =/= Known]]),
    [{Name, Found} || Found =/= Known].

%% Whether this version of OTP has what an entry calls: the name begins with module:function.
is_here(Name) ->
    case re:run(Name, "^([a-z0-9_]+):([a-z0-9_]+)", [{capture, all_but_first, binary}]) of
        {match, [Module, Function]} ->
            {Atom, Called} = {binary_to_atom(Module), binary_to_atom(Function)},
            code:ensure_loaded(Atom) =:= {module, Atom}
                andalso lists:keymember(Called, 1, Atom:module_info(exports));
        nomatch -> true
    end.

%%% What is known

%% {Name, {Old, New}, Call}: a call of OTP with a binary, and two contents of the binary between which it goes wrong if
%% it ever does. The call returns `wrong' if its answer is right for no bytes, neither old nor new nor some of each.
functions() -> [{iolist_to_binary(Name), Pair, Call} || {Name, Pair, Call} <- entries()].

entries() ->
    binary_module() ++ erlang_module() ++ syntax() ++ terms() ++ unicode_module() ++ string_module() ++ re_module()
        ++ formats() ++ packets() ++ tables_and_keys() ++ files() ++ file_names() ++ checksums() ++ sockets().

%% Of one kind:
%%   ends    the VM ends, or memory of it is overwritten so that it may end later
%%   wrong   the VM goes on with what is right for no bytes
%%   safe    the answer, or the exception, is right for the old bytes, the new ones, or some of each
names(Kind) -> [Name || {Name, _, _} <- functions(), kind(Name) =:= Kind].

kind(Name) ->
    case {maps:is_key(Name, ends()), maps:is_key(Name, wrong())} of
        {true, false} -> ends;
        {false, true} -> wrong;
        {false, false} -> safe
    end.

%% Why, by name.
ends() ->
    OneByte = "shift table",
    Measured = "counts, then fills",
    Trusted = "checks, then trusts",
    #{<<"binary:match/2,3, pattern of one byte">> => OneByte,
      <<"binary:match/2,3 with a compiled, pattern of one byte">> => OneByte,
      <<"binary:matches/2,3, pattern of one byte">> => OneByte,
      <<"binary:split/2,3, pattern of one byte">> => OneByte,
      <<"binary:split/3, global, pattern of one byte">> => OneByte,
      <<"binary:replace/3,4, pattern of one byte">> => OneByte,
      <<"binary:replace/4, global, pattern of one byte">> => OneByte,
      <<"binary_to_term/1">> => Measured,
      <<"binary_to_term/2, [safe], [used]">> => Measured,
      <<"binary_to_atom/1,2 of other letters than ASCII">> => "broken name",
      <<"unicode:characters_to_list/1,2">> => Measured,
      <<"unicode:characters_to_list/2, latin1">> => Measured,
      <<"unicode:characters_to_binary/2,3 from latin1">> => Measured,
      <<"string:find/2,3">> => "calls `binary:match/2`",
      <<"string:find/2,3 for it">> => "calls `unicode:characters_to_list/1`",
      <<"string:split/2,3">> => "calls `binary:match/2`",
      <<"string:replace/3,4">> => "calls `binary:match/2`",
      <<"re:run/3, unicode, backtracking">> => Trusted,
      <<"re:run/3, unicode, capture list">> => "calls `unicode:characters_to_list/2`",
      <<"re:replace/4, unicode">> => "calls `unicode:characters_to_list/2`",
      <<"io_lib:format/2, ~ts">> => "calls `unicode:characters_to_list/1`",
      <<"xmerl_sax_parser:stream/2">> => "calls `unicode:characters_to_list/2`",
      <<"erlang:decode_packet/3, fcgi">> => "padding",
      <<"file:write/2 to a file that was opened with {encoding, utf8}">> => "calls `unicode:characters_to_binary/3`",
      <<"beam_lib:chunks/2">> => "calls `binary_to_atom/2`",
      <<"code:load_binary/3">> => Measured,
      <<"filename:split/1">> => "calls `binary:split/3`",
      <<"filename:basename/1,2">> => "calls `binary:split/3`",
      <<"filename:dirname/1">> => "calls `binary:split/3`",
      <<"filename:extension/1">> => "calls `binary:matches/2`",
      <<"filelib:safe_relative_path/2">> => "calls `filename:split/1`"}.

wrong() ->
    Key = "what is stored under the old bytes is found under neither",
    #{<<"binary_to_atom/1,2">> =>
          "a second atom of the same name is made, which is not equal to the first, as long as the VM runs",
      <<"#{}: as a key of a map, 32 keys at most">> => Key,
      <<"#{}: as a key of a larger map">> => Key,
      <<"#{}: as a key of a larger map, beside its own bytes">> => "the map has two keys that are equal",
      <<"ets: as a key">> => Key,
      <<"ets: as a key of an ordered_set">> => "the table is out of order, so that other keys are lost, too",
      <<"gb_trees, gb_sets, orddict, sets: as a key">> => Key,
      <<"put/2: as a key of the process dictionary">> => Key}.

%% The tables of docs/direct.md.
tables() ->
    Row = fun(Name, Why) -> ["| `", Name, "` | ", Why, " |\n"] end,
    [["| ends the VM | why |\n| --- | --- |\n", [Row(Name, maps:get(Name, ends())) || Name <- names(ends)]],
     ["\n| wrong | what happens |\n| --- | --- |\n", [Row(Name, maps:get(Name, wrong())) || Name <- names(wrong)]],
     ["\n| safe |\n| --- |\n", [["| `", Name, "` |\n"] || Name <- names(safe)]]].

letters() -> {binary:copy(<<"a">>, 1500), binary:copy(<<"z">>, 1500)}.

pairs_of_letters() -> {binary:copy(<<"ab">>, 750), binary:copy(<<"az">>, 750)}.

binary_module() ->
    [{["binary:", Name, ", pattern of one byte"], letters(), Call} || {Name, Call} <- of_one_byte()]
    ++
    [{["binary:", Name, ", longer or several patterns"], pairs_of_letters(), Call} || {Name, Call} <- longer()]
    ++
    [{["binary:", Name], letters(), Call} || {Name, Call} <- whole()]
    ++
    [{"binary:decode_unsigned/1,2", {<<0:800>>, <<-1:800>>},
      fun(B) -> [normal(binary:decode_unsigned(B)), normal(binary:decode_unsigned(B, little))] end},
     {"binary:decode_unsigned/1 of 1 to 9 bytes", {<<0:72>>, <<-1:72>>},
      fun(B) -> each([normal(binary:decode_unsigned(binary:part(B, 0, N))) || N <- lists:seq(1, 9)]) end},
     {"binary:decode_hex/1", {binary:copy(<<"00">>, 100), binary:copy(<<"zz">>, 100)}, fun binary:decode_hex/1},
     {"binary:longest_common_prefix/1, longest_common_suffix/1", letters(),
      fun(B) -> L = [B, element(1, letters())], {binary:longest_common_prefix(L), binary:longest_common_suffix(L)} end},
     {"binary:compile_pattern/1 of it", letters(), fun(B) -> binary:match(<<"aaz">>, binary:compile_pattern(B)) end},
     {"binary:match/2 with it as the pattern", {<<"a">>, <<"z">>},
      fun(B) -> binary:match(element(1, letters()), B) end},
     {"binary:match/2 with it as one of the patterns", pairs_of_letters(),
      fun(B) -> binary:matches(element(1, pairs_of_letters()), [binary:part(B, 0, 30), binary:part(B, 0, 40)]) end},
     {"binary:replace/3 with it as the replacement", letters(), fun(B) -> binary:replace(<<"abc">>, <<"bc">>, B) end}].

of_one_byte() ->
    [{"match/2,3", fun(B) -> binary:match(B, <<"a">>) end},
     {"match/2,3 with a compiled", fun(B) -> binary:match(B, binary:compile_pattern(<<"a">>)) end},
     {"matches/2,3", fun(B) -> binary:matches(B, <<"a">>) end},
     {"split/2,3", fun(B) -> binary:split(B, <<"a">>) end},
     {"split/3, global", fun(B) -> binary:split(B, <<"a">>, [global]) end},
     {"replace/3,4", fun(B) -> binary:replace(B, <<"a">>, <<"bc">>) end},
     {"replace/4, global", fun(B) -> binary:replace(B, <<"a">>, <<"bc">>, [global]) end}].

longer() ->
    [{"match/2,3", fun(B) -> {binary:match(B, <<"zb">>), binary:match(B, [<<"z">>, <<"b">>])} end},
     {"matches/2,3", fun(B) -> {binary:matches(B, <<"ab">>), binary:matches(B, [<<"ab">>, <<"z">>])} end},
     {"split/2,3", fun(B) -> {binary:split(B, <<"ab">>, [global]), binary:split(B, [<<"z">>, <<"b">>], [global])} end},
     {"replace/3,4", fun(B) -> {binary:replace(B, <<"ab">>, <<"c">>, [global]),
                                binary:replace(B, [<<"z">>, <<"b">>], <<"c">>, [global])} end}].

whole() ->
    [{"at/2, first/1, last/1", fun(B) -> {binary:at(B, 700), binary:first(B), binary:last(B)} end},
     {"part/2,3", fun(B) -> {binary:part(B, 3, 900), binary:part(B, {1500, -80})} end},
     {"copy/1,2", fun(B) -> {binary:copy(B), binary:copy(B, 3)} end},
     {"bin_to_list/1,2,3", fun(B) -> {binary:bin_to_list(B), binary:bin_to_list(B, 3, 900)} end},
     {"encode_hex/1", fun binary:encode_hex/1},
     {"referenced_byte_size/1", fun binary:referenced_byte_size/1}].

erlang_module() ->
    [{Name, letters(), Call} || {Name, Call} <-
        [{"byte_size/1, bit_size/1, size/1", fun(B) -> {byte_size(B), bit_size(B), size(B)} end},
         {"binary_part/2,3, split_binary/2", fun(B) -> {binary_part(B, 3, 900), split_binary(B, 700)} end},
         {"binary_to_list/1,3, bitstring_to_list/1",
          fun(B) -> {binary_to_list(B), binary_to_list(B, 3, 900), bitstring_to_list(B)} end},
         {"list_to_binary/1, list_to_bitstring/1 with it",
          fun(B) -> {list_to_binary([B, "x", B]), list_to_bitstring([B, <<1:1>>])} end},
         {"iolist_to_binary/1, iolist_size/1, iolist_to_iovec/1",
          fun(B) -> {iolist_to_binary(["x", B]), iolist_size([B]), erlang:iolist_to_iovec(["x", B])} end},
         {"=:=, ==, <, max/2 and others that compare",
          fun(B) -> {_, Z} = letters(), {B =:= Z, B == Z, B < Z, max(B, Z), {1, B} =:= {1, Z}} end},
         {"lists:sort/1, lists:usort/1, lists:member/2",
          fun(B) ->
                  {A, Z} = letters(),
                  L = [A, B, Z, B, A, Z, B],
                  {lists:sort(L), lists:usort(L), lists:member(Z, L)}
          end},
         {"sent to a process of this node", fun(B) -> self() ! B, receive C -> {byte_size(C), binary:last(C)} end end},
         {"persistent_term:put/2, get/1", fun(B) -> persistent_term:put(k, {B}), persistent_term:get(k) end}]]
    ++
    [{"binary_to_integer/1,2", {binary:copy(<<"0">>, 200), binary:copy(<<"9">>, 200)},
      fun(B) -> each([normal(binary_to_integer(B)), normal(binary_to_integer(B, 16))]) end},
     {"binary_to_integer/1 of 1 to 20 digits", {binary:copy(<<"0">>, 20), <<"-", (binary:copy(<<"9">>, 19))/binary>>},
      fun(B) -> each([normal(binary_to_integer(binary:part(B, 0, N))) || N <- lists:seq(1, 20)]) end},
     {"binary_to_float/1", {<<"1.00000000000e+10">>, <<"9.99999999999e+99">>},
      fun(B) -> finite(binary_to_float(B)) end},
     {"binary_to_existing_atom/1,2", {<<"emmap_direct">>, <<"emmap_direkt">>}, fun binary_to_existing_atom/1},
     {"binary_to_atom/1,2", {<<"emmap_names_at1">>, <<"emmap_names_at2">>},
      fun(B) ->
              Atom = binary_to_atom(B),
              case binary_to_atom(atom_to_binary(Atom)) of
                  Atom -> ok;
                  _ -> wrong
              end
      end},
     {"binary_to_atom/1,2 of other letters than ASCII", {binary:copy(<<"é"/utf8>>, 100), binary:copy(<<"ab">>, 100)},
      fun(B) ->
              Atom = binary_to_atom(binary:part(B, 0, 2 * rand:uniform(100))),
              {atom_to_list(Atom), binary_to_term(term_to_binary(Atom))}
      end}].

syntax() ->
    [{"<<Byte, Rest/binary>> and comprehensions", letters(),
      fun(B) -> {[C || <<C>> <= B, C =:= $a], << <<C, C>> || <<C>> <= B >>} end},
     {"<<Binary/binary, ...>>, building with it", letters(),
      fun(B) -> {<<1, B/binary>>, <<B/binary, 1>>, <<1:1, B/bitstring>>} end},
     {"<<\"text\", _/binary>>", letters(), fun(<<"aaaaaaaaaaaa", _/binary>>) -> a; (<<"z", _/binary>>) -> z end},
     {"<<N:64>>, integers of up to 64 bits", {<<0:512>>, <<-1:512>>},
      fun(<<A:64, B:64/signed, C:64/little, D:59, E:61/signed, _/bitstring>>) ->
              each([normal(N) || N <- [A, B, C, D, E]])
      end},
     {"<<N:512>>, longer integers", {<<0:1024>>, <<-1:1024>>},
      fun(<<A:512, B:512/signed-little>> = Whole) ->
              <<_:3, C:512/little, D:500/signed, _/bitstring>> = Whole,
              each([normal(N) || N <- [A, B, C, D]])
      end},
     {"<<N/float>>", {<<1.5:64/float, 0:64>>, <<-1:128>>},
      fun(<<A:64/float, _/binary>>) -> finite(A); (_) -> none end},
     {"<<Character/utf8>>", {binary:copy(<<"é"/utf8>>, 300), binary:copy(<<240, 159>>, 300)},
      fun(B) -> each([character(C) || <<C/utf8>> <= B]) end},
     {"<<Character/utf8>> of all lengths",
      {binary:copy(<<"a😀é€"/utf8>>, 60), binary:copy(<<"€é😀a"/utf8>>, 60)},
      fun(B) -> each([character(C) || <<C/utf8>> <= B]) end},
     {"<<Character/utf16>>, utf32", {binary:copy(<<"aaaa">>, 60), binary:copy(<<16#D83D:16, 16#DE00:16>>, 60)},
      fun(B) -> each([character(C) || <<C/utf16>> <= B] ++ [character(C) || <<C/utf32>> <= B]) end},
     {"<<_:1, Rest/bitstring>>, and functions on the unaligned rest", letters(),
      fun(<<_:1, R:1499/binary, _/bitstring>>) ->
              {binary:match(R, <<16#c2>>), binary:copy(R), R =:= <<0:1499/unit:8>>, erlang:md5(R), erlang:phash2(R)}
      end}].

terms() ->
    Short = <<131, 104, 2, 109, 8:32, 0:64, 106, 0:800>>,
    Long = <<131, 104, 2, 109, 60:32, 0:480, 106, 0:384>>,
    [{"binary_to_term/1", {Short, Long}, fun erlang:binary_to_term/1},
     {"binary_to_term/2, [safe], [used]", {Short, Long}, fun(B) -> binary_to_term(B, [safe, used]) end},
     {"binary_to_term/1, compressed",
      begin
          Zero = term_to_binary(binary:copy(<<0>>, 1000), [compressed]),
          {Zero, <<131, 80, 10:32, (binary:part(Zero, 6, byte_size(Zero) - 6))/binary>>}
      end, fun erlang:binary_to_term/1},
     {"term_to_binary/1,2, term_to_iovec/1, external_size/1", letters(),
      fun(B) ->
              {term_to_binary({B, B}), term_to_binary([B], [compressed]), term_to_iovec(B), erlang:external_size(B)}
      end},
     {"erlang:phash2/1,2", letters(), fun erlang:phash2/1},
     {"code:load_binary/3", modules(),
      fun(B) ->
              code:purge(emmap_direct_loaded),
              {module, _} = code:load_binary(emmap_direct_loaded, "x", B)
      end},
     {"beam_lib:chunks/2", modules(), fun(B) -> beam_lib:chunks(B, [abstract_code, imports, atoms]) end},
     {"erts_debug:flat_size/1, erts_debug:size/1", letters(),
      fun(B) -> {erts_debug:flat_size([B]), erts_debug:size([B])} end}].

%% Two versions of a module, of the same size.
modules() ->
    Code = fun(Text) ->
                   Forms = [{attribute, 1, module, emmap_direct_loaded}, {attribute, 1, export, [{f, 0}]},
                            {function, 1, f, 0, [{clause, 1, [], [], [{string, 1, Text}]}]}],
                   {ok, _, Binary} = compile:forms(Forms, [deterministic]),
                   Binary
           end,
    {A, B} = {Code("abcdefgh"), Code(lists:seq(1, 60))},
    Size = max(byte_size(A), byte_size(B)),
    Pad = fun(X) -> <<X/binary, 0:(Size - byte_size(X))/unit:8>> end,
    {Pad(A), Pad(B)}.

%% Letters of one byte, and of two.
widths() -> {binary:copy(<<"ab">>, 400), binary:copy(<<"é"/utf8>>, 400)}.

%% Bytes that take one byte as UTF-8, and two.
latin1() -> {binary:copy(<<"a">>, 800), binary:copy(<<233>>, 800)}.

%% As it should be, and broken.
broken() -> {binary:copy(<<"é"/utf8>>, 400), binary:copy(<<195>>, 800)}.

unicode_module() ->
    [{["unicode:", Name], Pair, Call} || {Name, Pair, Call} <-
        [{"characters_to_list/1,2", widths(), fun unicode:characters_to_list/1},
         {"characters_to_list/1,2 of a list with it", widths(), fun(B) -> unicode:characters_to_list(["x", B]) end},
         {"characters_to_list/2, latin1", latin1(), fun(B) -> unicode:characters_to_list(B, latin1) end},
         {"characters_to_list/2, utf16", {binary:copy(<<0, $a>>, 400), binary:copy(<<16#d83d:16, 16#de00:16>>, 200)},
          fun(B) -> unicode:characters_to_list(B, utf16) end},
         {"characters_to_binary/1,2,3", broken(), fun(B) -> valid(unicode:characters_to_binary(B)) end},
         {"characters_to_binary/1,2,3 of a list with it", broken(),
          fun(B) -> valid(unicode:characters_to_binary(["x", B])) end},
         {"characters_to_binary/2,3 from latin1", latin1(), fun(B) -> unicode:characters_to_binary(B, latin1) end},
         {"characters_to_binary/3 from utf16",
          {binary:copy(<<0, $a>>, 400), binary:copy(<<16#d83d:16, 16#de00:16>>, 200)},
          fun(B) -> unicode:characters_to_binary(B, utf16) end},
         {"characters_to_binary/3 to utf16", widths(), fun(B) -> unicode:characters_to_binary(B, utf8, utf16) end},
         {"characters_to_binary/3 to latin1", widths(), fun(B) -> unicode:characters_to_binary(B, utf8, latin1) end},
         {"characters_to_nfc_binary/1, nfd, nfkc, nfkd", widths(),
          fun(B) -> {unicode:characters_to_nfc_binary(B), unicode:characters_to_nfd_binary(B),
                     unicode:characters_to_nfkc_binary(B), unicode:characters_to_nfkd_binary(B)} end},
         {"characters_to_nfc_list/1, nfd, nfkc, nfkd", widths(),
          fun(B) -> {unicode:characters_to_nfc_list(B), unicode:characters_to_nfd_list(B),
                     unicode:characters_to_nfkc_list(B), unicode:characters_to_nfkd_list(B)} end},
         {"bom_to_encoding/1", {<<16#ef, 16#bb, 16#bf, 0:64>>, <<16#fe, 16#ff, 0:72>>},
          fun unicode:bom_to_encoding/1}]].

string_module() ->
    [{["string:", Name], widths(), Call} || {Name, Call} <-
        [{"length/1", fun string:length/1},
         {"to_graphemes/1", fun string:to_graphemes/1},
         {"next_codepoint/1, next_grapheme/1", fun(B) -> {string:next_codepoint(B), string:next_grapheme(B)} end},
         {"uppercase/1", fun string:uppercase/1}, {"lowercase/1", fun string:lowercase/1},
         {"titlecase/1", fun string:titlecase/1}, {"casefold/1", fun string:casefold/1},
         {"reverse/1", fun string:reverse/1},
         {"slice/2,3", fun(B) -> string:slice(B, 7, 100) end},
         {"pad/2,3,4", fun(B) -> string:pad(B, 1000) end},
         {"trim/1,2,3", fun(B) -> string:trim(B, both, "aé") end},
         {"chomp/1", fun string:chomp/1},
         {"take/2,3,4", fun(B) -> string:take(B, "aé", true, trailing) end},
         {"find/2,3", fun(B) -> {string:find(B, <<"b">>), string:find(B, "éa", trailing)} end},
         {"find/2,3 for it", fun(B) -> string:find(<<"xyz">>, B) end},
         {"split/2,3", fun(B) -> string:split(B, <<"b">>, all) end},
         {"replace/3,4", fun(B) -> string:replace(B, <<"b">>, <<"c">>, all) end},
         {"lexemes/2", fun(B) -> string:lexemes(B, "bé") end},
         {"nth_lexeme/3", fun(B) -> string:nth_lexeme(B, 9, "bé") end},
         {"prefix/2", fun(B) -> string:prefix(B, <<"abab">>) end},
         {"equal/2,3,4", fun(B) ->
                                 {Narrow, Wide} = widths(),
                                 {string:equal(B, Narrow), string:equal(B, Wide, true, nfc)}
                         end},
         {"is_empty/1", fun string:is_empty/1}]]
    ++
    [{"string:to_integer/1, to_float/1", {<<"123456789012345678901 ">>, <<"999.9e12 999999999999 ">>},
      fun(B) -> {string:to_integer(B), string:to_float(B)} end}].

re_module() ->
    [{["re:", Name], Pair, Call} || {Name, Pair, Call} <-
        [{"run/2,3", letters(), fun(B) -> re:run(B, "(a+)z", [{capture, all, binary}]) end},
         {"run/3, global", pairs_of_letters(), fun(B) -> re:run(B, "[ab]b", [global]) end},
         {"run/3, capture list", letters(), fun(B) -> re:run(B, "a+", [{capture, all, list}]) end},
         {"run/3, unicode", broken(), fun(B) -> re:run(B, ".*\\d", [unicode]) end},
         {"run/3, unicode, backtracking", {binary:copy(<<"é"/utf8>>, 400), binary:copy(<<128>>, 800)},
          fun(B) -> re:run(B, ".*\\d", [unicode]) end},
         {"run/3, unicode, caseless, with captures", widths(),
          fun(B) -> re:run(B, "(.+)(.*?)É", [unicode, caseless, ucp, {capture, all, binary}]) end},
         {"run/3, unicode, with lookbehind", broken(), fun(B) -> re:run(B, "(?<=.)(?<!é)\\d", [unicode]) end},
         {"run/3, unicode, global", widths(), fun(B) -> re:run(B, ".", [unicode, global, {capture, all, binary}]) end},
         {"run/3, unicode, capture list", widths(), fun(B) -> re:run(B, ".*", [unicode, {capture, all, list}]) end},
         {"split/2,3", pairs_of_letters(), fun(B) -> re:split(B, "b") end},
         {"replace/3,4", pairs_of_letters(), fun(B) -> re:replace(B, "b", "c", [global, {return, binary}]) end},
         {"replace/4, unicode", widths(), fun(B) -> re:replace(B, "é", "c", [unicode, global, {return, list}]) end},
         {"compile/1 of it", {binary:copy(<<"a">>, 30), <<"(((((((((((((((())))))))))))))">>}, fun re:compile/1},
         {"compile/2 of it, unicode", {binary:copy(<<"ab">>, 15), binary:copy(<<"é"/utf8>>, 15)},
          fun(B) -> re:compile(B, [unicode]) end}]].

formats() ->
    [{"io_lib:format/2, ~s", letters(), fun(B) -> io_lib:format("~s ~10s", [B, B]) end},
     {"io_lib:format/2, ~ts", widths(), fun(B) -> io_lib:format("~ts", [B]) end},
     {"io_lib:format/2, ~p, ~w", widths(), fun(B) -> {io_lib:format("~p", [{B, B}]), io_lib:format("~w", [B])} end},
     {"io_lib:format/2, ~tp, ~tw", widths(),
      fun(B) -> {io_lib:format("~tp", [{B, B}]), io_lib:format("~tw", [B])} end},
     {"io_lib:printable_unicode_list/1 and other tests of lists", widths(),
      fun(B) -> io_lib:printable_unicode_list(binary_to_list(B)) end},
     {"io:put_chars/2, io:format/3 to a file", widths(),
      fun(B) ->
              {ok, File} = file:open("chars", [write, {encoding, utf8}]),
              ok = io:put_chars(File, B),
              ok = file:close(File)
      end},
     {"json:decode/1", {<<"[1,\"abcdefghijklmnop\",{\"k\":[]}]">>, <<"[1,\"\\u0041\\n\\n\\n\\n\\n\",{\"k\":99}]">>},
      fun(B) -> apply(json, decode, [B]) end},
     {"json:encode/1 with it", widths(), fun(B) -> iolist_to_binary(apply(json, encode, [[B]])) end},
     {"base64:encode/1", letters(), fun base64:encode/1},
     {"base64:decode/1, mime_decode/1", {binary:copy(<<"QUJD">>, 100), binary:copy(<<"Q===">>, 100)},
      fun(B) -> {base64:mime_decode(B), base64:decode(B)} end},
     {"uri_string:parse/1, normalize/1, percent_decode/1", widths(),
      fun(B) -> [attempt(Function, B) || Function <- [fun uri_string:parse/1, fun uri_string:normalize/1,
                                                      fun uri_string:percent_decode/1,
                                                      fun uri_string:dissect_query/1]] end},
     {"zip:unzip/2, zip:table/1", archives(zip), fun(B) -> {attempt(fun zip:table/1, B), zip:unzip(B, [memory])} end},
     {"erl_tar:extract/2", archives(tar), fun(B) -> erl_tar:extract({binary, B}, [memory]) end},
     {"public_key:pem_decode/1", {binary:copy(<<"-----BEGIN X-----\nQUJD\n-----END X-----\n">>, 3),
                                  binary:copy(<<"-----BEGIN X-----\r\nUJD\n-----END X----\n">>, 3)},
      fun public_key:pem_decode/1},
     {"public_key:der_decode/2",
      {<<48, 6, 2, 1, 5, 2, 1, 7, 0:800>>, <<48, 100, 2, 49, 0:392, 2, 47, 0:376, 0:64>>},
      fun(B) -> public_key:der_decode('RSAPublicKey', B) end},
     {"inet_dns:decode/1", {<<1:16, 0:16, 1:16, 0:48, 3, "abc", 0, 1:16, 1:16, 0:160>>,
                            <<1:16, 0:16, 1:16, 0:48, 16#c0, 12, "ab", 0, 1:16, 1:16, 0:160>>},
      fun inet_dns:decode/1},
     {"xmerl_sax_parser:stream/2",
      begin {A, Z} = widths(), {<<"<a>", A/binary, "</a>">>, <<"<a>", Z/binary, "</a>">>} end,
      fun(B) -> xmerl_sax_parser:stream(B, []) end},
     {"unicode_util:gc/1, cp/1", widths(), fun(B) -> {unicode_util:gc(B), unicode_util:cp(B)} end}].

archives(zip) ->
    {ok, {_, A}} = zip:zip("x", [{"a", binary:copy(<<"a">>, 50)}], [memory]),
    {ok, {_, B}} = zip:zip("x", [{"a", binary:copy(<<"z">>, 50)}], [memory, {compress, []}]),
    same_size(A, B);
archives(tar) ->
    Header = fun(Size) ->
                     Named = [<<"a", 0:99/unit:8>>, "0000644", 0, "0000000", 0, "0000000", 0,
                              io_lib:format("~11.8.0b", [Size]), 0, "00000000000", 0],
                     Rest = [<<"0">>, <<0:355/unit:8>>],
                     Sum = lists:sum(binary_to_list(iolist_to_binary([Named, Rest]))) + 8 * 32,
                     iolist_to_binary([Named, io_lib:format("~6.8.0b", [Sum]), 0, 32, Rest])
             end,
    {<<(Header(100))/binary, 0:1536/unit:8>>, <<(Header(1000))/binary, 0:1536/unit:8>>}.

same_size(A, B) ->
    Size = max(byte_size(A), byte_size(B)),
    {<<0:(Size - byte_size(A))/unit:8, A/binary>>, <<0:(Size - byte_size(B))/unit:8, B/binary>>}.

packets() ->
    Lengths = {<<0:16, 5, 5, 0:800>>, <<48, 0, 0, 60, 0, 60, 60, 0:776>>},
    [{["erlang:decode_packet/3, ", atom_to_list(Type)], Pair, decode(Type)}
     || {Type, Pair} <- [{asn1, {<<48, 5, 0:800>>, <<48, 130, 0, 90, 0:784>>}},
                         {cdr, {<<"GIOP", 1, 0, 0, 0, 5:32, 0:800>>, <<"GIOP", 1, 0, 1, 0, 16#50000000:32, 0:800>>}},
                         {fcgi, {<<1, 0, 0:16, 8:16, 0, 0, 0:800>>, <<1, 0, 0:16, 8:16, 90, 0, 0:800>>}},
                         {sunrm, Lengths}, {tpkt, {<<3, 0, 8:16, 0:800>>, <<3, 0, 90:16, 0:800>>}},
                         {ssl_tls, {<<22, 3, 1, 5:16, 0:800>>, <<22, 3, 1, 90:16, 0:800>>}}, {raw, Lengths}]]
    ++
    [{"erlang:decode_packet/3, 1, 2, 4", Lengths, fun(B) -> each([(decode(Type))(B) || Type <- [1, 2, 4]]) end},
     {"erlang:decode_packet/3, line", {binary:copy(<<"abc\n">>, 90), binary:copy(<<"abcd">>, 90)}, decode(line)}]
    ++
    [{["erlang:decode_packet/3, ", atom_to_list(Type)], {Pad(A), Pad(B)}, decode(Type)}
     || Pad <- [fun(X) -> <<X/binary, 0:(80 - byte_size(X))/unit:8>> end],
        {Type, A, B} <- [{http, <<"GET /index.html HTTP/1.1\r\n">>, <<"HTTP/1.0 200 OKOKOKOKOKOK\r\n">>},
                         {http_bin, <<"GET http://a.b:80/ HTTP/1.1\r\n">>, <<"POST                         \r\n">>},
                         {httph, <<"Content-Length: 12345\r\nA">>, <<"Xyz:            \r\n  abcdefgh\r\nA">>},
                         {httph_bin, <<"Content-Length: 12345\r\nA">>, <<"Content-Length      :abcde\r\nA">>}]].

decode(Type) ->
    fun(B) ->
            case erlang:decode_packet(Type, B, []) of
                {ok, <<>>, _} -> empty;
                {ok, Packet, _} when is_binary(Packet) -> binary:at(Packet, byte_size(Packet) div 2);
                Other -> Other
            end
    end.

tables_and_keys() ->
    Many = maps:from_list([{N, N} || N <- lists:seq(1, 100)]),
    [{Name, {<<"a">>, <<"z">>}, Call} || {Name, Call} <-
        [{"#{}: as a key of a map, 32 keys at most",
          fun(B) ->
                  Map = #{B => 1},
                  case Map of
                      #{<<"a">> := _} -> true;
                      #{<<"z">> := _} -> true;
                      #{} -> wrong
                  end
          end},
         {"#{}: as a key of a larger map",
          fun(B) ->
                  Map = Many#{B => 1},
                  case Map of
                      #{<<"a">> := _} -> true;
                      #{<<"z">> := _} -> true;
                      #{} -> wrong
                  end
          end},
         {"#{}: as a key of a larger map, beside its own bytes",
          fun(B) ->
                  Map = Many#{B => 1, <<"a">> => 2, <<"z">> => 3},
                  Next = maps:remove(B, Map#{B => 4}),
                  case {map_size(Next), maps:size(maps:from_list(maps:to_list(Map)))} of
                      {102, 103} -> wrong;
                      {101, 102} -> right;
                      _ -> wrong
                  end
          end},
         {"ets: as a value", fun(B) -> T = ets:new(t, []), ets:insert(T, {1, B}), ets:lookup(T, 1), ets:delete(T) end},
         {"ets: as a key",
          fun(B) ->
                  T = ets:new(t, [set]),
                  ets:insert(T, {B, 1}),
                  Found = ets:lookup(T, <<"a">>) ++ ets:lookup(T, <<"z">>),
                  ets:delete(T),
                  case Found of
                      [] -> wrong;
                      _ -> right
                  end
          end},
         {"ets: as a key of an ordered_set",
          fun(B) ->
                  T = ets:new(t, [ordered_set]),
                  ets:insert(T, [{<<"m">>, 0}, {B, 1}] ++ [{<<C>>, 2} || C <- lists:seq($b, $y)]),
                  Keys = [K || {K, _} <- ets:tab2list(T)],
                  Sorted = lists:sort(Keys),
                  ets:delete(T),
                  case Keys of
                      Sorted -> right;
                      _ -> wrong
                  end
          end},
         {"gb_trees, gb_sets, orddict, sets: as a key",
          fun(B) ->
                  S = gb_sets:from_list([<<"m">>, B]),
                  case gb_sets:is_member(<<"a">>, S) orelse gb_sets:is_member(<<"z">>, S) of
                      true -> right;
                      false -> wrong
                  end
          end},
         {"put/2: as a key of the process dictionary",
          fun(B) ->
                  put(B, 1),
                  Found = {get(<<"a">>), get(<<"z">>)},
                  [erase(K) || {K, 1} <- get(), is_binary(K)],
                  case Found of
                      {undefined, undefined} -> wrong;
                      _ -> right
                  end
          end}]].

files() ->
    [{Name, latin1(), Call} || {Name, Call} <-
        [{"file:write_file/2,3", fun(B) -> ok = file:write_file("written", B) end},
         {"file:write/2, pwrite/3, raw",
          fun(B) ->
                  {ok, F} = file:open("raw", [raw, write]),
                  ok = file:write(F, B), ok = file:pwrite(F, 0, [B]), ok = file:close(F)
          end},
         {"file:write/2 to a file that was opened with {encoding, utf8}",
          fun(B) ->
                  {ok, F} = file:open("encoded", [write, {encoding, utf8}]), ok = file:write(F, B), ok = file:close(F)
          end},
         {"file:write/2, not raw",
          fun(B) -> {ok, F} = file:open("cooked", [write]), ok = file:write(F, B), ok = file:close(F) end},
         {"emmap:write/2, pwrite/3 to another handle",
          fun(B) ->
                  {ok, F} = emmap:open("other", [create, read, write, shared]),
                  ok = emmap:pwrite(F, 0, B), ok = emmap:write(F, ["x", B]), ok = emmap:close(F)
          end},
         {"port_command/2, to a program",
          fun(B) ->
                  Port = open_port({spawn, "cat >/dev/null"}, [binary]),
                  port_command(Port, B), port_close(Port)
          end},
         {"disk_log:log/2, blog/2",
          fun(B) ->
                  {ok, L} = disk_log:open([{name, l}, {file, "log"}, {format, internal}, {quiet, true}]),
                  disk_log:log(L, B), disk_log:blog(L, term_to_binary(B)), disk_log:close(L)
          end},
         {"dets:insert/2", fun(B) ->
                                   {ok, T} = dets:open_file(t, [{file, "dets"}]),
                                   dets:insert(T, {1, B}), dets:lookup(T, 1), dets:close(T)
                           end}]].

file_names() ->
    Names = {<<"aaa/bbb.ccc">>, <<"//a/../b\\.">>},
    [{Name, Names, Call} || {Name, Call} <-
        [{"filename:split/1", fun filename:split/1}, {"filename:join/1,2", fun(B) -> filename:join(B, <<"x">>) end},
         {"filename:basename/1,2", fun(B) -> {filename:basename(B), filename:basename(B, <<".ccc">>)} end},
         {"filename:dirname/1", fun filename:dirname/1}, {"filename:extension/1", fun filename:extension/1},
         {"filename:rootname/1,2", fun filename:rootname/1}, {"filename:absname/1,2", fun filename:absname/1},
         {"filename:nativename/1, flatten/1", fun(B) -> {filename:nativename(B), filename:flatten(B)} end},
         {"filelib:safe_relative_path/2", fun(B) -> filelib:safe_relative_path(B, <<"x">>) end},
         {"filelib:wildcard/1, is_file/1, file_size/1",
          fun(B) -> {filelib:is_file(B), filelib:file_size(B), attempt(fun filelib:wildcard/1, B)} end},
         {"file:open/2, read_file_info/1 and others, as a name",
          fun(B) -> {file:read_file_info(B), file:open(B, [read])} end}]]
    ++ [{"file:read_file_info/1, a name of other letters than ASCII",
         {<<"éééé"/utf8>>, <<"aaaa", 255, 255, 0, 255>>},
         fun(B) -> file:read_file_info(B) end}].

checksums() ->
    {Zeroes, _} = {binary:copy(<<"zero">>, 2000), x},
    Deflated = zlib:compress(Zeroes),
    Key = <<1:256>>,
    [{Name, letters(), Call} || {Name, Call} <-
        [{"erlang:md5/1, crc32/1, adler32/1", fun(B) -> {erlang:md5(B), erlang:crc32(B), erlang:adler32([B])} end},
         {"crypto:hash/2, mac/4", fun(B) -> {crypto:hash(sha256, B), crypto:mac(hmac, sha256, Key, B)} end},
         {"crypto:crypto_one_time/4,5, crypto_one_time_aead/6",
          fun(B) -> {crypto:crypto_one_time(aes_256_ctr, Key, <<0:128>>, B, true),
                     crypto:crypto_one_time_aead(aes_256_gcm, Key, <<0:96>>, B, <<>>, true)} end},
         {"crypto:exor/2, bytes_to_integer/1", fun(B) -> {crypto:exor(B, B), crypto:bytes_to_integer(B)} end},
         {"zlib:compress/1, gzip/1, zip/1", fun(B) -> {zlib:compress(B), zlib:gzip(B), zlib:zip(B)} end}]]
    ++
    [{"zlib:uncompress/1", {Deflated, <<(binary:part(Deflated, 0, 2))/binary, -1:(byte_size(Deflated) - 2)/unit:8>>},
      fun zlib:uncompress/1},
     {"zlib:uncompress/1, gunzip/1, unzip/1", {zlib:gzip(<<"zero">>), zlib:gzip(<<"ones">>)}, fun zlib:gunzip/1}].

sockets() ->
    [{"gen_tcp:send/2", letters(),
      fun(B) ->
              {S, R} = case get(tcp) of
                           undefined ->
                               {ok, L} = gen_tcp:listen(0, [binary, {active, false}, {ip, {127, 0, 0, 1}}]),
                               {ok, Port} = inet:port(L),
                               {ok, Out} = gen_tcp:connect({127, 0, 0, 1}, Port, [binary]),
                               {ok, In} = gen_tcp:accept(L),
                               put(tcp, {Out, In}),
                               {Out, In};
                           Both -> Both
                       end,
              ok = gen_tcp:send(S, ["x", B]),
              {ok, _} = gen_tcp:recv(R, 1501)
      end},
     {"gen_udp:send/4", letters(),
      fun(B) ->
              {ok, S} = gen_udp:open(0, [{ip, {127, 0, 0, 1}}]),
              ok = gen_udp:send(S, {127, 0, 0, 1}, 9, B),
              gen_udp:close(S)
      end},
     {"socket:send/2", letters(),
      fun(B) ->
              {ok, S} = socket:open(inet, dgram, udp),
              ok = socket:connect(S, #{family => inet, addr => {127, 0, 0, 1}, port => 9}),
              socket:send(S, B), socket:close(S)
      end}].

%% For those that raise when the bytes are wrong, where others are to be called after them.
attempt(Function, Binary) ->
    try Function(Binary)
    catch error:_ -> failed
    end.

%%% What an answer has to be

%% A whole number that is stored as its like are.
normal(Number) ->
    case binary_to_integer(integer_to_binary(Number)) of
        Number -> right;
        _ -> wrong
    end.

%% A float that is a number: arithmetic fails on others.
finite(Float) ->
    try Float * 1.0 of
        Float -> right;
        _ -> wrong
    catch
        error:_ -> wrong
    end.

%% Text as it should be: one that points into the file may have changed since.
valid(Text) when is_binary(Text) ->
    case re:run(Text, <<>>, [unicode, {capture, none}]) of
        match -> right
    end;
valid(_) -> right.

character(C) when C >= 0, C < 16#D800; C > 16#DFFF, C =< 16#10FFFF -> right;
character(_) -> wrong.

each(Answers) ->
    case lists:member(wrong, Answers) of
        true -> wrong;
        false -> right
    end.
