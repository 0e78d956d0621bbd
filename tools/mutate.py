"""Breaks the code for the GPU in small ways, one at a time, and sees whether a test notices: tools/mutate.py [PART ...]

A part is one of the files below, `kernels.cu`, or one function of it, `kernels.cu:vote`; without
any, all of them are broken. What survives is printed, with the tests that let it pass; the exit
code is 1 if `mutants.toml` beside this file does not give a reason for it. A whole run takes about
an hour for each file: name a part, or take a sample.

One tool for both languages: the known ones (mutmut, cosmic-ray) rewrite Python alone, and most of
this code is CUDA C++. So mutants are made by rules over the text, in a copy of the project, and a
mutant that does not compile is not counted.
"""

from __future__ import annotations

import ast
import io
import os
import random
import re
import shutil
import subprocess
import sys
import tempfile
import time
import tokenize
import tomllib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import click

ROOT = Path(__file__).parents[1]
REASONS = Path(__file__).with_name("mutants.toml")
NEEDED = ("analogy", "models", "tests", "pyproject.toml", "README.md")
"""What of the project the tests need."""
FASTEST, SLOWER = 60, 5
"""Seconds a run of the tests gets at least, and how often what it takes without a mutant."""


@dataclass(frozen=True)
class Part:
    """A file, the functions of it that are broken (all if none is named), and pytest's arguments: what should notice."""

    file: str
    tests: tuple[str, ...]
    functions: tuple[str, ...] = ()


_BACKEND = (
    "tests/backends/test_large_arrays.py",
    "tests/backends/test_backends.py",
    "tests/backends/test_simulator.py",
)
_TRANSFER = "tests/test_simulated_transfer.py"
_CUDA_TESTS = (
    *(f"tests/backends/test_{name}.py" for name in ("selftest", "multigrid", "cuda_probes", "cuda_manners")),
    *_BACKEND, "tests/backends", _TRANSFER, "-k", "simulated_transfer or not (cpu or sanit or clean or registers)",
)  # fmt: skip
"""Those that notice most first."""
PARTS = {
    "kernels.cu": Part("analogy/backends/kernels.cu", (*_BACKEND, "-k", "not cpu and not planted")),
    "seams.cu": Part(
        "analogy/backends/seams.cu",
        ("tests/backends/test_seam_kernels.py", "tests/backends/test_large_arrays.py", "-k", "not cpu"),
    ),
    "multigrid.cu": Part(
        "analogy/backends/multigrid/kernels.cu",
        ("tests/backends/test_multigrid.py", "tests/backends/test_large_arrays.py", "-k", "multigrid and not cpu"),
    ),
    "cuda.py": Part("analogy/backends/cuda.py", _CUDA_TESTS),
    "cuda_launch.py": Part("analogy/backends/cuda_launch.py", _CUDA_TESTS),
    "cuda_queue.py": Part("analogy/backends/cuda_queue.py", ("tests/backends/test_cuda_manners.py",)),
    "probes.py": Part(
        "analogy/backends/probes.py", ("tests/backends/test_cuda_probes.py", "tests/backends/test_selftest.py")
    ),
    "features.py": Part(
        "analogy/method/features.py",
        ("tests/method/test_features.py", "tests/method/test_interrupts.py", "tests/backends", _TRANSFER, "-k",
         "features or interrupts or cuda or simulated_transfer"),
        ("run", "require_finite", "_run_interruptibly", "_run"),
    ),
    "sessions.py": Part(
        "analogy/method/sessions.py", ("tests/method/test_features.py", "tests/backends/test_cuda_manners.py")
    ),
}  # fmt: skip


@dataclass(frozen=True)
class Mutant:
    """One change: the text with it, and the line before and after."""

    function: str
    line: int
    before: str
    after: str
    text: str

    @property
    def name(self) -> str:
        return f"{self.before} -> {self.after or '(nothing)'}"


# The rules: (what is found in the code, comments and strings aside; what it becomes)

