"""How many cores this process may use, and how many scorers each worker starts on them."""

import math
import os
from collections.abc import Iterator
from pathlib import Path

from hedgerow.common.settings.settings import Settings
from hedgerow.common.settings.worker import WorkerSettings

_CGROUPS = Path("/sys/fs/cgroup")
_MEMBERSHIP = Path("/proc/self/cgroup")


def num_cores() -> int:
    """The cores that this process may use, at least 1.

    These are the machine's cores without those that the process's affinity excludes, or a control
    group's CPU quota, rounded up, if that is less: `docker run --cpus 2` leaves all cores visible.
    """
    affinity = getattr(os, "sched_getaffinity", None)
    cores = len(affinity(0)) if affinity else os.cpu_count() or 1
    try:
        membership = _MEMBERSHIP.read_text(encoding="utf-8")
    except OSError:  # not Linux
        return cores
    quota = cpu_quota(_CGROUPS, membership)
    return cores if quota is None else min(cores, max(1, math.ceil(quota)))


def num_scorers(settings: WorkerSettings, cores: int, num_workers: int) -> int:
    """How many scorer processes each worker on a machine starts, without spare ones.

    Args:
        settings: `scorers` overrides the number that follows from the cores.
        cores: the cores of the machine.
        num_workers: how many workers share them.
    """
    return settings.scorers or max(1, cores // num_workers)


def num_spare_scorers(settings: Settings) -> int:
    """How many spare scorers a worker starts: none unless a rank profile has a second phase."""
    has_functions = any(profile.second_phase for profile in settings.rank_profiles.values())
    return settings.worker.spare_scorers if has_functions else 0


def cpu_quota(root: Path, membership: str) -> float | None:
    """The smallest CPU quota of a process's control groups, in cores; None if there is none.

    Args:
        root: where control groups are mounted.
        membership: the text of /proc/PID/cgroup (cgroups(7)).
    """
    return min(_quotas(root, membership), default=None)


def _quotas(root: Path, membership: str) -> Iterator[float]:
    for line in membership.splitlines():
        number, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if number == "0":
            mount = root
        elif "cpu" in controllers.split(","):
            mount = root / "cpu"
        else:
            continue
        group = mount / path.lstrip("/")
        # A quota bounds all groups below it. In a container, the path may be the host's, and only
        # the mount itself exists.
        for folder in (group, *group.parents):
            if folder.is_relative_to(mount):
                yield from _version_2(folder)
                yield from _version_1(folder)


def _version_2(group: Path) -> Iterator[float]:
    """From `cpu.max`: "200000 100000", or "max 100000" for no limit."""
    match _words(group / "cpu.max"):
        case [quota, period] if quota != "max":
            yield int(quota) / int(period)


def _version_1(group: Path) -> Iterator[float]:
    """From `cpu.cfs_quota_us`, which is -1 for no limit, and `cpu.cfs_period_us`."""
    match _words(group / "cpu.cfs_quota_us"), _words(group / "cpu.cfs_period_us"):
        case [quota], [period] if int(quota) > 0:
            yield int(quota) / int(period)


def _words(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="ascii").split()
    except OSError:
        return []
