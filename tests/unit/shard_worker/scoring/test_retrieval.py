"""The order of hits is that of score and id, whatever the order in which documents came."""

import random
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast
from unittest.mock import Mock

import pytest

from hedgerow.common.query.syntax import parse
from hedgerow.shard_worker.scoring.query_builder import QueryBuilder
from hedgerow.shard_worker.scoring.retrieval import Found, retrieve
from hedgerow.shard_worker.storage.text_index import TextIndex
from tests.unit.support.shards import OneShard

COUNT = 300


def replica(folder: Path, seed: int) -> OneShard:
    """Documents that nearly all tie, put in in an order of the replica's own, in many commits."""
    documents = [
        {"id": f"d{number}", "t": "word " * (1 + (number % 50 == 0)), "n": number % 3}
        for number in range(COUNT)
    ]
    random.Random(seed).shuffle(documents)
    shard = OneShard.of(folder, {"t": "text", "n": "integer"}, documents[:100])
    for start in range(100, COUNT, 40):
        shard.put(documents[start : start + 40])
    return shard


def find(index: TextIndex, shard: OneShard, query: str, k: int) -> Found:
    """The best k."""
    tree = parse(query, shard.collection, strict=True)[0]
    found = retrieve(index, QueryBuilder(shard.open(), None).build(tree), k)
    return found._replace(located=None)


def test_ties_go_by_id_on_every_replica(tmp_path: Path) -> None:
    """Two replicas that were filled in another order give the same hits, down to any k."""
    shards = [replica(tmp_path / str(seed), seed) for seed in range(2)]
    indexes = [shard.open() for shard in shards]
    every = find(indexes[0], shards[0], "word", COUNT)
    assert every.total == COUNT
    assert every.hits == sorted(every.hits, key=lambda hit: (-hit[0], hit[1]))
    assert len({score for score, _ in every.hits}) == 2
    for k in (1, 2, 5, 6, 7, 50, 299, 1000):
        for index, shard in zip(indexes, shards, strict=True):
            assert find(index, shard, "word", k) == Found(COUNT, every.hits[:k])


@pytest.mark.parametrize("query", ["*", "n:1", "n:[1 TO *]^2", "wo*"])
def test_what_is_known_to_tie_comes_in_the_order_of_ids(tmp_path: Path, query: str) -> None:
    """Sorting by id alone gives the same hits and scores as ranking does."""
    shard = replica(tmp_path, 3)
    index = shard.open()
    for k in (1, 7, 1000):
        assert find(index, shard, query, k) == find(index, shard, query, k)


@pytest.mark.parametrize("query", ["*", "t:the -t:rare", "(the of)^2 +n:1", "+the -rare"])
def test_more_ties_than_are_read_come_in_the_order_of_ids(tmp_path: Path, query: str) -> None:
    """Of thousands that tie, also since only stop words were asked for, the first ids are found."""
    ids = [f"d{number:05}" for number in range(5000)]
    shuffled = random.Random(5).sample(ids, len(ids))
    documents = [{"id": one, "t": "some word", "n": 1} for one in shuffled]
    shard = OneShard.of(tmp_path, {"t": "text", "n": "integer"}, documents)
    found = shard.search(query, k=10)
    assert (found.total, found.ids) == (len(ids), ids[:10])


def test_a_few_ties_are_found_by_one_search(tmp_path: Path) -> None:
    """Ties that end soon after the last hit are ordered by id without searching once more."""
    documents = [{"id": f"a{number}", "t": "word " * 9} for number in range(8)]
    documents += [{"id": f"d{number}", "t": "word x"} for number in reversed(range(8))]
    documents += [{"id": f"z{number}", "t": "word x y z"} for number in range(40)]
    shard = OneShard.of(tmp_path, {"t": "text"}, documents)
    index = shard.open()
    search = Mock(wraps=index.searcher.search)
    watched = SimpleNamespace(searcher=SimpleNamespace(search=search), ids=index.ids)
    found = find(cast("Any", watched), shard, "word", 10)
    assert found.total == len(documents)
    assert [one for _, one in found.hits] == [*(f"a{number}" for number in range(8)), "d0", "d1"]
    assert search.call_count == 1


def test_nothing_found_is_no_hits(tmp_path: Path) -> None:
    """An empty answer has a total of zero, either way."""
    shard = replica(tmp_path, 4)
    index = shard.open()
    assert find(index, shard, "nowhere", 10) == Found(0, [])
    assert find(index, shard, "n:99", 10) == Found(0, [])


def test_scores_that_differ_by_rounding_alone_tie(tmp_path: Path) -> None:
    """What moves a score by 1e-7, as exchanged weights do, does not move it in the order."""
    documents = [{"id": "b", "t": "word beta"}, {"id": "a", "t": "word alpha"}]
    shard = OneShard.of(tmp_path, {"t": "text"}, documents)
    index = shard.open()
    found = find(index, shard, "beta^1.0000001 OR alpha", 2)
    assert [one for _, one in found.hits] == ["a", "b"]
    assert found.hits[0][0] == found.hits[1][0]
    found = find(index, shard, "beta^1.001 OR alpha", 2)
    assert [one for _, one in found.hits] == ["b", "a"]


def test_what_is_found_first_is_first_whatever_k(tmp_path: Path) -> None:
    """Scores that come out alike tie also where the last wanted is cut off from the next."""
    documents = [{"id": "b", "n": 1}, {"id": "a", "n": 2}, {"id": "c", "n": 3}]
    shard = OneShard.of(tmp_path, {"n": "integer"}, documents)
    index = shard.open()
    query = "n:1^1.00014 OR n:2^1.00006 OR n:3^1.00004"
    every = find(index, shard, query, 3)
    assert every.hits == [(1.0001, "a"), (1.0001, "b"), (1.0, "c")]
    for k in (1, 2):
        assert find(index, shard, query, k).hits == every.hits[:k]
