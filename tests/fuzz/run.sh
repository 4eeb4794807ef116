#!/bin/bash
# run.sh SECONDS - builds every fuzzer and runs them for SECONDS in all (TAP)
set -u
cd "$(dirname "$0")/../.." || exit 1
seconds=${1:-60}
fuzzers=(tests/fuzz/fuzz_*.c)
each=$((seconds / ${#fuzzers[@]}))
[ "$each" -ge 2 ] || each=2
out=build/fuzz
mkdir -p "$out"
flags="-std=gnu17 -D_GNU_SOURCE -DTIDEOVER_VERSION=\"fuzz\" -I. -Ilib -O1 -g"
sources=(lib/base/*.c lib/smtp/*.c lib/dns/dns_record.c lib/spool/*.c
	lib/plan/*.c lib/mail/*.c lib/cutover/tenant.c
	lib/cutover/trace.c)
# One of them is the daemon itself.
mapfile -t whole < <(ls lib/*/*.c daemon/*.c | grep -v daemon/main.c)
packages="libevent libevent_openssl openssl libcares libcurl libcjson libidn2 sqlite3"
status=0 n=0
echo "1..${#fuzzers[@]}"
run_one() {
	local name=$1 log=$out/$1.log corpus
	local parts=("${sources[@]}")
	corpus=tests/fuzz/corpus/${name#fuzz_}
	mkdir -p "$out/new-$name"
	[ "$name" != fuzz_control ] || parts=("${whole[@]}")
	clang $flags -fsanitize=fuzzer,address,undefined \
		-fno-sanitize-recover=undefined -o "$out/$name" \
		"tests/fuzz/$name.c" "${parts[@]}" \
		$(pkg-config --libs $packages) -lm -lpthread >"$log" 2>&1 || return 1
	[ -d "$corpus" ] || corpus=
	"$out/$name" -max_total_time="$each" -timeout=10 -rss_limit_mb=2048 \
		-artifact_prefix="$out/" "$out/new-$name" $corpus >>"$log" 2>&1
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
