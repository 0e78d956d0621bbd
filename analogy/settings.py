"""The settings of a transfer with their defaults and presets, and the constants of the method with their source.

The command's options are made from the fields of `Settings` (`help`, type, choices and default), so
that the two cannot drift apart.
"""

from __future__ import annotations

import dataclasses
import textwrap
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypeAlias, TypedDict, Unpack, get_args

from .errors import SettingsError, shown

# Constants of the authors' released program, by level. Liao et al. 2017 give them in sections 4.2
# and 4.3.
PATCH_SIZE = {5: 3, 4: 3, 3: 3, 2: 5, 1: 5}
"""Patch size of the search at each level, in positions."""
PIXEL_PATCH_SIZE = 3
"""Patch size of the final vote, in pixels."""
SEARCH_RADIUS = {4: 6, 3: 6, 2: 4, 1: 4}
"""First radius of the random search at each level, in positions; at level 5 it covers the whole map."""
FIRST_JUMPS, LATER_JUMPS = (8, 4, 2, 1), (2, 1)
"""Distances, in positions, of the neighbours from which propagation takes candidates, in this
order, in the first iteration and in later ones (in the authors' program they are the same in
all)."""
ALPHA = {
    1: {4: 0.7, 3: 0.6, 2: 0.5, 1: 0.0},
    2: {4: 0.8, 3: 0.7, 2: 0.6, 1: 0.1},
    3: {4: 0.9, 3: 0.8, 2: 0.7, 1: 0.2},
}
"""Largest share of the content's own features in the blend at each level, by `weight` (section 4.3)."""
TAU, KAPPA = 0.05, 300.0
"""Threshold and steepness of the sigmoid in the weight map (section 4.3)."""

Inversion = Literal["vote", "step", "deconvolution"]
Painting = Literal["gradients", "pixels"]
Direction = Literal["both", "ab", "ba"]


def _setting(default: Any, help: str, choices: tuple[Any, ...] | None = None, low: Any = None, high: Any = None) -> Any:
    return dataclasses.field(default=default, metadata={"help": help, "choices": choices, "low": low, "high": high})


