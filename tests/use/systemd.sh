#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# doc/use/systemd.md, with Debian's systemd.
# in: vm/run --kernel stock-6.12 --module --disk 256M
# needs: systemd e2fsprogs

# shellcheck disable=SC2016,SC2317
# shellcheck source-path=SCRIPTDIR source=page.bash
. "$(dirname "$0")/page.bash"
# shellcheck source-path=SCRIPTDIR source=systemd.bash
. "$(dirname "$0")/systemd.bash"
inside
read -ra disks <<<"$VM_DISKS"
clean_up() { umount -q /srv; }
units=/etc/systemd/system
writable /usr/local/sbin
# It says that it runs, and waits to be told to end, or for a signal.
cat >/usr/local/sbin/copy-srv <<'END'
#!/bin/sh
trap 'echo TERM >>/run/signals; exit 1' TERM
freezefd status -n -o STATE /srv >/run/state.new; mv /run/state.new /run/state
[ -e /run/quick ] || while [ ! -e /run/go ]; do sleep 0.1; done
END
chmod 755 /usr/local/sbin/copy-srv
fresh ext4 "${disks[0]}" /srv
install_block service $units/copy-srv.service
chmod 644 $units/copy-srv.service
touch /run/quick
works enable 'the service runs, and systemd finds nothing wrong'
verdict 'no complaint' eval '! grep -E "copy-srv.*(:[0-9]+:|Unknown|fail)" "$out"'
verdict 'it was frozen' grep -qx frozen /run/state
verdict 'the report says unbroken' grep -q '"unbroken": *true' /run/copy-srv.json

# begin UNIT: it runs, and waits.
begin() {
	rm -f /run/quick /run/go /run/state /run/signals
	systemctl reset-failed "$1" 2>/dev/null
	systemctl start --no-block "$1"
	await test -e /run/state
}
over() { [[ $(property "$1" ActiveState) =~ ^(inactive|failed)$ ]]; }
begin copy-srv
systemctl stop copy-srv
verdict 'stop: thawed' is_state /srv thawed
verdict 'stop: the command gets SIGTERM once' test "$(cat /run/signals)" = TERM
begin copy-srv
systemctl kill --signal KILL copy-srv
verdict 'kill -9 of all: thawed' await is_state /srv thawed
await over copy-srv
begin copy-srv
freezefd thaw --force /srv
touch /run/go
await over copy-srv
verdict 'a broken freeze is 124' is_property copy-srv ExecMainStatus 124
verdict 'and a failure' is_property copy-srv ActiveState failed

install_block hold $units/srv-hold.service
mkdir -p $units/other.service.d
install_block needs $units/other.service.d/hold.conf
printf '[Service]\nType=oneshot\nExecStart=/usr/local/sbin/copy-srv\nEnvironment=PATH=/usr/local/bin:/usr/bin:/bin\n' >$units/other.service
systemctl daemon-reload
begin other
verdict 'the hold of its own service: frozen' grep -qx frozen /run/state
touch /run/go
await over other
verdict 'thawed when the other one ends' await is_state /srv thawed
await over srv-hold
verdict 'and good' is_property srv-hold Result success
begin other
systemctl kill --signal KILL other
verdict 'thawed when the other one is killed' await is_state /srv thawed
await over srv-hold
begin other
freezefd thaw --force /srv
touch /run/go
await over srv-hold
verdict 'a broken hold is its failure' systemctl is-failed srv-hold
page_summary
