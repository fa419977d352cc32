"""Entries of a log, and their order: an entry's id is its position, "milliseconds-sequence"."""

from collections.abc import Iterable, Mapping
from typing import NamedTuple

START = "0-0"  # the position of a replica that has applied nothing


class Entry(NamedTuple):
    """One entry of the log: its id ("milliseconds-sequence"), and the packed operation.

    `trace` is the packed `TraceContext` of the write, if it is to be traced; else b"".
    """

    id: str
    op: bytes
    trace: bytes = b""


class Appended(NamedTuple):
    """An appended operation: its entry's id, and how many entries then wait to be applied."""

    id: str
    length: int


class RestoredTail(NamedTuple):
    """What `ShardLog.restore` has done.

    Attributes:
        restored: the entries that were appended again.
        num_lost: entries that the log lacks, or has with other contents, and that come too late.
        strangers: entries of the log before the replica's position that it has not applied.
    """

    restored: list[Entry]
    num_lost: int
    strangers: list[Entry]


def position(entry_id: str) -> tuple[int, int]:
    """An entry's id in a form that can be compared: (milliseconds, sequence)."""
    milliseconds, _, sequence = entry_id.partition("-")
    return int(milliseconds), int(sequence or 0)


def furthest(applied: Mapping[str, str]) -> str:
    """The position of the replica that has applied the most; `START` if there is none."""
    return max(applied.values(), key=position, default=START)


def strangers(found: Iterable[Entry], known: Iterable[Entry]) -> list[Entry]:
    """The entries that are not among those that are known, or have other contents."""
    ops = {entry.id: entry.op for entry in known}
    return [entry for entry in found if ops.get(entry.id) != entry.op]


def is_position(text: str) -> bool:
    """Whether a text that was read from Redis is a position."""
    try:
        position(text)
    except ValueError:
        return False
    return True
