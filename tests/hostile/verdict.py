"""What must hold during and after an attack: pure functions, tested without a cluster."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

MB = 1_000_000


@dataclass(frozen=True, slots=True)
class Bounds:
    """What an attack may do to others.

    Attributes:
        deadline_ms: by when a normal search must be answered, as its client sees it.
        answered_share: least share of normal searches that are answered by then.
        mean_coverage: least mean coverage of the answers.
        gateway_mb: most memory of the gateway at any time.
        worker_mb: most memory of a worker and of what it has started, together.
        growth: by how much memory may have grown after the attack, as a share of before.
        growth_floor_mb: growth below this says nothing (allocators, caches), whatever its share.
    """

    deadline_ms: float = 300.0
    answered_share: float = 0.99
    mean_coverage: float = 0.95
    gateway_mb: float = 300.0
    worker_mb: float = 500.0
    growth: float = 0.20
    growth_floor_mb: float = 20.0


@dataclass(frozen=True, slots=True)
class Sample:
    """A search of the normal client.

    Attributes:
        status: the HTTP status; 0 without an answer (refused, reset, or none in time).
        took_ms: until the answer was read whole, or given up.
        coverage: share of the documents that the answer reflects.
        has_fields: whether every hit has its fields.
    """

    status: int
    took_ms: float
    coverage: float = 0.0
    has_fields: bool = True

    def is_answered(self, deadline_ms: float) -> bool:
        """Whether the client got what it asked for, in time."""
        return self.status == 200 and self.has_fields and self.took_ms <= deadline_ms


@dataclass(frozen=True, slots=True)
class Memory:
    """The memory of a part of the cluster, in MB."""

    before: float
    peak: float
    after: float


@dataclass(frozen=True, slots=True)
class Observation:
    """What was seen.

    Attributes:
        samples: the normal client's searches, from the attack's first byte to shortly after.
        memory: part (`gateway`, `worker-0`, `redis`) → its memory.
        breakers: the state of each shard's breaker afterwards.
        restarted: the processes that are not those of before, in words.
        loop_lag_ms: by how much the gateway's loop lagged at worst, in its own words; 0 when no
            lag passed what it had seen before.
        complaints: what the attack itself found wrong.
    """

    samples: Sequence[Sample]
    memory: Mapping[str, Memory]
    breakers: Sequence[str]
    restarted: Sequence[str] = ()
    loop_lag_ms: float = 0.0
    complaints: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Verdict:
    """The effect of an attack on others, and what was more than allowed.

    Attributes:
        attack: its name.
        num_searches: normal searches beside it.
        answered: share of them that were answered in time.
        p50_ms: median latency of all of them.
        p99_ms: their 99th percentile.
        coverage: mean coverage of those that were answered at all.
        memory: part → its memory.
        loop_lag_ms: as observed.
        failures: what must hold and does not; empty when the attack did no harm.
    """

    attack: str
    num_searches: int
    answered: float
    p50_ms: float
    p99_ms: float
    coverage: float
    memory: Mapping[str, Memory] = field(default_factory=dict)
    loop_lag_ms: float = 0.0
    failures: tuple[str, ...] = ()

    @property
    def holds(self) -> bool:
        """Whether the attack did no harm."""
        return not self.failures


def judge(attack: str, seen: Observation, bounds: Bounds) -> Verdict:
    """Compare the observations with what must hold."""
    samples = seen.samples
    num_answered = sum(sample.is_answered(bounds.deadline_ms) for sample in samples)
    latencies = [sample.took_ms for sample in samples]
    coverages = [sample.coverage for sample in samples if sample.status == 200]
    answered = num_answered / len(samples) if samples else 0.0
    coverage = sum(coverages) / len(coverages) if coverages else 0.0
    p99_ms = percentile(latencies, 99)
    failures = list(seen.complaints)
    if answered < bounds.answered_share:
        statuses = _counts(samples, bounds.deadline_ms)
        failures.append(f"{num_answered} of {len(samples)} searches answered in time ({statuses})")
    if not p99_ms <= bounds.deadline_ms:
        failures.append(f"p99 {p99_ms:.0f} ms, over the deadline of {bounds.deadline_ms:g} ms")
    if coverages and coverage < bounds.mean_coverage:
        failures.append(f"mean coverage {coverage:.2f}, below {bounds.mean_coverage:g}")
    failures += [
        f"breaker {shard}: {state}"
        for shard, state in enumerate(seen.breakers)
        if state != "closed"
    ]
    failures += [f"restarted: {process}" for process in seen.restarted]
    for part, memory in seen.memory.items():
        failures += _memory_failures(part, memory, bounds)
    return Verdict(
        attack=attack,
        num_searches=len(samples),
        answered=answered,
        p50_ms=percentile(latencies, 50),
        p99_ms=p99_ms,
        coverage=coverage,
        memory=dict(seen.memory),
        loop_lag_ms=seen.loop_lag_ms,
        failures=tuple(failures),
    )


def percentile(values: Sequence[float], percent: float) -> float:
    """The smallest value that at least `percent` of the values do not exceed; NaN of none."""
    if not values:
        return math.nan
    rank = math.ceil(len(values) * percent / 100)
    return sorted(values)[max(rank, 1) - 1]


def _memory_failures(part: str, memory: Memory, bounds: Bounds) -> list[str]:
    failures = []
    limit = bounds.gateway_mb if part == "gateway" else bounds.worker_mb
    if part != "redis" and memory.peak > limit:
        failures.append(f"{part} at {memory.peak:.0f} MB, over {limit:g} MB")
    allowed = memory.before + max(memory.before * bounds.growth, bounds.growth_floor_mb)
    if memory.after > allowed:
        failures.append(f"{part} keeps {memory.after:.0f} MB; it had {memory.before:.0f} MB before")
    return failures


def _counts(samples: Sequence[Sample], deadline_ms: float) -> str:
    """How the searches ended, in words, the most frequent first."""
    ends: dict[str, int] = {}
    for sample in samples:
        if sample.is_answered(deadline_ms):
            end = "in time"
        elif sample.status == 0:
            end = "no answer"
        elif sample.status != 200:
            end = f"HTTP {sample.status}"
        else:
            end = "late" if sample.has_fields else "without fields"
        ends[end] = ends.get(end, 0) + 1
    ordered = sorted(ends.items(), key=lambda pair: -pair[1])
    return ", ".join(f"{count} {end}" for end, count in ordered)
