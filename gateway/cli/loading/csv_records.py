"""Feeds a CSV parser line by line, and skips records that exceed a limit.

Python's parser holds a whole record: if a quoted cell is never closed, the rest of the file is one
record, and a file without line breaks is one line. The lines are therefore read in bounded pieces,
and the characters of each record are counted. A record that is too long is skipped by the rules
that the parser follows (RFC 4180); only their state is kept.
"""

import re
from enum import Enum, auto
from typing import Final, TextIO

_SKIPPED_CHARS: Final = 65_536
# In text outside quotes, given where the line ends, only the start of a quoted cell matters.
_OPENS: Final = re.compile(',"')


class RecordTooLongError(Exception):
    """A record has more characters than the limit."""


class _State(Enum):
    """Where in a record the reading stands."""

    CELL_START = auto()
    PLAIN = auto()
    QUOTED = auto()
    QUOTE = auto()  # a quote within quotes: half of an escaped one, or the end of the cell


class RecordFeed:
    """Lines for `csv.reader`, which takes as many as a record needs.

    Attributes:
        line_number: lines read so far, including those of skipped records.
        num_chars: characters of the current record.
        at_end: whether all lines have been read.
    """

    def __init__(self, text: TextIO, max_chars: int) -> None:
        """Read from `text`, which was opened with `newline=""`, records of at most `max_chars`."""
        self.line_number = 0
        self.num_chars = 0
        self.at_end = False
        self._text = text
        self._max_chars = max_chars
        self._num_lines = 0  # of the current record
        self._cut = ""
        self._ends_with_return = False

    def __iter__(self) -> "RecordFeed":
        return self

    def begin(self) -> None:
        """Count from here: the next line begins a record."""
        self.num_chars = self._num_lines = 0

    def __next__(self) -> str:
        """Return the next line.

        Raises:
            RecordTooLongError: the record exceeds the limit; `skip` moves past it.
        """
        room = self._max_chars - self.num_chars
        line = self._text.readline(room + 1)
        if not line:
            self.at_end = True
            raise StopIteration
        if len(line) > room:
            self._cut = line
            raise RecordTooLongError
        self._count(line)
        self.num_chars += len(line)
        self._num_lines += 1
        return line

    def skip(self) -> bool:
        """Read to the end of an overlong record; returns whether its last quote was closed."""
        # The parser asks for a further line of a record only within quotes.
        state = _State.QUOTED if self._num_lines else _State.CELL_START
        piece, self._cut = self._cut, ""
        while piece:
            state = _state_after(piece, state)
            self._count(piece)
            if piece.endswith(("\n", "\r")) and state is not _State.QUOTED:
                return True
            piece = self._text.readline(_SKIPPED_CHARS)
        return state is not _State.QUOTED

    def _count(self, piece: str) -> None:
        """Count a line; a carriage return and a line feed in two pieces are one line end."""
        is_second_half = piece == "\n" and self._ends_with_return
        self._ends_with_return = piece.endswith("\r")
        if piece.endswith(("\n", "\r")) and not is_second_half:
            self.line_number += 1


def _state_after(piece: str, state: _State) -> _State:
    """Follow a piece of a record to its end; at most its last character ends a line."""
    at, end = 0, len(piece)
    while at < end:
        match state:
            case _State.QUOTED:
                found = piece.find('"', at)
                if found < 0:
                    return state
                at, state = found + 1, _State.QUOTE
            case _State.QUOTE if piece[at] == '"':
                at, state = at + 1, _State.QUOTED
            case _State.CELL_START if piece[at] == '"':
                at, state = at + 1, _State.QUOTED
            case _:
                opening = _OPENS.search(piece, at)
                if opening is None:
                    return _State.CELL_START if piece.endswith(",") else _State.PLAIN
                at, state = opening.end(), _State.QUOTED
    return state
