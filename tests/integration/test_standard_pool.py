"""The standard pool over real processes: crashes, tasks that hang, and what is left at its end."""

import gc
import os
import signal
import subprocess
import sys
import time
from multiprocessing.shared_memory import SharedMemory
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest

from hedgerow.common.errors import (
    ExpiredEnd,
    ExpiredError,
    QuarantinedError,
    ScorerCrashedError,
    WorkError,
)
from hedgerow.common.settings.settings import Settings
from hedgerow.common.settings.worker import WorkerSettings
from hedgerow.common.state.quarantine import Quarantine
from hedgerow.shard_worker.executors.bulkhead import Bulkhead
from hedgerow.shard_worker.executors.process_pool.pool import ProcessLane
from hedgerow.shard_worker.executors.process_pool.quarantine_gate import QuarantineGate
from hedgerow.shard_worker.executors.process_pool.scorer_pool import ScorerPool
from hedgerow.shard_worker.executors.process_pool.task import Task
from hedgerow.shard_worker.executors.standard_pool import processes
from hedgerow.shard_worker.executors.standard_pool.pool import StandardPool
from hedgerow.shard_worker.wiring import indexer_lane, scorer_lane
from tests.integration.support.lanes import KILL_GRACE_S, SOON_S, running_standard
from tests.integration.support.misbehaving import Config
from tests.support.processes import count_fds, is_alive
from tests.support.waiting import until

pytestmark = pytest.mark.integration


@pytest.mark.parametrize(
    ("chosen", "kind"),
    [({}, ProcessLane), ({"process_pool": "executor"}, StandardPool)],
)
def test_the_setting_chooses_the_pool(
    tmp_path: Path, chosen: dict[str, Any], kind: type[ScorerPool]
) -> None:
    """Supervised by default; either tells the same figures of itself."""
    settings = Settings(data=tmp_path, worker=WorkerSettings(scorers=2, **chosen))
    gate = QuarantineGate(Quarantine(2, 300.0), lambda _: 0, "w")
    pool = scorer_lane(settings, (), gate)
    assert type(pool) is kind
    supervised = indexer_lane(settings)
    assert type(supervised) is ProcessLane
    assert pool.load().keys() == supervised.load().keys()
    assert pool.load()["capacity"] == 2


async def test_a_task_for_each_process_runs_as_often(tmp_path: Path) -> None:
    """As many times as there are processes, in whichever takes it."""
    async with running_standard(tmp_path, num_processes=3) as bench:
        done = await bench.lane.run_in_each(Task(b"each echo", time.monotonic() + 30))
        assert [one.body for one in done] == [b"each"] * 3


async def test_a_task_behind_a_long_one_ends_at_its_deadline(tmp_path: Path) -> None:
    """It is not taken back from its batch, but its caller need not wait for it."""
    async with running_standard(tmp_path, num_processes=1, batch_window_ms=1000.0) as bench:
        for _ in range(50):  # cheap tasks are measured, so that all go into one batch
            await bench.lane.run(Task(b"warm echo", time.monotonic() + 30))
        long = bench.submit("long await-file go")
        behind = bench.submit("behind echo", timeout_s=0.1)
        await bench.ended(behind)
        assert type(behind.error) is ExpiredError
        assert not long.dones
        (tmp_path / "go").touch()
        await bench.ended(long)
        assert long.body == b"long"
        assert bench.config.starts()["behind"] == 0


@pytest.mark.parametrize("command", ["exit", "segfault", "kill"])
async def test_a_crash_ends_what_the_pool_runs_and_the_pool_comes_back(
    tmp_path: Path, command: str
) -> None:
    """Every task in the executor ends as crashed, untried again; what waits is done by others."""
    async with running_standard(tmp_path) as bench:
        pids = bench.pids()
        bystander = bench.submit("bystander sleep 30")
        await bench.started("bystander")
        crashing = bench.submit(f"bad {command}")
        waiting = bench.submit("waiting echo")
        await bench.ended(crashing, bystander, waiting)
        assert type(crashing.error) is type(bystander.error) is ScorerCrashedError
        assert waiting.body == b"waiting"
        assert bench.config.starts() == {"bystander": 1, "bad": 1, "waiting": 1}
        await bench.whole()
        load = bench.lane.load()
        assert (load["crashes"], load["restarts"]) == (1, 2)
        assert not set(pids) & set(bench.pids())


async def test_a_handler_that_would_end_its_process_fails_its_batch(tmp_path: Path) -> None:
    """The executor hands a SystemExit on; the process, and what others run, goes on."""
    async with running_standard(tmp_path) as bench:
        pids = bench.pids()
        other = bench.submit("other sleep 0.3")
        await bench.started("other")
        leaving = bench.submit("bad system-exit")
        await bench.ended(leaving, other)
        assert type(leaving.error) is WorkError
        assert str(leaving.error) == "SystemExit: 4"
        assert other.body == b"other"
        assert bench.pids() == pids


async def test_an_idle_process_that_dies_is_replaced_before_a_task_comes(tmp_path: Path) -> None:
    """No caller waits for the discovery: the pool is whole again by itself."""
    async with running_standard(tmp_path) as bench:
        pids = bench.pids()
        os.kill(pids[0], signal.SIGKILL)
        await until(lambda: len(bench.pids()) == 2 and not set(bench.pids()) & set(pids))
        call = bench.submit("a echo")
        await bench.ended(call)
        assert call.body == b"a"
        assert bench.lane.load()["crashes"] == 0


