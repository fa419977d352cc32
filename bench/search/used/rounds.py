"""The engines of a part, measured in turns: while one is, the others are stopped."""

import contextlib
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from bench.search.catalogue import Engine, Subject
from bench.search.process import EngineError, EngineProcess, Work
from bench.search.rounds import PART_ALONE, say, start_engine
from bench.search.used.figures import Part, Point, Row

_WARM_UP_S = 0.5  # a pass at least

Keep = Callable[[Part], None]


@dataclass(frozen=True, slots=True)
class Plan:
    """What is measured of a part.

    Attributes:
        engines: in this order in each round.
        flights: with how many callers each is asked.
        num_rounds: how often.
        seconds: how long each load is at least.
    """

    engines: Sequence[Engine]
    flights: Sequence[int]
    num_rounds: int
    seconds: float


async def measure(plan: Plan, work: Work, part: Part, keep: Keep) -> None:
    """Start all, run the rounds, end all.

    Args:
        plan: who is measured, and how.
        work: the documents and the queries.
        part: filled; what is measured stands in it at once, also when this is interrupted.
        keep: is given the part after each round.
    """
    subjects = [Subject(engine, way) for engine in plan.engines for way, _ in engine.ways]
    part.rows = {one.name: Row(one.title, one.engine.name) for one in subjects}
    async with contextlib.AsyncExitStack() as started:
        running: dict[str, EngineProcess] = {}
        for engine in plan.engines:
            if process := await start_engine(started, engine, work, part.indexes):
                running[engine.name] = process
        for number in range(plan.num_rounds):
            part.where.loads.append(os.getloadavg()[0])
            say(f"round {number + 1} of {plan.num_rounds}, load average {os.getloadavg()[0]:.2f}")
            for subject in subjects:
                if process := running.get(subject.engine.name):
                    await _measure(subject, process, part, plan)
            keep(part)
    part.is_whole = True
    keep(part)


async def _measure(subject: Subject, process: EngineProcess, part: Part, plan: Plan) -> None:
    index, row = part.indexes[subject.engine.name], part.rows[subject.name]
    if index.reason:
        return
    await process.resume()
    try:
        if not row.points:
            await process.run(max(plan.flights), _WARM_UP_S, subject.way)
        for in_flight in plan.flights:
            num_queries = part.num_queries if in_flight > 1 else part.num_queries // PART_ALONE
            load = await process.run(
                in_flight, plan.seconds, subject.way, num_queries=max(1, num_queries)
            )
            row.add(Point.of(load, in_flight))
        index.memory_bytes = max(index.memory_bytes, process.memory_bytes())
        part.num_processes[subject.engine.name] = process.num_processes()
    except EngineError as error:
        index.reason = str(error)
        say(f"{subject.name}: {index.reason}")
    finally:
        process.pause()
