"""The whole service: it joins the folder, the workers, the routes and the server."""

from __future__ import annotations

import asyncio
import logging
import socket
from dataclasses import replace

from ...engine_arguments import EngineArguments
from ...errors import AnalogyError, reason
from .api import build
from .connections import affordable
from .folder import keep_alive, private_folder
from .guard import Guard, is_local
from .jobs import Jobs
from .limits import Limits
from .metrics import Metrics
from .pool import Pool
from .server import Server

_log = logging.getLogger("analogy.serve")
_SWEEP = 10.0
"""Time between two removals of old jobs, in seconds."""


class Service:
    """Service with its folder, its workers and its server.

    Parameters
    ----------
    limits : Limits
        The limits. The number of connections is lowered if the system allows fewer.
    engine : EngineArguments
        The arguments of the engine of each worker.
    token : str
        The secret that clients must send; "" for none.
    grace : float
        Longest time, in seconds, that the service waits for running jobs before it ends.
    root : str
        The path under which a proxy serves the application; "" for none.
    """

    def __init__(self, limits: Limits, engine: EngineArguments, token: str, grace: float, root: str):
        self.limits = replace(limits, connections=affordable(limits.connections))
        self.engine, self.token, self.grace, self.root = engine, token, grace, root

    async def run(self, host: str, port: int) -> None:
        """Serve until a signal arrives. Raises `AnalogyError` if the service cannot start."""
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
                self._log_address(host, listening, local)
                guarded = Guard(api, self.token, local, metrics, self.root)
                await Server(guarded, pool, self.grace, self.limits).serve(sockets=[listening])
                sweeping.cancel()
            finally:
                pool.stop()

    def _log_address(self, host: str, listening: socket.socket, local: bool) -> None:
        """Log the address of the page, and warn if the service listens to other machines."""
        address, port = listening.getsockname()[:2]
        if local:  # the name of this machine may mean such an address, which clients cannot use by name
            host = address
        name = f"[{host}]" if ":" in host else host
        if not local and not self.token:
            _log.warning(
                "everybody who can reach this machine can use the service and see results; set a token (ANALOGY_TOKEN)"
            )
        if not local:
            _log.warning("requests and results are not encrypted; put the service behind a proxy with TLS")
        _log.info("open http://%s:%d", name, port)


async def _sweep(jobs: Jobs) -> None:
    """Remove old jobs, and keep the folder alive, every `_SWEEP` seconds until cancelled."""
    while True:
        await asyncio.sleep(_SWEEP)
        jobs.sweep()
        keep_alive(jobs.folder)


def _listen(host: str, port: int) -> socket.socket:
    """Return a listening socket. Raises `AnalogyError` if the address or port is not available."""
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        return socket.create_server((host, port), family=family, backlog=2048)
    except OSError as error:
        raise AnalogyError(
            f"cannot listen on {host}:{port} ({reason(error)}); choose another --host or --port"
        ) from error
