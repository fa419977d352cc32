"""The combined effect of a batch of the log."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from hedgerow.common.collection import Collection
from hedgerow.common.shard_log.document_version import ABSENT, version_of
from hedgerow.common.shard_log.judgement import KEPT_JUDGEMENTS, Judgement
from hedgerow.common.shard_log.operations import Create, Delete, Drop, Op, Remember, Upsert, Write
from hedgerow.shard_worker.indexing.mirroring import Mirroring
from hedgerow.shard_worker.storage.mirrors import StoredMirror


class Before(Protocol):
    """A shard as it was before the batch, on which conditions depend."""

    def body(self, uid: str, document_id: str) -> bytes | None:
        """A document as it is stored; None if there is none."""

    def has_collection(self, uid: str) -> bool:
        """Whether there is such a collection."""

    def find(self, token: str) -> tuple[int, Judgement] | None:
        """Number and judgement of an earlier write; None if it is not remembered."""

    @property
    def last_number(self) -> int:
        """Number of the newest judgement; 0 if there is none."""


@dataclass
class Changes:
    """The combined effect of operations: the state after the last, for everything they change.

    Attributes:
        before: the shard before them.
        mirroring: the pairs of collections of which one follows the other.
        definitions: uid → definition (JSON), new or changed.
        documents: uid → id → JSON, or None if the document is deleted.
        dropped: uids of dropped collections.
        judged: token → number and judgement of the conditional writes that were judged now.
        remembered: tokens of those that the shard was split from has judged, which are in `judged`.
        repeated: the judgements of those that had been judged before; their copies had no effect,
            unless the judgement was forgotten meanwhile, so that they were judged again.
    """

    before: Before
    mirroring: Mirroring = field(default_factory=Mirroring)
    definitions: dict[str, str] = field(default_factory=dict)
    documents: dict[str, dict[str, bytes | None]] = field(default_factory=dict)
    dropped: set[str] = field(default_factory=set)
    judged: dict[str, tuple[int, Judgement]] = field(default_factory=dict)
    remembered: set[str] = field(default_factory=set)
    repeated: list[Judgement] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._last_number = self.before.last_number

    @classmethod
    def of(cls, ops: Iterable[Op], before: Before, pairs: Iterable[StoredMirror] = ()) -> "Changes":
        """Combine operations, oldest first; a drop cancels later ones of its collection.

        Args:
            ops: the operations.
            before: the shard before them.
            pairs: collections of which one follows the other by then.
        """
        changes = cls(before, Mirroring(pairs))
        for op in ops:
            changes._add(op)
        return changes

    @property
    def judgements(self) -> tuple[Judgement, ...]:
        """How all conditional writes have ended, whose writers may wait."""
        now = [one for _, one in self.judged.values() if one.token not in self.remembered]
        return (*now, *self.repeated)

    def copy(self, pair: StoredMirror, documents: Mapping[str, bytes]) -> None:
        """Give the new collection of a pair documents of the old one, unless they were written."""
        if self._has_collection(pair.new):
            written = self.documents.setdefault(pair.new, {})
            self.mirroring.followers(pair.old, documents)
            written.update({one: b for one, b in documents.items() if one not in written})

    def _add(self, op: Op) -> None:
        if isinstance(op, Drop):
            self.dropped.add(op.uid)
            self.mirroring.drop(op.uid)
            self.definitions.pop(op.uid, None)
            self.documents.pop(op.uid, None)
        elif isinstance(op, Create):
            uid = Collection.from_json(op.definition).uid
            if uid not in self.dropped:
                self.definitions[uid] = op.definition
        elif isinstance(op, Write):
            self._judge(op)
        elif isinstance(op, Remember):
            self._remember(op.judgements)
        elif isinstance(op, Upsert):
            self._write(self.mirroring.resolved(op.uid), dict(op.documents))
        elif isinstance(op, Delete):
            self._write(self.mirroring.resolved(op.uid), dict.fromkeys(op.ids))
        else:
            self.mirroring.take(op)

    def _write(self, uid: str, documents: Mapping[str, bytes | None]) -> None:
        if uid in self.dropped:
            return
        self.documents.setdefault(uid, {}).update(documents)
        for follower in self.mirroring.followers(uid, documents):
            if self._has_collection(follower):
                self.documents.setdefault(follower, {}).update(documents)

    def _judge(self, write: Write) -> None:
        """Do a conditional write if its condition holds now; of several copies, only the first."""
        if (known := self._judged_before(write.token)) is not None:
            self.repeated.append(known)
            return
        is_done, version = False, ABSENT
        uid = self.mirroring.resolved(write.uid)
        if self._has_collection(uid):
            body = self._body(uid, write.id)
            if body is None and uid != write.uid:
                # Perhaps one that did not fit: then only the collection that follows has it.
                body = self._body(write.uid, write.id)
            version = version_of(body)
            if is_done := version == write.expected:
                self._write(uid, {write.id: write.body})
                version = version_of(write.body)
        self._add_judgement(Judgement(write.token, is_done, version))
        self.remembered.discard(write.token)

    def _remember(self, judgements: Iterable[Judgement]) -> None:
        """Take over what is not known yet; copies of a split may come a second time."""
        for judgement in judgements:
            if self._judged_before(judgement.token) is None:
                self._add_judgement(judgement)
                self.remembered.add(judgement.token)

    def _add_judgement(self, judgement: Judgement) -> None:
        forgotten = self.judged.get(judgement.token)
        if forgotten is not None and judgement.token not in self.remembered:
            self.repeated.append(forgotten[1])  # its writer may wait, too
        self._last_number += 1
        self.judged[judgement.token] = self._last_number, judgement

    def _has_collection(self, uid: str) -> bool:
        return uid not in self.dropped and (
            uid in self.definitions or self.before.has_collection(uid)
        )

    def _body(self, uid: str, document_id: str) -> bytes | None:
        changed = self.documents.get(uid, {})
        if document_id in changed:
            return changed[document_id]
        return self.before.body(uid, document_id)

    def _judged_before(self, token: str) -> Judgement | None:
        # That an older one is forgotten must not depend on how the log was cut into batches: all
        # replicas have to judge alike.
        found = self.judged.get(token) or self.before.find(token)
        if found is None or found[0] <= self._last_number - KEPT_JUDGEMENTS:
            return None
        return found[1]
