"""Connections of strangers: how many there may be, and how long one may keep the service waiting.

uvicorn bounds the time between two requests of a connection alone, and counts a connection only once a request has come.
"""

from __future__ import annotations

import asyncio
import logging
import time
from contextlib import suppress
from typing import Any, cast

from uvicorn.protocols.http.h11_impl import H11Protocol

from .limits import Limits

_log = logging.getLogger("analogy.serve")

_FILES = 4
"""Open files for each connection: itself, one that is about to be accepted, a file that is sent, and the rest's share."""
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
        self._unsent = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Take the connection. Where there are too many, the one whose client was silent for longest is ended."""
        self._idle_since = self._heard = self._moved = time.monotonic()
        super().connection_made(transport)
        if len(self.connections) > self.limits.connections:
            every = cast("set[Connection]", self.connections)
            min((each for each in every if each.waits), key=lambda each: each._heard, default=self).end()

    def data_received(self, data: bytes) -> None:
        self._heard = time.monotonic()
        super().data_received(data)

    def resume_writing(self) -> None:
        self._moved = time.monotonic()
        super().resume_writing()

    def on_response_complete(self) -> None:
        self._idle_since = time.monotonic()
        super().on_response_complete()

    @property
    def idle(self) -> bool:
        """Whether no request is being answered."""
        return self.cycle is None or self.cycle.response_complete

    @property
    def waits(self) -> bool:
        """Whether it is the client's turn: to send a request, to send the rest of one, or to take what it asked for."""
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
    """What the event loop does with an error that nobody catches: a line in the log for what strangers can bring about."""

    def __init__(self) -> None:
        self._said = -_QUIET

    def __call__(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """Log an error as the loop does; of connections that cannot be accepted, one line a minute."""
        if "socket.accept()" not in context.get("message", ""):
            loop.default_exception_handler(context)
        elif time.monotonic() - self._said > _QUIET:
            self._said = time.monotonic()
            _log.error("a connection cannot be accepted (%s); it is tried again each second", context.get("exception"))
