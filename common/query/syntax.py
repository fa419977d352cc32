"""The query language: tantivy's, checked against a collection's fields.

tantivy's parser (https://docs.rs/tantivy/latest/tantivy/query/struct.QueryParser.html) defines the
syntax: words, "phrases"~slop, field:value, ranges, IN sets, +must, -not, AND, OR, NOT, boosts.
In addition, `word~1` and `word~2` match within one or two edits, and `word*` matches prefixes.
Regular expressions are refused, since there is no bound on the time that one takes.

Strict syntax refuses an invalid query, and says where it is at fault. Lenient syntax, meant for
plain text, never refuses: a syntax character that has no meaning in its place counts as a space,
and a field that does not exist counts as a word.

All this happens on the gateway's event loop, so it is bounded: the text for the parser
(`common.query.text`), the number of repairs, and the depth of the tree. Beyond a bound, strict
syntax refuses, and lenient syntax searches only the words.
"""

import re
from typing import Any

import tantivy

from hedgerow.common.collection import Collection
from hedgerow.common.errors import BadRequestError
from hedgerow.common.query.cost import Cost, estimate, plain_cost
from hedgerow.common.query.escapes import with_codes
from hedgerow.common.query.plain import is_plain, read_plain
from hedgerow.common.query.reader import FIRST_MARK, QueryReader, TooDeepError
from hedgerow.common.query.text import (
    SYNTAX,
    character_at,
    excess,
    parser_work,
    plain_words,
    with_spaces,
)
from hedgerow.common.query.tree import Clause, Clauses, Node, Occur, Words, has_bare_words

_MAX_REPAIRS = 16
_MAX_REPAIR_CHARS = 4096  # that the parser reads for repairs, which takes 1 ms

# Reports of tantivy's lenient parser when no part of the query is lost or misread.
_HARMLESS = ("parsed possible invalid field as term", "expected ')'", "parsed keyword")
_DANGLING = frozenset({"AND", "OR", "NOT"})
_SIGN = re.compile(r"(?<!\S)[-+]+(?!\S)")
_SIGNED = re.compile(r"[\s(]*\+\S")
_PLAIN_WORD = re.compile(rf"(?<!\S)(\+?)([^\s{re.escape(SYNTAX)}]+)(?!\S)")
_MARK_OF_DIGIT = {ord(digit): FIRST_MARK + int(digit) for digit in "0123456789"}
_NO_TEXT = (
    "Words find nothing without a field name: the collection has no text field that is searched."
)
_OPERATORS = frozenset({"AND", "OR", "NOT", "IN", "TO"})


def check_query(
    query: str, collection: Collection, strict: bool, field: str = "query"
) -> tuple[Cost, list[str]]:
    """Check a query before it is sent anywhere.

    Args:
        query: the text, at most a few thousand characters.
        collection: the collection that it searches.
        strict: whether to refuse an invalid query, or to repair it.
        field: the caller's name for the query, for the error.

    Returns:
        Its cost, and a sentence for each repair and each part that cannot match; no repairs if
        strict.

    Raises:
        BadRequestError: strict, and the query is invalid; with the position if it is known.
    """
    if is_plain(query):
        return plain_cost(query, collection), [] if collection.searched_fields else [_NO_TEXT]
    tree, warnings = parse_checked(query, collection, strict, field)
    return estimate(tree, collection), warnings


def parse_checked(
    query: str, collection: Collection, strict: bool, field: str = "query"
) -> tuple[Node, list[str]]:
    """Parse a query; as `check_query`.

    Returns:
        The query's tree, and a sentence for each repair and each part that cannot match.
    """
    tree, warnings = parse(query, collection, strict=strict, field=field)
    if not collection.searched_fields and has_bare_words(tree):
        warnings.append(_NO_TEXT)
    return tree, warnings


def check_filter(text: str, collection: Collection, field: str = "filter") -> Cost:
    """Check a filter, in strict syntax; "" is no filter.

    Raises:
        BadRequestError: it is invalid, or names a field that does not exist.
    """
    if not text:
        return Cost()
    if is_plain(text):
        return plain_cost(text, collection)
    return estimate(parse_filter(text, collection, field), collection)


def parse_filter(text: str, collection: Collection, field: str = "filter") -> Node:
    """Parse a filter; as `check_filter`. Repeated words are dropped, since it does not score."""
    plain = read_plain(text)
    if plain is not None:
        return plain
    tree = _parse_strict(text, field, keep_repeats=False)
    return _read_strict(tree, text, collection, field)


def parse(
    query: str, collection: Collection, strict: bool, field: str = "query"
) -> tuple[Node, list[str]]:
    """Parse a query; as `check_query`.

    Returns:
        The query's tree, and a sentence for each repair.
    """
    plain = read_plain(query)
    if plain is not None:
        return plain, []
    if strict:
        return _read_strict(_parse_strict(query, field), query, collection, field), []
    warnings: list[str] = []
    tree = _parse_lenient(query, warnings)
    if tree is not None:
        try:
            node = QueryReader(query, collection, strict, field, warnings).read(tree)
            return _as_signed(query, node), warnings
        except TooDeepError as error:
            warnings.append(_read_as_plain(str(error)))
    return _plain_tree(query), warnings


