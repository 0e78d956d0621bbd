"""Attack the program with damaged files and with signals.

Run `python tools/fuzz.py [KIND ...] [--seconds N] [--seed N]`.

The cases of a kind run in a separate process, and in a new one after each fault. On Linux the
process may use 4 GiB of address space, except for the kinds `kills` and `disks`. It prints the seed
of each case before it runs the case, so that the tool knows which case has made the process crash
or hang. `--seed N --seconds 0` repeats one case. The exit code is 1 if a fault is found.

The cases are in `fuzz_cases.py`, the files that they damage come from `tests/hostile`, and
`tests/test_hostile.py` runs a few cases of each kind.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter, deque
from pathlib import Path

import click
import numpy as np

from analogy.errors import printable

from fuzz_cases import KINDS

PATIENCE = 60
"""Time after which a case counts as a hang, in seconds."""
MEMORY = 4 << 30
"""Limit of the address space of an attacked process, in bytes."""


def attack(kind: str, seed: int, seconds: float) -> None:
    """Run cases in this process, the first with `seed`, and print the lines that `run` reads."""
    if kind not in ("kills", "disks") and sys.platform == "linux":
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    signal.signal(signal.SIGINT, signal.default_int_handler)  # in a shell's background job, SIGINT would be ignored
    end = time.monotonic() + seconds
    while True:
        print(f"seed {seed}", flush=True)
        with tempfile.TemporaryDirectory() as folder:
            print(f"outcome {KINDS[kind](np.random.default_rng(seed), Path(folder))}", flush=True)
        seed += 1
        if time.monotonic() > end:
            return


def run(kind: str, seed: int, seconds: float) -> tuple[Counter[str], list[str]]:
    """Run the cases of a kind in other processes.

    Return the number of cases with each outcome, and the faults that were found, in words.
    """
    outcomes: Counter[str] = Counter()
    found: list[str] = []
    end = time.monotonic() + seconds
    while True:
        rest = ["--seed", str(seed), "--seconds", str(end - time.monotonic())]
        words = [sys.executable, __file__, "--worker", kind, *rest]
        process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, errors="replace")
        alarm = Watch(process)
        assert process.stdout is not None and process.stderr is not None
        said: deque[str] = deque(maxlen=3)
        reader = threading.Thread(target=said.extend, args=(process.stderr,), daemon=True)
        reader.start()
        for line in process.stdout:
            alarm.feed()
            word, _, what = line.strip().partition(" ")
            if word == "seed":
                seed = int(what)
            else:
                outcomes[what] += 1
        code = process.wait()
        alarm.stop()
        reader.join()
        if code:
            how = "hangs" if alarm.hit else f"ends with {code}"
            found.append(f"{kind}: seed {seed} {how}: {' | '.join(map(str.strip, said))}")
        seed += 1
        if time.monotonic() >= end:
            return outcomes, found


class Watch:
    """Watchdog that kills a process if `feed` has not been called for `PATIENCE` seconds."""

    def __init__(self, process: subprocess.Popen[str]):
        self.hit, self._process, self._fed = False, process, time.monotonic()
        self._done = threading.Event()
        threading.Thread(target=self._watch, daemon=True).start()

    def feed(self) -> None:
        self._fed = time.monotonic()

    def stop(self) -> None:
        self._done.set()

    def _watch(self) -> None:
        while not self._done.wait(1):
            if time.monotonic() - self._fed > PATIENCE:
                self.hit = True
                self._process.kill()


@click.command()
@click.argument("kinds", nargs=-1, type=click.Choice(list(KINDS)))
@click.option("--seconds", default=60.0, show_default=True, help="Time for each kind of case, in seconds.")
@click.option(
    "--seed", default=0, show_default=True, help="Seed of the first case; each further case has the next seed."
)
@click.option("--worker", type=click.Choice(list(KINDS)), hidden=True)
def main(kinds: tuple[str, ...], seconds: float, seed: int, worker: str | None) -> None:
    """Attack the program with cases of the named kinds, or of all kinds."""
    if worker:
        attack(worker, seed, seconds)
        return
    failed = False
    for kind in kinds or KINDS:
        if kind == "disks" and (sys.platform != "linux" or os.geteuid()):
            click.echo(f"{kind:9} skipped: only a superuser on Linux can make small disks")
            continue
        outcomes, found = run(kind, seed, seconds)
        counts = ", ".join(f"{count} {outcome}" for outcome, count in outcomes.most_common())
        click.echo(f"{kind:9} {sum(outcomes.values()):7} cases: {counts or 'none'}")
        for line in found:
            click.echo(f"  FOUND {printable(line)}")
        failed |= bool(found)
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
