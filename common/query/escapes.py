r"""What tantivy's parser does not know: quoted bounds of ranges, and escapes of any sign.

In `name:>="two words"` and `day:["2024-05-17" TO *]`, the parser takes the quotes for a part of the
value, and ends the value at a space. In `tag:C\+\+` it keeps the backslashes. So what is quoted or
escaped is written in other characters before the parser gets the text, and read again when the tree
is read. They are noncharacters, which Unicode reserves for internal use (chapter 23.7). The length
of the text does not change, so that positions stay true.
"""

import re
from typing import Final

from hedgerow.common.query.text import SYNTAX, WHITE

_LAST_OF_PLANES: Final = tuple(
    plane << 16 | last for plane in range(1, 17) for last in (0xFFFE, 0xFFFF)
)
NOTHING: Final = "\ufdd0"  # stands where a character is dropped when the tree is read
# Without U+FFFF, which people use as a text that comes after all others.
_NONCHARACTERS: Final = (*range(0xFDDA, 0xFDF0), *_LAST_OF_PLANES)
_WHITE: Final = tuple(
    character for code in range(0x3001) if re.match(f"[{WHITE}]", character := chr(code))
)
_CODES: Final = {
    ord(character): chr(code)
    for character, code in zip((*_WHITE, *SYNTAX), _NONCHARACTERS, strict=False)
}
DECODED: Final = {ord(code): chr(character) for character, code in _CODES.items()}

# A quote within a word, as in don't, opens nothing. No part of this can match a text in two ways,
# and of each kind of quote only one can lack its end, so the time is linear.
_QUOTED: Final = r'(?:"(?:[^"\\]|\\.)*+"|\'(?:[^\'\\]|\\.)*+\')'
_BOUND: Final = rf"({_QUOTED}|[\"']|[^\s\"'\]}}][^\s\]}}]*+)"
_PART: Final = re.compile(
    rf"(\\.)|(?<![^\s:(+-]){_QUOTED}|"
    rf"(:\s*+[<>]=?\s*+)({_QUOTED}|[\"'])|"
    rf"(:\s*+[\[{{]\s*+){_BOUND}(?:(\s++TO\s++){_BOUND})?",
    re.DOTALL,
)
_RANGE: Final = re.compile(r":\s*+[<>\[{]")
_ESCAPED: Final = re.compile(r"\\(.)", re.DOTALL)
# Letters and digits need no escape. Before one, a backslash is itself: C:\\temp has two words.
_SIGN: Final = re.compile(r"\\([ -/:-@\[-`{-~])")


def with_codes(text: str) -> tuple[str, int | None]:
    """Return the text with codes, and where a quote opens a bound that does not end."""
    is_quoted = ('"' in text or "'" in text) and _RANGE.search(text)
    if "\\" not in text and not is_quoted:
        return text, None
    faults: list[int] = []

    def coded(match: re.Match[str]) -> str:
        written = []
        for group in range(1, 8):
            part = match[group]
            if part is None:
                continue
            if part[0] not in "\"'":
                written.append(_SIGN.sub(_escaped, part))
            elif len(part) == 1:
                faults.append(match.start(group))
                written.append(part)
            else:
                written.append(_quoted(part))
        return "".join(written) or match[0]

    return _PART.sub(coded, text), min(faults, default=None)


def _escaped(match: re.Match[str]) -> str:
    return NOTHING + match[1].translate(_CODES)


def _quoted(part: str) -> str:
    inner = _ESCAPED.sub(_escaped, part[1:-1])
    return f"{NOTHING}{inner.translate(_CODES)}{NOTHING}"
