"""Delays the end of a load until searches rank by term statistics that include its documents.

So the load waits once, and no search does. `shard_worker.indexing.load_statistics` has the workers'
part.
"""

import asyncio
import secrets
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Final

import structlog

from hedgerow.common.errors import RedisUnavailableError
from hedgerow.common.shard_log.events import Loaded, Ranked
from hedgerow.common.state.registry import Registry
from hedgerow.common.state.statistics import BULK_SHARE, StatisticsStore

_LOOK_S: Final = 0.25  # longest time between two checks which replicas are live

log = structlog.get_logger()


@dataclass
class _Waiting:
    answered: set[str] = field(default_factory=set)
    woken: asyncio.Event = field(default_factory=asyncio.Event)


class RankedLoads:
    """Waits for loads to count in the ranking."""

    def __init__(
        self,
        *,
        store: StatisticsStore,
        registry: Registry,
        live_replicas: Callable[[int], Collection[str]],
        timeout_s: float,
    ) -> None:
        """Wait for the workers' answers.

        Args:
            store: stores term statistics, and notifies the workers.
            registry: knows the number of a collection's documents.
            live_replicas: shard → ids of the replicas that live workers serve now.
            timeout_s: longest wait, in s; 0 for none.
        """
        self._store = store
        self._registry = registry
        self._live_replicas = live_replicas
        self._timeout_s = timeout_s
        self._waiting: dict[str, _Waiting] = {}

    def take(self, event: bytes) -> None:
        """Take an announced event; the workers' answers count."""
        if (ranked := Ranked.unpack(event)) and (waiting := self._waiting.get(ranked.token)):
            waiting.answered.update(ranked.replicas)
            waiting.woken.set()

    async def wait(self, uid: str, ends: Mapping[int, str], num_documents: int | None) -> None:
        """Return when a load counts in the ranking, or after the longest wait.

        If the load is small compared to the collection, it returns at once: the statistics change
        little, and are collected at intervals.

        Args:
            uid: the collection's uid.
            ends: shard → id of the last log entry of the load, all of them applied.
            num_documents: the number of documents of the load; None if unknown.
        """
        try:
            if self._timeout_s and await self._is_bulk(uid, num_documents):
                async with asyncio.timeout(self._timeout_s):
                    await self._until_ranked(uid, ends)
        except (TimeoutError, RedisUnavailableError) as error:
            log.info("load_not_ranked_yet", uid=uid, error=str(error) or "no answer in time")

    async def _is_bulk(self, uid: str, num_documents: int | None) -> bool:
        if num_documents is None:
            return True  # the workers know what has changed
        if not (await self._store.status([uid], 1))[uid].version:
            return True
        total = sum((await self._registry.document_counts(uid)).values())
        return num_documents > BULK_SHARE * total

    async def _until_ranked(self, uid: str, ends: Mapping[int, str]) -> None:
        token = secrets.token_hex(8)
        waiting = self._waiting[token] = _Waiting()
        try:
            # A shard that no worker serves cannot be counted.
            served = {shard: end for shard, end in ends.items() if self._live_replicas(shard)}
            if served:
                await self._store.announce(Loaded(token, uid, served).pack())
            while not all(
                waiting.answered.issuperset(self._live_replicas(shard)) for shard in served
            ):
                waiting.woken.clear()
                await _set_or_after(waiting.woken, _LOOK_S)
        finally:
            del self._waiting[token]


async def _set_or_after(event: asyncio.Event, delay_s: float) -> None:
    try:
        async with asyncio.timeout(delay_s):
            await event.wait()
    except TimeoutError:
        return
