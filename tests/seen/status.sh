# SPDX-License-Identifier: GPL-2.0-or-later
# shellcheck shell=bash disable=SC2034,SC2154
# Who waits, and what an unmounted device carries. Sourced by run.

# writers COUNT: processes that wait for the thaw; their numbers in $writers.
writers() {
	local i
	writers=()
	for ((i = 0; i < $1; i++)); do
		{ : >"$mnt/file-$i"; } &
		writers+=($!)
	done
	for i in "${writers[@]}"; do
		await blocked "$i" || echo "# $i does not wait"
	done
}

same 'nobody waits for what is not frozen' 0 "$(cells WAITERS)"

hold "$mnt"
if [[ $engine = guardian ]]; then
	mkdir "$work/no-loader"
	ln -s "$build/guardian/freeze-guardian" "$work/no-loader"
	same 'the program that reads superblocks is had from a guardian' frozen \
		"$(FREEZEFD_LIBEXEC=$work/no-loader "$freezefd" status -n -o STATE "$mnt" 2>&1)"
else
	skip 'the program that reads superblocks is had from a guardian' "with the engine $engine nothing is read"
fi
if [[ $bpf ]]; then
	same 'nobody waits yet' 0 "$(cells WAITERS)"
	writers 20
	same 'all that wait are counted' 20 "$(cells WAITERS)"
	shown=$(cells WAITING)
	own=$(<"/proc/${writers[0]}/comm")
	matches 'the first ones are named, the others counted' "^$own \\([0-9]+\\)(, $own \\([0-9]+\\)){15} and 4 more\$" "$shown"
	strangers=$(grep -o '([0-9]*)' <<<"$shown" | tr -d '()' | grep -vxF "$(printf '%s\n' "${writers[@]}")")
	same 'they are those that wait' '' "$strangers"
	# Threads of one process are tasks, and one name.
	python3 -c 'import os, sys, threading
threads = [threading.Thread(target=os.mkdir, args=(f"{sys.argv[1]}/{i}",), daemon=True) for i in range(3)]
for thread in threads: thread.start()
for thread in threads: thread.join()' "$mnt" &
	threads=$!
	all_wait() { [[ $(cells WAITERS) = 23 ]]; }
	all_wait_problem=$(await all_wait || echo "WAITERS is $(cells WAITERS)")
	verdict 'each thread is counted' "$all_wait_problem"
	"$freezefd" status --json "$mnt" >"$out"
	same 'JSON has the number' 23 "$(python3 -c 'import json, sys
print(json.load(sys.stdin)["status"][0]["waiters"])' <"$out")"
	writers+=("$threads")
else
	for what in 'nobody waits yet' 'all that wait are counted' 'the first ones are named, the others counted' \
		'they are those that wait' 'each thread is counted' 'JSON has the number'; do
		skip "$what" 'no BPF and BTF here'
	done
	writers 20
fi
if [[ $engine = guardian ]]; then
	skip 'who cannot know says nothing' 'the guardian engine always knows'
else
	same 'who cannot know says nothing' '' "$(FREEZEFD_LIBEXEC=$work cells WAITERS,WAITING)"
	FREEZEFD_LIBEXEC=$work "$freezefd" status --json "$mnt" >"$out"
	same 'nor does JSON' None "$(python3 -c 'import json, sys
print(json.load(sys.stdin)["status"][0]["waiters"])' <"$out")"
fi
release
wait "${writers[@]}"
same 'nobody waits after the thaw' 0 "$(cells WAITERS)"

"$freezefd" status --json "$mnt" >"$out"
same 'JSON has label, UUID and type' "seen $uuid ext4" "$(python3 -c 'import json, sys
row, = json.load(sys.stdin)["status"]
print(row["label"], row["uuid"], row["fstype"])' <"$out")"
matches 'the table has them on demand' "^seen +$uuid\$" "$(cells LABEL,UUID)"

hold "$mnt"
umount -l "$mnt"
matches 'what is unmounted and frozen: label, UUID and type' "^seen +$uuid +ext4\$" "$(cells LABEL,UUID,FSTYPE "$device")"
matches 'and among all filesystems' " ext4 +frozen" "$("$freezefd" status -n -o SOURCE,FSTYPE,STATE | grep -F "$device ")"
"$freezefd" thaw --force "$device" 2>/dev/null
release

# A suspended device answers nobody.
if ! dmsetup version >/dev/null 2>&1; then
	skip 'a suspended device does not keep status waiting' 'no device-mapper here'
elif ! dmsetup create seen --table "0 $(blockdev --getsz "$spare") linear $spare 0" --noudevsync; then
	not_ok 'a suspended device does not keep status waiting' 'dmsetup create failed'
else
	dm=/dev/$(dmsetup info --columns --noheadings -o blkdevname seen)
	mkfs.ext4 -qF "$dm" && mount "$dm" "$other"
	dmsetup suspend --noflush --nolockfs seen
	problem=
	timeout -s KILL 30 "$freezefd" status --json "$dm" >"$out" 2>&1 || problem="exit status $?: $(<"$out")"
	verdict 'a suspended device does not keep status waiting' "$problem"
	matches 'what it does not tell is left out' '"uuid": null' "$(<"$out")"
	dmsetup resume seen
	umount "$other"
	await dmsetup remove seen
fi
