"""Bounds of what comes in: a place in the queue before the body is read, and a time in which it has to come.

A form without pictures, that of the page on which one signs in, is small and quick.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress

from python_multipart.multipart import parse_options_header
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from .limits import Limits
from .pool import ENDING, Pool

ORDERS = ("/v1/transfer", "/v1/jobs")
"""Paths to which pictures are sent (POST)."""
_TAIL = 1 << 12
"""Bytes at the end of a form in which its last boundary is looked for."""
_LOOK = 0.5
"""Seconds between two looks at whether the service ends, while a body comes in."""


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
        pool, order = self.pool, scope["path"].removeprefix(scope["root_path"]) in ORDERS
        most, seconds = self.limits.form_bytes, self.limits.head_seconds
        if order:
            most, seconds = self.limits.upload_bytes, self.limits.upload_seconds
        refusal = None
        if order and pool.closing:
            refusal = _refusal(503, ENDING, 5)
        elif order and not pool.ready:
            refusal = _refusal(503, "the worker is starting; ask again later", 5)
        elif order and pool.full:
            words = f"{self.limits.queue} jobs are waiting already; ask again later"
            refusal = _refusal(429, words, pool.retry_after())
        else:
            told = Headers(scope=scope).get("content-length", "")
            if told.isdecimal() and int(told) > most:
                refusal = _refusal(413, _too_large(f"{int(told) / (1 << 20):.1f} MB", most))
        if refusal:
            await refusal(scope, receive, send)
            return
        bounded = self._bounded(receive, most, seconds, _last_boundary(Headers(scope=scope)))
        if not order:
            await self.app(scope, bounded, send)
            return
        place = Place(pool)
        scope.setdefault("state", {})["place"] = place
        try:
            await self.app(scope, bounded, send)
        finally:
            place.give_back()

    def _bounded(self, receive: Receive, most: int, seconds: float, last: bytes) -> Receive:
        """Return `receive`, which raises HTTPException for a body that does not come as it should.

        It raises 400 if the body ends without its `last` boundary, 408 if it takes too long or
        nothing of it comes for `Limits.head_seconds`, 413 if it is too large, and 503 if the
        service ends before the body is whole.
        """
        heard, came, whole, tail = time.monotonic(), 0, False, b""
        until = heard + seconds

        async def receive_in_time() -> Message:
            nonlocal heard, came, whole, tail
            if whole:  # then the end of the connection is what is waited for
                return await receive()
            message: Message | None = None
            while message is None:
                now, silence = time.monotonic(), self.limits.head_seconds
                left = min(until, heard + silence) - now
                if self.pool.closing:
                    raise HTTPException(503, ENDING, {"retry-after": "5"})
                if now >= until:
                    raise HTTPException(408, f"the request did not come within {seconds:g} seconds")
                if left <= 0:
                    raise HTTPException(408, f"nothing of the request came for {silence:g} seconds")
                with suppress(TimeoutError):
                    async with asyncio.timeout(min(left, _LOOK)):
                        message = await receive()
            body, heard = message.get("body", b""), time.monotonic()
            came += len(body)
            if came > most:
                raise HTTPException(413, _too_large("more", most))
            tail = (tail + body)[-_TAIL:]
            whole = not message.get("more_body", False)
            if whole and message["type"] == "http.request" and last not in tail:
                raise HTTPException(400, "the form is cut off: its last boundary is missing")
            return message

        return receive_in_time


def _last_boundary(headers: Headers) -> bytes:
    """Return what a form in parts ends with, from its type; b"" for any other body."""
    kind, options = parse_options_header(headers.get("content-type"))
    boundary = options.get(b"boundary", b"")
    return b"--" + boundary + b"--" if kind == b"multipart/form-data" and boundary else b""


def _too_large(size: str, most: int) -> str:
    bound = f"{most >> 20} MB" if most >> 20 else f"{most >> 10} kB"
    return f"the request has {size}, and at most {bound} are taken"


def _refusal(status: int, words: str, seconds: int | None = None) -> JSONResponse:
    return JSONResponse({"detail": words}, status, {"retry-after": str(seconds)} if seconds else None)
