#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# doc/use/proxmox.md: the guest's side, as the host asks for it.
# in: vm/run --disk 256M
# needs: qemu-guest-agent systemd e2fsprogs

# shellcheck disable=SC2016,SC2317
# shellcheck source-path=SCRIPTDIR source=page.bash
. "$(dirname "$0")/page.bash"
# shellcheck source-path=SCRIPTDIR source=../qga.bash
. "$(dirname "$0")/../qga.bash"
vm_only
clean_up() { [[ -z ${guard:-} ]] || kill "$guard"; umount -q /srv; }
install_tool
qga_configure
fresh ext4 "${disks[0]}" /srv

# The command of the drop-in, with another time.
command=$(page=$top/doc/use/qemu-guest-agent.md block drop-in | sed -n "s/^ExecStart=-//p" | sed 's/--timeout 2m/--timeout 3s/')
$command 2>"$work/guard" &
guard=$!
verdict 'the agent is there' await answers return guest-ping
# All that is mounted from a disk: in this VM that is /srv.
verdict 'fs-freeze' answers 'return": 1}' guest-fsfreeze-freeze
verdict 'fsfreeze-status' answers 'frozen' guest-fsfreeze-status
verdict 'it is frozen' is_state /srv frozen
verdict 'fs-thaw' answers 'return": 1}' guest-fsfreeze-thaw
verdict 'it has thawed' is_state /srv thawed
verdict 'nothing is told' test ! -s "$work/guard"

verdict 'fs-freeze, and the host is gone' answers 'return": 1}' guest-fsfreeze-freeze
verdict 'the time thaws' await is_state /srv thawed
verdict 'the thaw that comes late is no error' answers 'return": 0}' guest-fsfreeze-thaw
install_block ask "$work/ask"
verdict 'the guard tells what the page looks for' eval 'grep -E "$(sed -n "s/.*--grep .\([^\x27]*\).*/\1/p" "$work/ask")" "$work/guard"'
commands ask
verdict 'journalctl takes the line' test $? = 0
# A filesystem in a file of another one that was mounted anew since.
mkdir -p /mnt/inside
truncate -s 64M /srv/inside.img
mkfs.ext4 -qF /srv/inside.img
mount -o loop /srv/inside.img /mnt/inside
umount -l /srv
mount "${disks[0]}" /srv
dd if=/dev/zero of=/mnt/inside/dirty bs=1M count=20 status=none
verdict 'a freeze that waits for itself is an error' answers error guest-fsfreeze-freeze
verdict 'and all has thawed' eval 'await is_state /srv thawed && await is_state /mnt/inside thawed'
umount /mnt/inside
qga guest-fsfreeze-thaw >/dev/null
verdict 'the agent can do it again' answers 'return": 1}' guest-fsfreeze-freeze
kill "$guard"
verdict 'the service is stopped while frozen: thawed' await is_state /srv thawed
page_summary
