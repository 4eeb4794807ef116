#!/bin/bash
# lint.sh - layering, format, cppcheck
set -u
cd "$(dirname "$0")/.." || exit 1
status=0

python3 tests/lint_layers.py || status=1

sources=(lib/*/*.[ch] daemon/*.[ch] cli/*.[ch] tests/*/*.[ch])
clang-format --dry-run -Werror --ferror-limit=3 "${sources[@]}" || {
	echo "format: run clang-format -i on these"
	status=1
}

cppcheck --std=c11 --quiet --error-exitcode=1 --inline-suppr \
	--enable=warning,portability --suppress=missingIncludeSystem \
	--suppress=nullPointerOutOfMemory --suppress=unknownMacro \
	-I. -Ilib -DTIDEOVER_VERSION='""' -j"$(nproc)" lib daemon cli || status=1

[ $status -eq 0 ] && echo "lint: clean"
exit $status
