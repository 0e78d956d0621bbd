"""Pins: their matches are kept, positions around them get their offset, wrong pins are refused."""

import logging
from pathlib import Path
from typing import Any

import numpy as np
import oracle
import pytest

from analogy.backends.cpu import CpuBackend
from analogy.engine import Engine
from analogy.errors import SettingsError
from analogy.method import nnf
from analogy.method.admission import working_size
from analogy.method.features import LEVELS, Features
from analogy.method.guidance import read_labels
from analogy.method.holding import _proposals
from analogy.method.matching import match
from analogy.method.painting import as_pixels, paint, refine_on_pixels
from analogy.method.pair import Side, Uploads, pair_of
from analogy.method.pins import MOST_PINS, place_pins, read_pins
from analogy.method.sheets import Sheet
from analogy.networks.models import DEFAULT, locate
from analogy.pictures.images import Picture
from analogy.progress import StageReporter
from analogy.result import Result
from analogy.settings import Settings

SIZE_A, SIZE_B = (128, 256), (144, 288)
LEFT, RIGHT, MOVED = (40, 24), (40, 216), (56, 120)
"""Top left corners (row, column) of squares in B'.

The squares at `LEFT` and `RIGHT` are copies of the square at `LEFT` of A. The square at `MOVED` is
a copy of the square at (40, 136) of A.
"""


