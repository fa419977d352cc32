"""Calls the observers of a search, in a fixed order, when its shards have ended.

They are called for every search that was sent, cancelled ones included, after the transport has
forgotten the query. Each observer is a function of an `EndedSearch`; none of them waits.
"""

import math
from collections.abc import Callable, Sequence

from hedgerow.gateway.search.ended_search import EndedSearch, Observer
from hedgerow.gateway.search.hedger import Hedger
from hedgerow.gateway.search.learning import Learning


class Observers:
    """The observers of one gateway's searches.

    For every search:

    1. the canary, which tries a query that has killed a scorer on one shard the next time;
    2. the breakers, which get their permits back with each shard's outcome. `HeavyWork` must still
       know the search then, so that its own timeouts are excused;
    3. the account of heavy queries (`HeavyWork`).

    For sampled searches only, since calling these thousands of times a second costs too much:

    4. the hedger, which learns how long shards take;
    5. admission control, which learns the lengths of their queues and the waits in them;
    6. the coverage curve;
    7. the observers that the gateway adds (`Learning.observers`).
    """

    def __init__(
        self,
        hedger: Hedger,
        learning: Learning,
        counts_of: Callable[[str], Sequence[int | None]],
    ) -> None:
        """Observe the searches of one `Searcher`.

        Args:
            hedger: the hedger of its searches.
            learning: the other observers.
            counts_of: a collection's uid → for each shard, how many documents it last reported.
        """
        self._hedger = hedger
        self._curves = learning.curves
        self._counts_of = counts_of
        self._of_all: tuple[Observer, ...] = (_end_trial, _finish_breakers, _end_heavy)
        self._of_sampled: tuple[Observer, ...] = (
            self._teach_hedger,
            _teach_admission,
            self._teach_curves,
            *learning.observers,
        )

    def on_end(self, ended: EndedSearch) -> None:
        """Give each observer the search."""
        for observe in self._of_all:
            observe(ended)
        if ended.is_sampled:
            for observe in self._of_sampled:
                observe(ended)

    def _teach_hedger(self, ended: EndedSearch) -> None:
        self._hedger.learn(ended.gather, ended.ended_at)

    def _teach_curves(self, ended: EndedSearch) -> None:
        # The counts as of now: for a new collection, they were not known when the query was sent.
        self._curves.on_end(ended, self._counts_of(ended.search.payload.uid))


def _end_trial(ended: EndedSearch) -> None:
    if ended.trial is not None:
        ended.trial.close(ended.gather.results)


def _finish_breakers(ended: EndedSearch) -> None:
    plan, gather, now = ended.search.plan, ended.gather, ended.ended_at
    is_ok = gather.num_ok == len(gather.asked)
    plan.breakers.finish(
        plan.shards,
        plan.permits,
        gather.results,
        now,
        now - ended.search.started if is_ok else math.inf,
    )


def _end_heavy(ended: EndedSearch) -> None:
    ended.heavy.end(ended.gather.results, ended.ended_at)


def _teach_admission(ended: EndedSearch) -> None:
    ended.search.permit.learn(ended.gather.backlogs, ended.gather.results, ended.sent_at)
