"""Tests of the files from which a run continues a killed run: a changed file is not used."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from analogy.films import work


def test_a_state_that_was_changed_or_is_of_another_shape_or_type_is_not_used(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(work, "EVERY", 0)
    kept, arrays = work.Work(tmp_path / "work", "0" * 64), {"flow": np.ones((2, 3), np.float32)}
    kept.keep("before", 3, arrays)
    index, found = kept.state("before", arrays) or (None, {})
    assert index == 3 and np.array_equal(found["flow"], arrays["flow"])
    for other in ({"flow": np.ones((3, 2), np.float32)}, {"flow": np.ones((2, 3))}, {"sure": arrays["flow"]}):
        assert kept.state("before", other) is None
    [path] = (tmp_path / "work").glob("*.npz")
    with np.load(path) as file:
        content = dict(file)
    for change in ({"flow": content["flow"] + 1}, {"index": np.int64(4)}):
        np.savez(path, **(content | change))
        assert kept.state("before", arrays) is None
    np.savez(path, **content)
    assert kept.state("before", arrays) is not None
