"""Film whose frames are painted one after another while a program iterates over it."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from ..backends import Backend
from ..pictures.images import Picture
from ..pictures.reading import PictureLike
from ..progress import Progress
from .carrying import Carrier
from .frames import Frames, FramesOfOneSize
from .joining import join
from .keys import Keys, MakeKey
from .plan import Stretch, digest, plan
from .shots import find_cuts
from .video import VideoFrames
from .work import Store, Work, clear


@dataclass(frozen=True, eq=False)
class PaintedFrame:
    """Frame of a film, together with its painting.

    Attributes
    ----------
    index : int
        Position of the frame in the film, from 0.
    name : str
        Name of the frame.
    film : Picture
        The frame as it was read, not painted.
    picture : (H, W, 3) uint8
        The painted frame, RGB.
    """

    index: int
    name: str
    film: Picture
    picture: np.ndarray


class Clip:
    """Film that is painted frame by frame when it is iterated over. `Engine.clip` makes it.

    Attributes
    ----------
    names : sequence of str
        Name of each frame.
    files : sequence of Path
        Files that the film is read from; none if the frames are given as pictures.
    video : VideoFrames or None
        The video that the film is read from; None if the film is not a video.
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
        """Read the first frame of a film and its keys, or the style that is given in place of keys.

        The constructor raises the errors that `Engine.clip` lists.

        Parameters
        ----------
        backend : Backend
            The backend whose kernels search a key frame for matches (see `carrying`), and solve the
            equation that joins pieces of a key (see `strokes`).
        frames : Frames
            The film.
        keys, style
            As for `Engine.clip`.
        make_key : callable
            Makes the key of a shot that has none (see `keys.MakeKey`).
        made_with : str
            String that changes if the settings or the model of `make_key` change.
        seed : int
            Seed of the random search.
        progress : callable, optional
            Called with a `Progress` before each frame is read in the search for cuts, before each
            step of painting (see `Stretch.steps`), and when all wanted frames have been painted.
        ready : callable
            Called before each reading of a frame, except when the constructor reads the first
            frame. It raises an error if the backend can no longer be used.
        """
        self.names, self.files = frames.names, frames.files
        self.video = frames if isinstance(frames, VideoFrames) else None
        self._backend, self._seed = backend, seed
        self._report = progress or (lambda progress: None)
        self._frames = FramesOfOneSize(frames, ready)
        self._keys = Keys(self._frames, keys, style, make_key, made_with)

    def __len__(self) -> int:
        return len(self.names)

    @property
    def size(self) -> tuple[int, int]:
        """Rows and columns of each frame."""
        return self._frames.size

    def __iter__(self) -> Iterator[PaintedFrame]:
        return self.paint()

    def takes(self, path: Path) -> bool:
        """Return whether a file at `path` would be a frame if the film were opened again.

        Parameters
        ----------
        path : Path
            The path of a file that a run will write.

        Returns
        -------
        bool
            True if the film is a folder, and `path` is the path of a picture in it, or if the film
            is a pattern that `path` matches.
        """
        return self._frames.takes(path)

    def read(self, index: int) -> Picture:
        """Return a frame of the film, not painted.

        Parameters
        ----------
        index : int
            The index of the frame, from 0.

        Returns
        -------
        Picture
            The frame as it was read.

        Raises
        ------
        ImageError
            If the frame cannot be read, or differs in size from the first frame.
        """
        return self._frames.read(index)

    @cached_property
    def stretches(self) -> list[Stretch]:
        """Stretches of the film in order (see `plan.Stretch`).

        The first access reads the whole film, to find its cuts.
        """
        return plan(list(find_cuts(self._read_all("cuts"))), self._keys.given)

    def _read_all(self, stage: str) -> Iterator[np.ndarray]:
        """Yield the pixels of each frame, (H, W, 3) uint8, and report progress in the `stage`."""
        for index in range(len(self)):
            self._report(Progress(stage, 0.0))
            yield self.read(index).rgb

    def made_from(self, stretch: Stretch) -> str:
        """Return a checksum of all that a stretch is painted from (see `plan.digest`).

        Parameters
        ----------
        stretch : Stretch
            One of `stretches`.

        Returns
        -------
        str
            A SHA-256 in hexadecimal digits. It changes when a key, a frame of the stretch, the seed
            or the version of this package changes. If the program makes a key of the stretch, it
            also changes when the model or a setting changes.
        """
        return digest(stretch, self._seed, self._frames.digest, self._keys.made_from)

    def paint(self, wanted: Container[int] | None = None, work: Path | None = None) -> Iterator[PaintedFrame]:
        """Yield painted frames in order.

        If a key follows a stretch in the same shot, this later key is carried backwards first. The
        frames that are painted from it are stored in a file, with four bytes for each pixel.

        Parameters
        ----------
        wanted : container of int, optional
            Indices of the frames to paint; all by default. How a frame is painted does not depend
            on which other frames are wanted.
        work : Path, optional
            Folder in which the state of the painting is saved; by default, it is not saved. If the
            program is killed, a call with the same folder continues a stretch from its state,
            unless the value of `made_from` for this stretch has changed. The state is deleted when
            all wanted frames have been painted.

        Yields
        ------
        PaintedFrame
            The next wanted frame.
        """
        wanted = range(len(self)) if wanted is None else wanted
        chosen = [(stretch, [index for index in stretch.frames if index in wanted]) for stretch in self.stretches]
        chosen = [(stretch, indices) for stretch, indices in chosen if indices]
        steps = sum(stretch.steps(indices) for stretch, indices in chosen)
        painting = _Painting(self._backend, self._frames, self._keys, self._seed, self._report, steps)
        for stretch, indices in chosen:
            stretch_work = Work(work, self.made_from(stretch) if work else "")
            yield from painting.paint(stretch, indices, stretch_work)
            stretch_work.clear()
        if work:
            clear(work)
        self._report(Progress("done", 1.0))


