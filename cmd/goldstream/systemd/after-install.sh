#!/bin/sh
# What an installation on the running system needs besides files: the user, its
# data directory, and systemd's knowledge of the unit.
set -eu
if [ "$(id -u)" != 0 ]; then
	echo "not root: create the user goldstream and give it /var/lib/goldstream yourself"
	exit 0
fi
if command -v systemd-sysusers >/dev/null; then
	systemd-sysusers goldstream.conf
elif ! id goldstream >/dev/null 2>&1; then
	useradd --system --home-dir /var/lib/goldstream --shell /usr/sbin/nologin goldstream
fi
chown goldstream:goldstream /var/lib/goldstream
chmod 0750 /var/lib/goldstream
if [ -d /run/systemd/system ]; then
	systemctl daemon-reload
	echo "start it with: systemctl enable --now goldstream"
fi
