"""Tests of compiled kernels: they are stored in files, and compiled again if a source changes.

If the internals of Numba have changed, Numba's public interface compiles the kernels, and their
results are the same.
"""

from __future__ import annotations

import ast
import importlib
import logging
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import CodeType
from typing import Any

import numba
import numpy as np
import pytest

from analogy.backends import compiled, machine_code, selftest
from analogy.backends.cpu import CpuBackend

CODE = b"code"  # stands for machine code in tests that use the fixture `linked`


@pytest.fixture
def linked(monkeypatch, tmp_path):
    """Replace the compiler and the loader, and return a list of their calls.

    A call of the compiler adds "compiled", and a call of the loader adds the code. The folder for
    compiled code is `tmp_path`.
    """
    loaded: list[str] = []
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path))
    monkeypatch.setattr(compiled, "_load", compiled._load.__wrapped__)
    monkeypatch.setattr(machine_code, "compile_kernels", lambda module, names: loaded.append("compiled") or CODE)
    monkeypatch.setattr(machine_code, "link", lambda code: loaded.append(code) or {})
    return loaded


def kept(folder: Path) -> Path:
    [file] = folder.iterdir()  # this fails if there is another file
    return file


def test_a_second_load_uses_the_code_that_the_first_has_compiled(linked, tmp_path) -> None:
    compiled.load()
    compiled.load()
    assert linked == ["compiled", CODE, CODE]
    assert kept(tmp_path).name.startswith("kernels-")


@pytest.mark.skipif(os.name != "posix", reason="tests POSIX permissions")
def test_another_user_can_load_the_code_that_the_builder_of_an_image_has_compiled(linked, tmp_path) -> None:
    before = os.umask(0o022)
    try:
        compiled.load()
    finally:
        os.umask(before)
    assert kept(tmp_path).stat().st_mode & 0o777 == 0o644


def test_without_a_home_nothing_is_kept_in_a_folder_called_tilde(monkeypatch, tmp_path) -> None:
    monkeypatch.delenv("NUMBA_CACHE_DIR", raising=False)
    monkeypatch.setattr("platformdirs.user_cache_path", lambda *given, **named: Path("~/.cache/analogy"))
    assert list(compiled._folders()) == [Path(compiled.__file__).with_name("__pycache__")]


@pytest.mark.parametrize("damage", [b"", b"short", b"x" * 100, "truncated", "changed"])
def test_damaged_code_is_never_loaded_but_compiled_again_and_logged_in_one_line(
    linked, tmp_path, caplog, damage
) -> None:
    compiled.load()
    file = kept(tmp_path)
    whole = file.read_bytes()
    damage = {"truncated": whole[:-1], "changed": whole[:-1] + b"x"}.get(damage, damage)
    file.write_bytes(damage)
    caplog.clear()
    with caplog.at_level(logging.INFO, "analogy"):
        compiled.load()
    assert linked == ["compiled", CODE, "compiled", CODE]
    assert [record.message.count("is damaged") for record in caplog.records] == [1, 0]
    assert kept(tmp_path).read_bytes() == whole


def test_without_a_writable_folder_kernels_are_compiled_at_each_start_and_one_line_says_so(
    linked, tmp_path, caplog, monkeypatch
) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"")
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(file))  # not even root can make a file inside a file
    with caplog.at_level(logging.INFO, "analogy"):
        compiled.load()
        compiled.load()
    assert linked == ["compiled", CODE, "compiled", CODE]
    assert [("each start compiles" in r.message, "NUMBA_CACHE_DIR" in r.message) for r in caplog.records] == [
        (True, True)
    ] * 2


def test_a_disk_that_is_full_leaves_no_half_file(linked, tmp_path, monkeypatch) -> None:
    def full(self: Path, target: Path) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    compiled.load()
    assert linked == ["compiled", CODE]
    assert not list(tmp_path.iterdir())


def test_the_half_file_of_a_killed_run_is_deleted_when_kernels_are_kept_again(linked, tmp_path) -> None:
    (tmp_path / f".analogy-{'0' * 32}.tmp").write_bytes(CODE[:2])
    compiled.load()
    assert kept(tmp_path).name.startswith("kernels-")


def test_another_processor_or_version_takes_another_file(linked, tmp_path, monkeypatch) -> None:
    compiled.load()
    monkeypatch.setattr(machine_code, "processor", lambda: ("platform", "other", ""))
    compiled.load()
    for changed in ("none", "numba", "llvmlite"):
        monkeypatch.setattr(compiled, "version", lambda name, changed=changed: "0" if name == changed else "1")
        compiled.load()
    assert linked == ["compiled", CODE] * 5
    assert len(list(tmp_path.iterdir())) == 5


