"""Image analogies with asyncio: the event loop stays free, and cancelling an await ends a transfer.

    python tools/examples/asyncio_app.py painting.jpg photo.jpg another.jpg

`asyncio.to_thread` runs the transfer in a thread. A thread cannot be cancelled. So the
transfer's progress callback raises an exception after the await has been cancelled. The exception
ends the transfer at its next step, some hundredths of a second later.
"""

import asyncio
import sys
import threading
from pathlib import Path
from typing import Any

import analogy

engine = analogy.Engine()
one_at_a_time = asyncio.Semaphore()  # one transfer uses all cores


async def transfer(a: str, b_prime: str, **options: Any) -> analogy.Result:
    """Call `engine.transfer` without blocking the event loop."""
    cancelled = threading.Event()

    def progress(_: analogy.Progress) -> None:
        if cancelled.is_set():
            raise asyncio.CancelledError

    async with one_at_a_time:
        try:
            return await asyncio.to_thread(lambda: engine.transfer(a, b_prime, progress=progress, **options))
        finally:
            cancelled.set()


async def main(style: str, *photos: str) -> None:
    async with asyncio.timeout(600), asyncio.TaskGroup() as group:
        tasks = {photo: group.create_task(transfer(photo, style, direction="ab")) for photo in photos}
    for photo, task in tasks.items():
        await asyncio.to_thread(task.result().save, Path(photo).with_suffix(".painted.png"))


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
