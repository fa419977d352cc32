"""Infers the fields of a collection from its first documents, one document at a time.

The memory per field is bounded, and so is the time per document: only the first `MAX_NAMES` members
count, and a list of strings takes a few passes in C.
"""

from collections.abc import Mapping
from itertools import islice
from typing import Any

from hedgerow.common.collection import FIELD_NAME, MAX_FIELDS, FieldType, mismatch
from hedgerow.common.document_ids import ID_FIELD

MAX_NAMES = 512  # twice the most fields of a collection, since some have no single type

_SCALARS = (FieldType.BOOLEAN, FieldType.INTEGER, FieldType.FLOAT, FieldType.DATE)
# JSON's type → the scalar types that are possible for it, so that only these are tested.
_POSSIBLE: dict[type, tuple[FieldType, ...]] = {
    bool: (FieldType.BOOLEAN,),
    int: (FieldType.INTEGER, FieldType.FLOAT),
    float: (FieldType.FLOAT,),
    str: (FieldType.DATE,),
}
_LEAST_TO_RECUR = 10  # strings; among fewer, repetitions may be chance


class FieldInference:
    """The fields, as inferred from the documents so far.

    Whole numbers are integer, mixed numbers float, true and false boolean, dates of RFC 3339 date.
    Strings are text, so that searches find their words; but if no value contains white space, and
    values recur (on average twice among ten or more), they are keyword. A field with objects, with
    mixed kinds, or with a name that a query cannot contain is left out: it is stored but not
    indexed.
    """

    def __init__(self) -> None:
        self._fields: dict[str, _Candidate] = {}

    def add(self, document: Mapping[str, Any]) -> None:
        """Add a document."""
        fields = self._fields
        for name, value in islice(document.items(), MAX_NAMES):
            if value is None or name == ID_FIELD:
                continue
            candidate = fields.get(name)
            if candidate is None:
                if len(fields) >= MAX_NAMES or not FIELD_NAME.match(name):
                    continue
                candidate = fields[name] = _Candidate()
            candidate.add(value)

    def result(self) -> dict[str, FieldType]:
        """Return the fields that have a type, in order of appearance; at most `MAX_FIELDS`."""
        typed = ((name, candidate.kind()) for name, candidate in self._fields.items())
        known = ((name, kind) for name, kind in typed if kind is not None)
        return dict(islice(known, MAX_FIELDS))


class _Candidate:
    """The properties that a field's values have in common so far."""

    __slots__ = ("_distinct", "_has_space", "_is_text", "_num_strings", "_scalars")

    def __init__(self) -> None:
        self._scalars: tuple[FieldType, ...] = _SCALARS  # those that every value fits
        self._is_text = True
        self._has_space = False
        self._num_strings = 0
        self._distinct: set[int] = set()  # hashes: the strings themselves may be large

    def add(self, value: Any) -> None:
        if self._scalars:
            possible = _POSSIBLE.get(type(value), ())
            self._scalars = tuple(
                kind for kind in self._scalars if kind in possible and not mismatch(kind, value)
            )
        if not self._is_text:
            return
        if mismatch(FieldType.TEXT, value):
            self._is_text = False
            self._distinct.clear()
            return
        strings = value if isinstance(value, list) else [value]
        self._num_strings += len(strings)
        if self._has_space:
            return
        self._has_space = _has_space("".join(strings))
        if self._has_space:
            self._distinct.clear()
        else:
            self._distinct.update(map(hash, strings))

    def kind(self) -> FieldType | None:
        if self._scalars:
            return self._scalars[0]
        if not self._is_text or not self._num_strings:
            return None
        recurs = self._num_strings >= max(_LEAST_TO_RECUR, 2 * len(self._distinct))
        return FieldType.KEYWORD if recurs and not self._has_space else FieldType.TEXT


def _has_space(text: str) -> bool:
    # For any text, this takes a tenth of the time of a regular expression.
    return bool(text) and text.split(None, 1) != [text]
