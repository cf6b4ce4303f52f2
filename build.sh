#!/bin/sh
# Builds the NIF library into priv/. Called by `rebar3 compile` (as a hook), by Mix through it, and by make.
# `build.sh clean` removes what it built.
set -eu
cd "$(dirname "$0")"
library=priv/emmap.so

if [ "${1:-}" = clean ]; then
    rm -rf .build "$library"
    exit 0
fi

fail() {
    printf 'emmap: cannot build the NIF library: %s\n' "$1" >&2
    exit 1
}

command -v swift >/dev/null 2>&1 || fail "there is no 'swift' on the path. Install Swift 6.2 or later (https://www.swift.org/install)."
command -v erl >/dev/null 2>&1 || fail "there is no 'erl' on the path. Install Erlang/OTP 25 or later."
if [ -z "${ERL_INCLUDE_DIR:-}" ]; then
    ERL_INCLUDE_DIR=$(erl -noshell -eval 'io:put_chars(filename:join(code:root_dir(), "usr/include")), halt().')
fi
[ -f "$ERL_INCLUDE_DIR/erl_nif.h" ] ||
    fail "erl_nif.h is not in $ERL_INCLUDE_DIR. Install Erlang's development files (Debian: erlang-dev), or set ERL_INCLUDE_DIR."
export ERL_INCLUDE_DIR

# swift build does nothing when nothing has changed; what it prints matters only when it fails.
log=$(mktemp)
trap 'rm -f "$log"' EXIT
if ! swift build -c release --product emmap >"$log" 2>&1; then
    cat "$log" >&2
    fail "swift build failed; its output is above."
fi
built=$(swift build -c release --show-bin-path)/libemmap.so
# A temporary name and a rename: a VM that has the old library mapped keeps it.
if ! cmp -s "$built" "$library"; then
    mkdir -p priv
    cp "$built" "$library.new"
    mv -f "$library.new" "$library"
fi
