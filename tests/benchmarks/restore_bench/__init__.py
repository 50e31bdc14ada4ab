# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: Lifeboat contributors
"""The parts of `make bench-restore` (see ../bench_restore.py): only the standard library, for they run in a container."""
