#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# doc/use/backup-tools.md
# in: vm/run --disk 512M
# needs: e2fsprogs lvm2 restic borgbackup

# shellcheck source-path=SCRIPTDIR source=page.bash
. "$(dirname "$0")/page.bash"
# shellcheck source-path=SCRIPTDIR source=lvm.bash
. "$(dirname "$0")/lvm.bash"
vm_only
clean_up() {
	umount -q /mnt/snapshot/*
	umount -q /srv/*
	lvm_remove
} 2>/dev/null

for dir in /srv /usr/local/sbin /root; do mount -t tmpfs tmpfs $dir; done
PATH=/usr/local/sbin:$PATH
lvm_setup "${disks[0]}"
for volume in data log; do
	volume $volume 96M
	fresh ext4 /dev/vg/$volume /srv/$volume
done
start_writer /srv/data /srv/log
verdict 'the script is saved' install_block in-snapshot /usr/local/sbin/in-snapshot

# The password's file is the page's; /etc is not to be written to.
mkdir /mnt/backup
echo secret >/mnt/backup/password
export RESTIC_PASSWORD_FILE=/mnt/backup/password
restic -q init -r /mnt/backup/restic && borg init -e none /mnt/backup/borg || exit

nothing_left() { ! mountpoint -q /mnt/snapshot/data && [[ -z $(lvs --noheadings -S 'lv_name=~copy' vg) ]]; }

# one_moment TOOL: data is written first, then log; what was restored to $work/restored.
one_moment() {
	local data log
	read -r -d '' data log < <(number_in "$work/restored/data" "$work/restored/log")
	verdict "$1: what it has is of one moment: $data and $log, of $before to $after" \
		test "$log" -ge "$before" -a "$data" -ge "$log" -a "$data" -le $((log + 1)) -a "$log" -le "$after"
	verdict "$1: nothing is left" nothing_left
	rm -rf "$work/restored"
}

before=$(committed)
works restic 'restic: a backup' "s,/etc/restic-password,$RESTIC_PASSWORD_FILE,"
after=$(committed)
restic -q -r /mnt/backup/restic restore latest --target "$work/restore" >"$out" 2>&1 || not_ok 'restic restores' "$(<"$out")"
mv "$work/restore/mnt/snapshot" "$work/restored" 2>/dev/null || mv "$work/restore" "$work/restored"
one_moment restic

before=$(committed)
works borg 'borg: a backup'
after=$(committed)
mkdir "$work/restored"
(cd "$work/restored" && borg extract "/mnt/backup/borg::$(borg list --short --last 1 /mnt/backup/borg)") || not_ok 'borg restores'
one_moment borg

# ---- What the page says of failures

in-snapshot sh -c 'exit 3'
verdict "the status is the command's" test $? = 3
verdict 'nothing is left' nothing_left
# A stranger's force, from within the command that makes the snapshots.
sed "s,^\(.*lvcreate.*vg/log\)',\1; freezefd thaw --force /srv/data'," /usr/local/sbin/in-snapshot >"$work/broken"
sh "$work/broken" touch "$work/ran" 2>"$out"
verdict 'a broken freeze is 124' test $? = 124
verdict 'and the command is not run' test ! -e "$work/ran"
verdict 'nothing is left of that' nothing_left
# One that runs full.
sed 's/-l 20%ORIGIN/-L 4M/' /usr/local/sbin/in-snapshot >"$work/small"
for tool in 'restic -q -r /mnt/backup/restic backup' 'borg create /mnt/backup/borg::full'; do
	# What the writer, too, overwrites.
	# shellcheck disable=SC2016
	sh "$work/small" sh -c 'dd if=/dev/urandom of=/srv/data/large bs=1M count=30 conv=fsync status=none
		echo 3 >/proc/sys/vm/drop_caches
		exec $0 data log' "$tool" >"$out" 2>&1
	status=$?
	verdict "${tool%% *} fails when the snapshot has run full: $status" test $status != 0
done
stop_writers
umount /srv/log && in-snapshot touch "$work/ran" 2>"$out"
verdict 'nor is it when a volume is not mounted' test $? = 125 -a ! -e "$work/ran"
page_summary
