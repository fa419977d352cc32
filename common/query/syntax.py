"""The query language: tantivy's, checked against a collection's fields.

tantivy's parser (https://docs.rs/tantivy/latest/tantivy/query/struct.QueryParser.html) gives the
syntax: words, "phrases"~slop, field:value, ranges, IN sets, +must, -not, AND, OR, NOT, boosts.
Beyond it, `word~1` and `word~2` match within so many edits and `word*` matches beginnings. Regular
expressions are refused, since one pattern can take a scorer as long as it likes.

Strict syntax refuses what it does not understand and says where. Lenient syntax, meant for plain
text, never refuses: a character that is no syntax where it stands counts as a space, and a field
that does not exist counts as a word.

All this happens on the gateway's loop, so it is bounded: what is given to the parser
(`common.query.text`), how often it is repaired, and how deep the tree may be. Past a bound, strict
syntax refuses, and lenient syntax searches the words alone.
"""

import re
from typing import Any

import tantivy

from hedgerow.common.collection import Collection
from hedgerow.common.errors import BadRequestError
from hedgerow.common.query.cost import Cost, estimate, plain_cost
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
from hedgerow.common.query.tree import Clause, Clauses, Node, Occur, Words

_MAX_REPAIRS = 16
_MAX_REPAIR_CHARS = 4096  # that the parser reads for repairs: it takes 1 ms for them

# What tantivy's lenient parser reports though nothing of the query is lost or misread.
_HARMLESS = ("parsed possible invalid field as term", "expected ')'", "parsed keyword")
_DANGLING = frozenset({"AND", "OR", "NOT"})
_SIGN = re.compile(r"(?<!\S)[-+]+(?!\S)")
_PLAIN_WORD = re.compile(rf"(?<!\S)(\+?)([^\s{re.escape(SYNTAX)}]+)(?!\S)")
_MARK_OF_DIGIT = {ord(digit): FIRST_MARK + int(digit) for digit in "0123456789"}
_OPERATORS = frozenset({"AND", "OR", "NOT", "IN", "TO"})


def check_query(
    query: str, collection: Collection, strict: bool, field: str = "query"
) -> tuple[Cost, list[str]]:
    """Check a query before it is sent anywhere.

    Args:
        query: the text, at most a few thousand characters.
        collection: whose fields it may name.
        strict: whether to refuse what cannot be understood, or to repair it.
        field: the caller's name for the query, for the error.

    Returns:
        What it costs, and what was repaired, a sentence each; nothing when strict.

    Raises:
        BadRequestError: strict, and the query is at fault; with the position where one is known.
    """
    if is_plain(query):
        return plain_cost(query, collection), []
    tree, warnings = parse(query, collection, strict=strict, field=field)
    return estimate(tree, collection), warnings


def check_filter(text: str, collection: Collection, field: str = "filter") -> Cost:
    """Check a filter, strictly; "" is no filter.

    Raises:
        BadRequestError: it cannot be understood, or names a field that does not exist.
    """
    if not text:
        return Cost()
    if is_plain(text):
        return plain_cost(text, collection)
    return estimate(parse_filter(text, collection, field), collection)


def parse_filter(text: str, collection: Collection, field: str = "filter") -> Node:
    """Understand a filter; as `check_filter`. What does not score has no word twice."""
    plain = read_plain(text)
    if plain is not None:
        return plain
    tree = _parse_strict(text, field, keep_repeats=False)
    return _read_strict(tree, text, collection, field)


