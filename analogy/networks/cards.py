"""The card of a model, `model.json`: a description of the network and checksums of its files."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from ..errors import ModelError, reason
from ..files.inputs import read_regular

CARD = "model.json"
"""Name of the card in a model's folder."""
_MOST_BYTES = 1 << 20
"""Largest card that is read, in bytes."""
_WIDEST = 1 << 16
"""Largest number of channels of a layer that a card may give."""
_FILE_NAME = re.compile(r"[\w-][\w.-]{0,99}", re.ASCII)
"""Pattern of the names of a model's files."""
_SHA256 = re.compile(r"[0-9a-f]{64}")
"""Pattern of a SHA-256 in hexadecimal."""


@dataclass(frozen=True)
class Card:
    """Card of a model.

    Attributes
    ----------
    name : str
        Name of the model.
    description : str
        Description of the network, in one line.
    widths : tuple of int
        Channels of relu1_1 .. relu5_1.
    source : str
        Description of the file of weights from which the model was made.
    licence : str
        Licence of the weights, and their owner.
    sha256 : mapping of str to str
        Name of each file of the model -> its SHA-256 in hexadecimal.
    """

    name: str
    description: str
    widths: tuple[int, ...]
    source: str
    licence: str
    sha256: Mapping[str, str] = field(default_factory=dict)

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the names and checksums of all files, in hexadecimal."""
        lines = "".join(f"{checksum}  {name}\n" for name, checksum in sorted(self.sha256.items()))
        return hashlib.sha256(lines.encode()).hexdigest()


def read_card(folder: Path) -> Card:
    """Return the card of the model in `folder`. Raises `ModelError` if it is missing or invalid."""
    path = folder / CARD
    try:
        fields = json.loads(read_regular(path, _MOST_BYTES).decode())
    except (OSError, ValueError, RecursionError, MemoryError) as error:
        raise ModelError(f"the card {path} cannot be read: {reason(error)}; export or pull the model again") from error
    try:
        return _card_of(fields)
    except (ValueError, TypeError, KeyError) as error:
        missing = f"it has no {error}" if isinstance(error, KeyError) else reason(error)
        raise ModelError(f"the card {path} is damaged: {missing}; export or pull the model again") from error


def _card_of(fields: Any) -> Card:
    """Return the card with the fields of a parsed `model.json`.

    Raises `ValueError`, `TypeError` or `KeyError` if they are not the fields of a card.
    """
    if not isinstance(fields, dict):
        raise ValueError(f"it is a {type(fields).__name__}, not a JSON object")
    words = {name: fields.pop(name) for name in ("name", "description", "source", "licence")}
    for name, text in words.items():
        if not isinstance(text, str) or not text.isprintable():
            raise ValueError(f"{name} is {text!r:.100}; expected one line of text")
    widths, sha256 = fields.pop("widths"), fields.pop("sha256", {})
    if fields:
        raise ValueError(f"it has unknown fields: {', '.join(fields):.100}")
    if not isinstance(widths, list) or len(widths) != 5 or not all(type(n) is int and 0 < n <= _WIDEST for n in widths):
        raise ValueError(f"widths is {widths!r:.100}; expected five numbers from 1 to {_WIDEST}")
    if not isinstance(sha256, dict):
        raise ValueError(f"sha256 is {sha256!r:.100}; expected file names with checksums")
    for file, checksum in sha256.items():
        if not _FILE_NAME.fullmatch(file) or file == CARD:
            raise ValueError(f"sha256 names {file!r:.100}, which is not a model file; expected plain file names")
        if not isinstance(checksum, str) or not _SHA256.fullmatch(checksum):
            raise ValueError(f"the checksum of {file} is {checksum!r:.100}; expected 64 hexadecimal digits")
    return Card(widths=tuple(widths), sha256=sha256, **words)


def card_text(card: Card, sha256: Mapping[str, str]) -> bytes:
    """Return the content of the file `model.json` for a card with these checksums."""
    return (json.dumps(asdict(card) | {"sha256": sha256}, indent=2, ensure_ascii=False) + "\n").encode()
