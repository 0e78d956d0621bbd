"""The answers and the limits of the service."""

from __future__ import annotations

import io
import os
import shlex
import shutil
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import psutil
import pytest
import requests
from conftest import LONG, SMALL, png, wait_for
from PIL import Image

from analogy import Engine


def has_folder(service, id: str) -> bool:
    """Return whether the folder of the service contains a folder of this name.

    `os.walk` ignores folders that the service deletes meanwhile.
    """
    return any(id in folders for _, folders, _ in os.walk(service.folder))


def test_transfer_answers_with_the_picture_of_the_library(service) -> None:
    a, b_prime = png(40, 56), png(48, 40, 1)
    answer = service.post("/v1/transfer", a, b_prime)
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "image/png"
    made = Engine(device="cpu", threads=2).transfer(a, b_prime, direction="ab", **SMALL).a_prime
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(answer.content))), made)
    assert service.post("/v1/transfer", a, b_prime, format="jpg").content.startswith(b"\xff\xd8")


@pytest.mark.skipif(not shutil.which("curl"), reason="there is no curl")
def test_the_curl_line_of_the_page_about_the_service_makes_a_picture(service, tmp_path) -> None:
    text = (Path(__file__).parents[3] / "analogy" / "apps" / "serve" / "README.md").read_text(encoding="utf-8")
    line, *_ = [line.strip() for line in text.splitlines() if line.startswith("    curl ")]
    for name in ("photo.jpg", "painting.jpg"):
        (tmp_path / name).write_bytes(png(48, 64))
    command = line.replace("localhost:8000", service.url.removeprefix("http://"))
    subprocess.run(shlex.split(command), cwd=tmp_path, check=True, timeout=60, capture_output=True)
    with Image.open(tmp_path / "a_prime.png") as picture:
        assert picture.size == (64, 48)


def test_a_job_reports_its_progress_and_keeps_its_results_until_it_is_deleted(service) -> None:
    id = service.begin(png(64, 72), png(64, 64, 1), levels="true", flow="true")
    events = list(service.events(id))
    assert [status["done"] for status in events] == sorted(status["done"] for status in events)
    assert events[-1]["state"] == "done"
    assert events[-1]["settings"]["inversion"] == "vote"
    assert list(events[-1]["levels"]) == ["5", "4", "3", "2", "1"]
    running = [status for status in events if status["state"] == "running" and status["levels"]]
    assert running  # the picture of a level exists before the job ends
    assert {"a_prime.png", "b.png", "montage.png", "settings.json", "flow_ab.flo", "flow_ba.npz"} <= set(
        events[-1]["files"]
    )
    for address in (*events[-1]["files"].values(), *events[-1]["levels"].values()):
        assert service.http.get(service.url + address, timeout=30).content
    assert service.http.get(f"{service.url}/v1/jobs/{id}/files/..%2Fin%2Fa", timeout=30).status_code == 404
    assert service.http.delete(f"{service.url}/v1/jobs/{id}", timeout=30).status_code == 204
    assert service.http.get(f"{service.url}/v1/jobs/{id}", timeout=30).status_code == 404
    assert not has_folder(service, id)


def test_a_deleted_job_has_ended_at_once_and_its_worker_is_free(service) -> None:
    worker = service.worker().pid
    id = service.begin(png(512, 512), png(512, 512, 1), LONG)
    for status in service.events(id):
        if status["stage"].startswith("level"):
            service.http.delete(f"{service.url}/v1/jobs/{id}", timeout=30)
    assert status["state"] == "cancelled"
    assert service.post("/v1/transfer", png(32, 32), png(32, 32)).status_code == 200
    wait_for(lambda: not has_folder(service, id))
    assert service.worker().pid == worker  # the worker has stopped the job, and was not killed


