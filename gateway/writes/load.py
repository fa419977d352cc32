"""Turns the lines of a bulk load into batches for the shards' logs. No I/O."""

from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from hedgerow.common.collection import Collection
from hedgerow.common.documents.document_check import check_document
from hedgerow.common.errors import BadRequestError, InsufficientStorageError
from hedgerow.common.fields.field_types import FieldType
from hedgerow.common.partition import shard_of
from hedgerow.common.settings.limits import LimitSettings
from hedgerow.common.shard_log.document_version import version_of
from hedgerow.common.shard_log.log import MAX_ENTRY_BYTES
from hedgerow.common.shard_log.operations import Upsert, pack_op
from hedgerow.common.shard_log.set_aside_notes import SetAsideNote
from hedgerow.gateway.shapes.collection import (
    InferredField,
    LoadAnswer,
    RejectedLine,
    SetAsideDocument,
)
from hedgerow.gateway.writes.condition import Condition
from hedgerow.gateway.writes.document_line import (
    Parsed,
    parse_document,
    parse_steps,
    stored_body,
)
from hedgerow.gateway.writes.field_inference import FieldInference
from hedgerow.gateway.writes.field_warnings import FieldWarnings
from hedgerow.gateway.writes.ndjson import Line

MAX_REJECTIONS_KEPT = 1000
MAX_SET_ASIDE_SHOWN = 100
BATCH_BYTES = MAX_ENTRY_BYTES
BATCH_DOCUMENTS = 500
OPEN_BYTES = 1024 * 1024  # of all batches of a load; the last document may exceed it
INFER_FROM_LINES = 1000
INFER_FROM_BYTES = 1024 * 1024
_OVERHEAD_BYTES = 16  # of MessagePack, for each document
_LOOK_EVERY = 8  # lines between two checks of the clock
_LONG_BYTES = 16 * 1024  # a line that is parsed in steps, with a check of the clock after each
_HUGE_BYTES = 64 * 1024  # a line of which one slice does only one step, of up to 4 ms


@dataclass
class LoadReport:
    """The result of a load so far.

    Attributes:
        accepted: documents that are logged; several lines with the same id all count.
        rejected: the first rejected lines; at most `MAX_REJECTIONS_KEPT`.
        rejected_total: lines that were rejected.
        is_applied: whether every live replica has applied the documents, all of them.
        set_aside: documents that a replica could not index.
        inferred: the collection's fields, if inferred from this load's first documents.
        inference: how they were inferred.
        warnings: the fields with values that are not indexed.
        trace_id: names the load's trace; None while tracing is off.
        version: of the one document of a request that writes one; None for others.
        failovers: `ShardLog.failovers` when the first documents were logged; None before.
    """

    accepted: int = 0
    rejected: list[RejectedLine] = field(default_factory=list)
    rejected_total: int = 0
    is_applied: bool = False
    set_aside: Sequence[SetAsideNote] = ()
    inferred: Mapping[str, FieldType] | None = None
    inference: list[InferredField] | None = None
    warnings: FieldWarnings | None = None
    trace_id: str | None = None
    version: str | None = None
    failovers: int | None = None

    def documents(self, one: str = "", more: str = "") -> str:
        """Count the accepted documents in words, and add what one, or several, are or did."""
        return f"1 document{one}" if self.accepted == 1 else f"{self.accepted} documents{more}"

    def reject(self, line: int, reason: str) -> None:
        """Count a rejected line, and keep it while there is room."""
        self.rejected_total += 1
        if len(self.rejected) < MAX_REJECTIONS_KEPT:
            self.rejected.append(RejectedLine(line, reason))

    def answer(self) -> LoadAnswer:
        """Return the report as an HTTP answer."""
        return LoadAnswer(
            accepted=self.accepted,
            rejected=self.rejected,
            rejected_total=self.rejected_total,
            applied=self.is_applied,
            inferred_fields=None if self.inferred is None else dict(self.inferred),
            inference=self.inference,
            field_warnings=[] if self.warnings is None else self.warnings.result(),
            trace_id=self.trace_id,
            version=None if self.set_aside else self.version,
            set_aside=[
                SetAsideDocument(note.id, note.reason)
                for note in self.set_aside[:MAX_SET_ASIDE_SHOWN]
            ],
            set_aside_total=len(self.set_aside),
        )


