"""Tests of the loop over all jobs, with real workers whose jobs make no transfers."""

from __future__ import annotations

import json
import math
import os
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from analogy import OutputError, Settings
from analogy.batch import loop, pools
from analogy.batch.jobs import Job
from analogy.batch.manifest import Manifest
from analogy.batch.report import Report
from analogy.batch.work import Task
from analogy.engine_arguments import EngineArguments
from analogy.method import memory
from analogy.request import Request

needs_posix = pytest.mark.skipif(os.name != "posix", reason="sends POSIX signals")


def do(task: Task) -> dict[str, Any]:
    """Kill the worker or succeed, as the name of the job says; tests replace `loop.do` by this."""
    path = Path(task.root) / task.job.name
    tries = path.with_suffix(".tries")
    tries.write_text(tries.read_text() + "x" if tries.exists() else "x")
    if "poison" in path.name or ("once" in path.name and tries.read_text() == "x"):
        os.kill(os.getpid(), signal.SIGKILL)
    return done(task)


def done(task: Task, **more: Any) -> dict[str, Any]:
    line = {"job": task.job.name, "state": "done", "seen": "s", "files": {}, "seconds": 0.1}
    return {"line": line, "kept": False, "notes": [], **more}


def failed(task: Task, error: str, **more: Any) -> dict[str, Any]:
    return {"line": {"job": task.job.name, "state": "failed", "seen": "s", "error": error}, "notes": [], **more}


def jobs(*names: str, a: str = "a.png") -> list[Job]:
    return [
        Job(number, Request(a, a, Settings(direction="ab")), {"a_prime": name}) for number, name in enumerate(names, 1)
    ]


def in_threads(workers: int) -> pools.Pool:
    executor = ThreadPoolExecutor(workers)
    return pools.Pool(executor, lambda: workers, BrokenProcessPool, 2, True, lambda now: executor.shutdown())


def run(all_jobs: list[Job], pool: pools.Pool, folder: Path, budget: float = 1e12) -> loop.Tally:
    described = {"model_sha256": "m", "widths": (16, 32, 64, 128, 128)}
    folder.mkdir(exist_ok=True)
    with Manifest(folder / "batch.jsonl") as manifest:
        report = Report(folder / "report.html", str(folder), len(all_jobs), "", "")
        own = loop.Loop(pool, manifest, report, str(folder), EngineArguments(), described, budget, False)
        try:
            return own.run(iter(all_jobs), len(all_jobs), lambda progress: None)
        finally:
            pool.close(False)


def states(folder: Path) -> dict[str, str]:
    lines = map(json.loads, (folder / "batch.jsonl").read_text().splitlines())
    return {line["job"]: line["state"] for line in lines if "job" in line}


@needs_posix
def test_a_dead_worker_is_replaced_and_a_job_that_kills_two_workers_fails(tmp_path: Path, monkeypatch, caplog) -> None:
    monkeypatch.setattr(loop, "do", do)
    tally = run(jobs("w.png", "once.png", "x.png", "poison.png", "y.png", "z.png"), pools.processes(2), tmp_path)
    assert (tally.done, tally.failed) == (5, 1)
    assert states(tmp_path) == {f"{name}.png": "done" for name in ("w", "once", "x", "y", "z")} | {
        "poison.png": "failed"
    }
    assert [record.message for record in caplog.records] == [f"poison.png: {loop._WORKER_DIED}"]
    tries = {path.stem: len(path.read_text()) for path in tmp_path.glob("*.tries")}
    assert tries == {"w": 1, "once": 2, "x": 1, "poison": 2, "y": 1, "z": 1}


def test_running_jobs_fit_into_the_memory_together(tmp_path: Path, monkeypatch) -> None:
    picture = tmp_path / "a.png"
    Image.fromarray(np.zeros((100, 100, 3), np.uint8)).save(picture)
    one = memory.estimate((16, 32, 64, 128, 128), [(100, 100)] * 2, [(100, 100)] * 2, Settings())
    lock, now, most = threading.Lock(), 0, 0

    def measured(task: Task) -> dict[str, Any]:
        nonlocal now, most
        with lock:
            now += 1
            most = max(most, now)
        time.sleep(0.02)
        with lock:
            now -= 1
        return done(task)

    monkeypatch.setattr(loop, "do", measured)
    names = [f"{i}.png" for i in range(12)]
    for budget, expected in ((1e12, 4), (2.5 * one, 2), (one / 2, 1)):
        most = 0
        assert run(jobs(*names, a=str(picture)), in_threads(4), tmp_path / str(expected), budget).done == 12
        assert most == expected


def test_without_a_budget_no_picture_is_opened(tmp_path: Path, monkeypatch) -> None:
    opened: list[str] = []
    monkeypatch.setattr(loop, "picture_size", opened.append)
    monkeypatch.setattr(loop, "do", done)
    assert run(jobs("x.png"), in_threads(1), tmp_path, math.inf).done == 1
    assert opened == []


def test_a_job_without_enough_memory_runs_again_alone(tmp_path: Path, monkeypatch) -> None:
    flying: set[str] = set()
    tried: list[tuple[str, int]] = []

    def measured(task: Task) -> dict[str, Any]:
        flying.add(task.job.name)
        time.sleep(0.05)
        tried.append((task.job.name, len(flying)))
        alone = len(flying) == 1
        flying.remove(task.job.name)
        if task.job.name == "never.png" or (task.job.name == "large.png" and not alone):
            return failed(task, "too little memory", memory=True)
        return done(task)

    monkeypatch.setattr(loop, "do", measured)
    tally = run(jobs("large.png", "x.png", "never.png", "y.png", "z.png"), in_threads(3), tmp_path)
    assert (tally.done, tally.failed) == (4, 1)
    assert states(tmp_path)["never.png"] == "failed"
    assert sorted(tried[-2:]) == [("large.png", 1), ("never.png", 1)]


def test_a_full_disk_ends_the_batch_with_one_error_and_finished_jobs_are_recorded(tmp_path: Path, monkeypatch) -> None:
    def filling(task: Task) -> dict[str, Any]:
        return failed(task, "3.png: the disk is full", full=True) if task.job.number > 2 else done(task)

    monkeypatch.setattr(loop, "do", filling)
    with pytest.raises(OutputError, match=r"3\.png: the disk is full; free some disk space, and run the same command"):
        run(jobs(*(f"{i}.png" for i in range(1, 100))), in_threads(1), tmp_path)
    assert states(tmp_path) == {"1.png": "done", "2.png": "done", "3.png": "begun"}


def test_rows_of_a_long_table_are_read_only_when_needed(tmp_path: Path, monkeypatch) -> None:
    """Check that the loop is never more than five jobs ahead of the jobs that have ended."""
    monkeypatch.setattr(loop, "do", done)
    ahead: list[int] = []
    ended = 0

    def count(progress: Any) -> None:
        nonlocal ended
        ended = int(progress.stage.split()[0])

    def source():
        for job in jobs(*(f"{i}.png" for i in range(500))):
            ahead.append(job.number - ended)
            yield job

    described = {"model_sha256": "m", "widths": (16, 32, 64, 128, 128)}
    pool = in_threads(2)
    with Manifest(tmp_path / "batch.jsonl") as manifest, closing(source()) as each:
        report = Report(tmp_path / "report.html", str(tmp_path), 500, "", "")
        own = loop.Loop(pool, manifest, report, str(tmp_path), EngineArguments(), described, 1e12, False)
        assert own.run(each, 500, count).done == 500
    pool.close(False)
    assert max(ahead) <= 5
