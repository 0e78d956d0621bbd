"""The cache folder of the user, if there is one; users in containers may have no home."""

from __future__ import annotations

from pathlib import Path


def user_cache() -> Path | None:
    """Return this package's cache folder for the user, or None if the system has none."""
    from platformdirs import user_cache_path

    try:
        folder = user_cache_path("analogy", appauthor=False)
    except (RuntimeError, KeyError, OSError):
        return None
    return folder if folder.is_absolute() else None  # it is "~/.cache" if the home is unknown
