"""A second phase that takes as long as the simulator's script says, and uses no CPU.

To check the simulator against real processes, both must draw from the same distributions. Where
each query goes to each shard once, they also draw the same numbers: the n-th request of a shard
gets the n-th draw of the shard's stream, here as in the simulator.
"""

import os
import random
import time
from functools import cache
from pathlib import Path
from typing import Any, Final

from hedgerow.gateway.simulate.distributions import Distribution
from hedgerow.gateway.simulate.scenario import Run, Scenario, load

WORKER: Final = int(os.environ.get("HEDGEROW_BENCH_WORKER", "0"))
SCENARIO: Final[Scenario] = load(str(Path(__file__).with_name("agreement.toml")))
# Within which running work sees that its caller no longer waits.
_LOOK_S: Final = 0.01


def text_of(run: Run, seed: int, number: int) -> str:
    """The text of a run's query, the first of which has the number 0."""
    return f"{run.name} {seed} {number}"


def score(query: str, documents: list[dict[str, Any]], budget: Any) -> list[float]:
    """Give all documents the same score, after the time that was drawn for this query and worker.

    Worker n serves shard n, or, as a second replica, shard n less the number of shards.
    """
    started = time.monotonic()
    name, seed, number = query.rsplit(" ", 2)
    ends_at = started + _draws(name, int(seed)).at(int(number))
    while (left_s := ends_at - time.monotonic()) > 0 and not budget.expired():
        time.sleep(min(left_s, _LOOK_S))
    return [0.0] * len(documents)


class Draws:
    """The times that one worker draws in one run, by the number of the query."""

    def __init__(self, run: Run, seed: int, worker: int) -> None:
        replica, shard = divmod(worker, run.shards.count)
        # The first is `gateway.simulate.run.make_shards`'s.
        stream = f"{seed}/shards/{shard}" if replica == 0 else f"{seed}/replicas/{replica}/{shard}"
        self._draw = _service(run, shard, replica).sampler(random.Random(stream))
        self._drawn: list[float] = []

    def at(self, number: int) -> float:
        """The time for one query, in s; it is the same on every call."""
        while len(self._drawn) <= number:
            self._drawn.append(self._draw())
        return self._drawn[number]


@cache
def _draws(name: str, seed: int) -> Draws:
    return Draws(next(run for run in SCENARIO.runs if run.name == name), seed, WORKER)


def _service(run: Run, shard: int, replica: int) -> Distribution:
    """The distribution of one server's work: the last that names it, otherwise the general one."""
    service = run.shards.service
    for one in run.different:
        is_meant = (one.shards is None or shard in one.shards) and one.replica in {None, replica}
        if is_meant and one.service is not None:
            service = one.service
    return service
