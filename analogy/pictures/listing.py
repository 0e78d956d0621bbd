"""Lists of the pictures in a folder, and of the paths that match a pattern.

A file is a picture if it has one of `SUFFIXES`, or if its content is a picture.
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Callable, Iterable, Sequence
from glob import escape, glob, has_magic
from pathlib import Path
from typing import IO, TypeVar

from ..files.inputs import open_regular
from .reading import is_picture
from .writing import WRITERS

_log = logging.getLogger("analogy")

SUFFIXES = (*WRITERS, ".gif", ".avif", ".heic", ".heif", ".jfif", ".jpe")
"""Suffixes of files that count as pictures, even if they are damaged."""
_MOST_NAMED = 5
"""Maximum number of left-out files and folders that a log line names."""
_LAST_NUMBER = re.compile(r"(.*?)(-?)(\d+)(\D*)", re.DOTALL)
"""Pattern of a name: the part before the last number, a minus or nothing, the number, the rest."""

AnyPath = TypeVar("AnyPath", str, Path)


def pictures_in(folder: str | os.PathLike[str]) -> list[str]:
    """Return the paths of the pictures in a folder, in the order of `in_order`.

    Files and subfolders whose names begin with a dot are ignored. One log line names the other
    files that are not pictures, and the other subfolders. Raises OSError if the folder cannot be
    read.
    """
    with os.scandir(folder) as entries:
        found = list(entries)
    files = [entry.path for entry in found if entry.is_file()]
    return pictures_among(
        os.fspath(folder), files, [entry.path for entry in found if not entry.is_file()], open_regular
    )


def pictures_among(
    folder: str, files: Iterable[str], others: Iterable[str], open_file: Callable[[str], IO[bytes]]
) -> list[str]:
    """Return the `files` that are pictures, in the order of `in_order`.

    One log line names the files that are not pictures, and the `others`, such as the subfolders of
    `folder`. Names that begin with a dot are ignored. `open_file` takes a path and returns an open
    file, which must be seekable.
    """
    pictures: list[str] = []
    left = [path for path in others if not _name(path).startswith(".")]
    for path in files:
        if not _name(path).startswith("."):
            known = path.lower().endswith(SUFFIXES)
            (pictures if known or _is_picture(path, open_file) else left).append(path)
    names = sorted(map(_name, left))
    if names:
        more = f" and {len(names) - _MOST_NAMED} more" if len(names) > _MOST_NAMED else ""
        named = ", ".join(names[:_MOST_NAMED])
        _log.info("%s: these are left out, as they are not pictures that can be read: %s%s", folder, named, more)
    return in_order(pictures)


def matching(
    pattern: str, find: Callable[[str], Sequence[str]] = glob, exists: Callable[[str], bool] = os.path.lexists
) -> list[str]:
    """Return the paths that match a pattern like "shot/*.png", in the order of `in_order`.

    Names of folders and files may contain "[", "*" or "?". So the leading folders of the pattern
    are taken literally if they exist. In the rest, brackets are first taken literally. If nothing
    matches, the function searches again, with brackets as in `glob`. `find` returns the paths that
    match a pattern as `glob` does, and `exists` returns True if a path exists.
    """
    parts = re.split(r"([/\\])" if os.sep == "\\" else "(/)", pattern)
    literal = 0
    for end in range(1, len(parts), 2):
        if has_magic(parts[end - 1]) and not exists("".join(parts[:end])):
            break
        literal = end
    begin, rest = escape("".join(parts[:literal])), "".join(parts[literal:])
    found = find(begin + rest.replace("[", "[[]")) or find(begin + rest)
    return in_order(found)


def is_pattern(path: str) -> bool:
    """Return True if `path` is a pattern, and not the name of an existing file or folder."""
    return has_magic(path) and not os.path.lexists(path)


def in_order(paths: Iterable[AnyPath]) -> list[AnyPath]:
    """Return paths sorted by their names in natural order: 2 before 10.

    A minus before the last number of a name is a sign or a hyphen. To decide, the function looks at
    all names that differ only in this number. If their numbers form a range without gaps that
    contains -1 and 0, as in f-2, f-1, f0, f1, the minus is a sign, and f-2 comes before f-1.
    Otherwise the minus is a hyphen, as in shot-1, shot-2.
    """
    paths = list(paths)
    alike: dict[tuple[str, ...], list[tuple[str, int]]] = {}
    for path in paths:
        if found := _LAST_NUMBER.fullmatch(Path(path).name):
            alike.setdefault((found[1], found[4]), []).append((found[2], int(found[2] + found[3])))
    runs = set()
    for ends, numbers in alike.items():
        values: list[int] = sorted(number for _, number in numbers)
        below = [number for sign, number in numbers if sign]
        if below and max(below) == -1 and values[-1] >= 0 and values == [*range(values[0], values[-1] + 1)]:
            runs.add(ends)

    def key(path: AnyPath) -> tuple[list[tuple[int, str]], str]:
        name = Path(path).name
        parts = [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d+)", name)]
        found = _LAST_NUMBER.fullmatch(name)
        if found and found[2] and (found[1], found[4]) in runs:
            parts[-3:-1] = [(-1, parts[-3][1][:-1]), (-parts[-2][0], "")]
        return parts, name

    return sorted(paths, key=key)


def _is_picture(path: str, open_file: Callable[[str], IO[bytes]]) -> bool:
    """Return True if a file can be opened and its content is a picture."""
    try:
        with open_file(path) as file:
            return is_picture(file)
    except OSError:
        return False


def _name(path: str) -> str:
    """Return the part of a path after the last separator."""
    return path.replace("\\", "/").rpartition("/")[2] if os.sep == "\\" else path.rpartition("/")[2]
