"""Clients without the token and other users of the machine cannot disturb the service."""

from __future__ import annotations

import io
import json
import os
import signal
import stat
import subprocess
import sys
import time
from http.client import HTTPResponse
from pathlib import Path

import numpy as np
import psutil
import pytest
import requests
from conftest import LONG, SMALL, Service, png, wait_for
from PIL import Image

from analogy.apps.serve.folder import keep_alive
from analogy.files import temporary

POSIX = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such limits, signals and owners")
NO_ROOM = "the service cannot store the pictures; its disk may be full, so try again later"
HEAD = b"GET /health HTTP/1.1\r\nHost: localhost\r\n"


def order(service, a: bytes, b_prime: bytes, **fields: str) -> bytes:
    """Return a complete request for a transfer, as bytes."""
    files = {"a": ("a", a), "b_prime": ("b", b_prime)}
    made = requests.Request("POST", f"{service.url}/v1/transfer", files=files, data=fields).prepare()
    assert isinstance(made.body, bytes)
    names = "".join(f"{name}: {value}\r\n" for name, value in made.headers.items())
    return f"POST /v1/transfer HTTP/1.1\r\nHost: localhost\r\n{names}\r\n".encode() + made.body


# Connections


@POSIX
def test_connections_without_a_request_neither_stop_the_service_nor_fill_its_log(serve) -> None:
    own = serve(open_files=256, token="secret")
    idle = [own.connect(HEAD[:-5]) for _ in range(300)]
    for _ in range(3):
        assert own.http.get(f"{own.url}/health", timeout=20).status_code == 200
    assert psutil.Process(own.process.pid).num_fds() < 200
    for each in idle:
        each.close()
    assert "Traceback" not in own.log
    assert len(own.lines) < 20


@POSIX
def test_clients_that_follow_a_job_leave_connections_for_others(serve) -> None:
    own = serve(open_files=256)
    id = own.begin(png(512, 512), png(512, 512, 1), LONG)
    watch = f"GET /v1/jobs/{id}/events HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()
    watching, said = [], []
    for _ in range(80):
        watching.append(own.connect(watch))
        said.append(watching[-1].recv(12))
    assert own.http.get(f"{own.url}/health", timeout=20).status_code == 200
    assert said.count(b"HTTP/1.1 200") == 32
    assert said.count(b"HTTP/1.1 503") == 48
    for each in watching:
        each.close()

    def has_room() -> bool:
        with own.connect(watch) as connection:
            return connection.recv(12) == b"HTTP/1.1 200"

    wait_for(has_room)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux sets the limits of another process")
def test_a_service_without_open_files_logs_one_line_and_recovers(serve) -> None:
    own = serve()
    process = psutil.Process(own.process.pid)
    before = process.rlimit(psutil.RLIMIT_NOFILE)
    process.rlimit(psutil.RLIMIT_NOFILE, (process.num_fds() + 5, before[1]))
    many = [own.connect(HEAD) for _ in range(40)]
    wait_for(lambda: "connection" in own.log)
    process.rlimit(psutil.RLIMIT_NOFILE, before)
    assert own.http.get(f"{own.url}/health", timeout=30).status_code == 200
    for each in many:
        each.close()
    assert "Traceback" not in own.log
    assert own.log.count("Too many open files") == 1


# The folder


@POSIX
def test_no_other_user_can_read_uploads_and_results(service) -> None:
    id = service.begin(png(32, 32), png(32, 32))
    service.until(id, "done")
    [kept] = service.folder.glob(f"**/{id}")
    beside = kept.relative_to(service.folder).parts[0]
    assert stat.S_IMODE((service.folder / beside).stat().st_mode) == 0o700


@POSIX
@pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only a superuser can give a file to another user"
)
def test_a_folder_of_another_user_is_left_alone(serve, tmp_path: Path) -> None:
    theirs = [tmp_path / "analogy-serve", *(tmp_path / f"analogy-serve-{name}" for name in ("0", "x"))]
    for each in theirs:
        (each / f".analogy-{'0' * 32}.tmp" / "out").mkdir(parents=True)
        each.chmod(0o777)
        os.chown(each, 12345, 12345)
    (tmp_path / "elsewhere").mkdir()
    link = tmp_path / "analogy-serve-link"
    link.symlink_to(tmp_path / "elsewhere")
    os.chown(link, 12345, 12345, follow_symlinks=False)
    own = serve()
    own.until(own.begin(png(32, 32), png(32, 32)), "done")
    assert [len(list(each.iterdir())) for each in theirs] == [1, 1, 1]
    assert not list((tmp_path / "elsewhere").iterdir())
    assert own.end() == 128 + signal.SIGTERM
    assert [len(list(each.iterdir())) for each in theirs] == [1, 1, 1]


