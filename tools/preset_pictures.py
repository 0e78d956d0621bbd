"""Make the pictures of the presets on the page of `analogy serve`, each from a suitable pair.

The pairs consist of the two example pictures of the package and of the pictures in
tools/gallery/sources. tools/gallery/README.md names their authors.

python tools/preset_pictures.py            # makes all pictures
python tools/preset_pictures.py face       # makes the named ones
"""

import sys
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

import analogy
from analogy.apps.run import EXAMPLE_LABELS, EXAMPLE_PAIR
from analogy.settings import PRESETS

FOLDER = Path(__file__).parents[1] / "analogy" / "apps" / "serve" / "static" / "presets"
SIDE = 240
SOURCES = Path(__file__).parent / "gallery" / "sources"
COLLINS, MONA_LISA = EXAMPLE_PAIR
HOPPER, LOVELACE, STARRY_NIGHT = (SOURCES / f"{name}.jpg" for name in ("hopper", "lovelace", "starry_night"))
PAIRS: dict[str, tuple[Path, Path, dict[str, Any]]] = {
    "photo-to-style": (HOPPER, MONA_LISA, {}),
    "face": (COLLINS, MONA_LISA, dict(zip(("mask_a", "mask_b"), EXAMPLE_LABELS, strict=True))),
    "landscape": (SOURCES / "coffee.jpg", STARRY_NIGHT, {}),
    "style-to-photo": (LOVELACE, COLLINS, {"mask_a": SOURCES / "lovelace-labels.png", "mask_b": EXAMPLE_LABELS[0]}),
    "photo-to-photo": (HOPPER, COLLINS, {}),
    "paper": (HOPPER, STARRY_NIGHT, {}),
    "fast": (HOPPER, LOVELACE, {}),
}
"""Preset -> A, B' and the masks of a pair that suits it. Other presets get the example pair."""


def main(names: list[str]) -> None:
    engine = analogy.Engine(device="cpu")
    for name in names or PRESETS:
        a, b_prime, masks = PAIRS.get(name, (COLLINS, MONA_LISA, {}))
        picture = np.asarray(engine.transfer(a, b_prime, name, direction="ab", **masks).a_prime)
        side = min(picture.shape[:2])
        top, left = (picture.shape[0] - side) // 4, (picture.shape[1] - side) // 2  # faces are mostly above the middle
        square = Image.fromarray(picture[top : top + side, left : left + side])
        square.resize((SIDE, SIDE), Image.Resampling.LANCZOS).save(FOLDER / f"{name}.webp", quality=82)


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    main(sys.argv[1:])
