"""The cluster's quarantine in Redis: a sorted set of records, ordered by time."""

import time
from collections.abc import Iterable

import structlog

from hedgerow.common.errors import WireError
from hedgerow.common.observability.telemetry import Throttle
from hedgerow.common.redis.client import RedisClient
from hedgerow.common.redis.commands import Command
from hedgerow.common.redis.keys import Keys
from hedgerow.common.state.quarantine import MAX_RECORDS, Record

_EVENT = b"quarantine:"

_log = structlog.get_logger()


class QuarantineStore:
    """Reads and writes quarantine records; each record written is announced with its content.

    Every method raises RedisUnavailableError if there is no answer in time.
    """

    def __init__(self, control: RedisClient, keys: Keys, retention_ms: int) -> None:
        """Keep records for `retention_ms` (`Quarantine.retention_ms`)."""
        self._control = control
        self._keys = keys
        self._retention_ms = retention_ms
        self._throttle = Throttle(60.0)

    async def add(self, records: Iterable[Record]) -> list[Record]:
        """Store records, including any that are already stored, and announce them.

        Returns:
            All stored records, by time, including those of other workers whose announcement has not
            arrived yet.
        """
        packed = {record.pack(): record.at_ms for record in records}
        key = self._keys.quarantine
        commands: list[Command] = [("ZADD", key, at_ms, member) for member, at_ms in packed.items()]
        commands += [
            ("ZREMRANGEBYSCORE", key, "-inf", min(packed.values()) - self._retention_ms),
            ("ZREMRANGEBYRANK", key, 0, -1 - MAX_RECORDS),
            ("PEXPIRE", key, self._retention_ms),
            *(("PUBLISH", self._keys.events, _EVENT + member) for member in packed),
            ("ZRANGE", key, 0, -1),
        ]
        *_, stored = await self._control.pipeline(commands, atomic=True)
        return self._read(stored)

    async def records(self) -> list[Record]:
        """All stored records, by time."""
        return self._read(await self._control.execute("ZRANGE", self._keys.quarantine, 0, -1))

    def announced(self, event: bytes) -> list[Record]:
        """The record that an event announces; none for other events, or if it cannot be read."""
        return self._read([event.removeprefix(_EVENT)]) if event.startswith(_EVENT) else []

    def _read(self, stored: Iterable[bytes]) -> list[Record]:
        found = []
        for packed in stored:
            try:
                found.append(Record.unpack(packed))
            except WireError as error:  # of a newer version
                if self._throttle.allows("unreadable", time.monotonic()):
                    _log.warning("quarantine_unreadable", reason=str(error))
        return found
