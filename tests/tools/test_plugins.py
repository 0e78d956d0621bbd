"""Tests of the plug-ins for Krita and ComfyUI.

The plug-in for Krita is tested with fakes of Krita's objects and a real service, and in the real
Krita if it is installed. The node for ComfyUI is tested through ComfyUI's documented interface.
"""

from __future__ import annotations

import ast
import configparser
import importlib
import importlib.util
import io
import json
import os
import shutil
import struct
import subprocess
import sys
import threading
import types
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib import parse

import numpy as np
import pytest
from PIL import Image

import analogy
from analogy import PRESETS, Settings
from analogy.errors import ImageError
from analogy.method.guidance import UNLABELLED, read_labels
from analogy.pictures.reading import read_picture

PLUGINS = Path(__file__).parents[2] / "tools" / "plugins"
KRITA = PLUGINS / "krita"


def without(name: str) -> None:
    """Remove a module and its submodules from the loaded modules."""
    for each in [each for each in sys.modules if each == name or each.startswith(f"{name}.")]:
        del sys.modules[each]


class FakeKrita:
    """Fake of Krita's class `Krita`, with the two methods that the plug-in calls when it loads."""

    def __init__(self) -> None:
        self.extensions: list[Any] = []

    def instance(self) -> FakeKrita:
        return self

    def addExtension(self, extension: Any) -> None:
        self.extensions.append(extension)


class FakeExtension:
    def __init__(self, parent: Any) -> None:
        self.parent = parent


@pytest.fixture
def krita(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeKrita]:
    """Install a fake of Krita's Python module, and put the plug-in on Python's path."""
    fake = FakeKrita()
    module = types.ModuleType("krita")
    module.Krita, module.Extension = fake, FakeExtension  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "krita", module)
    monkeypatch.syspath_prepend(str(KRITA))
    without("analogy_krita")
    importlib.import_module("analogy_krita")
    yield fake
    without("analogy_krita")


@pytest.fixture
def part(krita: FakeKrita) -> Callable[[str], Any]:
    """Return a function that imports a module of the plug-in by name."""
    return lambda name: importlib.import_module(f"analogy_krita.{name}")


@dataclass
class Rect:
    left: int
    top: int
    wide: int
    high: int

    def x(self) -> int:
        return self.left

    def y(self) -> int:
        return self.top

    def width(self) -> int:
        return self.wide

    def height(self) -> int:
        return self.high


@dataclass
class Node:
    """Fake of Krita's class `Node`, made from Krita's documentation.

    Its pixels (H, W, 4) are blue, green, red and alpha, uint8 or uint16.
    """

    layer_name: str
    pixels: np.ndarray | None = None
    corner: tuple[int, int] = (0, 0)
    kind: str = "paintlayer"
    model: str = "RGBA"
    profile: str = "sRGB"
    children: list[Node] = field(default_factory=list)
    depth: str = ""

    def name(self) -> str:
        return self.layer_name

    def type(self) -> str:
        return self.kind

    def colorModel(self) -> str:
        return self.model

    def colorDepth(self) -> str:
        if self.depth or self.pixels is None:
            return self.depth or "U8"
        return {1: "U8", 2: "U16"}[self.pixels.itemsize]

    def colorProfile(self) -> str:
        return self.profile

    def setColorSpace(self, model: str, depth: str, profile: str) -> bool:
        self.model, self.depth, self.profile = model, depth, profile
        return True

    def bounds(self) -> Rect:
        rows, columns = (0, 0) if self.pixels is None else self.pixels.shape[:2]
        return Rect(*self.corner, columns, rows)

    def projectionPixelData(self, x: int, y: int, width: int, height: int) -> bytes:
        assert self.pixels is not None
        found = np.zeros((height, width, 4), self.pixels.dtype)
        left, top = self.corner
        for row in range(height):
            for column in range(width):
                at = y + row - top, x + column - left
                if 0 <= at[0] < self.pixels.shape[0] and 0 <= at[1] < self.pixels.shape[1]:
                    found[row, column] = self.pixels[at]
        return found.tobytes()

    def setPixelData(self, pixels: bytes, x: int, y: int, width: int, height: int) -> bool:
        kind = np.uint16 if self.colorDepth() == "U16" else np.uint8
        self.pixels, self.corner = np.frombuffer(pixels, kind).reshape(height, width, 4), (x, y)
        return True

    def childNodes(self) -> list[Node]:
        return list(self.children)

    def parentNode(self) -> Node | None:
        return getattr(self, "parent", None)

    def addChildNode(self, child: Node, above: Node | None) -> bool:
        self.children.insert(self.children.index(above) + 1 if above else len(self.children), child)
        return True


