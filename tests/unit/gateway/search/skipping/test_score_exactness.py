"""In the order by score, an answer that calls its hits exact has those of every shard.

The shards are indexes that rank as scorers do; what is asked is all that a query can be.
"""

from collections.abc import Iterator, Sequence

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from hedgerow.common.query.as_typed import AS_WRITTEN, Typing
from hedgerow.common.query.needs import need_of
from hedgerow.common.query.score_bounds import score_bound, shown_bound
from hedgerow.common.wire.messages import SearchBody
from hedgerow.common.wire.search_options import Synonym
from hedgerow.gateway.search.merge import merge
from hedgerow.gateway.search.skipping.exactness import exactness_by_score
from hedgerow.shard_worker.scoring.query_analysis import QueryAnalysis
from hedgerow.shard_worker.scoring.query_builder import QueryBuilder
from hedgerow.shard_worker.scoring.retrieval import Found, retrieve
from tests.unit.support.scored_shards import (
    ScoredShards,
    build_all,
    filters,
    queries,
    synonyms,
    typings,
)

MOST_HITS = 100


@pytest.fixture(scope="module")
def collections(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sequence[ScoredShards]]:
    """Small shards of several collections."""
    built = build_all(tmp_path_factory.mktemp("scores"))
    yield built
    for one in built:
        one.statistics.close()


def found_by(
    one: ScoredShards,
    query: str,
    filter_text: str,
    typing: Typing,
    also: tuple[Synonym, ...],
) -> list[Found]:
    """What each shard finds."""
    analysis = QueryAnalysis(one.collection)
    tree = analysis.read(query, strict=False, typing=typing, synonyms=also)
    kept = analysis.read_filter(filter_text)
    return [
        retrieve(index, QueryBuilder(index, one.statistics).build(tree, kept), MOST_HITS)
        for index in one.indexes
    ]


@settings(suppress_health_check=[HealthCheck.too_slow])  # on a busy machine
@example("STRASSE", "", AS_WRITTEN, (), 1, {0})  # the same as a whole, but not as words
@example("the who", "", Typing(2, True), (), 1, {1})  # stop words only
@example("red lamp lamp lamp", "", AS_WRITTEN, (), 1, {2})
@given(
    query=queries,
    filter_text=filters,
    typing=typings,
    also=synonyms,
    k=st.integers(1, 3),
    missing=st.sets(st.integers(0, 2), min_size=1, max_size=2),
)
def test_what_is_called_exact_is(
    collections: Sequence[ScoredShards],
    query: str,
    filter_text: str,
    typing: Typing,
    also: tuple[Synonym, ...],
    k: int,
    missing: set[int],
) -> None:
    """Whichever shards are missing; and no document scores more than is said of its shard."""
    for one in collections:
        scores = score_bound(
            query, one.collection, one.frequencies, strict=False, typing=typing, synonyms=also
        )
        assert scores is not None
        need = need_of(
            query, filter_text, one.collection, strict=False, typing=typing, synonyms=also
        )
        shards = found_by(one, query, filter_text, typing, also)
        for number, found in enumerate(shards):
            most = scores.most(one.masks, 1 << number)
            assert not found.hits or (most is not None and found.hits[0][0] < shown_bound(most))
        bodies = [
            (shard, SearchBody(0, 0, True, [hit for _, hit in hits], [score for score, _ in hits]))
            for shard, (_, hits, _) in enumerate(shards)
        ]
        partial = merge([body for body in bodies if body[0] not in missing], k)
        if len(partial) == k:
            exactness = exactness_by_score(missing, one.masks, need, scores, partial[-1])
            if exactness is not None:
                assert [hit.id for hit in partial] == [hit.id for hit in merge(bodies, k)]
