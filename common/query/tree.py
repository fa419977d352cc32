"""The tree of a query whose fields exist and whose values have their fields' types."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from typing import NamedTuple, TypeAlias

Value: TypeAlias = str | int | float | bool | datetime


class Occur(Enum):
    """What a clause requires of a document."""

    SHOULD = "should"
    MUST = "must"
    MUST_NOT = "must_not"


@dataclass(frozen=True, slots=True)
class Words:
    """Words of a text field.

    Attributes:
        field: the field; None for all text.
        text: not yet analysed.
        is_phrase: whether they must occur in this order, at most `slop` places off.
        is_prefix: whether the last word is a prefix.
    """

    field: str | None
    text: str
    is_phrase: bool = False
    slop: int = 0
    is_prefix: bool = False


@dataclass(frozen=True, slots=True)
class Fuzzy:
    """A word that is at most `distance` edits away; in a text field or a keyword."""

    field: str | None
    text: str
    distance: int


@dataclass(frozen=True, slots=True)
class Prefix:
    """Words that begin with `text`; in a text field or a keyword."""

    field: str | None
    text: str


@dataclass(frozen=True, slots=True)
class Typed:
    """A word of a text field as it was typed: itself, and words that it may have been meant for.

    Attributes:
        field: the field; None for all text.
        text: not yet analysed.
        distance: how many edits a word may be away.
        is_prefix: whether words that begin with it match too.
    """

    field: str | None
    text: str
    distance: int
    is_prefix: bool


@dataclass(frozen=True, slots=True)
class OneOf:
    """A field that is not text has one of these values."""

    field: str
    values: tuple[Value, ...]


@dataclass(frozen=True, slots=True)
class Range:
    """A field that is not text has a value between the bounds; None is unbounded."""

    field: str
    lower: Value | None
    upper: Value | None
    include_lower: bool = True
    include_upper: bool = True


@dataclass(frozen=True, slots=True)
class Present:
    """A field has a value."""

    field: str


@dataclass(frozen=True, slots=True)
class Everything:
    """Every document."""


@dataclass(frozen=True, slots=True)
class Boosted:
    """A part that counts more, or less, in the score."""

    node: "Node"
    boost: float


@dataclass(frozen=True, slots=True)
class Alternatives:
    """A part of a query, and texts that mean the same; any of them matches.

    Attributes:
        node: the part as it was typed.
        others: the texts, which score no more than `node` would.
    """

    node: "Node"
    others: tuple[Words, ...]


@dataclass(frozen=True, slots=True)
class Whole:
    """A query; documents with a text that is the query's, as a whole, come first.

    Attributes:
        node: the query.
        text: what `common.query.tokens.whole_text` makes of such a text.
    """

    node: "Node"
    text: str


class Clause(NamedTuple):
    """A part of `Clauses`, and what is required of it."""

    occur: Occur
    node: "Node"


@dataclass(frozen=True, slots=True)
class Clauses:
    """Parts that must, should or must not match; without parts, nothing matches."""

    clauses: tuple[Clause, ...]


Node: TypeAlias = (
    Words
    | Typed
    | Fuzzy
    | Prefix
    | OneOf
    | Range
    | Present
    | Everything
    | Boosted
    | Alternatives
    | Whole
    | Clauses
)


def has_bare_words(node: Node) -> bool:
    """Whether a query searches words without naming a field."""
    match node:
        case Words() | Typed() | Fuzzy() | Prefix():
            return node.field is None
        case Boosted() | Alternatives() | Whole():
            return has_bare_words(node.node)
        case Clauses():
            return any(has_bare_words(part) for _, part in node.clauses)
        case _:
            return False


def named_fields(node: Node) -> Iterator[str]:
    """The fields that a query names."""
    match node:
        case Boosted() | Alternatives() | Whole():
            yield from named_fields(node.node)
        case Clauses():
            for _, part in node.clauses:
                yield from named_fields(part)
        case Everything():
            pass
        case _:
            if node.field is not None:
                yield node.field


def searched_words(node: Node) -> Iterator[tuple[str | None, str]]:
    """The fields and texts of a query's words; of synonyms only if there is nothing else."""
    match node:
        case Clauses():
            for _, part in node.clauses:
                yield from searched_words(part)
        case Alternatives(Clauses(()), others):
            for other in others:
                yield from searched_words(other)
        case Alternatives() | Boosted():
            yield from searched_words(node.node)
        case Words() | Typed():
            yield node.field, node.text
