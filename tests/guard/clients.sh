# SPDX-License-Identifier: GPL-2.0-or-later
# shellcheck shell=bash disable=SC2016,SC2034,SC2154
# The programs that people freeze with. Sourced by run.

label=
fresh_fs ext4 "$device" "$mnt" || exit
fresh_fs xfs "$spare" "$other" || exit
engine=$("$freezefd" status -n -o ENGINE "$mnt")

# ---- Commands

script='"$1" $2 "$4"; "$0" status -n -o STATE,HOLDERS "$4" | sed "s/ ([0-9]*)//"; "$1" $3 "$4"; "$0" status -n -o STATE "$4"'
# command_pair NAME FREEZE THAW DIRECTORY
command_pair() {
	if command -v "$1" >/dev/null; then
		guarded "${*:1:3}" 0 'frozen freezefd thawed' -- sh -c "$script" "$freezefd" "$@"
	else
		skip "${*:1:3}" "$1 is not installed"
	fi
}
command_pair fsfreeze --freeze --unfreeze "$mnt"
command_pair xfs_freeze -f -u "$other"
if busybox fsfreeze --help >/dev/null 2>&1; then
	mkdir "$work/busybox"
	ln -s "$(command -v busybox)" "$work/busybox/fsfreeze"
	label='busybox: '
	PATH=$work/busybox:$PATH command_pair fsfreeze --freeze --unfreeze "$mnt"
	label=
else
	skip "busybox fsfreeze" 'busybox-static is not installed'
fi

guarded 'fsfreeze is told' 1 '' 'fsfreeze: .*: freeze failed: Operation not supported' -- fsfreeze -f /proc
guarded 'fsfreeze twice' 1 '' "fsfreeze: .*: freeze failed: Device or resource busy" -- \
	sh -c 'fsfreeze -f "$1" && fsfreeze -f "$1"' sh "$mnt"
start fsfreeze -f "$mnt"
ended
result 'a script that forgets to thaw' "$(compare 0 '' "$mnt: thawed, because the agent has ended")"

# As vmtoolsd does it: all that are named, and after that a thaw of each until it fails.
guarded 'freeze all, thaw each until it fails' 0 'freeze 0 freeze 0 loop 1 loop 1' -- \
	"$agent" open "$mnt" freeze open "$other" freeze loop open "$mnt" loop

# ---- qemu-ga, over a socket

# shellcheck source-path=SCRIPTDIR source=../qga.bash
. "$here/../qga.bash"
qga_socket=$work/qga.sock qga_seconds=30
# Never without the list: it would freeze all that is mounted.
qga_freeze() { qga guest-fsfreeze-freeze-list "{\"mountpoints\": [\"$mnt\", \"$other\"]}"; }
# says WHAT PATTERN ANSWER
says() { [[ $3 =~ $2 ]] || problem+="$1: $3"$'\n'; }

# qga_start OPTION...: of the guard
qga_start() {
	rm -rf "$qga_socket" "$work/state"
	mkdir "$work/state"
	problem=
	start "$@" -- qemu-ga -m unix-listen -p "$qga_socket" -t "$work/state" -f "$work/state/pid"
	AWAIT=30 await qga guest-ping >/dev/null || problem='does not come up'$'\n'
}
qga_stop() {
	kill "$pid"
	ended
}

if ! command -v qemu-ga >/dev/null; then
	skip qemu-ga 'qemu-guest-agent is not installed'
