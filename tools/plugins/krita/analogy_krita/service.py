"""Requests to the service that `analogy serve` starts, by the standard library alone."""

from __future__ import annotations

import http.client
import json
import time
import uuid
from contextlib import suppress
from typing import Any, Callable
from urllib import error, parse, request

ADDRESS = "http://127.0.0.1:8000"
"""The address at which `analogy serve` listens by default."""
_PATIENCE = 130.0
"""Seconds that the service may take for an answer; it accepts an upload for up to 120."""
_LOOK = 0.25
"""Seconds between two looks at a job."""


class ServiceError(Exception):
    """Error about the service or what was asked of it: one sentence that says what to do."""


class CancelledError(Exception):
    """Exception that ends work which the user has cancelled."""


class Service:
    """A service at an address. Raises `ServiceError` for an address that is none.

    token  the secret that the service may want, its ANALOGY_TOKEN; empty for none
    """

    def __init__(self, address: str = ADDRESS, token: str = ""):
        self.address = address.strip().rstrip("/")
        parts = parse.urlsplit(self.address)
        if parts.scheme not in ("http", "https") or not parts.netloc:
            raise ServiceError(f"'{address}' is no address of a service; give one like {ADDRESS}.")
        self._headers = {"Authorization": f"Bearer {token}"} if token else {}
        # Straight to the service, which is on this machine or near it: a proxy for the web would
        # not find it.
        self._opener = request.build_opener(request.ProxyHandler({}))

    def offer(self) -> dict[str, Any]:
        """Return what `GET /v1/settings` answers: among others `settings` and `presets`, lists of dicts with name and help."""
        return self._json("GET", "/v1/settings")

    def make(
        self,
        pictures: dict[str, bytes],
        fields: dict[str, str],
        step: Callable[[str, float], None],
        cancelled: Callable[[], bool],
    ) -> bytes:
        """Return A' as a PNG file.

        pictures   field of the form (a, b_prime, mask_a, mask_b) -> the content of a file
        fields     the other fields: preset, and settings by name
        step       is called with what is being done, in words, and its share, 0 to 1
        cancelled  is asked again and again whether to end the work

        Raises `ServiceError`, and `CancelledError` once the job is cancelled in the service, too.
        """
        step("sending the pictures", 0.0)
        kind, body = multipart(pictures, {**fields, "direction": "ab"})
        most = self.offer()["upload_bytes"]
        if len(body) > most:  # asked before, as the service would end the connection in the middle of them
            raise ServiceError(
                f"The pictures have {len(body) / (1 << 20):.1f} MB, and the service takes {most >> 20}; start it with a "
                "larger --upload-mb."
            )
        job = self._json("POST", "/v1/jobs", body, kind)
        at = f"/v1/jobs/{job['id']}"
        try:
            while job["state"] not in ("done", "failed", "cancelled"):
                if cancelled():
                    raise CancelledError
                step(f"waiting for {job['ahead']} jobs" if job["ahead"] else job["stage"] or "waiting", job["done"])
                time.sleep(_LOOK)
                job = self._json("GET", at)
            if job["state"] != "done":
                raise ServiceError(_sentence(job["error"] or "the service has cancelled the job"))
            step("fetching the picture", 1.0)
            return self._ask("GET", f"{at}/files/a_prime.png")
        finally:
            self._forget(at)

    def _forget(self, at: str) -> None:
        """Delete a job and its results. If the service is gone, so are they."""
        with suppress(ServiceError):
            self._ask("DELETE", at)

    def _json(self, method: str, path: str, body: bytes | None = None, kind: str = "") -> dict[str, Any]:
        answer = self._ask(method, path, body, kind)
        try:
            values = json.loads(answer)
        except ValueError:
            values = None
        if not isinstance(values, dict):
            raise self._stranger()
        return values

    def _ask(self, method: str, path: str, body: bytes | None = None, kind: str = "") -> bytes:
        headers = {**self._headers, "Content-Type": kind} if kind else self._headers
        asked = request.Request(self.address + path, body, headers, method=method)
        try:
            with self._opener.open(asked, timeout=_PATIENCE) as answer:
                return answer.read()
        except error.HTTPError as refusal:
            with refusal:
                raise self._refused(refusal.code, refusal.read()) from None
        except (OSError, http.client.HTTPException):  # nothing listens there, or it has ended
            raise ServiceError(
                f"No service answers at {self.address}; start it in a terminal with: analogy serve"
            ) from None

    def _refused(self, status: int, content: bytes) -> ServiceError:
        try:
            words = json.loads(content)["detail"]
        except (ValueError, KeyError, TypeError):
            return self._stranger()
        if status == 401:
            return ServiceError("The service wants its token; start Krita with the same ANALOGY_TOKEN.")
        return ServiceError(_sentence(str(words)))

    def _stranger(self) -> ServiceError:
        return ServiceError(
            f"What answers at {self.address} is not analogy; start it elsewhere with: analogy serve --port 9000"
        )


def multipart(pictures: dict[str, bytes], fields: dict[str, str]) -> tuple[str, bytes]:
    """Return the media type and the body of a form (multipart/form-data) with pictures and other fields."""
    boundary = uuid.uuid4().hex
    parts = []
    for name, content in [*pictures.items(), *((name, value.encode()) for name, value in fields.items())]:
        file = '; filename="picture"' if name in pictures else ""
        head = f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"{file}\r\n\r\n'
        parts += [head.encode(), content, b"\r\n"]
    parts.append(f"--{boundary}--\r\n".encode())
    return f"multipart/form-data; boundary={boundary}", b"".join(parts)


def _sentence(words: str) -> str:
    return f"{words[:1].upper()}{words[1:]}" + ("" if words.endswith(".") else ".")
