"""A real service on the loopback interface, started as a user starts it."""

from __future__ import annotations

import io
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import requests
from PIL import Image

pytest.importorskip("fastapi", reason="the service needs the extra web")


def png(rows: int, columns: int, seed: int = 0) -> bytes:
    """Return a PNG with noise."""
    content = io.BytesIO()
    pixels = np.random.default_rng(seed).integers(0, 256, (rows, columns, 3)).astype(np.uint8)
    Image.fromarray(pixels).save(content, "PNG", compress_level=1)
    return content.getvalue()


SMALL = {"search_iterations": 1, "inversion": "vote"}
LONG = {"inversion": "deconvolution", "inversion_steps": 1000}
"""Settings with which a transfer of noise takes minutes."""


class Service:
    """Service in a process of its own, with functions that send requests to it."""

    def __init__(self, *arguments: str, folder: Path, token: str = "", open_files: int = 0):
        environment = os.environ | {"TMPDIR": str(folder), "ANALOGY_TOKEN": token}
        command = [sys.executable, "-m", "analogy", "serve", "--port", "0", "--threads", "2", *arguments]
        if open_files:  # the shell limits the open files of the service
            command = ["sh", "-c", f'ulimit -n {open_files}; exec "$@"', "sh", *command]
        self.folder = folder
        self.process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment)
        self.lines: list[str] = []
        self._listening = threading.Event()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        self._listening.wait(60)
        urls = [line.split()[-1] for line in self.lines if "http://" in line]
        assert urls, self.lines
        self.url = urls[0].replace("0.0.0.0", "127.0.0.1")
        self.http = requests.Session()
        self.http.trust_env = False
        # Each request has a new connection, since the service could close an old one while a test
        # uses it.
        self.http.headers["Connection"] = "close"

    def _read(self) -> None:
        assert self.process.stderr
        for line in self.process.stderr:
            self.lines.append(line.rstrip())
            if "http://" in line:
                self._listening.set()
        self._listening.set()

    def connect(self, content: bytes = b"") -> socket.socket:
        """Open a new connection, and send `content`."""
        host, port = self.url.removeprefix("http://").rsplit(":", 1)
        connection = socket.create_connection((host, int(port)), timeout=30)
        connection.sendall(content)
        return connection

    def raw(self, content: bytes) -> bytes:
        """Return the answer of the service to these bytes, up to the end of the connection."""
        with self.connect(content) as connection:
            return b"".join(iter(lambda: connection.recv(1 << 16), b""))

    @property
    def log(self) -> str:
        return "\n".join(self.lines)

    def worker(self) -> psutil.Process:
        """Return the only worker process. The helper process of multiprocessing does not count."""
        children = psutil.Process(self.process.pid).children()
        return next(each for each in children if "resource_tracker" not in " ".join(each.cmdline()))

    def post(
        self, path: str, a: bytes, b_prime: bytes, settings: dict[str, Any] = SMALL, **fields: str
    ) -> requests.Response:
        files = {"a": ("my-secret-name.png", a), "b_prime": ("another-secret.png", b_prime)}
        data = {"settings": json.dumps(settings)} | fields
        return self.http.post(self.url + path, files=files, data=data, timeout=120)

    def begin(self, a: bytes, b_prime: bytes, settings: dict[str, Any] = SMALL, **fields: str) -> str:
        """Begin a job, and return its id."""
        answer = self.post("/v1/jobs", a, b_prime, settings, **fields)
        assert answer.status_code == 202, answer.text
        assert answer.headers["location"] == f"/v1/jobs/{answer.json()['id']}"
        return str(answer.json()["id"])

    def look(self, id: str) -> dict[str, Any]:
        return dict(self.http.get(f"{self.url}/v1/jobs/{id}", timeout=30).json())

    def events(self, id: str) -> Iterator[dict[str, Any]]:
        """Yield the events of a job, up to its end."""
        with requests.get(f"{self.url}/v1/jobs/{id}/events", stream=True, timeout=120) as answer:
            assert answer.headers["content-type"].startswith("text/event-stream")
            for line in answer.iter_lines(chunk_size=1):
                if line.startswith(b"data: "):
                    yield json.loads(line.removeprefix(b"data: "))

    def until(self, id: str, state: str) -> dict[str, Any]:
        """Wait until a job is in this state, and return the job."""
        for status in self.events(id):
            if status["state"] == state:
                return status
        raise AssertionError(f"the job ended as {status}")

    def end(self, number: int = signal.SIGTERM) -> int:
        """Send a signal, wait for the end, and return the exit code."""
        self.process.send_signal(number)
        code = self.process.wait(60)
        self.close()
        return code

    def close(self) -> None:
        """Kill the process if it is still running."""
        self.process.kill()
        self.process.wait()
        self._reader.join(10)
        self.http.close()
        if self.process.stderr:
            self.process.stderr.close()


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Callable[..., Service]]:
    """Return a function that starts a service, which ends with the test."""
    started: list[Service] = []

    def start(*arguments: str, **options: Any) -> Service:
        started.append(Service(*arguments, folder=tmp_path, **options))
        return started[-1]

    yield start
    for each in started:
        each.close()


@pytest.fixture(scope="package")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """Start a service that many tests use."""
    own = Service(folder=tmp_path_factory.mktemp("service"))
    yield own
    assert own.process.poll() is None, own.log  # the service still runs, so no test has ended it
    own.close()


def wait_for(what: Callable[[], bool], seconds: float = 30) -> None:
    until = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < until, f"the condition did not become true within {seconds} seconds"
        time.sleep(0.02)
