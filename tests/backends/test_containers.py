"""Tests of the limits of containers, with folders like control groups of versions 1 and 2.

One test makes a real control group if the system permits it.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import psutil
import pytest
from PIL import Image

from analogy.backends import host
from analogy.backends.containers import ControlGroups

MEMORY = Path("/sys/fs/cgroup/memory")


@pytest.fixture
def groups(tmp_path):
    """Return a function that writes control groups of this process, and returns their limits."""

    def make(own: str, **files: str) -> ControlGroups:
        (tmp_path / "own").write_text(own)
        for path, text in files.items():
            file = tmp_path / "groups" / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text)
        return ControlGroups(tmp_path / "groups", tmp_path / "own")

    return make


STAT = "anon 5\ninactive_file {}\nactive_file 70\n"


def test_a_container_has_the_limits_of_its_group(groups):
    limits = groups("0::/\n", **{"cpu.max": "150000 100000\n", "memory.max": "5000\n", "memory.current": "3000\n",
                        "memory.stat": STAT.format(400)})  # fmt: skip
    assert limits.cores() == 2
    assert limits.free_memory() == 2400


def test_the_tightest_limit_of_nested_groups_counts(groups):
    limits = groups("0::/shop/web\n", **{
        "cpu.max": "800000 100000\n", "shop/cpu.max": "300000 100000\n", "shop/web/cpu.max": "max 100000\n",
        "memory.max": "9000\n", "memory.current": "8000\n", "shop/memory.max": "5000\n",
        "shop/memory.current": "4900\n", "shop/web/memory.max": "max\n", "shop/web/memory.current": "1\n",
    })  # fmt: skip
    assert limits.cores() == 3
    assert limits.free_memory() == 100


def test_groups_of_the_first_version_are_read_too(groups):
    limits = groups("7:memory:/one\n4:cpu,cpuacct:/two\n1:name=systemd:/three\n", **{
        "memory/one/memory.limit_in_bytes": "6000\n", "memory/one/memory.usage_in_bytes": "7000\n",
        "memory/one/memory.stat": "inactive_file 1\ntotal_inactive_file 1500\n",
        "cpu,cpuacct/two/cpu.cfs_quota_us": "20000\n", "cpu,cpuacct/two/cpu.cfs_period_us": "100000\n",
    })  # fmt: skip
    assert limits.cores() == 1
    assert limits.free_memory() == 500


def test_a_group_above_its_limit_has_no_free_memory(groups):
    limits = groups("0::/\n", **{"memory.max": "5000\n", "memory.current": "6000\n"})
    assert limits.free_memory() == 0


@pytest.mark.parametrize("files", [
    {}, {"cpu.max": "max 100000\n", "memory.max": "max\n", "memory.current": "5\n"},
    {"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"},
])  # fmt: skip
def test_without_a_limit_the_functions_return_none(groups, files):
    limits = groups("4:memory:/a\n1:cpu:/b\n0::/c\n", **files)
    assert limits.cores() is None
    assert limits.free_memory() is None


def test_without_groups_the_functions_return_none(tmp_path):
    limits = ControlGroups(tmp_path / "groups", tmp_path / "own")
    assert limits.cores() is None
    assert limits.free_memory() is None


def test_the_host_is_no_larger_than_the_container(groups, monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(range(8)), raising=False)
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=3000))
    limits = groups("0::/\n", **{"cpu.max": "200000 100000\n", "memory.max": "5000\n", "memory.current": "3000\n"})
    assert (host.available_cores(limits), host.free_memory(limits)) == (2, 2000)
    limits = groups("0::/\n", **{"cpu.max": "1600000 100000\n", "memory.max": "9000\n", "memory.current": "3000\n"})
    assert (host.available_cores(limits), host.free_memory(limits)) == (8, 3000)


def test_a_transfer_that_does_not_fit_into_the_container_is_refused_in_one_line(tmp_path):
    group = MEMORY / f"analogy-test-{os.getpid()}"
    try:
        group.mkdir()
    except OSError as error:
        pytest.skip(f"this system does not permit making a control group with a memory limit: {error}")
    try:
        (group / "memory.limit_in_bytes").write_text(str(600 << 20))
        picture = tmp_path / "large.png"
        Image.fromarray(np.zeros((3000, 4000, 3), np.uint8)).save(picture)
        command = [sys.executable, "-m", "analogy", "transfer", str(picture), str(picture), "-o", str(tmp_path / "out")]
        done = subprocess.run(
            ["sh", "-c", f'echo $$ > {group}/cgroup.procs && exec "$@"', "sh", *command, "--device", "cpu"],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
    finally:
        group.rmdir()
    assert done.returncode == 2, done.stderr
    assert "memory" in done.stderr
    assert not (tmp_path / "out").exists()
