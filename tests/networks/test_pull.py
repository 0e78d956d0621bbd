"""Tests of pulling models from a server on this machine."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from local_server import Server
from vgg_files import IMAGENET, plain_features, random_weights, torchvision_names, write_keras

from analogy.apps.cli import cli
from analogy.errors import ModelError, OutputError
from analogy.networks import pull as pull_module
from analogy.networks.cards import read_card
from analogy.networks.models import DEFAULT, installed, locate, shipped, verify
from analogy.networks.published import PUBLISHED, Published, PublishedFile, identify
from analogy.networks.pull import convert, pull

NAME = "vgg19-test"
TOOL = Path(__file__).parents[2] / "tools" / "export_vgg19.py"


@pytest.fixture
def server():
    server = Server()
    yield server
    server.close()


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("ANALOGY_HOME", str(tmp_path / "home"))
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    return tmp_path / "home"


@pytest.fixture(scope="module")
def weights_file(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "notop.h5"
    write_keras(path, random_weights((4, 4, 4, 4, 4)))
    return path


@pytest.fixture
def publish(monkeypatch, weights_file, server):
    """Return a function that puts `weights_file` on the test's server and lists it as model `NAME`.

    `urls` are addresses, or paths on the test's server. `changes` replace fields of the
    `PublishedFile`, such as its checksums.
    """

    def publish(*urls: str, **changes) -> PublishedFile:
        server.files["/notop.h5"] = weights_file.read_bytes()
        fields = {"checksums": {"md5": hashlib.md5(weights_file.read_bytes()).hexdigest()}} | changes
        urls = tuple(url if "://" in url else server.url + url for url in urls)
        file = PublishedFile("notop.h5", urls=urls, **fields)
        monkeypatch.setitem(PUBLISHED, NAME, Published("a test", "none", (file,)))
        return file

    return publish


def left_behind(home: Path) -> list[str]:
    return sorted(path.name for path in (home / "models").iterdir()) if (home / "models").is_dir() else []


def refused_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def one_line(caught) -> str:
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_pull_downloads_converts_and_installs_a_model_that_verifies(publish, server, home):
    publish("/notop.h5")
    folder = pull(NAME)
    assert folder == home / "models" / NAME == locate(NAME) == installed()[NAME]
    verify(folder)
    card = read_card(folder)
    assert card.name == NAME and card.widths == (4, 4, 4, 4, 4) and card.licence == "none"
    assert card.source.startswith("notop.h5 (md5 ")
    assert server.requests == ["/notop.h5"] and left_behind(home) == [NAME]


def test_pulling_a_cached_model_opens_no_connection(publish, server, monkeypatch):
    publish("/notop.h5")
    pull(NAME)

    def no_network(*arguments):
        raise AssertionError("a connection was opened")

    monkeypatch.setattr(socket.socket, "connect", no_network)
    monkeypatch.setattr(socket, "getaddrinfo", no_network)
    assert pull(NAME) == locate(NAME)
    assert pull(DEFAULT) == shipped() / DEFAULT
    assert server.requests == ["/notop.h5"]


def test_mirrors_are_tried_in_turn(publish, server, home):
    publish(f"http://127.0.0.1:{refused_port()}/notop.h5", "/missing", "/notop.h5?cut", "/wrong", "/notop.h5", "/never")
    server.files["/wrong"] = b"another file"
    verify(pull(NAME))
    assert server.requests == ["/missing", "/notop.h5?cut", "/wrong", "/notop.h5"]
    assert left_behind(home) == [NAME]


def test_when_every_address_fails_each_reason_is_given_and_no_file_is_left(publish, server, home):
    url = f"http://127.0.0.1:{refused_port()}/notop.h5"
    publish(url, "/missing", "/notop.h5?cut", by_hand="http://example.org/by-hand")
    with pytest.raises(ModelError) as caught:
        pull(NAME)
    message = one_line(caught)
    assert f"{url}: Connection refused" in message
    assert "/missing: HTTP status 404" in message
    assert "/notop.h5?cut: " in message and "IncompleteRead" in message
    assert "http://example.org/by-hand elsewhere and run: analogy models pull vgg19-test --from FILE" in message
    assert left_behind(home) == []


def test_an_unknown_host_and_a_bad_address_are_named(publish, monkeypatch):
    def unknown(*arguments, **options):
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    publish("http://no-such-host.invalid/f", "nonsense://x")
    with pytest.raises(ModelError) as caught:
        pull(NAME)
    message = one_line(caught)
    assert "no-such-host.invalid/f: Name or service not known" in message and "nonsense://x: " in message


def test_a_server_that_stops_sending_times_out(publish, server, monkeypatch):
    monkeypatch.setattr(pull_module, "TIMEOUT", 0.3)
    publish("/notop.h5")
    server.gate.clear()
    with pytest.raises(ModelError, match="timed out"):
        pull(NAME)


@pytest.mark.parametrize(
    "changes",
    [
        {"checksums": {"md5": "0" * 32}},
        {"checksums": {"sha256": "dcbb9e9d"}},
        {"checksums": {}, "size": 574671192},
    ],
)
def test_a_file_with_a_wrong_checksum_is_neither_parsed_nor_installed(
    publish, home, changes, monkeypatch, weights_file
):
    publish("/notop.h5")
    pull(NAME)
    before = {path: path.read_bytes() for path in (home / "models" / NAME).iterdir()}
    (home / "models" / NAME).rename(home / "models" / "other")

    def never(*arguments):
        raise AssertionError("a file with a wrong checksum was parsed")

    monkeypatch.setattr("analogy.networks.weights.read", never)
    publish("/notop.h5", **changes)
    for source in (None, weights_file):
        with pytest.raises(ModelError) as caught:
            pull(NAME, source)
        one_line(caught)
    assert left_behind(home) == ["other"]
    for path, content in before.items():
        assert (home / "models" / "other" / path.name).read_bytes() == content
    assert weights_file.is_file()


def test_a_checksum_may_be_given_by_its_first_digits(publish, weights_file):
    whole = hashlib.sha256(weights_file.read_bytes()).hexdigest()
    publish("/notop.h5", checksums={"sha256": whole[:8]}, size=weights_file.stat().st_size)
    verify(pull(NAME))


def test_a_file_downloaded_by_hand_is_converted_without_a_request(publish, server, weights_file, tmp_path):
    publish("/notop.h5")
    by_hand = tmp_path / "renamed.download"
    by_hand.write_bytes(weights_file.read_bytes())
    verify(pull(NAME, by_hand))
    assert server.requests == [] and by_hand.is_file()


def test_a_wrong_file_downloaded_by_hand_is_refused(publish, tmp_path, home):
    file = publish("/notop.h5")
    wrong = tmp_path / "wrong.h5"
    wrong.write_bytes(b"wrong")
    with pytest.raises(ModelError) as caught:
        pull(NAME, wrong)
    message = one_line(caught)
    assert f"{wrong} is not a published file of {NAME}: it has 5 bytes, sha256" in message
    assert file.describe() in message
    with pytest.raises(ModelError, match="cannot be read: No such file or directory"):
        pull(NAME, tmp_path / "missing.h5")
    assert left_behind(home) == []


def test_a_damaged_model_in_the_cache_is_replaced(publish, home):
    publish("/notop.h5")
    folder = pull(NAME)
    (folder / "features.onnx").write_bytes(b"damaged")
    (folder / "invert_5.onnx").unlink()
    assert pull(NAME) == folder
    verify(folder)
    assert left_behind(home) == [NAME]


def test_a_damaged_model_stays_where_its_replacement_cannot_be_downloaded(publish, home):
    publish("/notop.h5")
    folder = pull(NAME)
    (folder / "features.onnx").write_bytes(b"damaged")
    publish("/missing")
    with pytest.raises(ModelError):
        pull(NAME)
    assert (folder / "features.onnx").read_bytes() == b"damaged"


class Bar:
    """Progress bar for `pull`, with the methods of tqdm's bar that pooch calls."""

    def __init__(self, interrupt_after: int = 1 << 60):
        self.total, self.n, self.closed, self.left = 0, 0, False, interrupt_after

    def update(self, count):
        self.n += count
        if self.n > self.left:
            raise KeyboardInterrupt

    def reset(self):
        self.n = 0

    def close(self):
        self.closed = True


