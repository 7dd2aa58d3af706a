# SPDX-License-Identifier: GPL-2.0-or-later
# shellcheck shell=bash disable=SC2154,SC2016
# What syslog gets of a hold that lasts. Sourced by run.

# logged SECONDS...: what tests/seen/late has the daemon told, in a /dev of its own; one line each.
logged() {
	unshare --mount sh -c 'mount -t tmpfs none /dev && exec "$@"' sh python3 -c 'import socket, subprocess, sys
log = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
log.bind("/dev/log")
subprocess.run(sys.argv[1:], check=True)
log.setblocking(False)
try:
    while True: print(log.recv(1000).decode())
except BlockingIOError: pass' "$build/tests/seen/late" "$@"
}

same 'a hold that ends soon is not worth a word' '' "$(logged 0.01)"
# 28: a warning of a daemon.
matches 'one past half of its timeout is' \
	'^<28>.* freezefd\[[0-9]+\]: /one, /t\\x0aree: still held frozen after 100ms, half of the timeout of 200ms' "$(logged 2)"
same 'each is told once' 2 "$(logged 0.01 2 0.01 2 | grep -c 'still held')"
