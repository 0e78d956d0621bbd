"""Make every picture that the README shows, with this version of the program.

Run `python tools/gallery.py [NAME ..]`.

The sources are the example pair of the package and the files in tools/gallery/sources, whose
authors are named in tools/gallery/README.md. The picture `peer` needs the command `gmic`, and the
picture `page` needs an installed Chromium.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import av
import click
import numpy as np
from PIL import Image, ImageDraw, ImageFont, ImageOps
from playwright.sync_api import sync_playwright

import analogy

ROOT = Path(__file__).parents[1]
GALLERY = ROOT / "tools" / "gallery"
SOURCES = GALLERY / "sources"
EXAMPLES = ROOT / "analogy" / "examples"
COLLINS, MONA_LISA = EXAMPLES / "collins.jpg", EXAMPLES / "mona_lisa.jpg"
COLLINS_LABELS = EXAMPLES / "collins-labels.png"
LABELS: dict[str, Any] = {"mask_a": COLLINS_LABELS, "mask_b": EXAMPLES / "mona_lisa-labels.png"}
HOPPER, LOVELACE = SOURCES / "hopper.jpg", SOURCES / "lovelace.jpg"
STARRY_NIGHT = SOURCES / "starry_night.jpg"
GAP = 8


def show(
    name: str,
    pictures: list[tuple[str, Any]],
    height: int,
    above: list[Path] | None = None,
    insets: list[Path | None] | None = None,
) -> None:
    """Write pictures of one height in a row, with words below each, as tools/gallery/NAME.jpg.

    `above` has a picture to show above each picture of the row. `insets` has a small picture, or
    None, to show in the lower right corner of each picture of the row.
    """
    row = [(words, _picture(each, height)) for words, each in pictures]
    for (_, image), inset in zip(row, insets or [], strict=False):
        if inset:
            small = ImageOps.expand(_picture(inset, height // 4), 3, "white")
            image.paste(small, (image.width - small.width, image.height - small.height))
    width = sum(image.width for _, image in row) + GAP * (len(row) - 1)
    # The README shows all pictures at one width. Since the size of the words is a share of the
    # width, they look equally large in all pictures.
    top, below = height + GAP if above else 0, width // 40
    sheet = Image.new("RGB", (width, top + height + below), "white")
    draw, x = ImageDraw.Draw(sheet), 0
    for n, (words, image) in enumerate(row):
        if above:
            sheet.paste(_picture(above[n], height), (x, 0))
        sheet.paste(image, (x, top))
        middle = x + image.width / 2, top + height + below / 2
        draw.text(middle, words, "black", ImageFont.load_default(width / 60), "mm")
        x += image.width + GAP
    sheet.save(GALLERY / f"{name}.jpg", quality=86, optimize=True)


def _picture(source: Any, height: int) -> Image.Image:
    image = Image.open(source) if isinstance(source, Path) else Image.fromarray(source)
    return image.convert("RGB").resize((round(image.width * height / image.height), height), Image.Resampling.LANCZOS)


def looks() -> None:
    """Show two photographs, each beside its result A', which has the example B' in a corner."""
    coffee = SOURCES / "coffee.jpg"
    comic = engine.transfer(HOPPER, LOVELACE, direction="ab").a_prime
    painted = engine.transfer(coffee, STARRY_NIGHT, "landscape", direction="ab").a_prime
    row: list[tuple[str, Any]] = [("a photograph", HOPPER), ("in the style of a comic", comic)]
    show(
        "looks",
        [*row, ("another", coffee), ("in the style of The Starry Night", painted)],
        340,
        insets=[None, LOVELACE, None, STARRY_NIGHT],
    )


def portrait() -> None:
    found = engine.transfer(COLLINS, MONA_LISA, direction="ab", **LABELS).a_prime
    row: list[tuple[str, Any]] = [("a photograph", COLLINS), ("in the looks of the painting", found)]
    show("portrait", [*row, ("a painting", MONA_LISA)], 500)


def film() -> None:
    with tempfile.TemporaryDirectory() as folder:
        shot, painted = Path(folder) / "shot", Path(folder) / "painted"
        shot.mkdir()
        with av.open(SOURCES / "city.mp4") as container:
            for n, frame in enumerate(container.decode(video=0)):
                frame.to_image().save(shot / f"{n:02}.png")
        command = ["clip", str(shot), "-o", str(painted), "--style", str(STARRY_NIGHT)]
        subprocess.run([sys.executable, "-m", "analogy", *command], check=True)
        shown = 1, 12, 23, 29  # none of them is a key; the keys are the frames 0 and 24 (there is a cut before 24)
        row: list[tuple[str, Any]] = [(f"frame {n}", painted / f"{n:02}.png") for n in shown]
        show("film", row, 180, above=[shot / f"{n:02}.png" for n in shown])


def weight() -> None:
    found = [engine.transfer(COLLINS, MONA_LISA, weight=n, direction="ab", **LABELS).a_prime for n in (1, 2, 3)]
    face = np.s_[90:370, 50:350]
    show("weight", [(f"--weight {n}", each[face]) for n, each in zip((1, 2, 3), found, strict=True)], 300)


def ratio() -> None:
    ratios = 1, 0.5, 0.3
    found = [engine.transfer(HOPPER, LOVELACE, ratio=each, direction="ab").a_prime for each in ratios]
    show("ratio", [(f"--ratio {n:g}", each) for n, each in zip(ratios, found, strict=True)], 290)


def uniformity() -> None:
    coffee, amounts = SOURCES / "coffee.jpg", (0, 0.3, 1)
    found = [engine.transfer(coffee, STARRY_NIGHT, uniformity=each, direction="ab").a_prime for each in amounts]
    show("uniformity", [(f"--uniformity {n:g}", each) for n, each in zip(amounts, found, strict=True)], 290)
    # The page of the service shows this picture beside the control of uniformity.
    row = Image.new("RGB", (3 * 240 + 2 * GAP, 160), "white")
    for n, each in enumerate(found):
        row.paste(ImageOps.fit(Image.fromarray(each), (240, 160), Image.Resampling.LANCZOS), (n * (240 + GAP), 0))
    row.save(ROOT / "analogy/apps/serve/static/uniformity.webp", quality=80)


def examples() -> None:
    """Show the portrait in the looks of the Mona Lisa, in front of the sky of The Starry Night."""
    background = np.array(Image.open(COLLINS_LABELS).convert("RGB"))[0, 0]
    mona_lisa = np.array(Image.open(LABELS["mask_b"]).convert("RGBA"))
    mona_lisa[(mona_lisa[..., :3] == background).all(axis=-1), 3] = 0  # the Mona Lisa's background gets no label
    painting = np.array(Image.open(STARRY_NIGHT).convert("RGB"))
    sky = painting[: int(0.65 * len(painting))]
    masks: dict[str, Any] = {"mask_a": COLLINS_LABELS, "mask_b": [mona_lisa, np.zeros_like(sky) + background]}
    found = engine.transfer(COLLINS, [MONA_LISA, sky], direction="ab", uniformity=0.3, **masks).a_prime
    row: list[tuple[str, Any]] = [("a photograph", COLLINS), ("in the looks of both", found)]
    show("examples", [*row, ("one example", MONA_LISA), ("another", sky)], 340)


def labels() -> None:
    without, given = (engine.transfer(COLLINS, MONA_LISA, **each) for each in ({}, LABELS))
    row = [("A' without", without.a_prime), ("B without", without.b), ("labels of A", COLLINS_LABELS)]
    more = [("labels of B'", LABELS["mask_b"]), ("A' with labels", given.a_prime), ("B with labels", given.b)]
    show("labels", [*row, *more], 320)


def peer() -> None:
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "stylized.png"
        command = ["gmic", str(COLLINS), str(MONA_LISA), "+stylize[0]", "[1]", "-output[-1]", str(out)]
        subprocess.run(command, check=True)
        ours = engine.transfer(COLLINS, MONA_LISA, direction="ab").a_prime
        row: list[tuple[str, Any]] = [("a photograph", COLLINS), ("G'MIC stylize", out), ("analogy", ours)]
        given = engine.transfer(COLLINS, MONA_LISA, direction="ab", **LABELS).a_prime
        show("peer", [*row, ("analogy, with labels", given), ("a painting", MONA_LISA)], 380)


def page() -> None:
    """Show the page of `analogy serve` with the example pair and the mouse over a place of A'."""
    command = [sys.executable, "-m", "analogy", "serve", "--port", "0", "--device", "cpu"]
    with ExitStack() as stack:
        server = stack.enter_context(subprocess.Popen(command, stderr=subprocess.PIPE, text=True))
        stack.callback(server.terminate)  # otherwise the script would wait for the service for ever after a failure
        assert server.stderr
        address = next(line.split()[-1] for line in server.stderr if "http://" in line)
        playwright = stack.enter_context(sync_playwright())
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        view = browser.new_page(viewport={"width": 1200, "height": 1120})
        view.goto(address)
        view.get_by_text("Use the example pair").click()
        view.get_by_role("tab", name="Regions6").wait_for()  # the tab has this name once the labels are loaded
        view.locator("#start").click()
        view.locator("#results").wait_for()
        view.get_by_role("tab", name="Matches").click()
        place = view.locator("#pair-field .pane").first
        box = place.bounding_box()
        assert box
        place.hover(position={"x": 0.38 * box["width"], "y": 0.47 * box["height"]})  # the place of an eye
        view.screenshot(path=GALLERY / "page.jpg", type="jpeg", quality=86)


MADE: dict[str, Callable[[], None]] = {
    each.__name__: each for each in (looks, portrait, film, weight, ratio, uniformity, labels, examples, peer, page)
}
NEEDED = {"peer": "gmic", "page": "chromium"}
"""Name of a picture -> command that it needs, which is also the name of a package of Debian."""
engine = analogy.Engine(device="cpu")


@click.command(help=__doc__)
@click.argument("names", nargs=-1, type=click.Choice(list(MADE)))
def main(names: tuple[str, ...]) -> None:
    for name in names or MADE:
        program = NEEDED.get(name)
        if program and not shutil.which(program):
            raise click.UsageError(
                f"the picture {name}.jpg needs the command {program}; install Debian's package {program}"
            )
        MADE[name]()
        click.echo(f"{name}.jpg: {(GALLERY / f'{name}.jpg').stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main()
