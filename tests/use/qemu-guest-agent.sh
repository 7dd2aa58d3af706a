#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# doc/use/qemu-guest-agent.md, with Debian's package under systemd.
# in: vm/run --kernel stock-6.12 --module --disk 256M
# needs: qemu-guest-agent systemd e2fsprogs

# shellcheck disable=SC2016,SC2317
# shellcheck source-path=SCRIPTDIR source=page.bash
. "$(dirname "$0")/page.bash"
# shellcheck source-path=SCRIPTDIR source=systemd.bash
. "$(dirname "$0")/systemd.bash"
# shellcheck source-path=SCRIPTDIR source=../qga.bash
. "$(dirname "$0")/../qga.bash"
inside
read -ra disks <<<"$VM_DISKS"
clean_up() { umount -q /srv; }
fresh ext4 "${disks[0]}" /srv
# Without a virtio port there is no device to wait for.
sed '/^BindsTo=/d; /^After=/d' /lib/systemd/system/qemu-guest-agent.service >/etc/systemd/system/qemu-guest-agent.service
qga_configure
unit=qemu-guest-agent
up() { await answers return guest-ping; }
restart_with() {
	mkdir -p /etc/systemd/system/$unit.service.d
	install_block drop-in "$work/drop-in"
	sed "$1" "$work/drop-in" >/etc/systemd/system/$unit.service.d/freezefd.conf
	works enable "the service starts${2:+, $2}" && up
}
main() { property $unit MainPID; }
agent() { pgrep -P "$(main)"; }
only='{"mountpoints": ["/srv"]}'
restarted() { [[ $(main) != "$1" && $(main) != 0 ]] && up; }

writable /var/log
install_block hook /etc/qemu/fsfreeze-hook.d/10-app
restart_with ''
verdict 'the guard is its main process' grep -q freezefd "/proc/$(main)/cmdline"
verdict 'the host freezes' answers 'return": 1}' guest-fsfreeze-freeze-list "$only"
verdict 'it is frozen' is_state /srv frozen
verdict 'the host thaws' answers 'return": 1}' guest-fsfreeze-thaw
verdict 'it has thawed' is_state /srv thawed

freezes() { verdict "it freezes: ${1?}" answers 'return": 1}' guest-fsfreeze-freeze-list "$only"; }
freezes 'for an administrator'
works look 'an administrator looks and thaws'
verdict 'the list names the guard' grep -qE 'freezefd .* /srv .*held' "$out"
verdict 'that was a thaw' is_state /srv thawed
verdict "the host's thaw has nothing to do" answers 'return": 0}' guest-fsfreeze-thaw
verdict 'the host freezes and thaws again' eval 'answers "return\": 1}" guest-fsfreeze-freeze-list "$only" && answers "return\": 1}" guest-fsfreeze-thaw'
told() { journalctl --sync; journalctl -q -u $unit | grep "$1"; }
verdict 'the journal tells of the broken freeze' told '/srv: .*broken'

before=$(main)
freezes 'before its death'
agent | xargs kill -KILL
verdict 'the agent is killed: all thaws' await is_state /srv thawed
verdict 'and the service starts again' await restarted "$before"
before=$(main)
freezes 'after its death in a freeze'
systemctl kill --signal KILL $unit
verdict 'the whole service is killed: all thaws' await is_state /srv thawed
verdict 'and it starts again, too' await restarted "$before"
verdict 'without -F no hook is called' test ! -e /run/app
freezes 'after the death of all in a freeze'
verdict 'the service is stopped while frozen' timeout 60 systemctl stop $unit
verdict 'after that it has thawed' is_state /srv thawed

restart_with 's|qemu-ga$|& -F/etc/qemu/fsfreeze-hook|' 'with hooks'
freezes 'after a stop in a freeze'
verdict 'the hook is called before the freeze' grep -qx quiet /run/app
qga guest-fsfreeze-thaw >/dev/null
verdict 'and after the thaw' grep -qx busy /run/app
printf '#!/bin/sh\nexit 1\n' >/etc/qemu/fsfreeze-hook.d/20-fails
chmod 755 /etc/qemu/fsfreeze-hook.d/20-fails
verdict 'one that fails in the folder is passed over' answers 'return": 1}' guest-fsfreeze-freeze-list "$only"
qga guest-fsfreeze-thaw >/dev/null
verdict 'and logged' grep -q '20-fails finished with status=1' /var/log/qga-fsfreeze-hook.log
restart_with 's|qemu-ga$|& -F/etc/qemu/fsfreeze-hook.d/20-fails|' 'with a hook that fails'
verdict 'one that fails alone is an error' answers error guest-fsfreeze-freeze-list "$only"
verdict 'and nothing is frozen' is_state /srv thawed
systemctl stop $unit
page_summary
