"""The page docs/search-bench.md; pure."""

from collections.abc import Mapping, Sequence

from bench.harness.report import (
    loads_of,
    median,
    ms,
    plain,
    table,
    tell_settings,
    tell_verdicts,
)
from bench.search.catalogue import NO_SEARCH, SCORERS
from bench.search.figures import (
    Comparison,
    Curve,
    Measure,
    Row,
    Series,
    exponent,
    judge,
)

PLOT = "search-bench.svg"
_COLUMNS = (
    "",
    "queries/s",
    "p50 at 32, ms",
    "p99, ms",
    "p50 alone, ms",
    "p99 alone, ms",
    "rounds",
    "failed",
)
_TITLES = {
    "documents": "More documents",
    "shards": "More shards",
    "k": "More hits wanted",
    "in-flight": "More queries in flight",
}
_POINTS = (
    "Each point is the better of two loads: a stall of the machine makes one slower, none quicker."
)
_NEARLY = 0.9  # of the most: what rounds differ by anyway
_INTRODUCTION = """# Search, beside other engines

{documents:,} documents, and the {num_queries} queries of the search benchmark game in tantivy's
syntax (one word, all words, any word, a phrase, with words excluded), the ten best of each: ids and
scores, no texts. All engines split texts into the same words: runs of letters and digits in lower
case, without stop words or stemming. Written by the benchmark itself; to repeat, on a machine that
does nothing else:

    {command}

Measured on {date}, on {machine}; load average over a minute before each round: {loads}.
The load generator shares the cores with the engine, as callers would: threads or processes that
use it as a library (tantivy, Lucene, SQLite), or a client of a server (PostgreSQL, Hedgerow). Each
load is made of whole passes over all queries (alone: over a quarter of them), so that every engine
answers the same ones; rounds are in turns (A B C, A B C, …), and each figure is the median of the
rounds (a subject that takes over a minute has fewer). While one is measured, all processes of the
others are stopped (SIGSTOP).

"""


def to_markdown(comparison: Comparison | None, curves: Sequence[Curve]) -> str:
    """The whole page, of what was measured."""
    parts: list[str] = []
    if comparison:
        parts += [
            _introduction(comparison),
            _table(comparison),
            tell_verdicts(judge(comparison.rows)),
        ]
        if any(one.together for one in comparison.rows.values()):
            parts.append(f"\n![Queries per second of every engine]({PLOT})\n")
        parts += [_reading(comparison), _indexes(comparison), _agreement(comparison)]
    if curves:
        parts.append(_growth(curves))
    if comparison:
        parts += [_documents(comparison), tell_engines(comparison)]
    return "\n".join(part.strip("\n") + "\n" for part in parts if part)


def plot_of(curve: Curve) -> str:
    """The name of a curve's picture."""
    return f"search-{curve.name}.svg"


def _introduction(comparison: Comparison) -> str:
    where = comparison.where
    return _INTRODUCTION.format(
        documents=comparison.documents,
        num_queries=comparison.num_queries,
        command=where.command,
        date=where.date,
        machine=where.machine,
        loads=loads_of(where.loads),
    )


def _table(comparison: Comparison) -> str:
    shown = table(_COLUMNS, [_row(one) for one in comparison.rows.values()])
    return f"{shown}\n\n{tell_failures(comparison)}"


def tell_failures(comparison: Comparison) -> str:
    """What could not be measured, what failed, and whether the run was interrupted."""
    notes = [
        f"- {index.title}: {plain(index.reason)}"
        for index in comparison.indexes.values()
        if index.reason
    ]
    notes += [
        f"- {row.title}, a failure: `{plain(row.failure)}`"
        for row in comparison.rows.values()
        if row.failure
    ]
    if not comparison.is_whole:
        notes.append("- Interrupted before its end.")
    return "\n".join(notes)


def _row(rounds: Row) -> Sequence[str]:
    if not rounds.together:
        return (rounds.title, *("—",) * (len(_COLUMNS) - 1))
    together, alone = rounds.together, rounds.alone
    return (
        rounds.title,
        f"{rounds.per_s():,.0f}",
        ms(median(one.p50_ms for one in together)),
        ms(median(one.p99_ms for one in together)),
        ms(median(one.p50_ms for one in alone)),
        ms(median(one.p99_ms for one in alone)),
        f"{len(together)}",
        f"{rounds.num_failed}",
    )


