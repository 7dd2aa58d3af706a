# SPDX-License-Identifier: GPL-2.0-or-later
# shellcheck shell=bash disable=SC2154
# A signal at every stage of run and hold. Sourced by run.

signals=(TERM INT HUP QUIT KILL)
# The shell tells of every child that a signal ended.
exec {stderr}>&2 2> >(grep -vE ' (Killed|Hangup|Terminated|Quit) |wait_for: No record' >&"$stderr")

# What a stage is is known from what the kernel says, not from the clock; the device is made to
# wait at the point in question. Interrupts of a background job are ignored by shells: not here.
start() {
	rm -f "$work/said"
	env --default-signal=HUP,INT,QUIT "$freezefd" "$@" >"$work/said" 2>"$err" <&"$never" &
	pid=$!
}

# ended STATUS...: waits for the end; a problem when the exit status is none of these.
ended() {
	local status
	if ! AWAIT=30 await gone "$pid"; then
		problem+="does not end"
		kill -KILL "$pid"
		return
	fi
	wait "$pid" 2>/dev/null
	got=$?
	for status; do
		((got != status)) || return 0
	done
	problem+="exit status $got, not $*: $(<"$err")"
}

killed_by() { echo $((128 + $(kill -l "$1"))); }

# ---- While it is held

for signal in "${signals[@]}"; do
	start run "$mnt" -- sleep 1000
	await is_state "$mnt" frozen
	await child_of "$pid"
	kill "-$signal" "$pid"
	problem=''
	ended "$(killed_by "$signal")"
	result "SIG$signal while run's command runs" "$problem"
	# After SIGKILL nobody is left to end it.
	kill -KILL "$child" 2>/dev/null

	start hold "$mnt"
	await test -s "$work/said"
	is_state "$mnt" frozen && problem='' || problem="not frozen: $(<"$work/said")"
	kill "-$signal" "$pid"
	if [[ $signal = KILL ]]; then ended 137; else ended 0; fi
	result "SIG$signal to hold" "$problem"

	name=$(env --default-signal=HUP,INT,QUIT "$freezefd" hold --detach "$mnt" 2>"$err")
	is_state "$mnt" frozen && problem='' || problem="not frozen: $(<"$err")"
	kill "-$signal" "${name%%-*}"
	nothing_frozen || problem+="not thawed"
	AWAIT=10 await gone "${name%%-*}" || problem+="does not end"
	"$freezefd" release "$name" 2>"$err"
	got=$?
	((got == 124)) || problem+="release returns $got"
	problem+=$(says "$name: .*ended early")
	result "SIG$signal to a detached hold; release tells" "$problem"
done

"$freezefd" hold "$mnt" </dev/null >"$work/said" 2>"$err"
got=$?
((got == 0)) && [[ $(<"$work/said") = frozen ]] && problem='' || problem="exit status $got: $(<"$work/said")"
result "hold at the end of its input" "$problem"

start hold --timeout 300ms "$mnt"
await test -s "$work/said"
kill -STOP "$pid"
AWAIT=20 await is_state "$mnt" thawed && problem='' || problem="its deadline does not end a stopped hold"
kill -CONT "$pid"
ended 124
result "SIGSTOP to hold with a deadline" "$problem"

name=$("$freezefd" hold --detach --timeout 300ms "$mnt" 2>"$err")
AWAIT=20 await is_state "$mnt" thawed && problem='' || problem="not thawed"
"$freezefd" release "$name" 2>"$err"
got=$?
((got == 124)) || problem+="release returns $got"
problem+=$(says "$mnt: .*broken by its timeout")
result "a detached hold that was broken is told by release" "$problem"

name=$("$freezefd" hold --detach "$mnt" 2>"$err")
"$freezefd" release "$name" 2>"$err" && problem='' || problem="release fails: $(<"$err")"
result "a detached hold is released" "$problem"
fails 1 "$name: no such hold" release "$name"

# Only the starter is gone: the hold is not.
name=$(setsid "$freezefd" hold --detach "$mnt" 2>"$err")
is_state "$mnt" frozen && problem='' || problem="not frozen: $(<"$err")"
"$freezefd" release "$name" 2>"$err" || problem+="release fails: $(<"$err")"
result "a detached hold outlives the session that began it" "$problem"

# ---- While nobody reads what it prints, and while its command waits for what is frozen

mkfifo "$work/full"
exec {full}<>"$work/full"
fill "$work/full"
for options in '' --json --detach '--detach --json'; do
	rm -f "$work/said"
	# shellcheck disable=SC2086
	"$freezefd" hold --timeout 60s $options "$mnt" >&"$full" 2>"$err" <&"$never" &
	pid=$!
	await is_state "$mnt" frozen && problem='' || problem="not frozen: $(<"$err")"
	kill -TERM "$pid"
	ended 143
	nothing_frozen || problem+="left frozen"
	result "SIGTERM to hold $options whose output is a full pipe" "$problem"