# Limits


def test_no_text_of_a_request_gets_into_the_log_or_the_metrics(service) -> None:
    word = "WORD" * 2000
    lines = f"{word} /{word} HTTP/1.1\r\nHost: localhost\r\nX-Forwarded-For: {word}\r\nConnection: close\r\n\r\n"
    assert b" 405 " in service.raw(lines.encode()) or b" 404 " in service.raw(lines.encode())
    assert "WORDWORDWORD" * 5 not in service.http.get(f"{service.url}/metrics", timeout=30).text
    wait_for(lambda: " - 40" in service.log)
    assert "WORDWORDWORD" * 5 not in service.log


@pytest.mark.parametrize("has_length", [True, False], ids=["with a length", "in chunks"])
def test_a_large_form_without_pictures_is_refused(serve, has_length: bool) -> None:
    own = serve(token="secret")
    content = b"token=" + b"a" * (1 << 20)
    data = content if has_length else iter([content[at : at + 4096] for at in range(0, len(content), 4096)])
    answer = own.http.post(
        f"{own.url}/sign-in",
        data=data,
        headers={"content-type": "application/x-www-form-urlencoded"},
        allow_redirects=False,
        timeout=30,
    )
    assert answer.status_code == 413
    assert answer.json()["detail"].endswith("send at most 16 kB")
    assert own.http.post(f"{own.url}/sign-in", data={"token": "secret"}, timeout=30).url == f"{own.url}/"


def test_answers_that_clients_do_not_read_take_no_memory(serve) -> None:
    own = serve()
    content = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (2000, 2000, 3)).astype(np.uint8)).save(content, "BMP")
    fields = {"settings": '{"max_pixels": 1024, "inversion": "vote", "search_iterations": 1}', "format": "tif"}
    request = order(own, content.getvalue(), png(32, 32), **fields)
    server = psutil.Process(own.process.pid)

    def asked(number: int) -> int:
        """Return the memory of the service after this many unread answers."""
        readers = []
        for _ in range(number):
            readers.append(own.connect(request))
            readers[-1].settimeout(60)
            assert readers[-1].recv(12) == b"HTTP/1.1 200"
        taken = server.memory_info().rss
        for each in readers:
            each.close()
        return taken

    first = asked(1)
    assert asked(4) - first < 12 << 20  # the pictures of the three further answers have 36 MB


# Answers


@POSIX
def test_an_upload_that_ends_while_the_service_ends_is_answered_503(serve) -> None:
    own = serve("--grace", "3")
    own.until(own.begin(png(512, 512), png(512, 512, 1), LONG), "running")
    request = order(own, png(32, 32), png(32, 32))
    late, silent = own.connect(request[:-30]), own.connect(request[:-30])
    time.sleep(0.3)
    own.process.send_signal(signal.SIGTERM)
    wait_for(lambda: "ending" in own.log)
    late.sendall(request[-30:])
    for each in (late, silent):
        with each, HTTPResponse(each) as answer:
            answer.begin()
            assert answer.status == 503
            assert json.load(answer)["detail"] == "the service is being shut down; try again later"
    assert own.process.poll() is None  # the answer comes at once, and not only after the other job is dropped
    assert own.process.wait(30) == 128 + signal.SIGTERM
    own.close()
    assert "Traceback" not in own.log


@POSIX
@pytest.mark.parametrize("side", [250, 1000])
def test_pictures_for_which_the_disk_has_no_room_are_answered_503(small_disk: Path, side: int) -> None:
    """Send a picture that Starlette keeps in memory, and one of over 1 MB, which it writes."""
    own = Service(folder=small_disk)
    try:
        for path in ("/v1/transfer", "/v1/jobs"):
            answer = own.post(path, png(side, side), png(32, 32))
            assert (answer.status_code, answer.json()["detail"]) == (503, NO_ROOM)
        own.until(own.begin(png(32, 32), png(32, 32), SMALL | {"direction": "ab"}), "done")
    finally:
        own.close()
    assert "Traceback" not in own.log


def test_a_job_whose_folder_cannot_be_made_is_answered_503(serve) -> None:
    own = serve()
    [folder] = own.folder.glob("analogy-serve-*/.analogy-*.tmp")
    folder.rename(own.folder / "away")
    answer = own.post("/v1/jobs", png(32, 32), png(32, 32))
    assert (answer.status_code, answer.json()["detail"]) == (503, NO_ROOM)
    assert not folder.exists()  # it would be one that other users can read
    (own.folder / "away").rename(folder)
    own.until(own.begin(png(32, 32), png(32, 32)), "done")
    assert "Traceback" not in own.log


