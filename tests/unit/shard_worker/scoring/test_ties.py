"""Of documents that tie, those with the least ids are found, however many there are."""

import random
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast
from unittest.mock import Mock

import pytest
import tantivy

from hedgerow.common.collection import define
from hedgerow.common.query.syntax import parse
from hedgerow.common.wire.messages import SearchBody
from hedgerow.gateway.search.merge import merge
from hedgerow.shard_worker.scoring import ties
from hedgerow.shard_worker.scoring.field_queries import both
from hedgerow.shard_worker.scoring.query_builder import QueryBuilder
from hedgerow.shard_worker.scoring.retrieval import Found, retrieve
from hedgerow.shard_worker.storage.id_levels import boundary_ranks
from hedgerow.shard_worker.storage.schema import PRESENT
from hedgerow.shard_worker.storage.text_index import TextIndex
from hedgerow.shard_worker.storage.text_index_writer import TextIndexWriter

COLLECTION = define("c", {"fields": {"t": "text", "n": "integer"}, "language": "none"}, uid="u1")
COUNT = 3000
# Ids whose order, length and characters a query language or a number made of them may get wrong.
ODD = ("a", "a b", "a-b", "A", 'say "hi"', "[x TO y}", "*", "**", "é", "\U0001f600", "\\", "a:b^2")
QUERIES = ("word", "t:word", "word OR other", "rare other word", "+word n:1", "*", "n:1", "wo*")


def documents(ids: Sequence[str], seed: int) -> list[tuple[str, dict[str, Any]]]:
    """Short texts with few scores, in an order of their own."""
    draw = random.Random(0)
    rows: list[tuple[str, dict[str, Any]]] = []
    for one in sorted(ids):
        text = ["word", "x" if draw.random() < 0.7 else "other", "y"]
        text += ["word"] * (draw.random() < 0.002) + ["rare"] * (draw.random() < 0.01)
        rows.append((one, {"t": " ".join(text), "n": draw.randrange(3)}))
    random.Random(seed).shuffle(rows)
    return rows


