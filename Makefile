# tideover: build, demo, test, lint, bench.  `make help` lists the targets.

VERSION := 0.1.0
VARIANT ?= release
CC ?= gcc
ifeq ($(origin CC),default)
CC := gcc
endif
CLANG_FORMAT ?= clang-format

O := build/$(VARIANT)
OBJ := $(O)/obj
PKGS := libevent libevent_openssl openssl libcares libcurl libcjson libidn2 \
	sqlite3

# UNBOUND=1: a validating resolver of our own, for DNSSEC and DANE where there
# is none.  Only one object differs.
DEFS :=
ifneq ($(UNBOUND),)
O := build/$(VARIANT)-unbound
PKGS += libunbound
DEFS += -DTIDEOVER_UNBOUND
endif

WARN := -Wall -Wextra -Wshadow -Wstrict-prototypes -Wmissing-prototypes \
	-Wpointer-arith -Wwrite-strings -Wformat=2 -Wno-unused-parameter
HARD := -fstack-protector-strong -D_FORTIFY_SOURCE=2 -fPIE
SAN :=
FUZZ :=
OPT := -O2 -g
LINK := -pie -Wl,-z,relro,-z,now
ifeq ($(VARIANT),asan)
SAN := -fsanitize=address,undefined -fno-sanitize-recover=undefined
HARD :=
OPT := -O1 -g -fno-omit-frame-pointer
LINK :=
endif
ifeq ($(VARIANT),tsan)
SAN := -fsanitize=thread
HARD :=
OPT := -O1 -g -fno-omit-frame-pointer
LINK :=
endif
ifeq ($(VARIANT),fuzz)
CC := clang
SAN := -fsanitize=address,undefined -fno-sanitize-recover=undefined
FUZZ := -fsanitize=fuzzer-no-link
HARD :=
OPT := -O1 -g
LINK :=
endif
# For its warnings, which need no optimizer.
ifeq ($(VARIANT),clang)
HARD :=
OPT := -O0
endif
ifneq ($(WERROR),)
WARN += -Werror
endif

# Asked once, and not before they are installed.
PKG_CFLAGS = $(eval PKG_CFLAGS := $(shell pkg-config --cflags $(PKGS)))$(PKG_CFLAGS)
PKG_LIBS = $(eval PKG_LIBS := $(shell pkg-config --libs $(PKGS)))$(PKG_LIBS)
CFLAGS_ALL = -std=gnu17 -D_GNU_SOURCE -DTIDEOVER_VERSION='"$(VERSION)"' \
	$(DEFS) -I. -Ilib $(PKG_CFLAGS) $(WARN) $(OPT) $(HARD) $(SAN) $(FUZZ) $(CFLAGS)
LIBS = $(PKG_LIBS) -lpthread -lm

