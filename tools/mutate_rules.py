"""Mutants: versions of a source file that differ from it in one small change.

Many rules serve both Python and CUDA C++. So most rules are regular expressions, which are searched
for in the text. The rules that need the syntax of Python use Python's parser.
"""

from __future__ import annotations

import ast
import copy
import io
import re
import tokenize
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

Edit: TypeAlias = tuple[int, int, str]
"""A change of the source: where the replaced characters begin and end, and the new characters."""
Rule: TypeAlias = tuple[str, str | Callable[[re.Match[str]], str]]
"""A regular expression that is searched for in the code, and the replacement of what it finds."""


@dataclass(frozen=True)
class Mutant:
    """A file with one small change.

    Attributes
    ----------
    function : str
        The innermost function or class that contains the change; empty outside of all of them.
    line : int
        The line of the change, from 1.
    before, after : str
        The changed statement, without and with the change, in one line without comments. `after` is
        empty if the change leaves out the statement.
    text : str
        The whole file with the change.
    """

    function: str
    line: int
    before: str
    after: str
    text: str

    @property
    def name(self) -> str:
        """Name of the mutant in `mutants.toml`, which comments and line breaks do not affect."""
        where = f"{self.function}: " if self.function else ""
        return f"{where}{self.before} -> {self.after or '(nothing)'}"


# The rules

_SWAPS = [
    (" < ", " <= "), (" <= ", " < "), (" > ", " >= "), (" >= ", " > "), (" == ", " != "), (" != ", " == "),
    (" + ", " - "), (" - ", " + "), (" * ", " + "), (" / ", " * "), (" % ", " + "), (" << ", " >> "), (" >> ", " << "),
    (" & ", " | "), (" | ", " & "), (" ^ ", " | "), (" += ", " -= "), (" -= ", " += "), (" ^= ", " |= "),
]  # fmt: skip
_BOTH: list[Rule] = [
    *((re.escape(one), other) for one, other in _SWAPS),
    (r"(?<![\w.])(\d+)(?=[uf]?\b|\.\d)(?!\w*x)", lambda found: str(int(found[1]) + 1)),
    (r"(?<=0x)(\w+?)(?=u?\b)", lambda found: f"{int(found[1], 16) ^ 1:X}"),
    (r"\bmin\(", "max("),
    (r"\bmax\(", "min("),
    (r"\bw([ab])\b", lambda found: "w" + {"a": "b", "b": "a"}[found[1]]),
    (r"\bh([ab])\b", lambda found: "h" + {"a": "b", "b": "a"}[found[1]]),
]
_CUDA: list[Rule] = [
    (" && ", " || "), (r" \|\| ", " && "), (r"(?<=\()!(?=\w)", ""), (r"\btrue\b", "false"), (r"\bfalse\b", "true"),
    (r"\.x\b", ".y"), (r"\.y\b", ".x"), (r"(?<=[(=,] )-(?=\w)|(?<=[(=])-(?=\w)", ""),
    # Turn an index of 64 bits into an index of 32 bits.
    (r"\(size_t\)", ""), (r"\bsize_t (?=\w+ =)", "unsigned "),
    # Replace by false the condition of a return, a continue or a break. Or leave out one statement:
    # an assignment, an increment or a synchronisation of threads.
    (r"(?<=\bif \().+?(?=\) (?:return|continue|break)\b.*; *$)", "false"),
    (r"^ +(?:\+\+\w+|[\w.*\[\]]+(?:\[.+\])? [-+*/^|&]?= [^;]+|__sync\w+\(.*\));(?= *$)", ""),
]  # fmt: skip
_PYTHON: list[Rule] = [
    (r" and ", " or "), (r" or ", " and "), (r"\bnot (?!in\b)", ""), (r"\bTrue\b", "False"), (r"\bFalse\b", "True"),
    (r" is not ", " is "), (r" is (?!not)", " is not "), (r" not in ", " in "),
    # Treat every device as the CPU.
    (r"\b(?:self\.)?backend\.name\b", '"cpu"'),
]  # fmt: skip
_WORD = re.compile(r"[\w.=+-]+")
"""Pattern of a string that names an option or a kernel; strings with spaces are messages."""

_UNTESTABLE_KEYWORDS = {"thread_name_prefix", "slots", "frozen", "strict"}
"""Keyword arguments that change no result: names of threads, and guards against faults in code."""
_THREADS = {"Thread", "Timer"}
"""Classes whose keyword `name` is the name of a thread."""
_LOGGERS = {"_log", "log", "logger"}


def mutants(path: Path, functions: tuple[str, ...] = ()) -> list[Mutant]:
    """Return the mutants of a file, or of some functions of it, in the order of their places.

    A mutant that is not valid Python is left out, and so is a change that no test could notice: in
    an annotation, a docstring, the text of a message, the name of a thread, `__slots__`, or a
    keyword such as `strict` that guards against mistakes in the code itself.
    """
    text = path.read_text(encoding="utf-8")
    source = _Python(text) if path.suffix == ".py" else _Cuda(text)
    made = []
    for start, end, new in sorted(source.edits()):
        if text[start:end] == new:
            continue
        place = source.place(start, end, new)
        if place is None:
            continue
        function, before, after = place
        if before == after or (functions and function not in functions):
            continue
        line = text.count("\n", 0, start) + 1
        made.append(Mutant(function, line, before, after, text[:start] + new + text[end:]))
    return made


