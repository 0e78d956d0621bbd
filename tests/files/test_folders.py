"""Tests of folders for results: they contain the results of one run, and other files are kept."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from analogy.errors import OutputError
from analogy.files import atomic as atomic_module
from analogy.files import folders, temporary
from analogy.files.atomic import atomic
from analogy.files.folders import checksums, make_folder, replacing
from analogy.files.manifests import MANIFEST

RECORD = {"analogy": "0.1.0", "model_sha256": "", "settings": {}}
posix = pytest.mark.skipif(os.name != "posix", reason="needs os.fork")


def run(folder: Path, contents: dict[str, str]) -> None:
    with replacing(make_folder(folder)) as new:
        for name, content in contents.items():
            with atomic(new / name) as file:
                file.write(content.encode())
        with atomic(new / MANIFEST) as file:
            file.write(json.dumps(RECORD | {"files": checksums(new)}).encode())


def contents(folder: Path) -> dict[str, str]:
    return {path.name: path.read_text() for path in folder.iterdir() if path.name != MANIFEST}


def test_a_run_replaces_the_results_of_the_run_before_and_no_other_file(tmp_path: Path) -> None:
    (tmp_path / "mine.png").write_text("mine")
    (tmp_path / ".analogy.tmp").write_text("mine too")
    run(tmp_path, {"a.png": "1", "b.png": "1", "c.txt": "1"})
    (tmp_path / "c.txt").write_text("edited")
    run(tmp_path, {"a.png": "2", "d.png": "2"})
    mine = {"mine.png": "mine", ".analogy.tmp": "mine too", "c.txt": "edited"}
    assert contents(tmp_path) == {"a.png": "2", "d.png": "2"} | mine
    assert set(json.loads((tmp_path / MANIFEST).read_text())["files"]) == {"a.png", "d.png"}


def test_a_file_outside_the_folder_or_behind_a_link_is_kept_though_a_manifest_names_it(tmp_path: Path) -> None:
    out = tmp_path / "out"
    run(out, {"a.png": "1"})
    checksum = json.loads((out / MANIFEST).read_text())["files"]["a.png"]
    outside = tmp_path / "outside.png"
    outside.write_text("1")  # the content that has the checksum in the manifest
    if os.name == "posix":
        (out / "link.png").symlink_to(outside)
    names = ["../outside.png", str(outside), "link.png", "..", ".", ""]
    (out / MANIFEST).write_text(json.dumps(RECORD | {"files": dict.fromkeys(names, checksum)}))
    run(out, {"b.png": "2"})
    assert outside.read_text() == "1"
    assert (out / "link.png").is_symlink() == (os.name == "posix")


@pytest.mark.parametrize(
    "text", ["", "[]", "5", '{"files": 5}', '{"files": {"a": {}}}', "[" * 100_000, "\0", '{"files": [1]}']
)
def test_a_settings_file_that_is_not_a_manifest_is_replaced(tmp_path: Path, text: str) -> None:
    (tmp_path / MANIFEST).write_text(text)
    run(tmp_path, {"a.png": "1"})
    assert set(json.loads((tmp_path / MANIFEST).read_text())["files"]) == {"a.png"}
    assert contents(tmp_path) == {"a.png": "1"}


@pytest.mark.parametrize("of_a_film", [{"kind": "film"}, {"made_from": {}}], ids=["now", "in earlier versions"])
def test_a_folder_with_the_frames_of_a_film_is_refused(tmp_path: Path, of_a_film: dict) -> None:
    run(tmp_path, {"0001.png": "1"})
    fields = json.loads((tmp_path / MANIFEST).read_text())
    (tmp_path / MANIFEST).write_text(json.dumps(fields | of_a_film))
    with pytest.raises(OutputError, match=r"contains a painted film, as its settings\.json says; name another folder"):
        run(tmp_path, {"a.png": "2"})
    assert contents(tmp_path) == {"0001.png": "1"}


def test_a_run_that_fails_leaves_the_older_results(tmp_path: Path) -> None:
    run(tmp_path, {"a.png": "1", "b.png": "1"})
    manifest = (tmp_path / MANIFEST).read_bytes()
    with pytest.raises(KeyboardInterrupt), replacing(tmp_path) as new:
        (new / "a.png").write_text("2")
        raise KeyboardInterrupt
    (tmp_path / "d.png").mkdir()  # a folder with the name of a result, which cannot be replaced
    with pytest.raises(OutputError, match=r"the new results cannot be moved into .* \(Is a directory"):
        run(tmp_path, {"a.png": "2", "c.png": "2", "d.png": "2"})
    (tmp_path / "d.png").rmdir()
    assert contents(tmp_path) == {"a.png": "1", "b.png": "1"}
    assert (tmp_path / MANIFEST).read_bytes() == manifest


@pytest.mark.parametrize("failing", range(9))
def test_an_exchange_that_fails_or_is_interrupted_anywhere_is_undone(tmp_path: Path, monkeypatch, failing: int) -> None:
    run(tmp_path, {"a.png": "1", "b.png": "1", "c.png": "1"})
    before = contents(tmp_path)
    real, left = Path.replace, iter(range(5 + failing))  # the first calls to `replace` succeed

    def replace(self: Path, target: Path) -> Path:
        if next(left, "none") == "none":
            left_over.append(target)
            if len(left_over) == 1:
                raise (OSError(5, "Input/output error") if failing % 2 else KeyboardInterrupt)
        return real(self, target)

    left_over: list[Path] = []
    monkeypatch.setattr(Path, "replace", replace)
    with pytest.raises((OutputError, KeyboardInterrupt)):
        run(tmp_path, {"a.png": "2", "b.png": "2", "d.png": "2", "e.png": "2"})
    assert contents(tmp_path) == before
    assert (tmp_path / MANIFEST).exists()


def test_messages_name_the_final_path_and_not_the_temporary_one(tmp_path: Path) -> None:
    with pytest.raises(OutputError) as caught, replacing(tmp_path) as new, atomic(new / "a.png"):
        raise OSError(28, "No space left on device")
    assert (
        str(caught.value) == f"{tmp_path / 'a.png'} cannot be written (No space left on device); choose another place"
    )


def test_a_full_file_system_leaves_the_older_results(small_disk: Path) -> None:
    run(small_disk, {"a.png": "1", "b.png": "1"})
    with pytest.raises(OutputError, match=r"disk/c\.png cannot be written \(No space left on device\)"):
        run(small_disk, {"a.png": "2", "c.png": "2" * 100_000})
    assert contents(small_disk) == {"a.png": "1", "b.png": "1"}


KILLED = """
import json, os, sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from test_folders import MANIFEST, contents, run