@dataclass(frozen=True)
class Settings:
    """All settings of a transfer, with defaults. Raises `SettingsError` for a value outside its range."""

    weight: int = _setting(
        3, "How much of the content's own structure to keep at each level: 3 most, 1 least.", choices=tuple(ALPHA)
    )
    ratio: float = _setting(
        1.0,
        "Shrink the network's input further, after max_pixels; below 1 larger structures are matched. The output keeps its "
        "size.",
        low=0.1,
        high=1.0,
    )
    uniformity: float = _setting(
        0.0,
        "How much of B' to use. 0: each part of A takes what fits it best. Up to 1: what is used often already costs more, so "
        "that more of B' is used; try 0.3.",
        low=0.0,
        high=1.0,
    )
    inversion: Inversion = _setting(
        "step",
        "How the features of the next finer level are found: by the vote alone (fast), by one gradient step, or by "
        "optimisation as in the paper (deconvolution).",
        choices=get_args(Inversion),
    )
    inversion_steps: int = _setting(3, "L-BFGS iterations of each deconvolution.", low=1, high=1000)
    search_iterations: int = _setting(4, "Iterations of the PatchMatch search at each level.", low=1, high=100)
    seed: int = _setting(0, "Seed of the random search; the same seed gives the same result.", low=0, high=2**32 - 1)
    max_pixels: int = _setting(
        350_000,
        "Largest picture that the network sees, in pixels; larger ones are matched shrunken.",
        low=1024,
        high=10**9,
    )
    direction: Direction = _setting(
        "both",
        "Which pictures to make: A' alone (ab), B alone (ba) or both. One alone is the same picture, sooner.",
        choices=get_args(Direction),
    )
    painting: Painting = _setting(
        "gradients",
        "How matched patches become a picture: by their gradients, so that no seams show between them (gradients), or by the "
        "mean of their pixels as in the paper (pixels).",
        choices=get_args(Painting),
    )
    photo: bool = _setting(False, "Refine as photographs: A' gets the edges and details of A back, B those of B'.")
    keep_colors: bool = _setting(False, "Keep the colours of A in A', and those of B' in B: transfer luminance only.")

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            value: Any = getattr(self, field.name)
            meta = field.metadata
            kind = type(field.default)
            if getattr(value, "ndim", None) == 0 and hasattr(value, "item"):  # a NumPy scalar
                value = value.item()
                object.__setattr__(self, field.name, value)
            if type(value) is not kind and not (kind is float and type(value) is int):
                raise SettingsError(f"{field.name} is {shown(value)}; it takes {_KINDS[kind]}")
            if meta["choices"] and value not in meta["choices"]:
                raise SettingsError(f"{field.name} is {shown(value)}; choose {' or '.join(map(str, meta['choices']))}")
            if (meta["low"] is not None and not value >= meta["low"]) or (
                meta["high"] is not None and not value <= meta["high"]
            ):
                end = f" to {meta['high']}" if meta["high"] is not None else " or more"
                raise SettingsError(f"{field.name} is {shown(value)}; it takes {meta['low']}{end}")
            if kind is float:  # not earlier: floats end, whole numbers do not
                object.__setattr__(self, field.name, kind(value))

    @classmethod
    def of(cls, settings: SettingsLike | None) -> Settings:
        """Return the settings that a caller gives, as they are, by a preset's name or by a dict.

        None stands for the defaults. Raises `SettingsError` for an unknown name or key, a value
        outside its range, or anything else.
        """
        if settings is None or isinstance(settings, Settings):
            return settings or cls()
        if isinstance(settings, str):
            return cls.preset(settings)
        if isinstance(settings, Mapping):
            return cls.from_dict(settings)
        raise SettingsError(
            f"settings is a {type(settings).__name__}; it takes Settings, the name of a preset, or a dict of settings"
        )

    @classmethod
    def preset(cls, name: str, **changes: Unpack[SettingsDict]) -> Settings:
        """Return the settings of a preset, with `changes`. Raises `SettingsError` for an unknown name."""
        if not isinstance(name, str) or name not in PRESETS:
            raise SettingsError(f"unknown preset {shown(name)}; choose one of {', '.join(PRESETS)}")
        return cls.from_dict({**PRESETS[name], **changes})

    def with_preset(self, name: str, keep: Collection[str] = ()) -> Settings:
        """Return these settings with all that presets are about as the preset `name` has it; the others stay.

        keep  names of settings that stay as well

        Raises `SettingsError` for an unknown name.
        """
        preset = self.preset(name)
        about = {field for fields in PRESETS.values() for field in fields if field not in keep}
        return dataclasses.replace(self, **{field: getattr(preset, field) for field in about})

    def changed(self, changes: Mapping[str, Any], preset: str | None = None, keep: Collection[str] = ()) -> Settings:
        """Return these settings with a preset, and then with single `changes`.

        keep  names of settings that the preset leaves as they are

        Raises `SettingsError` for an unknown preset or setting, and for a value outside its range.
        """
        settings = self if preset is None else self.with_preset(preset, keep)
        return self.from_dict(dataclasses.asdict(settings) | dict(changes)) if changes else settings

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Settings:
        """Return `Settings(**values)`. Raises `SettingsError`, which names a key that is no setting."""
        if not isinstance(values, Mapping):
            raise SettingsError(f"settings is a {type(values).__name__}; it takes a dict of settings")
        known = [field.name for field in dataclasses.fields(cls)]
        unknown = [name for name in values if name not in known]
        if unknown:
            raise SettingsError(f"unknown setting {shown(unknown[0])}; there is {', '.join(known)}")
        return cls(**values)


