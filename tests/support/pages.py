"""The code of a page of the documentation, block by block."""

import re
from pathlib import Path
from typing import NamedTuple

DOCS = Path(__file__).parents[2] / "docs"
_FENCE = re.compile(r"^```(\w+)[^\n]*\n(.*?)^```$", re.DOTALL | re.MULTILINE)


class Block(NamedTuple):
    """A block of code: its language, its text, and the line of the page that it begins on."""

    language: str
    text: str
    line: int


def blocks_of(page: str) -> list[Block]:
    """All blocks of a page that have a language, in their order."""
    text = (DOCS / page).read_text(encoding="utf-8")
    return [
        Block(found[1], found[2], text.count("\n", 0, found.start()) + 1)
        for found in _FENCE.finditer(text)
    ]


def http_pages() -> list[Path]:
    """The pages of the HTTP interface, the entry first."""
    return sorted(DOCS.glob("http*.md"), key=lambda page: (page.stem != "http", page.name))
