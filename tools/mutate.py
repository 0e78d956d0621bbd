"""Change the code in small ways, one at a time, and report each change that no test notices.

A PART is a file, such as `kernels.cu`, or one function of a file, such as `kernels.cu:vote`.
Without a PART, the tool changes all files of the table `PARTS`. A changed version of a file is
called a mutant, and it survives if the tests of the file pass. The tool prints each mutant that
survives and for which `mutants.toml` gives no reason, and exits with 1 if there is such a mutant. A
whole run takes an hour or two for each file. To save time, name a function, or use `--sample`.

Other tools for this purpose (mutmut, cosmic-ray) change only Python, and much of this code is CUDA
C++. So this tool makes the mutants of both languages itself (`mutate_rules.py`), and runs the tests
in a copy of the project. A mutant that does not compile counts neither as killed nor as a survivor.
The CPU's kernels are compiled again for each mutant.
"""

from __future__ import annotations

import os
import random
import re
import shutil
import subprocess
import sys
import tempfile
import time
import tomllib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import click

from mutate_rules import Mutant, mutants

ROOT = Path(__file__).parents[1]
REASONS = Path(__file__).with_name("mutants.toml")
NEEDED = ("analogy", "models", "tests", "pyproject.toml", "README.md")
"""The files and folders of the project that its tests need."""
SHORTEST_LIMIT = 60
"""Shortest time limit of a run with a mutant, in seconds."""
SLOWDOWN = 5
"""Time limit of a run with a mutant, divided by the time of the run without a mutant.

A limit below `SHORTEST_LIMIT` is raised to it.
"""

_NOT_COMPILED = re.compile(r"do not compile for the simulator|^E +(SyntaxError|numba\.core\.errors\.)", re.MULTILINE)
"""Pattern that is found in the output of pytest if the code of a mutant does not compile."""


@dataclass(frozen=True)
class Part:
    """A source file whose mutants the tool can make, with the tests that it runs for each of them.

    Attributes
    ----------
    file : str
        Path in the project.
    tests : tuple of str
        Arguments of pytest, for the tests that should notice a fault in the file.
    functions : tuple of str
        Names of the functions that are changed. If there are none, the whole file is changed.
    """

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
"""Arguments of pytest for the CUDA backend. The tests that notice most faults come first."""
_CPU = "-k", "not simulat and not cuda and not photo and not two_equal"
"""Arguments of pytest that leave out tests of the CUDA backend, and tests that take seconds."""


def _method(*names: str) -> tuple[str, ...]:
    """Return the test files of some modules of `analogy.method`."""
    return tuple(f"tests/method/test_{name}.py" for name in names)


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
    "matching.py": Part(
        "analogy/method/matching.py",
        (*_method("matching", "sheets", "guidance", "uniformity", "pins"), "tests/test_several_examples.py", *_CPU),
    ),
    "nnf.py": Part(
        "analogy/method/nnf.py", (*_method("nnf", "painting", "guidance", "uniformity", "pins"), *_CPU)
    ),
    "painting.py": Part(
        "analogy/method/painting.py",
        (*_method("painting", "seams", "guidance", "pins"), "tests/test_several_examples.py", *_CPU),
    ),
    "kernels.py": Part(
        "analogy/backends/kernels.py",
        ("tests/backends/test_backends.py", "tests/backends/test_frames.py", "tests/backends/test_cpu_bands.py", *_CPU),
    ),
    "seam_kernels.py": Part(
        "analogy/backends/seam_kernels.py",
        (
            *(f"tests/backends/test_{name}.py" for name in ("seam_kernels", "frames", "cpu_bands")),
            "tests/method/test_seams.py",
            *_CPU,
        ),
    ),
}  # fmt: skip


