"""What a scorer no longer needs, until it is closed."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from hedgerow.shard_worker.scoring.index_snapshot import Snapshot

if TYPE_CHECKING:
    from hedgerow.shard_worker.vectors.graph import Graph


class _Closable(Protocol):
    def close(self) -> None: ...


@dataclass
class UnusedFiles:
    """What a scorer no longer needs, but has not closed yet.

    The files of a shard that the worker has let go of are removed by the system when they are
    closed here, which can take 0.1 s.
    """

    files: list[_Closable] = field(default_factory=list)
    snapshots: list[Snapshot] = field(default_factory=list)
    graphs: "list[Graph]" = field(default_factory=list)

    def add(self, other: "UnusedFiles") -> None:
        """Add the other's to this."""
        self.files += other.files
        self.snapshots += other.snapshots
        self.graphs += other.graphs

    def close(self) -> None:
        """Close it."""
        self.snapshots.clear()  # an index is closed when nothing refers to it
        self.graphs.clear()
        for file in self.files:
            file.close()
        self.files.clear()
