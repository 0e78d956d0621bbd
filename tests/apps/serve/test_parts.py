"""Parts of the service on their own, with limits that are reached quickly."""

from __future__ import annotations

import asyncio
import errno
import json
import multiprocessing
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from analogy.apps.serve import pool as pool_module
from analogy.apps.serve.answers import JobFile
from analogy.apps.serve.jobs import Jobs
from analogy.apps.serve.limits import Limits
from analogy.apps.serve.metrics import Metrics
from analogy.apps.serve.orders import Order
from analogy.apps.serve.pool import Pool
from analogy.apps.serve.server import Server
from analogy.engine_arguments import EngineArguments
from analogy.errors import ModelError, reason
from analogy.networks.models import DEFAULT, locate
from analogy.request import Request
from analogy.settings import Settings

REQUEST = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"
BIG, ON_ITS_WAY = 1 << 21, 1 << 14
"""Size of the answer to /big, and size of each socket's buffers, in bytes."""


async def application(scope: Any, receive: Any, send: Any) -> None:
    """Answer / in few bytes, /big in many, /form once its body has arrived, and /work never."""
    if scope["type"] == "lifespan":
        while True:
            message = await receive()
            await send({"type": f"{message['type']}.complete"})
            if message["type"] == "lifespan.shutdown":
                return
    if scope["path"] in ("/form", "/work"):
        while (message := await receive())["type"] != "http.disconnect":
            if scope["path"] == "/form" and not message["more_body"]:
                break
    await send({"type": "http.response.start", "status": 200, "headers": []})
    pieces = BIG >> 16 if scope["path"] == "/big" else 1
    for _ in range(pieces - 1):
        await send({"type": "http.response.body", "body": bytes(1 << 16), "more_body": True})
    await send({"type": "http.response.body", "body": bytes(1 << 16) * (pieces > 1) + b"done"})


@asynccontextmanager
async def served(**limits: Any):
    """Run a server, and yield a function that opens a connection to it and sends bytes."""

    async def drain(seconds: float) -> None:
        pass

    pool: Any = SimpleNamespace(running=0, waiting=0, dropped=0, drain=drain)
    listening = socket.create_server(("127.0.0.1", 0))
    listening.setsockopt(
        socket.SOL_SOCKET, socket.SO_SNDBUF, ON_ITS_WAY
    )  # accepted connections inherit the size of the buffer
    address = listening.getsockname()
    server = Server(application, pool, 0.1, Limits(**limits))
    serving = asyncio.ensure_future(server.serve(sockets=[listening]))
    opened: list[asyncio.StreamWriter] = []

    async def connect(content: bytes) -> asyncio.StreamReader:
        connection = socket.socket()
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, ON_ITS_WAY)
        connection.connect(address)
        reader, writer = await asyncio.open_connection(sock=connection, limit=1 << 12)
        opened.append(writer)
        writer.write(content)
        return reader

    while not server.started:
        await asyncio.sleep(0.01)
    try:
        yield connect
    finally:
        for writer in opened:
            writer.close()
        server.should_exit = True
        await serving


def run(scenario: Callable[[], Awaitable[None]]) -> None:
    asyncio.run(asyncio.wait_for(scenario(), 30))


async def end_of(reader: asyncio.StreamReader) -> bytes:
    """Read until the other side closes the connection, and return the bytes."""
    content = b""
    try:
        while part := await reader.read(1 << 20):
            content += part
    except ConnectionError:
        pass
    return content


@pytest.mark.parametrize("content", [b"", REQUEST[:-6]], ids=["nothing", "half"])
def test_the_connection_of_an_incomplete_request_is_closed(content: bytes) -> None:
    async def scenario() -> None:
        async with served(head_seconds=0.3) as connect:
            assert await end_of(await connect(content)) == b""

    run(scenario)


def test_the_connection_of_a_slow_head_is_closed() -> None:
    async def scenario() -> None:
        async with served(head_seconds=0.5) as connect:
            dripping = await connect(b"")
            [writer] = [dripping._transport]  # type: ignore[attr-defined]
            end = asyncio.ensure_future(end_of(dripping))
            while not end.done():
                writer.write(b"G")
                await asyncio.sleep(0.05)

    run(scenario)


