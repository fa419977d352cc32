"""Runs of a simulator's scenario on real worker processes: the other half of `agreement`."""

import asyncio
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import count

from bench.costs.drawn import text_of
from bench.harness.cluster import (
    DRAWN_LANE,
    HELD_LANE,
    Cluster,
    even_ids,
    fill,
    open_gateway,
    search,
)
from bench.harness.load import open_loop, quantile
from bench.harness.second_phases import HOLD_S
from hedgerow.common.errors import OverloadedError
from hedgerow.common.settings.tail import ProbationSettings
from hedgerow.common.tasks import end
from hedgerow.gateway.gateway import Gateway
from hedgerow.gateway.search.result import SearchResult
from hedgerow.gateway.simulate.distributions import Capped, Constant, Distribution, Quantiles, Sum
from hedgerow.gateway.simulate.run import Observed
from hedgerow.gateway.simulate.scenario import Network, Open, Run

COLLECTION = "agreement"
_DOCUMENTS_A_SHARD = 10
_NUM_CALIBRATIONS = 100
_GAP_S = 0.03  # long enough that no calibrating query waits for the previous one
_TIMER_S = 0.0103  # not a whole number of ms, to which the selector rounds
# Up to the last of about 400 samples: the gateway's reserve depends on the worst that it has seen.
_PERCENTS = (0, 5, 25, 50, 75, 90, 95, 98, 99, 99.5, 99.75)
_LEAST_MS = 0.001


@dataclass(frozen=True, slots=True)
class Overhead:
    """What a request costs in addition to its work, measured one request at a time.

    Attributes:
        request_ms: from the gateway's sending to the worker's pull, of each shard's request.
        inside_ms: from the pull until the work has ended, less the work.
        reply_ms: from the end of the work to the gateway.
        late_ms: how late timers of the gateway's loop ran; deadlines are such timers.
    """

    request_ms: list[float] = field(default_factory=list)
    inside_ms: list[float] = field(default_factory=list)
    reply_ms: list[float] = field(default_factory=list)
    late_ms: list[float] = field(default_factory=list)

    def over(self, run: Run) -> Run:
        """The run with this overhead added to the scripted work."""
        # A constant draws nothing from a shard's stream, of which the real functions draw too.
        inside = Constant(kind="constant", ms=quantile(self.inside_ms, 0.5))

        def more(service: Distribution) -> Distribution:
            return Sum(kind="sum", parts=(service, inside))

        return run.model_copy(
            update={
                "network": Network(
                    request=_measured(self.request_ms), reply=_measured(self.reply_ms)
                ),
                "late": _measured(self.late_ms),
                "shards": run.shards.model_copy(update={"service": more(run.shards.service)}),
                "different": tuple(
                    one
                    if one.service is None
                    else one.model_copy(update={"service": more(one.service)})
                    for one in run.different
                ),
            }
        )


def _measured(values_ms: Sequence[float]) -> Distribution:
    ordered = sorted(max(value, _LEAST_MS) for value in values_ms)
    points = {f"{one:g}": ordered[int(one * (len(ordered) - 1) / 100)] for one in _PERCENTS}
    # Beyond the last point the distribution would go on as a Pareto tail that was never measured.
    return Capped(kind="capped", of=Quantiles(kind="quantiles", ms=points), most_ms=ordered[-1])


async def calibrate(gateway: Gateway) -> Overhead:
    """Measure the overhead with a function that holds its scorer for a set time."""
    overhead, hold_us = Overhead(), HOLD_S * 1e6
    watch = asyncio.create_task(_watch_timers(overhead.late_ms))
    for number in range(_NUM_CALIBRATIONS + 10):
        text = f"calibration {number}"
        result = await search(gateway, text, HELD_LANE, 5000.0, COLLECTION, explain=True)
        await asyncio.sleep(_GAP_S)
        if number < 10:  # warm-up
            continue
        for part in result.detail:
            busy_us = part.lane_us + part.work_us
            overhead.request_ms.append(part.queue_us / 1000)
            overhead.inside_ms.append((busy_us - hold_us) / 1000)
            overhead.reply_ms.append((part.took_us - part.queue_us - busy_us) / 1000)
    await end([watch], 1.0)
    return overhead


