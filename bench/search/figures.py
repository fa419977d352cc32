"""What was measured, as it is kept and shown, and what that is against the targets; pure."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from bench.harness.load import Load
from bench.harness.report import median
from bench.search.catalogue import Kind

SHARE_OF_LIMIT = 0.5  # of the throughput of tantivy in one process, that is to be reached


@dataclass(frozen=True, slots=True)
class Measure:
    """One load.

    Attributes:
        in_flight: how many queries were kept in flight.
        k: how many hits were wanted.
        num_failed: queries that raised, of all.
        failure: what the last of them raised.
        cpu_us: what an answer has cost each part of an engine that has some, and its client.
    """

    in_flight: int
    k: int
    queries_per_s: float
    p50_ms: float
    p99_ms: float
    num_failed: int
    failure: str = ""
    cpu_us: dict[str, float] = field(default_factory=dict)

    @classmethod
    def of(cls, load: Load, in_flight: int, k: int = 10) -> "Measure":
        """What a load comes to.

        Raises:
            ValueError: no query was answered.
        """
        if not load.latencies_s:
            raise ValueError(f"no query was answered: {load.failure}")
        return cls(
            *(in_flight, k, load.throughput, load.quantile_ms(0.5), load.quantile_ms(0.99)),
            *(load.num_failed, load.failure),
            {part: cpu_s / len(load.latencies_s) * 1e6 for part, cpu_s in load.cpu_s.items()},
        )


@dataclass(slots=True)
class Index:
    """An engine's index, and what was set.

    Attributes:
        reason: why there are no figures of it, or no more of them; empty when all went well.
    """

    title: str
    build_s: float = 0.0
    disk_bytes: int = 0
    memory_bytes: int = 0
    versions: dict[str, str] = field(default_factory=dict)
    settings: list[tuple[str, str, str]] = field(default_factory=list)
    reason: str = ""


@dataclass(slots=True)
class Rounds:
    """What the rounds of one subject were: with 32 in flight, and alone."""

    title: str
    kind: Kind
    engine: str
    together: list[Measure] = field(default_factory=list)
    alone: list[Measure] = field(default_factory=list)

    @property
    def queries_per_s(self) -> float:
        """The median of the rounds, together; nan of none."""
        return median(one.queries_per_s for one in self.together)

    @property
    def cpu_us(self) -> dict[str, float]:
        """Part → the median of what an answer has cost it, together; empty where none has parts."""
        parts = self.together[0].cpu_us if self.together else {}
        return {part: median(one.cpu_us[part] for one in self.together) for part in parts}

    @property
    def num_failed(self) -> int:
        """Over all rounds."""
        return sum(one.num_failed for one in (*self.together, *self.alone))


@dataclass(slots=True)
class Where:
    """On what, when and how busy it was measured.

    Attributes:
        loads: the load average over a minute before each round, or each curve.
    """

    machine: str
    date: str
    command: str
    loads: list[float] = field(default_factory=list)


@dataclass(slots=True)
class Comparison:
    """All engines over the same documents and queries.

    Attributes:
        documents: how many were indexed.
        versions: source of documents → its version.
        counts: source → how many of all documents come from it.
        num_queries: how many different ones.
        indexes: engine → its index.
        subjects: name → its rounds, in the order of the table.
        agreement: sentences on what the engines find.
        is_whole: whether it was measured to its end.
    """

    where: Where
    documents: int
    versions: dict[str, str]
    counts: dict[str, int]
    num_queries: int
    in_flight: int
    indexes: dict[str, Index] = field(default_factory=dict)
    subjects: dict[str, Rounds] = field(default_factory=dict)
    agreement: list[str] = field(default_factory=list)
    is_whole: bool = False


@dataclass(slots=True)
class Series:
    """One line of a curve: what it is of, and (x, what was measured there)."""

    title: str
    points: list[tuple[int, Measure]] = field(default_factory=list)


@dataclass(slots=True)
class Curve:
    """How cost grows with one thing.

    Attributes:
        name: of the thing, as the command line has it.
        setup: a sentence on what was held fast.
        is_whole: whether it was measured to its end.
    """

    name: str
    setup: str
    where: Where
    series: list[Series] = field(default_factory=list)
    is_whole: bool = False


@dataclass(frozen=True, slots=True)
class Verdict:
    """A target: a sentence with the figures, and whether it is reached."""

    text: str
    is_met: bool


def judge(subjects: Mapping[str, Rounds]) -> list[Verdict]:
    """Hedgerow's best against the targets; nothing where what it takes was not measured."""
    measured = [one for one in subjects.values() if one.together]
    ours = [one for one in measured if one.kind is Kind.OURS]
    if not ours:
        return []
    best = max(ours, key=lambda one: one.queries_per_s)
    limits = [one for one in measured if one.kind is Kind.LIMIT]
    rivals = [one for one in measured if one.kind is Kind.RIVAL]
    verdicts = []
    if limits:
        limit = max(limits, key=lambda one: one.queries_per_s)
        share = best.queries_per_s / limit.queries_per_s
        verdicts.append(
            Verdict(
                f"{best.title}: {share:.0%} of the throughput of {limit.title} "
                f"(target: at least {SHARE_OF_LIMIT:.0%})",
                share >= SHARE_OF_LIMIT,
            )
        )
    for rival in rivals:
        times = best.queries_per_s / rival.queries_per_s
        verdicts.append(
            Verdict(
                f"{best.title}: {times:.1f} times the throughput of {rival.title} "
                "(target: more than once)",
                times > 1,
            )
        )
    return verdicts


def exponent(points: Sequence[tuple[int, Measure]]) -> float:
    """By which power of x the time a query takes grows from the first point to the last.

    The time is that of the machine: the inverse of the throughput. 0 is no growth, 1 is in
    proportion.

    Raises:
        ValueError: there are not two different points.
    """
    (first_x, first), (last_x, last) = points[0], points[-1]
    if len(points) < 2 or first_x == last_x:
        raise ValueError("a growth needs two points")
    return math.log(first.queries_per_s / last.queries_per_s) / math.log(last_x / first_x)
