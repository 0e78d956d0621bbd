"""The engine: it reads pictures, matches them at the working size, and paints the results."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from functools import partial, wraps
from typing import Any, TypeVar, Unpack, cast

import numpy as np

from .backends import Array, Backend, Device, get_backend
from .errors import DeviceError, ModelError, enough_memory, shown
from .films.clip import Clip
from .films.frames import FramesLike, open_frames
from .method import admission, costs, memory
from .method.features import Features
from .method.matching import Matches, match
from .method.painter import Painter
from .method.pair import Pair, Uploads, network_input, read_pair
from .method.pins import PinsLike
from .networks.models import DEFAULT, locate
from .pictures.reading import PictureLike
from .progress import Progress, StageReporter
from .request import Examples, Request, listed
from .result import Looks, Result, Way
from .settings import Direction, SettingOptions, Settings, SettingsLike

_WARM_UP_SIZE = 240, 320
"""Rows and columns of the two pictures of noise that `Engine.prepare` transfers.

At this size CuPy compiles the same kernels as for photographs. For a sum over a smaller array, it
would compile a kernel with smaller thread blocks.
"""

FROM_SETTINGS = cast(Direction, None)
"""Default of the argument `direction`, with which the settings decide the direction.

The value is None, but type checkers accept it as any direction.
"""


class TransferOptions(SettingOptions, total=False):
    """The keywords of `Engine.transfer`, except `b` and `direction`.

    `b` and `direction` decide the type of the result, so a function that passes these keywords on
    declares `b` and `direction` itself.
    """

    mask_a: PictureLike | None
    mask_b: PictureLike | Examples | None
    pins: PinsLike | None
    levels: bool
    progress: Callable[[Progress], None] | None


Method = TypeVar("Method", bound=Callable[..., Any])


def _on_device(method: Method) -> Method:
    """Wrap a method of `Engine` so that it runs within `backend.active()`.

    After a fork the method raises `DeviceError`, before it uses the device.
    """

    @wraps(method)
    def active(self: Engine, *args: Any, **options: Any) -> Any:
        self._refuse_after_a_fork()
        with self.backend.active():
            return method(self, *args, **options)

    return cast(Method, active)


class Engine:
    """Model that stays loaded on one device for any number of transfers.

    Several threads may call its methods at the same time.

    Parameters
    ----------
    model : str or path
        A name that `analogy models list` shows, or the folder of a model.
    device : str
        "auto", "cpu", "cuda", or "cuda:1" for CUDA's second device. "auto" is "cuda" if that works,
        else "cpu".
    threads : int, optional
        Number of CPU threads, 1 to 256. The default is one for each core.
    max_input_pixels : int, optional
        Largest number of pixels that A may have, and that B' may have. The engine refuses a larger
        picture before it decodes the picture. By default only the free memory limits the pictures.
    backend : Backend, optional
        The backend that computes, given in place of `device` and `threads`. Two engines may share a
        backend.

    Raises
    ------
    ModelError
        If the model cannot be used.
    DeviceError
        If the device cannot be used, or `threads` is outside its range.
    SettingsError
        If `max_input_pixels` is not a whole number of at least 256.
    """

    def __init__(
        self,
        model: str | os.PathLike[str] = DEFAULT,
        device: Device = "auto",
        threads: int | None = None,
        max_input_pixels: int | None = None,
        *,
        backend: Backend | None = None,
    ):
        self.max_input_pixels = admission.check_limit(max_input_pixels)
        folder = locate(name_of(model))
        self.backend = get_backend(device, threads) if backend is None else backend
        self.network = Features(folder, self.backend)
        self._process = os.getpid()

    def transfer(
        self,
        a: PictureLike,
        b_prime: Looks,
        settings: SettingsLike | None = None,
        *,
        b: PictureLike | Examples | None = None,
        direction: Way = FROM_SETTINGS,  # type: ignore[assignment]  # for mypy, a default must fit every type of `Way`
        mask_a: PictureLike | None = None,
        mask_b: PictureLike | Examples | None = None,
        pins: PinsLike | None = None,
        levels: bool = False,
        progress: Callable[[Progress], None] | None = None,
        **changes: Unpack[SettingOptions],
    ) -> Result[Way, Looks]:
        """Make A' and B from A and B'.

        Parameters
        ----------
        a : picture
            A, the picture to change: a path, the bytes of a file, an open file, a PIL image, or an
            array (H, W), (H, W, 3) or (H, W, 4) of uint8, uint16, bool, or floats from 0 to 1.
        b_prime : picture or list of pictures
            B', whose looks A' gets. With a list of examples, each part of A gets the looks of the
            example that fits it best, and the attributes of the result that belong to B' and B are
            lists.
        settings : Settings, str or dict, optional
            The settings, the name of a preset, or a dict of settings.
        b : picture or list of pictures, optional
            B, if you have it: the picture that B' was painted over, pixel by pixel. If B is given,
            only A' is made, as with direction "ab" (Hertzmann et al. 2001, "Image Analogies"). If
            B' is a list, give a list with one B for each example.
        direction : {"both", "ab", "ba"}, optional
            What to make: A' and B, only A', or only B. The default is the direction of `settings`.
            If the call gives a literal, type checkers know which attributes of the result are None.
        mask_a, mask_b : picture, optional
            Label pictures of A and B', each of the size of its picture, with one plain colour for
            each region. A position matches only positions in regions of the same colour. Give both
            masks or neither. If B' is a list, give a list for `mask_b`.
        pins : array, list or path, optional
            Pairs of points that have to match: (N, 4) numbers xa, ya, xb, yb, in pixels of A and of
            B', or the path of a CSV file with columns of these names. Positions near a pin prefer
            the pin's offset. With several examples a fifth number (column `example`) is the number
            of the example, from 1.
        levels : bool
            True to paint also a picture from the field of each level. `progress` receives these
            pictures, and `Result.levels` contains them.
        progress : callable, optional
            Called with a `Progress` as each stage begins and while it runs. An exception that it
            raises ends the transfer.
        **changes
            Single settings by name, which override `settings`. `help(analogy.Settings)` explains
            each.

        Returns
        -------
        Result
            The pictures, their fields and the settings.

        Raises
        ------
        ImageError
            If a picture or a mask cannot be used.
        SettingsError
            If a setting or a pin is invalid.
        MemoryLimitError
            If there is not enough memory. For most pictures that are too large, this error is
            raised before the work begins, because an estimate of the memory exceeds the free
            memory.
        DeviceError
            If this engine was made in another process, before a fork.
        """
        single: dict[str, Any] = {} if direction is FROM_SETTINGS else {"direction": direction}
        settings = Settings.of(settings).changed(single | changes)
        request = Request(a, b_prime, settings, b=b, mask_a=mask_a, mask_b=mask_b, pins=pins, levels=levels)
        return self._transfer(request, self.max_input_pixels, StageReporter(progress))

    @enough_memory("match and to paint the pictures", "make them smaller, lower max_pixels, or close other programs")
    @_on_device
    def _transfer(self, request: Request, max_pixels: int | None, report: StageReporter) -> Result[Any, Any]:
        """Do the transfer of a request whose pictures have at most `max_pixels` pixels."""
        settings = request.settings
        report.begin("reading")
        self.network.load_ahead(settings)
        besides = memory.besides(request.mask_a is not None, request.levels)
        admitted = admission.Admission(self.backend, self.network.card.widths, settings, max_pixels, besides)
        known, masks = listed(request.b) or None, listed(request.mask_b) or None
        pair = read_pair(
            request.a, request.examples, known, request.mask_a, masks, request.pin_rows(), settings, admitted
        )
        report.plan(
            costs.estimate(self.network.card.widths, self.network.search_widths, pair, settings, request.levels)
        )

        report.begin("features")
        self.backend.prepare()
        uploads = Uploads(self.backend)
        inputs = pair.network_inputs(uploads)
        painter = Painter(uploads, pair.ways(settings), inputs, settings)
        found = match(
            self.network, pair, inputs, settings, report, partial(painter.show, report) if request.levels else None
        )
        del inputs

        report.begin("pictures")
        made = {way.key: painter.paint(way, found[way.key][1].nnf, report) for way in painter.ways}
        # Both directions are painted before either is finished. The second then reuses the memory
        # in which the first was painted, and the system need not clear new memory for it.
        made |= {way.key: painter.finish(way, made.pop(way.key), report) for way in painter.ways}
        report.end()
        on_device = isinstance(request.a, self.backend.xp.ndarray)
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
        """Return the result of a transfer, with arrays on the device or on the host."""
        move = self.backend.asarray if on_device else self.backend.to_host
        # The attributes of `Result` that belong to A, and those that have a value for each B'.
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
            """Return `values` if B' is a list, else the single value; None if `values` is empty."""
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

    @_on_device
    def prepare(self, settings: SettingsLike | None = None, **changes: Unpack[SettingOptions]) -> None:
        """Load and compile what transfers with these settings need, so that the first one is fast.

        The method does a transfer of two pictures of noise, because CuPy compiles an operation when
        it is first used. CuPy stores the compiled code on disk, so only the first call on a machine
        takes long.

        Parameters
        ----------
        settings : Settings, str or dict, optional
            The settings, as for `transfer`.
        **changes
            Single settings by name, as for `transfer`.
        """
        noise = np.random.default_rng(0).integers(0, 256, (2, *_WARM_UP_SIZE, 3)).astype(np.uint8)
        network_input(self.backend, noise[0], (_WARM_UP_SIZE[0] // 2, _WARM_UP_SIZE[1] // 2))
        request = Request(noise[0], noise[1].swapaxes(0, 1), Settings.of(settings).changed(changes))
        self._transfer(request, None, StageReporter(None))  # `max_input_pixels` limits only pictures of the caller

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
        """Return a `Clip`, which paints a film in the style of painted frames or of a painting.

        Iterate over the `Clip` to paint the frames one by one. Clips need the extra `video`.

        Parameters
        ----------
        frames : str, path or sequence of pictures
            The path of a folder or of a video, a pattern such as "shot/*.png", or pictures.
        settings : Settings, str or dict, optional
            The settings, as for `transfer`. They apply only to the keys that the engine makes
            itself.
        keys : dict, optional
            Frame -> its painting, of the film's size. An int is the index of the frame, from 0. A
            str is the frame's name: the name of its file, or the number in that name. Where a
            painting is transparent, the film shows through. For a shot without a key, the engine
            makes a key in the style of the nearest key.
        style : picture, optional
            A painting, which is given in place of `keys`. The engine makes a key for each shot: it
            transfers the looks of this painting to the first frame of the shot.
        progress : callable, optional
            Called with a `Progress` for each frame. An exception that it raises ends the work.
        **changes
            Single settings by name, as for `transfer`.

        Returns
        -------
        Clip
            The film; its frames are painted while you iterate over it.

        Raises
        ------
        ImageError
            If the film, a key or the style cannot be used.
        SettingsError
            If a setting is invalid, if a key belongs to no frame, if both or neither of `keys` and
            `style` are given, or if the extra `video` is not installed.
        DeviceError
            If this engine was made in another process, before a fork. Iterating over the clip after
            a fork raises the same error.
        """
        self._refuse_after_a_fork()
        settings = Settings.of(settings).changed(changes)

        def make_key(frame: np.ndarray, style: np.ndarray, b: np.ndarray | None = None) -> np.ndarray:
            return self.backend.to_host(self.transfer(frame, style, settings, b=b, direction="ab").a_prime)

        made_with = f"{self.network.card.fingerprint} {settings}"
        film = open_frames(frames, admission.within(self.max_input_pixels))
        ready = self._refuse_after_a_fork
        return Clip(self.backend, film, keys or {}, style, make_key, made_with, settings.seed, progress, ready)

    def _refuse_after_a_fork(self) -> None:
        """Raise `DeviceError` if this process is not the one that made the engine."""
        if os.getpid() != self._process:
            raise DeviceError(
                "this Engine was made before a fork, which did not copy its threads; make an Engine in each process"
            )


def name_of(model: str | os.PathLike[str]) -> str:
    """Return the name or the folder of a model as text. Raises `ModelError` for another type."""
    if not isinstance(model, (str, os.PathLike)):
        raise ModelError(f"model is {shown(model)}; give the name of a model, or the path of its folder")
    return os.fspath(model)
