# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: Lifeboat contributors
"""The lab: a fleet on one machine, in podman containers that boot systemd."""
