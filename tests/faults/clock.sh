# SPDX-License-Identifier: GPL-2.0-or-later
# shellcheck shell=bash disable=SC2154,SC2034
# Clocks that jump, or that others see differently. Sourced by run.

if in_vm; then
	# A day forth and back: nothing counts by that clock.
	for step in '+1 day' '-1 day'; do
		name=$("$freezefd" hold --detach --timeout 1h "$mnt") problem=
		now=$(date +%s)
		date -s "$step" >"$out" 2>&1 || problem="cannot set the clock: $(<"$out")"
		is_state "$mnt" frozen || problem+="broken by it"
		"$freezefd" release "$name" 2>"$err" || problem+="release: $(<"$err")"
		name=$("$freezefd" hold --detach --timeout 1s "$mnt")
		date -s "$step" >"$out" 2>&1
		AWAIT=20 await is_state "$mnt" thawed || problem+="the deadline does not come"
		"$freezefd" release "$name" 2>"$err" && problem+="the broken hold is not told"
		date -s "@$now" >"$out" 2>&1
		result "the clock is set by $step" "$problem"
	done
else
	skip "the clock is set" "only in a VM"
fi

# Who counts by another clock starts the guardian, or comes to one that is there.
if unshare --time --boottime 100000 --fork true 2>/dev/null; then
	as=(unshare --time --boottime 100000 --fork)
	label='in a time namespace: '
	works run --timeout 60s "$mnt" -- "$freezefd" status --quiet "$mnt"
	fails 124 'broken by its timeout of 300ms' run --timeout 300ms "$mnt" -- sh -c "until [ \"\$('$freezefd' status -n -o STATE '$mnt')\" = thawed ]; do sleep 0.02; done"
	name=$("$freezefd" hold --detach --timeout 60s "$mnt")
	timeout -s KILL 60 "${as[@]}" "$freezefd" run --verbose --timeout 60s "$mnt" -- true 2>"$err" <&"$never"
	got=$?
	((got == 0)) && problem='' || problem="exit status $got"
	grep -qE 'frozen for [0-9.]+m?s$' "$err" || problem+=$(<"$err")
	"$freezefd" release "$name" 2>>"$err" || problem+="release: $(<"$err")"
	result "${label}run --verbose beside a hold from outside" "$problem"
	as=() label=''
else
	skip "run in a time namespace" "no time namespaces here"
fi
