"""A projection for the search: the principal directions of a network's features, found from photographs.

The search compares features by their cosines. On the first k principal directions of a full-width
VGG it finds better matches than on all channels, and it reads fewer bytes. Only the search sees the
projected features; reconstruction and blending keep them whole. Not in the paper, which searches on
all channels.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import ImageError, ModelError
from ..files.inputs import open_regular
from ..networks.models import PROJECTION, add_file
from ..pictures.images import fitted_size, resize
from ..pictures.listing import pictures_among
from ..pictures.reading import read_picture
from ..progress import Progress
from .features import LEVELS, Features

DIMENSIONS = {1: 16, 2: 32, 3: 64, 4: 256, 5: 256}
"""Number of directions to keep at each level of a full-width network. On VGG-16 they keep the
cosines of positions nearly as they are at levels 4 and 5 (relative error .05 and .08), and fewer
make it worse there: .31 and .55 with 128."""
PHOTOS = 130
"""Most photographs to look at; they are spread evenly over those given."""
FEWEST = 16
"""Fewest photographs that make a projection."""
POSITIONS = 150
"""Number of positions to sample in each photograph and level."""
MOST_PIXELS = 120_000
"""Most pixels of a photograph; larger ones are shrunken."""


def list_photos(folder: Path) -> list[Path]:
    """Return the photographs in `folder` and below it, by name. Raises `ImageError` if there are fewer than `FEWEST`."""
    files = [str(path) for path in Path(folder).rglob("*") if path.is_file()]
    photos = sorted(map(Path, pictures_among(str(folder), files, [], open_regular)))
    if len(photos) < FEWEST:
        raise ImageError(f"{folder}: has {len(photos)} photographs; a projection takes {FEWEST} or more, best {PHOTOS}")
    return photos


def find_projection(
    network: Features,
    photos: Sequence[Path],
    progress: Callable[[Progress], None] | None = None,
    dimensions: Mapping[int, int] = DIMENSIONS,
) -> dict[int, np.ndarray]:
    """Return level -> (C, k) float32 with orthonormal columns, for the levels with more than k = dimensions[level] channels.

    The columns are the first k right singular vectors, not centred, of features divided by their L2
    norm, at random positions of the photographs. Which positions depends on nothing but the number
    of photographs.
    """
    backend = network.backend
    wide = [level for level in LEVELS if network.card.widths[level - 1] > dimensions[level]]
    products = {level: np.zeros((network.card.widths[level - 1],) * 2) for level in wide}
    chosen = [photos[i] for i in np.linspace(0, len(photos) - 1, min(PHOTOS, len(photos))).astype(int)]
    for number, path in enumerate(chosen):
        if progress:
            progress(Progress("projection", number / len(chosen)))
        rgb = read_picture(path).rgb
        pyramid = network.pyramid(resize(rgb, *fitted_size(rgb.shape[:2], MOST_PIXELS)))
        rng = np.random.default_rng(number)
        for level in wide:
            rows = backend.to_host(pyramid[level]).reshape(-1, pyramid[level].shape[2])
            rows = rows[rng.permutation(len(rows))[:POSITIONS]].astype(np.float64)
            rows /= np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)
            products[level] += rows.T @ rows
    # The right singular vectors of a matrix are the eigenvectors of its product with itself, here
    # in rising order.
    return {
        level: np.linalg.eigh(product)[1][:, : -dimensions[level] - 1 : -1].astype(np.float32)
        for level, product in products.items()
    }


def add_projection(
    network: Features,
    photos: Sequence[Path],
    progress: Callable[[Progress], None] | None = None,
    dimensions: Mapping[int, int] = DIMENSIONS,
) -> dict[int, np.ndarray]:
    """Find the projection of a network and put it into its model folder, for the next time the model is loaded.

    Raises `ModelError` for a network too narrow to gain by it, `ImageError` for a photograph that
    cannot be read, `OutputError` if the folder cannot be written.
    """
    found = find_projection(network, photos, progress, dimensions)
    if not found:
        widths, most = list(network.card.widths), [dimensions[level] for level in sorted(dimensions)]
        raise ModelError(f"{network.folder}: widths {widths} need no projection; it is for more channels than {most}")
    content = io.BytesIO()
    arrays: dict[str, Any] = {f"level{level}": matrix for level, matrix in found.items()}
    np.savez(content, **arrays)
    add_file(network.folder, PROJECTION, content.getvalue())
    return found
