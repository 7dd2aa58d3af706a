# SPDX-License-Identifier: GPL-2.0-or-later
# shellcheck shell=bash disable=SC2154,SC2317
# One system call fails: each of every kind, in the tool or in a helper of it. Sourced by run.

nth=$build/tests/faults/nth
# So many of a kind, from one that the seed chooses on; 0: all of them. Unless it is given, two of every fourth kind.
most=${FREEZEFD_FAULTS_MOST:-2}
every=${FREEZEFD_FAULTS_MOST:+1}
turn=0
seed=${FREEZEFD_FAULTS_SEED:-$RANDOM}
echo "# FREEZEFD_FAULTS_SEED=$seed FREEZEFD_FAULTS_MOST=$most"

kinds=(
	'memory ENOMEM 12' 'files EMFILE 24' 'processes EAGAIN 11' 'exec EACCES 13' 'sockets ENOBUFS 105' 'receive EPERM 1'
	'mount EPERM 1' 'look EACCES 13' 'bpf EPERM 1' 'ioctl EPERM 1' 'sync EIO 5' 'limits EPERM 1' 'wait ENOMEM 12'
	'names ENOSPC 28' 'steps KILL KILL' 'steps STOP STOP'
)
[[ ! ${FREEZEFD_FAULTS_KIND:-} ]] || mapfile -t kinds < <(printf '%s\n' "${kinds[@]}" | grep -E "$FREEZEFD_FAULTS_KIND")

# fault KIND ERROR N ARGUMENT...: freezefd of which that call fails. Its status in $got, how many calls there were in
# $count, the one that failed in $call, what is wrong in $wrong. $nth_pid is there until the last process has ended.
fault() {
	local kind=$1 error=$2 n=$3
	shift 3
	rm -f "$work/result"*
	got=-1 count=0 call=- wrong=
	"$nth" "$work/result" "$kind" "$error" "$n" "$freezefd" "$@" >"$out" 2>"$err" </dev/null &
	nth_pid=$!
	if [[ $error = STOP ]]; then
		# The deadline counts for one who is stopped, too. Then it goes on.
		AWAIT=60 await nth_stopped_or_decided || wrong="no end within 60 s"
		[[ ! -e $work/result.stopped ]] || nothing_frozen || wrong+=" frozen while it is stopped"
		[[ ! -e $work/result.stopped ]] || kill -CONT "$(<"$work/result.stopped")" 2>/dev/null
	fi
	AWAIT=60 await nth_decided || wrong+=" no end within 60 s"
	read -r got count call <"$work/result" || wrong+=" no result"
}
nth_decided() { [[ -e $work/result ]] || nth_ended; }
nth_stopped_or_decided() { [[ -e $work/result.stopped ]] || nth_decided; }
nth_ended() { ! kill -0 "$nth_pid" 2>/dev/null; }

# verdict STATUS...: it ended with one of these, and with a message unless it is 0.
verdict() {
	local status
	for status; do
		((got == status)) || continue
		((got == 0)) || grep -q '^freezefd: .*[a-z]' "$err" || wrong+="exit status $got without a message: $(<"$err")"
		return
	done
	wrong+="exit status $got: $(<"$err")"
}

# attempt STATUSES KIND ERROR N ARGUMENT...
attempt() {
	local statuses=$1
	shift
	before
	# A deadline that is worth waiting for.
	[[ $2 != STOP || $3 = 0 ]] || set -- "${@/#60s/4s}"
	fault "$@"
	# shellcheck disable=SC2086
	if [[ $2 != KILL ]] || ((got < 128)); then verdict $statuses; fi
	after
	nothing_frozen || { wrong+=" left frozen"; "$freezefd" thaw --force "$device" 2>/dev/null; }
	AWAIT=30 await nth_ended || { wrong+=" a process of it stays"; kill -KILL "$nth_pid"; }
	wait "$nth_pid" 2>/dev/null
}

# sweep WHAT STATUSES ARGUMENT...: each call of each kind fails, and it ends with one of the statuses.
sweep() {
	local what=$1 statuses=$2 one kind errno error problem n i total
	shift 2
	for one in "${kinds[@]}"; do
		turn=$((turn + 1))
		(((turn + seed) % ${every:-4} == 0)) || continue
		read -r kind errno error <<<"$one"
		attempt 0 "$kind" "$error" 0 "$@"
		problem=${wrong:+"without a fault: $wrong"$'\n'} total=$count
		local tries=$((most && total > most ? most : total))
		for ((i = 0; i < tries; i++)); do
			n=$((1 + (seed + i * total / tries) % total))
			attempt "$statuses" "$kind" "$error" "$n" "$@"
			[[ ! $wrong ]] || problem+="$n of $total, $call: $wrong"$'\n'
		done
		if [[ $problem ]]; then
			not_ok "$what: a call '$kind' fails with $errno" "$problem"
		else
			ok "$what: a call '$kind' fails with $errno, $tries of $total"
		fi
	done
}

