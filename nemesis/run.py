"""One run: a cluster, its clients, rounds of faults, and the reading of everything at the end."""

import asyncio
import json
import shutil
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final, Literal

from nemesis import abilities
from nemesis.abilities import Abilities
from nemesis.checkers.recovery import lacks_of
from nemesis.cluster.cluster import Cluster, running
from nemesis.cluster.links import LOAD, Links
from nemesis.cluster.namespaces import Namespaces
from nemesis.cluster.proxied import Proxied
from nemesis.cluster.resource_use import resources_of
from nemesis.commands import at_once
from nemesis.faults.catalogue import CARDS, INJECT, cards
from nemesis.faults.injection import Spared
from nemesis.history import (
    Calm,
    Event,
    FaultBegan,
    FaultEnded,
    Leftover,
    Note,
    Recorder,
    RoundBegan,
    RoundOver,
)
from nemesis.layout import GATEWAYS, PROCESSES, WORKERS
from nemesis.load.process import LoadProcess
from nemesis.schedule import Fault, Round, rounds

_START_S: Final = 90.0
_WARM_UP_S: Final = 8.0
_WHOLE_FOR_S: Final = 2.0  # before a round counts as over
_GIVE_UP_S: Final = 60.0  # after which a run goes on with a cluster that has not recovered
_END_S: Final = 45.0  # kept for the reading at the end


@dataclass(frozen=True, slots=True)
class Options:
    """What is asked of a run.

    Attributes:
        seed: of the schedule and of the load.
        minutes: how long it lasts, from its start to its end.
        only: kinds of faults; the others are left out. Empty for all.
        is_proxied: whether proxies were asked for, though the machine may have namespaces.
        num_nodes: of the Redis Cluster that carries queries and logs; 0 for none.
    """

    seed: int
    minutes: float
    only: tuple[str, ...] = ()
    is_proxied: bool = False
    num_nodes: int = 0


async def run(options: Options, has: Abilities, folder: Path) -> None:
    """Attack a cluster, and leave the history in `folder`."""
    (folder / "run.json").write_text(
        json.dumps({**asdict(options), "missing": has.missing, "began": time.time()})
    )
    recorder = Recorder(folder / "faults.jsonl")
    links = make_links(options, has)
    # Not in the run's folder, whose path may be long and whose disk is not the cluster's to fill.
    with tempfile.TemporaryDirectory(prefix="nemesis-") as place:
        cluster = Cluster(
            Path(place), links, has, recorder.record, with_nodes=options.num_nodes > 0
        )
        try:
            async with running(cluster):
                await _Attack(options, has, cluster, recorder, folder).run()
        finally:
            recorder.close()
            _keep_logs(Path(place), folder)


def make_links(options: Options, has: Abilities) -> Links:
    """The network that the machine can have."""
    if abilities.NAMESPACES in has.present:
        return Namespaces(
            options.seed,
            with_packets=abilities.PACKETS in has.present,
            with_nodes=options.num_nodes > 0,
        )
    return Proxied()


