"""Tests of the benchmark.

It compares the speed of each stage with the limits of the machine, and with an earlier report.
"""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pytest

from analogy.engine import Engine
from analogy.networks.models import DEFAULT
from analogy.settings import PRESETS

TOOL = Path(__file__).parents[2] / "tools" / "bench.py"


def bench(*options: str) -> str:
    command = [sys.executable, str(TOOL), "--size", "64", "--threads", "1", "--runs", "1", *options]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def test_the_benchmark_shows_each_stage_and_compares_with_an_earlier_file(tmp_path: Path) -> None:
    file = tmp_path / "figures.json"
    first = bench("--json", str(file))
    [(title, found)] = json.loads(file.read_text())["runs"].items()
    assert title.startswith("vgg16-compact, 64 x 64, 1 thread")
    wanted = {"start", "imports", "kernels", "sessions", "features", "join", "vote", "saving", "other"}
    wanted |= {f"step {level}" for level in (5, 4, 3, 2)} | {f"search {side} x {side}" for side in (4, 8, 16, 32, 64)}
    assert wanted <= found["stages"].keys()
    assert all(seconds >= 0 for seconds, _ in found["stages"].values())
    assert found["peak"] > 1e8
    assert first.count("of limit") >= 11
    assert "before" not in first
    again = bench("--compare", str(file), "--peer", f"{sys.executable} -c pass {{a}} {{b}} {{out}}")
    assert again.count("(before ") == first.count("of limit")
    assert "--preset fast" in again and "x 1.00 of" in again


def test_a_service_is_asked_by_so_many_clients_at_a_time(tmp_path: Path) -> None:
    pytest.importorskip("fastapi", reason="the service needs the extra web")
    file = tmp_path / "figures.json"
    shown = bench("--preset", "fast", "--clients", "1", "--clients", "2", "--json", str(file))
    [found] = json.loads(file.read_text())["runs"].values()
    for count in ("1", "2"):
        figures = found["service"][count]
        assert 0 < figures["p50"] <= figures["p95"]
        assert figures["per_minute"] > 0
    assert f"a service, 2 clients: p50 {found['service']['2']['p50']:.2f} s, p95 " in shown


def test_a_frame_of_a_film_is_measured_by_stages(tmp_path: Path) -> None:
    pytest.importorskip("cv2", reason="films need the extra video")
    file = tmp_path / "figures.json"
    shown = bench("--preset", "fast", "--film", "--json", str(file))
    [found] = json.loads(file.read_text())["runs"].values()
    film = found["film"]
    assert all(film[name] > 0 for name in ("flows", "search", "painting", "other", "unit"))
    assert film["total"] == pytest.approx(sum(film[name] for name in ("flows", "search", "painting", "other")))
    assert f"a frame of a film, 960 x 540: {film['total']:.2f} s" in shown


def test_on_a_gpu_each_stage_is_waited_for_and_whole_transfers_are_measured_apart(simulated, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(TOOL.parent)
    spec = importlib.util.spec_from_file_location("bench", TOOL)
    tool = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tool)
    waits = []

    def engine(model, device, threads=None):
        return Engine(model, backend=simulated)

    monkeypatch.setattr("analogy.engine.Engine", engine)
    monkeypatch.setattr("analogy.backends.get_backend", lambda device: simulated)
    monkeypatch.setattr(tool, "wait_for", waits.append)
    monkeypatch.setattr(tool, "SIDE", {"cpu": 8})
    monkeypatch.setattr(tool, "COPIED", 8)
    monkeypatch.setenv("BENCH_BEGAN", "0")
    a, b_prime = tool.pair(tmp_path, 20)
    found = tool.run_once(a, b_prime, str(tmp_path / "out"), DEFAULT, "cuda", None, PRESETS["fast"])
    stages = found["stages"].keys()
    assert {"features", "join", "vote", "other"} | {f"search {side} x {side}" for side in (2, 3, 5, 10, 20)} <= stages
    assert found["device"].startswith("simulator")
    assert len(waits) > 2 * len(stages) and set(waits) == {simulated}
    assert tool.limits("cuda").keys() == {"operations", "bytes"}

    gpu = tool.bench_gpu
    cases = {name: gpu.Case((16, 20), case.settings, 1, case.aim) for name, case in gpu.CASES.items()}
    cases["preset paper"] = gpu.Case((16, 20), {"ratio": 9}, 1, 1)  # which fails, and would take long
    whole = gpu.measure(a, b_prime, DEFAULT, "cuda", cases, 0.5)
    assert whole["ms"].pop("preset paper").startswith("SettingsError: ratio is 9")
    assert all(0 < low <= middle <= high for low, middle, high in whole["ms"].values())
    whole["ms"]["preset paper"] = "SettingsError: ratio is 9"
    assert all(count > 0 for count in whole["per_second"].values())
    shown = "\n".join(gpu.lines(whole, cases))
    assert all(f"{name} " in shown for name in cases)
    assert "preset paper             failed: SettingsError: ratio is 9" in shown
    assert "for one caller" in shown and "whole transfers on simulator" in shown
