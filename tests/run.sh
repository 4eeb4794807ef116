#!/bin/bash
# run.sh - every test; ends with a plain count
#
# Unit tests run with AddressSanitizer and UBSan, then the end-to-end tests
# with the real programs and real peers.  A test program speaks TAP; skipped
# tests are counted as skipped.
set -u
cd "$(dirname "$0")/.." || exit 1
jobs=$(nproc)
make=(make --no-print-directory -s "-j$jobs")
targets=(all unit benches)
passed=0 failed=0 skipped=0

fail() {
	echo "FAILED: $*"
	failed=$((failed + 1))
}

# The build itself: no warning with gcc or clang.
build() {
	echo "== build: $*"
	if env "$@" "${make[@]}" WERROR=1 "${targets[@]}"; then
		passed=$((passed + 1))
	else
		fail "build $*"
	fi
}

# Runs one program that speaks TAP and adds up what it says.
tap() {
	local name=$1 out status good bad skip
	shift
	out=$(mktemp)
	timeout 900 "$@" >"$out" 2>"$out.err" </dev/null
	status=$?
	# cmocka says "not ok" of a test that it skips.
	sed -i -E 's/^not (ok [0-9]+ # SKIP)/\1/' "$out"
	good=$(grep -c '^ok ' "$out")
	bad=$(grep -c '^not ok ' "$out")
	skip=$(grep -ci '^ok .*# skip' "$out")
	passed=$((passed + good - skip))
	skipped=$((skipped + skip))
	failed=$((failed + bad))
	grep -i '^ok .*# skip' "$out"
	if [ $status -ne 0 ] || [ "$bad" -gt 0 ] || [ $((good + bad)) -eq 0 ]
	then
		[ "$bad" -gt 0 ] || fail "$name (exit status $status)"
		echo "-- $name"
		grep -v '^ok ' "$out" | tail -60
		tail -60 "$out.err"
	else
		echo "ok $name ($good)"
		grep -oE '(accepted|replayed): [0-9]+ messages/s.*' "$out"
	fi
	rm -f "$out" "$out.err"
}

build CC=gcc VARIANT=release
build CC=clang VARIANT=clang
build CC=gcc VARIANT=asan

export CMOCKA_MESSAGE_OUTPUT=TAP
export ASAN_OPTIONS=detect_leaks=1 UBSAN_OPTIONS=print_stacktrace=1
echo "== unit tests (ASan, UBSan)"
for test in build/asan/unit/test_*; do
	[ -x "$test" ] && tap "${test##*/}" "$test"
done
for test in tests/unit/*.py; do
	[ -e "$test" ] && tap "${test##*/}" python3 "$test"
done
for test in tests/unit/*.sh; do
	[ -e "$test" ] && tap "${test##*/}" bash "$test"
done

echo "== the threads (TSan)"
build CC=gcc VARIANT=tsan
export TSAN_OPTIONS=halt_on_error=1:exitcode=66
tap "test_spool_writer (TSan)" build/tsan/unit/test_spool_writer
tap "a rehearsal (TSan)" env VARIANT=tsan \
	python3 tests/e2e/test_rehearsal.py plans/acme-to-m365.json

echo "== end to end (ASan, UBSan)"
for test in tests/e2e/test_*.py; do
	tap "${test##*/}" python3 "$test"
done

echo "== with libunbound"
targets=(all)
build CC=gcc VARIANT=asan UNBOUND=1
tap "test_dane.py (libunbound)" env VARIANT=asan-unbound \
	python3 tests/e2e/test_dane.py

echo "== fuzzers, a minute in all"
tap fuzzers tests/fuzz/run.sh 60

echo
echo "$passed passed, $failed failed, $skipped skipped"
[ "$failed" -eq 0 ]
