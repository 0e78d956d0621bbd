"""Tests of carrying a key along films whose motion is known, and of joining two keys."""

import cv2
import numpy as np
import pytest
from made_films import camera, film, picture

from analogy.backends.cpu import CpuBackend
from analogy.films.carrying import Carrier
from analogy.films.joining import join
from analogy.films.strokes import paint

SIZE = (96, 128)


def carried(frames: list[np.ndarray], cpu: CpuBackend) -> Carrier:
    carrier = Carrier(cpu, frames[0])
    for frame in frames[1:]:
        carrier.advance(frame)
    return carrier


@pytest.mark.parametrize("pan, zoom", [((2.3, -0.7), 1.0), ((0, 0), 1.012), ((0, 0), 1 / 1.012)], ids=str)
def test_over_thirty_frames_of_a_pan_or_a_zoom_texture_stays_within_a_pixel(pan, zoom, cpu: CpuBackend) -> None:
    whole = picture(320, 420)
    carrier = carried(film(whole, SIZE, 31, pan, zoom), cpu)
    first, last = (camera(whole, SIZE, index, pan, zoom) for index in (0, 30))
    y, x = np.indices(SIZE)
    true_x, true_y = (last[i, i] * axis + last[i, 2] - first[i, 2] for i, axis in ((0, x), (1, y)))
    visible = (true_x >= 0) & (true_x <= SIZE[1] - 1) & (true_y >= 0) & (true_y <= SIZE[0] - 1)
    error = np.hypot(carrier.flow[..., 0] + x - true_x, carrier.flow[..., 1] + y - true_y)[visible]
    assert visible.mean() > 0.25
    assert (error < 1).mean() > 0.97
    assert np.median(error) < 0.2


@pytest.mark.parametrize("size", [(16, 16), (24, 40), (16, 200), (200, 17), (33, 40)], ids=str)
def test_a_film_may_be_as_small_as_a_picture(size: tuple[int, int], cpu: CpuBackend) -> None:
    frames = film(picture(240, 240), size, 4, (1.0, 0.5), 1.0)
    found = carried(frames, cpu).paint(picture(*size, 4).astype(np.float32))
    assert found.shape == (*size, 3)
    assert np.isfinite(found).all()


def test_a_thing_that_the_key_does_not_show_is_painted_like_a_similar_one(cpu: CpuBackend) -> None:
    """Pan along a red and blue pattern to parts that the key does not show."""
    squares = np.indices((96, 400)) // 24 % 2
    blue = squares[0] != squares[1]
    noise = picture(96, 400) // 4
    whole = np.where(blue[..., None], [0, 0, 150], [150, 0, 0]).astype(np.uint8) + noise
    frames = [np.ascontiguousarray(whole[:, 4 * i : 4 * i + 128]) for i in range(13)]
    carrier = carried(frames, cpu)
    painted = np.where(blue[:, :128, None], [0, 255, 0], [255, 255, 0]).astype(np.float32)
    found = carrier.paint(painted)
    open_columns = slice(128 - 44, 128)  # the key shows nothing of the last 48 columns
    is_green = found[:, open_columns, 0] < 128
    assert (is_green == blue[:, 48:176][:, open_columns]).mean() > 0.9
    assert carrier.sure[:, open_columns].mean() < 0.3
    assert carrier.doubt()[:, open_columns].mean() > 0.2 > 4 * carrier.doubt()[:, 8:64].mean()


def test_the_painting_of_an_uncovered_place_stays_while_nothing_new_appears(cpu: CpuBackend) -> None:
    """Check that a noisy copy of the last frame hardly changes the painting of uncovered places."""
    whole = picture(96, 300, 3)
    frames = [np.ascontiguousarray(whole[:, 6 * i : 6 * i + 128]) for i in range(6)]
    painted = picture(96, 128, 4).astype(np.float32)
    carrier = carried(frames, cpu)
    before = carrier.paint(painted)
    rng = np.random.default_rng(0)
    carrier.advance(np.clip(frames[-1] + rng.normal(0, 2, frames[-1].shape), 0, 255).astype(np.uint8))
    assert (~carrier.sure).mean() > 0.15
    assert np.abs(carrier.paint(painted) - before)[~carrier.sure].mean() < 6


def detail(picture: np.ndarray) -> float:
    return float(cv2.Laplacian(cv2.cvtColor(np.float32(picture), cv2.COLOR_RGB2GRAY), cv2.CV_32F).std())


