"""The CPU's kernels as machine code: compiled once by Numba, kept in files, and loaded from them without Numba.

To import Numba takes a third of a second, and to load what it has compiled as long again. So the first run takes from
Numba the code that LLVM makes of the kernels (`inspect_llvm`), and keeps it as an object file, one for each module of
kernels: a run that refines no photograph compiles no multigrid. Later runs give it to LLVM's loader, in some hundredths of a
second, and call the kernels by their addresses. Such calls release the GIL.

A file's name tells what it was made from: the kernels, the versions of Numba and LLVM, and the processor. It begins with
a checksum of the rest. A damaged file is compiled anew.
"""

from __future__ import annotations

import ctypes
import functools
import hashlib
import importlib
import logging
import os
import threading
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path
from typing import Any

from ..user_cache import user_cache

_log = logging.getLogger("analogy")

SIGNATURES = {
    "kernels": {
        "distance": "ii HH iiiii Ii F",
        "propagate": "ii HH iiiii IFi iII iI if IF",
        "random_search": "ii HH iiiii IFi iII iuu f IF",
        "vote": "ii IF iiiii i F",
        "channels_last": "ii F iii F",
        "join": "ii FF iii H",
        "pixel_vectors": "ii F iii H",
        "resample": "ii I iiiii dddd I",
    },
    "multigrid.kernels": {
        "coarsen": "ii F iii F F ii",
        "factor_rows": "ii F iii F",
        "factor_columns": "ii F iii F",
        "relax_rows": "ii Fi F FF iiii",
        "relax_columns": "ii Fi F FF iii F",
        "residual": "ii Fi Fi F ii F",
        "restriction": "ii F F ii F ii f",
        "prolongation": "ii F F ii F ii",
        "combine": "ii f F f F i",
    },
    "seam_kernels": {
        "gradient": "ii F ii F",
        "widest": "ii F ii F",
        "seams": "ii IFF iiiii F",
        "keep_edges": "ii Fii iI ii ff F",
        "divergence": "ii F ii F",
        "solve_columns": "ii F F F ii",
        "correct": "ii FF I i F",
    },
}
"""The kernels of each module and their arguments: i int64, u uint64, f float32, d float64, and addresses of I int32, H int16,
F float32."""

_REASSOCIATED = {"vote", "join", *SIGNATURES["multigrid.kernels"], *SIGNATURES["seam_kernels"]}
"""Sums of these may be reordered, which lets them be vectorised. The others count in whole numbers, or must round as written:
in `resample` a quotient that is a whole number must not become a product that lies just below it."""

_CTYPES = {"i": ctypes.c_int64, "u": ctypes.c_uint64, "f": ctypes.c_float, "d": ctypes.c_double}

_lock = threading.Lock()


def load(module: str = "kernels") -> Mapping[str, Callable[..., Any]]:
    """Kernel -> function of the arguments in `SIGNATURES`, addresses as int. Compiles if need be; cheap when repeated."""
    with _lock:  # LLVM's loader is not safe in several threads
        return _load(module)


@functools.cache
def _load(module: str) -> Mapping[str, Callable[..., Any]]:
    name = f"{module}-{_key(module)}.o"
    kept = next((code for folder in _folders() if (code := _read(folder / name))), None)
    return _link(kept or _compile_and_keep(module, name), SIGNATURES[module])


def _compile_and_keep(module: str, name: str) -> bytes:
    code = _compile(module)
    for folder in _folders():
        try:
            _write(folder / name, code)
        except OSError:
            continue
        _log.info("compiled the kernels for this CPU, once")
        return code
    _log.info("compiled the kernels, as at each start: set NUMBA_CACHE_DIR to a folder that can be written to")
    return code


def _folders() -> Iterator[Path]:
    """Where compiled kernels are kept, best first: where Numba is told to, beside the package, in the user's cache."""
    if os.environ.get("NUMBA_CACHE_DIR"):
        yield Path(os.environ["NUMBA_CACHE_DIR"])
        return
    yield Path(__file__).with_name("__pycache__")
    if folder := user_cache():
        yield folder


def _read(path: Path) -> bytes | None:
    """The code in a file, if it is there and whole."""
    try:
        content = path.read_bytes()
    except OSError:
        return None
    checksum, code = content[:32], content[32:]
    if hashlib.sha256(code).digest() == checksum:
        return code
    _log.info("%s is damaged; the kernels are compiled again", path)
    return None


