"""A transfer from files or standard input to files or standard output, with a progress bar."""

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
"""Paths of A and B' of the example pair that comes with the package."""
EXAMPLE_LABELS = _EXAMPLES / "collins-labels.png", _EXAMPLES / "mona_lisa-labels.png"
"""Paths of the label pictures of A and B' of the example pair."""

_SAVING_FROM = 0.9
"""Estimated share (0 to 1) of a run's time that has passed when the run begins to write results."""


def run_transfer(
    request: Request,
    output: str,
    engine: EngineArguments,
    display: Display,
    *,
    flow: bool = False,
    record: Path | None = None,
) -> None:
    """Do a transfer, write the results, and print which file to open.

    If `output` is one picture, it receives A', or B with the direction "ba"; the other picture is
    not made.

    Parameters
    ----------
    request : Request
        The request. Its pictures are paths, or "-" for standard input.
    output : str
        The path of a folder or of a picture, or "-" for standard output.
    engine : EngineArguments
        The arguments of the engine.
    display : Display
        The display of the progress.
    flow : bool
        True to write the nearest-neighbour fields as well.
    record : Path or None
        The path of the settings.json from which the settings were read, if there is one. The run
        does not overwrite this file.

    Raises
    ------
    ImageError
        If a picture cannot be read, or more than one of them is "-".
    OutputError
        If the output cannot be written, or if it is one picture but the results are several.
    AnalogyError
        If the transfer fails; see `Engine.transfer`.
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
        raise OutputError(f"{word} writes several files, and {output} is one picture; name a folder with -o")
    if one and request.settings.direction == "both":
        request = replace(request, settings=replace(request.settings, direction="ab"))
    if [each.value for each in request.inputs()].count("-") > 1:
        raise ImageError('only one input can be "-" (standard input); give paths for the others')
    target = _standard_output() if to_stdout else path
    loaded = request.with_inputs(lambda each: _source(each.value))
    sizes = {  # read now, so that a bad picture is refused before the long work
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
    """Return the last line of output: the file to open, the time, the model and the device."""
    from ..result_files import file_names

    made = {"a": "A in the looks of B'", "b_prime": "B' in the looks of A"}[request.content]
    first = file_names(request.settings, examples=len(request.examples))[0]
    where = output if one else f"open {Path(output) / first}"
    return f"{where}: {made} ({sum(result.seconds.values()):.1f} s, {result.model}, {result.device})"


def _read(request: Request, record: Path | None) -> Iterator[tuple[str, str | Path | int]]:
    """Yield each file that the run reads: its name in messages, and its path or descriptor."""
    for each in request.inputs():
        if each.value != "-":
            yield each.label, each.value
        else:
            for descriptor in _descriptor(sys.stdin):
                yield each.label, descriptor
    if record:
        yield "the file of settings", record


def _descriptor(stream: IO[Any]) -> list[int]:
    """Return a list with the descriptor of a stream, or [] for a stream that is not a file."""
    with suppress(OSError, ValueError):
        return [stream.fileno()]
    return []


def _source(path: str | Path) -> str | Path | bytes:
    """Return a path unchanged, or the content of standard input for "-".

    Raises `ImageError` if standard input is a terminal or closed.
    """
    if path != "-":
        return path
    if sys.stdin is None or sys.stdin.isatty():
        raise ImageError('"-" is standard input, and no picture is sent to it; send one with "<" or "|"')
    from ..pictures.reading import whole_file

    return whole_file(sys.stdin.buffer, "standard input").getvalue()


def _standard_output() -> IO[bytes]:
    """Return standard output as a stream of bytes.

    Raises `OutputError` if standard output is a terminal or closed.
    """
    if sys.stdout is None or sys.stdout.isatty():
        raise OutputError(
            '"-" is standard output, which is a terminal here; redirect it to a file (">") or to a program ("|")'
        )
    return sys.stdout.buffer
