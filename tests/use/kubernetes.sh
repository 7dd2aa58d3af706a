#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# doc/use/kubernetes.md: what the pod has, in namespaces of its own; in one VM for each kind of kernel.
# in: here
# needs: busybox-static python3-yaml e2fsprogs

# shellcheck disable=SC2016,SC2317
# shellcheck source-path=SCRIPTDIR source=page.bash
. "$(dirname "$0")/page.bash"
used=(pod cure)
if ! in_vm; then
	(cd "$top" && build-aux/static build-static/image) >"$out" 2>&1 || { cat "$out"; exit 1; }
	rest_in_vm --disk 256M
	rest_in_vm --kernel stock-6.12 --module --disk 256M
	page_summary
	exit
fi

vm_only
clean_up() { stop_pod; umount -q /srv; }
fresh ext4 "${disks[0]}" /srv
pod=/mnt/pod
mkdir -p $pod/{bin,usr/bin,usr/libexec,proc,sys,dev,run,data}
cp "$(command -v busybox)" $pod/bin/busybox
for applet in sh cat sleep env; do ln -s busybox $pod/bin/$applet; done
cp "$top/build-static/image/usr/bin/freezefd" $pod/usr/bin/
cp -r "$top/build-static/image/usr/libexec/freezefd" $pod/usr/libexec/
block pod >"$work/pod.yaml"
# yaml PATH: the words of a command, one a line.
yaml() {
	python3 -c '
import json, sys, yaml
value = yaml.safe_load(open(sys.argv[1]))
for key in sys.argv[2].split("|"):
    value = value[int(key) if key.isdigit() else key]
print("\n".join(json.loads(value) if isinstance(value, str) else value))' "$work/pod.yaml" "$1"
}
mapfile -t command < <(yaml 'spec|containers|0|command')
mapfile -t pre < <(yaml 'metadata|annotations|pre.hook.backup.velero.io/command')
mapfile -t post < <(yaml 'metadata|annotations|post.hook.backup.velero.io/command')

# start_pod: privileged, with a read-only root, as the page has it.
start_pod() {
	# shellcheck disable=SC2016
	unshare --mount --pid --net --ipc --uts --fork --kill-child --propagation private sh -c '
		mount --bind "$0" "$0" && mount -o remount,bind,ro "$0"
		mount --bind /srv "$0/data"; mount -t tmpfs tmpfs "$0/run"; mount -t proc proc "$0/proc"; mount --rbind /sys "$0/sys"
		mount --rbind /dev "$0/dev"; exec chroot "$0" env -i PATH=/bin:/usr/bin "$@"' "$pod" "${command[@]}" >"$work/pod" 2>&1 &
	unshare=$!
	first_is_up() { first=$(pgrep -P "$unshare") && [[ $(tr '\0' ' ' <"/proc/$first/cmdline") = "${command[*]} " ]]; }
	await first_is_up
}
stop_pod() {
	[[ ${unshare:-} ]] || return 0
	kill -KILL "$first"
	wait "$unshare"
	unshare=
} 2>/dev/null
# in_pod COMMAND...: as 'kubectl exec'.
in_pod() { nsenter --target "$first" --mount --pid --net --ipc --uts --root --wd=/ env -i PATH=/bin:/usr/bin ${engine:+FREEZEFD_ENGINE=$engine} "$@" </dev/null; }
is() { local wanted=$1 status=0; shift; "$@" || status=$?; ((status == wanted)) || { echo "status $status"; return 1; }; }

kernel=$("$freezefd" status -n -o ENGINE /srv)
verdict "$kernel: the container starts" start_pod
verdict "$kernel: the pre hook" in_pod "${pre[@]}"
verdict "$kernel: frozen" is_state /srv frozen
verdict "$kernel: the container lists it" eval 'in_pod freezefd list | grep /data'
verdict "$kernel: the post hook" in_pod "${post[@]}"
verdict "$kernel: thawed" is_state /srv thawed
in_pod "${pre[@]}"
"$freezefd" thaw --force /srv
verdict "$kernel: a broken hold: the post hook fails with 124" is 124 in_pod "${post[@]}"
in_pod "${pre[@]}"
stop_pod
verdict "$kernel: the container is killed: thawed" await is_state /srv thawed

if [[ $kernel = native ]]; then
	start_pod
	less() { nsenter --target "$first" --mount --pid --net --ipc --uts -- setpriv --bounding-set "-all,+sys_admin" --inh-caps -all \
		env -i PATH="$pod/usr/bin:/bin" "$@"; }
	verdict "$kernel: SYS_ADMIN alone is enough" less freezefd run $pod/data -- true
	verdict "$kernel: without it, no" eval 'nsenter --target "$first" --mount --pid -- setpriv --bounding-set -sys_admin $pod/usr/bin/freezefd run $pod/data -- true 2>&1 |
		grep -i "permi\|privilege\|CAP_SYS_ADMIN"'
	stop_pod
	summary
	exit
fi

# The same kernel without the module.
start_pod
engine=guardian
verdict 'guardian: the pre hook is refused' eval 'in_pod "${pre[@]}" 2>&1 | grep may-stay-frozen'
verdict 'guardian: nothing is frozen' is_state /srv thawed
pre[2]=${pre[2]/--detach/--detach --may-stay-frozen}
export FREEZEFD_ENGINE=guardian
verdict 'guardian: with --may-stay-frozen it works' in_pod "${pre[@]}"
verdict 'guardian: frozen' is_state /srv frozen
verdict 'guardian: the post hook' in_pod "${post[@]}"
verdict 'guardian: thawed' is_state /srv thawed
in_pod "${pre[@]}"
stop_pod
verdict 'guardian: the container is killed: frozen for ever' is_state /srv frozen
commands cure
verdict 'guardian: the cure' is_state /srv thawed
summary
