"""The page that docs/search-used.md is; pure."""

from collections.abc import Iterable, Sequence

from bench.harness.report import median, plain
from bench.search.figures import Index
from bench.search.used.figures import TOGETHER, Part, Row, judge

_INTRODUCTION = """# Search, as it is used

`gateway up` as it comes, with the API's defaults: what people run and ask, beside what they would
write themselves, which is FastAPI over tantivy in one process, with the documents as stored fields
and without a deadline, a second process or a place to write to. {documents:,} short texts with a
name each (below), two text fields, {num_queries:,} queries of two words that stand beside each
other in some document, the ten best of each. Written by the benchmark itself; to repeat, on a
machine that does nothing else:

    {command}

Measured on {date}, on {machine}; load average over a minute before each round: {loads}.
An answer counts if it is **whole**: it reflects every document, and its hits have their fields.
Callers ask one query after another, and after a refusal the next one at once. Client and servers
share the cores. "HTTP" is the benchmark's own bare exchange, which costs little. Rounds are in
turns (A B C, A B C, …), and each figure is the median of the rounds; shares are of all rounds.
While one engine is measured, all processes of the others are stopped (SIGSTOP).

"""
_SIZES = """
## Shards and workers

The same over the first {documents:,} documents, over HTTP with fields, with other numbers of shards
and workers (`gateway up --shards S --workers W`), and with a deadline of 30 s, so that nothing is
refused and the CPU is that of whole answers. Processes and memory (PSS) are those of the whole
cluster. Load averages: {loads}. [Sizing](operations.md#sizing) says what follows from it.

"""


def to_markdown(part: Part, sizes: Part | None) -> str:
    """The whole page, of what was measured."""
    parts = [
        _INTRODUCTION.format(
            documents=part.documents,
            num_queries=part.num_queries,
            command=part.where.command,
            date=part.where.date,
            machine=part.where.machine,
            loads=_loads(part),
        ),
        _answers(part.rows.values()),
        _notes(part),
        "".join(
            f"- {verdict.text}: {'reached' if verdict.is_met else '**not reached**'}.\n"
            for verdict in judge(part.rows, _cores(part))
        ),
        _costs(part.rows.values()),
    ]
    if sizes:
        introduction = _SIZES.format(documents=sizes.documents, loads=_loads(sizes))
        parts += [introduction, _sizes(sizes), _notes(sizes)]
    parts += [_documents(part), _settings(part.indexes.values())]
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
            shares = (row.share(kind, in_flight) for kind in ("refused", "partial", "failed"))
            lines.append(
                (
                    row.title,
                    str(in_flight),
                    f"{row.whole_per_s(in_flight):,.0f}",
                    _ms(median(one.p50_ms for one in points)),
                    _ms(median(one.p99_ms for one in points)),
                    *(f"{share:.1%}" for share in shares),
                )
            )
    return _markdown(columns, lines)


def _costs(rows: Iterable[Row]) -> str:
    costs = {row.title: row.cpu_us() for row in rows if row.cpu_us()}
    if not costs:
        return ""
    parts = list(dict.fromkeys(part for cost in costs.values() for part in cost))
    lines = [
        (title, *(_us(cost.get(part)) for part in parts), f"{sum(cost.values()):,.0f}")
        for title, cost in costs.items()
    ]
    return (
        "## What each part takes\n\n"
        + _markdown((f"CPU of a whole answer, µs, {TOGETHER} in flight", *parts, "sum"), lines)
        + "\n\nThe gateway is the process that speaks HTTP. Workers read the documents; scorers "
        "are where tantivy searches, and the indexer counts among them. What refused and partial "
        "answers cost is in it, too.\n"
    )


def _sizes(part: Part) -> str:
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
    for row in part.rows.values():
        alone, together = row.points.get(1, []), row.points.get(TOGETHER, [])
        if not alone or not together:
            continue
        memory_bytes = part.indexes[row.engine].memory_bytes
        lines.append(
            (
                row.title,
                _ms(median(one.p50_ms for one in alone)),
                f"{row.whole_per_s():,.0f}",
                _ms(median(one.p50_ms for one in together)),
                _ms(median(one.p99_ms for one in together)),
                *(f"{row.share(kind, TOGETHER):.1%}" for kind in ("refused", "partial")),
                f"{sum(row.cpu_us().values()):,.0f}",
                str(part.num_processes.get(row.engine, 0)),
                f"{memory_bytes / 1e6:,.0f}",
            )
        )
    return _markdown(columns, lines)


def _notes(part: Part) -> str:
    notes = [
        f"- {index.title}: {plain(index.reason)}" for index in part.indexes.values() if index.reason
    ]
    for row in part.rows.values():
        failures = (one.failure for points in row.points.values() for one in points)
        if failure := next(filter(None, failures), ""):
            notes.append(f"- {row.title}, a failure: `{plain(failure)}`")
    if not part.is_whole:
        notes.append("- Interrupted before its end.")
    return "\n".join(notes)


def _documents(part: Part) -> str:
    lines = [(source, part.versions[source], f"{count:,}") for source, count in part.counts.items()]
    return (
        "## The documents\n\nPackages with their synopses, and entries of dictionaries, cut after "
        f"200 characters, all from Debian's archive: {sum(part.counts.values()):,} in the order of "
        "a hash of their ids. Nothing of them is in the repository.\n\n"
        + _markdown(("source", "version", "documents"), lines)
    )


def _settings(indexes: Iterable[Index]) -> str:
    lines = ["## Versions and settings\n"]
    for index in indexes:
        if index.versions:
            versions = ", ".join(f"{name} {version}" for name, version in index.versions.items())
            lines.append(f"**{index.title}** — {versions}\n")
            lines += [
                f"- {name}: {value}. {why[:1].upper()}{why[1:]}."
                for name, value, why in index.settings
            ]
            lines.append("")
    return "\n".join(lines)


def _cores(part: Part) -> int:
    return int(part.where.machine.split()[0])


def _loads(part: Part) -> str:
    return ", ".join(f"{one:.1f}" for one in part.where.loads)


def _markdown(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _ms(value: float) -> str:
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"


def _us(value: float | None) -> str:
    return "—" if value is None else f"{value:,.0f}"
