# SPDX-License-Identifier: GPL-2.0-or-later
# shellcheck shell=bash disable=SC2034,SC2154
# Debian's own kernels: part of vm/kernel.

# What is loaded before the host's files can be seen, and what the kernel asks for when it is used. Those that a
# kernel has built in or does not have are left out.
early=(virtio_pci virtio_blk virtio_console 9pnet_virtio 9p configfs loop null_blk fuse dm-mod)
late=(overlay erofs ext4 xfs btrfs f2fs jfs quota_v2 dm-snapshot dm-flakey dm-delay dm-log-writes dm-thin-pool dm-multipath
	dm-round-robin raid1 bcache)

# Have the image of $line's newest kernel in $image.
stock() {
	local debs name
	cure="Put the packages linux-image-$line...-amd64, and of those it depends on linux-base-..., linux-binary-... and linux-modules-..., into $cache/deb."
	"$here/../build-aux/need" kmod cpio busybox-static xz-utils zstd
	# The digit before the architecture tells the plain flavour from the others.
	package "linux-image-$line.*[0-9]-amd64"
	debs=("$deb")
	# Another list of modules is another image.
	image=$cache/image/$base/$(basename "$deb" .deb)-$recipe-$(cksum <<<"${early[*]} ${late[*]}" | cut -d' ' -f1)/vmlinux
	[[ ! -e $image ]] || return 0
	# Newer ones are spread over several packages.
	for name in $(dpkg-deb -f "$deb" Depends | grep -oE '\blinux-(base|binary|modules)-[^ ,]+'); do
		package "$name"
		debs+=("$deb")
	done
	lock "$cache/lock" "unpacking"
	[[ -e $image ]] || install_image stock_image "${debs[@]}"
}

# stock_image DEB...: make here the kernel, the modules that the tests need and an initrd.
stock_image() {
	local release name offset path n=100
	for path; do
		say "unpacking $(basename "$path")"
		dpkg -x "$path" deb
	done
	find deb -name 'vmlinuz*' -exec mv {} vmlinuz \;
	# The kernel inside starts sooner than what unpacks it in a guest.
	offset=$(LC_ALL=C grep -aboP '\xfd7zXZ\0|\x28\xb5\x2f\xfd' vmlinuz | head -n 1 | cut -d: -f1) || :
	tail -c "+$((offset + 1))" vmlinuz >payload
	{ xz -qdc --single-stream payload || zstd -qdc payload; } >vmlinux 2>/dev/null || :
	[[ $(head -c 4 vmlinux) = $'\x7fELF' ]] || die "cannot make $wanted: no kernel found in $*"

	[[ -e deb/lib ]] || ln -s usr/lib deb/lib
	release=$(basename deb/lib/modules/*)
	depmod -b deb "$release"
	local modules=modules/lib/modules/$release
	mkdir -p "$modules" initramfs/modules
	cp deb/lib/modules/"$release"/modules.{order,builtin*} "$modules/"
	modules_of "${early[@]}" "${late[@]}" | while read -r path; do
		name=$modules/$(basename "${path%%.ko*}").ko
		case $path in
		*.xz) xz -dc "$path" >"$name" ;;
		*.zst) zstd -qdc "$path" >"$name" ;;
		*) cp "$path" "$name" ;;
		esac
	done
	depmod -b modules "$release"

	modules_of "${early[@]}" | while read -r path; do
		name=$(basename "${path%%.ko*}").ko
		cp "$modules/$name" "initramfs/modules/$((n++))-$name"
	done
	cp "$(command -v busybox)" initramfs/busybox
	cp "$here/stock-init" initramfs/init
	(cd initramfs && find . | cpio -o -H newc --quiet | gzip -1) >initrd
	rm -rf deb initramfs vmlinuz payload
}

# modules_of NAME...: the files of modules and of those they need, in the order of loading.
modules_of() {
	local name
	for name; do
		modprobe -d deb -S "$release" --show-depends "$name" 2>/dev/null || say "$release has no $name"
	done | awk '$1 == "insmod" && !seen[$2]++ { print $2 }'
}
