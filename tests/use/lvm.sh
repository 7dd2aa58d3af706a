#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# doc/use/lvm.md
# in: vm/run --disk 512M
# needs: e2fsprogs lvm2

# shellcheck source-path=SCRIPTDIR source=page.bash
. "$(dirname "$0")/page.bash"
# shellcheck source-path=SCRIPTDIR source=lvm.bash
. "$(dirname "$0")/lvm.bash"
vm_only
clean_up() {
	umount -q /mnt/copy /mnt/other
	umount -q /srv/*
	dmsetup remove secret
	lvm_remove
} 2>/dev/null

mount -t tmpfs tmpfs /srv
lvm_setup "${disks[0]}"
for volume in data log secret; do volume $volume 64M; done
fresh ext4 /dev/vg/data /srv/data
fresh ext4 /dev/vg/log /srv/log

# ---- One volume

start_writer /srv/data /srv/log
before=$(committed)
works one 'one volume'
verdict 'lvcreate alone makes a clean copy' clean_ext4 /dev/vg/data-copy
works mount 'it is mounted'
verdict 'what was committed is in it' test "$(number_in /mnt/copy)" -ge "$before"
umount /mnt/copy
lvremove -qq -f vg/data-copy

# ---- Two. The number is written to data first, then to log.

before=$(committed)
works both 'two volumes'
verdict 'both copies are clean' eval 'clean_ext4 /dev/vg/data-copy && clean_ext4 /dev/vg/log-copy'
works mount 'the first is mounted'
mkdir -p /mnt/other
mount -o ro /dev/vg/log-copy /mnt/other
read -r -d '' data log < <(number_in /mnt/copy /mnt/other)
verdict "both are of one moment: $data and $log, after $before" \
	test "$log" -ge "$before" -a "$data" -ge "$log" -a "$data" -le $((log + 1))
umount /mnt/copy /mnt/other
works away 'they are thrown away'
verdict 'none is left' test -z "$(lvs --noheadings -S 'lv_name=~copy' vg)"
stop_writers

# ---- Below another layer, which stands for LUKS

dmsetup create secret --table "0 $(blockdev --getsz /dev/vg/secret) linear /dev/vg/secret 0"
dmsetup mknodes secret
fresh ext4 /dev/mapper/secret /srv/secret
start_writer /srv/secret
works between 'a volume under another layer'
verdict 'the copy is clean' clean_ext4 /dev/vg/secret-copy
lvremove -qq -f vg/secret-copy
lvcreate -qq -s -n secret-copy -l 20%ORIGIN vg/secret >"$out" 2>&1
if clean_ext4 /dev/vg/secret-copy >"$out" 2>&1; then
	not_ok 'lvcreate alone does not freeze through it'
else
	ok 'lvcreate alone does not freeze through it'
fi
lvremove -qq -f vg/secret-copy
stop_writers
page_summary
