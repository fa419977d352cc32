"""`python -m bench.exact`: how often a partial answer in the order by score is exact.

Texts are indexed in shards, as workers do, and each query is answered without some of the shards,
for every choice of them or for a sample. No cluster is needed: what is decided is the same in one
process. Descriptions of Debian packages are fetched from Debian's archive; or a file with a JSON
object a line is read, with `id`, `title` and `text`.
"""

import argparse
import itertools
import json
import lzma
import random
import re
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from bench.harness.report import show
from bench.search.debian import descriptions, stanzas
from hedgerow.common.collection import Collection, define
from hedgerow.common.partition import shard_of
from hedgerow.common.query.needs import need_of
from hedgerow.common.query.score_bounds import score_bound
from hedgerow.common.query.shard_summary import SummaryMasks
from hedgerow.common.query.word_frequencies import WordFrequencies, unpack_frequencies
from hedgerow.common.wire.messages import SearchBody
from hedgerow.gateway.search.merge import merge
from hedgerow.gateway.search.skipping.exactness import exactness_by_score
from hedgerow.shard_worker.scoring.query_analysis import QueryAnalysis
from hedgerow.shard_worker.scoring.query_builder import QueryBuilder
from hedgerow.shard_worker.scoring.retrieval import retrieve
from hedgerow.shard_worker.storage.length_padding import balance
from hedgerow.shard_worker.storage.summary import summary_of
from hedgerow.shard_worker.storage.term_statistics import (
    TermStatistics,
    collect,
    pack,
    pack_sum,
    unpack,
    write_table,
)
from hedgerow.shard_worker.storage.text_index import TextIndex
from hedgerow.shard_worker.storage.text_index_writer import TextIndexWriter

_FIELDS = {"title": {"type": "text", "weight": 2}, "text": "text"}
_SUMMARY_BYTES = 131_072  # the default of worker.summary_bytes
_MOST_CHOICES = 32  # of missing shards, for each query
_WORD = re.compile(r"[A-Za-z]{3,}")


class Shards(NamedTuple):
    """The documents in shards, with the statistics of the whole."""

    collection: Collection
    builders: Sequence[tuple[TextIndex, QueryBuilder]]
    masks: SummaryMasks
    words: WordFrequencies


def build(root: Path, documents: Sequence[Mapping[str, Any]], num_shards: int) -> Shards:
    """Index documents as a cluster with these shards would."""
    collection = define("c", {"fields": _FIELDS}, uid="u")
    parts: list[list[Mapping[str, Any]]] = [[] for _ in range(num_shards)]
    for one in documents:
        parts[shard_of(one["id"], num_shards)].append(one)
    paths = [root / f"{num_shards}-{shard}" for shard in range(num_shards)]
    for path, part in zip(paths, parts, strict=True):
        writer = TextIndexWriter.open(path, collection)
        writer.apply([], [(one["id"], one) for one in part])
        writer.commit()
        writer.close()
    summed = pack_sum(pack(collect(TextIndex.open(path))) for path in paths)
    table = root / f"{num_shards}.sqlite"
    write_table(table, unpack(summed.statistics))
    statistics = TermStatistics.open(table)
    for path in paths:
        writer = TextIndexWriter.open(path, collection)
        balance(writer, statistics.average_lengths)
        writer.close()
    indexes = [TextIndex.open(path) for path in paths]
    summaries = {at: summary_of(one, _SUMMARY_BYTES) for at, one in enumerate(indexes)}
    return Shards(
        collection,
        [(index, QueryBuilder(index, statistics)) for index in indexes],
        SummaryMasks(summaries),
        unpack_frequencies(summed.words),
    )


class Share(NamedTuple):
    """How often answers were exact.

    Attributes:
        num: of partial answers.
        unmatched: that no missing document could match.
        exact: that no missing document could be among the hits, those included.
    """

    num: int
    unmatched: int
    exact: int


