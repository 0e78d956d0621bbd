"""Tests of interrupts (Ctrl-C) after a compiler has replaced Python's handler."""

from __future__ import annotations

import signal
import threading

import pytest

from analogy.backends import interrupts


def test_a_handler_left_by_a_compiler_is_replaced_in_any_thread() -> None:
    before = interrupts._get(signal.SIGINT)

    def compile_badly() -> None:
        with interrupts.kept_interrupts():
            interrupts._set(signal.SIGINT, 1)  # 1 is SIG_IGN, so the interrupt is ignored

    for thread in [threading.Thread(target=compile_badly) for _ in range(2)]:
        thread.start()
        thread.join()
    assert interrupts._get(signal.SIGINT) == before
    with pytest.raises(KeyError), interrupts.kept_interrupts():
        interrupts._set(signal.SIGINT, 1)
        raise KeyError
    assert interrupts._get(signal.SIGINT) == before


def test_one_thread_at_a_time_compiles() -> None:
    entered = threading.Event()

    def compile_too() -> None:
        with interrupts.kept_interrupts():
            entered.set()

    with interrupts.kept_interrupts():
        other = threading.Thread(target=compile_too)
        other.start()
        assert not entered.wait(0.05)
    other.join()
    assert entered.is_set()