@contextmanager
def with_report(report: LoadReport) -> Iterator[None]:
    """Add the report of the load so far to an error."""
    try:
        yield
    except InsufficientStorageError as error:
        error.report = report
        raise


class Batch:
    """Documents of one shard that become one entry of its log; the last one of each id counts.

    Attributes:
        shard: the shard's number.
        num_lines: how many lines were added.
        num_bytes: approximate size of the entry.
    """

    def __init__(self, shard: int) -> None:
        self.shard = shard
        self.num_lines = 0
        self.num_bytes = 0
        self._documents: dict[str, bytes] = {}

    def has_room_for(self, body: bytes) -> bool:
        """Return whether a document fits without making the entry too large."""
        return self.num_lines == 0 or (
            self.num_lines < BATCH_DOCUMENTS and self.num_bytes + len(body) <= BATCH_BYTES
        )

    def add(self, document_id: str, body: bytes) -> None:
        """Add a document."""
        self._documents[document_id] = body
        self.num_lines += 1
        self.num_bytes += len(document_id) + len(body) + _OVERHEAD_BYTES

    def pack(self, uid: str, condition: Condition | None = None) -> bytes:
        """Encode the batch as an operation of the log; a condition is that of its one document."""
        if condition is not None:
            ((document_id, body),) = self._documents.items()
            return condition.pack(uid, document_id, body)
        return pack_op(Upsert(uid, list(self._documents.items())))