def test_a_client_that_closes_the_connection_cancels_its_transfer(service) -> None:
    with pytest.raises(requests.Timeout):
        requests.post(
            f"{service.url}/v1/transfer",
            files={"a": png(512, 512), "b_prime": png(512, 512, 1)},
            data={"settings": '{"inversion": "deconvolution", "inversion_steps": 1000}'},
            timeout=2,
        )
    wait_for(lambda: service.http.get(f"{service.url}/health", timeout=30).json()["running"] == 0)
    assert 'analogy_jobs_total{state="cancelled"}' in service.http.get(f"{service.url}/metrics", timeout=30).text


@pytest.mark.parametrize(
    ("a", "fields", "status", "words"),
    [
        (b"GIF89a, and nothing more", {}, 422, "A is not a picture that can be read"),
        (b"", {}, 422, "A is not a picture"),
        (png(8, 8), {}, 422, "A has only 8 x 8 pixels"),
        (png(32, 32), {"settings": '{"ratio": 7}'}, 422, "ratio is 7; it must be from 0.1 to 1.0"),
        (png(32, 32), {"settings": '{"rato": 1}'}, 422, "unknown setting 'rato'"),
        (png(32, 32), {"settings": "[]"}, 422, "settings: it must be a JSON object"),
        (png(32, 32), {"settings": "{"}, 422, "settings: it must be a JSON object"),
        (png(32, 32), {"settings": "[" * 60_000}, 422, "settings: it must be a JSON object"),
        (png(32, 32), {"preset": "faces"}, 422, "preset: "),
        (png(32, 32), {"pins": '"/etc/passwd"'}, 422, "pins: it must be a JSON list of rows of numbers"),
        (png(32, 32), {"pins": "[[1, 2, 3]]"}, 422, "pins: the shape is (1, 3)"),
        (png(32, 32), {"pins": "[[1, 2, 3, 99]]"}, 422, "pin 1 "),
    ],
)
def test_errors_have_the_same_line_as_the_command(service, a, fields, status, words) -> None:
    answer = service.http.post(
        f"{service.url}/v1/transfer", files={"a": ("a", a), "b_prime": ("b", png(32, 32))}, data=fields, timeout=60
    )
    assert answer.status_code == status, answer.text
    assert answer.json()["detail"].startswith(words)
    assert "\n" not in answer.json()["detail"]


def test_pins_and_masks_have_the_same_effect_as_in_the_library(service) -> None:
    a, b_prime = png(64, 64), png(64, 64, 1)
    halves = np.zeros((64, 64, 3), np.uint8)
    halves[:32] = 200
    content = io.BytesIO()
    Image.fromarray(halves).save(content, "PNG")
    mask = content.getvalue()
    files = {"a": a, "b_prime": b_prime, "mask_a": mask, "mask_b": mask}
    fields = {"preset": "fast", "pins": "[[20, 24, 40, 24], [8, 50, 50, 40]]"}
    answer = service.http.post(f"{service.url}/v1/transfer", files=files, data=fields, timeout=60)
    assert answer.status_code == 200, answer.text
    options = {"direction": "ab", "mask_a": mask, "mask_b": mask, "pins": [[20, 24, 40, 24], [8, 50, 50, 40]]}
    made = Engine(device="cpu", threads=2).transfer(a, b_prime, "fast", **options)
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(answer.content))), made.a_prime)
    assert not np.array_equal(Engine(device="cpu", threads=2).transfer(a, b_prime, "fast").a_prime, made.a_prime)


