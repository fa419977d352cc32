"""What was measured of search as it is used, as it is kept and shown; pure."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from bench.harness.load import Load
from bench.harness.report import median
from bench.search.figures import Index, Verdict, Where

TOGETHER = 32  # in flight, where one figure stands for a row
LEAST_PER_S = 2_000.0  # of the default with fields, on two cores
MOST_LOST = 0.05  # of the queries, where the CPU of those that were answered is judged
MOST_TIMES_FIELDS = 1.25  # what a search with fields may cost of the CPU of one without
LEAST_CLIENT_SHARE = 0.6  # of the throughput of bare HTTP


@dataclass(frozen=True, slots=True)
class Point:
    """One load; an answer counts if it is whole.

    Attributes:
        in_flight: how many callers there were.
        whole_per_s: whole answers a second.
        p50_ms: median latency of whole answers; 0 where there was none.
        p99_ms: their 99th percentile.
        num_asked: queries of all kinds.
        num_refused: those that were refused before any shard was asked.
        num_partial: answers that lack documents, or hits that lack their fields.
        num_failed: queries that raised.
        failure: what the last of them raised.
        cpu_us: what a whole answer has cost each part, and the client.
    """

    in_flight: int
    whole_per_s: float
    p50_ms: float
    p99_ms: float
    num_asked: int
    num_refused: int
    num_partial: int
    num_failed: int
    failure: str = ""
    cpu_us: dict[str, float] = field(default_factory=dict)

    @classmethod
    def of(cls, load: Load, in_flight: int) -> "Point":
        """What a load comes to."""
        num_whole = len(load.latencies_s)
        num_refused, num_partial = load.counts.get("refused", 0), load.counts.get("partial", 0)
        return cls(
            in_flight=in_flight,
            whole_per_s=load.throughput,
            p50_ms=load.quantile_ms(0.5) if num_whole else 0.0,
            p99_ms=load.quantile_ms(0.99) if num_whole else 0.0,
            num_asked=num_whole + num_refused + num_partial + load.num_failed,
            num_refused=num_refused,
            num_partial=num_partial,
            num_failed=load.num_failed,
            failure=load.failure,
            cpu_us={part: cpu_s / max(1, num_whole) * 1e6 for part, cpu_s in load.cpu_s.items()},
        )

    def count(self, kind: str) -> int:
        """How many were `refused`, `partial` or `failed`."""
        counts = {
            "refused": self.num_refused,
            "partial": self.num_partial,
            "failed": self.num_failed,
        }
        return counts[kind]


@dataclass(slots=True)
class Row:
    """One engine asked in one way: number of callers → what each round has met."""

    title: str
    engine: str
    points: dict[int, list[Point]] = field(default_factory=dict)

    def add(self, point: Point) -> None:
        """Add a round."""
        self.points.setdefault(point.in_flight, []).append(point)

    def whole_per_s(self, in_flight: int = TOGETHER) -> float:
        """The median of the rounds; nan of none."""
        return median(one.whole_per_s for one in self.points.get(in_flight, []))

    def cpu_us(self, in_flight: int = TOGETHER) -> dict[str, float]:
        """Part → the median of what a whole answer has cost it."""
        found = self.points.get(in_flight, [])
        parts = found[0].cpu_us if found else {}
        return {part: median(one.cpu_us[part] for one in found) for part in parts}

    def share_lost(self, in_flight: int = TOGETHER) -> float:
        """The share of queries, of all rounds, that got no whole answer."""
        return sum(self.share(kind, in_flight) for kind in ("refused", "partial", "failed"))

    def share(self, kind: str, in_flight: int) -> float:
        """The share of queries, of all rounds, that are `refused`, `partial` or `failed`."""
        found = self.points.get(in_flight, [])
        num_asked = sum(one.num_asked for one in found)
        return sum(one.count(kind) for one in found) / max(1, num_asked)


@dataclass(slots=True)
class Part:
    """Engines over the same documents and queries, measured in turns.

    Attributes:
        documents: how many were indexed.
        versions: source of documents → its version.
        counts: source → how many of all documents come from it.
        num_queries: how many different ones.
        indexes: engine → its index.
        num_processes: engine → how many processes it is, the client left out.
        rows: name → row, in the order of the table.
        is_whole: whether it was measured to its end.
    """

    where: Where
    documents: int
    versions: dict[str, str]
    counts: dict[str, int]
    num_queries: int
    indexes: dict[str, Index] = field(default_factory=dict)
    num_processes: dict[str, int] = field(default_factory=dict)
    rows: dict[str, Row] = field(default_factory=dict)
    is_whole: bool = False


def judge(rows: Mapping[str, Row], cores: int) -> list[Verdict]:
    """The default against the targets, and against what you would write yourself.

    Args:
        rows: name → row; a verdict whose rows are not there is left out.
        cores: those of the machine; the number of answers a second is a target on two.
    """
    measured = {name: row for name, row in rows.items() if row.points.get(TOGETHER)}
    default, bare = measured.get("up http"), measured.get("up http-ids")
    client, yourself = measured.get("up client"), measured.get("yourself http")
    verdicts = []
    if default and cores == 2:
        verdicts.append(
            Verdict(
                f"{default.title}: {default.whole_per_s():,.0f} whole answers a second "
                f"(target on two cores: at least {LEAST_PER_S:,.0f})",
                default.whole_per_s() >= LEAST_PER_S,
            )
        )
    if default and yourself:
        share = default.whole_per_s() / yourself.whole_per_s()
        verdicts.append(
            Verdict(
                f"{default.title}: {share:.1f} times the throughput of {yourself.title} "
                "(target: more than once)",
                share > 1,
            )
        )
    # What refusals cost is in the CPU of what was answered, and would be most of the ratio.
    if default and bare and max(default.share_lost(), bare.share_lost()) <= MOST_LOST:
        times = sum(default.cpu_us().values()) / sum(bare.cpu_us().values())
        verdicts.append(
            Verdict(
                f"A search with fields takes {times:.2f} times the CPU of one without "
                f"(target: at most {MOST_TIMES_FIELDS:g})",
                times <= MOST_TIMES_FIELDS,
            )
        )
    if default and client:
        share = client.whole_per_s() / default.whole_per_s()
        verdicts.append(
            Verdict(
                f"{client.title}: {share:.0%} of the throughput of bare HTTP "
                f"(target: at least {LEAST_CLIENT_SHARE:.0%})",
                share >= LEAST_CLIENT_SHARE,
            )
        )
    return verdicts
