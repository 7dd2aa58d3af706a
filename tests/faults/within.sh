# SPDX-License-Identifier: GPL-2.0-or-later
# shellcheck shell=bash disable=SC2154,SC2034
# Freezes that do not come to an end, whatever hangs below. Sourced by run.

mkdir -p "$work/inner"
message_lines=1

# A filesystem on a loop device, whose file is on the one of $device.
make_inner() {
	fallocate -l 64M "$mnt/image"
	inner=$(losetup --find --show "$mnt/image")
	# What it would zero later goes by way of fallocate(2) into the frozen file, without waiting (Linux 7.3).
	mkfs.ext4 -qF -E lazy_itable_init=0,lazy_journal_init=0 "$inner"
	mount "$inner" "$work/inner"
	sync -f "$work/inner"
}

drop_inner() {
	umount "$work/inner"
	losetup --detach "$inner"
	rm "$mnt/image"
}

is_loop_thawed() { [[ $(state_of "$inner") = thawed ]]; }

# writes FILE: can it be written now, by somebody else?
writes() { timeout -s KILL 30 sh -c "echo >'$1'"; }

make_inner
name=$("$freezefd" hold --detach "$mnt")
timeout -s KILL 60 "$freezefd" run --within 1s "$work/inner" -- true 2>"$err" &
pid=$!
writes "$work/inner/written" && problem='' || problem="its writers wait"
wait "$pid"
got=$?
((got == 125)) || problem+="exit status $got"
problem+=$(says "not frozen within 1.0s, given up: $work/inner: the filesystem under it, $mnt, is frozen")
"$freezefd" release "$name" || problem+="release fails"
await is_loop_thawed || problem+="left frozen"
writes "$work/inner/written" || problem+="cannot be written to afterwards"
result "run --within over a frozen filesystem: given up, named, its writers never wait" "$problem"

# The same, but nobody's patience ends.
for signal in INT TERM HUP QUIT; do
	name=$("$freezefd" hold --detach "$mnt")
	timeout -s KILL 60 "$freezefd" run --within none --timeout none "$work/inner" -- true 2>"$err" &
	outer=$!
	await child_of "$outer"
	pid=$child
	await child_of "$pid" && problem='' || problem="no process freezes"
	kill "-$signal" "$pid"
	wait "$outer"
	got=$?
	((got == 128 + $(kill -l "$signal"))) || problem+="exit status $got"
	is_state "$mnt" frozen || problem+="the outer filesystem thawed"
	"$freezefd" release "$name" || problem+="release fails"
	await is_loop_thawed || problem+="left frozen"
	result "SIG$signal to run that waits for a frozen filesystem" "$problem"
done

name=$("$freezefd" hold --detach "$mnt")
"$freezefd" hold --within none --timeout none "$work/inner" 2>"$err" <&"$never" &
pid=$!
await child_of "$pid" && problem='' || problem="no process freezes"
kill -KILL "$pid"
wait "$pid" 2>/dev/null
await gone "$child" || problem+="its child stays"
"$freezefd" release "$name" || problem+="release fails"
await is_loop_thawed || problem+="left frozen"
result "SIGKILL to hold that waits for a frozen filesystem" "$problem"
drop_inner

# ---- A suspended device

# over_suspended WHAT: given up and named; afterwards all is as before.
over_suspended() {
	local problem=''
	timeout -s KILL 60 "$freezefd" run --within 1s "$mnt" -- true 2>"$err"
	got=$?
	((got == 125)) || problem="exit status $got"
	problem+=$(says "$mnt: the device faults under it is suspended; 'dmsetup resume faults'")
	dm_resume
	await is_state "$mnt" thawed || problem+="left frozen"
	writes "$mnt/file" || problem+="cannot be written to afterwards"
	result "$1" "$problem"
}

umount "$mnt"
if have_dm && dm_create; then
	fresh_fs "$dm"
	echo dirty >"$mnt/file"
	dm_stall
	over_suspended "run --within over a suspended device"
	# Device-mapper has frozen the filesystem then, but to sync it means to flush the device.
	dmsetup suspend faults
	over_suspended "run --within over a device whose suspension has frozen the filesystem"
	umount "$mnt"
	dm_remove
	dm=
else
	skip "run --within over a suspended device" "no device-mapper"
fi
fresh_fs "$device"

# ---- A permission that is not given

# listen FILE
listen() {
	rm -f "$work/listener" "$err"
	"$build/tests/faults/listener" "$1" >"$work/listener" 2>"$err" <&"$never" &
	listener=$!
	await listener_decided && grep -q ready "$work/listener" && return
	end_listener
	return 1
}

listener_decided() { [[ -s $work/listener || -s $err ]]; }

end_listener() {
	kill "$listener"
	wait "$listener" 2>/dev/null
}

if listen "$mnt"; then
	timeout -s KILL 60 "$freezefd" run --within 1s "$mnt" -- true 2>"$err"
	got=$?
	((got == 125)) && problem='' || problem="exit status $got"
	problem+=$(says "not frozen within 1.0s, given up: $mnt: opening it waits for a server or for a permission")
	timeout -s KILL 60 "$freezefd" hold --detach --within 1s "$mnt" >"$out" 2>"$err"
	got=$?
	((got == 1)) || problem+="hold --detach: exit status $got"
	end_listener
	result "run --within on a target whose opening waits for a permission" "$problem"
else
	skip "run --within on a target whose opening waits for a permission" "this kernel asks nobody for permissions"
fi

mkdir "$mnt/asked"
echo full >"$mnt/asked/file"
if listen "$mnt/asked"; then
	# A shell truncates by open(2), which waits in the middle of a write.
	bash -c 'echo >"$1"' bash "$mnt/asked/file" &
	writer=$!
	await asleep "$writer"
	timeout -s KILL 60 "$freezefd" run --within 2s "$mnt" -- true 2>"$err"
	got=$?
	problem=
	if ((got == 0)); then
		end_listener
		wait "$writer"
		skip "run --within while a write is kept open" "this kernel asks before the write begins"
	else
		((got == 125)) || problem="exit status $got"
		if [[ -r /proc/self/syscall && $(cat /proc/self/wchan) ]]; then
			problem+=$(says "$mnt: bash \\($writer\\) keeps a write open")
		else
			problem+=$(says "not frozen within 2.0s, given up")
		fi
		end_listener
		wait "$writer"
		await is_state "$mnt" thawed || problem+="left frozen"
		writes "$mnt/file" || problem+="cannot be written to afterwards"
		result "run --within while a write is kept open: its task is named" "$problem"
	fi
else
	skip "run --within while a write is kept open" "this kernel asks nobody for permissions"
fi
message_lines=2