class _Attack:
    """The steps of a run, over a cluster that has been started."""

    def __init__(
        self,
        options: Options,
        has: Abilities,
        cluster: Cluster,
        recorder: Recorder,
        folder: Path,
    ) -> None:
        self._options = options
        self._can = has.present
        self._cluster = cluster
        self._recorder = recorder
        self._ends_at = time.monotonic() + options.minutes * 60.0
        self._number = 0
        self._load = LoadProcess(
            {gateway: cluster.links.listens(gateway) for gateway in GATEWAYS},
            options.seed,
            folder / "load.jsonl",
            [*cluster.links.enter(LOAD), *at_once()],
        )

    async def run(self) -> None:
        """From the first document to the last reading."""
        await self._load.start()
        telling = asyncio.create_task(self._tell_pids(), name="tell pids")
        try:
            await self._fill()
            await self._load.do("start")
            await asyncio.sleep(_WARM_UP_S)
            await self._until_whole(_START_S)
            self._measure("before")
            for planned in rounds(self._options.seed, cards(self._options.num_nodes)):
                if time.monotonic() + planned.lasts_s + _END_S > self._ends_at:
                    break
                await self._attack(planned)
            await self._read_everything()
        finally:
            telling.cancel()
            await self._load.stop()

    async def _fill(self) -> None:
        """Load the steady documents once the cluster takes them."""
        give_up_at = time.monotonic() + _START_S
        while True:
            try:
                await self._load.do("seed")
            except RuntimeError as error:
                if time.monotonic() > give_up_at:
                    raise
                self._record(Note(at=time.monotonic(), text=str(error)))
                await asyncio.sleep(1.0)
            else:
                return

    async def _attack(self, planned: Round) -> None:
        """Inject the faults of a round, and let the cluster recover."""
        faults = [fault for fault in planned.faults if self._is_possible(fault)]
        if not faults:
            return
        self._record(RoundBegan(at=time.monotonic(), round=planned.number))
        async with asyncio.TaskGroup() as injected:
            for fault in faults:
                injected.create_task(self._inject(planned.number, fault))
        calm_at = time.monotonic()
        self._record(Calm(at=calm_at, round=planned.number))
        is_whole = await self._until_whole(_GIVE_UP_S)
        took_s = time.monotonic() - calm_at
        self._record(RoundOver(at=time.monotonic(), round=planned.number))
        ended = f"recovered within {took_s:.1f} s" if is_whole else "NOT RECOVERED"
        _say(f"round {planned.number}: {', '.join(map(_name, faults))}: {ended}")

    async def _inject(self, planned_round: int, fault: Fault) -> None:
        await asyncio.sleep(fault.at_s)
        self._number += 1
        number = self._number
        at = time.monotonic()
        async with INJECT[fault.kind](self._cluster, fault) as done:
            began = FaultBegan(
                at=at,
                number=number,
                round=planned_round,
                kind=fault.kind,
                target=fault.target,
                words=done.why if isinstance(done, Spared) else done,
                is_spared=isinstance(done, Spared),
            )
            self._record(began)
            await asyncio.sleep(fault.for_s)
        self._record(FaultEnded(at=time.monotonic(), number=number))

    def _is_possible(self, fault: Fault) -> bool:
        card = CARDS[fault.kind]
        is_wanted = not self._options.only or fault.kind in self._options.only
        is_there = fault.target not in PROCESSES or fault.target in self._cluster.programs
        return is_wanted and is_there and card.needs <= self._can

    async def _until_whole(self, timeout_s: float) -> bool:
        """Wait until both gateways have shown a whole cluster for some time."""
        give_up_at = time.monotonic() + timeout_s
        whole_since: float | None = None
        while time.monotonic() < give_up_at:
            await self._load.changed(1.0)
            now = time.monotonic()
            states = list(self._load.states.values())
            is_whole = len(states) == len(GATEWAYS) and not any(map(lacks_of, states))
            if not is_whole or min(state.at for state in states) < now - 5.0:
                whole_since = None
            elif whole_since is None:
                whole_since = now
            elif now - whole_since >= _WHOLE_FOR_S:
                return True
        return False

    async def _read_everything(self) -> None:
        """Read every document from both copies, then from one at a time."""
        await self._load.do("pause")
        await self._load.do("read")
        self._measure("after")
        self._record_leftovers()
        placement = await self._cluster.placement()
        owners = [frozenset(shard["owners"]) for shard in placement.get("shards", [])]
        for gone in apart(WORKERS, owners):
            await asyncio.gather(*(self._cluster.programs[name].drain() for name in gone))
            await self._load.do("read")
            for name in gone:
                self._cluster.programs[name].start()
            await self._until_whole(_START_S)

    def _measure(self, phase: Literal["before", "after"]) -> None:
        for program in self._cluster.programs.values():
            if used := resources_of(program, phase):
                self._record(used)

    def _record_leftovers(self) -> None:
        for pid, parent, command in self._cluster.leftovers():
            self._record(Leftover(at=time.monotonic(), pid=pid, parent=parent, command=command))

    async def _tell_pids(self) -> None:
        """Keep the clients informed of the gateways' processes."""
        known: dict[str, int] = {}
        while True:
            for name in GATEWAYS:
                pid = self._cluster.programs[name].pid
                if pid and known.get(name) != pid:
                    known[name] = pid
                    self._load.knows(name, pid)
            await asyncio.sleep(0.1)

    def _record(self, event: Event) -> None:
        self._recorder.record(event)
        self._recorder.flush()


def _keep_logs(place: Path, folder: Path) -> None:
    for log in place.glob("*.log"):
        shutil.copy(log, folder / log.name)


def _name(fault: Fault) -> str:
    for_s = f" for {fault.for_s:g} s" if fault.for_s else ""
    return f"{fault.kind} ({fault.target}{for_s})"


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def histories(folder: Path) -> Sequence[Path]:
    """The files of a run's history."""
    return sorted(folder.glob("*.jsonl"))


def apart(workers: Sequence[str], owners: Sequence[frozenset[str]]) -> list[list[str]]:
    """Groups of workers to stop, one after the other, so that each replica answers alone once.

    Two groups, without both replicas of any shard in either, if there are such; else each worker by
    itself. Shards with more or fewer than two replicas do not matter.

    Args:
        workers: all workers.
        owners: of each shard.
    """
    side: dict[str, int] = {}
    for worker in workers:
        waiting = [(worker, 0)] if worker not in side else []
        while waiting:
            one, number = waiting.pop()
            if side.setdefault(one, number) != number:
                return [[each] for each in workers]
            for pair in owners:
                if one in pair and len(pair) == 2:
                    (other,) = pair - {one}
                    if side.get(other) != 1 - number:
                        waiting.append((other, 1 - number))
    groups = [[one for one in workers if side[one] == number] for number in (0, 1)]
    return [group for group in groups if group]
