# SPDX-License-Identifier: GPL-2.0-or-later
# shellcheck shell=bash disable=SC2154
# OpenMetrics. Sourced by run.

# value NAME [LABEL VALUE]...: of the first disk.
value() {
	local wanted="'name': 'freezefd_$1', 'device': '$device'"
	shift
	while (($#)); do
		wanted+=", '$1': '$2'"
		shift 2
	done
	"$here/openmetrics" "$out" "{$wanted}" 2>&1
}

metrics() { "$freezefd" monitor --metrics "$@" >"$out" 2>"$err"; }

metrics || not_ok 'metrics' "exit status $?: $(<"$err")"
problem=$("$here/openmetrics" "$out" 2>&1)
verdict 'they are OpenMetrics' "$problem"
if command -v promtool >/dev/null; then
	verdict 'promtool can read them and finds nothing' "$(promtool check metrics <"$out" 2>&1 || echo "exit status $?")"
else
	skip 'promtool can read them and finds nothing' 'it is not installed (package prometheus)'
fi
same 'not frozen' '0 0.000 0' "$(value frozen) $(value frozen_seconds) $(value waiters)"
same 'by mount point' 0 "$(value frozen mountpoint "$mnt" fstype ext4)"

hold "$mnt"
{ : >"$mnt/file"; } &
writer=$!
await blocked $writer || :
metrics "$mnt"
same 'frozen' '1 0' "$(value frozen) $(value freezing)"
matches 'for how long' '^[0-9]+\.[0-9]{3}$' "$(value frozen_seconds)"
same 'by whom' '1 0 0 0' "$(value holds kind descriptor) $(value holds kind user) $(value holds kind device) $(value holds kind kernel)"
if [[ $bpf ]]; then
	same 'who waits' 1 "$(value waiters)"
else
	same 'who waits is not known, and left out' '' "$(value waiters)"
fi
same 'only of the target' 1 "$(grep -c '^freezefd_frozen{' "$out")"
release
wait $writer

hold "$mnt" --timeout 1s
kill -STOP "$holder"
is_thawed() { is_state "$mnt" thawed; }
await is_thawed || :
metrics "$mnt"
same 'a broken hold that nobody has been told' '1 0' "$(value broken_holds reason expired) $(value broken_holds reason revoked)"
kill -CONT "$holder"
release
metrics "$mnt"
same 'it has been told' '0 0' "$(value broken_holds reason expired) $(value broken_holds reason revoked)"

odd=$work/$'odd "\\\n\xff'
mkdir "$odd"
mount --move "$mnt" "$odd" 2>/dev/null || { umount "$mnt" && mount "$device" "$odd"; }
metrics
problem=$("$here/openmetrics" "$out" 2>&1)
verdict 'an odd name is escaped' "$problem"
same 'and read as it is' 0 "$(value frozen mountpoint "$(printf '%s/odd "\\\\\\n\\\\xff' "$work")")"
umount "$odd"
mount "$device" "$mnt"

file=$work/freezefd.prom
echo old >"$file"
ln "$file" "$work/old"
metrics=$("$freezefd" monitor --metrics="$file" 2>&1)
same 'to a file: nothing is printed' '' "$metrics"
out=$file
same 'the file has them' 0 "$(value frozen)"
out=$work/out
same 'the old file was replaced, not changed' old "$(<"$work/old")"
same 'others can read it' 644 "$(stat -c %a "$file")"
same 'nothing else is left there' freezefd.prom "$(cd "$work" && echo freezefd.prom*)"

status=0
"$freezefd" monitor --metrics="$work/none/file" 2>"$err" || status=$?
same 'no such directory: exit status' 1 $status
matches 'no such directory: the message' "$work/none/file: No such file" "$(<"$err")"

echo old >"$mnt/file.prom"
hold "$mnt"
status=0
timeout -s KILL 20 "$freezefd" monitor --metrics="$mnt/file.prom" 2>"$err" || status=$?
same 'to a frozen filesystem nothing is written' 1 $status
matches 'and that is said' 'not written: on a filesystem that is frozen' "$(<"$err")"
release
same 'the old file stays' old "$(<"$mnt/file.prom")"
status=0
"$freezefd" monitor --metrics >/dev/full 2>"$err" || status=$?
same 'a full disk is told' 1 $status
