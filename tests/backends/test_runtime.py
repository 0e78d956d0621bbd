"""Tests of ONNX Runtime: it sends no telemetry, and a broken installation gives useful errors."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import no_network
import numpy as np
import pytest
from click.testing import CliRunner

from analogy import Engine
from analogy.apps.cli import cli
from analogy.backends import runtime
from analogy.errors import DeviceError

EXTRAS = r'pip install "deep-image-analogy\[cpu\]" \(for an NVIDIA GPU: \[cuda12\] or \[cuda13\]\)'
SECONDS_TO_A_CONNECTION = 10
"""Seconds to wait for a socket; ONNX Runtime 1.32 opens its first one 8 seconds after loading."""


def without_network(*command: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a command with few environment variables; Linux kills it if it opens an internet socket.

    If a variable says that the process runs in a CI, ONNX Runtime never sends anything, so the test
    would prove nothing.
    """
    kept = {name: value for name, value in os.environ.items() if name in ("PATH", "SYSTEMROOT", "LD_LIBRARY_PATH")}
    return subprocess.run(
        [sys.executable, no_network.__file__, *command], env=kept | environment, capture_output=True, text=True
    )


@pytest.mark.skipif(bool(no_network.missing()), reason=no_network.missing())
def test_an_internet_socket_kills_the_watched_command() -> None:
    """Check that `tests.no_network` works, on which the test of the demo relies."""
    code = "import socket; socket.socket(socket.AF_UNIX); print('still there'); socket.socket(socket.{})"
    for family in ("AF_INET", "AF_INET6"):
        done = without_network(sys.executable, "-uc", code.format(family))
        assert (done.returncode, done.stdout) == (-signal.SIGSYS, "still there\n")


@pytest.mark.skipif(bool(no_network.missing()), reason=no_network.missing())
def test_the_demo_opens_no_connection_and_leaves_nothing_in_the_home_folder(tmp_path: Path) -> None:
    home, out = tmp_path / "home", tmp_path / "out"
    home.mkdir()
    code = f"""
import time
from analogy.apps.cli import cli
cli.main(["demo", "--device", "cpu", "-o", {str(out)!r}], standalone_mode=False)
time.sleep({SECONDS_TO_A_CONNECTION})
"""
    done = without_network(sys.executable, "-c", code, HOME=str(home))
    assert done.returncode == 0, done.stderr
    assert (out / "montage.png").is_file()
    left = [path for path in home.rglob("*") if path.is_file()]
    assert [
        path for path in left if path.suffix not in (".nbi", ".nbc")
    ] == []  # Numba stores compiled code there if the package is read-only


def test_a_runtime_that_was_loaded_before_sends_no_telemetry(monkeypatch) -> None:
    calls: list[bool] = []
    monkeypatch.setitem(
        sys.modules, "onnxruntime", SimpleNamespace(disable_telemetry_events=lambda: calls.append(True))
    )
    runtime.import_runtime()
    assert calls == [True]


def test_without_a_runtime_the_error_names_the_extras_in_one_line(monkeypatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    monkeypatch.setattr(runtime, "installed", dict)
    with pytest.raises(DeviceError, match=f"ONNX Runtime is not installed; {EXTRAS}"):
        Engine(device="cpu")
    done = CliRunner().invoke(cli, ["demo", "-o", str(tmp_path / "out"), "--device", "cpu"])
    assert done.exit_code == 2
    assert done.stderr.startswith("analogy: ONNX Runtime is not installed") and done.stderr.count("\n") == 1
    assert "ONNX Runtime is not installed" in CliRunner().invoke(cli, ["info"]).stdout


@pytest.mark.parametrize("module", [None, SimpleNamespace()], ids=["gone", "emptied"])
def test_a_runtime_without_its_files_is_refused_with_advice(monkeypatch, module) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", module)
    monkeypatch.setattr(runtime, "installed", lambda: {"onnxruntime": "1.31.1"})
    with pytest.raises(
        DeviceError, match=f"though onnxruntime is installed .*; pip uninstall -y onnxruntime, then {EXTRAS}"
    ):
        Engine(device="cpu")


def test_two_runtimes_are_reported_by_info_and_logged_once_by_the_first_session(monkeypatch, caplog) -> None:
    monkeypatch.setattr(runtime, "installed", lambda: {"onnxruntime": "1.31.1", "onnxruntime-gpu": "1.31.1"})
    words = (
        "onnxruntime and onnxruntime-gpu overwrite each other; pip uninstall -y onnxruntime onnxruntime-gpu, then pip"
    )
    assert words in CliRunner().invoke(cli, ["info"]).stdout
    runtime._warn_of_conflict.cache_clear()
    picture = np.random.default_rng(0).integers(0, 256, (16, 16, 3)).astype(np.uint8)
    with caplog.at_level(logging.WARNING, "analogy"):
        for _ in range(2):
            Engine(device="cpu").transfer(picture, picture, "fast")
    assert [record.getMessage().startswith(words) for record in caplog.records] == [True]
    runtime._warn_of_conflict.cache_clear()


def test_one_runtime_is_installed_here() -> None:
    assert list(runtime.installed()) in (["onnxruntime"], ["onnxruntime-gpu"])
    assert runtime.problem() == ""


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux limits the address space of a process")
def test_with_too_little_address_space_the_runtime_is_not_loaded() -> None:
    # With this little address space, loading the library would end the process in about one run in
    # a hundred.
    code = """
import resource, sys
import psutil
from analogy.backends.runtime import import_runtime
from analogy.errors import MemoryLimitError
bound = psutil.Process().memory_info().vms + 100_000_000
resource.setrlimit(resource.RLIMIT_AS, (bound, bound))
try:
    import_runtime()
except MemoryLimitError as error:
    print("ulimit" in str(error), "onnxruntime" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("True False\n", "")
