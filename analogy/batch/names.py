"""Names of the results of a batch, which are made from a template."""

from __future__ import annotations

import os
import posixpath
import re
import string

from ..errors import OutputError, reason, shown
from ..files.places import folded
from ..pictures.writing import WRITERS
from .manifest import NAME, REPORT, is_visible

FIELDS = ("name", "a", "b_prime", "number", "picture")
"""Names that a template can contain in braces."""
TEMPLATE = "{name}.png"
"""Default template of the names of results."""


def check_template(template: str) -> None:
    """Raise `OutputError` for a template that gives wrong paths, or the same path to all jobs."""
    try:
        parts = list(string.Formatter().parse(template))
        fields = [name for _, name, _, _ in parts if name is not None]
        unknown = [name for name in fields if name not in FIELDS]
        if unknown:
            raise OutputError(f"--name {template!r}: unknown {{{unknown[0]}}}; choose from {', '.join(FIELDS)}")
        if wide := next((spec for _, _, spec, _ in parts if spec and re.search(r"[{]|[0-9]{4}", spec)), None):
            raise OutputError(f"--name {template!r}: {shown(wide)} is not a valid width; give 999 at most")
        inside(template.format_map(dict.fromkeys(FIELDS, "x") | {"number": 1}))
    except ValueError as error:
        raise OutputError(
            f'--name {template!r}: {reason(error)}; write, for instance, "{{number}}-{{name}}.png"'
        ) from error
    if not {"name", "a", "number"}.intersection(fields):
        raise OutputError(f"--name {template!r}: all jobs would write the same file; use {{name}}, {{a}} or {{number}}")


def inside(path: str) -> str:
    """Return a path, unchanged, if it is a picture inside the folder for results.

    Raises `OutputError` for any other path.
    """
    parts = path.split("/")
    if not is_visible(path) or "\\" in path or re.match(r"[A-Za-z]:", path) or posixpath.isabs(path):
        raise OutputError(
            f"the result would be called {path!r}, which is not a valid path inside the folder for results; choose "
            "another name"
        )
    if any(part in ("", ".", "..") or part.startswith(".") for part in parts):
        raise OutputError(f"the result would be called {path!r}; no part of it may be empty or begin with a dot")
    if folded(parts[0]) in (NAME, REPORT):
        raise OutputError(
            f"the result would be called {path!r}; {parts[0]} is a file of the batch itself, so choose another name"
        )
    suffix = posixpath.splitext(path)[1].lower()
    if suffix not in WRITERS:
        raise OutputError(f"the result would be called {path!r}; its suffix must be one of {' '.join(WRITERS)}")
    return path


def as_part(stem: str) -> str:
    """Return the name of a picture as a part of the path of a result.

    Characters that this part cannot have are replaced by "%" and two hexadecimal digits for each of
    their bytes. They are control characters, bytes that are not text, backslashes, a dot at the
    beginning, and a colon after a single first letter, which would make the letter a drive.
    """
    visible = "".join(c if is_visible(c) and c != "\\" else _as_bytes(c) for c in stem)
    return re.sub(r"^\.|(?<=^[A-Za-z]):", lambda found: _as_bytes(found[0]), visible)


def _as_bytes(character: str) -> str:
    """Return "%" and two hexadecimal digits for each byte of a character."""
    content = (
        os.fsencode(character) if "\udc80" <= character <= "\udcff" else character.encode("utf-8", "surrogatepass")
    )
    return "".join(f"%{byte:02X}" for byte in content)