def parse(
    query: str, collection: Collection, strict: bool, field: str = "query"
) -> tuple[Node, list[str]]:
    """Understand a query; as `check_query`.

    Returns:
        The query's tree, and what was repaired.
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
            return QueryReader(query, collection, strict, field, warnings).read(tree), warnings
        except TooDeepError as error:
            warnings.append(_read_as_plain(str(error)))
    return _plain_tree(query), warnings


def _read_strict(tree: dict[str, Any], query: str, collection: Collection, field: str) -> Node:
    try:
        return QueryReader(query, collection, strict=True, field=field, warnings=[]).read(tree)
    except TooDeepError as error:
        raise BadRequestError(field, str(error)) from None


def _parse_strict(query: str, field: str, *, keep_repeats: bool = True) -> dict[str, Any]:
    text = with_spaces(query)
    if (too_much := excess(text)) is not None:
        raise _refusal(field, *too_much)
    # The lenient grammar is the fuller one (escapes in ranges) and the only one that says where.
    tree, errors = tantivy.parse_query_lenient(text)
    problems = [(match.start(), "a sign needs a word") for match in _SIGN.finditer(text)]
    problems += [(where, "an operator needs two sides") for where in _dangling(text, tree)]
    # A colon within a value, as in a date, is clear once the field is known.
    harm = [
        (error["pos"], error["message"])
        for error in errors
        if not error["message"].startswith(_HARMLESS[0])
    ]
    if harm:
        byte, message = min(harm)
        problems.append((character_at(text, byte), message))
    if problems:
        position, message = min(problems)
        raise _refusal(field, message, position)
    return _with_repeats(text, tree) if keep_repeats else tree


def _refusal(field: str, message: str, position: int) -> BadRequestError:
    reason = f"{message} (at character {position})".replace("\\", "")
    return BadRequestError(field, reason, position)


def _dangling(text: str, tree: dict[str, Any]) -> list[int]:
    """Where an operator stands that the parser took for a word."""
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
    # What follows a boost at once, as in `a^2OR`, is no word to find; the parser reports it itself.
    return [
        match.start()
        for word in words & _DANGLING
        for match in list(re.finditer(rf"\b{word}\b", text))[-1:]
    ]


def _parse_lenient(query: str, warnings: list[str]) -> dict[str, Any] | None:
    """The parser's tree of a query that is repaired where it must be; None to read its words."""
    text = _SIGN.sub(" ", with_spaces(query))
    if (too_much := excess(text)) is not None:
        warnings.append(_read_as_plain(too_much[0]))
        return None
    affordable = _MAX_REPAIR_CHARS // max(1, parser_work(text))
    for _ in range(min(_MAX_REPAIRS, max(1, affordable))):
        tree, errors = tantivy.parse_query_lenient(text)
        harm = next((e for e in errors if not e["message"].startswith(_HARMLESS)), None)
        if harm is None:
            return _with_repeats(text, tree)
        culprit = _culprit(text, harm)
        if culprit is None:
            break
        warnings.append(f"Character {culprit} ({text[culprit]}) is no syntax there: ignored.")
        text = f"{text[:culprit]} {text[culprit + 1 :]}"
    warnings.append("The syntax could not be repaired: read as plain text.")
    return None


def _read_as_plain(reason: str) -> str:
    return f"The query {reason}: read as plain text."


def _plain_tree(text: str) -> Node:
    """The tree of a text's words: what the parser gives where nothing is left that is syntax."""
    clauses = tuple(Clause(Occur.SHOULD, Words(None, word)) for word in plain_words(text))
    return clauses[0].node if len(clauses) == 1 else Clauses(clauses)


def _with_repeats(text: str, tree: dict[str, Any]) -> dict[str, Any]:
    """The tree of a text that is in order, with every word as often as it is written.

    tantivy's parser drops a clause that it has seen, but a word that a query repeats counts again
    in BM25. So repeated words are marked, which makes them differ, and the reader of the tree
    takes the marks off.

    Args:
        text: the text.
        tree: what the parser made of it.
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
    """The character that made the parser stumble: syntax at or before where it noticed."""
    position = character_at(text, error["pos"])
    if "missing delimiter" in error["message"]:
        return max(text.rfind(quote) for quote in "\"'") if re.search("[\"']", text) else None
    for index in range(min(position, len(text) - 1), -1, -1):
        if text[index] in SYNTAX:
            return index
    return None
