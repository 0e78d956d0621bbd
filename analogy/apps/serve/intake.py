"""Limits on requests: the number of uploads, and the size and the transmission time of a body.

A request with pictures needs a free place in the queue before the service reads its body. The form
for signing in needs no place, and its limits on size and time are lower.
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

from ...errors import counted
from .limits import Limits
from .pool import ENDING, Pool

UPLOADS = ("/v1/transfer", "/v1/jobs")
"""Paths to which clients send pictures by POST."""
_TAIL = 1 << 12
"""Number of bytes at the end of a form that must contain its last boundary."""
_POLL = 0.5
"""Seconds between checks for shutdown while a request body is arriving."""


class Place:
    """Place in the queue that is reserved for a request while its body arrives."""

    def __init__(self, pool: Pool):
        self.pool, self.held = pool, True
        pool.receiving += 1

    def give_back(self) -> None:
        """Free the place. A second call has no effect."""
        if self.held:
            self.held = False
            self.pool.receiving -= 1


class Intake:
    """Layer of the application that limits uploads and all other POST requests.

    It refuses an upload with 429 if the queue is full, and with 503 if no worker is ready or the
    service is ending.
    """

    def __init__(self, app: ASGIApp, pool: Pool, limits: Limits):
        self.app, self.pool, self.limits = app, pool, limits

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Refuse a request, or pass it to the application with a limited body."""
        if scope["type"] != "http" or scope["method"] != "POST":
            await self.app(scope, receive, send)
            return
        pool, order = self.pool, scope["path"].removeprefix(scope["root_path"]) in UPLOADS
        most, seconds = self.limits.form_bytes, self.limits.head_seconds
        if order:
            most, seconds = self.limits.upload_bytes, self.limits.upload_seconds
        refusal = None
        if order and pool.closing:
            refusal = _refusal(503, ENDING, 5)
        elif order and not pool.ready:
            refusal = _refusal(503, "no worker is ready yet; try again later", 5)
        elif order and pool.full:
            words = f"the queue is full ({counted(self.limits.queue, 'job')}); try again later"
            refusal = _refusal(429, words, pool.retry_after())
        else:
            length = Headers(scope=scope).get("content-length", "")
            if length.isdecimal() and int(length) > most:
                refusal = _refusal(413, _too_large(f" ({int(length) / (1 << 20):.1f} MB)", most))
        if refusal:
            await refusal(scope, receive, send)
            return
        limited = self._limited(receive, most, seconds, _last_boundary(Headers(scope=scope)))
        if not order:
            await self.app(scope, limited, send)
            return
        place = Place(pool)
        scope.setdefault("state", {})["place"] = place
        try:
            await self.app(scope, limited, send)
        finally:
            place.give_back()

    def _limited(self, receive: Receive, most: int, seconds: float, last: bytes) -> Receive:
        """Return a `receive` that raises HTTPException if the body exceeds a limit.

        The status is 400 if the body ends without its `last` boundary, 408 if it takes more than
        `seconds` or pauses for `Limits.head_seconds`, 413 if it has more than `most` bytes, and 503
        if the service is ending before the body is complete.
        """
        last_received, received, whole, tail = time.monotonic(), 0, False, b""
        until = last_received + seconds

        async def receive_in_time() -> Message:
            nonlocal last_received, received, whole, tail
            if whole:  # the next message says that the connection has ended
                return await receive()
            message: Message | None = None
            while message is None:
                now, silence = time.monotonic(), self.limits.head_seconds
                left = min(until, last_received + silence) - now
                if self.pool.closing:
                    raise HTTPException(503, ENDING, {"retry-after": "5"})
                if now >= until:
                    raise HTTPException(408, f"the request did not arrive within {seconds:g} seconds; send less data")
                if left <= 0:
                    raise HTTPException(408, f"no part of the request arrived for {silence:g} seconds; send it again")
                with suppress(TimeoutError):
                    async with asyncio.timeout(min(left, _POLL)):
                        message = await receive()
            body, last_received = message.get("body", b""), time.monotonic()
            received += len(body)
            if received > most:
                raise HTTPException(413, _too_large("", most))
            tail = (tail + body)[-_TAIL:]
            whole = not message.get("more_body", False)
            if whole and message["type"] == "http.request" and last not in tail:
                raise HTTPException(400, "the form is cut off, since its last boundary is missing; send it again")
            return message

        return receive_in_time


def _last_boundary(headers: Headers) -> bytes:
    """Return the bytes with which a complete multipart form ends, or b"" for any other body."""
    kind, options = parse_options_header(headers.get("content-type"))
    boundary = options.get(b"boundary", b"")
    return b"--" + boundary + b"--" if kind == b"multipart/form-data" and boundary else b""


def _too_large(size: str, most: int) -> str:
    """Return the error for a request with more than `most` bytes.

    `size` is the size of the request: a space and the number of MB in brackets, or "" if unknown.
    """
    limit = f"{most >> 20} MB" if most >> 20 else f"{most >> 10} kB"
    return f"the request is too large{size}; send at most {limit}"


def _refusal(status: int, words: str, seconds: int | None = None) -> JSONResponse:
    return JSONResponse({"detail": words}, status, {"retry-after": str(seconds)} if seconds else None)
