"""The command `analogy clip`, which paints a film in the style of its keys."""

from __future__ import annotations

import time
from contextlib import ExitStack
from dataclasses import asdict
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Any

import click

from ..backends import Device
from ..errors import OutputError, SettingsError, printable
from ..networks.models import DEFAULT
from ..progress import Progress
from ..settings import Settings
from ..version import __version__
from .display import Display
from .options import (
    LOOK,
    RESULTS,
    GroupedCommand,
    engine_options,
    message_options,
    option,
    picture_path,
    setting_options,
    settings_of,
)

_EXAMPLES = """\
analogy clip shot/ -o out --key 0001=painted.png
analogy clip "shot/*.jpg" -o out --key 0=first.png --key 40=last.png --contact sheet.png
analogy clip film.mp4 -o painted.mp4 --style painting.jpg --side-by-side both.mp4"""

_RATE = 24
"""Default of --rate, in frames per second, for a film that is a folder of pictures."""
_MOST_RATE = 1000
"""Largest accepted rate, in frames per second. The smallest accepted rate is its reciprocal."""


@click.command(cls=GroupedCommand, examples=_EXAMPLES)
@click.argument("frames")
@picture_path(
    "-o",
    "--output",
    required=True,
    group=RESULTS,
    help="Folder for the painted frames, or a video (.mp4 .mov .mkv .webm).",
)
@option("--key", "keys", multiple=True, metavar="FRAME=PICTURE", group=LOOK,
        help="A frame and its painting. FRAME is the name of the frame's file, the number in that name or, if the "
             "names have no numbers, the index of the frame, from 0. Repeat the option for more keys.")  # fmt: skip
@picture_path("--style", "styles", group=LOOK, multiple=True,
              help="A painting, in place of --key: the command makes a key for each shot in the style of this "
                   "painting.")  # fmt: skip
@picture_path(
    "--contact", group=RESULTS, help="Also write a picture that shows a selection of frames, each beside its painting."
)
@option(
    "--side-by-side",
    type=click.Path(),
    group=RESULTS,
    help="Also write a video that shows the film and the result side by side.",
)
@option("--rate", type=float, group=RESULTS,
        help="Frames per second of the written videos, if the film is a folder of pictures.  "
             "[default: 24]")  # fmt: skip
@partial(setting_options, but="direction")
@engine_options
@message_options
def clip(frames: str, output: str, keys: tuple[str, ...], styles: tuple[str, ...], contact: str | None,
         side_by_side: str | None, rate: float | None, preset: str | None, model: str | None, device: Device,
         threads: int | None, max_input_pixels: int | None, quiet: bool, verbose: bool,
         **options: Any) -> None:  # fmt: skip
    """Paint a film in the style of one or a few painted frames (keys).

    FRAMES is a folder of pictures, a pattern such as "shot/*.jpg", a video or an animated GIF. The
    command carries the paintings to the other frames along the motion of the film. It needs the
    extra "video".

    Finished frames are kept. If you run the same command again after an interruption, or after you
    have changed a key, it paints only the frames that are missing or that depend on the changed
    key. The settings apply only to keys that the command makes itself: with --style, and for shots
    without a key.
    """
    from ..engine import Engine
    from ..files.atomic import as_path
    from ..files.folders import folder_for
    from ..files.places import Places
    from ..films.folder import film_folder, paint_folder
    from ..films.frames import VIDEOS
    from ..films.library import pyav
    from ..films.manifest import written_beside
    from ..films.viewing import contact_sheet, prepare_film, write_film
    from ..pictures.writing import is_file_path, is_picture_path, write_picture

    if len(styles) > 1:
        raise SettingsError(
            f"--style is given {len(styles)} times; a film gets the looks of one picture, so give it once"
        )
    style = styles[0] if styles else None
    settings = settings_of(Settings(), preset, options)
    path, display = as_path(output), Display(quiet, verbose)
    to_video = path.suffix.lower() in VIDEOS
    if not to_video and is_file_path(path):
        raise OutputError(
            f"{output} is neither a folder nor a video; name a folder, or a file with one of the suffixes "
            f"{' '.join(VIDEOS)}"
        )
    folder = path.with_name(f"{path.name}.frames") if to_video else path
    if side_by_side and as_path(side_by_side).suffix.lower() not in VIDEOS:
        raise OutputError(f"{side_by_side} is not a video; name a file with one of the suffixes {' '.join(VIDEOS)}")
    if contact and not is_picture_path(as_path(contact)):
        raise OutputError(f"{contact} is not a picture; give the contact sheet a suffix such as .png or .jpg")
    if to_video or side_by_side:
        pyav()
    exact_rate = _rate(rate, to_video or bool(side_by_side))
    paintings, pace = _paintings(keys), _Pace()
    beside = {
        what: result
        for what, result in (
            ("the video", output if to_video else None),
            ("the side-by-side video", side_by_side),
            ("the contact sheet", contact),
        )
        if result
    }
    with ExitStack() as opened:
        for result in (output, *beside.values()):
            opened.enter_context(folder_for(as_path(result).parent))
        places = opened.enter_context(Places())
        engine = Engine(model or DEFAULT, device, threads, max_input_pixels)
        opened.enter_context(display)
        show = display.part(0, 1)
        film = engine.clip(
            frames,
            settings,
            keys=paintings,
            style=style,
            progress=lambda progress: show(Progress(f"{progress.stage}{pace}", progress.done)),
        )
        if rate is not None and film.video:
            raise SettingsError(f"rate is {rate}, but the film is a video, which has its own rate; leave out --rate")
        record = {
            "analogy": __version__,
            "frames": frames,
            "keys": keys,
            "style": style,
            "settings": asdict(settings),
            "model": engine.network.card.name,
            "model_sha256": engine.network.card.fingerprint,
            "device": engine.backend.describe(),
        }
        for source in film.files:
            places.read(source, "the film" if film.video else "a frame of the film")
        for frame, painting in paintings.items():
            places.read(painting, f"the key of frame {frame}")
        if style:
            places.read(style, "the style")
        for what, result in beside.items():
            places.write(result, what)
        video = prepare_film(film, path, exact_rate) if to_video else None
        both = prepare_film(film, as_path(side_by_side), exact_rate, side_by_side=True) if side_by_side else None
        with film_folder(folder):
            shown = [as_path(result) for result in beside.values()]
            painted = paint_folder(film, folder, record, pace.update, places, shown)
            if video:
                with written_beside(folder, video.path) as complete:
                    write_film(film, painted, video, complete=complete)
            if both:
                with written_beside(folder, both.path) as complete:
                    write_film(film, painted, both, side_by_side=True, complete=complete)
            if contact:
                with written_beside(folder, as_path(contact)) as complete:
                    write_picture(contact, contact_sheet(film, painted), complete=complete)
    if not quiet:
        click.echo(printable(f"{output}: {len(film)} frames{pace.summary()}"))


