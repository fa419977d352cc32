"""The faults of a run: slow-downs, pauses and crashes, by the scenario's script."""

import math
import random
from collections.abc import Callable, Sequence

from hedgerow.common.collection import Collection
from hedgerow.gateway.search.plan import NO_WORKER
from hedgerow.gateway.simulate.event_loop import VirtualLoop
from hedgerow.gateway.simulate.racks import place
from hedgerow.gateway.simulate.scenario import Crash, Pause, Run, Slowdown, Whose
from hedgerow.gateway.simulate.servers import Server
from hedgerow.gateway.simulate.shards import Shard, worker_name


class ScriptedView:
    """The gateway's view of the cluster: a shard that is down counts as live until it is missed.

    Attributes:
        live: for each shard, whether a worker serves it, as far as is known.
        no_worker: why a shard without one is not asked.
        num_live: for each shard, how many workers do.
        died_at: for each shard, when a worker was last missed, in s; -inf for never.
        attaches: False, since the scripted shards have no documents to attach.
        search_options: 0, since they know no options.
    """

    def __init__(self, run: Run) -> None:
        """Start with all shards live."""
        self.live = [True] * run.shards.count
        self.no_worker = NO_WORKER
        self.num_live = [run.shards.replicas] * run.shards.count
        self.died_at = [-math.inf] * run.shards.count
        self.attaches = False
        self.search_options = 0
        self._counts: list[int | None] = [run.shards.documents] * run.shards.count

    @property
    def has_replicas(self) -> bool:
        """Whether a shard has two workers."""
        return max(self.num_live) > 1

    def workers_of(self, shard: int) -> list[str]:
        """Return as many names as are live: the shard decides which of them takes a copy."""
        return [worker_name(shard, replica) for replica in range(self.num_live[shard])]

    def lose(self, shard: int, now: float) -> None:
        """A worker was missed."""
        self.died_at[shard] = now
        self.num_live[shard] -= 1
        self.live[shard] = self.num_live[shard] > 0

    def regain(self, shard: int) -> None:
        """A worker is back."""
        self.num_live[shard] += 1
        self.live[shard] = True

    def filling_of(self, collection: Collection) -> None:
        """Nothing is ever added to a collection."""

    def counts_of(self, uid: str) -> Sequence[int | None]:
        """Return the documents of each shard; there is only one collection."""
        del uid
        return self._counts


class _Slowing:
    """One slow-down after another, each on newly chosen shards."""

    def __init__(
        self, script: Slowdown, shards: Sequence[Shard], loop: VirtualLoop, rng: random.Random
    ) -> None:
        self._script = script
        self._shards = shards
        self._loop = loop
        self._rng = rng
        self._lasts_s = script.lasts.sampler(rng)
        loop.at(_first_at(script.at_s, script.every_s, rng), self._begin, None)

    def _begin(self, _: None) -> None:
        slowed = _chosen(self._script, self._shards, self._rng)
        for shard in slowed:
            shard.slow(self._script.factor)
        self._loop.at(self._loop.time() + self._lasts_s(), self._end, slowed)

    def _end(self, slowed: list[Shard]) -> None:
        for shard in slowed:
            shard.end_slowdown(self._script.factor)
        if self._script.every_s is not None:
            gap_s = self._rng.expovariate(1 / self._script.every_s)
            self._loop.at(self._loop.time() + gap_s, self._begin, None)


class _Pausing:
    """One server's pauses."""

    def __init__(
        self, script: Pause, server: Server, loop: VirtualLoop, rng: random.Random
    ) -> None:
        self._server = server
        self._loop = loop
        self._rng = rng
        self._rate = 1 / script.every_s
        self._lasts_s = script.lasts.sampler(rng)
        loop.at(rng.expovariate(self._rate), self._pause, None)

    def _pause(self, _: None) -> None:
        duration_s = self._lasts_s()
        if self._server.is_up:
            self._server.pause(duration_s)
        gap_s = self._rng.expovariate(self._rate)
        self._loop.at(self._loop.time() + duration_s + gap_s, self._pause, None)


class _Crashing:
    """One server's crashes and restarts."""

    def __init__(
        self,
        script: Crash,
        server: Server,
        loop: VirtualLoop,
        rng: random.Random,
        view: ScriptedView,
        expiry_s: float,
    ) -> None:
        self._server = server
        self._loop = loop
        self._rng = rng
        self._every_s = script.every_s
        self._lasts_s = script.lasts.sampler(rng)
        self._view = view
        self._expiry_s = expiry_s
        self._is_missed = False
        loop.at(_first_at(script.at_s, script.every_s, rng), self._crash, None)

    def _crash(self, _: None) -> None:
        now = self._loop.time()
        if self._server.is_up:
            self._server.crash()
        self._loop.at(now + self._expiry_s, self._miss, None)
        self._loop.at(now + self._lasts_s(), self._restart, None)

    def _miss(self, _: None) -> None:
        if not self._server.is_up and not self._is_missed:
            self._is_missed = True
            self._view.lose(self._server.shard.number, self._loop.time())

    def _restart(self, _: None) -> None:
        self._server.restart()
        self._view.died_at[self._server.shard.number] = self._loop.time()  # it is a new process
        if self._is_missed:
            self._is_missed = False
            self._view.regain(self._server.shard.number)
        if self._every_s is not None:
            gap_s = self._rng.expovariate(1 / self._every_s)
            self._loop.at(self._loop.time() + gap_s, self._crash, None)


def script_faults(
    run: Run,
    shards: Sequence[Shard],
    view: ScriptedView,
    loop: VirtualLoop,
    rng: Callable[[str], random.Random],
) -> None:
    """Put the faults on the loop's agenda, for as long as the loop runs.

    Args:
        run: the script.
        shards: the shards that they affect.
        view: notified of shards that are down.
        loop: the event loop.
        rng: makes the random generator for a purpose.
    """
    for at, slowdown in enumerate(run.slowdowns):
        _Slowing(slowdown, shards, loop, rng(f"slowdowns/{at}"))
    for at, pause in enumerate(run.pauses):
        chooser = rng(f"pauses/{at}")
        for server in _servers(pause, shards, chooser):
            _Pausing(pause, server, loop, rng(f"pauses/{at}/{server.name}"))
    racks = place(run.racks, run.shards) if run.racks is not None else []
    for at, crash in enumerate(run.crashes):
        chooser = rng(f"crashes/{at}")
        for server in _servers(crash, shards, chooser, crash.rack, racks):
            own = rng(f"crashes/{at}/{server.name}")
            _Crashing(crash, server, loop, own, view, run.heartbeat_expiry_s)


def _first_at(at_s: float | None, every_s: float | None, rng: random.Random) -> float:
    if at_s is not None:
        return at_s
    return rng.expovariate(1 / every_s) if every_s is not None else 0.0


def _chosen(whose: Whose, shards: Sequence[Shard], rng: random.Random) -> list[Shard]:
    if whose.shards is not None:
        return [shards[number] for number in whose.shards]
    if whose.share == 1.0:
        return list(shards)
    return rng.sample(shards, max(1, round(whose.share * len(shards))))


def _servers(
    whose: Whose,
    shards: Sequence[Shard],
    rng: random.Random,
    rack: int | None = None,
    racks: Sequence[Sequence[int]] = (),
) -> list[Server]:
    """Return the servers that a fault affects; `racks` are those of each shard's replicas."""
    return [
        server
        for shard in _chosen(whose, shards, rng)
        for replica, server in enumerate(shard.servers)
        if whose.replica is None or replica == whose.replica
        if rack is None or racks[shard.number][replica] == rack
    ]
