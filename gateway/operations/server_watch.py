"""Shortages of the Redis server: memory by its own figures, disk by its keeper's reports."""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from hedgerow.common.errors import RedisUnavailableError
from hedgerow.common.machine.shortage import DISK, MEMORY, Shortage, ShortageBook
from hedgerow.common.redis.client import RedisClient
from hedgerow.common.redis.keys import Keys
from hedgerow.common.settings.storage import StorageSettings
from hedgerow.common.state.storage import read_told
from hedgerow.gateway.views.freshness import keep_fresh
from hedgerow.gateway.writes.storage_gate import ServerMemory, StorageGate


class ServerWatch:
    """Reads the shortages of the server, and passes them to the gate."""

    def __init__(
        self,
        control: RedisClient,
        keys: Keys,
        settings: StorageSettings,
        gate: StorageGate,
        now_ms: Callable[[], int],
    ) -> None:
        """Watch the servers of `control`, the data plane's as well; `now_ms` is its clock."""
        self._control = control
        self._keys = keys
        self._settings = settings
        self._gate = gate
        self._others = tuple(one for one in control.data_clients if one is not control)
        servers = (control, *self._others)
        self._memory = {one: ServerMemory(settings.max_memory_share) for one in servers}
        self._book = ShortageBook(now_ms)

    async def run(self) -> None:
        """Check at intervals until cancelled."""
        await keep_fresh("storage", self.refresh, asyncio.Event(), self._settings.poll_s)

    async def refresh(self) -> None:
        """Check once.

        Raises:
            RedisUnavailableError: Redis did not answer.
            ConfigurationError: this Redis user lacks the right.
        """
        info, reported = await self._control.pipeline(
            [("INFO", "memory", "persistence"), ("GET", self._keys.storage)]
        )
        infos = {self._control: info}
        for other in self._others:
            with suppress(RedisUnavailableError):  # searches and writes find that out themselves
                infos[other] = await other.execute("INFO", "memory")
        since_ms = self._book.since_ms(MEMORY)
        judged = [self._memory[server].judge(said, since_ms) for server, said in infos.items()]
        self._book.put(MEMORY, next(filter(None, judged), None))
        disk = next(
            (shortage for shortage in read_told(reported) if shortage.resource == DISK), None
        )
        self._book.put(DISK, disk or self._own_disk(info))
        self._gate.server = self._book.list()

    def _own_disk(self, info: dict[str, Any]) -> Shortage | None:
        """Return the file errors of a server that `gateway up` does not run."""
        if info.get("aof_enabled") and info.get("aof_last_write_status") == "err":
            detail = "the server cannot write its append-only file"
            return Shortage(DISK, "full", detail, self._book.since_ms(DISK))
        return None
