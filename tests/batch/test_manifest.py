"""Tests of the manifest of a batch: incomplete lines, foreign files, and a job's last line."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from analogy import OutputError
from analogy.batch import manifest as manifest_module
from analogy.batch.manifest import Manifest
from analogy.batch.names import inside

RUN = {"analogy": "0.1.0", "run": "2030-01-31T12:00:00+00:00", "model_sha256": "", "settings": {}}


def line(job: str, state: str = "done", **more: object) -> dict[str, object]:
    return {"job": job, "state": state, "files": {job: {"bytes": 1}}, "error": "", **more}


def test_the_last_complete_line_of_a_job_counts(tmp_path: Path) -> None:
    path = tmp_path / "batch.jsonl"
    with Manifest(path) as manifest:
        manifest.append(RUN)
        for each in (
            line("a", seconds=1),
            line("b", "begun"),
            line("\u00e9", a="\udce9"),
            line("a", "failed", seconds=2),
        ):
            manifest.append(each)
    whole = path.read_bytes()
    for cut in (1, 10, len(whole.splitlines()[-1])):
        path.write_bytes(whole[:-cut])
        with Manifest(path) as manifest:
            assert manifest.known("a") == line("a", seconds=1)
            assert manifest.known("b") is None
            assert (manifest.owns("b"), manifest.owns("c")) == (True, False)
            manifest.append(line("c"))
            assert manifest.known("c") == line("c")
        with Manifest(path) as manifest:
            assert manifest.known("c") == line("c")
            assert manifest.known("a") == line("a", seconds=1)
    path.write_bytes(whole)
    with Manifest(path) as manifest:
        assert manifest.known("a") == line("a", "failed", seconds=2)


@pytest.mark.parametrize("space", ["\u00a0", "\u202f", "\u3000"], ids=ascii)
def test_a_result_belongs_to_the_batch_whatever_spaces_are_in_its_name(tmp_path: Path, space: str) -> None:
    name = inside(f"at{space}noon.png")
    with Manifest(tmp_path / "batch.jsonl") as manifest:
        manifest.append(RUN)
        manifest.append(line(name))
        assert manifest.owns(name)
        assert manifest.known(name) == line(name)


def test_a_line_that_is_too_long_is_skipped(tmp_path: Path) -> None:
    path = tmp_path / "batch.jsonl"
    with Manifest(path) as manifest:
        manifest.append(RUN)
        manifest.append(line("a"))
        for job, length in (("long", 10_000_000), ("just", manifest_module._LONGEST_LINE)):
            rest = length - len(json.dumps(line(job))) - 1  # 1 byte is the line end
            manifest.append(line(job, error="x" * rest))
        manifest.append(line("b"))
    whole = path.read_bytes()
    with Manifest(path) as manifest:
        assert [manifest.known(job) for job in ("a", "b")] == [line("a"), line("b")]
        assert [manifest.owns(job) for job in ("a", "b", "just")] == [True, True, True]
        manifest.append(line("c"))
    assert path.read_bytes().startswith(whole)
    path.write_bytes(whole + b'{"job": "' + b"x" * 10_000_000)  # a killed run can leave such a line
    with Manifest(path) as manifest:
        assert manifest.known("b") == line("b")
        manifest.append(line("c"))
        assert manifest.known("c") == line("c")


@pytest.mark.parametrize(
    "changes",
    [
        {"files": None}, {"files": ["a"]}, {"files": {"a": {}}}, {"files": {"a": 5}}, {"files": {"a": {"bytes": None}}},
        {"state": ["done"]}, {"state": {}}, {"state": "failed"}, {"state": "failed", "error": 5}, {"thumbnails": [1]},
        {"thumbnails": 5}, {"seconds": "x"}, {"seconds": None}, {"seconds": 1e999}, {"job": "\ud800"}, {"job": 7},
        {"files": {"\ud800": {"bytes": 1}, "a": 3}},
    ],
    ids=str,
)  # fmt: skip
def test_a_changed_line_is_skipped(tmp_path: Path, changes: dict) -> None:
    path, before = tmp_path / "batch.jsonl", {"job": "a", "state": "done", "files": {"a": {"bytes": 1}}}
    path.write_text("".join(json.dumps(each) + "\n" for each in (RUN, before, before | changes, line("b"))))
    with Manifest(path) as manifest:
        assert manifest.known("a") in (None, before)
        assert manifest.owns("a")
        assert manifest.known("b") == line("b")


@pytest.mark.parametrize(
    "content",
    [
        b'{"a": "photo.jpg"}\n',
        b"[1]\n",
        b"\n",
        b"\xff\xfe\n",
        b'"analogy"\n',
        b'{"analogy": "A is to B"}\n',
        b'{"analogy": "A is to B"}',
        b'{"analogy": "A is to B", "run',
        b'{"analogy": "0.1.0", "run": "x"}',
        b'{"analogy": "0.1.0", "model_sha256": "", "settings": {}, "files": {}}\n',
        b'{"a": "photo.jpg"}',
        b"mine",
        b"[",
        b"\0" * 9,
    ],
)
def test_a_file_that_is_not_a_manifest_stays_as_it_is(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "batch.jsonl"
    path.write_bytes(content)
    with pytest.raises(OutputError, match="is not a manifest of a batch"), Manifest(path):
        pass
    assert path.read_bytes() == content


def test_an_incomplete_first_line_is_recognised(tmp_path: Path) -> None:
    path = tmp_path / "batch.jsonl"
    whole = json.dumps(RUN).encode()
    for end in range(len(whole)):
        path.write_bytes(whole[:end])
        with Manifest(path) as manifest:
            manifest.append(RUN)
        assert path.read_bytes() == whole + b"\n"


def test_a_line_that_cannot_be_written_leaves_the_file_unchanged(small_disk: Path) -> None:
    path = small_disk / "batch.jsonl"
    with Manifest(path) as manifest:
        manifest.append(RUN)
        before = path.read_bytes()
        with pytest.raises(OutputError, match=r"No space left.*the same command again to continue"):
            manifest.append(line("a", error="x" * 100_000))
        assert path.read_bytes() == before
        manifest.append(line("b"))
        assert manifest.known("b") == line("b")


def test_a_manifest_without_a_run_leaves_no_file(tmp_path: Path) -> None:
    with Manifest(tmp_path / "batch.jsonl"):
        assert os.listdir(tmp_path) == ["batch.jsonl"]  # noqa: PTH208
    assert not any(tmp_path.iterdir())
