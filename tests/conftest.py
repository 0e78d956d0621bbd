"""Options and fixtures of the whole test suite: which backends the kernel tests run on."""

from __future__ import annotations

import functools
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from analogy.backends.cpu import CpuBackend
from analogy.errors import DeviceError

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # as in a shell's background jobs, and then in their children
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--require-gpu", action="store_true", help="fail, instead of skipping, the tests that need a GPU and find none"
    )


@functools.cache
def _why_no_gpu() -> str:
    """Why the real CUDA backend cannot be used; empty if it can."""
    from analogy.backends.cuda import CudaBackend

    try:
        CudaBackend()
    except DeviceError as error:
        return str(error)
    return ""


def pytest_runtest_setup(item: pytest.Item) -> None:
    if item.get_closest_marker("gpu") and (reason := _why_no_gpu()):
        if item.config.getoption("--require-gpu"):
            pytest.fail(f"--require-gpu: {reason}", pytrace=False)
        pytest.skip(reason)


GPU_REPORT = pytest.StashKey[list[str]]()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """End with what a person with a GPU pastes into an issue."""
    for line in config.stash.get(GPU_REPORT, []):
        terminalreporter.write_line(line)


@pytest.fixture
def gpu_report(request: pytest.FixtureRequest) -> list[str]:
    """Lines to show at the end of the run."""
    lines: list[str] = []
    request.config.stash[GPU_REPORT] = lines
    return lines


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(20170505)


@pytest.fixture(scope="session")
def cpu():
    return CpuBackend(2)


@pytest.fixture(scope="session")
def simulated():
    """The CUDA backend on the simulator; its tests are skipped where no compiler is found."""
    import simulator

    if reason := simulator.missing():
        pytest.skip(reason)
    return simulator.SimulatedCudaBackend()


@pytest.fixture(scope="session", params=["cpu", "simulated", pytest.param("cuda", marks=pytest.mark.gpu)])
def backend(request):
    """Every backend in turn."""
    if request.param == "cuda":
        from analogy.backends.cuda import CudaBackend

        return CudaBackend()
    return request.getfixturevalue(request.param)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 64 kB, where the system lets us make one."""
    disk = tmp_path / "disk"
    disk.mkdir()
    if not hasattr(os, "geteuid") or os.geteuid() or not shutil.which("mount"):
        pytest.skip("to make a small file system takes a superuser")
    made = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", disk], capture_output=True, text=True)
    if made.returncode:
        pytest.skip(f"no small file system can be made here: {made.stderr.strip()}")
    try:
        yield disk
    finally:
        subprocess.run(["umount", disk], check=True)
