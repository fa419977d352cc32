"""Appends to the shards' logs, while there is room, and through short outages of Redis."""

import asyncio
import time
from collections.abc import Callable, Sequence

import structlog

from hedgerow.common.errors import (
    InsufficientStorageError,
    LoadInterruptedError,
    RedisUnavailableError,
    UnconfirmedError,
    WriteRefusedError,
)
from hedgerow.common.redis.client import pause_s
from hedgerow.common.shard_log.log import ShardLog
from hedgerow.gateway.writes.load import LoadReport, with_report
from hedgerow.gateway.writes.storage_gate import StorageGate
from hedgerow.gateway.writes.write_tracer import WriteTrace

_log = structlog.get_logger()


class LogWriter:
    """Appends operations for loads and for single writes."""

    def __init__(
        self,
        log: ShardLog,
        gate: StorageGate | None,
        outage_timeout_s: float,
        on_append: Callable[[int, int, int], None],
    ) -> None:
        """Append to `log`.

        Args:
            log: the logs of all shards.
            gate: refuses documents when there is no room; None allows all.
            outage_timeout_s: how long to keep trying while Redis does not answer, in s.
            on_append: called with each entry's shard and size, and the length of its log then.
        """
        self._log = log
        self._gate = gate
        self._outage_timeout_s = outage_timeout_s
        self._on_append = on_append

    def check_room(self, report: LoadReport, *, is_removal: bool = False) -> None:
        """Refuse to append if there is no room.

        Raises:
            InsufficientStorageError: a disk or memory is nearly full; carries the report.
        """
        if self._gate is not None:
            with with_report(report):
                self._gate.check(is_removal=is_removal)

    async def append(
        self,
        ops: Sequence[tuple[int, bytes]],
        report: LoadReport,
        trace: WriteTrace,
        *,
        is_removal: bool = False,
    ) -> dict[int, str]:
        """Log operations; retries while Redis is briefly unavailable.

        Operations may then be in a log twice, which does no harm: they replace or remove by id, or
        have a token, and are not acknowledged yet.

        Returns:
            Shard → id of the last entry that was appended.

        Raises:
            LoadInterruptedError: Redis did not answer, or its replicas did not confirm.
            InsufficientStorageError: there is no room.
        """
        loop = asyncio.get_running_loop()
        give_up_at = loop.time() + self._outage_timeout_s
        failures = 0
        while True:
            self.check_room(report, is_removal=is_removal)
            try:
                appended = await self._log.append_many(ops, trace.to_workers)
                break
            except UnconfirmedError as error:  # sent again, it would be in the log once more
                raise LoadInterruptedError(
                    f"{error}; {report.accepted} documents were accepted before", report
                ) from error
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
        if report.failovers is None:
            report.failovers = self._log.failovers
        last_ids = {}
        for (shard, op), entry in zip(ops, appended, strict=True):
            self._on_append(shard, len(op), entry.length)
            last_ids[shard] = entry.id
        return last_ids

    def check_failover(self, report: LoadReport) -> None:
        """Do not acknowledge what the old primary may have taken with it.

        Positions do not show that: they are ids of entries, and the new primary's go on.

        Raises:
            LoadInterruptedError: Redis has failed over since the report's first append.
        """
        if report.failovers not in (None, self._log.failovers):
            raise LoadInterruptedError(
                "Redis has failed over meanwhile, and some of the writes may be lost: send them "
                f"again; {report.accepted} documents were accepted",
                report,
            )

    def _refused(self, error: WriteRefusedError, report: LoadReport) -> InsufficientStorageError:
        gate = self._gate or StorageGate(tuple, now=time.monotonic, now_ms=lambda: 0)
        refused = gate.refused(error)
        refused.report = report
        return refused
