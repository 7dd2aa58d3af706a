# SPDX-License-Identifier: GPL-2.0-or-later
# shellcheck shell=bash disable=SC2154,SC2016
# Which engine works, and why not. Sourced by run.

# doctor STATUS ENGINE PATTERN [COMMAND...]: by way of the command; a pattern of the line of the engine.
doctor() {
	local wanted=$1 name=$2 pattern=$3 status=0
	shift 3
	timeout -s KILL 60 "$@" "$freezefd" doctor >"$out" 2>"$err" || status=$?
	if ((status != wanted)); then
		not_ok "$what" "exit status $status, not $wanted: $(cat "$out" "$err")"
	else
		matches "$what" "^$name +$pattern" "$(grep "^$name " "$out")"
	fi
}

# with PREPARATION: in a mount namespace of its own, $prepared is the command for that.
with() { local prepare=$1; prepared=(unshare --mount sh -c "$prepare"' && exec "$@"' sh); }

# While there is one, the program that reads superblocks is had from it, whatever is missing here.
no_guardian() { ! compgen -G '/run/freezefd/*:*[0-9]' >/dev/null; }
await no_guardian || :
what="the engine that is used works" doctor 0 "$engine" 'yes +yes'
same 'JSON has it' yes "$("$freezefd" doctor --json | python3 -c 'import json, sys
print(*[row["works"] for row in json.load(sys.stdin)["doctor"] if row["engine"] == sys.argv[1]])' "$engine")"
what='without rights' doctor "$([[ $engine = guardian ]] && echo 1 || echo 0)" "$engine" '(yes|no) .*CAP_SYS_ADMIN.*become root' \
	setpriv --bounding-set=-all --inh-caps=-all
[[ $engine = native ]] || what='native' doctor 0 native 'no +no .*does not make freeze descriptors'
[[ $engine = native ]] || what='an engine that is named and does not work' doctor 1 native 'no +yes' env FREEZEFD_ENGINE=native
what='an engine that is named and does not work: module' doctor "$([[ $engine = module ]] && echo 0 || echo 1)" module '(no|yes) +yes' env FREEZEFD_ENGINE=module
what='an engine that there is not' doctor 1 "$engine" 'yes +no .*unset FREEZEFD_ENGINE' env FREEZEFD_ENGINE=nonsense
matches 'an engine that there is not is told' "'nonsense' names no engine" "$(<"$err")"
what='no helpers' doctor "$([[ $engine = guardian ]] && echo 1 || echo 0)" guardian "no .*$work/freezefd-load-bpf.*missing.*FREEZEFD_LIBEXEC" \
	env FREEZEFD_LIBEXEC="$work"
with 'mount -t tmpfs none /sys'
what='no /sys' doctor "$([[ $engine = guardian ]] && echo 1 || echo 0)" guardian 'no .*/sys is not mounted.*mount' "${prepared[@]}"
if [[ $bpf ]]; then
	with 'mount -t tmpfs none /sys/kernel/btf'
	what='no BTF' doctor "$([[ $engine = guardian ]] && echo 1 || echo 0)" guardian 'no .*no BTF.*CONFIG_DEBUG_INFO_BTF' "${prepared[@]}"
	what='a PID namespace' doctor "$([[ $engine = guardian ]] && echo 1 || echo 0)" guardian 'no .*PID namespace.*--may-stay-frozen' \
		unshare --pid --fork
	with 'mount -t tmpfs -o ro none /run'
	what='/run cannot be written to' doctor "$([[ $engine = guardian ]] && echo 1 || echo 0)" guardian \
		'no .*/run cannot be written to.*tmpfs' "${prepared[@]}"
else
	what='no BTF' doctor 0 guardian 'no .*no BTF.*CONFIG_DEBUG_INFO_BTF'
	skip 'a PID namespace' 'no BPF here'
	skip '/run cannot be written to' 'no BPF here'
fi

# The module: what is asked of the system is made up, in a mount namespace.
release=$(uname -r)
if [[ $engine = module ]] || [[ ! -e /proc/modules ]]; then
	what='a kernel without modules' doctor 0 module '(yes|no .*takes no modules)'
	for what in 'not installed' 'no headers' 'no make' 'no compiler' 'not built' 'not loaded' 'not signed' 'signed'; do
		skip "module: $what" 'it is loaded, or this kernel takes none'
	done
else
	base='mount -t tmpfs none /usr/src && '
	# A system without a kernel of its own has no such directory.
	[[ -d /lib/modules ]] ||
		base+='cd /usr/src && mkdir u w && mount -t overlay -o lowerdir=/usr/lib,upperdir=u,workdir=w none /usr/lib && mkdir /lib/modules && '
	base+='mount -t tmpfs none /lib/modules && mkdir /lib/modules/'$release
	with "$base"
	what='module: not installed' doctor 0 module 'no .*not installed for' "${prepared[@]}"
	with "$base && mkdir /usr/src/freezefd-0.1.0"
	what='module: no headers' doctor 0 module 'no .*not built for.*headers are missing.*linux-headers' "${prepared[@]}"
	built="$base && mkdir -p /usr/src/freezefd-0.1.0 /lib/modules/$release/build/include/config && cd /lib/modules/$release/build/include/config"
	with "$built && PATH=/nowhere"
	what='module: no make' doctor 0 module 'no .*not built for.*make is missing' "${prepared[@]}"
	with "$built && echo >auto.conf 'CONFIG_CC_VERSION_TEXT=\"strange-gcc-99 (of ours) 99.1\"' && printf '#!/bin/true' >/usr/src/make && chmod +x /usr/src/make && PATH=/usr/src"
	what='module: no compiler' doctor 0 module 'no .*not built for.*compiler strange-gcc-99 is missing' "${prepared[@]}"
	with "$built && echo >auto.conf 'CONFIG_CC_VERSION_TEXT=strange-gcc-99 (of ours) 99.1' && for i in make strange-gcc-99; do printf '#!/bin/true' >/usr/src/\$i; chmod +x /usr/src/\$i; done && PATH=/usr/src"
	what='module: not built' doctor 0 module 'no .*not built for.*dkms autoinstall.*logs' "${prepared[@]}"
	base+=" && echo updates/freezefd.ko: >/lib/modules/$release/modules.dep && mkdir /lib/modules/$release/updates && cd /lib/modules/$release/updates && echo ELF >freezefd.ko"
	with "$base"
	what='module: not loaded' doctor 0 module 'no .*installed but not loaded +modprobe freezefd$' "${prepared[@]}"
	if [[ -d /sys/kernel/security ]]; then
		base+=' && mount -t tmpfs none /sys/kernel/security && echo "none [integrity] confidentiality" >/sys/kernel/security/lockdown'
		with "$base"
		what='module: not signed' doctor 0 module 'no .*not signed.*lockdown' "${prepared[@]}"
		with "$base && echo '~Module signature appended~' >>freezefd.ko"
		what='module: signed' doctor 0 module 'no .*trusted key.*mokutil' "${prepared[@]}"
	else
		skip 'module: not signed' 'no /sys/kernel/security'
		skip 'module: signed' 'no /sys/kernel/security'
	fi
fi
status=0
"$freezefd" doctor too many 2>"$err" || status=$?
same 'an argument too many' 2 $status
