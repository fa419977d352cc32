"""Following the placement, in virtual time, with shards that are held in name only."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest

from hedgerow.common.errors import RedisUnavailableError, SnapshotError
from hedgerow.common.placement.document import Placement, ShardPlacement
from hedgerow.common.placement.store import PlacementStore
from hedgerow.common.redis.client import RedisClient
from hedgerow.common.redis.keys import Keys
from hedgerow.common.settings.settings import Settings
from hedgerow.common.state.registry import Registry
from hedgerow.common.wire.heartbeat import Heartbeat
from hedgerow.shard_worker.context import Context
from hedgerow.shard_worker.placement.copies import Copies
from hedgerow.shard_worker.placement.follower import PlacementFollower
from hedgerow.shard_worker.placement.held_shards import HeldShards
from tests.support.virtual_time import run_virtually

NUM_SHARDS = 6
HOLD_S = 3.0  # how long it takes to take up a shard


class NominalShards(HeldShards):
    """Notes what is held; `broken` shards cannot be."""

    def __init__(self) -> None:
        self.broken: dict[int, Exception] = {}
        self.can_be_restored: set[int] = set()
        self.events: list[str] = []
        self.most_at_once = 0
        self.on_disk: set[int] = set()
        self._num_now = 0
        self._names: set[int] = set()

    @property
    def shards(self) -> tuple[int, ...]:
        """See `HeldShards.shards`."""
        return tuple(sorted(self._names))

    @property
    def restorable(self) -> frozenset[int]:
        """See `HeldShards.restorable`; once it is opened again, a shard has no gap."""
        return frozenset(self._names & self.can_be_restored)

    async def hold(self, shard: int) -> None:
        """Hold it after a while, or fail."""
        self.events.append(f"hold {shard}")
        self._num_now += 1
        self.most_at_once = max(self.most_at_once, self._num_now)
        await asyncio.sleep(HOLD_S)
        self._num_now -= 1
        if shard in self.broken:
            raise self.broken[shard]
        self._names.add(shard)
        self.on_disk.add(shard)
        self.can_be_restored.discard(shard)

    async def release(self, shard: int) -> None:
        """Hold it no longer."""
        self.events.append(f"release {shard}")
        self._names.discard(shard)


@dataclass
class Scene:
    """A worker "a", what it sees of the cluster, and what it holds."""

    held: NominalShards
    follower: PlacementFollower
    placement: Placement | Exception | None = None
    serving: dict[str, list[int]] = field(default_factory=dict)
    beats_take_s: float = 0.0

    def place(self, *owners: str, version: int = 1, replicas: int = 1) -> None:
        """Assign each shard to some workers, each named by a letter."""
        shards = tuple(ShardPlacement(tuple(one)) for one in owners)
        self.placement = Placement(version, len(owners), replicas, 0, shards)

    async def read(self) -> Placement | None:
        """The placement."""
        if isinstance(self.placement, Exception):
            raise self.placement
        return self.placement

    async def beats(self) -> dict[str, Heartbeat]:
        """The live workers' heartbeats."""
        await asyncio.sleep(self.beats_take_s)
        return {
            name: Heartbeat(name, 1, "h", shards, "1", 0, 0, joins=True)
            for name, shards in self.serving.items()
        }


Play = Callable[[Callable[[Scene], Coroutine[Any, Any, None]]], None]


