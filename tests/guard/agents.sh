# SPDX-License-Identifier: GPL-2.0-or-later
# shellcheck shell=bash disable=SC2016,SC2034,SC2154
# What each call of an agent returns, and when it thaws. Sourced by run.

# ---- Results, on each kind of filesystem

for type in ext4 xfs btrfs; do
	fresh_fs $type "$device" "$mnt" || { echo "run: cannot make $type on $device" >&2; exit 1; }
	label="$type: "
	guarded 'freeze and thaw' 0 'freeze 0 freeze EBUSY thaw 0 thaw EINVAL freeze 0 loop 1 thaw EINVAL' -- \
		"$agent" open "$mnt" freeze freeze thaw thaw freeze loop thaw
	mkdir -p "$mnt/directory"
	[[ $type != btrfs ]] || btrfs -q subvolume create "$mnt/subvolume"
	[[ $type = btrfs ]] || mkdir "$mnt/subvolume"
	echo >"$mnt/subvolume/file"
	guarded 'two descriptors of one filesystem' 0 'freeze 0 freeze EBUSY thaw 0 thaw EINVAL' -- \
		"$agent" open "$mnt" freeze open "$mnt/subvolume/file" freeze thaw open "$mnt" thaw
done
fresh_fs ext4 "$device" "$mnt" || exit
fresh_fs xfs "$spare" "$other" || exit
label=
guarded 'two filesystems' 0 'freeze 0 freeze 0 thaw 0 freeze EBUSY thaw 0' -- \
	"$agent" open "$mnt" freeze open "$other" freeze thaw open "$mnt" freeze thaw

# ---- Whoever calls

# caught WHAT AGENT...: freezes and thaws twice. The kernel's own calls return the same, so the guard has to say that it did it.
caught() { guarded "$1" 0 'freeze 0 freeze EBUSY thaw 0 thaw EINVAL' "$mnt(/.*)?: frozen for" -- --verbose "${@:2}"; }
caught 'a thread' "$agent" open "$mnt" thread freeze freeze thaw thaw
caught 'a thread of a grandchild' "$agent" fork fork thread open "$mnt" freeze freeze thaw thaw
caught 'a shell that starts one for each' \
	sh -c '"$1" open "$2" freeze; "$1" open "$2" freeze; "$1" open "$2" thaw; "$1" open "$2" thaw' sh "$agent" "$mnt"
caught 'bits above those of the call' "$agent" open "$mnt" high freeze freeze thaw thaw
static() {
	if [[ -x $agent$2 ]]; then
		caught "$1" "$agent$2" open "$mnt" freeze freeze thaw thaw
	else
		skip "$1" "$3"
	fi
}
static 'a static program' -static 'no static programs with sanitizers'
if uml || [[ $(uname -m) != x86_64 ]]; then
	for way in 'a 32-bit program' 'the calls of i386' 'the calls of x32'; do
		skip "$way" 'this machine has no other architecture than its own'
	done
else
	# Without a file it does nothing, if it runs.
	if [[ -x ${agent}32 ]] && ! "${agent}32" thaw >/dev/null 2>&1; then
		skip 'a 32-bit program' 'this kernel runs none (CONFIG_IA32_EMULATION)'
	else
		static 'a 32-bit program' 32 'no 32-bit compiler (gcc-multilib)'
	fi
	if ("$agent" i386 thaw) >/dev/null 2>&1; then
		caught 'the calls of i386' "$agent" open "$mnt" i386 freeze freeze thaw thaw
	else
		skip 'the calls of i386' 'this kernel has none (CONFIG_IA32_EMULATION)'
	fi
	caught 'the calls of x32' "$agent" open "$mnt" x32 freeze freeze thaw thaw
fi

# ---- Bad input, as the kernel has it

