"""The settings of a transfer with their defaults and presets, and the constants of the method.

The command's options, their help and the service's form are made from the fields of `Settings`, so
that the three always agree.
"""

from __future__ import annotations

import dataclasses
import inspect
import textwrap
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypeAlias, TypedDict, Unpack, get_args

from .errors import SettingsError, shown

# The following constants, except LATER_JUMPS, are those of the program that the authors released.
# Liao et al. 2017 describe them in sections 4.2 and 4.3.
PATCH_SIZE = {5: 3, 4: 3, 3: 3, 2: 5, 1: 5}
"""Level -> side of the square patches that the search compares, in positions."""
PIXEL_PATCH_SIZE = 3
"""Side of the square patches of the final vote, in pixels."""
SEARCH_RADIUS = {4: 6, 3: 6, 2: 4, 1: 4}
"""Level -> first radius of the random search, in positions.

Level 5 has no entry: its radius is the larger side of the source.
"""
FIRST_JUMPS = (8, 4, 2, 1)
"""Jumps of the successive propagation passes of the first iteration, in positions.

In the authors' program, all iterations have these jumps.
"""
LATER_JUMPS = (2, 1)
"""Jumps of the successive propagation passes of each later iteration, in positions."""
ALPHA = {
    1: {4: 0.7, 3: 0.6, 2: 0.5, 1: 0.0},
    2: {4: 0.8, 3: 0.7, 2: 0.6, 1: 0.1},
    3: {4: 0.9, 3: 0.8, 2: 0.7, 1: 0.2},
}
"""`weight` -> level -> largest share of the content's features in the blend (section 4.3)."""
TAU = 0.05
"""Threshold of the sigmoid in the weight map (section 4.3)."""
KAPPA = 300.0
"""Steepness of the sigmoid in the weight map (section 4.3)."""

Inversion = Literal["vote", "step", "deconvolution"]
Painting = Literal["gradients", "pixels"]
Direction = Literal["both", "ab", "ba"]


def _setting(default: Any, help: str, choices: tuple[Any, ...] | None = None, low: Any = None, high: Any = None) -> Any:
    """Declare a field of `Settings`: a bool, one of `choices`, or a number from `low` to `high`."""
    return dataclasses.field(default=default, metadata={"help": help, "choices": choices, "low": low, "high": high})


