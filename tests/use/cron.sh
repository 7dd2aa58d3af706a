#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# doc/use/cron.md, with Debian's cron.
# in: vm/run --disk 256M --disk 256M
# needs: cron e2fsprogs

# shellcheck source-path=SCRIPTDIR source=page.bash
. "$(dirname "$0")/page.bash"
vm_only
install_tool
clean_up() { [[ -z ${cron:-} ]] || kill "$cron"; umount -q /srv; }
writable /usr/local/sbin /var/lib /var/spool /var/mail
mount -t tmpfs tmpfs /var/backups
cat >/usr/local/sbin/take-snapshot <<-END
	#!/bin/sh
	freezefd status -n -o STATE /srv >/run/state.new
	dd if=${disks[0]} of=${disks[1]} bs=1M iflag=direct status=none
	mv /run/state.new /run/state
END
chmod 755 /usr/local/sbin/take-snapshot
fresh ext4 "${disks[0]}" /srv
start_writer /srv

# It will be 3:30 soon.
install_block crontab /etc/cron.d/srv && chmod 644 /etc/cron.d/srv
date -s 03:29:55 >/dev/null
sed -n 's/ root / /p; /^[A-Z]/p' /etc/cron.d/srv >"$work/user"
verdict 'crontab takes the lines' crontab -n "$work/user"
cron -f -L 15 >"$work/cron" 2>&1 &
cron=$!
ran() { [[ -e /run/state && -e /var/lib/srv.json ]]; }
verdict 'cron runs it' eval 'AWAIT=40 await ran'
rm /etc/cron.d/srv
verdict 'it was frozen meanwhile' grep -qx frozen /run/state
verdict 'the copy is clean' clean_ext4 "${disks[1]}"
verdict 'the report says unbroken' grep -q '"unbroken": *true' /var/lib/srv.json
works look 'the report and the list are shown'

crond_line=$(grep -o 'flock.*' "$work/user")
verdict 'a second one fails at once' eval "! flock -n /run/srv.lock ${crond_line/flock/timeout 20 flock}"
install_block script /usr/local/sbin/nightly-copy
# In cron's environment, with the PATH of the crontab.
like_cron() { env -i HOME=/root SHELL=/bin/sh "$(block crontab | grep ^PATH=)" "$@" </dev/null; }
verdict 'the script makes a copy' like_cron nightly-copy
verdict 'that is clean' clean_ext4 /var/backups/srv.img
cp --reflink=never /var/backups/srv.img "$work/good"
# One that takes longer than the freeze.
sed -i 's/-t 1m/-t 1s/' /usr/local/sbin/nightly-copy
printf '#!/bin/sh\nuntil freezefd status -n -o STATE /srv | grep -q thawed; do :; done\nexec /bin/dd "$@"\n' >/usr/local/sbin/dd
chmod 755 /usr/local/sbin/dd
status=0
like_cron nightly-copy >"$out" 2>&1 || status=$?
verdict 'a broken freeze is 124' test $status = 124
verdict 'and the good copy is still there' cmp "$work/good" /var/backups/srv.img
verdict 'the bad one is not' test ! -e /var/backups/srv.img.part
stop_writers
umount /srv
status=0
like_cron nightly-copy >"$out" 2>&1 || status=$?
verdict 'when it is not mounted nothing is done' test $status = 125
mount "${disks[0]}" /srv
verdict 'without the PATH cron does not find what was installed by hand' eval '! env -i PATH=/usr/bin:/bin sh -c "command -v take-snapshot"'
works never 'a hold with /dev/null as its input ends at once'
verdict 'with the line' grep -q 'held for no time' "$out"
page_summary
