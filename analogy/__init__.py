"""Image analogies through deep features (Liao et al. 2017, "Visual Attribute Transfer through Deep Image Analogy").

    >>> import analogy
    >>> result = analogy.transfer("photo.jpg", "painting.jpg")
    >>> result.save("out")

The names of `__all__` are imported when they are first used, so that `import analogy` is quick.
"""

from __future__ import annotations

import os
from importlib import import_module

from .version import __version__ as __version__

TYPE_CHECKING = False  # as type checkers know it; to import `typing` takes as long as all else here
if TYPE_CHECKING:
    from typing import Any

    from .engine import Engine
    from .errors import (
        AnalogyError,
        DeviceError,
        ImageError,
        MemoryLimitError,
        ModelError,
        OutputError,
        PictureTooLargeError,
        SettingsError,
    )
    from .films.clip import Clip, PaintedFrame
    from .method.flow import warp
    from .progress import Progress
    from .result import Result
    from .settings import PRESETS, PresetName, Settings
    from .shared_engine import transfer

os.environ["ORT_DISABLE_TELEMETRY"] = "1"
"""ONNX Runtime from 1.29 on otherwise leaves a device id in the user's cache folder, and opens
connections. It looks only once, when it is loaded; so this is said before anything else is."""

_DEFINED_IN = {
    "AnalogyError": "errors",
    "Clip": "films.clip",
    "DeviceError": "errors",
    "Engine": "engine",
    "ImageError": "errors",
    "MemoryLimitError": "errors",
    "ModelError": "errors",
    "OutputError": "errors",
    "PRESETS": "settings",
    "PaintedFrame": "films.clip",
    "PictureTooLargeError": "errors",
    "PresetName": "settings",
    "Progress": "progress",
    "Result": "result",
    "Settings": "settings",
    "SettingsError": "errors",
    "transfer": "shared_engine",
    "warp": "method.flow",
}

__all__ = [
    "PRESETS",
    "AnalogyError",
    "Clip",
    "DeviceError",
    "Engine",
    "ImageError",
    "MemoryLimitError",
    "ModelError",
    "OutputError",
    "PaintedFrame",
    "PictureTooLargeError",
    "PresetName",
    "Progress",
    "Result",
    "Settings",
    "SettingsError",
    "transfer",
    "warp",
]


if not TYPE_CHECKING:  # type checkers see the imports above; by this they would take any name for known

    def __getattr__(name: str) -> Any:
        if name not in _DEFINED_IN:
            raise AttributeError(f"module 'analogy' has no attribute {name!r}")
        value = getattr(import_module(f".{_DEFINED_IN[name]}", __name__), name)
        globals()[name] = value
        return value


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
