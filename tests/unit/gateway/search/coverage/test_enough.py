"""When enough is covered, by the real searcher over scripted shards in virtual time."""

from hedgerow.gateway.search.result import SearchQuery, SearchResult
from tests.support.virtual_time import run_virtually
from tests.unit.support.scripted import Script, ScriptedTransport
from tests.unit.support.searchers import COLLECTION, searcher_over

SIZE = 1_000  # documents of each shard


def _search(wait_for: float, counts: list[int]) -> SearchResult:
    """A search that is content with a share, of shards of which the last answers after 0.1 s.

    Args:
        wait_for: the share.
        counts: the documents that each shard last reported.
    """
    scripts = {shard: Script(documents=SIZE) for shard in range(len(counts) - 1)}
    scripts[len(counts) - 1] = Script(documents=SIZE, delays_s=(0.1,))

    async def scenario() -> SearchResult:
        searcher = searcher_over(ScriptedTransport(scripts), counts)
        query = SearchQuery("things", "x", fields=False, deadline_ms=300, wait_for=wait_for)
        return await searcher.search(query, COLLECTION)

    return run_virtually(scenario())


def test_what_was_last_reported_says_what_is_enough() -> None:
    """Three shards of four are three quarters, but not nine tenths."""
    counts = [SIZE] * 4
    assert _search(0.75, counts).coverage.fraction == 0.75
    assert _search(0.9, counts).coverage.is_full


def test_a_shard_that_reported_before_a_load_is_waited_for() -> None:
    """It must be as large as the others by now, so without it the share is not covered."""
    assert _search(0.9, [SIZE, SIZE, SIZE, 0]).coverage.is_full
