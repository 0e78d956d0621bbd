"""`tools/mutate.py`: the mutants of both languages, their names, and the report of survivors."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

TOOL = Path(__file__).parents[2] / "tools" / "mutate.py"


@pytest.fixture(scope="module")
def mutate():
    spec = importlib.util.spec_from_file_location("mutate", TOOL)
    module = sys.modules["mutate"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    yield module
    del sys.modules["mutate"]


def names(mutate, path: Path, text: str, *functions: str) -> set[str]:
    path.write_text(text)
    return {mutant.name for mutant in mutate.mutants(path, functions)}


def test_mutants_of_cuda_are_small_changes_of_code_and_not_of_comments(mutate, tmp_path):
    text = """// 1 + 1
extern "C" __global__ void one(const float* __restrict__ x, float* __restrict__ out, int wa, int wb) {
  if (threadIdx.x >= wa) return;  // 2 < 3
  out[(size_t)threadIdx.x * wb] = min(x[0], 0.5f);
}

extern "C" __global__ void two(int* out) {
  ++out;
}
"""
    found = names(mutate, tmp_path / "k.cu", text, "one")
    bounds, store = "if (threadIdx.x >= wa) return; // 2 < 3", "out[(size_t)threadIdx.x * wb] = min(x[0], 0.5f);"
    expected = {
        (bounds, "if (threadIdx.x > wa) return; // 2 < 3"),
        (bounds, "if (false) return; // 2 < 3"),
        (store, "out[threadIdx.x * wb] = min(x[0], 0.5f);"),
        (store, "out[(size_t)threadIdx.x * wa] = min(x[0], 0.5f);"),
        (store, "out[(size_t)threadIdx.x * wb] = max(x[0], 0.5f);"),
        (store, "out[(size_t)threadIdx.x * wb] = min(x[0], 1.5f);"),
        (store, "(nothing)"),
    }
    assert {" -> ".join(pair) for pair in expected} <= found
    assert not any("2 <= 3" in name or "++out" in name for name in found)
    assert names(mutate, tmp_path / "k.cu", text, "two") == {"++out; -> (nothing)"}


def test_mutants_of_python_leave_out_statements_and_arguments(mutate, tmp_path):
    text = '''def bind(self, name):
    """A name, 1 or 2."""
    device = self.backend.name
    if name and name != "cuda":
        bind(name, device, 0)
    raise ValueError
'''
    found = names(mutate, tmp_path / "b.py", text)
    for expected in (
        'device = self.backend.name -> device = "cpu"',
        "bind(name, device, 0) -> bind(name, device, 1)",
        "bind(name, device, 0) -> bind(name, device)",
        "bind(name, device, 0) -> pass",
        "raise ValueError -> pass",
        'if name and name != "cuda": -> if name or name != "cuda":',
        'if name and name != "cuda": -> if name and name != "mutated":',
        'if name and name != "cuda": -> if not (name and name != "cuda"):',
    ):
        assert expected in found
    assert not any("1 or" in name for name in found)


def test_a_run_kills_what_a_test_notices_and_reports_the_rest_without_a_reason(mutate, tmp_path, monkeypatch):
    root = tmp_path / "project"
    (root / "analogy").mkdir(parents=True)
    code = "def least(x):\n    return max(x, 1)\n"
    (root / "analogy" / "thing.py").write_text(code)
    (root / "analogy" / "__init__.py").touch()
    test = "from analogy.thing import least\n\ndef test():\n    assert least(9) == 9\n"
    (root / "test_thing.py").write_text(test)
    known = tmp_path / "mutants.toml"
    known.write_text("")
    monkeypatch.setattr(mutate, "ROOT", root)
    monkeypatch.setattr(mutate, "NEEDED", ("analogy", "test_thing.py"))
    monkeypatch.setattr(mutate, "PARTS", {"thing.py": mutate.Part("analogy/thing.py", ("test_thing.py",))})
    monkeypatch.setattr(mutate, "REASONS", known)
    done = CliRunner().invoke(mutate.main, [])
    assert done.exit_code == 1
    survivors = [line for line in done.output.splitlines() if "survived:" in line]
    assert survivors == ["  survived: thing.py:2 least: return max(x, 1) -> return max(x, 2)"], done.output
    mutant = survivors[0].partition("least: ")[2]
    known.write_text(f"[[survivors]]\nfile = 'thing.py'\nreason = 'for a test'\nmutants = ['{mutant}']\n")
    done = CliRunner().invoke(mutate.main, ["thing.py:least", "--sample", "1"])
    assert done.exit_code == 0, done.output
    assert "1 of them with a reason to survive" in done.output and "survived:" not in done.output
    assert (root / "analogy" / "thing.py").read_text() == code


def test_every_reason_is_for_a_mutant_that_exists(mutate):
    for file, known in mutate.reasons().items():
        part = mutate.PARTS[file]
        there = {mutant.name for mutant in mutate.mutants(mutate.ROOT / part.file, part.functions)}
        assert set(known) <= there, file
