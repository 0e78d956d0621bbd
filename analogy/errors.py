"""The errors that this package raises on purpose.

Each is an `AnalogyError` whose message is one line: what was wrong, with the actual value, and what
to do. The command prints that line and exits with code 2.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager


def printable(text: str) -> str:
    """Return `text` on one line, without anything that could move a terminal's cursor: such characters become escapes.

    File names may hold line ends, control characters, marks that turn the direction of writing, and
    bytes that are no text.
    """
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)


def shown(value: object) -> str:
    """Return `repr(value)`, or its beginning; the type of a value without a `repr`."""
    try:
        text = repr(value)
    except Exception:  # of another's class, or of a number with too many digits
        return f"a {type(value).__name__} that cannot be shown"
    return text if len(text) <= 100 else f"{text[:97]}..."


class AnalogyError(Exception):
    """Base of all errors raised on purpose by this package. Its message is `printable`."""

    def __init__(self, message: str):
        super().__init__(printable(message))


class SettingsError(AnalogyError, ValueError):
    """Error about a setting with a value outside its range, or a name that does not exist."""


class ImageError(AnalogyError, ValueError):
    """Error about a picture or an array that cannot be used: it is missing, not a picture, damaged, too small or too large."""


class PictureTooLargeError(ImageError):
    """A picture has more pixels than the `max_input_pixels` of its engine admits."""


class ModelError(AnalogyError):
    """Error about a model that is unknown, incomplete or damaged, or whose files do not fit together."""


class DeviceError(AnalogyError, RuntimeError):
    """Error about a device that was asked for and cannot be used; the message names the cause and the cure."""


class OutputError(AnalogyError, OSError):
    """Error about a result that cannot be written."""


class MemoryLimitError(AnalogyError, MemoryError):
    """Error about pictures that need more memory than is free on the device; the message says how much, and what to do."""


# What is said by Python of a thread, by the loader of libraries, by the C++ library, by ONNX
# Runtime of its memory at the system's or the device's bound and at its own, by CUDA, and by cuDNN
# and cuBLAS.
_SHORTAGE = re.compile(
    "start new thread|map segment|bad_alloc"
    "|([Ff]ailed to|[Cc]annot) allocate memory|smaller than requested bytes|out of memory"
    r"|(CUDNN|CUBLAS)_STATUS_\w*ALLOC\w*_FAILED"
)


def is_shortage(error: BaseException) -> bool:
    """Return whether an error says that a library had too little memory; most have no exception of their own for that."""
    return isinstance(error, MemoryError) or bool(_SHORTAGE.search(str(error)))


@contextmanager
def enough_memory(doing: str, cure: str) -> Iterator[None]:
    """Raise `MemoryLimitError` where the block (or the function that it decorates) finds no memory left, or no thread."""
    try:
        yield
    except AnalogyError:
        raise
    except (MemoryError, RuntimeError) as error:
        if not is_shortage(error):
            raise
        raise MemoryLimitError(f"there is not enough memory to {doing}; {cure}") from error


def reason(error: BaseException) -> str:
    """Return the message of a library's or the system's error on one line, or the error's type if it has no message."""
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return " ".join(text.split())


def first_line(error: BaseException) -> str:
    """Return the first line of an error's message, or the error's type if it has no message."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]
