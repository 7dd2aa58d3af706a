# SPDX-License-Identifier: GPL-2.0-or-later
# shellcheck shell=bash disable=SC2154
# Targets that vanish, fill up, break, or are frozen by others too. Sourced by run.

# ---- run returns what the command returns

for code in 0 1 2 77 126 200; do
	timeout -s KILL 60 "$freezefd" run "$mnt" -- sh -c "exit $code" 2>"$err"
	got=$?
	((got == code)) && problem='' || problem="exit status $got: $(<"$err")"
	result "run of a command that returns $code" "$problem"
done
timeout -s KILL 60 "$freezefd" run "$mnt" -- sh -c 'kill -KILL $$' 2>"$err"
got=$?
((got == 137)) && problem='' || problem="exit status $got: $(<"$err")"
result "run of a command that is killed" "$problem"
fails 127 "no-such-command: no such" run "$mnt" -- no-such-command
fails 126 "$mnt: permission denied" run "$mnt" -- "$mnt"
works run "$mnt" "$device" "$mnt" -- true
works run "$mnt" -- "$freezefd" run "$mnt" -- "$freezefd" status --quiet "$mnt"
works run "$device" -- "$freezefd" status --quiet "$device"

# ---- One filesystem, several devices

umount "$mnt"
if mkfs.btrfs -qf "$device" "$spare" >/dev/null && mount -t btrfs "$device" "$mnt"; then
	works run "$spare" "$mnt" "$device" -- sh -c "'$freezefd' status -n -o TARGET,FDS '$mnt' | grep -q ' 1$'"
	works run "$mnt" -- sh -c "'$freezefd' status -n -o TARGET,FDS '$spare' | grep -q '$mnt *1$'"
	works run "$mnt" -- sh -c "[ \$('$freezefd' status -n -o STATE | grep -c frozen) = 1 ]"
else
	skip "targets that are devices of one filesystem" "no btrfs here"
fi
umount_if_mounted
wipefs -qa "$device" "$spare"
btrfs device scan --forget >/dev/null 2>&1
fresh_fs "$device"

# ---- Broken in the middle

until_thawed="until [ \"\$('$freezefd' status -n -o STATE '$mnt')\" = thawed ]; do sleep 0.02; done"
fails 124 "$mnt: .*broken by its timeout of 300ms" run --timeout 300ms "$mnt" -- sh -c "$until_thawed"
fails 124 "$mnt: .*broken by another thaw" run "$mnt" -- "$freezefd" thaw --force "$mnt"
fails 124 "$mnt: .*broken by its timeout" hold --timeout 300ms "$mnt"
# The command waits for the freeze that waits for the command: the deadline ends it.
fails 124 "$mnt: .*broken by its timeout" run --timeout 300ms "$mnt" -- sh -c "echo >'$mnt/file'"

# ---- Frozen by others too

fsfreeze --freeze "$mnt"
if [[ $engine = guardian ]]; then
	timeout -s KILL 60 "$freezefd" run "$mnt" -- true 2>"$err" && problem="succeeds" || problem=$(says 'frozen by FIFREEZE')
else
	timeout -s KILL 60 "$freezefd" run "$mnt" -- true 2>"$err" && problem='' || problem="fails: $(<"$err")"
fi
is_state "$mnt" frozen || problem+="the freeze of another was thawed"
"$freezefd" thaw "$mnt" 2>"$err" || problem+="thaw fails: $(<"$err")"
result "run on what fsfreeze has frozen, thaw afterwards" "$problem"

# start_hold OPTION... TARGET: in the background; waits until it says what it says. In $holder.
start_hold() {
	rm -f "$work/held"
	"$freezefd" hold "$@" >"$work/held" 2>"$err" <&"$never" &
	holder=$!
	await test -s "$work/held"
}

# end_hold SIGNAL: its exit status in $got.
end_hold() {
	kill "-$1" "$holder"
	wait "$holder" 2>/dev/null
	got=$?
}

start_hold "$mnt"
first=$holder
start_hold "$mnt"
end_hold KILL
is_state "$mnt" frozen && problem='' || problem="thawed while one still holds it"
timeout -s KILL 60 "$freezefd" thaw "$mnt" 2>"$err" && problem+="thaw succeeds"
problem+=$(says "$mnt: still held frozen by .*process $first")
is_state "$mnt" frozen || problem+="thaw ends the hold"
[[ $engine = guardian ]] || ! fsfreeze --unfreeze "$mnt" 2>/dev/null || problem+="fsfreeze --unfreeze succeeds"
holder=$first
end_hold TERM
((got == 0)) || problem+="exit status $got: $(<"$err")"
result "two hold it; one is killed, a stranger thaws: frozen until the other ends" "$problem"

