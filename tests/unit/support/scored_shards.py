"""Small shards of collections of all kinds, with their summaries, and what can be asked of them."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

from hypothesis import strategies as st

from hedgerow.common.collection import Collection, define
from hedgerow.common.query.as_typed import AS_WRITTEN, Typing
from hedgerow.common.query.shard_summary import SummaryMasks
from hedgerow.common.query.word_frequencies import (
    WordFrequencies,
    pack_frequencies,
    unpack_frequencies,
)
from hedgerow.common.wire.search_options import Synonym
from hedgerow.shard_worker.storage.length_padding import balance
from hedgerow.shard_worker.storage.summary import summary_of
from hedgerow.shard_worker.storage.term_statistics import (
    Statistics,
    TermStatistics,
    collect,
    merge,
    write_table,
)
from hedgerow.shard_worker.storage.text_index import TextIndex
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
SYNONYMS = (Synonym("red", ("the who", "high-speed lamp")), Synonym("the", ("café",)))

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
queries = st.recursive(
    st.lists(_signed, min_size=1, max_size=3).map(" ".join),
    lambda inner: (
        st.builds("({}) {} ({})".format, inner, st.sampled_from(["AND", "OR"]), inner)
        | st.builds("+({}) {}".format, inner, _atom)
        | st.builds("({})^2".format, inner)
    ),
    max_leaves=3,
)
filters = st.just("") | _atom
typings = st.sampled_from([AS_WRITTEN, AS_WRITTEN, Typing(2, True), Typing(0, True)])
synonyms = st.just(()) | st.just(SYNONYMS)


def definition_of(number: int, **weights: int) -> Collection:
    """The definition of one collection of several."""
    fields: dict[str, Any] = {**FIELDS, **OWN_ANALYSES.get(number, {})}
    for name, weight in weights.items():
        own = fields[name] if isinstance(fields[name], dict) else {"type": fields[name]}
        fields[name] = {**own, "weight": weight}
    body = {"fields": fields, "language": LANGUAGES[number % 3], "folding": number % 2 == 0}
    return define("c", body, uid=f"u{number}")


def document_of(rng: Random, number: int, words: Sequence[str] = WORDS) -> dict[str, Any]:
    """A document with values in most fields."""

    def text() -> str:
        return " ".join(rng.choices(words, k=rng.randint(0, 3)))

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


class ScoredShards(NamedTuple):
    """The shards of one collection, with the statistics of the whole.

    Attributes:
        collection: the definition.
        indexes: of the shards.
        statistics: by which they rank.
        masks: the shards' summaries.
        frequencies: of words, by the statistics.
    """

    collection: Collection
    indexes: Sequence[TextIndex]
    statistics: TermStatistics
    masks: SummaryMasks
    frequencies: WordFrequencies

    @classmethod
    def build(
        cls,
        root: Path,
        collection: Collection,
        shards: Sequence[Sequence[Mapping[str, Any]]],
        *,
        counted: int,
        is_padded: bool,
        max_words: int,
    ) -> "ScoredShards":
        """Index documents.

        Args:
            root: a folder for the files.
            collection: the definition.
            shards: the documents of each.
            counted: of how many shards the statistics are; the others' are not counted yet.
            is_padded: whether the indexes are fitted to the statistics.
            max_words: the most words whose frequency is listed.
        """
        paths = [root / str(shard) for shard in range(len(shards))]
        for path, documents in zip(paths, shards, strict=True):
            writer = TextIndexWriter.open(path, collection)
            writer.apply([], [(one["id"], one) for one in documents])
            writer.commit()
            writer.close()
        total: Statistics = merge(collect(TextIndex.open(path)) for path in paths[:counted])
        write_table(root / "statistics.sqlite", total)
        statistics = TermStatistics.open(root / "statistics.sqlite")
        for path in paths if is_padded else ():
            writer = TextIndexWriter.open(path, collection)
            balance(writer, statistics.average_lengths)
            writer.close()
        indexes = [TextIndex.open(path) for path in paths]
        words = {name: one.frequencies for name, one in total.fields.items()}
        packed = pack_frequencies(total.documents, words, max_words)
        return cls(
            collection,
            indexes,
            statistics,
            SummaryMasks({at: summary_of(one, 1000) for at, one in enumerate(indexes)}),
            unpack_frequencies(packed),
        )


def build_all(root: Path, num: int = 8) -> list[ScoredShards]:
    """Build shards of collections with different fields, some of which rank in odd ways.

    Some have shards whose texts are shorter or longer than the others', and that are not padded;
    some have documents that the statistics do not count; of some, few words are listed.
    """
    rng, built = Random(7), []
    for number in range(num):
        shards = []
        for shard in range(3):
            words = [word for word in WORDS if shard or word != "lamp"]
            documents = [
                document_of(rng, 10 * shard + at, words) for at in range(2 * shard + number % 3)
            ]
            # One shard has a word only where the others have one that is like it.
            if not shard and number:
                documents.append({"id": "s", "title": "lamps"})
            elif shard == 1:
                documents += [{"id": f"t{at}", "body": "lamp"} for at in range(2)]
            for one in documents:
                if rng.random() < 0.3:
                    one["title"] = " ".join([rng.choice(words)] * rng.choice([1, 40]))
                if shard == 2:
                    one["body"] = " ".join(rng.choices(WORDS, k=60))
            shards.append(documents)
        built.append(
            ScoredShards.build(
                root / str(number),
                definition_of(number, **({"title": 3} if number % 2 else {})),
                shards,
                counted=2 if number in (2, 5) else 3,
                is_padded=number % 3 != 0,
                max_words=5 if number in (3, 4) else 1000,
            )
        )
    return built
