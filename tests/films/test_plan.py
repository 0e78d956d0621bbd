"""Tests of the plan of a film, which says from which keys each frame is painted."""

import pytest

from analogy.films.plan import Stretch, nearest, plan


@pytest.mark.parametrize(
    ("cuts", "keys", "expected"),
    [
        ([], [0], [(0, 9, 0, None)]),
        ([], [9], [(0, 8, None, 9), (9, 9, 9, None)]),
        ([], [6, 2], [(0, 1, None, 2), (2, 5, 2, 6), (6, 9, 6, None)]),
        ([], [3, 4], [(0, 2, None, 3), (3, 3, 3, 4), (4, 9, 4, None)]),
        ([5], [4], [(0, 3, None, 4), (4, 4, 4, None), (5, 9, 5, None)]),
        ([5], [5], [(0, 4, 0, None), (5, 9, 5, None)]),
        ([1, 9], [0, 9], [(0, 0, 0, None), (1, 8, 1, None), (9, 9, 9, None)]),
        ([4], [], [(0, 3, 0, None), (4, 9, 4, None)]),
    ],
    ids=str,
)
def test_no_key_decides_frames_beyond_the_next_key_or_a_cut(cuts, keys, expected) -> None:
    stretches = plan([index in cuts for index in range(10)], keys)
    assert stretches == [Stretch(*each) for each in expected]
    assert [index for stretch in stretches for index in stretch.frames] == list(range(10))


def test_a_shot_without_a_key_uses_the_nearest_key_and_of_two_the_earlier() -> None:
    assert [nearest([8, 2], index) for index in (0, 4, 5, 6, 11)] == [2, 2, 2, 8, 8]
