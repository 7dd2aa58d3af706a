#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# doc/use/libvirt.md. A guest needs QEMU, a host needs libvirtd: a script passes virsh's requests to the real agent, and
# the real virsh says with libvirt's driver for tests that it knows these options and what it prints.
# in: vm/run --disk 256M --disk 256M
# needs: qemu-guest-agent libvirt-clients systemd e2fsprogs

# shellcheck disable=SC2016,SC2317
# shellcheck source-path=SCRIPTDIR source=page.bash
. "$(dirname "$0")/page.bash"
# shellcheck source-path=SCRIPTDIR source=../qga.bash
. "$(dirname "$0")/../qga.bash"
export FREEZEFD_TEST_QGA=$top/tests/qga.bash
vm_only
clean_up() { [[ -z ${guard:-} ]] || kill "$guard"; umount -q /srv; }
install_tool
qga_configure
fresh ext4 "${disks[0]}" /srv
echo before >/srv/file

# agent TIME: the guest's, under its guard.
agent() {
	local old=${guard:-}
	[[ -z $old ]] || { kill "$old"; wait "$old"; }
	rm -f "$qga_socket"
	freezefd guard --timeout "$1" -- qemu-ga 2>>"$work/guard" &
	guard=$!
	await answers return guest-ping
} 2>/dev/null
real() { /usr/bin/virsh -c test:///default "$@"; }
verdict 'virsh freezes with a mount point' eval 'real domfsfreeze test --mountpoint / | grep -x "Froze 1 filesystem(s)"'
verdict 'virsh thaws' eval 'real domfsthaw test | grep -xE "Thawed [0-9]+ filesystem\(s\)"'
verdict 'virsh has --disk-only and --quiesce' eval 'real help snapshot-create-as | grep -e --quiesce | grep -e --disk-only'

cat >/usr/local/bin/virsh <<'END'
#!/bin/bash
# What libvirtd does with it.
. "$FREEZEFD_TEST_QGA"
/usr/bin/virsh -c test:///default "$1" test ${4:+"$3" /} >/dev/null || exit
case $1 in
domfsfreeze) answer=$(qga guest-fsfreeze-freeze-list "{\"mountpoints\": [\"$4\"]}") word=Froze ;;
domfsthaw) answer=$(qga guest-fsfreeze-thaw) word=Thawed ;;
esac
[[ $answer =~ return\":\ *([0-9]+) ]] || { echo "error: $answer" >&2; exit 1; }
printf '%s %s filesystem(s)\n\n' "$word" "${BASH_REMATCH[1]}"
END
cat >/usr/local/bin/take-snapshot <<END
#!/bin/bash
freezefd status -n -o STATE /srv >$work/state
[[ ! -e $work/fail ]] || exit 1
[[ ! -e $work/slow ]] || until freezefd status -n -o STATE /srv | grep -q thawed; do :; done
dd if=${disks[0]} of=${disks[1]} bs=1M iflag=direct status=none
END
# shellcheck disable=SC2016
printf '#!/bin/sh\necho "$1" >%s/dropped\n' "$work" >/usr/local/bin/drop-snapshot
install_block script /usr/local/bin/quiet-snapshot
chmod 755 /usr/local/bin/{virsh,take-snapshot,drop-snapshot}

agent 2m
start_writer /srv
verdict 'the script makes a snapshot' quiet-snapshot guest
verdict 'the guest was frozen' grep -qx frozen "$work/state"
verdict 'the guest has thawed' is_state /srv thawed
verdict 'the copy is clean' clean_ext4 "${disks[1]}"
: >"$work/fail"
verdict 'a snapshot that fails is an error' eval '! quiet-snapshot guest'
verdict 'and the guest has thawed' is_state /srv thawed
rm "$work/fail"
verdict 'a freeze by two hosts' eval 'virsh domfsfreeze guest --mountpoint /srv && ! virsh domfsfreeze guest --mountpoint /srv'
verdict 'the thaw tells the number' eval 'virsh domfsthaw guest | grep -x "Thawed 1 filesystem(s)"'

agent 2s
: >"$work/slow"
status=0
quiet-snapshot guest >"$out" 2>&1 || status=$?
verdict 'one that takes longer than the guard allows is 124' test $status = 124
verdict 'and was dropped' grep -qx guest "$work/dropped"
verdict 'and the guest has thawed' is_state /srv thawed
verdict 'the guard tells' grep -q broken "$work/guard"
rm "$work/slow"
virsh domfsfreeze guest --mountpoint /srv >/dev/null
verdict 'the host never comes back: thawed' await is_state /srv thawed
virsh domfsthaw guest >/dev/null

# There is no journal here: that journalctl takes the line, and that its pattern fits what the guard says.
install_block journal "$work/journal"
verdict 'journalctl takes the line' eval 'journalctl --directory "$work" -q -u x --since -5min --grep "broken|thawed, because"; test $? != 2 && bash -n "$work/journal"'
verdict 'its pattern finds what the guard says' eval 'grep -E "$(sed -n "s/.*--grep .\([^\x27]*\).*/\1/p" "$work/journal")" "$work/guard"'
stop_writers
page_summary
