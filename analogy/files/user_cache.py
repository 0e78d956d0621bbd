"""The user's cache folder, where there is one: a container may run a user without a home and without a name."""

from __future__ import annotations

from pathlib import Path


def user_cache() -> Path | None:
    """Return the folder for what this package keeps for a user; None if nothing tells where the user's files are."""
    from platformdirs import user_cache_path

    try:
        folder = user_cache_path("analogy", appauthor=False)
    except (RuntimeError, KeyError, OSError):
        return None
    return folder if folder.is_absolute() else None  # "~/.cache", where nobody knows what "~" is
