"""One transfer of the command: from paths to files, or through pipes, with progress and errors for people."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

import click

from ..errors import ImageError, OutputError
from ..settings import Settings
from .display import Display

_SAVING_FROM = 0.9
"""Share of a command's time after which it writes the results: roughly right for small and for large pictures."""


def run_transfer(
    a: Path,
    b_prime: Path,
    output: Path,
    settings: Settings,
    engine: tuple[Any, ...],
    display: Display,
    *,
    flow: bool = False,
    levels: bool = False,
    beside: Mapping[str, Path | None] | None = None,
) -> None:
    """Transfer, save, and say where the results are. `beside`: what else is read, by the keyword of `Engine.transfer`."""
    from ..engine import Engine
    from ..pictures.files import make_folder
    from ..pictures.writing import is_picture_path

    to_stdout = str(output) == "-"
    one = to_stdout or is_picture_path(output)
    if one and (flow or levels):
        word = "--flow" if flow else "--levels"
        raise OutputError(f"{word} writes more than the one picture {output}; name a folder with -o")
    others = {name: path for name, path in (beside or {}).items() if path}
    if sum(str(path) == "-" for path in (a, b_prime, *others.values())) > 1:
        raise ImageError("only one picture can come from standard input; name the others")
    target = _standard_output() if to_stdout else output
    if not to_stdout:
        make_folder(output.parent if one else output)
    read_beside: dict[str, Any] = {name: _source(path) for name, path in others.items()}
    with display:
        result = Engine(*engine).transfer(
            _source(a),
            _source(b_prime),
            settings,
            levels=levels,
            progress=display.part(0, _SAVING_FROM),
            **read_beside,
        )
        format = "png" if to_stdout else None
        result.save(target, format=format, flow=flow, progress=display.part(_SAVING_FROM, 1))
    if not display.quiet:
        seconds = sum(result.seconds.values())
        click.echo(f"{output}: {seconds:.1f} s ({result.model}, {result.device})", err=to_stdout)


def _source(path: Path) -> Path | IO[bytes]:
    """A path, or standard input for "-"."""
    if str(path) != "-":
        return path
    if sys.stdin is None or sys.stdin.isatty():
        raise ImageError('"-" is standard input: give it a picture with "<" or "|"')
    return sys.stdin.buffer


def _standard_output() -> IO[bytes]:
    if sys.stdout is None or sys.stdout.isatty():
        raise OutputError('"-" is standard output: send it to a file with ">", or to a program with "|"')
    return sys.stdout.buffer
