"""Tests of the detection of cuts between shots."""

import numpy as np
from made_films import film, picture

from analogy.films.shots import find_cuts


def test_a_cut_is_found_and_a_fast_pan_a_zoom_or_a_light_is_not_a_cut() -> None:
    one, other = picture(300, 500), picture(300, 500, 1)
    size = (96, 128)
    pan = film(one, size, 4, (12, 3))
    zoom = film(other, size, 4, zoom=1.1)
    light = [np.clip(zoom[-1].astype(int) + 50, 0, 255).astype(np.uint8)]
    cuts = list(find_cuts([*pan, *zoom, *light, *pan]))
    assert [index for index, cut in enumerate(cuts) if cut] == [4, 9]
