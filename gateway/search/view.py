"""What a search needs to know of the cluster."""

from collections.abc import Sequence
from typing import Protocol

from hedgerow.common.collection import Collection
from hedgerow.gateway.shapes.collection import Filling


class View(Protocol):
    """What a search needs to know of the cluster."""

    @property
    def live(self) -> Sequence[bool]:
        """For each shard, whether a live worker serves it."""

    @property
    def no_worker(self) -> str:
        """Why a shard without a live worker is not asked, in words."""

    @property
    def num_live(self) -> Sequence[int]:
        """For each shard, how many live workers serve it."""

    @property
    def has_replicas(self) -> bool:
        """Whether a shard has two live workers, or may have them at any moment."""

    @property
    def died_at(self) -> Sequence[float]:
        """For each shard, when a worker's death was last noticed, on the event loop's clock."""

    @property
    def attaches(self) -> bool:
        """Whether every live worker can attach documents to its replies."""

    @property
    def search_options(self) -> int:
        """The level of the options of a search that every live worker knows."""

    def workers_of(self, shard: int) -> list[str]:
        """The names of the live workers that take a shard's requests."""

    def filling_of(self, collection: Collection) -> Filling | None:
        """The progress of fields that were added to a collection; None if none is missing."""

    def counts_of(self, uid: str) -> Sequence[int | None]:
        """For each shard, how many documents of a collection it last reported; None if never."""
