"""Models on disk: which there are, where their folders are, and whether the files are complete and fit together.

A model is a folder with the ONNX graphs of `GRAPHS`, one copy of the weights that they share (`WEIGHTS`), and its card
`model.json`, which tells what the weights are, whose, under which licence, and the SHA-256 of each file. `vgg19-compact` is
part of the package. Others are in the user's cache folder (see `pull.py`), or wherever the user exported them to.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from ..errors import ModelError, OutputError
from .published import PUBLISHED

GRAPHS = ("features.onnx", *(f"{kind}_{level}.onnx" for level in (5, 4, 3, 2) for kind in ("invert", "between")))
"""The feature pyramid; and for each level the objective of the inversion, and the part of it that gives the result."""
CARD = "model.json"
WEIGHTS = "weights.bin"
"""External data of the graphs. A folder whose graphs hold their weights themselves has no such file."""
PROJECTION = "projection.npz"
"""Matrices (C, k) float32 that project features for the search: `level1` .. `level5`, or some of them. Optional."""
DEFAULT = "vgg19-compact"
SCRATCH = ".pull-"
"""Prefix of the folders in which a process works within the cache. The next pull deletes old ones."""


@dataclass(frozen=True)
class Card:
    """The card of a model. `widths`: channels of relu1_1 .. relu5_1. `sha256`: file name -> checksum in hex."""

    name: str
    description: str
    widths: tuple[int, ...]
    source: str
    licence: str
    sha256: Mapping[str, str] = field(default_factory=dict)

    @property
    def fingerprint(self) -> str:
        """One checksum in hex for all files together: the same network has the same."""
        lines = "".join(f"{checksum}  {name}\n" for name, checksum in sorted(self.sha256.items()))
        return hashlib.sha256(lines.encode()).hexdigest()


def shipped() -> Path:
    """The folder of the models that come with the package, in an installation and in a source checkout."""
    package = Path(__file__).parents[1]
    installed = package / "_models"
    return installed if installed.is_dir() else package.parent / "models"


def cache() -> Path:
    """The folder of pulled models: `ANALOGY_HOME`, or `models` in the platform's user cache folder."""
    home = os.environ.get("ANALOGY_HOME")
    if home:
        return Path(home).expanduser() / "models"
    from platformdirs import user_cache_path

    return user_cache_path("analogy", appauthor=False) / "models"


def installed() -> dict[str, Path]:
    """Name -> folder of each model on this machine, those of the package first."""
    found: dict[str, Path] = {}
    for root in (shipped(), cache()):
        for card in sorted(root.glob(f"*/{CARD}")) if root.is_dir() else []:
            if not card.parent.name.startswith("."):  # unfinished
                found.setdefault(card.parent.name, card.parent)
    return found


def locate(model: str | os.PathLike[str]) -> Path:
    """The folder of a model. `model`: its name, or the folder itself.

    Raises `ModelError` if there is no such model, the folder lacks a file, or its card is invalid.
    """
    here = installed()
    folder = here.get(str(model)) or Path(model).expanduser()
    if not folder.is_dir():
        if str(model) in PUBLISHED:
            raise ModelError(f"the model {str(model)!r} is not here yet; get it with: analogy models pull {model}")
        raise ModelError(f"no model {str(model)!r}; there is {', '.join(here) or 'none'}, or name a model's folder")
    named = read_card(folder).sha256 if (folder / CARD).is_file() else {}
    missing = [name for name in dict.fromkeys((*GRAPHS, *named, CARD)) if not (folder / name).is_file()]
    if missing:
        raise ModelError(f"the model folder {folder} lacks {', '.join(missing)}; export or pull the model again")
    return folder


def read_card(folder: Path) -> Card:
    """The card of the model in `folder`. Raises `ModelError` if it cannot be read or is invalid."""
    path = folder / CARD
    try:
        fields = json.loads(path.read_text(encoding="utf-8"))
        fields["widths"] = tuple(fields["widths"])
        card = Card(**fields)
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise ModelError(f"the card {path} cannot be read: {type(error).__name__}: {error}") from error
    if len(card.widths) != 5 or not all(type(width) is int and width > 0 for width in card.widths):
        raise ModelError(f"the card {path} has widths {list(card.widths)}; expected five numbers above 0")
    if not isinstance(card.sha256, dict):
        raise ModelError(f"the card {path} has sha256 {card.sha256!r}; expected file names with checksums")
    return card


def verify(folder: Path) -> None:
    """Compare each file with its checksum in the card. Raises `ModelError` naming the first that differs or is missing."""
    card = read_card(folder)
    for name in dict.fromkeys((*GRAPHS, *card.sha256)):
        try:
            actual = hashlib.sha256((folder / name).read_bytes()).hexdigest()
        except OSError as error:
            raise ModelError(f"{folder / name} cannot be read: {error.strerror}; {_cure(folder)}") from error
        if actual != card.sha256.get(name):
            raise ModelError(
                f"{folder / name} is damaged: SHA-256 {actual}, its card says {card.sha256.get(name)}; {_cure(folder)}"
            )


