#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# doc/use/static.md: the build here, the rest in a VM.
# in: here
# needs: libjson-c-dev libseccomp-dev clang libbpf-dev libelf-dev zlib1g-dev xz-utils make e2fsprogs

# shellcheck source-path=SCRIPTDIR source=page.bash
. "$(dirname "$0")/page.bash"

alone() { readelf -l "$1" | grep LOAD && ! readelf -d "$1" | grep NEEDED; }

if ! in_vm; then
	used=(image use)
	(cd "$top" && eval "$(block build)") >"$out" 2>&1 && built=yes || built=''
	verdict 'the build' test "$built" || cat "$out"
	for program in usr/bin/freezefd usr/libexec/freezefd/freezefd-load-bpf usr/libexec/freezefd/freeze-guardian; do
		verdict "$program has no shared library" alone "$top/build-static/image/$program"
	done
	used+=(build)
	rest_in_vm --disk 256M
	page_summary
	exit
fi

vm_only
mkdir /mnt/tree
cd /mnt/tree || exit
ln -s "$top/build-static" .
(eval "$(block image)") || exit
mkfs.ext4 -qF "${disks[0]}" && mount "${disks[0]}" image/data || exit
verdict 'nothing but the tool is in the image' test "$(find image -xdev -type f)" = image/usr/bin/freezefd
commands use '1i cd /mnt/tree'
verdict 'it freezes and thaws' test $? = 0
cat "$out" >"$work/all"
said() { grep -E "$1" "$work/all" || { cat "$work/all"; return 1; }; }
verdict 'doctor says which engine works' said '^native +yes'
verdict 'the command sees it frozen' said '^/data +/dev/.* frozen'
verdict 'the list has the hold' said '/data +detached|/data.* held '
verdict 'thawed in the end' is_state /mnt/tree/image/data thawed
umount image/data
summary
