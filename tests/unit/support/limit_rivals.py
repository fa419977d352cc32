"""Other limits on queries in flight, beside ours in the same model.

`python -m tests.unit.support.limit_rivals` prints the table that docs/overload.md shows.
"""

import random
import sys
from collections.abc import Callable, Sequence
from typing import Protocol

from hedgerow.common.errors import OverloadedError
from hedgerow.common.settings.tail import AdmissionSettings
from hedgerow.common.wire.pull_order import PullOrder
from hedgerow.gateway.policies.admission import Admission
from tests.unit.support.overload_model import Model, Permit, Query, Shard, poisson

NUM_SHARDS = 8
DEADLINE_S = 0.3
WORK_S = 0.008
CAPACITY = 1 / WORK_S


class Limit(Protocol):
    """Something that lets queries in or refuses them."""

    def admit(self, query: Query, now: float) -> Permit:
        """Let it in, or raise an OverloadedError."""


class Ours:
    """Admission as the gateway has it."""

    def __init__(self, num_shards: int = NUM_SHARDS, **settings: float) -> None:
        self.admission = Admission(num_shards, AdmissionSettings.model_validate(settings))
        self._live = [True] * num_shards
        self._documents = [100] * num_shards

    def admit(self, query: Query, now: float) -> Permit:
        """Let it in, or raise an OverloadedError."""
        return self.admission.admit(
            query.priority,
            query.deadline_s,
            query.minimum_coverage,
            self._live,
            self._documents,
            now,
        )


class _ByAnswerTime:
    """A limit that learns from how long each answer took."""

    def __init__(self, initial: float) -> None:
        self.num_in_flight = 0
        self.limit = initial

    def admit(self, query: Query, now: float) -> Permit:
        """Let it in, or raise an OverloadedError."""
        if self.num_in_flight >= int(self.limit):
            raise OverloadedError("", "limit")
        self.num_in_flight += 1
        return _Timer(self, query, now)

    def learn(self, took_s: float, is_late: bool) -> None:
        """An answer took so long."""


class _Timer:
    def __init__(self, limit: _ByAnswerTime, query: Query, now: float) -> None:
        self._limit, self._query, self._started = limit, query, now

    def on_queued(self, shard: int, backlog: int, now: float) -> None:
        """Nothing is made of it."""

    def on_reply(self, shard: int, queue_us: int, work_us: int, now: float) -> None:
        """Nothing is made of it."""

    def done(self, now: float) -> None:
        """The query has ended."""
        self._limit.num_in_flight -= 1
        self._limit.learn(now - self._started, now >= self._query.expires_at)


class Unlimited(_ByAnswerTime):
    """Lets everything in."""

    def __init__(self) -> None:
        super().__init__(1e9)


class Aimd(_ByAnswerTime):
    """Netflix concurrency-limits `AIMDLimit`: time-outs cut the limit to 0.9, others add 1."""

    def __init__(self) -> None:
        super().__init__(20)

    def learn(self, took_s: float, is_late: bool) -> None:
        """An answer took so long."""
        if is_late:
            self.limit = max(4.0, self.limit * 0.9)
        elif 2 * self.num_in_flight >= self.limit:
            self.limit += 1


class Gradient2(_ByAnswerTime):
    """Netflix concurrency-limits `Gradient2Limit`, with its defaults."""

    def __init__(self) -> None:
        super().__init__(20)
        self._long_s = 0.0
        self._num_samples = 0

    def learn(self, took_s: float, is_late: bool) -> None:
        """An answer took so long."""
        self._num_samples += 1
        weight = 1 / self._num_samples if self._num_samples < 10 else 2 / 601
        self._long_s += (took_s - self._long_s) * weight
        if self._long_s > 2 * took_s:
            self._long_s *= 0.95
        if 2 * self.num_in_flight >= self.limit:
            gradient = max(0.5, min(1.0, 1.5 * self._long_s / took_s))
            self.limit = max(4.0, 0.8 * self.limit + 0.2 * (gradient * self.limit + 4))


def steady(rng: random.Random, _now: float) -> float:
    """A work that takes about as long as any other."""
    return WORK_S * rng.uniform(0.5, 1.5)


def noisy(rng: random.Random, _now: float) -> float:
    """One work in twenty takes twenty times as long as the others; the mean is the same."""
    return WORK_S * (20 if rng.random() < 0.05 else 1) / 1.95


def crippled(rng: random.Random, now: float) -> float:
    """From the fifth second to the tenth, everything takes five times as long."""
    return steady(rng, now) * (5 if 5 <= now < 10 else 1)


Work = Callable[[random.Random, float], float]
SCENARIOS: dict[str, tuple[Work, float, frozenset[str]]] = {
    "2 times the capacity": (steady, 2.0, frozenset()),
    "5 times the capacity": (steady, 5.0, frozenset()),
    "3 times, noisy service times": (noisy, 3.0, frozenset()),
    "3 times, newest first": (steady, 3.0, frozenset({"newest first"})),
    "5 times, as workers pull": (steady, 5.0, frozenset({"as workers pull"})),
    "0.8 times, capacity falls to a fifth": (crippled, 0.8, frozenset()),
    "0.5 times, one shard hangs": (steady, 0.5, frozenset({"hung"})),
}


def run(limit: Limit, scenario: str, seed: int = 1, until: float = 10.0) -> list[Query]:
    """All queries of one scenario, which lasts from 0 to `until` seconds."""
    work, load, flags = SCENARIOS[scenario]
    shards = [
        Shard(
            work,
            1,
            "newest first" in flags,
            PullOrder() if "as workers pull" in flags else None,
        )
        for _ in range(NUM_SHARDS)
    ]
    if "hung" in flags:
        shards[-1].hangs = lambda now: 2 <= now < until
    return Model(shards, limit.admit, seed).run(
        poisson(load * CAPACITY, until, seed, lambda now: Query(now, DEADLINE_S))
    )


def goodput(queries: Sequence[Query], scenario: str, since: float, until: float) -> float:
    """Queries a second that every shard which does not hang has answered by the deadline."""
    num_ok = NUM_SHARDS - ("hung" in SCENARIOS[scenario][2])
    good = sum(since <= one.arrived_at < until and one.num_ok >= num_ok for one in queries)
    return good / (until - since)


def main() -> None:
    """Print the table."""
    rivals: list[Callable[[], Limit]] = [Unlimited, Aimd, Gradient2, Ours]
    lines = [
        f"| load | {' | '.join(rival.__name__ for rival in rivals)} |",
        "|---" * (len(rivals) + 1) + "|",
    ]
    for scenario in SCENARIOS:
        cells = [f"{goodput(run(rival(), scenario), scenario, 5.0, 10.0):.0f}" for rival in rivals]
        lines.append(f"| {scenario} | {' | '.join(cells)} |")
    sys.stdout.write("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
