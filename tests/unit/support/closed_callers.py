"""Callers that ask again once they are answered, for the model of a cluster under load."""

import random
from collections.abc import Iterator
from functools import partial

from hedgerow.common.settings.tail import AdmissionSettings
from hedgerow.common.wire.pull_order import PullOrder
from hedgerow.gateway.policies.admission import Admission
from tests.unit.support.overload_model import Model, Permit, Query, Shard

NUM_SHARDS = 2
DEADLINE_S = 0.3
CAPACITY = 1000.0  # queries a second, when the machine is fast
_NUM_SERVERS = 2  # of each shard
_ARRIVE_WITHIN_S = 0.2
_THINK_S = 0.0005
_HASTE_S = 0.1
_LIVE, _DOCUMENTS = [True] * NUM_SHARDS, [1] * NUM_SHARDS


class ClosedModel(Model):
    """A cluster of two shards, and callers of several addresses.

    After a refusal a patient caller waits for a second or a little more, and a hasty one for a
    tenth of that. Every half second the machine may be slower than before.
    """

    def __init__(
        self,
        num_callers: int,
        num_addresses: int,
        *,
        are_patient: bool,
        until: float,
        seed: int,
        capacity: float = CAPACITY,
    ) -> None:
        """Have callers ask until a time, at most `capacity` a second when the machine is fast."""
        self.admission = Admission(NUM_SHARDS, AdmissionSettings())
        self._addresses = [str(number) for number in range(num_addresses)]
        self._are_patient = are_patient
        self._until = until
        self._callers = random.Random(seed)
        speeds = [self._callers.choice((1, 1, 1, 0.8, 0.6)) for _ in range(int(2 * until) + 2)]

        def work_s(rng: random.Random, now: float) -> float:
            return (
                _NUM_SERVERS
                / capacity
                * rng.uniform(0.5, 1.5)
                / speeds[min(int(2 * now), len(speeds) - 1)]
            )

        shards = [
            Shard(work_s, num_servers=_NUM_SERVERS, order=PullOrder()) for _ in range(NUM_SHARDS)
        ]
        super().__init__(shards, self._let_in, seed)
        for caller in range(num_callers):
            self.at(_ARRIVE_WITHIN_S * self._callers.random(), partial(self._ask, caller))

    def run_callers(self) -> list[Query]:
        """All queries, once every one has ended."""
        return self.run(_nothing())

    def _let_in(self, query: Query, now: float) -> Permit:
        peer = self._addresses[query.asker % len(self._addresses)]
        return self.admission.admit(
            "interactive", DEADLINE_S, 0.0, _LIVE, _DOCUMENTS, now, peer=peer
        )

    def _ask(self, caller: int, now: float) -> None:
        if now >= self._until:
            return
        query = Query(now, DEADLINE_S, asker=caller)
        self._arrive(query, now)
        if query.cause:
            pause_s = 1.0 + 0.2 * self._callers.random() if self._are_patient else _HASTE_S
            self.at(now + pause_s, partial(self._ask, caller))

    def _end(self, query: Query, now: float) -> None:
        if not query.ended_at:
            super()._end(query, now)
            self.at(now + _THINK_S, partial(self._ask, query.asker))


def _nothing() -> Iterator[Query]:
    """No query arrives by itself."""
    return iter(())
