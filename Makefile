# The front door. Everything is built by CMake (presets in CMakePresets.json); these targets install what is missing first.
#
#   make demo     run the main job on the bundled model        make bench    compare with peers -> docs/benchmarks.md
#   make check    build and pass the tests                     make claims   run every claim -> docs/claims.md
#   make install  PREFIX=/usr/local                            make check-arm    build for aarch64, kernels' rooms in an emulator;
#                                                                                ARM="tensor weight lm cli" for other rooms
#   make lint, asan, tsan, clean                               make compose  chains of methods -> docs/compose.md
#   make fuzz     every parser for 60 s; FUZZ=300 for longer, FUZZ=runs=1000000 for so many inputs each

PREFIX ?= /usr/local
FUZZ ?= 60
ARM ?= tensor weight lm

.PHONY: all deps build demo check check-arm asan tsan bench claims compose lint fuzz install clean

all: build

deps:
	@scripts/install-deps.sh build test

build:
	@scripts/install-deps.sh build
	@cmake --preset release -DADZE_TESTS=OFF -DCMAKE_INSTALL_PREFIX=$(PREFIX) -G Ninja >/dev/null
	@cmake --build build

demo: build
	@scripts/demo.sh build/adze

check: deps
	@cmake --preset release -DADZE_TESTS=ON -G Ninja >/dev/null
	@cmake --build build
	@ctest --test-dir build --output-on-failure

check-arm:
	@scripts/install-deps.sh build arm
	@scripts/check-arm.sh $(ARM)

asan: deps
	@cmake --preset asan -G Ninja >/dev/null
	@cmake --build build-asan
	@ctest --test-dir build-asan --output-on-failure

tsan:
	@scripts/install-deps.sh build fuzz
	@scripts/tsan.sh

claims: build
	@scripts/claims.sh build/adze docs/claims.md

compose: build
	@scripts/compose.sh build/adze

bench: build
	@scripts/install-deps.sh bench
	@/usr/bin/python3 bench/run.py build docs/benchmarks.md $(BENCH_OPTIONS)

lint:
	@scripts/install-deps.sh build test lint
	@scripts/lint.sh

fuzz:
	@scripts/install-deps.sh build fuzz
	@scripts/fuzz.sh $(FUZZ)

install: build
	@cmake --install build

clean:
	@rm -rf build build-*
