# SPDX-License-Identifier: GPL-2.0-or-later
# shellcheck shell=bash disable=SC2154
# What the processes that go on for long have given up. Sourced by run.

# has PID FIELD VALUE: in /proc/PID/status, of each thread.
has() {
	local task value
	for task in /proc/"$1"/task/*/status; do
		value=$(awk -v field="$2:" '$1 == field { print $2 }' "$task" 2>/dev/null)
		[[ $value = "$3" ]] || { problem+="$2 is $value, not $3; "; return; }
	done
}
# one_filter PID: where the kernel has them
one_filter() { ! grep -q '^Seccomp:' /proc/self/status || has "$1" Seccomp 2; }

name=$("$freezefd" hold --detach --timeout 60s "$mnt") problem=
# A thread that has given up nothing ends now.
confined() { problem=; has "${name%%-*}" CapEff "$ipc_lock"; one_filter "${name%%-*}"; [[ ! $problem ]]; }
ipc_lock=0000000000004000
await confined || :
has "${name%%-*}" CapPrm $ipc_lock
has "${name%%-*}" NoNewPrivs 1
"$freezefd" release "$name" 2>"$err" || problem+="release: $(<"$err")"
result "a detached hold keeps no right but to lock its memory, and thaws" "$problem"

# Each of several has a thread for its thaw, and what lies on another one comes first.
mkdir -p "$work/inner"
fallocate -l 64M "$mnt/image"
inner=$(losetup --find --show "$mnt/image")
mkfs.ext4 -qF -E lazy_itable_init=0,lazy_journal_init=0 "$inner"
mount "$inner" "$work/inner"
name=$("$freezefd" hold --detach --timeout 60s "$mnt" "$work/inner") problem=
"$freezefd" release "$name" 2>"$err" || problem+="release: $(<"$err")"
is_state "$inner" thawed || problem+="left frozen"
name=$("$freezefd" hold --detach --timeout 60s "$mnt" "$work/inner")
"$freezefd" thaw --force "$work/inner"
"$freezefd" release "$name" 2>"$err" && problem+="release of a broken hold succeeds"
problem+=$(says "$work/inner: the freeze was broken by another thaw")
umount "$work/inner"
losetup --detach "$inner"
rm "$mnt/image"
result "a detached hold of two, one on the other" "$problem"

"$freezefd" monitor --interval 100ms --json "$mnt" >"$out" 2>"$err" &
pid=$! problem=
name=$("$freezefd" hold --detach --timeout 60s "$mnt")
await grep -q '"frozen".*"holder' "$out" || problem+="it sees no holder: $(cat "$out" "$err")"
"$freezefd" release "$name"
has "$pid" NoNewPrivs 1
# CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH, CAP_SYS_PTRACE, CAP_SYS_ADMIN, CAP_SYS_RESOURCE, CAP_PERFMON, CAP_BPF
rights=$(awk '$1 == "CapEff:" { print $2 }' "/proc/$pid/status")
(((0x$rights & ~0xc001280006) == 0)) || problem+="its capabilities are $rights"
kill "$pid"
wait "$pid" 2>/dev/null
result "monitor keeps the rights that it needs to look" "$problem"
