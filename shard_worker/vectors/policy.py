"""When rows are compared one by one, and when a graph is used and built. Pure.

The numbers are measured with vectors of 256 dimensions (docs/vectors.md).
"""

from enum import IntEnum
from typing import Final

# Rows that a search compares without a graph: those behind the last row of the graph.
MOST_SCANNED: Final = 8192
# The same while documents are being written: a graph of many rows takes long to write.
MOST_SCANNED_WHILE_WRITTEN: Final = 32_768
_SHARE_WHILE_WRITTEN: Final = 8
# Rows behind the graph that are added to it when there is nothing else to do.
MOST_LEFT: Final = 1024


class Due(IntEnum):
    """When a graph is to be built, or rows are to be added to it."""

    NEVER = 0
    WHEN_QUIET = 1
    NOW = 2


def graph_due(num_rows: int, num_in_graph: int) -> Due:
    """When a graph needs more rows.

    Args:
        num_rows: the rows of the file.
        num_in_graph: how many of them the graph has; 0 if there is none.
    """
    if num_rows <= MOST_SCANNED:
        return Due.NEVER
    num_behind = num_rows - num_in_graph
    share = num_rows // _SHARE_WHILE_WRITTEN
    if num_behind > max(MOST_SCANNED, min(share, MOST_SCANNED_WHILE_WRITTEN)):
        return Due.NOW
    return Due.WHEN_QUIET if num_behind > MOST_LEFT else Due.NEVER