async def _watch_timers(late_ms: list[float]) -> None:
    loop = asyncio.get_running_loop()
    while True:
        due = loop.time() + _TIMER_S
        await asyncio.sleep(_TIMER_S)
        late_ms.append(1000 * (loop.time() - due))


async def measure_overhead(cluster: Cluster) -> Overhead:
    """Load the documents, and measure the overhead of a cluster that has just started."""
    async with open_gateway(cluster) as gateway:
        await fill(gateway, COLLECTION, even_ids(cluster.num_shards, _DOCUMENTS_A_SHARD))
        return await calibrate(gateway)


async def observe_real(cluster: Cluster, run: Run, seed: int) -> Observed:
    """Ask the queries of one run of bench/costs/agreement.toml, by a gateway of its own.

    Its policies have the run's settings, and its queries come at the same instants as in the
    simulator. Late replies and probation, which are not simulated, are off.

    Returns:
        The times and coverage of each counted answer, the outcomes, and the second copies.
    """
    no_probation = ProbationSettings(max_ejection_percent=0.0)
    coverage = run.coverage.model_copy(update={"max_late_load": 0.0})
    async with open_gateway(
        cluster,
        admission=run.admission,
        hedging=run.hedging,
        probation=no_probation,
        breaker=run.breaker,
        coverage=coverage,
    ) as gateway:
        if run.breakers == "off":
            for shard in range(run.shards.count):
                gateway.set_breaker(shard, "disabled")
        caller = _Caller(gateway, run, seed)
        rate, seconds = arrivals_of(run, seed)
        load = await open_loop(caller.ask, rate, seconds, seed=f"{seed}/arrivals")
        observed = caller.observed
        observed.duration_s = load.seconds
        observed.hedges = gateway.hedge_counts()._asdict()
        return observed


def arrivals_of(run: Run, seed: int) -> tuple[float, float]:
    """The rate of a run's arrivals, and the time in which all of its queries arrive."""
    if not isinstance(run.arrivals, Open) or run.arrivals.kind != "poisson":
        raise ValueError("only Poisson arrivals are compared")
    rate, rng = run.arrivals.rate_per_s, random.Random(f"{seed}/arrivals")
    gaps = [rng.expovariate(rate) for _ in range(run.warmup + run.queries + 1)]
    return rate, sum(gaps) - gaps[-1] / 2


class _Caller:
    """Asks a run's queries, and records the same as the simulator."""

    def __init__(self, gateway: Gateway, run: Run, seed: int) -> None:
        self.observed = Observed()
        self._gateway = gateway
        self._run = run
        self._seed = seed
        self._numbers = count()

    async def ask(self) -> None:
        """Ask the next query."""
        number, query = next(self._numbers), self._run.query
        is_counted = number >= self._run.warmup
        asked_at = time.perf_counter()
        try:
            result = await search(
                self._gateway,
                text_of(self._run, self._seed, number),
                DRAWN_LANE,
                deadline_ms=query.deadline_ms,
                collection=COLLECTION,
                k=query.k,
                minimum_coverage=query.minimum_coverage,
                wait_for=query.wait_for,
                priority=query.priority,
            )
        except OverloadedError as error:
            if is_counted:
                self.observed.refusals[error.cause] += 1
                self.observed.refused_ms.append((time.perf_counter() - asked_at) * 1000)
            return
        if is_counted:
            self._keep(result)

    def _keep(self, result: SearchResult) -> None:
        self.observed.took_ms.append(result.took_ms)
        self.observed.fractions.append(result.coverage.fraction)
        for outcome, number in result.outcomes.items():
            if number:
                self.observed.outcomes[outcome] += number
