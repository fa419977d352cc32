"""Measures search as it is used, and makes its page."""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from bench.search.catalogue import Engine
from bench.search.figures import TOGETHER, Comparison, Where
from bench.search.kept import Kept
from bench.search.process import Work
from bench.search.queries import write_plainly
from bench.search.rounds import Plan, measure
from bench.search.used.catalogue import ENGINES, SIZES
from bench.search.used.corpus import read_summaries, two_words
from bench.search.used.page import to_markdown

PAGE = "search-used.md"
USED, SIZED = "used", "sized"
_NUM_QUERIES = 1_000
_DOCUMENTS_OF_SIZES = 100_000
_FLIGHTS = (1, TOGETHER, 64)


async def measure_used(
    cache: Path,
    folder: Path,
    kept: Kept,
    where: Callable[[], Where],
    *,
    num_rounds: int,
    seconds: float,
    most_documents: int,
) -> None:
    """Measure whatever is not kept complete, first the default and then the sizes.

    Args:
        cache: for packages.
        folder: for what is built.
        kept: keeps each part after each round.
        where: returns where and when it is measured.
        num_rounds: how many rounds there are.
        seconds: the least duration of each load.
        most_documents: the largest number of documents that are indexed.

    Raises:
        SourceError: the documents are not available.
    """
    documents = read_summaries(cache)
    queries = two_words(documents.lines(20 * _NUM_QUERIES), _NUM_QUERIES)
    path = folder / "two-words.tsv"
    write_plainly(path, queries)
    limit = min(documents.total, most_documents)

    def plan(engines: Sequence[Engine], flights: Sequence[int]) -> Plan:
        rounds = (num_rounds, seconds)
        return Plan(engines, flights, *rounds, alone_s=seconds, warm_up_s=0.5, may_be_empty=True)

    plans = (
        (USED, limit, plan(ENGINES, _FLIGHTS)),
        (SIZED, min(limit, _DOCUMENTS_OF_SIZES), plan(SIZES, _FLIGHTS[:2])),
    )
    for name, number, one in plans:
        known = kept.comparison(name)
        if known and known.is_whole:
            continue
        work = Work(cache, folder, documents.path, number, path)
        comparison = Comparison(where(), number, documents.versions, documents.counts, len(queries))
        await measure(one, work, comparison, partial(kept.write_comparison, name=name))


def page_of(kept: Kept) -> str:
    """The page of what is kept; empty if nothing is."""
    part = kept.comparison(USED)
    return to_markdown(part, kept.comparison(SIZED)) if part else ""


def is_whole(kept: Kept) -> bool:
    """Whether everything was measured, and every engine was available."""
    parts = [kept.comparison(name) for name in (USED, SIZED)]
    return all(
        part and part.is_whole and not any(index.reason for index in part.indexes.values())
        for part in parts
    )
