# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: Lifeboat contributors
"""The one exception that reaches a user: its text is a sentence with the cause and the next step."""

from __future__ import annotations


class LifeboatError(Exception):
    """A failure that the user can act on. ``str(error)`` is what they read; a traceback would only hide it."""


class Refused(LifeboatError):
    """Nothing was started, because the request itself is wrong or unsafe."""


class Damaged(LifeboatError):
    """What is wrong with a piece of a repository: half a sentence, to which whoever knows the piece adds its name."""


class UnknownFormat(LifeboatError):
    """The fast reader does not know this repository's form, and nothing was written: stock duplicity may try."""