def _reading(comparison: Comparison) -> str:
    """Where the time of a query goes, as far as it was measured."""
    measured = {name: one for name, one in comparison.rows.items() if one.together}
    limit, ours = measured.get("tantivy best"), measured.get("hedgerow-1 http")
    if not limit or not ours or not ours.cpu_us():
        return ""
    cores = comparison.cores
    least_us = _core_us(limit, cores)
    spent_us, has_us = sum(ours.cpu_us().values()), _core_us(ours, cores)
    return (
        f"A query takes tantivy {least_us:,.0f} µs of a core, with all {cores} cores counted as "
        f"busy. Hedgerow with one shard takes {has_us:,.0f}: {spent_us:,.0f} µs of CPU (below), "
        f"and {1 - spent_us / has_us:.0%} of the cores' time in which none of its processes runs. "
        "Beyond the search itself that pays for HTTP, deadline, breakers, two passes through "
        "Redis, processes that contain crashes, and the benchmark's client.\n"
        f"{_bound(measured, limit, ours, cores)}{_costs(comparison)}"
    )


def _bound(measured: Mapping[str, Row], limit: Row, ours: Row, cores: int) -> str:
    """The cost of the parts, each alone on the machine: the most that their sum could reach."""
    around, scorers = measured.get(f"hedgerow-1 {NO_SEARCH}"), measured.get(f"{SCORERS} score")
    if not around or not around.cpu_us() or not scorers:
        return ""
    around_us, scorers_us = sum(around.cpu_us().values()), _core_us(scorers, cores)
    sum_us = around_us + scorers_us
    return (
        f"\nMeasured alone, with all {cores} cores for itself: everything around a search "
        f'("no search") takes {around_us:,.0f} µs of CPU per query, the scorers {scorers_us:,.0f}. '
        f"Together that is {sum_us:,.0f} µs, with which Hedgerow would reach "
        f"{_core_us(limit, cores) / sum_us:.0%} of tantivy's throughput if the cores were never "
        "idle: anything above that needs one of the two to become cheaper. The other "
        f"{_core_us(ours, cores) - sum_us:,.0f} µs are the price of combining them: a scorer's "
        "process is one more hop, processes take turns on the cores and find their caches cold, "
        "and each handles fewer queries at a time.\n"
    )


def _core_us(rounds: Row, cores: int) -> float:
    """The time of a core per answer, busy or idle, in µs."""
    return cores / rounds.per_s() * 1e6


def _costs(comparison: Comparison) -> str:
    """The share of each part of an engine."""
    costs = tell_costs("CPU of a query, µs", comparison)
    return costs and (
        f"\n{costs}\n\nScorers are the processes in which tantivy searches; the workers' indexer "
        "is counted among them. A part takes less CPU per query where more queries arrive "
        "together, since it is woken once for all of them.\n"
    )


def tell_costs(heading: str, comparison: Comparison) -> str:
    """A table of the CPU time of each part per answer; empty if no engine has parts."""
    costs = {one.title: cost for one in comparison.rows.values() if (cost := one.cpu_us())}
    parts = list(dict.fromkeys(part for cost in costs.values() for part in cost))
    rows = [
        (title, *(_us(cost.get(part)) for part in parts), _us(sum(cost.values())))
        for title, cost in costs.items()
    ]
    return table((heading, *parts, "sum"), rows) if rows else ""


def _us(value: float | None) -> str:
    return "—" if value is None else f"{value:,.0f}"


def _indexes(comparison: Comparison) -> str:
    rows = [
        (
            index.title,
            f"{index.build_s:,.1f}",
            f"{comparison.documents / index.build_s:,.0f}",
            f"{index.disk_bytes / 1e6:,.0f}",
            f"{index.memory_bytes / 1e6:,.0f}",
        )
        for index in comparison.indexes.values()
        if index.build_s
    ]
    columns = ("", "build, s", "documents/s", "on disk, MB", "memory, MB")
    return (
        "## Build, disk, memory\n\n"
        + table(columns, rows)
        + "\n\nHedgerow's build is a load through the gateway until all documents can be found, "
        "and the optimising of its indexes; on disk it also has the documents themselves (a SQLite "
        "store, from which hits get their "
        "fields); the others keep ids and their search index. Memory is that of all processes "
        "after a load, shared pages counted once (PSS), pages of mapped files included.\n"
    )


