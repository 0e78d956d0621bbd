"""Options that several commands share, and a help text that lists options in groups.

The options of a transfer are made from the fields of `Request` and of `Settings`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeAlias, TypeVar, cast

import click

from ..backends import DEVICES, MOST_THREADS
from ..errors import AnalogyError
from ..networks.models import DEFAULT, installed
from ..request import Request, fields_of
from ..settings import PRESET_HELP, PRESETS, Settings

Command = TypeVar("Command", bound=Callable[..., Any])
Decorator: TypeAlias = Callable[[Any], Any]

RESULTS, LOOK, MATCHING, REGIONS, MACHINE, MESSAGES = (
    "Results",
    "Look",
    "Matching",
    "Regions",
    "Model and machine",
    "Messages",
)
"""Headings of the groups of options in the help. An option without a group is in `MESSAGES`."""
_LOOK_SETTINGS = ("weight", "ratio", "uniformity", "painting", "photo", "keep_colors")
"""Names of the settings in the group `LOOK`. The other settings are in the group `MATCHING`."""
_GROUPS = {"b": MATCHING, "levels": RESULTS}
"""Field of `Request` -> the group of its option. The other fields are in the group `REGIONS`."""


class GroupedOption(click.Option):
    """Option of a command, with the name of its group in the help."""

    def __init__(self, *args: Any, group: str = MESSAGES, **rest: Any):
        super().__init__(*args, **rest)
        self.group = group


def option(*names: str, group: str = MESSAGES, **rest: Any) -> Decorator:
    """Return the decorator that adds an option to a command, in a group of the help."""
    return click.option(*names, cls=GroupedOption, group=group, **rest)


class GroupedCommand(click.Command):
    """Command whose help lists its options in groups, and then the presets and examples.

    Parameters
    ----------
    *args, **rest
        The arguments of `click.Command`.
    examples : str
        Command lines, one per line. "" means that there are no examples.
    """

    def __init__(self, *args: Any, examples: str = "", **rest: Any):
        super().__init__(*args, **rest)
        self.examples = examples

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the groups of options, the presets if there is `--preset`, and the examples."""
        groups: dict[str, list[tuple[str, str]]] = {}
        for parameter in self.get_params(ctx):
            record = parameter.get_help_record(ctx)
            if record and isinstance(parameter, click.Option):
                groups.setdefault(getattr(parameter, "group", MESSAGES), []).append(record)
        for title, records in groups.items():
            with formatter.section(title):
                formatter.write_dl(records)
        if any(parameter.name == "preset" for parameter in self.params):
            with formatter.section("Presets"):
                formatter.write_dl([(name, preset_help(name)) for name in PRESETS])
        if self.examples:
            with formatter.section("Examples"):
                for line in self.examples.splitlines():
                    formatter.write(f"{'':{formatter.current_indent}}{line}\n")


def preset_help(name: str) -> str:
    """Return the purpose of a preset and the settings in which it differs from the defaults."""
    defaults = dataclasses.asdict(Settings())
    changed = [f"{key} {value}" for key, value in PRESETS[name].items() if value != defaults[key]]
    return f"{PRESET_HELP[name]} ({', '.join(changed)})" if changed else PRESET_HELP[name]


def setting_options(command: Command, but: str = "") -> Command:
    """Add `--preset` and an option for each field of `Settings` to a command.

    An option that the user does not give has the value None. Its setting then comes from the
    preset, or is the default.

    Parameters
    ----------
    command : Callable
        The function of the command.
    but : str
        Name of a field that gets no option. "" means that each field gets one.
    """
    options: list[Decorator] = [
        option("--preset", type=click.Choice(list(PRESETS)), group=LOOK,
               help="A set of settings for one purpose; the presets are listed below. An option that you give "
                    "overrides the preset.")
    ]  # fmt: skip
    fields = sorted(dataclasses.fields(Settings), key=lambda field: field.name not in _LOOK_SETTINGS)
    for field in fields:
        if field.name == but:
            continue
        name, meta = field.name.replace("_", "-"), field.metadata
        group = LOOK if field.name in _LOOK_SETTINGS else MATCHING
        if isinstance(field.default, bool):
            flags = f"--{name}/--no-{name}"
            options.append(option(flags, field.name, default=None, help=meta["help"], group=group))
            continue
        kind = click.Choice([str(c) for c in meta["choices"]]) if meta["choices"] else type(field.default)
        text = f"{meta['help']}  [default: {field.default}]"
        options.append(option(f"--{name}", field.name, type=kind, help=text, group=group))
    return _all(options, command)