def bomb(columns: int, rows: int) -> bytes:
    """Return a black PNG of this many pixels, with a few kilobytes per megapixel."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    packer = zlib.compressobj(9)
    pixels = b"".join(packer.compress(bytes(columns * 3 + 1)) for _ in range(rows)) + packer.flush()
    header = struct.pack(">IIBBBBB", columns, rows, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


def test_too_many_pixels_are_refused_before_they_are_decoded(service) -> None:
    for pictures in ((bomb(5000, 5000), png(32, 32)), (png(32, 32), bomb(5000, 5000))):
        answer = service.post("/v1/transfer", *pictures)
        assert answer.status_code == 413
        assert "25 megapixels" in answer.json()["detail"]


def test_too_many_bytes_are_refused_with_and_without_a_content_length(serve) -> None:
    own = serve("--upload-mb", "1")
    answer = own.post("/v1/transfer", bytes(3 << 20), png(32, 32))
    assert answer.status_code == 413
    assert answer.json()["detail"] == "the request is too large (3.0 MB); send at most 1 MB"

    def parts():
        yield b'--x\r\nContent-Disposition: form-data; name="a"; filename="a"\r\n\r\n'
        for _ in range(48):
            yield bytes(1 << 16)
        yield b"\r\n--x--\r\n"

    answer = requests.post(
        f"{own.url}/v1/jobs", data=parts(), headers={"content-type": "multipart/form-data; boundary=x"}, timeout=30
    )
    assert answer.status_code == 413
    assert answer.json()["detail"] == "the request is too large; send at most 1 MB"
    assert own.post("/v1/transfer", png(32, 32), png(32, 32)).status_code == 200


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux limits the memory of a process")
def test_the_memory_of_a_worker_is_limited_and_the_service_survives(serve) -> None:
    own = serve("--worker-gb", "1")
    limit, _ = own.worker().rlimit(psutil.RLIMIT_AS)
    given_back = 1 << 24  # bytes by which the worker's memory may have shrunk since the limit was set
    assert 0 <= limit - own.worker().memory_info().vms <= (1 << 30) + given_back
    answer = own.post("/v1/transfer", bomb(4400, 4400), bomb(4400, 4400))
    assert answer.status_code == 413
    assert "memory" in answer.json()["detail"]
    assert own.post("/v1/transfer", png(32, 32), png(32, 32)).status_code == 200


def test_a_full_queue_answers_429_with_retry_after(serve) -> None:
    own = serve("--queue", "1")
    running = own.begin(png(512, 512), png(512, 512, 1), LONG)
    own.until(running, "running")
    waiting = own.begin(png(32, 32), png(32, 32))
    assert own.look(waiting)["state"] == "queued"
    answer = own.post("/v1/jobs", png(32, 32), png(32, 32))
    assert answer.status_code == 429
    assert answer.json()["detail"] == "the queue is full (1 job); try again later"
    assert int(answer.headers["retry-after"]) >= 1
    own.http.delete(f"{own.url}/v1/jobs/{running}", timeout=30)
    assert own.until(waiting, "done")


def test_a_killed_worker_fails_only_its_own_job(serve) -> None:
    own = serve()
    lost = own.begin(png(512, 512), png(512, 512, 1), LONG)
    own.until(lost, "running")
    waiting = [own.begin(png(32, 32, seed), png(32, 32)) for seed in range(3)]
    own.worker().kill()
    ended = own.until(lost, "failed")
    assert ended["error"] == "the worker ended unexpectedly (exit code -9); send the job again"
    for id in waiting:
        assert own.until(id, "done")
    assert "analogy_worker_restarts_total 1.0" in own.http.get(f"{own.url}/metrics", timeout=30).text


def test_a_job_that_takes_too_long_is_ended(serve) -> None:
    own = serve("--job-seconds", "1")
    id = own.begin(png(512, 512), png(512, 512, 1), LONG)
    words = "the job took more than 1 second; use smaller pictures or faster settings"
    assert own.until(id, "failed")["error"] == words
    wait_for(lambda: own.http.get(f"{own.url}/health", timeout=30).status_code == 200)
    assert own.post("/v1/transfer", png(32, 32), png(32, 32)).status_code == 200


def test_the_log_has_each_request_and_no_name_of_a_file(service) -> None:
    service.post("/v1/transfer", png(32, 32), png(32, 32))
    id = service.begin(png(32, 32), png(32, 32))
    service.until(id, "done")
    service.look(id)
    wait_for(lambda: "GET /v1/jobs/{id} 200" in service.log)
    assert "POST /v1/transfer 200" in service.log
    assert "secret" not in service.log
    assert id not in service.log
