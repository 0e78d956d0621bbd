"""Image analogies through deep features.

The method is that of Liao et al. 2017, "Visual Attribute Transfer through Deep Image Analogy":

    >>> import analogy
    >>> result = analogy.transfer("photo.jpg", "painting.jpg")
    >>> result.save("out")

A module is loaded only when one of its names in `__all__` is first used, so that `import analogy`
is fast.
"""

from __future__ import annotations

import os
from importlib import import_module

from .version import __version__ as __version__

# Type checkers treat this name as true. Importing it from `typing` would double the time that
# `import analogy` takes.
TYPE_CHECKING = False
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
"""Environment variable that turns off the telemetry of ONNX Runtime 1.29 and newer.

ONNX Runtime then opens no network connections, and writes no identifier of the device into the
user's cache folder. ONNX Runtime reads the variable only once, when it is loaded, so this module
sets the variable before any other module can load ONNX Runtime.
"""

_MODULES = {
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


# Type checkers use the imports above. If they saw this function, they would accept any name.
if not TYPE_CHECKING:

    def __getattr__(name: str) -> Any:
        if name not in _MODULES:
            raise AttributeError(f"module 'analogy' has no attribute {name!r}")
        value = getattr(import_module(f".{_MODULES[name]}", __name__), name)
        globals()[name] = value
        return value


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