@dataclass
class _Painting:
    """State of one iteration over a clip.

    Attributes
    ----------
    steps : int
        Number of steps of the iteration. In a step, a key is carried to one frame, or a stored
        frame is read.
    begun : int
        Number of steps that have begun in this run, plus the steps that are skipped because an
        earlier run has taken them.
    """

    backend: Backend
    frames: FramesOfOneSize
    keys: Keys
    seed: int
    report: Callable[[Progress], None]
    steps: int
    begun: int = 0

    def paint(self, stretch: Stretch, wanted: list[int], work: Work) -> Iterator[PaintedFrame]:
        """Yield the `wanted` frames of a stretch (at least one) in order."""
        if stretch.after is None:
            yield from self._forwards(stretch, wanted, work, None)
            return
        with work.store("after", (*self.frames.size, 4)) as later:
            self._backwards(stretch, stretch.after, wanted, work, later)
            yield from self._forwards(stretch, wanted, work, later)

    def _backwards(self, stretch: Stretch, key: int, wanted: list[int], work: Work, later: Store) -> None:
        """Carry the later key backwards, and store the frames that are painted from it.

        A frame is stored as (H, W, 4) uint8: its colours, and the doubt (see `Carrier.doubt`),
        clipped to 0 .. 1, in units of 1/255.
        """

        def is_usable(state_of: int) -> bool:
            missing = range(state_of - stretch.first, key - stretch.first)
            return stretch.first <= state_of < key and later.holds(missing)

        painted = self.keys.pixels(key).astype(np.float32)
        for index, _, carrier in self._carried(key, wanted[0], work, "after", is_usable):
            if index != key:
                doubt = np.rint(np.clip(carrier.doubt(), 0, 1) * 255)
                layers = [_as_pixels(carrier.paint(painted)), doubt.astype(np.uint8)]
                later[index - stretch.first] = np.dstack(layers)

    def _forwards(self, stretch: Stretch, wanted: list[int], work: Work, later: Store | None) -> Iterator[PaintedFrame]:
        """Yield the wanted frames of a stretch in order.

        If there is an earlier key, the frames are painted from it. `later` contains the frames that
        were painted from the later key; it is None if there is no later key. If there are both
        keys, the two paintings of a frame are joined. If there is only a later key, the frames are
        read from `later`.
        """
        if stretch.before is None:
            assert later is not None
            for index in wanted:
                self._begin_step(index)
                picture = later[index - stretch.first][..., :3].copy()
                yield PaintedFrame(index, self.frames.names[index], self.frames.read(index), picture)
            return

        def is_usable(state_of: int) -> bool:
            return stretch.first <= state_of <= wanted[0]

        key = self.keys.pixels(stretch.before)
        painted, asked_for = key.astype(np.float32), frozenset(wanted)
        for index, film, carrier in self._carried(stretch.before, wanted[-1], work, "before", is_usable):
            if index not in asked_for:
                continue
            if index == stretch.before:
                picture = key.copy()
            elif later is None:
                picture = _as_pixels(carrier.paint(painted))
            else:
                layers = later[index - stretch.first]
                colours, doubt = layers[..., :3].astype(np.float32), layers[..., 3].astype(np.float32) / 255
                time = stretch.time(index)
                picture = _as_pixels(join(carrier.paint(painted), colours, carrier.doubt(), doubt, time))
            yield PaintedFrame(index, self.frames.names[index], film, picture)

    def _carried(
        self, key: int, last: int, work: Work, name: str, is_usable: Callable[[int], bool]
    ) -> Iterator[tuple[int, Picture, Carrier]]:
        """Carry a key from its frame to the frame `last`, forwards or backwards.

        Parameters
        ----------
        key, last : int
            Indices of the key's frame and of the last frame.
        work : Work
            Saves the state of the carrier in a file.
        name : str
            Name under which that state is saved.
        is_usable : callable
            Returns whether carrying can start from a state that an earlier run saved at the frame
            with a given index.

        Yields
        ------
        index : int
            Index of the frame that the carrier has reached. The first index is that of the key's
            frame, or that of the frame at which an earlier run saved a usable state.
        film : Picture
            That frame.
        carrier : Carrier
            The carrier.
        """
        carrier = Carrier(self.backend, self.frames.read(key).rgb, self.seed)
        direction = 1 if last >= key else -1
        indices = range(key, last + direction, direction)
        state = work.state(name, carrier.state())
        if state is not None and is_usable(state[0]):
            start, arrays = state
            carrier.resume(self.frames.read(start).rgb, arrays)
            remaining = range(start, last + direction, direction)
            self.begun += len(indices) - len(remaining)
            indices = remaining
        for index in indices:
            self._begin_step(index)
            film = self.frames.read(index)
            if index != indices[0]:
                carrier.advance(film.rgb.copy())  # a copy, because the caller gets `film` and may draw into it
            yield index, film, carrier
            work.keep(name, index, carrier.state())

    def _begin_step(self, index: int) -> None:
        """Report that the step for a frame begins."""
        self.report(Progress(f"frame {self.frames.names[index]}", self.begun / self.steps))
        self.begun += 1


def _as_pixels(picture: np.ndarray) -> np.ndarray:
    """Return a picture as uint8, rounded and clipped."""
    return np.rint(np.clip(picture, 0, 255)).astype(np.uint8)
