"""Models on disk: finding, checking, writing and removing their folders.

A model is a folder with the ONNX graphs of `GRAPHS`, one copy of the weights that they share
(`WEIGHTS`), and its card `model.json`, which gives the source, the owner and the licence of the
weights, and the SHA-256 of each file. `vgg16-compact` is part of the package. Other models are in
the user's cache folder (see `pull`), or in any folder to which the user exported them.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from pathlib import Path

from ..errors import ModelError, OutputError, reason, unreadable
from ..files.atomic import atomic, atomic_folder
from ..files.folders import make_folder
from ..files.temporary import scratch_folder
from ..files.user_cache import user_cache
from .cards import CARD, Card, card_text, read_card
from .checks import ModelFiles
from .published import PUBLISHED

GRAPHS = ("features.onnx", *(f"{kind}_{level}.onnx" for level in (5, 4, 3, 2) for kind in ("invert", "step")))
"""File names of the graphs: features, and for levels 5 to 2 the objective and a gradient step."""
WEIGHTS = "weights.bin"
"""Name of the file with the weights of the graphs.

A model whose graphs contain the weights themselves has no such file.
"""
PROJECTION = "projection.npz"
"""Name of the optional file with matrices (C, k) float32 that project features for the search.

The file has a matrix for each level that is projected, called `level1` .. `level5`.
"""
DEFAULT = "vgg16-compact"
"""Name of the model that comes with the package and is used by default."""


def shipped() -> Path:
    """Return the folder of the models that come with the package.

    The folder is in the installed package, or beside the package in a source checkout.
    """
    package = Path(__file__).parents[1]
    installed = package / "_models"
    return installed if installed.is_dir() else package.parent / "models"


def find_cache() -> Path | None:
    """Return the folder of pulled models, or None if the user has no cache folder.

    The folder is `models` in the folder that the environment variable ANALOGY_HOME names, or else
    in the user's cache folder. Raises `ModelError` if the system refuses the path in ANALOGY_HOME.
    """
    home = os.environ.get("ANALOGY_HOME")
    folder = _folder(home, "ANALOGY_HOME") if home else user_cache()
    return folder and folder / "models"


def cache() -> Path:
    """Return the folder of pulled models. Raises `ModelError` if there is none."""
    folder = find_cache()
    if folder is None:
        raise ModelError("this user has no folder for pulled models; set ANALOGY_HOME to a folder")
    return folder


def installed() -> dict[str, Path]:
    """Return name -> folder of the models that come with the package and of the pulled models.

    The former come first, and a pulled model with the name of one of them is left out. The cards of
    the models are not read, and may be damaged.
    """
    found: dict[str, Path] = {}
    for root in filter(None, (shipped(), find_cache())):
        for card in sorted(root.glob(f"*/{CARD}")):
            if not card.parent.name.startswith("."):  # a dot marks an unfinished model
                found.setdefault(card.parent.name, card.parent)
    return found


def locate(model: str | os.PathLike[str]) -> Path:
    """Return the folder of a model that is given by its name or its folder.

    Raises `ModelError` if there is no such model, the folder lacks a file, or its card is invalid.
    """
    here, name = installed(), os.fsdecode(model)
    folder = here.get(name) or _folder(name, "the model")
    if not folder.is_dir():
        if name in PUBLISHED:
            raise ModelError(f"the model {name!r} is not installed; get it with: analogy models pull {name}")
        raise ModelError(
            f"there is no model {name!r}; choose from {', '.join(here) or 'none'}, or name a model's folder"
        )
    try:
        named = read_card(folder).sha256 if (folder / CARD).is_file() else {}
        missing = [name for name in dict.fromkeys((*GRAPHS, *named, CARD)) if not (folder / name).is_file()]
    except OSError as error:
        raise ModelError(unreadable(error, str(folder))) from error
    if missing:
        raise ModelError(f"the model folder {folder} lacks {', '.join(missing)}; export or pull the model again")
    return folder


def _folder(name: str, what: str) -> Path:
    """Return `name` as a path, with ~ expanded. Raises `ModelError` if the system refuses it."""
    try:
        folder = Path(name).expanduser()
        folder.stat()
    except FileNotFoundError:
        pass
    # OSError: the name is too long, or may not be looked up. ValueError: the name has a NUL.
    # RuntimeError: there is no such user as in "~user".
    except (OSError, ValueError, RuntimeError) as error:
        raise ModelError(f"{what} {name!r:.100} is not a folder that can be read: {reason(error)}") from error
    return folder


def verify(folder: Path) -> None:
    """Compare each file of a model with its checksum in the card.

    Raises `ModelError` with the first file that differs or is missing.
    """
    files = open_model(folder)
    for name in dict.fromkeys((*GRAPHS, *files.card.sha256)):
        files.path(name)


def open_model(folder: Path) -> ModelFiles:
    """Return the files of the model in `folder`. Raises `ModelError` if its card is invalid."""
    return ModelFiles(folder, read_card(folder), _cure(folder))


def _cure(folder: Path) -> str:
    """Return the end of messages about a damaged model, which says what to do about the damage."""
    if folder.parent == find_cache():
        return f"replace it with: analogy models pull {folder.name}"
    return "install the package again" if folder.parent == shipped() else "export the model again"


def remove(name: str) -> Path:
    """Delete a pulled model from the cache, and return its folder.

    Raises `ModelError` for a model that comes with the package or is not in the cache, and
    `OutputError` if it cannot be deleted.
    """
    folder = cache() / name
    if installed().get(name) != folder:
        if name in installed():
            raise ModelError(f"{name} is part of the package and cannot be removed; only pulled models can be removed")
        pulled = [other for other, path in installed().items() if path.parent == cache()]
        known = f"choose from {', '.join(pulled)}" if pulled else "no model has been pulled"
        raise ModelError(f"there is no pulled model {name!r} to remove; {known}")
    try:
        with scratch_folder(cache()) as scratch:
            folder.replace(scratch / name)  # in one step, so that no program finds half of a model
    except OSError as error:
        raise OutputError(f"{folder} cannot be removed: {error.strerror}; delete it by hand") from error
    return folder


def add_file(folder: Path, name: str, content: bytes) -> None:
    """Add or replace a file in a model's folder, and write the file's checksum to the card.

    Raises `ModelError` if the card is missing or invalid, and `OutputError` if the folder cannot be
    written to.
    """
    card = read_card(folder)
    sha256 = dict(card.sha256) | {name: hashlib.sha256(content).hexdigest()}
    make_folder(folder)  # this deletes temporary files that a killed process left there
    # The card is written last, because it says which files belong to the model.
    for each, data in ((name, content), (CARD, card_text(card, sha256))):
        with atomic(folder / each) as file:
            file.write(data)


def write_model(folder: Path, card: Card, files: Mapping[str, bytes]) -> None:
    """Write a model's folder with `files` (name -> content) and a card, completely or not at all.

    The checksums of the files are added to the card. Raises `ModelError` if the folder exists and
    is not empty, and `OutputError` if it cannot be written.
    """
    try:
        is_free = not folder.exists() or (folder.is_dir() and not any(folder.iterdir()))
    except OSError as error:
        raise OutputError(unreadable(error, str(folder))) from error
    if not is_free:
        raise ModelError(f"{folder} exists already; choose another folder, or remove it first")
    sha256 = {name: hashlib.sha256(data).hexdigest() for name, data in files.items()}
    make_folder(folder.parent)
    with atomic_folder(folder) as new:
        for name, data in files.items():
            (new / name).write_bytes(data)
        (new / CARD).write_bytes(card_text(card, sha256))