def blocks(size: tuple[int, int], seed: int) -> np.ndarray:
    coarse = np.random.default_rng(seed).integers(0, 256, (size[0] // 8 + 1, size[1] // 8 + 1, 3))
    return np.kron(coarse, np.ones((8, 8, 1)))[: size[0], : size[1]]


@pytest.fixture(scope="module")
def pictures() -> tuple[np.ndarray, np.ndarray]:
    """Return A with a square, and B' with two copies of it; A and B' also share another square."""
    made = []
    twin, other = blocks((48, 48), 1), blocks((48, 48), 2)
    for size, twins, once in ((SIZE_A, [LEFT], (40, 136)), (SIZE_B, [LEFT, RIGHT], MOVED)):
        picture = np.full((*size, 3), 110.0)
        for y, x in twins:
            picture[y : y + 48, x : x + 48] = twin
        picture[once[0] : once[0] + 48, once[1] : once[1] + 48] = other
        noise = np.random.default_rng(len(twins)).normal(0, 6, picture.shape)
        made.append(np.clip(picture + noise, 0, 255).astype(np.uint8))
    return made[0], made[1]


@pytest.fixture(scope="module")
def engine() -> Engine:
    return Engine(device="cpu", threads=2)


def pin_to(corner: tuple[int, int], at: tuple[int, int] = (20, 28)) -> tuple[int, int, int, int]:
    """Return a pin (xa, ya, xb, yb) from the square at `LEFT` to its copy at `corner` of B'."""
    return LEFT[1] + at[1], LEFT[0] + at[0], corner[1] + at[1], corner[0] + at[0]


def error(result: Result, at: tuple[int, int], there: tuple[int, int], margin: int = 0) -> np.ndarray:
    """Return the distances, in pixels, of the matches in a square of A from the true matches.

    The square has 48 x 48 pixels. Its top left corner is `at` in A, and `there` in B'. `margin`
    pixels at its border are left out.
    """
    part = result.nnf_ab[at[0] : at[0] + 48, at[1] : at[1] + 48]
    true = np.stack(np.mgrid[there[0] : there[0] + 48, there[1] : there[1] + 48], axis=-1)
    return np.hypot(*np.moveaxis(part - true, -1, 0).astype(float))[margin : 48 - margin, margin : 48 - margin]


@pytest.mark.parametrize("corner", [LEFT, RIGHT])
@pytest.mark.parametrize("at", [(20, 28), (5, 40)])
def test_a_pin_decides_between_two_equal_candidates_and_errors_elsewhere_do_not_rise(
    pictures, engine: Engine, corner, at
) -> None:
    free, pinned = (engine.transfer(*pictures, pins=pins) for pins in (None, [pin_to(corner, at)]))
    assert (error(pinned, LEFT, corner) <= 1.5).mean() > 0.98
    assert error(pinned, (40, 136), MOVED).mean() <= error(free, (40, 136), MOVED).mean()
    xa, ya, xb, yb = pin_to(corner, at)
    assert pinned.nnf_ab[ya, xa].tolist() == [yb, xb]
    assert pinned.nnf_ba[yb, xb].tolist() == [ya, xa]
    assert np.array_equal(
        pinned.a_prime[ya - 2 : ya + 3, xa - 2 : xa + 3], pictures[1][yb - 2 : yb + 3, xb - 2 : xb + 3]
    )


def test_a_pin_between_unlike_pixels_holds_at_every_level_in_both_directions(pictures) -> None:
    """Pin two positions of the background, far from each other, to the middles of two squares."""
    pins = place_pins(read_pins([(5, 120, 140, 80), (250.9, 3.5, 250, 60)]), SIZE_A, {"B'": SIZE_B}, SIZE_A, None)
    network = Features(locate(DEFAULT), CpuBackend(2))
    sides = [Side(name, Picture(pixels), pixels.shape[:2]) for name, pixels in zip(("A", "B'"), pictures, strict=True)]
    both = pair_of(sides[0], sides[1:], pins=pins)
    inputs = both.network_inputs(Uploads(network.backend))
    found = match(network, both, inputs, Settings(inversion="vote"), StageReporter(None))
    for level in LEVELS:
        for xa, ya, xb, yb in [(5, 120, 140, 80), (250, 3, 250, 60)]:
            in_a, in_b = (ya >> level - 1, xa >> level - 1), (yb >> level - 1, xb >> level - 1)
            assert tuple(found["ab"][level].nnf[in_a]) == in_b
            assert tuple(found["ba"][level].nnf[in_b]) == in_a
            assert -2 <= found["ab"][level].distance[in_a] < 0.01


HALF_A, HALF_B = np.zeros((*SIZE_A, 3), np.uint8), np.zeros((*SIZE_B, 3), np.uint8)
HALF_A[:, :128], HALF_B[:, :114] = 255, 255
HALF_B[:, 200:] = 255


@pytest.mark.parametrize(
    "options",
    [{"ratio": 0.5}, {"max_pixels": 12_000}, {"photo": True}, {"direction": "ab"},
     {"direction": "ba", "ratio": 0.7}, {"mask_a": HALF_A, "mask_b": HALF_B}],
    ids=lambda options: next(iter(options)),
)  # fmt: skip
def test_pins_hold_with_every_other_way_to_steer(pictures, engine: Engine, options: dict[str, Any]) -> None:
    result = engine.transfer(*pictures, pins=[pin_to(RIGHT)], inversion="vote", painting="pixels", **options)
    xa, ya, xb, yb = pin_to(RIGHT)
    if result.a_prime is not None:
        got, expected = result.a_prime[ya - 8 : ya + 9, xa - 8 : xa + 9], pictures[1][yb - 8 : yb + 9, xb - 8 : xb + 9]
        if "photo" not in options:  # photo refinement changes the pixels
            assert np.array_equal(got[8, 8], expected[8, 8])
        assert np.abs(got.astype(float) - expected).mean() < 8
        pins = place_pins(read_pins([pin_to(RIGHT)]), SIZE_A, {"B'": SIZE_B}, SIZE_A, None)
        working_a, working_b = (working_size(size, result.settings) for size in (SIZE_A, SIZE_B))
        (row, column, *there), *_ = pins.at(working_a, Sheet((working_b,)))
        assert result.nnf_ab[row, column].tolist() == there
    if result.b is not None:
        assert np.array_equal(result.b[yb, xb], pictures[0][ya, xa]) or "photo" in options


def test_the_pinned_pixels_are_exact_at_a_small_working_size(pictures, engine: Engine) -> None:
    xa, ya, xb, yb = pin_to(RIGHT)
    result = engine.transfer(*pictures, pins=[pin_to(RIGHT)], inversion="vote", painting="pixels", ratio=0.4)
    assert np.array_equal(result.a_prime[ya, xa], pictures[1][yb, xb])
    assert np.array_equal(result.b[yb, xb], pictures[0][ya, xa])


@pytest.mark.parametrize("corner", [LEFT, RIGHT])
def test_positions_that_follow_a_pin_keep_to_the_masks(pictures, engine: Engine, corner) -> None:
    result = engine.transfer(*pictures, pins=[pin_to(corner)], mask_a=HALF_A, mask_b=HALF_B, inversion="vote")
    assert np.array_equal(HALF_B[result.nnf_ab[..., 0], result.nnf_ab[..., 1]], HALF_A)
    assert (error(result, LEFT, corner) <= 1.5).mean() > 0.98


def test_at_full_size_a_pin_is_exact_and_the_pixels_of_its_block_follow_it(rng) -> None:
    cpu, source = CpuBackend(2), rng.random((40, 60, 3), np.float32)
    field = nnf.identity(cpu, (20, 30), (20, 30))
    pins = np.array([(11, 21, 13, 22)])
    painted = paint(cpu, field, Sheet(((20, 30),)), (40, 60), Sheet(((40, 60),)), source, pins=pins)
    assert np.array_equal(as_pixels(cpu, painted)[11, 21], as_pixels(cpu, source)[13, 22])


def test_a_pin_is_held_when_the_enlarged_field_is_refined(rng) -> None:
    cpu, source = CpuBackend(2), rng.random((40, 60, 3), np.float32)
    whole = nnf.identity(cpu, (40, 60), (40, 60))
    assert refine_on_pixels(cpu, whole, source, None, pins=np.array([(11, 21, 33, 52)]))[11, 21].tolist() == [33, 52]


def test_with_b_known_a_pin_holds_although_b_matches_elsewhere(pictures, engine: Engine) -> None:
    result = engine.transfer(*pictures, b=pictures[1], pins=[pin_to(RIGHT)])
    assert (error(result, LEFT, RIGHT) <= 1.5).mean() > 0.98


def test_a_search_with_pins_equals_a_search_by_the_distance_minus_the_bonus(simulated) -> None:
    """Compare both backends with an oracle whose patch distance includes the bonus."""
    rng = np.random.default_rng(3)
    features = [rng.standard_normal((h, w, 6)).astype(np.float32) for h, w in ((14, 19), (17, 12))]
    a, b = (oracle.join(each, each) for each in features)
    pins = np.array([(3, 4, 10, 6), (9, 15, 2, 2), (9, 12, 16, 11)])
    positions, matches, bonus = _proposals(pins, a.shape[:2], np.array([[0, *b.shape[:2]]]), 6)
    less = np.full((*a.shape[:2], *b.shape[:2]), 0, np.float32)
    less[(*positions.T, *matches.T)] = np.where(bonus < 0, np.float32(1000), bonus)
    plain, rows = oracle.distance, np.ogrid[: a.shape[0], : a.shape[1]]

    def distance(a, b, field, patch, frames=None):
        taken = less[rows[0], rows[1], field[..., 0], field[..., 1]]
        return np.where(taken >= 1000, np.float32(-1000), plain(a, b, field, patch) - taken)

    start = np.zeros((*a.shape[:2], 2), np.int32)
    start[..., 0] = 8
    field = start.copy()
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(oracle, "distance", distance)
        proposed = start.copy()
        proposed[tuple(positions.T)] = matches
        better = distance(a, b, proposed, 3) <= distance(a, b, field, 3)
        field[better] = proposed[better]
        discounted = distance(a, b, field, 3)
        for iteration, jumps in enumerate([(8, 4, 2, 1), (2, 1), (2, 1)]):
            for jump in jumps:
                field, discounted = oracle.propagate(a, b, field, discounted, 3, jump, 2.0)
            if iteration < 2:
                field, discounted = oracle.random_search(a, b, field, discounted, 3, 5, 7, iteration, 2.0)
    for backend in (CpuBackend(2), simulated):
        found, true = nnf.search(
            backend,
            *map(backend.asarray, (a, b, start)),
            patch=3,
            search_radius=5,
            iterations=2,
            seed=7,
            pins=pins,
            reach=6,
        )
        assert np.array_equal(backend.to_host(found), field), backend.name
        assert np.array_equal(backend.to_host(true), plain(a, b, field, 3)), backend.name
    assert (start == [8, 0]).all()


@pytest.mark.parametrize(
    ("pins", "words"),
    [
        ([(1, 2, 3)], "the shape is (1, 3); it must be (N, 4)"),
        ([(1, 2, 3, float("nan"))], "pin 1 is [1.0, 2.0, 3.0, nan]; give finite numbers"),
        ([(1, 2, 3, "x")], "pins is [(1, 2, 3, 'x')]; give N rows of four numbers"),
        (np.zeros((MOST_PINS + 1, 4)), "there are 1001 pins; give at most 1000"),
        ([(0, 0, 0, 0), (30, 2, 3, 4)], "pin 2 is at x 30, y 2, outside of A, which is 30 x 20 pixels"),
        ([(3, 2, 3, -0.5)], "pin 1 is at x 3, y -0.5, outside of B', which is 40 x 30 pixels"),
        ([(9, 9, 9, 9), (4, 5, 6, 7), (4, 5.9, 20, 7)], "pins 2 and 3 contradict each other: they match the same pixel "
         "of A (x 4, y 5) with two of B' (x 6, y 7 and x 20, y 7); remove one"),
        ([(4, 5, 6, 7), (14, 5, 6, 7)], "they match the same pixel of B' (x 6, y 7) with two of A (x 4, y 5 and x 14, "
         "y 5)"),
        ([(4, 5, 30, 7)], "pin 1 joins the region #ff0000 of A with #0000ff of B', which the masks keep apart"),
    ],
)  # fmt: skip
def test_pins_that_cannot_hold_are_refused_in_one_line_that_names_them(pins, words: str) -> None:
    masks = []
    for size in ((20, 30), (30, 40)):
        masks.append(np.zeros((*size, 3), np.uint8))
        masks[-1][..., 0], masks[-1][:, 22:] = 255, (0, 0, 255)
    labels = read_labels(masks[0], masks[1:], (20, 30), {"B'": (30, 40)}) if "masks" in words else None
    with pytest.raises(SettingsError) as caught:
        place_pins(read_pins(pins), (20, 30), {"B'": (30, 40)}, (20, 30), labels)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "its first line is nothing; it must be xa,ya,xb,yb, and with several B' xa,ya,xb,yb,example"),
        (b"1,2,3,4\n", "its first line is '1,2,3,4'; it must be xa,ya,xb,yb, and with several B' xa,ya,xb,yb,example"),
        (b"xa,ya,xb,yb\n1,2,3\n", "pin 1 is '1,2,3'; it must be four numbers, xa,ya,xb,yb"),
        (b"xa,ya,xb,yb\n1,2,3,4\n\n1,2,three,4\n", "pin 2 has 'three' where a number should be"),
        (b"xa,ya,xb,yb\n1,2,inf,4\n", "pin 1 is [1.0, 2.0, inf, 4.0]; give finite numbers"),
        (b"xa;ya;xb;yb\n1;2;3;4;5\n", "line 2 has more cells than there are columns ('5')"),
        (b"xa,xa,xb,yb\n", "there are two columns 'xa'"),
        (b"\xff\xfe\x00", "it is not a CSV file with the header xa,ya,xb,yb"),
        (b"xa,ya,xb,yb\n" + b"1,2,3,4\n" * 200_000, "cannot be read (it has more than 1048576 bytes)"),
        (None, "there is no such file"),
    ],
)
def test_a_file_of_pins_that_is_none_is_refused_in_one_line(tmp_path: Path, content: bytes | None, words: str) -> None:
    path = tmp_path / "pins.csv"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(SettingsError) as caught:
        read_pins(path)
    assert str(caught.value).startswith((f"{path}: {words}", f"{path} {words}"))
    assert "\n" not in str(caught.value)