def write(
    folder: Path,
    rows: Sequence[tuple[str, dict[str, Any]]],
    boundaries: Sequence[str] = (),
    num_commits: int = 6,
) -> TextIndex:
    """An index of some documents."""
    writer = TextIndexWriter.open(folder, COLLECTION)
    writer.clear(sorted(boundaries))
    size = -(-len(rows) // num_commits)
    for start in range(0, len(rows), size):
        writer.apply((), rows[start : start + size])
        writer.commit()
    writer.close()
    return TextIndex.open(folder)


def well_chosen(ids: Sequence[str]) -> list[str]:
    """The boundaries that a shard's indexer chooses."""
    ranked = sorted(ids)
    return [ranked[rank] for rank in boundary_ranks(len(ranked))]


def find(index: TextIndex, query: str, k: int, watched: object = None) -> Found:
    """The best k; of the same index where it is watched."""
    tree = parse(query, COLLECTION, strict=True)[0]
    build = QueryBuilder(index, None).build
    found = retrieve(
        cast("TextIndex", watched) if watched else index,
        build(tree),
        k,
        lambda within: build(tree, within=within),
    )
    return found._replace(located=None)


@lru_cache(maxsize=64)  # several tests look for the same in the same indexes
def brute_force(index: TextIndex, query: str) -> list[tuple[float, str]]:
    """All matches, formatted and sorted one by one."""
    built = QueryBuilder(index, None).build(parse(query, COLLECTION, strict=True)[0])
    hits = index.searcher.search(built, COUNT + 1).hits
    ids = index.ids([address for _, address in hits])
    rows = [(float(f"{score:.5g}"), one) for (score, _), one in zip(hits, ids, strict=True)]
    return sorted(rows, key=lambda row: (-row[0], row[1]))


@pytest.fixture(scope="module")
def ids() -> list[str]:
    """Ids that are alike for long, and odd ones."""
    return [*ODD, *(f"https://example.org/{number:05}" for number in range(COUNT - len(ODD)))]


@pytest.fixture(scope="module")
def indexes(ids: list[str], tmp_path_factory: pytest.TempPathFactory) -> dict[str, TextIndex]:
    """The same documents with boundaries of all kinds."""
    kinds = {
        "well chosen": well_chosen(ids),
        "none": [],
        "all too low": ["!", "A", "a"],
        "all too high": [f"https://example.org/{number:05}" for number in (2970, 2980, 2985)],
        "far apart": ["A", "https://example.org/02980"],
    }
    folder = tmp_path_factory.mktemp("ties")
    return {
        kind: write(folder / kind, documents(ids, seed), boundaries)
        for seed, (kind, boundaries) in enumerate(kinds.items())
    }


@pytest.fixture(scope="module")
def one_segment(ids: list[str], tmp_path_factory: pytest.TempPathFactory) -> TextIndex:
    """The documents in an order that is always the same; the order of segments is not."""
    folder = tmp_path_factory.mktemp("one") / "segment"
    return write(folder, documents(ids, 1), well_chosen(ids), num_commits=1)


@pytest.mark.parametrize("query", QUERIES)
@pytest.mark.parametrize(
    "kind", ["well chosen", "none", "all too low", "all too high", "far apart"]
)
def test_the_first_by_id_are_found_whatever_the_boundaries(
    indexes: dict[str, TextIndex], kind: str, query: str
) -> None:
    """The hits are those of sorting all matches, for any k and any boundaries."""
    index = indexes[kind]
    expected = brute_force(index, query)
    for k in (1, 3, 10, 11, 40, 150, 1000, COUNT - 1, COUNT, COUNT + 1):
        assert find(index, query, k) == Found(len(expected), expected[:k])


@pytest.mark.parametrize("query", QUERIES)
@pytest.mark.parametrize("kind", ["well chosen", "none", "all too low", "far apart"])
def test_they_are_found_with_hardly_any_room(
    indexes: dict[str, TextIndex], kind: str, query: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When a boundary leaves too many to read, lower ones and ranges of ids lead to the same."""
    monkeypatch.setattr(ties, "_ROOM", 1)
    monkeypatch.setattr(ties, "_MOST_EXPECTED", 0)
    monkeypatch.setattr(ties, "_MARGIN", 0.0)
    index = indexes[kind]
    expected = brute_force(index, query)
    for k in (1, 2, 10, 40):
        assert find(index, query, k) == Found(len(expected), expected[:k])


@pytest.mark.parametrize("query", ["y", "y^0.1 n:1", "x n:1 n:2", "* other rare"])
def test_few_ids_are_read_of_many_that_tie(one_segment: TextIndex, query: str) -> None:
    """Two searches find ten of hundreds that tie, however many match besides; few ids are read."""
    index = one_segment
    search, read = Mock(wraps=index.searcher.search), Mock(wraps=index.ids)
    watched = SimpleNamespace(
        searcher=SimpleNamespace(search=search),
        ids=read,
        kept_ids=read,
        all_levels=index.all_levels,
        num_counted=index.num_counted,
        num_segments=index.num_segments,
        schema=index.schema,
    )
    found = find(index, query, 10, watched)
    assert len(found.hits) == 10
    assert search.call_count == 2
    assert sum(len(call.args[0]) for call in read.call_args_list) <= 40


@pytest.mark.parametrize(
    "query",
    [
        *QUERIES,
        "other -rare",
        "(rare OR other) x",
        "rare other^3 word",
        "+other rare -x",
        '"word x" other',
        "NOT other",
    ],
)
def test_a_restricted_query_finds_what_the_whole_one_finds_there(
    indexes: dict[str, TextIndex], query: str
) -> None:
    """Restricted part by part, a query matches and scores the same as within the whole."""
    index = indexes["well chosen"]
    mark = next(level.mark for level in index.levels if level.num_documents > 200)
    within = tantivy.Query.term_query(index.schema, PRESENT, mark)
    tree, build = parse(query, COLLECTION, strict=True)[0], QueryBuilder(index, None).build

    def found(built: tantivy.Query) -> dict[str, object]:
        hits = index.searcher.search(built, COUNT).hits
        return {index.ids([address])[0]: pytest.approx(score) for score, address in hits}

    assert found(build(tree, within=within)) == found(both(build(tree), within)) != {}


@pytest.mark.parametrize(("most_kept", "num_read"), [(ties._MOST_KEPT, 0), (2, 20)])
def test_ids_of_the_lowest_documents_are_read_once(
    indexes: dict[str, TextIndex], monkeypatch: pytest.MonkeyPatch, most_kept: int, num_read: int
) -> None:
    """A second search reads no ids of few documents, and finds the same; of more it reads some."""
    monkeypatch.setattr(ties, "_MOST_KEPT", most_kept)
    index = indexes["well chosen"]
    first = find(index, "y", 20)
    read = Mock(wraps=index.ids)
    monkeypatch.setattr(index, "ids", read)
    assert find(index, "y", 20) == first
    read_again = sum(len(call.args[0]) for call in read.call_args_list)
    assert read_again >= num_read
    assert bool(read_again) == bool(num_read)


@pytest.mark.parametrize("query", ["word", "t:word OR other", "*"])
def test_the_answer_is_that_of_one_shard_for_any_number_of_shards(
    indexes: dict[str, TextIndex], ids: list[str], tmp_path: Path, query: str
) -> None:
    """Thousands of ties come in the same order from one index as from several.

    Each has boundaries of its own. All documents are alike, so that they score alike on each shard.
    """
    texts = {one: {"t": "word x y", "n": 1} for one in ids}
    whole = write(tmp_path / "whole", list(texts.items()), well_chosen(ids))
    alone = find(whole, query, 10)
    dealt = random.Random(2).sample(ids, len(ids))
    parts = []
    for shard in range(3):
        own = dealt[shard::3]
        index = write(
            tmp_path / str(shard), [(one, texts[one]) for one in own], well_chosen(own[:700])
        )
        found = find(index, query, 10)
        score = alone.hits[0][0]
        hits = [one for _, one in found.hits]
        parts.append((shard, SearchBody(len(own), found.total, True, hits, [score] * len(hits))))
    assert (
        [hit.id for hit in merge(parts, 10)] == [one for _, one in alone.hits] == sorted(ids)[:10]
    )


def test_an_index_with_unmarked_documents_has_no_levels(ids: list[str], tmp_path: Path) -> None:
    """What a version without marks has added is not overlooked."""
    index = write(tmp_path, documents(ids, 1)[:300], well_chosen(ids))
    assert index.levels
    writer = TextIndexWriter.open(tmp_path, COLLECTION)
    writer._boundaries = None  # as in a version that knows of none
    writer.apply((), [("!", {"t": "word x y"})])
    writer.commit()
    writer.close()
    index = TextIndex.open(tmp_path)
    assert index.levels == []
    assert find(index, "word", 3).hits == brute_force(index, "word")[:3]


def test_marks_go_on_when_an_index_is_opened_again(ids: list[str], tmp_path: Path) -> None:
    """The boundaries are those of the documents that are there, as long as there are any."""
    rows = documents(ids, 1)
    write(tmp_path, rows[:400], well_chosen(ids))
    writer = TextIndexWriter.open(tmp_path, COLLECTION)
    writer.apply([rows[0][0]], rows[400:800])
    writer.commit()
    writer.close()
    index = TextIndex.open(tmp_path)
    here = sorted(one for one, _ in rows[1:800])
    for level in index.levels:
        assert level.mark
        below = [one for one in here if one < level.mark[1:]]
        assert level.num_documents - len(below) in (0, 1)  # the deleted one may still count
    assert [level.num_documents for level in index.levels] == sorted(
        level.num_documents for level in index.levels
    )
