"""The coarse-to-fine loop, the blend, and the reconstruction, on pictures with a known field."""

from itertools import pairwise

import numpy as np
import onnx
import onnx.utils
import onnxruntime
import pytest

from analogy.backends.cpu import CpuBackend
from analogy.method import nnf
from analogy.method.costs import estimate
from analogy.method.features import LEVELS, Features, level_size, nchw
from analogy.method.matching import Matches, match
from analogy.method.pair import Pair, Side, Uploads, pair_of
from analogy.method.pins import place_pins
from analogy.method.reconstruction import blend, reconstruct
from analogy.method.sheets import Sheet, SourceFeatures
from analogy.networks.models import DEFAULT, locate
from analogy.pictures.images import Picture
from analogy.progress import StageReporter
from analogy.settings import PATCH_SIZE, Settings

BACKEND = CpuBackend(2)


@pytest.fixture(scope="module")
def network() -> Features:
    return Features(locate(DEFAULT), BACKEND)


@pytest.fixture(scope="module")
def unprojected() -> Features:
    """Return a network without projections."""
    network = Features(locate(DEFAULT), BACKEND)
    network.projections = {}
    return network


def picture(h: int, w: int, seed: int = 0) -> np.ndarray:
    """Return coloured blocks with a little noise, so that every level has structure."""
    rng = np.random.default_rng(seed)
    blocks = np.kron(rng.integers(0, 256, (h // 8 + 1, w // 8 + 1, 3)), np.ones((8, 8, 1)))[:h, :w]
    return np.clip(blocks + rng.normal(0, 8, (h, w, 3)), 0, 255).astype(np.uint8)


def pair(a: np.ndarray, b_prime: np.ndarray, b: np.ndarray | None = None) -> Pair:
    """Return the pair of two pictures whose working sizes are their full sizes."""
    side_a, side_b = (Side(name, Picture(pixels), pixels.shape[:2]) for name, pixels in (("A", a), ("B'", b_prime)))
    return pair_of(side_a, [side_b], b=[] if b is None else [Picture(b)])


def features_of(network: Features, source: np.ndarray) -> SourceFeatures:
    """Return the features of one source, with its pixels as level 0."""
    levels = {0: source.astype(np.float32) / 255} | network.pyramid(source)
    return SourceFeatures(BACKEND, Sheet((source.shape[:2],)), [levels])


def matched(network: Features, both: Pair, settings: Settings, report: StageReporter | None = None) -> Matches:
    return match(network, both, both.network_inputs(Uploads(BACKEND)), settings, report or StageReporter(None))


def test_a_picture_matched_with_itself_gives_the_identity(network: Features) -> None:
    a = picture(64, 80)
    found = matched(network, pair(a, a), Settings(inversion="vote"))
    here = nnf.identity(BACKEND, (64, 80), (64, 80))
    assert (found["ab"][1].nnf == here).all(axis=-1).mean() > 0.99
    assert np.allclose(found["ab"][1].distance, -2, atol=1e-3)


def test_match_recovers_a_translation(network: Features) -> None:
    whole = picture(128, 144)
    a, b1 = whole[:112, :112], whole[16:, 32:]
    found = matched(network, pair(a, b1), Settings(inversion="vote"))
    shift = found["ab"][1].nnf - nnf.identity(BACKEND, (112, 112), (112, 112))
    inner = shift[32:96, 48:96]
    assert (np.abs(inner - [-16, -32]).max(axis=-1) <= 1).mean() > 0.9


def test_swapping_the_pictures_swaps_the_two_fields(network: Features) -> None:
    a, b1 = picture(48, 64, 1), picture(64, 48, 2)
    settings = Settings(inversion="vote")
    one = matched(network, pair(a, b1), settings)
    other = matched(network, pair(b1, a), settings)
    # Some matches differ, because the two halves of the joined features are exchanged, so that sums
    # are rounded differently.
    for key in ("ab", "ba"):
        found, same = one[key][1], other[key[::-1]][1]
        assert (found.nnf == same.nnf).all(axis=-1).mean() > 0.98
        assert np.abs(found.distance - same.distance).mean() < 1e-3


def test_with_b_known_a_is_matched_with_b_whatever_b_prime_looks_like(network: Features) -> None:
    """Make A by moving B, and B' by inverting B's colours: only B then shows the true offset."""
    whole = picture(128, 144)
    a, b = whole[:112, :112], whole[16:, 32:]
    b_prime = np.roll(255 - b, 1, axis=2) // 2
    settings = Settings(inversion="vote", direction="ab")
    shares = []
    for known in (b, None):
        found = matched(network, pair(a, b_prime, known), settings)
        shift = (found["ab"][1].nnf - nnf.identity(BACKEND, (112, 112), (112, 112)))[32:96, 48:96]
        shares.append((np.abs(shift - [-16, -32]).max(axis=-1) <= 1).mean())
        assert ("ba" in found) == (known is None)
    assert shares[0] > 0.9
    assert shares[1] < 0.5


def test_each_level_of_each_seed_has_random_numbers_of_its_own() -> None:
    seeds: list[int] = []

    class Recorder(CpuBackend):
        def random_search(self, *, seed, **others):
            seeds.append(seed)
            return super().random_search(seed=seed, **others)

    network, both = Features(locate(DEFAULT), Recorder(2)), pair(picture(32, 32), picture(32, 32, 1))
    for seed in range(3):
        matched(network, both, Settings(inversion="vote", seed=seed))
    assert len(set(seeds)) == 3 * 5


def test_the_surroundings_of_a_pin_are_as_many_pixels_wide_at_every_level() -> None:
    searched: list[np.ndarray] = []

    class Recorder(CpuBackend):
        def distance(self, a, b, nnf, patch, frames=None, tick=None):
            searched.append(nnf.copy())
            return super().distance(a, b, nnf, patch, frames, tick)

    size, backend, rng = (32, 320), Recorder(2), np.random.default_rng(0)
    sides = [Side(name, Picture(rng.integers(0, 256, (*size, 3), np.uint8)), size) for name in ("A", "B'")]
    pins = place_pins(np.array([(0.0, 0, 160, 16)]), size, {"B'": size}, size, None)
    settings = Settings(inversion="vote", direction="ab", search_iterations=1)
    both = pair_of(sides[0], sides[1:], pins=pins)
    match(
        Features(locate(DEFAULT), backend), both, both.network_inputs(Uploads(backend)), settings, StageReporter(None)
    )
    # Each search calls `distance` twice: for the field with which it begins, and again after
    # positions around the pin got the pin's offset. Level 1 has one search, and each other level
    # has two.
    assert len(searched) == 4 * 4 + 2
    widths = {}
    for level in LEVELS:
        start, held = searched[4 * (5 - level) : 4 * (5 - level) + 2]
        widths[level] = np.flatnonzero((held != start)[0].any(axis=-1))[-1]
    assert widths == {5: 8, 4: 16, 3: 32, 2: 64, 1: 128}


@pytest.mark.parametrize(("weight", "alpha"), [(1, 0.5), (3, 0.7)])
def test_blend_keeps_strong_content_features_by_alpha_and_reconstructs_weak_ones(
    unprojected: Features, weight, alpha: float
) -> None:
    own = np.zeros((2, 2, 3), np.float32)
    own[0, 0] = 10  # only this position has strong features
    found = np.full((2, 2, 3), 5, np.float32)
    mixed = blend(unprojected, 2, own, own, found, Settings(weight=weight))
    assert np.allclose(mixed[0, 0], 10 * alpha + 5 * (1 - alpha))
    assert np.allclose(mixed[1, 1], 5, atol=1e-4)
    assert np.array_equal(blend(unprojected, 1, own, own, found, Settings(weight=1)), found)


def test_blend_of_flat_content_is_the_reconstruction(unprojected: Features) -> None:
    # All squared norms are equal, so M is 0 everywhere, and the weight of the content is near 0.
    for value in (0, 7):
        flat = np.full((3, 3, 2), value, np.float32)
        assert np.allclose(blend(unprojected, 4, flat, flat, flat + 1, Settings()), flat + 1, atol=1e-5)


def test_blending_projected_features_gives_the_projected_blend(network: Features, unprojected: Features) -> None:
    content, found = (network.pyramid(picture(32, 40, seed))[4] for seed in (0, 1))
    assert 4 in network.projections
    whole = network.for_search(4, blend(unprojected, 4, content, content, found, Settings()))
    blended = blend(network, 4, content, network.for_search(4, content), found, Settings())
    assert np.abs(blended - whole).max() < 1e-5 * np.abs(whole).max()


@pytest.mark.parametrize("inversion", ["vote", "step", "deconvolution"])
@pytest.mark.parametrize("level", [5, 4, 3, 2])
def test_reconstruction_from_the_identity_field_gives_the_source_s_features(
    network: Features, level: int, inversion: str
) -> None:
    a = picture(50, 67)
    pyramid = network.pyramid(a)
    here = nnf.identity(BACKEND, level_size((50, 67), level), level_size((50, 67), level))
    finer = nnf.identity(BACKEND, *[level_size((50, 67), level - 1)] * 2)
    source = features_of(network, a)
    found = reconstruct(network, level, here, finer, source, (50, 67), Settings(inversion=inversion))
    assert found.shape == pyramid[level - 1].shape
    assert np.abs(found - pyramid[level - 1]).max() < 1e-3 * pyramid[level - 1].max()


@pytest.fixture(scope="module")
def next_level(network: Features):
    """Return a function that computes relu(L)_1 (1, C', h', w') from L and relu(L-1)_1 (h, w, C).

    The function runs the layers between these two feature maps, extracted from features.onnx.
    """
    whole = onnx.load(network.folder / "features.onnx")
    sessions = {}
    for level in (5, 4, 3, 2):
        part = onnx.utils.Extractor(whole).extract_model([f"relu{level - 1}_1"], [f"relu{level}_1"])
        sessions[level] = onnxruntime.InferenceSession(part.SerializeToString(), providers=["CPUExecutionProvider"])

    def run(level: int, features: np.ndarray) -> np.ndarray:
        return sessions[level].run(None, {f"relu{level - 1}_1": nchw(np, features)})[0]

    return run


@pytest.fixture(scope="module")
def searched(network: Features):
    """Return a source, the size of a content, and the content's fields into it for three seeds."""
    a, source = picture(64, 80, 1), picture(72, 64, 2)
    settings = [Settings(inversion="vote", seed=seed) for seed in range(3)]
    return source, (64, 80), [matched(network, pair(a, source), each)["ab"] for each in settings]


@pytest.mark.parametrize("level", [5, 4, 3, 2])
def test_deconvolution_fits_the_target_better_than_the_vote(
    network: Features, searched, next_level, level: int
) -> None:
    source, size, fields = searched
    pyramid, own = network.pyramid(source), features_of(network, source)
    ways = {
        "vote": Settings(inversion="vote"),
        "few": Settings(inversion="deconvolution"),
        "many": Settings.preset("paper"),
    }
    assert ways["few"].inversion_steps < ways["many"].inversion_steps
    misfits = {name: [] for name in ways}
    for field in fields:
        target = nchw(np, BACKEND.vote(field[level].nnf, pyramid[level], PATCH_SIZE[level]))
        for name, settings in ways.items():
            finer = nnf.upsample(BACKEND, field[level].nnf, level_size(size, level - 1), pyramid[level - 1].shape[:2])
            features = reconstruct(network, level, field[level].nnf, finer, own, size, settings)
            difference = next_level(level, features) - target
            misfits[name].append(float((difference**2).sum() / (target**2).sum()))
    # For each field, ||relu(L)(R) - target||^2 is smaller with few steps of L-BFGS than with the
    # vote, and smaller still with many steps.
    for vote, few, many in zip(*misfits.values(), strict=True):
        assert many < few < vote, misfits
    # The vote is worse for every seed than L-BFGS with many steps is for any seed.
    assert max(misfits["many"]) < min(misfits["vote"]), misfits


def test_progress_names_each_level_with_a_rising_share_and_times_it(network: Features) -> None:
    reports = []
    stages = StageReporter(reports.append)
    settings = Settings(inversion="vote")
    both = pair(picture(32, 32), picture(32, 32, 1))
    stages.plan(estimate(network.card.widths, network.search_widths, both, settings, levels=False))
    stages.begin("features")
    matched(network, both, settings, stages)
    stages.end()
    names = [p.stage for p in reports]
    stages_of_matching = ["features", *(f"level {n}" for n in (5, 4, 3, 2, 1))]
    assert list(dict.fromkeys(names)) == [*stages_of_matching, "done"]
    firsts = [reports[names.index(name)] for name in dict.fromkeys(names)]
    assert all(x.done < y.done for x, y in pairwise(firsts))
    assert set(stages.seconds) == set(stages_of_matching)


@pytest.mark.parametrize("inversion", ["vote", "step", "deconvolution"])
@pytest.mark.parametrize("direction", ["both", "ab", "known B"])
def test_exactly_the_planned_parts_report_their_progress(network: Features, inversion: str, direction: str) -> None:
    """Check that the planned parts report rising shares, and no other part reports any."""
    shares_of: dict[tuple[str, str], list[float]] = {}

    class Recorder(StageReporter):
        def begin(self, stage):
            self.stage = stage

        def parts(self, *names):
            return [shares_of.setdefault((self.stage, name), []).append for name in names]

    b = picture(48, 32, 2) if direction == "known B" else None
    settings = Settings(inversion=inversion, direction="both" if direction == "both" else "ab", search_iterations=2)
    both = pair(picture(32, 48), picture(48, 32, 1), b)
    planned = estimate(network.card.widths, network.search_widths, both, settings, levels=False)
    recorder = Recorder(None)
    recorder.stage = "features"
    matched(network, both, settings, recorder)
    wanted = {(stage, part) for stage, parts in planned.items() for part, cost in parts.items() if cost}
    assert {key for key, shares in shares_of.items() if shares} == {
        key for key in wanted if key[0] not in ("reading", "pictures")
    }
    for (_, part), shares in shares_of.items():
        assert shares == sorted(shares)
        if "search" in part:
            assert len(shares) > 2 * 5  # ten passes, each with several shares
        if "inversion" in part and inversion == "step" and shares:
            assert shares == [1]  # the network runs once
        if shares and "inversion" not in part:
            assert shares[-1] == pytest.approx(1)
