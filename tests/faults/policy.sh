# SPDX-License-Identifier: GPL-2.0-or-later
# shellcheck shell=bash disable=SC2034,SC2154
# A security policy that denies, here a profile of AppArmor for all that freezefd starts. Sourced by run.

security=/sys/kernel/security
[[ -e $security/apparmor ]] || mount -t securityfs securityfs $security 2>/dev/null || :

# What a mount hides has no path otherwise, such as the device that a guardian makes for itself.
profile() {
	apparmor_parser --replace --skip-cache --features-file $security/apparmor/features \
		<<<"profile freezefd-faults flags=(attach_disconnected) { $1 }"
}
most='capability, mount, umount, pivot_root, ptrace, signal,'
all="file, network, unix, $most"
confined=(aa-exec --profile=freezefd-faults --)
denied='denied, although CAP_SYS_ADMIN is there; '

# denies WHAT STATUS PATTERN RULES ARGUMENT...
denies() {
	label="$1: "
	profile "$4"
	fails "$2" "$3" "${@:5}"
}

policy_cases() {
	local needed status problem
	as=("${confined[@]}")
	label='what doc/security.md lists: '
	needed='file, unix, signal peer=freezefd-faults, capability sys_admin,'
	[[ $engine != guardian ]] || needed+='mount, umount, pivot_root, capability sys_chroot, capability mknod,'
	profile "$needed"
	works run "$mnt" -- true
	denies 'no CAP_SYS_ADMIN' 125 "$mnt: $denied" "$all deny capability sys_admin," run "$mnt" -- true
	denies 'not the target' 125 "$mnt: $denied" "$all deny $mnt/ r," run "$mnt" -- true
	denies 'not the command' 126 'true: Permission denied' "$all deny /{usr/,}bin/true x," run "$mnt" -- true
	denies 'no sockets' 125 "run: cannot start the process that freezes: $denied" "file, $most" run "$mnt" -- true
	denies 'no /proc' 125 '/proc/self/mountinfo: cannot be read; ' "$all deny /proc/** r," run "$mnt" -- true
	denies 'not /run' 1 '/run/freezefd.*: Permission denied' "$all deny /{var/,}run/** w," hold --detach "$mnt"
	case $engine in
	guardian) denies 'not the helper' 125 "$mnt: $denied" "$all deny $FREEZEFD_LIBEXEC/* x," run "$mnt" -- true ;;
	# The guardian does it.
	module)
		label='not /dev/freezefd: '
		profile "$all deny /dev/freezefd rw,"
		works run "$mnt" -- true
		;;
	esac
	as=() label=

	# A thaw takes the right to freeze once more where two processes do it, not where the kernel knows the holder.
	mkfifo "$work/go"
	exec {go}<>"$work/go"
	profile "$all"
	# shellcheck disable=SC2016
	"${confined[@]}" "$freezefd" run --timeout 60s "$mnt" -- \
		bash -c 'echo >"$1/started"; read -r <"$1/go"; exit 3' _ "$work" 2>"$err" &
	pid=$! problem=
	await test -s "$work/started" || problem="it does not start: $(<"$err")"
	profile ''
	echo >&"$go"
	wait "$pid"
	status=$?
	if [[ $engine = guardian ]]; then
		((status == 125)) || problem+="exit status $status: $(<"$err")"
		problem+=$(says "$mnt: not thawed: .*; 'freezefd thaw --force' tries again")
		is_state "$mnt" frozen || problem+="it is not frozen"
		timeout -s KILL 60 "$freezefd" thaw --force "$mnt" 2>"$err" || problem+="thaw --force: $? $(<"$err")"
	else
		((status == 3)) || problem+="exit status $status: $(<"$err")"
	fi
	exec {go}>&-
	rm -f "$work/go" "$work/started"
	result 'a profile that comes to deny all while it is frozen' "$problem"
	apparmor_parser --remove <<<'profile freezefd-faults { }'
}

if [[ ! -e $security/apparmor/profiles ]]; then
	skip 'what a profile of AppArmor denies' 'the kernel has no AppArmor'
elif ! in_vm; then
	skip 'what a profile of AppArmor denies' 'all of the machine has the profile'
else
	policy_cases
fi