class Intake:
    """Reads lines, rejects invalid ones and adds the others to the shards' batches.

    If the collection has no fields, its first lines wait here until `define` is called. They wait
    as bytes and are parsed again then, since parsed documents take many times the memory.

    Attributes:
        report: the result so far.
        definition: the collection's definition.
        num_shards: the number of shards that the batches are for.
    """

    def __init__(
        self,
        definition: Collection,
        num_shards: int,
        limits: LimitSettings,
        *,
        notes_version: bool = False,
    ) -> None:
        """Take the lines of a load.

        Args:
            definition: the collection's.
            num_shards: shards in the cluster.
            limits: of documents.
            notes_version: whether the report is to have the version of the load's one document.
        """
        self._notes_version = notes_version
        self.report = LoadReport()
        self.definition = definition
        self._warnings = self.report.warnings = FieldWarnings(definition)
        self._num_batched = 0
        self.num_shards = num_shards
        self._limits = limits
        self._open: dict[int, Batch] = {}
        self._open_bytes = 0
        self._full: list[Batch] = []
        self._inference = FieldInference()
        self._reading: tuple[int, bytes, Iterator[None]] | None = None  # the long line being parsed
        self._first: deque[tuple[int, bytes]] = deque()
        self._first_bytes = 0

    @property
    def has_first(self) -> bool:
        """Whether documents wait for the collection to get fields."""
        return self.definition.fields is None and bool(self._first)

    @property
    def needs_fields(self) -> bool:
        """Whether the most documents that may wait do so."""
        return self.has_first and (
            len(self._first) >= INFER_FROM_LINES or self._first_bytes >= INFER_FROM_BYTES
        )

    @property
    def progress(self) -> int:
        """A count that grows when a document is added to a batch, and when it is logged."""
        return self._num_batched + self.report.accepted

    @property
    def is_full(self) -> bool:
        """Whether a batch is full."""
        return bool(self._full)

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to log."""
        return not (self._first or self._open or self._full)

    def inferred_fields(self) -> dict[str, FieldType]:
        """Return the fields inferred from the waiting documents."""
        return self._inference.result()

    def infer(self) -> Collection:
        """Return the definition with the fields inferred from the waiting documents."""
        fields = self.inferred_fields()
        return self.definition.with_fields(fields, inferred=fields)

    def take(self, lines: Iterator[Line], is_time_up: Callable[[], bool]) -> bool:
        """Take lines until time is up, a batch is full or fields are needed.

        Lines that have waited for fields come first once there are fields.

        Returns:
            Whether all lines were taken.
        """
        while True:
            if self._reading is not None:
                is_over = self._go_on(*self._reading) or is_time_up()
            else:
                next_line = self._next(lines)
                if next_line is None:
                    return True
                number, line = next_line
                self._take_line(number, line)
                is_over = number % _LOOK_EVERY == 0 and is_time_up()
            if is_over or self._full or self.needs_fields:
                return False

    def define(self, definition: Collection) -> None:
        """Continue with the collection's fields, beginning with the lines that waited."""
        inferred = self._inference.explained()
        self.report.inferred = definition.fields
        self.report.inference = inferred if definition.fields == self.inferred_fields() else None
        self.definition = definition
        self._warnings = self.report.warnings = FieldWarnings(definition, inferred)
        self._inference = FieldInference()

    def batches(self) -> list[Batch]:
        """Remove and return all batches; those of one shard are in the order of their lines."""
        batches = [*self._full, *self._open.values()]
        self._full, self._open, self._open_bytes = [], {}, 0
        return batches

    def _next(self, lines: Iterator[Line]) -> Line | None:
        if self._first and self.definition.fields is not None:
            number, line = self._first.popleft()
            self._first_bytes -= len(line)
            return number, line
        return next(lines, None)

    def _take_line(self, number: int, line: bytes | None) -> None:
        limits = self._limits
        if line is None:
            limit = limits.max_document_bytes
            self.report.reject(number, f"the line is over the limit of {limit} bytes")
        elif not line or line.isspace():
            return
        elif len(line) >= _LONG_BYTES:
            self._reading = number, line, parse_steps(line, limits, self.definition.float_fields)
        else:
            try:
                parsed = parse_document(line, limits, self.definition.float_fields)
            except BadRequestError as error:
                self.report.reject(number, f"{error.field} {error.reason}")
            else:
                self._place(number, line, parsed)

    def _go_on(self, number: int, line: bytes, steps: Iterator[None]) -> bool:
        """Take the next step of parsing a long line; returns whether that ends the slice."""
        try:
            next(steps)
        except StopIteration as end:
            self._reading = None
            self._place(number, line, end.value)
        except BadRequestError as error:
            self._reading = None
            self.report.reject(number, f"{error.field} {error.reason}")
        return len(line) >= _HUGE_BYTES

    def _place(self, number: int, line: bytes, parsed: Parsed) -> None:
        if self.definition.fields is None:
            self._inference.add(parsed.document, number)
            self._first.append((number, line))
            self._first_bytes += len(line)
        else:
            self._add(number, parsed)

    def _add(self, number: int, parsed: Parsed) -> None:
        try:
            misfits = check_document(self.definition, parsed.document)
        except BadRequestError as error:
            self._warnings.reject(error.field, error.reason, number)
            self.report.reject(number, f"{error.field} {error.reason}")
            return
        self._warnings.see(parsed.document, number, misfits)
        body = stored_body(self.definition, parsed)
        if self._notes_version:
            self.report.version = version_of(body)
        shard = shard_of(parsed.id, self.num_shards)
        batch = self._open.get(shard)
        if batch is not None and not batch.has_room_for(body):
            self._full.append(batch)
            batch = None
        if batch is None:
            batch = self._open[shard] = Batch(shard)
        batch.add(parsed.id, body)
        self._num_batched += 1
        self._open_bytes += len(body)
        if self._open_bytes >= OPEN_BYTES:
            self._full += self._open.values()
            self._open = {}
