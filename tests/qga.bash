# SPDX-License-Identifier: GPL-2.0-or-later
# shellcheck shell=bash
# To speak with qemu-ga as a host does, over a socket. Sourced; who has it elsewhere sets qga_socket after that, and qga_seconds.

qga_socket=/run/qga.sock qga_seconds=60

# Where a virtual machine has a virtio port, ours has a socket.
qga_configure() { printf '[general]\nmethod=unix-listen\npath=%s\n' "$qga_socket" >/etc/qemu/qemu-ga.conf; }

# qga COMMAND [ARGUMENTS]: prints what it answers; false when it does not.
qga() {
	perl -MIO::Socket::UNIX -e '
		alarm shift;
		my $s = IO::Socket::UNIX->new(Peer => $ARGV[0]) or exit 1;
		my $arguments = $ARGV[2] ? ", \"arguments\": $ARGV[2]" : "";
		print $s "{\"execute\": \"$ARGV[1]\"$arguments}\n";
		my $line = <$s> // exit 1;
		print $line;' $qga_seconds "$qga_socket" "$@"
}

# answers PATTERN COMMAND [ARGUMENTS]
answers() {
	local pattern=$1 answer
	shift
	answer=$(qga "$@")
	[[ $answer =~ $pattern ]] || { echo "$*: $answer"; return 1; }
}
