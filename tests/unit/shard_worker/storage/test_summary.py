"""A summary never excludes what the index finds; and it does exclude words that no document has."""

from collections.abc import Mapping, Sequence
from random import Random
from typing import Any, NamedTuple

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from hedgerow.common.collection import Collection, define
from hedgerow.common.query.as_typed import AS_WRITTEN, Typing
from hedgerow.common.query.needs import may_match, need_of
from hedgerow.common.query.shard_summary import ShardSummary, unpack_summary
from hedgerow.common.wire.search_options import Synonym
from hedgerow.shard_worker.scoring.query_analysis import QueryAnalysis
from hedgerow.shard_worker.scoring.query_builder import QueryBuilder
from hedgerow.shard_worker.storage.summary import summary_of
from hedgerow.shard_worker.storage.text_index import TextIndex, count_of
from hedgerow.shard_worker.storage.text_index_writer import TextIndexWriter

WORDS = [
    "red", "lamp", "lamps", "reading", "the", "who", "straße", "STRASSE", "café", "日本語", "日",
    "high-speed", "x2", "ﬁne", "a\u0345b",
]  # fmt: skip
TAGS = ["new", "old stock", "Straße", ""]
FIELDS = {
    "title": "text",
    "body": "text",
    "note": {"type": "text", "weight": 0},
    "tag": "keyword",
    "year": "integer",
    "price": "float",
    "day": "date",
    "sold": "boolean",
}
LANGUAGES = ["english", "german", "none"]
OWN_ANALYSES: Mapping[int, dict[str, Any]] = {
    1: {"body": {"type": "text", "language": "none"}},
    2: {"body": {"type": "text", "language": "english"}},
    4: {
        "body": {"type": "text", "language": "none"},
        "title": {"type": "text", "language": "english"},
    },
    6: {"note": {"type": "text", "ngrams": 2, "weight": 0}},
    7: {"title": {"type": "text", "ngrams": 3}, "body": {"type": "text", "folding": True}},
}
SPECIAL: Mapping[int, Sequence[dict[str, Any]]] = {
    4: ({"title": "red"},),
    5: ({"title": "straße"},),
    8: ({"title": "the who"},),
}
SYNONYMS = (Synonym("red", ("the who", "high-speed lamp")), Synonym("the", ("café",)))
NUM_INDEXES = 9  # some with folding, some with deleted documents, one with none


class Shard(NamedTuple):
    """An index, and its summary after a way through Redis."""

    collection: Collection
    searched: TextIndex
    summary: ShardSummary


def _document(rng: Random, number: int) -> dict[str, Any]:
    def text() -> str:
        return " ".join(rng.choices(WORDS, k=rng.randint(0, 3)))

    return {
        "id": f"d{number}",
        "title": text(),
        "body": [text(), text()],
        "note": text(),
        "tag": rng.choice(TAGS),
        "year": rng.choice([2**53 + 1, 1990, 2000, None]),
        "price": rng.choice([0.1, -0.0, 7.5, None]),
        "day": rng.choice(["2020-02-29", "2020-02-29T12:00:00.5Z", None]),
        "sold": rng.random() < 0.5,
    }


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Sequence[Shard]:
    """Small shards of several collections."""
    root, rng, made = tmp_path_factory.mktemp("summaries"), Random(5), []
    for number in range(NUM_INDEXES):
        fields = {**FIELDS, **OWN_ANALYSES.get(number, {})}
        body = {"fields": fields, "language": LANGUAGES[number % 3], "folding": number % 2 == 0}
        collection = define("c", body, uid=f"u{number}")
        writer = TextIndexWriter.open(root / str(number), collection)
        documents = [_document(rng, at) for at in range(number % 4)]
        documents += [{"id": "s", **one} for one in SPECIAL.get(number, ())]
        writer.apply([], [(one["id"], one) for one in documents])
        writer.commit()
        if number > 4:  # replaced, and deleted
            writer.apply(["d0"], [("d1", _document(rng, 1))])
            writer.commit()
        writer.close()
        index = TextIndex.open(root / str(number))
        made.append(Shard(collection, index, unpack_summary(summary_of(index, 1000).pack())))
    return made


_word = st.sampled_from(WORDS)
_atom = st.one_of(
    _word,
    st.builds('"{} {}"'.format, _word, _word),
    st.builds('"{} {}"~2'.format, _word, _word),
    st.builds('"{} {}"*'.format, _word, st.sampled_from(["la", "re"])),
    st.builds("{}*".format, st.sampled_from(["la", "re", "日"])),
    st.builds("{}~1".format, st.sampled_from(["lamp", "rad"])),
    st.builds("{}:{}".format, st.sampled_from(["title", "body", "note"]), _word),
    st.sampled_from(
        [
            'tag:"old stock"', "tag:new", "tag:IN [new never]", "tag:n*", "tag:[a TO c]",
            "year:1990", "year:>2000", "year:>=9007199254740993", "year:[1991 TO 1999]",
            "price:0.1", "price:<0", "price:<=0", "price:[8 TO *]", "day:2020-02-29",
            "day:>2020-02-29T12:00:01Z", "day:<2020-02-29", "sold:true", "title:*", "year:*",
            "tag:*", "*", "id:d1", "id:IN [d0 d9]",
        ]
    ),
)  # fmt: skip
_signed = st.builds("{}{}".format, st.sampled_from(["", "", "+", "-"]), _atom)
_query = st.recursive(
    st.lists(_signed, min_size=1, max_size=3).map(" ".join),
    lambda inner: (
        st.builds("({}) {} ({})".format, inner, st.sampled_from(["AND", "OR"]), inner)
        | st.builds("+({}) {}".format, inner, _atom)
        | st.builds("({})^2".format, inner)
    ),
    max_leaves=3,
)
_filter = st.just("") | _atom
_typing = st.sampled_from([AS_WRITTEN, AS_WRITTEN, Typing(2, True), Typing(0, True)])


@settings(max_examples=300, deadline=None)
@example("STRASSE", "", AS_WRITTEN, ())  # the same as a whole, but not as words
@example("+the +red", "", AS_WRITTEN, ())  # a stop word of one of two fields
@example("the who", "", AS_WRITTEN, ())  # stop words only
@given(
    query=_query,
    filter_text=_filter,
    typing=_typing,
    synonyms=st.just(()) | st.just(SYNONYMS),
)
def test_what_is_found_is_never_excluded(
    shards: Sequence[Shard],
    query: str,
    filter_text: str,
    typing: Typing,
    synonyms: tuple[Synonym, ...],
) -> None:
    """If a shard finds a document, its summary says that it may; with all that a query can be."""
    for collection, index, summary in shards:
        analysis = QueryAnalysis(collection)
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
    collection, _, summary = shards[3]
    assert summary.documents == 3
    assert not may_match(need_of(query, filter_text, collection, strict=True), summary)


def test_an_empty_shard_excludes_everything(shards: Sequence[Shard]) -> None:
    """Even all documents, and the absence of a word."""
    collection, _, summary = shards[0]
    assert not summary.documents
    assert not any(
        may_match(need_of(query, "", collection, strict=True), summary)
        for query in ("*", "NOT red", "re*", "lamp~1")
    )


def test_fields_that_do_not_fit_exclude_nothing(shards: Sequence[Shard]) -> None:
    """A filter of one byte has no room for words, so any shard may have any."""
    collection, index, _ = shards[3]
    summary = summary_of(index, 1)
    assert not summary.fields & {"title", "body"}
    assert may_match(need_of("absent", "", collection, strict=True), summary)
