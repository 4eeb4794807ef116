#!/bin/bash
# lint.sh - layering, line length, cppcheck
set -u
cd "$(dirname "$0")/.." || exit 1
status=0

python3 tests/lint_layers.py || status=1

long=$(awk '{ line = $0; gsub(/\t/, "        ", line);
	if (length(line) > 84) print FILENAME ":" FNR ": " length(line) }' \
	lib/*/*.[ch] daemon/*.[ch] cli/*.[ch])
if [ -n "$long" ]; then
	echo "lines over 84 columns:"
	echo "$long"
	status=1
fi
trailing=$(grep -nE '[[:blank:]]+$' lib/*/*.[ch] daemon/*.[ch] cli/*.[ch])
if [ -n "$trailing" ]; then
	echo "blanks at the end of lines:"
	echo "$trailing"
	status=1
fi

cppcheck --std=c11 --quiet --error-exitcode=1 --inline-suppr \
	--enable=warning,portability --suppress=missingIncludeSystem \
	--suppress=nullPointerOutOfMemory --suppress=unknownMacro \
	-I. -Ilib -DTIDEOVER_VERSION='""' -j"$(nproc)" lib daemon cli || status=1

[ $status -eq 0 ] && echo "lint: clean"
exit $status
