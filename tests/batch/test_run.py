"""Tests of the start of a whole batch, which checks its first worker."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

import pytest

from analogy import DeviceError
from analogy.backends import MOST_THREADS
from analogy.batch import pools, run
from analogy.engine_arguments import EngineArguments
from analogy.version import __version__


def test_workers_with_another_version_of_analogy_are_refused_before_the_work(monkeypatch) -> None:
    with ThreadPoolExecutor(1) as executor:
        pool = pools.Pool(executor, lambda: 1, BrokenProcessPool, 2, True, lambda now: None)
        for version in (__version__, "999"):
            monkeypatch.setattr(run, "describe", lambda engine, version=version: {"analogy": version})
            if version == __version__:
                assert run._described(pool, EngineArguments(), lambda progress: None) == {"analogy": version}
                continue
            with pytest.raises(DeviceError, match=f"the workers have analogy 999, but this machine has {__version__}"):
                run._described(pool, EngineArguments(), lambda progress: None)


def test_the_name_of_an_installed_model_does_not_mean_a_folder_of_this_name(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("vgg16-compact", "mine"):
        (tmp_path / name).mkdir()
        pool, engine = run._pool(None, 1, EngineArguments(name))
        pool.executor.shutdown()
        assert engine.model == (name if name == "vgg16-compact" else str(tmp_path / name))


def test_a_worker_gets_no_more_threads_than_an_engine_may_have(monkeypatch) -> None:
    monkeypatch.setattr(run, "available_cores", lambda: 384)
    pool, engine = run._pool(None, 1, EngineArguments())
    pool.executor.shutdown()
    assert engine.threads == MOST_THREADS


def test_a_signal_that_leaves_a_future_locked_does_not_keep_a_batch_from_ending(monkeypatch) -> None:
    """Hold a lock that a thread of the pool needs, as an exception of a signal can leave it."""
    monkeypatch.setattr(pools, "_CLOSING_SECONDS", 1)
    pool = pools.processes(2)
    locked, other = (pool.executor.submit(time.sleep, 60) for _ in range(2))
    ending = threading.Thread(target=pool.close, args=(True,), daemon=True)
    with locked._condition:
        ending.start()
        ending.join(20)
        assert not ending.is_alive()
    with pytest.raises(BrokenProcessPool):
        other.result(20)
