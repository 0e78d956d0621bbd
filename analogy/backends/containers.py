"""The limits of a container or a service: Linux's control groups, versions 1 and 2.

The system reports the cores and the free memory of the whole machine, even inside a container. A
process that relies on these numbers starts a thread for each core of the machine, and is killed
when it takes the memory that seemed to be free.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from math import ceil
from pathlib import Path, PurePosixPath

_GROUPS, _OWN = Path("/sys/fs/cgroup"), Path("/proc/self/cgroup")
"""The folder of all control groups, and the file that lists the groups of this process."""


def cores() -> int | None:
    """Return how many cores this process may keep busy, rounded up; None without a limit."""
    shares = [share for group in _groups("cpu") if (share := _share(group)) is not None]
    return max(1, ceil(min(shares))) if shares else None


def free_memory() -> int | None:
    """Return how many bytes this process may still take; None without a limit.

    Files that the system keeps in memory without need count as free.
    """
    free = []
    for group in _groups("memory"):
        for most, taken, files in (
            ("memory.max", "memory.current", "inactive_file"),
            ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
        ):
            limit, used = _words(group / most), _words(group / taken)
            if limit and used and limit[0].isdigit():
                kept = re.search(rf"^{files} (\d+)$", _text(group / "memory.stat"), re.MULTILINE)
                free.append(max(0, int(limit[0]) - int(used[0]) + int(kept[1] if kept else 0)))
    return min(free, default=None)


def _share(group: Path) -> float | None:
    """Return how many cores' time a group gets; None without a limit."""
    quota = _words(group / "cpu.max") or _words(group / "cpu.cfs_quota_us") + _words(group / "cpu.cfs_period_us")
    if len(quota) != 2 or not quota[0].isdigit():  # "max", or -1
        return None
    return int(quota[0]) / int(quota[1])


def _groups(controller: str) -> Iterator[Path]:
    """Yield the folders of the groups that may limit this process: its own group, and the groups that contain it.

    Inside a container often only the process's own group is visible, in the place of the outermost
    one.
    """
    for line in _text(_OWN).splitlines():
        _, controllers, path = line.split(":", 2)
        if not controllers or controller in controllers.split(","):
            outermost = _GROUPS / controllers
            own = outermost.joinpath(*PurePosixPath(path).parts[1:])
            yield from (group for group in (own, *own.parents) if group.is_relative_to(outermost))


def _words(path: Path) -> list[str]:
    return _text(path).split()


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError:
        return ""
