"""Blocks of a document that are written by the code: `<!-- NAME: begin -->` … `<!-- NAME: end -->`.

A test holds each block equal to what the code says; running the test's module writes them anew.
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


def write(document: Path, texts: Mapping[str, str]) -> None:
    """Write the blocks anew; what stands around them stays."""
    text = document.read_text(encoding="utf-8")
    text = _BLOCK.sub(
        lambda match: f"{match[1]}\n{texts[match['name']].strip()}\n\n{match[4]}", text
    )
    document.write_text(text, encoding="utf-8")


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Lay out a table in Markdown."""
    lines = [f"| {' | '.join(head)} |", f"|{'---|' * len(head)}"]
    for row in rows:
        cells = [cell.replace("|", "\\|").replace("\n", " ") for cell in row]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)
