"""The number of cores that this process may use, by its affinity and control-group quotas.

A container with a quota of two cores still sees all 64 cores of the machine, but 64 threads would
be stopped for most of each scheduling period.
"""

import os
from pathlib import Path

ROOT = Path("/")


def cores(root: Path = ROOT) -> int:
    """Usable cores, at least 1; a quota of 2.5 counts as 2, or a third thread would be throttled.

    `root` is where ``/proc`` and ``/sys`` are mounted.
    """
    if hasattr(os, "sched_getaffinity"):
        count = len(os.sched_getaffinity(0))
    else:
        count = os.cpu_count() or 1
    return max(min([count, *(int(quota) for quota in _quotas(root))]), 1)


def _quotas(root: Path) -> list[float]:
    """The quotas, in cores, of this process's control groups and their parents."""
    quotas: list[float | None] = []
    for line in _text(root / "proc/self/cgroup").splitlines():
        hierarchy, _, rest = line.partition(":")
        controllers, _, name = rest.partition(":")
        path = Path(name)
        is_v2 = hierarchy == "0"
        if ".." in path.parts or not (is_v2 or "cpu" in controllers.split(",")):
            continue
        mounts = ["unified", ""] if is_v2 else [controllers, "cpu"]
        for mount in mounts:
            # Inside a container the mount itself may be our group, whatever the path is.
            for group in (path, *path.parents, Path()):
                folder = root / "sys/fs/cgroup" / mount / group.relative_to(group.anchor)
                quotas.append(_v2_quota(folder) if is_v2 else _v1_quota(folder))
    return [quota for quota in quotas if quota is not None]


def _v2_quota(folder: Path) -> float | None:
    """Version 2: ``quota period``, in microseconds; ``max`` is no limit."""
    return _ratio(*_text(folder / "cpu.max").split()[:2])


def _v1_quota(folder: Path) -> float | None:
    """Version 1: quota and period in one file each; a quota of -1 is no limit."""
    return _ratio(*(_text(folder / f"cpu.cfs_{name}_us").strip() for name in ("quota", "period")))


def _ratio(quota: str = "", period: str = "") -> float | None:
    if not (quota.isdecimal() and period.isdecimal() and int(quota) and int(period)):
        return None
    return int(quota) / int(period)


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except (OSError, ValueError):
        return ""
