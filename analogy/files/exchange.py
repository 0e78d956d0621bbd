"""Exchange of the results of one run for those of the next; a later run finishes it after a kill.

The new files are in a temporary folder inside the folder for results, with a manifest that names
them. An exchange moves the old files into a subfolder of the temporary folder, the manifest first.
Then it moves the new files into the folder for results, the manifest last. So a folder with a
manifest always contains the files of a single run. If the process is killed during an exchange,
some files of one run are in the folder for results, without a manifest, and the remaining files are
in the temporary folder. The next call of `exchange` finishes such an exchange.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from . import temporary
from .manifests import MANIFEST, is_unchanged, recorded_files

_PREVIOUS = "previous"
"""Name of the subfolder of the temporary folder for old files.

The subfolder exists only during an exchange.
"""


def new_files(new: Path) -> list[str]:
    """Return the sorted names of the files in the temporary folder `new`, except the manifest."""
    names = {entry.name for entry in os.scandir(new) if not temporary.is_temporary(entry.name)}
    return sorted(names - {temporary.LOCK, _PREVIOUS, MANIFEST})


def is_under_way(new: Path) -> bool:
    """Return True if an exchange for the files in `new` has begun but has not ended."""
    return (new / _PREVIOUS).is_dir() and (new / MANIFEST).is_file()


def exchange(folder: Path, new: Path) -> None:
    """Replace the old results in `folder` by those in `new`, or finish an interrupted exchange.

    Old results are the files that the manifest in `folder` records and that have not been changed,
    and also each file that has the name of a new one.

    Raises OSError if a file cannot be moved. Before that, the function tries to undo the moves of
    this call.
    """
    with temporary.alone_in(folder):
        _exchange(folder, new)


def _exchange(folder: Path, new: Path) -> None:
    """Exchange the files as `exchange` does, without making sure that no other run does so."""
    previous = new / _PREVIOUS
    previous.mkdir(exist_ok=True)
    arriving = new_files(new)
    arrived = set(recorded_files(new / MANIFEST)) - set(arriving)  # a call that was killed has moved these already
    old = recorded_files(folder / MANIFEST) or recorded_files(previous / MANIFEST)
    unchanged = [name for name in old if name not in arrived and is_unchanged(folder / name, old[name])]
    moved: list[tuple[Path, Path]] = []

    def move(source: Path, target: Path) -> None:
        moved.append((source, target))
        source.replace(target)

    try:
        for name in dict.fromkeys([MANIFEST, *unchanged, *arriving]):
            if (folder / name).is_symlink() or (folder / name).is_file():
                move(folder / name, previous / name)
        for name in [*arriving, MANIFEST]:
            move(new / name, folder / name)
    except BaseException:
        for source, target in reversed(moved):
            if not os.path.lexists(source):  # the last move is in `moved`, but it may have failed
                with suppress(OSError):
                    target.replace(source)
        with suppress(OSError):
            previous.rmdir()
        raise
