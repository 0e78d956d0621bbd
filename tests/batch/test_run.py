"""Tests of the start of a whole batch, which checks its first worker."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool

import pytest

from analogy import DeviceError
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
