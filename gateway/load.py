"""What becomes of the lines of one bulk load, up to the batches that go to the logs. No I/O."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from common.collection import Collection, FieldType, check_document
from common.config import LimitSettings
from common.errors import BadRequestError
from common.log import MAX_ENTRY_BYTES, Upsert, pack_op
from common.partition import shard_of
from gateway.ndjson import Parsed, parse_document

MAX_REJECTIONS_KEPT = 1000
BATCH_BYTES = MAX_ENTRY_BYTES
BATCH_DOCUMENTS = 500
INFER_FROM_LINES = 1000
INFER_FROM_BYTES = 8 * 1024 * 1024
_OVERHEAD_BYTES = 16  # of MessagePack, for each document
_LOOK_EVERY = 8  # lines between two looks at the clock

Line = tuple[int, bytes | None]


class Rejection(NamedTuple):
    """A line that was not taken: its number, from 1, and why."""

    line: int
    reason: str


@dataclass
class LoadReport:
    """What has become of a load so far.

    Attributes:
        accepted: how many documents are logged; a later line of the same id counts too.
        rejected: the first rejected lines; at most `MAX_REJECTIONS_KEPT`.
        rejected_total: how many lines were rejected.
        is_applied: whether every live replica has applied them.
        inferred: the fields that this load's first documents gave the collection.
    """

    accepted: int = 0
    rejected: list[Rejection] = field(default_factory=list)
    rejected_total: int = 0
    is_applied: bool = False
    inferred: Mapping[str, FieldType] | None = None

    def reject(self, line: int, reason: str) -> None:
        """Count a line that was not taken, and keep it while there is room."""
        self.rejected_total += 1
        if len(self.rejected) < MAX_REJECTIONS_KEPT:
            self.rejected.append(Rejection(line, reason))

    def to_json(self) -> dict[str, Any]:
        """The report as the HTTP API gives it."""
        body: dict[str, Any] = {
            "accepted": self.accepted,
            "rejected": [rejection._asdict() for rejection in self.rejected],
            "rejected_total": self.rejected_total,
            "applied": self.is_applied,
        }
        if self.inferred is not None:
            body["inferred_fields"] = dict(self.inferred)
        return body


class Batch:
    """Documents of one shard that will be one entry of its log; of one id, the last one stays.

    Attributes:
        shard: whose log.
        num_lines: how many lines went in.
        num_bytes: about how large the entry will be.
    """

    def __init__(self, shard: int) -> None:
        self.shard = shard
        self.num_lines = 0
        self.num_bytes = 0
        self._documents: dict[str, bytes] = {}

    def has_room_for(self, body: bytes) -> bool:
        """Whether a document goes in without making the entry too large."""
        return self.num_lines == 0 or (
            self.num_lines < BATCH_DOCUMENTS and self.num_bytes + len(body) <= BATCH_BYTES
        )

    def add(self, document_id: str, body: bytes) -> None:
        """Put a document in."""
        self._documents[document_id] = body
        self.num_lines += 1
        self.num_bytes += len(document_id) + len(body) + _OVERHEAD_BYTES

    def pack(self, uid: str) -> bytes:
        """The batch as an operation of the log."""
        return pack_op(Upsert(uid, list(self._documents.items())))


class Intake:
    """Reads lines, rejects the bad ones and spreads the good ones over the shards' batches.

    The first documents of a collection without fields wait here until `define` is called.

    Attributes:
        report: what has become of the lines.
        definition: the collection's.
    """

    def __init__(self, definition: Collection, num_shards: int, limits: LimitSettings) -> None:
        self.report = LoadReport()
        self.definition = definition
        self._num_shards = num_shards
        self._limits = limits
        self._open: dict[int, Batch] = {}
        self._full: list[Batch] = []
        self._first: list[tuple[int, Parsed]] = []
        self._first_bytes = 0

    @property
    def needs_fields(self) -> bool:
        """Whether enough documents wait for the collection to be given fields."""
        return len(self._first) >= INFER_FROM_LINES or self._first_bytes >= INFER_FROM_BYTES

    @property
    def is_full(self) -> bool:
        """Whether a batch is full."""
        return bool(self._full)

    @property
    def first(self) -> list[Mapping[str, Any]]:
        """The documents that wait for the collection to be given fields."""
        return [parsed.document for _, parsed in self._first]

    def take(self, lines: Iterator[Line], is_time_up: Callable[[], bool]) -> bool:
        """Take lines in, until time is up, a batch is full or fields are needed.

        Returns:
            Whether all lines were taken.
        """
        for number, line in lines:
            self._take_line(number, line)
            if self._full or self.needs_fields or (number % _LOOK_EVERY == 0 and is_time_up()):
                return False
        return True

    def define(self, definition: Collection) -> None:
        """Go on with the collection's fields, beginning with the documents that waited."""
        self.definition = definition
        first, self._first, self._first_bytes = self._first, [], 0
        for number, parsed in first:
            self._add(number, parsed)

    def batches(self) -> list[Batch]:
        """Hand over every batch, those of one shard in the order of their lines."""
        batches = [*self._full, *self._open.values()]
        self._full, self._open = [], {}
        return batches

    def _take_line(self, number: int, line: bytes | None) -> None:
        limits = self._limits
        if line is None:
            limit = limits.max_document_bytes
            self.report.reject(number, f"the line is over the limit of {limit} bytes")
            return
        if not line or line.isspace():
            return
        try:
            parsed = parse_document(line, limits.max_id_bytes, limits.max_document_bytes)
        except BadRequestError as error:
            self.report.reject(number, f"{error.field} {error.reason}")
            return
        if self.definition.fields is None:
            self._first.append((number, parsed))
            self._first_bytes += len(line)
        else:
            self._add(number, parsed)

    def _add(self, number: int, parsed: Parsed) -> None:
        try:
            check_document(self.definition, parsed.document)
        except BadRequestError as error:
            self.report.reject(number, f"{error.field} {error.reason}")
            return
        shard = shard_of(parsed.id, self._num_shards)
        batch = self._open.get(shard)
        if batch is not None and not batch.has_room_for(parsed.body):
            self._full.append(batch)
            batch = None
        if batch is None:
            batch = self._open[shard] = Batch(shard)
        batch.add(parsed.id, parsed.body)
