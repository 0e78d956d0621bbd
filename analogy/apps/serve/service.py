"""The service as a whole: folder, pool, routes and server put together, begun and ended."""

from __future__ import annotations

import asyncio
import logging
import socket
from dataclasses import replace

from ...engine_arguments import EngineArguments
from ...errors import AnalogyError, reason
from .api import build
from .connections import affordable
from .folder import private_folder
from .guard import Guard, is_local
from .jobs import Jobs
from .limits import Limits
from .metrics import Metrics
from .pool import Pool
from .server import Server

_log = logging.getLogger("analogy.serve")
_SWEEP = 10.0
"""Seconds between two looks at what is too old."""


class Service:
    """A service with its folder, its workers and its server.

    engine  the engine of each worker
    token   the secret that clients have to send; empty for none
    grace   seconds that running jobs get to finish at the end
    root    the path of a proxy below which it is; empty for none
    """

    def __init__(self, limits: Limits, engine: EngineArguments, token: str, grace: float, root: str):
        self.limits = replace(limits, connections=affordable(limits.connections))
        self.engine, self.token, self.grace, self.root = engine, token, grace, root

    async def run(self, host: str, port: int) -> None:
        """Serve until a signal comes. Raises `AnalogyError` if that cannot begin."""
        listening = _listen(host, port)
        local = is_local(listening.getsockname()[0])
        metrics = Metrics()
        with private_folder() as folder:
            jobs = Jobs(folder, self.limits)
            pool = Pool(jobs, self.limits, self.engine, metrics)
            api = build(pool, jobs, self.limits, metrics, self.token, self.root)
            try:
                await pool.start()
                sweeping = asyncio.create_task(_sweep(jobs))
                self._say(host, listening, local)
                guarded = Guard(api, self.token, local, metrics, self.root)
                await Server(guarded, pool, self.grace, self.limits).serve(sockets=[listening])
                sweeping.cancel()
            finally:
                pool.stop()

    def _say(self, host: str, listening: socket.socket, local: bool) -> None:
        port = listening.getsockname()[1]
        name = f"[{host}]" if ":" in host else host
        if not local and not self.token:
            _log.warning("whoever reaches this machine can use it and see results: give it a token (ANALOGY_TOKEN)")
        if not local:
            _log.warning("what goes over the network can be read there: put it behind a server with TLS")
        _log.info("open http://%s:%d", name, port)


async def _sweep(jobs: Jobs) -> None:
    while True:
        await asyncio.sleep(_SWEEP)
        jobs.sweep()


def _listen(host: str, port: int) -> socket.socket:
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        return socket.create_server((host, port), family=family, backlog=2048)
    except OSError as error:
        raise AnalogyError(f"cannot listen at {host}:{port} ({reason(error)}); choose another with --port") from error
