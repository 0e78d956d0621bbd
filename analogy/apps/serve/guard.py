"""Who may ask, and what every answer carries: the outermost layer, which also logs and counts.

A page of anybody's that the user has open can send requests to this machine too. So a request that
says it comes from another origin is refused, and so is, where no token is needed, one for another
host's name (which may point here); answers carry no CORS headers. No name of a file, no id of a
job, and no word that a client makes up comes into the log.
"""

from __future__ import annotations

import hmac
import ipaddress
import logging
import time
from contextlib import suppress
from http import HTTPMethod
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from .metrics import Metrics

_log = logging.getLogger("analogy.serve")

COOKIE = "analogy-token"
OPEN_TO_ALL = ("/health", "/sign-in", "/static/")
"""Paths (and what is below a folder) that need no token: they show nothing of anybody's."""
PAGES = ("/", "/docs")
"""Paths to which a browser without the token is sent to sign in."""
_LONGEST_ADDRESS = 45
"""Most characters of the address of a client; a proxy says in a header what that is."""
_HEADERS = {
    "content-security-policy": "default-src 'self'; img-src 'self' blob: data:; style-src 'self'; object-src 'none'; "
    "base-uri 'none'; form-action 'self'; frame-ancestors 'none'",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
}


def is_local(host: str) -> bool:
    """Return whether this is the name or an address by which each machine calls itself."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


class Guard:
    """The layer around the application.

    token  what a request has to bring (`Authorization: Bearer`, or the page's cookie); empty for none
    local  whether the service listens to this machine alone
    root   the path of a proxy below which the service is, "" for none; requests come with or without it
    """

    def __init__(self, app: ASGIApp, token: str, local: bool, metrics: Metrics, root: str = ""):
        self.app, self.token, self.local, self.metrics, self.root = app, token, local, metrics, root

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or let the application answer it. The application takes HEAD for GET."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        begin, status, method, path = time.monotonic(), 500, scope["method"], scope["path"]
        if f"{path}/".startswith(f"{self.root}/"):
            path = path.removeprefix(self.root)
        scope = dict(scope) | {"root_path": self.root, "path": self.root + path}
        if method == "HEAD":
            scope["method"] = "GET"

        async def answer(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    headers[name] = value
                headers.setdefault("cache-control", "no-store")
            await send(message)

        async def answer_head(message: Message) -> None:
            if message["type"] == "http.response.start":
                await answer(message)
                await answer({"type": "http.response.body"})

        try:
            refusal = self._refusal(Headers(scope=scope), scope["method"], path)
            await (refusal or self.app)(scope, receive, answer_head if method == "HEAD" else answer)
        finally:
            route = getattr(scope.get("route"), "path", "-")
            if path.startswith("/static/"):
                route = "/static"
            method = method if method in HTTPMethod.__members__ else "-"
            self.metrics.requests.labels(method, route, status).inc()
            client = scope["client"][0][:_LONGEST_ADDRESS] if scope.get("client") else "-"
            _log.info("%s %s %s %d %.3f s", client, method, route, status, time.monotonic() - begin)

    def _refusal(self, headers: Headers, method: str, path: str) -> Response | None:
        host = headers.get("host", "").lower()
        if self.local and not self.token and not is_local(_name(host)):
            return JSONResponse(
                {"detail": "without a token this service is for this machine alone, by the name localhost"}, 403
            )
        origin = headers.get("origin")
        if origin is not None and (not host or origin.lower().partition("://")[2] != host):
            return JSONResponse({"detail": "requests from pages of other origins are refused"}, 403)
        if not path:
            return RedirectResponse(f"{self.root}/")
        if not self.token or path in OPEN_TO_ALL or path.startswith("/static/") or self._knows(headers):
            return None
        if path in PAGES and method == "GET":
            return RedirectResponse(f"{self.root}/sign-in", 303)
        return JSONResponse(
            {"detail": "a token is needed: Authorization: Bearer TOKEN"}, 401, {"www-authenticate": "Bearer"}
        )

    def _knows(self, headers: Headers) -> bool:
        kind, _, given = headers.get("authorization", "").partition(" ")
        if kind.lower() == "bearer":
            return same(given.strip(), self.token)
        # Not by `SimpleCookie`, which gives up at the first cookie that it cannot read: other
        # services of this host set some.
        cookies = (each.strip().partition("=") for each in headers.get("cookie", "").split(";"))
        return any(name == COOKIE and same(value, pass_for(self.token)) for name, _, value in cookies)


def same(given: str, token: str) -> bool:
    """Return whether a token is the right one; how long that takes tells nothing."""
    return hmac.compare_digest(given.encode(errors="replace"), token.encode())


def pass_for(token: str) -> str:
    """Return what the page's cookie holds in place of a token, which may have characters that a cookie cannot have."""
    return hmac.digest(token.encode(), COOKIE.encode(), "sha256").hex()


def _name(host: str) -> str:
    """Return the name or address in a `Host` header, which may have a port behind it; "" if that is none."""
    with suppress(ValueError):
        parts = urlsplit(f"//{host}")
        if parts.netloc == host and parts.username is None and parts.port != 0:  # a port that is no number raises
            return parts.hostname or ""
    return ""
