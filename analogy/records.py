"""The `settings.json` of a result, read again: its settings, its model and the checksums of what it was made from."""

from __future__ import annotations

import json
import os
from contextlib import suppress

import numpy as np

from .errors import SettingsError, reason
from .files.inputs import read_regular
from .method.pins import read_pins
from .request import listed
from .settings import Settings

_MAX_BYTES = 1 << 20
"""Largest `settings.json` that is read, in bytes. A usual one has a thousand."""


def read_record(path: str | os.PathLike[str]) -> tuple[Settings, str, str, np.ndarray | None]:
    """Read a `settings.json`: the settings, the model's name and its checksum, the pins. Raises `SettingsError`."""
    try:
        fields = json.loads(read_regular(path, _MAX_BYTES))
        model, checksum = fields["model"], fields["model_sha256"]
        if not isinstance(model, str) or not isinstance(checksum, str):
            raise TypeError("the name or the checksum of its model is no text")
        pins = fields.get("pins", [])
        if not isinstance(pins, list):  # nor a path, which a caller might give
            raise TypeError("the pins are no list")
        return Settings.from_dict(fields["settings"]), model, checksum, read_pins(pins)
    except FileNotFoundError as error:
        raise SettingsError(f"{path}: there is no such file") from error
    except SettingsError as error:
        raise SettingsError(f"{path}: {error}") from error
    except OSError as error:
        raise SettingsError(f"{path}: cannot be read ({reason(error)})") from error
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise SettingsError(f"{path}: not the settings.json of a result ({reason(error)})") from error


def recorded_inputs(path: str | os.PathLike[str]) -> dict[str, list[str]]:
    """Return "b", "mask_a" and "mask_b" -> the checksums of those pictures; an empty list where a `settings.json` has none.

    What the file does not say, as one of an earlier version, is left out.
    """
    with suppress(OSError, ValueError, TypeError, AttributeError, RecursionError):
        fields = json.loads(read_regular(path, _MAX_BYTES))
        found = {"b": [str(checksum) for checksum in listed(fields["b_sha256"])]} if "b_sha256" in fields else {}
        for name in ("mask_a", "mask_b"):
            if name in fields:
                masks = listed(fields[name])
                found[name] = [str(mask.get("sha256") if isinstance(mask, dict) else mask) for mask in masks]
        return found
    return {}


def recorded_examples(path: str | os.PathLike[str]) -> int | None:
    """Return with how many pictures B' a `settings.json` says that its result was made; None where it does not say so."""
    with suppress(OSError, ValueError, TypeError, RecursionError, KeyError):
        return len(listed(json.loads(read_regular(path, _MAX_BYTES))["b_prime"])) or None
    return None
