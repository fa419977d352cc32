"""Counts searches and keeps the distributions of their times: what a scrape cannot find out later.

This runs for each search, thousands of times a second, so it does the least that it can. A full
answer is noted as a tuple, and counted together with some hundred others: code that runs in a row
finds its data in the processor's caches. What the shards of full answers did needs no counting.
"""

import asyncio
from collections import Counter
from collections.abc import Collection, Iterator
from typing import Final

from hedgerow.common.errors import (
    BadRequestError,
    ForbiddenError,
    InsufficientCoverageError,
    NotFoundError,
    OverloadedError,
    UnauthorizedError,
    UnavailableError,
)
from hedgerow.common.metrics.bounded_names import BoundedNames
from hedgerow.common.metrics.histogram import (
    COVERAGE_BOUNDS,
    DURATION_BOUNDS,
    PART_BOUNDS,
    Histogram,
)
from hedgerow.common.outcome import Outcome
from hedgerow.gateway.policies.admission import CAUSES
from hedgerow.gateway.policies.breaker import Transition
from hedgerow.gateway.search.ended_search import EndedSearch
from hedgerow.gateway.search.result import SearchQuery, SearchResult
from hedgerow.gateway.search.tally import SearchTally

RESULTS: Final = (
    "full", "partial", "insufficient", "refused", "bad_request", "not_found", "forbidden",
    "unauthorized", "unavailable", "cancelled", "failed",
)  # fmt: skip
PARTS: Final = ("admit", "queue", "lane", "work", "reply", "merge", "fetch")
_OK: Final = Outcome.OK
_MOST_PENDING: Final = 256  # full answers that are counted in a row, in 0.1 ms
# The first that fits; InsufficientCoverageError has a result of its own.
_BY_ERROR: Final[tuple[tuple[type[BaseException], str], ...]] = (
    (BadRequestError, "bad_request"),
    (NotFoundError, "not_found"),
    (ForbiddenError, "forbidden"),
    (UnauthorizedError, "unauthorized"),
    (UnavailableError, "unavailable"),
    (asyncio.CancelledError, "cancelled"),
)


_FIRST_RESULTS: Final = [
    *((result, "", "") for result in RESULTS if result not in {"full", "refused"}),
    *(("refused", cause, "") for cause in (*CAUSES, "rate")),
]


