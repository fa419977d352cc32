"""The commands to the indexer process, and how they are packed."""

from enum import StrEnum
from typing import Any

import msgpack


class Command(StrEnum):
    """A command to the indexer; `IndexerClient` has a method for each.

    The value is the name of the method of `Indexer` that carries it out.
    """

    OPEN = "open"
    DEFINE = "define"
    APPLY = "apply"
    REINDEX = "reindex"
    STATISTICS = "statistics"
    SUMMARY = "summary"
    SUM = "sum"
    TABLE = "table"
    UNBALANCED = "unbalanced"
    BALANCE = "balance"
    BEGIN_OPTIMISING = "begin_optimising"
    OPTIMISE = "optimise"
    BEGIN_FILLING = "begin_filling"
    FILL = "fill"
    BEGIN_GRAPHS = "begin_graphs"
    BUILD_GRAPHS = "build_graphs"
    FREEZE = "freeze"
    FROZEN = "frozen"
    THAW = "thaw"
    RELEASE = "release"
    BEGIN_CLONE = "begin_clone"
    CLONE = "clone"
    PLACE_CLONE = "place_clone"
    END_CLONE = "end_clone"


def pack_command(command: Command, *arguments: Any) -> bytes:
    """Pack a command for the indexer process."""
    packed: bytes = msgpack.packb((command.value, *arguments))
    return packed


def unpack_command(payload: bytes) -> tuple[Command, list[Any]]:
    """Unpack what `pack_command` packed.

    Raises:
        ValueError: there is no such command.
    """
    name, *arguments = msgpack.unpackb(payload)
    return Command(name), arguments
