"""Converts the tree of tantivy's parser to ours: looks up fields and converts values."""

import math
import re
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from hedgerow.common.collection import Collection
from hedgerow.common.document_ids import ID_FIELD
from hedgerow.common.errors import BadRequestError
from hedgerow.common.fields.field_types import FieldType, lacks_zone, parse_date
from hedgerow.common.fields.nearest_name import suggestion
from hedgerow.common.query.escapes import DECODED
from hedgerow.common.query.text import MAX_DEPTH
from hedgerow.common.query.tree import (
    Boosted,
    Clause,
    Clauses,
    Everything,
    Fuzzy,
    Node,
    Occur,
    OneOf,
    Prefix,
    Present,
    Range,
    Value,
    Words,
)

MAX_BOOST = 1_000_000.0
# Of the tree: a bracket makes up to three levels. Quotes can mislead the count of brackets in the
# text, so this is what bounds recursion.
_MAX_LEVELS = 4 * MAX_DEPTH
_MAX_WARNINGS = 16
_MAX_SUGGESTIONS = 2  # of up to 2 ms each
_REASON_CHARS = 200
# A repeated word gets a mark, so that the parser keeps it. These are code points that Unicode
# reserves for internal use (chapter 23.7, "Noncharacters").
FIRST_MARK = 0xFDD0
_MARKS = dict.fromkeys(range(FIRST_MARK, FIRST_MARK + 10))
_MEANING = {**_MARKS, **DECODED}
_OCCURS: dict[str | None, Occur] = {occur.value: occur for occur in Occur}
_OCCURS[None] = Occur.SHOULD
_FUZZY = re.compile(r"(.+)~([12]?)\Z", re.DOTALL)
_PREFIX = re.compile(r"([^*]+)\*\Z", re.DOTALL)
_INTEGER = re.compile(r"[+-]?\d{1,19}\Z", re.ASCII)


class _MisreadError(Exception):
    """A part of the query does not fit the collection; carries the field's name and the reason."""

    def __init__(self, name: str | None, reason: str) -> None:
        # The reason may quote thousands of characters of the query.
        brief = reason if len(reason) <= _REASON_CHARS else f"{reason[:_REASON_CHARS]}…"
        super().__init__(brief)
        self.name = name
        self.reason = brief


class TooDeepError(Exception):
    """The tree has more levels than can be read."""

    def __init__(self) -> None:
        super().__init__(f"is nested more than {MAX_DEPTH} deep")


