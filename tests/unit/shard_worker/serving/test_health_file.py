"""The file that tells for how long a worker's heartbeat is fresh."""

import time
from pathlib import Path

import structlog

from hedgerow.shard_worker.serving.health_file import HealthFile


def test_its_modification_time_is_the_end_of_what_the_heartbeat_proves(tmp_path: Path) -> None:
    """That is as long after the heartbeat was composed as a heartbeat is fresh; each moves it."""
    path = tmp_path / "fresh-until"
    keep = HealthFile(path, expiry_s=100.0)
    for age_s in (30.0, 10.0):
        before = time.time()
        keep(age_s)
        assert before <= path.stat().st_mtime - 100.0 + age_s + 1e-3 <= time.time() + 2e-3


def test_without_a_path_nothing_is_written(tmp_path: Path) -> None:
    """As by default."""
    HealthFile(None, expiry_s=2.0)(0.0)
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_cannot_be_written_stops_no_heartbeat(tmp_path: Path) -> None:
    """It is logged, once a minute."""
    keep = HealthFile(tmp_path / "absent" / "file", expiry_s=2.0)
    with structlog.testing.capture_logs() as logs:
        keep(0.0)
        keep(0.0)
    assert [line["event"] for line in logs] == ["health_file_unwritten"]