done
"$freezefd" hold --timeout 2s --detach "$mnt" >&"$full" 2>"$err" <&"$never" &
pid=$!
await is_state "$mnt" frozen && await is_state "$mnt" thawed && problem='' || problem="it is not frozen, and thawed by its deadline"
read -r name <&"$full" # which leaves out what filled the pipe
ended 0
"$freezefd" release "$name" 2>"$err"
got=$?
((got == 124)) || problem+="release returns $got"
problem+=$(says "$mnt: .*broken by its timeout")
result "hold --detach that breaks before its name can be printed; release tells" "$problem"
fill "$work/full"
"$freezefd" hold --timeout 60s --detach "$mnt" >&"$full" 2>"$err" <&"$never" &
pid=$!
await is_state "$mnt" frozen && problem='' || problem="not frozen: $(<"$err")"
await child_of "$pid"
kill -KILL "$child"
await is_state "$mnt" thawed || problem+="left frozen"
read -r name <&"$full"
ended 1
problem+=$(says 'detach: its process was ended')
result "SIGKILL to the holder of hold --detach before its name can be printed" "$problem"

start run --timeout 60s "$mnt" -- sh -c "echo >'$mnt/waits'"
await is_state "$mnt" frozen
await child_of "$pid"
await blocked "$child" && problem='' || problem="the command does not wait"
kill -TERM "$pid"
await got_it "$child" || problem+="the command does not get the signal"
is_state "$mnt" frozen || problem+="the first signal thaws"
kill -INT "$pid"
ended 124
problem+=$(says 'thawed at the second signal')
result "two signals to run whose command waits for what is frozen" "$problem"

# ---- While it freezes, and while it thaws

# freeze_waits ARGUMENT...: starts it and stops the device so that it waits in the freeze, and not in
# a sync of what was dirtied in between; else says in $problem where it was.
freeze_waits() {
	problem=
	for _ in 1 2 3 4 5; do
		sync -f "$mnt"
		dm_hang
		start "$@"
		if AWAIT=10 await is_state "$mnt" freezing; then
			problem=
			return 0
		fi
		problem+="not freezing but $(state_of "$mnt"), $(grep -s '^State' "/proc/$pid/status") $(<"$err")"$'\n'
		dm_let_go
		kill -KILL "$pid"
		wait "$pid"
	done
	return 1
}

if have_dm; then
	dm_create || exit 1
	umount "$mnt"
	# Without barriers a sync of nothing writes nothing, and only the freeze itself waits.
	fresh_fs "$dm" -o nobarrier || exit 1
	fill "$work/full"
	"$freezefd" hold --timeout 60s --detach "$mnt" >&"$full" 2>"$err" <&"$never" &
	pid=$!
	await is_state "$mnt" frozen && problem='' || problem="not frozen: $(<"$err")"
	await child_of "$pid"
	dm_hang
	kill -TERM "$child"
	AWAIT=20 await blocked "$child" || problem+="the thaw does not wait"
	read -r name <&"$full"
	ended 1
	dm_let_go
	problem+=$(says 'detach: its process was ended')
	result "SIGTERM to the holder of hold --detach before its name can be printed" "$problem"
	for signal in "${signals[@]}"; do
		for verb in run hold; do
			command=("$verb" "$mnt")
			[[ $verb = hold ]] || command+=(-- true)

			if freeze_waits "${command[@]}"; then
				kill "-$signal" "$pid"
				# What waits for the device is left to it.
				ended "$(killed_by "$signal")"
				dm_let_go
			fi
			result "SIG$signal to $verb while it freezes" "$problem"

			echo dirty >"$mnt/file"
			dm_hang
			start "${command[@]}"
			AWAIT=20 await its_child_waits "$pid" && problem='' || problem="no sync"
			kill "-$signal" "$pid"
			ended "$(killed_by "$signal")"
			dm_let_go
			result "SIG$signal to $verb while it syncs before the freeze" "$problem"

			[[ $verb = hold ]] || command=(run "$mnt" -- cat "$work/never")
			start "${command[@]}"
			await is_state "$mnt" frozen
			if [[ $verb = run ]]; then await child_of "$pid"; else await test -s "$work/said"; fi
			dm_hang
			[[ $verb = hold ]] || kill -KILL "$child"
			[[ $verb = run ]] || kill -TERM "$pid"
			AWAIT=20 await blocked "$pid" && problem='' || problem="the thaw does not wait"
			kill "-$signal" "$pid"
			dm_let_go
			ended 0 137
			result "SIG$signal to $verb while it thaws" "$problem"
		done
	done
	umount "$mnt"
	dm_remove
	fresh_fs "$device"
else
	skip "signals while it freezes and thaws" "no device-mapper here"
fi

# ---- At any moment

for signal in "${signals[@]}"; do
	problem=
	for delay in 0 80 500 1280 2420 3920 5780 7220; do
		start run "$mnt" -- true
		# shellcheck disable=SC2034
		for ((n = 0; n < delay; n++)); do :; done
		kill "-$signal" "$pid" 2>/dev/null
		ended 0 "$(killed_by "$signal")"
		nothing_frozen || problem+="left frozen after a delay of $delay "
	done
	result "SIG$signal to run, 8 times at some moment" "$problem"
done

exec 2>&"$stderr" {stderr}>&-
exec {full}>&-
