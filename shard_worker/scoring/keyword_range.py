"""Exact ranges of keywords. The bounds may contain any characters, and fields may hold lists.

tantivy's Python interface builds ranges of numbers and dates only. A range of keywords has to be
written in the query language, where a bound cannot be empty, `*` means no bound, and some
characters need a backslash while others must not have one. A range is therefore composed of parts
that can be written safely, and the parser's result is compared with the intended range.

Keywords are ordered by code points, which is also the order of their bytes in UTF-8.
"""

import re
from typing import NamedTuple, TypeAlias

import tantivy

from hedgerow.common.query.text import WHITE

_LAST = "\U0010ffff"
# tantivy's grammar removes a backslash before these characters and keeps it before all others.
_ESCAPED = re.compile(rf"[{WHITE}^`:{{}}\"'\[\]()\\-]")


class Span(NamedTuple):
    """Keywords from `lower`, inclusive, to `upper`, exclusive; None means no bound."""

    lower: str | None
    upper: str | None


class Single(NamedTuple):
    """One keyword."""

    value: str


class Beginning(NamedTuple):
    """Keywords with this prefix."""

    prefix: str


Part: TypeAlias = Span | Single | Beginning


def parts_of(
    lower: str | None, upper: str | None, *, include_lower: bool, include_upper: bool
) -> list[Part]:
    """Split a range into parts whose union it is; an empty range has no parts.

    No part has an empty bound or the bound `*`.
    """
    # The keyword that follows `x` immediately is `x` with a NUL appended.
    first = lower + "\0" if lower is not None and not include_lower else lower
    end = upper + "\0" if upper is not None and include_upper else upper
    if end is not None and end <= (first or ""):
        return []
    if end == first + "\0" if first is not None else end == "\0":
        return [Single(first or "")]
    parts: list[Part] = []
    if first == "*":  # the query language would read it as no bound
        parts.append(Single(first))
        first = "*\0"
    if end == "*":
        # The keywords just below `*` begin with `)`, followed by the last of all characters.
        start = ")" + _LAST * (_num_leading(_LAST, first[1:]) + 1 if first else 1)
        parts.append(Beginning(start))
        end = start
    return [*parts, Span(first or None, end)]


def _num_leading(character: str, text: str) -> int:
    return len(text) - len(text.lstrip(character))


def prefix_span(prefix: str) -> Span | None:
    """The range of the keywords with this prefix; None if it cannot be written as a span."""
    rest = prefix.rstrip(_LAST)
    if not rest:
        return None
    code = ord(rest[-1]) + 1
    end = rest[:-1] + chr(0xE000 if code == 0xD800 else code)  # surrogates are not characters
    return None if "*" in (prefix, end) else Span(prefix, end)


def native(field: str, span: Span) -> str:
    """Write a span in tantivy's query language.

    Raises:
        ValueError: the parser would read it as something else.
    """
    text = f"{field}:[{_bound(span.lower)} TO {_bound(span.upper)}}}"
    tree, errors = tantivy.parse_query_lenient(text)
    # The parser warns about a colon within a word, but still reads the word correctly.
    if tree != _tree(field, span) or any(
        not error["message"].startswith("parsed possible invalid field") for error in errors
    ):
        raise ValueError(f"the range {span} of {field} cannot be written in the query language")
    return text


def _tree(field: str, span: Span) -> dict[str, object]:
    unbounded = {"type": "unbounded"}
    return {
        "type": "range",
        "field": field,
        "lower": unbounded if span.lower is None else {"type": "inclusive", "value": span.lower},
        "upper": unbounded if span.upper is None else {"type": "exclusive", "value": span.upper},
    }


def _bound(value: str | None) -> str:
    return "*" if value is None else _ESCAPED.sub(r"\\\g<0>", value)