def _write(path: Path, code: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    scratch = path.with_name(f".{path.name}-{uuid.uuid4().hex}")
    try:
        with scratch.open(
            "xb"
        ) as file:  # not by `tempfile`: others may load what the user who built an image has compiled
            file.write(hashlib.sha256(code).digest() + code)
        scratch.replace(path)
    except BaseException:
        with suppress(OSError):
            scratch.unlink()
        raise


def _key(module: str) -> str:
    """What the code depends on, as a checksum."""
    import llvmlite.binding as llvm

    names = ("contract.py", "compiled.py", f"{module.replace('.', '/')}.py")
    sources = ((Path(__file__).parent / name).read_bytes() for name in names)
    versions = (version(name).encode() for name in ("numba", "llvmlite"))
    machine = (llvm.get_process_triple().encode(), *(text.encode() for text in _processor()))
    return hashlib.sha256(b"\0".join((*sources, *versions, *machine))).hexdigest()[:24]


def _processor() -> tuple[str, str]:
    """LLVM's name of this processor, and what it can do."""
    import llvmlite.binding as llvm

    try:
        features = llvm.get_host_cpu_features().flatten()
    except RuntimeError:  # LLVM cannot tell on this platform
        features = ""
    return llvm.get_host_cpu_name(), features


def _target() -> Any:
    import llvmlite.binding as llvm

    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    cpu, features = _processor()
    return llvm.Target.from_triple(llvm.get_process_triple()).create_target_machine(
        cpu=cpu, features=features, opt=3, jit=True
    )


def _compile(module: str) -> bytes:
    """The kernels of a module as one object file that needs nothing but the C library."""
    import llvmlite.binding as llvm
    from numba import cfunc, types

    numbers = {"i": types.int64, "u": types.uint64, "f": types.float32, "d": types.float64}
    addresses = {"I": types.int32, "H": types.int16, "F": types.float32}
    kinds = numbers | {code: types.CPointer(kind) for code, kind in addresses.items()}
    target, whole = _target(), llvm.parse_assembly("")
    source = importlib.import_module(f".{module}", __package__)
    for name, letters in SIGNATURES[module].items():
        signature = types.void(*(kinds[letter] for letter in letters.replace(" ", "")))
        fastmath = {"reassoc", "contract", "arcp", "nsz"} if name in _REASSOCIATED else False
        made = cfunc(signature, error_model="numpy", fastmath=fastmath)(getattr(source, name))
        code = llvm.parse_assembly(made.inspect_llvm())
        # Numba puts a wrapper for callers in C around each kernel. It handles errors, of which a kernel has none, by functions
        # of Numba's that are not there later: only the kernel itself is kept.
        code.get_function(made.native_name.removeprefix("cfunc.")).name = name
        for function in code.functions:
            if not function.is_declaration:
                function.linkage = "external" if function.name == name else "internal"
        passes = llvm.create_new_module_pass_manager()
        passes.add_global_dead_code_eliminate_pass()
        passes.run(code, llvm.create_pass_builder(target, llvm.create_pipeline_tuning_options()))
        whole.link_in(code)
    emitted: bytes = target.emit_object(whole)
    return emitted


def _link(code: bytes, signatures: Mapping[str, str]) -> Mapping[str, Callable[..., Any]]:
    import llvmlite.binding as llvm

    engine = llvm.create_mcjit_compiler(llvm.parse_assembly(""), _target())
    engine.add_object_file(llvm.ObjectFileRef.from_data(code))
    engine.finalize_object()
    functions = {}
    for name, letters in signatures.items():
        arguments: list[Any] = [_CTYPES.get(letter, ctypes.c_void_p) for letter in letters.replace(" ", "")]
        # Numba's own calling convention: an address for the result, one for an error, then the arguments; gives a status.
        prototype = ctypes.CFUNCTYPE(ctypes.c_int32, ctypes.c_void_p, ctypes.c_void_p, *arguments)
        functions[name] = _bind(prototype(engine.get_function_address(name)), engine)
    return functions


def _bind(function: Callable[..., Any], engine: Any) -> Callable[..., Any]:
    """`function` with a place for the result and the error that a kernel never has. Keeps `engine`, which holds its code."""
    unused = (ctypes.c_void_p * 2)()
    place = ctypes.addressof(unused)

    def call(*arguments: Any, _keep: Any = (engine, unused)) -> None:
        function(place, place + ctypes.sizeof(ctypes.c_void_p), *arguments)

    return call