def test_the_folder_of_a_service_is_marked_as_used(tmp_path: Path) -> None:
    (tmp_path / "own" / "folder").mkdir(parents=True)
    paths = [tmp_path / "own", tmp_path / "own" / "folder", tmp_path / "own" / "folder" / temporary.LOCK]
    paths[2].touch()
    for path in reversed(paths):
        os.utime(path, (0, 0))
    keep_alive(paths[1])
    assert all(time.time() - path.stat().st_mtime < 60 for path in paths)


def test_a_picture_that_the_format_cannot_hold_is_refused_before_the_work(service) -> None:
    answer = service.post("/v1/transfer", png(17, 17000), png(32, 32), LONG, format="webp")
    assert answer.status_code == 422
    assert "WEBP holds at most 16383 on a side" in answer.json()["detail"]
    answer = service.post("/v1/transfer", png(32, 32), png(17, 17000), LONG | {"direction": "ba"}, format="webp")
    assert answer.status_code == 422


@pytest.mark.parametrize("origin", ["http://[", "http://localhost:x", "//", "null", "http://[::1"])
def test_a_wrong_origin_is_refused(service, origin: str) -> None:
    answer = service.http.get(f"{service.url}/v1/settings", headers={"origin": origin}, timeout=30)
    assert answer.status_code == 403
    assert "Traceback" not in service.log


@pytest.mark.parametrize("path", ["/", "/health", "/sign-in", "/v1/settings", "/metrics", "/static/page.css", "/docs"])
def test_each_route_with_get_answers_head(service, path: str) -> None:
    got = service.http.get(service.url + path, timeout=30)
    head = service.http.head(service.url + path, timeout=30)
    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["content-type"] == got.headers["content-type"]
    assert path == "/metrics" or head.headers["content-length"] == got.headers["content-length"]


def test_head_of_a_job_s_events_ends_at_once(service) -> None:
    id = service.begin(png(512, 512), png(512, 512, 1), LONG)
    head = service.http.head(f"{service.url}/v1/jobs/{id}/events", timeout=30)
    assert head.headers["content-type"].startswith("text/event-stream")
    assert service.look(id)["state"] in ("queued", "running")
    service.http.delete(f"{service.url}/v1/jobs/{id}", timeout=30)


@pytest.mark.parametrize("host", ["LOCALHOST", "localhost:80", "127.0.0.1", "127.8.9.10:8000", "[::1]", "[::1]:8000"])
def test_each_name_of_this_machine_is_accepted(service, host: str) -> None:
    assert service.http.get(f"{service.url}/health", headers={"host": host}, timeout=30).status_code == 200


@pytest.mark.parametrize(
    "host",
    ["localhost.evil.example", "evil@localhost", "0.0.0.0", "127.evil.example", "[", "::1", "[::1", "localhost:x"],
)
def test_the_name_of_another_host_is_refused(service, host: str) -> None:
    assert service.http.get(f"{service.url}/health", headers={"host": host}, timeout=30).status_code == 403


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere 127.0.0.2 is not an address of the machine")
def test_the_service_can_listen_on_each_address_of_this_machine(serve) -> None:
    own = serve("--host", "127.0.0.2")
    assert own.url.startswith("http://127.0.0.2:")
    assert own.http.get(f"{own.url}/health", timeout=30).status_code == 200


def test_a_name_for_this_machine_alone_is_logged_as_its_address_which_clients_can_use(serve) -> None:
    own = serve("--host", "localhost")
    assert own.url.startswith("http://127.0.0.1:")
    assert own.http.get(f"{own.url}/", timeout=30).status_code == 200


# The token


@pytest.mark.parametrize("token", ["secret\n", " secret"])
def test_spaces_around_a_token_are_ignored(serve, token: str) -> None:
    own = serve(token=token)
    bearer = {"authorization": "Bearer secret"}
    assert own.http.get(f"{own.url}/v1/settings", headers=bearer, timeout=30).status_code == 200
    assert own.http.post(f"{own.url}/sign-in", data={"token": "secret"}, timeout=30).url == f"{own.url}/"


@pytest.mark.parametrize("token", [" ", "\n", "sécret", "a\nb", "a\x7fb"])
def test_a_token_that_no_client_can_send_is_refused(token: str) -> None:
    command = [sys.executable, "-m", "analogy", "serve", "--port", "0"]
    environment = os.environ | {"ANALOGY_TOKEN": token, "PYTHONUTF8": "1"}
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment)
    try:
        _, said = process.communicate(timeout=15)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        raise
    assert process.returncode == 2
    assert said.startswith("analogy: the token ")
    assert len(said.splitlines()) == 1