_SWAPS = [
    (" < ", " <= "), (" <= ", " < "), (" > ", " >= "), (" >= ", " > "), (" == ", " != "), (" != ", " == "),
    (" + ", " - "), (" - ", " + "), (" * ", " + "), (" / ", " * "), (" % ", " + "), (" << ", " >> "), (" >> ", " << "),
    (" & ", " | "), (" | ", " & "), (" ^ ", " | "), (" += ", " -= "), (" -= ", " += "), (" ^= ", " |= "),
]  # fmt: skip
_BOTH = [
    *((re.escape(one), other) for one, other in _SWAPS),
    (r"(?<![\w.])(\d+)(?=[uf]?\b|\.\d)(?!\w*x)", lambda found: str(int(found[1]) + 1)),
    (r"(?<=0x)(\w+?)(?=u?\b)", lambda found: f"{int(found[1], 16) ^ 1:X}"),
    (r"\bmin\(", "max("),
    (r"\bmax\(", "min("),
    (r"\bw([ab])\b", lambda found: "w" + {"a": "b", "b": "a"}[found[1]]),
    (r"\bh([ab])\b", lambda found: "h" + {"a": "b", "b": "a"}[found[1]]),
]
_CUDA = [
    (" && ", " || "), (r" \|\| ", " && "), (r"(?<=\()!(?=\w)", ""), (r"\btrue\b", "false"), (r"\bfalse\b", "true"),
    (r"\.x\b", ".y"), (r"\.y\b", ".x"), (r"(?<=[(=,] )-(?=\w)|(?<=[(=])-(?=\w)", ""),
    # Offsets of 32 bits.
    (r"\(size_t\)", ""), (r"\bsize_t (?=\w+ =)", "unsigned "),
    # A condition that never holds, and one statement left out: an assignment, a call, an increment.
    (r"(?<=\bif \().+?(?=\) (?:return|continue|break)\b.*; *$)", "false"),
    (r"^ +(?:\+\+\w+|[\w.*\[\]]+(?:\[.+\])? [-+*/^|&]?= [^;]+|__sync\w+\(.*\));(?= *$)", ""),
]  # fmt: skip
_PYTHON = [
    (r" and ", " or "), (r" or ", " and "), (r"\bnot (?!in\b)", ""), (r"\bTrue\b", "False"), (r"\bFalse\b", "True"),
    (r" is not ", " is "), (r" is (?!not)", " is not "), (r" not in ", " in "),
    # The device is not always the CPU.
    (r"\b(?:self\.)?backend\.name\b", '"cpu"'),
]  # fmt: skip


def mutants(path: Path, functions: tuple[str, ...] = ()) -> list[Mutant]:
    """All mutants of a file, or of some functions of it, in the order of their lines."""
    text = path.read_text(encoding="utf-8")
    python = path.suffix == ".py"
    rules = _BOTH + (_PYTHON if python else _CUDA)
    code = (_blank_python if python else _blank_cuda)(text)
    edits = {
        (found.start(), found.end(), found.expand(new) if isinstance(new, str) else new(found))
        for pattern, new in rules
        for found in re.finditer(pattern, code, re.MULTILINE)
    }
    if python:
        edits |= set(_python_edits(text))
    made = []
    for start, end, new in sorted(edits):
        name, first, last = _place(text, start, end, python)
        if functions and name not in functions:
            continue
        changed = text[:start] + new + text[end:]
        if changed == text:
            continue
        after = changed[first : last + len(changed) - len(text)]
        before = text[first:last]
        line = text.count("\n", 0, start) + 1
        made.append(Mutant(name, line, " ".join(before.split()), " ".join(after.split()), changed))
    return made


def _place(text: str, start: int, end: int, python: bool) -> tuple[str, int, int]:
    """The function that holds an edit, and where the lines of the edit begin and end."""
    first, last = text.rfind("\n", 0, start) + 1, text.find("\n", end)
    above = text[: last if last >= 0 else len(text)]
    heads = r"^ *(?:def|class) (\w+)" if python else r"^(?:[\w\"]+ )*?(?:__\w+__ )+.*?(\w+)\((?=.*[,{)]$)"
    names = re.findall(heads, above, re.MULTILINE)
    return names[-1] if names else "", first, len(above)


def _blank_cuda(text: str) -> str:
    """The text with comments, strings and lines for the preprocessor as spaces."""
    return re.sub(r"//.*|\"[^\"\n]*\"|^#.*", lambda found: " " * len(found[0]), text, flags=re.MULTILINE)


def _blank_python(text: str) -> str:
    """The text with comments and strings as spaces."""
    starts = _line_starts(text)
    blank = list(text)
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.COMMENT or token.type == tokenize.STRING or "STRING" in tokenize.tok_name[token.type]:
            for i in range(starts[token.start[0] - 1] + token.start[1], starts[token.end[0] - 1] + token.end[1]):
                blank[i] = blank[i] if blank[i] == "\n" else " "
    return "".join(blank)


def _line_starts(text: str) -> list[int]:
    starts = [0]
    for line in text.splitlines(keepends=True):
        starts.append(starts[-1] + len(line))
    return starts


