"""How much may come in: a place in the queue before the body is read, and a time in which it has to come."""

from __future__ import annotations

import asyncio
import time

from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from .limits import Limits
from .pool import Pool

ORDERS = ("/v1/transfer", "/v1/jobs")
"""Paths to which pictures are sent (POST)."""


class Place:
    """A request's place in the queue, while its body comes in."""

    def __init__(self, pool: Pool):
        self.pool, self.held = pool, True
        pool.receiving += 1

    def give_back(self) -> None:
        """It is a job's place now, or free again."""
        if self.held:
            self.held = False
            self.pool.receiving -= 1


class Intake:
    """A layer of the application: it refuses with 429 where the queue is full, with 503 where nobody would work."""

    def __init__(self, app: ASGIApp, pool: Pool, limits: Limits):
        self.app, self.pool, self.limits = app, pool, limits

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] != "POST" or scope["path"] not in ORDERS:
            await self.app(scope, receive, send)
            return
        pool = self.pool
        if pool.closing or not pool.ready:
            words = "the service is being shut down" if pool.closing else "the worker is starting"
            await _later(503, f"{words}; ask again later", 5)(scope, receive, send)
            return
        if pool.full:
            words = f"{self.limits.queue} jobs are waiting already; ask again later"
            await _later(429, words, pool.retry_after())(scope, receive, send)
            return
        until, whole = time.monotonic() + self.limits.upload_seconds, False

        async def receive_in_time() -> Message:
            nonlocal whole
            if whole:
                return await receive()
            try:
                async with asyncio.timeout(max(0.0, until - time.monotonic())):
                    message = await receive()
            except TimeoutError:
                raise HTTPException(
                    408, f"the pictures did not come within {self.limits.upload_seconds:g} seconds"
                ) from None
            whole = not message.get("more_body", False)
            return message

        place = Place(pool)
        scope.setdefault("state", {})["place"] = place
        try:
            await self.app(scope, receive_in_time, send)
        finally:
            place.give_back()


def _later(status: int, words: str, seconds: int) -> JSONResponse:
    return JSONResponse({"detail": words}, status, {"retry-after": str(seconds)})
