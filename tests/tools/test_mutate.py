"""Tests of `tools/mutate.py`: mutants of Python and CUDA, their names, and reports of survivors."""

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
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(TOOL.parent))
        module = importlib.util.module_from_spec(spec)
        patch.setitem(sys.modules, "mutate", module)
        spec.loader.exec_module(module)
        yield module
        del sys.modules["mutate_rules"]


def names(mutate, path: Path, text: str, *functions: str) -> set[str]:
    path.write_text(text)
    return {mutant.name for mutant in mutate.mutants(path, functions)}


CUDA = """// 1 + 1
extern "C" __global__ void one(const float* __restrict__ x, float* __restrict__ out, int wa, int wb) {
  if (threadIdx.x >= wa) return;  // 2 < 3
  out[(size_t)threadIdx.x * wb] = min(x[0], 0.5f);
}

extern "C" __global__ void two(int* out) {
  ++out;
}
"""


def test_mutants_of_cuda_are_small_changes_of_code_and_not_of_comments(mutate, tmp_path):
    found = names(mutate, tmp_path / "k.cu", CUDA, "one")
    bounds, store = "one: if (threadIdx.x >= wa) return;", "one: out[(size_t)threadIdx.x * wb] = min(x[0], 0.5f);"
    expected = {
        (bounds, "if (threadIdx.x > wa) return;"),
        (bounds, "if (false) return;"),
        (store, "out[threadIdx.x * wb] = min(x[0], 0.5f);"),
        (store, "out[(size_t)threadIdx.x * wa] = min(x[0], 0.5f);"),
        (store, "out[(size_t)threadIdx.x * wb] = max(x[0], 0.5f);"),
        (store, "out[(size_t)threadIdx.x * wb] = min(x[0], 1.5f);"),
        (store, "(nothing)"),
    }
    assert {" -> ".join(pair) for pair in expected} <= found
    assert not any("1 + 1" in name or "2 <= 3" in name or "++out" in name for name in found)
    assert names(mutate, tmp_path / "k.cu", CUDA, "two") == {"two: ++out; -> (nothing)"}


PYTHON = '''def bind(self, name, most=1):
    """A name, 1 or 2."""
    device = self.backend.name
    if name and name != "cuda":
        bind(name, device, 0)
    raise ValueError
'''


def test_mutants_of_python_leave_out_statements_and_arguments(mutate, tmp_path):
    found = names(mutate, tmp_path / "b.py", PYTHON)
    for expected in (
        "bind: def bind(self, name, most=1): -> def bind(self, name, most=2):",
        "bind: device = self.backend.name -> device = 'cpu'",
        "bind: bind(name, device, 0) -> bind(name, device, 1)",
        "bind: bind(name, device, 0) -> bind(name, device)",
        "bind: bind(name, device, 0) -> pass",
        "bind: raise ValueError -> pass",
        "bind: if name and name != 'cuda': -> if name or name != 'cuda':",
        "bind: if name and name != 'cuda': -> if name and name != 'mutated':",
        "bind: if name and name != 'cuda': -> if not (name and name != 'cuda'):",
    ):
        assert expected in found
    assert not any("1 or" in name for name in found)


@pytest.mark.parametrize(
    ("suffix", "text", "change"),
    [
        (".py", PYTHON, ("bind(name, device, 0)", "bind(  # which device\n            name,\n            device, 0,)")),
        (".py", PYTHON, ('A name, 1 or 2."""', 'Nothing."""\n    # The rest is longer.')),
        (".py", PYTHON, ('"cuda"', "'cuda'")),
        (".py", PYTHON, ("(self, name, most=1)", "(self: Backend,\n         name: A | B, most=1) -> A | B")),
        (".cu", CUDA, ("return;  // 2 < 3", "return;  // another")),
        (".cu", CUDA, ("  if (threadIdx.x >= wa) return;", "\n      if (threadIdx.x >= wa) return;")),
        (".cu", CUDA, ("min(x[0], 0.5f);", "min(x[0],\n    0.5f);")),
    ],
)
def test_comments_annotations_and_the_shape_of_the_text_change_no_name(mutate, tmp_path, suffix, text, change):
    changed = text.replace(*change)
    assert changed != text
    path = tmp_path / f"thing{suffix}"
    assert names(mutate, path, changed) == names(mutate, path, text)