def test_a_file_of_pins_is_read_as_spreadsheets_write_it(tmp_path: Path) -> None:
    path = tmp_path / "pins.csv"
    path.write_bytes(b'\xef\xbb\xbfxa, ya, xb, yb\r\n1,2,3,4\r\n\r\n"5.5",6,7,8\r\n')
    assert read_pins(path).tolist() == [[1, 2, 3, 4], [5.5, 6, 7, 8]]
    for content in (
        b"xa;ya;xb;yb;\r\n1;2;3;4;\r\n5,5;6;7;8;\r\n;;;;\r\n",
        "sep=;\r\nXA;YA;XB;YB\r\n1;2;3;4\r\n5,5;6;7;8\r\n".encode("cp1252"),
        "xa\tya\txb\tyb\r\n1\t2\t3\t4\r\n5,5\t6\t7\t8\r\n".encode("utf-16"),
        b'#TYPE Selected\r\n"xa","ya","xb","yb"\r\n"1","2","3","4"\r\n"5.5","6","7","8"\r\n',
        b'xa, ya, xb, yb,\n1,2,3,4,,\n"5,5", 6, 7, 8\n,,,\n,,,\n',
        b"xb,yb,xa,ya\r3,4,1,2\r7,8,5.5,6\r",
    ):
        path.write_bytes(content)
        assert read_pins(path).tolist() == [[1, 2, 3, 4], [5.5, 6, 7, 8]], content
    path.write_text("xa,ya,xb,yb\n")
    assert read_pins(path) is None
    assert read_pins([]) is None


