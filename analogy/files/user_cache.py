"""The cache folder of the user. There may be none: a container can run a user who has no home and no name."""

from __future__ import annotations

from pathlib import Path


def user_cache() -> Path | None:
    """Return the folder in which this package keeps files for the user; None if the system does not tell where."""
    from platformdirs import user_cache_path

    try:
        folder = user_cache_path("analogy", appauthor=False)
    except (RuntimeError, KeyError, OSError):
        return None
    return folder if folder.is_absolute() else None  # "~/.cache" comes back where "~" is not known
