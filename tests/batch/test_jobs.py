"""Rows become jobs: of Parquet with its types and its empty cells, of tables of any length."""

from __future__ import annotations

import json
import tracemalloc
from pathlib import Path

import pytest

from analogy import Settings, SettingsError
from analogy.batch import jobs

SETTINGS = Settings(direction="ab")


def of_table(path: Path) -> jobs.Jobs:
    return jobs.Jobs(jobs.of_table(str(path)), str(path.parent), SETTINGS, "/style.png")


def test_parquet_has_types_and_empty_cells(tmp_path: Path) -> None:
    pa = pytest.importorskip("pyarrow", reason="needs the extra parquet")
    parquet = pytest.importorskip("pyarrow.parquet", reason="needs the extra parquet")
    columns = {
        "a": ["x.png", "y.png", "z.png"],
        "b_prime": [None, "s.png", ""],
        "ratio": [0.5, float("nan"), None],
        "seed": [3.0, float("nan"), 4.0],  # as pandas keeps whole numbers beside empty cells
        "photo": [True, None, False],
        "preset": [None, "face", None],
    }
    parquet.write_table(pa.table(columns), tmp_path / "jobs.parquet")
    found = list(of_table(tmp_path / "jobs.parquet"))
    assert [job.settings for job in found] == [
        Settings(direction="ab", ratio=0.5, seed=3, photo=True),
        Settings(direction="ab", ratio=0.5),
        Settings(direction="ab", seed=4),
    ]
    assert [job.inputs["b_prime"] for job in found] == ["/style.png", str(tmp_path / "s.png"), "/style.png"]
    (tmp_path / "jobs.parquet").write_bytes(b"PAR1 no more")
    with pytest.raises(SettingsError, match="no parquet table"):
        list(of_table(tmp_path / "jobs.parquet"))


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (b"[1]", "line 2: it takes an object"),
        (b"{", "line 2: no JSON"),
        (b"[" * 100_000, "line 2: no JSON"),
        (b" " * (1 << 21), "it has more than 1048576 bytes"),
        (b'{"a": 1}', "line 2: a is 1; it takes a path"),
        (b'{"a": "x\\u0000"}', "line 2: a is"),
        (b'{"a": "x", "seed": 1.5}', "line 2: seed is 1.5; it takes a whole number"),
        (b'{"a": "x", "seed": true}', "line 2: seed is True; it takes a whole number"),
        (b'{"a": "x", "name": "\\u202e"}', "no path inside the folder for results"),
        (b'{"a": "x", "name": "a\\\\b"}', "no path inside the folder for results"),
        (b'{"a": "x", "name": "c:b"}', "no path inside the folder for results"),
    ],
)
def test_a_line_that_is_no_job_is_named(tmp_path: Path, line: bytes, words: str) -> None:
    (tmp_path / "jobs.jsonl").write_bytes(b'{"a": "first.png"}\n' + line + b"\n")
    with pytest.raises(SettingsError) as raised:
        jobs.check(of_table(tmp_path / "jobs.jsonl"), str(tmp_path / "out"))
    assert words in str(raised.value)


@pytest.mark.parametrize("suffix", [".csv", ".jsonl"])
def test_a_long_table_is_checked_in_little_memory(tmp_path: Path, suffix: str) -> None:
    rows = 5_000
    with (tmp_path / f"jobs{suffix}").open("w") as file:
        file.write("a,b_prime\n" if suffix == ".csv" else "")
        for i in range(rows):
            file.write(f"folder/{i}.png,b.png\n" if suffix == ".csv" else json.dumps({"a": f"folder/{i}.png"}) + "\n")
    tracemalloc.start()
    try:
        assert jobs.check(of_table(tmp_path / f"jobs{suffix}"), str(tmp_path / "out")) == rows
        assert tracemalloc.get_traced_memory()[1] < 500_000  # a hundred bytes for each row
    finally:
        tracemalloc.stop()