class Document:
    """Fake of Krita's class `Document`, made from Krita's documentation."""

    def __init__(self, width: int, height: int, *layers: Node) -> None:
        self.size = width, height
        self.root = Node("root", children=list(layers), kind="grouplayer")
        self.refreshed = 0

    def width(self) -> int:
        return self.size[0]

    def height(self) -> int:
        return self.size[1]

    def fileName(self) -> str:
        return "/somewhere/picture.kra"

    def rootNode(self) -> Node:
        return self.root

    def createNode(self, name: str, kind: str) -> Node:
        return Node(name, kind=kind)

    def refreshProjection(self) -> None:
        self.refreshed += 1


def bgra(rng: np.random.Generator, rows: int, columns: int, kind: Any = np.uint8) -> np.ndarray:
    """Return random opaque pixels of a layer."""
    top = np.iinfo(kind).max
    pixels = rng.integers(0, top, (rows, columns, 4), endpoint=True).astype(kind)
    pixels[..., 3] = top
    return pixels


def test_krita_finds_the_plug_in_and_its_menu_entry(krita: FakeKrita) -> None:
    card = configparser.ConfigParser()
    card.optionxform = str  # type: ignore[assignment, method-assign]
    card.read(KRITA / "analogy_krita.desktop")
    entry = card["Desktop Entry"]
    assert (entry["ServiceTypes"], entry["X-KDE-Library"]) == ("Krita/PythonPlugin", "analogy_krita")
    assert (KRITA / entry["X-KDE-Library"] / "__init__.py").is_file()

    made: list[tuple[str, ...]] = []
    connected: list[Any] = []

    class Window:
        def createAction(self, *words: str) -> Any:
            made.append(words)
            return types.SimpleNamespace(triggered=types.SimpleNamespace(connect=connected.append))

    [extension] = krita.extensions
    extension.setup()
    extension.createActions(Window())
    assert made == [("analogy_looks", "Give this layer other looks...", "tools/scripts")]
    assert connected == [extension.show]


def test_the_plug_in_uses_only_what_krita_s_python_has() -> None:
    files = sorted(KRITA.rglob("*.py"))
    assert len(files) > 4
    for path in files:
        tree = ast.parse(path.read_text(encoding="utf-8"), feature_version=(3, 8))
        named = {
            each.name.split(".")[0] for node in ast.walk(tree) if isinstance(node, ast.Import) for each in node.names
        }
        named |= {
            (node.module or "").split(".")[0]
            for node in ast.walk(tree)
            if isinstance(node, ast.ImportFrom) and not node.level
        }
        assert named <= {*sys.stdlib_module_names, "krita", "PyQt5"}, path


@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
def test_the_pixels_of_a_layer_become_a_picture(part, rng, kind) -> None:
    pixels = bgra(rng, 17, 18, kind)
    pixels[2, 3, 3] = 0
    picture = read_picture(part("pixels").layer_png(pixels.tobytes(), 18, 17, 8 * pixels.itemsize), grounded=False)
    opaque = pixels[..., 3] > 0
    own = picture.rgb if kind is np.uint8 else picture.rgb16
    assert np.array_equal(own[opaque], pixels[..., 2::-1][opaque])
    assert np.array_equal(picture.alpha > 0, opaque)
    assert part("pixels").alpha_of(pixels.tobytes(), 8 * pixels.itemsize) == picture.alpha.tobytes()


def test_16_bit_pixels_get_red_and_blue_swapped_and_nothing_else(part) -> None:
    pixels = struct.pack("<8H", 0x0102, 0x0304, 0x0506, 0x0708, 0x1112, 0x1314, 0x1516, 0x1718)
    swapped = struct.unpack("<8H", part("pixels").red_and_blue_swapped(pixels))
    assert swapped == (0x0506, 0x0304, 0x0102, 0x0708, 0x1516, 0x1314, 0x1112, 0x1718)


def painted(
    name: str, rows: int, columns: int, where: tuple[slice, slice], alpha: int = 255, kind: Any = np.uint8
) -> Node:
    """Return a layer with `alpha`, 0 to 255, in the pixels `where`, and transparent elsewhere."""
    pixels = np.zeros((rows, columns, 4), kind)
    pixels[where] = alpha * (257 if kind is np.uint16 else 1)
    return Node(name, pixels)


