"""Which searches are learnt from, and what learns from them."""

import random
from collections.abc import Callable, Iterable
from typing import Final

from hedgerow.gateway.search.coverage.late_replies import CoverageCurves
from hedgerow.gateway.search.ended_search import Observer
from hedgerow.gateway.search.sampling import Sampler

SAMPLES_PER_S: Final = 200.0  # searches that are learnt from; more would teach no more


class Learning:
    """What a gateway learns from its searches, beside what it needs to send second copies.

    Attributes:
        curves: the curve of coverage of each collection.
        observers: further ones, in the order in which they get the searches that are sampled.
        sampler: chooses those searches.
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
            curves: also decide how long a sampled search's shards may run on.
            observers: further ones; they come last.
            rng: uniform over [0, 1), for the sampling.
        """
        self.curves = curves
        self.observers = tuple(observers)
        self.sampler = Sampler(SAMPLES_PER_S, rng)
