"""Plain queries: words and "phrases", each with or without a + or - before it, and nothing else.

Most queries are of this kind. Reading one here takes 4 µs, and checking it 0.5 µs; tantivy's
parser, with the checks for what it cannot parse, takes 20. The tree is the one that
`common.query.syntax` gets from the parser, in both strict and lenient syntax. Any query that might
be of another kind is left to the parser.
"""

import re

from hedgerow.common.query.tree import Clause, Clauses, Node, Occur, Words

# Letters, digits and underscores are not syntax, except in the operators. No repetition can
# match the same text in two ways, so the time is linear.
_WORD = r"(?!(?:AND|OR|NOT|IN|TO)\b)\w+"
_PART = rf'[-+]?(?:{_WORD}|"{_WORD}(?: {_WORD})*")'
_is_plain = re.compile(rf" *{_PART}(?: +{_PART})* *").fullmatch
_parts = re.compile(r'([-+]?)(?:"([^"]+)"|(\w+))').findall

_OCCURS = {"": Occur.SHOULD, "+": Occur.MUST, "-": Occur.MUST_NOT}


def is_plain(query: str) -> bool:
    """Whether a query is plain, so that nothing in it has to be refused or repaired."""
    return _is_plain(query) is not None


def read_plain(query: str) -> Node | None:
    """The tree of a plain query; None for any other."""
    if _is_plain(query) is None:
        return None
    parts = _parts(query)
    is_lone = len(parts) == 1
    # The parser drops a repeated clause. `common.query.syntax` makes up for that if a word is
    # repeated, which counts again, but not if the word must not match, or is the first or last of a
    # phrase.
    if ('"' in query or "-" in query) and len(set(parts)) < len(parts):
        unseen = set(parts)
        parts = [part for part in parts if _counts_again(*part) or _take(part, unseen)]
    clauses = tuple(
        Clause(_OCCURS[sign], Words(None, word or phrase, not word)) for sign, phrase, word in parts
    )
    # A lone clause without a sign is its own tree.
    if is_lone and clauses[0].occur is Occur.SHOULD:
        return clauses[0].node
    return Clauses(clauses)


def _counts_again(sign: str, phrase: str, word: str) -> bool:
    return phrase.count(" ") > 1 if phrase else word != "" and sign != "-"


def _take(part: tuple[str, str, str], unseen: set[tuple[str, str, str]]) -> bool:
    is_new = part in unseen
    unseen.discard(part)
    return is_new
