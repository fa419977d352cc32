"""Counts searches and keeps the distributions of their times: what a scrape cannot find out later.

This runs for each search, thousands of times a second, so it does the least that it can: a full
answer costs four observations and two counts. What its shards did is added up at the scrape.
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

RESULTS: Final = (
    "full", "partial", "insufficient", "refused", "bad_request", "not_found", "forbidden",
    "unauthorized", "unavailable", "cancelled", "failed",
)  # fmt: skip
PARTS: Final = ("admit", "queue", "lane", "work", "reply", "merge", "fetch")
_OK: Final = Outcome.OK
# The first that fits; InsufficientCoverageError has a result of its own.
_BY_ERROR: Final[tuple[tuple[type[BaseException], str], ...]] = (
    (OverloadedError, "refused"),
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
        coverage: of the answers, 0 to 1; insufficient ones included.
        time_left: from the answer to its deadline, in s; 0 if it was late.
        parts: part of the way → its time in s: admit of a sample of the searches; queue, lane, work
            and reply of each of their shards that was ok; merge and fetch of all answers.
        transitions: shard, rank profile with breakers of its own or "", and the new state → how
            often a breaker changed to it.
    """

    def __init__(self, num_shards: int, max_names: int) -> None:
        """Start with nothing recorded.

        Args:
            num_shards: shards in the cluster.
            max_names: how many collections, profiles and keys have series of their own.
        """
        self.coverage = Histogram(COVERAGE_BOUNDS)
        self.time_left = Histogram(DURATION_BOUNDS)
        self.parts = {part: Histogram(PART_BOUNDS) for part in PARTS}
        self.transitions: Counter[tuple[int, str, str]] = Counter()
        self._merge, self._fetch = self.parts["merge"], self.parts["fetch"]
        self._num_shards = num_shards
        self._collections = BoundedNames(max_names)
        self._profiles = BoundedNames(max_names)
        self._keys = BoundedNames(max_names)
        self._durations: dict[tuple[str, str], Histogram] = {}
        # Of full answers there are most: one number each for all of them, and for those of each
        # caller.
        self._num_full = 0
        self._full_by_caller = {"": 0}
        # Those without a key begin at 0: a rate misses what happens before its series is there.
        self._results: Counter[tuple[str, str, str]] = Counter(dict.fromkeys(_FIRST_RESULTS, 0))
        self._outcomes: Counter[tuple[int, str]] = Counter()

    def answered(self, query: SearchQuery, profile: str, result: SearchResult) -> None:
        """A search was answered, in full or in part."""
        took_s = result.took_ms * 0.001
        left_s = result.deadline_ms * 0.001 - took_s
        durations = self._durations.get((query.collection, profile))
        if durations is None:
            durations = self._durations_of(query.collection, profile)
        durations.observe(took_s)
        self.time_left.observe(left_s if left_s > 0 else 0.0)
        if result.coverage.is_full:
            self._num_full += 1
            caller = query.caller.name
            try:
                self._full_by_caller[caller] += 1
            except KeyError:
                caller = self.key(caller)
                self._full_by_caller[caller] = self._full_by_caller.get(caller, 0) + 1
        else:
            self._results["partial", "", self.key(query.caller.name)] += 1
            self._record_parts(result)
        self._merge.observe(result.merge_s)
        if result.fetch is not None:
            self._fetch.observe(result.fetch_s)

    def failed(self, query: SearchQuery, profile: str, error: BaseException) -> None:
        """A search was not answered, or its answer covers too little."""
        if not isinstance(error, InsufficientCoverageError):
            self.unread(query.caller.name, error)
            return
        result: SearchResult = error.result
        self._results["insufficient", "", self.key(query.caller.name)] += 1
        self._durations_of(query.collection, profile).observe(result.took_ms * 0.001)
        self.time_left.observe(max((result.deadline_ms - result.took_ms) * 0.001, 0.0))
        self._record_parts(result)

    def unread(self, caller: str, error: BaseException) -> None:
        """A search ended before any shard was asked; perhaps not even its body was read.

        Args:
            caller: its name; "" if it is not known.
            error: why.
        """
        found = [result for kind, result in _BY_ERROR if isinstance(error, kind)]
        cause = error.cause if isinstance(error, OverloadedError) else ""
        self._results[found[0] if found else "failed", cause, self.key(caller)] += 1

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
        for gone in self._collections.keep(collections):
            for pair in [pair for pair in self._durations if pair[0] == gone]:
                del self._durations[pair]

    def keep_keys(self, names: Collection[str]) -> None:
        """Forget the keys that are not among `names`: they were revoked."""
        for gone in self._keys.keep(names):
            self._full_by_caller.pop(gone, None)
            for labels in [labels for labels in self._results if labels[2] == gone]:
                del self._results[labels]

    def key(self, caller: str) -> str:
        """The label of a caller: the name of its key, `token`, `other`; empty without either."""
        return self._keys.of(caller) if caller else ""

    def results(self) -> Iterator[tuple[str, str, str, int]]:
        """Result, cause, key, and how many searches ended so."""
        for key, num in self._full_by_caller.items():
            yield "full", "", key, num
        for labels, num in self._results.items():
            yield *labels, num

    def durations(self) -> Iterator[tuple[str, str, Histogram]]:
        """Collection, rank profile, and the times of their answers, in s."""
        for (collection, profile), histogram in self._durations.items():
            yield collection, profile, histogram

    def outcomes(self) -> Iterator[tuple[int, str, int]]:
        """Shard, outcome, and how many parts of searches ended so."""
        for shard in range(self._num_shards):
            for outcome in Outcome:
                num_full = self._num_full if outcome is _OK else 0
                yield shard, outcome.value, num_full + self._outcomes[shard, outcome.value]

    def coverages(self) -> Histogram:
        """The coverage of all answers so far."""
        whole = Histogram(COVERAGE_BOUNDS)
        whole.add(self.coverage)
        whole.observe_times(1.0, self._num_full)
        return whole

    def _durations_of(self, collection: str, profile: str) -> Histogram:
        pair = self._collections.of(collection), self._profiles.of(profile)
        return self._durations.setdefault(pair, Histogram(DURATION_BOUNDS))

    def _record_parts(self, result: SearchResult) -> None:
        """Of an answer that is not full: its coverage, and the outcome of each shard."""
        self.coverage.observe(result.coverage.fraction)
        missing = {part.shard: part.outcome for part in result.detail}
        for shard in range(self._num_shards):
            self._outcomes[shard, missing.get(shard, _OK).value] += 1
