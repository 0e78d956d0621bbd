"""Tests that run the examples for apps unchanged."""

from __future__ import annotations

import asyncio
import base64
import io
import runpy
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nbclient
import nbformat
import numpy as np
import pytest
from PIL import Image

import analogy

EXAMPLES = Path(__file__).parents[2] / "tools" / "examples"


@pytest.fixture
def pair(tmp_path: Path, rng) -> tuple[Path, Path]:
    paths = tmp_path / "photo.jpg", tmp_path / "painting.jpg"
    for path, size in zip(paths, [(40, 56, 3), (48, 40, 3)], strict=True):
        Image.fromarray(rng.integers(0, 256, size).astype(np.uint8)).save(path)
    return paths


def test_the_flask_app_answers_with_the_picture_and_refuses_in_one_line(pair) -> None:
    app = runpy.run_path(str(EXAMPLES / "flask_app.py"))["app"]
    a, b_prime = (path.read_bytes() for path in pair)
    expected = analogy.transfer(a, b_prime, "fast", direction="ab").a_prime

    def post(**fields: Any) -> Any:
        files = {key: (io.BytesIO(each), "x.jpg") if isinstance(each, bytes) else each for key, each in fields.items()}
        return app.test_client().post("/", data=files)

    answer = post(a=a, b_prime=b_prime, preset="fast")
    assert answer.mimetype == "image/png"
    with Image.open(io.BytesIO(answer.data)) as picture:
        assert np.array_equal(np.asarray(picture), expected)
    for fields in ({"a": b"no picture"}, {"preset": "none such"}):
        refused = post(**{"a": a, "b_prime": b_prime} | fields)
        assert refused.status_code == 400
        assert refused.text.endswith("\n") and refused.text.count("\n") == 1
    assert post(a=a).status_code == 400
    app.config["MAX_CONTENT_LENGTH"] //= 30_000
    assert post(a=a, b_prime=b_prime).status_code == 413


class Watched:
    """An engine that calls `step` during a transfer, in the thread of the transfer."""

    def __init__(self, engine: analogy.Engine, step: Callable[[analogy.Progress], None]):
        self.engine, self.step = engine, step

    def transfer(self, *pictures: Any, progress: Callable[[analogy.Progress], None], **options: Any) -> analogy.Result:
        def report(now: analogy.Progress) -> None:
            self.step(now)
            progress(now)

        return self.engine.transfer(*pictures, progress=report, **options)


@pytest.fixture
def asyncio_app() -> dict[str, Any]:
    """Return the app's global variables. If a test sets one of them, the app's functions use it."""
    names = runpy.run_path(str(EXAMPLES / "asyncio_app.py"))
    return names["transfer"].__globals__


def test_the_asyncio_app_paints_each_photo_while_the_loop_goes_on(asyncio_app, pair) -> None:
    begun, went_on = threading.Event(), threading.Event()

    def wait_for_the_loop(now: analogy.Progress) -> None:
        begun.set()
        assert went_on.wait(60)

    asyncio_app["engine"] = Watched(asyncio_app["engine"], wait_for_the_loop)

    async def main() -> None:
        painting = asyncio.ensure_future(asyncio_app["main"](str(pair[1]), str(pair[0])))
        while not begun.is_set():
            await asyncio.sleep(0.001)
        went_on.set()
        await painting

    asyncio.run(main())
    with Image.open(pair[0].with_suffix(".painted.png")) as painted:
        assert painted.size == (56, 40)


def test_a_cancelled_await_ends_the_work(asyncio_app, rng) -> None:
    reports: list[analogy.Progress] = []
    asyncio_app["engine"] = Watched(asyncio_app["engine"], reports.append)

    async def main() -> None:
        pictures = rng.integers(0, 256, (2, 128, 128, 3)).astype(np.uint8)
        task = asyncio.ensure_future(asyncio_app["transfer"](*pictures, inversion="deconvolution", inversion_steps=200))
        while not any(now.done > 0 for now in reports):
            await asyncio.sleep(0.001)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())  # it returns after the thread of the transfer has ended
    assert reports[-1].stage != "done"


def test_the_notebook_runs_and_shows_its_pictures(pair, tmp_path: Path) -> None:
    notebook = nbformat.read(EXAMPLES / "notebook.ipynb", as_version=4)
    assert not any(cell.get("outputs") for cell in notebook.cells), (
        "clear the outputs: pictures do not belong in the repository"
    )
    nbclient.NotebookClient(notebook, kernel_name="python3", resources={"metadata": {"path": str(tmp_path)}}).execute()
    shown = [
        output["data"]["image/png"]
        for cell in notebook.cells
        for output in cell.get("outputs", [])
        if "data" in output and "image/png" in output["data"]
    ]
    assert len(shown) == 4
    for png in shown:
        with Image.open(io.BytesIO(base64.b64decode(png))) as picture:
            assert min(picture.size) >= 40
    assert (tmp_path / "out" / "flow_ab.flo").exists() and (tmp_path / "a_prime.jpg").exists()
