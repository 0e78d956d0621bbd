"""Who may ask, and what every answer carries: the outermost layer, which also logs and counts.

A page of anybody's that the user has open can send requests to this machine too. So a request that says it comes from
another origin is refused, and on this machine alone so is one for another host's name (which may point here); answers carry
no CORS headers. No name of a file, and no id of a job, comes into the log.
"""

from __future__ import annotations

import hmac
import logging
import time
from http.cookies import CookieError, SimpleCookie
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from .metrics import Metrics

_log = logging.getLogger("analogy.serve")

COOKIE = "analogy-token"
OPEN_TO_ALL = ("/health", "/sign-in", "/static/")
"""Paths (and what is below a folder) that need no token: they show nothing of anybody's."""
_LOCAL = ("127.0.0.1", "localhost", "[::1]")
_HEADERS = {
    "content-security-policy": "default-src 'self'; img-src 'self' blob: data:; style-src 'self'; object-src 'none'; "
    "base-uri 'none'; form-action 'self'; frame-ancestors 'none'",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
}


def is_local(host: str) -> bool:
    """Whether an address to listen at is reached from this machine alone."""
    return host in ("localhost", "::1") or host.startswith("127.")


class Guard:
    """The layer around the application.

    token   what a request has to bring (`Authorization: Bearer`, or the page's cookie); empty for none
    local   whether the service listens to this machine alone
    """

    def __init__(self, app: ASGIApp, token: str, local: bool, metrics: Metrics):
        self.app, self.token, self.local, self.metrics = app, token, local, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        begin, status = time.monotonic(), 500

        async def answer(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    headers[name] = value
                headers.setdefault("cache-control", "no-store")
            await send(message)

        try:
            refusal = self._refusal(scope)
            await (refusal or self.app)(scope, receive, answer)
        finally:
            route = getattr(scope.get("route"), "path", "-")
            if scope["path"].startswith("/static/"):
                route = "/static"
            self.metrics.requests.labels(scope["method"], route, status).inc()
            client = scope["client"][0] if scope.get("client") else "-"
            _log.info("%s %s %s %d %.3f s", client, scope["method"], route, status, time.monotonic() - begin)

    def _refusal(self, scope: Scope) -> Response | None:
        headers = Headers(scope=scope)
        host = headers.get("host", "")
        if self.local and _without_port(host) not in _LOCAL:
            return JSONResponse({"detail": "this service is for this machine alone, by the name localhost"}, 403)
        origin = headers.get("origin")
        if origin is not None and urlsplit(origin).netloc != host:
            return JSONResponse({"detail": "requests from pages of other origins are refused"}, 403)
        path: str = scope["path"]
        if not self.token or path in OPEN_TO_ALL or path.startswith("/static/") or self._knows(headers):
            return None
        if path == "/" and scope["method"] in ("GET", "HEAD"):
            return RedirectResponse("/sign-in", 303)
        return JSONResponse(
            {"detail": "a token is needed: Authorization: Bearer TOKEN"}, 401, {"www-authenticate": "Bearer"}
        )

    def _knows(self, headers: Headers) -> bool:
        kind, _, given = headers.get("authorization", "").partition(" ")
        if kind.lower() != "bearer":
            try:
                cookie = SimpleCookie(headers.get("cookie", "")).get(COOKIE)
            except CookieError:
                return False
            given = cookie.value if cookie else ""
        return same(given.strip(), self.token)


def same(given: str, token: str) -> bool:
    """Whether a token is the right one; how long that takes tells nothing."""
    return hmac.compare_digest(given.encode(errors="replace"), token.encode())


def _without_port(host: str) -> str:
    return host.rsplit(":", 1)[0] if host.rpartition(":")[2].isdigit() else host
