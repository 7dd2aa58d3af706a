#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# freezefd-metrics.service does its work in its sandbox, with the engines that Debian's kernel has. Under a systemd in the VM.

# shellcheck disable=SC2317
# shellcheck source-path=SCRIPTDIR source=../use/page.bash
. "$(dirname "$0")/../use/page.bash"
# shellcheck source-path=SCRIPTDIR source=../use/systemd.bash
. "$(dirname "$0")/../use/systemd.bash"
if [[ -z ${USE_SYSTEMD:-} ]]; then
	in_vm || { echo "only in the VM"; exit 77; }
	writable /var/lib
	mkdir -p /var/lib/prometheus/node-exporter
fi
inside
read -ra disks <<<"$VM_DISKS"
clean_up() { umount -q /srv; }
units=/etc/systemd/system
metrics=/var/lib/prometheus/node-exporter/freezefd.prom
fresh ext4 "${disks[0]}" /srv
sed 's,@bindir@,/usr/bin,' "$top/tools/systemd/freezefd-metrics.service.in" >$units/freezefd-metrics.service
mkdir -p $units/freezefd-metrics.service.d
for engine in guardian module; do
	if [[ $engine = module && ! -e /dev/freezefd ]]; then
		skip "$engine: the unit writes its metrics" "the module is not loaded"
		continue
	fi
	printf '[Service]\nEnvironment=FREEZEFD_ENGINE=%s FREEZEFD_LIBEXEC=%s LD_LIBRARY_PATH=%s\n' \
		$engine "$build/guardian" "$build/lib" >$units/freezefd-metrics.service.d/test.conf
	systemctl daemon-reload
	rm -f $metrics
	export FREEZEFD_ENGINE=$engine
	hold=$("$freezefd" hold --detach --may-stay-frozen --timeout 5m /srv)
	if systemctl start freezefd-metrics.service 2>"$out"; then
		verdict "$engine: the unit sees what is frozen" grep -q '^freezefd_frozen{.*mountpoint="/srv".*} 1' $metrics
		verdict "$engine: the unit sees who holds" grep -q '^freezefd_holds{.*mountpoint="/srv".*kind="descriptor"} 1' $metrics
	else
		not_ok "$engine: the unit sees what is frozen" "$(<"$out") $(systemctl status freezefd-metrics.service)"
	fi
	"$freezefd" release "$hold" || not_ok "$engine: release"
done
summary
