#!/bin/sh
# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: Lifeboat contributors
# For every image of the lab. $1: the file tree that is being built.
set -eu
root=$1

chroot "$root" useradd --create-home --shell /bin/bash ops
chmod 0440 "$root/etc/sudoers.d/lab-ops"
install -d -m 0755 "$root/srv/www" "$root/var/lib/lifeboat-lab"

# Nothing may hold apt's lock or reach out by itself while a test runs, and containers have no hardware.
for unit in apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer e2scrub_all.timer fstrim.timer \
  getty.target console-getty.service systemd-networkd.service systemd-networkd.socket systemd-networkd-wait-online.service \
  systemd-resolved.service systemd-timesyncd.service systemd-udevd.service systemd-udev-trigger.service \
  sys-kernel-debug.mount sys-kernel-tracing.mount sys-kernel-config.mount dev-hugepages.mount; do
  ln -sf /dev/null "$root/etc/systemd/system/$unit"
done
chroot "$root" systemctl enable lab-firstboot.service

# OpenSSH 9.8 and later locks out an address after failed logins: a test with a wrong key must not close the lab.
if [ -e "$root/usr/lib/openssh/sshd-session" ]; then
  echo 'PerSourcePenalties no' > "$root/etc/ssh/sshd_config.d/lab-penalties.conf"
fi

# Who a host is must be born with the host, not with the image.
rm -f "$root"/etc/ssh/ssh_host_* "$root/var/lib/dbus/machine-id" "$root/etc/hostname"
: > "$root/etc/machine-id"