FIRST = {"a.png": "1", "b.png": "1", "same.png": "same"}
SECOND = {"a.png": "2", "c.png": "2", "same.png": "same"}
THIRD = {"c.png": "3", "d.png": "3"}
MINE = {"mine.png": "mine"}
events = ("open", "os.rename", "os.mkdir", "os.remove", "os.rmdir", "os.scandir")

def killed_at(point, folder):
    # Run a child process that is killed just before its operation number `point` on the file system.
    child = os.fork()
    if child:
        return os.WEXITSTATUS(os.waitpid(child, 0)[1]) == 9
    left = iter(range(point))
    def hook(event, arguments):
        if event in events and next(left, None) is None:
            os._exit(9)
    sys.addaudithook(hook)
    run(folder, SECOND)
    os._exit(0)

def check(folder):
    there = {name: text for name, text in contents_of_files(folder).items() if name not in MINE}
    if (folder / MANIFEST).exists():
        assert there in (FIRST, SECOND), there
        assert set(json.loads((folder / MANIFEST).read_text())["files"]) == set(there)
    else:
        assert there.items() <= FIRST.items() or there.items() <= SECOND.items(), there

def contents_of_files(folder):
    return {path.name: path.read_text() for path in folder.iterdir() if path.is_file() and path.name != MANIFEST
            and not path.name.startswith(".analogy-")}

