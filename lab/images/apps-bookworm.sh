#!/bin/sh
# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: Lifeboat contributors
# Real applications' file trees, unpacked and not installed: data to back up. $1: the file tree that is being built.
set -eu
root=$1
work=$root/var/tmp/apps
mkdir "$work"
cd "$work"
APT_CONFIG=$MMDEBSTRAP_APT_CONFIG apt-get -o APT::Sandbox::User=root download mediawiki wordpress
for app in mediawiki wordpress; do
  dpkg-deb -x "$app"_*.deb "$app"
  mv "$app/usr/share/$app" "$root/srv/www/$app"
  mv "$app/etc/$app" "$root/srv/www/$app/.etc"
  mv "$app/var/lib/$app" "$root/srv/www/$app/.var"
done
rm -rf "$work"
