"""All engines at once, measured in turns: while one is, the others are stopped."""

import contextlib
import os
import sys
import time
from collections.abc import Mapping, Sequence

from bench.search.agreement import K1, Found, compare, sentence
from bench.search.catalogue import Engine, Kind, Subject
from bench.search.commands import MissingError
from bench.search.figures import Comparison, Index, Measure, Rounds
from bench.search.process import EngineError, EngineProcess, Work, run_engine

IN_FLIGHT = 32
_WARM_UP_S = 0.1  # a pass at least
_MOST_S = 60.0  # a subject that has taken so long has its rounds: a slow one has fewer
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
        seconds: how long together at least; alone, one pass.
    """
    subjects = [Subject(engine, way) for engine in engines for way, _ in engine.ways]
    for subject in subjects:
        rounds = Rounds(subject.title, subject.engine.kind, subject.engine.name)
        comparison.subjects[subject.name] = rounds
    async with contextlib.AsyncExitStack() as started:
        running: dict[str, EngineProcess] = {}
        for engine in engines:
            if process := await _start(started, engine, work, comparison):
                running[engine.name] = process
        comparison.agreement = await _agreement(engines, running)
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
                    await _measure(subject, process, rounds, index, seconds)
                    spent_s[subject.name] += time.monotonic() - began


async def _start(
    started: contextlib.AsyncExitStack, engine: Engine, work: Work, comparison: Comparison
) -> EngineProcess | None:
    say(f"{engine.name}: starting, building")
    index = comparison.indexes[engine.name] = Index(engine.title)
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
    subject: Subject, process: EngineProcess, rounds: Rounds, index: Index, seconds: float
) -> None:
    await process.resume()
    try:
        if not rounds.together:
            await process.run(IN_FLIGHT, _WARM_UP_S, subject.way)  # what fails here does not count
        together = await process.run(IN_FLIGHT, seconds, subject.way)
        alone = await process.run(1, 0.0, subject.way)
        rounds.together.append(Measure.of(together, IN_FLIGHT))
        rounds.alone.append(Measure.of(alone, 1))
        index.memory_bytes = max(index.memory_bytes, process.memory_bytes())
    except (EngineError, ValueError) as error:
        index.reason = f"{error} (in round {len(rounds.together) + 1})"
        say(f"{subject.name}: {index.reason}")
    finally:
        process.pause()


async def _agreement(engines: Sequence[Engine], running: Mapping[str, EngineProcess]) -> list[str]:
    """Sentences on how Hedgerow's and Lucene's answers agree with the limit's."""
    limit = next((one for one in engines if one.kind is Kind.LIMIT and one.name in running), None)
    if limit is None:
        return []
    wanted = await _find(running[limit.name], "count")
    sentences = []
    for engine in engines:
        is_compared = engine.kind is Kind.OURS or engine.name == LUCENE
        if engine.name not in running or not is_compared:
            continue
        try:
            found = await _find(running[engine.name], engine.ways[0][0])
        except EngineError as error:
            sentences.append(f"{engine.title}: {error}.")
            continue
        # Lucene has left BM25's constant k1 + 1 out since version 8 (LUCENE-8563).
        factor = 1 / (K1 + 1) if engine.name == LUCENE else 1.0
        sentences.append(sentence(engine.title, limit.title, compare(found, wanted, factor)))
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