def count_exact(shards: Shards, queries: Sequence[str], k: int, num_missing: int) -> Share:
    """Answer each query without some shards, and count the answers that are exact.

    Raises:
        RuntimeError: an answer that is called exact lacks a hit.
    """
    analysis, rng = QueryAnalysis(shards.collection), random.Random(1)
    choices = list(itertools.combinations(range(len(shards.builders)), num_missing))
    num = num_unmatched = num_exact = 0
    for query in queries:
        tree = analysis.read(query, False)
        bodies = []
        for shard, (index, builder) in enumerate(shards.builders):
            hits = retrieve(index, builder.build(tree), k).hits
            ids, scores = [one for _, one in hits], [score for score, _ in hits]
            bodies.append((shard, SearchBody(0, 0, True, ids, scores)))
        need = need_of(query, "", shards.collection, strict=False)
        bound = score_bound(query, shards.collection, shards.words, strict=False)
        matching, whole = need.shards(shards.masks), [hit.id for hit in merge(bodies, k)]
        if bound is None:
            raise RuntimeError("the statistics lack a field")
        for missing in rng.sample(choices, min(len(choices), _MOST_CHOICES)):
            partial = merge([body for body in bodies if body[0] not in missing], k)
            is_unmatched = not any(matching >> shard & 1 for shard in missing)
            is_exact = is_unmatched or (
                len(partial) == k
                and exactness_by_score(missing, shards.masks, need, bound, partial[-1]) is not None
            )
            num, num_unmatched = num + 1, num_unmatched + is_unmatched
            num_exact += is_exact
            if is_exact and [hit.id for hit in partial] != whole:
                raise RuntimeError(f"{query!r} without {missing} is not exact")
    return Share(num, num_unmatched, num_exact)


def packages(cache: Path) -> Iterator[dict[str, Any]]:
    """Yield the descriptions of Debian's packages."""
    for package, text in stanzas(descriptions(cache)[0]):
        yield {"id": package, "title": package, "text": text}


def read_documents(path: Path) -> Iterator[dict[str, Any]]:
    """Yield the documents of a file, which may be compressed by xz."""
    opened = lzma.open if path.suffix == ".xz" else open
    with opened(path, "rt", encoding="utf-8") as file:
        for line in file:
            one = json.loads(line)
            yield {"id": one["id"], "title": one["title"], "text": one["text"]}


def asked(documents: Sequence[Mapping[str, Any]], num: int) -> dict[str, list[str]]:
    """Queries of words that are together in a document, and whole titles."""
    rng, found = random.Random(2), dict[str, list[str]]()
    chosen = rng.sample(list(documents), num)
    found["a title"] = [one["title"] for one in chosen]
    for size in (1, 2, 3, 5):
        words = [list(dict.fromkeys(_WORD.findall(one["text"]))) for one in chosen]
        name = "a word of a text" if size == 1 else f"{size} words of a text"
        found[name] = [" ".join(rng.sample(one, min(size, len(one)))) for one in words]
    return found


def main() -> int:
    """Measure; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m bench.exact", description=__doc__)
    add = parser.add_argument
    add("--documents", type=Path, help="a file of documents, instead of Debian's packages")
    add("--queries", type=Path, help="a file of queries, with a JSON object a line, of `text`")
    add("--cache", type=Path, default=Path(".bench-search"), help="folder for what is fetched")
    add("--shards", type=int, nargs="+", default=[8, 64], metavar="N", help="(8 64)")
    add("--k", type=int, nargs="+", default=[1, 10], metavar="N", help="hits (1 10)")
    add("--num-queries", type=int, default=300, metavar="N", help="of each kind (300)")
    arguments = parser.parse_args()
    source = packages(arguments.cache)
    if arguments.documents:
        source = read_documents(arguments.documents)
    documents = [one for one in source if one["title"] and _WORD.search(one["text"])]
    queries = asked(documents, arguments.num_queries)
    if arguments.queries:
        lines = arguments.queries.read_text(encoding="utf-8").splitlines()
        queries["a query"] = [json.loads(line)["text"] for line in lines][: arguments.num_queries]
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for num_shards in arguments.shards:
            shards = build(Path(folder), documents, num_shards)
            for (kind, texts), k in itertools.product(queries.items(), arguments.k):
                row = [str(num_shards), kind, str(k)]
                for num_missing in (1, 2):
                    share = count_exact(shards, texts, k, num_missing)
                    row += [f"{share.unmatched / share.num:.1%}", f"{share.exact / share.num:.1%}"]
                rows.append(row)
    show(
        f"{len(documents):,} documents; shares of partial answers: no missing document can match, "
        "and exact",
        ("shards", "query", "k", "1: no match", "1: exact", "2: no match", "2: exact"),
        rows,
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
