"""The processes of `analogy batch`: killed workers, Dask, signals, a full disk, a second batch."""

from __future__ import annotations

import csv
import io
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import psutil
import pytest
from PIL import Image

from analogy import Engine

COMMAND = [sys.executable, "-m", "analogy"]
FAST = ["--preset", "fast", "--search-iterations", "1", "--device", "cpu", "--threads", "1"]
JOBS, FEW = 200, 60

needs_posix = pytest.mark.skipif(os.name != "posix", reason="sends POSIX signals")


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write a table of 200 jobs: pairs of 20 pictures of 32 x 32 pixels, with ten seeds."""
    folder = tmp_path_factory.mktemp("jobs")
    rng = np.random.default_rng(0)
    for i in range(20):
        small = rng.integers(0, 256, (8, 8, 3)).astype(np.uint8)
        Image.fromarray(small).resize((32, 32), Image.Resampling.BICUBIC).save(folder / f"{i}.png")
    with (folder / "jobs.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["a", "b_prime", "seed", "name"])
        writer.writerows((f"{i % 20}.png", f"{(i + 7) % 20}.png", i // 20, f"job{i}") for i in range(JOBS))
    return folder / "jobs.csv"


@pytest.fixture(scope="module")
def few(table: Path) -> Path:
    """Write a table of the first 60 jobs of `table`."""
    path = table.with_name("few.csv")
    path.write_text("".join(table.read_text().splitlines(keepends=True)[: FEW + 1]))
    return path


@pytest.fixture(scope="module")
def few_serial(serial: dict[str, bytes]) -> dict[str, bytes]:
    return {f"job{i}.png": serial[f"job{i}.png"] for i in range(FEW)}


@pytest.fixture(scope="module")
def serial(table: Path) -> dict[str, bytes]:
    """Return the results of the jobs of `table`, made one after another in this process."""
    engine, made = Engine(device="cpu", threads=1), {}
    for row in csv.DictReader(table.read_text().splitlines()):
        pair = table.parent / row["a"], table.parent / row["b_prime"]
        result = engine.transfer(*pair, "fast", search_iterations=1, seed=int(row["seed"]), direction="ab")
        file = io.BytesIO()
        result.save(file, format="png")
        made[row["name"] + ".png"] = file.getvalue()
    return made


def results(out: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in out.glob("*.png")}


def left_over(out: Path) -> list[str]:
    return [path.name for path in out.iterdir() if path.name.startswith(".")]


def ended(out: Path) -> int:
    manifest = out / "batch.jsonl"
    return manifest.read_bytes().count(b'"state": "done"') if manifest.exists() else 0


def started(*arguments: object) -> subprocess.Popen[str]:
    command = [*COMMAND, "batch", *map(str, arguments), *FAST]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def until(condition: Callable[[], object], process: subprocess.Popen[str] | None = None) -> None:
    ends = time.monotonic() + 120
    while not condition():
        assert process is None or process.poll() is None, process.communicate()
        assert time.monotonic() < ends
        time.sleep(0.01)


def workers(process: subprocess.Popen[str]) -> list[psutil.Process]:
    """Return the worker processes, without the helper of `multiprocessing`."""
    return [child for child in psutil.Process(process.pid).children() if "spawn_main" in " ".join(child.cmdline())]


@needs_posix
def test_200_jobs_with_a_killed_worker_equal_the_serial_results(table, serial, tmp_path: Path) -> None:
    out = tmp_path / "out"
    process = started(table, "-o", out, "--workers", 2)
    until(lambda: ended(out) > 20, process)
    first, second = workers(process)
    first.kill()
    until(lambda: ended(out) > 100, process)
    second.kill()
    output, error = process.communicate(timeout=120)
    assert (process.returncode, error) == (0, "")
    assert "200 done" in output
    assert results(out) == serial
    assert left_over(out) == []


@needs_posix
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signals_end_a_batch_with_its_workers_and_the_same_command_continues(
    few, few_serial, tmp_path: Path, number
) -> None:
    out = tmp_path / "out"
    process = subprocess.Popen(
        [*COMMAND, "batch", few, "-o", out, "--workers", "2", "-v", *FAST],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip
    until(lambda: ended(out) > 2, process)
    children = psutil.Process(process.pid).children(recursive=True)
    os.killpg(process.pid, number) if number == signal.SIGINT else process.send_signal(number)
    output, error = process.communicate(timeout=60)
    word = {signal.SIGINT: "interrupted", signal.SIGTERM: "terminated"}[number]
    assert (process.returncode, output, error.splitlines()[-1]) == (128 + number, "", f"analogy: {word}")
    assert "Traceback" not in error
    until(lambda: not any(child.is_running() for child in children))
    assert left_over(out) == []
    assert set(results(out).items()) <= set(few_serial.items())
    kept = len(results(out))
    again = started(few, "-o", out, "--workers", 2)
    output, error = again.communicate(timeout=120)
    assert (again.returncode, error) == (0, "")
    assert (
        int(re.findall(r"(\d+) kept", output)[0]) >= kept - 2
    )  # the killed batch may have written two results without recording them
    assert results(out) == few_serial


@needs_posix
def test_workers_end_if_the_command_is_killed(few, tmp_path: Path) -> None:
    process = started(few, "-o", tmp_path / "out", "--workers", 2)
    until(lambda: ended(tmp_path / "out") > 2, process)
    children = psutil.Process(process.pid).children(recursive=True)
    assert len(children) >= 2
    process.kill()
    process.communicate()
    until(lambda: not any(child.is_running() for child in children))


@needs_posix
def test_a_second_batch_into_one_folder_is_refused(table, tmp_path: Path) -> None:
    out = tmp_path / "out"
    first = started(table, "-o", out, "--workers", 1)
    until(lambda: ended(out) > 2, first)
    second = started(table, "-o", out, "--workers", 1)
    output, error = second.communicate(timeout=60)
    first.terminate()
    first.communicate(timeout=60)
    assert (second.returncode, output) == (2, "")
    assert "another batch writes into this folder" in error
    assert error.count("\n") == 1


def test_a_full_disk_ends_the_batch_in_one_line_and_the_same_command_continues(
    few, few_serial, small_disk: Path
) -> None:
    out = small_disk / "out"
    process = started(few, "-o", out, "--workers", 2)
    output, error = process.communicate(timeout=120)
    assert (process.returncode, output) == (2, "")
    assert "No space left" in error
    assert "the same command again to continue" in error
    assert error.count("\n") == 1
    assert left_over(out) == []
    made = results(out)
    assert 0 < len(made) < FEW
    assert set(made.items()) <= set(few_serial.items())
    subprocess.run(["mount", "-o", "remount,size=100m", small_disk], check=True)
    again = started(few, "-o", out, "--workers", 2)
    output, error = again.communicate(timeout=120)
    assert (again.returncode, error) == (0, "")
    assert int(re.findall(r"(\d+) kept", output)[0]) >= len(made) - 2
    assert results(out) == few_serial


@contextmanager
def dask(*arguments: object) -> Iterator[psutil.Process]:
    """Run a command of Dask during the block, and end it with its children."""
    command = [sys.executable, "-m", "dask", *map(str, arguments)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        own = psutil.Process(process.pid)
        try:
            yield own
        finally:
            for each in [own, *own.children(recursive=True)]:
                each.kill()


@needs_posix
def test_a_dask_cluster_with_a_killed_worker_makes_the_serial_results(table, serial, tmp_path: Path) -> None:
    pytest.importorskip("distributed", reason="needs the extra cluster")
    out, file = tmp_path / "out", tmp_path / "scheduler.json"
    place = ["--host", "127.0.0.1", "--no-dashboard", "--scheduler-file", file]
    with dask("scheduler", "--port", 0, *place):
        until(file.exists)
        address = json.loads(file.read_text())["address"]
        with dask(
            "worker", address, "--nworkers", 2, "--nthreads", 1, "--no-dashboard", "--host", "127.0.0.1"
        ) as nannies:
            process = started(table, "-o", out, "--scheduler", address)
            until(lambda: ended(out) > 20, process)
            of_dask = [child for child in nannies.children() if "spawn_main" in " ".join(child.cmdline())]
            assert len(of_dask) == 2
            of_dask[0].kill()
            output, error = process.communicate(timeout=120)
    assert (process.returncode, error) == (0, "")
    assert "200 done" in output
    assert results(out) == serial
    assert left_over(out) == []


def test_a_cluster_on_this_machine_makes_the_serial_results(few, few_serial, tmp_path: Path) -> None:
    pytest.importorskip("distributed", reason="needs the extra cluster")
    process = started(few, "-o", tmp_path / "out", "--scheduler", "local", "--workers", 2)
    output, error = process.communicate(timeout=120)
    assert (process.returncode, error) == (0, "")
    assert f"{FEW} done" in output
    assert results(tmp_path / "out") == few_serial
