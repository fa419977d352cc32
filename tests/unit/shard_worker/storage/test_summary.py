"""A summary never excludes what the index finds; and it does exclude words that no document has."""

from collections.abc import Mapping, Sequence
from random import Random
from typing import Any, NamedTuple

import pytest
from hypothesis import example, given, settings

from hedgerow.common.collection import Collection
from hedgerow.common.query.as_typed import AS_WRITTEN, Typing
from hedgerow.common.query.needs import may_match, need_of
from hedgerow.common.query.shard_summary import ShardSummary, unpack_summary
from hedgerow.common.wire.search_options import Synonym
from hedgerow.shard_worker.scoring.query_analysis import QueryAnalysis
from hedgerow.shard_worker.scoring.query_builder import QueryBuilder
from hedgerow.shard_worker.storage.summary import summary_of
from hedgerow.shard_worker.storage.text_index import TextIndex, count_of
from hedgerow.shard_worker.storage.text_index_writer import TextIndexWriter
from tests.unit.support.scored_shards import (
    definition_of,
    document_of,
    filters,
    queries,
    synonyms,
    typings,
)

SPECIAL: Mapping[int, Sequence[dict[str, Any]]] = {
    4: ({"title": "red"},),
    5: ({"title": "straße"},),
    8: ({"title": "the who"},),
}
NUM_INDEXES = 9  # some with folding, some with deleted documents, one with none


class Shard(NamedTuple):
    """An index, how queries are read for it, and its summary after a way through Redis."""

    collection: Collection
    analysis: QueryAnalysis
    searched: TextIndex
    summary: ShardSummary


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Sequence[Shard]:
    """Small shards of several collections."""
    root, rng, made = tmp_path_factory.mktemp("summaries"), Random(5), []
    for number in range(NUM_INDEXES):
        collection = definition_of(number)
        writer = TextIndexWriter.open(root / str(number), collection)
        documents = [document_of(rng, at) for at in range(number % 4)]
        documents += [{"id": "s", **one} for one in SPECIAL.get(number, ())]
        writer.apply([], [(one["id"], one) for one in documents])
        writer.commit()
        if number > 4:  # replaced, and deleted
            writer.apply(["d0"], [("d1", document_of(rng, 1))])
            writer.commit()
        writer.close()
        index = TextIndex.open(root / str(number))
        summary = unpack_summary(summary_of(index, 1000).pack())
        made.append(Shard(collection, QueryAnalysis(collection), index, summary))
    return made


@settings(max_examples=120, deadline=None)
@example("red-absent", "", AS_WRITTEN, ())  # one of the words is enough
@example('"re"*', "", AS_WRITTEN, ())  # the beginning of a word
@example("absent", "", AS_WRITTEN, (Synonym("absent", ("straße",)),))
@example("STRASSE", "", AS_WRITTEN, ())  # the same as a whole, but not as words
@example("+the +red", "", AS_WRITTEN, ())  # a stop word of one of two fields
@example("the who", "", AS_WRITTEN, ())  # stop words only
@given(
    query=queries,
    filter_text=filters,
    typing=typings,
    synonyms=synonyms,
)
def test_what_is_found_is_never_excluded(
    shards: Sequence[Shard],
    query: str,
    filter_text: str,
    typing: Typing,
    synonyms: tuple[Synonym, ...],
) -> None:
    """If a shard finds a document, its summary says that it may; with all that a query can be."""
    for collection, analysis, index, summary in shards:
        tree = analysis.read(query, strict=False, typing=typing, synonyms=synonyms)
        built = QueryBuilder(index, None).build(tree, analysis.read_filter(filter_text))
        num_found = count_of(index.searcher.search(built, 1))
        need = need_of(
            query, filter_text, collection, strict=False, typing=typing, synonyms=synonyms
        )
        assert not num_found or may_match(need, summary)


@pytest.mark.parametrize(
    ("query", "filter_text"),
    [
        ("absent", ""),
        ("+absent red", ""),
        ("absent missing", ""),
        ('"red absent"', ""),
        ("red", "tag:nothing"),
        ("red", "tag:IN [nothing ever]"),
        ("red", "year:<1989"),
        ("red", "price:>8"),
        ("red", "day:>2021-01-01"),
        ("red AND (absent OR missing)", ""),
        ("title:absent -red", ""),
        ("the", ""),
    ],
)
def test_what_no_document_has_is_excluded(
    shards: Sequence[Shard], query: str, filter_text: str
) -> None:
    """By each kind of word, value and range, in shards that hold other documents."""
    collection, _, _, summary = shards[3]
    assert summary.documents == 3
    assert not may_match(need_of(query, filter_text, collection, strict=True), summary)


def test_an_empty_shard_excludes_everything(shards: Sequence[Shard]) -> None:
    """Even all documents, and the absence of a word."""
    collection, _, _, summary = shards[0]
    assert not summary.documents
    assert not any(
        may_match(need_of(query, "", collection, strict=True), summary)
        for query in ("*", "NOT red", "re*", "lamp~1")
    )


def test_fields_that_do_not_fit_exclude_nothing(shards: Sequence[Shard]) -> None:
    """A filter of one byte has no room for words, so any shard may have any."""
    collection, _, index, _ = shards[3]
    summary = summary_of(index, 1)
    assert not summary.fields & {"title", "body"}
    assert may_match(need_of("absent", "", collection, strict=True), summary)
