#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# doc/use/aws.md. A script runs the document as the SSM agent does.
# in: vm/run --disk 256M --disk 256M
# needs: python3-yaml e2fsprogs

# shellcheck source-path=SCRIPTDIR source=page.bash
. "$(dirname "$0")/page.bash"
vm_only
clean_up() { umount -q /srv; }
install_tool
fresh ext4 "${disks[0]}" /srv
install_block document "$work/document"

# document COMMAND: puts the parameters in, after a look whether they are allowed, and prints the script.
cat >"$work/ssm.py" <<'END'
import re, sys, yaml
document = yaml.safe_load(open(sys.argv[1]))
given = {'command': sys.argv[2], 'executionId': '4bf5f5b6-12ab-4cde-8f01-23456789abcd'}
assert document['schemaVersion'] == '2.2'
for name, value in given.items():
    parameter = document['parameters'][name]
    assert parameter['type'] == 'String' and 'default' in parameter
    assert value in parameter.get('allowedValues', [value]), name
    assert re.match(parameter.get('allowedPattern', ''), value), name
step, = document['mainSteps']
assert step['action'] == 'aws:runShellScript'
for line in step['inputs']['runCommand']:
    print(re.sub(r'{{ *(\w+) *}}', lambda found: given[found[1]], line))
END
document() {
	python3 "$work/ssm.py" "$work/document" "$1" >"$work/script" || return 99
	chmod 755 "$work/script"
	timeout 60 env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin "$work/script" </dev/null
}
is() { local wanted=$1 status=0; shift; "$@" || status=$?; ((status == wanted)) || { echo "status $status"; return 1; }; }

verdict 'dry-run' is 0 document dry-run
start_writer /srv
verdict 'pre-script' is 0 document pre-script
verdict 'it is frozen' is_state /srv frozen
dd if="${disks[0]}" of="${disks[1]}" bs=1M iflag=direct status=none
verdict 'post-script' is 0 document post-script
verdict 'it has thawed' is_state /srv thawed
verdict 'the copy is clean' clean_ext4 "${disks[1]}"
verdict 'post-script without pre-script is 205' is 205 document post-script
verdict 'pre-script' is 0 document pre-script
freezefd thaw --force /srv
verdict 'a broken freeze is 203' is 203 document post-script
sed -i 's/--timeout 2m/--timeout 1s/' "$work/document"
document pre-script
verdict 'the post-script never comes: the time thaws' await is_state /srv thawed
verdict 'and when it comes it is 203' is 203 document post-script
echo 1-deadbeef >/run/freezefd-dlm
verdict 'a hold that is not there is 202' is 202 document post-script
stop_writers
umount /srv
verdict 'not mounted: 201' is 201 document pre-script
mount "${disks[0]}" /srv
page_summary
