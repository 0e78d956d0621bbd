"""Tests of files at addresses: S3 (by moto), HTTP, and a store with visible incomplete files."""

from __future__ import annotations

import errno
import io
import json
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from analogy import Engine, OutputError, SettingsError
from analogy.batch import stores

COMMAND = [sys.executable, "-m", "analogy", "batch"]
FAST = ["--preset", "fast", "--search-iterations", "1", "--device", "cpu", "--threads", "1", "--workers", "1"]


def picture(seed: int) -> bytes:
    rng = np.random.default_rng(seed)
    small = Image.fromarray(rng.integers(0, 256, (8, 8, 3)).astype(np.uint8))
    file = io.BytesIO()
    small.resize((32, 32), Image.Resampling.BICUBIC).save(file, "PNG")
    return file.getvalue()


def transferred(a: bytes, b_prime: bytes) -> bytes:
    file = io.BytesIO()
    engine = Engine(device="cpu", threads=1)
    engine.transfer(a, b_prime, "fast", search_iterations=1, direction="ab").save(file, format="png")
    return file.getvalue()


@pytest.fixture(scope="module")
def s3() -> Iterator[dict[str, str]]:
    """Return the environment variables for an S3 server on this machine."""
    pytest.importorskip("s3fs", reason="needs the extra remote")
    pytest.importorskip("moto.server", reason="the tests need the S3 server of moto; install the extra ci")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    code = f"from moto.server import main; main(['-H', '127.0.0.1', '-p', '{port}'])"
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as server:
        try:
            ends = time.monotonic() + 60
            while time.monotonic() < ends:
                try:
                    socket.create_connection(("127.0.0.1", port)).close()
                    break
                except OSError:
                    time.sleep(0.05)
            yield os.environ | {
                "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}", "AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b",
                "AWS_DEFAULT_REGION": "us-east-1", "AWS_EC2_METADATA_DISABLED": "true",
            }  # fmt: skip
        finally:
            server.kill()


def in_store(code: str, environment: dict[str, str]) -> str:
    """Run code in which `fs` is an S3 file system, and return its output.

    The code runs in a process of its own, since the threads and connections of `fs` stay open.
    """
    program = f"import s3fs; fs = s3fs.S3FileSystem()\n{code}"
    return subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True
    ).stdout


def run(*arguments: object, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*COMMAND, *map(str, arguments), *FAST], env=env, capture_output=True, text=True, timeout=120)


def test_a_batch_reads_from_s3_and_writes_to_s3(s3, tmp_path: Path) -> None:
    rows = "".join(json.dumps({"a": f"{name}.png", "b_prime": "s3://styles/style.png"}) + "\n" for name in "xy")
    pictures = {name: picture(seed) for seed, name in enumerate("xyz")}
    code = "fs.mkdir('photos'); fs.mkdir('styles'); fs.mkdir('results')\n"
    code += f"for name, data in {pictures!r}.items(): fs.pipe_file(f'photos/{{name}}.png', data)\n"
    code += f"fs.pipe_file('styles/style.png', {picture(9)!r}); fs.pipe_file('photos/jobs.jsonl', {rows.encode()!r})\n"
    in_store(code, s3)
    manifest = tmp_path / "deep" / "done.jsonl"
    command = ["s3://photos/jobs.jsonl", "-o", "s3://results/run/", "--manifest", manifest, "--allow-remote", "s3"]
    done = run(*command, env=s3)
    assert (done.returncode, done.stderr) == (0, "")
    assert sorted(path.name for path in manifest.parent.iterdir()) == ["done.jsonl", "report.html"]
    found = in_store("print({name: fs.cat_file(name) for name in fs.find('results')})", s3)
    expected = {f"results/run/{name}.png": transferred(pictures[name], picture(9)) for name in "xy"}
    assert eval(found) == expected

    # The job whose A has changed and the job whose A' is missing are done again, and a foreign file
    # stays.
    code = f"fs.pipe_file('photos/x.png', {picture(20)!r}); fs.rm('results/run/y.png'); "
    code += "fs.pipe_file('results/run/z.png', b'')"
    in_store(code, s3)
    again = run(*command, env=s3)
    assert (again.returncode, again.stderr) == (0, "")
    assert "2 done" in again.stdout
    folder = run("s3://photos/*.png", "--style", "s3://styles/style.png", "-o", "s3://results/run",
                 "--manifest", manifest, env=s3)  # fmt: skip
    assert folder.returncode == 3
    assert folder.stderr.startswith("analogy: z.png: z.png exists already, and this batch has not made it")
    assert "2 kept, 1 failed" in folder.stdout


