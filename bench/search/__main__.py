"""`python -m bench.search`: the same searches in several engines, and Hedgerow as it is used.

Writes docs/search-bench.md and docs/search-used.md.
"""

import argparse
import asyncio
import datetime as dt
import os
import signal
import sys
import tempfile
from contextlib import suppress
from functools import partial
from pathlib import Path

from bench.harness.options import make_parser
from bench.harness.report import machine
from bench.harness.rounds import say
from bench.search.catalogue import choose, engines
from bench.search.debian import SourceError
from bench.search.documents import Documents, read_documents
from bench.search.figures import Comparison, Where
from bench.search.growth import NAMES, measure_growing, measure_shards
from bench.search.kept import Kept
from bench.search.page import PLOT, plot_of, to_markdown
from bench.search.plot import draw_comparison, draw_curve
from bench.search.process import EngineError, Work
from bench.search.queries import Query, read_queries, shuffled, write_plainly
from bench.search.rounds import compare_engines
from bench.search.used.driver import PAGE, SIZED, USED, is_whole, measure_used, page_of
from hedgerow.common.observability.telemetry import configure_logging

_ROOT = Path(__file__).parents[2]
_DOCUMENT = _ROOT / "docs" / "search-bench.md"
_CACHE = _ROOT / ".bench-search"  # git-ignored
# Of the project's shared files, which stand beside the repository or above it.
_QUERIES = Path("shared", "workloads", "search-benchmark-game-queries.txt")


def main(arguments: list[str] | None = None) -> int:
    """Measure what the command line asks for; returns the exit status."""
    options = _parser().parse_args(arguments)
    configure_logging("error", "console")
    # Engines that are stopped cannot end by themselves; however this process ends, it ends them.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    kept = Kept(options.cache / "results")
    if not options.page:
        try:
            choose(options.only, _num_cores())
            status = _measure(options, kept)
        except (SourceError, ValueError, OSError) as error:
            sys.stderr.write(f"{error}\n")
            return 2
        if status:
            return status
    _show(options, kept)
    return 0


def _measure(options: argparse.Namespace, kept: Kept) -> int:
    is_used = options.used_only or not (options.only or options.growth_only)
    if not options.resume:
        if not options.used_only:
            kept.clear()
        if is_used:
            kept.clear(USED, SIZED)
    documents, queries = None, []
    if not options.used_only:
        documents = read_documents(options.cache)
        queries = shuffled(read_queries(options.queries))[: options.num_queries]
    # After Ctrl-C, the page is made of what was measured until then.
    with (
        suppress(KeyboardInterrupt),
        tempfile.TemporaryDirectory(prefix="hedgerow-search-") as name,
    ):
        try:
            if documents:
                asyncio.run(_run(options, kept, documents, queries, Path(name)))
            if is_used:
                asyncio.run(_run_used(options, kept, Path(name)))
        except EngineError as error:
            sys.stderr.write(f"{error}\n")
            return 1
    return 0


async def _run(
    options: argparse.Namespace,
    kept: Kept,
    documents: Documents,
    queries: list[Query],
    folder: Path,
) -> None:
    limit = min(options.documents, documents.total)
    work = Work(options.cache, folder, documents.path, limit, folder / "queries.tsv")
    write_plainly(work.queries, queries)
    where = partial(_where, _command(options))
    known = kept.comparison()
    if not options.growth_only and not (options.resume and known and known.is_whole):
        comparison = Comparison(where(), limit, documents.versions, documents.counts, len(queries))
        chosen = choose(options.only, _num_cores())
        try:
            await compare_engines(chosen, work, comparison, options.rounds, options.seconds)
        finally:
            kept.write_comparison(comparison)
    if options.only and not options.growth_only:
        return
    done = {curve.name for curve in kept.curves() if curve.is_whole} if options.resume else set()
    wanted = [name for name in NAMES if name not in done]
    if growing := [name for name in wanted if name != "shards"]:
        await measure_growing(work, growing, where, kept.write_curve)
    if "shards" in wanted:
        await measure_shards(work, where, kept.write_curve)


