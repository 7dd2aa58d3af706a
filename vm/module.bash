# SPDX-License-Identifier: GPL-2.0-or-later
# shellcheck shell=bash disable=SC2034,SC2154
# freezefd.ko for the kernels of vm/run: part of vm/kernel.

# Set $image to freezefd.ko for $base, built as an administrator's machine builds it: against the kernel's header
# packages, by the compiler that they name. Where this machine's suite has no such compiler, in a chroot of one that has.
stock_module() {
	local release headers compiler
	release=$(dpkg-deb -f "$(newest "linux-image-$line.*[0-9]-amd64")" Package)
	release=${release#linux-image-}
	headers=$cache/headers/$release
	module_headers
	compiler=$(sed -nE 's/^CC = .*\b(gcc-[0-9]+)$/\1/p' "$headers"/usr/src/linux-headers-*-amd64/.kernelvariables)
	[[ $compiler ]] || die "cannot build $wanted: its headers name no compiler"
	module_stamp "$release" "$compiler"
	[[ -e $image ]] && return
	if command -v "$compiler" >/dev/null || "$here/../build-aux/need" "$compiler" 2>/dev/null; then
		publish_module module_make "$headers/usr/src/linux-headers-$release" env
	else
		module_chroot
		publish_module module_make "/headers/usr/src/linux-headers-$release" in_chroot
	fi
}

# The header packages of $release, unpacked in $headers, where they expect to be in /.
module_headers() {
	local path root name=linux-headers-$release
	[[ ! -d $headers ]] || return 0
	cure="Put $name, ${name%-amd64}-common and the linux-kbuild package it depends on into $cache/deb, or remove linux-image-$release from it for a newer kernel."
	package "$name"
	local debs=("$deb")
	package "${name%-amd64}-common"
	debs+=("$deb")
	package "$(dpkg-deb -f "${debs[0]}" Depends | grep -oE '\blinux-kbuild-[^ ,]+')"
	debs+=("$deb")
	lock "$cache/lock" "unpacking"
	rm -rf "$headers.tmp"
	mkdir -p "$headers.tmp"
	for path in "${debs[@]}"; do
		say "unpacking $(basename "$path")"
		dpkg -x "$path" "$headers.tmp"
	done
	mv "$headers.tmp" "$headers"
	unlock
}

# module_stamp KERNEL WHAT: name the module by all that it is made of.
module_stamp() {
	local stamp
	stamp=$({
		echo "$recipe $*"
		cd "$here/.." && cat kernel/module/* include/uapi/linux/*
	} | sha256sum)
	image=$cache/module/$1/${stamp:0:16}/freezefd.ko
}

# publish_module CMD...: copy the module's source, have CMD build it in the directory that is its last argument.
publish_module() {
	local tmp=$cache/module/tmp
	lock "$cache/lock-module" "build of a module"
	rm -rf "$tmp"
	mkdir -p "$tmp/kernel" "$tmp/include"
	cp -r "$here/../kernel/module" "$tmp/kernel/"
	cp -r "$here/../include/uapi" "$tmp/include/"
	log=$cache/module/log
	run "building freezefd.ko for $base" : "$log" "$@" "$tmp" || build_failed
	mkdir -p "${image%/*}"
	mv "$tmp/kernel/module/freezefd.ko" "$image"
	# What the counters are of.
	[[ ! -e $tmp/kernel/module/freezefd.gcno ]] || mv "$tmp/kernel/module/freezefd.gcno" "${image%/*}/"
	rm -rf "$tmp"
	unlock
}

# module_make KDIR HOW... DIR
module_make() {
	local kdir=$1 how=("${@:2:$#-2}") dir=${*: -1}
	# Where the packages are not in /: what it includes is beside it.
	sed -i "s,\([ =]\)/[^ =]*usr/src/,\1${kdir%/*}/," "$headers/usr/src/linux-headers-$release/Makefile"
	[[ ${how[0]} != in_chroot ]] || dir=/module
	"${how[@]}" make -C "$dir/kernel/module" KDIR="$kdir" W=1
}

# A chroot of the suite that has the compiler, in $chroot.
module_chroot() {
	local suite=${suites[0]%-backports} stanza uri key
	chroot=$cache/chroot/$suite-$compiler
	[[ ! -d $chroot ]] || return 0
	"$here/../build-aux/need" mmdebstrap
	lock "$cache/lock" "making of a chroot"
	while read -rd '' stanza; do
		uri=$(awk '$1 == "URIs:" { print $2 }' <<<"$stanza")
		key=$(awk '$1 == "Signed-By:" { print $2 }' <<<"$stanza")
		rm -rf "$chroot.tmp"
		mkdir -p "$cache/chroot"
		# shellcheck disable=SC2016
		run "making a chroot of $suite with $compiler" : "$cache/chroot.log" \
			mmdebstrap --quiet --variant=apt --include="$compiler,make,libelf1t64,pahole" \
			--customize-hook='mkdir "$1/headers" "$1/module"' "$suite" "$chroot.tmp" \
			"deb ${key:+[signed-by=$key]} $uri $suite main" && break
	done < <(stanzas)
	[[ -d $chroot.tmp/headers ]] || { tail -n 5 "$cache/chroot.log" >&2; die "cannot build $wanted: no chroot of $suite with $compiler"; }
	mv "$chroot.tmp" "$chroot"
	unlock
}

# objtool reads /proc.
in_chroot() {
	# shellcheck disable=SC2016
	unshare --mount sh -ec '
		mount --rbind /proc "$1/proc"
		mount --bind "$2" "$1/headers"
		mount --bind "$3" "$1/module"
		chroot=$1
		shift 3
		exec chroot "$chroot" "$@"' - "$chroot" "$headers" "$cache/module/tmp" "$@"
}

# Set $image to freezefd.ko for the kernel that was built here.
built_module() {
	module_stamp "$base" "$stamp"
	[[ ! -e $image ]] || return 0
	build=$cache/build/$base
	src=$build/src obj=$build/obj log=$build/log
	run "finding the symbols of $base" : "$log" kmake -j"$(nproc)" modules || build_failed
	publish_module built_module_make
}

built_module_make() { kmake M="$1/kernel/module" W=1 modules; }
