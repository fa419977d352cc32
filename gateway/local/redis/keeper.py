"""Keeps the embedded server answering while its disk is full or read-only; see `persistence`."""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import structlog

from hedgerow.common.errors import ConfigurationError, RedisUnavailableError
from hedgerow.common.machine.disk import DiskState
from hedgerow.common.machine.disk_reader import DiskLook
from hedgerow.common.machine.shortage import DISK, ShortageBook, disk_shortage
from hedgerow.common.observability.telemetry import Throttle
from hedgerow.common.redis.client import RedisClient
from hedgerow.common.redis.keys import Keys
from hedgerow.common.runtime.ticks import sleep_to_tick
from hedgerow.common.settings.storage import StorageSettings
from hedgerow.common.state.storage import EXPIRY_S, ShortageStore
from hedgerow.gateway.local.redis.persistence import FilePolicy, FileState, Step

_log = structlog.get_logger()

LOOK_S: Final = 0.25  # if the disk fills up, the queues stop for at most this time
# The same while the disk has ample room, so that a quota, or a broken disk, is the likelier cause.
AMPLE_LOOK_S: Final = 1.0
# The same while little is left, which those who write may use up before a look each 0.25 s.
LOW_LOOK_S: Final = 0.05
_FENCE: Final = ("ACL", "SETUSER", "default", "-xadd")
_NO_FENCE: Final = ("ACL", "SETUSER", "default", "+xadd")


class RedisKeeper:
    """Checks the server and its disk, and carries out the policy.

    Attributes:
        pause_s: time from the last check to the next, in s.
    """

    def __init__(
        self, control: RedisClient, keys: Keys, folder: Path, settings: StorageSettings
    ) -> None:
        """Watch the server that `control` connects to, with its files in `folder`."""
        self.pause_s = LOOK_S
        self._control = control
        self._folder = folder
        self._store = ShortageStore(control, keys)
        self._disk = DiskLook(folder, settings)
        self._judge = self._disk.judge
        self._book = ShortageBook(lambda: time.time_ns() // 1_000_000)
        self._policy = FilePolicy()
        self._throttle = Throttle(60.0)
        self._published: list[str] = []
        self._published_at = 0.0

    async def run(self) -> None:
        """Check at intervals until cancelled."""
        while True:
            try:
                await self.look()
            except RedisUnavailableError as error:  # it has died, and is being restarted
                _log.debug("keeper_waits", error=str(error))
            except (ConfigurationError, OSError) as error:
                if self._throttle.allows("look", time.monotonic()):
                    _log.warning("keeper_failed", error=str(error))
            await sleep_to_tick(self.pause_s)

    async def look(self) -> None:
        """Check once, and take at most one step.

        Raises:
            RedisUnavailableError: the server does not answer.
            ConfigurationError: the server refuses a command.
            OSError: the disk does not answer.
        """
        self.pause_s, now = LOOK_S, time.monotonic()
        disk = await self._disk.look(now)
        user, info = await self._control.pipeline(
            [("ACL", "GETUSER", "default"), ("INFO", "persistence")]
        )
        file, is_fenced = FileState.of(info), _is_fenced(user)
        if file.is_failing and disk is not DiskState.READ_ONLY:
            self._judge.fail(DiskState.FULL, now)
            disk = DiskState.FULL
        step = self._policy.next(disk, file, is_fenced=is_fenced, now=now)
        await self._take(step)
        # Until the file is complete again, documents are refused even if there is room.
        if disk is not DiskState.OK or not (is_fenced or step is Step.SUSPEND):
            shortage = disk_shortage(self._judge, self._folder, self._book.since_ms(DISK))
            self._book.put(DISK, shortage)
        await self._publish(now)
        if step is Step.NOTHING and not is_fenced:
            if disk is DiskState.LOW:
                self.pause_s = LOW_LOOK_S
            elif self._judge.has_ample_room:
                self.pause_s = AMPLE_LOOK_S

    async def _publish(self, now: float) -> None:
        """Publish the state when it changes, and before the last message expires."""
        shortages = self._book.list()
        states = [shortage.state for shortage in shortages]
        if states != self._published or (shortages and now - self._published_at > EXPIRY_S / 3):
            await self._store.tell(shortages)
            self._published, self._published_at = states, now

    async def _take(self, step: Step) -> None:
        match step:
            case Step.SUSPEND:
                await self._control.execute(*_FENCE)
                await self._control.execute("CONFIG", "SET", "appendonly", "no")
                _log.warning("redis_file_suspended", folder=str(self._folder))
            case Step.RESUME:
                await self._control.execute("CONFIG", "SET", "appendonly", "yes")
            case Step.REWRITE:
                await self._control.execute("BGREWRITEAOF")
            case Step.RELEASE:
                await self._control.execute(*_NO_FENCE)
                _log.warning("redis_file_resumed", folder=str(self._folder))
            case Step.NOTHING:
                pass


def _is_fenced(user: Sequence[Any]) -> bool:
    """Return whether a user's rights, as given by ACL GETUSER, lack the right to append to logs."""
    rights: bytes = user[user.index(b"commands") + 1]
    return b"-xadd" in rights.split()
