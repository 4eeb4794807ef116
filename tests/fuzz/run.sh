#!/bin/bash
# run.sh SECONDS - builds every fuzzer and runs them for SECONDS in all (TAP)
set -u
cd "$(dirname "$0")/../.." || exit 1
seconds=${1:-60}
fuzzers=(tests/fuzz/fuzz_*.c)
each=$((seconds / ${#fuzzers[@]}))
[ "$each" -ge 2 ] || each=2
out=build/fuzz
status=0 n=0
echo "1..${#fuzzers[@]}"
make --no-print-directory -s "-j$(nproc)" VARIANT=fuzz WERROR=1 fuzzers ||
	exit 1

run_one() {
	local name=$1 corpus=tests/fuzz/corpus/${1#fuzz_}
	mkdir -p "$out/new-$name"
	[ -d "$corpus" ] || corpus=
	"$out/bin/$name" -max_total_time="$each" -timeout=10 \
		-rss_limit_mb=2048 -artifact_prefix="$out/" \
		"$out/new-$name" $corpus >"$out/$name.log" 2>&1
}

for f in "${fuzzers[@]}"; do
	n=$((n + 1))
	name=$(basename "$f" .c)
	if run_one "$name"; then
		echo "ok $n - $name: $(grep -c . <<<"$(ls "$out/new-$name")") new inputs"
	else
		echo "not ok $n - $name"
		tail -30 "$out/$name.log"
		status=1
	fi
done
exit $status
