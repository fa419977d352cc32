"""Estimates which coverage a collection's queries reach by which deadline, late replies included.

A query that ends without some of its shards says only that these take longer than it waited. So
each part of a query, weighted by its share of the documents, is one of three kinds: its reply
arrived after a known time, before or after the deadline; it was cut off after a known time; or it
would never arrive (no live worker, a failure). The curve is the product-limit estimate over these
(Kaplan and Meier, JASA 53, 1958; see gateway/policies/quantiles.py): queries with long deadlines
tell about times that those with short ones did not wait for. Weights halve in each half-life.

`LateReplies` matches late replies to queries: it remembers recent queries that ended incomplete,
with the documents of each missing shard. The transport knows the query of a late reply and reports
it (`on_late`). A query is forgotten when all its replies have arrived, when no worker can be
working on it any more, or when too many are remembered; parts that are missing then are cut off.
Queries may be sampled (gateway/search/sampling.py), as whole queries.
"""

import math
from collections.abc import Iterable, Mapping
from math import log
from typing import Final, NamedTuple

MAX_TRACKED: Final = 512  # incomplete queries that are remembered, of all collections
HALF_LIFE_S: Final = 300.0

_STEP: Final = 1.02  # from one bucket's bound to the next
_SCALE: Final = 1 / log(_STEP)
_FIRST_S: Final = 1e-4
_LAST_S: Final = 100.0
_OFFSET: Final = 1 - log(_FIRST_S) * _SCALE
_NUM_BUCKETS: Final = math.ceil(log(_LAST_S / _FIRST_S) * _SCALE) + 2
_LAST: Final = _NUM_BUCKETS - 1
_FADE_EVERY: Final = 1 / 32  # of a half-life
# The curve ends where fewer than this many of the unanswered parts were still waited for.
_LEAST_WAITED_FOR: Final = 0.05


class CoverageCurve:
    """The curve of one collection; costs 0.3 µs for each part of a query."""

    __slots__ = (
        "_awaited",
        "_came",
        "_cut",
        "_fade_at",
        "_faded_at",
        "_half_life_s",
        "_never",
        "_points",
    )

    def __init__(self, half_life_s: float = HALF_LIFE_S) -> None:
        """Start with an empty curve."""
        self._half_life_s = half_life_s
        self._came = [0.0] * _NUM_BUCKETS
        self._cut = [0.0] * _NUM_BUCKETS
        self._never = 0.0
        self._awaited = 0.0
        self._faded_at = 0.0
        self._fade_at = -math.inf
        self._points: list[tuple[float, float]] | None = None

    def add(self, needed_s: float, share: float, now: float) -> None:
        """A shard with this share of the documents would have made a deadline of `needed_s`."""
        self._fade(now)
        self._came[_bucket(needed_s)] += share

    def cut(self, waited_s: float, share: float, now: float) -> None:
        """A shard has not made a deadline of `waited_s`; nothing more is known."""
        self._fade(now)
        self._cut[_bucket(waited_s)] += share

    def never(self, share: float, now: float) -> None:
        """A shard would have made no deadline."""
        self._fade(now)
        self._never += share

    def expect(self, share: float) -> None:
        """Parts with this share may still arrive late; until then, they count as never arriving.

        Called with a negative `share` once they have arrived or been cut off.
        """
        self._points = None
        self._awaited = max(self._awaited + share, 0.0)

    def curve(self) -> list[tuple[float, float]]:
        """Return points (deadline in ms, coverage from 0 to 1), both ascending; at most 700.

        Empty before the first query. Nothing is known about deadlines after the last point, except
        that their coverage is at least as high.
        """
        if self._points is None:
            self._points = self._estimate()
        return list(self._points)

    def coverage(self, deadline_ms: float) -> float:
        """Return the coverage that a query reaches on average by a deadline, from 0 to 1."""
        before_ms, before = 0.0, 0.0
        for at_ms, coverage in self.curve():
            if at_ms >= deadline_ms:
                span = (deadline_ms - before_ms) / (at_ms - before_ms)
                return before + (coverage - before) * span
            before_ms, before = at_ms, coverage
        return before

    def gain(self, deadline_ms: float, extra_ms: float) -> float:
        """Return what `extra_ms` more would add to the coverage, from 0 to 1, at least."""
        return self.coverage(deadline_ms + extra_ms) - self.coverage(deadline_ms)

    def _estimate(self) -> list[tuple[float, float]]:
        total = at_risk = sum(self._came) + sum(self._cut) + self._never + self._awaited
        points: list[tuple[float, float]] = []
        missing = 1.0  # the share that has not arrived
        bound_ms = first_ms = _FIRST_S * 1000
        is_step = False
        for came, cut in zip(self._came, self._cut, strict=True):
            if at_risk < _LEAST_WAITED_FOR * missing * total:
                break
            if came:
                if not is_step and bound_ms > first_ms:
                    points.append((bound_ms / _STEP, 1 - missing))  # nothing arrived before
                # `at_risk` may be a rounding error instead of 0, by which nothing must be divided.
                missing = max(missing * (1 - came / max(at_risk, came)), 0.0)
                points.append((bound_ms, 1 - missing))
            is_step = came > 0
            at_risk -= came + cut
            bound_ms *= _STEP
        return points

    def _fade(self, now: float) -> None:
        self._points = None
        if now < self._fade_at:
            return
        if self._fade_at > -math.inf:
            factor = 0.5 ** ((now - self._faded_at) / self._half_life_s)
            self._came = [weight * factor for weight in self._came]
            self._cut = [weight * factor for weight in self._cut]
            self._never *= factor
        self._faded_at = now
        self._fade_at = now + self._half_life_s * _FADE_EVERY


