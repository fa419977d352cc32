"""The beginning of the write path: NDJSON to the shards' logs, in bounded memory.

Lines go into a batch per shard; the batches go to the logs in one round trip as soon as one is
full, or the stream ends or pauses (`gateway.writes.running_load`). A load waits while the replicas
are far behind. `gateway.writes.document_line` bounds the cost of a line, and
`gateway.writes.load_slots` the number of loads.
"""

import asyncio
from collections.abc import (
    AsyncIterator,
    Awaitable,
    Callable,
    Collection,
    Iterable,
    Mapping,
    Sequence,
)
from contextlib import aclosing
from typing import TypeVar

from hedgerow.common.collection import Collection as Definition
from hedgerow.common.document_ids import check_address_id
from hedgerow.common.errors import BadRequestError, LoadInterruptedError, SealedError
from hedgerow.common.partition import shard_of
from hedgerow.common.settings.limits import LimitSettings
from hedgerow.common.shard_log.log import ShardLog
from hedgerow.common.shard_log.operations import Delete, pack_op
from hedgerow.gateway.shapes.collection import Wait
from hedgerow.gateway.writes.collections import Collections
from hedgerow.gateway.writes.condition import Condition
from hedgerow.gateway.writes.document_body import line_of
from hedgerow.gateway.writes.load import Intake, LoadReport
from hedgerow.gateway.writes.load_counts import LoadCounts
from hedgerow.gateway.writes.load_slots import LoadSlots
from hedgerow.gateway.writes.load_stream import has_line, with_pauses
from hedgerow.gateway.writes.log_writer import LogWriter, WriteTarget, last_of
from hedgerow.gateway.writes.ndjson import LineSplitter
from hedgerow.gateway.writes.ranked_loads import RankedLoads
from hedgerow.gateway.writes.replica_progress import ReplicaProgress
from hedgerow.gateway.writes.running_load import LoadParts, RunningLoad
from hedgerow.gateway.writes.storage_gate import StorageGate
from hedgerow.gateway.writes.write_gate import WriteGate
from hedgerow.gateway.writes.write_tracer import WriteTrace, WriteTracer, traced

T = TypeVar("T")