def test_an_error_of_a_store_is_one_line(s3, tmp_path: Path) -> None:
    style = tmp_path / "style.png"
    style.write_bytes(picture(0))
    rows = tmp_path / "jobs.jsonl"
    rows.write_text('{"a": "s3://nowhere/a.png"}\n{"a": "style.png"}\n')
    done = run(rows, "--style", style, "-o", tmp_path / "out", "--allow-remote", "s3", env=s3)
    assert done.returncode == 3
    assert done.stderr.count("\n") == 1
    assert "a.png: A (s3://nowhere/a.png): there is no such file" in done.stderr
    done = run(style, "--style", style, "-o", "s3://nowhere/out", "--manifest", tmp_path / "m.jsonl", env=s3)
    assert done.returncode == 3
    assert done.stderr.count("\n") == 1
    assert "cannot be written (The specified bucket does not exist)" in done.stderr


def test_only_addresses_of_an_allowed_scheme_are_fetched(tmp_path: Path) -> None:
    pytest.importorskip("fsspec", reason="needs the extra remote")
    pytest.importorskip("aiohttp", reason="needs the extra remote")
    served = tmp_path / "served"
    served.mkdir()
    (served / "a.png").write_bytes(picture(0))
    asked: list[str] = []

    class Handler(SimpleHTTPRequestHandler):
        def log_message(self, *arguments: Any) -> None:
            asked.append(self.path)

    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=served))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        (tmp_path / "style.png").write_bytes(picture(1))
        rows = tmp_path / "jobs.jsonl"
        rows.write_text(json.dumps({"a": f"http://127.0.0.1:{server.server_port}/a.png?size=1"}) + "\n")
        command = [rows, "--style", tmp_path / "style.png", "-o", tmp_path / "out"]
        for allowed in ([], ["--allow-remote", "https"]):
            done = run(*command, *allowed)
            assert done.returncode == 2
            assert "add --allow-remote http" in done.stderr
        assert asked == []
        done = run(*command, "--allow-remote", "http")
        assert (done.returncode, done.stderr) == (0, "")
        assert (tmp_path / "out" / "a.png").read_bytes() == transferred(picture(0), picture(1))
    finally:
        server.shutdown()
        server.server_close()


def test_in_a_store_without_whole_objects_a_file_is_written_and_renamed(tmp_path: Path, monkeypatch) -> None:
    """Use the scheme `local://` of fsspec, whose incomplete files are visible, as in SFTP."""
    local = pytest.importorskip("fsspec.implementations.local", reason="needs the extra remote").LocalFileSystem
    target = tmp_path / "deep" / "x.png"
    address = f"local://{target}"
    stores.write(address, b"old")
    assert (target.read_bytes(), stores.read(address), stores.size(address)) == (b"old", b"old", 3)
    before = stores.stamp(address)

    def half(self: Any, path: str, content: bytes, **rest: Any) -> None:
        Path(path).write_bytes(content[:1])
        raise RuntimeError("the connection is lost")

    with monkeypatch.context() as broken:
        broken.setattr(local, "pipe_file", half)
        with pytest.raises(OutputError, match=r"cannot be written \(the connection is lost\)"):
            stores.write(address, b"new content")
    assert [path.name for path in target.parent.iterdir()] == ["x.png"]
    assert (target.read_bytes(), stores.stamp(address)) == (b"old", before)
    stores.write(address, b"new content")
    assert target.read_bytes() == b"new content"
    assert stores.stamp(address) != before


