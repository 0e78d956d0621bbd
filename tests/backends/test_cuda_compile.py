"""Tests with the real CuPy and no GPU: the kernels compile, and CuPy has all names that are used.

NVRTC, CUDA's compiler, does not need a driver. The options of the compiler come from private
functions of CuPy. If CuPy changes these functions, the tests fail and must be adapted.
"""

from __future__ import annotations

import ast
import io
import re
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

import analogy
from analogy.backends import cuda_launch, get_backend
from analogy.backends.interrupts import kept_interrupts
from analogy.errors import DeviceError

cp = pytest.importorskip("cupy", reason="compiling the kernels needs CuPy (cupy-cuda12x or cupy-cuda13x)")

ARCHITECTURES = [75, 80, 86, 89, 90, 100, 120]
KERNELS = {
    "distance", "propagate", "random_search", "distance_twice", "propagate_twice", "random_search_twice",
    "vote", "join", "energy", "blend", "find_infinite", "pixel_vectors", "resample",
    "gradient", "widest", "seams", "keep_edges", "divergence", "solve_columns", "correct",
    "coarsen", "factor", "relax", "residual", "restriction", "prolongation", "combine",
    "small_steps",
}  # fmt: skip
# A multiprocessor has 64 Ki registers, so 4 blocks of 256 threads with 64 registers each run on it
# at the same time. A multiprocessor can run 1024 to 2048 threads, depending on the architecture.
MAX_REGISTERS = 64
# These kernels may use more registers: they run few blocks, and read numbers ahead into registers.
RELAXING, MOST_OF_RELAX = ("relax", "small_steps"), 96
_USED = re.compile(
    r"entry function '(\w+)'.*?(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads"
    r".*?Used (\d+) registers([^\n]*)",
    re.DOTALL,
)


def compile_for(architecture: int, unit: str) -> str:
    """Compile the kernels for an architecture, as CuPy does, and return the compiler's report."""
    from cupy._core import core
    from cupy.cuda import compiler

    options = (
        *core.assemble_cupy_compiler_options(cuda_launch.options(unit)),
        "-ftz=true",
        "--device-as-default-execution-space",
        f"-arch=sm_{architecture}",
        "--ptxas-options=-v",
    )
    log = io.StringIO()
    program = compiler._NVRTCProgram(cuda_launch.source(), "kernels.cu", (), (), name_expressions=None, method="cubin")
    binary, _ = program.compile(options, log)
    assert binary
    return log.getvalue()


@pytest.fixture(scope="module")
def reports() -> dict[tuple[int, str], str]:
    try:
        from cupy.cuda import nvrtc

        nvrtc.getVersion()
    except Exception as error:  # loading a library can raise errors of many classes
        pytest.skip(f"compiling the kernels needs NVRTC (nvidia-cuda-nvrtc-cu12): {error}")
    jobs = [(architecture, unit) for architecture in ARCHITECTURES for unit in ("float4", "float")]

    def compile_alone(job: tuple[int, str]) -> str:
        with kept_interrupts():  # because NVRTC replaces the handler of interrupts while it compiles
            return compile_for(*job)

    return {job: compile_alone(job) for job in jobs}


def test_interrupts_work_after_compiling_in_two_threads(reports):
    def compile_in_a_thread(architecture: int) -> None:
        with kept_interrupts():
            compile_for(architecture, "float")

    heard_by = signal.getsignal(signal.SIGINT)
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(compile_in_a_thread, ARCHITECTURES[:2]))
    assert signal.getsignal(signal.SIGINT) is heard_by
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGINT)
        time.sleep(1)


@pytest.mark.parametrize("unit", ["float4", "float"])
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_kernels_compile_without_spills_within_their_registers(reports, architecture, unit):
    report = reports[architecture, unit]
    assert "warning" not in report
    used = {found[0]: found[1:] for found in _USED.findall(report)}
    assert used.keys() == KERNELS
    for name, (stack, stores, loads, registers, rest) in used.items():
        assert (stack, stores, loads) == ("0", "0", "0"), f"{name} spills registers"
        assert int(registers) <= (MOST_OF_RELAX if name in RELAXING else MAX_REGISTERS), name
        assert "smem" not in rest, f"{name} uses shared memory"


def test_the_compiler_gets_the_option_that_forbids_to_fuse_multiply_and_add():
    # With --fmad=false the device rounds after each operation of the source, as the simulator does.
    assert "--fmad=false" in cuda_launch.options("float")


def used_names() -> set[tuple[str, str]]:
    """Return (module, dotted name) for each name of an array module that the package uses.

    In the package, `cp` is CuPy, and `xp` is CuPy or NumPy.
    """
    found = set()
    for path in Path(analogy.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = []
            while isinstance(node, ast.Attribute):
                names.append(node.attr)
                node = node.value
            names.append(node.id if isinstance(node, ast.Name) else "")
            names.reverse()
            for root in ("cp", "xp"):
                if root in names[:-1]:
                    module = "cp" if path.name.startswith("cuda") else root
                    found.add((module, ".".join(names[names.index(root) + 1 :])))
    return found


def test_every_name_that_the_package_uses_of_cupy_and_numpy_exists():
    used = used_names()
    assert {("cp", "cuda.Stream"), ("cp", "RawModule"), ("xp", "vdot")} <= used
    for module, dotted in sorted(used):
        for library in (cp,) if module == "cp" else (cp, np):
            owner = library
            for name in dotted.split("."):
                assert hasattr(owner, name), f"{library.__name__} has no {dotted}"
                owner = getattr(owner, name)


def _has_device() -> bool:
    try:
        return cp.cuda.runtime.getDeviceCount() > 0
    except cp.cuda.runtime.CUDARuntimeError:
        return False


@pytest.mark.skipif(_has_device(), reason="this machine has a GPU")
def test_a_missing_driver_is_refused_with_advice():
    expected = r"^(there is no NVIDIA driver|the NVIDIA driver .* for CUDA 1\d\.\d|no NVIDIA GPU).*nvidia-smi"
    with pytest.raises(DeviceError, match=expected) as caught:
        get_backend("cuda")
    assert "\n" not in str(caught.value)