else
	qga_start
	says freeze '"return": 2}' "$(qga_freeze)"
	says status '"frozen"' "$(qga guest-fsfreeze-status)"
	is_state "$mnt" frozen && is_state "$other" frozen || problem+='not frozen'$'\n'
	says 'freeze twice' 'error.*frozen' "$(qga_freeze)"
	says thaw '"return": 2}' "$(qga guest-fsfreeze-thaw)"
	is_state "$mnt" thawed && is_state "$other" thawed || problem+='not thawed'$'\n'
	says 'status after it' '"thawed"' "$(qga guest-fsfreeze-status)"
	says 'thaw of nothing' '"return": 0}' "$(qga guest-fsfreeze-thaw)"
	says 'freeze again' '"return": 2}' "$(qga_freeze)"
	says 'thaw again' '"return": 2}' "$(qga guest-fsfreeze-thaw)"
	qga_stop
	result 'qemu-ga freezes and thaws' "$problem$(compare 0 '' '')"

	qga_start
	says freeze '"return": 2}' "$(qga_freeze)"
	kill -KILL "$child"
	ended
	result 'SIGKILL of qemu-ga while it holds' "$problem$(compare 137 '' 'agent has ended')"

	qga_start
	says freeze '"return": 2}' "$(qga_freeze)"
	kill -KILL "$pid"
	ended
	AWAIT=20 await gone "$child" || problem+='qemu-ga lives on'
	result 'SIGKILL of its guard' "$problem$(compare 137 '' '')"

	qga_start --timeout 10s
	says freeze '"return": 2}' "$(qga_freeze)"
	kill -STOP "$child"
	thawed "$mnt" && thawed "$other" || problem+='not thawed'$'\n'
	kill -CONT "$child"
	says thaw '"return": 0}' "$(qga guest-fsfreeze-thaw)"
	says 'freeze again' '"return": 2}' "$(qga_freeze)"
	says 'thaw again' '"return": 2}' "$(qga guest-fsfreeze-thaw)"
	qga_stop
	result 'qemu-ga is stopped while it holds' "$problem$(compare 124 '' 'broken by its timeout of 10.0s')"

	if [[ $engine = guardian ]]; then
		skip "a stranger's thaw is not qemu-ga's" 'with the engine guardian it ends the hold'
	else
		qga_start
		says freeze '"return": 2}' "$(qga_freeze)"
		! fsfreeze -u "$mnt" 2>/dev/null || problem+='a stranger has thawed'$'\n'
		is_state "$mnt" frozen || problem+='thawed'$'\n'
		says thaw '"return": 2}' "$(qga guest-fsfreeze-thaw)"
		qga_stop
		result "a stranger's thaw is not qemu-ga's" "$problem$(compare 0 '' '')"
	fi

	# Into the background, as a service of type forking.
	rm -rf "$qga_socket" "$work/state"
	mkdir "$work/state"
	start_only qemu-ga -d -m unix-listen -p "$qga_socket" -t "$work/state" -f "$work/state/pid"
	problem=
	AWAIT=30 await qga guest-ping >/dev/null || problem='does not come up'$'\n'
	says freeze '"return": 2}' "$(qga_freeze)"
	says thaw '"return": 2}' "$(qga guest-fsfreeze-thaw)"
	says freeze '"return": 2}' "$(qga_freeze)"
	kill -KILL "$(<"$work/state/pid")"
	ended
	result 'SIGKILL of qemu-ga in the background' "$problem$(compare 0 '' 'agent has ended')"
fi
umount "$mnt" "$other"

# ---- A snapshot by LVM, alone and with fsfreeze around it

# lvm_setup: a filesystem on a logical volume, mounted on $mnt; without udev, and nothing outside $work.
lvm_setup() {
	export LVM_SYSTEM_DIR=$work/lvm LVM_SUPPRESS_FD_WARNINGS=1
	mkdir "$LVM_SYSTEM_DIR"
	cat >"$LVM_SYSTEM_DIR/lvm.conf" <<-END
		devices { filter = ["a|^$device\$|", "r|.*|"] obtain_device_list_from_udev = 0 use_devicesfile = 0 }
		global { use_lvmpolld = 0 system_id_source = "none" }
		activation { udev_sync = 0 udev_rules = 0 monitoring = 0 }
		backup { backup = 0 archive = 0 }
	END
	# LVM asks the machine's modprobe, the kernel that of the VM.
	[[ ! -x /run/modprobe ]] || /run/modprobe dm-snapshot
	wipefs -qa "$device" &&
		lvm vgcreate -q guardtest "$device" &&
		lvm lvcreate -q -L 100M -n origin guardtest &&
		mkfs.ext4 -qF /dev/guardtest/origin &&
		mount /dev/guardtest/origin "$mnt"
}
lvm_remove() {
	umount -q "$mnt"
	lvm vgchange -q -an guardtest
	lvm vgremove -q -f guardtest
}

if ! command -v lvm >/dev/null || ! have_dm; then
	skip 'lvcreate -s' 'no lvm2 or no device-mapper here'
elif ! lvm_setup >"$out" 2>"$err"; then
	not_ok 'lvcreate -s' "$(cat "$out" "$err")"
else
	guarded 'lvcreate -s' 0 'created' '' -- \
		sh -c 'lvm lvcreate -q -s -L 40M -n one guardtest/origin >/dev/null && echo created'
	if ! "$freezefd" run "$mnt" -- lvm lvcreate -q -s -L 4M -n none guardtest/origin >/dev/null 2>&1; then
		skip 'lvcreate -s while frozen' 'this kernel does not suspend what is frozen'
	else
		guarded 'lvcreate -s while frozen' 0 'created' '' -- sh -c '
			fsfreeze -f "$1" && lvm lvcreate -q -s -L 40M -n two guardtest/origin >/dev/null && echo created; fsfreeze -u "$1"' sh "$mnt"
		problem=
		dumpe2fs -h /dev/guardtest/two 2>/dev/null | grep -q needs_recovery && problem='the snapshot needs recovery'
		e2fsck -fn /dev/guardtest/two >"$out" 2>&1 || problem+=$(<"$out")
		result 'that snapshot is clean' "$problem"
	fi
fi
[[ ! -e /dev/guardtest ]] || lvm_remove >/dev/null 2>&1
