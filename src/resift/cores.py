"""How many cores this process may use: by its affinity and by its control groups' quotas.

A container that is given two of a machine's 64 cores sees all of them; threads for 64 would be
stopped for most of each period.
"""

import os
from pathlib import Path

ROOT = Path("/")


def cores(root: Path = ROOT) -> int:
    """Cores that are ours, at least 1: a quota of 2.5 is 2, for a third thread would be held up.

    `root` is where ``/proc`` and ``/sys`` are found.
    """
    if hasattr(os, "sched_getaffinity"):
        count = len(os.sched_getaffinity(0))
    else:
        count = os.cpu_count() or 1
    return max(min([count, *(int(quota) for quota in _quotas(root))]), 1)


def _quotas(root: Path) -> list[float]:
    """Each limit that a control group of ours or one above it sets, in cores."""
    limits: list[float | None] = []
    for hierarchy, controllers, path in _groups(root):
        mounts = ["sys/fs/cgroup", "sys/fs/cgroup/unified"]
        if hierarchy != "0":  # version 1: a folder for each set of controllers
            mounts = [f"sys/fs/cgroup/{controllers}", "sys/fs/cgroup/cpu"]
        for mount in mounts:
            # Inside a container the mount itself is our group, whatever the path says.
            for group in (path, *path.parents, Path()):
                folder = root / mount / group.relative_to(group.anchor)
                limits.append(_unified(folder) if hierarchy == "0" else _legacy(folder))
    return [limit for limit in limits if limit is not None]


def _groups(root: Path) -> list[tuple[str, str, Path]]:
    """(hierarchy, controllers, path) of the groups that may limit cores."""
    groups = []
    for line in _text(root / "proc/self/cgroup").splitlines():
        hierarchy, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if ".." not in Path(path).parts and (hierarchy == "0" or "cpu" in controllers.split(",")):
            groups.append((hierarchy, controllers, Path(path)))
    return groups


def _unified(folder: Path) -> float | None:
    """Version 2: ``quota period``, in microseconds; ``max`` is no limit."""
    return _ratio(*_text(folder / "cpu.max").split()[:2])


def _legacy(folder: Path) -> float | None:
    """Version 1: a file each; -1 is no limit."""
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