def test_the_connection_of_an_unread_answer_is_closed() -> None:
    async def scenario() -> None:
        async with served(stall_seconds=0.5, head_seconds=0.5) as connect:
            silent = await connect(REQUEST.replace(b" / ", b" /big "))
            await asyncio.sleep(2.5)  # by then the service has closed the connection
            assert 0 < len(await end_of(silent)) < BIG

    run(scenario)


def test_a_client_that_reads_slowly_gets_its_whole_answer() -> None:
    async def scenario() -> None:
        async with served(stall_seconds=10, head_seconds=0.1) as connect:
            slow = await connect(REQUEST.replace(b" / ", b" /big "))
            content = await slow.readexactly(BIG - 6 * ON_ITS_WAY)
            await asyncio.sleep(1.5)  # by now the application has written the whole answer, but not all of it is sent
            content += await end_of(slow)
            assert content.endswith(b"done\r\n0\r\n\r\n")

    run(scenario)


def test_beyond_the_limit_the_longest_silent_connection_is_closed() -> None:
    async def scenario() -> None:
        async with served(connections=5) as connect:
            form = REQUEST.replace(b"GET / ", b"POST /form ").replace(b"\r\n\r\n", b"\r\nContent-Length: 9\r\n\r\n1234")
            contents = [REQUEST.replace(b" / ", b" /work "), REQUEST.replace(b" / ", b" /big "), form, b"", REQUEST[:9]]
            worked_for, *silent = [await connect(content) for content in contents]
            await asyncio.sleep(0.2)
            for each in silent:
                reader = await connect(REQUEST)
                assert (await reader.readuntil(b"done")).startswith(b"HTTP/1.1 200")
                assert len(await end_of(each)) < BIG
            working = asyncio.ensure_future(end_of(worked_for))
            await asyncio.wait([working], timeout=0.1)
            assert not working.done()  # the service, and not the client, has to act next on this connection
            working.cancel()

    run(scenario)


def test_of_many_connections_at_once_only_the_allowed_number_stays_open() -> None:
    async def scenario() -> None:
        async with served(connections=20) as connect:
            before = [await connect(b"") for _ in range(20)]
            address = before[0]._transport.get_extra_info("peername")  # type: ignore[attr-defined]
            burst = [
                socket.create_connection(address) for _ in range(15)
            ]  # the event loop cannot run meanwhile, and then finds them all at once
            ends = [asyncio.ensure_future(end_of(each)) for each in before]
            await asyncio.sleep(0.5)
            assert sum(end.done() for end in ends) == 15
            for each in burst:
                each.close()
            for end in ends:
                end.cancel()

    run(scenario)


def test_pictures_that_take_too_long_to_decode_end_their_job(tmp_path: Path) -> None:
    if not hasattr(os, "mkfifo"):
        pytest.skip("there are no named pipes, on which a worker would wait")

    async def scenario() -> None:
        limits = Limits(reading_seconds=0.5)
        jobs = Jobs(tmp_path, limits)
        pool = Pool(jobs, limits, EngineArguments(str(locate(DEFAULT)), "cpu", 1), Metrics())
        try:
            await pool.start()
            job = jobs.new(Request("a", "b_prime"))
            os.mkfifo(job.folder / "in" / "a")
            pool.submit(job)
            await job.end()
            words = "the pictures took more than 0.5 seconds to decode; save them in another format"
            assert job.problem == (422, words)
        finally:
            pool.stop()
            await asyncio.sleep(0.1)

    run(scenario)


def test_a_worker_that_is_killed_while_it_starts_is_an_error_that_says_what_to_do(tmp_path: Path) -> None:
    async def scenario() -> None:
        limits = Limits()
        pool = Pool(Jobs(tmp_path, limits), limits, EngineArguments(str(locate(DEFAULT)), "cpu", 1), Metrics())
        starting = asyncio.ensure_future(pool.start())
        await asyncio.sleep(0)
        [child] = multiprocessing.active_children()
        child.kill()
        with pytest.raises(ModelError, match=r"while it was starting \(exit code .*\); close other programs"):
            await starting
        pool.stop()

    run(scenario)