def test_progress_reaches_the_size_of_the_file_and_nothing_is_printed(publish, weights_file, capfd):
    publish("/missing", "/notop.h5")
    bar = Bar()
    pull(NAME, progress=bar)
    assert bar.closed and bar.n == bar.total == weights_file.stat().st_size
    assert capfd.readouterr() == ("", "")


def test_the_command_pulls_a_model_and_names_its_folder(publish, home):
    publish("/notop.h5")
    done = CliRunner().invoke(cli, ["models", "pull", NAME])
    assert (done.exit_code, done.stdout, done.stderr) == (0, f"{home / 'models' / NAME}\n", "")
    verify(locate(NAME))


def test_an_interrupted_pull_leaves_no_file_and_can_be_repeated(publish, server, home):
    publish("/notop.h5")
    with pytest.raises(KeyboardInterrupt):
        pull(NAME, progress=Bar(interrupt_after=1))
    assert left_behind(home) == []
    verify(pull(NAME))


def in_process(home: Path, file: PublishedFile, then: str = "print(pull(name))") -> subprocess.Popen:
    """Start a process that lists `file` as the model `NAME`, and then runs the code `then`.

    By default this code pulls the model and prints its folder.
    """
    code = f"""
import json, sys
from analogy.networks.published import PUBLISHED, Published, PublishedFile
from analogy.networks.pull import pull
name, urls, checksums = json.loads(sys.argv[1])
PUBLISHED[name] = Published("a test", "none", (PublishedFile("notop.h5", checksums, tuple(urls)),))
{then}
"""
    argument = json.dumps([NAME, file.urls, dict(file.checksums)])
    environment = os.environ | {"ANALOGY_HOME": str(home)}
    return subprocess.Popen(
        [sys.executable, "-W", "error", "-c", code, argument],
        env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def wait_for(condition, seconds: float = 30) -> None:
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, "the condition did not become true in time"
        time.sleep(0.02)


@pytest.mark.skipif(os.name != "posix", reason="sends POSIX signals")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signals_during_a_pull_end_the_command_and_leave_no_file(publish, server, home, number):
    file = publish("/notop.h5")
    server.gate.clear()
    command = """
from analogy.apps.cli import main
sys.argv = ["analogy", "models", "pull", name]
main()
"""
    with in_process(home, file, command) as process:
        wait_for(lambda: server.requests and any((home / "models").glob(".analogy-*/notop.h5")))
        for _ in range(3):
            process.send_signal(number)
            time.sleep(0.01)
        _, err = process.communicate(timeout=30)
    assert process.returncode == 128 + number
    assert err.count("\n") == 1 and err.startswith("analogy: ")
    assert left_behind(home) == []


def test_three_processes_that_pull_at_once_all_succeed(publish, server, home):
    file = publish("/notop.h5")
    server.gate.clear()
    processes = [in_process(home, file) for _ in range(3)]
    wait_for(lambda: len(server.requests) == 3)  # all three processes are downloading
    server.gate.set()
    results = [(*process.communicate(timeout=60), process.returncode) for process in processes]
    for out, err, code in results:
        assert code == 0, err
        assert out.strip() == str(home / "models" / NAME)
    verify(locate(NAME))
    assert left_behind(home) == [NAME]


def test_the_next_pull_deletes_the_scratch_folder_of_a_killed_one(publish, server, home):
    file = publish("/notop.h5")
    server.gate.clear()
    with in_process(home, file) as process:
        wait_for(lambda: server.requests and any((home / "models").glob(".analogy-*/notop.h5")))
        process.kill()
        process.communicate(timeout=30)
    server.gate.set()
    assert NAME not in installed()
    assert len(left_behind(home)) == 1
    verify(pull(NAME))
    assert left_behind(home) == [NAME]


@pytest.mark.parametrize("stage", ["download", "conversion"])
def test_a_full_disk_is_reported_in_one_line_and_leaves_no_file(publish, home, weights_file, stage):
    """Let the system refuse files of more than 5000 bytes: writing fails as on a full disk."""
    resource = pytest.importorskip("resource", reason="this system cannot limit the size of files")
    publish("/notop.h5")
    source = None if stage == "download" else weights_file
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (5000, hard))
    try:
        with pytest.raises(OutputError) as caught:
            pull(NAME, source)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    message = one_line(caught)
    assert message.startswith(f"{home / 'models' / NAME} cannot be written: File too large")
    assert "free some disk space, or set ANALOGY_HOME" in message
    assert left_behind(home) == []