class Documents:
    """Loads and deletes documents through the shards' logs."""

    def __init__(
        self,
        log: ShardLog,
        collections: Collections,
        num_shards: int,
        limits: LimitSettings,
        *,
        write_timeout_s: float,
        slots: LoadSlots | None = None,
        outage_timeout_s: float = 5.0,
        live_replicas: Callable[[int], Collection[str]] | None = None,
        read_live: Callable[[], Awaitable[None]] | None = None,
        gate: StorageGate | None = None,
        ranked: RankedLoads | None = None,
        counts: LoadCounts | None = None,
        tracer: WriteTracer | None = None,
        write_gate: WriteGate | None = None,
    ) -> None:
        """Write documents of `collections` to `log`.

        Args:
            log: the logs of all shards.
            collections: the definitions by which documents are checked.
            num_shards: shards in the cluster.
            limits: limits of a document, its id, and the unapplied entries of a log.
            write_timeout_s: longest wait for room in a log, and for `wait="applied"`, in s.
            slots: the slots for concurrent loads; without it, there is no limit.
            outage_timeout_s: how long a load keeps trying while Redis does not answer, in s.
            live_replicas: shard → ids of the replicas that live workers serve now; without it, or
                if it returns none, every replica that has ever recorded a position counts.
            read_live: reads again which workers are live, for `live_replicas`.
            gate: refuses documents when there is no room; None allows all.
            ranked: delays the answer to a load with `wait="applied"` until it counts in the
                ranking.
            counts: counts documents and rejected lines.
            tracer: makes traces; None while tracing is off.
            write_gate: holds writes back while a split of the shards changes over.
        """
        self._write_gate = WriteGate() if write_gate is None else write_gate
        self._log = log
        self._ranked = ranked
        self._tracer = tracer
        self._collections = collections
        self._num_shards = num_shards
        self._limits = limits
        self._slots = LoadSlots() if slots is None else slots
        self._progress = ReplicaProgress(
            log,
            limits.max_log_entries,
            timeout_s=write_timeout_s,
            live_replicas=live_replicas,
            read_live=read_live,
            gate=gate,
        )
        target = WriteTarget(log, num_shards, gate, self._progress.on_append)
        self._writer = LogWriter(target, outage_timeout_s, self._write_gate)
        self._parts = LoadParts(self._writer, counts, self._give_fields, self._wait_for_room)

    def take_over(self, former: "Documents") -> None:
        """The shards were split into ours: what `former` still writes goes to them, too."""
        former.move(self._writer.target, self._progress, self._ranked, self._collections)

    def move(
        self,
        target: WriteTarget,
        progress: ReplicaProgress,
        ranked: RankedLoads | None,
        collections: Collections,
    ) -> None:
        """Write to other shards, which have applied all that was logged to ours."""
        self._progress.end()
        self._writer.target = target
        self._log, self._num_shards, self._progress = target.log, target.num_shards, progress
        self._ranked, self._collections = ranked, collections

    async def load(
        self,
        collection: str,
        lines: AsyncIterator[bytes],
        wait: Wait = "applied",
        on_progress: Callable[[LoadReport], None] | None = None,
        party: str = "",
        traceparent: str = "",
        condition: Condition | None = None,
        *,
        notes_version: bool = False,
    ) -> LoadReport:
        """Load NDJSON; an invalid line does not stop the others.

        Args:
            collection: the collection's name.
            lines: the bytes of the stream, cut anywhere.
            wait: return when the documents are safe ("logged"), or when they can be found
                ("applied") and, unless there are few compared to the collection, count in the
                ranking. An empty load waits for everything that was logged before it.
            on_progress: called with the report each time that documents were logged.
            party: the owner of the load, by `Caller.party`: parties share the slots.
            traceparent: the caller's trace, as W3C Trace Context has it; "" for none.
            condition: that of a single document; the report does not say whether it held.
            notes_version: whether the report is to have the version of the load's one document.

        Raises:
            NotFoundError: there is no such collection.
            OverloadedError: too many loads are running.
            LoadInterruptedError: the replicas or Redis did not keep up, or the client sent no
                acceptable document while another load waited for a slot; carries the report.
            InsufficientStorageError: a disk or memory is nearly full; carries the report.
        """
        with traced(self._tracer, "load", collection, traceparent) as trace:
            return await self._load(
                collection, lines, wait, on_progress, party, trace, condition, notes_version
            )

    async def _load(
        self,
        collection: str,
        lines: AsyncIterator[bytes],
        wait: Wait,
        on_progress: Callable[[LoadReport], None] | None,
        party: str,
        trace: WriteTrace,
        condition: Condition | None,
        notes_version: bool,
    ) -> LoadReport:
        loop = asyncio.get_running_loop()
        slot = self._slots.take(loop.time(), party)
        splitter = LineSplitter(self._limits.max_document_bytes)
        try:
            definition = await self._collections.current(collection)
            intake = Intake(definition, self._num_shards, self._limits, notes_version=notes_version)
            # Before a body is read that could not be stored.
            self._writer.check_room(intake.report)
            intake.report.trace_id = trace.trace_id
            load = RunningLoad(self._parts, intake, trace, condition, on_progress)
            async with aclosing(with_pauses(lines)) as chunks:
                async for chunk in chunks:
                    if slot.has_lost:
                        raise _gave_way(intake.report)
                    # Bytes that do not end a line, and empty lines, do not count as work: a client
                    # could send them one by one for ever.
                    if (not intake.is_empty) if chunk is None else has_line(chunk):
                        slot.work()
                    if chunk is None:
                        await load.flush()
                    else:
                        await load.take(splitter.feed(chunk))
                    slot.wait(loop.time(), intake.progress)
            slot.work()
            await load.take(splitter.end())
            await load.flush()
        finally:
            self._slots.give_back(slot)
            splitter.forget()
            trace.end_step("log")
        if wait == "applied":
            # An empty load waits for what others, or earlier loads, have logged.
            ends = last_of(load.entries) or await self._log.last_ids(range(self._num_shards))
            await self._progress.wait_applied(ends, intake.report, load.entries)
            trace.end_step("apply")
            if self._ranked is not None:
                num_documents = intake.report.accepted if load.entries else None
                await self._ranked.wait(definition.uid, ends, num_documents)
                trace.end_step("rank")
        self._writer.check_failover(intake.report)
        trace.attributes["hedgerow.accepted"] = intake.report.accepted
        trace.attributes["hedgerow.rejected"] = intake.report.rejected_total
        return intake.report

    async def _give_fields(self, intake: Intake) -> Definition:
        while True:
            await self._write_gate.wait()
            try:
                return await self._collections.give_fields(
                    intake.definition, intake.inferred_fields()
                )
            except SealedError:
                await self._write_gate.refused()

    async def _wait_for_room(self, shards: Iterable[int], report: LoadReport) -> None:
        await self._progress.wait_for_room(shards, report)

    async def put(
        self,
        collection: str,
        document_id: str,
        body: AsyncIterator[bytes],
        wait: Wait = "applied",
        *,
        party: str = "",
        traceparent: str = "",
        condition: Condition | None = None,
    ) -> LoadReport:
        """Load one document, as `load` does; it replaces a document with the same id.

        Args:
            collection: the collection's name.
            document_id: the document's id.
            body: the document as a JSON object, cut anywhere; it may lack its `id`.
            wait: as for `load`.
            party: as for `load`.
            traceparent: as for `load`.
            condition: as for `load`.

        Raises:
            BadRequestError: no document can have that id, or this document cannot be used.
            TooLargeError: the document is over a limit.
            Others: as `load`.
        """
        check_address_id(document_id, self._limits.max_id_bytes)
        async with aclosing(line_of(body, document_id, self._limits)) as lines:
            report = await self.load(
                collection,
                lines,
                wait,
                party=party,
                traceparent=traceparent,
                condition=condition,
                notes_version=True,
            )
        if report.rejected:
            raise BadRequestError("the document", f"is rejected: {report.rejected[0].reason}")
        return report

    async def delete(
        self,
        collection: str,
        document_id: str,
        wait: Wait = "applied",
        traceparent: str = "",
        *,
        condition: Condition | None = None,
    ) -> LoadReport:
        """Remove a document; it is not an error if it does not exist.

        Args:
            collection: the collection's name.
            document_id: the document's id.
            wait: as for `load`.
            traceparent: as for `load`.
            condition: as for `load`.

        Raises:
            BadRequestError: the id is not valid.
            NotFoundError: there is no such collection.
            LoadInterruptedError: Redis or the replicas did not keep up.
            InsufficientStorageError: the disk takes no writes at all.
        """
        check_address_id(document_id, self._limits.max_id_bytes)
        with traced(self._tracer, "delete", collection, traceparent) as trace:
            return await self._delete(collection, document_id, wait, trace, condition)

    async def _delete(
        self,
        collection: str,
        document_id: str,
        wait: Wait,
        trace: WriteTrace,
        condition: Condition | None,
    ) -> LoadReport:
        definition = await self._collections.current(collection)
        num_shards = self._num_shards
        shard = shard_of(document_id, num_shards)
        report = LoadReport()
        if condition is None:
            op = pack_op(Delete(definition.uid, [document_id]))
        else:
            op = condition.pack(definition.uid, document_id, None)
        entries = await self._writer.append(
            [(shard, op)], report, trace, num_shards=num_shards, is_removal=True
        )
        await self._progress.wait_for_room(entries, report)
        trace.end_step("log")
        if wait == "applied":
            await self._progress.wait_applied(last_of(entries), report)
            trace.end_step("apply")
        self._writer.check_failover(report)
        return report

    async def delete_many(
        self, definition: Definition, ids: Mapping[int, Sequence[str]], traceparent: str = ""
    ) -> dict[int, str]:
        """Log the removal of documents.

        Args:
            definition: the collection's.
            ids: shard → documents that it owns.
            traceparent: as for `load`.

        Returns:
            Shard → id of the last entry, for `wait_applied`.

        Raises:
            LoadInterruptedError: Redis or the replicas did not keep up.
            InsufficientStorageError: the disk takes no writes at all.
        """
        report = LoadReport()
        with traced(self._tracer, "delete", definition.name, traceparent) as trace:
            ops = [
                (shard, pack_op(Delete(definition.uid, list(own)))) for shard, own in ids.items()
            ]
            # Of which layout the shards are is not known: the ids are divided again.
            entries = await self._writer.append(ops, report, trace, num_shards=0, is_removal=True)
            await self._progress.wait_for_room(entries, report)
            trace.end_step("log")
        return last_of(entries)

    async def wait_applied(self, last_ids: Mapping[int, str]) -> None:
        """Return once all live replicas have applied these entries: shard → id of the last.

        Raises:
            LoadInterruptedError: they did not keep up.
        """
        await self._progress.wait_applied(last_ids, LoadReport())

    async def catch_up(self, shard: int) -> None:
        """Return once the live replicas of a shard have applied what its log has now.

        Raises:
            LoadInterruptedError: they did not keep up.
        """
        await self.wait_applied(await self._log.last_ids([shard]))

    async def until_found(self, find: Callable[[], Awaitable[T | None]], shard: int) -> T | None:
        """Return what `find` finds once replicas of a shard have gone on; None if it never does."""
        found: T | None = None

        async def is_found() -> bool:
            nonlocal found
            found = await find()
            return found is not None

        progress = self._progress
        await progress.until(is_found, [shard])
        if found is None and progress is not self._progress:  # the shards were split meanwhile
            await self._progress.until(is_found, [shard])
        return found

    def check_failover(self, report: LoadReport) -> None:
        """As `LogWriter.check_failover`."""
        self._writer.check_failover(report)

    def wake(self, shard: int) -> None:
        """A replica of `shard` has announced that it applied more (event `applied:<shard>`)."""
        self._progress.wake(shard)


def _gave_way(report: LoadReport) -> LoadInterruptedError:
    return LoadInterruptedError(
        "the client sent no document that could be accepted while other loads waited to start; "
        f"{report.documents()} had been accepted",
        report,
    )
