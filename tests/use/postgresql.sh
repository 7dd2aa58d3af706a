#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# doc/use/postgresql.md
# in: vm/run --disk 1G
# needs: e2fsprogs lvm2 postgresql

# shellcheck source-path=SCRIPTDIR source=page.bash
. "$(dirname "$0")/page.bash"
# shellcheck source-path=SCRIPTDIR source=lvm.bash
. "$(dirname "$0")/lvm.bash"
vm_only
# Debian's program, and that of the newest server.
version=$(printf '%s\n' /usr/lib/postgresql/* | sort -V | tail -n 1)
version=${version##*/}
bin=/usr/lib/postgresql/$version/bin
as_postgres() { (cd / && runuser -u postgres -- "$@"); }
sql() { as_postgres psql -qAtX "$@"; }
clean_up() {
	stop_writers
	as_postgres "$bin/pg_ctl" stop -s -m immediate -D /mnt/data/pg
	as_postgres "$bin/pg_ctl" stop -s -m immediate -D /srv/data/pg
	umount -q /mnt/data
	umount -q /mnt/log
	umount -q /srv/*
	lvm_remove
} >/dev/null 2>&1

# ---- A server as Debian makes it

mount -t tmpfs tmpfs /srv
for dir in /etc/postgresql /var/log/postgresql; do mount -t tmpfs tmpfs $dir; done
mkdir /run/postgresql
chown postgres: /run/postgresql /etc/postgresql /var/log/postgresql
lvm_setup "${disks[0]}"
volume data 200M
volume log 100M
for volume in data log; do
	fresh ext4 /dev/vg/$volume /srv/$volume
	chown postgres: /srv/$volume
done
{
	pg_createcluster -p 5432 "$version" main -d /srv/data/pg -- --waldir=/srv/log/pg_wal --wal-segsize=1 --no-sync &&
		as_postgres "$bin/pg_ctl" start -s -w -D /srv/data/pg -l /var/log/postgresql/log -o "\
			-c config_file=/etc/postgresql/$version/main/postgresql.conf -c listen_addresses= \
			-c min_wal_size=8MB -c max_wal_size=16MB" &&
		sql -c 'CREATE TABLE entry(id serial PRIMARY KEY, text text)'
} >"$out" 2>&1 || { cat "$out" /var/log/postgresql/*; exit 1; }

# ---- One row a transaction; its number is written down once it is committed. And somebody else asks for checkpoints.

statements() {
	while echo "INSERT INTO entry(text) VALUES(repeat('text ', 300)) RETURNING id;"; do
		:
	done 2>/dev/null
}
committed() { tail -n 1 "$work/rows"; }
more_rows() { (($(committed) > $1)); }

echo 0 >"$work/rows"
chmod 755 "$work"
statements | (cd / && exec runuser -u postgres -- psql -qAtX) >>"$work/rows" 2>/dev/null &
writers=($!)
while sql -c CHECKPOINT; do :; done >/dev/null 2>&1 &
writers+=($!)
await more_rows 100 || not_ok 'rows are committed'

before=$(committed)
works snapshot 'a snapshot of both volumes'
after=$(committed)
verdict 'the report says unbroken' grep -q '"unbroken": *true' /run/postgresql.json
await more_rows "$after" || not_ok 'the server goes on'
stop_writers
works start 'the copy starts, and can be read' "s,/15/,/$version/,g"
read -r -d '' count max < <(sql -p 5433 -F ' ' -c 'SELECT count(*), max(id) FROM entry')
verdict "every committed row is there: $count rows to $max, of $before to $after" \
	test "${max:-0}" -ge "$before" -a "${count:-0}" = "${max:-0}" -a "${max:-0}" -le $((after + 1))
verdict 'it has recovered as after a power failure' grep -q 'database system was interrupted' /run/postgresql/copy.log
works stop 'the copy is removed' "s,/15/,/$version/,g"
verdict 'the server has lost nothing' test "$(sql -c 'SELECT count(*) FROM entry')" -ge "$after"
page_summary
