"""Fixture for the tests of the applications, which compare what a command prints."""

from __future__ import annotations

import pytest

from analogy.backends import compiled


@pytest.fixture(scope="session", autouse=True)
def compiled_kernels() -> None:
    """Compile the kernels of the CPU, since otherwise the first command would log this step."""
    for module in compiled.KERNELS:
        compiled.load(module)
