# SPDX-License-Identifier: GPL-2.0-or-later
# shellcheck shell=bash disable=SC2034,SC2154
# Wrong command lines, wrong targets, no rights. Sourced by run.

# ---- The command line

message_lines=99
fails 2 'Usage: freezefd VERB' # no verb
fails 2 'Usage: freezefd VERB' ''
message_lines=2
fails 2 "freeze: no such verb" freeze "$mnt"
for verb in status run hold thaw list release monitor doctor; do
	fails 2 "freezefd $verb: (unrecognized|invalid) option" $verb --no-such-option
	fails 2 "freezefd $verb: invalid option" $verb -Z
	works $verb --help
done
fails 2 'freezefd run: no target' run -- true
fails 2 'freezefd run: no command' run "$mnt"
fails 2 'freezefd run: no command' run "$mnt" --
fails 2 'freezefd hold: no target' hold
fails 2 'freezefd hold: no target' hold --detach
fails 2 'freezefd thaw: no target' thaw --force
fails 2 'freezefd release: no name' release
fails 2 'freezefd list: .*too many' list "$mnt"
fails 2 'freezefd status: --quiet needs a target' status --quiet
fails 2 'NOSUCH: no such column' status --output NOSUCH "$mnt"
fails 2 'NOSUCH: no such column' list --output PID,NOSUCH
fails 2 'option requires an argument' hold -t

for time in '' abc -1 1x 1e3 ' 5s' 5s5 5ss 1. .5 1.5.5 NaN 0x10 '5 s' 5S $'5s\n'; do
	fails 2 "is not a time" run --timeout "$time" "$mnt" -- true
	fails 2 "is not a time" hold --timeout "$time" "$mnt"
done
for time in 0 0.0s 0.1e 99999999999999999999 9223372036854775808ns 300000000000m 106752d; do
	fails 2 "a time of '$time' is not possible|'$time' is not a time" run --timeout "$time" "$mnt" -- true
done

# ---- Targets that cannot be

echo text >"$mnt/file"
ln -s "$mnt/nothing" "$mnt/dangling"
ln -s loop "$mnt/loop"
mkfifo "$mnt/pipe"
long=$mnt/$(printf 'x%.0s' {1..5000})

# bad_target PATTERN TARGET: every verb says so, of a target that nothing can be done with.
bad_target() {
	local about
	about=$(printf '%.40s' "$2" | sed 's/[][\\.*^$+?(){}|]/\\&/g')
	fails 1 "$about.*: $1" status "$2"
	fails 2 "$about.*: $1" status --quiet "$2"
	fails 125 "$about.*: $1" run "$2" -- true
	fails 1 "$about.*: $1" hold "$2"
	fails 1 "$about.*: $1" hold --detach "$2"
	fails 1 "$about.*: $1" thaw "$2"
	fails 1 "$about.*: $1" thaw --force "$2"
}

bad_target 'no such file or directory' "$mnt/nothing"
bad_target 'no such file or directory' ''
bad_target 'no such file or directory' "$mnt/dangling"
bad_target 'not a directory' "$mnt/file/below"
bad_target 'too many levels of symbolic links' "$mnt/loop"
bad_target 'file name too long' "$long"
bad_target 'not a file, directory or block device' "$mnt/pipe"
bad_target 'not a file, directory or block device' /dev/null
bad_target 'no such device' UUID=00000000-dead-beef-0000-000000000000
bad_target 'no such device' LABEL=
bad_target 'no filesystem in use' "$spare"

# The first target is good; it must not stay frozen for the second.
fails 125 "nothing: no such file" run "$mnt" "$mnt/nothing" -- true
fails 1 "nothing: no such file" hold "$mnt" "$mnt/nothing"
fails 125 "$spare: no filesystem in use" run "$mnt" "$spare" -- true
fails 1 "/proc: this kind of filesystem cannot be frozen" hold "$mnt" /proc

# ---- Filesystems that cannot freeze

mkdir "$work/tmpfs" "$work/overlay"
mount -t tmpfs faults "$work/tmpfs"
mkdir "$work/tmpfs/upper" "$work/tmpfs/work"
unfreezable=(/proc /sys "$work/tmpfs")
if mount -t overlay -o "lowerdir=/etc,upperdir=$work/tmpfs/upper,workdir=$work/tmpfs/work" faults "$work/overlay" 2>/dev/null; then
	unfreezable+=("$work/overlay")
else
	skip "overlayfs cannot be frozen" "this kernel has no overlayfs"
fi
cannot='(this kind of filesystem|an overlay) cannot be frozen'
for target in "${unfreezable[@]}"; do
	fails 125 "$target: $cannot" run "$target" -- true
	fails 1 "$target: $cannot" hold "$target"
	fails 1 "$target: $cannot" hold --detach "$target"
	fails 1 "$target: (this kind of filesystem cannot be frozen|not frozen)" thaw "$target"
	fails 1 "$target: (this kind of filesystem cannot be frozen|not frozen)" thaw --force "$target"
	fails 1 "$target: this kind of filesystem cannot be frozen" status "$target"
done
umount -q "$work/overlay"
umount "$work/tmpfs"

# ---- Not frozen, not held, no such hold

fails 1 "$mnt: not frozen; nothing to do" thaw "$mnt"
fails 1 "$mnt: not frozen; nothing to do" thaw --force "$mnt"
fails 1 "$device: not frozen; nothing to do" thaw "$device"
fails 1 "$device: not frozen; nothing to do" thaw --force "$device"
for name in nothing '' / ../../etc/passwd "$(printf 'x%.0s' {1..300})"; do
	fails 1 'no such hold|file name too long' release "$name"
