#!/bin/sh
# install-deps.sh build|test - the Debian packages that are missing, and why
set -eu

build='gcc make pkg-config libevent-dev libssl-dev libc-ares-dev
libcurl4-openssl-dev libcjson-dev libidn2-dev libsqlite3-dev'
test='libcmocka-dev libunbound-dev clang clang-format cppcheck libclang-rt-14-dev python3
perl libidn12 libgnutls-dane0 libnsl2 knot knot-dnsutils unbound swaks postfix zsh fish mandoc openssl ca-certificates iproute2 util-linux'

case "${1:-}" in
build) want=$build why='to build tideover' ;;
test) want="$build $test" why='to build and test tideover (real peers, analysers)' ;;
*) echo "usage: $0 build|test" >&2; exit 2 ;;
esac

missing=
for package in $want; do
	dpkg-query -W -f '${Status}\n' "$package" 2>/dev/null |
		grep -q '^install ok installed' || missing="$missing $package"
done
# As packages Exim and Postfix exclude each other, so Exim is only unpacked.  Its
# program wants the package's user to exist.  Without it a test is skipped.
unpack_exim() {
	exim=$(dirname "$0")/../build/exim
	command -v exim4 >/dev/null || [ -x "$exim/usr/sbin/exim4" ] && return
	echo "Unpacking Exim from Debian, to test with a real peer"
	mkdir -p "$exim"
	(cd "$exim" && apt-get download -q exim4-daemon-light &&
		dpkg -x exim4-daemon-light_*.deb . && rm -f -- *.deb &&
		chmod u-s usr/sbin/exim4) >/dev/null 2>&1 || return
	[ "$(id -u)" != 0 ] || getent passwd Debian-exim >/dev/null ||
		useradd --system --user-group --no-create-home \
			--home-dir /var/spool/exim4 --shell /usr/sbin/nologin Debian-exim
}
after() {
	[ "$1" != test ] || unpack_exim || echo "no Exim: its test is skipped"
}

[ -n "$missing" ] || { after "$1"; exit 0; }

echo "Installing from Debian, $why:$missing"
as_root=
if [ "$(id -u)" != 0 ]; then
	if ! command -v sudo >/dev/null; then
		echo "not root and no sudo: run as root: apt-get install$missing" >&2
		exit 1
	fi
	as_root=sudo
fi
export DEBIAN_FRONTEND=noninteractive
# No service of these packages may start, or it would take the real ports.
log=$(mktemp)
trap 'rm -f "$log"' EXIT
if ! { $as_root apt-get update -q &&
	$as_root env DEBIAN_FRONTEND=noninteractive RUNLEVEL=1 \
	apt-get install -y -q --no-install-recommends $missing; } >"$log" 2>&1
then
	tail -20 "$log" >&2
	echo "apt-get failed: install by hand:$missing" >&2
	exit 1
fi
after "$1"
