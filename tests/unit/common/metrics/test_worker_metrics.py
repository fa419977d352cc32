"""The metrics of workers, from heartbeats of this version and of others."""

from dataclasses import replace
from typing import Any

from prometheus_client.parser import text_string_to_metric_families as read_prometheus

from hedgerow.common.metrics.bounded_names import BoundedNames
from hedgerow.common.metrics.exposition import TextFormat, write
from hedgerow.common.metrics.worker_metrics import worker_families
from hedgerow.common.wire.heartbeat import Heartbeat
from tests.unit.support.heartbeats import beat

LOAD = {"capacity": 3, "alive": 2, "busy": 1, "waiting": 7, "restarts": 5, "killed": 4}


def samples(*heartbeats: Heartbeat, max_names: int = 9) -> dict[tuple[str, ...], float]:
    """Name and label values → value, of all metrics of some workers."""
    families = worker_families(heartbeats, BoundedNames(max_names))
    text = "".join(write(families, TextFormat.PROMETHEUS))
    found = [one for metric in read_prometheus(text) for one in metric.samples]
    named = {(one.name, *one.labels.values()): one.value for one in found}
    assert len(named) == len(found)  # no series is there twice
    return named


def with_profiles(worker: str, **profiles: dict[str, Any]) -> Heartbeat:
    """A heartbeat of a worker whose profiles hold some scorers."""
    return replace(beat(worker, [0], 0), lanes={"process": {**LOAD, "profiles": profiles}})


def test_a_lane_is_told_by_its_worker() -> None:
    """Numbers of two workers stay apart, and those of lanes too."""
    one = replace(beat("a", [0, 1], 1000), lanes={"process": LOAD, "loop": {"lags": 1}})
    other = replace(beat("b", [2], 2000), lanes={"thread": {"capacity": 8, "busy": 3, "lost": 2}})
    found = samples(one, other)
    assert found["hedgerow_lane_waiting", "a", "scorers"] == 7
    assert found["hedgerow_lane_lost", "a", "scorers"] == 1
    assert found["hedgerow_lane_processes_ended_total", "a", "scorers", "killed"] == 4
    assert found["hedgerow_lane_busy", "b", "threads"] == 3
    assert found["hedgerow_lane_alive", "b", "threads"] == 6
    assert found["hedgerow_worker_shards", "a", "served"] == 2
    assert found["hedgerow_worker_heartbeat_timestamp_seconds", "b"] == 2.0


def test_units_are_base_units() -> None:
    """Microseconds and megabytes of a heartbeat are seconds and bytes in a metric."""
    heartbeat = replace(
        beat("a", [0], 0),
        ledger={"late": {"count": 3, "work_us": 1_500_000, "cpu_us": 250_000}},
        metrics={"usage": {"scorers": {"cpu_s": 1.25, "memory_mb": 64.0}}, "redis_reconnects": 2},
    )
    found = samples(heartbeat)
    assert found["hedgerow_worker_requests_total", "a", "late"] == 3
    assert found["hedgerow_worker_work_seconds_total", "a", "late"] == 1.5
    assert found["hedgerow_worker_work_cpu_seconds_total", "a", "late"] == 0.25
    assert found["hedgerow_worker_cpu_seconds_total", "a", "scorers"] == 1.25
    assert found["hedgerow_worker_memory_bytes", "a", "scorers"] == 64e6
    assert found["hedgerow_worker_redis_reconnects_total", "a"] == 2


def test_what_was_embedded_is_there_if_anything_was() -> None:
    """Texts by how they ended, calls and their time; a worker without any has no series."""
    counts = {"texts": 7, "failed": 1, "calls": 3, "seconds": 1.5, "share": 0.1}
    found = samples(replace(beat("a", [0], 0), embedding=counts), beat("b", [1], 0))
    assert found["hedgerow_worker_embedding_texts_total", "a", "embedded"] == 7
    assert found["hedgerow_worker_embedding_texts_total", "a", "failed"] == 1
    assert found["hedgerow_worker_embedding_calls_total", "a"] == 3
    assert found["hedgerow_worker_embedding_seconds_total", "a"] == 1.5
    assert ("hedgerow_worker_embedding_calls_total", "b") not in found


def test_profiles_beyond_the_bound_are_added_up() -> None:
    """Two profiles without series of their own are one series with their sum."""
    held = {name: {"most": 2, "held": 1, "refused": 10} for name in ("p", "q", "r")}
    found = samples(with_profiles("a", **held), max_names=1)
    assert found["hedgerow_lane_profile_refused_total", "a", "scorers", "p"] == 10
    assert found["hedgerow_lane_profile_refused_total", "a", "scorers", "other"] == 20
    assert found["hedgerow_lane_profile_held", "a", "scorers", "other"] == 2


def test_what_another_version_reports_is_no_error() -> None:
    """Members that are missing, or of another kind, are left out; the others are there."""
    odd: dict[str, Any] = {
        "usage": {"scorers": 7, "indexer": {"cpu_s": "much"}},
        "loop_lag": [1],
        "redis_reconnects": None,
    }
    heartbeat = replace(
        beat("a", [0], 0), metrics=odd, lanes={"process": 1, "thread": {"busy": True}}
    )
    found = samples(heartbeat, beat("b", [1], 0))
    assert found["hedgerow_worker_info", "a", "here", "1"] == 1
    assert ("hedgerow_lane_busy", "a", "threads") not in found
    names = {name for name, *_ in found}
    assert not {name for name in names if name.startswith("hedgerow_worker_cpu")}
    assert "hedgerow_worker_event_loop_lag_seconds_count" not in names
