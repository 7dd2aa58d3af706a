#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# doc/use/btrfs.md
# in: vm/run --disk 200M --disk 200M --disk 700M
# needs: e2fsprogs btrfs-progs

# shellcheck source-path=SCRIPTDIR source=page.bash
. "$(dirname "$0")/page.bash"
vm_only
clean_up() {
	umount -q /mnt/copy
	umount -q /mnt/received
	umount -q /srv
	umount -q /mnt/backup
	losetup -D
} 2>/dev/null

export first=${disks[0]} second=${disks[1]}
fresh ext4 "${disks[2]}" /mnt/backup
# Data on both devices in turn, metadata on one: what a copy of one moment has, and no other.
mkfs.btrfs -qf -d raid0 -m raid1 "$first" "$second" >/dev/null 2>&1 && mount "$first" /srv || exit
btrfs -q subvolume create /srv/data
start_writer /srv/data

# ---- Snapshots

before=$(committed)
works snapshot 'a snapshot is sent'
number=$(number_in /srv/snapshots/monday)
verdict 'it has what was committed' test "$number" -ge "$before"
works next 'so is what has changed'
truncate -s 150M /mnt/backup/received.img
mkfs.btrfs -qf -m single /mnt/backup/received.img >/dev/null 2>&1
mkdir -p /mnt/received
mount -o loop /mnt/backup/received.img /mnt/received
for day in monday tuesday; do btrfs -q receive -f /mnt/backup/$day.btrfs /mnt/received; done
verdict 'both are received' diff -r /srv/snapshots /mnt/received
umount /mnt/received
works wrong 'a snapshot within what is frozen ends'
verdict 'with 124' grep -qx 'status 124' "$out"

# ---- Copies of the devices

before=$(committed)
works devices 'the devices are copied'
after=$(committed)
verdict 'the report says unbroken' grep -q '"unbroken": *true' /mnt/backup/srv.json
# A log tree is what a crash leaves.
log_roots() { btrfs inspect-internal dump-super "$@" | awk '$1 == "log_root" { n += $2 } END { print n + 0 }'; }
verdict 'there is nothing to replay' test "$(log_roots /mnt/backup/{first,second}.img)" = 0
stop_writers
umount /srv
btrfs device scan --forget
works check 'btrfs check finds the copy good'
mkdir -p /mnt/copy
mount -o ro "$(losetup -nO NAME -j /mnt/backup/first.img)" /mnt/copy
number=$(number_in /mnt/copy/data)
verdict "what was committed is in it: $number, of $before to $after" test "$number" -ge "$before" -a "$number" -le $((after + 1))
page_summary