class _Pace:
    """Counter of kept and painted frames. Its `str` is the painted frames per second, as text."""

    def __init__(self) -> None:
        self._kept = self._painted = 0
        self._since = time.monotonic()

    def update(self, kept: int, painted: int) -> None:
        """Set the number of frames kept from an earlier run, and the number painted in this run."""
        self._kept, self._painted = kept, painted
        if not painted:  # painting begins now, so its time is measured from here
            self._since = time.monotonic()

    def __str__(self) -> str:
        return f", {self._painted / (time.monotonic() - self._since):.2f} frames a second" if self._painted else ""

    def summary(self) -> str:
        """Return the end of the last line of output: kept frames, painted frames and seconds."""
        kept = f", {self._kept} of them kept" if self._kept else ""
        seconds = time.monotonic() - self._since
        return f"{kept}, {self._painted} painted in {seconds:.1f} s" if self._painted else kept


def _rate(rate: float | None, is_used: bool) -> Fraction:
    """Return the rate of the written videos, in frames per second: `rate`, or `_RATE` for None.

    Raises `SettingsError` if the rate is out of range, or if it is not None and `is_used` is false.
    """
    if rate is not None and not 1 / _MOST_RATE <= rate <= _MOST_RATE:
        raise SettingsError(f"rate is {rate}; give {1 / _MOST_RATE} to {_MOST_RATE} frames per second")
    if rate is not None and not is_used:
        raise SettingsError(f"rate is {rate}, but the command writes no video; leave out --rate")
    return Fraction(_RATE if rate is None else rate).limit_denominator(_MOST_RATE + 1)


def _paintings(keys: tuple[str, ...]) -> dict[Any, Path]:
    """Return a dict from frames to the paths of their paintings, given strings FRAME=PICTURE.

    The function does not check that the film has these frames. It raises `SettingsError` for a
    string of another form, and for two paintings of the same frame.
    """
    paintings: dict[Any, Path] = {}
    for each in keys:
        frame, equals, picture = each.partition("=")
        if not (frame and equals and picture):
            raise SettingsError(f"the key {each!r} is not FRAME=PICTURE; write, for instance, --key 0012=painted.png")
        if frame in paintings:
            raise SettingsError(f"there are two keys for the frame {frame}; give only one of them")
        paintings[frame] = Path(picture)
    return paintings
