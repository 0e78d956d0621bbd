"""Tests of the roofline: its counts of a graph's work, and the limit that decides the time."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest

from analogy.networks.models import DEFAULT, locate

TOOL = Path(__file__).parents[2] / "tools" / "roofline.py"


@pytest.fixture(scope="module")
def roofline():
    spec = importlib.util.spec_from_file_location("roofline", TOOL)
    module = sys.modules["roofline"] = importlib.util.module_from_spec(spec)
    path = list(sys.path)
    spec.loader.exec_module(module)
    yield module
    sys.path[:] = path
    del sys.modules["roofline"]


def test_convolutions_are_counted_by_their_products_and_nodes_by_their_bytes(roofline):
    nodes = roofline.count_graph(locate(DEFAULT) / "features.onnx", {"image": [1, 3, 32, 48]})
    widths, area = (16, 32, 64, 256, 256), 32 * 48
    # For each layer of the compact model: the numbers of channels of its input and of its output,
    # and the number of the picture's pixels for each position of its output.
    layers = [(3, 16, 1), (16, 16, 1), (16, 32, 4), (32, 32, 4), (32, 64, 16), (64, 96, 16), (96, 96, 16),
              (96, 256, 64), (256, 192, 64), (192, 192, 64), (192, 256, 256)]  # fmt: skip
    expected = sum(2 * 9 * before * after * area / share for before, after, share in layers)
    assert sum(node.operations for node in nodes) == expected
    assert len(nodes) == len(layers) + 4 + 2  # 4 for pooling, 2 for the preprocessing
    first = next(node for node in nodes if node.operations)
    assert first.memory == 4 * (3 * area + widths[0] * area + 3 * 9 * widths[0] + widths[0])


def test_a_launch_takes_the_time_of_its_tightest_limit(roofline):
    gpu = roofline.Gpu("a GPU", operations=100.0, memory=10.0, second=1.0, first=50.0, whole=40.0)
    seconds = {
        "operations": roofline.Launch(operations=1000.0, memory=1.0).seconds(gpu),
        "memory": roofline.Launch(operations=1.0, memory=1000.0).seconds(gpu),
        "compared": roofline.Launch(memory=1.0, compared=600.0).seconds(gpu),
        "steps": roofline.Launch(memory=1.0, steps=1e9).seconds(gpu),
        "least": roofline.Launch().seconds(gpu),
    }
    assert seconds == {
        "operations": 10.0 / roofline.CONVOLVED, "memory": 100.0 / roofline.COPIED,
        "compared": 100.0 / roofline.SEARCHED, "steps": 1e9 * roofline.STEP, "least": roofline.LEAST,
    }  # fmt: skip


def test_photo_refinement_is_counted_with_the_steps_of_its_lines(roofline, simulated, monkeypatch):
    monkeypatch.setattr(roofline, "SIZE", 16)  # the grids have 17, 9, 5 and 3 rows
    work = roofline.count_photo()
    # Each grid is factored. A cycle that begins at a grid is one launch, which relaxes this grid
    # and all coarser grids twice. A relaxation takes 8 steps for each row of its grid.
    sides = (17, 9, 5, 3)
    cycles = {16 * sum(sides[first:]) for first in range(4)}
    assert {launch.steps for launch in work if launch.steps} == cycles.union(sides)
    assert sum(launch.memory for launch in work if not launch.steps) > 0


def test_each_turn_of_a_large_grid_is_counted_separately(roofline, simulated, monkeypatch):
    monkeypatch.setattr(
        roofline, "example", lambda side: [np.zeros((140, 20, 3), np.uint8), np.ones((140, 20, 3), np.uint8)]
    )
    work = roofline.count_photo()
    assert {2 * 141, 2 * 21} <= {launch.steps for launch in work}
