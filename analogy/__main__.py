"""Where the command begins: analogy, or python -m analogy."""

import os
from contextlib import suppress

from .apps import process

_LEAST_ADDRESSES = 250_000_000
"""Bytes. With a lower bound (`ulimit -v`) the libraries crash, or wait for ever, while they are loaded."""


def main() -> None:
    """Run the command. Signals are handled before anything else is loaded."""
    process.take_over()
    # Or NumPy would start a thread for each core, which at first spins for a tenth of a second. No
    # product here is large enough for more than one thread.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    with suppress(ImportError):  # not on Windows
        import resource

        if 0 <= resource.getrlimit(resource.RLIMIT_AS)[0] < _LEAST_ADDRESSES:
            os.write(2, b"analogy: there is not enough memory to begin; raise the limit (`ulimit -v`)\n")
            process.leave(2)
    from .apps.cli import main

    main()


if __name__ == "__main__":
    main()
