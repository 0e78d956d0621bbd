"""The manifest in a folder for results, `settings.json`: how the results were made, and the checksum of each file.

A transfer and a painted film each write one. Its key "kind" says which of the two did, so that
neither replaces the other's results.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from .inputs import checksum, read_regular

MANIFEST = "settings.json"
"""Name of the manifest. Its key "files" maps the name of each other file to that file's SHA-256."""
TRANSFER, FILM = "transfer", "film"
"""Values of the key "kind"."""
_REQUIRED = {"analogy": str, "model_sha256": str, "settings": dict, "files": dict}
"""The keys that every manifest has, and the types of their values."""
_MAX_BYTES = 1 << 26


def read_manifest(path: Path) -> dict[str, Any]:
    """Return the fields of a manifest, "kind" among them; {} if there is no file, or it is not as a run writes it."""
    try:
        fields = json.loads(read_regular(path, _MAX_BYTES))
    except (OSError, ValueError, RecursionError):
        return {}
    if not isinstance(fields, dict) or not all(isinstance(fields.get(key), kind) for key, kind in _REQUIRED.items()):
        return {}
    # Earlier versions wrote no kind. Of the two, only a film's manifest says what its frames were
    # made from.
    return {"kind": FILM if "made_from" in fields else TRANSFER} | fields


def recorded_files(path: Path) -> dict[str, str]:
    """Return name -> checksum of each file that a manifest records; {} if `read_manifest` finds none."""
    files = read_manifest(path).get("files", {})
    return {name: str(value) for name, value in files.items() if Path(name).name == name and name != MANIFEST}


def is_unchanged(path: Path, recorded: str) -> bool:
    """Return whether a file exists, is no link, and has the checksum `recorded`."""
    try:
        return not path.is_symlink() and checksum(path) == recorded
    except OSError:
        return False
