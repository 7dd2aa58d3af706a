# SPDX-License-Identifier: GPL-2.0-or-later
# shellcheck shell=bash disable=SC2154,SC2016,SC2034
# Many targets, which of them, and what would wait for itself. Sourced by run.

message_lines=1
mkdir -p "$work/two" "$work/three" "$work/empty"

# Three filesystems, each in a file on the one before. The last is mounted first by name, not by what it lies on.
fallocate -l 200M "$mnt/image"
two=$(losetup --find --show "$mnt/image")
mkfs.ext4 -qF -E lazy_itable_init=0,lazy_journal_init=0 "$two"
mount "$two" "$work/two"
fallocate -l 64M "$work/two/image"
three=$(losetup --find --show "$work/two/image")
mkfs.ext4 -qF -E lazy_itable_init=0,lazy_journal_init=0 "$three"
mount "$three" "$work/three"
levels=("$mnt" "$work/two" "$work/three")

is_thawed_everywhere() { ! "$freezefd" status -n -o STATE "${levels[@]}" | grep -qv thawed; }

writers=()
for directory in "${levels[@]}"; do
	while [[ ! -e $work/stop ]]; do
		echo line >>"$directory/log"
		sync "$directory/log"
	done &
	writers+=($!)
done
three_frozen="[ \$('$freezefd' status -n -o STATE ${levels[*]} | grep -c frozen) = 3 ]"
for order in "0 1 2" "2 1 0" "1 2 0" "2 0 1"; do
	targets=()
	for i in $order; do targets+=("${levels[i]}"); done
	works run "${targets[@]}" -- sh -c "$three_frozen"
	await is_thawed_everywhere || not_ok "thawed after that"
done
works run "$three" "$work/two" "$mnt" "$device" "${levels[@]}" -- sh -c "$three_frozen"
"$freezefd" hold "${levels[@]}" >"$work/held" 2>"$err" <&"$never" &
pid=$!
await test -s "$work/held" && problem='' || problem="not frozen: $(<"$err")"
kill -KILL "$pid"
wait "$pid" 2>/dev/null
await is_thawed_everywhere || problem+="left frozen"
result "SIGKILL to the holder of three levels" "$problem"

# What its child has sent it has not received: nobody else may have the descriptors.
all_frozen_everywhere() { ! "$freezefd" status -n -o STATE "${levels[@]}" | grep -qv frozen; }
"$freezefd" hold "${levels[@]}" >"$work/held" 2>"$err" <&"$never" &
pid=$!
freezes() { child_of "$pid" || all_frozen_everywhere; }
await freezes && problem='' || problem="nobody freezes"
kill -STOP "$pid"
await all_frozen_everywhere || problem+="not frozen: $(<"$err")"
kill -KILL "$pid"
wait "$pid" 2>/dev/null
await is_thawed_everywhere || problem+="left frozen"
result "SIGKILL to the holder of three levels that was stopped before" "$problem"
mkfifo "$work/unread"
exec {unread}<>"$work/unread"
fill "$work/unread"
"$freezefd" hold "${levels[@]}" >&"$unread" 2>"$err" <&"$never" &
pid=$!
await all_frozen_everywhere && problem='' || problem="not frozen: $(<"$err")"
"$freezefd" thaw --force "$mnt"
await is_thawed_everywhere || problem+="the others stay frozen"
read -r word <&"$unread" # which leaves out what filled the pipe
wait "$pid"
got=$?
((got == 124)) || problem+="exit status $got"
[[ $word = frozen ]] || problem+="prints '$word'"
problem+=$(says "$mnt: .*broken by another thaw")
result "one of three levels breaks while hold cannot print" "$problem"
exec {unread}>&-
as=(bash -c 'ulimit -Sn 14; exec "$@"' bash)
works run "${levels[@]}" -- true
as=()

# One after the other in the order of the mounts, the second waits for the first.
if in_vm; then
	fsfreeze --freeze "$mnt"
	fsfreeze --freeze "$work/two" &
	pid=$!
	await blocked "$pid" && problem='' || problem="it does not wait"
	fsfreeze --unfreeze "$mnt"
	wait "$pid"
	fsfreeze --unfreeze "$work/two"
	result "fsfreeze in the order of the mounts hangs" "$problem"
