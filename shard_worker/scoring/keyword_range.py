"""Exact ranges of keywords, with any characters in the bounds, and also for lists of keywords.

tantivy's Python interface builds ranges only of numbers and dates. A range of keywords has to be
written in the query language, in which a bound cannot be empty, `*` means no bound, and some
characters need a backslash while others must not have one. A range is therefore composed of parts
that can be written safely, and the result of the parser is compared with the intended range.

Keywords are ordered by code points, which is also the order of their bytes in UTF-8.
"""

import re
from typing import NamedTuple, TypeAlias

import tantivy

from hedgerow.common.query.text import WHITE

_LAST = "\U0010ffff"
# tantivy's grammar takes a backslash before these away, and keeps it before all others.
_ESCAPED = re.compile(rf"[{WHITE}^`:{{}}\"'\[\]()\\-]")


class Span(NamedTuple):
    """Keywords from `lower`, inclusive, to `upper`, exclusive; None is no bound."""

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
    """The parts whose union is a range; none when it is empty.

    No bound of a part is empty or `*`.
    """
    # The next keyword after any other is the same with a NUL behind it.
    first = lower + "\0" if lower is not None and not include_lower else lower
    end = upper + "\0" if upper is not None and include_upper else upper
    if end is not None and end <= (first or ""):
        return []
    if end == first + "\0" if first is not None else end == "\0":
        return [Single(first or "")]
    parts: list[Part] = []
    if first == "*":  # which is no bound in the language
        parts.append(Single(first))
        first = "*\0"
    if end == "*":
        # Just below `*` lies what begins with `)` and goes on with the last of all characters.
        start = ")" + _LAST * (_num_leading(_LAST, first[1:]) + 1 if first else 1)
        parts.append(Beginning(start))
        end = start
    return [*parts, Span(first or None, end)]


def _num_leading(character: str, text: str) -> int:
    return len(text) - len(text.lstrip(character))


def prefix_span(prefix: str) -> Span | None:
    """The range of what begins so; None where that has no end, or no beginning."""
    rest = prefix.rstrip(_LAST)
    if not rest:
        return None
    code = ord(rest[-1]) + 1
    end = rest[:-1] + chr(0xE000 if code == 0xD800 else code)  # surrogates are no characters
    return None if "*" in (prefix, end) else Span(prefix, end)


def native(field: str, span: Span) -> str:
    """A span in tantivy's query language.

    Raises:
        ValueError: the parser would read something else.
    """
    text = f"{field}:[{_bound(span.lower)} TO {_bound(span.upper)}}}"
    tree, errors = tantivy.parse_query_lenient(text)
    # What is reported of a colon within a word changes nothing.
    if tree != _tree(field, span) or any(
        not error["message"].startswith("parsed possible invalid field") for error in errors
    ):
        raise ValueError(f"the range {span} of {field} cannot be said in the query language")
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
