"""Entry point of the command, for `analogy` and for `python -m analogy`."""

import os
from contextlib import suppress

from .apps import process

_MIN_ADDRESS_SPACE = 250_000_000
"""Smallest limit on the address space, in bytes, with which the libraries load without a crash."""


def main() -> None:
    """Install the signal handlers, check the address space, and then load and run the command."""
    process.take_over()
    # By default OpenBLAS starts one thread per core when NumPy is imported, and these threads keep
    # the cores busy for a tenth of a second. No matrix product of this package is large enough to
    # gain from a second thread.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    with suppress(ImportError):  # Windows has no module `resource`
        import resource

        if 0 <= resource.getrlimit(resource.RLIMIT_AS)[0] < _MIN_ADDRESS_SPACE:
            os.write(2, b"analogy: there is not enough memory to start; raise the limit (`ulimit -v`)\n")
            process.leave(2)
    from .apps.cli import main

    main()


if __name__ == "__main__":
    main()