# ---- Listed

name=$("$freezefd" hold --detach --timeout 60s "$mnt" 2>"$err")
"$freezefd" list -n -o NAME,TARGET,HOLD,STATE >"$out" 2>>"$err"
grep -q "^$name  *$mnt  *held  *frozen" "$out" && problem='' || problem="list: $(cat "$out" "$err")"
"$freezefd" status -n -o HOLDERS "$mnt" | grep -q "(${name%%-*})" || problem+="status does not name the holder"
"$freezefd" release "$name" || problem+="release fails"
result "list and status tell of a detached hold" "$problem"

name=$("$freezefd" hold --detach --timeout 60s "$mnt" 2>"$err") problem=''
kill -STOP "${name%%-*}"
releases=()
for i in 1 2 3; do
	"$freezefd" release "$name" 2>"$work/released.$i" &
	releases+=($!)
done
all_asked() { (($(grep -c "/$name.sock" /proc/net/unix) > 3)); }
await all_asked || problem+="not asked by all"
kill -CONT "${name%%-*}"
for i in 1 2 3; do
	wait "${releases[i - 1]}" && [[ ! -s $work/released.$i ]] || problem+="release $i: $?, $(<"$work/released.$i")"
done
result "a hold that three release at the same time" "$problem"
if unshare -m true 2>/dev/null; then
	as=(unshare -m sh -c 'mount -t tmpfs no /proc && exec "$@"' sh)
	fails 1 '/proc: cannot be read' list
	as=()
else
	skip "list without /proc" "no mount namespaces here"
fi

# ---- More files than a program may have open

works run "$mnt" "$device" -- true
as=(bash -c 'ulimit -Sn 8; exec "$@"' bash)
# shellcheck disable=SC2016
works run "$mnt" -- bash -c '[[ $(ulimit -Sn) = 8 ]]'
# shellcheck disable=SC2034
as=()

# ---- Unmounted in the middle

works run "$mnt" -- umount "$mnt"
mount "$device" "$mnt"
works run "$device" -- umount --lazy "$mnt"
AWAIT=10 await mount "$device" "$mnt" 2>/dev/null

start_hold "$mnt"
umount "$mnt"
is_state "$device" frozen && problem='' || problem="not frozen after umount"
end_hold TERM
((got == 0)) || problem+="exit status $got: $(<"$err")"
problem+=$("$freezefd" status "$device" 2>/dev/null)
mount "$device" "$mnt" || problem+="cannot be mounted again"
result "unmounted while held; the thaw frees the device" "$problem"

# Whatever comes first: a clear answer, and nothing frozen.
problem=
for ((i = 0; i < 30; i++)); do
	timeout -s KILL 60 "$freezefd" run "$device" -- true 2>"$err" &
	pid=$!
	# The tool opens the mount for a moment, to sync it.
	await umount "$mnt" 2>/dev/null || { problem+="cannot be unmounted"; break; }
	wait "$pid"
	got=$?
	((got == 0 || got == 125)) || problem+="exit status $got: $(<"$err")"$'\n'
	((got == 0)) || problem+=$(says "$device: ")
	mount "$device" "$mnt" || { problem+="cannot be mounted again"; break; }
	nothing_frozen || break
done
result "run on a device, 30 times, against umount" "$problem"

# ---- Full

dd if=/dev/zero of="$mnt/all" bs=1M status=none 2>/dev/null
works run "$mnt" -- true
rm "$mnt/all"

mkdir -p /run/freezefd
mount -t tmpfs -o size=4k,nr_inodes=1 faults /run/freezefd
fails 1 '/run/freezefd' hold --detach "$mnt"
umount /run/freezefd

if truncate -s 32M "$work/image" && mkfs.ext4 -qF "$work/image" && mkdir -p "$work/inner" &&
	loop=$(losetup --find --show "$work/image") && mount "$loop" "$work/inner"; then
	works run "$work/inner" -- losetup --detach "$loop"
	works run "$work/inner" -- umount --lazy "$work/inner"
	freed() { ! "$freezefd" status "$loop" 2>/dev/null; }
	AWAIT=10 await freed && problem='' || problem=$("$freezefd" status "$loop" 2>&1)
	result "a loop device that was detached and unmounted in the middle is free" "$problem"
