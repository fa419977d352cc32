"""Lines of text on the standard output, in colours if that is a terminal.

`gateway up` prints through this rather than through rich, whose modules would take 4 MB of each
cluster's memory for a table and a few coloured words.
"""

import contextlib
import os
import sys
from collections.abc import Iterator, Sequence
from enum import StrEnum
from typing import NamedTuple, TextIO

from hedgerow.common.observability.printable import printable
from hedgerow.common.observability.steady_stream import steadied

_CLEAR_LINE = "\r\x1b[2K"


class Style(StrEnum):
    """How words look: the parameters of an SGR sequence (ECMA-48)."""

    BOLD = "1"
    DIM = "2"
    RED = "31"
    GREEN = "32"
    YELLOW = "33"
    BOLD_RED = "1;31"
    BOLD_GREEN = "1;32"


class Styled(NamedTuple):
    """Words that look different."""

    text: str
    style: Style


class Terminal:
    """Prints lines.

    Attributes:
        is_terminal: whether a person may be reading.
    """

    def __init__(self, output: TextIO | None = None) -> None:
        """Print to `output`; by default the standard output, without ever waiting for a reader."""
        self._output = (
            steadied(sys.stdout, _lost, sys.stdout.encoding) if output is None else output
        )
        self.is_terminal = self._output.isatty()
        is_plain = bool(os.environ.get("NO_COLOR")) or os.environ.get("TERM") == "dumb"
        self._has_colours = self.is_terminal and not is_plain
        self._status = ""

    def say(self, *parts: str | Styled) -> None:
        """Print a line; if the output is gone, nothing."""
        line = "".join(map(self._shown, parts)) + "\n"
        self._write(f"{_CLEAR_LINE}{line}{self._status}" if self._status else line)

    def table(self, header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        """Print a table; columns of numbers are aligned to the right."""
        columns = list(zip(header, *rows, strict=True))
        for row in (header, *rows):
            cells = []
            for cell, (_, *others) in zip(row, columns, strict=True):
                width = max(map(len, (cell, *others)))
                is_number = any(map(str.isdigit, others)) and all(map(_is_number, others))
                cells.append(cell.rjust(width) if is_number else cell.ljust(width))
            line = "  ".join(cells).rstrip()
            self.say(Styled(line, Style.DIM) if row is header else line)

    @contextlib.contextmanager
    def while_saying(self, text: str) -> Iterator[None]:
        """Show a line during the block, below all others, if a person may be reading."""
        if self.is_terminal:
            self._status = printable(text)
            self._write(self._status)
        try:
            yield
        finally:
            if self.is_terminal:
                self._status = ""
                self._write(_CLEAR_LINE)

    def _shown(self, part: str | Styled) -> str:
        if isinstance(part, str):
            return printable(part)
        text = printable(part.text)
        return f"\x1b[{part.style}m{text}\x1b[0m" if self._has_colours else text

    def _write(self, text: str) -> None:
        with contextlib.suppress(OSError):
            self._output.write(text)
            self._output.flush()


def _lost(num_lines: int) -> str:
    return f"({num_lines} lines were not shown, since nothing took them)"


def _is_number(cell: str) -> bool:
    return cell.isdigit() or cell == "-"
