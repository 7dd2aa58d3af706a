#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# doc/use/mariadb.md
# in: vm/run --disk 1G
# needs: e2fsprogs lvm2 mariadb-server-core mariadb-client-core

# shellcheck source-path=SCRIPTDIR source=page.bash
. "$(dirname "$0")/page.bash"
# shellcheck source-path=SCRIPTDIR source=lvm.bash
. "$(dirname "$0")/lvm.bash"
vm_only
# The user comes with mariadb-server, which starts a server when it is installed. Here it has another one's number.
if ! id mysql >/dev/null 2>&1; then
	{ cat /etc/passwd && sed -n 's/^nobody:/mysql:/p' /etc/passwd; } >"$work/passwd"
	mount --bind "$work/passwd" /etc/passwd
fi
clean_up() {
	stop_writers
	kill "$server" "$(cat /run/mysqld/copy.pid)"
	wait
	umount -q /mnt/data
	umount -q /mnt/log
	umount -q /srv/*
	umount -q /etc/passwd
	lvm_remove
} >/dev/null 2>&1

# ---- A server

mount -t tmpfs tmpfs /srv
mount -t tmpfs tmpfs /etc/mysql
cat >/etc/mysql/my.cnf <<'END'
[client-server]
socket = /run/mysqld/mysqld.sock
[mariadbd]
datadir = /srv/data/mysql
innodb_log_group_home_dir = /srv/log/mysql
pid_file = /run/mysqld/mysqld.pid
log_bin = /srv/log/mysql/bin
skip_networking
innodb_log_file_size = 4M
innodb_buffer_pool_size = 16M
# Pages go to the disk at once: a log that is older than they are is seen.
innodb_max_dirty_pages_pct = 0
innodb_max_dirty_pages_pct_lwm = 0
# What was not closed is to be seen.
myisam_recover_options = OFF
END
lvm_setup "${disks[0]}"
volume data 250M
volume log 100M
for volume in data log; do
	fresh ext4 /dev/vg/$volume /srv/$volume
	mkdir /srv/$volume/mysql
	chown mysql: /srv/$volume/mysql
done
mkdir /run/mysqld
chown mysql: /run/mysqld
mariadb-install-db --user=mysql --skip-test-db >"$out" 2>&1 || { cat "$out"; exit 1; }
(cd / && exec runuser -u mysql -- mariadbd) >"$work/server" 2>&1 &
server=$!
await mariadb -e 'SELECT 1' >"$out" 2>&1 || { cat "$out" "$work/server"; exit 1; }
mariadb -e 'CREATE DATABASE app;
	CREATE TABLE app.entry(id INT AUTO_INCREMENT PRIMARY KEY, text TEXT) ENGINE=InnoDB;
	CREATE TABLE app.old(id INT AUTO_INCREMENT PRIMARY KEY, text TEXT) ENGINE=MyISAM;' || exit

# ---- One row a transaction; its number is written down once it is committed

# statements TABLE
statements() {
	while echo "INSERT INTO app.$1(text) VALUES(repeat('text ', 300)) RETURNING id;"; do
		:
	done 2>/dev/null
}
committed() { tail -n 1 "$work/$1"; }
more_rows() { (($(committed "$1") > $2)); }
start_writers() {
	writers=()
	for table in entry old; do
		echo 0 >"$work/$table"
		# Line by line: what it prints is committed.
		statements $table | mariadb -N --unbuffered >>"$work/$table" 2>/dev/null &
		writers+=($!)
	done
	for table in entry old; do await more_rows $table 100 || not_ok 'rows are committed'; done
}

# snapshot_with BLOCK TABLE...: under load; those tables are whole in the copy.
snapshot_with() {
	local block=$1 table count max
	shift
	declare -A before after
	start_writers
	for table; do before[$table]=$(committed "$table"); done
	works "$block" "$block: a snapshot of both volumes"
	for table; do after[$table]=$(committed "$table"); done
	await more_rows entry "${after[entry]}" || not_ok 'the server goes on'
	stop_writers
	works start "$block: the copy starts, and can be checked"
	cp "$out" "$work/checked"
	verdict "$block: InnoDB has nothing to complain of" eval "! grep -E 'ERROR.* InnoDB|in the future' /run/mysqld/copy.log"
	for table; do
		verdict "$block: the table $table is in order" grep -q "^app.$table  *OK$" "$work/checked"
		read -r count max < <(mariadb -N -S /run/mysqld/copy.sock -e "SELECT count(*), max(id) FROM app.$table")
		verdict "$block: every committed row is there: $count rows to $max, of ${before[$table]} to ${after[$table]}" \
			test "${max:-0}" -ge "${before[$table]}" -a "${count:-0}" = "${max:-0}" -a "${max:-0}" -le $((after[$table] + 1))
	done
	works stop "$block: the copy is removed"
	mariadb -e 'TRUNCATE app.entry; TRUNCATE app.old; RESET MASTER'
}

snapshot_with snapshot entry
verdict 'without the lock the MyISAM table was open' grep -A 1 '^app.old' "$work/checked"
snapshot_with locked entry old
verdict 'the report says unbroken' grep -q '"unbroken": *true' /run/mariadb.json
page_summary
