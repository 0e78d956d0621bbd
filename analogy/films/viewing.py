"""Making of videos and contact sheets that show a painted film."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path

import numpy as np

from ..pictures.images import Picture, resize
from ..pictures.reading import read_picture
from .clip import Clip
from .writing import PreparedVideo, prepare_video

_WHITE = 255
"""Grey level, 0 to 255, behind transparent frames and between pictures."""
_CONTACT_FRAMES = 24
"""Maximum number of frames on a contact sheet."""
_CONTACT_COLUMNS = 3
"""Number of frames in a row of a contact sheet."""
_CONTACT_WIDTH = 240
"""Width of each picture on a contact sheet, in pixels."""
_GAP = 4
"""Gap between a frame and its painting, in pixels."""
_CONTACT_GAP = 12
"""Gap between two pairs of frame and painting on a contact sheet, in pixels."""


def prepare_film(clip: Clip, path: Path, rate: Fraction, side_by_side: bool = False) -> PreparedVideo:
    """Find out, before frames are painted, how the painted film can be written as a video.

    Parameters
    ----------
    clip : Clip
        The film.
    path : Path
        Path of the new video.
    rate : Fraction
        Frames per second. It is used only if the film is not a video, or is a video that does not
        state its rate.
    side_by_side : bool
        Whether each frame of the film will be shown to the left of its painting.

    Returns
    -------
    PreparedVideo
        The video that `write_film` can write.

    Raises
    ------
    OutputError
        If no such video can be written.
    """
    (height, width), video = clip.size, clip.video
    if side_by_side:
        width = 2 * width + _GAP
    has_alpha = video is not None and video.has_alpha and not side_by_side
    return prepare_video(path, (height, width), video, rate, has_alpha)


def write_film(
    clip: Clip,
    painted: Sequence[Path],
    video: PreparedVideo,
    side_by_side: bool = False,
    complete: Callable[[Path], None] | None = None,
) -> None:
    """Write the painted frames of a clip as the `video` that `prepare_film` returned.

    `painted` contains the path of each painted frame in order. `side_by_side` is as for
    `prepare_film`, and `complete` as for `PreparedVideo.write`.
    """
    pictures = (
        _pair(clip.read(index), frame) if side_by_side else _with_alpha(frame) if video.has_alpha else _on_white(frame)
        for index, frame in enumerate(painted)
    )
    video.write(pictures, complete)


def _on_white(painted: Path) -> np.ndarray:
    """Return a painted frame on white, (H, W, 3) uint8."""
    return read_picture(painted).over(_WHITE)


def _with_alpha(painted: Path) -> np.ndarray:
    """Return a painted frame with its alpha, (H, W, 4) uint8."""
    picture = read_picture(painted, grounded=False)
    alpha = picture.alpha if picture.alpha is not None else np.full(picture.size, 255, np.uint8)
    return np.dstack([picture.rgb, alpha])


def contact_sheet(clip: Clip, painted: Sequence[Path]) -> np.ndarray:
    """Return a contact sheet of the film, (H, W, 3) uint8.

    It shows every n-th frame to the left of its painting, in rows on white. The number n is the
    smallest with which at most 24 frames are shown. `painted` contains the path of each painted
    frame in order.
    """
    step = -(-len(clip) // _CONTACT_FRAMES)
    cells = [_pair(clip.read(index), painted[index], _CONTACT_WIDTH) for index in range(0, len(clip), step)]
    cells += [np.full_like(cells[0], _WHITE)] * (-len(cells) % _CONTACT_COLUMNS)
    rows = [cells[i : i + _CONTACT_COLUMNS] for i in range(0, len(cells), _CONTACT_COLUMNS)]
    return _in_line([_in_line(row, _CONTACT_GAP, axis=1) for row in rows], _CONTACT_GAP, axis=0)


def _pair(film: Picture, painted: Path, width: int | None = None) -> np.ndarray:
    """Return a frame and its painting side by side, each `width` pixels wide if given."""
    pictures = [film.over(_WHITE), read_picture(painted).over(_WHITE)]
    if width is not None:
        height = max(1, round(film.size[0] * width / film.size[1]))
        pictures = [resize(picture, height, width) for picture in pictures]
    return _in_line(pictures, _GAP, axis=1)


def _in_line(pictures: Sequence[np.ndarray], gap: int, axis: int) -> np.ndarray:
    """Return pictures of one size in a column (axis 0) or a row (axis 1), `gap` pixels apart."""
    shape = list(pictures[0].shape)
    shape[axis] = gap
    white = np.full(shape, _WHITE, np.uint8)
    return np.concatenate([part for picture in pictures for part in (picture, white)][:-1], axis=axis)