class SearchRecorder:
    """What is recorded of one gateway's searches.

    Attributes:
        parts: part of the way → its time in s, of a sample of the searches; queue, lane, work and
            reply of each of their shards that was ok.
        transitions: shard, rank profile with breakers of its own or "", and the new state → how
            often a breaker changed to it.
    """

    def __init__(self, num_shards: int, max_names: int) -> None:
        """Start with nothing recorded.

        Args:
            num_shards: shards in the cluster.
            max_names: how many collections, profiles and keys have series of their own.
        """
        self._coverage = Histogram(COVERAGE_BOUNDS)  # of answers that are not full
        self._time_left = Histogram(DURATION_BOUNDS)
        self.parts = {part: Histogram(PART_BOUNDS) for part in PARTS}
        self.transitions: Counter[tuple[int, str, str]] = Counter()
        self._merge, self._fetch = self.parts["merge"], self.parts["fetch"]
        self._num_shards = num_shards
        self._full_before: list[int] = [0] * num_shards  # of all shards before there was the shard
        self._collections = BoundedNames(max_names)
        self._profiles = BoundedNames(max_names)
        self._keys = BoundedNames(max_names)
        self._durations: dict[tuple[str, str], Histogram] = {}
        self._full: list[tuple[str, str, str, float, float]] = []  # not counted yet
        self._tally = SearchTally()
        self._full_by_caller = {"": 0}
        # Those without a key begin at 0: a rate misses what happens before its series is there.
        self._results: Counter[tuple[str, str, str]] = Counter(dict.fromkeys(_FIRST_RESULTS, 0))
        self._outcomes: Counter[tuple[int, str]] = Counter()

    def grow(self, num_shards: int) -> None:
        """The shards were split: there are more of them from now on."""
        self._settle()
        added = num_shards - self._num_shards
        self._full_before = [*self._full_before, *[self._tally.all_ok] * added][:num_shards]
        self._num_shards = num_shards

    def answered(self, query: SearchQuery, profile: str, result: SearchResult) -> None:
        """A search was answered, in full or in part."""
        if result.coverage.is_full and not result.skipped:
            full = self._full
            full.append(
                (query.collection, profile, query.caller.name, result.took_ms, result.deadline_ms)
            )
            if len(full) >= _MOST_PENDING:
                self._settle()
        elif result.coverage.is_full:
            self._add_answer(query, profile, result)
            key = self.key(query.caller.name)
            self._full_by_caller[key] = self._full_by_caller.get(key, 0) + 1
            self._tally.add_skipping(result)
        else:
            self._add_answer(query, profile, result)
            self._results["partial", "", self.key(query.caller.name)] += 1
            self._tally.add_partial(result)
        if result.steps_s is not None:
            merge_s, fetch_s = result.steps_s
            self._merge.observe(merge_s)
            if result.fetch is not None:
                self._fetch.observe(fetch_s)

    def failed(self, query: SearchQuery, profile: str, error: BaseException) -> None:
        """A search was not answered, or its answer covers too little."""
        if not isinstance(error, InsufficientCoverageError):
            self.unread(query.caller.name, error)
            return
        result: SearchResult = error.result
        self._results["insufficient", "", self.key(query.caller.name)] += 1
        self._add_answer(query, profile, result)
        self._tally.add_insufficient(result)

    def unread(self, caller: str, error: BaseException) -> None:
        """A search ended before any shard was asked; perhaps not even its body was read.

        Args:
            caller: its name; "" if it is not known.
            error: why.
        """
        if isinstance(
            error, OverloadedError
        ):  # first, since a gateway may refuse thousands a second
            self._results["refused", error.cause, self.key(caller)] += 1
            return
        found = [result for kind, result in _BY_ERROR if isinstance(error, kind)]
        self._results[found[0] if found else "failed", "", self.key(caller)] += 1

    def on_end(self, ended: EndedSearch) -> None:
        """An observer of a sample of the searches: how long the way to their shards took."""
        parts = self.parts
        parts["admit"].observe(ended.sent_at - ended.search.started)
        queue, lane, work, back = parts["queue"], parts["lane"], parts["work"], parts["reply"]
        for part in ended.results.values():
            reply = part.reply
            if reply is None or part.outcome is not _OK:
                continue
            there_s = (reply.queue_us + reply.lane_us + reply.work_us) * 1e-6
            queue.observe(reply.queue_us * 1e-6)
            lane.observe(reply.lane_us * 1e-6)
            work.observe(reply.work_us * 1e-6)
            # Clocks of two hosts differ by some µs.
            back.observe(max(part.took_s - there_s, 0.0))

    def on_transition(self, shard: int, profile: str, transition: Transition) -> None:
        """A breaker has changed its state."""
        self.transitions[shard, profile, transition.after.value] += 1

    def keep(self, collections: Collection[str]) -> None:
        """Forget the collections that no longer exist."""
        self._settle()
        for gone in self._collections.keep(collections):
            for pair in [pair for pair in self._durations if pair[0] == gone]:
                del self._durations[pair]

    def keep_keys(self, names: Collection[str]) -> None:
        """Forget the keys that are not among `names`: they were revoked."""
        self._settle()
        for gone in self._keys.keep(names):
            self._full_by_caller.pop(gone, None)
            for labels in [labels for labels in self._results if labels[2] == gone]:
                del self._results[labels]

    def key(self, caller: str) -> str:
        """The label of a caller: the name of its key, `token`, `other`; empty without either."""
        return self._keys.of(caller) if caller else ""

    def tally(self) -> SearchTally:
        """The totals of all searches, which go on growing."""
        self._settle()
        return self._tally

    def results(self) -> Iterator[tuple[str, str, str, int]]:
        """Result, cause, key, and how many searches ended so."""
        self._settle()
        # Searches go on while a page is written.
        for key, num in list(self._full_by_caller.items()):
            yield "full", "", key, num
        for labels, num in list(self._results.items()):
            yield *labels, num

    def durations(self) -> Iterator[tuple[str, str, Histogram]]:
        """Collection, rank profile, and the times of their answers, in s."""
        self._settle()
        for (collection, profile), histogram in list(self._durations.items()):
            yield collection, profile, histogram

    def outcomes(self) -> Iterator[tuple[int, str, int]]:
        """Shard, outcome, and how many parts of searches ended so."""
        self._settle()
        for shard in range(self._num_shards):
            for outcome in Outcome:
                num_full = self._tally.all_ok - self._full_before[shard] if outcome is _OK else 0
                yield shard, outcome.value, num_full + self._outcomes[shard, outcome.value]

    def time_left(self) -> Histogram:
        """Times from answers to their deadlines, in s; 0 for those that were late."""
        self._settle()
        return self._time_left

    def coverages(self) -> Histogram:
        """The coverage of the answers, 0 to 1; of insufficient ones as well."""
        self._settle()
        whole = Histogram(COVERAGE_BOUNDS)
        whole.add(self._coverage)
        whole.observe_times(1.0, self._tally.all_ok)
        return whole

    def _add_answer(self, query: SearchQuery, profile: str, result: SearchResult) -> None:
        """Of an answer in which not all are ok: times, coverage, and each shard's outcome."""
        self._add_times(query.collection, profile, result.took_ms, result.deadline_ms)
        self._coverage.observe(result.coverage.fraction)
        missing = {part.shard: part.outcome for part in result.detail}
        missing |= dict.fromkeys(result.skipped, Outcome.SKIPPED)
        for shard in range(self._num_shards):
            self._outcomes[shard, missing.get(shard, _OK).value] += 1

    def _add_times(self, collection: str, profile: str, took_ms: float, deadline_ms: float) -> None:
        durations = self._durations.get((collection, profile))
        if durations is None:
            pair = self._collections.of(collection), self._profiles.of(profile)
            durations = self._durations.setdefault(pair, Histogram(DURATION_BOUNDS))
        durations.observe(took_ms * 0.001)
        self._time_left.observe((deadline_ms - took_ms) * 0.001 if took_ms < deadline_ms else 0.0)

    def _settle(self) -> None:
        """Count the full answers that have only been noted."""
        full, self._full = self._full, []
        by_caller, tally, num_shards = self._full_by_caller, self._tally, self._num_shards
        for collection, profile, caller, took_ms, deadline_ms in full:
            tally.add_full(num_shards, took_ms)
            self._add_times(collection, profile, took_ms, deadline_ms)
            key = caller if caller in by_caller else self.key(caller)
            by_caller[key] = by_caller.get(key, 0) + 1