class _Incomplete(NamedTuple):
    """A query that has ended without some shards."""

    curve: CoverageCurve
    started: float
    overhead_s: float
    until: float
    missing: dict[int, float]  # shard → share of the documents


class LateReplies:
    """Feeds curves with the replies to each query, before and after its end.

    The deadline that a reply would have met is longer than the reply took, by the query's
    *overhead*: the time for the rest of its walk (parsing, fetch, answer).
    """

    __slots__ = ("_incomplete", "_max_tracked")

    def __init__(self, max_tracked: int = MAX_TRACKED) -> None:
        """Remember at most `max_tracked` incomplete queries."""
        self._max_tracked = max_tracked
        self._incomplete: dict[int, _Incomplete] = {}  # in the order in which they ended

    def __len__(self) -> int:
        """The number of incomplete queries that are remembered."""
        return len(self._incomplete)

    def on_end(
        self,
        query_id: int,
        curve: CoverageCurve,
        came: Iterable[tuple[float, int]],
        missing: Mapping[int, int],
        num_never_documents: int,
        *,
        started: float,
        overhead_s: float,
        until: float,
        now: float,
    ) -> None:
        """Learn from a query that has ended.

        Args:
            query_id: the query's id.
            curve: the curve of its collection.
            came: for each shard that replied, how long after `started` (in s), and its documents.
            missing: for each shard that might still reply, or might have, its documents.
            num_never_documents: documents of the shards that would not have replied at all.
            started: when the scatter began.
            overhead_s: the part of the query's time that was not for the wait for the shards, in s.
            until: when the last worker will have stopped: when the requests expire, or `now` if
                they were cancelled.
            now: the event loop's time, in s.
        """
        self.expire(now)
        came = list(came)
        total = sum(documents for _, documents in came) + sum(missing.values())
        total += num_never_documents
        if not total:
            return
        for took_s, documents in came:
            curve.add(took_s + overhead_s, documents / total, now)
        if num_never_documents:
            curve.never(num_never_documents / total, now)
        if not missing:
            return
        shares = {shard: documents / total for shard, documents in missing.items()}
        query = _Incomplete(curve, started, overhead_s, until, shares)
        if until <= now:
            self._cut(query, now, now)
            return
        curve.expect(sum(shares.values()))
        self._incomplete[query_id] = query
        if len(self._incomplete) > self._max_tracked:
            oldest = next(iter(self._incomplete))
            self._forget(self._incomplete.pop(oldest), now, now)

    def on_late(self, query_id: int, shard: int, now: float, *, is_ok: bool = True) -> None:
        """Learn from a reply that arrived after its query had ended.

        Args:
            query_id: the query's id.
            shard: the shard that replied.
            now: the event loop's time, in s.
            is_ok: False if the worker was stopped, or started too late.
        """
        if (part := self._take(query_id, shard)) is None:
            return
        query, share = part
        needed_s = now - query.started + query.overhead_s
        if is_ok:
            query.curve.add(needed_s, share, now)
        else:
            query.curve.cut(needed_s, share, now)

    def on_failed(self, query_id: int, shard: int, now: float) -> None:
        """Learn from a late reply that the shard has failed: it would have met no deadline."""
        if (part := self._take(query_id, shard)) is not None:
            query, share = part
            query.curve.never(share, now)

    def expire(self, now: float) -> None:
        """Forget the queries that no worker can be working on any more, before a curve is shown."""
        incomplete = self._incomplete
        while incomplete:
            # Queries are in the order of their ends, so one that expires late keeps later ones too.
            oldest = next(iter(incomplete))
            query = incomplete[oldest]
            if query.until > now:
                return
            del incomplete[oldest]
            self._forget(query, query.until, now)

    def _take(self, query_id: int, shard: int) -> tuple[_Incomplete, float] | None:
        """Return the query of a late reply and its share; None if unknown, or for a duplicate."""
        query = self._incomplete.get(query_id)
        if query is None or (share := query.missing.pop(shard, None)) is None:
            return None
        query.curve.expect(-share)
        if not query.missing:
            del self._incomplete[query_id]
        return query, share

    def _forget(self, query: _Incomplete, waited_until: float, now: float) -> None:
        query.curve.expect(-sum(query.missing.values()))
        self._cut(query, waited_until, now)

    def _cut(self, query: _Incomplete, waited_until: float, now: float) -> None:
        waited_s = waited_until - query.started + query.overhead_s
        for share in query.missing.values():
            query.curve.cut(waited_s, share, now)


def _bucket(duration_s: float) -> int:
    if duration_s <= _FIRST_S:
        return 0
    # Rounded up: each reply in a bucket has arrived by the bucket's bound.
    bucket = int(log(duration_s) * _SCALE + _OFFSET)
    return bucket if bucket < _LAST else _LAST  # noqa: FURB136 - min() costs as much as the rest