def test_a_cache_folder_that_cannot_be_made_is_named(publish, home):
    publish("/notop.h5")
    home.write_text("a file where the folder should be")
    with pytest.raises(
        OutputError, match=r"cannot be written: .*; free some disk space, or set ANALOGY_HOME to another folder"
    ):
        pull(NAME)


def test_proxies_of_the_environment_are_used(publish, server, monkeypatch):
    publish("http://weights.invalid/notop.h5")
    server.files["http://weights.invalid/notop.h5"] = server.files["/notop.h5"]
    monkeypatch.setenv("http_proxy", server.url)
    verify(pull(NAME))
    assert server.requests == ["http://weights.invalid/notop.h5"]


def test_unknown_models_cannot_be_pulled():
    with pytest.raises(ModelError, match="no model 'vgg99' is published; choose from vgg19, vgg19-retrained, vgg19-"):
        pull("vgg99")


def test_every_published_file_has_a_checksum_and_an_address():
    assert {"vgg19", "vgg19-retrained", "vgg19-retrained-mxnet"} <= set(PUBLISHED)
    for name, model in PUBLISHED.items():
        assert ("retrained" in name) == ("again" in model.description)
        for file in model.files:
            assert file.checksums, "the size alone does not identify a file"
            for kind, digits in file.checksums.items():
                assert len(digits) >= 8 and set(digits) <= set("0123456789abcdef")
                assert kind in hashlib.algorithms_guaranteed
            assert all(url.startswith("https://") and url.endswith(file.name) for url in file.urls)
            assert file.urls or file.by_hand
    assert PUBLISHED["vgg19"].files[0].checksums == {"md5": "253f8cb515780f3b799900260a226db6"}