async def test_a_pool_that_cannot_be_replaced_is_tried_again(tmp_path: Path) -> None:
    """While the factory fails there is no room, and the pool refuses nothing that may wait."""
    async with running_standard(tmp_path) as bench:
        bench.config.broken.touch()
        os.kill(bench.pids()[0], signal.SIGKILL)
        await until(lambda: bench.config.starts()["broken-start"] >= 3)
        assert bench.lane.room() == 0
        assert bench.lane.load()["alive"] == 0
        call = bench.submit("a echo")
        bench.config.broken.unlink()
        await bench.ended(call)
        assert call.body == b"a"


@pytest.mark.parametrize("command", ["spin", "sleep 600"])
async def test_a_task_that_ignores_its_budget_loses_its_process(
    tmp_path: Path, command: str
) -> None:
    """It ends at deadline plus grace, not before; others go on; its process is killed in the end.

    What others have in hand is finished first, by the processes that are replaced.
    """
    async with running_standard(tmp_path) as bench:
        pids = bench.pids()
        deadline = time.monotonic() + SOON_S
        hung = bench.submit(f"bad {command}", timeout_s=SOON_S)
        await bench.started("bad")
        await bench.ended(hung)
        assert isinstance(hung.error, ExpiredError)
        assert hung.error.end is ExpiredEnd.KILLED
        assert KILL_GRACE_S * 0.9 <= hung.ended_at - deadline < KILL_GRACE_S + 20
        other = bench.submit("other sleep 0.6")
        await bench.ended(other)
        assert other.body == b"other"
        await until(lambda: not any(is_alive(pid) for pid in pids))
        await bench.whole()
        load = bench.lane.load()
        assert (load["killed"], load["crashes"]) == (1, 0)
        assert bench.config.starts() == {"bad": 1, "other": 1}


async def test_a_task_that_was_cut_short_counts_in_the_quarantine(tmp_path: Path) -> None:
    """The pool knows which task ignored its budget, and refuses it next time, as others do."""
    gate = QuarantineGate(Quarantine(after=1, expiry_s=60.0))
    async with running_standard(tmp_path, gate=gate) as bench:
        hung = bench.submit("bad spin", timeout_s=SOON_S, fingerprint=b"f")
        await bench.ended(hung)
        again = bench.submit("again echo", fingerprint=b"f")
        other = bench.submit("other echo", fingerprint=b"g")
        await bench.ended(again, other)
        assert type(again.error) is QuarantinedError
        assert other.body == b"other"
        assert bench.lane.load()["quarantined"] == 1


async def test_a_profile_leaves_a_process_to_others(tmp_path: Path) -> None:
    """While its tasks hold all that they may, others' are done at once, and there is room."""
    async with running_standard(tmp_path, bulkhead=Bulkhead(2, 1.0, {})) as bench:
        first = bench.submit("first echo", profile="fast")
        slow = [bench.submit(f"slow{at} await-file go", profile="slow") for at in range(3)]
        await bench.started("slow0")
        await bench.ended(first)
        assert bench.lane.load()["profiles"]["slow"]["held"] == 1
        assert bench.lane.room() > 0
        others = [bench.submit(f"o{at} echo", profile="fast") for at in range(10)]
        await bench.ended(*others)
        assert not any(call.dones for call in slow)
        assert [call.body for call in others] == [b"o%d" % at for at in range(10)]


async def test_pools_that_come_and_go_leave_nothing_behind(tmp_path: Path) -> None:
    """No descriptor and no name of shared memory is left, nor of pools that were replaced."""
    (tmp_path / "warm").mkdir()
    async with running_standard(tmp_path / "warm"):  # starts the forkserver, which stays
        pass
    gc.collect()
    num_fds = count_fds()
    names: list[str] = []

    def share(*, create: bool, size: int) -> SharedMemory:
        memory = SharedMemory(create=create, size=size)
        names.append(memory.name)
        return memory

    with patch.object(processes, "SharedMemory", share):
        async with running_standard(tmp_path) as bench:
            await bench.ended(bench.submit("bad exit"), bench.submit("hung spin", timeout_s=0.1))
            await bench.whole()
    gc.collect()
    assert count_fds() == num_fds
    assert len(names) >= 2
    for name in names:
        with pytest.raises(FileNotFoundError):
            SharedMemory(name)


ORPHANING = """
import asyncio, pickle, sys
from hedgerow.shard_worker.executors.process_pool.task import Task
from tests.integration.support.misbehaving import Config
from tests.integration.support.lanes import MAKE, make_standard_pool

async def main():
    pool = make_standard_pool(MAKE, Config(sys.argv[1]), num_processes=3, max_batch=1)
    await pool.start()
    pool.submit(Task(b"spinning spin"), print)
    pool.submit(Task(b"sleeping sleep 600"), print)
    print(*pool.load()["pids"], flush=True)
    await asyncio.sleep(600)

asyncio.run(main())
"""


async def test_a_worker_that_is_killed_leaves_no_process(tmp_path: Path) -> None:
    """After SIGKILL of the worker its processes end, idle or busy, which the executor leaves."""
    process = subprocess.Popen(  # noqa: ASYNC220 - starting it blocks for a millisecond
        [sys.executable, "-c", ORPHANING, str(tmp_path)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,  # of the resource tracker, which removes the shared memory
        cwd=Path(__file__).parents[2],
    )
    assert process.stdout is not None
    with process.stdout:
        pids = [int(pid) for pid in process.stdout.readline().split()]
        config = Config(str(tmp_path))
        await until(lambda: set(config.starts()) == {"spinning", "sleeping"})
        assert len(pids) == 3
        process.kill()
        process.wait()
        await until(lambda: not any(is_alive(pid) for pid in pids))
