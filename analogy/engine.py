"""From pictures to pictures: read them, match them in the size the network works in, paint the results at full size."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from functools import wraps
from typing import Any, Literal, TypeAlias, Unpack, overload

import numpy as np

from .backends import Array, Device, Size, Tick, get_backend
from .errors import DeviceError, ModelError, SettingsError, enough_memory, shown
from .films.clip import Clip
from .films.frames import FramesLike, open_frames
from .method import admission, costs, guidance, photo
from .method.features import Features, as_floats, level_size
from .method.matching import Correspondences, match
from .method.painting import as_pixels, paint, paint_level
from .method.pins import PinsLike, place_pins, read_pins
from .networks.models import DEFAULT, locate
from .pictures.colour import keep_colours
from .pictures.images import Picture, resize
from .pictures.reading import PictureLike, read_picture, read_with_checksum
from .pictures.resampling import lanczos
from .progress import Progress, StageReporter, split
from .result import Pixels, Result
from .settings import Direction, PresetName, SettingOptions, Settings, SettingsLike

_REHEARSED = 240, 320
"""Rows and columns of the noise that `Engine.prepare` transfers: enough for CuPy to sum it in blocks of full size."""


class TransferOptions(SettingOptions, total=False):
    """The keywords of `Engine.transfer` but `direction`, which decides the type of the result."""

    mask_a: PictureLike | None
    mask_b: PictureLike | None
    pins: PinsLike | None
    levels: bool
    progress: Callable[[Progress], None] | None


Both: TypeAlias = Result[Pixels, Pixels]
OnlyAPrime: TypeAlias = Result[Pixels, None]
OnlyB: TypeAlias = Result[None, Pixels]


def _on_device(method: Callable[..., Result]) -> Callable[..., Result]:
    """A method of `Engine`, within `backend.active`."""

    @wraps(method)
    def active(self: Engine, *args: Any, **options: Any) -> Result:
        with self.backend.active():
            return method(self, *args, **options)

    return active


class Engine:
    """A model on a device, kept ready for any number of transfers. Calls from several threads are safe.

    model             a name that `analogy models list` shows, or the folder of a model (str or path)
    device            "auto", "cpu", "cuda", or "cuda:1" for CUDA's second device
    threads           CPU threads, 1 to 256; None for one per core
    max_input_pixels  most pixels of A and of B', refused before they are decoded; None for what the memory allows

    Raises `ModelError` if the model cannot be used, `DeviceError` if the device cannot, `SettingsError` for a bound that is
    no number of pixels.
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

    @overload
    def transfer(self, a: PictureLike, b_prime: PictureLike, settings: SettingsLike | None = None, *, b: PictureLike,
                 direction: Literal["both", "ab"] = "ab", **options: Unpack[TransferOptions]) -> OnlyAPrime: ...  # fmt: skip
    @overload
    def transfer(self, a: PictureLike, b_prime: PictureLike, settings: PresetName | None = None, *,
                 direction: Literal["both"] = "both", **options: Unpack[TransferOptions]) -> Both: ...  # fmt: skip
    @overload
    def transfer(self, a: PictureLike, b_prime: PictureLike, settings: SettingsLike | None = None, *,
                 direction: Literal["both"], **options: Unpack[TransferOptions]) -> Both: ...  # fmt: skip
    @overload
    def transfer(self, a: PictureLike, b_prime: PictureLike, settings: SettingsLike | None = None, *,
                 direction: Literal["ab"], **options: Unpack[TransferOptions]) -> OnlyAPrime: ...  # fmt: skip
    @overload
    def transfer(self, a: PictureLike, b_prime: PictureLike, settings: SettingsLike | None = None, *,
                 direction: Literal["ba"], **options: Unpack[TransferOptions]) -> OnlyB: ...  # fmt: skip
    @overload
    def transfer(self, a: PictureLike, b_prime: PictureLike, settings: SettingsLike | None = None, *,
                 direction: Direction = ..., **options: Unpack[TransferOptions]) -> Result: ...  # fmt: skip
    @enough_memory("match and to paint the pictures", "make them smaller, lower max_pixels, or close other programs")
    @_on_device
    def transfer(
        self,
        a: PictureLike,
        b_prime: PictureLike,
        settings: SettingsLike | None = None,
        *,
        b: PictureLike | None = None,
        mask_a: PictureLike | None = None,
        mask_b: PictureLike | None = None,
        pins: PinsLike | None = None,
        levels: bool = False,
        progress: Callable[[Progress], None] | None = None,
        **changes: Any,
    ) -> Result:
        """Find A' and B for A and B'.

        a, b_prime      a path, the bytes of a file, an open file, a PIL image, or an array (see
                        `pictures.reading.read_picture`)
        settings        all settings: `Settings`, the name of a preset, or a dict
        changes         single settings by name, which override those; `help(analogy.Settings)` explains each
        b               B, if it is known: the picture of which B' is the painted version, pixel by pixel. Then A' alone is
                        made, as with direction "ab" (Hertzmann et al. 2001, "Image Analogies")
        mask_a, mask_b  label pictures of the sizes of A and B' (see `method.guidance`); both or none
        pins            places of A that have to go to places of B', and back: an array (N, 4) of xa, ya, xb, yb in pixels, or
                        the path of a CSV file with this header. What is around them goes along as far as it agrees (see
                        `method.holding`)
        levels          also paint the field of each level, and tell `progress` of each picture
        progress        is called as each stage begins and while it runs; an exception that it raises ends the run

        Raises `ImageError` for a picture or mask that cannot be used, `SettingsError` for a setting or a pin, and
        `MemoryLimitError`, before any work, if the memory cannot suffice.
        """
        self._refuse_after_a_fork()
        settings = Settings.from_dict(asdict(Settings.of(settings)) | changes)
        if b is not None:
            if settings.direction == "ba":
                raise SettingsError("direction is 'ba', but B is given and there is none to make; use 'ab'")
            settings = replace(settings, direction="ab")
        pin_rows = read_pins(pins)
        report = StageReporter(progress)

        report.begin("reading")
        self.network.load_ahead(settings)
        admit = admission.for_transfer(self.backend, self.network.card.widths, settings, self.max_input_pixels)
        picture_a = read_picture(a, name="A", admit=admit)
        report.part("A")(1)
        picture_b_prime = read_picture(b_prime, name="B'", admit=admit)
        report.part("B'")(1)
        size_a, size_b = picture_a.size, picture_b_prime.size
        picture_b, checksum_b = None, None
        if b is not None:
            picture_b, checksum_b = read_with_checksum(b, name="B", admit=admission.like(size_b, "B'"))
        if picture_b and picture_b.size != size_b:
            raise admission.differs(picture_b.size, "B", size_b, "B'")
        labels = guidance.read_labels(mask_a, mask_b, size_a, size_b)
        working_a, working_b = admission.working_size(size_a, settings), admission.working_size(size_b, settings)
        placed = place_pins(pin_rows, size_a, size_b, working_a, labels)

        widths, working, full = self.network.card.widths, (working_a, working_b), (size_a, size_b)
        report.plan(costs.estimate(widths, self.network.search_widths, working, full, settings, levels, b is not None))
        level_pictures: dict[int, np.ndarray] = {}

        report.begin("features")
        self.backend.prepare()
        seen_a, seen_b_prime = self._resized(picture_a, working_a), self._resized(picture_b_prime, working_b)
        made_ab, made_ba = settings.direction != "ba", settings.direction != "ab"
        steep = self._steepness(seen_a, settings) if made_ab else None
        steep_ba = self._steepness(seen_b_prime, settings) if made_ba else None
        labels_full, labels_full_ba = (
            labels.at(self.backend, size_a, size_b, inverse=inverse) if labels and made else None
            for inverse, made in ((False, made_ab), (True, made_ba))
        )

        def show_level(level: int, found: Correspondences) -> None:
            tick = report.part("picture")
            if settings.direction == "ba":
                of_level = found.nnf_ba[level], picture_b_prime, picture_a, labels_full_ba, steep_ba
            else:
                of_level = found.nnf_ab[level], picture_a, picture_b_prime, labels_full, steep
            level_pictures[level] = self._paint_level(level, *of_level, settings, tick)
            report.show(level_pictures[level])

        found = match(
            self.network,
            seen_a,
            seen_b_prime,
            settings,
            report,
            labels,
            None if picture_b is None else self._resized(picture_b, working_b),
            placed,
            show_level if levels else None,
        )

        report.begin("pictures")
        fixed, fixed_ba = (placed.at(size_a, size_b, inverse=way) if placed else None for way in (False, True))
        a_prime: Array | None = None
        painted_b: Array | None = None
        if 1 in found.nnf_ab:
            tick = report.part("paint ab")
            a_prime = self._paint(
                found.nnf_ab[1], working_b, picture_a, picture_b_prime, labels_full, fixed, steep, tick
            )
        if 1 in found.nnf_ba:
            tick = report.part("paint ba")
            painted_b = self._paint(
                found.nnf_ba[1], working_a, picture_b_prime, picture_a, labels_full_ba, fixed_ba, steep_ba, tick
            )
        # After both are painted: what one takes memory for serves the next, which saves clearing it.
        if a_prime is not None:
            a_prime = self._finish(a_prime, picture_a, settings, report.part("finish ab"))
        if painted_b is not None:
            painted_b = self._finish(painted_b, picture_b_prime, settings, report.part("finish ba"))
        report.end()

        # CuPy arrays in, CuPy arrays out.
        move = self.backend.asarray if isinstance(a, self.backend.xp.ndarray) else self.backend.to_host

        def to_caller(array: Array | None) -> Array | None:
            return None if array is None else move(array)

        return Result(
            a=picture_a,
            b_prime=picture_b_prime,
            a_prime=to_caller(a_prime),
            b=to_caller(painted_b),
            nnf_ab=to_caller(found.nnf_ab.get(1)),
            nnf_ba=to_caller(found.nnf_ba.get(1)),
            error_ab=to_caller(found.error_ab.get(1)),
            error_ba=to_caller(found.error_ba.get(1)),
            settings=settings,
            model=self.network.card.name,
            model_sha256=self.network.card.fingerprint,
            device=self.backend.describe(),
            known_b=picture_b,
            known_b_sha256=checksum_b,
            pins=pin_rows,
            masks=labels.sources if labels else {},
            levels=level_pictures,
            seconds=report.seconds,
        )

    def prepare(self, settings: SettingsLike | None = None, **changes: Unpack[SettingOptions]) -> None:
        """Load and compile all that a transfer with these settings needs, so that the first is as quick as the others.

        settings, changes   as for `transfer`

        It runs one, of noise, and shrinks a picture: CuPy compiles an operation when it first meets it. What it compiled it
        keeps on disk, so that this takes long only the first time on a machine.
        """
        noise = np.random.default_rng(0).integers(0, 256, (2, *_REHEARSED, 3)).astype(np.uint8)
        with self.backend.active():
            self._resized(read_picture(noise[0]), (_REHEARSED[0] // 2, _REHEARSED[1] // 2))
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
        """A film painted after one frame of it, or after a few: iterate over what this returns to get the frames.

        frames    the path of a folder, of a video, or a pattern like "shot/*.png"; or a sequence of pictures
        keys      frame -> its painting, of the film's size. A frame is named by its index, from 0 (int); or (str) by its name,
                  that of its file, or the number in its name. Where a painting is transparent, the film shows through
        style     in place of keys: a painting, in whose looks each shot's first frame is made its key
        settings, changes   as for `transfer`. Only keys that are made here follow them: those of shots without one
        progress  as for `transfer`

        A shot without a key gets one from the nearest key. Needs the extra `video`.

        Raises `ImageError` for a film, a key or a style that cannot be used, `SettingsError` for a setting, for a key of a
        frame that does not exist, for both keys and style or none of them, and without the extra; `DeviceError`, also while
        frames are painted, in a process that was forked after this engine was made.
        """
        self._refuse_after_a_fork()
        settings = Settings.from_dict(asdict(Settings.of(settings)) | changes)

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

    def _pixels(self, picture: Picture) -> Array:
        """(H, W, 3) uint8, on the device if they lie on one that the backend knows."""
        return picture.array if isinstance(picture.array, self.backend.xp.ndarray) else picture.rgb

    def _resized(self, picture: Picture, size: Size) -> Array:
        if self.backend.xp is np:
            return resize(picture.rgb, *size)
        # Of 12 megapixels Pillow would take longer than the whole transfer.
        return lanczos(self.backend.xp, self.backend.asarray(self._pixels(picture)), *size)

    def _paint(
        self,
        field: Array,
        working_source: Size,
        content: Picture,
        source: Picture,
        labels: tuple[Array, Array] | None,
        pins: np.ndarray | None,
        steepness: Array | None,
        tick: Tick,
    ) -> Array:
        """The picture of `content` in the looks of `source`, which the network saw in the size `working_source`."""
        backend = self.backend
        sixteen_bit = content.rgb16 is not None or source.rgb16 is not None
        pixels = as_floats(backend, self._pixels(source) if source.rgb16 is None else source.rgb16)
        floats = paint(backend, field, working_source, content.size, pixels, labels, tick, pins, steepness)
        return as_pixels(backend, floats, sixteen_bit)

    def _finish(self, painted: Array, content: Picture, settings: Settings, tick: Tick) -> Array:
        """The painted picture with the details and the colours of its content, as far as the settings say so."""
        sixteen_bit = painted.dtype == np.uint16
        of_photo, of_colours = split(tick, *costs.finishing(settings))
        if settings.photo:
            own = content.pixels(True) if sixteen_bit else self._pixels(content)
            painted = photo.refine(self.backend, own, painted, of_photo)
        if settings.keep_colors:
            painted = keep_colours(self.backend.to_host(painted), content.pixels(sixteen_bit))
            of_colours(1)
        return painted

    def _steepness(self, seen: Array, settings: Settings) -> Array | None:
        """Return the steepness of a picture as the network sees it, or None where seams are to stay."""
        if settings.painting == "pixels":
            return None
        return self.backend.steepness(as_floats(self.backend, seen))

    def _paint_level(
        self,
        level: int,
        field: Array,
        content: Picture,
        source: Picture,
        labels: tuple[Array, Array] | None,
        steepness: Array | None,
        settings: Settings,
        tick: Tick,
    ) -> np.ndarray:
        """Return the picture (H, W, 3) uint8 that the field of a level paints, on the host."""
        size = level_size(admission.working_size(source.size, settings), level)
        pixels = as_floats(self.backend, self._pixels(source))
        picture = paint_level(self.backend, field, size, content.size, pixels, labels, tick, steepness)
        return self.backend.to_host(as_pixels(self.backend, picture))


def name_of(model: str | os.PathLike[str]) -> str:
    """A model as text: its name, or its folder. Raises `ModelError` for anything else."""
    if not isinstance(model, (str, os.PathLike)):
        raise ModelError(f"model is {shown(model)}; it takes the name of a model, or its folder")
    return os.fspath(model)