def _cure(folder: Path) -> str:
    if folder.parent == cache():
        return f"replace it with: analogy models pull {folder.name}"
    return "install the package again" if folder.parent == shipped() else "export the model again"


def check_graph(path: Path, card: Card, session: Any) -> None:
    """Check that the graph loaded from `path` has the inputs and outputs that `card` promises, so that one feeds the next.

    `session`: an ONNX Runtime session, or anything with `get_inputs` and `get_outputs` like it.

    Raises `ModelError` naming the first that is missing or has another type or shape.
    """
    channels = (3, *card.widths)  # of the picture and of relu1_1 .. relu5_1
    if path.name == "features.onnx":
        inputs = {"image": channels[0]}
        outputs: dict[str, int | None] = {f"relu{level}_1": channels[level] for level in range(1, 6)}
    else:
        level = int(path.stem[-1])
        inputs, outputs = {"x": channels[level - 2]}, {"between": channels[level - 1]}
        if path.stem.startswith("invert"):
            inputs |= {"target": channels[level]}
            outputs |= {"loss": None, "gradient": channels[level - 2]}
    extra = [item.name for item in session.get_inputs() if item.name not in inputs]
    if extra:
        raise ModelError(
            f"{path} asks for {', '.join(extra)}; expected only {', '.join(inputs)}; export the model again"
        )
    for role, wanted, items in (("input", inputs, session.get_inputs()), ("output", outputs, session.get_outputs())):
        found = {item.name: item for item in items}
        for name, width in wanted.items():
            if name not in found:
                has = ", ".join(found) or "none"
                raise ModelError(f"{path} has no {role} {name}; it has {has}; export the model again")
            shape = list(found[name].shape)
            if found[name].type != "tensor(float)" or not _fits(shape, width):
                expected = [] if width is None else [1, width, "height", "width"]
                raise ModelError(
                    f"{path}: {role} {name} is {found[name].type} {shape}, its card promises tensor(float) {expected}; "
                    "the folder's files are not of one model, or of another size: export it again"
                )


def _fits(shape: Sequence[int | str | None], channels: int | None) -> bool:
    """Whether a graph's shape is that of a scalar (`channels` None), or of one map of `channels` with any height and width."""
    if channels is None or len(shape) != 4:
        return channels is None and not shape
    batch, width, *size = shape
    free = not any(isinstance(side, int) for side in size)
    return free and all(side == wanted or not isinstance(side, int) for side, wanted in ((batch, 1), (width, channels)))


def remove(name: str) -> Path:
    """Delete a pulled model from the cache. Returns its folder.

    Raises `ModelError` for a model that comes with the package or is not in the cache, `OutputError` if it cannot be
    deleted.
    """
    folder = cache() / name
    if installed().get(name) != folder:
        if name in installed():
            raise ModelError(f"{name} comes with the package and stays; only pulled models can be removed")
        pulled = [other for other, path in installed().items() if path.parent == cache()]
        raise ModelError(f"no pulled model {name!r} to remove; there is {', '.join(pulled) or 'none'}")
    try:
        scratch = Path(tempfile.mkdtemp(prefix=f"{SCRATCH}remove-", dir=cache()))
        folder.replace(scratch / name)  # in one step, so that nobody sees half a model
        shutil.rmtree(scratch)
    except OSError as error:
        raise OutputError(f"{folder} cannot be removed: {error.strerror}") from error
    return folder


def add_file(folder: Path, name: str, content: bytes) -> None:
    """Put one more file into a model's folder, and its checksum into the card. An earlier one of the name is replaced.

    Raises `OutputError` if the folder cannot be written.
    """
    card = read_card(folder)
    sha256 = dict(card.sha256) | {name: hashlib.sha256(content).hexdigest()}
    try:  # the card last: it alone says which files belong to the model
        for file, data in ((name, content), (CARD, _card_text(card, sha256))):
            scratch = folder / f".{file}.tmp"
            scratch.write_bytes(data)
            scratch.replace(folder / file)
    except OSError as error:
        raise OutputError(f"{folder} cannot be written: {error.strerror or error}") from error


def _card_text(card: Card, sha256: Mapping[str, str]) -> bytes:
    return (json.dumps(asdict(card) | {"sha256": sha256}, indent=2, ensure_ascii=False) + "\n").encode()


def write_model(folder: Path, card: Card, files: Mapping[str, bytes]) -> None:
    """Make `folder` with `files`, name -> content, and the card, which gets their checksums: all of it, or nothing.

    Raises `ModelError` if it exists and is not empty, `OutputError` if it cannot be written.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ModelError(f"{folder} is already there; choose another folder or remove it first")
    sha256 = {name: hashlib.sha256(data).hexdigest() for name, data in files.items()}
    scratch = None
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        scratch = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
        for name, data in files.items():
            (scratch / name).write_bytes(data)
        (scratch / CARD).write_bytes(_card_text(card, sha256))
        scratch.chmod(0o755)
        if folder.exists():
            folder.rmdir()  # empty; Windows does not replace even that
        scratch.replace(folder)
    except OSError as error:
        raise OutputError(f"{folder} cannot be written: {error.strerror or error}") from error
    finally:
        if scratch is not None:
            shutil.rmtree(scratch, ignore_errors=True)
