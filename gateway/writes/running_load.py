"""A load while it runs: its lines become batches, and these go to the shards' logs.

Parsing runs in slices on the loop: it costs some 10 µs per document, and a slice delays a query no
longer than a thread that holds the interpreter lock would.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable
from functools import partial

from hedgerow.common.collection import Collection as Definition
from hedgerow.gateway.writes.condition import Condition
from hedgerow.gateway.writes.load import Intake, LoadReport
from hedgerow.gateway.writes.load_counts import LoadCounts
from hedgerow.gateway.writes.log_writer import LogWriter
from hedgerow.gateway.writes.ndjson import Line
from hedgerow.gateway.writes.write_tracer import WriteTrace

SLICE_S = 0.002
MAX_APPENDS = 4  # of all loads at once: each has its batches in memory twice, packed and buffered


class LoadParts:
    """What all loads share.

    Attributes:
        writer: appends to the shards' logs.
        counts: counts documents and rejected lines, if there is one.
        give_fields: stores the fields inferred from a load's first documents, for a collection that
            has none; returns its definition.
        wait_for_room: waits while replicas are far behind the entries that were logged.
        slices: all loads together parse one slice in each turn of the loop.
        appends: how many of them append at once.
    """

    def __init__(
        self,
        writer: LogWriter,
        counts: LoadCounts | None,
        give_fields: Callable[[Intake], Awaitable[Definition]],
        wait_for_room: Callable[[Iterable[int], LoadReport], Awaitable[None]],
    ) -> None:
        self.writer = writer
        self.counts = counts
        self.give_fields = give_fields
        self.wait_for_room = wait_for_room
        self.slices = asyncio.Lock()
        self.appends = asyncio.Semaphore(MAX_APPENDS)


class RunningLoad:
    """Takes the lines of one load, and logs their documents.

    Attributes:
        entries: shard → ids of all entries, in their order.
    """

    def __init__(
        self,
        parts: LoadParts,
        intake: Intake,
        trace: WriteTrace,
        condition: Condition | None,
        on_progress: Callable[[LoadReport], None] | None,
    ) -> None:
        """Load into the batches of `intake`.

        Args:
            parts: what it shares with other loads.
            intake: makes batches of lines.
            trace: the load's.
            condition: that of a single document.
            on_progress: called with the report each time that documents were logged.
        """
        self.entries: dict[int, list[str]] = {}
        self._parts = parts
        self._intake = intake
        self._trace = trace
        self._condition = condition
        self._on_progress = on_progress

    async def take(self, lines: Iterable[Line]) -> None:
        """Take lines, slice by slice; logs the batches as soon as one is full."""
        parts, intake = self._parts, self._intake
        rest, report = iter(lines), intake.report
        is_done = False
        while not is_done:
            async with parts.slices:
                ends_at, num_before = time.perf_counter() + SLICE_S, report.rejected_total
                is_done = intake.take(rest, partial(_is_past, ends_at))
                num_rejected = report.rejected_total - num_before
                if num_rejected and parts.counts is not None:
                    parts.counts.add(intake.definition.name, rejected=num_rejected)
                await asyncio.sleep(0)
            if intake.is_full or intake.needs_fields:
                await self.flush()

    async def flush(self) -> None:
        """Log the batches; infers the collection's fields first, if it has none."""
        parts, intake = self._parts, self._intake
        if intake.has_first:
            intake.define(await parts.give_fields(intake))
            await self.take(())
        batches = intake.batches()
        if batches:
            uid = intake.definition.uid
            async with parts.appends:
                ops = [(batch.shard, batch.pack(uid, self._condition)) for batch in batches]
                logged = await parts.writer.append(
                    ops, intake.report, self._trace, num_shards=intake.num_shards
                )
                for shard, ids in logged.items():
                    self.entries.setdefault(shard, []).extend(ids)
            num_accepted = sum(batch.num_lines for batch in batches)
            intake.report.accepted += num_accepted
            if parts.counts is not None:
                parts.counts.add(intake.definition.name, accepted=num_accepted)
            if self._on_progress is not None:
                self._on_progress(intake.report)
            await parts.wait_for_room(logged, intake.report)


def _is_past(instant: float) -> bool:
    return time.perf_counter() >= instant
