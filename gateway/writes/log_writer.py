"""Appends to the shards' logs, while there is room, and through short outages of Redis."""

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

import structlog

from hedgerow.common.errors import (
    InsufficientStorageError,
    LoadInterruptedError,
    RedisUnavailableError,
    SealedError,
    UnconfirmedError,
    WriteRefusedError,
)
from hedgerow.common.redis.client import pause_s
from hedgerow.common.shard_log.entries import Appended
from hedgerow.common.shard_log.log import ShardLog
from hedgerow.common.shard_log.op_parts import divided
from hedgerow.gateway.writes.load import LoadReport, with_report
from hedgerow.gateway.writes.storage_gate import StorageGate
from hedgerow.gateway.writes.write_gate import WriteGate
from hedgerow.gateway.writes.write_tracer import WriteTrace

_log = structlog.get_logger()


class WriteTarget(NamedTuple):
    """Where writes go.

    Attributes:
        log: the logs of all shards.
        num_shards: how many there are.
        gate: refuses documents when there is no room; None allows all.
        on_append: called with each entry's shard and size, and the length of its log then.
    """

    log: ShardLog
    num_shards: int
    gate: StorageGate | None
    on_append: Callable[[int, int, int], None]


class LogWriter:
    """Appends operations for loads and for single writes.

    Attributes:
        target: where to append; another one once the shards are split.
    """

    def __init__(
        self,
        target: WriteTarget,
        outage_timeout_s: float,
        write_gate: WriteGate,
    ) -> None:
        """Append to the logs of `target`.

        Args:
            target: where to append.
            outage_timeout_s: how long to keep trying while Redis does not answer, in s.
            write_gate: holds writes back while a split of the shards changes over.
        """
        self.target = target
        self._outage_timeout_s = outage_timeout_s
        self._write_gate = write_gate

    def check_room(self, report: LoadReport, *, is_removal: bool = False) -> None:
        """Refuse to append if there is no room.

        Raises:
            InsufficientStorageError: a disk or memory is nearly full; carries the report.
        """
        if (gate := self.target.gate) is not None:
            with with_report(report):
                gate.check(is_removal=is_removal)

    async def append(
        self,
        ops: Sequence[tuple[int, bytes]],
        report: LoadReport,
        trace: WriteTrace,
        *,
        num_shards: int,
        is_removal: bool = False,
    ) -> dict[int, list[str]]:
        """Log operations; retries while Redis is briefly unavailable, or the shards are split.

        Operations may then be in a log twice, which does no harm: they replace or remove by id, or
        have a token, and are not acknowledged yet. If the shards were split since the operations
        were made, they are divided again. An entry of a log that was split has the same id in the
        new logs, so ids of before and after can be waited for together.

        Args:
            ops: operations, each with its shard.
            report: of the load so far.
            trace: the trace of the load.
            num_shards: how many shards there were when the operations were made; 0 if that is not
                known.
            is_removal: whether they free more room than they take.

        Returns:
            Shard → ids of the entries that were appended, in their order.

        Raises:
            LoadInterruptedError: Redis did not answer, or its replicas did not confirm.
            InsufficientStorageError: there is no room.
        """
        loop = asyncio.get_running_loop()
        give_up_at = loop.time() + self._outage_timeout_s
        failures = 0
        while True:
            self.check_room(report, is_removal=is_removal)
            await self._write_gate.wait()
            target = self.target
            if num_shards != target.num_shards:
                num_shards = target.num_shards
                ops = divided(ops, num_shards)
            try:
                appended = await target.log.append_many(ops, trace.to_workers)
                break
            except UnconfirmedError as error:  # sent again, it would be in the log once more
                raise LoadInterruptedError(
                    f"{error}; {report.accepted} documents were accepted before", report
                ) from error
            except SealedError:  # just before this gateway learns of it
                await self._write_gate.refused()
            except WriteRefusedError as error:
                # During a failover, a read-only replica may be about to become the master.
                if error.cause != "read_only" or loop.time() >= give_up_at:
                    raise self._refused(error, report) from error
                failures += 1
                await asyncio.sleep(pause_s(failures, cap_s=1.0))
            except RedisUnavailableError as error:
                failures += 1
                if loop.time() >= give_up_at:
                    raise LoadInterruptedError(
                        f"{error}; {report.documents(' was', ' were')} accepted before", report
                    ) from error
                _log.warning("append_again", error=str(error), failures=failures)
                await asyncio.sleep(pause_s(failures, cap_s=1.0))
        return _logged(target, ops, appended, report)

    def check_failover(self, report: LoadReport) -> None:
        """Do not acknowledge what the old primary may have taken with it.

        Positions do not show that: they are ids of entries, and the new primary's go on.

        Raises:
            LoadInterruptedError: Redis has failed over since the report's first append.
        """
        if report.failovers not in (None, self.target.log.failovers):
            raise LoadInterruptedError(
                "Redis has failed over meanwhile, and some of the writes may be lost: send them "
                f"again; {report.accepted} documents were accepted",
                report,
            )

    def _refused(self, error: WriteRefusedError, report: LoadReport) -> InsufficientStorageError:
        gate = self.target.gate or StorageGate(tuple, now=time.monotonic, now_ms=lambda: 0)
        refused = gate.refused(error)
        refused.report = report
        return refused


def _logged(
    target: WriteTarget,
    ops: Sequence[tuple[int, bytes]],
    appended: Iterable[Appended],
    report: LoadReport,
) -> dict[int, list[str]]:
    """Note what was appended; returns shard → ids of its entries."""
    if report.failovers is None:
        report.failovers = target.log.failovers
    entries: dict[int, list[str]] = {}
    for (shard, op), entry in zip(ops, appended, strict=True):
        target.on_append(shard, len(op), entry.length)
        entries.setdefault(shard, []).append(entry.id)
    return entries


def last_of(entries: Mapping[int, Sequence[str]]) -> dict[int, str]:
    """Shard → id of the last of its entries."""
    return {shard: ids[-1] for shard, ids in entries.items()}