@pytest.mark.parametrize("how", ["raises", "does nothing"])
def test_a_file_is_replaced_in_a_store_whose_rename_does_not_replace(how: str, tmp_path: Path, monkeypatch) -> None:
    """SMB raises an error if the new name exists; WebHDFS answers that it has renamed nothing."""
    local = pytest.importorskip("fsspec.implementations.local", reason="needs the extra remote").LocalFileSystem
    move = local.mv

    def careful(self: Any, one: str, other: str, **rest: Any) -> None:
        if not Path(other).exists():
            move(self, one, other, **rest)
        elif how == "raises":
            raise FileExistsError(errno.EEXIST, "File exists")

    monkeypatch.setattr(local, "mv", careful)
    target = tmp_path / "x.png"
    for content in (b"old", b"new"):
        stores.write(f"local://{target}", content)
        assert target.read_bytes() == content
    assert [path.name for path in tmp_path.iterdir()] == ["x.png"]


def test_a_name_that_is_too_long_is_named_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match=r"cannot make the folder .*: File name too long; choose another"):
        stores.write(str(tmp_path / ("x" * 300) / "a.png"), b"")


def test_many_results_in_a_folder_are_written_without_listing_it_each_time(tmp_path: Path, monkeypatch) -> None:
    out, scan, scanned = tmp_path / "out", os.scandir, []

    def counted(path: Any) -> Any:
        scanned.append(Path(path))
        return scan(path)

    monkeypatch.setattr(os, "scandir", counted)
    for name in "abc":
        stores.write(str(out / name), b"x")
    assert scanned == [out]
    monkeypatch.undo()
    shutil.rmtree(out)
    stores.write(str(out / "d"), b"x")
    assert [path.name for path in out.iterdir()] == ["d"]


def test_a_store_that_cannot_be_listed_is_named_with_the_reason(tmp_path: Path, monkeypatch) -> None:
    local = pytest.importorskip("fsspec.implementations.local", reason="needs the extra remote").LocalFileSystem

    def forbidden(self: Any, path: str) -> None:
        raise PermissionError(errno.EACCES, "Forbidden")

    monkeypatch.setattr(local, "find", forbidden)
    with pytest.raises(OutputError, match=r"^local://.* cannot be listed \(Forbidden\); check the address"):
        list(stores.names(f"local://{tmp_path}"))


@pytest.mark.parametrize(
    ("path", "folder", "expected"),
    [
        ("a.png", "/photos", "/photos/a.png"),
        ("./x//a.png", "/photos", "/photos/x/a.png"),
        ("../a.png", "/photos/x", "/photos/x/../a.png"),
        ("/b/a.png", "/photos", "/b/a.png"),
        ("file:///b/a%20b.png", "/photos", "/b/a b.png"),
        ("S3://b/a.png", "/photos", "S3://b/a.png"),
        ("a.png", "s3://b/c", "s3://b/c/a.png"),
        ("odd:name.png", "/photos", "/photos/odd:name.png"),
    ],
)
@pytest.mark.skipif(os.name != "posix", reason="paths of POSIX")
def test_relative_paths_and_addresses_start_at_the_folder_of_the_table(path: str, folder: str, expected: str) -> None:
    assert stores.absolute(path, folder) == expected


def test_an_unknown_address_is_refused_with_the_package_to_install() -> None:
    pytest.importorskip("fsspec", reason="needs the extra remote")
    with pytest.raises(SettingsError, match="fsspec does not support this address"):
        stores.check("nonsense://x/y")
    with pytest.raises(SettingsError, match=r'needs the extra "remote"'):
        stores.check("gdrive://x/y")
