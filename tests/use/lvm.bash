# SPDX-License-Identifier: GPL-2.0-or-later
# shellcheck shell=bash disable=SC2154
# A volume group "vg" for the tests of doc/use/. Sourced.

# lvm_setup DEVICE...: without udev, and with nothing outside $work but the volume group.
lvm_setup() {
	export LVM_SYSTEM_DIR=$work/lvm LVM_SUPPRESS_FD_WARNINGS=1
	mkdir "$LVM_SYSTEM_DIR"
	cat >"$LVM_SYSTEM_DIR/lvm.conf" <<-END
		devices { filter = [$(printf '"a|^%s$|", ' "$@")"r|.*|"] obtain_device_list_from_udev = 0 use_devicesfile = 0 }
		global { use_lvmpolld = 0 system_id_source = "none" }
		activation { udev_sync = 0 udev_rules = 0 monitoring = 0 }
	END
	# LVM asks the machine's modprobe, the kernel that of the VM.
	[[ ! -x /run/modprobe ]] || /run/modprobe -a dm-snapshot dm-thin-pool
	vgcreate -q vg "$@" >"$out" 2>&1 || { cat "$out"; exit 1; }
}

# volume NAME SIZE [OPTION...]
volume() {
	lvcreate -qq -y -L "$2" -n "$1" vg "${@:3}" >"$out" 2>&1 || { cat "$out"; exit 1; }
}

lvm_remove() { vgchange -qq -an vg && vgremove -qq -f vg; } >/dev/null 2>&1
