#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# doc/use/lvm-thin.md, with Debian's kernel: ours has no thin pools.
# in: vm/run --kernel stock-6.12 --module --disk 512M
# needs: e2fsprogs lvm2 thin-provisioning-tools

# shellcheck source-path=SCRIPTDIR source=page.bash
. "$(dirname "$0")/page.bash"
# shellcheck source-path=SCRIPTDIR source=lvm.bash
. "$(dirname "$0")/lvm.bash"
vm_only
clean_up() {
	umount -q /srv/*
	lvm_remove
} 2>/dev/null

mount -t tmpfs tmpfs /srv
lvm_setup "${disks[0]}"
lvcreate -qq -y --type thin-pool -L 300M --poolmetadatasize 4M -n pool vg >"$out" 2>&1 || { cat "$out"; exit 1; }
for volume in data log; do
	lvcreate -qq -y -V 64M --thinpool pool -n $volume vg >"$out" 2>&1 || { cat "$out"; exit 1; }
	fresh ext4 /dev/vg/$volume /srv/$volume
done
start_writer /srv/data /srv/log

works one 'one volume'
verdict 'lvcreate alone makes a clean copy' clean_ext4 /dev/vg/data-copy
lvremove -qq -f vg/data-copy

before=$(committed)
# Emulation, on a busy machine, is slower than any volume.
works both 'two volumes' 's/-t 30s/-t 5m/'
verdict 'both copies are clean' eval 'clean_ext4 /dev/vg/data-copy && clean_ext4 /dev/vg/log-copy'
number_on() { echo $((10#$(debugfs -R 'cat number' "$1" 2>/dev/null))); }
data=$(number_on /dev/vg/data-copy) log=$(number_on /dev/vg/log-copy)
verdict "both are of one moment: $data and $log, after $before" \
	test "$log" -ge "$before" -a "$data" -ge "$log" -a "$data" -le $((log + 1))
works room 'the room in the pool'
works away 'they are thrown away'
verdict 'none is left' test -z "$(lvs --noheadings -S 'lv_name=~copy' vg)"
page_summary