else
	skip "fsfreeze in the order of the mounts hangs" "only in a VM"
fi
touch "$work/stop"
wait "${writers[@]}"

# ---- All of them

if in_vm; then
	works run --all --exclude / -- sh -c "$three_frozen"
	works run --all --exclude / --exclude "$work/two" --exclude "$three" -- sh -c \
		"[ \$('$freezefd' status -n -o STATE '${levels[0]}') = frozen ] && [ \$('$freezefd' status -n -o STATE '${levels[2]}') = thawed ]"
	mkdir "$work/bind"
	mount --bind "$mnt" "$work/bind"
	mount -t tmpfs no "$mnt"
	works run --all --exclude / -- sh -c "[ \$('$freezefd' status -n -o STATE '$work/bind') = frozen ]"
	umount "$work/bind"
	fails 125 "$mnt: something else is mounted over it" run --all --exclude / -- true
	umount "$mnt"
else
	skip "run --all" "it would freeze this machine"
fi
fails 125 'run: no filesystem is left to freeze' run --exclude "$mnt" "$mnt" -- true
fails 125 'no-such-thing: no such file' run --exclude no-such-thing "$mnt" -- true
fails 2 "either --all or '$mnt'" run --all "$mnt" -- true
fails 2 'no target' hold

# ---- What cannot be frozen

mkdir -p "$mnt/upper" "$mnt/work" "$work/lower" "$work/merged"
if mount -t overlay overlay -o "lowerdir=$work/lower,upperdir=$mnt/upper,workdir=$mnt/work" "$work/merged" 2>/dev/null; then
	fails 125 "$work/merged: an overlay cannot be frozen; name $mnt" run "$work/merged" -- true
	timeout -s KILL 60 "$freezefd" run --skip-unfreezable "$work/merged" "$mnt" -- "$freezefd" status --quiet "$mnt" 2>"$err"
	got=$?
	((got == 0)) && problem='' || problem="exit status $got: $(<"$err")"
	problem+=$(says "$work/merged: cannot be frozen; left out")
	result "run --skip-unfreezable of an overlay and its filesystem" "$problem"
	timeout -s KILL 60 "$freezefd" run "$mnt" -- true >"$work/merged/out" 2>"$err" <&"$never"
	got=$?
	((got == 125)) && problem='' || problem="exit status $got"
	problem+=$(says 'standard output: on a filesystem that is to be frozen')
	result "run whose output is on an overlay of the target" "$problem"
	umount "$work/merged"
else
	skip "an overlay as a target" "no overlay here"
fi
fails 125 '/proc: this kind of filesystem cannot be frozen' run /proc "$mnt" -- true

# ---- The right target

works run --mountpoint "$mnt" "$work/two" -- true
fails 125 "$mnt/image: not a mount point" run --mountpoint "$mnt/image" -- true
umount "$work/three"
fails 125 "$work/three: not a mount point" run --mountpoint "$work/two" "$work/three" -- true
fails 1 "$work/three: not a mount point" hold --mountpoint "$work/three"

# ---- What would wait for itself

cp "$(type -P true)" "$mnt/program"
fails 125 "$mnt/program: on a filesystem that is to be frozen" run "$mnt" -- "$mnt/program"
works run --force "$mnt" -- "$mnt/program"
as=(sh -c 'cd "$1" && shift && exec "$@"' sh "$mnt")
fails 125 'the working directory: on a filesystem that is to be frozen' run "$mnt" -- true
works run --force "$mnt" -- true
as=(sh -c 'exec 7>>"$1" && shift && exec "$@"' sh "$mnt/log")
fails 125 "$mnt/log: on a filesystem that is to be frozen" run "$mnt" -- true
works run --force "$mnt" -- true
as=()
if in_vm && mkswap "$three" >/dev/null 2>&1 && swapon "$three" 2>/dev/null; then
	fails 125 "$work/two: memory is swapped to $three, which lies on it" run "$work/two" -- true
	swapoff "$three"
