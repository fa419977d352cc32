"""How the cost of a query grows with documents, shards, requested hits and queries in flight."""

import contextlib
import os
from collections.abc import Callable, Sequence
from dataclasses import replace

from bench.harness.rounds import say
from bench.search.catalogue import Engine, Kind, engines, hedgerow
from bench.search.figures import TOGETHER, Curve, Measure, Series, Where
from bench.search.process import EngineProcess, Work, run_engine

NUM_SHARDS = 4  # where the number of shards is constant
DOCUMENTS = (10_000, 30_000, 100_000, 300_000, 1_000_000)
SHARDS = (1, 2, 4, 8, 16, 32, 64)
DOCUMENTS_OF_SHARDS = 100_000  # where shards grow
HITS = (1, 10, 100, 1_000)
FLIGHTS = (1, 2, 4, 8, 16, 32, 64, 128, 256)
NAMES = ("documents", "k", "in-flight", "shards")
_WAYS = {Kind.OURS: "http", Kind.LIMIT: "count"}  # what tantivy does for Hedgerow, alone
_TITLES = {Kind.OURS: "Hedgerow, HTTP", Kind.LIMIT: "tantivy, one process, with count"}
_SECONDS = 1.0
_PASSES = 2  # the best one counts: a stall of the machine makes a pass slower, never faster

Keep = Callable[[Curve], None]


async def measure_growing(
    work: Work, names: Sequence[str], where: Callable[[], Where], keep: Keep
) -> None:
    """The curves over documents, requested hits and queries in flight, on indexes that grow.

    Args:
        work: the documents and the queries; its limit is the largest number of documents.
        names: of the curves to measure.
        where: returns where and when it is measured.
        keep: called with a curve after each point.
    """
    steps = [count for count in DOCUMENTS if count <= work.limit] or [work.limit]
    if "documents" not in names:
        steps = steps[-1:]
    limit = next(one for one in engines(len(os.sched_getaffinity(0))) if one.kind is Kind.LIMIT)
    subjects = (limit, hedgerow(NUM_SHARDS))
    async with contextlib.AsyncExitStack() as started:
        running: list[tuple[Engine, EngineProcess]] = []
        for engine in subjects:
            say("search", f"{engine.name}: starting with {steps[0]:,} documents")
            process = await started.enter_async_context(
                run_engine(engine, replace(work, limit=steps[0]))
            )
            process.pause()
            running.append((engine, process))
        documents = _curve("documents", where(), subjects)
        for count in steps:
            if count != steps[0]:
                for engine, process in running:
                    say("search", f"{engine.name}: growing to {count:,} documents")
                    await process.resume()
                    await process.grow(count)
                    process.pause()
            if "documents" in names:
                await _point(documents, running, count, TOGETHER, 10)
                documents.is_whole = count == steps[-1]
                keep(documents)
        for name, values in (("k", HITS), ("in-flight", FLIGHTS)):
            if name not in names:
                continue
            curve = _curve(name, where(), subjects, steps[-1])
            for value in values:
                in_flight, k = (TOGETHER, value) if name == "k" else (value, 10)
                await _point(curve, running, value, in_flight, k)
                curve.is_whole = value == values[-1]
                keep(curve)


async def measure_shards(work: Work, where: Callable[[], Where], keep: Keep) -> None:
    """The curve over shards: a cluster for each number of them."""
    limit = min(work.limit, DOCUMENTS_OF_SHARDS)
    curve = _curve("shards", where(), [hedgerow(NUM_SHARDS)], limit)
    for count in SHARDS:
        say("search", f"{count} shards: starting with {limit:,} documents")
        engine = hedgerow(count)
        async with run_engine(engine, replace(work, limit=limit)) as process:
            await _point(curve, [(engine, process)], count, TOGETHER, 10)
        curve.is_whole = count == SHARDS[-1]
        keep(curve)


def _curve(name: str, where: Where, subjects: Sequence[Engine], documents: int = 0) -> Curve:
    shards = f"{NUM_SHARDS} shards"
    setups = {
        "documents": f"{shards}, {TOGETHER} in flight, k 10",
        "k": f"{shards}, {documents:,} documents, {TOGETHER} in flight",
        "in-flight": f"{shards}, {documents:,} documents, k 10",
        "shards": f"{documents:,} documents, {TOGETHER} in flight, k 10",
    }
    return Curve(name, setups[name], where, [Series(_TITLES[one.kind]) for one in subjects])


async def _point(
    curve: Curve,
    running: Sequence[tuple[Engine, EngineProcess]],
    x: int,
    in_flight: int,
    k: int,
) -> None:
    """Measure one point of each series, in turns."""
    curve.where.loads.append(os.getloadavg()[0])
    best: dict[str, Measure] = {}
    for _ in range(_PASSES):
        for engine, process in running:
            await process.resume()
            load = await process.run(in_flight, _SECONDS, _WAYS[engine.kind], k=k)
            process.pause()
            measure = Measure.of(load, in_flight, k)
            known = best.get(engine.name)
            if known is None or measure.queries_per_s > known.queries_per_s:
                best[engine.name] = measure
    for series, (engine, _) in zip(curve.series, running, strict=True):
        series.points.append((x, best[engine.name]))
    said = ", ".join(f"{one.queries_per_s:,.0f}/s" for one in best.values())
    say("search", f"{curve.name} {x:,}: {said}")
