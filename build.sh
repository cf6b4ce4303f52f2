#!/bin/sh
# Puts the NIF library into priv/. rebar3 runs it before `compile`, as a project of its own and as a dependency, and so
# does Mix through rebar3.
#
#   build.sh           builds the library with Swift, if anything that it is made of has changed. Without Swift, or when
#                      EMMAP_PREBUILT names a directory, takes a library that was built elsewhere
#   build.sh docs      after `compile`: writes what the shells' h() prints, if EDoc is there
#   build.sh name      prints what a library for this platform, or that of the next argument, is called, without its
#                      ending
#   build.sh clean     removes what it built
#
# ERL_INCLUDE_DIR is where erl_nif.h is, if it is not where the `erl` on the path has it.
#
# EMMAP_PREBUILT is an absolute path. Without it, libraries built elsewhere are looked for in priv/prebuilt, which
# packages bring along. A library's name has the version of emmap, that of the NIF interface, and the platform; beside
# it is its SHA-256:
#   emmap-0.1.0-nif-2.16-x86_64-linux-gnu.so
#   emmap-0.1.0-nif-2.16-x86_64-linux-gnu.so.sha256
set -eu
cd "$(dirname "$0")"
library=priv/emmap.so
# The oldest NIF interface that has all that the library calls: OTP 25's. Later VMs load it, too.
nif_version=2.16

fail() {
    printf 'emmap: %s\n' "$*" >&2
    exit 1
}

has_command() { command -v "$1" >/dev/null 2>&1; }

need_erlang() { has_command erl || fail "there is no 'erl' on the path. Install Erlang/OTP 25 or later."; }

# rebar3 tells its hooks where Erlang is; that saves the start of a VM.
find_erlang_root() {
    [ -n "${ERLANG_ROOT_DIR:-}" ] || {
        need_erlang
        ERLANG_ROOT_DIR=$(erl -noshell -eval 'io:put_chars(code:root_dir()), halt().')
    }
}

# The triple that Erlang was built for, without the vendor: x86_64-linux-gnu.
platform() {
    need_erlang
    erl -noshell -eval '
        [Machine | System] = string:lexemes(erlang:system_info(system_architecture), "-"),
        Wanted = case System of [_Vendor, Kernel, C] -> [Kernel, C]; Other -> Other end,
        io:put_chars(lists:join("-", [Machine | Wanted])), halt().'
}

# library_name [PLATFORM]: what a library for this platform, or that one, is called, without its ending. With emmap's
# own version, so that one left over from another version is not taken.
library_name() {
    version=$(sed -n 's/.*{vsn, "\([^"]*\)"}.*/\1/p' erlang/emmap.app.src)
    printf 'emmap-%s-nif-%s-%s\n' "$version" "$nif_version" "${1:-$(platform)}"
}

# install FILE: a temporary name and a rename, because a VM that has the old library mapped must keep it.
install() {
    mkdir -p priv
    cp "$1" "$library.$$"
    chmod 755 "$library.$$"
    mv -f "$library.$$" "$library"
}

sha256() {
    if has_command sha256sum; then
        sha256sum <"$1"
    elif has_command shasum; then
        shasum -a 256 <"$1"
    else
        fail "cannot check $1: there is no sha256sum or shasum on the path."
    fi
}

# use_prebuilt DIRECTORY WHY
use_prebuilt() {
    name=$(library_name)
    prebuilt=$1/$name.so
    [ -f "$prebuilt" ] || fail "$2, and there is no library for this platform at $prebuilt." \
        "Install Swift 6.2 or later (https://www.swift.org/install), or build the library on a machine that has it" \
        "('make package' there), and set EMMAP_PREBUILT to the directory that holds $name.so and $name.so.sha256."
    [ -f "$prebuilt.sha256" ] || fail "$prebuilt has no checksum beside it: $prebuilt.sha256 is missing."
    # Against a damaged or half copied file. Whoever can replace the library can replace the checksum as well.
    wanted=$(cut -d ' ' -f 1 "$prebuilt.sha256")
    found=$(sha256 "$prebuilt")
    [ "${found%% *}" = "$wanted" ] ||
        fail "$prebuilt is damaged: its SHA-256 is ${found%% *}, and $prebuilt.sha256 says $wanted."
    cmp -s "$prebuilt" "$library" || install "$prebuilt"
    # For the next time, which may be without the variable: whoever compiles a project compiles its dependencies, too.
    if [ "$1" != priv/prebuilt ]; then
        mkdir -p priv/prebuilt
        cp "$prebuilt" "$prebuilt.sha256" priv/prebuilt/
    fi
}

# All that the library depends on, and the library itself, as one line.
fingerprint() {
    {
        printf '%s\n' "$ERL_INCLUDE_DIR"
        ls -lL "$(command -v swift)"
        find Sources Package.swift build.sh -type f | LC_ALL=C sort | xargs cksum
        cksum "$ERL_INCLUDE_DIR"/erl_nif*.h "$library" 2>/dev/null || echo "no library"
    } | cksum
}

