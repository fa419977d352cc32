"""How much of its time an indexer spends on embedding."""

from hedgerow.common.fields.embedding_counts import EmbeddingCounts
from hedgerow.shard_worker.embedding.account import EmbeddingAccount


def test_what_was_embedded_is_added_up() -> None:
    """The heartbeat has all since the start, and nothing where nothing was embedded."""
    account = EmbeddingAccount()
    assert account.to_json(0.0) == {}
    account.add(EmbeddingCounts(3, 1, 2, 0.5), 10.0)
    account.add(EmbeddingCounts(4, 0, 1, 2.5), 30.0)
    assert account.to_json(40.0) == {
        "texts": 7, "failed": 1, "calls": 3, "seconds": 3.0, "share": 0.05,
    }  # fmt: skip
    assert account.to_json(75.0)["share"] == 0.042


def test_a_call_that_took_longer_than_a_minute_is_all_of_it() -> None:
    """The share is never above 1."""
    account = EmbeddingAccount()
    account.add(EmbeddingCounts(1, 0, 1, 90.0), 100.0)
    assert account.share(100.0) == 1.0


def test_that_writes_wait_is_noted_now_and_then() -> None:
    """From half of the time on, and not again within ten minutes."""
    account = EmbeddingAccount()
    account.add(EmbeddingCounts(1, 0, 1, 29.0), 60.0)
    assert not account.takes_note(60.0)
    account.add(EmbeddingCounts(1, 0, 1, 1.0), 61.0)
    assert account.takes_note(61.0)
    account.add(EmbeddingCounts(1, 0, 1, 60.0), 660.0)
    assert not account.takes_note(660.0)
    assert account.takes_note(661.0)
