"""Videos for tests, written by the package itself from pictures in memory."""

from collections.abc import Iterable
from fractions import Fraction
from itertools import chain
from pathlib import Path

import numpy as np

from analogy.films.video import VideoFrames
from analogy.films.writing import prepare_video


def write_video(path: Path, pictures: Iterable[np.ndarray], like: VideoFrames | None, rate: Fraction) -> None:
    """Prepare and write a video of the size of its first picture."""
    rest = iter(pictures)
    first = next(rest)
    prepare_video(path, first.shape[:2], like, rate, first.shape[2] == 4).write(chain([first], rest))
