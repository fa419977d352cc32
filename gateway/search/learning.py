"""What a gateway learns from its searches, and from which of them."""

import random
from collections.abc import Callable, Iterable
from typing import Final

from hedgerow.gateway.search.coverage.late_replies import CoverageCurves
from hedgerow.gateway.search.ended_search import Observer
from hedgerow.gateway.search.sampling import Sampler

SAMPLES_PER_S: Final = 200.0  # searches that the gateway learns from; more would teach it no more


class Learning:
    """What a gateway learns from its searches, apart from what the hedger learns.

    Attributes:
        curves: the coverage curve of each collection.
        observers: further observers of the sampled searches, in the order in which they are called.
        sampler: chooses the searches.
    """

    __slots__ = ("curves", "observers", "sampler")

    def __init__(
        self,
        curves: CoverageCurves,
        observers: Iterable[Observer] = (),
        rng: Callable[[], float] = random.random,
    ) -> None:
        """Learn from a fair sample of all searches.

        Args:
            curves: also decide how long the shards of a sampled search may run on.
            observers: further observers; they are called last.
            rng: uniform over [0, 1), for the sampling.
        """
        self.curves = curves
        self.observers = tuple(observers)
        self.sampler = Sampler(SAMPLES_PER_S, rng)