def _apply(rules: list[Rule], code: str) -> Iterator[Edit]:
    """Yield the edits that `rules`, which are regular expressions, make in `code`."""
    for pattern, new in rules:
        for found in re.finditer(pattern, code, re.MULTILINE):
            yield found.start(), found.end(), found.expand(new) if isinstance(new, str) else new(found)


class _Cuda:
    """Source file of CUDA C++, from which the rules for this language make edits."""

    def __init__(self, text: str):
        self._text = text
        self._code = re.sub(r"//.*|\"[^\"\n]*\"|^#.*", lambda found: " " * len(found[0]), text, flags=re.MULTILINE)
        """The text with spaces in place of comments, strings and lines for the preprocessor."""
        self._ends = [0]
        """Indices in the text: 0, and the end of each statement.

        The head of a `for` counts as a single statement.
        """
        self._functions: list[str] = []
        """The name of the function or class that each statement belongs to."""
        depth, around = 0, [""]
        for i, character in enumerate(self._code):
            depth += (character in "([") - (character in ")]")
            if character in ";{}" and not depth:
                if character == "{":
                    around.append(self._head(self._code[self._ends[-1] : i]) or around[-1])
                self._functions.append(around[-1])
                if character == "}":
                    around.pop()
                self._ends.append(i + 1)
        self._ends.append(len(text))
        self._functions.append("")

    def edits(self) -> set[Edit]:
        return set(_apply(_BOTH + _CUDA, self._code))

    def place(self, start: int, end: int, new: str) -> tuple[str, str, str]:
        """Return the name of the function around an edit, and the statement without and with it."""
        index = bisect_right(self._ends, start) - 1
        first, last = self._ends[index], self._ends[bisect_left(self._ends, end)]
        before = self._code[first:last]
        after = self._code[first:start] + new + self._code[end:last]
        return self._functions[index], _one_line(before), _one_line(after)

    @staticmethod
    def _head(statement: str) -> str:
        """Return the name of the function or class whose block follows `statement`, or ""."""
        found = re.search(
            r"\b__(?:device|global)__\b.*?\b(?!__)(\w+)\(|\bstruct (?:alignas\(\d+\) )?(\w+)", statement, re.DOTALL
        )
        return (found[1] or found[2]) if found else ""


def _one_line(code: str) -> str:
    """Return code in one line, as the formatter would write it if the line could be that long."""
    return re.sub(r"(?<=[(\[]) | (?=[)\]])", "", " ".join(code.split()))


_BLOCKS = "body", "orelse", "finalbody", "handlers", "cases"
"""The fields of a statement that hold other statements."""


