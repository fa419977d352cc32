"""The status as JSON, against the shape that docs/http-status.md shows of it."""

from typing import Any
from unittest.mock import Mock

import pytest

from hedgerow.common.observability.telemetry import LagWatch
from hedgerow.common.redis.server_info import ServerInfo
from hedgerow.common.settings.breaker import BreakerSettings
from hedgerow.common.settings.gateway import GatewaySettings
from hedgerow.common.settings.rank_profiles import RankProfile
from hedgerow.common.settings.settings import Settings
from hedgerow.common.snapshots.status import SnapshotFacts, SnapshotStatus
from hedgerow.common.state.gateways import GatewayHeartbeat
from hedgerow.common.state.optimising import Optimising
from hedgerow.common.state.probation import ProbationEntry
from hedgerow.common.state.registry import Registry
from hedgerow.common.state.statistics import StatisticsStatus, label_of, version_of
from hedgerow.common.wire.heartbeat import Heartbeat
from hedgerow.gateway.access.caller import ANONYMOUS
from hedgerow.gateway.access.control import AccessControl
from hedgerow.gateway.access.key_ring import KeyRing
from hedgerow.gateway.access.request_admission import RequestAdmission
from hedgerow.gateway.access.usage_report import refused_addresses
from hedgerow.gateway.members.membership import Membership
from hedgerow.gateway.operations.optimising import index_json
from hedgerow.gateway.operations.status import cluster_status
from hedgerow.gateway.policies.breaker import CallOutcome
from hedgerow.gateway.policies.hedging import HedgeCounts
from hedgerow.gateway.search.coverage.report import coverage_report
from hedgerow.gateway.search.documents.answer_memory import AnswerMemory
from hedgerow.gateway.search.guards.breakers import Breakers
from hedgerow.gateway.search.guards.profile_guards import ProfileGuards
from hedgerow.gateway.shapes.status import StatusAnswer
from hedgerow.shard_worker.executors.process_pool.pool import ProcessLane
from hedgerow.shard_worker.executors.thread_pool.threads import ThreadLane
from hedgerow.shard_worker.serving.work_accounting import WorkAccounting
from tests.support.sample_results import make_curve
from tests.support.shapes import check_shape
from tests.unit.support.access import make_key

LABELS = {0: label_of("r0", 5), 1: label_of("r1", 4)}
CHANGES = {0: {"u": 5}, 1: {"u": 4}}


def process_lane(name: str) -> ProcessLane:
    """A lane that is not started."""
    return ProcessLane(
        factory="tests.integration.support.lanes:make_echo",
        config=None,
        num_processes=2,
        max_batch=1,
        batch_window_ms=1.0,
        kill_grace_ms=1.0,
        gate=None,
        name=name,
    )


def status_of(
    server: ServerInfo | None,
    statistics: dict[str, StatisticsStatus],
    changes: dict[int, dict[str, int]] = CHANGES,
) -> dict[str, Any]:
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
        changes=changes,
        segments={0: {"u": 5}, 1: {"u": 14}},
        replicas={0: "r0", 1: "r1"},
        lanes={
            "process": process_lane("process").load(),
            "reading": ThreadLane(num_threads=2, lost_after_s=1.0, name="reading").load(),
            "thread": ThreadLane(num_threads=2, lost_after_s=1.0, name="thread").load(),
            "indexer": process_lane("indexer").load(),
            "loop": LagWatch(100.0).as_dict(),
        },
        counters={"replies": 1},
        ledger=WorkAccounting().as_dict(),
        log_backlog={0: 5},
        statistics={"u": version_of(LABELS).hex()},
        set_aside={"bytes": 700, "dropped": 2},
        metrics={"usage": {"worker": {"cpu_s": 1.5, "memory_mb": 30.04}, "scorers": {}, "x": 1}},
    )
    membership = Membership(Mock(spec=Registry), 2, 2.0, 0.1, lambda: 0, list)
    membership.take({"w0": worker}, {"u": {0: 3, 1: 4}}, 1000, 0.0)
    breakers = Breakers(2, BreakerSettings(consecutive_failures=1), lambda: 0.5)
    permit = breakers[0].allow(0.0)
    assert permit is not None
    permit.done(CallOutcome.FAILURE, 0.0)
    requests = RequestAdmission(9)
    requests.shares.refuse(requests.shares.usage_of(ANONYMOUS, 0.0, "10.0.0.1"))
    ring = KeyRing()
    ring.replace([make_key("web", collections=("films",))[0]])
    profiles = {"slow": RankProfile(second_phase="module:function")}
    settings = Settings(rank_profiles=profiles)
    guards = ProfileGuards.make(2, settings, lambda: 0.5, lambda *_: None, now=0.0)
    return cluster_status(
        server=server,
        backlog={0: 1, 1: 0} if server else {},
        statistics=statistics,
        fillings={},
        quarantine=[
            {
                "fingerprint": "ab",
                "query": "q",
                "kills": 2,
                "refused": True,
                "until_ms": 5000,
                "workers": ["w0"],
            }
        ],
        shortages=[
            {
                "where": "w0",
                "shards": [0, 1],
                "resource": "disk",
                "state": "low",
                "detail": "little is free",
                "since_ms": 700,
                "free_bytes": 5,
            }
        ],
        membership=membership,
        probation={"w0": ProbationEntry("g", "shard 0: slow", 500, 1500)},
        breakers=breakers,
        profile_breakers=[{"slow": "open"}, {}],
        now=0.1,
        now_ms=1000,
        names={"u": "films"},
        snapshots={
            0: SnapshotStatus(SnapshotFacts("s", "5-0", 7, 3, 99), 6, 1, False, "", 0, 4),
            1: SnapshotStatus(None, 6, 1, True, "no room", 6),
        }
        if server
        else {},
        optimising={"u": Optimising(800, {"r0": 800, "r1": 700})} if server else {},
        curves={"u": coverage_report(make_curve(), 300.0, is_brief=True)},
        gateway={
            "id": "g",
            "version": "1",
            "in_flight": 0,
            "counters": {"replies_late": 1},
            "loop": LagWatch(100.0).as_dict(),
            "answers": AnswerMemory(0).as_dict(),
            "admission": guards.admission_json(0.0),
            "hedges": {
                kind: {**HedgeCounts()._asdict(), "refused": 0} for kind in ("search", "fetch")
            },
            "requests": requests.to_json(),
            "addresses": refused_addresses([requests.shares]),
            "access": AccessControl(GatewaySettings(), ring).to_json({}),
            "clock_error_us": 1.5,
            "tracing": {
                "kept": 1,
                "dropped": 0,
                "spans_sent": 3,
                "spans_dropped": 0,
                "spans_waiting": 2,
            },
            "embedding": {
                **dict.fromkeys(("embedded", "cached", "expired", "failed", "refused"), 1),
                "calls": 2,
                "seconds": 0.5,
                "waiting": 0,
            },
        },
        gateways=[GatewayHeartbeat("g", 11, "here", "1", 700, 200, 3, 1, 2, 9101, is_leaving=True)]
        if server
        else [],
    )