@pytest.mark.parametrize(
    ("pins", "words"),
    [
        (
            [(50, 50, 50, 50), (52, 50, 150, 50)],
            "pins 1 and 2 lie close together in one picture and apart in the other",
        ),
        ([(50, 50, 90, 50), (90, 50, 50, 50)], "pins 1 and 2 lie in opposite order in the two pictures"),
        ([(50, 50, 50, 50), (90, 55, 80, 65)], ""),
        ([(20, 50, 190, 50), (190, 50, 20, 50)], ""),  # too far apart to affect the same positions
    ],
)
def test_pins_whose_surroundings_cannot_follow_both_are_named_in_a_warning(pins, words: str, caplog) -> None:
    with caplog.at_level(logging.INFO, "analogy"):
        place_pins(read_pins(pins), (100, 200), {"B'": (100, 200)}, (100, 200), None)
    messages = [record.getMessage() for record in caplog.records]
    assert len(messages) == bool(words)
    assert all(words in message for message in messages)


@pytest.mark.parametrize(
    ("rows", "cell"),
    [
        ('"1,023",40,50,60', "1,023"),
        ('12,40,50,"1,023"', "1,023"),
        ('"1,023",1.5,50,60', "1,023"),
        ("1.023;40;50;60", "1.023"),
        ("+12.500;40;50;60", "+12.500"),
    ],
)
def test_a_number_that_may_have_a_thousands_separator_is_refused(tmp_path, rows: str, cell: str) -> None:
    path = tmp_path / "pins.csv"
    path.write_text(f"{'xa;ya;xb;yb' if ';' in rows else 'xa,ya,xb,yb'}\n{rows}\n")
    whole = cell.replace(",", "").replace(".", "")
    with pytest.raises(SettingsError) as caught:
        read_pins(path)
    assert f"pin 1 has {cell!r}, which may be a whole number or a fraction; write {whole} or " in str(caught.value)


