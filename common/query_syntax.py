"""The query language: tantivy's, checked against a collection's fields.

tantivy's parser (https://docs.rs/tantivy/latest/tantivy/query/struct.QueryParser.html) gives the
syntax: words, "phrases"~slop, field:value, ranges, IN sets, +must, -not, AND, OR, NOT, boosts.
Beyond it, `word~1` and `word~2` match within so many edits and `word*` matches beginnings. Regular
expressions are refused, since one pattern can take a scorer as long as it likes.

Strict syntax refuses what it does not understand and says where. Lenient syntax, meant for plain
text, never refuses: a character that is no syntax where it stands counts as a space, and a field
that does not exist counts as a word.
"""

import re
from typing import Any

import tantivy

from common.collection import Collection
from common.errors import BadRequestError
from common.plain_query import is_plain, read_plain
from common.query_reader import FIRST_MARK, QueryReader
from common.query_tree import Node

MAX_DEPTH = 24  # of brackets and NOTs: the parser's time grows with their square
_MAX_REPAIRS = 16

# What tantivy's lenient parser reports though nothing of the query is lost or misread.
_HARMLESS = ("parsed possible invalid field as term", "expected ')'", "parsed keyword")
_SYNTAX = "+-(){}[]^\"'~*:\\/<>=`"
_SIGN = re.compile(r"(?<!\S)[-+]+(?!\S)")
_PLAIN_WORD = re.compile(rf"(?<!\S)(\+?)([^\s{re.escape(_SYNTAX)}]+)(?!\S)")
_OPERATORS = frozenset({"AND", "OR", "NOT", "IN", "TO"})


def check_query(
    query: str, collection: Collection, strict: bool, field: str = "query"
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
    if is_plain(query):
        return []
    return parse(query, collection, strict=strict, field=field)[1]


def check_filter(text: str, collection: Collection, field: str = "filter") -> None:
    """Check a filter, strictly; "" is no filter.

    Raises:
        BadRequestError: it cannot be understood, or names a field that does not exist.
    """
    if text:
        parse(text, collection, strict=True, field=field)


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
    warnings: list[str] = []
    tree = _parse_strict(query, field) if strict else _parse_lenient(query, warnings)
    reader = QueryReader(query, collection, strict, field, warnings)
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
    return _parse(query, tree)


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
        return _parse(_plain(text))
    for _ in range(_MAX_REPAIRS):
        tree, errors = tantivy.parse_query_lenient(text)
        harm = next((e for e in errors if not e["message"].startswith(_HARMLESS)), None)
        if harm is None:
            return _parse(text, tree)
        culprit = _culprit(text, harm)
        if culprit is None:
            break
        warnings.append(f"Character {culprit} ({text[culprit]}) is no syntax there: ignored.")
        text = f"{text[:culprit]} {text[culprit + 1 :]}"
    warnings.append("The syntax could not be repaired: read as plain text.")
    return _parse(_plain(text))


def _parse(text: str, tree: dict[str, Any] | None = None) -> dict[str, Any]:
    """The tree of a text that is in order, with every word as often as it is written.

    tantivy's parser drops a clause that it has seen, but a word that a query repeats counts again
    in BM25. So repeated words are marked, which makes them differ, and the reader of the tree
    takes the marks off.
    """
    seen: dict[str, int] = {}

    def mark(match: re.Match[str]) -> str:
        written, word = match[0], match[2]
        count = seen[written] = seen.get(written, -1) + 1
        if count == 0 or word in _OPERATORS:
            return written
        return written + "".join(chr(FIRST_MARK + int(digit)) for digit in str(count))

    marked = _PLAIN_WORD.sub(mark, text)
    if tree is not None and marked == text:
        return tree
    return tantivy.parse_query_lenient(marked)[0]


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
