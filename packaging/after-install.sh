#!/usr/bin/env bash
# What a machine with systemd needs after `make install`: the users, and systemd and udev told of unit and rules. As root;
# `make install` calls it. Starting the service is left to you.
set -euo pipefail
if [[ $EUID -ne 0 ]]; then
  echo "installed; not as root, so without the service: mld --user is what there is" >&2
  exit 0
fi
systemd-sysusers mlaccel.conf
systemctl daemon-reload
if command -v udevadm >/dev/null; then
  udevadm control --reload
  udevadm trigger --subsystem-match=misc --subsystem-match=accel --subsystem-match=drm
fi
ldconfig
echo "installed; start the daemon with: systemctl enable --now mld" >&2
