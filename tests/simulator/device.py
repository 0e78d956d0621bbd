"""Devices, streams and arrays of the simulated CuPy, whose arrays do not mix with NumPy arrays.

All work runs immediately and in order, on the CPU. Only the rules of streams are simulated: each
array stores the stream that has used it last. If another stream uses the array without having
waited for this stream, that would be a race on a GPU, and it raises an error here. There are two
devices, and each thread has a current stream on each of them. `waits` counts how often the host has
waited for a device.
"""

from __future__ import annotations

import itertools
import threading
from types import SimpleNamespace

import numpy as np

COUNT = 2
"""Number of simulated devices."""
waits = 0
"""Number of times that the host has waited for a device."""
_ids = itertools.count(COUNT)
_host_clock: dict[int, int] = {}
compiled: set[tuple[object, ...]] = set()
"""Operations that were used, with the dtypes and the numbers of axes of their arrays.

CuPy would compile each entry once.
"""
_lock = threading.RLock()


class _Current(threading.local):
    """The current device of a thread, and its current stream on each device."""

    def __init__(self) -> None:
        self.device = 0
        self.streams = list(Stream.defaults)


class RaceError(RuntimeError):
    """Error about a stream that uses an array on which another stream may still work."""


class Event:
    """The vector clock of a stream at the time when the event was recorded.

    The clock maps the stream, and each stream for which it has waited, to the number of operations
    that are complete when the event occurs.
    """

    def __init__(self, clock: dict[int, int]):
        self.clock = clock

    def synchronize(self) -> None:
        global waits
        with _lock:
            waits += 1
            _merge(_host_clock, self.clock)


class Stream:
    """A queue of work on a device.

    `ptr` is the address of the stream, which is 0 for the default stream of each device. `id` is
    the same address, or the number of the device for a default stream.
    """

    defaults: list[Stream]

    def __init__(self, *, non_blocking: bool):
        assert non_blocking, "only non-blocking streams, and the default ones, are simulated"
        self.id = self.ptr = next(_ids)
        self.clock = {self.id: 0}
        self.device_id = _current.device

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Stream) and self.ptr == other.ptr  # so all default streams are equal, as in CuPy

    __hash__ = None  # type: ignore[assignment]

    def record(self) -> Event:
        """Record an event on this stream, which must belong to the current device."""
        assert self.device_id == _current.device, "the stream belongs to another device"
        with _lock:
            return Event(dict(self._checked().clock))

    def _checked(self) -> Stream:
        """Return this stream after checking that CuPy would use the same one.

        CuPy would take the address 0 for the default stream of the current device.
        """
        assert self.ptr or self.device_id == _current.device, "the default stream of another device"
        return self

    def wait_event(self, event: Event) -> None:
        with _lock:
            _merge(self._checked().clock, event.clock)

    def synchronize(self) -> None:
        self.record().synchronize()

    def use(self) -> Stream:
        if self.device_id != _current.device:
            raise RuntimeError("The device that the stream is created on does not match with the current device")
        _current.streams[self.device_id] = self
        return self


def _default(device: int) -> Stream:
    stream = object.__new__(Stream)
    stream.id, stream.ptr, stream.clock, stream.device_id = device, 0, {device: 0}, device
    return stream


Stream.defaults = [_default(device) for device in range(COUNT)]
_current = _Current()


def get_current_stream() -> Stream:
    return _current.streams[_current.device]


class Device:
    """A device, by default the current device."""

    def __init__(self, id: int | None = None):
        self.id = _current.device if id is None else id
        assert 0 <= self.id < COUNT
        self._before: list[int] = []

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Device) and self.id == other.id

    __hash__ = None  # type: ignore[assignment]

    def use(self) -> None:
        _current.device = self.id

    def __enter__(self) -> Device:
        self._before.append(_current.device)
        self.use()
        return self

    def __exit__(self, *error: object) -> None:
        _current.device = self._before.pop()


