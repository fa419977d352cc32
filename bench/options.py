"""`python -m bench.options` and `make bench-search`: what the options of a search cost a worker.

One process calls `shard_worker.scoring.scorer` as the cluster's scorers do, without anything around
it, and its CPU time is measured, which hardly depends on what else the machine does. Each search
with an option is measured in turns with the same search without it; an order by a field also with
tantivy's own, which reads no ids and breaks no ties. Highlights are made when documents are read,
so they are compared with reading the same documents without.
"""

import argparse
import random
import sys
import tempfile
from array import array
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import tantivy

from bench.harness.report import show
from bench.ties import compare
from hedgerow.common.collection import define
from hedgerow.common.query.syntax import parse
from hedgerow.common.settings.rank_profiles import BUILT_IN_PROFILES
from hedgerow.common.snapshots.manifest import STORE
from hedgerow.common.wire.messages import (
    FetchBody,
    FetchPayload,
    SearchBody,
    SearchPayload,
    pack_body,
    unpack_search_body,
)
from hedgerow.common.wire.search_options import (
    After,
    Choice,
    FacetKind,
    Highlighting,
    LikeTerms,
    SearchOptions,
    Slip,
    SortKey,
    Synonym,
    WantedFacet,
    WantedHighlights,
    WantedVector,
)
from hedgerow.gateway.search.hybrid.fusion import Fusion, Scale
from hedgerow.gateway.search.result import Hit
from hedgerow.shard_worker.executors.process_pool.budget import Budget
from hedgerow.shard_worker.scoring.query_builder import QueryBuilder
from hedgerow.shard_worker.scoring.scorer import Scorer, ScorerConfig
from hedgerow.shard_worker.serving.reading import read_body
from hedgerow.shard_worker.serving.shard_stores import ShardStores
from hedgerow.shard_worker.storage.store import Store
from hedgerow.shard_worker.storage.term_statistics import collect, statistics_path, write_table
from hedgerow.shard_worker.storage.text_index import TextIndex
from hedgerow.shard_worker.storage.text_index_writer import TextIndexWriter

_UID = "goods"
_MEMORY_BYTES = 128_000_000
_FIELDS = {
    "title": "text",
    "brand": "keyword",
    "code": "keyword",
    "price": "float",
    "year": "integer",
    "sold": "date",
    "look": {"type": "vector", "dimensions": 64, "metric": "cosine"},
}
_COLLECTION = define("goods", {"fields": _FIELDS, "language": "none"}, uid=_UID)
_NUM_WORDS = 1000
_NUM_LOOKS = 500  # around each of which vectors lie
_NUM_BRANDS = 200
_MOST_VALUES = 10_000
_TEXTS = define("texts", {"fields": {"text": "text"}}, uid=_UID)
_DEEP = 1000  # hits before a page in the order by score
QUERIES = ("w0", "*")  # a word of half of the documents, and all of them


def goods(num_documents: int) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield ids and documents: few brands, a code of nearly every document's own."""
    draw = random.Random(1)
    others = random.Random(2)  # apart, so that the rest is the same with and without vectors
    looks = _vectors(_NUM_LOOKS, 2)
    for number in range(num_documents):
        words = [f"w{int(draw.random() ** 3 * _NUM_WORDS)}" for _ in range(8)]
        if number % 50 == 0 and "w0" not in words:
            words.append("colour")  # to be misspelt: a word without digits
        yield (
            f"document-{number:08d}",
            {
                "title": " ".join(words),
                "brand": f"b{int(draw.random() ** 2 * _NUM_BRANDS)}",
                "code": f"c{draw.randrange(num_documents)}",
                "price": round(draw.random() * 100, 2),
                "year": 1950 + draw.randrange(70),
                "sold": f"20{draw.randrange(10, 26)}-0{draw.randrange(1, 10)}-15",
                "look": near(others.choice(looks), others),
            },
        )


