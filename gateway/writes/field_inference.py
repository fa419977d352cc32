"""Infers the fields of a collection from its first documents, one document at a time.

The memory per field is bounded, and so is the time per document: only the first `MAX_NAMES` members
count, and a list of strings takes a few passes in C.
"""

from collections.abc import Mapping
from enum import Enum
from itertools import islice
from typing import Any, Final, cast

from hedgerow.common.document_ids import ID_FIELD
from hedgerow.common.fields.field_definitions import FIELD_NAME, MAX_FIELDS
from hedgerow.common.fields.field_types import FieldType, mismatch, texts_of
from hedgerow.gateway.shapes.collection import FieldType as SimpleType
from hedgerow.gateway.shapes.collection import InferredField

MAX_NAME = 100  # characters of a name in a report; longer ones no collection can have
MAX_NAMES = 512  # twice the most fields of a collection, since some have no single type
_LEAST_TO_RECUR = 10  # strings; among fewer, repetitions may be chance


class _Kind(Enum):
    """What a value is, as it is called in a reason."""

    BOOLEAN = "true or false"
    WHOLE = "a whole number"
    FRACTION = "a number that is not whole"
    HUGE = "a whole number of 2^63 or more"
    DATE = "a date"
    STRING = "a string"
    LIST = "a list of strings"
    EMPTY = "an empty list"
    # Lists without a string are often vectors, which would be noise among the words of a text.
    NUMBERS = "a list without strings"
    NESTED = "a list of lists, objects or nulls"
    OBJECT = "an object"


_FIT: Final = (  # the first type that fits all values is taken
    (FieldType.BOOLEAN, frozenset({_Kind.BOOLEAN})),
    (FieldType.INTEGER, frozenset({_Kind.WHOLE})),
    (FieldType.FLOAT, frozenset({_Kind.WHOLE, _Kind.FRACTION})),
    (FieldType.DATE, frozenset({_Kind.DATE})),
)
_STORED_ONLY: Final = frozenset({_Kind.NUMBERS, _Kind.NESTED, _Kind.OBJECT})
_STRINGS: Final = frozenset({_Kind.STRING, _Kind.LIST, _Kind.EMPTY})
_WHY: Final = {
    FieldType.BOOLEAN: "true and false",
    FieldType.INTEGER: "whole numbers",
    FieldType.FLOAT: "numbers",
    FieldType.DATE: "dates",
    FieldType.KEYWORD: "strings without spaces that recur",
    FieldType.TEXT: "strings",
}


class FieldInference:
    """The fields, as inferred from the documents so far.

    Whole numbers are integer, mixed numbers float, true and false boolean, dates of RFC 3339 date.
    Strings are text, so that searches find their words; but if no value contains white space, and
    values recur (on average twice among ten or more), they are keyword. Values of several kinds
    are strings too, as `texts_of` writes them. A field with objects, with lists of anything but
    strings, or with a name that a query cannot contain is stored only.
    """

    def __init__(self) -> None:
        self._fields: dict[str, _Candidate] = {}

    def add(self, document: Mapping[str, Any], line: int = 0) -> None:
        """Add a document, from this line of the load."""
        fields = self._fields
        for name, value in islice(document.items(), MAX_NAMES):
            if value is None or name == ID_FIELD:
                continue
            candidate = fields.get(name)
            if candidate is None:
                if len(fields) >= MAX_NAMES:
                    continue
                candidate = fields[name] = _Candidate(line)
                candidate.is_named_well = FIELD_NAME.match(name) is not None
            if candidate.is_named_well:
                candidate.add(value, line)

    def result(self) -> dict[str, FieldType]:
        """Return the fields that have a type, in order of appearance; at most `MAX_FIELDS`."""
        return {one.field: FieldType(one.type) for one in self.explained() if one.type is not None}

    def explained(self) -> list[InferredField]:
        """Return every field in order of appearance, with the reasons; also those without type."""
        explained = []
        num_typed = 0
        for name, candidate in self._fields.items():
            kind, why, line = candidate.explained()
            if kind is not None:
                num_typed += 1
                if num_typed > MAX_FIELDS:
                    kind, why = None, f"too many other fields ({MAX_FIELDS} is the limit)"
                    line = candidate.first_line
            shown = None if kind is None else cast("SimpleType", kind.value)
            explained.append(InferredField(shown_name(name), shown, why, line))
        return explained


