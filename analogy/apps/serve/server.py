"""uvicorn, made to end well: what runs may finish, and what does not is told."""

from __future__ import annotations

import asyncio
import logging
import socket
from functools import partial
from typing import cast

import uvicorn
from starlette.types import ASGIApp

from .connections import Connection, Failures
from .limits import Limits
from .pool import Pool

_log = logging.getLogger("analogy.serve")

_BACKLOG = 64
"""Most connections that wait to be accepted, which the event loop accepts all at once."""
_CLOSING_SECONDS = 3.0
"""Seconds in which a client has to take the rest of its answer when the service ends. uvicorn gives 5, and then an error."""
_TICKS = 10
"""Calls of `Server.on_tick` in a second."""


class Server(uvicorn.Server):
    """A server that ends the connections of clients who keep it waiting, and drains its pool before it closes the others.

    grace  seconds that running jobs get to finish
    """

    def __init__(self, app: ASGIApp, pool: Pool, grace: float, limits: Limits):
        super().__init__(
            uvicorn.Config(
                app,
                http=partial(Connection, limits=limits),  # type: ignore[arg-type]  # a class, says uvicorn; it calls it
                ws="none",
                log_config=None,
                access_log=False,
                server_header=False,
                lifespan="on",
                backlog=min(_BACKLOG, limits.connections),
                timeout_graceful_shutdown=5,
                h11_max_incomplete_event_size=1 << 16,
            )
        )
        self.pool, self.grace = pool, grace

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin to accept connections."""
        asyncio.get_running_loop().set_exception_handler(Failures())
        await super().startup(sockets)

    async def on_tick(self, counter: int) -> bool:
        """Look after the connections, once a second. Return whether the service shall end."""
        if counter % _TICKS == 0:
            for each in list(self.server_state.connections):
                cast(Connection, each).check()
        return await super().on_tick(counter)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Finish what runs, drop what waits, say what was dropped, and close."""
        pool = self.pool
        if pool.running or pool.waiting:
            _log.info("ending: %d jobs run, %d wait and are dropped", pool.running, pool.waiting)
        draining = asyncio.ensure_future(pool.drain(self.grace))
        while not draining.done() and not self.force_exit:
            await asyncio.sleep(0.02)
        if not draining.done():  # asked once more
            draining.cancel()
            await pool.drain(0)
        _log.info("ended; %d jobs were dropped", pool.dropped)
        closing = asyncio.ensure_future(super().shutdown(sockets))
        if not self.force_exit:
            await asyncio.wait({closing}, timeout=_CLOSING_SECONDS)
        for each in list(self.server_state.connections):  # of clients that take nothing of their answers
            cast(Connection, each).end()
        await closing