@pytest.mark.parametrize("is_connected", [True, False])
async def test_every_member_of_the_status_is_documented(is_connected: bool) -> None:
    """What the gateway says, the lanes' own figures included, has the documented members."""
    server = ServerInfo("valkey", "8.1.0", 9) if is_connected else None
    statistics = {"u": StatisticsStatus(LABELS, version_of(LABELS))} if is_connected else {}
    status = status_of(server, statistics)
    check_shape(status, StatusAnswer)
    # An empty list would pass, whatever its items' shape.
    assert all(status[name] for name in ("shards", "workers", "collections", "quarantine"))
    assert status["shards"][0]["breaker_detail"]["transitions"]
    assert status["workers"][0]["set_aside"] == {"bytes": 700, "dropped": 2}
    assert status["workers"][0]["memory_mb"] == {"worker": 30.0}
    gateways = [{"age_ms": 300, "uptime_ms": 500, "process_port": 9101, "leaving": True}]
    shown = [{name: one[name] for name in gateways[0]} for one in status["gateways"]]
    assert shown == (gateways if is_connected else [])


@pytest.mark.parametrize(
    ("changes", "labels", "summed", "behind", "is_current", "is_spread"),
    [
        ((5, 4), ("r0:5", "r1:4"), ("r0:5", "r1:4"), 0, True, True),
        ((5, 4), ("r0:5", "r1:3"), ("r0:5", "r1:3"), 1, False, False),
        ((9, 6), ("r0:5", "r1:4"), ("r0:5", "r1:4"), 6, False, True),
        ((5, 4), ("r0:5", "r1:4"), ("r0:5", "r1:3"), 0, False, False),
        ((5, 4), ("r0:5",), ("r0:5",), 4, False, False),
        ((5, 4), ("r0:5", "r9:4"), ("r0:5", "r9:4"), 4, False, False),
    ],
)
async def test_statistics_that_are_behind_are_told(
    changes: tuple[int, int],
    labels: tuple[str, ...],
    summed: tuple[str, ...],
    behind: int,
    is_current: bool,
    is_spread: bool,
) -> None:
    """Current: the sum is of the shards' newest, and those count each change; spread: ranked by."""
    statistics = StatisticsStatus(dict(enumerate(labels)), version_of(dict(enumerate(summed))))
    status = status_of(
        ServerInfo("valkey", "8.1.0", 9),
        {"u": statistics},
        {shard: {"u": count} for shard, count in enumerate(changes)},
    )
    assert status["collections"] == [
        {
            "name": "films",
            "documents": 7,
            "statistics": {
                "shards": len(labels),
                "changes_behind": behind,
                "is_current": is_current,
                "is_spread": is_spread,
            },
            "index": {"segments": 14, "wanted_at_ms": 800, "waiting": 1, "filling": None},
            "coverage_curve": coverage_report(make_curve(), 300.0, is_brief=True),
        }
    ]


async def test_without_redis_nobody_knows_who_is_to_optimise() -> None:
    """Segments are known by heartbeat; what was asked for, and which have done it, is not."""
    (films,) = status_of(None, {})["collections"]
    assert films["index"] == {
        "segments": 14,
        "wanted_at_ms": None,
        "waiting": None,
        "filling": None,
    }


async def test_a_shard_without_a_live_replica_is_waited_for() -> None:
    """It counts as one that waits, so that a caller does not hear that all have optimised.

    Where none was asked to, none is waited for.
    """
    membership = Membership(Mock(spec=Registry), 2, 2.0, 0.1, lambda: 0, list)
    membership.take({}, {}, 1000, 0.0)
    assert index_json("u", membership, Optimising(800, {"r0": 800, "r1": 800}))["waiting"] == 2
    assert index_json("u", membership, Optimising())["waiting"] == 0
