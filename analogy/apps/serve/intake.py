"""How much may come in: a place in the queue before the body is read, and a time in which it has to come."""

from __future__ import annotations

import asyncio
import time

from starlette.datastructures import Headers
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
        if scope["type"] != "http" or scope["method"] != "POST":
            await self.app(scope, receive, send)
            return
        pool, order = self.pool, scope["path"] in ORDERS
        refusal = None
        if order and (pool.closing or not pool.ready):
            words = "the service is being shut down" if pool.closing else "the worker is starting"
            refusal = _refusal(503, f"{words}; ask again later", 5)
        elif order and pool.full:
            words = f"{self.limits.queue} jobs are waiting already; ask again later"
            refusal = _refusal(429, words, pool.retry_after())
        else:
            told = Headers(scope=scope).get("content-length", "")
            if told.isdecimal() and int(told) > self.limits.upload_bytes:
                refusal = _refusal(413, self._too_large(f"{int(told) / (1 << 20):.1f} MB"))
        if refusal:
            await refusal(scope, receive, send)
            return
        if not order:
            await self.app(scope, self._bounded(receive), send)
            return
        place = Place(pool)
        scope.setdefault("state", {})["place"] = place
        try:
            await self.app(scope, self._bounded(receive), send)
        finally:
            place.give_back()

    def _bounded(self, receive: Receive) -> Receive:
        """`receive`, which raises HTTPException (408, 413) if the body takes too long, or is too large."""
        until, came, whole = time.monotonic() + self.limits.upload_seconds, 0, False

        async def receive_in_time() -> Message:
            nonlocal came, whole
            if whole:  # then the end of the connection is what is waited for
                return await receive()
            try:
                async with asyncio.timeout(max(0.0, until - time.monotonic())):
                    message = await receive()
            except TimeoutError:
                words = f"the pictures did not come within {self.limits.upload_seconds:g} seconds"
                raise HTTPException(408, words) from None
            came += len(message.get("body", b""))
            if came > self.limits.upload_bytes:
                raise HTTPException(413, self._too_large("more"))
            whole = not message.get("more_body", False)
            return message

        return receive_in_time

    def _too_large(self, size: str) -> str:
        return f"the request has {size}, and at most {self.limits.upload_bytes >> 20} MB are taken"


def _refusal(status: int, words: str, seconds: int | None = None) -> JSONResponse:
    return JSONResponse({"detail": words}, status, {"retry-after": str(seconds)} if seconds else None)
