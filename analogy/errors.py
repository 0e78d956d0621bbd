"""The errors that this package raises on purpose.

Each is an `AnalogyError`. Its message is one line that says what was wrong, with the actual value,
and what to do. The command prints this line and exits with code 2.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager


def printable(text: str) -> str:
    """Return `text` as one line that is safe to print, with escapes for unprintable characters.

    File names may contain line ends, control characters that move a terminal's cursor, marks that
    reverse the writing direction, and bytes that are not text.
    """
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)


def shown(value: object) -> str:
    """Return `repr(value)`, cut to 100 characters, or the name of its type if `repr` fails."""
    try:
        text = repr(value)
    except Exception:  # a class may raise anything, and Python refuses very long ints
        return f"a value of type {type(value).__name__} that cannot be shown"
    return text if len(text) <= 100 else f"{text[:97]}..."


def counted(number: float, noun: str) -> str:
    """Return a number with its noun, in the plural unless the number is 1: "1 job", "2 jobs"."""
    return f"{number:.10g} {noun}{'' if number == 1 else 's'}"


class AnalogyError(Exception):
    """Base class of the errors that this package raises on purpose.

    The message is one printable line.
    """

    def __init__(self, message: str):
        super().__init__(printable(message))


class SettingsError(AnalogyError, ValueError):
    """Error about a setting or an argument whose value is invalid or whose name is unknown."""


class ImageError(AnalogyError, ValueError):
    """Error about a picture or an array that is missing, damaged, too small or too large."""


class PictureTooLargeError(ImageError):
    """Error about a picture with more pixels than the engine's `max_input_pixels`."""


class ModelError(AnalogyError):
    """Error about a model that is unknown, incomplete or damaged, or has files of another model."""


class DeviceError(AnalogyError, RuntimeError):
    """Error about a device that was asked for but cannot be used.

    The message says why, and what to do.
    """


class OutputError(AnalogyError, OSError):
    """Error about a file or a folder that cannot be written, or that must not be overwritten."""


class MemoryLimitError(AnalogyError, MemoryError):
    """Error about work that needs more memory than is free. The message says what to do."""


_SHORTAGE = re.compile(
    "start new thread"  # Python, when it cannot start a thread
    "|map segment"  # the loader of shared libraries
    "|bad_alloc"  # the C++ library
    "|([Ff]ailed to|[Cc]annot) allocate memory"  # ONNX Runtime, when the system or the device has no free memory
    "|smaller than requested bytes"  # ONNX Runtime, at the memory limit that was set for it
    "|out of memory"  # CUDA
    r"|(CUDNN|CUBLAS)_STATUS_\w*ALLOC\w*_FAILED"  # cuDNN and cuBLAS
)
"""Pattern of the messages by which Python and the libraries report a lack of memory."""


def is_shortage(error: BaseException) -> bool:
    """Return whether an error means a lack of memory, judged by its type or its message."""
    return isinstance(error, MemoryError) or bool(_SHORTAGE.search(str(error)))


@contextmanager
def enough_memory(doing: str, cure: str) -> Iterator[None]:
    """Raise `MemoryLimitError` if the block or decorated function runs out of memory or threads.

    The message is "there is not enough memory to {doing}; {cure}".
    """
    try:
        yield
    except AnalogyError:
        raise
    except (MemoryError, RuntimeError) as error:
        if not is_shortage(error):
            raise
        raise MemoryLimitError(f"there is not enough memory to {doing}; {cure}") from error


def reason(error: BaseException) -> str:
    """Return the message of an error as one line, or the name of its type if it has no message."""
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return " ".join(text.split())


def unreadable(error: OSError, label: str) -> str:
    """Return a message that says why the file `label` cannot be read, and what to do."""
    if isinstance(error, FileNotFoundError):
        return f"{label}: there is no such file; check its name and its folder"
    if isinstance(error, IsADirectoryError):
        return f"{label} is a folder; give the path of a file"
    if isinstance(error, PermissionError):
        return f"{label}: there is no permission to read it; change its permissions, or give another file"
    return f"{label} cannot be read ({reason(error)}); give another file"


def first_line(error: BaseException) -> str:
    """Return the first line of an error's message, or the name of its type if it has no message."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]
