"""The status as JSON, against the shape that docs/http.md shows of it."""

from typing import Any
from unittest.mock import Mock

import pytest

from common.config import BreakerSettings
from common.control import ServerInfo
from common.heartbeat import Heartbeat
from common.registry import Registry
from common.statistics_board import Standing, version_of
from common.telemetry import LagWatch
from gateway.breaker import CallOutcome
from gateway.breakers import Breakers
from gateway.http.status_schema import StatusAnswer
from gateway.membership import Membership
from gateway.status import cluster_status
from shard_worker.lanes.process_lane import ProcessLane
from shard_worker.lanes.thread_lane import ThreadLane

LABELS = {0: "a", 1: "b"}


def process_lane(name: str) -> ProcessLane:
    """A lane that is not started."""
    return ProcessLane(
        factory="tests.integration.lanes:make_echo",
        config=None,
        num_processes=2,
        max_batch=1,
        batch_window_ms=1.0,
        kill_grace_ms=1.0,
        quarantine=None,
        name=name,
    )


def status_of(server: ServerInfo | None, standing: dict[str, Standing]) -> dict[str, Any]:
    """The status of a cluster in which there is something to say of everything."""
    worker = Heartbeat(
        id="w0",
        pid=7,
        host="here",
        shards=[0, 1],
        version="1",
        beat_at_ms=900,
        started_at_ms=100,
        documents={0: {"u": 3}, 1: {"u": 4}},
        lanes={
            "process": process_lane("process").load(),
            "thread": ThreadLane(num_threads=2, lost_after_s=1.0, name="thread").load(),
            "indexer": process_lane("indexer").load(),
            "loop": LagWatch(100.0).as_dict(),
        },
        quarantine=[
            {"fingerprint": "ab", "query": "q", "kills": 2, "refused": True, "until_ms": 5000}
        ],
        counters={"replies": 1},
        log_backlog={0: 5},
        statistics={"u": version_of(LABELS).hex()},
    )
    membership = Membership(Mock(spec=Registry), 2, 2.0, 0.1, lambda: 0, list)
    membership.take({"w0": worker}, {"u": {0: 3, 1: 4}}, 1000)
    breakers = Breakers(2, BreakerSettings(consecutive_failures=1), lambda: 0.5)
    permit = breakers[0].allow(0.0)
    assert permit is not None
    permit.done(CallOutcome.FAILURE, 0.0)
    return cluster_status(
        server=server,
        backlog={0: 1, 1: 0} if server else {},
        standing=standing,
        membership=membership,
        breakers=breakers,
        now=0.1,
        now_ms=1000,
        names={"u": "films"},
        gateway={
            "id": "g",
            "version": "1",
            "in_flight": 0,
            "counters": {"replies_late": 1},
            "loop": LagWatch(100.0).as_dict(),
            "clock_error_us": 1.5,
        },
    )


@pytest.mark.parametrize("is_connected", [True, False])
async def test_every_member_of_the_status_is_documented(is_connected: bool) -> None:
    """What the gateway says, the lanes' own figures included, has the documented members."""
    server = ServerInfo("valkey", "8.1.0", 9) if is_connected else None
    standing = {"u": Standing(LABELS, version_of(LABELS))} if is_connected else {}
    status = status_of(server, standing)
    StatusAnswer.model_validate(status, strict=True)
    # An empty list would pass, whatever its items' shape.
    assert all(status[name] for name in ("shards", "workers", "collections", "quarantine"))
    assert status["shards"][0]["breaker_detail"]["transitions"]


@pytest.mark.parametrize(
    ("labels", "version", "is_current", "is_spread"),
    [
        (LABELS, version_of(LABELS), True, True),
        ({0: "a", 1: "newer"}, version_of(LABELS), False, True),
        ({0: "a"}, version_of({0: "a"}), False, False),
        ({0: "a", 1: "c"}, version_of({0: "a", 1: "c"}), True, False),
    ],
)
async def test_statistics_that_are_behind_are_told(
    labels: dict[int, str], version: bytes, is_current: bool, is_spread: bool
) -> None:
    """Current: summed over the newest of all shards with documents; spread: ranked by."""
    server = ServerInfo("valkey", "8.1.0", 9)
    status = status_of(server, {"u": Standing(labels, version)})
    assert status["collections"] == [
        {
            "name": "films",
            "documents": 7,
            "statistics": {
                "shards": len(labels),
                "is_current": is_current,
                "is_spread": is_spread,
            },
        }
    ]
