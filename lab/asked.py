"""A query through the whole gateway, and what the scorers did for it."""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from bench.harness.cluster import search
from hedgerow.gateway.gateway import Gateway
from hedgerow.gateway.local.processes.child import is_running
from hedgerow.gateway.search.result import SearchResult
from lab.cluster import COLLECTION, LabCluster
from lab.journal import Stint
from lab.script import script


class Ran(NamedTuple):
    """A task of a shard; times are in ms from the start of the query.

    Attributes:
        end_ms: when the task or its process ended; nan if neither has within the timeout.
        is_whole: whether the task ran to its end.
    """

    start_ms: float
    end_ms: float
    is_whole: bool


@dataclass(frozen=True, slots=True)
class Asked:
    """A query that was answered.

    Attributes:
        sent_at: an instant of `time.monotonic()`, in s.
        stints: the tasks of its shards that had started when the answer came.
    """

    result: SearchResult
    sent_at: float
    stints: list[Stint]

    def ms(self, instant: float) -> float:
        """Time from the query's start, in ms."""
        return (instant - self.sent_at) * 1000

    @property
    def last_end_ms(self) -> float:
        """When the last task ended, in ms; inf if one has not ended."""
        ends = [stint.ended_at for stint in self.stints]
        return max(float("inf") if end is None else self.ms(end) for end in ends)

    async def ran(self, cluster: LabCluster, shard: int, timeout_ms: float) -> list[Ran]:
        """Wait until the tasks of a shard, or their processes, have ended; returns the times."""
        works = [stint for stint in self.stints if stint.shard == shard]
        ran = [await self._end(cluster, work, timeout_ms) for work in works]
        mine = {stint[:3] for stint in self.stints}
        self.stints[:] = [one for one in cluster.stints(self.sent_at) if one[:3] in mine]
        return ran

    async def _end(self, cluster: LabCluster, work: Stint, timeout_ms: float) -> Ran:
        start_ms, now_ms = self.ms(work.started_at), 0.0
        while now_ms < timeout_ms:
            now_ms = self.ms(time.monotonic())
            is_running_on = is_running(work.pid)  # before the journal is read
            (work,) = [one for one in cluster.stints(work.started_at) if one[:3] == work[:3]]
            if work.ended_at is not None:
                return Ran(start_ms, self.ms(work.ended_at), is_whole=True)
            if not is_running_on:
                return Ran(start_ms, now_ms, is_whole=False)
            await asyncio.sleep(0.002)
        return Ran(start_ms, float("nan"), is_whole=False)


async def ask(
    cluster: LabCluster,
    gateway: Gateway,
    profile: str,
    times_ms: Sequence[float],
    deadline_ms: float,
) -> Asked:
    """Ask for hits without fields, with a time for each shard and details of every shard."""
    sent_at = time.monotonic()
    text = script(times_ms)
    result = await search(gateway, text, profile, deadline_ms, COLLECTION, explain=True)
    return Asked(result, sent_at, cluster.stints(sent_at))
