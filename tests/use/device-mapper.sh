#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# doc/use/device-mapper.md
# in: vm/run --disk 128M --disk 64M
# needs: e2fsprogs dmsetup

# shellcheck source-path=SCRIPTDIR source=page.bash
. "$(dirname "$0")/page.bash"
vm_only
# Without udev.
export DM_DISABLE_UDEV=1
clean_up() {
	dmsetup resume srv
	umount -q /mnt/copy
	umount -q /srv
	dmsetup remove srv srv-copy srv-real room
} 2>/dev/null

for i in 0 1; do
	names=(srv room)
	dmsetup create "${names[i]}" --table "0 $(blockdev --getsz "${disks[i]}") linear ${disks[i]} 0"
done
fresh ext4 /dev/mapper/srv /srv
start_writer /srv

before=$(committed)
works snapshot 'a snapshot'
after=$(committed)
verdict 'it is clean' clean_ext4 /dev/mapper/srv-copy
await committed_more $((after + 20)) || not_ok 'the original can be written to'
works mount 'it is mounted'
number=$(number_in /mnt/copy)
verdict "it has what was committed, and stays as it was: $number, of $before to $after" \
	test "$number" -ge "$before" -a "$number" -le $((after + 1))
works away 'it is removed'
verdict 'nothing of it is left' test "$(dmsetup ls | sed 's/[[:space:]].*//' | sort | xargs)" = 'room srv'
verdict 'the original is as it was' grep -q linear <(dmsetup table srv)
await committed_more $(($(committed) + 5)) || not_ok 'the original can be written to'

# What the page says of a device that is suspended.
stop_writers
dmsetup suspend srv
timeout 60 freezefd run -w 2s /srv -- true 2>"$out"
verdict 'freezefd does not freeze on a suspended device' test $? = 125
dmsetup resume srv
stop_writers
umount /srv
verdict 'the original is clean at the end' e2fsck -fn /dev/mapper/srv
page_summary
