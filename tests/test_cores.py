"""Cores are counted by affinity and by quotas of control groups, both versions, also nested."""

import os
from pathlib import Path

import pytest

from resift.cores import cores


@pytest.fixture(autouse=True)
def _eight_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)


def write_files(root: Path, files: dict[str, str]) -> Path:
    for name, content in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(content)
    return root


def test_without_a_quota_it_is_the_affinity(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert cores(tmp_path) == 8
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {3})
    assert cores(tmp_path) == 1
    monkeypatch.delattr(os, "sched_getaffinity")
    assert cores(tmp_path) == (os.cpu_count() or 1)


@pytest.mark.parametrize(
    ("limit", "expected"),
    [
        ("200000 100000", 2),
        ("250000 100000", 2),
        ("50000 100000", 1),
        ("6400000 100000", 8),
        ("max 100000", 8),
        ("", 8),
        ("0 0", 8),
        ("-1 100000", 8),
        ("many 100000", 8),
    ],
)
def test_a_quota_of_version_2(tmp_path: Path, limit: str, expected: int) -> None:
    files = {"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": f"{limit}\n"}
    assert cores(write_files(tmp_path, files)) == expected


def test_the_lowest_of_nested_quotas_counts(tmp_path: Path) -> None:
    files = {
        "proc/self/cgroup": "0::/pods/pod-1/box\n",
        "sys/fs/cgroup/pods/cpu.max": "300000 100000",
        "sys/fs/cgroup/pods/pod-1/cpu.max": "max 100000",
        "sys/fs/cgroup/pods/pod-1/box/cpu.max": "500000 100000",
    }
    assert cores(write_files(tmp_path, files)) == 3


@pytest.mark.parametrize("folder", ["docker/abc/", ""])
@pytest.mark.parametrize(("quota", "expected"), [("400000", 4), ("-1", 8)])
def test_a_quota_of_version_1(tmp_path: Path, folder: str, quota: str, expected: int) -> None:
    files = {
        "proc/self/cgroup": "4:memory:/x\n3:cpu,cpuacct:/docker/abc\n0::/\n",
        f"sys/fs/cgroup/cpu,cpuacct/{folder}cpu.cfs_quota_us": f"{quota}\n",
        f"sys/fs/cgroup/cpu,cpuacct/{folder}cpu.cfs_period_us": "100000\n",
    }
    assert cores(write_files(tmp_path, files)) == expected


@pytest.mark.parametrize("content", ["0::/../../etc\n", "nonsense", ":::::", "0::\n", "\x00"])
def test_an_invalid_file_limits_nothing(tmp_path: Path, content: str) -> None:
    assert cores(write_files(tmp_path, {"proc/self/cgroup": content})) == 8
