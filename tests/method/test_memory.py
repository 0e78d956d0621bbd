"""The estimate of a transfer's memory, and the refusal of pairs that need too much."""

from types import SimpleNamespace

import numpy as np
import psutil
import pytest

from analogy.backends.cpu import CpuBackend
from analogy.engine import Engine
from analogy.errors import MemoryLimitError
from analogy.method import memory
from analogy.method.admission import working_size
from analogy.settings import Settings

WIDTHS = (16, 32, 64, 128, 128)


class Limited(CpuBackend):
    """CPU backend that reports a given number of bytes as free."""

    def __init__(self, free: int):
        super().__init__(1)
        self.free = free

    def free_memory(self) -> int:
        return self.free


def test_a_pair_is_accepted_exactly_when_its_estimate_is_free() -> None:
    sizes = [(448, 448)] * 2
    need = round(memory.estimate(WIDTHS, sizes, sizes, Settings()))
    assert need < 600_000_000  # the README promises 0.43 GB
    memory.check(Limited(need), WIDTHS, sizes, sizes, Settings())
    with pytest.raises(MemoryLimitError):
        memory.check(Limited(need - 1), WIDTHS, sizes, sizes, Settings())


@pytest.mark.parametrize(
    ("working", "full", "words"),
    [
        ((590, 590), (9000, 12000), r"about 13\.\d GB of memory and 1\.0 GB are free; make the pictures smaller"),
        ((3000, 4000), (3000, 4000), r"lower max_pixels \(now 350000\)"),
    ],
)
def test_a_pair_beyond_the_free_memory_is_refused_with_the_figures_and_the_cure(working, full, words: str) -> None:
    with pytest.raises(MemoryLimitError, match=words):
        memory.check(Limited(1_000_000_000), WIDTHS, [working] * 2, [full] * 2, Settings())


def test_a_picture_that_the_host_cannot_decode_is_refused_though_a_gpu_has_room(monkeypatch) -> None:
    gpu = Limited(80_000_000_000)
    gpu.name = "cuda"
    monkeypatch.setattr(memory, "free_memory", lambda: 4_000_000_000)
    memory.check(gpu, WIDTHS, [(590, 590)] * 2, [(3000, 4000)] * 2, Settings())
    gpu.free = 1_300_000_000  # painting takes 1.23 GB; decoding A takes 1.37 GB, but not there
    memory.check(gpu, WIDTHS, [(590, 590)] * 2, [(4000, 4000), (590, 590)], Settings())
    gpu.free = 1_100_000_000
    with pytest.raises(MemoryLimitError, match=r"this takes about 1\.2 GB of memory and 1\.1 GB are free"):
        memory.check(gpu, WIDTHS, [(590, 590)] * 2, [(4000, 4000), (590, 590)], Settings())
    with pytest.raises(MemoryLimitError, match=r"A: with 168 megapixels .*and 4\.0 GB are free; make the pictures"):
        memory.check(gpu, WIDTHS, [(590, 590)] * 2, [(14_000, 12_000), (590, 590)], Settings(), "A")


def test_the_estimate_grows_with_widths_working_sizes_and_full_sizes() -> None:
    settings = Settings()
    small = memory.estimate(WIDTHS, [(400, 400)] * 2, [(400, 400)] * 2, settings)
    assert memory.estimate((64, 128, 256, 512, 512), [(400, 400)] * 2, [(400, 400)] * 2, settings) > small
    assert memory.estimate(WIDTHS, [(800, 800)] * 2, [(800, 800)] * 2, settings) > small
    large = memory.estimate(WIDTHS, [(400, 400)] * 2, [(4000, 4000)] * 2, settings)
    assert large > small
    assert memory.estimate(WIDTHS, [(400, 400)] * 2, [(4000, 4000)] * 2, Settings(photo=True)) > large


def test_the_memory_of_l_bfgs_counts() -> None:
    """Measured for A of 448 x 448 and B' of 64 x 64 pixels: 364 MB with a step, 694 MB with ten."""
    sizes = [(448, 448), (64, 64)]
    step, ten, three = (
        memory.estimate(WIDTHS, sizes, sizes, Settings.of("paper").changed(changes))
        for changes in ({"inversion": "step"}, {"inversion_steps": 10}, {"inversion_steps": 3})
    )
    assert ten > 694e6 > 364e6 > step - 100e6
    assert step < three < ten


def test_labels_and_pictures_of_levels_count() -> None:
    pixels = np.zeros((2000, 3000, 3), np.uint8)
    working = [working_size((2000, 3000), Settings())] * 2
    engine = Engine(backend=Limited(0))
    engine.backend.free = round(memory.estimate(engine.network.card.widths, working, [(2000, 3000)] * 2, Settings()))
    with pytest.raises(MemoryLimitError, match="B': with 6 megapixels"):
        engine.transfer(pixels, pixels, mask_a=pixels, mask_b=pixels)
    with pytest.raises(MemoryLimitError, match="B': with 6 megapixels"):
        engine.transfer(pixels, pixels, levels=True)


def test_free_memory_is_what_the_system_calls_available(monkeypatch: pytest.MonkeyPatch) -> None:
    # Available memory includes caches that the system can drop; free memory does not.
    system = SimpleNamespace(total=16_000, used=5_000, free=1_000, available=9_000)
    monkeypatch.setattr(psutil, "virtual_memory", lambda: system)
    assert CpuBackend(1).free_memory() == 9_000
