# SPDX-License-Identifier: GPL-2.0-or-later
# shellcheck shell=bash disable=SC2154
# Every call of the library. Sourced by run.

"$top/build/tests/faults/calls" "$mnt" "$device" "$spare" >"$out" 2>&1
got=$?
while IFS= read -r line; do
	case $line in
	'ok '*) ok "${line#*- }" ;;
	'not ok '*) not_ok "${line#*- }" ;;
	*\ passed,\ *) closed=1 ;;
	*) printf '%s\n' "$line" ;;
	esac
done <"$out"
[[ ${closed:-} ]] || not_ok "the calls of the library" "the program ended early: exit status $got"
