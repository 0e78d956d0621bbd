"""The outermost layer of the service: it checks and logs requests, and adds headers to answers.

Any web page that the user has open can send requests to this machine. So the guard refuses a
request from a page of another origin. If the service listens only to this machine and needs no
token, the guard also refuses a request whose `Host` is the name of another machine, since the owner
of such a name can let it point to this machine. Answers have no CORS headers, so that pages of
other origins cannot read them. The log contains no file name and no id of a job. The only text in
it that a client may choose is the address of the client, which is cut to `_LONGEST_ADDRESS`
characters.
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
"""Name of the cookie with which a browser proves that the user gave the token."""
OPEN_TO_ALL = ("/health", "/sign-in", "/static/")
"""Paths and folders that need no token, since they show no user data."""
PAGES = ("/", "/docs")
"""Paths at which a browser without the token is redirected to `/sign-in`."""
_LONGEST_ADDRESS = 45
"""Maximum length of a client's address in the log, in characters.

Behind a proxy the address comes from a header, into which a client can write any text.
"""
_HEADERS = {
    "content-security-policy": "default-src 'self'; img-src 'self' blob: data:; style-src 'self'; object-src 'none'; "
    "base-uri 'none'; form-action 'self'; frame-ancestors 'none'",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "referrer-policy": "same-origin",  # with "no-referrer", a browser sends the form of `/sign-in` with `Origin: null`
    "x-content-type-options": "nosniff",
}


def is_local(host: str) -> bool:
    """Return whether a name or an address means this machine (localhost or loopback)."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


class Guard:
    """Layer around the application that checks, logs and counts requests, and sets headers.

    Parameters
    ----------
    app : ASGIApp
        The application.
    token : str
        The token that a request must have; "" for none. A program sends it in the header
        `Authorization: Bearer`, and a browser sends its digest in a cookie (see `pass_for`).
    local : bool
        True if the service listens only to this machine.
    metrics : Metrics
        The metrics of the service.
    root : str
        The path under which a proxy serves the application; "" for none. The guard accepts requests
        with and without this path, since some proxies remove it.
    """

    def __init__(self, app: ASGIApp, token: str, local: bool, metrics: Metrics, root: str = ""):
        self.app, self.token, self.local, self.metrics, self.root = app, token, local, metrics, root

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Refuse a request, or pass it to the application (a HEAD request as GET)."""
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
        """Return the error or the redirect for a request, or None if it may pass."""
        host = headers.get("host", "").lower()
        if self.local and not self.token and not is_local(_name(host)):
            return JSONResponse(
                {"detail": "without a token the service answers only requests to localhost; start it with a token"},
                403,
            )
        origin = headers.get("origin")
        if origin is not None and (not host or origin.lower().partition("://")[2] != host):
            return JSONResponse(
                {"detail": "the request comes from a page of another origin; send it from a page of this service"}, 403
            )
        if not path:
            return RedirectResponse(f"{self.root}/")
        if not self.token or path in OPEN_TO_ALL or path.startswith("/static/") or self._has_token(headers):
            return None
        if path in PAGES and method == "GET":
            return RedirectResponse(f"{self.root}/sign-in", 303)
        return JSONResponse(
            {"detail": "the token is missing or wrong; send the header Authorization: Bearer TOKEN"},
            401,
            {"www-authenticate": "Bearer"},
        )

    def _has_token(self, headers: Headers) -> bool:
        """Return whether a request has the right token, in its header or in its cookie."""
        kind, _, given = headers.get("authorization", "").partition(" ")
        if kind.lower() == "bearer":
            return same(given.strip(), self.token)
        # `SimpleCookie` would stop at the first cookie that it cannot read, and other services of
        # this host set such cookies.
        cookies = (each.strip().partition("=") for each in headers.get("cookie", "").split(";"))
        return any(name == COOKIE and same(value, pass_for(self.token)) for name, _, value in cookies)


def same(given: str, token: str) -> bool:
    """Return whether two tokens are equal, in a time that does not reveal where they differ."""
    return hmac.compare_digest(given.encode(errors="replace"), token.encode())


def pass_for(token: str) -> str:
    """Return the content of the cookie, which is a digest of the token.

    The cookie does not contain the token itself, since a token can have characters that a cookie
    cannot have.
    """
    return hmac.digest(token.encode(), COOKIE.encode(), "sha256").hex()


def _name(host: str) -> str:
    """Return the name or address in a `Host` header, without the port; "" for an invalid header."""
    with suppress(ValueError):
        parts = urlsplit(f"//{host}")
        if (
            parts.netloc == host and parts.username is None and parts.port != 0
        ):  # `port` raises ValueError if the port is not a number
            return parts.hostname or ""
    return ""
