# SPDX-License-Identifier: GPL-2.0-or-later
# shellcheck shell=bash disable=SC2154
# What happens is told as it happens. Sourced by run.

events=$work/events

# follow FILE OPTION...: a monitor in the background, $monitor.
follow() {
	"$freezefd" monitor --interval 50ms "${@:2}" >"$1" 2>"$err" &
	monitor=$!
	ours+=($!)
}

# event CONDITION [FILE]: await a JSON line of which the Python expression is true.
event() { await find_event "$1" "${2:-$events}"; }
find_event() {
	python3 -c 'import json, sys
for line in open(sys.argv[2]):
    if line.endswith("\n") and eval(sys.argv[1], json.loads(line)):
        sys.exit()
sys.exit(1)' "$1" "$2"
}

# told WHAT CONDITION [FILE]
told() {
	if event "$2" "${3:-$events}"; then
		ok "$1"
	else
		not_ok "$1" "no event with $2 in:"$'\n'"$(cat "${3:-$events}" "$err")"
	fi
}

# ends WHAT: the monitor, by a signal, with 0.
ends() {
	local status=0
	kill -TERM "$monitor"
	wait "$monitor" || status=$?
	same "$1" 0 $status
}

# For a moment the process that froze for the holder, its child, may be the only one that has the descriptor. So the number
# is that of the holder or a higher one. No process of a hold before has one so high.
follow "$events" --json "$mnt"
hold "$mnt"
told 'a freeze is told, with the holder' \
	"event == 'frozen' and target == '$mnt' and source == '$device' and fstype == 'ext4' and engine == '$engine' and [h['pid'] >= $holder for h in holders] == [True] and holders[0]['command'] == 'freezefd'"
release
told 'a thaw is told, and how long it was frozen' \
	"event == 'thawed' and 0 < globals()['for'] < 300 and [h['pid'] >= $holder for h in holders] == [True]"
rm "$events"
kill "$monitor"
wait "$monitor"

follow "$events" --json
fsfreeze --freeze "$mnt"
told "a stranger's freeze is told" "event == 'frozen' and target == '$mnt' and holders == []"
fsfreeze --unfreeze "$mnt"
told "a stranger's thaw is told" "event == 'thawed' and target == '$mnt' and holders == [] and globals()['for'] > 0"

# A holder that does not run has not been told.
hold "$mnt" --timeout 1s
kill -STOP "$holder"
told 'a hold that its deadline broke is told' \
	"event == 'broken' and reason == 'expired' and [h['pid'] for h in holders] == [$holder]"
kill -CONT "$holder"
release
hold "$mnt"
kill -STOP "$holder"
told 'that it is frozen again' "event == 'frozen' and [h['pid'] >= $holder for h in holders] == [True]"
"$freezefd" thaw --force "$mnt"
told 'a hold that was broken by force is told' \
	"event == 'broken' and reason == 'revoked' and [h['pid'] for h in holders] == [$holder]"
kill -CONT "$holder"
release

make_fs ext4 "$spare" && mount -t ext4 "$spare" "$other"
# With the guardian only one may hold it.
if [[ $engine != guardian ]]; then
	hold "$mnt"
	event "event == 'frozen' and [h['pid'] >= $holder for h in holders] == [True]"
	fsfreeze --freeze "$mnt"
	release
	released=$holder
fi
hold "$other"
told 'what is mounted later is followed' "event == 'frozen' and target == '$other' and [h['pid'] >= $holder for h in holders] == [True]"
if [[ $engine = guardian ]]; then
	skip 'who held it last is told with the thaw' 'only one may hold it with this engine'
else
	# The look that told of the other filesystem saw this one without a holder.
	fsfreeze --unfreeze "$mnt"
	told 'who held it last is told with the thaw' \
		"event == 'thawed' and target == '$mnt' and [h['pid'] >= $released for h in holders] == [True]"
fi
umount -l "$other"
told 'an unmount during the freeze is told' "event == 'unmounted' and target == '$other'"
"$freezefd" thaw --force "$spare"
told 'its end is told' "event == 'gone' and source == '$spare' and globals()['for'] > 0"
release
ends 'SIGTERM ends it, with 0'
same 'it has nothing to complain about' '' "$(<"$err")"

hold "$mnt"
events=$work/lines
follow "$events" "$mnt"
await test -s "$events"
matches 'a line for people; what was frozen before is told' \
	"^[0-9T:+-]+ frozen   $mnt $device $engine for [0-9.ms]+ by freezefd \\($holder\\)\$" "$(<"$events")"
ends 'with a filesystem frozen, too'
release

# Its own output may be what is frozen.
events=$work/more-events
follow "$mnt/events" --json "$mnt"
log=$monitor
follow "$events" --json "$mnt"
hold "$mnt"
told 'another monitor sees the freeze' "event == 'frozen' and [h['pid'] >= $holder for h in holders] == [True]"
runs() { ! blocked "$log"; }
same 'output on the frozen filesystem does not stop it' yes "$(runs && echo yes)"
release
told 'after the thaw it is written' "event == 'thawed'" "$mnt/events"
told 'and what was before the thaw' "event == 'frozen'" "$mnt/events"
ends 'the other one ends'
monitor=$log
ends 'and this one'

status=0
"$freezefd" monitor "$work/nothing" 2>"$err" || status=$?
same 'a target that is none: exit status' 1 $status
matches 'a target that is none: the message' 'no such file' "$(<"$err")"
status=0
timeout 20 "$freezefd" monitor >/dev/full 2>"$err" & 
full=$!
hold "$mnt"
wait $full || status=$?
same 'nowhere to write to' 1 $status
release