def _read_strict(tree: dict[str, Any], query: str, collection: Collection, field: str) -> Node:
    try:
        node = QueryReader(query, collection, strict=True, field=field, warnings=[]).read(tree)
        return _as_signed(query, node)
    except TooDeepError as error:
        raise BadRequestError(field, str(error)) from None


def _as_signed(text: str, node: Node) -> Node:
    """The tree of a text, with the + of a lone clause, which the parser drops.

    A word that the analysis splits matches any of its parts without it, and all with it.
    """
    if isinstance(node, Clauses) or not _SIGNED.match(text):
        return node
    return Clauses((Clause(Occur.MUST, node),))


def _parse_strict(query: str, field: str, *, keep_repeats: bool = True) -> dict[str, Any]:
    text, unended = with_codes(query)
    text = with_spaces(text)
    if (too_much := excess(text)) is not None:
        raise _refusal(field, *too_much)
    # The lenient grammar is the larger one (escapes in ranges), and the only one with positions.
    tree, errors = tantivy.parse_query_lenient(text)
    problems = [(match.start(), "a sign needs a word") for match in _SIGN.finditer(text)]
    problems += [(where, "an operator needs two sides") for where in _dangling(text, tree)]
    # A colon within a value, as in a date, is resolved once the field is known.
    harm = [
        (error["pos"], error["message"])
        for error in errors
        if not error["message"].startswith(_HARMLESS[0])
    ]
    if harm:
        byte, message = min(harm)
        problems.append((character_at(text, byte), message))
    if unended is not None:
        problems.append((unended, f"missing delimiter {text[unended]}"))
    if problems:
        position, message = min(problems)
        raise _refusal(field, message, position)
    return _with_repeats(text, tree) if keep_repeats else tree


def _refusal(field: str, message: str, position: int) -> BadRequestError:
    reason = f"{message} (at character {position})".replace("\\", "")
    return BadRequestError(field, reason, position)


def _dangling(text: str, tree: dict[str, Any]) -> list[int]:
    """The positions of operators that the parser took for words."""
    words = set()
    parts = [tree]
    while parts:
        part = parts.pop()
        if part["type"] == "bool":
            parts += [clause for _, clause in part["clauses"]]
        elif part["type"] == "boost":
            parts.append(part["underlying"])
        elif part.get("delimiter") == "none":
            words.add(part["phrase"])
    # Text directly after a boost, as in `a^2OR`, is not found here; the parser reports it itself.
    return [
        match.start()
        for word in words & _DANGLING
        for match in list(re.finditer(rf"\b{word}\b", text))[-1:]
    ]


def _parse_lenient(query: str, warnings: list[str]) -> dict[str, Any] | None:
    """The parser's tree of a query, repaired if necessary; None to search its words instead."""
    text = _SIGN.sub(" ", with_spaces(with_codes(query)[0]))
    if (too_much := excess(text)) is not None:
        warnings.append(_read_as_plain(too_much[0]))
        return None
    affordable = _MAX_REPAIR_CHARS // max(1, parser_work(text))
    for _ in range(min(_MAX_REPAIRS, max(1, affordable))):
        text, culprit = with_codes(text)
        if culprit is None:
            tree, errors = tantivy.parse_query_lenient(text)
            harm = next((e for e in errors if not e["message"].startswith(_HARMLESS)), None)
            if harm is None:
                return _with_repeats(text, tree)
            culprit = _culprit(text, harm)
        if culprit is None:
            break
        warnings.append(f"Character {culprit} ({text[culprit]}) has no meaning there: ignored.")
        text = f"{text[:culprit]} {text[culprit + 1 :]}"
    warnings.append("The syntax could not be repaired: read as plain text.")
    return None


def _read_as_plain(reason: str) -> str:
    return f"The query {reason}: read as plain text."


def _plain_tree(text: str) -> Node:
    """The tree of a text's words: what the parser returns for a text without syntax."""
    clauses = tuple(Clause(Occur.SHOULD, Words(None, word)) for word in plain_words(text))
    return clauses[0].node if len(clauses) == 1 else Clauses(clauses)


def _with_repeats(text: str, tree: dict[str, Any]) -> dict[str, Any]:
    """The tree of a valid text, with every word as often as it is written.

    tantivy's parser drops a repeated clause, but a repeated word counts again in BM25. So repeated
    words get marks, which make them differ, and the reader of the tree removes the marks.

    Args:
        text: the text.
        tree: the parser's tree of it.
    """
    seen: dict[str, int] = {}

    def mark(match: re.Match[str]) -> str:
        written, word = match[0], match[2]
        count = seen[written] = seen.get(written, -1) + 1
        if count == 0 or word in _OPERATORS:
            return written
        return written + str(count).translate(_MARK_OF_DIGIT)

    marked = _PLAIN_WORD.sub(mark, text)
    return tree if marked == text else tantivy.parse_query_lenient(marked)[0]


def _culprit(text: str, error: dict[str, Any]) -> int | None:
    """The character that the parser could not handle: syntax at or before its reported position."""
    position = character_at(text, error["pos"])
    if "missing delimiter" in error["message"]:
        return max(text.rfind(quote) for quote in "\"'") if re.search("[\"']", text) else None
    for index in range(min(position, len(text) - 1), -1, -1):
        if text[index] in SYNTAX:
            return index
    return None