class Copy:
    """A copy of the project, in which one mutant after another replaces the original file."""

    def __init__(self, root: Path, folder: Path):
        self.folder = folder
        for name in NEEDED:
            source = root / name
            if source.is_dir():
                shutil.copytree(source, folder / name)
            elif source.exists():
                shutil.copy2(source, folder / name)

    def run(self, arguments: tuple[str, ...], seconds: float | None = None) -> str:
        """Run pytest, and return "passed", "failed", "hung" or "does not compile".

        Parameters
        ----------
        arguments : tuple of str
            Arguments of pytest.
        seconds : float, optional
            Time after which the run is ended and counts as hung.
        """
        command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", *arguments]
        # No byte code is written to disk, since Python would use it for another mutant that has the
        # same length and was written in the same second. Pytest's plug-ins are left out, since
        # loading them takes longer than most runs.
        settings = {"PYTHONDONTWRITEBYTECODE": "1", "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
        environment = os.environ | settings | {"PYTHONPATH": str(self.folder)}
        try:
            done = subprocess.run(
                command, cwd=self.folder, env=environment, capture_output=True, text=True, timeout=seconds, check=False
            )
        except subprocess.TimeoutExpired:
            return "hung"
        if _NOT_COMPILED.search(done.stdout):
            return "does not compile"
        return "passed" if done.returncode == 0 else "failed"

    def outcomes(self, part: Part, chosen: list[Mutant]) -> Iterator[tuple[Mutant, str]]:
        """Run the tests of a part with each mutant.

        Yields
        ------
        tuple of Mutant and str
            The mutant, and the outcome of its run. A mutant with the outcome "passed" survives.

        Raises
        ------
        click.ClickException
            If the tests fail without a mutant.
        """
        began = time.monotonic()
        if self.run(part.tests) != "passed":
            raise click.ClickException(f"the tests of {part.file} fail without a mutant: pytest {' '.join(part.tests)}")
        seconds = max(SHORTEST_LIMIT, SLOWDOWN * (time.monotonic() - began))
        path = self.folder / part.file
        whole = path.read_text(encoding="utf-8")
        try:
            for mutant in chosen:
                path.write_text(mutant.text, encoding="utf-8")
                yield mutant, self.run(part.tests, seconds)
        finally:
            path.write_text(whole, encoding="utf-8")


def reasons() -> dict[str, dict[str, str]]:
    """Return for each part a dict: name of a mutant that no test needs to notice -> the reason."""
    known: dict[str, dict[str, str]] = {}
    for entry in tomllib.loads(REASONS.read_text(encoding="utf-8")).get("survivors", []):
        known.setdefault(entry["file"], {}).update(dict.fromkeys(entry["mutants"], entry["reason"]))
    return known


@click.command(help=__doc__)
@click.argument("parts", nargs=-1)
@click.option("--sample", type=int, help="Try this number of mutants of each part, drawn at random.")
@click.option("--seed", default=0, show_default=True, help="Random seed of the sample.")
def main(parts: tuple[str, ...], sample: int | None, seed: int) -> None:
    unexplained = 0
    for name in parts or tuple(PARTS):
        file, _, function = name.partition(":")
        if file not in PARTS:
            raise click.BadParameter(f"there is no part {file!r}; name one of {', '.join(PARTS)}")
        part = PARTS[file]
        known = reasons().get(file, {})
        made = mutants(ROOT / part.file, (function,) if function else part.functions)
        if not made:
            raise click.BadParameter(
                f"there is no function {function!r} in {part.file} that can be changed; name another"
            )
        chosen = [mutant for mutant in made if mutant.name not in known]
        click.echo(f"{name}: {len(made)} mutants, {len(made) - len(chosen)} with a reason to survive")
        if sample and sample < len(chosen):
            chosen = sorted(random.Random(seed).sample(chosen, sample), key=lambda mutant: mutant.line)
        outcomes: Counter[str] = Counter()
        with tempfile.TemporaryDirectory() as folder:
            for mutant, outcome in Copy(ROOT, Path(folder)).outcomes(part, chosen):
                outcomes[outcome] += 1
                if outcome == "passed":
                    click.echo(f"  survived: {file}:{mutant.line} {mutant.name}")
        click.echo(f"  {outcomes['failed'] + outcomes['hung']} killed ({outcomes['hung']} by the time limit), "
                   f"{outcomes['passed']} survived, {outcomes['does not compile']} do not compile")  # fmt: skip
        unexplained += outcomes["passed"]
    sys.exit(1 if unexplained else 0)


if __name__ == "__main__":
    main()
