"""From pictures to pictures: read them, match them in the size the network works in, paint the results at full size."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from functools import partial, wraps
from typing import Any, TypeVar, Unpack, cast

import numpy as np

from .backends import Array, Device, get_backend
from .errors import DeviceError, ModelError, enough_memory, shown
from .films.clip import Clip
from .films.frames import FramesLike, open_frames
from .method import admission, costs
from .method.features import Features
from .method.matching import Matches, match
from .method.painter import Painter
from .method.pair import Pair, Uploads, as_seen, read_pair
from .method.pins import PinsLike
from .networks.models import DEFAULT, locate
from .pictures.reading import PictureLike
from .progress import Progress, StageReporter
from .request import Examples, Request, listed
from .result import Looks, Result, Way
from .settings import Direction, SettingOptions, Settings, SettingsLike

_REHEARSED = 240, 320
"""Rows and columns of the noise that `Engine.prepare` transfers: enough for CuPy to sum it in blocks of full size."""

AS_SETTINGS_SAY = cast(Direction, None)
"""Direction of a transfer whose call names none. To type checkers it is any of the three."""


class TransferOptions(SettingOptions, total=False):
    """The keywords of `Engine.transfer` except those that decide the type of the result, `b` and `direction`."""

    mask_a: PictureLike | None
    mask_b: PictureLike | Examples | None
    pins: PinsLike | None
    levels: bool
    progress: Callable[[Progress], None] | None


Method = TypeVar("Method", bound=Callable[..., Any])


def _on_device(method: Method) -> Method:
    """Wrap a method of `Engine` in `backend.active`."""

    @wraps(method)
    def active(self: Engine, *args: Any, **options: Any) -> Any:
        with self.backend.active():
            return method(self, *args, **options)

    return cast(Method, active)


class Engine:
    """A model on a device, kept ready for any number of transfers. Calls from several threads are safe.

    model             a name that `analogy models list` shows, or the folder of a model (str or path)
    device            "auto", "cpu", "cuda", or "cuda:1" for CUDA's second device
    threads           CPU threads, 1 to 256; None for one per core
    max_input_pixels  most pixels of A and of B', refused before they are decoded; None for what the memory allows

    Raises `ModelError` if the model cannot be used, `DeviceError` if the device cannot,
    `SettingsError` for a bound that is no number of pixels.
    """

    def __init__(
        self,
        model: str | os.PathLike[str] = DEFAULT,
        device: Device = "auto",
        threads: int | None = None,
        max_input_pixels: int | None = None,
    ):
        self.max_input_pixels = admission.check_bound(max_input_pixels)
        folder = locate(name_of(model))
        self.backend = get_backend(device, threads)
        self.network = Features(folder, self.backend)
        self._process = os.getpid()

    @enough_memory("match and to paint the pictures", "make them smaller, lower max_pixels, or close other programs")
    @_on_device
    def transfer(
        self,
        a: PictureLike,
        b_prime: Looks,
        settings: SettingsLike | None = None,
        *,
        b: PictureLike | Examples | None = None,
        direction: Way = AS_SETTINGS_SAY,  # type: ignore[assignment]  # mypy asks for what is each of them
        mask_a: PictureLike | None = None,
        mask_b: PictureLike | Examples | None = None,
        pins: PinsLike | None = None,
        levels: bool = False,
        progress: Callable[[Progress], None] | None = None,
        **changes: Unpack[SettingOptions],
    ) -> Result[Way, Looks]:
        """Find A' and B for A and B'.

        a, b_prime      a path, the bytes of a file, an open file, a PIL image, or an array (see
                        `pictures.reading.read_picture`). `b_prime` may be a list of such pictures: then each part of A gets
                        the looks of the example that fits it best, and what `Result` has of B' and B are lists
        settings        all settings: `Settings`, the name of a preset, or a dict
        direction       which pictures to make; None for what `settings` says. For type checkers it decides what `Result` has
        changes         other single settings by name; all override `settings`, and `help(analogy.Settings)` explains each
        b               B, if it is known: the picture of which B' is the painted version, pixel by pixel. Then A' alone is
                        made, as with direction "ab" (Hertzmann et al. 2001, "Image Analogies"). For a list of B' a list
        mask_a, mask_b  label pictures of the sizes of A and B' (see `method.guidance`); both or none. For a list of B',
                        `mask_b` is a list
        pins            places of A that have to go to places of B', and back: an array (N, 4) of xa, ya, xb, yb in pixels, or
                        the path of a CSV file with this header. What is around them goes along as far as it agrees (see
                        `method.holding`). For a list of B' a fifth number says which of them, from 1 (a column `example`)
        levels          also paint the field of each level, and call `progress` with each picture
        progress        is called as each stage begins and while it runs; an exception that it raises ends the run

        Raises `ImageError` for a picture or mask that cannot be used, `SettingsError` for a setting
        or a pin, and `MemoryLimitError`, before any work, if the memory cannot suffice.
        """
        self._refuse_after_a_fork()
        single: dict[str, Any] = {} if direction is AS_SETTINGS_SAY else {"direction": direction}
        settings = Settings.of(settings).changed(single | changes)
        request = Request(a, b_prime, settings, b=b, mask_a=mask_a, mask_b=mask_b, pins=pins, levels=levels)
        settings = request.settings
        report = StageReporter(progress)

        report.begin("reading")
        self.network.load_ahead(settings)
        admitted = admission.Admission(self.backend, self.network.card.widths, settings, self.max_input_pixels)
        known, masks = listed(b) or None, listed(mask_b) or None
        pair = read_pair(a, request.examples, known, mask_a, masks, request.pin_rows(), settings, admitted)
        report.plan(costs.estimate(self.network.card.widths, self.network.search_widths, pair, settings, levels))

        report.begin("features")
        self.backend.prepare()
        uploads = Uploads(self.backend)
        seen = pair.seen(uploads)
        painter = Painter(uploads, pair.ways(settings), seen, settings)
        found = match(self.network, pair, seen, settings, report, partial(painter.show, report) if levels else None)
        del seen

        report.begin("pictures")
        made = {way.key: painter.paint(way, found[way.key][1].nnf, report) for way in painter.ways}
        # After all are painted: what one takes memory for serves the next, which saves clearing it.
        made |= {way.key: painter.finish(way, made.pop(way.key), report) for way in painter.ways}
        report.end()
        on_device = isinstance(a, self.backend.xp.ndarray)
        return self._result(request, pair, found, made, painter.levels, report.seconds, on_device)

    def _result(
        self,
        request: Request,
        pair: Pair,
        found: Matches,
        made: dict[str, Array],
        levels: dict[int, np.ndarray],
        seconds: dict[str, float],
        on_device: bool,
    ) -> Result[Any, Any]:
        """Return what a transfer has made, as arrays of the device or of the host."""
        move = self.backend.asarray if on_device else self.backend.to_host
        # What `Result` has of A, and what it has of each B'.
        of_a: dict[str, Any] = dict.fromkeys(("a_prime", "nnf_ab", "error_ab"))
        of_b: dict[str, list[Any]] = {"b": [], "nnf_ba": [], "error_ba": []}
        of_b["b_prime"] = [side.picture for side in pair.ab.sources]
        for way in pair.ways(request.settings):
            last = found[way.key][1]
            picture, distance = move(made[way.key]), move(last.distance)
            if way is pair.ab:
                field = way.sheet.apart(self.backend, last.nnf) if request.several else last.nnf
                of_a = {"a_prime": picture, "nnf_ab": move(field), "error_ab": distance}
            else:
                for name, value in (("b", picture), ("nnf_ba", move(last.nnf)), ("error_ba", distance)):
                    of_b[name].append(value)

        def each(values: Sequence[Any]) -> Any:
            """Return one value for each B': a list where B' is one, else the value itself; None where there are none."""
            if not values:
                return None
            return list(values) if request.several else values[0]

        return Result(
            a=pair.ab.content.picture,
            **of_a,
            **{name: each(values) for name, values in of_b.items()},
            settings=request.settings,
            model=self.network.card.name,
            model_sha256=self.network.card.fingerprint,
            device=self.backend.describe(),
            known_b=each(pair.b),
            known_b_sha256=each(pair.b_checksums),
            pins=pair.pin_rows,
            masks=pair.ab.labels.masks if pair.ab.labels else {},
            levels=levels,
            seconds=seconds,
        )

    def prepare(self, settings: SettingsLike | None = None, **changes: Unpack[SettingOptions]) -> None:
        """Load and compile all that a transfer with these settings needs, so that the first is as quick as the others.

        settings, changes   as for `transfer`

        It runs one, of noise, and shrinks a picture: CuPy compiles an operation when it first meets
        it. What it compiled it keeps on disk, so that this takes long only the first time on a
        machine.
        """
        noise = np.random.default_rng(0).integers(0, 256, (2, *_REHEARSED, 3)).astype(np.uint8)
        with self.backend.active():
            as_seen(self.backend, noise[0], (_REHEARSED[0] // 2, _REHEARSED[1] // 2))
        self.transfer(noise[0], noise[1].swapaxes(0, 1), settings, **changes)

    def clip(
        self,
        frames: FramesLike,
        settings: SettingsLike | None = None,
        *,
        keys: Mapping[int | str, PictureLike] | None = None,
        style: PictureLike | None = None,
        progress: Callable[[Progress], None] | None = None,
        **changes: Unpack[SettingOptions],
    ) -> Clip:
        """Return a film that is painted after one frame of it, or after a few; iterate over it to get the frames.

        frames    the path of a folder, of a video, or a pattern like "shot/*.png"; or a sequence of pictures
        keys      frame -> its painting, of the film's size. A frame is named by its index, from 0 (int); or (str) by its name,
                  that of its file, or the number in its name. Where a painting is transparent, the film shows through
        style     in place of keys: a painting, in whose looks each shot's first frame is made its key
        settings, changes   as for `transfer`. Only keys that are made here follow them: those of shots without one
        progress  as for `transfer`

        A shot without a key gets one from the nearest key. Needs the extra `video`.

        Raises `ImageError` for a film, a key or a style that cannot be used, `SettingsError` for a
        setting, for a key of a frame that does not exist, for both keys and style or none of them,
        and without the extra; `DeviceError`, also while frames are painted, in a process that was
        forked after this engine was made.
        """
        self._refuse_after_a_fork()
        settings = Settings.of(settings).changed(changes)

        def make_key(frame: np.ndarray, style: np.ndarray, b: np.ndarray | None = None) -> np.ndarray:
            options: dict[str, Any] = {"direction": "ab"} if b is None else {"b": b}
            return self.backend.to_host(self.transfer(frame, style, settings, **options).a_prime)

        made_with = f"{self.network.card.fingerprint} {settings}"
        film = open_frames(frames, admission.within(self.max_input_pixels))
        ready = self._refuse_after_a_fork
        return Clip(self.backend, film, keys or {}, style, make_key, made_with, settings.seed, progress, ready)

    def _refuse_after_a_fork(self) -> None:
        """Raise `DeviceError` in another process than that in which this engine was made."""
        if os.getpid() != self._process:
            raise DeviceError(
                "this Engine was made before a fork, and its threads stayed behind; make one in each process"
            )


def name_of(model: str | os.PathLike[str]) -> str:
    """Return a model as text: its name, or its folder. Raises `ModelError` for anything else."""
    if not isinstance(model, (str, os.PathLike)):
        raise ModelError(f"model is {shown(model)}; it takes the name of a model, or its folder")
    return os.fspath(model)