UNTESTABLE = '''"""1 + 1"""
Pair: TypeAlias = A | B


@dataclass(frozen=True, slots=True)
class Thing:
    """Thing."""

    __slots__ = ("one", "two")
    shape: tuple[int, 3] | None
    """Shape."""


def work(size: Literal["one"] | None, rows: Array | None = x) -> Array | None:
    Thread(target=run, name="worker")
    for a, b in zip(size, rows, strict=True):
        _log.info("working", a)
    if size:
        raise ValueError(f"{size + 1} is wrong", "bad")
    assert rows, "rows"
    ThreadPoolExecutor(rows, thread_name_prefix="pool")
    return f"the {pick(size, 2)}"
'''


def test_what_no_test_could_notice_is_not_changed(mutate, tmp_path):
    assert names(mutate, tmp_path / "t.py", UNTESTABLE) == {
        "work: Thread(target=run, name='worker') -> pass",
        "work: _log.info('working', a) -> _log.info('working')",
        "work: _log.info('working', a) -> pass",
        "work: if size: -> if not size:",
        "work: raise ValueError(f'{size + 1} is wrong', 'bad') -> pass",
        "work: ThreadPoolExecutor(rows, thread_name_prefix='pool') -> pass",
        "work: return f'the {pick(size, 2)}' -> return None",
    }


def test_code_that_does_not_parse_is_no_mutant(mutate, tmp_path):
    # A rule changes "|" to "&", but "case 1 & 2" is not valid Python.
    text = "match x:\n    case 1 | 2:\n        f(x)\n"
    assert names(mutate, tmp_path / "p.py", text) == {
        "f(x) -> pass",
        "case 1 | 2: -> case 2 | 2:",
        "case 1 | 2: -> case 1 | 3:",
    }


@pytest.fixture
def project(mutate, tmp_path, monkeypatch):
    """Return a project folder whose test lets a mutant survive, and an empty file for reasons."""
    root, known = tmp_path / "project", tmp_path / "mutants.toml"
    (root / "analogy").mkdir(parents=True)
    (root / "analogy" / "thing.py").write_text("def least(x):\n    return max(x, 1)\n")
    (root / "analogy" / "__init__.py").touch()
    (root / "test_thing.py").write_text("from analogy.thing import least\n\ndef test():\n    assert least(9) == 9\n")
    known.write_text("")
    monkeypatch.setattr(mutate, "ROOT", root)
    monkeypatch.setattr(mutate, "NEEDED", ("analogy", "test_thing.py"))
    monkeypatch.setattr(mutate, "PARTS", {"thing.py": mutate.Part("analogy/thing.py", ("test_thing.py",))})
    monkeypatch.setattr(mutate, "REASONS", known)
    return root, known


def test_a_run_kills_what_a_test_notices_and_reports_the_rest_without_a_reason(mutate, project):
    root, known = project
    code = (root / "analogy" / "thing.py").read_text()
    done = CliRunner().invoke(mutate.main, [])
    assert done.exit_code == 1
    survivors = [line for line in done.output.splitlines() if "survived:" in line]
    assert survivors == ["  survived: thing.py:2 least: return max(x, 1) -> return max(x, 2)"], done.output
    mutant = survivors[0].partition("thing.py:2 ")[2]
    known.write_text(f"[[survivors]]\nfile = 'thing.py'\nreason = 'for a test'\nmutants = ['{mutant}']\n")
    done = CliRunner().invoke(mutate.main, ["thing.py:least", "--sample", "1"])
    assert done.exit_code == 0, done.output
    assert "1 with a reason to survive" in done.output and "survived:" not in done.output
    assert (root / "analogy" / "thing.py").read_text() == code


@pytest.mark.parametrize("code", ["return max(x,, 1)", "return numba.njit(lambda x: x.nothing)(x)"])
def test_a_mutant_that_does_not_compile_is_not_counted_as_killed(mutate, project, tmp_path, code):
    root, _ = project
    thing = root / "analogy" / "thing.py"
    changed = "import numba\n" + thing.read_text().replace("return max(x, 1)", code)
    mutant = mutate.Mutant("least", 2, "", "", changed)
    (tmp_path / "copy").mkdir()
    runs = mutate.Copy(root, tmp_path / "copy").outcomes(mutate.PARTS["thing.py"], [mutant])
    assert [outcome for _, outcome in runs] == ["does not compile"]


def test_an_unknown_part_or_function_is_refused(mutate, project):
    for name, words in (("other.py", "no part 'other.py'"), ("thing.py:most", "no function 'most'")):
        done = CliRunner().invoke(mutate.main, [name])
        assert done.exit_code == 2
        assert words in done.output


def test_every_reason_is_for_a_mutant_that_exists(mutate):
    for file, known in mutate.reasons().items():
        part = mutate.PARTS[file]
        there = {mutant.name for mutant in mutate.mutants(mutate.ROOT / part.file, part.functions)}
        assert set(known) <= there, file
