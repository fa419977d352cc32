"""A second phase that takes as long as the simulator's script says, and no CPU.

For the simulator to be checked against real processes, both must draw from the same distributions;
where each query goes to each shard once, they draw the same numbers too: the simulator gives the
n-th request of a shard the n-th draw of the shard's stream, and so does this.
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
# In which running work sees that nobody waits for it.
_LOOK_S: Final = 0.01


def text_of(run: Run, seed: int, number: int) -> str:
    """The text of a run's query, the first of which has the number 0."""
    return f"{run.name} {seed} {number}"


def score(query: str, documents: list[dict[str, Any]], budget: Any) -> list[float]:
    """Score all alike, after the time that was drawn for this query in this worker.

    Worker n serves shard n, or that of n less the number of shards, as a second replica.
    """
    started = time.monotonic()
    name, seed, number = query.rsplit(" ", 2)
    ends_at = started + _draws(name, int(seed)).at(int(number))
    while (left_s := ends_at - time.monotonic()) > 0 and not budget.expired():
        time.sleep(min(left_s, _LOOK_S))
    return [0.0] * len(documents)


class Draws:
    """What one worker draws in one run, by the number of the query."""

    def __init__(self, run: Run, seed: int, worker: int) -> None:
        replica, shard = divmod(worker, run.shards.count)
        # The first is `gateway.simulate.run.make_shards`'s.
        stream = f"{seed}/shards/{shard}" if replica == 0 else f"{seed}/replicas/{replica}/{shard}"
        self._draw = _service(run, shard, replica).sampler(random.Random(stream))
        self._drawn: list[float] = []

    def at(self, number: int) -> float:
        """The time for one query, in s; the same whenever it is asked for."""
        while len(self._drawn) <= number:
            self._drawn.append(self._draw())
        return self._drawn[number]


@cache
def _draws(name: str, seed: int) -> Draws:
    return Draws(next(run for run in SCENARIO.runs if run.name == name), seed, WORKER)


def _service(run: Run, shard: int, replica: int) -> Distribution:
    """The distribution of one server's work: the last that names it, else that of all."""
    service = run.shards.service
    for one in run.different:
        is_meant = (one.shards is None or shard in one.shards) and one.replica in {None, replica}
        if is_meant and one.service is not None:
            service = one.service
    return service
