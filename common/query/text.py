"""Checks the text of a query, in linear time, before it is parsed.

tantivy's parser looks ahead from each word to the next space. If words are separated by line breaks
or tabs, or many words begin with a slash, its time grows with the square of the length: a few
thousand characters took two seconds. Line breaks and tabs are therefore replaced by spaces, and a
text that is otherwise too costly is not parsed at all.
"""

import re
from itertools import islice

MAX_DEPTH = 24  # of brackets and NOTs: the parser's time grows with their square
MAX_WORDS = 512  # separated by white space; parser and reader take 5 µs for each
MAX_SYNTAX = 1536  # characters; each may be an error, which takes the parser 1 µs to report
# Slashes that may open a regular expression, times the length of the text. Each costs the parser
# up to 11 ns a character: 3 ms at the bound. A text of 4,096 characters may have 64 of them.
MAX_SLASH_WORK = 64 * 4096
# The same for white space in quotes other than spaces, at 40 ns a character: 1 ms at the bound.
_MAX_BREAK_WORK = 8 * 4096

SYNTAX = "+-(){}[]^\"'~*:\\/<>=`"
# White space as in tantivy, which is Unicode's; Python's `\s` also has U+001C to U+001F.
_BREAKS = "\t-\r\x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000"
WHITE = f" {_BREAKS}"  # for a class in a regular expression
_OPERATOR = re.compile(r"\b(AND|OR|NOT|IN|TO)\b")
_SYNTAX = re.compile(f"[{re.escape(SYNTAX)}]")
_QUOTED_OR_BREAK = re.compile(
    rf'\\.|"(?:[^"\\]|\\.)*+"|\'(?:[^\'\\]|\\.)*+\'|[{_BREAKS}]', re.DOTALL
)
_BREAK = re.compile(f"[{_BREAKS}]")
# A slash that does not continue a word. A number ends a boost, which a slash may follow.
_SLASH = re.compile(r"(?<![^\s()\[\"':+\-\]}`/])/|\^[\d.]+/")
_NESTING = re.compile(r"\\.|[()]|\bNOT\b", re.DOTALL)


def with_spaces(text: str) -> str:
    """The text with spaces instead of line breaks, tabs and the like, except in quotes.

    Its length does not change. In quotes they stay, since a keyword may hold them, unless there are
    too many for the parser.
    """
    if text.isprintable() or not _BREAK.search(text):  # of all white space, only " " is printable
        return text

    def spaced(match: re.Match[str]) -> str:
        return match[0] if len(match[0]) > 1 else " "

    spacious = _QUOTED_OR_BREAK.sub(spaced, text)
    if len(_BREAK.findall(spacious)) * len(text) > _MAX_BREAK_WORK:
        return _BREAK.sub(" ", spacious)
    return spacious


def excess(text: str) -> tuple[str, int] | None:
    """What a text has too much of for the parser, as a clause, and where it exceeds the limit."""
    if ("(" in text or "NOT" in text) and (where := _too_deep(text)) is not None:
        return f"is nested more than {MAX_DEPTH} deep", where
    if len(text) > MAX_WORDS and len(text.split(maxsplit=MAX_WORDS)) > MAX_WORDS:
        over = next(islice(re.finditer(r"\S+", text), MAX_WORDS, None))
        return f"has syntax and more than {MAX_WORDS} words", over.start()
    if len(text) > MAX_SYNTAX:
        syntax = [match.start() for match in _SYNTAX.finditer(text)]
        if len(syntax) > MAX_SYNTAX:
            return f"has more than {MAX_SYNTAX} characters of syntax", syntax[MAX_SYNTAX]
    if "/" in text and _num_slashes(text) * len(text) > MAX_SLASH_WORK:
        most = MAX_SLASH_WORK // len(text)
        over = next(islice(_SLASH.finditer(text), most, None))
        return f"has more than {most} words that begin with a slash", over.end() - 1
    return None


def parser_work(text: str) -> int:
    """The parser's work for a text, as the number of characters of a text without slashes."""
    return len(text) + (_num_slashes(text) * len(text) // 64 if "/" in text else 0)


def plain_words(text: str) -> list[str]:
    """The words of a text, without any syntax."""
    words = _OPERATOR.sub(lambda match: match[0].lower(), _SYNTAX.sub(" ", text))
    return words.split()


def character_at(text: str, byte: int) -> int:
    """The character at a byte offset; tantivy counts bytes of UTF-8, callers count characters."""
    return len(text.encode()[:byte].decode(errors="ignore"))


def _num_slashes(text: str) -> int:
    return len(_SLASH.findall(text))


def _too_deep(text: str) -> int | None:
    depth = 0
    for match in _NESTING.finditer(text):
        if match[0] in ("(", "NOT"):
            depth += 1
            if depth > MAX_DEPTH:
                return match.start()
        elif match[0] == ")" and depth:
            depth -= 1
    return None