else
	skip "a loop device that is detached in the middle" "no loop device can be had here"
fi

# ---- The device goes away

if have_dm; then
	dm_create || exit 1
	umount "$mnt"
	fresh_fs "$dm" || exit 1

	# What is named by its device is synced before it is frozen, too.
	echo dirty >"$mnt/dirty"
	dm_hang
	"$freezefd" run "$dm" -- true 2>"$err" &
	pid=$!
	AWAIT=20 await its_child_waits "$pid" && problem='' || problem="no sync"
	is_state "$dm" thawed || problem+="$(state_of "$dm") while it syncs"
	dm_let_go
	wait "$pid" || problem+="exit status $?: $(<"$err")"
	result "run of a device syncs first" "$problem"

	# Nothing is begun on a hold that is broken already: one of them, while the other one is being frozen.
	mkdir -p "$work/late"
	# Without barriers a sync of nothing writes nothing, and only the freeze itself waits.
	mount -o remount,nobarrier "$mnt"
	make_fs ext4 "$device" && mount "$device" "$work/late" || exit 1
	for command in "run $work/late $mnt -- touch $work/begun" "hold $work/late $mnt" "hold --detach $work/late $mnt"; do
		# Something may be dirtied again before the device stops: then it is the sync that waits.
		for _ in 1 2 3 4 5; do
			rm -f "$work/begun"
			sync -f "$mnt"
			dm_hang
			# shellcheck disable=SC2086
			timeout -s KILL 60 "$freezefd" $command >"$out" 2>"$err" <&"$never" &
			pid=$!
			problem=''
			! AWAIT=10 await is_state "$work/late" frozen || break
			problem="not frozen: $(<"$err")"
			dm_let_go
			wait "$pid"
		done
		"$freezefd" thaw --force "$work/late" || problem+="thaw fails"
		dm_let_go
		wait "$pid"
		got=$?
		((got == 125 || got == 1)) || problem+="exit status $got: $(<"$err")"
		[[ ! -s $out && ! -e $work/begun ]] || problem+="begun on a broken hold: $(<"$out")"
		problem+=$(says "$work/late: broken by another thaw before all were frozen")
		result "freezefd $command, one broken before the other is frozen" "$problem"
	done
	umount "$work/late"

	# Who asks does not wait for who unmounts.
	dd if=/dev/zero of="$mnt/dirty" bs=1M count=4 status=none
	dm_stall
	umount "$mnt" &
	unmounting=$!
	AWAIT=20 await grep -q '^State:.D' /proc/$unmounting/status
	"$freezefd" status "$dm" >"$out" 2>"$err" &
	asking=$!
	answered() { ! kill -0 "$asking" 2>/dev/null; }
	problem=
	AWAIT=20 await answered || problem="no answer"
	dm_resume
	wait "$asking" || problem+="exit status $?: $(<"$err")"
	wait "$unmounting"
	result "status of a device while it is unmounted" "$problem"
	fresh_fs "$dm" || exit 1

	start_hold "$mnt"
	# What the kernel does to the table when a device in use is removed.
	dm_stall
	dm_table error | dmsetup load faults
	dm_resume
	end_hold TERM
	problem=
	((got == 0 || got == 1 || got == 124)) || problem="exit status $got: $(<"$err")"
	((got == 0)) || problem+=$(says "$mnt: ")
	result "a device that fails while held" "$problem"
	fails 125 "$mnt: " run "$mnt" -- true
	umount "$mnt"
	dm_remove
	umount_if_mounted
	fresh_fs "$device"

	dm_create
	make_fs ext4 "$dm"
	mkdir -p "$work/dm"
	mount "$dm" "$work/dm"
	start_hold "$dm"
	umount "$work/dm"
	dmsetup remove --force faults 2>/dev/null && problem="dmsetup removes a device in use" || problem=
	end_hold TERM
	((got == 0 || got == 1)) || problem+="exit status $got: $(<"$err")"
	free() { dm_remove 2>/dev/null || ! dmsetup info faults >/dev/null 2>&1; }
	AWAIT=20 await free || problem+="the device stays busy: $("$freezefd" status "$dm" 2>&1)"
	result "unmounted while held, then dmsetup remove --force" "$problem"
else
	skip "a device that fails while held" "no device-mapper here"
fi