def _vectors(number: int, seed: int) -> list[list[float]]:
    draw = random.Random(seed)
    return [[draw.gauss(0, 1) for _ in range(64)] for _ in range(number)]


def near(vector: list[float], draw: random.Random) -> list[float]:
    """A vector near another."""
    return [number + draw.gauss(0, 0.5) for number in vector]


def build(folder: Path, num_documents: int) -> None:
    """Build the index of one shard."""
    writer = TextIndexWriter.open(folder / "shards" / "0" / _UID, _COLLECTION, _MEMORY_BYTES)
    writer.apply((), goods(num_documents))
    writer.commit()
    for _ in writer.build_graphs():
        pass
    writer.close()


class Bench:
    """One index, and a scorer that searches it."""

    def __init__(self, folder: Path) -> None:
        self.index = TextIndex.open(folder / "shards" / "0" / _UID)
        self._scorer = Scorer(ScorerConfig(str(folder), BUILT_IN_PROFILES))
        self._budget = Budget.until(float("inf"))

    def close(self) -> None:
        """Close the files."""
        self._scorer.close()

    def scored(
        self, query: str, options: SearchOptions | None = None, k: int = 10
    ) -> Callable[[], bytes]:
        """A search by the scorer."""
        payload = SearchPayload(_UID, query, k, "bm25", "", strict=False, options=options)
        work = (0, self.index.generation, pack_body(payload))
        return lambda: self._scorer(work, self._budget)

    def answer(self, query: str, options: SearchOptions | None = None, k: int = 10) -> SearchBody:
        """What the scorer answers."""
        return unpack_search_body(self.scored(query, options, k)())

    def ordered(self, query: str, field: str) -> Callable[[], object]:
        """The order by a field by tantivy alone, of a query that was built beforehand."""
        tree = parse(query, _COLLECTION, strict=False)[0]
        built = QueryBuilder(self.index, None).build(tree)
        order = tantivy.Order.Asc
        return lambda: self.index.searcher.search(built, 10, order_by_field=field, order=order).hits

    def cases(self, query: str) -> dict[str, SearchOptions]:
        """All options that are measured, by what they ask for."""
        deep = self.answer(query, k=_DEEP)
        price = SortKey("price", is_descending=False)
        year = SortKey("year", is_descending=True)
        score = SortKey("_score", is_descending=True)
        facets = {
            "facet of 200 brands": WantedFacet("brand", FacetKind.TERMS, _MOST_VALUES),
            "facet of codes": WantedFacet("code", FacetKind.TERMS, _MOST_VALUES),
            "facet of 3 ranges": WantedFacet("price", FacetKind.RANGES, bounds=(10.0, 50.0)),
            "facet of decades": WantedFacet(
                "year", FacetKind.HISTOGRAM, _MOST_VALUES, interval=10.0
            ),
            "facet of months": WantedFacet("sold", FacetKind.CALENDAR, _MOST_VALUES, unit="month"),
            "statistics": WantedFacet("price", FacetKind.STATS),
        }
        return {name: SearchOptions((facet,)) for name, facet in facets.items()} | {
            "sorted by price": SearchOptions(sort=(price,)),
            "sorted by code": SearchOptions(sort=(SortKey("code", is_descending=False),)),
            "sorted by date": SearchOptions(sort=(SortKey("sold", is_descending=True),)),
            "sorted by year, then price": SearchOptions(sort=(year, price)),
            "sorted by year, then score": SearchOptions(sort=(year, score)),
            "page in the middle, by price": SearchOptions(
                sort=(price,), search_after=After((50.0,), "")
            ),
            f"page after {_DEEP:,} hits, by score": SearchOptions(
                search_after=After((deep.scores[-1],), deep.ids[-1], len(deep.ids))
            ),
            "best of each brand": SearchOptions(group_by="brand"),
            "nearest vectors instead": SearchOptions(
                vector=WantedVector("look", array("f", _vectors(1, 3)[0]).tobytes(), 10, 128)
            ),
        }

    def refined(self) -> dict[str, tuple[SearchOptions, SearchOptions]]:
        """Searches with a choice, each with the same without it."""
        choices = (Choice("brand", ("b1", "b100", "b150")),)
        brands = WantedFacet("brand", FacetKind.TERMS, _MOST_VALUES)
        ranges = WantedFacet("price", FacetKind.RANGES, bounds=(10.0, 50.0))
        return {
            name: (SearchOptions(facets, refine=choices), SearchOptions(facets))
            for name, facets in {
                "3 brands chosen, no facet": (),
                "3 brands chosen, facet of ranges": (ranges,),
                "3 brands chosen, facets of brands and ranges": (brands, ranges),
            }.items()
        }

    def by_statistics(self) -> dict[str, tuple[Callable[[], bytes], Callable[[], bytes]]]:
        """Searches by the collection's statistics, each with one to compare it with."""
        words = [f"w{number * 37}" for number in range(25)]
        like = LikeTerms("", tuple(("title", word) for word in words))
        typed = SearchOptions(did_you_mean=True)
        return {
            "typos: a word of 6 letters": (
                self.scored("colour", SearchOptions(typos=1)),
                self.scored("colour"),
            ),
            "prefix: the last word, of 3 letters": (
                self.scored("w1 w23", SearchOptions(prefix=True)),
                self.scored("w1 w23"),
            ),
            "like a document: 25 words": (
                self.scored("", SearchOptions(like=like)),
                self.scored(" ".join(words)),
            ),
            "did_you_mean, words that are there": (
                self.scored("w1 w2", typed),
                self.scored("w1 w2"),
            ),
            "did_you_mean, a misspelt word": (
                self.scored("colourr", typed),
                self.scored("colourr"),
            ),
        }

    def slips(self, query: str) -> Sequence[Slip]:
        """What the scorer thinks is misspelt."""
        extras = self.answer(query, SearchOptions(did_you_mean=True)).extras
        return () if extras is None else extras.slips