guarded 'without CAP_SYS_ADMIN' 0 'freeze EPERM thaw EPERM' -- "$agent" open "$mnt" drop freeze thaw
guarded 'from another user namespace' 0 'freeze EPERM thaw EPERM' -- "$agent" open "$mnt" userns freeze thaw
guarded 'a closed descriptor' 0 'freeze EBADF thaw EBADF' -- "$agent" open "$mnt" close freeze thaw
guarded 'a descriptor of O_PATH' 0 'freeze EBADF thaw EBADF' -- "$agent" path "$mnt" freeze thaw
guarded 'what cannot be frozen' 0 'freeze EOPNOTSUPP thaw EINVAL' -- "$agent" open /proc freeze thaw
guarded 'a device is not what is on it' 0 'freeze EOPNOTSUPP thaw EINVAL' -- "$agent" open "$device" freeze thaw

# ---- Others

name=$("$freezefd" hold --detach --timeout 60s "$mnt")
guarded_thaws() {
	local got=0
	"$freezefd" guard "$agent" open "$mnt" loop >"$out" 2>"$err" || got=$?
	compare 0 'loop 0'
	is_state "$mnt" frozen || echo 'thawed'
}
problem=$(guarded_thaws)
"$freezefd" release "$name"
result "a hold of freezefd is not the agent's to thaw" "$problem"

fsfreeze -f "$mnt"
problem=$(guarded_thaws)
fsfreeze -u "$mnt"
result "a stranger's freeze is not the agent's to thaw" "$problem"

# As the engine has it, which on some kernels cannot share.
fsfreeze -f "$mnt"
wanted='freeze 0 loop 1'
"$freezefd" run "$mnt" -- true 2>/dev/null || wanted='freeze EBUSY loop 0'
got=0
"$freezefd" guard "$agent" open "$mnt" freeze loop >"$out" 2>"$err" || got=$?
problem=$(compare 0 "$wanted")
is_state "$mnt" frozen || problem+=' the stranger has lost his'
fsfreeze -u "$mnt"
result "a freeze beside a stranger's" "$problem"

start -- "$agent" open "$mnt" freeze open "$other" freeze touch "$work/at/frozen" wait "$work/at/go" thaw open "$mnt" thaw
reached frozen
"$freezefd" thaw --force "$mnt"
problem=
thawed "$other" || problem='the others have not thawed'
go go
ended
result 'a freeze broken by an administrator ends all, and is told' \
	"$problem$(compare 124 'freeze 0 freeze 0 thaw EINVAL thaw EINVAL' "$mnt: the freeze was broken by another thaw")"

start -- "$agent" open "$mnt" freeze touch "$work/at/frozen" wait "$work/at/go" freeze thaw
reached frozen
"$freezefd" thaw --force "$mnt"
go go
ended
result 'a broken freeze can be made again' "$(compare 124 'freeze 0 freeze 0 thaw 0' 'was broken')"

# ---- The end of the agent, of the guard, of the time

guarded 'an agent that leaves a freeze behind' 3 'freeze 0' "$mnt: thawed, because the agent has ended" -- \
	"$agent" open "$mnt" freeze exit 3
guarded 'a child that leaves a freeze behind for the next one' 0 'freeze 0 thaw 0' -- \
	sh -c '"$1" open "$2" freeze; "$1" open "$2" thaw' sh "$agent" "$mnt"

start --timeout 2s "$agent" open "$mnt" freeze touch "$work/at/frozen" stop mark on thaw
reached frozen
problem=
thawed "$mnt" || problem='not thawed'
kill -CONT "$child"
ended
result 'the timeout thaws what a stopped agent has frozen' \
	"$problem$(compare 124 'freeze 0 on thaw EINVAL' "$mnt: the freeze was broken by its timeout of 2.0s")"

start -t none "$agent" open "$mnt" freeze touch "$work/at/frozen" wait "$work/at/go"
reached frozen
left=$("$freezefd" list -n -o LEFT,PID | awk -v pid="$pid" '$NF == pid && NF > 1 { print $1 }')
go go
ended
result '--timeout none' "${left:+ends in $left}$(compare 0 'freeze 0' 'agent has ended')"

for signal in KILL TERM; do
	start "$agent" open "$mnt" freeze touch "$work/at/frozen" wait "$work/at/never"
	reached frozen
	kill -$signal "$child"
	ended
	result "SIG$signal of an agent that holds" "$(compare $((128 + $(kill -l $signal))) 'freeze 0' 'agent has ended')"
