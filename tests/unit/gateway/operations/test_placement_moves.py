"""How far moves are, by what the workers' heartbeats say."""

import asyncio
from typing import Any
from unittest.mock import Mock

import pytest

from hedgerow.common.placement.document import Placement, ShardPlacement
from hedgerow.common.placement.members import Observation
from hedgerow.common.placement.store import PlacementStore
from hedgerow.common.redis.client import RedisClient
from hedgerow.common.redis.keys import Keys
from hedgerow.common.settings.placement import PlacementSettings
from hedgerow.common.settings.settings import Settings
from hedgerow.common.settings.snapshots import SnapshotSettings
from hedgerow.common.state.registry import Registry
from hedgerow.common.wire.heartbeat import Heartbeat
from hedgerow.gateway.operations.placement import PlacementAdmin

NOW_MS = 100_000


def beat(worker: str, shards: list[int], **members: Any) -> Heartbeat:
    """A fresh heartbeat of a worker that joined."""
    return Heartbeat(worker, 1, "h", shards, "1", NOW_MS, 0, joins=True, **members)


def described(
    monkeypatch: pytest.MonkeyPatch, joining: Heartbeat, replicas: int = 2
) -> dict[str, Any]:
    """The answer while `joining` joins shard 0, which two workers have.

    The gateway's setting says `replicas`, that of the workers two.
    """
    placed = (ShardPlacement(("a", "b"), (joining.id,)), ShardPlacement(("a", "b")))
    beats = {one.id: one for one in (beat("a", [0, 1]), beat("b", [0, 1]), joining)}

    async def read(_store: PlacementStore) -> Placement:
        return Placement(3, 2, 2, 0, placed)

    async def observe(_store: PlacementStore, _registry: Registry, _num: int) -> Observation:
        return Observation(2, beats, frozenset({"b"}), {}, NOW_MS)

    monkeypatch.setattr(PlacementStore, "read", read)
    monkeypatch.setattr(PlacementStore, "observe", observe)
    settings = Settings(
        placement=PlacementSettings(replicas=replicas, max_moves=1),
        snapshots=SnapshotSettings(url="/s"),
    )

    async def running_split() -> None:
        return None

    admin = PlacementAdmin(
        Mock(spec=RedisClient), Keys(), Mock(spec=Registry), 2, settings, running_split
    )
    answer: dict[str, Any] = asyncio.run(admin.describe())
    return answer


def test_a_move_says_what_it_still_has_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker restores, then catches up with the log; another move waits for it."""
    joining, waiting = described(monkeypatch, beat("c", []))["moves"]
    assert (joining["shard"], joining["state"], joining["behind"]) == (0, "joining", None)
    assert (waiting["shard"], waiting["state"], waiting["behind"]) == (1, "waiting", None)
    known = beat("c", [], replicas={0: "r"}, log_backlog={0: 17}, behind=[0])
    assert described(monkeypatch, known)["moves"][0]["behind"] == 17


def test_a_move_that_fails_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    """The reason is that of the worker's heartbeat."""
    broken = beat("c", [], unready={0: "the disk is full"})
    assert described(monkeypatch, broken)["moves"][0]["error"] == "the disk is full"
    assert described(monkeypatch, beat("c", []))["moves"][0]["error"] is None


@pytest.mark.parametrize("replicas", [1, 5])
def test_a_gateway_shows_what_the_workers_will_do(
    monkeypatch: pytest.MonkeyPatch, replicas: int
) -> None:
    """If its own setting says another number of replicas, what is to come is theirs."""
    assert described(monkeypatch, beat("c", []), replicas) == described(monkeypatch, beat("c", []))
