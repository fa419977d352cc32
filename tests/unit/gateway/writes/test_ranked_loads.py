"""A load is held back until all live replicas rank by it, and for no longer than it may be."""

import asyncio
from collections.abc import Collection, Mapping
from typing import cast
from unittest.mock import AsyncMock

import pytest

from hedgerow.common.errors import RedisUnavailableError
from hedgerow.common.shard_log.events import Loaded, Ranked
from hedgerow.common.state.registry import Registry
from hedgerow.common.state.statistics import StatisticsStatus, StatisticsStore
from hedgerow.gateway.writes.ranked_loads import RankedLoads
from tests.support.virtual_time import run_virtually

ENDS = {0: "5-0", 1: "7-1"}
TIMEOUT_S = 10.0


class Cluster:
    """Two shards, of which `live` says who serves them; announced loads are kept."""

    def __init__(
        self, *, documents: int = 0, is_summed: bool = False, timeout_s: float = TIMEOUT_S
    ) -> None:
        self.live: dict[int, Collection[str]] = {0: ["a", "b"], 1: ["c"]}
        self.announced: list[Loaded] = []
        self.board = AsyncMock(spec=StatisticsStore)
        self.board.status.side_effect = self._status
        self.board.announce.side_effect = self._announce
        self._version = b"v" if is_summed else b""
        registry = AsyncMock(spec=Registry)
        registry.document_counts.return_value = {0: documents}
        self.loads = RankedLoads(
            store=cast("StatisticsStore", self.board),
            registry=cast("Registry", registry),
            live_replicas=lambda shard: self.live[shard],
            timeout_s=timeout_s,
        )

    async def _status(self, uids: list[str], _num_shards: int) -> Mapping[str, StatisticsStatus]:
        return {uid: StatisticsStatus({}, self._version) for uid in uids}

    async def _announce(self, event: str) -> None:
        loaded = Loaded.unpack(event.encode())
        assert loaded is not None
        self.announced.append(loaded)

    def answer(self, *replicas: str, load: int = 0) -> None:
        """Receive a heartbeat of a worker that serves these replicas."""
        self.loads.take(Ranked(self.announced[load].token, replicas).pack().encode())

    async def waits_s(
        self, *answers: tuple[float, tuple[str, ...]], num: int | None = 1000
    ) -> float:
        """How long a load is held back when answers come at these times, in s."""
        loop = asyncio.get_running_loop()
        for at, replicas in answers:
            loop.call_at(at, self.answer, *replicas)
        await self.loads.wait("u", ENDS, num)
        return loop.time()


def test_a_load_waits_for_every_live_replica() -> None:
    """The last answer ends the wait; the announcement names the load's last entries."""
    cluster = Cluster()
    assert run_virtually(cluster.waits_s((1.0, ("a", "c")), (2.5, ("b",)))) == 2.5
    assert (cluster.announced[0].uid, cluster.announced[0].ends) == ("u", ENDS)


def test_an_answer_to_another_load_does_not_count() -> None:
    """Two loads of one collection are waited for each by itself."""
    cluster = Cluster()

    async def scenario() -> float:
        first = asyncio.create_task(cluster.waits_s())
        second = asyncio.create_task(cluster.waits_s())
        await asyncio.sleep(1)
        cluster.answer("a", "b", "c", load=0)
        await first
        await asyncio.sleep(2)
        assert not second.done()
        cluster.answer("a", "b", "c", load=1)
        return await second

    assert run_virtually(scenario()) == 3.0


def test_a_replica_that_has_died_is_not_waited_for() -> None:
    """Which replicas are live is read again and again; a shard without any is not announced."""
    cluster = Cluster()
    cluster.live[1] = ()

    async def scenario() -> float:
        asyncio.get_running_loop().call_at(3.0, cluster.live.update, {0: ["a"]})
        return await cluster.waits_s((1.0, ("a",)))

    assert 3.0 <= run_virtually(scenario()) <= 3.25
    assert cluster.announced[0].ends == {0: "5-0"}


def test_the_wait_has_an_end() -> None:
    """When no worker answers, or Redis does not, the load has succeeded all the same."""
    assert run_virtually(Cluster().waits_s()) == TIMEOUT_S
    cluster = Cluster()
    cluster.board.announce.side_effect = RedisUnavailableError("away")
    assert run_virtually(cluster.waits_s()) == 0.0


@pytest.mark.parametrize(
    ("num", "is_summed", "is_announced"),
    [(20, True, False), (21, True, True), (1, False, True), (None, True, True)],
)
def test_a_few_documents_more_are_not_waited_for(
    num: int | None, *, is_summed: bool, is_announced: bool
) -> None:
    """Up to 2 % of 1,000 documents wait for nothing, once there are statistics at all.

    Of a load that only waits for others it is not known how much that was.
    """
    cluster = Cluster(documents=1000, is_summed=is_summed)
    run_virtually(cluster.waits_s(num=num))
    assert bool(cluster.announced) is is_announced


def test_no_time_means_no_wait() -> None:
    """With 0 s the load is not even announced."""
    cluster = Cluster(timeout_s=0.0)
    assert run_virtually(cluster.waits_s()) == 0.0
    assert cluster.announced == []
