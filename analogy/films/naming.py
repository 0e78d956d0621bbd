"""Search for the frame that a user means by a name, a file, the number in a name or an index."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TypeVar

from ..errors import SettingsError, shown

_Key = TypeVar("_Key")


def find_frames(names: Sequence[str], files: Sequence[Path], keys: Mapping[int | str, _Key]) -> dict[int, _Key]:
    """Return a copy of the dict `keys` that has the indices of the frames in place of their names.

    `names`, `files` and the names in `keys` are as for `find_frame`. Raises `SettingsError` if a
    name matches no frame or more than one, or if two names mean the same frame.
    """
    found: dict[int, _Key] = {}
    for name, key in keys.items():
        index = find_frame(names, files, name)
        if index in found:
            raise SettingsError(f"there are two keys for the frame {names[index]}; give only one")
        found[index] = key
    return found


def find_frame(names: Sequence[str], files: Sequence[Path], name: int | str) -> int:
    """Return the index of the frame that the user means.

    Parameters
    ----------
    names : sequence of str
        Name of each frame.
    files : sequence of Path
        File of each frame. If there are not as many files as frames, the files are ignored.
    name : int or str
        An int is an index, from 0. A str is the name of a frame, or the name or the path of its
        file. A str of digits that is no such name is the number in a frame's name (see `_numbers`)
        or, if `_numbers` finds none, an index.

    Returns
    -------
    int
        Index of the frame.

    Raises
    ------
    SettingsError
        If `name` matches no frame, or more than one.
    """
    if not isinstance(name, str):
        if isinstance(name, bool) or not isinstance(name, int) or not 0 <= name < len(names):
            raise SettingsError(f"there is no frame {name!r}; {_there_are(names, '0', str(len(names) - 1))}")
        return name
    called = [{each} for each in names]
    if len(files) == len(names):
        called = [each | {file.name, str(file)} for each, file in zip(called, files, strict=True)]
    found = [index for index, each in enumerate(called) if name in each]
    if not found:  # macOS may store "ü" in a file's name as "u" with a mark, which looks the same
        found = [index for index, each in enumerate(called) if _composed(name) in map(_composed, each)]
    if not found and name.isascii() and name.isdigit():
        numbers = _numbers(names) or [{str(index)} for index in range(len(names))]
        found = [index for index, each in enumerate(numbers) if _number(name) in each]
        if not found:
            ends = sorted(set.union(*numbers), key=lambda number: (len(number), number))
            raise SettingsError(f"there is no frame {name[:40]}; {_there_are(names, ends[0], ends[-1])}")
    if not found:
        raise SettingsError(f"there is no frame {shown(name)}; name one of {names[0]} to {names[-1]}")
    if len(found) > 1:
        raise SettingsError(
            f"the frame {name} may be {names[found[0]]} or {names[found[1]]}; give the whole name of one of them"
        )
    return found[0]


def _numbers(names: Sequence[str]) -> list[set[str]]:
    """Return for each name the numbers in it that differ between names, without leading zeros.

    For "take2_0010" and "take2_0011" these are {"10"} and {"11"}, because the number 2 is the same
    in both. If some names contain more numbers than others, the last number of each name is
    returned, or [] if a name has no number. The result is also [] if no number differs.
    """
    found = [[_number(digits) for digits in re.findall(r"[0-9]+", name)] for name in names]
    if len({len(each) for each in found}) > 1:
        return [set(each[-1:]) for each in found] if all(found) else []
    differing = [place for place in range(len(found[0])) if len({each[place] for each in found}) > 1]
    return [{each[place] for place in differing} for each in found] if differing else []


def _composed(name: str) -> str:
    """Return a name in which each letter with a mark is one character, if Unicode has it."""
    return unicodedata.normalize("NFC", name)


def _number(digits: str) -> str:
    """Return a string of digits without its leading zeros."""
    return digits.lstrip("0") or "0"


def _there_are(names: Sequence[str], lowest: str, highest: str) -> str:
    """Return the end of a message, which says how the frames of a film can be named."""
    return f"name one of {names[0]} to {names[-1]}, or give a number from {lowest} to {highest}"


def numbered(count: int) -> list[str]:
    """Return names for `count` frames: the numbers from 0, with zeros in front.

    All names have the same length, which is at least 4.
    """
    return [f"{index:0{max(4, len(str(count - 1)))}}" for index in range(count)]
