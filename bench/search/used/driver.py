"""Measures search as it is used, and makes its page."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

from bench.search.figures import Where
from bench.search.kept import Kept
from bench.search.process import Work
from bench.search.queries import write_plainly
from bench.search.used.catalogue import ENGINES, SIZES
from bench.search.used.corpus import read_summaries, two_words
from bench.search.used.figures import TOGETHER, Part
from bench.search.used.page import to_markdown
from bench.search.used.rounds import Plan, measure

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
    """Measure what is not kept as whole, first the default and then the sizes.

    Args:
        cache: for packages.
        folder: for what is built.
        kept: is given each part after each round.
        where: tells where and when.
        num_rounds: how often.
        seconds: how long each load is at least.
        most_documents: that are indexed.

    Raises:
        SourceError: the documents cannot be had.
    """
    documents = read_summaries(cache)
    queries = two_words(documents.lines(20 * _NUM_QUERIES), _NUM_QUERIES)
    path = folder / "two-words.tsv"
    write_plainly(path, queries)
    limit = min(documents.total, most_documents)
    plans = (
        (USED, limit, Plan(ENGINES, _FLIGHTS, num_rounds, seconds)),
        (SIZED, min(limit, _DOCUMENTS_OF_SIZES), Plan(SIZES, _FLIGHTS[:2], num_rounds, seconds)),
    )
    for name, number, plan in plans:
        known = kept.part(name)
        if known and known.is_whole:
            continue
        work = Work(cache, folder, documents.path, number, path)
        part = Part(where(), number, documents.versions, documents.counts, len(queries))
        await measure(plan, work, part, partial(kept.write_part, name))


def page_of(kept: Kept) -> str:
    """The page of what is kept; empty where nothing is."""
    part = kept.part(USED)
    return to_markdown(part, kept.part(SIZED)) if part else ""


def is_whole(kept: Kept) -> bool:
    """Whether all of it was measured, and every engine could be had."""
    parts = [kept.part(name) for name in (USED, SIZED)]
    return all(
        part and part.is_whole and not any(index.reason for index in part.indexes.values())
        for part in parts
    )