point, seen = 0, set()
while True:
    folder = Path(sys.argv[2]) / str(point)
    run(folder, FIRST)
    (folder / "mine.png").write_text("mine")
    killed = killed_at(point, folder)
    check(folder)
    seen.add(((folder / MANIFEST).exists(), contents_of_files(folder).get("a.png")))
    if point % 2:  # the next run is killed, too, while it deletes the temporary files of the first
        killed_at(point // 2, folder)
        check(folder)
    run(folder, THIRD)
    assert contents(folder) == THIRD | MINE, os.listdir(folder)
    if not killed:
        break
    point += 1
assert seen == {(True, "1"), (False, "1"), (False, None), (False, "2"), (True, "2")}, seen
print(point)
"""


@posix
def test_a_kill_at_any_point_leaves_the_files_of_one_run_and_the_next_run_leaves_only_its_own(tmp_path: Path) -> None:
    command = [sys.executable, "-c", KILLED, str(Path(__file__).parent), str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 40


@posix
def test_the_next_run_deletes_the_files_of_killed_runs_and_none_of_a_running_one(tmp_path: Path) -> None:
    code = f"""
import os
from pathlib import Path
from analogy.files.atomic import atomic
from analogy.files.folders import replacing
with replacing(Path({str(tmp_path)!r})) as new, atomic(Path({str(tmp_path)!r}) / "x.png") as file:
    file.write(b"half")
    os._exit(9)
"""
    assert subprocess.run([sys.executable, "-c", code]).returncode == 9
    left = set(tmp_path.iterdir())
    assert len(left) == 2
    with replacing(tmp_path) as new, atomic(tmp_path / "y.png") as file:
        file.write(b"whole")
        make_folder(tmp_path)
        assert new in set(tmp_path.iterdir())
        assert not left & set(tmp_path.iterdir())
        (new / MANIFEST).write_text("{}")
    assert contents(tmp_path) == {"y.png": "whole"}


@posix
def test_a_temporary_file_that_is_renamed_while_the_next_run_looks_at_it_does_not_appear_again(tmp_path: Path) -> None:
    with temporary.claimed(tmp_path / f".analogy-{'0' * 32}.tmp") as ours:
        assert not ours
    assert list(tmp_path.iterdir()) == []


def test_a_temporary_folder_that_a_killed_run_left_before_it_made_the_lock_is_deleted(tmp_path: Path) -> None:
    (tmp_path / f".analogy-{'0' * 32}.tmp").mkdir()
    make_folder(tmp_path)
    assert list(tmp_path.iterdir()) == []


@posix
def test_a_file_that_only_looks_temporary_is_not_deleted(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("mine")
    out = tmp_path / "out"
    out.mkdir()
    name = ".analogy-" + "0" * 32 + ".tmp"
    (out / name).symlink_to(victim)
    (out / (name + "x")).touch()
    os.mkfifo(out / name.replace("0", "1"))
    make_folder(out)
    assert len(list(out.iterdir())) == 3
    assert victim.read_text() == "mine"


def test_two_results_saved_at_the_same_time_do_not_mix(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda n: run(tmp_path, {name: str(n) for name in ("a", "b", f"only{n}")}), range(40)))
    there = contents(tmp_path)
    assert len(set(there.values())) == 1
    assert set(there) == {"a", "b", f"only{there['a']}"}
    assert set(json.loads((tmp_path / MANIFEST).read_text())["files"]) == set(there)


def test_a_folder_that_cannot_be_made_or_written_to_is_named(tmp_path: Path, monkeypatch) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match=r"cannot make the folder .*file"):
        make_folder(tmp_path / "file" / "out")
    with pytest.raises(OutputError, match=r"cannot make the folder .*name too long"):
        make_folder(tmp_path / ("x" * 5000))
    monkeypatch.setattr(folders.os, "access", lambda path, mode: False)
    with pytest.raises(OutputError, match="no permission to write to the folder"):
        make_folder(tmp_path)


@pytest.mark.parametrize("failures", [3, 10**9])
def test_on_windows_a_file_that_another_program_has_open_is_replaced_when_it_is_closed(
    tmp_path: Path, monkeypatch, failures: int
) -> None:
    replace, left = Path.replace, [failures]

    def busy(made: Path, path: Path) -> Path:
        left[0] -= 1
        if left[0] >= 0:
            raise PermissionError(13, "The process cannot access the file")
        return replace(made, path)

    monkeypatch.setattr(atomic_module, "_WINDOWS", True)
    monkeypatch.setattr(atomic_module, "_PATIENCE_SECONDS", 0.5)
    monkeypatch.setattr(Path, "replace", busy)
    if failures == 3:
        with atomic(tmp_path / "x") as file:
            file.write(b"new")
        assert (tmp_path / "x").read_bytes() == b"new"
    else:
        with pytest.raises(OutputError, match="or another program has the file open"), atomic(tmp_path / "x") as file:
            file.write(b"new")
        assert list(tmp_path.iterdir()) == []


@posix
def test_a_folder_that_nfs_keeps_until_its_lock_file_is_closed_is_deleted(tmp_path: Path, monkeypatch) -> None:
    def rmtree(path: Path, **options: object) -> None:
        for each in list(path.iterdir()):  # NFS gives an open file another name, and deletes it when it is closed
            each.unlink()

    monkeypatch.setattr(temporary.shutil, "rmtree", rmtree)
    with temporary.scratch_folder(tmp_path):
        pass
    _, lock = temporary.new_folder(tmp_path)
    lock.close()  # as if the run had been killed
    make_folder(tmp_path)
    assert list(tmp_path.iterdir()) == []