def test_layers_of_two_groups_become_label_pictures_that_match_by_name(part, rng) -> None:
    layers = part("layers")
    photo, painting = Node("photo", bgra(rng, 24, 32)), Node("painting", bgra(rng, 20, 36), corner=(40, 4))
    everywhere, left, right = np.s_[:, :], np.s_[:, :16], np.s_[:, 16:]
    of_photo = Node("labels", kind="grouplayer")
    of_photo.children = [
        painted("wall", 24, 32, everywhere),
        painted(" face ", 24, 32, left, alpha=128, kind=np.uint16),  # lies above the wall
        painted("wall", 24, 32, np.s_[:, :4]),  # a second layer of the region "wall", above both
        painted("face", 24, 32, right, alpha=127),  # less than half opaque, so that it covers nothing
        Node("a mask", kind="transparencymask"),
    ]
    of_painting = Node("others", kind="grouplayer")
    of_painting.children = [
        painted("face", 24, 80, np.s_[4:24, 40:52]),
        painted("wall", 24, 80, np.s_[4:12, 52:76]),
    ]
    document = Document(76, 24, photo, painting, of_photo, of_painting)
    a, b_prime, group_a, group_b = (layers.Layer(document, each) for each in document.root.children)
    pictures = layers.label_pictures(a, group_a, b_prime, group_b)
    labels = read_labels(pictures[0], [pictures[1]], (24, 32), {"B'": (20, 36)})
    assert labels is not None
    wall, face = labels.content[0, 0], labels.content[0, 4]
    assert wall != face and min(wall, face) >= 0
    assert labels.content.tolist() == [[wall] * 4 + [face] * 12 + [wall] * 16] * 24
    assert labels.sources[0].tolist() == [[face] * 12 + [wall] * 24] * 8 + [[face] * 12 + [UNLABELLED] * 24] * 12


@pytest.mark.parametrize(
    ("names", "words"),
    [
        ((["hair"], ["hair", "hat"]), "The region 'hat' is in one group only; each group needs a layer of this name."),
        (([], []), "The label groups have no layers; paint one layer for each region."),
        ([[str(n) for n in range(256)]] * 2, "The label groups have 256 regions; use at most 255."),
    ],
)
def test_label_groups_that_do_not_match_are_refused_in_one_sentence(part, names, words) -> None:
    layers = part("layers")
    groups = [
        Node("g", kind="grouplayer", children=[painted(name, 2, 2, np.s_[:, :]) for name in of_group])
        for of_group in names
    ]
    photo = Node("photo", np.full((2, 2, 4), 255, np.uint8))
    a, *of_each = (layers.Layer(Document(2, 2), each) for each in (photo, *groups))
    with pytest.raises(layers.LayerError) as error:
        layers.label_pictures(a, of_each[0], a, of_each[1])
    assert str(error.value) == words


def test_only_the_painted_part_of_a_layer_on_the_canvas_is_sent(part, rng) -> None:
    layers = part("layers")
    node = Node("photo", bgra(rng, 20, 25), corner=(-2, 3))
    layer = layers.Layer(Document(19, 21, node), node)
    assert layer.rectangle() == (0, 3, 19, 18)
    assert np.array_equal(read_picture(layer.png()).rgb, node.pixels[:18, 2:21, 2::-1])
    assert layer.words == "picture.kra: photo"


@pytest.mark.parametrize(
    ("node", "words"),
    [
        (Node("ink"), "The layer 'ink' is empty; choose one with a picture."),
        (
            Node("print", np.zeros((3, 3, 4), np.uint8), model="CMYKA"),
            "The layer 'print' is CMYKA U8; convert the image to RGB/Alpha with 8 or 16 bits "
            "(Image > Convert Image Color Space).",
        ),
    ],
)
def test_a_layer_that_cannot_be_sent_is_refused_in_one_sentence(part, node: Node, words: str) -> None:
    layers = part("layers")
    with pytest.raises(layers.LayerError) as error:
        layers.Layer(Document(3, 3, node), node).png()
    assert str(error.value) == words


