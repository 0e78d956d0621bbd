"""Options and fixtures of the whole test suite."""

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

from analogy.backends import compiled
from analogy.backends.cpu import CpuBackend
from analogy.errors import DeviceError

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # a shell lets background jobs ignore it, but tests send it
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--require-gpu",
        action="store_true",
        help="let tests that need a GPU fail, instead of being skipped, if there is no GPU",
    )


@functools.cache
def _why_no_gpu() -> str:
    """Return why the real CUDA backend cannot be used, or an empty string if it can."""
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
    """Print the report that a tester with a GPU pastes into an issue."""
    for line in config.stash.get(GPU_REPORT, []):
        terminalreporter.write_line(line)


@pytest.fixture
def gpu_report(request: pytest.FixtureRequest) -> list[str]:
    """Return a list; the lines that a test appends to it are printed at the end of the run."""
    lines: list[str] = []
    request.config.stash[GPU_REPORT] = lines
    return lines


@pytest.fixture(scope="session", autouse=True)
def compiled_kernels() -> None:
    """Compile the kernels of the CPU, since otherwise the first command would log this step."""
    for module in compiled.KERNELS:
        compiled.load(module)


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(20170505)


@pytest.fixture(scope="session")
def cpu():
    return CpuBackend(2)


@pytest.fixture(scope="session")
def simulated():
    """Return the CUDA backend on the simulator; skip the test if there is no compiler."""
    import simulator

    if reason := simulator.missing():
        pytest.skip(reason)
    return simulator.SimulatedCudaBackend()


@pytest.fixture(scope="session", params=["cpu", "simulated", pytest.param("cuda", marks=pytest.mark.gpu)])
def backend(request):
    """Return a backend; a test with this fixture runs once with each backend."""
    if request.param == "cuda":
        from analogy.backends.cuda import CudaBackend

        return CudaBackend()
    return request.getfixturevalue(request.param)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """Make a file system of 64 kB; skip the test if that is not possible."""
    disk = tmp_path / "disk"
    disk.mkdir()
    if not hasattr(os, "geteuid") or os.geteuid() or not shutil.which("mount"):
        pytest.skip("only a superuser can make a small file system")
    made = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", disk], capture_output=True, text=True)
    if made.returncode:
        pytest.skip(f"no small file system can be made here: {made.stderr.strip()}")
    try:
        yield disk
    finally:
        subprocess.run(["umount", disk], check=True)
