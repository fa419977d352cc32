"""Blocks of a document that are written by the code: `<!-- NAME: begin -->` … `<!-- NAME: end -->`.

A test holds each block equal to what the code says; running the test's module writes them again.
"""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

_BLOCK = re.compile(
    r"(<!-- (?P<name>[^:>]+): begin -->\n)(?P<text>.*?)(<!-- (?P=name): end -->)", re.DOTALL
)


def blocks(document: Path) -> dict[str, str]:
    """Return each block's text by its name."""
    found = _BLOCK.finditer(document.read_text(encoding="utf-8"))
    return {match["name"]: match["text"].strip() for match in found}


def without(text: str) -> str:
    """Return a document's text without its blocks."""
    return _BLOCK.sub("", text)


def write(document: Path, texts: Mapping[str, str]) -> None:
    """Replace the text of these blocks; all else in the document stays.

    Raises:
        ValueError: the document has lost the marks of a block.
    """
    if lost := texts.keys() - blocks(document).keys():
        raise ValueError(f"{document} has lost the marks of {', '.join(sorted(lost))}")

    def replaced(match: re.Match[str]) -> str:
        text = texts.get(match["name"])
        return match[0] if text is None else f"{match[1]}\n{text.strip()}\n\n{match[4]}"

    text = _BLOCK.sub(replaced, document.read_text(encoding="utf-8"))
    document.write_text(text, encoding="utf-8")


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Lay out a table in Markdown."""
    lines = [f"| {' | '.join(head)} |", f"|{'---|' * len(head)}"]
    for row in rows:
        cells = [cell.replace("|", "\\|").replace("\n", " ") for cell in row]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)
