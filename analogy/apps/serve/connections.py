"""The connections of the service, with limits on their number and on how slow clients may be.

uvicorn limits only the time between two requests of a connection, and counts a connection only
after its first request. Without further limits, slow clients could use up all connections.
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
"""Number of open files that the service needs for each connection.

They are the socket of the connection, the socket of a connection that is not yet accepted, a file
that is sent, and one in reserve.
"""
_PIECE = 1 << 14
"""Number of bytes that are parsed between two checks for tiny chunks."""
_LEAST_CHUNK = 64
"""Smallest allowed mean size of the chunks of a body, in bytes.

Parsing one chunk takes as long as parsing 10 kB of a body without chunks.
"""
_LOG_INTERVAL = 60.0
"""Minimum time between two log lines about connections that cannot be accepted, in seconds."""


def affordable(wanted: int) -> int:
    """Return the number of connections that the process can have, at most `wanted`.

    Each connection needs open files. If the process may open too few for `wanted` connections, the
    function raises this limit as far as the system allows.
    """
    try:
        import resource
    except ImportError:  # Windows has no such limit
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
    """Connection that ends when its client keeps it waiting for too long.

    Parameters
    ----------
    *args, **options
        The arguments of `H11Protocol`.
    limits : Limits
        The limits; `connections`, `head_seconds` and `stall_seconds` are used.
    """

    def __init__(self, *args: Any, limits: Limits, **options: Any):
        super().__init__(*args, **options)
        self.limits = limits
        self._idle_since = self._last_received = self._last_taken = time.monotonic()
        self._unsent = self._chunked = self._lines = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Accept the connection. If there are then too many connections, end one of them.

        Among the connections that wait for their client, this is the one that has received nothing
        for longest.
        """
        self._idle_since = self._last_received = self._last_taken = time.monotonic()
        super().connection_made(transport)
        if len(self.connections) > self.limits.connections:
            every = cast("set[Connection]", self.connections)
            min(
                (each for each in every if each.waits_for_client), key=lambda each: each._last_received, default=self
            ).end()

    def data_received(self, data: bytes) -> None:
        """Parse bytes from the client. End the connection if a body arrives in tiny chunks."""
        self._last_received = time.monotonic()
        for first in range(0, len(data), _PIECE):
            piece = data[first : first + _PIECE]
            if self._in_chunks:
                self._chunked += len(piece)
                self._lines += piece.count(b"\r\n")
                if (
                    self._chunked > _PIECE and self._lines > 2 * self._chunked / _LEAST_CHUNK
                ):  # each chunk has two line ends
                    self.end()
            else:
                self._chunked = self._lines = 0
            if self.transport.is_closing():
                return
            super().data_received(piece)

    def send_400_response(self, msg: str) -> None:
        """Answer a malformed request with 400, and stop the answer of the application."""
        try:
            super().send_400_response(msg)
        except LocalProtocolError:  # the application has begun its answer
            self.end()
        if self.cycle is not None:
            self.cycle.disconnected = True
            self.cycle.message_event.set()

    @property
    def _in_chunks(self) -> bool:
        """True if a chunked body is arriving, even if the request has already been answered."""
        return self.conn.their_state is SEND_BODY and any(name == b"transfer-encoding" for name, _ in self.headers)

    def resume_writing(self) -> None:
        """Record that the client has read some of the answer."""
        self._last_taken = time.monotonic()
        super().resume_writing()

    def on_response_complete(self) -> None:
        """Record that the connection is idle from now on."""
        self._idle_since = time.monotonic()
        super().on_response_complete()

    @property
    def idle(self) -> bool:
        """True if every request on the connection has been answered."""
        return self.cycle is None or self.cycle.response_complete

    @property
    def waits_for_client(self) -> bool:
        """True if the client has to act next, by sending more of a request or reading an answer."""
        return self.idle or self.cycle.more_body or self.flow.write_paused

    def check(self) -> None:
        """End the connection if the client keeps it waiting for too long.

        This is the case if the client reads nothing of an answer for `stall_seconds`, or has not
        sent the whole head of its next request after `head_seconds`.
        """
        now, unsent = time.monotonic(), self.transport.get_write_buffer_size()
        if unsent < self._unsent or not self._unsent:
            self._last_taken = now
        self._unsent = unsent
        stalled = bool(unsent) and now - self._last_taken > self.limits.stall_seconds
        silent = not unsent and self.idle and now - self._idle_since > self.limits.head_seconds
        if stalled or silent:
            self.end()

    def end(self) -> None:
        """Close the connection at once, even if an answer is not yet sent."""
        self.connections.discard(self)
        self.transport.abort()


class Failures:
    """Handler for uncaught errors of an event loop, which logs failed `accept` calls rarely."""

    def __init__(self) -> None:
        self._last_logged = -_LOG_INTERVAL

    def __call__(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """Log an error as the event loop would, but failures of `accept` at most once a minute."""
        if "socket.accept()" not in context.get("message", ""):
            loop.default_exception_handler(context)
        elif time.monotonic() - self._last_logged > _LOG_INTERVAL:
            self._last_logged = time.monotonic()
            _log.error(
                "a connection cannot be accepted (%s); the service tries again every second", context.get("exception")
            )
