"""Models on disk: which there are, where they lie, and whether their files are whole.

A model is a folder with the graphs of `GRAPHS` and `model.json`, its card: what the weights are, whose, under which
licence, and the SHA-256 of each graph. `vgg19-compact` is part of the package; others lie in the user's cache folder or
wherever the user exported them to.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

from .errors import ModelError

GRAPHS = ("features.onnx", "invert_5.onnx", "invert_4.onnx", "invert_3.onnx", "invert_2.onnx")
CARD = "model.json"
DEFAULT = "vgg19-compact"


@dataclass(frozen=True)
class Card:
    """What a model is. `widths`: channels of relu1_1 .. relu5_1. `sha256`: file name -> checksum in hex."""

    name: str
    description: str
    widths: tuple[int, ...]
    source: str
    licence: str
    sha256: Mapping[str, str] = field(default_factory=dict)


def shipped() -> Path:
    """The folder of the models that come with the package, in an installation and in a source checkout."""
    package = Path(__file__).parent
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
    """Name -> folder of each model that is here, shipped ones first."""
    found: dict[str, Path] = {}
    for root in (shipped(), cache()):
        for folder in sorted(root.glob(f"*/{CARD}")) if root.is_dir() else []:
            found.setdefault(folder.parent.name, folder.parent)
    return found


def locate(model: str | os.PathLike[str]) -> Path:
    """The folder of a model, given its name or the folder itself.

    Raises `ModelError` where there is neither, or where the folder lacks a file.
    """
    folder = installed().get(str(model)) or Path(model).expanduser()
    if not folder.is_dir():
        raise ModelError(f"no model {str(model)!r}; there is {', '.join(installed()) or 'none'}, or name a model's folder")
    missing = [name for name in (*GRAPHS, CARD) if not (folder / name).is_file()]
    if missing:
        raise ModelError(f"the model folder {folder} lacks {', '.join(missing)}")
    return folder


def read_card(folder: Path) -> Card:
    """The card of the model in `folder`. Raises `ModelError` where it cannot be read."""
    try:
        fields = json.loads((folder / CARD).read_text(encoding="utf-8"))
        fields["widths"] = tuple(int(width) for width in fields["widths"])
        return Card(**fields)
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise ModelError(f"the card {folder / CARD} cannot be read: {error}") from error


def verify(folder: Path) -> None:
    """Compare each graph with its checksum in the card. Raises `ModelError` naming the first that differs."""
    card = read_card(folder)
    for name in GRAPHS:
        actual = hashlib.sha256((folder / name).read_bytes()).hexdigest()
        if actual != card.sha256.get(name):
            raise ModelError(f"{folder / name} is damaged: SHA-256 {actual}, its card says {card.sha256.get(name)}")


def write_card(folder: Path, card: Card, graphs: Mapping[str, bytes]) -> None:
    """Make `folder` with the graphs and the card; all of it or nothing. Raises `ModelError` where it is already there."""
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ModelError(f"{folder} is already there; choose another folder or remove it first")
    sha256 = {name: hashlib.sha256(data).hexdigest() for name, data in graphs.items()}
    text = json.dumps(asdict(card) | {"sha256": sha256}, indent=2, ensure_ascii=False)
    folder.parent.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        for name, data in graphs.items():
            (scratch / name).write_bytes(data)
        (scratch / CARD).write_text(text + "\n", encoding="utf-8")
        scratch.chmod(0o755)
        scratch.replace(folder)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