@dataclass(frozen=True)
class Settings:
    """All settings of a transfer, with defaults.

    A value outside its range raises `SettingsError`.
    """

    weight: int = _setting(
        3, "How much of the shapes of A to keep in A' (and of B' in B): 3 keeps most, 1 least.", choices=tuple(ALPHA)
    )
    ratio: float = _setting(
        1.0,
        "Factor by which the network's input is shrunk, after max_pixels has been applied. Below 1, larger structures "
        "are matched. The size of the result stays the same.",
        low=0.1,
        high=1.0,
    )
    uniformity: float = _setting(
        0.0,
        "How evenly B' is used. At 0, each part of A gets the part of B' that fits it best. Above 0, a part of B' "
        "that is used often counts as a worse match, so that more of B' is used. Try 0.3.",
        low=0.0,
        high=1.0,
    )
    inversion: Inversion = _setting(
        "step",
        "How the features of the next finer level are computed: from the vote alone (vote, the fastest), with one "
        "gradient step (step), or by optimisation as in the paper (deconvolution).",
        choices=get_args(Inversion),
    )
    inversion_steps: int = _setting(3, "Number of L-BFGS iterations of each deconvolution.", low=1, high=1000)
    search_iterations: int = _setting(4, "Number of PatchMatch iterations at each level.", low=1, high=100)
    seed: int = _setting(0, "Seed of the random search. The same seed gives the same result.", low=0, high=2**32 - 1)
    max_pixels: int = _setting(
        350_000,
        "Largest number of pixels of the network's input. Larger pictures are shrunk for the matching. The size of "
        "the result stays the same.",
        low=1024,
        high=10**9,
    )
    direction: Direction = _setting(
        "both",
        "What to make: only A' (ab), only B (ba), or both. Making only one picture takes less time than "
        "making both, and does not change that picture.",
        choices=get_args(Direction),
    )
    painting: Painting = _setting(
        "gradients",
        "How the matched patches become a picture: from their gradients, which hides the seams between them "
        "(gradients), or as the mean of their pixels, as in the paper (pixels).",
        choices=get_args(Painting),
    )
    photo: bool = _setting(
        False, "Refine the results as photographs: A' gets back the edges and details of A, and B those of B'."
    )
    keep_colors: bool = _setting(
        False, "Transfer only the luminance: A' keeps the colours of A, and B keeps the colours of B'."
    )

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            value: Any = getattr(self, field.name)
            meta = field.metadata
            kind = type(field.default)
            if getattr(value, "ndim", None) == 0 and hasattr(value, "item"):  # a NumPy scalar
                value = value.item()
                object.__setattr__(self, field.name, value)
            if type(value) is not kind and not (kind is float and type(value) is int):
                raise SettingsError(f"{field.name} is {shown(value)}; it must be {_KINDS[kind]}")
            if meta["choices"] and value not in meta["choices"]:
                *others, last = map(str, meta["choices"])
                raise SettingsError(f"{field.name} is {shown(value)}; choose {', '.join(others)} or {last}")
            if meta["low"] is not None and not meta["low"] <= value <= meta["high"]:
                raise SettingsError(f"{field.name} is {shown(value)}; it must be from {meta['low']} to {meta['high']}")
            if kind is float:  # after the check, since a huge int does not fit into a float
                object.__setattr__(self, field.name, kind(value))

    @classmethod
    def of(cls, settings: SettingsLike | None) -> Settings:
        """Return the settings for an argument that is `Settings`, a preset's name, a dict or None.

        Parameters
        ----------
        settings : Settings, str, dict or None
            The argument. None means the defaults.

        Returns
        -------
        Settings
            `settings` itself if it is a `Settings`, else new settings, with defaults for what a
            preset or a dict leaves out.

        Raises
        ------
        SettingsError
            If a name or a key is unknown, a value is outside its range, or `settings` has another
            type.
        """
        if settings is None or isinstance(settings, Settings):
            return settings or cls()
        if isinstance(settings, str):
            return cls.preset(settings)
        if isinstance(settings, Mapping):
            return cls.from_dict(settings)
        raise SettingsError(
            f"settings has the type {type(settings).__name__}; give Settings, the name of a preset, or a dict"
        )

    @classmethod
    def preset(cls, name: str, **changes: Unpack[SettingsDict]) -> Settings:
        """Return the settings of a preset, with single changes.

        Parameters
        ----------
        name : str
            The name of a preset, a key of `PRESETS`.
        **changes
            Single settings by name, which override those of the preset.

        Returns
        -------
        Settings
            Each setting with its value in `changes`, else in the preset, else with its default.

        Raises
        ------
        SettingsError
            If the name is unknown, or a change is invalid.
        """
        if not isinstance(name, str) or name not in PRESETS:
            raise SettingsError(f"unknown preset {shown(name)}; choose one of {', '.join(PRESETS)}")
        return cls.from_dict({**PRESETS[name], **changes})

    def with_preset(self, name: str, keep: Collection[str] = ()) -> Settings:
        """Return these settings with the values of a preset.

        Each setting that at least one preset has gets the value that it has in this preset, or its
        default if this preset does not have it. The settings in `keep` and all others, such as the
        seed, keep their values.

        Parameters
        ----------
        name : str
            The name of a preset, a key of `PRESETS`.
        keep : collection of str
            Names of further settings that keep their values.

        Returns
        -------
        Settings
            The new settings.

        Raises
        ------
        SettingsError
            If the name is unknown.
        """
        preset = self.preset(name)
        about = {field for fields in PRESETS.values() for field in fields if field not in keep}
        return dataclasses.replace(self, **{field: getattr(preset, field) for field in about})

    def changed(self, changes: Mapping[str, Any], preset: str | None = None, keep: Collection[str] = ()) -> Settings:
        """Return these settings after applying a preset, if one is given, and then single changes.

        Parameters
        ----------
        changes : mapping
            Name of a setting -> its new value.
        preset : str, optional
            The name of a preset, as for `with_preset`.
        keep : collection of str
            Names of settings that the preset does not change.

        Returns
        -------
        Settings
            The new settings.

        Raises
        ------
        SettingsError
            If a preset or a setting is unknown, or a value is outside its range.
        """
        settings = self if preset is None else self.with_preset(preset, keep)
        return self.from_dict(dataclasses.asdict(settings) | dict(changes)) if changes else settings

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Settings:
        """Return settings with the values of a dict, and defaults for what the dict leaves out.

        Parameters
        ----------
        values : mapping
            Name of a setting -> its value.

        Returns
        -------
        Settings
            The settings.

        Raises
        ------
        SettingsError
            If a name is unknown, a value is outside its range, or `values` is not a mapping.
        """
        if not isinstance(values, Mapping):
            raise SettingsError(f"settings has the type {type(values).__name__}; give a dict of settings")
        known = [field.name for field in dataclasses.fields(cls)]
        unknown = [name for name in values if name not in known]
        if unknown:
            raise SettingsError(f"unknown setting {shown(unknown[0])}; choose one of {', '.join(known)}")
        return cls(**values)


