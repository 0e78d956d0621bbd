"""Make the pictures of the presets on the page of `analogy serve`: what each makes of the example pair.

python tools/preset_pictures.py            # all
python tools/preset_pictures.py face       # those that are named
"""

import sys
from pathlib import Path

import numpy as np
from PIL import Image

import analogy
from analogy.apps.run import EXAMPLE_LABELS, EXAMPLE_PAIR
from analogy.settings import PRESETS

FOLDER = Path(__file__).parents[1] / "analogy" / "apps" / "serve" / "static" / "presets"
SIDE = 240


def main(names: list[str]) -> None:
    engine = analogy.Engine(device="cpu")
    masks = dict(zip(("mask_a", "mask_b"), EXAMPLE_LABELS, strict=True))
    for name in names or PRESETS:
        picture = np.asarray(engine.transfer(*EXAMPLE_PAIR, name, direction="ab", **masks).a_prime)
        side = min(picture.shape[:2])
        top, left = (picture.shape[0] - side) // 4, (picture.shape[1] - side) // 2  # faces are rather above the middle
        square = Image.fromarray(picture[top : top + side, left : left + side])
        square.resize((SIDE, SIDE), Image.Resampling.LANCZOS).save(FOLDER / f"{name}.webp", quality=82)


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    main(sys.argv[1:])
