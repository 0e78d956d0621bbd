"""The process of the command: signals at any moment, and little memory."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

COMMAND = [sys.executable, "-m", "analogy"]
FAST = ["--preset", "fast", "--search-iterations", "1", "--device", "cpu"]

needs_posix = pytest.mark.skipif(os.name != "posix", reason="sends POSIX signals")
needs_linux = pytest.mark.skipif(sys.platform != "linux", reason="looks at a process as Linux shows it")


@pytest.fixture
def pair(tmp_path: Path) -> list[Path]:
    paths = [tmp_path / "a.png", tmp_path / "b.png"]
    for seed, path in enumerate(paths):
        rng = np.random.default_rng(seed)
        Image.fromarray(rng.integers(0, 256, (300, 300, 3)).astype(np.uint8)).save(path)
    return paths


def handles_signals(process: subprocess.Popen) -> bool:
    """Return whether the process already handles signals. Python needs about 30 ms to start."""
    status = Path(f"/proc/{process.pid}/status").read_text()
    caught = int(status.partition("SigCgt:")[2].split()[0], 16)
    return bool(caught >> (signal.SIGTERM - 1) & 1)


def started(*arguments: object) -> subprocess.Popen:
    process = subprocess.Popen(
        [*COMMAND, *map(str, arguments)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    while not handles_signals(process):
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.001)
    return process


@needs_linux
@pytest.mark.parametrize("after", [0.0, 0.03, 0.06, 0.1, 0.15, 0.25, 0.4, 0.7, 1.2, 2.5])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signals_at_any_moment_end_the_command_with_one_line_and_leave_nothing(
    pair, tmp_path: Path, number: signal.Signals, after: float
) -> None:
    # A transfer with a hundred iterations takes longer than the longest wait, `after`.
    options = ["--device", "cpu", "--preset", "paper", "--search-iterations", "100"]
    process = started("transfer", *pair, "-o", tmp_path / "out" / "deep", *options)
    time.sleep(after)
    for _ in range(3):  # the user presses Ctrl-C several times
        process.send_signal(number)
        time.sleep(0.02)
    out, err = process.communicate(timeout=60)
    word = {signal.SIGINT: "interrupted", signal.SIGTERM: "terminated"}[number]
    lines = [
        line for line in err.splitlines() if "compil" not in line
    ]  # the first run on a machine logs that it compiles the kernels
    assert (process.returncode, lines, out) == (128 + number, [f"analogy: {word}"], "")
    assert not (tmp_path / "out").exists()


@needs_linux
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signals_while_files_are_written_leave_no_file(tmp_path: Path, number: signal.Signals) -> None:
    """Send three signals to a process that keeps writing files."""
    code = f"""
import time
from pathlib import Path
from analogy.apps import cli, process
from analogy.files.atomic import atomic

process.take_over()

@cli.cli.command()
def write():
    with atomic(Path({str(tmp_path)!r}) / "result.png") as file:
        while True:
            file.write(bytes(10))
            file.flush()

import sys
sys.argv[1:] = ["write"]
cli.main()
"""
    process = subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.PIPE, text=True)
    while not any(path.stat().st_size for path in tmp_path.iterdir()):
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.01)
    for _ in range(3):
        process.send_signal(number)
        time.sleep(0.005)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 128 + number
    assert err.count("\n") == 1 and "Traceback" not in err
    assert list(tmp_path.iterdir()) == []


@needs_linux
def test_an_interrupt_that_a_library_swallows_still_ends_the_run() -> None:
    code = """
from analogy.apps import cli, process
from analogy.apps.display import Display
from analogy.progress import Progress
import os, signal, sys
process.take_over()

@cli.cli.command()
def run():
    show = Display().part(0, 1)
    try:
        os.kill(os.getpid(), signal.SIGINT)
    except SystemExit:
        raise_in_a_finaliser()
    show(Progress("level 5", 0.1))
    sys.exit("went on")

class Finaliser:
    def __del__(self):
        os.kill(os.getpid(), signal.SIGTERM)
        raise KeyboardInterrupt

def raise_in_a_finaliser():
    Finaliser()

sys.argv[1:] = ["run"]
cli.main()
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "analogy: interrupted\n")


@needs_posix
def test_a_command_that_was_started_to_ignore_ctrl_c_ignores_it(pair, tmp_path: Path) -> None:
    command = [*COMMAND, "transfer", *pair, "-o", tmp_path / "out", *FAST]
    process = subprocess.Popen(
        ["sh", "-c", 'trap "" INT; exec "$@"', "sh", *map(str, command)], stdout=subprocess.PIPE, text=True
    )
    while not (tmp_path / "out").is_dir():  # the folder is made just before the transfer begins
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    assert process.returncode == 0
    assert (tmp_path / "out" / "a_prime.png").is_file()


@needs_linux
@pytest.mark.parametrize("megabytes", [60, 130, 150, 200, 240, 260, 500, 900, 1200])
def test_too_little_memory_gives_one_line_and_exit_code_2(pair, tmp_path: Path, megabytes: int) -> None:
    """Limit the memory so that a library, the pictures or the network do not fit."""
    words = [*COMMAND, "transfer", *pair, "-o", tmp_path / "out", "--device", "cpu"]
    done = subprocess.run(
        ["sh", "-c", f'ulimit -v {megabytes * 1024}; exec "$@"', "sh", *map(str, words)], capture_output=True, text=True
    )
    assert "Traceback" not in done.stderr
    if done.returncode:  # where the libraries need less memory, the command succeeds
        lines = [line for line in done.stderr.splitlines() if "compil" not in line]
        assert (done.returncode, len(lines)) == (2, 1)
        assert "memory" in lines[0].lower()
    else:
        assert (tmp_path / "out" / "a_prime.png").is_file()


@needs_linux
def test_the_command_starts_no_threads_before_it_has_work() -> None:
    code = """
import os, sys
from analogy.__main__ import main
from analogy.apps import process
def leave(code):
    print(len(os.listdir("/proc/self/task")), "numpy" in sys.modules, flush=True)
    os._exit(code)
process.leave = leave
sys.argv = ["analogy", "--version"]
main()
"""
    environment = {name: value for name, value in os.environ.items() if name != "OPENBLAS_NUM_THREADS"}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
    assert done.stdout.splitlines()[-1] == "1 True", done.stderr


def test_nothing_is_said_of_a_lock_that_has_leaked_where_processes_are_not_forked(tmp_path) -> None:
    code = """
import multiprocessing, os
multiprocessing.set_start_method("spawn")
from analogy.apps.streams import bars
with bars().external_write_mode():
    pass
os._exit(0)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
