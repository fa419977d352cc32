"""Waits for the replicas: until a shard's log has room again, or until writes are applied."""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from types import MappingProxyType

import structlog

from hedgerow.common.errors import LoadInterruptedError, RedisUnavailableError
from hedgerow.common.shard_log.entries import START, position
from hedgerow.common.shard_log.log import ShardLog
from hedgerow.gateway.writes.backlog import Backlog
from hedgerow.gateway.writes.load import BATCH_BYTES, LoadReport, with_report
from hedgerow.gateway.writes.storage_gate import StorageGate

POLL_S = 0.05  # first interval of polling for the replicas
MAX_POLL_S = 0.5  # longest interval, since many loads may poll; events tell of progress sooner

_log = structlog.get_logger()


class ReplicaProgress:
    """How far the replicas have applied the shards' logs."""

    def __init__(
        self,
        log: ShardLog,
        max_log_entries: int,
        *,
        timeout_s: float,
        live_replicas: Callable[[int], Collection[str]] | None = None,
        read_live: Callable[[], Awaitable[None]] | None = None,
        gate: StorageGate | None = None,
    ) -> None:
        """Wait for the replicas that apply `log`.

        Args:
            log: the logs of all shards.
            max_log_entries: a log with more entries has no room.
            timeout_s: longest wait, in s.
            live_replicas: shard → ids of the replicas that live workers serve now; without it, or
                if it returns none, every replica that has ever recorded a position counts.
            read_live: reads again which workers are live, for `live_replicas`.
            gate: ends a wait for replicas that cannot apply anything for lack of disk space.
        """
        self._log = log
        self._max_log_entries = max_log_entries
        self._timeout_s = timeout_s
        self._live_replicas = live_replicas
        self._read_live = read_live
        self._gate = gate
        self._backlog = Backlog(max_log_entries, BATCH_BYTES)
        self._waiting: dict[asyncio.Event, Collection[int]] = {}
        self._is_over = False

    def end(self) -> None:
        """The shards were split, and the new ones have applied everything: wait for no replica."""
        self._is_over = True
        for event in self._waiting:
            event.set()

    def on_append(self, shard: int, num_bytes: int, length: int) -> None:
        """An entry of `num_bytes` was appended to a shard's log, whose length was then `length`."""
        self._backlog.add(shard, num_bytes, length)

    def wake(self, shard: int) -> None:
        """A replica of `shard` has announced that it applied more; check at once."""
        for event, shards in self._waiting.items():
            if shard in shards:
                event.set()

    async def wait_for_room(self, shards: Iterable[int], report: LoadReport) -> None:
        """Return once the logs of all these shards have room.

        Raises:
            LoadInterruptedError: the replicas did not keep up; carries the report.
        """
        full = sorted(filter(self._backlog.is_full, shards))

        async def has_room() -> bool:
            for shard, length in (await self._log.lengths(full)).items():
                self._backlog.see(shard, length)
            return not any(map(self._backlog.is_full, full))

        if full and not await self.until(has_room, full):
            raise LoadInterruptedError(
                f"the replicas of shards {_names(full)} have been over {self._max_log_entries} log "
                f"entries behind for {self._timeout_s:g} s; "
                f"{report.documents(' is', ' are')} logged",
                report,
            )

    async def wait_applied(
        self,
        last_ids: Mapping[int, str],
        report: LoadReport,
        entries: Mapping[int, Sequence[str]] = MappingProxyType({}),
    ) -> None:
        """Return once every replica has applied these entries; the report says so then.

        Args:
            last_ids: shard → id of the last entry to wait for.
            report: of the load so far; it gets the documents that were set aside.
            entries: shard → ids of entries in which to look for such documents.

        Raises:
            LoadInterruptedError: the replicas did not keep up; carries the report.
            InsufficientStorageError: a replica has no disk space to apply them; carries the report.
        """
        missing = {shard: position(entry_id) for shard, entry_id in last_ids.items()}

        async def is_applied() -> bool:
            if self._gate is not None:
                with with_report(report):
                    self._gate.check_applying()
            applied = await self._log.applied_of(list(missing)) if missing else {}
            reached = [
                shard
                for shard, end in missing.items()
                if self._have_reached(shard, applied[shard], end)
            ]
            if self._read_live is not None and any(
                position(at) < missing[shard] for shard in reached for at in applied[shard].values()
            ):
                # A replica that lags is left out, as its worker is not live. After the positions,
                # since a worker that returns compares them once its heartbeat is there: if that is
                # not there now, the worker will find that it lacks these entries.
                await self._read_live()
            for shard in reached:
                if self._have_reached(shard, applied[shard], missing[shard]):
                    del missing[shard]
            if missing:
                return False
            # After the positions: what is set aside is noted before the position moves on.
            report.set_aside = await self._log.set_aside_of(entries) if entries else ()
            return True

        if not await self.until(is_applied, missing):
            raise LoadInterruptedError(
                f"{report.documents(' is', ' are')} logged and will be applied, but shards "
                f"{_names(missing)} have not done so after {self._timeout_s:g} s",
                report,
            )
        report.is_applied = not report.set_aside

    def _have_reached(self, shard: int, applied: Mapping[str, str], end: tuple[int, int]) -> bool:
        """Whether the replicas that are waited for have applied a shard's log as far as `end`."""
        replicas = (self._live_replicas(shard) if self._live_replicas else ()) or applied
        return bool(replicas) and all(
            position(applied.get(replica, START)) >= end for replica in replicas
        )

    async def until(self, is_true: Callable[[], Awaitable[bool]], shards: Collection[int]) -> bool:
        """Check at each `wake` of the shards, else at growing intervals; False if never true."""
        loop = asyncio.get_running_loop()
        give_up_at = loop.time() + self._timeout_s
        woken = asyncio.Event()
        self._waiting[woken] = shards
        poll_s = POLL_S
        try:
            while True:
                woken.clear()
                try:
                    if self._is_over or await is_true():
                        return True
                except RedisUnavailableError as error:
                    _log.debug("progress_unknown", error=str(error))
                if loop.time() >= give_up_at:
                    return False
                try:
                    async with asyncio.timeout(min(poll_s, give_up_at - loop.time())):
                        await woken.wait()
                    poll_s = POLL_S
                except TimeoutError:
                    poll_s = min(2 * poll_s, MAX_POLL_S)
        finally:
            del self._waiting[woken]


def _names(shards: Iterable[int]) -> str:
    return ", ".join(str(shard) for shard in sorted(shards))