def test_a_process_that_finds_the_kernels_compiled_does_not_import_numba(tmp_path) -> None:
    program = """
import sys
import numpy as np
from analogy.backends.cpu import CpuBackend
backend = CpuBackend(2)
f = np.random.default_rng(0).random((9, 8, 4), np.float32)
joined = backend.join(f, f)
field = backend.resample(np.zeros((1, 1, 2), np.int32), (9, 8), (9, 8), (9, 8), (9, 8))
print("numba" in sys.modules, backend.distance(joined, joined, field, 3).mean())
"""
    environment = os.environ | {"NUMBA_CACHE_DIR": str(tmp_path)}
    answers = [
        subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True)
        for _ in range(2)
    ]
    (first, one), (second, other) = (answer.stdout.split() for answer in answers)
    assert (first, second) == ("True", "False")
    assert one == other
    assert float(one) == pytest.approx(-2, abs=1e-3)


def reached(value: Any, seen: set[Any]) -> Iterator[Path]:
    """Yield the source file of a kernel, and those of all functions that it calls."""
    function = getattr(value, "py_func", value)  # the Python function, if `njit` has made `value`
    if not isinstance(getattr(function, "__code__", None), CodeType) or function in seen:
        return
    seen.add(function)
    code = function.__code__
    yield Path(code.co_filename)
    cells = [cell.cell_contents for cell in function.__closure__ or ()]
    for used in [*cells, *(function.__globals__.get(name) for name in code.co_names)]:
        yield from reached(used, seen)


