"""The frames of a film, from a folder, a pattern, a video, or memory."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol, TypeAlias

from ..errors import ImageError, reason
from ..files.inputs import checksum
from ..files.places import folded
from ..pictures.images import Admit, Picture
from ..pictures.listing import SUFFIXES, in_order, is_pattern, matching, pictures_in
from ..pictures.reading import PictureLike, read_picture
from .naming import numbered

VIDEOS = (".mp4", ".m4v", ".mov", ".mkv", ".webm")
"""Suffixes of the videos that the extra `video` can read and write."""
ONLY_READ = (".avi", ".gif")
"""Suffixes of videos and animations that it can only read."""

FramesLike: TypeAlias = str | os.PathLike[str] | Sequence[PictureLike]
"""A film as `open_frames` accepts it."""


class Frames(Protocol):
    """The frames of a film, in order, each of which is read when it is needed."""

    @property
    def names(self) -> Sequence[str]:
        """The name of each frame: that of its file without the suffix, or its number."""
        ...

    @property
    def files(self) -> Sequence[Path]:
        """The files that the frames are read from."""
        ...

    def takes(self, path: Path) -> bool:
        """Return whether a picture or a video at `path` would be a frame when the film is opened again."""
        ...

    def read(self, index: int) -> Picture:
        """Return a frame. Raises `ImageError` if it cannot be read."""
        ...

    def digest(self, index: int) -> str:
        """Return a checksum of what a frame is made from. Equal checksums mean equal frames."""
        ...


class FramesOfOneSize:
    """The frames of a film, each of which must have the size of the first.

    size  rows and columns of the first frame
    """

    def __init__(self, frames: Frames, ready: Callable[[], None] = lambda: None):
        """Read the first of the `frames`. `ready` is called before each later reading; what it raises passes through."""
        self.names, self.files, self.takes, self.digest = frames.names, frames.files, frames.takes, frames.digest
        self._frames, self._ready = frames, ready
        self.size = frames.read(0).size

    def read(self, index: int) -> Picture:
        """Return a frame. Raises `ImageError` if it cannot be read, or its size differs from the first one's."""
        self._ready()
        return self.fitting(self._frames.read(index), f"frame {self.names[index]}")

    def fitting(self, picture: Picture, name: str = "") -> Picture:
        """Return `picture`. Raises `ImageError`, which calls it `name` if given, if it has another size than the film."""
        if picture.size != self.size:
            (height, width), (rows, columns) = picture.size, self.size
            raise ImageError(
                f"{name or picture.name} is {width} x {height} pixels and the film {columns} x {rows}; make them equal"
            )
        return picture


def open_frames(source: FramesLike, admit: Admit | None = None) -> Frames:
    """Open a film.

    source  the path of a folder, whose pictures are sorted by name, with the numbers in it by value; the path of a video; a
            pattern like "shot/*.png" (see `pictures.listing`); or a sequence of pictures (see `read_picture`)
    admit   is called before a picture is decoded, as by `read_picture`

    Raises `ImageError` if there is no such folder or video, or fewer than two frames.
    """
    if isinstance(source, Sequence) and not isinstance(source, (str, bytes, bytearray)):
        return _enough(_GivenFrames(source, admit), "the list")
    if not isinstance(source, (str, os.PathLike)):
        raise ImageError(
            f"frames is a {type(source).__name__}; it takes a folder, a pattern, a video, or a list of pictures"
        )
    path = Path(source)
    if path.is_dir():
        try:
            pictures = [Path(name) for name in pictures_in(path)]
        except OSError as error:
            raise ImageError(f"{path}: cannot be read ({reason(error)})") from error
        return _enough(_FileFrames(pictures, admit, path), f"the folder {path}")
    if path.suffix.lower() in VIDEOS + ONLY_READ and not is_pattern(str(path)):
        from .video import VideoFrames

        return _enough(VideoFrames(path, admit), f"the video {path}")
    if not is_pattern(str(path)):
        raise ImageError(
            f"{path}: no folder and no video; name a folder of frames, a pattern like 'shot/*.png', or a video"
        )
    found = [Path(name) for name in matching(str(path))]
    return _enough(_FileFrames(found, admit, path), f"the pattern {path}")


class _FileFrames:
    """Frames that are pictures in files. `source`: the folder or the pattern with which they were found."""

    def __init__(self, paths: Sequence[Path], admit: Admit | None, source: Path):
        self._admit, self._source = admit, source
        self.files = in_order(paths)
        self.names = [path.stem for path in self.files]
        taken: dict[str, Path] = {}
        for file, name in zip(self.files, self.names, strict=True):
            if (first := taken.setdefault(folded(name), file)) is not file:
                raise ImageError(
                    f"two frames have the same name, {first} and {file}; choose one of them with a pattern"
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
            raise ImageError(f"{self.files[index]}: cannot be read ({reason(error)})") from error


class _GivenFrames:
    """Frames that a caller gives as a sequence of pictures."""

    def __init__(self, pictures: Sequence[PictureLike], admit: Admit | None):
        self._admit = admit
        self.pictures = pictures
        self.files: list[Path] = []
        self.names = numbered(len(pictures))

    def takes(self, path: Path) -> bool:
        return False

    def read(self, index: int) -> Picture:
        return read_picture(self.pictures[index], name=f"frame {index}", admit=self._admit)

    def digest(self, index: int) -> str:
        return hashlib.sha256(self.read(index).rgb.tobytes()).hexdigest()


def _enough(frames: Frames, what: str) -> Frames:
    """Return `frames`. Raises `ImageError` if there are fewer than two; `what` says where they are from."""
    if len(frames.names) < 2:
        raise ImageError(f"{what} has {len(frames.names)} frames; a film has two or more")
    return frames