def _python_edits(text: str) -> Iterator[tuple[int, int, str]]:
    """What takes knowing the syntax: a statement or an argument left out, a condition turned, a word that names an option."""
    starts = _line_starts(text)
    lines = [line.encode() for line in text.splitlines(keepends=True)]

    def span(node: ast.expr | ast.stmt | ast.keyword) -> tuple[int, int]:
        def at(line: int, column: int) -> int:  # columns count bytes
            return starts[line - 1] + len(lines[line - 1][:column].decode())

        assert node.end_lineno and node.end_col_offset is not None
        return at(node.lineno, node.col_offset), at(node.end_lineno, node.end_col_offset)

    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Raise | ast.AugAssign) or (
            isinstance(node, ast.Expr) and isinstance(node.value, ast.Call)
        ):
            yield *span(node), "pass"
        elif isinstance(node, ast.Return) and node.value:
            yield *span(node), "return None"
        elif isinstance(node, ast.If):
            start, end = span(node.test)
            yield start, end, f"not ({text[start:end]})"
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and re.fullmatch(r"[\w.=+-]+", node.value):
            yield *span(node), '"mutated"'
        elif isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Attribute | ast.Subscript):
            yield *span(node), "pass"
        elif isinstance(node, ast.Call):
            arguments = [*node.args, *node.keywords]
            if len(arguments) > 1:
                yield span(arguments[-2])[1], span(arguments[-1])[1], ""


# The runs


class Copy:
    """A copy of the project in which mutants take their turn."""

    def __init__(self, root: Path, folder: Path):
        self.folder = folder
        for name in NEEDED:
            source = root / name
            if source.is_dir():
                shutil.copytree(source, folder / name, ignore=shutil.ignore_patterns("kernels-*.so"))
            elif source.exists():
                shutil.copy2(source, folder / name)

    def tests(self, arguments: tuple[str, ...], seconds: float | None = None) -> str:
        """What became of a run: "passed", "failed", "hung" or "does not compile"."""
        command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", *arguments]
        # Without byte code: two mutants of one second and one length would share it. Plugins take
        # longer to load than most mutants to be noticed.
        alone = {"PYTHONDONTWRITEBYTECODE": "1", "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
        environment = os.environ | alone | {"PYTHONPATH": str(self.folder)}
        try:
            done = subprocess.run(
                command, cwd=self.folder, env=environment, capture_output=True, text=True, timeout=seconds, check=False
            )
        except subprocess.TimeoutExpired:
            return "hung"
        if "do not compile for the simulator" in done.stdout or re.search(r"^E +SyntaxError", done.stdout, re.M):
            return "does not compile"
        return "passed" if done.returncode == 0 else "failed"

    def survivors(self, part: Part, chosen: list[Mutant]) -> Iterator[tuple[Mutant, str]]:
        """(mutant, outcome) for each mutant; those that "passed" survive. Raises `ClickException` if the tests fail as is."""
        began = time.monotonic()
        if self.tests(part.tests) != "passed":
            raise click.ClickException(f"the tests of {part.file} fail without a mutant: pytest {' '.join(part.tests)}")
        seconds = max(FASTEST, SLOWER * (time.monotonic() - began))
        path = self.folder / part.file
        whole = path.read_text(encoding="utf-8")
        try:
            for mutant in chosen:
                path.write_text(mutant.text, encoding="utf-8")
                yield mutant, self.tests(part.tests, seconds)
        finally:
            path.write_text(whole, encoding="utf-8")


def reasons() -> dict[str, dict[str, str]]:
    """File -> {mutant: why no test needs to notice it}."""
    known: dict[str, dict[str, str]] = {}
    for entry in tomllib.loads(REASONS.read_text(encoding="utf-8")).get("survivors", []):
        known.setdefault(entry["file"], {}).update(dict.fromkeys(entry["mutants"], entry["reason"]))
    return known


@click.command(help=__doc__)
@click.argument("parts", nargs=-1)
@click.option("--sample", type=int, help="So many mutants of each part, drawn at random.")
@click.option("--seed", default=0, show_default=True)
def main(parts: tuple[str, ...], sample: int | None, seed: int) -> None:
    unexplained = 0
    for name in parts or tuple(PARTS):
        file, _, function = name.partition(":")
        if file not in PARTS:
            raise click.BadParameter(f"there is no part {file}; the parts are {', '.join(PARTS)}")
        part = PARTS[file]
        known = reasons().get(file, {})
        made = mutants(ROOT / part.file, (function,) if function else part.functions)
        chosen = [mutant for mutant in made if mutant.name not in known]
        click.echo(f"{name}: {len(made)} mutants, {len(made) - len(chosen)} of them with a reason to survive")
        if sample and sample < len(chosen):
            chosen = sorted(random.Random(seed).sample(chosen, sample), key=lambda mutant: mutant.line)
        outcomes: Counter[str] = Counter()
        with tempfile.TemporaryDirectory() as folder:
            for mutant, outcome in Copy(ROOT, Path(folder)).survivors(part, chosen):
                outcomes[outcome] += 1
                if outcome == "passed":
                    click.echo(f"  survived: {file}:{mutant.line} {mutant.function}: {mutant.name}")
        click.echo(f"  {outcomes['failed'] + outcomes['hung']} killed ({outcomes['hung']} by their time), "
                   f"{outcomes['passed']} survived, {outcomes['does not compile']} do not compile")  # fmt: skip
        unexplained += outcomes["passed"]
    sys.exit(1 if unexplained else 0)


if __name__ == "__main__":
    main()
