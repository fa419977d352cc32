"""Makes text from callers, documents and users' code safe to show on a terminal.

Control characters can move the cursor, overwrite earlier output, or make some terminals type
commands. Overrides of the writing direction make a line read as something else. Both are shown as
escapes instead. Every line for a terminal or a console log goes through this module.
"""

import re

# C0 and DEL, C1, the marks, embeddings, overrides and isolates of direction, characters that some
# terminals treat as a line break, and halves of surrogate pairs, which cannot be encoded.
_DIRECTION = "\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069"
_UNPRINTABLE = re.compile(rf"[\0-\x1f\x7f-\x9f\u2028\u2029\ufeff\ud800-\udfff{_DIRECTION}]")
_SPACES = str.maketrans(dict.fromkeys("\t\n\v\f\r\x1c\x1d\x1e\x85\u2028\u2029", " "))


def printable(text: str) -> str:
    r"""The text on one line, with escapes such as `\x1b` and `\u202e` for unsafe characters."""
    return text if text.isprintable() else _UNPRINTABLE.sub(_escaped, text.translate(_SPACES))


def printable_lines(text: str) -> str:
    """As `printable`, over several lines, such as a traceback."""
    return "\n".join(map(printable, text.split("\n")))


def printable_json(text: str) -> str:
    r"""Equivalent JSON, with `\u` escapes for unsafe characters."""
    return _UNPRINTABLE.sub(lambda match: _in_json(match[0]), text)


def _in_json(character: str) -> str:
    return character if character in "\n\t\r" else f"\\u{ord(character):04x}"


def _escaped(match: re.Match[str]) -> str:
    code = ord(match[0])
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"
