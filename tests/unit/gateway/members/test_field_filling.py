"""How far the workers are with added fields, by what they report."""

from dataclasses import replace

from hedgerow.common.collection import define, with_added_fields
from hedgerow.common.wire.heartbeat import Heartbeat
from hedgerow.gateway.members.field_filling import filling_of
from hedgerow.gateway.shapes.collection import Filling
from tests.unit.support.heartbeats import beat

BOOKS = with_added_fields(
    define("books", {"fields": {"title": "text", "year": "integer"}}, uid="u"),
    {"author": "keyword", "day": "date"},
)


def worker(indexed: dict[int, int], filled: dict[int, int] | None = None) -> Heartbeat:
    """A worker of shards with a hundred documents each."""
    return replace(
        beat("w", list(indexed), 0),
        documents={shard: {"u": 100} for shard in indexed},
        indexed={shard: {"u": count} if count else {} for shard, count in indexed.items()},
        filled={shard: {"u": count} for shard, count in (filled or {}).items()},
    )


def test_the_share_counts_the_documents_of_every_replica() -> None:
    """A replica that is done counts in full, one that has begun as far as it is."""
    workers = [worker({0: 4, 1: 2}, {1: 50}), worker({0: 2, 1: 3}, {0: 10_000})]
    assert filling_of(BOOKS, workers, {}) == Filling(
        ["author", "day"], (100 + 50 + 100 + 0) / 400, 3
    )


def test_a_worker_that_has_not_heard_of_it_is_waited_for() -> None:
    """It reports nothing of the collection, since no field of it was added before."""
    assert filling_of(BOOKS, [worker({0: 0})], {}) == Filling(["day"], 0.0, 1)


def test_nothing_is_filled_when_all_replicas_have_all_fields() -> None:
    """Neither shards that are not served count, nor workers that report no such thing."""
    idle = replace(worker({0: 4, 1: 2}), shards=[0])
    older = replace(worker({0: 4}), indexed={})
    assert filling_of(BOOKS, [worker({0: 4, 1: 4}), idle, older], {}) is None


def test_a_shard_whose_worker_went_away_amid_is_not_filled() -> None:
    """Until a worker serves it again, the last one's report counts; a live one's replaces it."""
    gone = worker({1: 2}, {1: 50})
    assert filling_of(BOOKS, [worker({0: 4})], {0: gone, 1: gone}) == Filling(
        ["author", "day"], (100 + 50) / 200, 1
    )
    assert filling_of(BOOKS, [worker({0: 4, 1: 4})], {1: gone}) is None
    assert filling_of(BOOKS, [worker({0: 4})], {1: worker({1: 4})}) is None
