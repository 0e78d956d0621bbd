"""One transfer of the command: from paths to files, or through pipes, with progress and errors for people."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from contextlib import nullcontext, suppress
from dataclasses import replace
from pathlib import Path
from typing import IO, Any

import click

from ..errors import ImageError, OutputError, printable
from ..settings import Settings
from .display import Display

_EXAMPLES = Path(__file__).parents[1] / "examples"
EXAMPLE_PAIR = _EXAMPLES / "collins.jpg", _EXAMPLES / "mona_lisa.jpg"
EXAMPLE_LABELS = _EXAMPLES / "collins-labels.png", _EXAMPLES / "mona_lisa-labels.png"
"""Regions of the pair: background, hair, skin, lips and clothes."""

_SAVING_FROM = 0.9
"""Share of a command's time after which it writes the results: roughly right for small and for large pictures."""


def run_transfer(
    a: str,
    b_prime: str,
    output: str,
    settings: Settings,
    engine: tuple[Any, ...],
    display: Display,
    *,
    flow: bool = False,
    levels: bool = False,
    pins: Any = None,
    beside: Mapping[str, str | None] | None = None,
    record: Path | None = None,
) -> None:
    """Transfer, save, and say where the results are.

    beside  what else is read, by the keyword of `Engine.transfer`
    record  the settings.json that was read
    """
    from ..engine import Engine
    from ..files.atomic import as_path
    from ..files.folders import folder_for, reserve
    from ..files.places import Places
    from ..pictures.reading import picture_size
    from ..pictures.writing import check_size, is_picture_path
    from ..result import file_names

    to_stdout = output == "-"
    path = as_path(output)
    one = to_stdout or is_picture_path(path)
    if one and (flow or levels):
        word = "--flow" if flow else "--levels"
        raise OutputError(f"{word} writes more than the one picture {output}; name a folder with -o")
    given = {"A": a, "B'": b_prime} | {name: given for name, given in (beside or {}).items() if given}
    if list(given.values()).count("-") > 1:
        raise ImageError("only one picture can come from standard input; name the others")
    target = _standard_output() if to_stdout else path
    sources: dict[str, Any] = {name: _source(each) for name, each in given.items()}
    sizes = {name: picture_size(sources[name], name=name) for name in ("A", "B'")}  # before anything is made
    if one:
        suffix = ".png" if to_stdout else path.suffix
        check_size(sizes["B'" if settings.direction == "ba" else "A"], suffix, output)
    with nullcontext() if to_stdout else folder_for(path.parent if one else path), display:
        with Places() as places:
            for name, place in _read(given, pins, record):
                places.read(place, name)
            if not one:
                direction = "ab" if "b" in sources else settings.direction
                reserve(path, file_names(replace(settings, direction=direction), flow, levels), places)
            else:
                for place in _descriptor(sys.stdout) if to_stdout else [path]:
                    places.write(place, "the result")
        result = Engine(*engine).transfer(
            sources.pop("A"),
            sources.pop("B'"),
            settings,
            levels=levels,
            pins=pins,
            progress=display.part(0, _SAVING_FROM),
            **sources,
        )
        format = "png" if to_stdout else None
        result.save(target, format=format, flow=flow, progress=display.part(_SAVING_FROM, 1))
    if not display.quiet:
        seconds = sum(result.seconds.values())
        click.echo(printable(f"{output}: {seconds:.1f} s ({result.model}, {result.device})"), err=to_stdout)


def _read(given: Mapping[str, str], pins: Any, record: Path | None) -> Iterator[tuple[str, str | Path | int]]:
    """What the run reads: what each file is, and its path, or the descriptor of standard input."""
    for name, path in given.items():
        if path != "-":
            yield name, path
        else:
            for descriptor in _descriptor(sys.stdin):
                yield name, descriptor
    if isinstance(pins, Path):
        yield "the file of pins", pins
    if record:
        yield "the file of settings", record


def _descriptor(stream: IO[Any]) -> list[int]:
    """Return the descriptor of a stream, in a list that is empty for a stream that is no file."""
    with suppress(OSError, ValueError):
        return [stream.fileno()]
    return []


def _source(path: str) -> str | bytes:
    """A path, or the content of standard input for "-"."""
    if path != "-":
        return path
    if sys.stdin is None or sys.stdin.isatty():
        raise ImageError('"-" is standard input: give it a picture with "<" or "|"')
    from ..pictures.reading import whole_file

    return whole_file(sys.stdin.buffer, "standard input").getvalue()


def _standard_output() -> IO[bytes]:
    if sys.stdout is None or sys.stdout.isatty():
        raise OutputError('"-" is standard output: send it to a file with ">", or to a program with "|"')
    return sys.stdout.buffer