@pytest.mark.parametrize(
    ("part", "error"),
    [
        (multiprocessing.get_context("spawn").Process, OSError(errno.EAGAIN, "Resource temporarily unavailable")),
        (threading.Thread, RuntimeError("can't start new thread")),
    ],
    ids=["process", "thread"],
)
def test_a_worker_that_cannot_be_replaced_at_once_is_replaced_later(
    tmp_path: Path, monkeypatch, caplog, part: Any, error: Exception
) -> None:
    start, refused = part.start, 0

    def refuse_twice(self: Any) -> None:
        nonlocal refused
        if self.name == "analogy-worker" and (refused := refused + 1) <= 2:
            raise error
        start(self)

    async def scenario() -> None:
        limits = Limits()
        monkeypatch.setattr(pool_module, "_SHORTEST_WAIT", 0.1)
        pool = Pool(Jobs(tmp_path, limits), limits, EngineArguments(str(locate(DEFAULT)), "cpu", 1), Metrics())
        try:
            await pool.start()
            monkeypatch.setattr(part, "start", refuse_twice)
            [child] = multiprocessing.active_children()
            child.kill()
            while pool.ready:
                await asyncio.sleep(0.01)
            while not pool.ready:
                await asyncio.sleep(0.01)
            assert len(multiprocessing.active_children()) == 1
        finally:
            pool.stop()
            await asyncio.sleep(0.1)

    run(scenario)
    waits = [record.message for record in caplog.records if "did not start" in record.message]
    words = f"a worker did not start ({reason(error)}); the service tries again in"
    assert waits == [f"{words} 0.1 seconds", f"{words} 0.2 seconds"]


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no limit on the open files of a process")
def test_a_service_that_can_start_no_worker_ends_with_one_line() -> None:
    command = [sys.executable, "-m", "analogy", "serve", "--port", "0", "--workers", "64"]
    done = subprocess.run(
        ["sh", "-c", 'ulimit -n 40; exec "$@"', "sh", *command], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 2
    assert "cannot be started (Too many open files); close other programs, or use fewer --workers" in done.stderr
    assert "Traceback" not in done.stderr


def answered(
    response: JobFile, on_message: Callable[[dict[str, Any]], None] = lambda message: None
) -> list[dict[str, Any]]:
    """Return the messages of a response, and pass each one to `on_message`."""
    sent: list[dict[str, Any]] = []

    async def send(message: Any) -> None:
        sent.append(message)
        on_message(message)

    async def receive() -> Any:
        await asyncio.Event().wait()

    asyncio.run(response({"type": "http", "method": "GET", "headers": []}, receive, send))
    return sent


def job_with_result(folder: Path) -> tuple[Jobs, Any]:
    jobs = Jobs(folder, Limits())
    job = jobs.new(Request("a", "b_prime"))
    (job.folder / "out" / "a_prime.png").write_bytes(bytes(1 << 18))
    jobs.add(job)
    jobs.end(job, "done")
    return jobs, job


def test_a_result_that_is_deleted_before_it_is_sent_is_not_found(tmp_path: Path) -> None:
    jobs, job = job_with_result(tmp_path)
    response = JobFile(jobs, job, "a_prime.png")
    jobs.remove(job)
    assert answered(response)[0]["status"] == 404
    assert not job.folder.exists()


def test_a_result_that_is_deleted_while_it_is_sent_arrives_complete(tmp_path: Path) -> None:
    jobs, job = job_with_result(tmp_path)
    sent = answered(JobFile(jobs, job, "a_prime.png"), lambda message: jobs.remove(job))
    assert sum(len(message.get("body", b"")) for message in sent) == 1 << 18
    assert max(len(message.get("body", b"")) for message in sent) <= 1 << 16
    assert not job.folder.exists()


def test_a_failed_job_has_no_results(tmp_path: Path) -> None:
    jobs = Jobs(tmp_path, Limits())
    job = jobs.new(Request("a", "b_prime"))
    (job.folder / "out" / "level_5.jpg").write_bytes(b"x")
    jobs.add(job)
    jobs.end(job, "failed")
    assert answered(JobFile(jobs, job, "level_5.jpg"))[0]["status"] == 404


def test_an_order_is_unchanged_after_the_pipe() -> None:
    request = Request("a", "b_prime", Settings(seed=3), mask_a="m", mask_b="m", pins=[[1, 2, 3, 4.5]], levels=True)
    order = Order("id", "/folder", request, flow=True, format="png")
    assert Order.from_message(json.loads(json.dumps(order.to_message()))) == order
