"""Cases of tools/fuzz.py, each of which reads hostile files, kills the program or fills a disk."""

from __future__ import annotations

import hashlib
import io
import json
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from hostile import fields, models, pictures, settings

from analogy.errors import AnalogyError, ImageError, printable

MOST = 1_000_000
"""Maximum number of pixels of a picture; the cases refuse a larger picture."""
FAST = ["--inversion", "vote", "--search-iterations", "1", "--device", "cpu", "--threads", "1"]

Case = Callable[[np.random.Generator, Path], str]
"""Function that runs one case in an empty folder, and returns its outcome or raises an error."""


def refusable(work: Callable[[], object]) -> str:
    """Call `work`, and return "read" if it succeeds, or "refused" if it refuses its input.

    Raises AssertionError unless the refusal is one short line.
    """
    try:
        work()
    except AnalogyError as error:
        assert str(error) == printable(str(error)) and 10 < len(str(error)) < 1000, f"not one short line: {error}"
        return "refused"
    return "read"


def damaged(rng: np.random.Generator, *files: dict[str, bytes]) -> bytes:
    """Return one of the files, damaged at random in 19 of 20 cases."""
    every = [content for group in files for content in group.values()]
    content = every[rng.integers(len(every))]
    return content if rng.integers(20) == 0 else models.mutate(content, rng)


def admit(size: tuple[int, int], label: str) -> None:
    if size[0] * size[1] > MOST:
        raise ImageError(f"{label}: larger than the cases accept")


def picture(rng: np.random.Generator, folder: Path) -> str:
    from analogy.pictures.reading import read_picture

    return refusable(lambda: read_picture(damaged(rng, pictures.sound(), pictures.liars()), admit=admit))


def bomb(rng: np.random.Generator, folder: Path) -> str:
    from analogy.pictures.reading import read_picture

    return refusable(lambda: read_picture(damaged(rng, pictures.bombs()), admit=admit))


def field(rng: np.random.Generator, folder: Path) -> str:
    from analogy.method import flow, flow_files

    files = fields.sound() | (fields.liars() if rng.integers(4) == 0 else {})
    name = sorted(files)[rng.integers(len(files))]
    path = folder / f"field{Path(name).suffix}"
    path.write_bytes(damaged(rng, {name: files[name]}))
    return refusable(lambda: flow.colour(flow_files.read(path, width=7)))


def record(rng: np.random.Generator, folder: Path) -> str:
    from analogy.records import read_record

    path = folder / "settings.json"
    path.write_bytes(damaged(rng, {"sound": settings.SOUND}, settings.LIARS if rng.integers(4) == 0 else {}))
    return refusable(lambda: read_record(path))


def card(rng: np.random.Generator, folder: Path) -> str:
    from analogy.networks.cards import CARD, read_card
    from analogy.networks.models import DEFAULT, locate

    sound = (locate(DEFAULT) / CARD).read_bytes()
    (folder / CARD).write_bytes(damaged(rng, {"sound": sound}, models.cards() if rng.integers(4) == 0 else {}))
    return refusable(lambda: read_card(folder))


def weights(rng: np.random.Generator, folder: Path) -> str:
    from analogy.networks.weights import read

    path = folder / "weights"
    path.write_bytes(damaged(rng, models.sound_weights(), models.weights() if rng.integers(4) == 0 else {}))
    return refusable(lambda: read(path))


def model(rng: np.random.Generator, folder: Path) -> str:
    import analogy

    copied = models.copy(folder / "model")
    if rng.integers(2):
        models.FOLDERS[sorted(models.FOLDERS)[rng.integers(len(models.FOLDERS))]](copied)
    else:
        files = sorted(path for path in copied.iterdir() if path.is_file())
        spoilt = files[rng.integers(len(files))]
        spoilt.write_bytes(models.mutate(spoilt.read_bytes(), rng))
        # The checksums in the card are not updated, so the program refuses a damaged graph. If it
        # ran the graph, ONNX Runtime could do anything.
    grey = np.full((32, 32, 3), 128, np.uint8)
    return refusable(lambda: analogy.Engine(copied, "cpu", 1).transfer(grey, grey, "fast"))


@cache
def regions() -> bytes:
    """Return a label picture, as a PNG file, for the file "png" of `pictures.sound`.

    It has the size that this picture has after its EXIF data has turned it.
    """
    labels = Image.new("L", (pictures.H, pictures.W))
    labels.paste(255, (0, 0, 10, 10))
    content = io.BytesIO()
    labels.save(content, "png")
    return content.getvalue()