class Reads:
    """A shard's store, from which documents are read with highlights and without."""

    def __init__(self, folder: Path, num_chars: int) -> None:
        """Store documents with texts of about `num_chars`."""
        path = folder / "shards" / "1"
        path.mkdir(parents=True, exist_ok=True)
        with closing(Store.open(path / STORE)) as store:
            store.apply(
                "1-0",
                definitions={_UID: _TEXTS.to_json()},
                documents={_UID: dict(_articles(num_chars))},
            )
        self._stores = ShardStores(folder)
        self._stores.open(1)

    def close(self) -> None:
        """Close the files."""
        self._stores.close_all()

    def read(self, query: str | None = None, typos: int = 0) -> Callable[[], FetchBody]:
        """Read ten documents, with highlights of a query if there is one."""
        highlighting = None
        if query is not None:
            wanted = WantedHighlights(("text",), 5, 100, 100_000, "<em>", "</em>")
            options = SearchOptions(typos=typos) if typos else None
            highlighting = Highlighting(query, False, options, wanted)
        ids = [f"a{number}" for number in range(10)]
        payload = FetchPayload(_UID, ids, None, "bm25", (), highlighting)
        return lambda: read_body(self._stores, 1, payload, None, 1 << 24, lambda: 60.0)


def _articles(num_chars: int) -> Iterator[tuple[str, bytes]]:
    """Yield ids and documents of about as many characters: words as often as in language."""
    draw = random.Random(2)
    for number in range(10):
        words = [f"word{int(draw.random() ** 3 * 5000)}" for _ in range(num_chars // 8)]
        yield f"a{number}", msgspec.json.encode({"id": f"a{number}", "text": " ".join(words)})


def synonyms_of(word: str, num: int) -> SearchOptions:
    """A number of synonyms of a word, each in about a thousandth of the documents."""
    first = _NUM_WORDS // 2
    return SearchOptions(synonyms=(Synonym(word, tuple(f"w{first + n}" for n in range(num))),))


def _report(bench: Bench, query: str) -> None:
    rows = []
    cases = bench.cases(query)
    if query != "*":
        cases |= {f"synonyms: {num}": synonyms_of(query, num) for num in (1, 8)}
    for name, options in cases.items():
        used, without = compare(bench.scored(query, options), bench.scored(query))
        rows.append((name, f"{used:,.0f}", f"{without:,.0f}", f"{used - without:+,.0f}"))
    for name, (one, other) in bench.refined().items():
        used, without = compare(bench.scored(query, one), bench.scored(query, other))
        rows.append((name, f"{used:,.0f}", f"{without:,.0f}", f"{used - without:+,.0f}"))
    used, alone = compare(
        bench.scored(query, bench.cases(query)["sorted by price"]), bench.ordered(query, "price")
    )
    rows.append(("sorted by price: tantivy alone", f"{used:,.0f}", f"{alone:,.0f}", ""))
    show(
        f"`{query}`: {bench.answer(query).total:,} of {bench.index.num_documents:,} documents",
        ("search", "CPU, µs", "without, µs", "more, µs"),
        rows,
    )


def _report_by_statistics(folder: Path, bench: Bench) -> None:
    write_table(statistics_path(folder, _UID), collect(bench.index))
    rows = []
    for name, (one, other) in bench.by_statistics().items():
        used, without = compare(one, other)
        rows.append((name, f"{used:,.0f}", f"{without:,.0f}", f"{used - without:+,.0f}"))
    show("by the statistics", ("search", "CPU, µs", "without, µs", "more, µs"), rows)


def _report_reads(folder: Path) -> None:
    rows = []
    for num_chars in (300, 3_000, 30_000):
        reads = Reads(folder, num_chars)
        for name, query, typos in (
            ("highlights", "word1 word900", 0),
            ("highlights of a phrase", '"word1 word2"', 0),
            ("highlights with typos", "word1 wordone", 2),
        ):
            used, without = compare(reads.read(query, typos), reads.read())
            label = f"{name}: 10 texts of {num_chars:,} characters"
            rows.append((label, f"{used:,.0f}", f"{without:,.0f}", f"{used - without:+,.0f}"))
        reads.close()
    show("documents that are read", ("fetch", "CPU, µs", "without, µs", "more, µs"), rows)


def _report_fusion() -> None:
    """What a gateway adds to the legs of a hybrid search, which each cost what a search does."""
    draw = random.Random(1)
    rows = []
    for num in (100, 1000):
        legs = {
            name: [
                Hit(f"document-{one:08d}", (num - place) / num, one % 8)
                for place, one in enumerate(draw.sample(range(num * 2), num))
            ]
            for name in ("text", "vector")
        }
        scores = Fusion(True, 60, {"vector": 3}, {"text": Scale(0.0, True), "vector": Scale(-1.0)})
        rank, score = compare(partial(Fusion().fuse, legs, 10), partial(scores.fuse, legs, 10))
        rows.append((f"{num:,}", f"{rank:,.0f}", f"{score:,.0f}"))
    show(
        "Fusing both legs of a hybrid search, in the gateway",
        ("candidates of each leg", "by rank, µs", "by score, µs"),
        rows,
    )


def main() -> int:
    """Measure; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m bench.options", description=__doc__)
    parser.add_argument(
        "--documents",
        type=int,
        nargs="+",
        default=[10_000, 100_000],
        metavar="N",
        help="of each index (10000 100000); a million take a minute",
    )
    arguments = parser.parse_args()
    for num_documents in arguments.documents:
        with tempfile.TemporaryDirectory(prefix="hedgerow-options-") as name:
            build(Path(name), num_documents)
            bench = Bench(Path(name))
            for query in QUERIES:
                _report(bench, query)
            _report_by_statistics(Path(name), bench)
            bench.close()
    with tempfile.TemporaryDirectory(prefix="hedgerow-options-") as name:
        _report_reads(Path(name))
    _report_fusion()
    return 0


if __name__ == "__main__":
    sys.exit(main())
