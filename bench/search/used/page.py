"""The page docs/search-used.md; pure."""

from collections.abc import Iterable

from bench.harness.report import loads_of, median, ms, table, tell_verdicts
from bench.search.figures import LOST, TOGETHER, Comparison, Row
from bench.search.page import tell_costs, tell_engines, tell_failures, tell_sources
from bench.search.used.figures import judge

_INTRODUCTION = """# Search, as it is used

`gateway up` with its defaults and those of the API, as people use it, beside what they would write
themselves: FastAPI over tantivy in one process, with the documents as stored fields
and without a deadline, a second process or a place to write to. {documents:,} short texts with a
name each (below), two text fields, {num_queries:,} queries of two words that are adjacent
in some document, the ten best of each. Written by the benchmark itself; to repeat, on a
machine that does nothing else:

    {command}

Measured on {date}, on {machine}; load average over a minute before each round: {loads}.
An answer counts if it is **whole**: it reflects every document, and its hits have their fields.
Callers ask one query after another, and after a refusal ask the next at once. Client and servers
share the cores. "HTTP" is the benchmark's own bare exchange, which costs little. Rounds are in
turns (A B C, A B C, …), and each figure is the median of the rounds; shares are of all rounds.
While one engine is measured, all processes of the others are stopped (SIGSTOP).

"""
_SIZES = """
## Shards and workers

The same over the first {documents:,} documents, over HTTP with fields, with other numbers of shards
and workers (`gateway up --shards S --workers W`), and with a deadline of 30 s, so that nothing is
refused and the CPU is that of whole answers. Processes and memory (PSS) are those of the whole
cluster. Load averages: {loads}. [Sizing](sizing.md) draws the conclusions.

"""


def to_markdown(used: Comparison, sizes: Comparison | None) -> str:
    """The whole page, of what was measured."""
    parts = [
        _INTRODUCTION.format(
            documents=used.documents,
            num_queries=used.num_queries,
            command=used.where.command,
            date=used.where.date,
            machine=used.where.machine,
            loads=loads_of(used.where.loads),
        ),
        _answers(used.rows.values()),
        tell_failures(used),
        tell_verdicts(judge(used.rows, used.cores)),
        _costs(used),
    ]
    if sizes:
        loads = loads_of(sizes.where.loads)
        introduction = _SIZES.format(documents=sizes.documents, loads=loads)
        parts += [introduction, _sizes(sizes), tell_failures(sizes)]
    parts += [_documents(used), tell_engines(used)]
    return "\n".join(text.strip("\n") + "\n" for text in parts if text.strip())


def _answers(rows: Iterable[Row]) -> str:
    columns = (
        "",
        "in flight",
        "whole answers/s",
        "p50, ms",
        "p99, ms",
        "refused",
        "partial",
        "failed",
    )
    lines = []
    for row in rows:
        for in_flight, points in row.points.items():
            shares = (row.share(kind, in_flight) for kind in LOST)
            lines.append(
                (
                    row.title,
                    str(in_flight),
                    f"{row.per_s(in_flight):,.0f}",
                    ms(median(one.p50_ms for one in points)),
                    ms(median(one.p99_ms for one in points)),
                    *(f"{share:.1%}" for share in shares),
                )
            )
    return table(columns, lines)


def _costs(comparison: Comparison) -> str:
    costs = tell_costs(f"CPU of a whole answer, µs, {TOGETHER} in flight", comparison)
    return costs and (
        f"## What each part takes\n\n{costs}\n\nThe gateway is the process that speaks HTTP. "
        "Workers read the documents; tantivy searches in the scorers, and the indexer is counted "
        "among them. The cost of refused and partial answers is included.\n"
    )


def _sizes(comparison: Comparison) -> str:
    columns = (
        "shards, on workers",
        "alone: p50, ms",
        f"{TOGETHER} in flight: whole answers/s",
        "p50, ms",
        "p99, ms",
        "refused",
        "partial",
        "CPU of a whole answer, µs",
        "processes",
        "memory, MB",
    )
    lines = []
    for row in comparison.rows.values():
        alone, together = row.alone, row.together
        if not alone or not together:
            continue
        index = comparison.indexes[row.engine]
        lines.append(
            (
                row.title,
                ms(median(one.p50_ms for one in alone)),
                f"{row.per_s():,.0f}",
                ms(median(one.p50_ms for one in together)),
                ms(median(one.p99_ms for one in together)),
                *(f"{row.share(kind, TOGETHER):.1%}" for kind in ("refused", "partial")),
                f"{sum(row.cpu_us().values()):,.0f}",
                str(index.num_processes),
                f"{index.memory_bytes / 1e6:,.0f}",
            )
        )
    return table(columns, lines)


def _documents(comparison: Comparison) -> str:
    return (
        "## The documents\n\nPackages with their synopses, and entries of dictionaries, cut after "
        f"200 characters, all from Debian's archive: {sum(comparison.counts.values()):,} in the "
        "order of a hash of their ids. None of them is in the repository.\n\n"
        f"{tell_sources(comparison)}"
    )
