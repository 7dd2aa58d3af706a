# SPDX-License-Identifier: GPL-2.0-or-later
# shellcheck shell=bash
# What the shell tests share: results, waiting, filesystems. Sourced.

top=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
build=${FREEZEFD_BUILD:-$top/build}
freezefd=${FREEZEFD:-$build/tools/freezefd}
export FREEZEFD_LIBEXEC=$build/guardian
export LD_LIBRARY_PATH=$build/lib${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}
export LC_ALL=C.UTF-8

passed=0 failed=0 skipped=0

ok() {
	passed=$((passed + 1))
	printf 'ok %d - %s\n' $((passed + failed + skipped)) "$1"
}

# not_ok WHAT [REASON]: the reason may have several lines.
not_ok() {
	failed=$((failed + 1))
	printf 'not ok %d - %s\n' $((passed + failed + skipped)) "$1"
	[[ -z ${2:-} ]] || printf '%s\n' "$2" | sed 's/^/#   /'
}

skip() {
	skipped=$((skipped + 1))
	printf 'ok %d - %s # SKIP %s\n' $((passed + failed + skipped)) "$1" "$2"
}

# The closing line; false when something failed.
summary() {
	printf '%d passed, %d failed, %d skipped\n' "$passed" "$failed" "$skipped"
	((failed == 0))
}

# await COMMAND...: until it succeeds. The limit is only there so that a failure ends.
await() {
	local end=$((SECONDS + ${AWAIT:-30}))
	until "$@"; do
		((SECONDS < end)) || return 1
		sleep 0.02
	done
}

state_of() {
	"$freezefd" status --noheadings --output STATE "$1"
}

is_state() {
	[[ $(state_of "$1" 2>/dev/null) = "$2" ]]
}

# Does the process sleep where no signal reaches it?
blocked() {
	grep -qs '^State:[[:space:]]*D' "/proc/$1/status"
}

# In a VM of vm/run, whose root is the machine's by another filesystem? What concerns the whole machine is for that alone.
in_vm() { [[ $(findmnt -no FSTYPE /) =~ ^(hostfs|9p)$ ]]; }

# disks COUNT DIR: the disks of the VM, or loop devices over files in DIR, in the array $disks.
disks() {
	local i
	read -ra disks <<<"${VM_DISKS:-}"
	for ((i = ${#disks[@]}; i < $1; i++)); do
		truncate -s 320M "$2/disk-$i"
		disks[i]=$(losetup --find --show "$2/disk-$i")
		loops+=("${disks[i]}")
	done
}
loops=()

detach_disks() {
	((${#loops[@]} == 0)) || losetup --detach "${loops[@]}"
}

# reap PID SECONDS DIRECTORY DEVICE...: when the session has ended, or must end now, nothing of it may stay.
reap() {
	local pid=$1 end=$((SECONDS + $2)) work=$3 device
	shift 3
	# Whatever fails, the rest is to be done.
	set +e
	trap '' HUP INT TERM
	while kill -0 "$pid" 2>/dev/null; do
		((SECONDS < end)) || kill -KILL -- "-$pid"
		sleep 0.2
	done
	for device; do
		timeout 20 "$freezefd" thaw --force "$device"
		umount -A -l "$device"
		losetup --detach "$device"
	done
	rm -rf --one-file-system "$work"
} >/dev/null 2>&1

# on_loop_devices COUNT SECONDS ENGINE COMMAND...: as vm/run does it with disks, but here. For so long at the
# most; whatever is left frozen is thawed by a process that does nothing else. Exits with the command's status.
on_loop_devices() {
	local count=$1 seconds=$2 engine=$3 work devices=() i reaper status=0 runner one
	shift 3
	(($(id -u) == 0)) || { echo "not root"; exit 77; }
	losetup --find >/dev/null 2>&1 || { echo "no loop devices here"; exit 77; }
	[[ $engine != guardian ]] || "$build/guardian/freezefd-load-bpf" </dev/null 2>&1 || exit 77
	# One at a time: their device-mapper devices have the same names.
	exec {one}<"${BASH_SOURCE[0]}"
	flock "$one"
	work=$(mktemp -d)
	for ((i = 0; i < count; i++)); do
		truncate -s 400M "$work/$i"
		devices+=("$(losetup --find --show "$work/$i")")
	done
	export FREEZEFD_BUILD=$build FREEZEFD_TEST_SHARED=1 VM_DISKS=${devices[*]} TMPDIR=$work
	setsid "$@" {one}<&- &
	runner=$!
	# shellcheck disable=SC2064
	trap "kill -KILL -- -$runner" HUP INT TERM
	reap $runner "$seconds" "$work" "${devices[@]}" &
	reaper=$!
	wait $runner || status=$?
	wait $reaper
	exit $status
}

make_fs() {
	case $1 in
	ext4) mkfs.ext4 -qF "$2" ;;
	xfs) mkfs.xfs -qf "$2" ;;
	btrfs) mkfs.btrfs -qf "$2" ;;
	f2fs) mkfs.f2fs -qf "$2" ;;
	esac
}
