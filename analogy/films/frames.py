"""Reading of the frames of a film: a folder, a pattern, a video or a list of pictures."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO, Protocol, TypeAlias

from ..errors import ImageError, counted, unreadable
from ..files.inputs import checksum
from ..files.places import folded
from ..pictures.images import Admit, Picture
from ..pictures.listing import SUFFIXES, in_order, is_pattern, matching, pictures_in
from ..pictures.reading import PictureLike, as_image_errors, is_open_file, label_of, read_picture, whole_file
from .naming import numbered

VIDEOS = (".mp4", ".m4v", ".mov", ".mkv", ".webm")
"""Suffixes of the videos that the extra `video` can read and write."""
ONLY_READ = (".avi", ".gif")
"""Suffixes of videos and animations that the extra `video` can only read."""

FramesLike: TypeAlias = str | os.PathLike[str] | Sequence[PictureLike]
"""Types of the argument `source` from which `open_frames` opens a film."""


class Frames(Protocol):
    """Frames of a film in order, each of which is read when it is needed."""

    @property
    def names(self) -> Sequence[str]:
        """Name of each frame: the name of its file without the suffix, or its number."""
        ...

    @property
    def files(self) -> Sequence[Path]:
        """Files that the frames are read from: one for each frame, one video, or none."""
        ...

    def takes(self, path: Path) -> bool:
        """Return whether a file at `path` would be a frame if the film were opened again."""
        ...

    def read(self, index: int) -> Picture:
        """Return a frame in new arrays. Raises `ImageError` if it cannot be read."""
        ...

    def digest(self, index: int) -> str:
        """Return a checksum of a frame's source; equal checksums mean equal frames."""
        ...


class FramesOfOneSize:
    """Frames of a film, each of which must have the size of the first.

    Attributes
    ----------
    size : (int, int)
        Rows and columns of the first frame.
    """

    def __init__(self, frames: Frames, ready: Callable[[], None] = lambda: None):
        """Read the first of the `frames`.

        Later, `read` calls `ready` before it reads a frame. Errors that `ready` raises pass
        through.
        """
        self.names, self.files, self.takes, self.digest = frames.names, frames.files, frames.takes, frames.digest
        self._frames, self._ready = frames, ready
        self.size = frames.read(0).size

    def read(self, index: int) -> Picture:
        """Return a frame. Raises `ImageError` if it cannot be read or has another size."""
        self._ready()
        return self.fitting(self._frames.read(index), f"frame {self.names[index]}")

    def fitting(self, picture: Picture, name: str = "") -> Picture:
        """Return `picture` after a check that it has the size of the film.

        Raises `ImageError` if the picture has another size. In the message, the picture is called
        `name`, or `picture.name` if `name` is empty.
        """
        if picture.size != self.size:
            (height, width), (rows, columns) = picture.size, self.size
            raise ImageError(
                f"{name or picture.name} has {width} x {height} pixels, but the film has {columns} x {rows}; "
                "give it the size of the film"
            )
        return picture


