"""What the tests of both process pools share: pools over the misbehaving handler."""

import asyncio
import contextlib
import math
import pickle
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Generic, TypeVar

from hedgerow.common.errors import WorkError
from hedgerow.shard_worker.executors.bulkhead import Bulkhead
from hedgerow.shard_worker.executors.process_pool.forkserver_start import Start, start_interpreter
from hedgerow.shard_worker.executors.process_pool.limits import DispatchLimits
from hedgerow.shard_worker.executors.process_pool.pool import (
    Named,
    ProcessLane,
    Task,
    TaskHandle,
    TaskResult,
)
from hedgerow.shard_worker.executors.process_pool.quarantine_gate import QuarantineGate
from hedgerow.shard_worker.executors.process_pool.recycler import MemoryLimit
from hedgerow.shard_worker.executors.process_pool.scorer_pool import ScorerPool
from hedgerow.shard_worker.executors.process_pool.scorer_process import ScorerSpec
from hedgerow.shard_worker.executors.process_pool.scorer_slot import SlotState
from hedgerow.shard_worker.executors.standard_pool.pool import StandardPool
from tests.integration.support.misbehaving import Config
from tests.support.launching import start_forkserver
from tests.support.processes import count_fds, is_alive
from tests.support.waiting import until

KILL_GRACE_S = 0.1
# A deadline that comes soon, for tasks that are to have begun by then: on a machine that is busy, a
# process that is free may get a core some tenths of a second after it was given one.
SOON_S = 3.0
MAKE = "tests.integration.support.misbehaving:make"


@dataclass
class Call:
    """A submitted task and everything that its `on_done` was given."""

    handle: TaskHandle | None = None
    dones: list[TaskResult] = field(default_factory=list)
    ended_at: float = math.inf

    @property
    def error(self) -> WorkError | None:
        """The error of the only ending."""
        (done,) = self.dones
        return done.error

    @property
    def body(self) -> bytes:
        """The body of the only ending, which was good."""
        (done,) = self.dones
        assert done.error is None, done.error
        return done.body


Pool = TypeVar("Pool", bound=ScorerPool)


@dataclass
class Bench(Generic[Pool]):
    """A pool that is being tried."""

    lane: Pool
    config: Config

    def submit(
        self,
        command: str,
        timeout_s: float = 30.0,
        fingerprint: bytes | None = None,
        *,
        is_movable: bool = False,
        profile: str = "",
    ) -> Call:
        """Submit "name command argument"; the name says what the journal notes."""
        call = Call()

        def on_done(done: TaskResult) -> None:
            call.dones.append(done)
            call.ended_at = time.monotonic()

        expires_at = time.monotonic() + timeout_s
        work = Task(
            command.encode(),
            expires_at,
            Named(command, fingerprint),
            is_movable=is_movable,
            profile=profile,
        )
        call.handle = self.lane.submit(work, on_done)
        return call

    async def ended(self, *calls: Call, within_s: float = 60.0) -> None:
        """Wait until each has ended, and a moment more, in which none ends again."""
        await until(lambda: all(call.dones for call in calls), within_s)
        await asyncio.sleep(0.02)
        assert [len(call.dones) for call in calls] == [1] * len(calls)

    async def started(self, name: str, times: int = 1) -> int:
        """Wait until the task has been started this often; returns the pid of the last start."""
        await until(lambda: self.config.starts()[name] >= times)
        return self.config.pids(name)[-1]

    async def whole(self) -> None:
        """Wait until every slot has a scorer that is ready and idle."""
        load = self.lane.load
        await until(lambda: load()["alive"] == load()["capacity"] and load()["busy"] == 0)

    def pids(self) -> list[int]:
        """The scorers' pids."""
        return [pid for pid in self.lane.load()["pids"] if pid]

    def ready_pids(self: "Bench[ProcessLane]") -> list[int]:
        """Those whose factory has returned: stopping one earlier costs a long wait."""
        slots = self.lane._supervisor.slots
        return [slot.pid for slot in slots if slot.state is SlotState.READY]


def make_lane(
    factory: str,
    config: object = None,
    *,
    num_processes: int = 2,
    max_batch: int = 64,
    batch_window_ms: float = 4.0,
    gate: QuarantineGate | None = None,
    memory_limit: MemoryLimit | None = None,
    bulkhead: Bulkhead | None = None,
    start_forkserver: Start = start_forkserver,
    nice: int = 0,
) -> ProcessLane:
    """A lane that is not started."""
    return ProcessLane(
        factory=factory,
        config=config,
        num_processes=num_processes,
        max_batch=max_batch,
        batch_window_ms=batch_window_ms,
        kill_grace_ms=KILL_GRACE_S * 1000,
        gate=gate,
        name="scorers",
        memory_limit=memory_limit,
        bulkhead=bulkhead,
        start_forkserver=start_forkserver,
        nice=nice,
    )


@contextlib.asynccontextmanager
async def running(
    folder: Path,
    *,
    num_processes: int = 2,
    max_batch: int = 64,
    batch_window_ms: float = 4.0,
    gate: QuarantineGate | None = None,
    memory_limit: MemoryLimit | None = None,
    bulkhead: Bulkhead | None = None,
    start_forkserver: Start = start_forkserver,
) -> AsyncIterator[Bench[ProcessLane]]:
    """A lane over the misbehaving handler; at its end no process and no descriptor is left.

    Where the memory of scorers is limited, their forkserver is a new interpreter.
    """
    config = Config(str(folder))
    num_fds = count_fds()
    lane = make_lane(
        MAKE,
        config,
        num_processes=num_processes,
        max_batch=max_batch,
        batch_window_ms=batch_window_ms,
        gate=gate,
        memory_limit=memory_limit,
        bulkhead=bulkhead,
        start_forkserver=start_interpreter if memory_limit else start_forkserver,
    )
    bench = Bench(lane, config)
    await lane.start()
    pids = set(bench.pids())
    try:
        yield bench
        pids |= set(bench.pids())
    finally:
        await lane.close(0.0)
    assert [pid for pid in pids if is_alive(pid)] == []
    assert count_fds() == num_fds


def make_standard_pool(
    factory: str,
    config: object = None,
    *,
    num_processes: int = 2,
    max_batch: int = 64,
    batch_window_ms: float = 4.0,
    bulkhead: Bulkhead | None = None,
    gate: QuarantineGate | None = None,
) -> StandardPool:
    """A pool over the standard library's executor that is not started."""
    return StandardPool(
        ScorerSpec("scorers", factory, pickle.dumps(config), ()),
        num_processes,
        DispatchLimits.of(num_processes, max_batch, batch_window_ms, KILL_GRACE_S * 1000),
        bulkhead,
        gate,
    )


@contextlib.asynccontextmanager
async def running_standard(
    folder: Path,
    *,
    num_processes: int = 2,
    batch_window_ms: float = 4.0,
    bulkhead: Bulkhead | None = None,
    gate: QuarantineGate | None = None,
) -> AsyncIterator[Bench[StandardPool]]:
    """A standard pool over the misbehaving handler; at its end no process is left."""
    config = Config(str(folder))
    pool = make_standard_pool(
        MAKE,
        config,
        num_processes=num_processes,
        batch_window_ms=batch_window_ms,
        bulkhead=bulkhead,
        gate=gate,
    )
    bench = Bench(pool, config)
    await pool.start()
    pids = set(bench.pids())
    try:
        yield bench
        pids |= set(bench.pids())
    finally:
        await pool.close(0.0)
    assert [pid for pid in pids if is_alive(pid)] == []
