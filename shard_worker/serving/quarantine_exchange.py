"""Tells the cluster of the queries that kill scorers here, and hears of those that do elsewhere."""

import asyncio
import random
import time
from collections import deque
from contextlib import aclosing

import structlog

from hedgerow.common.errors import ConfigurationError, RedisUnavailableError
from hedgerow.common.observability.telemetry import Throttle
from hedgerow.common.redis.client import RECONNECTED, RedisClient
from hedgerow.common.state.quarantine import MAX_RECORDS, Record
from hedgerow.common.state.quarantine_store import QuarantineStore
from hedgerow.common.tasks import run_together
from hedgerow.shard_worker.executors.process_pool.quarantine_gate import QuarantineGate

log = structlog.get_logger()

LONGEST_PAUSE_S = 1.0


class QuarantineExchange:
    """Carries records both ways; while Redis is away they are kept, and told when it is back."""

    def __init__(
        self, control: RedisClient, channel: str, board: QuarantineStore, suspects: QuarantineGate
    ) -> None:
        """Describe the exchange; `run` starts it.

        Args:
            control: listens.
            channel: where records are announced.
            board: where they are stored.
            suspects: what the lane knows.
        """
        self._control = control
        self._channel = channel
        self._board = board
        self._suspects = suspects
        self._untold: deque[Record] = deque(maxlen=MAX_RECORDS)
        self._has_untold = asyncio.Event()
        self._throttle = Throttle(60.0)
        suspects.publish = self._publish

    def _publish(self, record: Record) -> None:
        self._untold.append(record)
        self._has_untold.set()

    async def catch_up(self) -> None:
        """Take what the cluster knows by now; while Redis is away, `run` does so later.

        For a worker that has just started, before it takes a request: otherwise a query that is
        known to kill scorers would kill one of its own.
        """
        try:
            self._suspects.take(await self._board.records())
        except (RedisUnavailableError, ConfigurationError) as error:
            log.debug("quarantine_unread", error=str(error))

    async def run(self) -> None:
        """Tell and hear until cancelled."""
        await run_together(self._tell(), self._hear())

    async def _tell(self) -> None:
        while True:
            await self._has_untold.wait()
            self._has_untold.clear()
            records = list(self._untold)
            if not records:
                continue
            try:
                stored = await self._board.add(records)
            except (RedisUnavailableError, ConfigurationError) as error:
                if self._throttle.allows("untold", time.monotonic()):
                    log.warning("quarantine_untold", error=str(error))
                self._has_untold.set()
                # Those who wait for the cluster's word need wait no longer: there is none.
                self._suspects.confirm({record.fingerprint for record in records})
                await asyncio.sleep(random.uniform(0, LONGEST_PAUSE_S))
                continue
            told = set(records)
            kept = [record for record in self._untold if record not in told]
            self._untold.clear()
            self._untold.extend(kept)
            self._suspects.take(stored)
            self._suspects.confirm({record.fingerprint for record in records})

    async def _hear(self) -> None:
        async with aclosing(self._control.events(self._channel)) as events:
            async for event in events:
                if event == RECONNECTED:
                    # What was announced while this worker did not listen is stored all the same.
                    await self.catch_up()
                else:
                    self._suspects.take(self._board.announced(event))