@pytest.mark.parametrize(
    "pan, zoom", [((0.5, 0.5), 1.0), ((1.3, -0.4), 1.0), ((0, 0), 1.006), ((0, 0), 1 / 1.006)], ids=str
)
def test_the_strokes_of_a_key_stay_over_a_pan_by_fractions_of_a_pixel_and_a_slow_zoom(pan, zoom, cpu) -> None:
    frames = film(picture(320, 420), SIZE, 15, pan, zoom)
    # The strokes are one to two pixels wide, since a film cannot show finer strokes.
    strokes = cv2.GaussianBlur(np.random.default_rng(2).normal(128, 90, (*SIZE, 3)).astype(np.float32), (0, 0), 0.8)
    carrier, shares = Carrier(cpu, frames[0]), []
    for frame in frames[1:]:
        carrier.advance(frame)
        shares.append(detail(carrier.paint(strokes)) / detail(strokes))
    assert min(shares) >= 0.9
    assert max(shares) <= 1.1


def test_where_the_motion_is_uncertain_grain_is_softened_and_strokes_stay(cpu: CpuBackend) -> None:
    frames = [picture(*SIZE)] * 3
    rng = np.random.default_rng(2)
    noise = cv2.GaussianBlur(rng.normal(0, 1, (*SIZE, 3)).astype(np.float32), (0, 0), 0.8)
    grain, strokes = np.s_[16:-16, 8:48], np.s_[16:-16, -56:-16]
    amplitude = np.where(np.arange(SIZE[1]) < SIZE[1] // 2, 8, 90).astype(np.float32)
    key = 128 + noise * amplitude[:, None]

    def kept(frames: list[np.ndarray]) -> tuple[float, float]:
        painted = carried(frames, cpu).paint(key)
        return detail(painted[grain]) / detail(key[grain]), detail(painted[strokes]) / detail(key[strokes])

    assert min(kept(frames)) > 0.95
    noisy = [np.clip(each + rng.normal(0, 25, each.shape), 0, 255).astype(np.uint8) for each in frames]
    of_grain, of_strokes = kept(noisy)
    assert of_grain < 0.8
    assert of_strokes > 0.9


def test_a_joint_changes_nothing_far_from_it(cpu: CpuBackend) -> None:
    key = 128 + cv2.GaussianBlur(np.random.default_rng(2).normal(0, 60, (*SIZE, 3)).astype(np.float32), (0, 0), 0.6)
    flow, sure, error = np.full((*SIZE, 2), 0.5, np.float32), np.ones(SIZE, bool), np.zeros(SIZE, np.float32)
    whole = paint(cpu, key, flow, sure, error)
    flow[8:20, 8:20], sure[8:20, 8:20] = 9.5, False
    joined = paint(cpu, key, flow, sure, error)
    assert np.abs(joined - whole)[:30, :30].max() > 20
    assert np.abs(joined - whole)[:, 96:].max() < 0.5


def test_a_still_film_shows_the_key_itself(cpu: CpuBackend) -> None:
    key = picture(*SIZE, 1).astype(np.float32)
    carrier = carried([picture(*SIZE)] * 4, cpu)
    assert np.abs(carrier.paint(key) - key).max() < 0.5


def test_painting_the_key_frame_itself_gives_the_key(cpu: CpuBackend) -> None:
    key = picture(*SIZE, 1).astype(np.float32)
    carrier = Carrier(cpu, picture(*SIZE))
    assert np.allclose(carrier.paint(key), key, atol=1e-3)
    assert np.allclose(carrier.doubt(), 0)


def test_joined_keys_fade_without_a_jump_a_seam_or_a_bias(rng: np.random.Generator) -> None:
    first, second = np.full((64, 80, 3), 60, np.float32), np.full((64, 80, 3), 180, np.float32)
    flat = np.zeros((64, 80), np.float32)
    levels = [join(first, second, flat, flat, time).mean() for time in (0.05, 0.2, 0.35, 0.5, 0.65, 0.8, 0.95)]
    assert levels == sorted(levels)
    assert levels[0] < 62 and levels[-1] > 178 and levels[3] == pytest.approx(120, abs=0.5)
    doubtful = flat.copy()
    doubtful[:, 40:] = 0.5
    mixed = join(first, second, doubtful, flat, 0.5)
    assert mixed[:, :20].mean() < 140 < 165 < mixed[:, 60:].mean()  # the less doubtful key has more weight
    assert np.abs(np.diff(mixed[..., 0], axis=1)).max() < 15  # there is no edge where the doubt begins
    texture = rng.normal(0, 20, first.shape).astype(np.float32)
    strokes = np.random.default_rng(5).normal(0, 20, first.shape).astype(np.float32)
    for time in (0.3, 0.5, 0.7):  # a mean of both paintings would have 0.71 of the detail
        assert detail(join(first + texture, first + strokes, flat, flat, time)) > 0.85 * detail(first + texture)
    kept = join(first + texture, first + texture, doubtful, flat, 0.3)
    assert np.allclose(kept, first + texture, atol=1e-2)
    assert cv2.Laplacian(mixed, cv2.CV_32F).std() < 5