def settings_of(base: Settings, preset: str | None, options: dict[str, Any]) -> Settings:
    """Return `base`, changed by a preset and then by the options of `setting_options`."""
    chosen = {name: value for name, value in options.items() if value is not None}
    for field in dataclasses.fields(Settings):
        if field.name in chosen and type(field.default) is int:  # click returns a choice as text
            chosen[field.name] = int(chosen[field.name])
    return base.changed(chosen, preset)


def request_options(command: Command) -> Command:
    """Add to a command an argument or an option for each field of `Request` except `settings`.

    A field without a default becomes an argument.
    """
    options: list[Decorator] = []
    for field in fields_of("picture", "pins", "flag"):
        kind, text, group = field.metadata["kind"], field.metadata["help"], _GROUPS.get(field.name, REGIONS)
        flag = f"--{field.name.replace('_', '-')}"
        several = field.metadata["several"]
        if field.default is dataclasses.MISSING:
            count = -1 if several else 1
            options.append(click.argument(field.name, type=click.Path(allow_dash=True), nargs=count, required=True))
        elif kind == "picture":
            text = f"{text} With several B', give the option once for each B', in the same order." if several else text
            options.append(picture_path(flag, group=group, help=text, multiple=several))
        elif kind == "pins":
            text = (
                f"{text} The file is a CSV with the header xa,ya,xb,yb. With several B' it also has a "
                "column example: the number (from 1) of the B' to which the pin belongs."
            )
            options.append(option(flag, type=click.Path(path_type=Path), group=group, help=text))
        else:
            options.append(option(flag, is_flag=True, group=group, help=text))
    return _all(options, command)


def request_of(base: Settings, preset: str | None, given: dict[str, Any]) -> Request:
    """Return the request that the options of `request_options` and `setting_options` describe.

    Parameters
    ----------
    base : Settings
        The settings before the preset and the options change them.
    preset : str or None
        Name of a preset.
    given : dict
        Parameter of the command -> its value.
    """
    fields = fields_of("picture", "pins", "flag")
    names = {field.name for field in fields}
    single = {name: value for name, value in given.items() if name not in names}
    settings = settings_of(base, preset, single)
    several = [field.name for field in fields if field.metadata["several"]]
    chosen = {name: given[name] for name in names} | {name: _unlisted(given[name]) for name in several}
    return Request(**chosen, settings=settings)


def _unlisted(values: tuple[str, ...]) -> tuple[str, ...] | str | None:
    """Return a tuple of several values as it is, the value in a tuple of one, or None for ()."""
    if len(values) > 1:
        return values
    return values[0] if values else None


def _complete_model(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[Any]:
    from click.shell_completion import CompletionItem

    names: list[Any] = []
    with suppress(AnalogyError):  # an error message would disturb the line that the user types
        names = [CompletionItem(name) for name in installed() if name.startswith(incomplete)]
    return [*names, CompletionItem(incomplete, type="dir")]


def engine_options(
    command: Command,
    threads: str = "Number of CPU threads.  [default: one per core]",
    most_pixels: str = "what the memory allows",
) -> Command:
    """Add `--model`, `--device`, `--threads` and `--max-input-pixels` to a command.

    The values of these options are the arguments of `Engine`. The parameter `threads` is the help
    of `--threads`, and `most_pixels` is the default of `--max-input-pixels` in words.
    """
    options: list[Decorator] = [
        option("--model", help=f"Name or folder of a model.  [default: {DEFAULT}]", group=MACHINE,
               shell_complete=_complete_model),
        option("--device", type=click.Choice(DEVICES), default="auto", show_default=True, group=MACHINE,
               metavar="[auto|cpu|cuda|cuda:N]",
               help="Device that computes. auto uses CUDA if it works; cuda:1 is the second CUDA device."),
        option("--threads", type=click.IntRange(1, MOST_THREADS), help=threads, group=MACHINE),
        option("--max-input-pixels", type=int, group=MACHINE,
               help=f"Refuse pictures with more pixels than this, before they are decoded.  [default: {most_pixels}]"),
    ]  # fmt: skip
    return _all(options, command)


def message_options(command: Command) -> Command:
    """Add `--quiet` and `--verbose`, the arguments of `display.Display`, to a command."""
    options: list[Decorator] = [
        option("-q", "--quiet", is_flag=True, help="Print warnings and errors only."),
        option("-v", "--verbose", is_flag=True, help="Print a line when a stage begins."),
    ]
    return _all(options, command)


def picture_path(*names: str, **rest: Any) -> Decorator:
    """Return the decorator for an option whose value is the path of a picture, or "-".

    The value is the `str` that the user gave.
    """
    return option(*names, type=click.Path(allow_dash=True), **rest)


def _all(options: list[Decorator], command: Command) -> Command:
    for each in reversed(options):
        command = cast(Command, each(command))
    return command
