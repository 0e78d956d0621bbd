"""The report of `analogy info --selftest` about a GPU, here about the simulated one."""

from __future__ import annotations

import re

import numpy as np
import pytest
from click.testing import CliRunner

from analogy.apps import gpu
from analogy.apps.cli import cli
from analogy.backends import cuda, probes, selftest
from analogy.engine import Engine
from analogy.errors import MemoryLimitError
from analogy.method.features import Features
from analogy.pictures.images import resize
from analogy.pictures.reading import read_picture
from analogy.settings import Settings


@pytest.fixture
def engines(simulated, monkeypatch):
    """Let the report use small pictures, a single run, and the simulator in place of "cuda"."""
    import simulator

    made = {"cpu": Engine(device="cpu", threads=2), "cuda": Engine(device="cpu", threads=2)}
    made["cuda"].backend = simulated
    made["cuda"].network = Features(made["cpu"].network.folder, simulated)
    monkeypatch.setattr(gpu, "engine", lambda device: made[device])
    monkeypatch.setattr(probes, "import_cupy", lambda: simulator.standin)
    monkeypatch.setattr(probes, "check_runtime", lambda cp: "simulated")
    monkeypatch.setattr(cuda, "CudaBackend", lambda *index: simulated)
    monkeypatch.setattr(gpu, "SIZE", 24)
    monkeypatch.setattr(gpu, "RUNS", 1)
    pair = [resize(read_picture(path).rgb, 24, 24) for path in gpu.EXAMPLE_PAIR]
    monkeypatch.setattr(gpu, "small_transfer", lambda device: made[device].transfer(*pair, "fast").a_prime)
    return made


def test_the_report_has_versions_each_check_and_milliseconds_of_each_stage(engines, monkeypatch):
    monkeypatch.setattr(
        gpu, "MEASURED", {"--preset fast": Settings.preset("fast"), "--photo": Settings(inversion="vote", photo=True)}
    )
    done = CliRunner().invoke(cli, ["info", "--selftest"])
    assert done.exit_code == 0, done.output
    block = done.stdout[done.stdout.index("-----") :].splitlines()
    assert re.fullmatch(r"analogy \S+, Python 3\S+, \S+", block[1])
    assert re.search(r"\bnumpy \d.*\bonnxruntime\S* \d", block[2])
    # The checks are five of the set-up, one of each kernel, three of directions, devices and
    # memory, and three of a transfer.
    steps = 5 + len(selftest.KERNELS) + 3 + 3
    assert [line.split()[0] for line in block[3:-1]] == ["ok"] * (steps + 2)
    assert "simulator, 1 GiB" in block[3 + 4]
    stages = ", ".join(rf"{name} \d+" for name in ("reading", "features", "level 5", "level 4", "level 3", "level 2"))
    for line in block[-3:-1]:
        assert re.search(rf"24 x 24: \d+ ms \({stages}, level 1 \d+, pictures \d+\)$", line)
    assert block[-1] == f"----- to here: all {steps + 2} passed -----"


def test_a_transfer_that_fails_is_named_with_its_reason(engines, monkeypatch):
    def fail(*arguments, **options):
        if options:
            raise MemoryLimitError("too large\nfor it")
        return Engine.transfer(engines["cuda"], *arguments)

    monkeypatch.setattr(engines["cuda"], "transfer", fail)
    monkeypatch.setattr(gpu, "MEASURED", {"defaults": Settings()})
    lines, well = gpu.report()
    assert not well
    assert re.match(r"FAILED defaults +too large", lines[-2])
    assert lines[-1] == "----- to here: FAILED: defaults -----"


def test_nothing_is_measured_after_a_failure(engines, monkeypatch):
    monkeypatch.setattr(gpu, "small_transfer", lambda device: np.full((8, 8, 3), device == "cuda", np.uint8))
    lines, well = gpu.report()
    assert not well
    assert lines[-1] == "----- to here: FAILED: transfer -----"
    assert not any(" ms (" in line for line in lines)


@pytest.mark.gpu
def test_every_step_passes_on_the_gpu(gpu_report):
    lines, well = gpu.report()
    gpu_report += lines
    assert well
