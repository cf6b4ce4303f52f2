# Sourced by the scripts here. `run` has set: WORK, a directory for this run; EMMAP, a built checkout of emmap that has
# been packaged; TESTS, this directory.
: "${WORK:?start this script through Tests/packages/run}"
set -u
status=0
script=$(basename "$0")
# Each script has a directory of its own.
here=$WORK/$script
mkdir -p "$here"
cd "$here" || exit 1
library=$(sh "$EMMAP/build.sh" name).so
version=$(sed -n 's/.*{vsn, "\([^"]*\)"}.*/\1/p' "$EMMAP/erlang/emmap.app.src")
package=$EMMAP/_packages/emmap_swift-$version.tar

# check NAME COMMAND...: a test. What the command printed is shown if it fails.
check() {
    name=$1
    shift
    if ("$@") >"$here/log" 2>&1 </dev/null; then
        printf 'ok %s\n' "$name"
    else
        printf 'FAILED %s\n' "$name"
        { cat "$here/log" && echo; } | tail -n 60 | sed 's/^/    /'
        status=1
    fi
}

skip() { printf 'skipped %s\n' "$1"; }

# contains FILE TEXT
contains() {
    grep -qF -- "$2" "$1" || {
        printf 'not found: %s\nin:\n' "$2"
        cat "$1"
        return 1
    }
}

# fails COMMAND...: whether it ends with an error. Its output goes to the file `output`.
fails() {
    if "$@" >"$here/output" 2>&1; then
        echo "ended without an error: $*"
        cat "$here/output"
        return 1
    fi
}

# unpack DIRECTORY: the files of the package.
unpack() {
    mkdir -p "$1"
    tar xf "$package" -O contents.tar.gz | tar xzf - -C "$1"
}

# readme_block KIND [FILE]: the block of README.md, or FILE, behind the comment <!-- KIND -->.
readme_block() {
    awk -v kind="<!-- $1 -->" '
        $0 == kind { wanted = 1; next }
        wanted && /^```/ { if (inside) exit; inside = 1; next }
        inside' "$EMMAP/${2:-README.md}" >"$here/block"
    cat "$here/block"
    [ -s "$here/block" ]
}

# first_block LANGUAGE: the first block of README.md in that language.
first_block() {
    awk -v fence='```'"$1" '$0 == fence { inside = 1; next } inside && /^```/ { exit } inside' "$EMMAP/README.md" \
        >"$here/block"
    cat "$here/block"
    [ -s "$here/block" ]
}

# without_swift: the search path for commands, less Swift. From a directory that has other commands, too, all others
# are taken along.
without_swift() {
    result= number=0
    old_ifs=$IFS
    IFS=:
    for directory in $PATH; do
        if [ -x "$directory/swift" ]; then
            number=$((number + 1))
            others=$WORK/path$number
            if [ ! -d "$others" ]; then
                mkdir "$others"
                find "$directory" -mindepth 1 -maxdepth 1 ! -name 'swift*' -exec ln -s -t "$others" {} +
            fi
            directory=$others
        fi
        result=$result${result:+:}$directory
    done
    IFS=$old_ifs
    printf '%s\n' "$result"
}

# A module that writes a file through a mapping and reads it back: that the library is loaded, and works.
write_round_trip() {
    cat >"$1" <<'END'
-module(round_trip).
-export([main/1, run/1]).

main([Name]) -> io:format("~p~n", [run(Name)]).

run(Name) ->
    {ok, F} = emmap:open(Name, [create, write, shared, {size, 64}]),
    ok = emmap:pwrite(F, 8, <<"round trip">>),
    ok = emmap:close(F),
    {ok, <<_:8/binary, "round trip", _/binary>>} = file:read_file(Name),
    round_trip_done.
END
}

# write_project DIRECTORY DEPS: a new rebar3 project.
write_project() {
    mkdir -p "$1/src"
    write_round_trip "$1/src/round_trip.erl"
    cat >"$1/src/app.app.src" <<'END'
{application, app, [{description, "uses emmap"}, {vsn, "0.1.0"}, {applications, [kernel, stdlib, emmap]}]}.
END
    printf '{deps, [%s]}.\n' "$2" >"$1/rebar.config"
}

# with_checkout DIRECTORY EMMAP: makes a project that depends on emmap use that checkout of it.
with_checkout() {
    mkdir -p "$1/_checkouts"
    ln -s "$2" "$1/_checkouts/emmap"
}

# round_trip PROJECT: runs the module in a VM with what rebar3 has compiled there.
round_trip() {
    # Unquoted: one argument for each path, and there are no blanks in them.
    erl -noshell -pa $(cd "$1" && rebar3 path --separator ' ') \
        -eval 'round_trip:main(init:get_plain_arguments()), halt().' -extra "$here/data.$$" >"$here/output" 2>&1
    cat "$here/output"
    rm -f "$here/data.$$"
    contains "$here/output" round_trip_done
}