def _agreement(comparison: Comparison) -> str:
    if not comparison.agreement:
        return ""
    lines = "".join(f"- {one}\n" for one in comparison.agreement)
    return (
        "## Whether they find the same\n\nHedgerow's scores over any number of shards should be "
        "those of one index ([ranking](ranking.md#scores)); Lucene is independent of both, and "
        "scores by the same function but for a constant factor. A word that a query repeats counts "
        "as often as it is written in Lucene and in Hedgerow, while tantivy's own parser drops "
        "repeated words. SQLite and PostgreSQL score by other functions, so that only the number "
        f"of matching documents is compared.\n\n{lines}"
    )


def _growth(curves: Sequence[Curve]) -> str:
    parts = [f"## How cost grows\n\n{_POINTS}\n"]
    for curve in curves:
        if not any(series.points for series in curve.series):
            continue
        loads = loads_of(curve.where.loads)
        title = _TITLES[curve.name]
        parts.append(f"### {title}\n")
        parts.append(f"Fixed: {curve.setup}. Load averages: {loads}. {_growing(curve)}\n")
        parts.append(f"![{title}]({plot_of(curve)})\n")
        parts.append(table(*_points(curve)) + "\n")
        if not curve.is_whole:
            parts.append("Interrupted before its end.\n")
    return "\n".join(parts)


def _growing(curve: Curve) -> str:
    """A sentence on a curve."""
    return " ".join(_sentence(curve.name, one) for one in curve.series if len(one.points) > 1)


def _sentence(name: str, series: Series) -> str:
    (first_x, first), (last_x, last) = series.points[0], series.points[-1]
    if name == "in-flight":
        most = max(one.queries_per_s for _, one in series.points)
        full_x, full = next(
            point for point in series.points if point[1].queries_per_s >= _NEARLY * most
        )
        return (
            f"{series.title}: {first.queries_per_s:,.0f} queries per second with {first_x} in "
            f"flight; with {full_x} it is within {1 - _NEARLY:.0%} of the most, {most:,.0f}. From "
            f"there on little grows but the wait, from {ms(full.p50_ms)} to "
            f"{ms(last.p50_ms)} ms at the median with {last_x}."
        )
    times = first.queries_per_s / last.queries_per_s
    return (
        f"{series.title}: {last_x / first_x:,.0f} times as many make a query {times:,.1f} times as "
        f"expensive ({_cost(first)} µs to {_cost(last)} µs of the machine), a power of "
        f"{exponent(series.points):.2f}."
    )


def _cost(one: Measure) -> str:
    return f"{1e6 / one.queries_per_s:,.0f}"


def _points(curve: Curve) -> tuple[Sequence[str], list[Sequence[str]]]:
    columns = ["", *(f"{one.title}: queries/s; p50, p99 in ms" for one in curve.series)]
    by_x: dict[int, dict[str, Measure]] = {}
    for series in curve.series:
        for x, one in series.points:
            by_x.setdefault(x, {})[series.title] = one
    rows: list[Sequence[str]] = []
    for x, found in by_x.items():
        cells = [f"{x:,}"]
        for series in curve.series:
            there = found.get(series.title)
            cells.append(_point(there) if there else "—")
        rows.append(cells)
    return columns, rows


def _point(one: Measure) -> str:
    return f"{one.queries_per_s:,.0f}; {ms(one.p50_ms)}, {ms(one.p99_ms)}"


def _documents(comparison: Comparison) -> str:
    total = sum(comparison.counts.values())
    return (
        "## The documents\n\nTexts of Debian packages: glosses, dictionary entries and package "
        f"descriptions, {total:,} in all, in the order of a hash of their ids, so that the first "
        f"of them are a sample of all. None of them is in the repository.\n\n"
        f"{tell_sources(comparison)}"
    )


def tell_sources(comparison: Comparison) -> str:
    """A table of where the documents come from."""
    rows = [
        (source, comparison.versions[source], f"{count:,}")
        for source, count in comparison.counts.items()
    ]
    return table(("source", "version", "documents"), rows)


def tell_engines(comparison: Comparison) -> str:
    """Versions and settings of each engine that reports them."""
    lines = ["## Versions and settings\n"]
    for index in comparison.indexes.values():
        if index.versions:
            lines += tell_settings([index.title], index.versions, index.settings)
    return "\n".join(lines)
