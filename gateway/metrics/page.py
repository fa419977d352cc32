"""The page that Prometheus reads."""

import asyncio
import time
from collections.abc import Mapping, Sequence
from typing import Any, Final

from hedgerow.common.metrics.exposition import TextFormat, write
from hedgerow.gateway.metrics.collector import GatewayCollector
from hedgerow.gateway.metrics.redis_facts import RedisFacts, RedisFactsReader
from hedgerow.gateway.views.shared_run import SharedRun

_SLICE_S: Final = 0.001  # after which the loop may run other work


class MetricsPage:
    """Writes the metrics of a gateway, and of those workers that serve none themselves."""

    def __init__(self, collector: GatewayCollector, reader: RedisFactsReader) -> None:
        """Write what `collector` finds, with what `reader` reads from Redis."""
        self._collector = collector
        self._reader = reader
        self._facts = SharedRun(self._read)

    async def text(self, form: TextFormat, keys: Sequence[Mapping[str, Any]]) -> bytes:
        """Write the page, in slices between which the event loop runs other work.

        Args:
            form: the text format.
            keys: the keys as `AccessControl.to_json` describes them.
        """
        facts = await self._facts.result()
        parts = []
        slice_ends = time.perf_counter() + _SLICE_S
        for part in write(self._collector.families(facts, keys), form):
            parts.append(part)
            if time.perf_counter() > slice_ends:
                await asyncio.sleep(0)
                slice_ends = time.perf_counter() + _SLICE_S
        return "".join(parts).encode()

    async def _read(self) -> RedisFacts:
        collector = self._collector
        return await self._reader.read(
            list(collector.membership.workers.values()), collector.server_ms()
        )
