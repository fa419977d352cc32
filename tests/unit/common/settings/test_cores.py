"""How many cores a process may use, by control groups as they are on a disk."""

from pathlib import Path

import pytest

from hedgerow.common.settings.cores import cpu_quota, num_cores, num_scorers, num_spare_scorers
from hedgerow.common.settings.rank_profiles import RankProfile
from hedgerow.common.settings.settings import Settings
from hedgerow.common.settings.worker import WorkerSettings

# As Docker's containers see them: in a namespace of their own with version 2, and with the host's
# path, which is not there, with version 1.
VERSION_2 = "0::/\n"
VERSION_1 = "12:memory:/docker/0a1b\n4:cpu,cpuacct:/docker/0a1b\n0::/docker/0a1b\n"


def write(folder: Path, **files: str) -> None:
    """Write files of a control group, each of a line; `_` in a name stands for its full stop."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / name.replace("_", ".", 1)).write_text(f"{text}\n")


@pytest.mark.parametrize(
    ("text", "cores"), [("200000 100000", 2.0), ("50000 100000", 0.5), ("max 100000", None)]
)
def test_a_quota_of_version_2_is_read(tmp_path: Path, text: str, cores: float | None) -> None:
    """`cpu.max` is a quota and a period in µs; "max" is no limit."""
    write(tmp_path, cpu_max=text)
    assert cpu_quota(tmp_path, VERSION_2) == cores


@pytest.mark.parametrize(("quota", "cores"), [("150000", 1.5), ("-1", None)])
def test_a_quota_of_version_1_is_read(tmp_path: Path, quota: str, cores: float | None) -> None:
    """`cpu.cfs_quota_us` is -1 where there is no limit; the mount is the container's own group."""
    write(tmp_path / "cpu", cpu_cfs_quota_us=quota, cpu_cfs_period_us="100000")
    assert cpu_quota(tmp_path, VERSION_1) == cores


def test_the_smallest_quota_above_a_group_counts(tmp_path: Path) -> None:
    """A group may use no more than each of those that it is in; one beside it does not matter."""
    write(tmp_path, cpu_max="max 100000")
    write(tmp_path / "pod", cpu_max="300000 100000")
    write(tmp_path / "pod" / "one", cpu_max="400000 100000")
    write(tmp_path / "pod" / "other", cpu_max="100000 100000")
    assert cpu_quota(tmp_path, "0::/pod/one\n") == 3.0


def test_a_machine_without_control_groups_has_no_quota(tmp_path: Path) -> None:
    """No group is mounted, or it has no limit."""
    assert cpu_quota(tmp_path / "nowhere", VERSION_1) is None
    assert cpu_quota(tmp_path, "") is None


@pytest.mark.parametrize(("quota", "cores"), [("50000", 1), ("250000", 3), ("9900000", 8)])
def test_cores_are_what_affinity_and_quota_leave(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, quota: str, cores: int
) -> None:
    """Of eight cores, a quota leaves as many as it needs to be used up, and one at least."""
    write(tmp_path, cpu_max=f"{quota} 100000")
    (tmp_path / "membership").write_text(VERSION_2)
    monkeypatch.setattr("hedgerow.common.settings.cores._CGROUPS", tmp_path)
    monkeypatch.setattr("hedgerow.common.settings.cores._MEMBERSHIP", tmp_path / "membership")
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(8)))
    assert num_cores() == cores


@pytest.mark.parametrize(
    ("scorers", "cores", "workers", "each"),
    [(0, 8, 2, 4), (0, 2, 4, 1), (0, 7, 2, 3), (5, 2, 4, 5)],
)
def test_workers_share_the_cores(scorers: int, cores: int, workers: int, each: int) -> None:
    """Each worker has its share of the cores as scorers, one at least; the setting wins."""
    assert num_scorers(WorkerSettings(scorers=scorers), cores, workers) == each


def test_scorers_are_spared_for_second_phases_alone() -> None:
    """Without a second phase no profile can hold all scorers, and none is kept back."""
    ranked = RankProfile(second_phase="my_ranking:score")
    assert num_spare_scorers(Settings()) == 0
    assert num_spare_scorers(Settings(rank_profiles={"mine": ranked})) == 1
