# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: Lifeboat contributors
"""A small server of a test's own, in a thread, as long as the test needs it."""

from __future__ import annotations

import socketserver
import threading
import typing as t
from contextlib import contextmanager

Server = t.TypeVar("Server", bound=socketserver.BaseServer)


@contextmanager
def serving(server: Server) -> t.Iterator[Server]:
    """The server, which answers meanwhile."""
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
