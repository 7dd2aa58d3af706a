# SPDX-License-Identifier: GPL-2.0-or-later
# shellcheck shell=bash disable=SC2154
# A test that goes on under a systemd of its own, in a VM. Sourced after page.bash.
#
# That systemd is the system's, but for a PID namespace and a mount namespace: the VM's first process is another one.

# inside: true when systemd runs. Else starts it and runs the test again under it.
inside() {
	local pid child unit
	[[ -z ${USE_SYSTEMD:-} ]] || return 0
	vm_only
	install_tool
	# Of the system's units only these: the others would boot it, and empty /tmp.
	cp /lib/systemd/system/systemd-journald{,-dev-log}.socket /lib/systemd/system/systemd-journald.service /etc/systemd/system/
	for unit in sysinit basic sockets shutdown; do printf '[Unit]\n' >/etc/systemd/system/$unit.target; done
	printf '[Unit]\nRequires=systemd-journald.socket\n' >/etc/systemd/system/use.target
	# shellcheck disable=SC2016
	unshare --fork --pid --mount-proc --propagation private sh -c '
		mount -t tmpfs tmpfs /run
		mount -t cgroup2 cgroup2 /sys/fs/cgroup
		exec env -i container=vm PATH="$PATH" SYSTEMD_UNIT_PATH=/etc/systemd/system /usr/lib/systemd/systemd --unit=use.target --log-target=null --show-status=no' >"$work/systemd" 2>&1 &
	pid=$!
	in_it() { nsenter -t "$child" -m -p -- "$@"; }
	child_of_systemd() { child=$(pgrep -P "$pid"); }
	if ! await child_of_systemd || ! AWAIT=120 await in_it test -S /run/systemd/private; then
		echo "systemd does not start: $(<"$work/systemd")"
		exit 1
	fi
	AWAIT=60 await in_it systemctl -q is-active use.target || { echo 'systemd is not ready'; exit 1; }
	in_it env USE_SYSTEMD=yes "$(realpath "$0")"
	exit
}

# property UNIT NAME
property() { systemctl show --value -p "$2" "$1"; }
is_property() { [[ $(property "$1" "$2") = "$3" ]]; }
