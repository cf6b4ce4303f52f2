# What a newcomer types. `rebar3 compile` alone builds the library, too.
.POSIX:
.PHONY: all demo test bench package clean

all:
	@scripts/install-deps build
	@QUIET=1 rebar3 compile

# The main uses, on the largest real files that are here.
demo: all
	@mkdir -p _build/examples && erlc -Werror -o _build/examples examples/demo.erl
	@erl -noshell -pa _build/default/lib/emmap/ebin -pa _build/examples -run demo main

# All tests; `scripts/run-tests NAME...` runs some of them. The last line is `N passed, N failed`.
test:
	@scripts/install-deps
	@scripts/run-tests

# Speed, against what one would call otherwise; writes bench/RESULTS.md.
bench: all
	@bench/run

# What is to be published, into _packages: the library for this platform, and the package for Hex. Then builds projects
# on them, with Swift and without. PLATFORM names other platforms to build the library for, too, from here, such as
# aarch64-linux-gnu; scripts/build-for has all.
package:
	@scripts/install-deps package
	@QUIET=1 rebar3 compile
	@scripts/package $(PLATFORM)
	@Tests/packages/run --packaged hex_package no_swift musl

clean:
	@rm -rf .build .build-* _build _packages priv/emmap.so priv/prebuilt doc erl_crash.dump \
		rebar3.crashdump
