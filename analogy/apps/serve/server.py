"""uvicorn, made to end well: what runs may finish, and what does not is told."""

from __future__ import annotations

import asyncio
import logging
import socket

import uvicorn
from starlette.types import ASGIApp

from .pool import Pool

_log = logging.getLogger("analogy.serve")


class Server(uvicorn.Server):
    """A server that drains its pool before it closes its connections.

    grace  seconds that running jobs get to finish
    """

    def __init__(self, app: ASGIApp, pool: Pool, grace: float, **options: object):
        super().__init__(
            uvicorn.Config(
                app,
                log_config=None,
                access_log=False,
                server_header=False,
                lifespan="on",
                timeout_graceful_shutdown=5,
                h11_max_incomplete_event_size=1 << 16,
                **options,  # type: ignore[arg-type]
            )
        )
        self.pool, self.grace = pool, grace

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
        await super().shutdown(sockets)
