"""The combined effect of a batch of the log."""

from collections.abc import Iterable
from dataclasses import dataclass, field

from hedgerow.common.collection import Collection
from hedgerow.common.shard_log.operations import Create, Drop, Op, Upsert


@dataclass
class Changes:
    """The combined effect of operations: the state after the last, for everything they change.

    Attributes:
        definitions: uid → definition (JSON), new or changed.
        documents: uid → id → JSON, or None if the document is deleted.
        dropped: uids of dropped collections.
    """

    definitions: dict[str, str] = field(default_factory=dict)
    documents: dict[str, dict[str, bytes | None]] = field(default_factory=dict)
    dropped: set[str] = field(default_factory=set)

    @classmethod
    def of(cls, ops: Iterable[Op]) -> "Changes":
        """Combine operations, oldest first; a drop cancels later ones of its collection."""
        changes = cls()
        for op in ops:
            changes._add(op)
        return changes

    def _add(self, op: Op) -> None:
        if isinstance(op, Drop):
            self.dropped.add(op.uid)
            self.definitions.pop(op.uid, None)
            self.documents.pop(op.uid, None)
        elif isinstance(op, Create):
            uid = Collection.from_json(op.definition).uid
            if uid not in self.dropped:
                self.definitions[uid] = op.definition
        elif op.uid not in self.dropped:
            documents = self.documents.setdefault(op.uid, {})
            if isinstance(op, Upsert):
                documents.update(op.documents)
            else:
                documents.update(dict.fromkeys(op.ids))