def open_frames(source: FramesLike, admit: Admit | None = None) -> Frames:
    """Open a film.

    Parameters
    ----------
    source : str, path or sequence of pictures
        The path of a folder, whose pictures are sorted by name in natural order (frame 2 before
        frame 10); the path of a video; a pattern such as "shot/*.png" (see `pictures.listing`); or
        a sequence of pictures that `read_picture` accepts.
    admit : callable, optional
        Called before a picture is decoded (see `images.Admit`).

    Returns
    -------
    Frames
        The frames in order.

    Raises
    ------
    ImageError
        If `source` is not a film, if it cannot be read, if two of its files have the same name but
        for the suffix, or if it has fewer than two frames.
    """
    if isinstance(source, Sequence) and not isinstance(source, (str, bytes, bytearray)):
        return _enough(_GivenFrames(source, admit), "the list")
    if not isinstance(source, (str, os.PathLike)):
        raise ImageError(
            f"frames must be a folder, a pattern, a video or a list of pictures; got a {type(source).__name__}"
        )
    path = Path(source)
    if os.path.isdir(path):  # noqa: PTH112 (a `Path` raises for a name that is too long)
        try:
            pictures = [Path(name) for name in pictures_in(path)]
        except OSError as error:
            raise ImageError(unreadable(error, str(path))) from error
        return _enough(_FileFrames(pictures, admit, path), f"the folder {path}")
    if path.suffix.lower() in VIDEOS + ONLY_READ and not is_pattern(str(path)):
        from .video import VideoFrames

        return _enough(VideoFrames(path, admit), f"the video {path}")
    if not is_pattern(str(path)):
        raise ImageError(
            f"{path} is neither a folder nor a video; name a folder of frames, a pattern like 'shot/*.png', or a video"
        )
    found = [Path(name) for name in matching(str(path))]
    return _enough(_FileFrames(found, admit, path), f"the pattern {path}")


class _FileFrames:
    """Frames that are pictures in files, found in the folder or with the pattern `source`."""

    def __init__(self, paths: Sequence[Path], admit: Admit | None, source: Path):
        self._admit, self._source = admit, source
        self.files = in_order(paths)
        self.names = [path.stem for path in self.files]
        by_name: dict[str, Path] = {}
        for file, name in zip(self.files, self.names, strict=True):
            if (first := by_name.setdefault(folded(name), file)) is not file:
                raise ImageError(
                    f"two frames have the same name, {first} and {file}; "
                    "name the film by a pattern that matches only one of them"
                )

    def takes(self, path: Path) -> bool:
        place, source = Path(os.path.realpath(path.parent), path.name), os.path.realpath(self._source)
        if self._source.is_dir():
            return path.name.lower().endswith(SUFFIXES) and place.parent == Path(source)
        return any(place.match(pattern) for pattern in (source, source.replace("[", "[[]")))

    def read(self, index: int) -> Picture:
        return read_picture(self.files[index], admit=self._admit)

    def digest(self, index: int) -> str:
        try:
            return checksum(self.files[index])
        except OSError as error:
            raise ImageError(unreadable(error, str(self.files[index]))) from error


class _GivenFrames:
    """Frames that a caller gives as a sequence of pictures."""

    def __init__(self, pictures: Sequence[PictureLike], admit: Admit | None):
        """Read the content of each open file, because a frame is read several times.

        Other pictures are not kept in memory, because a sequence may make each of them when it is
        asked for it. Raises `ImageError` if an open file cannot be read.
        """
        self._admit = admit
        self._pictures = pictures
        self._contents = {
            index: _content(file, f"frame {index}") for index, file in enumerate(pictures) if is_open_file(file)
        }
        self.files: list[Path] = []
        self.names = numbered(len(pictures))

    def takes(self, path: Path) -> bool:
        return False

    def read(self, index: int) -> Picture:
        picture, name = self._contents.get(index) or (self._pictures[index], f"frame {index}")
        return read_picture(picture, name=name, admit=self._admit)

    def digest(self, index: int) -> str:
        return hashlib.sha256(self.read(index).rgb.tobytes()).hexdigest()


def _content(file: IO[bytes], name: str) -> tuple[bytes, str]:
    """Return the content of an open file, and its name for messages, with its path if it has one.

    Raises `ImageError` if the file cannot be read.
    """
    label = label_of(file, name)
    with as_image_errors(label):
        return whole_file(file, label).getvalue(), label


def _enough(frames: Frames, what: str) -> Frames:
    """Return `frames` after a check that there are at least two.

    Raises `ImageError` if there are fewer. `what` is the name of the film in the message.
    """
    if len(frames.names) < 2:
        raise ImageError(f"{what} has {counted(len(frames.names), 'frame')}; a film needs at least two")
    return frames
