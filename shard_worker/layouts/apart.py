"""When a worker begins to serve the new shards of a split, and ends to serve the old ones. Pure.

All workers learn at one instant that they should. To start the processes for the new shards takes
each of them some 80 ms of CPU, and to end those of the old ones some 60. On a machine with four
workers and two cores, searches would have to wait for 0.2 s each time, which is many a deadline. So
the workers of a machine do it one after the other.
"""

import random
from collections.abc import Callable, Iterable
from typing import Final, NamedTuple

from hedgerow.common.wire.heartbeat import Heartbeat

BEGIN_EACH_S: Final = 0.25
END_EACH_S: Final = 0.5
MOST_WORKERS: Final = 8  # a machine with more of them has the cores for several at a time


class Turn(NamedTuple):
    """A worker's turn among those of its machine.

    Attributes:
        place: which share of them comes before it, from 0 to 1.
        on_host: how many they are.
    """

    place: float
    on_host: int

    @classmethod
    def of(
        cls,
        worker: str,
        live: Iterable[Heartbeat],
        on_host: int,
        draw: Callable[[], float] = random.random,
    ) -> "Turn":
        """The turn of a worker.

        Args:
            worker: its id.
            live: the heartbeats of all workers.
            on_host: how many there are on its machine, if their heartbeats name it differently, as
                those of containers do. Then each has a turn at random.
            draw: returns a number from 0 to 1.
        """
        hosts = {one.id: one.host for one in live}
        same = sorted(one for one, host in hosts.items() if host == hosts.get(worker))
        if worker in hosts and len(same) >= on_host:
            return cls(same.index(worker) / len(same), len(same))
        return cls(draw(), on_host)

    @property
    def begins_after_s(self) -> float:
        """How long the worker waits before it serves new shards beside others."""
        return self._share * BEGIN_EACH_S

    @property
    def ends_after_s(self) -> float:
        """How long the worker goes on serving shards that are no longer searched."""
        return self._share * END_EACH_S

    @property
    def _share(self) -> float:
        return self.place * min(self.on_host, MOST_WORKERS) if self.on_host > 1 else 0.0
