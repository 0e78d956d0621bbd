"""ComfyUI node that takes and returns tensors, and runs `analogy.Engine` in ComfyUI's process.

ComfyUI's type IMAGE is a tensor (N, H, W, C) of floats from 0 to 1, and its type MASK is a tensor
(N, H, W) of floats from 0 to 1.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import numpy as np

from analogy import PRESETS, Engine, Progress, Settings
from analogy.networks.models import DEFAULT, installed
from analogy.settings import PRESET_HELP

WIDGETS = "weight", "ratio", "uniformity"
"""Settings that have a widget and that a preset can also change."""
DEVICES = "auto", "cpu", "cuda"
_REGION = 0.5
"""Smallest value, 0 to 1, that a mask has inside its region."""
_STEPS = 1000
"""Number of steps of the progress bar for one picture."""


class Analogy:
    """The node that ComfyUI shows.

    ComfyUI reads the attributes of the class, and calls the method that `FUNCTION` names.
    """

    CATEGORY = "image/style"
    DESCRIPTION = "Gives a picture the looks of another picture, by using the pixels of the other picture."
    FUNCTION = "make"
    RETURN_TYPES = ("IMAGE", "IMAGE")
    RETURN_NAMES = ("image", "looks_as_image")
    OUTPUT_TOOLTIPS = (
        "Each picture in the looks of the examples (A').",
        "Each example in the looks of the picture (B), for the directions 'ba' and 'both'.",
    )

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, dict[str, Any]]:
        """Return the inputs and the widgets of the node: name -> type and options."""
        fields = {field.name: field for field in dataclasses.fields(Settings)}
        presets = "\n".join(f"{name}: {words}" for name, words in PRESET_HELP.items())
        of_preset = "The preset decides unless this value is changed."
        return {
            "required": {
                "image": (
                    "IMAGE",
                    {"tooltip": "The picture to change (A). Each picture of a batch is changed by itself."},
                ),
                "looks": (
                    "IMAGE",
                    {"tooltip": "The picture whose looks to use (B'). The pictures of a batch are used together."},
                ),
                "preset": (list(PRESETS), {"default": next(iter(PRESETS)), "tooltip": presets}),
                **{name: _widget(fields[name], of_preset) for name in WIDGETS},
                "seed": _widget(fields["seed"], control_after_generate=True),
                "direction": _widget(fields["direction"], default="ab"),
                "model": (
                    list(installed()),
                    {"default": DEFAULT, "tooltip": "The network that compares the pictures."},
                ),
                "device": (list(DEVICES), {"default": DEVICES[0], "tooltip": "The device on which the transfer runs."}),
            },
            "optional": {
                "mask_image": (
                    "MASK",
                    {"tooltip": "A region of the picture. It is matched only with the region of mask_looks."},
                ),
                "mask_looks": (
                    "MASK",
                    {"tooltip": "The region of the looks that matches mask_image. Connect both masks, or none."},
                ),
            },
        }

    def make(
        self,
        image: Any,
        looks: Any,
        preset: Any,
        seed: int,
        direction: Any,
        model: str,
        device: Any,
        mask_image: Any = None,
        mask_looks: Any = None,
        **widgets: Any,
    ) -> tuple[Any, Any]:
        """Return the batches of A' and of B.

        For a direction that was not made, the output is a value with which ComfyUI stops the nodes
        that use this output.

        Raises
        ------
        AnalogyError
            If the library refuses an input.
        ValueError
            If the number of masks is neither one nor the number of pictures.
        Exception
            ComfyUI's own exception, if the user interrupts the work.
        """
        settings = settings_of(preset, widgets, seed=seed, direction=direction)
        pictures, examples = (list(batch.clamp(0, 1)) for batch in (image, looks))
        masks = _masks(mask_image, len(pictures), "mask_image"), _masks(mask_looks, len(examples), "mask_looks")
        engine, report = engine_for(model, device), _reporter(len(pictures))
        made: dict[str, list[np.ndarray]] = {"ab": [], "ba": []}
        for index, picture in enumerate(pictures):
            result = engine.transfer(
                picture,
                examples,
                settings,
                mask_a=masks[0] and masks[0][index],
                mask_b=masks[1],
                progress=lambda now, index=index: report(index, now),
            )
            if result.a_prime is not None:
                made["ab"].append(result.a_prime)
            made["ba"] += result.b or []
        return _batch(made, "ab"), _batch(made, "ba")


def settings_of(preset: Any, widgets: dict[str, Any], **others: Any) -> Settings:
    """Return the settings of a preset, changed by `others` and by widgets not at their defaults.

    A widget always has a value, so a widget at its default counts as not changed by the user.
    """
    defaults = dataclasses.asdict(Settings())
    changed: dict[str, Any] = {name: value for name, value in widgets.items() if value != defaults[name]}
    return Settings.preset(preset, **changed, **others)


@cache
def engine_for(model: str, device: Any) -> Engine:
    """Return the engine of a model on a device, which is loaded once and cached."""
    return Engine(model, device)


def _widget(field: dataclasses.Field[Any], more: str = "", **options: Any) -> tuple[Any, dict[str, Any]]:
    """Return the widget of a setting: its type or its choices, and its options.

    The sentence `more` is added to the setting's help. `options` override the options that follow
    from the setting.
    """
    meta = field.metadata
    made = {"default": field.default, "tooltip": f"{meta['help']} {more}".strip()}
    choices = meta["choices"]
    if choices and isinstance(field.default, str):
        return list(choices), made | options
    low, high = (min(choices), max(choices)) if choices else (meta["low"], meta["high"])
    if isinstance(field.default, float):
        return "FLOAT", made | {"min": low, "max": high, "step": 0.05, "round": 0.01} | options
    return "INT", made | {"min": low, "max": high} | options


def _masks(mask: Any, count: int, name: str) -> list[np.ndarray] | None:
    """Return a label picture (H, W) bool for each of `count` pictures; None without a mask."""
    if mask is None:
        return None
    labels = [np.asarray(each.detach().cpu()) >= _REGION for each in mask]
    if len(labels) not in (1, count):
        raise ValueError(f"{name} has {len(labels)} masks for {count} pictures; give one for all, or one for each")
    return labels * (count // len(labels))


def _reporter(count: int) -> Callable[[int, Progress], None]:
    """Return a function that shows a picture's progress, and raises after an interrupt."""
    from comfy.model_management import throw_exception_if_processing_interrupted
    from comfy.utils import ProgressBar

    bar = ProgressBar(_STEPS * count)

    def report(index: int, now: Progress) -> None:
        throw_exception_if_processing_interrupted()
        bar.update_absolute(round(_STEPS * (index + now.done)))

    return report


def _batch(made: dict[str, Sequence[np.ndarray]], direction: str) -> Any:
    """Return a direction's pictures as an IMAGE, or a value that stops the nodes that use it."""
    if not made[direction]:
        from comfy_execution.graph import ExecutionBlocker

        return ExecutionBlocker("this direction was not made; set 'direction' of the node to 'both'")
    import torch

    return torch.from_numpy(np.stack(made[direction])).to(torch.float32) / 255
