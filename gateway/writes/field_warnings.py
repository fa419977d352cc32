"""Notes which fields of a load have values that are not indexed, with the first line of each."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

from hedgerow.common.collection import Collection
from hedgerow.common.document_ids import ID_FIELD
from hedgerow.gateway.shapes.collection import FieldWarning, InferredField
from hedgerow.gateway.writes.field_inference import shown_name

MAX_WARNINGS: Final = 100
# A clause, as are the reasons of `mismatch`.
_UNKNOWN: Final = "is not a field of the collection"


@dataclass
class _Noted:
    """A field with such values."""

    effect: Literal["stored_only", "not_indexed", "rejected"]
    reason: str
    line: int
    documents: int | None = None


class FieldWarnings:
    """The fields of one load with values that are not indexed; at most `MAX_WARNINGS` are kept.

    A document with no such values takes one difference of two sets.
    """

    def __init__(self, collection: Collection, inferred: Iterable[InferredField] = ()) -> None:
        """Note fields for `collection`, some of which were inferred from this load."""
        self._known = {ID_FIELD, *(collection.fields or {})}
        self._why = {one.field: f"has {one.why}" for one in inferred if one.type is None}
        self._noted: dict[tuple[str, bool], _Noted] = {}

    def see(self, document: Mapping[str, Any], line: int, misfits: Mapping[str, str]) -> None:
        """Note what no query finds of an accepted document.

        Args:
            document: the document.
            line: its line.
            misfits: field → why its value does not fit, as `check_document` returns it.
        """
        # Fields that are noted already are known too.
        for name in document.keys() - self._known if self._has_room else ():
            if document[name] is not None and self._has_room:
                shown = shown_name(name)
                if shown == name:  # a long one is not kept
                    self._known.add(name)
                reason = self._why.get(shown, _UNKNOWN)
                self._noted.setdefault((shown, False), _Noted("stored_only", reason, line))
        for name, reason in misfits.items():
            self._count(name, "not_indexed", reason, line)

    def reject(self, field: str, reason: str, line: int) -> None:
        """Note a document that was rejected for its value of a field."""
        if field in self._known and field != ID_FIELD:
            self._count(field, "rejected", reason, line)

    def result(self) -> list[FieldWarning]:
        """Return what was noted, by line."""
        noted = sorted(self._noted.items(), key=lambda item: (item[1].line, item[0]))
        return [
            FieldWarning(field, one.effect, one.reason, one.line, one.documents)
            for (field, _), one in noted
        ]

    @property
    def _has_room(self) -> bool:
        return len(self._noted) < MAX_WARNINGS

    def _count(
        self, field: str, effect: Literal["not_indexed", "rejected"], reason: str, line: int
    ) -> None:
        noted = self._noted.get((field, True))
        if noted is not None:
            noted.documents = (noted.documents or 0) + 1
        elif self._has_room:
            self._noted[field, True] = _Noted(effect, reason, line, documents=1)