done

# ---- No rights

# Root in name only: it still reaches the files of this tree.
as=(setpriv --bounding-set=-all --inh-caps=-all) label='without rights: '
for target in "$mnt" "$device"; do
	fails 125 "$target: not permitted" run "$target" -- true
	fails 1 "$target: not permitted" hold "$target"
	fails 1 "$target: not permitted" hold --detach "$target"
	fails 1 "$target: not permitted" thaw --force "$target"
	guardian "without rights: status" "is for root" || works status "$target"
done
fails 1 "$mnt: not permitted" thaw "$mnt"
# One message, however many filesystems there are.
if [[ $engine = guardian ]]; then fails 1 "status: not permitted" status; else works status; fi
as=() label=''

# ---- No such engine

for engine in nosuch NATIVE 'native '; do
	export FREEZEFD_ENGINE=$engine
	label="FREEZEFD_ENGINE='$engine' "
	fails 125 "FREEZEFD_ENGINE=$engine names no engine" run "$mnt" -- true
	fails 1 "FREEZEFD_ENGINE=$engine names no engine" hold "$mnt"
	fails 1 "FREEZEFD_ENGINE=$engine names no engine" status "$mnt"
	fails 1 "FREEZEFD_ENGINE=$engine names no engine" thaw --force "$mnt"
done
unset FREEZEFD_ENGINE
label=''

# ---- Nowhere to write to

# unwritable STATUS ARGUMENT...: standard output is a full disk, or closed. Nothing is held for whom nobody told of it.
unwritable() {
	local status=$1 to why got problem
	shift
	for to in '/dev/full no space left' '&- bad file descriptor'; do
		why=${to#* } to=${to%% *} got=0
		timeout -s KILL 60 bash -c "exec \"\$@\" >$to" - "$freezefd" "$@" 2>"$err" <&"$never" || got=$?
		problem=$(says "standard output: $why")
		((got == status)) || problem="exit status $got, not $status"
		result "freezefd ${*@Q} >$to" "$problem"
	done
}
unwritable 1 status "$mnt"
unwritable 1 status --json "$mnt"
unwritable 1 list --help
unwritable 1 hold "$mnt"
unwritable 1 hold --json "$mnt"
unwritable 1 hold --detach "$mnt"
unwritable 1 --help

# refused STATUS STREAM ARGUMENT...: a stream is a file on the target.
refused() {
	local status=$1 stream=$2 got=0 problem
	shift 2
	if [[ $stream = 'standard output' ]]; then
		timeout -s KILL 60 "$freezefd" "$@" >"$file" 2>"$err" <&"$never" || got=$?
	else
		timeout -s KILL 60 "$freezefd" "$@" >"$out" 2>"$file" <&"$never" || got=$?
		cp "$file" "$err"
	fi
	problem=$(says "$stream: on a filesystem that is to be frozen")
	((got == status)) || problem="exit status $got, not $status"
	result "freezefd ${*@Q} with its $stream in $file" "$problem"
}
mkdir "$mnt/upper" "$mnt/work" "$work/lower" "$work/over"
files=("$mnt/output")
if mount -t overlay -o "lowerdir=$work/lower,upperdir=$mnt/upper,workdir=$mnt/work" overlay "$work/over" 2>/dev/null; then
	files+=("$work/over/output")
else
	skip "standard output on an overlay over the target" "no overlay here"
fi
for file in "${files[@]}"; do
	refused 1 'standard output' hold "$mnt"
	refused 125 'standard output' run --timeout 20s "$mnt" -- true
	refused 125 'standard error' run --timeout 20s "$mnt" -- true
done
umount -q "$work/over"
rm -rf "$mnt/upper" "$mnt/work"
mkfifo "$mnt/output-pipe"
exec {fifo}<>"$mnt/output-pipe"
timeout -s KILL 60 "$freezefd" run --timeout 20s "$mnt" -- echo written 1>&"$fifo" 2>"$err" && read -r line <&"$fifo" &&
	[[ $line = written ]] && problem='' || problem="fails: $(<"$err")"
exec {fifo}>&-
result "run with its standard output a pipe that lies on the target" "$problem"

# ---- Names that are no text

odd=$work/$'odd "\\\n\e[31m\xff'
mkdir "$odd"
umount "$mnt"
mount "$device" "$odd" || exit 1
message='odd "\\\\x0a\\x1b\[31m\\xff: '
fails 2 "${message}no such verb" "${odd##*/}"
fails 2 "freezefd list: '.*${message%: }' is one argument too many" list "$odd"
fails 1 'odd "\\\\x0a\\x1b\[31m\\xff/nothing: no such file' status "$odd/nothing"

# json ARGUMENT...: prints JSON, in UTF-8, with that name in it.
json() {
	local problem=''
	timeout -s KILL 60 "$freezefd" run "$odd" -- "$freezefd" "$@" >"$out" 2>"$err" || problem="exit status $?: $(<"$err")"
	python3 -c 'import json, sys
rows, = json.load(open(sys.argv[1], encoding="utf-8")).values()
assert any(row["target"].endswith("/odd \"\\\n\x1b[31m\\xff") for row in rows), rows' "$out" 2>"$err" ||
		problem+=$(tail -n 1 "$err")
	result "freezefd ${*@Q} of a name that is no text" "$problem"
}
json status --json
json list --json
umount "$odd"
mount "$device" "$mnt"