_KINDS = {int: "a whole number", float: "a number", str: "a name", bool: "true or false"}


class SettingOptions(TypedDict, total=False):
    """The fields of `Settings` as keywords, for type checkers and editors; all but `direction`,
    which decides the type of a result."""

    weight: int
    ratio: float
    uniformity: float
    inversion: Inversion
    inversion_steps: int
    search_iterations: int
    seed: int
    max_pixels: int
    painting: Painting
    photo: bool
    keep_colors: bool


class SettingsDict(SettingOptions, total=False):
    """Some or all fields of `Settings`, as a dict."""

    direction: Direction


SettingsLike: TypeAlias = Settings | str | SettingsDict
"""Settings as `Settings.of` takes them: a text is the name of a preset."""


def _takes(field: dataclasses.Field[Any]) -> str:
    """Return the values that a setting takes, in words."""
    meta = field.metadata
    if meta["choices"]:
        return " or ".join(map(repr, meta["choices"]))
    if meta["low"] is None:
        return "True or False"
    return f"{meta['low']} to {meta['high']}" if meta["high"] is not None else f"{meta['low']} or more"


def _explained(field: dataclasses.Field[Any]) -> str:
    words = textwrap.fill(field.metadata["help"], 96)
    return f"{field.name}: {_takes(field)} (default {field.default!r})\n{textwrap.indent(words, '    ')}"


# `help(Settings)` explains each field in the words of the command's help.
Settings.__doc__ = "\n".join([f"{Settings.__doc__}\n", *map(_explained, dataclasses.fields(Settings))])


class Preset(NamedTuple):
    """A set of settings for a use."""

    title: str
    """Name on the page of the service."""
    help: str
    """The pictures or wishes that it is for, in the words of the command's help."""
    settings: SettingOptions
    """The settings in which it differs from the defaults. A direction is none of them, since it says what to make, not how."""


_PRESETS = {
    "photo-to-style": Preset(
        "Photo and painting", "a photo in the looks of a painting; the defaults", {"weight": 3, "ratio": 1.0}
    ),
    "face": Preset(
        "Two faces",
        "two faces, with label pictures: bigger shapes, so that features match",
        {"weight": 3, "ratio": 0.5},
    ),
    "landscape": Preset("Landscape", "a landscape or a still life: uses more of the painting", {"uniformity": 0.3}),
    "style-to-photo": Preset(
        "Drawing to photo",
        "a drawing that should become a photo: keeps less of its shapes",
        {"weight": 2, "ratio": 0.5},
    ),
    "photo-to-photo": Preset(
        "Two photos",
        "two photos: keeps every edge, and takes colours and light",
        {"weight": 3, "ratio": 1.0, "photo": True},
    ),
    "paper": Preset(
        "As in the paper",
        "the constants of the authors' program; takes about ten times as long",
        {"inversion": "deconvolution", "inversion_steps": 20, "search_iterations": 10, "painting": "pixels"},
    ),
    "fast": Preset(
        "In a hurry",
        "a quick look: takes about two thirds of the time",
        {"inversion": "vote", "search_iterations": 2},
    ),
}

PRESETS: dict[str, SettingOptions] = {name: preset.settings for name, preset in _PRESETS.items()}
"""Name of a preset -> the settings in which it differs from the defaults: the paper's uses, its constants, the fast mode."""

PRESET_TITLES = {name: preset.title for name, preset in _PRESETS.items()}
"""Name of a preset -> what the page of the service calls it."""

PRESET_HELP = {name: preset.help for name, preset in _PRESETS.items()}
"""Name of a preset -> the pictures or wishes that it is for."""

if TYPE_CHECKING:
    PresetName: TypeAlias = str
else:
    PresetName = Literal[tuple(PRESETS)]
"""The name of a preset: to type checkers any text, since names come from forms and files; at run
time a `Literal` of all names, by which a form of pydantic knows them."""