class ndarray:
    """An array on the device.

    It has the methods and operators in `_METHODS` and `_OPERATORS`, which accept only device arrays
    and scalars.
    """

    __array_ufunc__ = None  # so NumPy calls the operators of this class in mixed expressions

    def __init__(self, host: np.ndarray, owner: ndarray | None = None):
        self._host = host
        self._held = None if owner is None else owner._owner
        if owner is None:
            self._last = (0, 0)
            self.device = Device()
            touch(self)

    @property
    def _owner(self):
        """Array that owns the memory: another array, or this one if `_held` is None.

        A reference to itself in `_held` would delay the release of the memory.
        """
        return self if self._held is None else self._held

    def __array__(self, *args: object, **kwargs: object) -> np.ndarray:
        raise TypeError("Implicit conversion to a NumPy array is not allowed; use asnumpy")

    def __getattr__(self, name: str):
        if name in ("shape", "dtype", "ndim", "size", "nbytes", "itemsize", "flags"):
            return getattr(self._host, name)
        raise AttributeError(f"the simulated CuPy's ndarray has no {name!r}: add it to device.py if CuPy has it")

    @property
    def data(self) -> SimpleNamespace:
        touch(self)
        return SimpleNamespace(ptr=self._host.ctypes.data)

    @property
    def T(self) -> ndarray:
        return self.transpose()

    @property
    def __cuda_array_interface__(self) -> dict[str, object]:
        return {"shape": self.shape, "typestr": self.dtype.str, "data": (self.data.ptr, False), "version": 3}

    def get(self) -> np.ndarray:
        return to_host(self)

    def __len__(self) -> int:
        return len(self._host)

    def __setitem__(self, key: object, value: object) -> None:
        touch(*_arrays((self, key, value)))
        self._host[unwrap(key)] = unwrap(value)

    def __float__(self) -> float:
        return float(to_host(self))

    def __int__(self) -> int:
        return int(to_host(self))

    def __bool__(self) -> bool:
        return bool(to_host(self))

    def item(self):
        return to_host(self).item()

    def tolist(self) -> list:
        return to_host(self).tolist()


def touch(*arrays: ndarray) -> None:
    """Record an operation on these arrays in the current stream. Raises `RaceError` for a race."""
    stream = get_current_stream()
    with _lock:
        stream.clock[stream.id] += 1
        for array in arrays:
            assert array._owner.device.id == _current.device, "an array of another device"
            other, moment = array._owner._last
            if max(stream.clock.get(other, 0), _host_clock.get(other, 0)) < moment:
                raise RaceError(f"stream {stream.id} uses an array that stream {other} may still work on")
            array._owner._last = (stream.id, stream.clock[stream.id])


def to_host(array: ndarray) -> np.ndarray:
    """Return a copy of an array on the host, after the host has waited for the current stream."""
    touch(array)
    get_current_stream().synchronize()
    return array._host.copy()


def unwrap(value):
    """Return NumPy views of device arrays, which may be inside tuples and lists.

    Raises `TypeError` for NumPy arrays, as CuPy does.
    """
    if isinstance(value, ndarray):
        return value._host
    if isinstance(value, np.ndarray):
        raise TypeError(f"Unsupported type {type(value)}")
    if isinstance(value, (tuple, list)):
        return type(value)(map(unwrap, value))
    return value


def run(function, *args, **kwargs):
    """Call a NumPy function on device arrays, and return its results as device arrays.

    A result that is a single number also becomes a device array.
    """
    arrays = _arrays((*args, *kwargs.values()))
    touch(*arrays)
    compiled.add((function.__name__, *((array.dtype.char, array.ndim) for array in arrays)))
    result = np.asarray(function(*unwrap(args), **{key: unwrap(value) for key, value in kwargs.items()}))
    owner = next((array for array in arrays if np.may_share_memory(array._host, result)), None)
    return ndarray(result, owner)


def _arrays(values) -> list[ndarray]:
    found: list[ndarray] = []
    for value in values:
        if isinstance(value, ndarray):
            found.append(value)
        elif isinstance(value, (tuple, list)):
            found += _arrays(value)
    return found


def _merge(into: dict[int, int], clock: dict[int, int]) -> None:
    for stream, moment in clock.items():
        into[stream] = max(into.get(stream, 0), moment)


_METHODS = (
    "astype", "reshape", "transpose", "ravel", "copy", "squeeze", "clip", "view",
    "sum", "mean", "min", "max", "any", "all", "argmin",
)  # fmt: skip
_OPERATORS = (
    "add", "radd", "sub", "rsub", "mul", "rmul", "truediv", "rtruediv", "floordiv", "mod", "pow", "matmul", "neg",
    "abs", "lt", "le", "gt", "ge", "eq", "ne", "and", "or", "invert", "iadd", "isub", "imul", "itruediv", "getitem",
)  # fmt: skip


def _delegate(name: str) -> None:
    def method(self, *args, **kwargs):
        return run(getattr(np.ndarray, name), self, *args, **kwargs)

    method.__name__ = name
    setattr(ndarray, name, method)


for _name in (*_METHODS, *(f"__{operator}__" for operator in _OPERATORS)):
    _delegate(_name)