else
	skip "swap on what is frozen" "no swap here"
fi

# Everything that runs is on what is frozen: the tool, its libraries, the command.
if in_vm && [[ $engine != guardian ]] && command -v busybox >/dev/null; then
	mkdir -p "$mnt/proc" "$mnt/dev" "$mnt/lib64"
	for file in $(ldd "$freezefd" "$build/lib/libfreezefd.so.0" | grep -o '/[^ :]*' | sort -u) "$freezefd" "$(type -P busybox)"; do
		cp --parents -L "$file" "$mnt"
	done
	mount -t proc proc "$mnt/proc"
	mount --bind /dev "$mnt/dev"
	as=(chroot "$mnt")
	fails 125 "on a filesystem that is to be frozen" run / -- "$(type -P busybox)" true
	works run --force / -- "$freezefd" status --quiet /
	as=()
	umount "$mnt/proc" "$mnt/dev"
else
	skip "the root filesystem is frozen" "only in a VM, with busybox, where the kernel freezes"
fi

# ---- The report

timeout -s KILL 60 "$freezefd" run --report "$work/report" "$mnt" "$work/two" -- sh -c 'exit 7' 2>"$err"
got=$?
((got == 7)) && problem='' || problem="exit status $got: $(<"$err")"
problem+=$(python3 - "$work/report" "$mnt" "$work/two" <<'END' 2>&1
import datetime, json, sys

report = json.load(open(sys.argv[1]))
assert report["version"] == 1 and report["status"] == 7 and report["unbroken"] is True, report
assert {fs["target"] for fs in report["filesystems"]} == set(sys.argv[2:]), report
for fs in report["filesystems"]:
    frozen, thawed = (datetime.datetime.strptime(fs[k], "%Y-%m-%dT%H:%M:%S.%fZ") for k in ("frozen", "thawed"))
    assert frozen <= thawed and fs["stall_bound"] > 0, fs
    assert fs["mountpoint"] == fs["target"] and fs["source"].startswith("/dev/") and len(fs["uuid"]) == 36, fs
    assert fs["fstype"] == "ext4" and fs["engine"] and fs["unbroken"] is True and fs["reason"] is None, fs
END
)
result "run --report of two filesystems" "$problem"
timeout -s KILL 60 "$freezefd" run --report "$work/report" --timeout 300ms "$mnt" -- sh -c "until [ \"\$('$freezefd' status -n -o STATE '$mnt')\" = thawed ]; do sleep 0.02; done" 2>"$err"
got=$?
((got == 124)) && problem='' || problem="exit status $got: $(<"$err")"
problem+=$(python3 -c 'import json, sys
r = json.load(open(sys.argv[1]))
assert r["status"] == 124 and r["unbroken"] is False and r["filesystems"][0]["reason"] == "timeout", r' "$work/report" 2>&1)
result "run --report of a broken freeze" "$problem"
timeout -s KILL 60 "$freezefd" run --report "$work/report" "$mnt" -- sh -c "echo >'$mnt/waits'" 2>"$err" &
outer=$!
await is_state "$mnt" frozen && await child_of "$outer" && pid=$child && await child_of "$pid" && await blocked "$child" &&
	problem='' || problem="the command does not wait"
kill -TERM "$pid"
await got_it "$child" || problem+="the command does not get the signal"
kill -INT "$pid"
wait "$outer"
got=$?
((got == 124)) || problem+="exit status $got: $(<"$err")"
problem+=$(python3 -c 'import json, sys
assert json.load(open(sys.argv[1]))["unbroken"] is False' "$work/report" 2>&1)
result "run --report after a second signal" "$problem"
for file in /dev/null '' "$work"; do
	fails 125 'a report replaces a file' run --report "$file" "$mnt" -- true
done
fails 125 '/no/such/directory/report: a report cannot be written there' run --report /no/such/directory/report "$mnt" -- true

losetup --detach "$three"
await umount "$work/two" 2>/dev/null
losetup --detach "$two"
message_lines=2