@pytest.fixture
def play(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Play:
    """Plays a scenario while the worker follows the placement."""

    async def no_events(_control: RedisClient, _channel: str) -> AsyncIterator[bytes]:
        await asyncio.Event().wait()
        yield b""

    async def run(scenario: Callable[[Scene], Coroutine[Any, Any, None]]) -> None:
        control = Mock(spec=RedisClient)
        control.events = lambda channel: no_events(control, channel)
        held = NominalShards()
        context = Context(Settings(data=tmp_path), "a", NUM_SHARDS, control, Keys())
        scene = Scene(held, PlacementFollower(context, held, lambda: None))

        async def remove(_copies: Copies, shard: int) -> None:
            held.events.append(f"remove {shard}")
            held.on_disk.discard(shard)

        async def stored(_copies: Copies) -> frozenset[int]:
            return frozenset(held.on_disk)

        monkeypatch.setattr(PlacementStore, "read", lambda _store: scene.read())
        monkeypatch.setattr(Registry, "live_heartbeats", lambda _one, _expiry: scene.beats())
        monkeypatch.setattr(Copies, "remove", remove)
        monkeypatch.setattr(Copies, "stored", stored)
        monkeypatch.setattr(Copies, "_tidy", lambda _copies: None)
        await scene.follower.prepare()
        following = asyncio.create_task(scene.follower.run())
        try:
            await scenario(scene)
        finally:
            following.cancel()
            with suppress(asyncio.CancelledError):
                await following

    return lambda scenario: run_virtually(run(scenario))


def test_assigned_shards_are_taken_up_few_at_a_time(play: Play) -> None:
    """Of other workers' shards, none; the version is reported once all are held."""

    async def scenario(scene: Scene) -> None:
        scene.place("a", "ab", "b", "a", "a", version=7)
        await asyncio.sleep(2 * HOLD_S)
        assert scene.follower.version == 0
        await asyncio.sleep(30)
        assert list(scene.held.shards) == [0, 1, 3, 4]
        assert scene.held.most_at_once == Settings().placement.max_moves == 2
        assert scene.follower.version == 7

    play(scenario)


def test_a_shard_that_cannot_be_taken_up_is_tried_again(play: Play) -> None:
    """The others go on, and the reason is reported until it succeeds."""

    async def scenario(scene: Scene) -> None:
        scene.held.broken[0] = SnapshotError("the target does not answer")
        scene.place("a", "a")
        await asyncio.sleep(40)
        assert list(scene.held.shards) == [1]
        assert scene.follower.unready(()) == {0: "the target does not answer"}
        assert 3 <= scene.held.events.count("hold 0") <= 8
        scene.held.broken.clear()
        await asyncio.sleep(40)
        assert list(scene.held.shards) == [0, 1]
        assert scene.follower.unready(()) == {}
        assert scene.follower.unready((1, 5)).keys() == {1}  # 5 is not assigned

    play(scenario)


def test_a_shard_with_a_gap_is_taken_up_again_when_there_is_a_snapshot(play: Play) -> None:
    """Once; its data is not removed, and one that is not assigned any more is left alone."""

    async def scenario(scene: Scene) -> None:
        scene.place("a", "a")
        await asyncio.sleep(20)
        scene.place("a", "b", version=2)
        await asyncio.sleep(20)
        scene.held.events.clear()
        scene.held.can_be_restored = {0, 1}
        await asyncio.sleep(60)
        assert scene.held.events == ["release 0", "hold 0"]
        assert list(scene.held.shards) == [0, 1]

    play(scenario)


def test_a_shard_is_let_go_of_once_its_owner_serves_it(play: Play) -> None:
    """Then its data is removed; until then, the placement is not carried out."""

    async def scenario(scene: Scene) -> None:
        scene.place("a", "a")
        await asyncio.sleep(20)
        scene.serving = {"a": [0, 1], "b": [], "c": [1]}
        scene.place("a", "b", version=2)
        await asyncio.sleep(60)
        assert list(scene.held.shards) == [0, 1]
        assert scene.follower.version == 1
        scene.serving["b"] = [1]
        await asyncio.sleep(5)
        assert list(scene.held.shards) == [0]
        assert scene.held.events[-2:] == ["release 1", "remove 1"]
        assert scene.follower.version == 2

    play(scenario)


def test_data_stays_until_all_of_the_other_owners_serve_it(play: Play) -> None:
    """One of two owners may be lost while a shard moves; it is let go of all the same."""

    async def scenario(scene: Scene) -> None:
        scene.place("a", "a")
        await asyncio.sleep(20)
        scene.serving = {"a": [0, 1], "b": [1], "c": []}
        scene.place("a", "bc", version=2, replicas=2)
        await asyncio.sleep(60)
        assert list(scene.held.shards) == [0]
        assert scene.held.events[-1] == "release 1"
        scene.serving["c"] = [1]
        await asyncio.sleep(5)
        assert scene.held.events[-2:] == ["release 1", "remove 1"]

    play(scenario)


def test_a_drained_worker_keeps_no_data_for_replicas_that_there_are_no_workers_for(
    play: Play,
) -> None:
    """It may be switched off at once, and the log would go on waiting for its copy."""

    async def scenario(scene: Scene) -> None:
        scene.place("a", "a", replicas=2)
        await asyncio.sleep(20)
        scene.serving = {"a": [0, 1], "b": [0, 1]}
        scene.place("a", "b", version=2, replicas=2)
        await asyncio.sleep(5)
        assert scene.held.events[-2:] == ["release 1", "remove 1"]

    play(scenario)


@pytest.mark.parametrize("lost", [None, RedisUnavailableError("away")])
def test_what_is_held_is_held_on_to_without_a_placement(play: Play, lost: Exception | None) -> None:
    """Whether it was lost, or cannot be read."""

    async def scenario(scene: Scene) -> None:
        scene.place("a", "a")
        await asyncio.sleep(20)
        scene.serving = {"b": [0, 1]}
        scene.placement = lost
        await asyncio.sleep(60)
        assert list(scene.held.shards) == [0, 1]
        scene.place("a", "b", version=2)
        await asyncio.sleep(60)
        assert list(scene.held.shards) == [0]

    play(scenario)


def test_a_move_that_ends_while_heartbeats_are_read_is_not_begun_again(play: Play) -> None:
    """What is done next is decided by what is true after they were read."""

    async def scenario(scene: Scene) -> None:
        scene.place("a", "a")
        await asyncio.sleep(20)
        scene.beats_take_s = HOLD_S - 0.5
        scene.place("a", "b", "a", "a", version=2)  # "b" never serves the second
        await asyncio.sleep(60)
        assert list(scene.held.shards) == [0, 1, 2, 3]
        counts = {event: scene.held.events.count(event) for event in scene.held.events}
        assert set(counts.values()) == {1}

    play(scenario)
