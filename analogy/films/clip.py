"""A painted film: which keys decide which frames, and the frames one after another, as they are painted."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Container, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from ..backends import Backend
from ..errors import ImageError, SettingsError
from ..pictures.images import Picture
from ..pictures.reading import PictureLike, read_picture
from ..progress import Progress
from ..version import __version__
from .carrying import Carrier
from .frames import Frames
from .joining import join
from .naming import find_frame
from .shots import find_cuts
from .video import VideoFrames
from .work import Store, Work, clear

MakeKey = Callable[..., np.ndarray]
"""Called with a frame, and with a style, or with a key and its own frame as `b`: paints the frame (H, W, 3) uint8."""


@dataclass(frozen=True, eq=False)
class PaintedFrame:
    """A frame of a painted film.

    index, name  which frame it is, from 0, and what it is called
    film         the frame as it was read
    picture      the painted frame, (H, W, 3) uint8 RGB
    """

    index: int
    name: str
    film: Picture
    picture: np.ndarray


@dataclass(frozen=True)
class Stretch:
    """Frames that the same keys decide: `first` to `last`, from the key at `before` and the key at `after` (or None)."""

    first: int
    last: int
    before: int | None
    after: int | None

    def time(self, index: int) -> float:
        """Where a frame lies between the two keys, 0 to 1."""
        assert self.before is not None and self.after is not None
        return (index - self.before) / (self.after - self.before)


class Clip:
    """A film that is painted frame by frame, by iterating over it. Made by `Engine.clip`.

    names  what each frame is called
    files  the files that the film is read from
    """

    def __init__(
        self,
        backend: Backend,
        frames: Frames,
        keys: Mapping[int | str, PictureLike],
        style: PictureLike | None,
        make_key: MakeKey,
        made_with: str,
        seed: int,
        progress: Callable[[Progress], None] | None,
        ready: Callable[[], None] = lambda: None,
    ):
        """Open a film, and read its keys.

        made_with  what decides how keys are made, in words, for `made_from`
        ready      is called before each frame is read, and raises where the backend cannot be used

        The rest is as for `Engine.clip`.
        """
        if bool(keys) == (style is not None):
            raise SettingsError("a clip takes keys, or a style; give one of the two")
        self.names, self.files = frames.names, frames.files
        self._backend, self._frames, self._seed = backend, frames, seed
        self._make_key, self._made_with, self._ready = make_key, made_with, ready
        self._report = progress or (lambda progress: None)
        self._size = frames.read(0).size
        self._keys: dict[int, Picture] = {}
        for name, source in keys.items():
            index = find_frame(self.names, self.files, name)
            if index in self._keys:
                raise SettingsError(f"there are two keys for the frame {self.names[index]}; give one")
            key = self._fitting(read_picture(source, name=f"the key of frame {self.names[index]}"))
            self._keys[index] = key if key.alpha is None else Picture(key.over(self.read(index).rgb), name=key.name)
        self._style = None if style is None else read_picture(style, name="the style")

    def __len__(self) -> int:
        return len(self.names)

    @property
    def video(self) -> VideoFrames | None:
        """The video that the film is read from, if it is one."""
        return self._frames if isinstance(self._frames, VideoFrames) else None

    def takes(self, path: Path) -> bool:
        """Return whether a picture or a video at `path` would be a frame when the film is opened again."""
        return self._frames.takes(path)

    def __iter__(self) -> Iterator[PaintedFrame]:
        return self.paint()

    @cached_property
    def stretches(self) -> list[Stretch]:
        """Which keys decide which frames, in order. Reads the whole film once, to find its cuts."""
        starts = [index for index, cut in enumerate(find_cuts(self._read_all("cuts"))) if cut or not index]
        found = []
        for start, end in pairwise([*starts, len(self)]):
            keys: list[int | None] = [index for index in sorted(self._keys) if start <= index < end]
            for before, after in pairwise([None, *(keys or [start]), None]):
                first = start if before is None else before
                last = end - 1 if after is None else after - 1
                if first <= last:
                    found.append(Stretch(first, last, before, after))
        return found

    def made_from(self, stretch: Stretch) -> str:
        """A checksum of all that decides the frames of a stretch: its part of the film, its keys, and how they are made."""
        last = stretch.last if stretch.after is None else stretch.after
        parts = [__version__, str(self._seed), str(stretch)]
        parts += [self._frames.digest(index) for index in range(stretch.first, last + 1)]
        for index in (stretch.before, stretch.after):
            if index in self._keys:
                parts.append(_digest(self._keys[index]))
            elif index is not None:
                nearest = None if self._style else self._nearest(index)
                parts += [self._made_with, _digest(self._style or self._keys[nearest or 0])]
                parts += [] if nearest is None else [self._frames.digest(nearest)]
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()

    def paint(self, wanted: Container[int] | None = None, work: Path | None = None) -> Iterator[PaintedFrame]:
        """The painted frames in order; of these only the `wanted` ones, which are the same as if all were painted.

        Between two keys the way back from the later one is painted first, into a file (four bytes for each pixel).

        work  a folder in which to keep how far this is, for the next call after one that was killed. What was kept is used
              if nothing has changed that decides the frames, and goes when they are painted
        """
        wanted = range(len(self)) if wanted is None else wanted
        chosen = [
            (stretch, [index for index in range(stretch.first, stretch.last + 1) if index in wanted])
            for stretch in self.stretches
        ]
        self._left = sum(_steps(stretch, indices) for stretch, indices in chosen)
        self._all = max(1, self._left)
        for stretch, indices in chosen:
            if indices:
                kept = Work(work, self.made_from(stretch) if work else "")
                yield from self._paint_stretch(stretch, indices, kept)
                kept.clear()
        if work:
            clear(work)
        self._report(Progress("done", 1.0))

    def _paint_stretch(self, stretch: Stretch, wanted: list[int], work: Work) -> Iterator[PaintedFrame]:
        if stretch.after is None:
            yield from self._paint_between(stretch, wanted, work, None)
            return
        with work.store("after", (*self._size, 4)) as later:
            self._fill(later, stretch, stretch.after, wanted, work)
            yield from self._paint_between(stretch, wanted, work, later)

    def _paint_between(
        self, stretch: Stretch, wanted: list[int], work: Work, later: Store | None
    ) -> Iterator[PaintedFrame]:
        start, carrier = wanted[0], None
        key: np.ndarray = np.empty(0)
        painted = key
        if stretch.before is not None:
            key = self._key(stretch.before).rgb
            painted = key.astype(np.float32)
            carrier, start = self._carrier(
                work, "before", stretch.before, lambda index: stretch.first <= index <= wanted[0]
            )
        for index in range(start, wanted[-1] + 1):
            self._step(index)
            film = self.read(index)
            if carrier is not None and index != start:
                carrier.advance(film.rgb)
            if index in wanted:
                if index == stretch.before:
                    picture = key
                else:
                    earlier = (carrier.paint(painted), carrier.doubt()) if carrier is not None else None
                    picture = self._joined(stretch, index, earlier, later)
                yield PaintedFrame(index, self.names[index], film, picture)
            if carrier is not None:
                work.keep("before", index, carrier.state())

    def _carrier(self, work: Work, what: str, key: int, fits: Callable[[int], bool]) -> tuple[Carrier, int]:
        """A carrier from a key, and the frame at which it is: that of a state of `what` that fits, or the key's."""
        carrier = Carrier(self._backend, self.read(key).rgb, self._seed)
        state = work.state(what, carrier.state())
        if state is None or not fits(state[0]):
            return carrier, key
        self._left -= abs(state[0] - key)
        carrier.resume(self.read(state[0]).rgb, state[1])
        return carrier, state[0]

    def _joined(self, stretch: Stretch, index: int, earlier: Any, later: Any) -> np.ndarray:
        """The picture of a frame from what the keys around it, or one of them, make of it."""
        if later is None:
            return _as_pixels(earlier[0])
        packed = later[index - stretch.first]
        if earlier is None:
            return packed[..., :3].copy()
        doubt = packed[..., 3].astype(np.float32) / 255
        return _as_pixels(join(earlier[0], packed[..., :3].astype(np.float32), earlier[1], doubt, stretch.time(index)))

    def _fill(self, later: Store, stretch: Stretch, key: int, wanted: list[int], work: Work) -> None:
        """Store what the later key makes of the frames, from the last one back: (H, W, 4), colours and doubt."""

        def fits(index: int) -> bool:
            return stretch.first <= index < key and later.holds(range(index - stretch.first, key - stretch.first))

        carrier, start = self._carrier(work, "after", key, fits)
        painted = self._keys[key].rgb.astype(np.float32)
        for index in range(start - 1, wanted[0] - 1, -1):
            self._step(index)
            carrier.advance(self.read(index).rgb)
            doubt = np.rint(np.clip(carrier.doubt(), 0, 1) * 255)
            later[index - stretch.first] = np.dstack([_as_pixels(carrier.paint(painted)), doubt.astype(np.uint8)])
            work.keep("after", index, carrier.state())

    def _key(self, index: int) -> Picture:
        """The key of a frame: the one that was given, or one made for a shot without."""
        if index in self._keys:
            return self._keys[index]
        frame = self.read(index).rgb
        if self._style is not None:
            return Picture(self._make_key(frame, self._style.rgb))
        nearest = self._nearest(index)
        return Picture(self._make_key(frame, self._keys[nearest].rgb, b=self.read(nearest).rgb))

    def _nearest(self, index: int) -> int:
        return min(self._keys, key=lambda key: (abs(key - index), key))

    def read(self, index: int) -> Picture:
        """A frame of the film. Raises `ImageError` if it cannot be read, or its size differs from the first one's."""
        self._ready()
        return self._fitting(self._frames.read(index), f"frame {self.names[index]}")

    def _read_all(self, stage: str) -> Iterator[np.ndarray]:
        for index in range(len(self)):
            self._report(Progress(stage, 0.0))
            yield self.read(index).rgb

    def _fitting(self, picture: Picture, name: str = "") -> Picture:
        if picture.size != self._size:
            (height, width), (rows, columns) = picture.size, self._size
            raise ImageError(
                f"{name or picture.name} is {width} x {height} pixels and the film {columns} x {rows}; make them equal"
            )
        return picture

    def _step(self, index: int) -> None:
        self._report(Progress(f"frame {self.names[index]}", 1 - self._left / self._all))
        self._left -= 1


def _steps(stretch: Stretch, wanted: list[int]) -> int:
    """Frames to go through for the wanted ones, there and back."""
    if not wanted:
        return 0
    return wanted[-1] - stretch.first + 1 + (stretch.after is not None) * (stretch.last - wanted[0] + 1)


def _as_pixels(picture: np.ndarray) -> np.ndarray:
    return np.rint(np.clip(picture, 0, 255)).astype(np.uint8)


def _digest(picture: Picture) -> str:
    return hashlib.sha256(repr(picture.size).encode() + picture.rgb.tobytes()).hexdigest()