done

# Its writer waits for it, so it does not get to its end.
start sh -c '"$1" open "$2" freeze; : >"$3"; : >"$2/new"' sh "$agent" "$mnt" "$work/at/frozen"
reached frozen
AWAIT=20 await blocked "$child"
kill -KILL "$child"
ended
result 'SIGKILL of an agent that waits for what it has frozen' "$(compare 137 'freeze 0' 'agent has ended')"

# The last one is not reached by the signal that the first one gets.
start sh -c '"$@" & wait' sh "$agent" ignore open "$mnt" freeze touch "$work/at/frozen" wait "$work/at/go" freeze thaw touch "$work/at/end"
reached frozen
first=$child
kill -KILL "$pid"
problem=
thawed "$mnt" || problem='not thawed'
AWAIT=20 await gone "$first" || problem+=' the agent lives on'
go go
reached end
ended
result 'SIGKILL of the guard' "$problem$(compare 137 'freeze 0 freeze ENOSYS thaw ENOSYS' '')"

start_only "$agent" daemon open "$mnt" freeze touch "$work/at/frozen" wait "$work/at/go" thaw freeze
reached frozen
problem=
is_state "$mnt" frozen || problem='thawed with its parent'
go go
ended
result 'an agent that goes into the background' "$problem$(compare 0 'freeze 0 thaw 0 freeze 0' 'agent has ended')"

start_only "$agent" open "$mnt" freeze daemon touch "$work/at/frozen" wait "$work/at/go" thaw freeze thaw
reached frozen
problem=
thawed "$mnt" || problem='not thawed'
go go
ended
result 'what is frozen before that thaws' "$problem$(compare 0 'freeze 0 thaw EINVAL freeze 0 thaw 0' 'agent has ended')"

start_only "$agent" daemon open "$mnt" freeze touch "$work/at/frozen" wait "$work/at/go"
reached frozen
kill -TERM "$pid"
ended
go go
result 'SIGTERM while one is in the background' "$(compare 143 'freeze 0' 'agent has ended')"

for signal in TERM INT HUP QUIT; do
	start sh -c 'trap "exit 42" '$signal'; : >"$1"; while :; do sleep 0.05; done' sh "$work/at/ready"
	reached ready
	kill -$signal "$pid"
	ended
	result "SIG$signal is passed on" "$(compare 42 '')"
done

# ---- Many at once

