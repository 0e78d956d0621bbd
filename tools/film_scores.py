"""Measure how sharp and how steady a painted film is: tools/film_scores.py FRAMES PAINTED KEY

FRAMES and PAINTED are folders (or patterns) of the same number of pictures of one size, KEY is the
painting that was carried.

    detail   standard deviation of the Laplacian of the grey picture, as a share of the key's: 1 keeps every brush stroke
    flicker  mean change of colour (CIE76) of the painted film along the film's motion, over that of the film itself: 1 is as
             steady as the film
"""

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
"""Distance in pixels between a pixel and where the flows there and back lead from it, up to which it counts."""


def detail(picture: np.ndarray) -> float:
    grey = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY).astype(np.float32)
    return float(cv2.Laplacian(grey, cv2.CV_32F).std())


def change(before: np.ndarray, after: np.ndarray, flow: np.ndarray, counts: np.ndarray) -> float:
    """Return the mean change of colour from where `flow` leads in `before` to `after`, over the pixels that count."""
    lab = [cv2.cvtColor(np.float32(each) / 255, cv2.COLOR_RGB2LAB) for each in (before, after)]
    return float(np.linalg.norm(lab[1] - sample(lab[0], flow), axis=-1)[counts].mean())


@click.command(help=__doc__)
@click.argument("frames")
@click.argument("painted")
@click.argument("key", type=click.Path(exists=True, path_type=Path))
def main(frames: str, painted: str, key: Path) -> None:
    film, result = open_frames(frames), open_frames(painted)
    if len(film.names) != len(result.names):
        raise click.UsageError(f"{frames} has {len(film.names)} frames, and {painted} has {len(result.names)}")
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