@dataclass
class QueryReader:
    """Turns tantivy's tree into ours, for one query."""

    query: str
    collection: Collection
    strict: bool
    field: str
    warnings: list[str]

    def read(self, tree: dict[str, Any], level: int = 0) -> Node:
        """Convert a part of the query; in lenient syntax, read an invalid part as text.

        Raises:
            BadRequestError: the syntax is strict and the part is invalid.
            TooDeepError: it has too many levels.
        """
        try:
            if tree["type"] == "literal":  # nine of ten parts
                return self._literal(tree)
            return self._understand(tree, level)
        except _MisreadError as error:
            if self.strict:
                raise BadRequestError(
                    self.field, error.reason, self._position(error.name)
                ) from None
            self._warn(f"{error.reason}: searched as text.")
            return Words(None, " ".join(_texts(tree)))

    def _warn(self, warning: str) -> None:
        if len(self.warnings) < _MAX_WARNINGS:
            self.warnings.append(warning)
        elif len(self.warnings) == _MAX_WARNINGS:
            self.warnings.append("There are more warnings of this kind.")

    def _understand(self, tree: dict[str, Any], level: int) -> Node:
        kind = tree["type"]
        if kind in ("bool", "boost"):
            if level == _MAX_LEVELS:
                raise TooDeepError
            return (self._clauses if kind == "bool" else self._boosted)(tree, level + 1)
        if kind == "all":
            return Everything()
        understand = {
            "range": self._range,
            "set": self._set,
            "exists": self._present,
        }.get(kind)
        if understand is None:
            what = "regular expressions are" if kind == "regex" else f"{kind} is"
            raise _MisreadError(tree.get("field"), f"{what} not supported")
        return understand(tree)

    def _present(self, tree: dict[str, Any]) -> Node:
        self._type(tree["field"])
        return Present(tree["field"])

    def _clauses(self, tree: dict[str, Any], level: int) -> Node:
        read = []
        for occur, part in tree["clauses"]:
            is_lone_star = part["type"] == "all" and occur is None and len(tree["clauses"]) > 1
            if is_lone_star and not self.strict:
                self._warn("A * among words matches nothing: ignored.")
                continue
            read.append(Clause(_OCCURS[occur], self.read(part, level)))
        return Clauses(tuple(read))

    def _boosted(self, tree: dict[str, Any], level: int) -> Node:
        boost = float(tree["boost"])
        if not (math.isfinite(boost) and 0 <= boost <= MAX_BOOST):
            if self.strict:
                raise _MisreadError(None, f"a boost is between 0 and {MAX_BOOST:.0f}")
            boost = 1.0
        return Boosted(self.read(tree["underlying"], level), boost)

    def _type(self, name: str | None) -> FieldType | None:
        """The type of a named field; None when no field is named."""
        if name is None:
            return None
        kind = self.collection.type_of(name)
        if kind is None:
            raise _MisreadError(name, f"there is no field {name}{self._suggestion(name)}")
        return kind

    def _suggestion(self, name: str) -> str:
        if len(self.warnings) >= _MAX_SUGGESTIONS or self.collection.fields is None:
            return ""
        return suggestion(name, (ID_FIELD, *self.collection.fields))

    def _literal(self, tree: dict[str, Any]) -> Node:
        name, written = tree["field_name"], tree["phrase"]
        text = _unmarked(written)
        if not written.isascii():
            written = written.translate(_MARKS)  # in which an escaped ~ or * is none
        is_word = tree["delimiter"] == "none"
        if name is None and is_word and "~" not in written and "*" not in written:
            return Words(None, text)  # the short way for most parts of a long query
        kind = self._type(name)
        if kind in (None, FieldType.TEXT, FieldType.KEYWORD) and is_word:
            if match := _FUZZY.match(written):
                return Fuzzy(name, _unmarked(match[1]), int(match[2] or 1))
            if match := _PREFIX.match(written):
                return Prefix(name, _unmarked(match[1]))
        if kind in (None, FieldType.TEXT):
            return Words(name, text, not is_word, tree["slop"], tree["prefix"])
        return self._valued(name, kind, text, is_prefix=tree["prefix"])

    def _valued(self, name: str, kind: FieldType, text: str, *, is_prefix: bool) -> Node:
        if kind is FieldType.KEYWORD and is_prefix:
            return Prefix(name, text)
        if kind is FieldType.DATE and _is_day(text):
            day = parse_date(text)
            if day is not None:
                return Range(name, day, day + timedelta(days=1), include_upper=False)
        return OneOf(name, self._indexed(name, text))

    def _set(self, tree: dict[str, Any]) -> Node:
        name = tree["field"]
        elements = [_unmarked(element) for element in tree["elements"]]
        if self._type(name) in (None, FieldType.TEXT):
            return Clauses(tuple(Clause(Occur.SHOULD, Words(name, one)) for one in elements))
        return OneOf(name, tuple(value for one in elements for value in self._indexed(name, one)))

    def _range(self, tree: dict[str, Any]) -> Node:
        name = tree["field"]
        if name is None:
            raise _MisreadError(None, "a range needs a field before it")
        if self._type(name) in (FieldType.TEXT, FieldType.BOOLEAN):
            raise _MisreadError(name, f"{name} is a {self._type(name)} field and has no ranges")
        lower, upper = tree["lower"], tree["upper"]
        low = None if lower["type"] == "unbounded" else self._value(name, lower["value"])
        high = None if upper["type"] == "unbounded" else self._value(name, upper["value"])
        has_low, has_high = lower["type"] != "exclusive", upper["type"] != "exclusive"
        # A day without a time is the whole day: what comes after it begins with the next one.
        if isinstance(low, datetime) and not has_low and _is_day(lower["value"]):
            low, has_low = low + timedelta(days=1), True
        if isinstance(high, datetime) and has_high and _is_day(upper["value"]):
            high, has_high = high + timedelta(days=1), False
        # An index tells -0.0 from 0.0, which is equal and the next number.
        low = _zero_as(-0.0 if has_low else 0.0, low)
        high = _zero_as(0.0 if has_high else -0.0, high)
        return Range(name, low, high, has_low, has_high)

    def _indexed(self, name: str, text: str) -> tuple[Value, ...]:
        """A value as indexes have it: of dates, the second; of zeros, both."""
        value = self._value(name, text)
        if isinstance(value, datetime):
            return (value.replace(microsecond=0),)
        return (0.0, -0.0) if isinstance(value, float) and value == 0 else (value,)

    def _value(self, name: str, text: str) -> Value:
        value: Value | None = None
        text = _unmarked(text)
        kind = self._type(name)
        match kind:
            case FieldType.KEYWORD:
                value = text
            case FieldType.INTEGER if _INTEGER.match(text) and -(2**63) <= int(text) < 2**63:
                value = int(text)
            case FieldType.FLOAT:
                value = _finite(text)
            case FieldType.BOOLEAN:
                value = {"true": True, "false": False}.get(text.lower())
            case FieldType.DATE:
                value = parse_date(text)
        if value is None:
            why = f"{text!r} is not a value of the {kind} field {name}"
            if kind is FieldType.DATE and lacks_zone(text):
                why += ": a time needs a time zone (add Z for UTC)"
            raise _MisreadError(name, why)
        return value

    def _position(self, name: str | None) -> int | None:
        """Where the query names a field, or opens a range or the like; the tree does not say."""
        pattern = r"[/\[{<>^]" if name is None else rf"(?<![\w.]){re.escape(name)}\s*:"
        found = re.search(pattern, self.query)
        return found.start() if found else None


def _unmarked(text: str) -> str:
    return text if text.isascii() else text.translate(_MEANING)


def _is_day(text: str) -> bool:
    return len(_unmarked(text)) == len("2020-01-01")


def _zero_as(zero: float, value: Value | None) -> Value | None:
    return zero if isinstance(value, float) and value == 0 else value


def _finite(text: str) -> float | None:
    try:
        number = float(text)
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def _texts(tree: dict[str, Any]) -> list[str]:
    """The words of a part that is searched as text, including its field's name."""
    texts = [tree.get("field_name") or tree.get("field") or ""]
    texts += [tree.get("phrase", ""), tree.get("pattern", ""), *tree.get("elements", [])]
    texts += [tree[end].get("value", "") for end in ("lower", "upper") if end in tree]
    return [_unmarked(text) for text in texts if text]
