"""What a container may take, or a service: the bounds of Linux's control groups, of both versions.

The system's own figures, such as cores and free memory, are those of the whole machine even inside of a container. Who trusts
them starts a thread for each core of the machine, and is killed for the memory that seemed to be free.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from math import ceil
from pathlib import Path, PurePosixPath

_GROUPS, _OWN = Path("/sys/fs/cgroup"), Path("/proc/self/cgroup")
"""Where the groups are, and the list of those of this process."""


def cores() -> int | None:
    """Cores that this process may keep busy, rounded up; None without a bound."""
    shares = [share for group in _groups("cpu") if (share := _share(group)) is not None]
    return max(1, ceil(min(shares))) if shares else None


def free_memory() -> int | None:
    """Bytes that this process may still take; None without a bound. Files that are kept in memory without need are free."""
    free = []
    for group in _groups("memory"):
        for most, taken, files in (
            ("memory.max", "memory.current", "inactive_file"),
            ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
        ):
            bound, used = _words(group / most), _words(group / taken)
            if bound and used and bound[0].isdigit():
                kept = re.search(rf"^{files} (\d+)$", _text(group / "memory.stat"), re.MULTILINE)
                free.append(max(0, int(bound[0]) - int(used[0]) + int(kept[1] if kept else 0)))
    return min(free, default=None)


def _share(group: Path) -> float | None:
    """How many cores' time a group gets; None if as much as it wants."""
    quota = _words(group / "cpu.max") or _words(group / "cpu.cfs_quota_us") + _words(group / "cpu.cfs_period_us")
    if len(quota) != 2 or not quota[0].isdigit():  # "max", or -1
        return None
    return int(quota[0]) / int(quota[1])


def _groups(controller: str) -> Iterator[Path]:
    """The folders of the groups that may bound this process: its own, and those that hold it.

    Inside of a container its own is often all that is seen, in the place of the outermost.
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
