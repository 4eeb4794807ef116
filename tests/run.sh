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
passed=0 failed=0 skipped=0

fail() {
	echo "FAILED: $*"
	failed=$((failed + 1))
}

# The build itself: no warning with gcc or clang.  `build VARIABLES -- TARGETS`.
build() {
	local variables=()
	while [ "$1" != -- ]; do
		variables+=("$1")
		shift
	done
	shift
	echo "== build: ${variables[*]}"
	if env "${variables[@]}" "${make[@]}" WERROR=1 "$@"; then
		passed=$((passed + 1))
	else
		fail "build ${variables[*]}"
	fi
}

results=$(mktemp -d)
trap 'rm -rf "$results"' EXIT

# Runs one program that speaks TAP.
run() {
	local out="$results/$1" begun=$SECONDS
	shift
	timeout 900 "$@" >"$out" 2>"$out.err" </dev/null
	echo "$? $((SECONDS - begun))" >"$out.ending"
	mv "$out.ending" "$out.end"
}

# Adds up what it said.
judge() {
	local name=$1 out="$results/$1" status took good bad skip
	read -r status took <"$out.end"
	# cmocka says "not ok" of a test that it skips.
	sed -i -E 's/^not (ok [0-9]+ # SKIP)/\1/' "$out"
	good=$(grep -c '^ok ' "$out")
	bad=$(grep -c '^not ok ' "$out")
	skip=$(grep -ci '^ok .*# skip' "$out")
	passed=$((passed + good - skip))
	skipped=$((skipped + skip))
	failed=$((failed + bad))
	grep -i '^ok .*# skip' "$out"
	if [ "$status" -ne 0 ] || [ "$bad" -gt 0 ] || [ $((good + bad)) -eq 0 ]
	then
		[ "$bad" -gt 0 ] || fail "$name (exit status $status)"
		echo "-- $name"
		grep -v '^ok ' "$out" | tail -60
		tail -60 "$out.err"
	else
		echo "ok $name ($good, $took s)"
		grep -oE '(accepted|replayed): [0-9]+ messages/s.*' "$out"
	fi
	rm -f "$out" "$out.err" "$out.end"
}

tap() {
	run "$@"
	judge "$1"
}

judge_ended() {
	local end
	for end in "$results"/*.end; do
		[ ! -e "$end" ] || judge "$(basename "$end" .end)"
	done
}

# Three at a time: they wait more than they work.
tap_together() {
	local test by
	for test in "$@"; do
		while [ "$(jobs -rp | wc -l)" -ge 3 ]; do
			wait -n
			judge_ended
		done
		case $test in
		*.py) by=(python3) ;;
		*.sh) by=(bash) ;;
		*) by=() ;;
		esac
		run "${test##*/}" "${by[@]}" "$test" &
	done
	wait
	judge_ended
}

build CC=gcc VARIANT=release -- all labs benches
build CC=clang VARIANT=clang -- all unit benches
build CC=gcc VARIANT=asan -- all unit benches

export CMOCKA_MESSAGE_OUTPUT=TAP
export ASAN_OPTIONS=detect_leaks=1 UBSAN_OPTIONS=print_stacktrace=1
echo "== unit tests (ASan, UBSan)"
units=()
for test in tests/unit/test_*.c; do
	units+=("build/asan/unit/$(basename "$test" .c)")
done
tap_together "${units[@]}" tests/unit/*.py tests/unit/*.sh

echo "== the threads (TSan)"
build CC=gcc VARIANT=tsan -- all labs build/tsan/unit/test_spool_writer
export TSAN_OPTIONS=halt_on_error=1:exitcode=66
tap "test_spool_writer (TSan)" build/tsan/unit/test_spool_writer
tap "a rehearsal (TSan)" env VARIANT=tsan \
	python3 tests/e2e/test_rehearsal.py plans/acme-to-m365.json

echo "== end to end (ASan, UBSan)"
# These measure, or use every processor themselves.
alone=(attack soak survey_scale verdicts volume)
together=()
for test in tests/e2e/test_*.py; do
	name=${test##*/test_}
	[[ " ${alone[*]} " = *" ${name%.py} "* ]] || together+=("$test")
done
tap_together "${together[@]}"
for name in "${alone[@]}"; do
	tap "test_$name.py" python3 "tests/e2e/test_$name.py"
done

echo "== with libunbound"
build CC=gcc VARIANT=asan UNBOUND=1 -- all
for name in dane dnssec; do
	run "test_$name.py (libunbound)" env VARIANT=asan-unbound \
		python3 "tests/e2e/test_$name.py" &
done

echo "== fuzzers, a minute in all"
run fuzzers tests/fuzz/run.sh 60
wait
judge_ended

echo
echo "$passed passed, $failed failed, $skipped skipped"
[ "$failed" -eq 0 ]
