# SPDX-License-Identifier: GPL-2.0-or-later
# shellcheck shell=bash disable=SC2034,SC2154
# Debian packages from any of its suites, through an apt of our own: part of vm/kernel.

# The machine's own Debian mirrors, as deb822 stanzas without a suite.
mirrors() {
	local codename suites
	# shellcheck disable=SC1091
	codename=$(. /etc/os-release && echo "${VERSION_CODENAME:-stable}")
	suites="^($codename|stable|oldstable|testing|unstable|sid)(-updates|-backports)?\$"
	local etc=/etc/apt
	eval "$(apt-config shell etc Dir::Etc/d)"
	cat "$etc"/sources.list.d/*.sources 2>/dev/null | awk -v suites="$suites" '
		function flush(   n, i, words, ok) {
			n = split(field["suites"], words)
			for (i = 1; i <= n; i++)
				if (words[i] ~ suites)
					ok = 1
			if (ok && " " field["types"] " " ~ / deb / && " " field["components"] " " ~ / main / &&
			    field["enabled"] !~ /no/)
				printf "URIs:%s\n%s\n", field["uris"],
					"signed-by" in field ? "Signed-By:" field["signed-by"] "\n" : ""
			delete field
		}
		/^#/ { next }
		/^[[:space:]]*$/ { flush(); next }
		/^[[:space:]]/ { field[key] = field[key] "\n" $0; next }
		{ key = tolower($0); sub(/:.*/, "", key); value = $0; sub(/^[^:]*:/, "", value); field[key] = value }
		END { flush() }'
	cat "$etc"/sources.list "$etc"/sources.list.d/*.list 2>/dev/null | awk -v suites="$suites" '
		$1 == "deb" {
			key = ""
			line = $0
			sub(/#.*/, "", line)
			if (match(line, /\[[^]]*\]/)) {
				options = substr(line, RSTART + 1, RLENGTH - 2)
				line = substr(line, 1, RSTART - 1) substr(line, RSTART + RLENGTH)
				if (match(options, /signed-by=[^ ]*/))
					key = substr(options, RSTART + 10, RLENGTH - 10)
			}
			n = split(line, word)
			if (word[3] !~ suites || " " line " " !~ / main /)
				next
			printf "URIs: %s\n%s\n", word[2], key ? "Signed-By: " key "\n" : ""
		}'
}

# stanzas: each of the mirrors once, ended by a NUL.
stanzas() { mirrors | awk 'BEGIN { RS = ""; ORS = "\0" } !seen[$0]++'; }

# private_apt SUITE STANZA: an apt configuration for one suite of one mirror, in $APT_CONFIG.
private_apt() {
	local dir=$cache/apt/$1
	mkdir -p "$dir/lists/partial" "$dir/archives/partial"
	printf 'Types: deb\nSuites: %s\nComponents: main\n%s\n' "$1" "$2" >"$dir/suite.sources"
	# Of the machine's settings only what says how to reach a mirror.
	{
		apt-config dump Acquire | grep -E '^Acquire::(https?|socks5h?|ForceIPv[46]|Retries|Proxy[^ ]*|Check-Valid-Until)\b' || :
		cat <<-EOF
			Acquire::Languages "none";
			APT::Architecture "amd64";
			APT::Sandbox::User "root";
			Dir::Etc::main "/dev/null";
			Dir::Etc::parts "/dev/null";
			Dir::Etc::preferences "/dev/null";
			Dir::Etc::preferencesparts "/dev/null";
			Dir::Etc::sourcelist "$dir/suite.sources";
			Dir::Etc::sourceparts "/dev/null";
			Dir::State "$dir";
			Dir::State::lists "$dir/lists";
			Dir::State::status "/dev/null";
			Dir::Cache "$dir";
			Dir::Cache::archives "$dir/archives";
			Dir::Cache::pkgcache "";
			Dir::Cache::srcpkgcache "";
		EOF
	} >"$dir/apt.conf"
	export APT_CONFIG=$dir/apt.conf
}

# newest PATTERN: the newest package file of the cache.
newest() {
	find "$cache/deb" -name "$1_*.deb" | sort -V | tail -n 1
}

# package PATTERN: have the newest package whose name matches in the cache; $deb is its file.
package() {
	local pattern=$1 suite stanza name log=$cache/apt.log
	deb=$(newest "$pattern")
	[[ -z $deb ]] || return 0
	lock "$cache/lock" "download"
	deb=$(newest "$pattern")
	[[ -z $deb ]] || { unlock; return; }
	if command -v apt-get >/dev/null; then
		local all=()
		readarray -td '' all < <(stanzas)
		for suite in "${suites[@]}"; do
			for stanza in "${all[@]}"; do
				private_apt "$suite" "$stanza"
				tmp=$APT_CONFIG
				run "reading the package lists of $suite" : "$log" apt-get update -qq || continue
				# shellcheck disable=SC2053
				name=$(apt-cache pkgnames | sort -V | while read -r name; do
					[[ $name != $pattern ]] || echo "$name"
				done | tail -n 1)
				[[ $name ]] || continue
				tmp=$cache/deb/tmp
				rm -rf "$tmp"
				mkdir "$tmp"
				run "downloading $name" megabytes "$log" env -C "$tmp" apt-get download -q "$name" || continue
				mv "$tmp"/*.deb "$cache/deb/"
				rmdir "$tmp"
				deb=$(newest "$pattern")
				unlock
				return
			done
		done
		[[ ! -s $log ]] || tail -n 5 "$log" >&2
	fi
	die "cannot get $wanted: no package like $pattern in Debian's ${suites[*]} through this machine's apt sources." "$cure"
}
