"""Rows become jobs: of Parquet with its types and its empty cells, of tables of any length."""

from __future__ import annotations

import json
import os
import tracemalloc
from pathlib import Path

import pytest

from analogy import OutputError, Settings, SettingsError
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
        (b'{"a": "x", "preset": ["face"]}', "unknown preset ['face']"),
        (b'{"a": "x", "preset": {"face": 1}}', "unknown preset {'face': 1}"),
        (b'{"a": "x", "preset": 1}', "unknown preset 1"),
        (b'{"a": "x", "name": ["y"]}', "name is ['y']; it takes a word"),
        (b'{"a": "x", "name": "report.html/x"}', "report.html is a file of the batch itself"),
        (b'{"a": "x", "name": "Batch.jsonl/x"}', "Batch.jsonl is a file of the batch itself"),
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


@pytest.mark.parametrize(
    ("first", "second"), [("\u00e9", "e\u0301"), ("\u00c5", "\u212b"), ("\u00df", "SS"), ("x/y", "X/y")], ids=ascii
)
def test_two_names_that_a_file_system_may_take_for_one_are_refused(tmp_path: Path, first: str, second: str) -> None:
    rows = [{"a": "p.png", "name": name} for name in (first, second)]
    (tmp_path / "jobs.jsonl").write_text("\n".join(map(json.dumps, rows)))
    with pytest.raises(OutputError, match="the jobs 1 and 2 would both write"):
        jobs.check(of_table(tmp_path / "jobs.jsonl"), str(tmp_path / "out"))


@pytest.mark.skipif(os.name != "posix", reason="makes links")
@pytest.mark.parametrize(
    ("a", "link"),
    [
        ("out/x.png", ""),
        ("folder/x.png", "folder"),
        ("link.png", "link.png"),
        ("hard.png", "hard.png"),
        ("p.png", "out/x.png"),
    ],
)
def test_no_job_writes_over_what_any_job_reads_whatever_it_is_called(tmp_path: Path, a: str, link: str) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "p.png").write_bytes(b"p")
    if link != "out/x.png":
        (tmp_path / "out" / "x.png").write_bytes(b"x")
    if link == "hard.png":
        os.link(tmp_path / "out" / "x.png", tmp_path / link)
    elif link:
        (tmp_path / link).symlink_to(tmp_path / {"folder": "out", "out/x.png": "p.png"}.get(link, "out/x.png"))
    own, reads, writes = {"a": a, "name": "x"}, {"a": a, "name": "y"}, {"a": "q.png", "name": "x"}
    for rows in ([own], [reads, writes], [writes, reads]):
        (tmp_path / "jobs.jsonl").write_text("\n".join(map(json.dumps, rows)))
        with pytest.raises(OutputError, match=r"that is a of job [12], which would be written over"):
            jobs.check(of_table(tmp_path / "jobs.jsonl"), str(tmp_path / "out"))


def test_the_table_and_a_file_of_the_batch_itself_are_not_mixed_up(tmp_path: Path) -> None:
    path = tmp_path / "jobs.jsonl"
    path.write_text('{"a": "p.png"}')
    with pytest.raises(OutputError, match="that is the table of the jobs"):
        jobs.check(of_table(path), "s3://bucket/out", str(path), [path])
