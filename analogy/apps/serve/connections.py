"""Connections of strangers: how many there may be, and how long one may keep the service waiting.

uvicorn bounds the time between two requests of a connection alone, and counts a connection only
once a request has come.
"""

from __future__ import annotations

import asyncio
import logging
import time
from contextlib import suppress
from typing import Any, cast

from h11 import SEND_BODY, LocalProtocolError
from uvicorn.protocols.http.h11_impl import H11Protocol

from .limits import Limits

_log = logging.getLogger("analogy.serve")

_FILES = 4
"""Open files for each connection: itself, one that is about to be accepted, a file that is sent, and the rest's share."""
_PIECE = 1 << 14
"""Bytes that are parsed at a time: of what a client sends in tiny chunks, no more than that before it is ended."""
_LEAST_CHUNK = 64
"""Least mean length of the chunks of a body, in bytes. To parse a chunk takes as long as to parse ten thousand bytes."""
_QUIET = 60.0
"""Seconds in which the log has one line, at most, about connections that cannot be accepted."""


def affordable(wanted: int) -> int:
    """Return how many connections the process can have: `wanted`, or fewer where its open files would not suffice.

    The process's own bound of open files is raised for that as far as the system lets it.
    """
    try:
        import resource
    except ImportError:  # on Windows, where open files are not bound
        return wanted
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    unbound = resource.RLIM_INFINITY
    need = _FILES * wanted
    if soft != unbound and soft < need:
        with suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (need if hard == unbound else min(need, hard), hard))
        soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return wanted if soft == unbound else max(1, min(wanted, soft // _FILES))


class Connection(H11Protocol):
    """A connection, which is ended when its client keeps it waiting for too long.

    limits  of which `connections`, `head_seconds` and `stall_seconds` count here
    """

    def __init__(self, *args: Any, limits: Limits, **options: Any):
        super().__init__(*args, **options)
        self.limits = limits
        self._idle_since = self._heard = self._moved = time.monotonic()
        self._unsent = self._chunked = self._lines = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Take the connection. Where there are too many, the one whose client was silent for longest is ended."""
        self._idle_since = self._heard = self._moved = time.monotonic()
        super().connection_made(transport)
        if len(self.connections) > self.limits.connections:
            every = cast("set[Connection]", self.connections)
            min((each for each in every if each.waits), key=lambda each: each._heard, default=self).end()

    def data_received(self, data: bytes) -> None:
        """Take what the client sent, unless it is a body in tiny chunks, which would keep the service busy for nothing."""
        self._heard = time.monotonic()
        for first in range(0, len(data), _PIECE):
            piece = data[first : first + _PIECE]
            if self._in_chunks:
                self._chunked += len(piece)
                self._lines += piece.count(b"\r\n")
                if self._chunked > _PIECE and self._lines > 2 * self._chunked / _LEAST_CHUNK:  # two for each chunk
                    self.end()
            else:
                self._chunked = self._lines = 0
            if self.transport.is_closing():
                return
            super().data_received(piece)

    def send_400_response(self, msg: str) -> None:
        """Answer what cannot be understood, and let the application answer no more."""
        try:
            super().send_400_response(msg)
        except LocalProtocolError:  # an answer has been sent already
            self.end()
        if self.cycle is not None:
            self.cycle.disconnected = True
            self.cycle.message_event.set()

    @property
    def _in_chunks(self) -> bool:
        """Return whether a body comes in chunks, be its request answered already or not."""
        return self.conn.their_state is SEND_BODY and any(name == b"transfer-encoding" for name, _ in self.headers)

    def resume_writing(self) -> None:
        self._moved = time.monotonic()
        super().resume_writing()

    def on_response_complete(self) -> None:
        self._idle_since = time.monotonic()
        super().on_response_complete()

    @property
    def idle(self) -> bool:
        """Return whether no request is being answered."""
        return self.cycle is None or self.cycle.response_complete

    @property
    def waits(self) -> bool:
        """Return whether it is the client's turn: to send a request, to send the rest of one, or to take what it asked for."""
        return self.idle or self.cycle.more_body or self.flow.write_paused

    def check(self) -> None:
        """End the connection if its client takes nothing of an answer, or sends no request, for too long."""
        now, unsent = time.monotonic(), self.transport.get_write_buffer_size()
        if unsent < self._unsent or not self._unsent:
            self._moved = now
        self._unsent = unsent
        stalled = bool(unsent) and now - self._moved > self.limits.stall_seconds
        silent = not unsent and self.idle and now - self._idle_since > self.limits.head_seconds
        if stalled or silent:
            self.end()

    def end(self) -> None:
        """End the connection at once, whatever is still to be sent. It does not count any more."""
        self.connections.discard(self)
        self.transport.abort()


class Failures:
    """Handler of the errors of an event loop that nobody catches: one line in the log for what strangers can bring about."""

    def __init__(self) -> None:
        self._said = -_QUIET

    def __call__(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """Log an error as the loop does; of connections that cannot be accepted, one line a minute."""
        if "socket.accept()" not in context.get("message", ""):
            loop.default_exception_handler(context)
        elif time.monotonic() - self._said > _QUIET:
            self._said = time.monotonic()
            _log.error("a connection cannot be accepted (%s); it is tried again each second", context.get("exception"))