@pytest.mark.parametrize(
    ("rows", "pins"),
    [
        ("1.5;12.25;0.125;7", [[1.5, 12.25, 0.125, 7]]),
        ("0,125;-0,125;,125;1,0230", [[0.125, -0.125, 0.125, 1.023]]),
        ("1.023;40;50;60\n12.5;1;2;3", [[1.023, 40, 50, 60], [12.5, 1, 2, 3]]),  # 12.5 shows that the point is decimal
        ("1,023;40;50;60,5", [[1.023, 40, 50, 60.5]]),
        ("1.023;40;50;1500", [[1.023, 40, 50, 1500]]),  # 1500 shows that thousands have no separator
        ("1500.125;40;50;60", [[1500.125, 40, 50, 60]]),
    ],
)
def test_a_separator_begins_a_fraction_where_it_cannot_separate_thousands(tmp_path, rows: str, pins) -> None:
    path = tmp_path / "pins.csv"
    path.write_text(f"xa;ya;xb;yb\n{rows}\n")
    assert read_pins(path).tolist() == pins


def test_a_point_between_commas_begins_a_fraction(tmp_path) -> None:
    path = tmp_path / "pins.csv"
    path.write_text("xa,ya,xb,yb\n120.500,80.250,310.125,95.000\n")
    assert read_pins(path).tolist() == [[120.5, 80.25, 310.125, 95]]


