"""The deadline, with one shard hanging and half of the load that the cluster can sustain."""

import signal
from collections.abc import Sequence
from dataclasses import dataclass

from bench.harness.cluster import LOOP_LANE, PROCESS_LANE, Asker, connect, run_cluster
from bench.harness.load import Load, closed_loop, open_loop, share_within
from bench.harness.options import Options
from bench.harness.report import Section, median, target
from bench.harness.rounds import turns
from hedgerow.common.lifecycle import calm_collector
from hedgerow.gateway.gateway import Gateway

DEADLINE_MS = 50.0
_GRACE_MS = 5.0
_TARGET = 0.999
# Of what the cluster can sustain: above it, the machine has slowed since that was measured.
_MOST_OF_CAPACITY = 0.6
_HUNG_SHARD = 7
_LAYOUT = ((0, 1), (2, 3), (4, 5), (6,), (_HUNG_SHARD,))


@dataclass(frozen=True, slots=True)
class Round:
    """One load with a shard hung.

    Attributes:
        rate: arrivals a second.
        share_of_capacity: the rate relative to what the cluster could sustain, the lower of before
            and after.
    """

    rate: float
    share_of_capacity: float
    load: Load

    @property
    def is_steady(self) -> bool:
        """Whether the machine was as fast during the load as when its rate was chosen."""
        return self.share_of_capacity <= _MOST_OF_CAPACITY


async def measure(options: Options) -> Section:
    """Stop a shard's worker, and measure when the answers leave."""
    section = Section(
        title="Answers by the deadline, with a shard that hangs",
        load=(
            f"Eight shards, `noop`, a deadline of {DEADLINE_MS:g} ms; one shard's worker is "
            "stopped (SIGSTOP) while its heartbeat still counts as fresh and its breaker is "
            "disabled, so every query waits for it in vain. Poisson arrivals at half the "
            "throughput that the cluster had just before, with 32 in flight and no shard hanging. "
            "Times are measured from when a query was due. An answer with fewer than seven of the "
            "eight shards counts as late; shares are over all rounds of a row. Rounds in which the "
            f"cluster slowed down, so that the load was over {_MOST_OF_CAPACITY:.0%} of its "
            "capacity, have a row of their own."
        ),
        columns=(
            "",
            "arrivals/s",
            f"within {DEADLINE_MS:g} + {_GRACE_MS:g} ms",
            "p50, ms",
            "p99.9, ms",
            "latest, ms",
        ),
        formats=(",.0f", ".3%", ".2f", ".2f", ".2f"),
    )
    profiles = (LOOP_LANE, PROCESS_LANE)
    rounds: dict[str, list[Round]] = {profile: [] for profile in profiles}
    with run_cluster(_LAYOUT, heartbeat_expiry_s=3600.0) as cluster:
        hung = cluster.workers[-1]
        async with connect(cluster) as gateway:
            gateway.set_breaker(_HUNG_SHARD, "disabled")
            calm_collector()
            for number, profile in turns(profiles, options.num_rounds):
                before = await _throughput(gateway, profile, options.seconds)
                hung.send_signal(signal.SIGSTOP)
                ask = Asker(gateway, profile, DEADLINE_MS, num_ok=7).ask
                load = await open_loop(ask, before / 2, options.seconds, seed=number)
                hung.send_signal(signal.SIGCONT)
                after = await _throughput(gateway, profile, options.seconds)
                share = before / 2 / min(before, after)
                rounds[profile].append(Round(before / 2, share, load))
    for profile in profiles:
        add(section, profile, rounds[profile])
    return section


async def _throughput(gateway: Gateway, profile: str, seconds: float) -> float:
    """What the cluster can sustain now, with every shard running again."""
    ask = Asker(gateway, profile).ask
    while (await closed_loop(ask, 32, 0.1)).num_failed:
        continue  # the worker that was stopped is still catching up
    return (await closed_loop(ask, 32, seconds)).throughput


def add(section: Section, profile: str, rounds: Sequence[Round]) -> None:
    """Add rows for a lane: one for its steady rounds and one for the others."""
    steady = [one for one in rounds if one.is_steady]
    slowed = [one for one in rounds if not one.is_steady]
    lane = "loop lane" if profile == LOOP_LANE else "process lane"
    if steady:
        row = _figures(steady)
        aim = target(f"{_TARGET:.1%}", is_met=row["share_in_time"] >= _TARGET)
        section.reading += (
            f"In the {lane}, {row['share_in_time']:.3%} of the answers came in time {aim}. "
        )
        section.add(profile, row, lane)
    if slowed:
        title = f"{lane}, where the machine had slowed"
        section.add(f"{profile}, slowed", _figures(slowed), title)
        most = max(one.share_of_capacity for one in slowed)
        section.reading += (
            f"In {len(slowed)} of the {lane}'s {len(rounds)} rounds the cluster was slower after "
            f"the load than before it, and the load was up to {most:.0%} of that. "
        )


def _figures(rounds: Sequence[Round]) -> dict[str, float]:
    loads = [one.load for one in rounds]
    return {
        "arrivals_per_s": median(one.rate for one in rounds),
        "share_in_time": share_within(loads, (DEADLINE_MS + _GRACE_MS) / 1000),
        "p50_ms": median(load.quantile_ms(0.5) for load in loads),
        "p999_ms": median(load.quantile_ms(0.999) for load in loads),
        "latest_ms": max(load.quantile_ms(1.0) for load in loads),
        "num_failed": float(sum(load.num_failed for load in loads)),
    }