def imported(path: Path) -> Iterator[Path]:
    """Yield the files of this package from which a source file imports names."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and (node.level or (node.module or "").startswith("analogy")):
            folder = path.parents[node.level - 1] if node.level else PACKAGE.parents[1]
            module = folder.joinpath(*(node.module or "").split("."))
            yield next(file for file in (module.with_suffix(".py"), module / "__init__.py") if file.exists())


PACKAGE = Path(compiled.__file__).parent


def sources(module: str) -> set[Path]:
    """Return the source files of this package on which the kernels of a module depend."""
    written = importlib.import_module(f"analogy.backends.{module}")
    seen: set[Any] = set()
    found = {path for name in compiled.KERNELS[module] for path in reached(getattr(written, name), seen)}
    found = {path for path in found if path.is_relative_to(PACKAGE.parent)}
    return found | {file for path in found for file in imported(path)}


@pytest.mark.parametrize("module", compiled.KERNELS)
def test_kernels_are_kept_under_another_name_once_one_of_their_sources_changes(module, tmp_path) -> None:
    used = sources(module)
    assert len(used) > 1  # at least the file of the kernels, and `argument_types`
    package = shutil.copytree(PACKAGE, tmp_path / "backends", ignore=shutil.ignore_patterns("__pycache__"))
    checksum = compiled._checksum_of_sources.__wrapped__
    before = checksum(package)
    for source in used:
        assert source.is_relative_to(PACKAGE), f"{source} is outside `backends`, so the checksum does not contain it"
        copy = package / source.relative_to(PACKAGE)
        text = copy.read_bytes()
        copy.write_bytes(text + b"# changed")
        assert checksum(package) != before, source
        copy.write_bytes(text)
    assert checksum(package) == before


def no_inspection(patch: pytest.MonkeyPatch) -> None:
    patch.delattr("numba.core.ccallback.CFunc.inspect_llvm")


def another_name(patch: pytest.MonkeyPatch) -> None:
    patch.setattr("numba.core.ccallback.CFunc.native_name", "another")


def another_convention(patch: pytest.MonkeyPatch) -> None:
    """Make Numba return the name of a function with another result and other arguments."""
    made = numba.core.ccallback.CFunc
    text, name = made.inspect_llvm, made.native_name.fget
    other = "\ndefine i64 @{}.other(ptr %a) {{\n  ret i64 0\n}}\n"
    patch.setattr(made, "inspect_llvm", lambda self: text(self) + other.format(name(self).removeprefix("cfunc.")))
    patch.setattr(made, "native_name", property(lambda self: f"{name(self)}.other"))


def a_call_into_numba(patch: pytest.MonkeyPatch) -> None:
    """Make the check treat a function of the compiled code as a function of Numba."""
    patch.setattr(machine_code, "_OF_NUMBA", ("divergence",))


def another_loader(patch: pytest.MonkeyPatch) -> None:
    patch.delattr("llvmlite.binding.create_mcjit_compiler")


@pytest.mark.parametrize(
    "breakage", [no_inspection, another_name, another_convention, a_call_into_numba, another_loader]
)
def test_with_another_private_interface_numba_compiles_by_itself_and_one_line_says_so(
    breakage, monkeypatch, tmp_path, caplog
) -> None:
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path))
    monkeypatch.setattr(compiled, "_load", compiled._load.__wrapped__)
    monkeypatch.setattr(compiled, "KERNELS", {"seam_kernels": ("divergence",)})
    seams, out = np.random.default_rng(0).random((5, 4, 8), np.float32), np.zeros((2, 5, 4, 3), np.float32)
    arguments = [(0, 5, seams.ctypes.data, 5, 4, array.ctypes.data) for array in out]
    compiled.load("seam_kernels")["divergence"](*arguments[0])
    for path in tmp_path.iterdir():
        path.unlink()
    with monkeypatch.context() as patch, caplog.at_level(logging.INFO, "analogy"):
        caplog.clear()
        breakage(patch)
        compiled.load("seam_kernels")["divergence"](*arguments[1])
    [line] = [record for record in caplog.records if record.levelno == logging.WARNING]
    assert line.message.startswith("this package cannot make or load the machine code of its kernels with Numba")
    assert np.array_equal(out[0], out[1])
    assert out[0].any()
    assert list(tmp_path.glob("numba-*/**/*.nbi"))  # Numba has stored the code that it compiled


def test_kernels_that_numba_compiles_by_itself_give_the_same_results(monkeypatch, tmp_path) -> None:
    expected = results(CpuBackend(1))
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path))
    monkeypatch.setattr(compiled, "_load", compiled._load.__wrapped__)
    monkeypatch.delattr("numba.core.ccallback.CFunc.inspect_llvm")
    found = results(CpuBackend(1))
    for name, arrays in expected.items():
        for one, other in zip(arrays, found[name], strict=True):
            if name in compiled.KERNELS["kernels"]:
                assert one.tobytes() == other.tobytes(), name
            else:  # these kernels add floats, and LLVM may choose another order
                np.testing.assert_allclose(one, other, rtol=1e-6, atol=1e-6, err_msg=name)


def results(backend: CpuBackend) -> dict[str, list[np.ndarray]]:
    """Return a dict from each kernel to its results and arguments, which it may have changed.

    The kernels get the arguments of the self-test.
    """
    arguments = selftest._arguments(backend)
    found = {}
    for name, args in arguments.items():
        result = getattr(backend, name)(*args)
        arrays = result if isinstance(result, tuple) else [] if result is None else [result]
        found[name] = [*arrays, *(arg for arg in args if isinstance(arg, np.ndarray))]
    return found


_DTYPES = {"Int16s": np.int16, "Int32s": np.int32, "Float32s": np.float32}
_NUMBERS = {"Int64": (int, np.integer), "UInt64": (int, np.integer), "Float32": float, "Float64": float}


def test_kernels_get_arguments_of_the_types_for_which_they_are_compiled(monkeypatch) -> None:
    seen, bands = set(), CpuBackend._bands

    def checked(self: CpuBackend, rows: int, kernel: str, *args: Any, **options: Any) -> None:
        [module] = (module for module, names in compiled.KERNELS.items() if kernel in names)
        _, _, *types = machine_code._types(getattr(importlib.import_module(f"analogy.backends.{module}"), kernel))
        for place, (arg, kind) in enumerate(zip(args, types, strict=True)):
            where = f"{kernel}, argument {place}"
            if kind in _DTYPES:
                assert (isinstance(arg, int) and arg == 0) or (arg.dtype == _DTYPES[kind] and arg.flags.c_contiguous), (
                    where
                )
            else:
                assert isinstance(arg, _NUMBERS[kind]), where
        seen.add(kernel)
        bands(self, rows, kernel, *args, **options)

    monkeypatch.setattr(CpuBackend, "_bands", checked)
    cpu = CpuBackend(1)
    results(cpu)
    arguments = selftest._arguments(cpu)
    labels = tuple(np.zeros(array.shape[:2], np.int32) for array in arguments["distance"][:2])
    cpu.propagate(*arguments["propagate"][:7], labels, previous_field=arguments["distance"][2])
    cpu.random_search(*arguments["random_search"][:9], labels)
    cpu.keep_edges(*arguments["keep_edges"], labels[0])
    assert seen == {name for names in compiled.KERNELS.values() for name in names}