class _Python:
    """Source file of Python, from which the rules for this language make edits."""

    def __init__(self, text: str):
        self._text = text
        self._lines = [line.encode() for line in text.splitlines(keepends=True)]
        self._starts = [0]
        for line in text.splitlines(keepends=True):
            self._starts.append(self._starts[-1] + len(line))
        self._tree = ast.parse(text)

    def edits(self) -> set[Edit]:
        untestable = list(_untestable(self._tree))
        spans = [self._span(node) for node in untestable]
        skipped = {id(part) for node in untestable for part in ast.walk(node)}
        return {
            (start, end, new)
            for start, end, new in _apply(_BOTH + _PYTHON, self._code())
            if not any(start < stop and first < end for first, stop in spans)
        } | set(self._edits_of_syntax(skipped))

    def place(self, start: int, end: int, new: str) -> tuple[str, str, str] | None:
        """Return the name of the function around an edit, and the statement without and with it.

        Returns None if no statement contains the edit, or if the code does not parse with it.
        """
        function, path, node = "", [], self._tree
        while inner := self._part_around(node, start, end):
            field, index, node = inner
            path.append((field, index))
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                function = node.name
        if not path:
            return None
        # Parsing one statement is much faster than parsing the whole file.
        first, last = self._span(self._tree.body[path[0][1]])
        try:
            changed = ast.parse(self._text[first:start] + new + self._text[end:last])
            after: ast.AST = changed.body[0]
            for field, index in path[1:]:
                after = getattr(after, field)[index]
        except (SyntaxError, IndexError, AttributeError):
            return None
        return function, _without_blocks(node), _without_blocks(after)

    def _part_around(self, node: ast.AST, start: int, end: int) -> tuple[str, int, ast.AST] | None:
        """Return the statement in a block of `node` that contains an edit, or None.

        It is returned as (field of `node`, index in the field, statement).
        """
        for field in _BLOCKS:
            for index, part in enumerate(getattr(node, field, ())):
                first, last = self._span(part)
                if first <= start and end <= last:
                    return field, index, part
        return None

    def _span(self, node: ast.AST) -> tuple[int, int]:
        """Return where a node begins and ends in the text, decorators included."""
        if isinstance(node, ast.match_case):
            return self._span(node.pattern)[0], self._span(node.body[-1])[1]
        head = min([node, *getattr(node, "decorator_list", [])], key=lambda part: part.lineno)
        at = head.col_offset - (head is not node)  # the "@"
        return self._index(head.lineno, at), self._index(node.end_lineno, node.end_col_offset)

    def _index(self, line: int, column: int) -> int:
        """Return the index in the text of the place at a line, from 1, and a column, in bytes."""
        return self._starts[line - 1] + len(self._lines[line - 1][:column].decode())

    def _code(self) -> str:
        """Return the text with spaces in place of comments and strings."""
        blank = list(self._text)
        for token in tokenize.generate_tokens(io.StringIO(self._text).readline):
            if token.type == tokenize.COMMENT or "STRING" in tokenize.tok_name[token.type]:
                first, last = (self._starts[row - 1] + column for row, column in (token.start, token.end))
                for i in range(first, last):
                    blank[i] = blank[i] if blank[i] == "\n" else " "
        return "".join(blank)

    def _edits_of_syntax(self, skipped: set[int]) -> Iterator[Edit]:
        """Yield the edits that need the syntax tree.

        Such an edit leaves out a statement, the value of a `return` or the last argument of a call,
        negates a condition, or replaces a string that names an option or a kernel.
        """
        for node in ast.walk(self._tree):
            if id(node) in skipped:
                continue
            match node:
                case ast.Raise() | ast.AugAssign() | ast.Expr(value=ast.Call()):
                    yield *self._span(node), "pass"
                case ast.Assign(targets=[ast.Attribute() | ast.Subscript(), *_]):
                    yield *self._span(node), "pass"
                case ast.Return(value=ast.expr()):
                    yield *self._span(node), "return None"
                case ast.If(test=test):
                    start, end = self._span(test)
                    yield start, end, f"not ({self._text[start:end]})"
                case ast.Constant(value=str()) | ast.JoinedStr() if _is_word(node):
                    yield *self._span(node), '"mutated"'
                case ast.Call(args=args, keywords=keywords):
                    arguments = [*args, *keywords]
                    if len(arguments) > 1 and id(arguments[-1]) not in skipped:
                        yield self._span(arguments[-2])[1], self._span(arguments[-1])[1], ""


def _without_blocks(node: ast.AST) -> str:
    """Return a statement in one line, in a form that does not depend on its line breaks and quotes.

    A compound statement loses the statements that it contains, and a function its annotations.
    """
    bare = copy.copy(node)
    for field in _BLOCKS:
        if isinstance(getattr(bare, field, None), list):
            setattr(bare, field, [])
    if isinstance(bare, ast.FunctionDef | ast.AsyncFunctionDef):
        bare.args, bare.returns = copy.deepcopy(bare.args), None
        for part in ast.walk(bare.args):
            if isinstance(part, ast.arg):
                part.annotation = None
    return " ".join(ast.unparse(bare).split())


def _is_word(node: ast.Constant | ast.JoinedStr) -> bool:
    """Return whether the text of a string looks like the name of an option or of a kernel."""
    parts = node.values if isinstance(node, ast.JoinedStr) else [node]
    return all(_WORD.fullmatch(part.value) for part in parts if isinstance(part, ast.Constant))


def _untestable(tree: ast.AST) -> Iterator[ast.AST]:
    """Yield the nodes whose change no test could notice, and the parts of f-strings.

    The parts of an f-string are not changed one by one, because Python gives their positions
    only from version 3.12 on.
    """
    for node in ast.walk(tree):
        match node:
            case ast.AnnAssign(annotation=annotation, value=value):
                yield annotation
                if value and ast.unparse(annotation) == "TypeAlias":
                    yield value
            case ast.JoinedStr(values=parts):
                yield from parts
            case ast.Expr(value=ast.Constant()) | ast.Assign(targets=[ast.Name(id="__slots__")]):
                yield node
            case ast.Raise(exc=ast.expr() as message) | ast.Assert(msg=ast.expr() as message):
                yield from _strings(message)
            case ast.Call(func=ast.Attribute(value=ast.Name(id=name))) if name in _LOGGERS:
                yield from _strings(node)
            case ast.Call(func=ast.Attribute(attr=name) | ast.Name(id=name), keywords=keywords) if name in _THREADS:
                yield from (keyword for keyword in keywords if keyword.arg == "name")
        if isinstance(node, ast.keyword) and node.arg in _UNTESTABLE_KEYWORDS:
            yield node


def _strings(node: ast.AST) -> Iterator[ast.AST]:
    """Yield the strings in an expression."""
    for part in ast.walk(node):
        if isinstance(part, ast.JoinedStr) or (isinstance(part, ast.Constant) and isinstance(part.value, str)):
            yield part
