"""All engines at once, measured in turns: while one is, the others are stopped."""

import contextlib
import os
import sys
import time
from collections.abc import Mapping, Sequence

from bench.search.agreement import K1, Found, compare, matches_sentence, sentence
from bench.search.catalogue import Engine, Kind, Subject
from bench.search.commands import MissingError
from bench.search.figures import Comparison, Index, Measure, Rounds
from bench.search.process import EngineError, EngineProcess, Work, run_engine
from bench.search.queries import Query, read_plainly

IN_FLIGHT = 32
PART_ALONE = 4  # every fourth query is asked alone; the queries are in no order
_WARM_UP_S = 0.1  # a pass at least
_MOST_S = 60.0  # a subject that has taken so long has its rounds: a slow one has fewer
_WAYS_OF_FINDING = {Kind.LIMIT: "count", Kind.RIVAL: "matches"}  # of others, their first
LUCENE = "lucene"


async def compare_engines(
    engines: Sequence[Engine],
    work: Work,
    comparison: Comparison,
    num_rounds: int,
    seconds: float,
) -> None:
    """Start all, compare what they find, run the rounds, end all.

    What is measured stands in `comparison` at once, also when this is interrupted.

    Args:
        engines: who is measured, in this order in each round.
        work: the documents and the queries.
        comparison: filled.
        num_rounds: how often.
        seconds: how long together at least; alone, one pass over a quarter of the queries.
    """
    subjects = [Subject(engine, way) for engine in engines for way, _ in engine.ways]
    for subject in subjects:
        rounds = Rounds(subject.title, subject.kind, subject.engine.name)
        comparison.subjects[subject.name] = rounds
    queries = read_plainly(work.queries)
    num_alone = max(1, len(queries) // PART_ALONE)
    async with contextlib.AsyncExitStack() as started:
        running: dict[str, EngineProcess] = {}
        for engine in engines:
            if process := await start_engine(started, engine, work, comparison.indexes):
                running[engine.name] = process
        comparison.agreement = await _agreement(engines, running, queries)
        spent_s = dict.fromkeys(comparison.subjects, 0.0)
        for number in range(num_rounds):
            comparison.where.loads.append(os.getloadavg()[0])
            say(f"round {number + 1} of {num_rounds}, load average {os.getloadavg()[0]:.2f}")
            for subject in subjects:
                process = running.get(subject.engine.name)
                index = comparison.indexes[subject.engine.name]
                if process and not index.reason and spent_s[subject.name] < _MOST_S:
                    began = time.monotonic()
                    rounds = comparison.subjects[subject.name]
                    await _measure(subject, process, rounds, index, seconds, num_alone)
                    spent_s[subject.name] += time.monotonic() - began
    comparison.is_whole = True


async def start_engine(
    started: contextlib.AsyncExitStack, engine: Engine, work: Work, indexes: dict[str, Index]
) -> EngineProcess | None:
    """Start an engine over the documents, and pause it.

    Args:
        started: ends it.
        engine: which one.
        work: what it indexes.
        indexes: engine → its index; this one's is added, with the reason if there is none.

    Returns:
        The process; None if the engine cannot be had here.
    """
    say(f"{engine.name}: starting, building")
    index = indexes[engine.name] = Index(engine.title)
    try:
        process = await started.enter_async_context(run_engine(engine, work))
    except (MissingError, EngineError) as error:
        index.reason = str(error)
        say(f"{engine.name}: {error}")
        return None
    built = process.built
    index.build_s, index.disk_bytes = built.build_s, built.disk_bytes
    index.versions, index.settings = built.versions, built.settings
    process.pause()
    return process


async def _measure(
    subject: Subject,
    process: EngineProcess,
    rounds: Rounds,
    index: Index,
    seconds: float,
    num_alone: int,
) -> None:
    await process.resume()
    try:
        if not rounds.together:
            await process.run(IN_FLIGHT, _WARM_UP_S, subject.way)  # what fails here does not count
        together = await process.run(IN_FLIGHT, seconds, subject.way)
        alone = await process.run(1, 0.0, subject.way, num_queries=num_alone)
        rounds.together.append(Measure.of(together, IN_FLIGHT))
        rounds.alone.append(Measure.of(alone, 1))
        index.memory_bytes = max(index.memory_bytes, process.memory_bytes())
    except (EngineError, ValueError) as error:
        index.reason = f"{error} (in round {len(rounds.together) + 1})"
        say(f"{subject.name}: {index.reason}")
    finally:
        process.pause()


async def _agreement(
    engines: Sequence[Engine], running: Mapping[str, EngineProcess], queries: Sequence[Query]
) -> list[str]:
    """Sentences on how the answers agree: with the limit's, and Hedgerow's with Lucene's.

    Rivals score by functions of their own, and are held to how many documents they match.
    """
    found: dict[str, Found] = {}
    matches: dict[str, Found] = {}
    sentences = []
    for engine in engines:
        if engine.name in running:
            say(f"{engine.name}: asking all queries once")
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


def say(text: str) -> None:
    """Tell how far it is."""
    sys.stderr.write(f"search: {text}\n")
