#!/bin/sh
# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: Lifeboat contributors
# A real file tree to back up: Python's documentation, unpacked and not installed. $1: the file tree that is being built.
set -eu
root=$1
work=$root/var/tmp/apps
mkdir "$work"
cd "$work"
APT_CONFIG=$MMDEBSTRAP_APT_CONFIG apt-get -o APT::Sandbox::User=root download python3.13-doc
dpkg-deb -x python3.13-doc_*.deb docs
mv docs/usr/share/doc/python3.13/html "$root/srv/www/docs"
rm -rf "$work"
