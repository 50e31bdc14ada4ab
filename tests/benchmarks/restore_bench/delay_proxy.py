# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: Lifeboat contributors
"""A TCP proxy that makes a near server far: ``delay_proxy.py PORT HOST PORT MILLISECONDS``.

Every byte is handed on half the round trip after it came, in both directions, in order. A connection also pays one round
trip before its first byte, as TCP's handshake does (the kernel answers the client at once, so the proxy holds what it
sends first). Bandwidth is not limited: as much as comes is under way at the same time, up to 64 MiB each way; only who
reads slowly is sent no more. What a real line has beside that (loss, slow start, jitter) it does not have.
"""

from __future__ import annotations

import asyncio
import collections
import contextlib
import sys
import typing as t

WINDOW = 64 << 20  # bytes under way in one direction; at 15 ms that is 4 GB/s
UNREAD = 4 << 20  # bytes that a client or server may leave unread


class Pipe(asyncio.Protocol):
    """One end of a connection: what it receives goes to the other end, later."""

    def __init__(self, delay: float) -> None:
        self.delay = delay
        self.not_before = 0.0
        self.waiting: collections.deque[tuple[float, bytes | None]] = collections.deque()
        self.size = 0
        self.timer = False
        self.unread = False  # the other end does not take what it is given
        self.transport: asyncio.Transport | None = None
        self.other: Pipe | None = None
        self.loop = asyncio.get_running_loop()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = t.cast(asyncio.Transport, transport)
        self.transport.set_write_buffer_limits(high=UNREAD)

    def pause_writing(self) -> None:
        if self.other is not None:
            self.other.unread = True
            self.other.steer()

    def resume_writing(self) -> None:
        if self.other is not None:
            self.other.unread = False
            self.other.steer()

    def steer(self) -> None:
        """Take more from this end, or no more for now."""
        if self.transport is None or self.transport.is_closing():
            return
        if self.size > WINDOW or self.unread:
            self.transport.pause_reading()
        else:
            self.transport.resume_reading()

    def data_received(self, data: bytes) -> None:
        self._later(data)

    def eof_received(self) -> bool:
        self._later(None)
        return True  # the other direction may go on

    def connection_lost(self, exc: Exception | None) -> None:
        if exc is not None or self.other is None or self.other.transport is None:
            self.waiting.clear()
            if self.other is not None and self.other.transport is not None:
                self.other.transport.abort()
        else:
            self._later(None)

    def release(self, other: Pipe) -> None:
        """The other end is there."""
        self.other = other
        self._deliver()

    def _later(self, data: bytes | None) -> None:
        self.waiting.append((max(self.loop.time(), self.not_before) + self.delay, data))
        self.size += len(data or b"")
        self.steer()
        if not self.timer:
            self._deliver()

    def _deliver(self) -> None:
        self.timer = False
        if self.other is None or self.other.transport is None:
            return  # release() comes back
        while self.waiting and self.waiting[0][0] <= self.loop.time():
            _due, data = self.waiting.popleft()
            self.size -= len(data or b"")
            if data is not None:
                self.other.transport.write(data)
            elif not self.other.transport.is_closing():
                with contextlib.suppress(OSError):  # it is gone already
                    self.other.transport.write_eof()
                if self.transport is not None and self.transport.is_closing():
                    self.other.transport.close()
        self.steer()
        if self.waiting:
            self.timer = True
            self.loop.call_at(self.waiting[0][0], self._deliver)


class Front(Pipe):
    """The client's end: it connects to the server and ends with it."""

    def __init__(self, delay: float, host: str, port: int) -> None:
        super().__init__(delay)
        self.server = (host, port)
        self.task: asyncio.Task[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self.not_before = self.loop.time() + 2 * self.delay  # the handshake
        self.task = self.loop.create_task(self._connect())

    async def _connect(self) -> None:
        assert self.transport is not None
        try:
            _transport, back = await self.loop.create_connection(lambda: Pipe(self.delay), *self.server)
        except OSError:
            self.transport.abort()
            return
        back.release(self)
        self.release(back)


async def serve(port: int, host: str, server_port: int, milliseconds: float) -> None:
    """Listen on loopback for ever."""
    loop = asyncio.get_running_loop()
    server = await loop.create_server(
        lambda: Front(milliseconds / 2000, host, server_port), "127.0.0.1", port, backlog=1024
    )
    print(f"listening on {server.sockets[0].getsockname()[1]}", flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(serve(int(sys.argv[1]), sys.argv[2], int(sys.argv[3]), float(sys.argv[4])))