def test_the_result_is_a_new_layer_above_the_old_one_which_stays(part, rng) -> None:
    layers = part("layers")
    below, node, above = Node("b"), Node("photo", bgra(rng, 3, 4, np.uint16), profile="wide"), Node("a")
    before = node.pixels.copy()
    document = Document(9, 9, below, node, above)
    made = bgra(rng, 3, 4, np.uint16)
    new = layers.add_above(layers.Layer(document, node), "new", (2, 5), (4, 3), made.tobytes())
    assert document.root.children == [below, node, new, above]
    assert np.array_equal(node.pixels, before)
    assert np.array_equal(new.pixels, made) and new.corner == (2, 5)
    assert (new.colorModel(), new.colorDepth(), new.colorProfile()) == ("RGBA", "U16", "wide")
    assert document.refreshed


def test_every_layer_of_every_open_picture_can_be_chosen(part) -> None:
    layers = part("layers")
    group = Node("group", kind="grouplayer", children=[Node("inner"), Node("mask", kind="filtermask")])
    one, two = Document(1, 1, Node("low"), group, Node("blur", kind="filterlayer")), Document(1, 1, Node("other"))
    found = list(layers.all_layers([one, two]))
    assert [each.node.name() for each in found] == ["group", "inner", "low", "other"]
    assert [each.is_group for each in found] == [True, False, False, False]


