"""Options that several commands share, and help in groups.

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
"""Groups of options in the help. An option without a group comes last."""
_OF_LOOK = ("weight", "ratio", "uniformity", "painting", "photo", "keep_colors")
"""The settings among the options of look; the others are options of matching."""
_GROUPS = {"b": MATCHING, "levels": RESULTS}
"""Field of `Request` -> its group; the others are options of regions."""


class GroupedOption(click.Option):
    """An option with the group under which the help lists it."""

    def __init__(self, *args: Any, group: str = MESSAGES, **rest: Any):
        super().__init__(*args, **rest)
        self.group = group


def option(*names: str, group: str = MESSAGES, **rest: Any) -> Decorator:
    """Return what `click.option` does, with a group."""
    return click.option(*names, cls=GroupedOption, group=group, **rest)


class GroupedCommand(click.Command):
    """A command whose help lists its options in groups, and ends with the presets and with `examples`, a line each."""

    def __init__(self, *args: Any, examples: str = "", **rest: Any):
        super().__init__(*args, **rest)
        self.examples = examples

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
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
    """Return the purpose of a preset, and the settings in which it differs from the defaults."""
    defaults = dataclasses.asdict(Settings())
    changed = [f"{key} {value}" for key, value in PRESETS[name].items() if value != defaults[key]]
    return f"{PRESET_HELP[name]} ({', '.join(changed)})" if changed else PRESET_HELP[name]


def setting_options(command: Command, but: str = "") -> Command:
    """Add `--preset`, and an option for each field of `Settings` but one.

    An option that is not given is None, so that the preset decides.
    """
    options: list[Decorator] = [
        option("--preset", type=click.Choice(list(PRESETS)), group=LOOK,
               help="A set of settings for a use, see below; single options go before it.")
    ]  # fmt: skip
    fields = sorted(dataclasses.fields(Settings), key=lambda field: field.name not in _OF_LOOK)
    for field in fields:
        if field.name == but:
            continue
        name, meta = field.name.replace("_", "-"), field.metadata
        group = LOOK if field.name in _OF_LOOK else MATCHING
        if isinstance(field.default, bool):
            flags = f"--{name}/--no-{name}"
            options.append(option(flags, field.name, default=None, help=meta["help"], group=group))
            continue
        kind = click.Choice([str(c) for c in meta["choices"]]) if meta["choices"] else type(field.default)
        text = f"{meta['help']}  [default: {field.default}]"
        options.append(option(f"--{name}", field.name, type=kind, help=text, group=group))
    return _all(options, command)


def settings_of(base: Settings, preset: str | None, options: dict[str, Any]) -> Settings:
    """Return `base`, changed by a preset, changed by single options, as `setting_options` gives them."""
    chosen = {name: value for name, value in options.items() if value is not None}
    for field in dataclasses.fields(Settings):
        if field.name in chosen and type(field.default) is int:  # a choice among numbers comes as text
            chosen[field.name] = int(chosen[field.name])
    return base.changed(chosen, preset)


def request_options(command: Command) -> Command:
    """Add an argument for each field of `Request` that has to be given, and an option for each other one."""
    options: list[Decorator] = []
    for field in fields_of("picture", "pins", "flag"):
        kind, text, group = field.metadata["kind"], field.metadata["help"], _GROUPS.get(field.name, REGIONS)
        flag = f"--{field.name.replace('_', '-')}"
        several = field.metadata["several"]
        if field.default is dataclasses.MISSING:
            count = -1 if several else 1
            options.append(click.argument(field.name, type=click.Path(allow_dash=True), nargs=count, required=True))
        elif kind == "picture":
            text = f"{text} With several B' once for each, in their order." if several else text
            options.append(picture_path(flag, group=group, help=text, multiple=several))
        elif kind == "pins":
            text = f"{text} A CSV file with the header xa,ya,xb,yb, and with several B' a column example, from 1."
            options.append(option(flag, type=click.Path(path_type=Path), group=group, help=text))
        else:
            options.append(option(flag, is_flag=True, group=group, help=text))
    return _all(options, command)


def request_of(base: Settings, preset: str | None, given: dict[str, Any]) -> Request:
    """Return the request that `request_options` and `setting_options` give; its settings are those of `settings_of`."""
    fields = fields_of("picture", "pins", "flag")
    names = {field.name for field in fields}
    single = {name: value for name, value in given.items() if name not in names}
    settings = settings_of(base, preset, single)
    several = [field.name for field in fields if field.metadata["several"]]
    chosen = {name: given[name] for name in names} | {name: _unlisted(given[name]) for name in several}
    return Request(**chosen, settings=settings)


def _unlisted(values: tuple[str, ...]) -> tuple[str, ...] | str | None:
    """Return what was given for an option that may be repeated: None for nothing, and a single value by itself."""
    if len(values) > 1:
        return values
    return values[0] if values else None


def _complete_model(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[Any]:
    from click.shell_completion import CompletionItem

    names: list[Any] = []
    with suppress(AnalogyError):  # a shell that completes has no place for messages
        names = [CompletionItem(name) for name in installed() if name.startswith(incomplete)]
    return [*names, CompletionItem(incomplete, type="dir")]


def engine_options(command: Command, threads: str = "CPU threads.  [default: one per core]") -> Command:
    """Add `--model`, `--device`, `--threads` and `--max-input-pixels`, the arguments of `Engine`."""
    options: list[Decorator] = [
        option("--model", help=f"A model's name, or the folder of one.  [default: {DEFAULT}]", group=MACHINE,
               shell_complete=_complete_model),
        option("--device", type=click.Choice(DEVICES), default="auto", show_default=True, group=MACHINE,
               metavar="[auto|cpu|cuda|cuda:N]",
               help="Where to compute; auto takes CUDA where it works, cuda:1 is its second device."),
        option("--threads", type=click.IntRange(1, MOST_THREADS), help=threads, group=MACHINE),
        option("--max-input-pixels", type=int, group=MACHINE,
               help="Refuse larger pictures, before they are decoded.  [default: what the memory allows]"),
    ]  # fmt: skip
    return _all(options, command)


def message_options(command: Command) -> Command:
    """Add `--quiet` and `--verbose`, for a `display.Display`."""
    options: list[Decorator] = [
        option("-q", "--quiet", is_flag=True, help="Say nothing but what goes wrong."),
        option("-v", "--verbose", is_flag=True, help="Say each stage as it begins, on a line of its own."),
    ]
    return _all(options, command)


def picture_path(*names: str, **rest: Any) -> Decorator:
    """Return an option that takes the path of a picture, or "-". The path stays a `str`, as it was typed."""
    return option(*names, type=click.Path(allow_dash=True), **rest)


def _all(options: list[Decorator], command: Command) -> Command:
    for each in reversed(options):
        command = cast(Command, each(command))
    return command
