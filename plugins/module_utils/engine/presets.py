# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: Lifeboat contributors
"""What may be left out of the trees of well-known applications, each pattern with its reason. Data, and nothing else.

A line is here only if the application makes the files again by itself, without a build and without a person. So code
and static files that only a deployment makes (Magento's ``generated``, ``pub/static`` and ``var/view_preprocessed``, whose
minified templates production mode only reads) stay in the backup, and so does whatever a person has uploaded. Patterns
are as specific as they can be: a bare ``**/cache`` would also match the source code of a plugin.
"""

from __future__ import annotations

PRESETS: dict[str, dict[str, str]] = {
    "magento": {
        "**/var/cache": "all cached objects but pages; the shop fills it again (Adobe: clear directories)",
        "**/var/page_cache": "the full page cache; filled again by visits",
        "**/var/full_page_cache": "the same in Magento 1 and OpenMage",
        "**/var/session": "visitors' sessions, where they are kept in files; a restored shop starts new ones",
        "**/media/catalog/product/cache": "resized product images; made again from media/catalog/product on demand",
    },
    "wordpress": {
        "**/wp-content/cache": "where cache plugins keep pages and objects; they fill it again",
        "**/wp-content/litespeed": "LiteSpeed Cache's optimized styles and scripts; made again on demand",
        "**/wp-content/et-cache": "Divi's static styles; made again on demand",
        "**/wp-content/upgrade": "updates while they are unpacked; nothing reads it afterwards",
        "**/wp-content/upgrade-temp-backup": "the old plugin or theme while its update runs",
    },
    "mediawiki": {
        # only the hashed folders that MediaWiki makes itself, since other applications have an images/thumb too
        "**/images/thumb/[0-9a-f]/[0-9a-f][0-9a-f]": "scaled images; made again from the originals on demand",
        "**/images/thumb/archive/[0-9a-f]/[0-9a-f][0-9a-f]": "scaled images of older versions, likewise",
        "**/images/cache/[0-9a-f]/[0-9a-f][0-9a-f]": "the file cache of whole pages ($wgUseFileCache)",
        "**/cache/l10n_cache-*": "compiled messages ($wgCacheDirectory); compiled again from the sources",
    },
}


def patterns(names: tuple[str, ...]) -> tuple[str, ...]:
    """The patterns of these presets, in order."""
    return tuple(pattern for name in names for pattern in PRESETS[name])
