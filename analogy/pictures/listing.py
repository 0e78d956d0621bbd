"""Which files a folder or a pattern means: pictures are known by their content where their suffix does not tell."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Callable, Iterable, Sequence
from glob import escape, glob, has_magic
from pathlib import Path
from typing import IO

from ..inputs import open_regular
from .reading import is_picture
from .writing import WRITERS

_log = logging.getLogger("analogy")

SUFFIXES = (*WRITERS, ".gif", ".avif", ".heic", ".heif", ".jfif", ".jpe")
"""Suffixes of files that are pictures, be they damaged. Of others the content decides."""
_MOST_NAMED = 5


def pictures_in(folder: str | os.PathLike[str]) -> list[str]:
    """Return the paths of the pictures in a folder, numbers in their names by value; log in one line what is left out.

    Names that begin with a dot are hidden: they are neither taken nor named. Raises OSError if the folder cannot be read.
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
    """Return which `files` of a folder are pictures, numbers in their names by value; log in one line what is left out.

    others     what else is in the folder
    open_file  opens one of the files, any place of which can then be read
    """
    taken: list[str] = []
    left = [path for path in others if not _name(path).startswith(".")]
    for path in files:
        if not _name(path).startswith("."):
            known = path.lower().endswith(SUFFIXES)
            (taken if known or _is_picture(path, open_file) else left).append(path)
    names = sorted(map(_name, left))
    if names:
        more = f" and {len(names) - _MOST_NAMED} more" if len(names) > _MOST_NAMED else ""
        named = ", ".join(names[:_MOST_NAMED])
        _log.info("%s: left out, as these are no pictures that can be read: %s%s", folder, named, more)
    return sorted(taken, key=lambda path: by_number(Path(path)))


def matching(
    pattern: str, find: Callable[[str], Sequence[str]] = glob, exists: Callable[[str], bool] = os.path.lexists
) -> list[str]:
    """Return the paths that a pattern like "shot/*.png" means, numbers in their names by value.

    Folders and files may have "[", "*" or "?" in their names: the folders with which the pattern begins are taken by their
    names where these exist, and brackets mean themselves where anything is called so.

    find    finds the paths that a pattern means
    exists  tells whether there is a file or a folder
    """
    parts = re.split(r"([/\\])" if os.sep == "\\" else "(/)", pattern)
    literal = 0
    for end in range(1, len(parts), 2):
        if has_magic(parts[end - 1]) and not exists("".join(parts[:end])):
            break
        literal = end
    begin, rest = escape("".join(parts[:literal])), "".join(parts[literal:])
    found = find(begin + rest.replace("[", "[[]")) or find(begin + rest)
    return sorted(found, key=lambda path: by_number(Path(path)))


def is_pattern(path: str) -> bool:
    """Return whether a path is a pattern, and not the name of what exists."""
    return has_magic(path) and not os.path.lexists(path)


def by_number(path: Path) -> tuple[list[tuple[int, str]], str]:
    """Return a key that sorts names as people do: 2 before 10."""
    parts = [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d+)", path.name)]
    return parts, path.name


def _is_picture(path: str, open_file: Callable[[str], IO[bytes]]) -> bool:
    try:
        with open_file(path) as file:
            return is_picture(file)
    except OSError:
        return False


def _name(path: str) -> str:
    return path.replace("\\", "/").rpartition("/")[2] if os.sep == "\\" else path.rpartition("/")[2]
