#!/bin/sh
# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: Lifeboat contributors
# For the image of the store: Ceph runs from the lab's own units. $1: the file tree that is being built.
set -eu
root=$1
rm -rf "$root/srv/www"
for unit in ceph.target ceph-mon.target ceph-osd.target ceph-radosgw.target radosgw.service ceph-crash.service \
  nvmf-autoconnect.service nvmefc-boot-connections.service; do
  ln -sf /dev/null "$root/etc/systemd/system/$unit"
done
chroot "$root" systemctl enable lab-store-mon.service lab-store-osd.service lab-store-rgw.service
