"""Requests to the service that `analogy serve` starts, with only the standard library."""

from __future__ import annotations

import http.client
import json
import time
import uuid
from contextlib import suppress
from typing import Any, Callable
from urllib import error, parse, request

ADDRESS = "http://127.0.0.1:8000"
"""Default address of `analogy serve`."""
_TIMEOUT = 130.0
"""Longest time to wait for an answer of the service, in seconds.

By default, the service accepts uploads that take up to 120 s.
"""
_POLL_INTERVAL = 0.25
"""Interval at which a job is polled, in seconds."""


class ServiceError(Exception):
    """Error about the service or a request. The message is a sentence that says what to do."""


class CancelledError(Exception):
    """Exception that ends work that the user has cancelled."""


class Service:
    """Client of the service at an address.

    `token` is the service's ANALOGY_TOKEN, empty if it has none. Raises `ServiceError` for an
    invalid address.
    """

    def __init__(self, address: str = ADDRESS, token: str = ""):
        self.address = address.strip().rstrip("/")
        try:
            parts = parse.urlsplit(self.address)
        except ValueError:  # for an address such as "http://[::1"
            parts = parse.SplitResult("", "", "", "", "")
        if parts.scheme not in ("http", "https") or not parts.netloc:
            raise ServiceError(f"'{address}' is not the address of a service; give one like {ADDRESS}.")
        self._headers = {"Authorization": f"Bearer {token}"} if token else {}
        # No proxy is used, since the service is on this machine or near it.
        self._opener = request.build_opener(request.ProxyHandler({}))

    def settings(self) -> dict[str, Any]:
        """Return the answer to `GET /v1/settings`.

        Its `settings` and `presets` are lists of dicts with "name" and "help".
        """
        found = self._json("GET", "/v1/settings")
        if not {"settings", "presets", "version", "upload_bytes"} <= found.keys():
            raise self._other_server()
        return found

    def make(
        self,
        pictures: dict[str, bytes],
        fields: dict[str, str],
        step: Callable[[str, float], None],
        cancelled: Callable[[], bool],
    ) -> bytes:
        """Let the service make A', and return it as a PNG file.

        Parameters
        ----------
        pictures : dict
            Field of the form (a, b_prime, mask_a, mask_b) -> content of a file.
        fields : dict
            The other fields of the form: preset, and settings by name.
        step : callable
            Called with the present step, in words, and the finished share, 0 to 1.
        cancelled : callable
            Called repeatedly; returns true if the work has to end.

        Raises
        ------
        ServiceError
            If the service cannot be reached, refuses the request, or fails to make the picture.
        CancelledError
            If `cancelled` returned true. The job of the service is cancelled, too.
        """
        step("sending the pictures", 0.0)
        kind, body = multipart(pictures, {**fields, "direction": "ab"})
        most = self.settings()["upload_bytes"]
        if len(body) > most:  # else the service would end the connection during the upload
            raise ServiceError(
                f"The pictures have {len(body) / (1 << 20):.1f} MB, and the service accepts {most >> 20} MB; start it "
                "with a larger --upload-mb."
            )
        job = self._json("POST", "/v1/jobs", body, kind)
        at = f"/v1/jobs/{job['id']}"
        try:
            while job["state"] not in ("done", "failed", "cancelled"):
                if cancelled():
                    raise CancelledError
                step(f"waiting for {job['ahead']} jobs" if job["ahead"] else job["stage"] or "waiting", job["done"])
                time.sleep(_POLL_INTERVAL)
                job = self._json("GET", at)
            if job["state"] != "done":
                raise ServiceError(_sentence(job["error"] or "the service has cancelled the job"))
            step("fetching the picture", 1.0)
            return self._ask("GET", f"{at}/files/a_prime.png")
        finally:
            self._delete_job(at)

    def _delete_job(self, at: str) -> None:
        """Delete a job and its results. A service that has ended has already deleted them."""
        with suppress(ServiceError):
            self._ask("DELETE", at)

    def _json(self, method: str, path: str, body: bytes | None = None, kind: str = "") -> dict[str, Any]:
        answer = self._ask(method, path, body, kind)
        try:
            values = json.loads(answer)
        except ValueError:
            values = None
        if not isinstance(values, dict):
            raise self._other_server()
        return values

    def _ask(self, method: str, path: str, body: bytes | None = None, kind: str = "") -> bytes:
        headers = {**self._headers, "Content-Type": kind} if kind else self._headers
        asked = request.Request(self.address + path, body, headers, method=method)
        try:
            with self._opener.open(asked, timeout=_TIMEOUT) as answer:
                return answer.read()
        except error.HTTPError as refusal:
            with refusal:
                raise self._refused(refusal.code, refusal.read()) from None
        except (OSError, http.client.HTTPException):  # no service listens there, or it has ended
            raise ServiceError(
                f"No service answers at {self.address}; start it in a terminal with: analogy serve"
            ) from None

    def _refused(self, status: int, content: bytes) -> ServiceError:
        try:
            words = json.loads(content)["detail"]
        except (ValueError, KeyError, TypeError):
            return self._other_server()
        if words == "Not Found":  # the answer of another program to the path of this service
            return self._other_server()
        if status == 401:
            return ServiceError("The service needs its token; start Krita with the same ANALOGY_TOKEN.")
        return ServiceError(_sentence(str(words)))

    def _other_server(self) -> ServiceError:
        return ServiceError(
            f"Another program answers at {self.address}; start the service at another port with: "
            "analogy serve --port 9000"
        )


def multipart(pictures: dict[str, bytes], fields: dict[str, str]) -> tuple[str, bytes]:
    """Return the media type and the body of a multipart/form-data form with files and texts."""
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
