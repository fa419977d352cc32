"""Shares with the cluster which queries have killed scorers."""

import asyncio
import random
import time
from collections import deque
from contextlib import aclosing

import structlog

from hedgerow.common.errors import ConfigurationError, RedisUnavailableError
from hedgerow.common.observability.telemetry import Throttle
from hedgerow.common.redis.client import RedisClient
from hedgerow.common.redis.shared_events import RECONNECTED
from hedgerow.common.state.quarantine import MAX_RECORDS, Record
from hedgerow.common.state.quarantine_store import QuarantineStore
from hedgerow.common.tasks import run_together
from hedgerow.shard_worker.executors.process_pool.quarantine_gate import QuarantineGate

log = structlog.get_logger()

LONGEST_PAUSE_S = 1.0


class QuarantineExchange:
    """Sends and receives records; while Redis is unavailable, records are kept and sent later."""

    def __init__(
        self, control: RedisClient, channel: str, store: QuarantineStore, gate: QuarantineGate
    ) -> None:
        """Describe the exchange; `run` starts it.

        Args:
            control: receives the announcements.
            channel: where records are announced.
            store: where they are stored.
            gate: the lane's view of the quarantine.
        """
        self._control = control
        self._channel = channel
        self._store = store
        self._gate = gate
        self._unsent: deque[Record] = deque(maxlen=MAX_RECORDS)
        self._has_unsent = asyncio.Event()
        self._throttle = Throttle(60.0)
        gate.publish = self._publish

    def _publish(self, record: Record) -> None:
        self._unsent.append(record)
        self._has_unsent.set()

    async def catch_up(self) -> None:
        """Read what the cluster knows by now; if Redis is unavailable, `run` does so later.

        A worker calls this before its first request: otherwise a query that is known to kill
        scorers would kill one here.
        """
        try:
            self._gate.take(await self._store.records())
        except (RedisUnavailableError, ConfigurationError) as error:
            log.debug("quarantine_unread", error=str(error))

    async def run(self) -> None:
        """Send and receive records until cancelled."""
        await run_together(self._send(), self._receive())

    async def _send(self) -> None:
        while True:
            await self._has_unsent.wait()
            self._has_unsent.clear()
            records = list(self._unsent)
            if not records:
                continue
            try:
                stored = await self._store.add(records)
            except (RedisUnavailableError, ConfigurationError) as error:
                if self._throttle.allows("untold", time.monotonic()):
                    log.warning("quarantine_untold", error=str(error))
                self._has_unsent.set()
                # Tasks that wait for the cluster's answer need not wait any longer: there is none.
                self._gate.confirm({record.fingerprint for record in records})
                await asyncio.sleep(random.uniform(0, LONGEST_PAUSE_S))
                continue
            sent = set(records)
            kept = [record for record in self._unsent if record not in sent]
            self._unsent.clear()
            self._unsent.extend(kept)
            self._gate.take(stored)
            self._gate.confirm({record.fingerprint for record in records})

    async def _receive(self) -> None:
        async with aclosing(self._control.events(self._channel)) as events:
            async for event in events:
                if event == RECONNECTED:
                    # Records that were announced meanwhile have been stored, too.
                    await self.catch_up()
                else:
                    self._gate.take(self._store.announced(event))