LIB_SRC := $(wildcard lib/*/*.c)
DAEMON_SRC := $(wildcard daemon/*.c)
CLI_SRC := $(wildcard cli/*.c)
UNIT_SRC := $(wildcard tests/unit/test_*.c)
BENCH_SRC := $(wildcard tests/bench/*.c)
LAB_SRC := $(wildcard tests/lab/*.c)
FUZZ_SRC := $(wildcard tests/fuzz/fuzz_*.c)

obj = $(patsubst %.c,$(OBJ)/%.o,$(1))
UNBOUND_OBJ := $(O)/obj/lib/dns/dns_unbound.o
LIB_OBJ := $(call obj,$(filter-out lib/dns/dns_unbound.c,$(LIB_SRC))) \
	$(UNBOUND_OBJ)
DAEMON_OBJ := $(call obj,$(DAEMON_SRC))
CLI_OBJ := $(call obj,$(CLI_SRC))
UNIT := $(patsubst tests/unit/%.c,$(O)/unit/%,$(UNIT_SRC))
BENCH := $(patsubst tests/bench/%.c,$(O)/bench/%,$(BENCH_SRC))
LAB := $(patsubst tests/lab/%.c,$(O)/lab/%,$(LAB_SRC))
FUZZERS := $(patsubst tests/fuzz/%.c,$(O)/bin/%,$(FUZZ_SRC))

all: $(O)/tideover $(O)/tideoverd
	@ln -sfn $(O:build/%=%)/tideover build/tideover
	@ln -sfn $(O:build/%=%)/tideoverd build/tideoverd

$(O)/libtideover.a: $(LIB_OBJ)
	@rm -f $@
	$(AR) rcs $@ $^

$(O)/tideoverd: $(DAEMON_OBJ) $(O)/libtideover.a
	$(CC) $(SAN) $(LINK) -o $@ $^ $(LIBS)

$(O)/tideover: $(CLI_OBJ) $(O)/libtideover.a
	$(CC) $(SAN) $(LINK) -o $@ $^ $(LIBS)

$(sort $(OBJ)/%.o $(O)/obj/%.o): %.c
	@mkdir -p $(@D)
	$(CC) $(CFLAGS_ALL) -MMD -MP -c -o $@ $<

# A unit test may use any module of a program but its main().
UNIT_PARTS := $(filter-out %/main.o,$(DAEMON_OBJ) $(CLI_OBJ))
$(O)/libparts.a: $(UNIT_PARTS)
	@rm -f $@
	$(AR) rcs $@ $^

$(O)/unit/%: tests/unit/%.c $(O)/libparts.a $(O)/libtideover.a
	@mkdir -p $(@D)
	$(CC) $(CFLAGS_ALL) -o $@ $< $(O)/libparts.a $(O)/libtideover.a \
		$(LIBS) -lcmocka

$(O)/faults.so: tests/crash/faults.c
	@mkdir -p $(@D)
	$(CC) -std=gnu17 -D_GNU_SOURCE $(WARN) -O1 -fPIC -shared -o $@ $< -ldl

$(O)/skew.so: tests/verdicts/skew.c
	@mkdir -p $(@D)
	$(CC) -std=gnu17 -D_GNU_SOURCE $(WARN) -O1 -fPIC -shared -o $@ $< -ldl

$(O)/bench/%: tests/bench/%.c $(O)/libparts.a $(O)/libtideover.a
	@mkdir -p $(@D)
	$(CC) $(CFLAGS_ALL) -o $@ $< $(O)/libparts.a $(O)/libtideover.a $(LIBS)

$(O)/lab/%: tests/lab/%.c $(O)/libtideover.a
	@mkdir -p $(@D)
	$(CC) $(CFLAGS_ALL) -o $@ $< $(O)/libtideover.a $(LIBS)

$(O)/bin/fuzz_%: tests/fuzz/fuzz_%.c $(O)/libparts.a $(O)/libtideover.a
	@mkdir -p $(@D)
	$(CC) $(CFLAGS_ALL) -fsanitize=fuzzer -o $@ $< $(O)/libparts.a \
		$(O)/libtideover.a $(LIBS)

unit: $(UNIT) labs
benches: $(BENCH) $(O)/faults.so
labs: $(LAB) $(O)/skew.so
fuzzers: $(FUZZERS)

# Fuzzers: clang's libFuzzer; all together about FUZZ_SECONDS.
FUZZ_SECONDS ?= 600
fuzz: deps-test
	@tests/fuzz/run.sh $(FUZZ_SECONDS)

deps-build:
	@packaging/install-deps.sh build
deps-test:
	@packaging/install-deps.sh test

# The whole cutover of an example plan on this machine.
demo: deps-build
	@$(MAKE) --no-print-directory -s -j$(shell nproc) all
	build/tideover rehearse plans/acme-to-m365.json

# What the command table says, in the files that are committed.
generate: all
	build/tideover completions bash >completions/tideover.bash
	build/tideover completions zsh >completions/_tideover
	build/tideover completions fish >completions/tideover.fish
	build/tideover man >docs/man/tideover.1

# Everything that can be run in a few minutes; ends with a plain count.
test: deps-test
	@tests/run.sh

lint: deps-test
	@tests/lint.sh

clean:
	rm -rf build

help:
	@echo 'make            build build/tideover and build/tideoverd'
	@echo 'make demo       install what is missing, build, rehearse a cutover'
	@echo 'make test       install what is missing, run every test'
	@echo 'make generate   completions and tideover.1 from the command table'
	@echo 'make lint       layering, format, static analysis'
	@echo 'make fuzz       fuzz the parsers (FUZZ_SECONDS=600)'
	@echo 'make crash      CRASH_ROUNDS=3000 times kill -9, a tenth of that faults'
	@echo 'make soak       ten minutes at half the rate: memory and files stay flat'
	@echo 'make bench      beside Postfix, in turns: the table of docs/durability.md'
	@echo 'VARIANT=asan|tsan|release'
	@echo 'UNBOUND=1       with libunbound (libunbound-dev): DNSSEC, DANE'

# kill -9 while mail flows in and out; faults; whole cutovers with ten kills.
CRASH_ROUNDS ?= 3000
crash: deps-test
	@$(MAKE) --no-print-directory -s -j$(shell nproc) all unit benches
	@$(MAKE) --no-print-directory -s -j$(shell nproc) VARIANT=asan all labs
	@KILL_ROUNDS=$(CRASH_ROUNDS) python3 tests/e2e/test_kills.py
	@FAULT_ROUNDS=$$(($(CRASH_ROUNDS) / 10)) python3 tests/e2e/test_faults.py
	@for seed in $$(seq $$(($(CRASH_ROUNDS) / 1000))); do \
		SEED=$$seed VARIANT=asan python3 tests/e2e/test_crash.py || exit 1; \
	done

soak: deps-test
	@$(MAKE) --no-print-directory -s -j$(shell nproc) all benches
	@SOAK_SECONDS=$${SOAK_SECONDS:-600} python3 tests/e2e/test_soak.py

bench: deps-test
	@$(MAKE) --no-print-directory -s -j$(shell nproc) all benches
	@python3 tests/bench/bench.py
	@for test in attack survey_scale window; do \
		BARS=1 VARIANT=release python3 tests/e2e/test_$$test.py || exit 1; \
	done

.PHONY: all unit benches labs fuzzers fuzz deps-build deps-test demo test lint clean help generate \
	crash soak bench
.SECONDARY:
.DELETE_ON_ERROR:

-include $(shell find $(OBJ) $(O)/obj -name '*.d' 2>/dev/null)