@pytest.mark.parametrize("package", ["onnx", "pooch", "h5py"])
def test_a_missing_package_is_named_with_the_command_that_installs_it(publish, monkeypatch, home, package):
    publish("/notop.h5")
    monkeypatch.setitem(sys.modules, package, None)  # importing it fails
    for name in ("analogy.networks.export", "analogy.networks.weights"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    with pytest.raises(ModelError, match=rf'needs the package "{package}": pip install "deep-image-analogy\[export\]"'):
        pull(NAME)
    assert left_behind(home) == []


# Conversion of published files and of other files


def test_a_converted_file_says_that_its_training_is_not_known(weights_file, tmp_path):
    card = convert(weights_file, tmp_path / "mine")
    assert card.name == "mine" and "training is not known" in card.description
    assert "VGG-19 from a keras file" in card.description
    assert hashlib.sha256(weights_file.read_bytes()).hexdigest() in card.source
    verify(locate(tmp_path / "mine"))


def test_a_model_whose_files_have_names_with_unusual_spaces_can_be_used(weights_file, tmp_path):
    named = shutil.copyfile(weights_file, tmp_path / f"vgg\u300019{weights_file.suffix}")
    card = convert(named, tmp_path / "my\u00a0model")
    assert read_card(locate(tmp_path / "my\u00a0model")).source == card.source
    assert card.name == r"my\xa0model" and r"vgg\u300019" in card.source


def test_a_converted_published_file_gets_the_published_card(publish, weights_file, tmp_path):
    file = publish("/notop.h5")
    assert identify(weights_file) == (NAME, file)
    card = convert(weights_file, tmp_path / "mine")
    assert (card.name, card.description, card.licence) == (NAME, "a test", "none")
    assert convert(weights_file, tmp_path / "two", "two").name == "two"
    other = convert(weights_file, tmp_path / "three", preprocessing="imagenet")  # with another preprocessing
    assert "training is not known" in other.description and "imagenet preprocessing" in other.source


def test_the_export_tool_converts_a_file_and_refuses_others_in_one_line(weights_file, tmp_path):
    def tool(*arguments):
        command = [sys.executable, "-W", "error", str(TOOL), *map(str, arguments)]
        return subprocess.run(command, capture_output=True, text=True, timeout=60)

    done = tool(weights_file, "-o", tmp_path / "mine", "--name", "my-vgg")
    assert done.returncode == 0, done.stderr
    assert "my-vgg, widths 4 4 4 4 4" in done.stdout
    assert read_card(locate(tmp_path / "mine")).name == "my-vgg"
    for arguments in [
        (weights_file, "-o", tmp_path / "mine"),
        (TOOL, "-o", tmp_path / "b"),
        ("no", "-o", tmp_path / "c"),
    ]:
        failed = tool(*arguments)
        assert failed.returncode == 2 and failed.stdout == ""
        assert failed.stderr.startswith("export_vgg19: ") and failed.stderr.count("\n") == 1
    assert not (tmp_path / "b").exists()


def test_a_converted_model_gives_the_features_of_its_weights(tmp_path, cpu):
    from safetensors.numpy import save_file

    from analogy.method.features import Features
    from analogy.networks.description import Network

    weights = random_weights((4, 5, 6, 7, 8))
    save_file(torchvision_names(weights), tmp_path / "f.safetensors")
    convert(tmp_path / "f.safetensors", tmp_path / "mine")
    image = np.random.default_rng(0).integers(0, 256, (20, 33, 3), np.uint8)
    features = Features(locate(tmp_path / "mine"), cpu).pyramid(image)
    network = Network(weights, *IMAGENET)
    for name, expected in plain_features(network, image.transpose(2, 0, 1) / 255).items():
        actual = features[int(name[4])].transpose(2, 0, 1)
        np.testing.assert_allclose(actual, expected, rtol=1e-4, atol=1e-4 * expected.max())
        assert expected.max() > 0.1


def test_a_source_file_in_the_folder_of_the_model_is_refused_and_kept(home, publish, weights_file) -> None:
    publish("/notop.h5")
    given = home / "models" / NAME / "notop.h5"
    given.parent.mkdir(parents=True)
    given.write_bytes(weights_file.read_bytes())
    with pytest.raises(ModelError, match=r"notop\.h5 is in .*, which the model will replace; move the file"):
        pull(NAME, given)
    assert given.read_bytes() == weights_file.read_bytes()
