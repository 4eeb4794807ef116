#!/bin/bash
# The committed completions and manual are what the command table says, and
# the shells and mandoc can read them (TAP).
set -u
cd "$(dirname "$0")/../.." || exit 1
tideover=build/asan/tideover
n=0 status=0

check() {
	local what=$1
	shift
	n=$((n + 1))
	if "$@" >/dev/null 2>&1; then
		echo "ok $n - $what"
	else
		echo "not ok $n - $what"
		status=1
	fi
}

check_with() {
	if command -v "$2" >/dev/null; then
		check "$1" "${@:2}"
	else
		n=$((n + 1))
		echo "ok $n - $1 # skip no $2 here"
	fi
}

same() {
	cmp <("$tideover" "${@:2}") "$1"
}

readable() {
	[ -z "$(mandoc -T lint -W warning "$1" 2>&1 |
		grep -v 'missing date')" ]
}

check "tideover.bash is generated" \
	same completions/tideover.bash completions bash
check "_tideover is generated" same completions/_tideover completions zsh
check "tideover.fish is generated" \
	same completions/tideover.fish completions fish
check "tideover.1 is generated" same docs/man/tideover.1 man
check_with "bash reads its completions" bash -n completions/tideover.bash
check_with "zsh reads its completions" zsh -n completions/_tideover
check_with "fish reads its completions" \
	fish --no-execute completions/tideover.fish
# Bash really offers a command and an option's values.
check "bash completes a command" bash -c '
	. completions/tideover.bash
	COMP_WORDS=(tideover fin) COMP_CWORD=1
	_tideover; [ "${COMPREPLY[*]}" = finish ]'
check "bash completes a value" bash -c '
	. completions/tideover.bash
	COMP_WORDS=(tideover report --format "") COMP_CWORD=3
	_tideover; [ "${COMPREPLY[*]}" = "html md json" ]'
if command -v mandoc >/dev/null; then
	check "mandoc reads tideover.1" readable docs/man/tideover.1
	check "mandoc reads tideoverd.8" readable docs/man/tideoverd.8
else
	check_with "mandoc reads the manuals" mandoc
fi
echo "1..$n"
exit $status
