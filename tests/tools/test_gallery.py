"""Tests of the pictures of the README, which a script makes from originals in the repository."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from PIL import Image

CHECKOUT = Path(__file__).parents[2]


@pytest.fixture
def gallery(tmp_path: Path) -> ModuleType:
    pytest.importorskip("av", reason="PyAV is not installed; the extra video has it")
    spec = importlib.util.spec_from_file_location("gallery", CHECKOUT / "tools" / "gallery.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.GALLERY = tmp_path
    return module


def test_the_script_makes_every_picture_of_the_pages_and_no_other(gallery: ModuleType) -> None:
    pages = [CHECKOUT / "README.md", *(CHECKOUT / "analogy").rglob("README.md")]
    text = "".join(page.read_text(encoding="utf-8") for page in pages)
    shown = set(re.findall(r"!\[.+?\]\([./]*tools/gallery/(\w+)\.jpg\)", text))
    assert (
        sorted(shown) == sorted(gallery.MADE) == sorted(p.stem for p in (CHECKOUT / "tools" / "gallery").glob("*.jpg"))
    )


def test_the_script_makes_the_portrait_as_it_is_shown(gallery: ModuleType, tmp_path: Path) -> None:
    gallery.portrait()
    made, shown = (Image.open(folder / "portrait.jpg") for folder in (tmp_path, CHECKOUT / "tools" / "gallery"))
    assert made.size == shown.size
    # Another seed changes the picture by 1.8 of 255 on average, and another machine by at most as
    # much. Without the labels the picture changes by 5.4.
    assert np.abs(np.asarray(made, float) - np.asarray(shown, float)).mean() < 3.5


def test_the_readme_of_the_gallery_names_each_original() -> None:
    for folder in (CHECKOUT / "tools" / "gallery", CHECKOUT / "analogy" / "examples"):
        credits = (folder / "README.md").read_text(encoding="utf-8")
        for path in folder.rglob("*"):
            if path.suffix in (".jpg", ".png", ".mp4") and (folder.name != "gallery" or path.parent.name == "sources"):
                assert f"`{path.name}`" in credits, path
