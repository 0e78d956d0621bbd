"""Fast filters that give training crops the looks of drawings, prints and paintings.

The student must judge the similarity of photos, drawings and paintings as the teacher does. So
many crops are filtered (`strong_look`), and the student learns the teacher's features of the
filtered crop.
"""

from collections.abc import Callable

import numpy as np
from PIL import Image, ImageFilter, ImageOps

Rng = np.random.Generator


def colour_cast(picture: Image.Image, rng: Rng) -> Image.Image:
    """Apply a random gain and offset to each channel."""
    return _image(np.asarray(picture, np.float32) * rng.uniform(0.6, 1.4, 3) + rng.uniform(-40, 40, 3))


def strong_look(picture: Image.Image, rng: Rng) -> Image.Image:
    """Apply a random filter of `DRAWN` or `COLOURED` to a picture, or one filter of each.

    About every third picture also gets the texture of rough paper or canvas.
    """
    if rng.random() < 0.75:
        picture = _pick(DRAWN, rng)(picture, rng)
        if rng.random() < 0.4:
            picture = _pick(COLOURED, rng)(picture, rng)
    else:
        picture = _pick(COLOURED, rng)(picture, rng)
    return textured(picture, rng) if rng.random() < 0.33 else picture


def _pick(looks, rng: Rng) -> Callable[[Image.Image, Rng], Image.Image]:
    return looks[rng.integers(len(looks))]


def _image(pixels: np.ndarray) -> Image.Image:
    return Image.fromarray(pixels.clip(0, 255).round().astype(np.uint8))


def _grey(picture: Image.Image) -> np.ndarray:
    """Return the brightness (H, W) in 0..1, stretched to the full range."""
    return np.asarray(ImageOps.autocontrast(ImageOps.grayscale(picture), cutoff=1), np.float32) / 255


def _ink(brightness: np.ndarray, rng: Rng) -> Image.Image:
    """Return a picture that prints brightness (H, W) in 0..1 with a dark ink on light paper."""
    ink = rng.uniform(0, 70) + rng.uniform(0, 40, 3)
    paper = rng.uniform(200, 240) + rng.uniform(-30, 15, 3)
    return _image(ink + brightness.clip(0, 1)[..., None] * (paper - ink))


# -- drawn and painted -----------------------------------------------------------------------------


def posterised(picture: Image.Image, rng: Rng) -> Image.Image:
    """Reduce a picture to a few of its colours."""
    flat = picture.filter(ImageFilter.MedianFilter(5))
    return flat.quantize(int(rng.integers(3, 12)), dither=Image.Dither.NONE).convert("RGB")


def outlined(picture: Image.Image, rng: Rng) -> Image.Image:
    """Draw only the edges of a picture, as lines."""
    smooth = picture.filter(ImageFilter.GaussianBlur(rng.uniform(0.5, 1.5)))
    edges = ImageOps.autocontrast(ImageOps.grayscale(smooth).filter(ImageFilter.FIND_EDGES).crop((2, 2, *(
        side - 2 for side in picture.size))).resize(picture.size), cutoff=1)  # fmt: skip
    return _ink(1 - rng.uniform(0.7, 1.5) * np.asarray(edges, np.float32) / 255, rng)


def pencilled(picture: Image.Image, rng: Rng) -> Image.Image:
    """Divide the brightness by its local mean, which leaves soft lines and shading."""
    grey = _grey(picture)
    around = np.asarray(_image(grey * 255).filter(ImageFilter.GaussianBlur(rng.uniform(2, 6))), np.float32) / 255
    return _ink(grey / (around + 0.02) * rng.uniform(0.85, 1), rng)


def hatched(picture: Image.Image, rng: Rng) -> Image.Image:
    """Draw up to three layers of parallel lines, thicker in dark places, as in an engraving."""
    grey = _grey(picture)
    rows, columns = np.mgrid[: grey.shape[0], : grey.shape[1]].astype(np.float32)
    angle, spacing, paper = rng.uniform(0, np.pi), rng.uniform(3, 7), np.ones_like(grey)
    for layer in range(int(rng.integers(1, 4))):
        turned = angle + layer * rng.uniform(0.6, 1.4)
        bent = rows * np.cos(turned) + columns * np.sin(turned) + rng.uniform(0, 5) * grey
        wave = 0.5 + 0.5 * np.sin(2 * np.pi * bent / spacing)
        dark = 1 - grey - 0.25 * layer
        paper = np.minimum(paper, ((wave - dark) * 4).clip(0, 1))
    return _ink(paper, rng)


def dotted(picture: Image.Image, rng: Rng) -> Image.Image:
    """Draw shades of grey as grains of dark ink, as in a stipple or a lithograph."""
    grey = _grey(picture)
    grain = np.asarray(_image(rng.uniform(0, 255, grey.shape)).filter(ImageFilter.GaussianBlur(rng.uniform(0.3, 1))))
    # After the blur, middle values are more frequent than others. So each value is replaced by its
    # rank, and all grey values are equally frequent again.
    rank = grain.ravel().argsort().argsort().reshape(grey.shape) / grey.size
    return _ink(((grey - rank) * 8 + 0.5).clip(0, 1), rng)


