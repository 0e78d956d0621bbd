"""`import analogy` loads no heavy library, and each of its public names exists."""

import subprocess
import sys

import pytest

import analogy
from analogy import errors

HEAVY = ["numba", "onnxruntime", "onnx", "cupy", "torch", "PIL", "scipy", "click", "tqdm", "pooch", "platformdirs"]


def run(code: str) -> str:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout


def test_import_loads_no_heavy_library() -> None:
    loaded = run("import analogy, sys; print(*sys.modules)").split()
    assert "analogy" in loaded
    assert [name for name in HEAVY if name in loaded] == []


def test_no_slow_module_is_loaded_before_signals_are_handled() -> None:
    code = "import sys; before = set(sys.modules); import analogy.__main__; print(*set(sys.modules) - before)"
    loaded = run(code).split()
    assert "analogy.apps.process" in loaded
    assert [name for name in (*HEAVY, "typing", "logging", "pathlib") if name in loaded] == []


def test_settings_and_errors_need_no_heavy_library() -> None:
    code = "import analogy, sys; analogy.Settings(ratio=0.5); analogy.ImageError; print(*sys.modules)"
    assert [name for name in HEAVY if name in run(code).split()] == []


@pytest.mark.parametrize("name", analogy.__all__)
def test_every_public_name_exists(name: str) -> None:
    assert getattr(analogy, name).__doc__ or name in ("PRESETS", "PresetName")
    assert name in dir(analogy)


def test_dir_shows_the_public_names_only() -> None:
    assert run("import analogy, analogy.apps.cli; analogy.transfer; print(*dir(analogy))").split() == sorted(
        [*analogy.__all__, "__version__"]
    )


def test_analogy_transfer_is_callable_after_its_modules_were_imported() -> None:
    assert run("import analogy.apps.cli, analogy.engine, analogy; print(callable(analogy.transfer))").strip() == "True"


def test_every_error_of_the_package_is_an_analogy_error() -> None:
    raised = [value for value in vars(errors).values() if isinstance(value, type) and issubclass(value, Exception)]
    assert len(raised) > 5
    for error in raised:
        assert issubclass(error, analogy.AnalogyError)
        assert error.__name__ in analogy.__all__


def test_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'teleport'"):
        analogy.teleport  # noqa: B018
