"""Tests of progress: what a callback gets and how often, and the estimated times of a run."""

import threading
import time
from functools import partial
from itertools import pairwise

import numpy as np
import pytest

from analogy import progress
from analogy.method.costs import estimate
from analogy.method.pair import Pair, Side, pair_of
from analogy.pictures.images import Picture
from analogy.progress import Progress, StageReporter, Tick, side_by_side, split
from analogy.settings import Settings

WIDTHS = (16, 32, 64, 256, 256)
SEARCHED = dict(zip((1, 2, 3, 4, 5), WIDTHS, strict=True))


def pair(working: tuple[int, int], full: tuple[int, int]) -> Pair:
    """Return a pair whose pictures have the full size `full` and the working size `working`."""
    picture = Picture(np.broadcast_to(np.uint8(0), (*full, 3)))
    return pair_of(Side("A", picture, working), [Side("B'", picture, working)])


def reporter_of(plan) -> tuple[StageReporter, list[Progress]]:
    reports: list[Progress] = []
    reporter = StageReporter(reports.append)
    reporter.plan(plan)
    return reporter, reports


def test_the_share_follows_the_plan_within_stages_and_never_falls(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "MAX_INTERVAL", 0.0)  # every step is reported
    reporter, reports = reporter_of({"one": {"x": 1, "y": 2}, "two": {"z": 1}})
    reporter.begin("one")
    reporter.part("x")(0.5)
    reporter.part("y")(0.5)
    reporter.part("x")(0.9)
    reporter.begin("two")
    reporter.end()
    assert reports == [
        Progress("one", 0),
        Progress("one", 1 / 8),
        Progress("one", 1 / 2),
        Progress("one", 1 / 2),
        Progress("two", 3 / 4),
        Progress("done", 1),
    ]


@pytest.mark.parametrize(("stage", "part"), [("two", "x"), ("one", "y"), ("on", "x")])
def test_a_stage_or_a_part_that_is_not_planned_is_an_error(stage: str, part: str) -> None:
    reporter, _ = reporter_of({"one": {"x": 1}})
    with pytest.raises(LookupError, match=f"'{stage}'"):
        reporter.begin(stage)
        reporter.part(part)
    reporter.begin("one")
    reporter.part("x")(1)
    reporter.end()


def test_a_stage_that_began_before_the_plan_has_to_be_planned_too() -> None:
    reporter = StageReporter(None)
    reporter.begin("on")
    with pytest.raises(LookupError, match="the stage 'on' is not planned; the planned stages are one"):
        reporter.plan({"one": {"x": 1}})


def test_small_steps_are_reported_once_they_add_up_or_time_has_passed(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [0.0]
    monkeypatch.setattr(progress.time, "perf_counter", lambda: clock[0])
    reporter, reports = reporter_of({"one": {"x": 1}})
    reporter.begin("one")
    tick = reporter.part("x")
    for step in range(1001):
        tick(step / 1000)
    assert 0.9 / progress.MIN_STEP < len(reports) <= 1 / progress.MIN_STEP + 1
    del reports[:]
    tick(1)
    assert reports == []
    clock[0] = progress.MAX_INTERVAL
    tick(1)
    assert reports == [Progress("one", 1)]


def test_an_exception_of_the_callback_passes_through_a_part() -> None:
    class Stop(Exception):
        pass

    def stop(report: Progress) -> None:
        if report.done > 0.5:
            raise Stop

    reporter = StageReporter(stop)
    reporter.plan({"one": {"x": 1}})
    reporter.begin("one")
    tick = reporter.part("x")
    tick(0.4)
    with pytest.raises(Stop):
        tick(0.6)


def test_split_divides_a_tick_by_weights() -> None:
    shares: list[float] = []
    first, none, last = split(shares.append, 1, 0, 3)
    for tick in (first, none, last):
        tick(0)
        tick(1)
    assert shares == [0, 0.25, 0.25, 0.25, 0.25, 1]
    nothing, _ = split(shares.append, 0, 0)
    nothing(1)
    assert shares[-1] == 0


def test_the_painting_of_large_pictures_is_a_large_share_of_the_estimate() -> None:
    def share(full: tuple[int, int]) -> float:
        working = full if full[0] < 600 else (512, 683)
        costs = estimate(WIDTHS, SEARCHED, pair(working, full), Settings(), levels=False)
        total = {stage: sum(parts.values()) for stage, parts in costs.items()}
        return total["pictures"] / sum(total.values())

    assert share((448, 448)) < 0.05
    assert share((3000, 4000)) > 0.4


def test_settings_that_take_longer_have_larger_estimates() -> None:
    def seconds(**changes) -> float:
        both, levels = pair((448, 448), (448, 448)), changes.get("direction") == "ba"
        costs = estimate(WIDTHS, SEARCHED, both, Settings(**changes), levels)
        return sum(sum(parts.values()) for parts in costs.values())

    vote, step, few, many = (
        seconds(inversion=way, inversion_steps=steps)
        for way, steps in (("vote", 3), ("step", 3), ("deconvolution", 3), ("deconvolution", 20))
    )
    assert all(shorter < longer for shorter, longer in pairwise([vote, step, few, many]))
    assert seconds(direction="ab") < seconds() < seconds(photo=True)
    assert seconds() < seconds(search_iterations=10)


@pytest.mark.parametrize("workers", [1, 2, 5])
def test_side_by_side_reports_the_mean_of_its_tasks_in_the_caller_s_thread(workers: int) -> None:
    threads, shares, done = set(), [], []

    def task(number: int, tick: Tick) -> None:
        for share in (0.5, 1):
            tick(share)
            time.sleep(0.06)
        done.append(number)

    def tick(share: float) -> None:
        threads.add(threading.current_thread())
        shares.append(share)

    side_by_side(workers, [partial(task, number) for number in range(3)], tick)
    assert sorted(done) == [0, 1, 2]
    assert threads == {threading.current_thread()}
    assert shares == sorted(shares)
    assert shares[-1] == pytest.approx(1)


@pytest.mark.parametrize("workers", [1, 3])
def test_an_exception_of_a_tick_or_a_task_ends_all_tasks(workers: int) -> None:
    class Stop(Exception):
        pass

    ended = threading.Event()

    def endless(tick: Tick) -> None:
        try:
            while True:
                tick(0.5)
        finally:
            ended.set()

    def failing(tick: Tick) -> None:
        raise Stop

    def stop(share: float) -> None:
        raise Stop

    with pytest.raises(Stop):
        side_by_side(workers, [endless], stop)
    assert ended.is_set()
    with pytest.raises(Stop):
        side_by_side(workers, [failing] if workers == 1 else [endless, failing], lambda share: None)


def test_parts_that_run_at_the_same_time_add_up() -> None:
    shares: list[float] = []
    report = StageReporter(lambda progress: shares.append(progress.done))
    report.plan({"first": {"a": 1}, "second": {"b": 2, "c": 1}})
    report.begin("second")
    b, c = report.parts("b", "c")
    for tick, share in ((b, 0.5), (c, 0.5), (b, 1), (c, 1)):
        tick(share)
    assert shares == pytest.approx([0.25, 0.5, 0.625, 0.875, 1])
    with pytest.raises(LookupError, match="no part 'd'"):
        report.parts("b", "d")
