"""Tests of the project's prose: the first sentences of docstrings, and the width of lines."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from types import FunctionType

import pytest

import analogy

ROOT = Path(__file__).parents[1]
SOURCES = sorted(path for folder in ("analogy", "tools", "tests") for path in (ROOT / folder).rglob("*.py"))
PAGES = sorted(path for path in ROOT.rglob("*.md") if "/." not in path.relative_to(ROOT.parent).as_posix())
OPENERS = re.compile(
    r"(About|Among|As|At|Because|Behind|Beside|But|By|Bytes for|For|From|How|If|In place|In which|Is|It|Like|Of|On|Once"
    r"|Or|Per|Seconds for|So|That|The same|They|This|Those|To|Up to|What|When|Where|Whether|Which|Who|Whoever|Whose"
    r"|With|Within|Without)\b"
)
"""Words that may not begin a docstring, because they do not say what the thing is."""
WIDEST = 100
"""Largest number of columns that a line of prose may have."""


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def docstrings(path: Path) -> Iterator[tuple[str, int]]:
    """Yield each docstring of a file and its line, also those of constants and attributes."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            yield node.value.value, node.lineno


@pytest.mark.parametrize("path", SOURCES, ids=name_of)
def test_each_docstring_says_what_the_thing_is_in_its_first_words(path: Path) -> None:
    unclear = [f"line {line}: {text.splitlines()[0]}" for text, line in docstrings(path) if OPENERS.match(text)]
    assert not unclear, "\n".join(unclear)


@pytest.mark.parametrize("path", PAGES, ids=name_of)
def test_prose_of_a_page_fits_into_100_columns(path: Path) -> None:
    wide, code = [], False
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        code ^= line.startswith("```")
        prose = not code and not line.startswith(("    ", "|", "<", "!["))
        # The address of a link cannot be split over two lines, so its columns do not count.
        if prose and len(line) > WIDEST and len(re.sub(r"\]\([^)]*\)", "]", line)) > WIDEST:
            wide.append(f"line {number}: {line}")
    assert not wide, "\n".join(wide)


def is_method(name: str, value: object) -> bool:
    return not name.startswith("_") and isinstance(value, (FunctionType, classmethod, staticmethod))


@pytest.mark.parametrize("name", analogy.__all__)
def test_tools_can_parse_the_docstring_of_each_public_name(name: str) -> None:
    validate = pytest.importorskip(
        "numpydoc.validate", reason="numpydoc is not installed; the extra ci has it"
    ).validate
    thing = getattr(analogy, name)
    members = [f"analogy.{name}"] if isinstance(thing, FunctionType) else []
    if isinstance(thing, type):
        members += [f"analogy.{name}.{key}" for key, value in vars(thing).items() if is_method(key, value)]
    refused = {
        "GL01",
        "GL03",
        "GL07",
        "GL08",
        "SS01",
        "SS03",
        "PR01",
        "PR02",
        "PR03",
        "PR07",
        "PR10",
        "RT01",
        "RT03",
        "YD01",
    }
    faults = [
        f"{member}: {code} {text}" for member in members for code, text in validate(member)["errors"] if code in refused
    ]
    assert not faults, "\n".join(faults)
