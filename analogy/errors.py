"""What can go wrong, as a user would say it.

Every error this package raises on purpose is an `AnalogyError`. Its message is one line: what was wrong, with the
actual value, and what to do. The command prints that line and exits with code 2.
"""


class AnalogyError(Exception):
    """Base of all errors raised on purpose by this package."""


class SettingsError(AnalogyError, ValueError):
    """A setting has a value outside its range, or a name that does not exist."""


class ImageError(AnalogyError, ValueError):
    """A picture or array cannot be used: missing, not a picture, damaged, too small or too large."""


class ModelError(AnalogyError):
    """A model is unknown, incomplete or damaged, or its files do not fit together."""


class DeviceError(AnalogyError, RuntimeError):
    """The device that was asked for cannot be used; the message names the cause and the cure."""


class OutputError(AnalogyError, OSError):
    """A result cannot be written to where it should go."""


class MemoryLimitError(AnalogyError, MemoryError):
    """The pictures need more memory than the device has left; the message says how much, and what to do."""


def reason(error: BaseException) -> str:
    """What an error of a library or the system says, on one line; its kind where it says nothing."""
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return " ".join(text.split())


def first_line(error: BaseException) -> str:
    """The first line of what an error says, where there may be many; its kind where it says nothing."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]
