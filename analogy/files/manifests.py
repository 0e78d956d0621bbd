"""The manifest `settings.json`, which says how the results in a folder were made.

A transfer writes a manifest, and so does the painting of a film. The manifest contains the checksum
of each result. Its key "kind" says whether a transfer or the painting of a film has written it, so
that neither of these two replaces the results of the other.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from .inputs import checksum, read_regular

MANIFEST = "settings.json"
"""File name of the manifest."""
TRANSFER = "transfer"
"""Value of the key "kind" in the manifest of a transfer."""
FILM = "film"
"""Value of the key "kind" in the manifest of a painted film."""
_REQUIRED = {"analogy": str, "model_sha256": str, "settings": dict, "files": dict}
"""Key that every manifest has -> type of its value."""
_MAX_BYTES = 1 << 26
"""Maximum size of a manifest, in bytes. A larger file does not count as a manifest."""


def read_manifest(path: Path) -> dict[str, Any]:
    """Return the fields of the manifest at `path`, or {} if there is no valid manifest."""
    try:
        fields = json.loads(read_regular(path, _MAX_BYTES))
    except (OSError, ValueError, RecursionError):
        return {}
    if not isinstance(fields, dict) or not all(isinstance(fields.get(key), kind) for key, kind in _REQUIRED.items()):
        return {}
    # Earlier versions wrote no "kind". Only the manifest of a film has the key "made_from".
    return {"kind": FILM if "made_from" in fields else TRANSFER} | fields


def recorded_files(path: Path) -> dict[str, str]:
    """Return a dict from name to checksum of the files that the manifest at `path` records."""
    files = read_manifest(path).get("files", {})
    return {name: str(value) for name, value in files.items() if Path(name).name == name and name != MANIFEST}


def is_unchanged(path: Path, recorded: str) -> bool:
    """Return True if a file exists, is not a link, and has the checksum `recorded`."""
    try:
        return not path.is_symlink() and checksum(path) == recorded
    except OSError:
        return False
