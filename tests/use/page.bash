# SPDX-License-Identifier: GPL-2.0-or-later
# shellcheck shell=bash disable=SC2034
# What the tests of doc/use/ share: the commands are taken from the page. Sourced.
#
# A page marks what is to be copied with a fence of three backticks, its language and a name. Names that such a block
# needs are the page's own (/srv, /mnt/backup, the volume group vg): the test makes them, in a VM of its own.

# shellcheck source-path=SCRIPTDIR source=../lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"

name=$(basename -s .sh "$0")
page=$top/doc/use/$name.md
work=$(mktemp -d "${TMPDIR:-/tmp}/use.XXXXXX")
out=$work/out
used=()
export PATH=$build/tools:$PATH

# block NAME: prints it.
block() { awk -v name="$1" '/^```[a-z]+ / && $2 == name { found = 1; next } /^```/ { found = 0 } found' "$page"; }

# commands NAME [SED]: runs the block of that name as a person would who pastes it, but stops at the first failure.
# The exit status is the block's, its output is in $out.
commands() {
	used+=("$1")
	block "$1" | sed -e "${2:-}" >"$work/block"
	[[ -s $work/block ]] || { echo "$page: no block named $1" >"$out"; return 1; }
	(cd / && timeout 300 bash -euo pipefail "$work/block") >"$out" 2>&1 </dev/null
}

# works NAME WHAT [SED]: the commands end with 0.
works() {
	local status=0
	commands "$1" "${3:-}" || status=$?
	if ((status)); then not_ok "$2" "exit status $status: $(<"$out")"; else ok "$2"; fi
	return $status
}

# install_block NAME PATH: the page's script or file, in place.
install_block() {
	used+=("$1")
	block "$1" >"$2" && chmod 755 "$2" && [[ -s $2 ]]
}

# verdict WHAT COMMAND...: a claim and what shows it.
verdict() {
	local what=$1
	shift
	if "$@" >"$work/verdict" 2>&1; then ok "$what"; else not_ok "$what" "$(tail -n 20 "$work/verdict")"; fi
}

# start_writer DIRECTORY...: in each of them, one after the other, a file "number" with the same rising number, on the
# disk before the next is written. $work/committed has the last number that all of them have.
start_writer() {
	echo 0 >"$work/committed"
	perl -MIO::Handle -e '
		my $committed = shift;
		my @files = map { open my $f, ">", "$_/number" or die "$_: $!"; $f } @ARGV;
		open my $done, "+<", $committed or die;
		for (my $n = 1;; $n++) {
			for (0 .. $#files) {
				syswrite $files[$_], sprintf "%012d\n", $n;
				sysseek $files[$_], 0, 0;
				$files[$_]->sync or die;
				open my $new, ">", "$ARGV[$_]/file-" . $n % 50;
				print $new $n x 1000;
			}
			sysseek $done, 0, 0;
			syswrite $done, sprintf "%012d\n", $n;
		}' "$work/committed" "$@" &
	writers+=($!)
	AWAIT=200 await committed_more 5 || not_ok "something writes to $*"
}
writers=()
committed() { echo $((10#$(<"$work/committed"))); }
committed_more() { (($(committed) > $1)); }
# number_in DIRECTORY...: what the writer has last written in each; 0 when there is nothing.
number_in() {
	local dir number
	for dir; do
		number=$(cat "$dir/number" 2>/dev/null)
		echo $((10#${number:-0}))
	done
}

stop_writers() {
	((${#writers[@]})) || return 0
	kill "${writers[@]}"
	wait "${writers[@]}"
	writers=()
} 2>/dev/null

# A copy of ext4, as clean as one of an unmounted filesystem?
clean_ext4() {
	e2fsck -fn "$1" || return
	! dumpe2fs -h "$1" 2>/dev/null | grep needs_recovery
}

# fresh TYPE DEVICE DIRECTORY: a filesystem, mounted on a directory that may have to be made.
fresh() {
	make_fs "$1" "$2" >/dev/null && mkdir -p "$3" && mount -t "$1" "$2" "$3" || { echo "cannot make $1 on $2"; exit 1; }
}

# The root of the VM is read-only: /mnt is empty, and may have directories.
vm_only() {
	in_vm || { echo "only in the VM"; exit 77; }
	mount -t tmpfs tmpfs /mnt
	read -ra disks <<<"$VM_DISKS"
}

# writable DIRECTORY...: in a VM; what is written there goes with it.
writable() {
	local dir over
	for dir; do
		over=$(mktemp -d /run/over.XXXXXX)
		mkdir "$over/upper" "$over/work"
		mount -t overlay -o "lowerdir=$dir,upperdir=$over/upper,workdir=$over/work" overlay "$dir" || exit
	done
}

# As the packages install it, in a VM.
install_tool() {
	writable /usr/bin /usr/local/bin /etc
	ln -sf "$freezefd" /usr/bin/freezefd
}

# rest_in_vm OPTION-OF-VM-RUN...: this test again, which sees that it is in a VM.
rest_in_vm() {
	local line ended=''
	while IFS= read -r line; do
		case $line in
		'ok '*' # SKIP '*) line=${line#ok * - }; skip "${line% # SKIP *}" "${line##* # SKIP }" ;;
		'ok '*) ok "${line#ok * - }" ;;
		'not ok '*) not_ok "${line#not ok * - }" ;;
		*' passed, '*) ended=yes ;;
		*) printf '%s\n' "$line" ;;
		esac
	done < <("$top/vm/run" "$@" -- "$0" </dev/null)
	[[ $ended ]] || not_ok "the test comes to its end in the VM ($*)"
}

finish() {
	[[ $BASHPID = "$$" ]] || return
	stop_writers
	if declare -F clean_up >/dev/null; then clean_up; fi
	rm -rf "$work"
}
trap finish EXIT

# The last line of every test: nothing to copy is untested, and the page fits on a screen.
page_summary() {
	local block missing=''
	while read -r block; do
		[[ " ${used[*]} " = *" $block "* ]] || missing+=" $block"
	done < <(sed -n 's/^```[a-z]* *//p' "$page" | grep .)
	verdict "every command of $name.md was run" test -z "$missing"
	[[ -z $missing ]] || echo "#   not:$missing"
	verdict "$name.md fits on a screen" awk 'length > 140 { print FILENAME ":" FNR ": too wide"; bad = 1 }
		END { if (NR > 60) { print NR " lines"; bad = 1 } exit bad }' "$page"
	summary
}