def test_a_file_with_a_header_alone_is_logged_as_a_file_without_pins(tmp_path, caplog) -> None:
    path = tmp_path / "pins.csv"
    path.write_text("xa,ya,xb,yb\n")
    with caplog.at_level(logging.WARNING, "analogy"):
        assert read_pins(path) is None
    assert [record.getMessage() for record in caplog.records] == [f"{path} has no pins, only the header"]


def test_an_index_column_written_by_pandas_is_refused_by_its_name(tmp_path) -> None:
    path = tmp_path / "pins.csv"
    path.write_text(",xa,ya,xb,yb\n0,1,2,3,4\n")
    with pytest.raises(SettingsError, match=r"line 2 has '0' in column 1, .* to_csv\(.*, index=False\)"):
        read_pins(path)


def test_pins_of_several_examples_are_placed_on_the_sheet_and_separated_again() -> None:
    sizes = {"B' 1": (40, 30), "B' 2": (20, 64)}
    pins = place_pins(read_pins([(5, 6, 7, 8, 1), (9, 10, 50, 12, 2)]), (20, 30), sizes, (20, 30), None)
    sheet = Sheet(tuple(sizes.values()))
    assert pins.at((20, 30), sheet).tolist() == [[6, 5, 8, 7], [10, 9, sheet.tops[1] + 12, 50]]
    assert pins.at((20, 30), sheet, 3).tolist() == [[1, 1, 2, 1], [2, 2, sheet.at(3).tops[1] + 3, 12]]
    assert pins.to(1).at((20, 30), Sheet(((20, 64),))).tolist() == [[10, 9, 12, 50]]
    assert pins.to(1).reversed().at((20, 64), Sheet(((20, 30),))).tolist() == [[12, 50, 10, 9]]


def test_pins_that_end_in_different_examples_are_not_neighbours_there(caplog) -> None:
    sizes = {"B' 1": (100, 200), "B' 2": (100, 200)}
    with caplog.at_level(logging.INFO, "analogy"):
        place_pins(read_pins([(50, 50, 50, 50, 1), (150, 50, 52, 50, 2)]), (100, 200), sizes, (100, 200), None)
        assert not caplog.records
        place_pins(read_pins([(50, 50, 50, 50, 2), (150, 50, 52, 50, 2)]), (100, 200), sizes, (100, 200), None)
    assert len(caplog.records) == 1
