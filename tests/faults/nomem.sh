# SPDX-License-Identifier: GPL-2.0-or-later
# shellcheck shell=bash disable=SC2154,SC2317,SC2016
# No memory: one allocation of the tool fails, or all from one on. Sourced by run.

nomem=$build/tests/faults/nomem.so
most=${FREEZEFD_FAULTS_MOST:-3}
seed=${FREEZEFD_FAULTS_SEED:-$RANDOM}
echo "# FREEZEFD_FAULTS_SEED=$seed FREEZEFD_FAULTS_MOST=$most"

# without NUMBER ARGUMENT...: freezefd without the memory for that allocation. In $got.
without() {
	got=0
	NOMEM=$1 NOMEM_COUNT=$work/allocations LD_PRELOAD=$nomem timeout -s KILL 60 "$freezefd" "${@:2}" \
		>"$out" 2>"$err" </dev/null || got=$?
}

# short_of_memory WHAT STATUSES ARGUMENT...: it ends with one of these.
short_of_memory() {
	local what=$1 statuses=$2 problem='' total tries i n sign wrong
	shift 2
	without 0 "$@"
	((got == 0)) || problem="with all memory: exit status $got: $(<"$err")"
	after
	total=$(<"$work/allocations")
	tries=$((most && total > 2 * most ? 2 * most : total))
	for ((i = 0; i < tries; i++)); do
		n=$((1 + (seed + i * total / tries) % total)) sign='' wrong=''
		((i % 2)) && sign=-
		without "$sign$n" "$@"
		[[ " $statuses " = *" $got "* ]] || wrong="exit status $got"
		((got == 0)) || grep -q '^freezefd: ' "$err" || wrong+=" without a message"
		after
		nothing_frozen || { wrong+=" left frozen"; "$freezefd" thaw --force "$device" 2>/dev/null; }
		[[ ! $wrong ]] || problem+="$sign$n of $total: $wrong: $(<"$err")"$'\n'
	done
	if [[ $problem ]]; then not_ok "$what: no memory" "$problem"; else ok "$what: no memory, $tries of $total"; fi
}
after() { :; }

if [[ ! -e $nomem ]]; then
	skip "no memory" "built with a sanitizer"
	return
fi
short_of_memory run '0 124 125' run --timeout 60s "$mnt" -- true
short_of_memory hold '0 1 124' hold --timeout 60s "$mnt"
after() { [[ ! -s $out ]] || "$freezefd" release "$(<"$out")" 2>/dev/null || :; }
short_of_memory "hold --detach" '0 1 124' hold --detach --timeout 60s "$mnt"
after() { :; }
short_of_memory list '0 1' list
short_of_memory status '0 1' status "$mnt"
if "$freezefd" guard --help >/dev/null 2>&1; then
	# The agent is silent: fsfreeze writes its lines piece by piece, and guard's message could come between two.
	short_of_memory guard '0 1 124 125' guard -- sh -c 'exec 2>/dev/null; fsfreeze -f "$1" && fsfreeze -u "$1"' sh "$mnt"
else
	skip "guard: no memory" "built without libseccomp"
fi