# has_fewer PID COUNT: descriptors
has_fewer() {
	local files=("/proc/$1/fd"/*)
	((${#files[@]} < $2))
}

steps=()
for ((i = 0; i < 20; i++)); do steps+=(freeze thaw); done
start sh -c 'for i in 1 2 3 4 5 6; do "$@" & done; wait' sh "$agent" open "$mnt" "${steps[@]}"
ended
frozen=$(grep -c '^freeze 0' "$out") thaws=$(grep -c '^thaw 0' "$out")
problem=
((got == 0)) || problem="exit status $got"
((frozen == thaws && frozen >= 20)) || problem+=" $frozen freezes, $thaws thaws"
! grep -vE '^(freeze (0|EBUSY)|thaw (0|EINVAL))$' "$out" || problem+=' other results'
result 'six processes that freeze and thaw one filesystem' "$problem"

start "$agent" open "$other" freeze open "$mnt" freeze touch "$work/at/frozen" wait "$work/at/go" open "$other" thaw
reached frozen
kill -STOP "$pid"
"$freezefd" thaw --force "$mnt"
go go
AWAIT=20 await sh -c "grep -q seccomp /proc/$child/wchan || ! grep -q '[a-z]' /proc/$child/wchan"
kill -CONT "$pid"
ended
result 'a thaw when another freeze was broken a moment ago' \
	"$(compare 124 'freeze 0 freeze 0 thaw EINVAL' "$mnt: the freeze was broken by another thaw")"

engine=$("$freezefd" status -n -o ENGINE "$mnt")
began_or_gone() { [[ -e $work/at/hangs ]] || gone "$writer"; }
rm -f "$work/at"/*
"$agent" hang "$mnt/file" touch "$work/at/hangs" wait "$work/at/never" 2>/dev/null &
writer=$!
if AWAIT=20 await began_or_gone && [[ -e $work/at/hangs ]]; then
	start sh -c '"$1" open "$2" freeze; "$1" wait "$3"' sh "$agent" "$mnt" "$work/at/go"
	AWAIT=20 await is_state "$mnt" freezing
	problem=
	caller=$(pgrep -f "^$agent open $mnt freeze" | tail -n 1)
	kill -KILL "$caller"
	AWAIT=20 await gone "$caller" || problem='the caller is not gone'
	# Only the kernel's own descriptors give up. Another freeze waits for the writer, whoever has asked for it, and is
	# undone then.
	[[ $engine = native ]] || kill -KILL "$writer"
	thawed "$mnt" || problem+=' not given up'
	go go
	ended
	result 'a freeze that waits for a writer ends when its caller is killed' "$problem$(compare 0 '' Killed)"
else
	skip 'a freeze that waits for a writer' 'no userfaultfd here'
fi
kill -KILL $writer 2>/dev/null
wait $writer

if have_dm; then
	umount "$mnt"
	dmsetup create guard-test --table "0 $(blockdev --getsz "$device") linear $device 0"
	mount /dev/mapper/guard-test "$mnt" || exit
	dd if=/dev/zero of="$mnt/dirty" bs=1M count=8 status=none
	dmsetup suspend --noflush --nolockfs guard-test
	start sh -c '"$1" open "$2" touch "$4/begun" freeze & "$1" open "$3" wait "$4/go" freeze thaw touch "$4/served" \
		wait "$4/resumed" open "$2" freeze thaw; wait' \
		sh "$agent" "$mnt" "$other" "$work/at"
	reached begun
	child_of "$child"
	caller=$(pgrep -f "^$agent open $mnt touch" | tail -n 1)
	# The call has come when it waits in it.
	AWAIT=20 await sh -c "grep -q seccomp /proc/$caller/wchan || ! grep -q '[a-z]' /proc/$caller/wchan"
	go go
	problem=
	reached served || problem='others are not served'
	kill -KILL "$caller"
	AWAIT=20 await gone "$caller" || problem+=' the caller is not gone'
	dmsetup resume guard-test
	# It takes its turn after the one that hung: EBUSY if that has left a hold.
	go resumed
	ended
	result 'a freeze that hangs: others are served, its caller can be killed' "$problem$(compare 0 'freeze 0 thaw 0 freeze 0 thaw 0')"

	dd if=/dev/zero of="$mnt/dirty" bs=1M count=8 status=none
	dmsetup suspend --noflush --nolockfs guard-test
	start sh -c '"$1" open "$3" freeze touch "$4/frozen"; "$1" open "$2" touch "$4/begun" freeze' \
		sh "$agent" "$mnt" "$other" "$work/at"
	reached begun
	caller=$(pgrep -f "^$agent open $mnt touch" | tail -n 1)
	AWAIT=20 await sh -c "grep -q seccomp /proc/$caller/wchan || ! grep -q '[a-z]' /proc/$caller/wchan"
	files=("/proc/$pid/fd"/*)
	"$freezefd" thaw --force "$other"
	problem=
	AWAIT=20 await has_fewer "$pid" ${#files[@]} || problem='the broken one is kept'
	dmsetup resume guard-test
	ended
	result 'a freeze that is under way when another one breaks' "$problem$(compare 124 'freeze 0 freeze ECANCELED' "$mnt: thawed, because another")"
	umount "$mnt"
	dmsetup remove --retry guard-test
	mount "$device" "$mnt" || exit
else
	skip 'a freeze that hangs' 'no device-mapper here'
fi

blocked_thread() { grep -qs '^State:[[:space:]]*D' "/proc/$1/task"/*/status; }
# The one who waits is not the first thread, which has ended. It makes a file: from Linux 6.12 on, to open one that is
# there does not wait.
start "$agent" open "$mnt" freeze touch "$work/at/frozen" left touch "$mnt/left"
reached frozen
AWAIT=20 await blocked_thread "$child"
kill -KILL "$child"
ended
result 'SIGKILL of an agent of which another thread waits for it' "$(compare 137 'freeze 0' 'agent has ended')"

if command -v xfs_io >/dev/null; then
	start "$agent" open "$other" freeze touch "$work/at/frozen" wait "$work/at/go" thaw
	reached frozen
	xfs_io -x -c shutdown "$other"
	go go
	ended
	result 'what is shut down can be thawed' "$(compare 0 'freeze 0 thaw 0')"
	# mountpoint(1) does not see it any more.
	await umount "$other" && fresh_fs xfs "$spare" "$other" || exit
else
	skip 'what is shut down can be thawed' 'no xfs_io'
fi

# A message that is not read keeps no later hold.
mkfifo "$work/full"
exec {full}<>"$work/full"
dd if=/dev/zero of="$work/full" bs=4k count=64 oflag=nonblock status=none 2>/dev/null
rm -f "$work/at"/*
"$freezefd" guard "$agent" open "$mnt" freeze touch "$work/at/one" wait "$work/at/go" freeze open "$other" freeze \
	touch "$work/at/two" wait "$work/at/end" thaw >"$out" 2>"$work/full" </dev/null &
pid=$!
reached one
files=("/proc/$pid/fd"/*)
"$freezefd" thaw --force "$mnt"
problem=
AWAIT=20 await has_fewer "$pid" ${#files[@]} || problem='the first hold is kept'
go go
reached two
"$freezefd" thaw --force "$mnt"
thawed "$other" || problem+=' the second hold is kept'
go end
cat <&"$full" >"$work/read" &
reader=$!
ended
AWAIT=20 await grep -qa 'broken by another thaw' "$work/read" || problem+=' no message'
kill $reader
exec {full}>&-
tr -d '\0' <"$work/read" >"$err"
result 'messages that nobody reads' "$problem$(compare 124 'freeze 0 freeze 0 freeze 0 thaw EINVAL' 'broken by another thaw')"

# ---- What the agent is given

guarded 'no descriptor of the guard' 0 0 -- sh -c 'readlink /proc/self/fd/* | grep -cE "anon_inode|socket" || :'
guarded 'set-user-ID programs keep their rights' 0 'NoNewPrivs: 0' -- sh -c 'grep NoNewPrivs /proc/self/status | tr "\t" " "'

# Messages are not waited for.
rm -f "$work/at"/*
"$freezefd" guard -v -t 1s "$agent" open "$mnt" freeze touch "$work/at/frozen" wait "$work/at/go" thaw freeze thaw >"$out" 2>"$mnt/err" </dev/null &
pid=$!
reached frozen
problem=
thawed "$mnt" || problem='not thawed'
go go
ended
cp "$mnt/err" "$err"
result 'standard error on what is frozen' "$problem$(compare 124 'freeze 0 thaw EINVAL freeze 0 thaw 0' 'broken by its timeout')"

# ---- What cannot be

guarded 'a guard in a guard' 125 '' 'guard: another supervisor has .*; run only one' -- "$freezefd" guard true
guarded 'no such agent' 127 '' 'no-such-agent: no such command; ' -- no-such-agent
guarded 'an agent that cannot be run' 126 '' '/proc: Permission denied' -- /proc
got=0
setpriv --bounding-set -sys_admin "$freezefd" guard true >"$out" 2>"$err" || got=$?
result 'without the capability nothing is run' "$(compare 125 '' 'guard: not permitted; ')"
got=0
FREEZEFD_ENGINE=nonsense "$freezefd" guard true >"$out" 2>"$err" || got=$?
result 'no engine, no agent' "$(compare 125 '' 'guard: FREEZEFD_ENGINE=nonsense names no engine')"
if FREEZEFD_ENGINE=guardian "$freezefd" status "$mnt" >/dev/null 2>&1; then
	got=0
	FREEZEFD_ENGINE=guardian unshare --fork --pid --mount-proc "$freezefd" guard true >"$out" 2>"$err" || got=$?
	result 'not where nothing outlives it' "$(compare 125 '' 'guard: the end of this PID namespace')"
else
	skip 'not where nothing outlives it' 'no engine guardian here'
fi
umount "$mnt" "$other"
