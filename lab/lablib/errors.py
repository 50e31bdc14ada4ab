# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: Lifeboat contributors
"""The one kind of failure that the lab shows to a person."""


class LabError(Exception):
    """One sentence: what went wrong and what to do next. Printed on stderr without a traceback."""
