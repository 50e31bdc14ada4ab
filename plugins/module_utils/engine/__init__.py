# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: Lifeboat contributors
"""The Lifeboat engine: backup, restore and proof around duplicity.

Nodes install it as the package ``lifeboat_engine``; on the controller it is a part of the collection. Its files
import the standard library and their siblings only; boto3 is imported in ``store``, ``rgw_admin`` and ``launcher``,
duplicity in ``launcher``.
"""

from __future__ import annotations

VERSION = "0.1.0"
DUPLICITY_VERSION = "3.2.1"
