"""All engines run at once and are measured in turns, while the others are stopped."""

import contextlib
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from bench.harness.rounds import say, turns
from bench.search.agreement import K1, Found, compare, matches_sentence, sentence
from bench.search.catalogue import Engine, Kind, Subject
from bench.search.commands import MissingError
from bench.search.figures import TOGETHER, Comparison, Index, Measure, Row
from bench.search.process import EngineError, EngineProcess, Work, run_engine
from bench.search.queries import Query, read_plainly

PART_ALONE = 4  # a quarter of the queries is asked alone; they are in random order
_MOST_S = 60.0  # after which a subject has no more rounds, so that a slow one has fewer
_WAYS_OF_FINDING = {Kind.LIMIT: "count", Kind.RIVAL: "matches"}  # of others, their first
LUCENE = "lucene"

Keep = Callable[[Comparison], None]


@dataclass(frozen=True, slots=True)
class Plan:
    """What is measured.

    Attributes:
        engines: measured in this order in each round.
        flights: the numbers of queries in flight with which each is asked.
        num_rounds: how many rounds there are.
        seconds: the least duration of each load.
        alone_s: the least duration of the load with one query in flight, over a quarter of the
            queries.
        warm_up_s: the least duration of the load before the first round of each subject.
        are_compared: whether the results of the engines are compared first.
        may_be_empty: whether a load without an answer is a valid figure.
        most_s: the time for a subject in all rounds, after which it has no more of them.
    """

    engines: Sequence[Engine]
    flights: Sequence[int]
    num_rounds: int
    seconds: float
    alone_s: float
    warm_up_s: float
    are_compared: bool = False
    may_be_empty: bool = False
    most_s: float = float("inf")


async def compare_engines(
    engines: Sequence[Engine],
    work: Work,
    comparison: Comparison,
    num_rounds: int,
    seconds: float,
) -> None:
    """Compare the engines' results, and run the rounds with 32 in flight and alone, by `measure`.

    Alone is one pass over a quarter of the queries.
    """
    plan = Plan(
        engines,
        (TOGETHER, 1),
        num_rounds,
        seconds,
        alone_s=0.0,
        warm_up_s=0.1,
        are_compared=True,
        most_s=_MOST_S,
    )
    await measure(plan, work, comparison, lambda _: None)


async def measure(plan: Plan, work: Work, comparison: Comparison, keep: Keep) -> None:
    """Start all, run the rounds, end all.

    Args:
        plan: what is measured, and how.
        work: the documents and the queries.
        comparison: filled with the figures as they are measured, so that none is lost by an
            interruption.
        keep: called with it after each round.
    """
    subjects = [Subject(engine, way) for engine in plan.engines for way, _ in engine.ways]
    comparison.rows = {one.name: Row(one.title, one.engine.name, one.kind) for one in subjects}
    async with contextlib.AsyncExitStack() as started:
        running: dict[str, EngineProcess] = {}
        for engine in plan.engines:
            if process := await start_engine(started, engine, work, comparison.indexes):
                running[engine.name] = process
        if plan.are_compared:
            queries = read_plainly(work.queries)
            comparison.agreement = await _agreement(plan.engines, running, queries)
        spent_s = dict.fromkeys(comparison.rows, 0.0)
        loads = comparison.where.loads
        for _, subject in turns(subjects, plan.num_rounds, "search", loads):
            process = running.get(subject.engine.name)
            if process and spent_s[subject.name] < plan.most_s:
                began = time.monotonic()
                await _measure(subject, process, comparison, plan)
                spent_s[subject.name] += time.monotonic() - began
            if subject is subjects[-1]:
                keep(comparison)
    comparison.is_whole = True
    keep(comparison)


async def start_engine(
    started: contextlib.AsyncExitStack, engine: Engine, work: Work, indexes: dict[str, Index]
) -> EngineProcess | None:
    """Start an engine over the documents, and pause it.

    Args:
        started: ends the engine when it is closed.
        engine: to be started.
        work: what it indexes.
        indexes: engine → its index; this one's is added, with the reason if there is none.

    Returns:
        The process; None if the engine is not available here.
    """
    say("search", f"{engine.name}: starting, building")
    index = indexes[engine.name] = Index(engine.title)
    try:
        process = await started.enter_async_context(run_engine(engine, work))
    except (MissingError, EngineError) as error:
        index.reason = str(error)
        say("search", f"{engine.name}: {error}")
        return None
    built = process.built
    index.build_s, index.disk_bytes = built.build_s, built.disk_bytes
    index.versions, index.settings = built.versions, built.settings
    process.pause()
    return process


async def _measure(
    subject: Subject, process: EngineProcess, comparison: Comparison, plan: Plan
) -> None:
    index, row = comparison.indexes[subject.engine.name], comparison.rows[subject.name]
    if index.reason:
        return
    await process.resume()
    try:
        if not row.points:  # failures do not count here
            await process.run(max(plan.flights), plan.warm_up_s, subject.way)
        for in_flight in plan.flights:
            is_alone = in_flight == 1
            load = await process.run(
                in_flight,
                plan.alone_s if is_alone else plan.seconds,
                subject.way,
                num_queries=max(1, comparison.num_queries // (PART_ALONE if is_alone else 1)),
            )
            row.add(Measure.of(load, in_flight, may_be_empty=plan.may_be_empty))
        index.memory_bytes = max(index.memory_bytes, process.memory_bytes())
        index.num_processes = process.num_processes()
    except (EngineError, ValueError) as error:
        index.reason = f"{error} (in round {len(row.together) + 1})"
        say("search", f"{subject.name}: {index.reason}")
    finally:
        process.pause()


async def _agreement(
    engines: Sequence[Engine], running: Mapping[str, EngineProcess], queries: Sequence[Query]
) -> list[str]:
    """Sentences on how the answers agree: with the limit's, and Hedgerow's with Lucene's.

    Rivals score by other functions; for them the numbers of matches are compared.
    """
    found: dict[str, Found] = {}
    matches: dict[str, Found] = {}
    sentences = []
    for engine in engines:
        if engine.name in running:
            say("search", f"{engine.name}: asking all queries once")
            way = _WAYS_OF_FINDING.get(engine.kind, engine.ways[0][0])
            told = matches if engine.kind is Kind.RIVAL else found
            try:
                told[engine.name] = await _find(running[engine.name], way)
            except EngineError as error:
                sentences.append(f"{engine.title}: {error}.")
    titles = {engine.name: engine.title for engine in engines}
    limits = [one.name for one in engines if one.kind is Kind.LIMIT and one.name in found]
    for other in (*limits, *(name for name in found if name == LUCENE)):
        for name, ones in found.items():
            if name in limits or name == other:
                continue
            # Lucene has left BM25's constant k1 + 1 out since version 8 (LUCENE-8563).
            factor = (1.0 if name == LUCENE else K1 + 1) / (1.0 if other == LUCENE else K1 + 1)
            agreement = compare(ones, found[other], factor)
            sentences.append(sentence(titles[name], titles[other], agreement, queries))
    for limit in limits:
        for name, ones in matches.items():
            names = titles[name], titles[limit]
            sentences.append(matches_sentence(*names, ones, found[limit], queries))
    return sentences


async def _find(process: EngineProcess, way: str) -> Found:
    await process.resume()
    try:
        return await process.find(way)
    finally:
        process.pause()
