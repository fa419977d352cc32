"""The query language: tantivy's, checked against a collection's fields.

tantivy's parser (https://docs.rs/tantivy/latest/tantivy/query/struct.QueryParser.html) gives the
syntax: words, "phrases"~slop, field:value, ranges, IN sets, +must, -not, AND, OR, NOT, boosts.
Beyond it, `word~1` and `word~2` match within so many edits and `word*` matches beginnings. Regular
expressions are refused, since one pattern can take a scorer as long as it likes.

Strict syntax refuses what it does not understand and says where. Lenient syntax, meant for plain
text, never refuses: a character that is no syntax where it stands counts as a space, and a field
that does not exist counts as a word.
"""

import math
import re
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import tantivy

from common.collection import Collection, FieldType, parse_date
from common.errors import BadRequestError
from common.query_tree import (
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

MAX_DEPTH = 24  # of brackets and NOTs: the parser's time grows with their square
MAX_BOOST = 1_000_000.0
_MAX_REPAIRS = 16

# What tantivy's lenient parser reports though nothing of the query is lost or misread.
_HARMLESS = ("parsed possible invalid field as term", "expected ')'", "parsed keyword")
_SYNTAX = "+-(){}[]^\"'~*:\\/<>=`"
_SIGN = re.compile(r"(?<!\S)[-+]+(?!\S)")
_FUZZY = re.compile(r"(.+)~([12]?)\Z", re.DOTALL)
_PREFIX = re.compile(r"([^*]+)\*\Z", re.DOTALL)
_INTEGER = re.compile(r"[+-]?\d{1,19}\Z", re.ASCII)


def check_query(
    query: str, collection: Collection, *, strict: bool, field: str = "query"
) -> list[str]:
    """Check a query before it is sent anywhere.

    Args:
        query: the text, at most a few thousand characters.
        collection: whose fields it may name.
        strict: whether to refuse what cannot be understood, or to repair it.
        field: the caller's name for the query, for the error.

    Returns:
        What was repaired, a sentence each; nothing when strict.

    Raises:
        BadRequestError: strict, and the query is at fault; with the position where one is known.
    """
    return parse(query, collection, strict=strict, field=field)[1]


def check_filter(text: str, collection: Collection, *, field: str = "filter") -> None:
    """Check a filter, strictly; "" is no filter.

    Raises:
        BadRequestError: it cannot be understood, or names a field that does not exist.
    """
    if text:
        parse(text, collection, strict=True, field=field)


def parse(
    query: str, collection: Collection, *, strict: bool, field: str = "query"
) -> tuple[Node, list[str]]:
    """Understand a query; as `check_query`.

    Returns:
        The query's tree, and what was repaired.
    """
    warnings: list[str] = []
    tree = _parse_strict(query, field) if strict else _parse_lenient(query, warnings)
    reader = _Reader(query, collection, strict, field, warnings)
    return reader.read(tree), reader.warnings


def _parse_strict(query: str, field: str) -> dict[str, Any]:
    # The lenient grammar is the fuller one (escapes in ranges) and the only one that says where.
    problems = [(where, f"is nested more than {MAX_DEPTH} deep") for where in _too_deep(query)]
    tree, errors = tantivy.parse_query_lenient("" if problems else query)
    problems += [
        (_character(query, error["pos"]), error["message"])
        for error in errors
        # A colon within a value, as in a date, is clear once the field is known.
        if not error["message"].startswith(_HARMLESS[0])
    ]
    problems += [(match.start(), "a sign needs a word") for match in _SIGN.finditer(query)]
    problems += [(where, "an operator needs two sides") for where in _dangling(query, tree)]
    if problems:
        position, message = min(problems)
        reason = f"{message} (at character {position})".replace("\\", "")
        raise BadRequestError(field, reason, position)
    return tree


def _dangling(query: str, tree: dict[str, Any]) -> list[int]:
    """Where an operator stands that the parser took for a word."""
    if tree["type"] == "bool":
        return [where for _, part in tree["clauses"] for where in _dangling(query, part)]
    if tree["type"] == "boost":
        return _dangling(query, tree["underlying"])
    word = tree.get("phrase")
    if tree.get("delimiter") == "none" and word in ("AND", "OR", "NOT"):
        return [match.start() for match in re.finditer(rf"\b{word}\b", query)][-1:]
    return []


def _parse_lenient(query: str, warnings: list[str]) -> dict[str, Any]:
    text = _SIGN.sub(" ", query)
    if _too_deep(text):
        warnings.append(f"The query is nested more than {MAX_DEPTH} deep: read as plain text.")
        return tantivy.parse_query_lenient(_plain(text))[0]
    for _ in range(_MAX_REPAIRS):
        tree, errors = tantivy.parse_query_lenient(text)
        harm = next((e for e in errors if not e["message"].startswith(_HARMLESS)), None)
        if harm is None:
            return tree
        culprit = _culprit(text, harm)
        if culprit is None:
            break
        warnings.append(f"Character {culprit} ({text[culprit]}) is no syntax there: ignored.")
        text = f"{text[:culprit]} {text[culprit + 1 :]}"
    warnings.append("The syntax could not be repaired: read as plain text.")
    return tantivy.parse_query_lenient(_plain(text))[0]


def _culprit(text: str, error: dict[str, Any]) -> int | None:
    """The character that made the parser stumble: syntax at or before where it noticed."""
    position = _character(text, error["pos"])
    if "missing delimiter" in error["message"]:
        return max(text.rfind(quote) for quote in "\"'") if re.search("[\"']", text) else None
    for index in range(min(position, len(text) - 1), -1, -1):
        if text[index] in _SYNTAX:
            return index
    return None


def _plain(text: str) -> str:
    """The words of a text, with nothing left that is syntax."""
    words = re.sub(f"[{re.escape(_SYNTAX)}]", " ", text)
    return re.sub(r"\b(AND|OR|NOT|IN|TO)\b", lambda match: match[0].lower(), words)


def _too_deep(query: str) -> list[int]:
    """Where a query's nesting passes the limit, if it does."""
    depth = 0
    for match in re.finditer(r"[()]|\bNOT\b", query):
        depth += -1 if match[0] == ")" else 1
        if depth > MAX_DEPTH:
            return [match.start()]
    return []


def _character(text: str, byte: int) -> int:
    """The character at a byte offset; tantivy counts bytes of UTF-8, callers count characters."""
    return len(text.encode()[:byte].decode(errors="ignore"))


class _MisreadError(Exception):
    """A part of the query does not fit the collection; carries the field's name and the reason."""

    def __init__(self, name: str | None, reason: str) -> None:
        super().__init__(reason)
        self.name = name
        self.reason = reason


@dataclass
class _Reader:
    """Turns tantivy's tree into ours, for one query."""

    query: str
    collection: Collection
    strict: bool
    field: str
    warnings: list[str]

    def read(self, tree: dict[str, Any]) -> Node:
        try:
            return self._understand(tree)
        except _MisreadError as error:
            if self.strict:
                raise BadRequestError(
                    self.field, error.reason, self._position(error.name)
                ) from None
            self.warnings.append(f"{error.reason}: searched as text.")
            return Words(None, " ".join(_texts(tree)))

    def _understand(self, tree: dict[str, Any]) -> Node:
        kind = tree["type"]
        if kind == "all":
            return Everything()
        if kind == "exists":
            self._type(tree["field"])
            return Present(tree["field"])
        understand = {
            "bool": self._clauses,
            "boost": self._boosted,
            "literal": self._literal,
            "range": self._range,
            "set": self._set,
        }.get(kind)
        if understand is None:
            what = "regular expressions are" if kind == "regex" else f"{kind} is"
            raise _MisreadError(tree.get("field"), f"{what} not supported")
        return understand(tree)

    def _clauses(self, tree: dict[str, Any]) -> Node:
        read = []
        for occur, part in tree["clauses"]:
            is_lone_star = part["type"] == "all" and occur is None and len(tree["clauses"]) > 1
            if is_lone_star and not self.strict:
                self.warnings.append("A * among words matches nothing: ignored.")
                continue
            read.append(Clause(Occur(occur or "should"), self.read(part)))
        return Clauses(tuple(read))

    def _boosted(self, tree: dict[str, Any]) -> Node:
        boost = float(tree["boost"])
        if not (math.isfinite(boost) and 0 <= boost <= MAX_BOOST):
            if self.strict:
                raise _MisreadError(None, f"a boost is between 0 and {MAX_BOOST:.0f}")
            boost = 1.0
        return Boosted(self.read(tree["underlying"]), boost)

    def _type(self, name: str | None) -> FieldType | None:
        """The type of a named field; None when no field is named."""
        if name is None:
            return None
        kind = self.collection.type_of(name)
        if kind is None:
            raise _MisreadError(name, f"there is no field {name}")
        return kind

    def _literal(self, tree: dict[str, Any]) -> Node:
        name, text = tree["field_name"], tree["phrase"]
        kind = self._type(name)
        is_word = tree["delimiter"] == "none"
        if kind in (None, FieldType.TEXT, FieldType.KEYWORD) and is_word:
            if match := _FUZZY.match(text):
                return Fuzzy(name, match[1], int(match[2] or 1))
            if match := _PREFIX.match(text):
                return Prefix(name, match[1])
        if kind in (None, FieldType.TEXT):
            return Words(name, text, not is_word, tree["slop"], tree["prefix"])
        if kind is FieldType.KEYWORD and tree["prefix"]:
            return Prefix(name, text)
        if kind is FieldType.DATE and len(text) == len("2020-01-01"):
            day = parse_date(text)
            if day is not None:
                return Range(name, day, day + timedelta(days=1), include_upper=False)
        return OneOf(name, (self._value(name, text),))

    def _set(self, tree: dict[str, Any]) -> Node:
        name, elements = tree["field"], tree["elements"]
        if self._type(name) in (None, FieldType.TEXT):
            return Clauses(tuple(Clause(Occur.SHOULD, Words(name, one)) for one in elements))
        return OneOf(name, tuple(self._value(name, one) for one in elements))

    def _range(self, tree: dict[str, Any]) -> Node:
        name = tree["field"]
        if name is None:
            raise _MisreadError(None, "a range needs a field before it")
        if self._type(name) in (FieldType.TEXT, FieldType.BOOLEAN):
            raise _MisreadError(name, f"{name} is a {self._type(name)} field and has no ranges")
        lower, upper = tree["lower"], tree["upper"]
        return Range(
            name,
            None if lower["type"] == "unbounded" else self._value(name, lower["value"]),
            None if upper["type"] == "unbounded" else self._value(name, upper["value"]),
            lower["type"] != "exclusive",
            upper["type"] != "exclusive",
        )

    def _value(self, name: str, text: str) -> Value:
        value: Value | None = None
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
            raise _MisreadError(name, f"{text!r} is no value of the {kind} field {name}")
        return value

    def _position(self, name: str | None) -> int | None:
        """Where the query names a field, or opens a range or the like; the tree does not say."""
        pattern = r"[/\[{<>^]" if name is None else rf"(?<![\w.]){re.escape(name)}\s*:"
        found = re.search(pattern, self.query)
        return found.start() if found else None


def _finite(text: str) -> float | None:
    try:
        number = float(text)
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def _texts(tree: dict[str, Any]) -> list[str]:
    """The words of a part that is to be searched as text, its field's name among them."""
    texts = [tree.get("field_name") or tree.get("field") or ""]
    texts += [tree.get("phrase", ""), tree.get("pattern", ""), *tree.get("elements", [])]
    texts += [tree[end].get("value", "") for end in ("lower", "upper") if end in tree]
    return [text for text in texts if text]
