"""Why shards are missing from an answer, in one line."""

from hedgerow.common.outcome import Outcome
from hedgerow.gateway.shapes.answer import ShardDetail
from hedgerow.gateway.shapes.reasons import reasons_line


def failed(shard: int, reason: str) -> ShardDetail:
    """A shard that has failed."""
    return ShardDetail(shard, Outcome.FAILED, reason)


def test_a_reason_that_shards_share_is_given_once() -> None:
    """The most frequent comes first, and shards that are ok are not named."""
    details = [
        ShardDetail(0, Outcome.TIMED_OUT, "no reply by the deadline"),
        failed(1, "rank:score raised ValueError: no (rank.py:3, in score)"),
        ShardDetail(2, Outcome.OK),
        failed(3, "rank:score raised ValueError: no (rank.py:3, in score)"),
    ]
    assert reasons_line(details) == (
        "2 shards failed: rank:score raised ValueError: no (rank.py:3, in score); "
        "1 shard timed out: no reply by the deadline"
    )


def test_an_outcome_without_a_reason_stands_alone() -> None:
    """Nothing follows the outcome, and nothing is said if all shards are ok."""
    assert reasons_line([ShardDetail(0, Outcome.BREAKER_OPEN)]) == "1 shard breaker open"
    assert reasons_line([ShardDetail(0, Outcome.OK)]) == ""


def test_many_reasons_do_not_make_a_long_line() -> None:
    """Three are given, and the other shards are counted."""
    line = reasons_line([failed(shard, f"reason {shard}") for shard in range(20)])
    assert line.count("reason ") == 3
    assert line.endswith("; 17 more for other reasons")
