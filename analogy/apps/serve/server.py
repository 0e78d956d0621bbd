"""The server: uvicorn, with limited connections and a shutdown that lets running jobs finish."""

from __future__ import annotations

import asyncio
import logging
import socket
from functools import partial
from typing import cast

import uvicorn
from starlette.types import ASGIApp

from ...errors import counted
from .connections import Connection, Failures
from .limits import Limits
from .pool import Pool

_log = logging.getLogger("analogy.serve")

_BACKLOG = 64
"""Maximum number of connections that wait to be accepted.

The event loop accepts up to this number of connections in one step.
"""
_CLOSING_SECONDS = 3.0
"""Seconds that clients are given to read their answers when the service ends.

This is less than the 5 seconds after which uvicorn logs an error about unfinished answers.
"""
_TICKS = 10
"""Number of calls of `Server.on_tick` per second."""


class Server(uvicorn.Server):
    """Server that ends slow connections, and lets jobs finish before it closes.

    Parameters
    ----------
    app : ASGIApp
        The application.
    pool : Pool
        The workers.
    grace : float
        Longest time, in seconds, that the server waits for running jobs before it ends.
    limits : Limits
        The limits.
    """

    def __init__(self, app: ASGIApp, pool: Pool, grace: float, limits: Limits):
        super().__init__(
            uvicorn.Config(
                app,
                http=partial(Connection, limits=limits),  # type: ignore[arg-type]  # uvicorn only calls it
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
        """Begin to accept connections, and let `Failures` handle errors of the event loop."""
        asyncio.get_running_loop().set_exception_handler(Failures())
        await super().startup(sockets)

    async def on_tick(self, counter: int) -> bool:
        """Check all connections once a second. Return whether the service must end."""
        if counter % _TICKS == 0:
            for each in list(self.server_state.connections):
                cast(Connection, each).check()
        return await super().on_tick(counter)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Let running jobs finish, drop waiting jobs, log how many were dropped, and close."""
        pool = self.pool
        if pool.running or pool.waiting:
            _log.info(
                "the service is ending: it lets %s finish, and drops %s",
                counted(pool.running, "running job"),
                counted(pool.waiting, "waiting job"),
            )
        draining = asyncio.ensure_future(pool.drain(self.grace))
        while not draining.done() and not self.force_exit:
            await asyncio.sleep(0.02)
        if not draining.done():  # a second signal has come
            draining.cancel()
            await pool.drain(0)
        _log.info("the service has ended; it dropped %s", counted(pool.dropped, "job"))
        closing = asyncio.ensure_future(super().shutdown(sockets))
        if not self.force_exit:
            await asyncio.wait({closing}, timeout=_CLOSING_SECONDS)
        for each in list(self.server_state.connections):  # these clients have not read their answers
            cast(Connection, each).end()
        await closing
