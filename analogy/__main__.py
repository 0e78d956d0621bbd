"""Entry point of the command, for `analogy` and for `python -m analogy`."""

import os
from contextlib import suppress

from .apps import process

_MIN_ADDRESS_SPACE = 250_000_000
"""Smallest address space in which the libraries load, in bytes; with less they crash or hang."""


def main() -> None:
    """Take over the signals, check the address space, and only then load and run the command."""
    process.take_over()
    # Otherwise OpenBLAS starts a thread for each core while NumPy is imported, and they spin for a
    # tenth of a second. No product here is large enough for more than one thread.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    with suppress(ImportError):  # Windows has no such module
        import resource

        if 0 <= resource.getrlimit(resource.RLIMIT_AS)[0] < _MIN_ADDRESS_SPACE:
            os.write(2, b"analogy: there is not enough memory to start; raise the limit (`ulimit -v`)\n")
            process.leave(2)
    from .apps.cli import main

    main()


if __name__ == "__main__":
    main()