def command(rng: np.random.Generator, folder: Path) -> str:
    """Run `analogy transfer` with one of its input files damaged."""
    from click.testing import CliRunner

    from analogy.apps.cli import cli
    from analogy.networks.cards import read_card
    from analogy.networks.models import DEFAULT, locate

    whole = settings.RECORD | {"model_sha256": read_card(locate(DEFAULT)).fingerprint}
    given = {name: folder / name for name in ("a", "b", "mask-a", "mask-b", "settings.json")}
    for name, path in given.items():
        path.write_bytes(json.dumps(whole).encode() if name == "settings.json" else regions())
    for name in ("a", "b"):
        given[name].write_bytes(pictures.sound()["png"])
    spoilt = given[list(given)[rng.integers(len(given))]]
    files = (settings.LIARS,) if spoilt.suffix else (pictures.sound(), pictures.liars(), pictures.bombs())
    spoilt.write_bytes(damaged(rng, *files))
    output = folder / ["out", "x.png", "x.jpg", "x.webp", "x.tif", "x.gif"][rng.integers(6)]
    words = ["transfer", given["a"], given["b"], "-o", output, *FAST, "--max-input-pixels", MOST]
    if rng.integers(4) == 0 or spoilt.name.startswith("mask"):
        words += ["--mask-a", given["mask-a"], "--mask-b", given["mask-b"]]
    if rng.integers(4) == 0 or spoilt.suffix:
        words += ["--settings", given["settings.json"]]
    done = CliRunner().invoke(cli, [str(word) for word in words])
    if done.exception and not isinstance(done.exception, SystemExit):
        raise done.exception
    assert done.exit_code in (0, 2), done.exit_code
    if done.exit_code == 2:
        lines = done.stderr.splitlines()
        assert lines and lines[-1].startswith("analogy: ") and "Traceback" not in done.stderr, done.stderr
        assert not list(folder.glob("x.*")) and not list((folder / "out").glob("*")), "something was written"
    return "refused" if done.exit_code else "read"


def kill(rng: np.random.Generator, folder: Path) -> str:
    """Kill `analogy transfer` at a random moment, and then run it to its end."""
    a, out = folder / "a.png", folder / "out"
    a.write_bytes(pictures.sound()["png"])
    mine = {"out/notes.txt": b"mine", ".analogy.tmp": b"mine"}
    words = [sys.executable, "-m", "analogy", "transfer", a, a, "-o", out, *FAST]
    words = [str(word) for word in words]
    quiet: dict[str, Any] = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE}
    subprocess.run([*words, "--flow", "--levels"], check=True, **quiet)
    for name, content in mine.items():
        (folder / name).write_bytes(content)
    how = [signal.SIGKILL, signal.SIGKILL, signal.SIGINT, signal.SIGTERM][rng.integers(4)]
    process = subprocess.Popen([*words, "--seed", "1", "--flow"], **quiet)
    after, began = int(rng.integers(-8, 12)), time.monotonic()
    wait = rng.uniform(0.2, 1)  # earlier, Python is starting, and the program cannot handle signals
    while process.poll() is None:
        staged = len(list(out.glob(".analogy-*/*")))
        if staged > after >= 0 or (after < 0 and time.monotonic() - began > wait):
            break
        time.sleep(0.0005)
    process.send_signal(how)
    _, said = process.communicate()
    if process.returncode != 0 and how != signal.SIGKILL:
        assert process.returncode in (130, 143, -how), f"exit code {process.returncode} after {how.name}"
        assert b"Traceback" not in said, said.decode()

    def check() -> None:
        there = {path.name: path for path in out.iterdir() if path.name not in ("notes.txt", "settings.json")}
        there = {name: path for name, path in there.items() if not name.startswith(".analogy-")}
        if (out / "settings.json").exists():
            files = json.loads((out / "settings.json").read_text())["files"]
            assert files == {name: hashlib.sha256(path.read_bytes()).hexdigest() for name, path in there.items()}
        assert all((folder / name).read_bytes() == content for name, content in mine.items())

    check()
    subprocess.run([*words, "--direction", "ab"], check=True, **quiet)
    check()
    names = {path.name for path in out.iterdir()}
    assert names == {"a_prime.png", "montage.png", "settings.json", "notes.txt"}, names
    return f"{how.name} {'in time' if process.returncode else 'too late'}"


def disk(rng: np.random.Generator, folder: Path) -> str:
    """Run `analogy transfer` on a disk that may be too small for its results; needs a superuser."""
    a, small = folder / "a.png", folder / "disk"
    a.write_bytes(pictures.sound()["png"])
    small.mkdir()
    size = int(rng.integers(3, 32)) * 4096
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", small], check=True)
    try:
        out = small / ["out", "x.png", "x.jpg", "x.webp", "x.tif", "x.bmp"][rng.integers(6)]
        flags = ["--flow", "--levels"] if out.name == "out" else []
        words = [str(word) for word in (sys.executable, "-m", "analogy", "transfer", a, a, "-o", out, *FAST)]
        first = subprocess.run([*words, "--direction", "ab"], capture_output=True)
        before = {path: path.read_bytes() for path in small.rglob("*") if path.is_file()}
        (small / "filler").write_bytes(bytes(int(rng.uniform(0, 1) * _free(small))))
        done = subprocess.run([*words, "--seed", "1", *flags], capture_output=True, text=True)
        after = {path: path.read_bytes() for path in small.rglob("*") if path.is_file() and path.name != "filler"}
        if done.returncode == 0:
            return "written"
        assert done.returncode == 2 and done.stderr.startswith("analogy: ") and done.stderr.count("\n") == 1, (
            done.stderr
        )
        assert "No space left on device" in done.stderr, done.stderr
        assert first.returncode or before == after, f"{sorted(before)} became {sorted(after)}"
    finally:
        subprocess.run(["umount", small], check=True)
    return "full"


def _free(folder: Path) -> int:
    return shutil.disk_usage(folder).free


KINDS: dict[str, Case] = {
    "pictures": picture, "bombs": bomb, "fields": field, "settings": record, "cards": card, "weights": weights,
    "models": model, "commands": command, "kills": kill, "disks": disk,
}  # fmt: skip