build() {
    if [ -z "${ERL_INCLUDE_DIR:-}" ]; then
        find_erlang_root
        ERL_INCLUDE_DIR=$ERLANG_ROOT_DIR/usr/include
    fi
    [ -f "$ERL_INCLUDE_DIR/erl_nif.h" ] || fail "cannot build the library: erl_nif.h is not in $ERL_INCLUDE_DIR." \
        "Install Erlang's development files (Debian: erlang-dev), or set ERL_INCLUDE_DIR to where it is."
    export ERL_INCLUDE_DIR

    # Compiled modules hold the path of the checkout; one that was moved or copied has to start anew.
    root=$(pwd -P)
    if [ -f .build/emmap-root ] && [ "$(cat .build/emmap-root)" != "$root" ]; then rm -rf .build; fi
    if [ "$(cat .build/emmap-fingerprint 2>/dev/null)" = "$(fingerprint)" ]; then return; fi

    # What swift build prints matters only when it fails.
    log=$(mktemp)
    trap 'rm -f "$log"' EXIT
    if ! swift build -c release --product emmap >"$log" 2>&1; then
        version=$(swift --version 2>/dev/null | sed -n 's/.*Swift version \([0-9]*\.[0-9]*\).*/\1/p')
        case $version in
            [1-5].* | 6.[01])
                use_prebuilt priv/prebuilt "the 'swift' on the path is version $version, too old to build the library"
                return
                ;;
        esac
        cat "$log" >&2
        fail "cannot build the library: swift build failed; its output is above."
    fi
    built=$(swift build -c release --show-bin-path)/libemmap.so
    cmp -s "$built" "$library" || install "$built"
    printf '%s\n' "$root" >.build/emmap-root
    fingerprint >.build/emmap-fingerprint
}

# The shells look for doc/chunks beside the ebin directory. Which one that is depends on who compiles: Mix, or rebar3
# with emmap as its project or dependency, or as a checkout.
docs() {
    need_erlang
    for output in "${REBAR_BARE_COMPILER_OUTPUT_DIR:-}" "${REBAR_DEPS_DIR:-_build/default/lib}/emmap" \
        "${REBAR_CHECKOUTS_OUT_DIR:-_build/default/checkouts}/emmap"; do
        [ -f "$output/ebin/emmap.beam" ] || continue
        if [ -z "$(find erlang/src -name '*.erl' -newer "$output/doc/chunks/emmap.chunk" 2>&1)" ]; then continue; fi
        # Without EDoc the shells still print specs. Nothing about documentation may fail somebody's build.
        #
        # What EDoc writes are trees of HTML. From OTP 27 on, whose own documentation is in Markdown, so are these: the
        # IEx of later days reads nothing else.
        erl -noshell -eval '
            Plain =
                fun P({_, _, Content}) -> P(Content);
                    P(Contents) when is_list(Contents) -> lists:map(P, Contents);
                    P(Text) -> Text
                end,
            Markdown =
                fun M({p, _, Content}) -> [M(Content), "\n\n"];
                    M({code, _, Content}) -> ["`", Plain(Content), "`"];
                    M({pre, _, Content}) -> ["```\n", Plain(Content), "\n```\n\n"];
                    M({li, _, Content}) -> ["- ", M(Content), "\n"];
                    M({dt, _, Content}) -> ["- ", M(Content), ": "];
                    M({dd, _, Content}) -> [M(Content), "\n"];
                    M({List, _, Content}) when List =:= ul; List =:= dl -> ["\n", M(Content), "\n"];
                    M({_, _, Content}) -> M(Content);
                    M(Contents) when is_list(Contents) -> lists:map(M, Contents);
                    M(Text) -> Text
                end,
            Texts =
                fun(#{} = Docs) -> maps:map(fun(_, Tree) -> unicode:characters_to_binary(Markdown(Tree)) end, Docs);
                   (None) -> None
                end,
            Rewrite =
                fun(File) ->
                        {ok, Bytes} = file:read_file(File),
                        {docs_v1, Where, Language, _, Module, Meta, Docs} = binary_to_term(Bytes),
                        All = [{Name, At, Signature, Texts(Doc), More} || {Name, At, Signature, Doc, More} <- Docs],
                        Chunk = {docs_v1, Where, Language, <<"text/markdown">>, Texts(Module), Meta, All},
                        ok = file:write_file(File, term_to_binary(Chunk, [compressed]))
                end,
            case code:which(edoc_doclet_chunks) of
                non_existing -> ok;
                _ ->
                    [Directory] = init:get_plain_arguments(),
                    edoc:files(filelib:wildcard("erlang/src/*.erl"),
                               [{doclet, edoc_doclet_chunks}, {layout, edoc_layout_chunks}, {preprocess, true},
                                {dir, Directory}]),
                    [Rewrite(File) || erlang:system_info(otp_release) >= "27",
                                      File <- filelib:wildcard(filename:join([Directory, "chunks", "*.chunk"]))]
            end, halt().' -extra "$output/doc" >/dev/null 2>&1 || true
    done
}

case ${1:-} in
    clean) rm -rf .build "$library" ;;
    docs) docs ;;
    name) library_name "${2:-}" ;;
    '')
        if [ -n "${EMMAP_PREBUILT:-}" ]; then
            case $EMMAP_PREBUILT in
                /*) ;;
                *) fail "EMMAP_PREBUILT is '$EMMAP_PREBUILT'; it must be an absolute path." ;;
            esac
            use_prebuilt "$EMMAP_PREBUILT" "EMMAP_PREBUILT is set"
        elif has_command swift; then
            build
        else
            use_prebuilt priv/prebuilt "there is no 'swift' on the path"
        fi
        ;;
    *) fail "build.sh: unknown command $1" ;;
esac
