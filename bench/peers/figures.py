"""The figures of a peer's rounds, and how they compare with the targets; pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from bench.harness.load import Load
from bench.harness.report import Verdict, median_of
from bench.peers.catalogue import GRAPHS, Kind, Peer

# Targets: multiples of the throughput of the best task queue, and of Ray's compiled graphs.
TIMES_QUEUE, TIMES_GRAPHS = 10.0, 4.0


@dataclass(frozen=True, slots=True)
class Usage:
    """What all processes of a peer used for a load.

    Attributes:
        cpu_s: CPU seconds.
        num_wakeups: how often their threads were woken.
    """

    cpu_s: float
    num_wakeups: int


@dataclass(frozen=True, slots=True)
class Round:
    """One round of one peer.

    Attributes:
        alone: one query in flight.
        together: 32 in flight.
        usage: for `together`.
    """

    alone: Load
    together: Load
    usage: Usage

    @property
    def num_answered(self) -> int:
        """Queries of `together` that were answered; at least 1, to divide by."""
        return max(1, len(self.together.latencies_s))

    @property
    def num_failed(self) -> int:
        """Queries that raised an error, in both loads."""
        return self.alone.num_failed + self.together.num_failed


@dataclass(frozen=True, slots=True)
class Row:
    """A peer's figures: medians of its rounds.

    Attributes:
        cores_used: by all of its processes together, on average, with 32 in flight.
        wakeups: per query, of all threads of all its processes.
    """

    queries_per_s: float
    p50_ms: float
    p99_ms: float
    alone_p50_ms: float
    alone_p99_ms: float
    cpu_s_per_1000: float
    num_failed: int
    cores_used: float
    wakeups: float


def summarise(rounds: Sequence[Round]) -> Row:
    """The medians of the rounds.

    Raises:
        ValueError: no round has an answer.
    """
    if not any(one.together.latencies_s and one.alone.latencies_s for one in rounds):
        raise ValueError("no query was answered")
    together, alone = [one.together for one in rounds], [one.alone for one in rounds]
    return Row(
        queries_per_s=median_of(together, lambda load: load.throughput),
        p50_ms=median_of(together, lambda load: load.quantile_ms(0.5)),
        p99_ms=median_of(together, lambda load: load.quantile_ms(0.99)),
        alone_p50_ms=median_of(alone, lambda load: load.quantile_ms(0.5)),
        alone_p99_ms=median_of(alone, lambda load: load.quantile_ms(0.99)),
        cpu_s_per_1000=median_of(rounds, lambda one: 1000 * one.usage.cpu_s / one.num_answered),
        num_failed=sum(one.num_failed for one in rounds),
        cores_used=median_of(rounds, lambda one: one.usage.cpu_s / one.together.seconds),
        wakeups=median_of(rounds, lambda one: one.usage.num_wakeups / one.num_answered),
    )


def judge(rows: Mapping[Peer, Row]) -> list[Verdict]:
    """Verdicts on each Hedgerow peer against the best of the others that were measured."""
    queues = {peer: row for peer, row in rows.items() if peer.kind is Kind.QUEUE}
    graphs = {peer: row for peer, row in rows.items() if peer.name == GRAPHS}
    others = {peer: row for peer, row in rows.items() if peer.kind in (Kind.QUEUE, Kind.CLUSTER)}
    verdicts = []
    for ours, row in rows.items():
        if ours.kind is not Kind.OURS:
            continue
        for rivals, target in ((queues, TIMES_QUEUE), (graphs, TIMES_GRAPHS)):
            if rivals:
                verdicts.append(_faster(ours, row, rivals, target))
        if others:
            verdicts.append(_sooner(ours, row, others))
    return verdicts


def _faster(ours: Peer, row: Row, rivals: Mapping[Peer, Row], target: float) -> Verdict:
    best = max(rivals, key=lambda peer: rivals[peer].queries_per_s)
    times = row.queries_per_s / rivals[best].queries_per_s
    whose = f"the best task queue, {best.title}" if best.kind is Kind.QUEUE else best.title
    return Verdict(
        f"{ours.title}: {times:.1f} times the throughput of {whose} (target: at least {target:g})",
        times >= target,
    )


def _sooner(ours: Peer, row: Row, others: Mapping[Peer, Row]) -> Verdict:
    first = min(others, key=lambda peer: others[peer].alone_p50_ms)
    return Verdict(
        f"{ours.title}: a median of {row.alone_p50_ms:.2f} ms alone, against "
        f"{others[first].alone_p50_ms:.2f} ms of {first.title}, the quickest of the others "
        "(target: lower)",
        row.alone_p50_ms < others[first].alone_p50_ms,
    )
