"""The figures under more callers than can be served; pure."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from bench.harness.report import median, target

LEAST_KEPT = 0.9  # of the peak of goodput
MOST_PARTIAL = 0.01  # of the answers
MOST_REFUSAL_MS = 2.0


class Load(NamedTuple):
    """A number of callers of one kind, in multiples of those that the cluster can serve."""

    kind: str
    times: int

    @property
    def title(self) -> str:
        """The title in the table."""
        return "as many as it can serve" if self.times == 1 else f"{self.times} times, {self.kind}"


@dataclass(frozen=True, slots=True)
class Round:
    """The figures of a load in one round.

    Attributes:
        crowd: the callers' figures, as of `callers.Met.to_json`.
        probe: the probe's figures.
        cores: part → how many cores it used.
        limit: of the queries in flight, at the end of the round.
        num_opened: how often breakers opened.
    """

    crowd: Mapping[str, Any]
    probe: Mapping[str, Any]
    cores: Mapping[str, float]
    limit: int
    num_opened: int

    @property
    def per_cpu_s(self) -> float:
        """Goodput per CPU second of the cluster, which excludes what other programs use."""
        return self.goodput / max(1e-9, sum(self.cores.values()))

    @property
    def goodput(self) -> float:
        """Whole answers in time, a second."""
        return float(self.crowd["good_per_s"] + self.probe["good_per_s"])

    def count(self, kind: str) -> int:
        """How many queries were `whole`, `partial`, `refused` or `failed`."""
        return int(self.crowd[kind] + self.probe[kind])


Measured = Mapping[Load, Sequence[Round]]

COLUMNS = (
    "callers",
    "goodput/s",
    "of the peak",
    "by CPU",
    "p50, p99 of an answer, ms",
    "partial",
    "refused",
    "p50, p99 of a refusal, ms: probe",
    "callers",
    "breakers opened",
    "cores: gateway, workers, scorers, Redis; callers",
)


def rows_of(measured: Measured) -> list[list[str]]:
    """The table's rows."""
    kept, by_cpu = (_kept(measured, name) for name in ("goodput", "per_cpu_s"))
    return [
        [load.title, *_cells(rounds, kept[load], by_cpu[load])]
        for load, rounds in measured.items()
        if rounds
    ]


def verdicts(measured: Measured) -> list[str]:
    """The targets, and whether they are reached at every load."""
    rounds = [one for found in measured.values() for one in found]
    if not rounds:
        return []
    kept, kept_by_cpu = (min(_kept(measured, name).values()) for name in ("goodput", "per_cpu_s"))
    partial = max(_partial(found) for found in measured.values())
    num_opened = sum(one.num_opened for one in rounds)
    refusals = [median(one.probe["refused_p50_ms"] for one in found) for found in measured.values()]
    slowest_ms = max((one for one in refusals if one > 0), default=0.0)
    return [
        f"goodput keeps at least {kept:.0%} of its peak "
        + target(f"{LEAST_KEPT:.0%}", is_met=kept >= LEAST_KEPT),
        f"goodput for each second of the cluster's CPU keeps {kept_by_cpu:.0%} of its peak",
        f"at most {partial:.1%} of the answers are partial "
        + target(f"{MOST_PARTIAL:.0%}", is_met=partial <= MOST_PARTIAL),
        f"breakers opened {num_opened} times " + target("never", is_met=not num_opened),
        f"the slowest median of a refusal, as the probe sees it, is {slowest_ms:.1f} ms "
        + target(f"under {MOST_REFUSAL_MS:g} ms", is_met=slowest_ms < MOST_REFUSAL_MS),
    ]


def _of(rounds: Iterable[Round], name: str) -> float:
    return median(getattr(one, name) for one in rounds)


def _kept(measured: Measured, name: str) -> dict[Load, float]:
    """Load → its share of the most in the same round, as the median of the rounds.

    The speed of a machine's cores can change by a tenth from one minute to the next.
    """
    num_rounds = max(map(len, measured.values()), default=0)
    most = [
        max(getattr(found[at], name) for found in measured.values() if at < len(found))
        for at in range(num_rounds)
    ]
    return {
        load: median(
            getattr(one, name) / (of_round or 1.0)
            for one, of_round in zip(found, most, strict=False)
        )
        for load, found in measured.items()
        if found
    }


def _partial(rounds: Iterable[Round]) -> float:
    found = list(rounds)
    num_partial = sum(one.count("partial") for one in found)
    return num_partial / max(1, num_partial + sum(one.count("whole") for one in found))


def _cells(rounds: Sequence[Round], kept: float, kept_by_cpu: float) -> list[str]:
    def of(part: str, name: str) -> float:
        return median(getattr(one, part)[name] for one in rounds)

    def pair(part: str, prefix: str) -> str:
        low, high = (_ms(of(part, f"{prefix}p{share}_ms")) for share in (50, 99))
        return f"{low}, {high}"

    num_refused = sum(one.count("refused") for one in rounds)
    share_refused = num_refused / max(1, sum(sum(map(one.count, _KINDS)) for one in rounds))
    cores = ", ".join(f"{of('cores', name):.2f}" for name in PARTS)
    return [
        f"{_of(rounds, 'goodput'):,.0f}",
        f"{kept:.0%}",
        f"{kept_by_cpu:.0%}",
        pair("crowd", ""),
        f"{_partial(rounds):.1%}",
        f"{share_refused:.0%}",
        pair("probe", "refused_"),
        pair("crowd", "refused_"),
        str(sum(one.num_opened for one in rounds)),
        f"{cores}; {of('crowd', 'cpu_share'):.2f}",
    ]


_KINDS = ("whole", "partial", "refused", "failed")
PARTS = ("gateway", "workers", "scorers", "Redis")


def _ms(value: float) -> str:
    return "—" if value != value else f"{value:.2g}" if value < 10 else f"{value:.0f}"  # noqa: PLR0124 - nan
