"""Compiler of the CPU kernels: Numba translates them to LLVM code, and LLVM to machine code.

Two procedures make functions from the kernels. The first (`compile_kernels`, `link`) takes the LLVM
code of a kernel from Numba and makes an object file, which can be loaded without Numba. The
kernel's name and its calling convention in this code are internal to Numba. So this module checks
the name and the convention, and raises an error if they are not as expected. The second procedure
(`by_numba_alone`) uses only Numba's public interface, but imports Numba at every start.

The compiled functions of both procedures release the GIL while they run.
"""

from __future__ import annotations

import ctypes
import importlib
import inspect
import json
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

Kernels = Mapping[str, Callable[..., Any]]
"""Name of a kernel -> function that takes the kernel's arguments, with addresses as int."""

_CTYPES: Mapping[str, Any] = {
    "Int64": ctypes.c_int64, "UInt64": ctypes.c_uint64, "Float32": ctypes.c_float, "Float64": ctypes.c_double,
    "Int16s": ctypes.c_void_p, "Int32s": ctypes.c_void_p, "Float32s": ctypes.c_void_p,
}  # fmt: skip
"""Name of a type in `argument_types` -> type in `ctypes`."""
_IN_LLVM = {"Int64": "i64", "UInt64": "i64", "Float32": "float", "Float64": "double"}
"""Name of a number type in `argument_types` -> type in LLVM; addresses have the type "ptr"."""

REORDERING = {"reassoc", "contract", "arcp", "nsz"}
"""Names of the flags with which LLVM may reorder sums, and so can vectorise these sums.

With these flags LLVM may also fuse a product and a sum, and multiply by a reciprocal instead of
dividing. Without them, a kernel computes and rounds exactly as its code is written.
"""
_REORDERED = {"vote", "join"}
"""Names of the kernels in `kernels` that are compiled with `REORDERING`.

The other kernels of that module compute in whole numbers, or must round as written. In `resample`,
for instance, LLVM could replace a division by a multiplication by the reciprocal. Where the exact
quotient is a whole number, the product can be just below it, and `floor` would return one less.
"""
_REORDERED_MODULES = {"multigrid.kernels", "seam_kernels"}
"""Names of the modules whose kernels are all compiled with `REORDERING`."""

_OF_NUMBA = ("numba", "NRT", "nrt", "Py", "_Py")
"""Prefixes of the names of functions that a stored kernel must not call.

The functions belong to Numba or to Python.
"""


def compile_kernels(module: str, names: Iterable[str]) -> bytes:
    """Return the kernels of a module as machine code for this processor.

    The code needs only the C library. The result begins with a line of JSON, which maps the name of
    each kernel to the types of its arguments. An object file follows. Raises `RuntimeError` if
    Numba's calling convention is not the one that `link` expects, or if a kernel calls a function
    of Numba or of Python.
    """
    import llvmlite.binding as llvm

    target, whole = _target(), llvm.parse_assembly("")
    types = {}
    for name, kernel in _kernels(module, names):
        types[name] = _types(kernel)
        made = _cfunc(module, kernel)
        code = llvm.parse_assembly(made.inspect_llvm())
        # Numba puts a wrapper for callers in C around each kernel. The wrapper calls functions of
        # Numba to handle errors, but kernels raise none. So only the kernel itself is stored.
        code.get_function(made.native_name.removeprefix("cfunc.")).name = name
        for function in code.functions:
            if not function.is_declaration:
                function.linkage = "external" if function.name == name else "internal"
        passes = llvm.create_new_module_pass_manager()
        passes.add_global_dead_code_eliminate_pass()
        passes.run(code, llvm.create_pass_builder(target, llvm.create_pipeline_tuning_options()))
        _check(code, name, types[name])
        whole.link_in(code)
    emitted: bytes = target.emit_object(whole)
    return json.dumps(types).encode() + b"\n" + emitted


def link(content: bytes) -> Kernels:
    """Return the kernels in `content`, which `compile_kernels` has returned, as functions."""
    import llvmlite.binding as llvm

    types, _, code = content.partition(b"\n")
    engine = llvm.create_mcjit_compiler(llvm.parse_assembly(""), _target())
    engine.add_object_file(llvm.ObjectFileRef.from_data(code))
    engine.finalize_object()
    functions = {}
    for name, arguments in json.loads(types).items():
        # In Numba's calling convention, a function takes an address for the result, an address for
        # an error, and then the arguments. It returns a status.
        convention = ctypes.c_int32, ctypes.c_void_p, ctypes.c_void_p, *(_CTYPES[argument] for argument in arguments)
        functions[name] = _bind(ctypes.CFUNCTYPE(*convention)(engine.get_function_address(name)), engine)
    return functions