before() { :; }
after() { :; }

if [[ ! -x $nth ]]; then
	skip "a system call fails" "built without libseccomp"
	return
fi

# denied ARGUMENT...: as by a profile of seccomp, AppArmor or SELinux, all calls of a kind.
denied() {
	local kind problem=''
	for kind in bpf mount exec sockets receive processes look limits names; do
		attempt '0 124 125 126 127' "$kind" 1 1- "$@"
		[[ ! $wrong ]] || problem+="$kind: $wrong"$'\n'
	done
	result "run: all calls of a kind are denied" "$problem"
}
denied run --timeout 60s "$mnt" -- true

sweep run '0 124 125 126 127' run --timeout 60s "$mnt" -- true
sweep hold '0 1 124' hold --timeout 60s "$mnt"

# A hold that is there can be ended, by what is told of it. Who was killed may have told of one that is not. And a hold that
# cannot hear that its name has been told ends: then release says so.
after() {
	[[ -s $out ]] || return
	"$freezefd" release "$(<"$out")" 2>"$work/released" || (($? == 124 || got)) ||
		{ [[ $call = recv* ]] && grep -q 'no such hold' "$work/released"; } || wrong+=" release: $(<"$work/released")"
}
sweep "hold --detach" '0 1 124' hold --detach --timeout 60s "$mnt"

# A holder that is killed while it answers: release has its message, but not its verdict.
after() { :; }
problem=''
for n in {1..9}; do
	fault write KILL "$n" hold --detach --timeout 300ms "$mnt"
	nothing_frozen || wrong+=" not thawed"
	if [[ -s $out ]]; then
		"$freezefd" release "$(<"$out")" 2>"$work/released"
		status=$?
		((status == 124 || got)) || wrong+=" release returns $status: $(<"$work/released")"
	fi
	AWAIT=30 await nth_ended || { wrong+=" a process of it stays"; kill -KILL "$nth_pid"; }
	wait "$nth_pid" 2>/dev/null
	[[ ! $wrong ]] || problem+="$n: $wrong"$'\n'
done
result "release: its holder is killed while it answers" "$problem"

# Messages go to what is being frozen: told when it is not any more.
elsewhere=$err err=$mnt/said problem=''
attempt 0 sockets 105 0 hold --force --timeout 100s "$mnt"
for ((n = 1, total = count; n <= total; n++)); do
	attempt '0 1 124' sockets 105 "$n" hold --force --timeout 100s "$mnt"
	[[ ! $wrong ]] || problem+="$n of $total, $call: $wrong"$'\n'
done
err=$elsewhere
result "hold --force: each call 'sockets' fails with ENOBUFS, standard error is on what it freezes" "$problem"

# A signal when all is frozen, before the command runs: it ends the process that froze with kill(2).
rm -f "$work/result"*
"$nth" "$work/result" kill STOP 1 "$freezefd" run --verbose "$mnt" -- true >"$out" 2>"$err" </dev/null &
nth_pid=$!
await nth_stopped_or_decided && read -r pid <"$work/result.stopped" && kill -TERM "$pid" && kill -CONT "$pid" &&
	await nth_decided && read -r got _ <"$work/result" && problem='' || problem='not stopped, or no end'
((got == 143)) && ! grep -q 'frozen for' "$err" || problem+="exit status $got: $(<"$err")"
wait "$nth_pid"
result "SIGTERM to run just before its command runs" "$problem"

# The hold is another's now, and stays when these are killed or stopped.
mapfile -t kinds < <(printf "%s\n" "${kinds[@]}" | grep -v "^steps")
before() { name=$("$freezefd" hold --detach --timeout 60s "$mnt"); }
after() { "$freezefd" release "$name" 2>"$work/released" || (($? == 124)) || wrong+=" release: $(<"$work/released")"; }
sweep status '0 1' status "$mnt"
sweep list '0 1' list
sweep "thaw --force" '0 1' thaw --force "$mnt"
before() { :; }
after() { :; }