_KINDS = {int: "a whole number", float: "a number", str: "a name", bool: "true or false"}


class SettingOptions(TypedDict, total=False):
    """The fields of `Settings` as keywords for type checkers, except `direction`.

    `direction` decides the type of a result, so a function that passes these keywords on declares
    `direction` itself.
    """

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
"""Settings as a caller may give them. A str is the name of a preset."""


def _described(field: dataclasses.Field[Any]) -> str:
    """Return the lines that describe a setting in a numpydoc section."""
    meta = field.metadata
    if meta["choices"]:
        values = f"{{{', '.join(map(repr, meta['choices']))}}}"
    elif meta["low"] is None:
        values = "bool"
    else:
        values = f"{type(field.default).__name__} from {meta['low']} to {meta['high']}"
    words = textwrap.indent(textwrap.fill(meta["help"], 92), "    ")
    return f"{field.name} : {values}, default {field.default!r}\n{words}"


# `help(Settings)` explains each field with the command's help text.
Settings.__doc__ = "\n".join(
    [f"{inspect.getdoc(Settings)}\n", "Parameters", "----------", *map(_described, dataclasses.fields(Settings))]
)


class Preset(NamedTuple):
    """A set of settings that suit one use."""

    title: str
    """The preset's name on the page of the service."""
    help: str
    """Description of the preset's use, in the command's help and on the page."""
    settings: SettingOptions
    """The settings of the preset; all others have their defaults.

    `direction` is not among them: it says which pictures to make, and a preset says how to make
    them.
    """


_PRESETS = {
    "photo-to-style": Preset(
        "Photo and painting", "a photo in the looks of a painting; these are the defaults", {"weight": 3, "ratio": 1.0}
    ),
    "face": Preset(
        "Two faces",
        "two faces, with label pictures; matches larger structures, such as whole eyes",
        {"weight": 3, "ratio": 0.5},
    ),
    "landscape": Preset("Landscape", "a landscape or a still life; uses more of the painting", {"uniformity": 0.3}),
    "style-to-photo": Preset(
        "Drawing to photo",
        "a drawing that should become a photo; keeps less of the drawing's shapes",
        {"weight": 2, "ratio": 0.5},
    ),
    "photo-to-photo": Preset(
        "Two photos",
        "two photos; keeps every edge, and transfers colours and light",
        {"weight": 3, "ratio": 1.0, "photo": True},
    ),
    "paper": Preset(
        "As in the paper",
        "a comparison with the paper; inverts features and paints as the paper does, and takes about ten times the "
        "default's time",
        {"inversion": "deconvolution", "inversion_steps": 20, "search_iterations": 10, "painting": "pixels"},
    ),
    "fast": Preset(
        "In a hurry",
        "a quick result; takes about two thirds of the default's time",
        {"inversion": "vote", "search_iterations": 2},
    ),
}

PRESETS: dict[str, SettingOptions] = {name: preset.settings for name, preset in _PRESETS.items()}
"""Name of a preset -> its settings; all others have their defaults."""

PRESET_TITLES = {name: preset.title for name, preset in _PRESETS.items()}
"""Name of a preset -> its name on the page of the service."""

PRESET_HELP = {name: preset.help for name, preset in _PRESETS.items()}
"""Name of a preset -> the description of its use."""

if TYPE_CHECKING:
    PresetName: TypeAlias = str
else:
    PresetName = Literal[tuple(PRESETS)]
"""The type of a preset's name.

Type checkers accept any str, since names come from forms and files. At run time it is a `Literal`
of all names, from which pydantic makes the choices of a form.
"""
