"""Measure how sharp and how steady a painted film is.

Run `python tools/film_scores.py FRAMES PAINTED KEY`.

FRAMES and PAINTED are folders (or patterns of file names) with equally many pictures of one size,
and KEY is the key from which the frames were painted. The tool prints two scores:

\b
    detail   For each painted frame, the standard deviation of the Laplacian of its grey values,
             divided by the same value for the key. At 1 the frame is as sharp as the key.
    flicker  The mean change of colour (CIE76) between neighbouring painted frames along the motion
             of the film, divided by the same value for the film itself. At 1 the painted film is as
             steady as the film.
"""  # noqa: D301  # click reads the backslash

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import click
import cv2
import numpy as np

from analogy.films.frames import open_frames
from analogy.films.motion import agree, both_flows, sample
from analogy.pictures.reading import read_picture

AGREEMENT = 1.0
"""Distance, in pixels, within which the flow there and back must return to a pixel that counts."""


def detail(picture: np.ndarray) -> float:
    grey = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY).astype(np.float32)
    return float(cv2.Laplacian(grey, cv2.CV_32F).std())


def change(before: np.ndarray, after: np.ndarray, flow: np.ndarray, counts: np.ndarray) -> float:
    """Return the mean colour change (CIE76) from `before` to `after` where `counts` is True.

    `flow` leads from each pixel of `after` to its place in `before`.
    """
    lab = [cv2.cvtColor(np.float32(each) / 255, cv2.COLOR_RGB2LAB) for each in (before, after)]
    return float(np.linalg.norm(lab[1] - sample(lab[0], flow), axis=-1)[counts].mean())


@click.command(help=__doc__)
@click.argument("frames")
@click.argument("painted")
@click.argument("key", type=click.Path(exists=True, path_type=Path))
def main(frames: str, painted: str, key: Path) -> None:
    film, result = open_frames(frames), open_frames(painted)
    if len(film.names) != len(result.names):
        raise click.UsageError(
            f"{frames} has {len(film.names)} frames, and {painted} has {len(result.names)}; "
            "give the same number of frames"
        )
    whole = detail(read_picture(key).rgb)
    pairs = [(film.read(index).rgb, result.read(index).rgb) for index in range(len(film.names))]
    for name, (_, shown) in zip(film.names, pairs, strict=True):
        click.echo(f"{name}: detail {detail(shown) / whole:.2f}")
    own, of_result = [], []
    for (before, shown_before), (here, shown) in pairwise(pairs):
        forth, back = both_flows(here, before)
        counts = agree(forth, back, AGREEMENT)
        own.append(change(before, here, forth, counts))
        of_result.append(change(shown_before, shown, forth, counts))
    click.echo(f"flicker {sum(of_result) / sum(own):.2f}")


if __name__ == "__main__":
    main()