@pytest.fixture(scope="module")
def serving(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Start a real service with the token "secret", and return its address."""
    pytest.importorskip("fastapi", reason="FastAPI is not installed; the extra web has it")
    environment = os.environ | {"TMPDIR": str(tmp_path_factory.mktemp("service")), "ANALOGY_TOKEN": "secret"}
    command = [sys.executable, "-m", "analogy", "serve", "--port", "0", "--threads", "2"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment) as process:
        assert process.stderr
        addresses = (line.split()[-1] for line in process.stderr if "http://" in line)
        yield next(addresses)
        process.terminate()
        process.stderr.read()


def png(pixels: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


@pytest.fixture
def pictures(rng) -> dict[str, bytes]:
    a, b_prime = (rng.integers(0, 256, (48, 40, 3)).astype(np.uint8) for _ in range(2))
    labels = np.repeat(np.uint8([[[255, 0, 0]] * 20 + [[0, 0, 255]] * 20]), 48, axis=0)
    return {"a": png(a), "b_prime": png(b_prime), "mask_a": png(labels), "mask_b": png(labels[:, ::-1])}


def never() -> bool:
    return False


def test_the_service_makes_the_picture_of_the_library(part, serving, pictures, monkeypatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")  # the plug-in does not use this proxy
    service = part("service").Service(serving + "/", "secret")
    answer = service.settings()
    assert [preset["name"] for preset in answer["presets"]] == list(PRESETS)
    steps: list[tuple[str, float]] = []
    made = service.make(pictures, {"preset": "fast", "weight": "2"}, lambda *step: steps.append(step), never)
    expected = analogy.transfer(
        pictures["a"], pictures["b_prime"], "fast", weight=2, direction="ab",
        mask_a=pictures["mask_a"], mask_b=pictures["mask_b"],
    ).a_prime  # fmt: skip
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(made))), expected)
    assert steps[0] == ("sending the pictures", 0.0) and steps[-1] == ("fetching the picture", 1.0)
    assert [share for _, share in steps] == sorted(share for _, share in steps)


def test_cancelling_ends_the_job_in_the_service_too(part, serving, pictures) -> None:
    service = part("service").Service(serving, "secret")
    asked: list[str] = []
    ask = service._ask

    def recorded(method: str, path: str, *rest: Any) -> bytes:
        asked.append(f"{method} {path}")
        return bytes(ask(method, path, *rest))

    service._ask = recorded
    with pytest.raises(part("service").CancelledError):
        service.make(pictures, {"settings": '{"inversion": "deconvolution"}'}, lambda *step: None, lambda: True)
    assert asked[-1].startswith("DELETE /v1/jobs/")
    with pytest.raises(part("service").ServiceError, match="no such job"):
        ask("GET", asked[-1].removeprefix("DELETE "))


def test_a_refusal_of_the_service_becomes_one_sentence(part, serving, pictures) -> None:
    error = part("service").ServiceError
    service = part("service").Service(serving, "secret")
    for sent, fields, words in [
        (pictures, {"preset": "none"}, "Preset: .+"),
        (pictures | {"b_prime": b"no picture"}, {}, "B' is not a picture that can be read; .+"),
        (
            pictures | {"a": bytes(70 << 20)},
            {},
            r"The pictures have 70\.\d MB, and the service accepts 64 MB; start it with a larger --upload-mb\.",
        ),
    ]:
        with pytest.raises(error, match=f"^{words}$"):
            service.make(sent, fields, lambda *step: None, never)
    with pytest.raises(error, match=r"^The service needs its token; start Krita with the same ANALOGY_TOKEN.$"):
        part("service").Service(serving).settings()


def test_an_address_that_is_none_is_reported_in_one_sentence(part) -> None:
    service = part("service")
    for address in ("", "localhost", "ftp://localhost", "http://[::1"):
        with pytest.raises(service.ServiceError, match=r"is not the address of a service; give one like http://"):
            service.Service(address)


def test_an_address_without_a_service_is_reported_in_one_sentence(part) -> None:
    service = part("service")

    class OtherServer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(int(self.path.split("/")[1]))
            self.end_headers()
            self.wfile.write(parse.unquote(self.path.split("/")[2]).encode())

        def log_message(self, *words: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), OtherServer)
    threading.Thread(target=server.serve_forever).start()
    at = f"http://127.0.0.1:{server.server_port}"
    try:
        for answer in ("200/<html>", "404/<html>", '404/{"detail": "Not Found"}', '200/{"presets": []}'):
            with pytest.raises(
                service.ServiceError, match="start the service at another port with: analogy serve --port"
            ):
                service.Service(f"{at}/{parse.quote(answer)}").settings()
    finally:
        server.shutdown()
        server.server_close()
    with pytest.raises(service.ServiceError) as gone:
        service.Service(at).settings()
    assert str(gone.value) == f"No service answers at {at}; start it in a terminal with: analogy serve"
    for address in ("", "localhost:8000", "file:///etc/passwd"):
        with pytest.raises(service.ServiceError, match="is not the address of a service; give one like http"):
            service.Service(address)


def test_work_ends_with_a_result_or_a_problem_or_after_cancelling_with_neither(part) -> None:
    work, service = part("work"), part("service")

    def done(do: Callable[..., Any], cancel: bool = False) -> Any:
        running = work.Work(do)
        if cancel:
            running.cancel()
        running._thread.join(30)
        assert running.ended
        return running

    def fail(step: Any, cancelled: Any) -> None:
        raise service.ServiceError("No.")

    def until_cancelled(step: Any, cancelled: Any) -> None:
        while not cancelled():
            step("waiting", 0.5)
        raise service.CancelledError

    good = done(lambda step, cancelled: (step("all", 1.0), 7)[1])
    assert (good.result, good.problem, good.now) == (7, None, ("all", 1.0))
    assert (done(fail).result, done(fail).problem) == (None, "No.")
    ended = done(until_cancelled, cancel=True)
    assert (ended.result, ended.problem) == (None, None)
    assert done(lambda step, cancelled: 1 / 0).problem.startswith(
        "An unexpected error has ended the work: ZeroDivisionError"
    )


IN_KRITA = """
import json, os, sys, traceback
sys.path.insert(0, os.environ["PLUGIN"])

def wait(dialog):
    from PyQt5.QtCore import QEventLoop, QTimer
    while dialog.work is not None:
        loop = QEventLoop()
        QTimer.singleShot(50, loop.quit)
        loop.exec_()
    return dialog.message

def main(*args):
    state = {}
    try:
        run(state)
    except BaseException:
        state["problem"] = traceback.format_exc()
    with open(os.environ["STATE"], "w") as file:
        json.dump(state, file)

def run(state):
    from krita import Krita
    from analogy_krita.dialog import Dialog
    from analogy_krita.layers import Layer
    app = Krita.instance()
    app.writeSetting("analogy", "address", os.environ["ADDRESS"])
    with open(os.environ["SCENE"], "rb") as file:
        scene = file.read()
    w, h = 40, 48
    for depth, size in (("U8", 4), ("U16", 8)):
        document = app.createDocument(2 * w + 10, h + 4, "scene", "RGBA", depth, "", 72.0)
        root = document.rootNode()
        def add(parent, name, pixels, x):
            node = document.createNode(name, "paintlayer")
            parent.addChildNode(node, None)
            node.setPixelData(pixels, x, 2, w, h)
            return node
        n = w * h * size
        pixels, scene = scene[:2 * n], scene[2 * n:]
        photo, painting = add(root, "photo", pixels[:n], 1), add(root, "painting " + depth, pixels[n:], w + 5)
        full, half = b"\\xff" * n, (b"\\xff" * (size * w // 2) + bytes(size * w // 2)) * h
        for name, x in (("one " + depth, 1), ("two " + depth, w + 5)):
            group = document.createGroupLayer(name)
            root.addChildNode(group, None)
            add(group, "right", full, x)
            add(group, "left", half, x)
            group.setVisible(False)
        document.refreshProjection()
        document.waitForDone()
        dialog = Dialog(Layer(document, photo))
        state[depth + " settings"] = wait(dialog)
        dialog.choose_looks(layer_name="painting " + depth)
        dialog.choose_labels("one " + depth, "two " + depth)
        dialog._preset.setCurrentIndex(dialog._preset.findData("fast"))
        dialog.make()
        state[depth + " made"] = wait(dialog)
        state[depth + " layers"] = [node.name() for node in root.childNodes()]
        new = root.childNodes()[root.childNodes().index(photo) + 1]
        state[depth + " result"] = bytes(new.pixelData(1, 2, w, h)).hex()
        state[depth + " photo"] = bytes(photo.pixelData(1, 2, w, h)) == pixels[:n]
        state[depth + " new"] = [new.colorDepth(), new.bounds().x(), new.bounds().y(), new.bounds().width()]
"""


def test_the_real_krita_makes_a_new_layer_with_labels(part, serving, rng, tmp_path: Path) -> None:
    runner = shutil.which("kritarunner")
    if not runner:
        pytest.skip("kritarunner is not installed; run apt-get install krita")
    scene = {kind: [bgra(rng, 48, 40, kind) for _ in range(2)] for kind in (np.uint8, np.uint16)}
    (tmp_path / "scene").write_bytes(b"".join(each.tobytes() for pair in scene.values() for each in pair))
    (tmp_path / "in_krita.py").write_text(IN_KRITA)
    environment = {
        # Krita's Python finds its modules next to the first python3 on the path. This must be the
        # system's python3, and not the python3 that runs the tests.
        "PATH": os.pathsep.join(["/usr/bin", "/bin"]), "HOME": str(tmp_path), "PYTHONPATH": str(tmp_path),
        "QT_QPA_PLATFORM": "offscreen", "XDG_RUNTIME_DIR": str(tmp_path), "ANALOGY_TOKEN": "secret", "LANG": "C.UTF-8",
        "PLUGIN": str(KRITA), "ADDRESS": serving,
        "SCENE": str(tmp_path / "scene"), "STATE": str(tmp_path / "state.json"),
    }  # fmt: skip
    for _ in range(3):  # Krita sometimes crashes at its start, before it loads the plug-in
        # The exit code is ignored, since Krita may crash when it quits.
        ran = subprocess.run(
            [runner, "-s", "in_krita", "-f", "main"], env=environment, cwd=tmp_path, capture_output=True, timeout=300
        )
        if (tmp_path / "state.json").exists():
            break
    assert (tmp_path / "state.json").exists(), ran.stderr.decode()[-2000:]
    state = json.loads((tmp_path / "state.json").read_text())
    assert "problem" not in state, state["problem"]
    labels = np.repeat(np.uint8([[[255, 0, 0]] * 20 + [[0, 0, 255]] * 20]), 48, axis=0)
    for kind, depth in ((np.uint8, "U8"), (np.uint16, "U16")):
        name = f"photo in the looks of painting {depth}"
        assert state[f"{depth} settings"] == f"Connected to analogy {analogy.__version__}."
        assert state[f"{depth} made"] == f"The new layer is '{name}'."
        assert name in state[f"{depth} layers"]
        assert state[f"{depth} photo"], "the old layer was changed"
        assert state[f"{depth} new"] == [depth, 1, 2, 40]
        a, b_prime = (each[..., 2::-1] for each in scene[kind])
        expected = analogy.transfer(a, b_prime, "fast", direction="ab", mask_a=labels, mask_b=labels).a_prime
        found = np.frombuffer(bytes.fromhex(state[f"{depth} result"]), kind).reshape(48, 40, 4)
        assert np.array_equal(found[..., 2::-1], expected)
        assert (found[..., 3] == np.iinfo(kind).max).all()


class InterruptError(Exception):
    """Fake of the exception that ComfyUI raises after an interrupt."""


@dataclass
class Comfy:
    """Fakes of the parts of ComfyUI that the node uses.

    `shown` has each value of the progress bar with its total. The user interrupts the work after
    `interrupt_after` values.
    """

    node: Any
    module: Any
    shown: list[tuple[int, int]]
    interrupt_after: int = 1 << 30

    def make(self, image: Any, looks: Any, **inputs: Any) -> Any:
        """Call the node as ComfyUI does: the method in FUNCTION, with the value of every widget."""
        required = self.node.INPUT_TYPES()["required"]
        widgets = {name: options["default"] for name, (_, options) in required.items() if "default" in options}
        inputs = widgets | {"preset": "fast", "device": "cpu"} | inputs
        return getattr(self.node(), self.node.FUNCTION)(image=image, looks=looks, **inputs)


@pytest.fixture
def comfy(monkeypatch: pytest.MonkeyPatch) -> Iterator[Comfy]:
    """Install fakes of ComfyUI's modules, and load the node's folder as ComfyUI does.

    ComfyUI loads the folder as a module with another name.
    """
    fake = Comfy(None, None, [])

    class ProgressBar:
        def __init__(self, total: int):
            self.total = total

        def update_absolute(self, value: int) -> None:
            fake.shown.append((value, self.total))

    class ExecutionBlocker:
        def __init__(self, message: str):
            self.message = message

    def throw_exception_if_processing_interrupted() -> None:
        if len(fake.shown) >= fake.interrupt_after:
            raise InterruptError

    members = {
        "comfy": {},
        "comfy.utils": {"ProgressBar": ProgressBar},
        "comfy.model_management": {
            "throw_exception_if_processing_interrupted": throw_exception_if_processing_interrupted
        },
        "comfy_execution": {},
        "comfy_execution.graph": {"ExecutionBlocker": ExecutionBlocker},
    }
    for name, values in members.items():
        module = types.ModuleType(name)
        vars(module).update(values)
        monkeypatch.setitem(sys.modules, name, module)
    name = "custom_nodes_analogy"
    spec = importlib.util.spec_from_file_location(name, PLUGINS / "comfyui" / "__init__.py")
    assert spec and spec.loader
    loaded = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, name, loaded)
    spec.loader.exec_module(loaded)
    fake.module = sys.modules[f"{name}.node"]
    [(key, fake.node)] = loaded.NODE_CLASS_MAPPINGS.items()
    assert list(loaded.NODE_DISPLAY_NAME_MAPPINGS) == [key]
    yield fake
    without(name)


@pytest.fixture
def torch() -> Any:
    return pytest.importorskip("torch", reason="PyTorch is not installed; the node for ComfyUI needs its tensors")


@pytest.fixture
def images(torch, rng) -> Callable[..., Any]:
    """Return a function that makes random batches as ComfyUI does: (N, H, W, 3) float32 in 0..1."""
    return lambda n, rows, columns: torch.from_numpy(
        rng.integers(0, 256, (n, rows, columns, 3)).astype(np.float32) / 255
    )


def as_pixels(batch: Any) -> np.ndarray:
    return (batch.numpy() * 255).round().astype(np.uint8)


def test_the_node_has_the_attributes_that_comfyui_reads(comfy: Comfy) -> None:
    node = comfy.node
    assert callable(getattr(node, node.FUNCTION)) and node.CATEGORY
    assert node.RETURN_TYPES == ("IMAGE", "IMAGE")
    assert len(node.RETURN_NAMES) == len(node.OUTPUT_TOOLTIPS) == 2
    inputs = node.INPUT_TYPES()
    assert set(inputs) == {"required", "optional"}
    assert inputs["optional"].keys() == {"mask_image", "mask_looks"}
    assert all(kind == "MASK" for kind, _ in inputs["optional"].values())
    for name, (kind, options) in inputs["required"].items():
        assert kind in ("IMAGE", "INT", "FLOAT") or isinstance(kind, list), name
        assert options["tooltip"], name
        if isinstance(kind, list):
            assert options["default"] in kind, name
        elif kind != "IMAGE":
            assert options["min"] <= options["default"] <= options["max"], name
    assert inputs["required"]["preset"][0] == list(PRESETS)
    json.dumps(inputs)  # ComfyUI sends the inputs to its page as JSON


def test_the_widgets_have_the_values_and_ranges_of_the_settings(comfy: Comfy) -> None:
    required = comfy.node.INPUT_TYPES()["required"]
    for name in (*comfy.module.WIDGETS, "seed", "direction"):
        kind, options = required[name]
        for value in kind if isinstance(kind, list) else (options["min"], options["max"]):
            assert getattr(Settings(**{name: value}), name) == value
    defaults = {name: options["default"] for name, (_, options) in required.items() if name in comfy.module.WIDGETS}
    for preset in PRESETS:  # a widget at its default does not change the preset
        assert comfy.module.settings_of(preset, defaults) == Settings.preset(preset)
        assert comfy.module.settings_of(preset, defaults | {"weight": 1}, seed=3) == Settings.preset(
            preset, weight=1, seed=3
        )


def test_the_node_makes_the_pictures_of_the_library(comfy: Comfy, torch, images) -> None:
    image, looks = images(2, 40, 48), images(3, 44, 40)
    made, others = comfy.make(image, looks, direction="both", seed=5)
    assert made.shape == image.shape and made.dtype == torch.float32
    assert others.shape == (6, 44, 40, 3)
    for n, picture in enumerate(as_pixels(image)):
        expected = analogy.transfer(picture, list(as_pixels(looks)), "fast", seed=5, direction="both", device="cpu")
        assert np.array_equal(as_pixels(made[n]), expected.a_prime)
        assert np.array_equal(as_pixels(others[3 * n : 3 * n + 3]), expected.b)
    shares = [value for value, _ in comfy.shown]
    assert shares == sorted(shares) and comfy.shown[-1] == (2000, 2000)


def test_masks_keep_two_regions_apart_and_both_are_needed(comfy: Comfy, torch, images) -> None:
    image, looks = images(1, 40, 48), images(2, 44, 40)
    mask_image, mask_looks = torch.zeros(1, 40, 48), torch.zeros(2, 44, 40)
    mask_image[:, :, :20], mask_looks[0, :, :30], mask_looks[1, :10] = 0.6, 1.0, 1.0
    made, _ = comfy.make(image, looks, mask_image=mask_image, mask_looks=mask_looks)
    masks = {"mask_a": mask_image[0].numpy() > 0.5, "mask_b": list(mask_looks.numpy() > 0.5)}
    expected = analogy.transfer(
        as_pixels(image)[0], list(as_pixels(looks)), "fast", direction="ab", device="cpu", **masks
    )
    assert np.array_equal(as_pixels(made[0]), expected.a_prime)
    assert not np.array_equal(as_pixels(comfy.make(image, looks)[0][0]), expected.a_prime)
    one_for_all, _ = comfy.make(image, looks, mask_image=mask_image, mask_looks=mask_looks[:1])
    masks["mask_b"] = [masks["mask_b"][0]] * 2
    expected = analogy.transfer(
        as_pixels(image)[0], list(as_pixels(looks)), "fast", direction="ab", device="cpu", **masks
    )
    assert np.array_equal(as_pixels(one_for_all[0]), expected.a_prime)
    with pytest.raises(ImageError, match="give both masks, or none"):
        comfy.make(image, looks, mask_image=mask_image)
    with pytest.raises(ValueError, match="mask_image has 2 masks for 3 pictures; give one for all, or one for each"):
        comfy.make(images(3, 44, 40), looks, mask_image=mask_looks, mask_looks=mask_looks)


def test_an_output_that_was_not_made_stops_the_next_nodes_with_a_reason(comfy: Comfy, images) -> None:
    image, looks = images(1, 40, 48), images(1, 44, 40)
    for direction, made in (("ab", 0), ("ba", 1)):
        outputs = comfy.make(image, looks, direction=direction)
        assert outputs[made].shape == (image, looks)[made].shape
        assert outputs[1 - made].message == "this direction was not made; set 'direction' of the node to 'both'"


def test_values_slightly_outside_0_to_1_are_clipped(comfy: Comfy, torch, images) -> None:
    image, looks = images(1, 40, 48), images(1, 44, 40)
    over = torch.where(image == 1, 1.25, torch.where(image == 0, -0.25, image))
    assert torch.equal(comfy.make(over, looks)[0], comfy.make(image, looks)[0])


def test_an_interrupt_of_the_user_ends_the_transfer(comfy: Comfy, images) -> None:
    comfy.interrupt_after = 2
    with pytest.raises(InterruptError):
        comfy.make(images(1, 40, 48), images(1, 44, 40))
    assert len(comfy.shown) == 2


def test_the_engine_of_each_model_and_device_is_loaded_once(comfy: Comfy) -> None:
    engine = comfy.module.engine_for("vgg16-compact", "cpu")
    assert comfy.module.engine_for("vgg16-compact", "cpu") is engine
