"""Malicious files that claim to be the settings of a result, all made by this module."""

from __future__ import annotations

import json
from typing import Any

RECORD: dict[str, Any] = {"settings": {"seed": 5}, "model": "vgg16-compact", "model_sha256": "ab", "files": {}}


def _record(**changes: Any) -> bytes:
    return json.dumps(RECORD | changes).encode()


SOUND = json.dumps(
    RECORD | {"settings": {"seed": 5, "ratio": 0.5, "weight": 2, "inversion": "vote"}}, indent=2
).encode()

LIARS: dict[str, bytes] = {
    "empty": b"",
    "nothing": b"null",
    "a list": b"[]",
    "a number": b"5",
    "infinity": b"1e400",
    "a number of 5000 digits": b"1" * 5000,
    "a NUL": b"\0",
    "bytes that are not text": b"\xff\xfe\x00",
    "a hundred thousand lists": b"[" * 100_000,
    "a hundred thousand objects": b'{"a":' * 100_000,
    "two megabytes of spaces": b" " * (2 << 20) + SOUND,
    "no keys": b"{}",
    "settings in a list": _record(settings=[]),
    "settings in a string": _record(settings="abc"),
    "settings in settings": _record(settings={"settings": {}}),
    "an absurd number": _record(settings={"max_pixels": 10**400}),
    "an absurd ratio": _record(settings={"ratio": 10**400}),
    "text for a number": b'{"settings": {"ratio": NaN}, "model": "m", "model_sha256": "x"}',
    "a key with a terminal's commands": _record(settings={"\n\x1b[2J": 1}),
    "a long value": _record(settings={"inversion": "x" * 100_000}),
    "a model that is not text": _record(model={"a": 1}),
    "a checksum that is not text": _record(model_sha256=None),
    "the same key twice": b'{"settings": {"seed": 1, "seed": -2}, "model": "m", "model_sha256": "x"}',
}