def by_numba_alone(module: str, names: Iterable[str], folder: Path | None) -> Kernels:
    """Return the kernels of a module, compiled and called through Numba's public interface.

    Numba stores the compiled code in `folder`. If `folder` is None, Numba compiles the kernels at
    each start.
    """
    import numba

    config: Any = numba.config
    functions = {}
    before, config.CACHE_DIR = config.CACHE_DIR, str(folder or "")
    try:
        for name, kernel in _kernels(module, names):
            made = _cfunc(module, kernel, cache=folder is not None)
            prototype = ctypes.CFUNCTYPE(None, *(_CTYPES[argument] for argument in _types(kernel)))
            functions[name] = _keeping(made, prototype(made.address))
    finally:
        config.CACHE_DIR = before
    return functions


def processor() -> tuple[str, str, str]:
    """Return LLVM's names of the platform, of the processor, and of the processor's features."""
    import llvmlite.binding as llvm

    try:
        features = llvm.get_host_cpu_features().flatten()
    except RuntimeError:  # LLVM cannot find out the features on this platform
        features = ""
    return llvm.get_process_triple(), llvm.get_host_cpu_name(), features


def _kernels(module: str, names: Iterable[str]) -> Iterable[tuple[str, Callable[..., None]]]:
    """Return the name and the Python function of each kernel of a module; this imports Numba."""
    source = importlib.import_module(f".{module}", __package__)
    return ((name, getattr(source, name)) for name in names)


def _types(kernel: Callable[..., None]) -> list[str]:
    """Return the name of each argument's type, as in `argument_types`."""
    return [parameter.annotation for parameter in inspect.signature(kernel).parameters.values()]


def _cfunc(module: str, kernel: Callable[..., None], cache: bool = False) -> Any:
    """Return a kernel that Numba has compiled for callers in C."""
    from numba import cfunc, types

    kinds = {
        "Int64": types.int64, "UInt64": types.uint64, "Float32": types.float32, "Float64": types.float64,
        "Int16s": types.CPointer(types.int16), "Int32s": types.CPointer(types.int32),
        "Float32s": types.CPointer(types.float32),
    }  # fmt: skip
    signature = types.void(*(kinds[argument] for argument in _types(kernel)))
    reordered = module in _REORDERED_MODULES or kernel.__name__ in _REORDERED
    flags = REORDERING if reordered else False
    return cfunc(signature, fastmath=flags, error_model="numpy", cache=cache)(kernel)


def _target() -> Any:
    import llvmlite.binding as llvm

    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    triple, cpu, features = processor()
    return llvm.Target.from_triple(triple).create_target_machine(cpu=cpu, features=features, opt=3, jit=True)


def _check(code: Any, name: str, types: Iterable[str]) -> None:
    """Raise `RuntimeError` if a kernel's calling convention is not the one that `link` expects.

    The error is also raised if the kernel calls a function of Numba or of Python, since `link`
    loads no Numba, and the kernels run without the GIL.
    """
    arguments = "ptr", "ptr", *(_IN_LLVM.get(argument, "ptr") for argument in types)
    found, expected = str(code.get_function(name).global_value_type), f"i32 ({', '.join(arguments)})"
    if found != expected:
        raise RuntimeError(f"Numba compiles {name} as {found}, not as {expected}")
    if missing := [function.name for function in code.functions if function.name.startswith(_OF_NUMBA)]:
        raise RuntimeError(
            f"the code that Numba compiles for {name} calls {missing[0]}, a function of Numba or of Python"
        )


def _bind(function: Callable[..., Any], engine: Any) -> Callable[..., Any]:
    """Return a function that passes its arguments to `function`, after two more addresses.

    At these addresses the machine code can write a result and an error, which nothing reads. The
    returned function keeps a reference to `engine`, which owns the machine code.
    """
    unused = (ctypes.c_void_p * 2)()
    place = ctypes.addressof(unused)

    def call(*arguments: Any, _keep: Any = (engine, unused)) -> None:
        function(place, place + ctypes.sizeof(ctypes.c_void_p), *arguments)

    return call


def _keeping(owner: Any, function: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function that calls `function`.

    The returned function keeps a reference to `owner`, which owns the machine code of `function`.
    """

    def call(*arguments: Any, _keep: Any = owner) -> None:
        function(*arguments)

    return call
