#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# doc/use/azure.md. A script does what Microsoft says that the extension does.
# in: vm/run --disk 256M --disk 256M
# needs: jq e2fsprogs

# shellcheck source-path=SCRIPTDIR source=page.bash
. "$(dirname "$0")/page.bash"
vm_only
clean_up() { umount -q /srv; }
install_tool
fresh ext4 "${disks[0]}" /srv
mkdir -p /etc/azure
config=/etc/azure/VMSnapshotScriptPluginConfig.json
install_block pre /etc/azure/freezefd-pre && install_block post /etc/azure/freezefd-post && install_block config $config
chmod 700 /etc/azure/freezefd-*
chmod 600 $config

get() { jq -er "$1" $config; }
# script NAME: as the extension runs it, with its parameters and its time.
script() {
	local path params
	path=$(get ".$1Location") && [[ $(stat -c %U:%a "$path") = root:700 && $(stat -c %U:%a $config) = root:600 ]] || return 99
	mapfile -t params < <(jq -r ".$1Params[]" $config)
	timeout "$(get .timeoutInSeconds)" "$path" "${params[@]}" </dev/null
}
# backup [BETWEEN]: the exit status is the backup's.
backup() {
	script preScript || { echo "pre-script: $?"; return 1; }
	freezefd status -n -o STATE /srv
	${1:-true}
	dd if="${disks[0]}" of="${disks[1]}" bs=1M iflag=direct status=none
	script postScript || { echo "post-script: $?"; return 1; }
}
keys='["pluginName","preScriptLocation","postScriptLocation","preScriptParams","postScriptParams","preScriptNoOfRetries","postScriptNoOfRetries","timeoutInSeconds","continueBackupOnFailure","fsFreezeEnabled"]'
verdict 'the configuration has the documented members' jq -e "keys == ($keys | sort)" $config
start_writer /srv
backup >"$out" 2>&1
verdict 'a backup' test $? = 0
verdict 'it was frozen' grep -qx frozen "$out"
verdict 'it has thawed' is_state /srv thawed
verdict 'the copy is clean' clean_ext4 "${disks[1]}"
backup >"$out" 2>&1
verdict 'the next backup' test $? = 0
backup 'freezefd thaw --force /srv' >"$out" 2>&1
verdict 'a broken freeze makes the backup fail' test $? = 1
verdict 'by the post-script, with 124' grep -qx 'post-script: 124' "$out"
sed -i 's/--timeout 2m/--timeout 1s/' /etc/azure/freezefd-pre
script preScript
verdict 'the post-script never comes: the time thaws' await is_state /srv thawed
verdict 'and when it comes, it tells' eval 'script postScript; test $? = 124'
stop_writers
umount /srv
backup >"$out" 2>&1
verdict 'not mounted: the pre-script fails, nothing is frozen' grep -q 'pre-script: 1' "$out"
mount "${disks[0]}" /srv
page_summary
