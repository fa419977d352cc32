"""How many documents a gateway has logged and rejected, by collection."""

from collections import Counter
from collections.abc import Collection

from hedgerow.common.metrics.bounded_names import BoundedNames


class LoadCounts:
    """Counts since the start.

    Attributes:
        names: the collections that have counts of their own.
        accepted: collection → documents that were logged.
        rejected: collection → lines that were rejected.
    """

    def __init__(self, names: BoundedNames) -> None:
        """Start with none."""
        self.names = names
        self.accepted: Counter[str] = Counter()
        self.rejected: Counter[str] = Counter()

    def add(self, collection: str, *, accepted: int = 0, rejected: int = 0) -> None:
        """Count documents and lines of a load."""
        name = self.names.of(collection)
        self.accepted[name] += accepted
        self.rejected[name] += rejected

    def keep(self, collections: Collection[str]) -> None:
        """Forget the collections that no longer exist."""
        for gone in self.names.keep(collections):
            self.accepted.pop(gone, None)
            self.rejected.pop(gone, None)