@pytest.mark.parametrize("token", ["a b", "a;b", 'a"b', "a,b=c", "'\\"])
def test_each_other_token_works_in_the_header_and_on_the_page(serve, token: str) -> None:
    own = serve(token=token)
    bearer = {"authorization": f"Bearer {token}"}
    assert own.http.get(f"{own.url}/v1/settings", headers=bearer, timeout=30).status_code == 200
    assert own.http.post(f"{own.url}/sign-in", data={"token": token}, timeout=30).url == f"{own.url}/"
    assert own.http.get(f"{own.url}/v1/settings", timeout=30).status_code == 200  # by the cookie


# Slow and broken clients


@POSIX
def test_the_service_ends_even_if_a_client_reads_nothing(serve) -> None:
    own = serve("--grace", "0")
    with own.connect(b"GET /static/main.js HTTP/1.1\r\nHost: localhost\r\n\r\n" * 400):
        time.sleep(1)
        own.process.send_signal(signal.SIGTERM)
        assert own.process.wait(20) == 128 + signal.SIGTERM
    own.close()
    assert "Traceback" not in own.log


def test_a_body_in_tiny_chunks_closes_its_connection(serve) -> None:
    own = serve(token="secret")
    head = b"POST /sign-in HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
    with own.connect(head) as connection:
        taken = 0
        with pytest.raises((ConnectionError, TimeoutError)):
            while taken < 1 << 22:
                taken += connection.send(b"1\r\nx\r\n" * 1000)
                time.sleep(0.01)
    assert own.http.get(f"{own.url}/health", timeout=20).status_code == 200
    assert "Traceback" not in own.log


def test_a_chunk_without_a_length_is_not_an_error_of_the_service(serve) -> None:
    own = serve(token="secret")
    bad = b"POST /sign-in HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nZZ\r\n"
    for _ in range(5):
        own.raw(bad)
    assert own.http.get(f"{own.url}/health", timeout=20).status_code == 200
    assert "Traceback" not in own.log


def test_stalled_uploads_free_their_places_in_the_queue(serve) -> None:
    own = serve("--queue", "2")
    request = order(own, png(32, 32), png(32, 32))
    silent = [own.connect(request[:-30]) for _ in range(2)]
    time.sleep(0.5)
    assert own.post("/v1/jobs", png(32, 32), png(32, 32)).status_code == 429
    for each in silent:
        with each, HTTPResponse(each) as answer:
            answer.begin()
            assert answer.status == 408
    assert own.post("/v1/jobs", png(32, 32), png(32, 32)).status_code == 202


@pytest.mark.parametrize("other", ['x={"a":1}', "bad", "x=a b", "=v", "analogy-token=wrong", "path=/"])
@pytest.mark.parametrize("first", [True, False])
def test_damaged_cookies_of_other_services_do_not_prevent_signing_in(serve_with_token, other: str, first: bool) -> None:
    own, cookie = serve_with_token
    cookies = "; ".join([other, cookie] if first else [cookie, other])
    assert requests.get(f"{own.url}/v1/settings", headers={"cookie": cookies}, timeout=20).status_code == 200
    assert requests.get(f"{own.url}/v1/settings", headers={"cookie": other}, timeout=20).status_code == 401


@pytest.fixture(scope="module")
def serve_with_token(tmp_path_factory: pytest.TempPathFactory):
    """Start a service with a token, and return it with the cookie of a user."""
    own = Service(folder=tmp_path_factory.mktemp("token"), token="secret")
    answer = own.http.post(f"{own.url}/sign-in", data={"token": "secret"}, timeout=20, allow_redirects=False)
    yield own, answer.headers["set-cookie"].partition(";")[0]
    own.close()


@pytest.mark.parametrize("missing", [3, 40])
def test_a_form_that_is_cut_off_is_refused(service, missing: int) -> None:
    files = {"a": ("a", png(32, 32)), "b_prime": ("b", png(32, 32))}
    made = requests.Request("POST", f"{service.url}/v1/jobs", files=files, data={"seed": "12345678"}).prepare()
    assert isinstance(made.body, bytes)
    body = made.body[:-missing]
    answer = requests.post(made.url, data=body, headers={"content-type": made.headers["content-type"]}, timeout=20)
    assert answer.status_code == 400
    assert "cut off" in answer.json()["detail"]