async def _run_used(options: argparse.Namespace, kept: Kept, folder: Path) -> None:
    await measure_used(
        options.cache,
        folder,
        kept,
        partial(_where, f"{_command(options)} --used-only"),
        num_rounds=options.rounds,
        seconds=options.seconds,
        most_documents=options.documents,
    )


def _show_used(options: argparse.Namespace, kept: Kept) -> None:
    page = page_of(kept)
    sys.stdout.write(page)
    folder = options.write_to
    if folder is None and is_whole(kept) and not options.dry:
        folder = _DOCUMENT.parent
    if page and folder:
        (folder / PAGE).write_text(page, encoding="utf-8")


def _show(options: argparse.Namespace, kept: Kept) -> None:
    if options.used_only or not (options.only or options.growth_only):
        _show_used(options, kept)
    if options.used_only:
        return
    comparison, curves = kept.comparison(), kept.curves()
    page = to_markdown(comparison, curves)
    sys.stdout.write(page)
    folder = options.write_to
    # Only a whole run may replace what the repository shows.
    if folder is None and _is_whole(comparison) and len(curves) == len(NAMES) and not options.dry:
        folder = _DOCUMENT.parent if all(curve.is_whole for curve in curves) else None
    if folder is None:
        say(
            "search",
            f"docs/{_DOCUMENT.name} is left as it is; figures are in {options.cache / 'results'}",
        )
        return
    (folder / _DOCUMENT.name).write_text(page, encoding="utf-8")
    if comparison and (measured := [one for one in comparison.rows.values() if one.together]):
        (folder / PLOT).write_text(draw_comparison(measured), encoding="utf-8")
    for curve in curves:
        (folder / plot_of(curve)).write_text(draw_curve(curve), encoding="utf-8")


def _is_whole(comparison: Comparison | None) -> bool:
    """Whether every engine was measured, or gave a reason why it cannot be."""
    if comparison is None or not comparison.is_whole:
        return False
    named = {engine.name for engine in engines(_num_cores())}
    measured = {one.engine for one in comparison.rows.values() if one.together}
    unavailable = {name for name, index in comparison.indexes.items() if index.reason}
    return named == measured | unavailable


def _num_cores() -> int:
    return len(os.sched_getaffinity(0))


def _command(options: argparse.Namespace) -> str:
    return (
        f"python -m bench.search --rounds {options.rounds} --seconds {options.seconds:g} "
        f"--documents {options.documents}"
    )


def _where(command: str) -> Where:
    return Where(machine(), dt.datetime.now(dt.UTC).date().isoformat(), command)


def _parser() -> argparse.ArgumentParser:
    parser = make_parser("bench.search", __doc__, 5, 1.0)
    add = parser.add_argument
    add("--only", default="", metavar="A,B", help="compare some engines only, by name; no curves")
    add("--growth-only", action="store_true", help="the curves alone")
    add("--used-only", action="store_true", help="Hedgerow as it is used alone")
    add("--documents", type=int, default=1_000_000, help="most documents (1000000)")
    add("--num-queries", type=int, default=None, metavar="N", help="the first N only, to try it")
    queries = next((one / _QUERIES for one in _ROOT.parents if (one / _QUERIES).exists()), _QUERIES)
    add("--queries", type=Path, default=queries, metavar="FILE", help="query and tags, JSON lines")
    add("--cache", type=Path, default=_CACHE, metavar="FOLDER", help="for packages and results")
    add("--resume", action="store_true", help="keep the parts that an earlier run has ended")
    add("--page", action="store_true", help="measure nothing: make the page of what is kept")
    add("--dry", action="store_true", help="leave docs/search-bench.md as it is")
    add("--write-to", type=Path, metavar="FOLDER", help="write page and plots there, whole or not")
    return parser


if __name__ == "__main__":
    sys.exit(main())
