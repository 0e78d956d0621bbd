"""Reading the `settings.json` of a result: its settings, its model, its pins and its inputs."""

from __future__ import annotations

import json
import os
from contextlib import suppress

import numpy as np

from .errors import SettingsError, reason, unreadable
from .files.inputs import read_regular
from .method.pins import read_pins
from .request import listed
from .settings import Settings

_MAX_BYTES = 1 << 20
"""Largest accepted `settings.json`, in bytes. A typical file has about 1000."""


def read_record(path: str | os.PathLike[str]) -> tuple[Settings, str, str, np.ndarray | None]:
    """Return the settings, the model's name and checksum, and the pins of a `settings.json`.

    Raises `SettingsError` if the file cannot be read, or is not the `settings.json` of a result.
    """
    try:
        fields = json.loads(read_regular(path, _MAX_BYTES))
        model, checksum = fields["model"], fields["model_sha256"]
        if not isinstance(model, str) or not isinstance(checksum, str):
            raise TypeError("the name or the checksum of its model is not a string")
        pins = fields.get("pins", [])
        if not isinstance(pins, list):  # a path is refused, since it would make the program read another file
            raise TypeError("the pins are not a list")
        return Settings.from_dict(fields["settings"]), model, checksum, read_pins(pins)
    except SettingsError as error:
        raise SettingsError(f"{path}: {error}") from error
    except OSError as error:
        raise SettingsError(unreadable(error, str(path))) from error
    except KeyError as error:
        raise SettingsError(f"{path}: not the settings.json of a result (it has no field {error})") from error
    except (ValueError, TypeError, RecursionError) as error:
        raise SettingsError(f"{path}: not the settings.json of a result ({reason(error)})") from error


def recorded_inputs(path: str | os.PathLike[str]) -> dict[str, list[str]]:
    """Return the checksums of a known B and of the masks that a `settings.json` records.

    The keys of the dict are "b", "mask_a" and "mask_b". Each value is a list of SHA-256 checksums
    in hex, which is empty if the result had no such picture. A key is missing if an earlier version
    of the package wrote the file, and all keys are missing if the file cannot be read.
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
    """Return the number of pictures B' that a `settings.json` records, or None if it records none.

    Also returns None if the file cannot be read.
    """
    with suppress(OSError, ValueError, TypeError, RecursionError, KeyError):
        return len(listed(json.loads(read_regular(path, _MAX_BYTES))["b_prime"])) or None
    return None
