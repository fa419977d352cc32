"""Whether the shards that are missing from an answer could have changed its hits.

In the order by a field of numbers or dates, a shard's summary has the best value that any of its
documents can have. If that comes strictly after the last hit's, the shard has no winner, whatever
else the order depends on. In the order by score, the same holds for the most that any of its
documents can score (`common.query.score_bounds`).
"""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Final, NamedTuple

from msgspec import UNSET

from hedgerow.common.fields.field_types import parse_date
from hedgerow.common.query.needs import Need, may_match
from hedgerow.common.query.score_bounds import ScoreBound, shown_bound
from hedgerow.common.query.shard_summary import ShardSummary, SummaryMasks
from hedgerow.common.wire.search_options import SCORE, SortKey, Value
from hedgerow.gateway.search.result import Hit

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_DATE_SLACK_S: Final = 1.0  # hits' dates are whole seconds


class Exactness(NamedTuple):
    """The hits are those of an answer with every shard.

    Attributes:
        bound: the best value of the first sort key, or the highest score, that a document of the
            missing shards can have; None if none of their documents matches.
    """

    bound: Value = None


def exactness_of(
    missing: Iterable[ShardSummary],
    need: Need,
    hits: Sequence[Hit],
    k: int,
    keys: Sequence[SortKey],
) -> Exactness | None:
    """Why no document of the missing shards can be among the first `k`; None if one may be.

    Args:
        missing: the summaries of the shards that were not searched.
        need: what a document needs in order to match.
        hits: the first k of the other shards, in order.
        k: how many are wanted.
        keys: the order; by score without any.
    """
    matching = [one for one in missing if may_match(need, one)]
    if not matching:
        return Exactness()
    if len(hits) < k or not keys or keys[0].is_missing_first:
        return None
    last = hits[-1].sort
    return None if last is UNSET else _after(matching, keys[0], last[0])


def is_by_score(keys: Sequence[SortKey]) -> bool:
    """Whether hits in this order are in the order of their scores."""
    return not keys or keys[0].field == SCORE


def exactness_by_score(
    missing: Iterable[int], masks: SummaryMasks, need: Need, scores: ScoreBound, last: Hit
) -> Exactness | None:
    """As `exactness_of`, of as many hits as are wanted, in the order of their scores.

    Args:
        missing: the shards that were not searched.
        masks: with their summaries.
        need: what a document needs in order to match.
        scores: the most that a document can score.
        last: the last hit.
    """
    bound, matching = 0.0, need.shards(masks) & masks.some
    for shard in missing:
        score = scores.most(masks, 1 << shard) if matching >> shard & 1 else None
        if score is not None:
            bound = max(bound, shown_bound(score))
        if bound >= last.score:
            return None
    return Exactness(bound or None)


def _after(shards: Sequence[ShardSummary], key: SortKey, last: Value) -> Exactness | None:
    """As `exactness_of`, of shards that may have matches; `last` is the last hit's value."""
    limit = _number(last)  # without one, documents are in the order of the other keys
    ranges = [one.ranges[key.field] for one in shards if key.field in one.ranges]
    if limit is None or len(ranges) < len(shards):
        return None
    found = [one for one in ranges if one is not None]
    if not found:  # documents without a value come last
        return Exactness()
    is_date = isinstance(last, str)
    slack = _DATE_SLACK_S if is_date else 0.0
    if key.is_descending:
        best = max(most for _, most in found)
        is_after = best < limit - slack
    else:
        best = min(least for least, _ in found)
        is_after = best > limit + slack
    return Exactness(_shown(best, is_date=is_date)) if is_after else None


def _number(value: Value) -> float | None:
    """A value as summaries have it; None if there is none, or it is no number or date."""
    if isinstance(value, bool) or value is None:
        return None
    if isinstance(value, str):
        date = parse_date(value)
        return None if date is None else date.timestamp()
    return float(value)


def _shown(value: float, *, is_date: bool) -> Value:
    if not is_date:
        return value
    # `fromtimestamp` does not know years before 1970 on every system.
    return (_EPOCH + timedelta(seconds=int(value))).isoformat().replace("+00:00", "Z")
