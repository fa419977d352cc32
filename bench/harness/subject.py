"""Something that is measured in turns with others."""

import gc
from dataclasses import dataclass, field

from bench.harness.load import Ask, Load, closed_loop
from bench.harness.processes import CpuMeter
from bench.harness.report import median

IN_FLIGHT = 32
_MAX_REFUSED = 0.01  # share of the queries of open loops that may fail


@dataclass(slots=True)
class Subject:
    """A subject, and its rounds.

    Attributes:
        ask: asks one query.
        parts: the processes whose CPU time is counted, by part.
        in_flight: how many queries are in flight together.
        alone: loads with one query in flight, one for each round.
        together: loads with `in_flight` queries in flight.
        opened: loads with Poisson arrivals.
        cpu_us: CPU time per query of each part, in each round of `together`.
    """

    name: str
    ask: Ask
    parts: dict[str, list[int]]
    in_flight: int = IN_FLIGHT
    alone: list[Load] = field(default_factory=list)
    together: list[Load] = field(default_factory=list)
    opened: list[Load] = field(default_factory=list)
    cpu_us: list[dict[str, float]] = field(default_factory=list)

    @property
    def throughput(self) -> float:
        """Queries a second with `in_flight` in flight: the median of the rounds."""
        return median(load.throughput for load in self.together)

    @property
    def alone_ms(self) -> float:
        """Median latency with one query in flight, in ms: the median of the rounds' medians."""
        return median(load.quantile_ms(0.5) for load in self.alone)

    async def measure_alone(self, seconds: float) -> None:
        """Measure one round with one query in flight."""
        gc.collect()
        self.alone.append(await closed_loop(self.ask, 1, seconds))

    async def measure_together(self, seconds: float) -> None:
        """Measure one round with `in_flight` queries in flight."""
        gc.collect()
        meter = CpuMeter(self.parts)
        load = await closed_loop(self.ask, self.in_flight, seconds)
        num_answers = max(1, len(load.latencies_s))
        self.together.append(load)
        self.cpu_us.append(
            {part: used_s / num_answers * 1e6 for part, used_s in meter.used_s().items()}
        )

    @property
    def num_refused(self) -> int:
        """How many queries of the open loops were not answered."""
        return sum(load.num_failed for load in self.opened)

    def cpu_of(self, part: str) -> float:
        """CPU time per query of one part, in µs: the median of the rounds."""
        return median(used[part] for used in self.cpu_us if part in used)

    def check(self) -> None:
        """Be sure that every query of the closed loops was answered, and nearly all of the others.

        An open loop does not wait for answers: if the machine stands still for a moment, more are
        asked than the gateway admits, and some are refused.

        Raises:
            RuntimeError: more have failed; says how many, and what the last of them raised.
        """
        failed = [load for load in self.alone + self.together if load.num_failed]
        num_opened = sum(len(load.latencies_s) + load.num_failed for load in self.opened)
        if self.num_refused > _MAX_REFUSED * num_opened:
            failed += [load for load in self.opened if load.num_failed]
        if failed:
            num_failed = sum(load.num_failed for load in failed)
            raise RuntimeError(f"{self.name}: {num_failed} queries failed: {failed[-1].failure}")