def shown_name(name: str) -> str:
    """The name of a field as reports have it: a caller's document may have one of any length."""
    return name if len(name) <= MAX_NAME else f"{name[:MAX_NAME]}…"


class _Candidate:
    """The properties that a field's values have in common so far."""

    __slots__ = ("_distinct", "_has_space", "_kinds", "_num_texts", "first_line", "is_named_well")

    def __init__(self, line: int) -> None:
        self.first_line = line
        self.is_named_well = True
        self._kinds: dict[_Kind, int] = {}  # with the first line of each
        self._has_space = False
        self._num_texts = 0
        self._distinct: set[int] = set()  # hashes: the strings themselves may be large

    def add(self, value: Any, line: int) -> None:
        kind = _kind_of(value, may_be_date=_Kind.STRING not in self._kinds)
        self._kinds.setdefault(kind, line)
        if kind in _STORED_ONLY:
            self._distinct.clear()
        elif not _STORED_ONLY & self._kinds.keys():
            self._add_texts(texts_of(value))

    def _add_texts(self, texts: list[str]) -> None:
        self._num_texts += len(texts)
        if self._has_space:
            return
        self._has_space = _has_space("".join(texts))
        if self._has_space:
            self._distinct.clear()
        else:
            self._distinct.update(map(hash, texts))

    def explained(self) -> tuple[FieldType | None, str, int | None]:
        """The type, if there is one, the reason, and the line that decided."""
        if not self.is_named_well:
            return None, "a name that a query cannot contain", self.first_line
        for kind, line in self._kinds.items():
            if kind in _STORED_ONLY:
                return None, kind.value, line
        for fit, kinds in _FIT:
            if kinds.issuperset(self._kinds):
                return fit, _WHY[fit], None
        if not self._num_texts:
            return None, "no value but empty lists", self.first_line
        recurs = self._num_texts >= max(_LEAST_TO_RECUR, 2 * len(self._distinct))
        fit = FieldType.KEYWORD if recurs and not self._has_space else FieldType.TEXT
        if _STRINGS.issuperset(self._kinds):
            return fit, _WHY[fit], None
        kind, line = self._mixed_by()
        not_date = " that is no date" if kind is _Kind.STRING and _Kind.DATE in self._kinds else ""
        return fit, f"values of several kinds, such as {kind.value}{not_date}", line

    def _mixed_by(self) -> tuple[_Kind, int]:
        """The kind after which no single type was left for all values, and its first line."""
        kinds = list(self._kinds)
        single = (_STRINGS, *(fit for _, fit in _FIT))
        num = next(
            num
            for num in range(len(kinds))
            if not any(fit.issuperset(kinds[: num + 1]) for fit in single)
        )
        return kinds[num], self._kinds[kinds[num]]


def _kind_of(value: Any, *, may_be_date: bool) -> _Kind:
    match value:
        case str():
            is_date = may_be_date and not mismatch(FieldType.DATE, value)
            return _Kind.DATE if is_date else _Kind.STRING
        case bool():
            return _Kind.BOOLEAN
        case int():
            return _Kind.HUGE if mismatch(FieldType.INTEGER, value) else _Kind.WHOLE
        case float():
            return _Kind.FRACTION
        case list():
            return _kind_of_list(value)
        case _:
            return _Kind.OBJECT


def _kind_of_list(values: list[Any]) -> _Kind:
    if not values:
        return _Kind.EMPTY
    if mismatch(FieldType.TEXT, values):
        return _Kind.NESTED
    return _Kind.LIST if str in set(map(type, values)) else _Kind.NUMBERS


def _has_space(text: str) -> bool:
    # For any text, this takes a tenth of the time of a regular expression.
    return bool(text) and text.split(None, 1) != [text]
