"""Limits of a container or a service, read from Linux's control groups, versions 1 and 2.

Even inside a container, the system reports the cores and the free memory of the whole machine. A
process that relied on these numbers would start a thread for each core of the machine, and the
system would kill it when it used more memory than the container's limit.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from math import ceil
from pathlib import Path, PurePosixPath


@dataclass(frozen=True)
class ControlGroups:
    """The control groups that limit this process.

    Attributes
    ----------
    folder : Path
        Folder in which Linux shows the control groups.
    list_of_own : Path
        File that lists the control groups of this process.
    """

    folder: Path = Path("/sys/fs/cgroup")
    list_of_own: Path = Path("/proc/self/cgroup")

    def cores(self) -> int | None:
        """Return how many cores this process may use, rounded up; None without a limit."""
        shares = [share for group in self._limiting("cpu") if (share := _share(group)) is not None]
        return max(1, ceil(min(shares))) if shares else None

    def free_memory(self) -> int | None:
        """Return the number of bytes that this process may still allocate; None without a limit.

        Cached files that no process has read or written lately (`inactive_file`) count as free
        memory, since the system can drop them.
        """
        free = []
        for group in self._limiting("memory"):
            for most, taken, files in (
                ("memory.max", "memory.current", "inactive_file"),
                ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
            ):
                limit, used = _words(group / most), _words(group / taken)
                if limit and used and limit[0].isdigit():
                    kept = re.search(rf"^{files} (\d+)$", _text(group / "memory.stat"), re.MULTILINE)
                    free.append(max(0, int(limit[0]) - int(used[0]) + int(kept[1] if kept else 0)))
        return min(free, default=None)

    def _limiting(self, controller: str) -> Iterator[Path]:
        """Yield the folders of this process's control group and of the groups that contain it.

        `controller` is "cpu" or "memory". Each of these groups may limit the process. Some of the
        folders may not exist: inside a container, the system often shows only the process's own
        group, as if this group were the outermost.
        """
        for line in _text(self.list_of_own).splitlines():
            _, controllers, path = line.split(":", 2)
            if not controllers or controller in controllers.split(","):
                outermost = self.folder / controllers
                own = outermost.joinpath(*PurePosixPath(path).parts[1:])
                yield from (group for group in (own, *own.parents) if group.is_relative_to(outermost))


SYSTEM = ControlGroups()
"""The control groups of this process, at the paths that Linux uses."""


def _share(group: Path) -> float | None:
    """Return how many cores a control group may use (1.5, say); None without a limit."""
    quota = _words(group / "cpu.max") or _words(group / "cpu.cfs_quota_us") + _words(group / "cpu.cfs_period_us")
    if len(quota) != 2 or not quota[0].isdigit():  # "max" or -1 means no limit
        return None
    return int(quota[0]) / int(quota[1])


def _words(path: Path) -> list[str]:
    return _text(path).split()


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError:
        return ""