def washed(picture: Image.Image, rng: Rng) -> Image.Image:
    """Return the picture as an ink wash with a few soft tones."""
    flat = picture.filter(ImageFilter.ModeFilter(7)).filter(ImageFilter.GaussianBlur(rng.uniform(0.5, 2)))
    steps = rng.uniform(2, 5)
    grey = _grey(flat) * steps
    return _ink((np.floor(grey) + 0.5 + 0.5 * np.tanh(6 * (grey % 1 - 0.5))) / steps, rng)


def brushed(picture: Image.Image, rng: Rng) -> Image.Image:
    """Replace each pixel by the mode or the median around it, which paints blobs of one colour."""
    if rng.random() < 0.5:
        return picture.filter(ImageFilter.ModeFilter(int(rng.integers(2, 6)) * 2 + 1))
    return picture.filter(ImageFilter.MedianFilter(int(rng.integers(2, 5)) * 2 + 1))


def painted(picture: Image.Image, rng: Rng) -> Image.Image:
    """Paint brush strokes: each pixel becomes the mean of the most uniform of four windows.

    The pixel is in a different corner of each window.

    This is the filter of Kuwahara et al. 1976.
    """
    radius = int(rng.integers(2, 6))
    pixels = np.asarray(picture, np.float32)
    windows = [_box(values, radius) for values in (pixels, pixels**2)]
    means, spreads = [], []
    for row in (-1, 1):
        for column in (-1, 1):
            mean, square = (np.roll(values, (row * radius, column * radius), (0, 1)) for values in windows)
            means.append(mean)
            spreads.append((square - mean**2).sum(-1))
    best = np.argmin(spreads, 0)[None, ..., None]
    return _image(np.take_along_axis(np.stack(means), best, 0)[0])


def _box(pixels: np.ndarray, radius: int) -> np.ndarray:
    """Return the mean of the (2 radius + 1)^2 pixels around each pixel.

    The pixels at the edge are repeated outside of the picture.
    """
    for axis in (0, 1):
        pad = [(0, 0)] * pixels.ndim
        pad[axis] = (radius + 1, radius)
        total = np.cumsum(np.pad(pixels, pad, "edge"), axis, dtype=np.float64)
        size = pixels.shape[axis]
        low, high = (np.take(total, range(start, start + size), axis) for start in (0, 2 * radius + 1))
        pixels = (high - low) / (2 * radius + 1)
    return pixels


# -- coloured --------------------------------------------------------------------------------------


def toned(picture: Image.Image, rng: Rng) -> Image.Image:
    """Map the brightness to a gradient through three random colours, from dark to light."""
    colours = rng.uniform(0, 255, (3, 3))
    colours = colours[colours.sum(1).argsort()]
    grey = _grey(picture)
    return _image(np.stack([np.interp(grey, (0, 0.5, 1), channel) for channel in colours.T], -1))


def graded(picture: Image.Image, rng: Rng) -> Image.Image:
    """Mix the colour channels, and change their brightness and contrast."""
    mixing = 0.6 * np.eye(3) + 0.4 * rng.dirichlet(np.ones(3), 3) + rng.normal(0, 0.15, (3, 3))
    pixels = (np.asarray(picture, np.float32) / 255) ** rng.uniform(0.5, 2)
    return colour_cast(_image(pixels @ mixing.T * 255), rng)


def grey(picture: Image.Image, rng: Rng) -> Image.Image:
    return ImageOps.grayscale(picture).convert("RGB")


def inverted_tones(picture: Image.Image, rng: Rng) -> Image.Image:
    """Apply a random brightness curve, which may also swap dark and light."""
    curve = np.interp(np.arange(256), np.linspace(0, 255, 5), np.sort(rng.uniform(0, 255, 5))[:: rng.choice([1, -1])])
    pixels = np.asarray(picture, np.float32)
    light = pixels.mean(-1, keepdims=True)
    return _image(pixels - light + curve[light.astype(int)])


def textured(picture: Image.Image, rng: Rng) -> Image.Image:
    """Multiply a picture by coarse noise or a weave, like paper, canvas or old varnish."""
    pixels = np.asarray(picture, np.float32)
    height, width = pixels.shape[:2]
    if rng.random() < 0.3:
        period = rng.uniform(2.5, 5)
        rows, columns = np.mgrid[:height, :width]
        grain = np.sin(2 * np.pi * rows / period) * np.sin(2 * np.pi * columns / period)
    else:
        coarse = rng.uniform(1, 6)
        noise = rng.normal(0, 1, (int(height / coarse) + 1, int(width / coarse) + 1)).astype(np.float32)
        grain = np.asarray(Image.fromarray(noise).resize((width, height), Image.Resampling.BICUBIC))
    return _image(pixels * (1 + rng.uniform(0.04, 0.15) * grain[..., None]))


DRAWN = (posterised, outlined, pencilled, hatched, dotted, washed, brushed, brushed, painted, painted)
COLOURED = (toned, graded, graded, grey, inverted_tones)
