"""Look-up of the user's cache folder, which does not exist for a user without a home folder."""

from __future__ import annotations

from pathlib import Path


def user_cache() -> Path | None:
    """Return this package's folder in the user's cache, or None if the user has no home folder."""
    from platformdirs import user_cache_path

    try:
        folder = user_cache_path("analogy", appauthor=False)
    except (RuntimeError, KeyError, OSError):
        return None
    return folder if folder.is_absolute() else None  # without a home folder, the path may begin with "~"
