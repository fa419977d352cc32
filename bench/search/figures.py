"""The figures as they are kept and shown, and how they compare with the targets; pure."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from bench.harness.load import Load
from bench.harness.report import Verdict, median
from bench.search.catalogue import Kind

TOGETHER = 32  # in flight, where a row has one figure
LOST = ("refused", "partial", "failed")  # kinds of queries without a whole answer
SHARE_OF_LIMIT = 0.5  # target: share of the throughput of tantivy in one process


@dataclass(frozen=True, slots=True)
class Measure:
    """One load.

    Attributes:
        in_flight: how many queries were kept in flight.
        k: how many hits were wanted.
        queries_per_s: whole answers a second.
        p50_ms: median latency of whole answers; 0 if there were none.
        p99_ms: their 99th percentile.
        num_failed: queries that raised an error.
        failure: what the last of them raised.
        cpu_us: CPU time per answer of each part of an engine, if it has parts, and of its client.
        num_answers: whole answers.
        num_refused: queries that were refused before any shard was asked.
        num_partial: answers that lack documents, or hits that lack their fields.
    """

    in_flight: int
    k: int
    queries_per_s: float
    p50_ms: float
    p99_ms: float
    num_failed: int = 0
    failure: str = ""
    cpu_us: dict[str, float] = field(default_factory=dict)
    num_answers: int = 0
    num_refused: int = 0
    num_partial: int = 0

    @classmethod
    def of(
        cls, load: Load, in_flight: int, k: int = 10, *, may_be_empty: bool = False
    ) -> "Measure":
        """The figures of a load.

        Raises:
            ValueError: no query was answered, and `may_be_empty` is false.
        """
        num_answers = len(load.latencies_s)
        if not num_answers and not may_be_empty:
            raise ValueError(f"no query was answered: {load.failure}")
        return cls(
            in_flight=in_flight,
            k=k,
            queries_per_s=load.throughput,
            p50_ms=load.quantile_ms(0.5) if num_answers else 0.0,
            p99_ms=load.quantile_ms(0.99) if num_answers else 0.0,
            num_failed=load.num_failed,
            failure=load.failure,
            cpu_us={part: used / max(1, num_answers) * 1e6 for part, used in load.cpu_s.items()},
            num_answers=num_answers,
            num_refused=load.counts.get("refused", 0),
            num_partial=load.counts.get("partial", 0),
        )

    @property
    def num_asked(self) -> int:
        """The number of queries, whatever became of them."""
        return self.num_answers + self.num_refused + self.num_partial + self.num_failed

    def count(self, kind: str) -> int:
        """How many were `refused`, `partial` or `failed`."""
        return {
            "refused": self.num_refused,
            "partial": self.num_partial,
            "failed": self.num_failed,
        }[kind]


@dataclass(slots=True)
class Index:
    """An engine's index and its settings.

    Attributes:
        num_processes: how many processes the engine is, a client that stands apart left out.
        reason: why figures are missing; empty if all went well.
    """

    title: str
    build_s: float = 0.0
    disk_bytes: int = 0
    memory_bytes: int = 0
    versions: dict[str, str] = field(default_factory=dict)
    settings: list[tuple[str, str, str]] = field(default_factory=list)
    reason: str = ""
    num_processes: int = 0


@dataclass(slots=True)
class Row:
    """One engine asked in one way: number of callers → the figures of each round."""

    title: str
    engine: str
    kind: Kind = Kind.OTHER
    points: dict[int, list[Measure]] = field(default_factory=dict)

    @property
    def together(self) -> list[Measure]:
        """The rounds with 32 in flight."""
        return self.points.get(TOGETHER, [])

    @property
    def alone(self) -> list[Measure]:
        """The rounds with one query in flight."""
        return self.points.get(1, [])

    @property
    def num_failed(self) -> int:
        """Over all rounds."""
        return sum(one.num_failed for points in self.points.values() for one in points)

    @property
    def failure(self) -> str:
        """One of the failures; empty if there are none."""
        failures = (one.failure for points in self.points.values() for one in points)
        return next(filter(None, failures), "")

    def add(self, measure: Measure) -> None:
        """Add a round."""
        self.points.setdefault(measure.in_flight, []).append(measure)

    def per_s(self, in_flight: int = TOGETHER) -> float:
        """Answers a second: the median of the rounds; nan if there are none."""
        return median(one.queries_per_s for one in self.points.get(in_flight, []))

    def cpu_us(self, in_flight: int = TOGETHER) -> dict[str, float]:
        """Part → its median CPU time per answer; empty if the engine has no parts."""
        found = self.points.get(in_flight, [])
        parts = found[0].cpu_us if found else {}
        return {part: median(one.cpu_us[part] for one in found) for part in parts}

    def share(self, kind: str, in_flight: int = TOGETHER) -> float:
        """The share of queries, of all rounds, that are `refused`, `partial` or `failed`."""
        found = self.points.get(in_flight, [])
        return sum(one.count(kind) for one in found) / max(1, sum(one.num_asked for one in found))

    def share_lost(self, in_flight: int = TOGETHER) -> float:
        """The share of queries, of all rounds, that got no whole answer."""
        return sum(self.share(kind, in_flight) for kind in LOST)


@dataclass(slots=True)
class Where:
    """Where and when figures were measured, and how busy the machine was.

    Attributes:
        loads: the load average over a minute before each round, or each curve.
    """

    machine: str
    date: str
    command: str
    loads: list[float] = field(default_factory=list)


@dataclass(slots=True)
class Comparison:
    """Engines over the same documents and queries, measured in turns.

    Attributes:
        documents: how many were indexed.
        versions: source of documents → its version.
        counts: source → how many of all documents come from it.
        num_queries: how many different ones.
        indexes: engine → its index.
        rows: name → row, in the order of the table.
        agreement: sentences on what the engines find.
        is_whole: whether it was measured to its end.
    """

    where: Where
    documents: int
    versions: dict[str, str]
    counts: dict[str, int]
    num_queries: int
    indexes: dict[str, Index] = field(default_factory=dict)
    rows: dict[str, Row] = field(default_factory=dict)
    agreement: list[str] = field(default_factory=list)
    is_whole: bool = False

    @property
    def cores(self) -> int:
        """Those of the machine."""
        return int(self.where.machine.split()[0])


@dataclass(slots=True)
class Series:
    """One line of a curve: its title, and pairs of x and what was measured there."""

    title: str
    points: list[tuple[int, Measure]] = field(default_factory=list)


@dataclass(slots=True)
class Curve:
    """How cost grows with one thing.

    Attributes:
        name: of what grows, on the command line.
        setup: a sentence on what was held constant.
        is_whole: whether it was measured to its end.
    """

    name: str
    setup: str
    where: Where
    series: list[Series] = field(default_factory=list)
    is_whole: bool = False


def judge(rows: Mapping[str, Row]) -> list[Verdict]:
    """Hedgerow's best against the targets, as far as the rows for it were measured."""
    measured = [one for one in rows.values() if one.together]
    ours = [one for one in measured if one.kind is Kind.OURS]
    if not ours:
        return []
    best = max(ours, key=Row.per_s)
    verdicts = []
    if limits := [one for one in measured if one.kind is Kind.LIMIT]:
        limit = max(limits, key=Row.per_s)
        share = best.per_s() / limit.per_s()
        text = (
            f"{best.title}: {share:.0%} of the throughput of {limit.title} "
            f"(target: at least {SHARE_OF_LIMIT:.0%})"
        )
        verdicts.append(Verdict(text, share >= SHARE_OF_LIMIT))
    verdicts += [beats(best, one) for one in measured if one.kind is Kind.RIVAL]
    return verdicts


def beats(ours: Row, rival: Row) -> Verdict:
    """Whether Hedgerow answers more queries a second than a rival."""
    times = ours.per_s() / rival.per_s()
    text = f"{ours.title}: {times:.1f} times the throughput of {rival.title}"
    return Verdict(f"{text} (target: more than once)", times > 1)


def exponent(points: Sequence[tuple[int, Measure]]) -> float:
    """The power of x with which the time of a query grows from the first point to the last.

    The time is the inverse of the throughput. 0 means no growth, 1 growth in proportion.

    Raises:
        ValueError: there are fewer than two different points.
    """
    (first_x, first), (last_x, last) = points[0], points[-1]
    if len(points) < 2 or first_x == last_x:
        raise ValueError("a growth needs two points")
    return math.log(first.queries_per_s / last.queries_per_s) / math.log(last_x / first_x)
