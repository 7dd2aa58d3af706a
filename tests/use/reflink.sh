#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# doc/use/reflink.md, on XFS and on btrfs.
# in: vm/run --disk 512M
# needs: e2fsprogs xfsprogs btrfs-progs

# shellcheck source-path=SCRIPTDIR source=page.bash
. "$(dirname "$0")/page.bash"
vm_only
clean_up() { umount -q /mnt/copy; umount -q /mnt/inside; umount -q /srv; }

for type in xfs btrfs; do
	fresh "$type" "${disks[0]}" /srv
	truncate -s 100M /srv/disk.img
	mkfs.ext4 -qF /srv/disk.img
	mkdir -p /mnt/inside
	mount -o loop /srv/disk.img /mnt/inside
	start_writer /mnt/inside
	before=$(committed)
	works copy "$type: the image is copied"
	after=$(committed)
	verdict "$type: the copy is clean" clean_ext4 /srv/copy.img
	works look "$type: the copy is mounted"
	verdict "$type: what was committed is in it" test "$(number_in /mnt/copy)" -ge "$before" -a "$(number_in /mnt/copy)" -le $((after + 1))
	mkdir /srv/folder
	echo hello >/srv/folder/file
	works wrong "$type: a copy within what is frozen ends"
	verdict "$type: with 124" grep -qx 'status 124' "$out"
	stop_writers
	clean_up
	wipefs -qa "${disks[0]}"
done
page_summary
