"""One transfer of the command: from paths to files, or through pipes, with progress and errors for people."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import nullcontext, suppress
from dataclasses import replace
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import click

from ..errors import ImageError, OutputError, printable

if TYPE_CHECKING:
    from ..engine_arguments import EngineArguments
    from ..request import Request
    from ..result import Result
    from .display import Display

_EXAMPLES = Path(__file__).parents[1] / "examples"
EXAMPLE_PAIR = _EXAMPLES / "collins.jpg", _EXAMPLES / "mona_lisa.jpg"
EXAMPLE_LABELS = _EXAMPLES / "collins-labels.png", _EXAMPLES / "mona_lisa-labels.png"
"""Regions of the pair: background, hair, skin, lips and clothes."""

_SAVING_FROM = 0.9
"""Share of a command's time after which it writes the results: roughly right for small and for large pictures."""


def run_transfer(
    request: Request,
    output: str,
    engine: EngineArguments,
    display: Display,
    *,
    flow: bool = False,
    record: Path | None = None,
) -> None:
    """Transfer, save, and print which file to open.

    Where `output` is one picture, it is A', or B for the direction "ba"; the other one is then not
    made.

    request  its pictures are paths, or "-" for standard input
    output   a folder, the path of a picture, or "-" for standard output
    flow     whether to write the fields as well
    record   the settings.json that was read
    """
    from ..files.atomic import as_path
    from ..files.folders import folder_for, reserve
    from ..files.places import Places
    from ..pictures.reading import picture_size
    from ..pictures.writing import check_size, is_picture_path
    from ..result_files import file_names

    to_stdout = output == "-"
    path = as_path(output)
    one = to_stdout or is_picture_path(path)
    if one and (flow or request.levels):
        word = "--flow" if flow else "--levels"
        raise OutputError(f"{word} writes more than the one picture {output}; name a folder with -o")
    if one and request.settings.direction == "both":
        request = replace(request, settings=replace(request.settings, direction="ab"))
    if [each.value for each in request.inputs()].count("-") > 1:
        raise ImageError("only one picture can come from standard input; name the others")
    target = _standard_output() if to_stdout else path
    loaded = request.with_inputs(lambda each: _source(each.value))
    sizes = {  # before anything is made
        (each.name, each.place): picture_size(each.value, name=each.label)
        for each in loaded.inputs()
        if each.name in ("a", "b_prime")
    }
    if one:
        count = len(request.examples)
        if request.content == "b_prime" and count > 1:
            raise OutputError(f"{output} is one picture, and {count} pictures B are made; name a folder with -o")
        suffix = ".png" if to_stdout else path.suffix
        check_size(sizes[request.content, 0], suffix, output)
    with nullcontext() if to_stdout else folder_for(path.parent if one else path), display:
        with Places() as places:
            for name, place in _read(request, record):
                places.read(place, name)
            if not one:
                reserve(path, file_names(request.settings, flow, request.levels, len(request.examples)), places)
            else:
                for place in _descriptor(sys.stdout) if to_stdout else [path]:
                    places.write(place, "the result")
        progress = display.part(0, _SAVING_FROM)
        result: Result = engine.make().transfer(**loaded.keywords(), progress=progress)
        format = "png" if to_stdout else None
        result.save(target, format=format, flow=flow, progress=display.part(_SAVING_FROM, 1))
    if not display.quiet:
        click.echo(printable(_conclusion(output, one, request, result)), err=to_stdout)


def _conclusion(output: str, one: bool, request: Request, result: Result) -> str:
    """Return the sentence that ends a run: what was made, where, in which time, and by what."""
    from ..result_files import file_names

    made = {"a": "A in the looks of B'", "b_prime": "B' in the looks of A"}[request.content]
    first = file_names(request.settings, examples=len(request.examples))[0]
    where = output if one else f"open {Path(output) / first}"
    return f"{where}: {made} ({sum(result.seconds.values()):.1f} s, {result.model}, {result.device})"


def _read(request: Request, record: Path | None) -> Iterator[tuple[str, str | Path | int]]:
    """Yield what the run reads: what each file is, and its path, or the descriptor of standard input."""
    for each in request.inputs():
        if each.value != "-":
            yield each.label, each.value
        else:
            for descriptor in _descriptor(sys.stdin):
                yield each.label, descriptor
    if record:
        yield "the file of settings", record


def _descriptor(stream: IO[Any]) -> list[int]:
    """Return the descriptor of a stream, in a list that is empty for a stream that is no file."""
    with suppress(OSError, ValueError):
        return [stream.fileno()]
    return []


def _source(path: str | Path) -> str | Path | bytes:
    """Return a path as it is, or the content of standard input for "-". Raises `ImageError` for a terminal."""
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
