"""Scorers that have grown: each replaced between two batches by one that is ready; no others."""

import asyncio
import os
import signal
import sys
from functools import partial
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from hedgerow.common.settings.settings import Settings
from hedgerow.common.settings.worker import WorkerSettings
from hedgerow.common.state.quarantine import Quarantine
from hedgerow.shard_worker.executors.process_pool import supervisor
from hedgerow.shard_worker.executors.process_pool.pool import ProcessLane
from hedgerow.shard_worker.executors.process_pool.process_memory import own_memory_mb
from hedgerow.shard_worker.executors.process_pool.quarantine_gate import QuarantineGate
from hedgerow.shard_worker.executors.process_pool.recycler import MemoryLimit, Recycler
from hedgerow.shard_worker.executors.process_pool.scorer_slot import SlotState
from hedgerow.shard_worker.wiring import indexer_lane, scorer_lane
from tests.integration.support.lanes import Bench, Call, running
from tests.support.processes import exists, parent_of
from tests.support.waiting import until

pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(sys.platform != "linux", reason="memory is read from Linux's /proc"),
]

# A scorer of these tests has some 20 MB of its own.
LIMIT = MemoryLimit(150.0, look_every_s=0.0)
ALWAYS = MemoryLimit(0.0, look_every_s=0.0)
# A batch that runs on beyond two windows gives up what has not begun, and what has ended unsent is
# done again. If each task is to run once, none counts as long on a machine that is busy.
UNHURRIED_MS = 5_000.0


def recycler_of(bench: Bench[ProcessLane]) -> Recycler:
    """The part of the lane that is under test."""
    recycler = bench.lane._supervisor.recycler
    assert recycler is not None
    return recycler


async def begin_to_replace(bench: Bench[ProcessLane]) -> None:
    """A scorer is over the limit `ALWAYS`, and its successor is held in its factory."""
    bench.config.held.touch()
    await bench.ended(bench.submit("first echo"))
    await bench.started("held-start")


async def test_a_scorer_that_leaks_is_replaced_and_no_work_notices(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each work runs once and has its answer; none of the scorers is ever away; none is killed."""
    monkeypatch.setattr(supervisor, "_OBEY_TIMEOUT_S", 600.0)
    with capture_logs() as logs:
        async with running(
            tmp_path, num_processes=2, batch_window_ms=UNHURRIED_MS, memory_limit=LIMIT
        ) as bench:
            before = bench.pids()
            names = [f"w{at}" for at in range(60)]
            for at in range(0, 60, 6):
                calls = [bench.submit(f"{name} leak 20") for name in names[at : at + 6]]
                await bench.ended(*calls)
                assert [call.body.decode() for call in calls] == names[at : at + 6]
                assert bench.lane.load()["alive"] == 2
                await until(lambda: recycler_of(bench).successor is None)
            load = bench.lane.load()
            # 1,200 MB are leaked; what is taken away at a time is 150 MB, and what came meanwhile.
            assert 2 <= load["recycled"] <= 1200 // 100
            assert (load["restarts"], load["crashes"], load["killed"]) == (0, 0, 0)
            assert not set(before) & set(bench.pids())
            assert dict(bench.config.starts()) == dict.fromkeys(names, 1)
            await until(lambda: not any(map(exists, before)))
    told = [log for log in logs if log["event"] == "scorer_recycled"]
    assert len(told) == load["recycled"]
    assert set(before) <= {log["pid"] for log in told}
    assert all(150 <= log["memory_mb"] < 400 for log in told)
    assert not any(log["event"] == "scorer_ended" for log in logs)


async def test_a_scorer_under_the_limit_stays(tmp_path: Path) -> None:
    """One that has grown, but not beyond its limit, is the same process to the end."""
    async with running(tmp_path, num_processes=1, memory_limit=LIMIT) as bench:
        before = bench.pids()
        for _ in range(5):
            await bench.ended(bench.submit("a leak 10"))
        (memory_mb,) = map(own_memory_mb, before)
        assert memory_mb is not None
        assert 50 < memory_mb < 150
        assert bench.pids() == before
        assert bench.lane.load()["recycled"] == 0
        assert recycler_of(bench).successor is None


async def test_pages_of_files_do_not_count(tmp_path: Path) -> None:
    """A scorer that reads all of a mapped file of twice the limit is not replaced."""
    async with running(tmp_path, num_processes=1, memory_limit=LIMIT) as bench:
        before = bench.pids()
        for name in ("mapping map 300", "a echo"):
            await bench.ended(bench.submit(name))
        assert bench.pids() == before
        assert recycler_of(bench).successor is None


async def test_nothing_is_replaced_without_a_limit(tmp_path: Path) -> None:
    """A lane that was given none leaves what has grown alone."""
    async with running(tmp_path, num_processes=1) as bench:
        before = bench.pids()
        await bench.ended(bench.submit("a leak 200"), bench.submit("b echo"))
        assert bench.pids() == before
        assert bench.lane.load()["recycled"] == 0


async def test_scorers_are_replaced_one_at_a_time(tmp_path: Path) -> None:
    """All are too large: while the first successor starts, all serve and no other is started."""
    async with running(tmp_path, num_processes=3, memory_limit=ALWAYS) as bench:
        before = set(bench.pids())
        await begin_to_replace(bench)
        calls = [bench.submit(f"w{at} await-file go") for at in range(3)]
        for at in range(3):
            await bench.started(f"w{at}")
        (tmp_path / "go").touch()
        await bench.ended(*calls)
        served_by = {pid for at in range(3) for pid in bench.config.pids(f"w{at}")}
        assert served_by == before == set(bench.pids())
        assert bench.config.starts()["held-start"] == 1
        bench.config.held.unlink()
        while before & set(bench.pids()):
            await bench.ended(*[bench.submit("again sleep 0.01") for _ in range(6)])
            assert bench.lane.load()["alive"] == 3
        assert bench.lane.load()["recycled"] >= 3
        assert bench.lane.load()["restarts"] == 0


async def test_a_work_that_runs_ends_before_its_scorer_is_replaced(tmp_path: Path) -> None:
    """A successor that is ready waits; the work's answer comes from where it was begun."""
    async with running(tmp_path, num_processes=1, memory_limit=ALWAYS) as bench:
        (before,) = bench.pids()
        await begin_to_replace(bench)
        long, behind = bench.submit("long await-file go"), bench.submit("behind echo")
        await bench.started("long")
        successor = recycler_of(bench).successor
        assert successor is not None
        bench.config.held.unlink()
        await until(lambda: successor.state is SlotState.READY)
        assert bench.pids() == [before]
        assert exists(before)
        (tmp_path / "go").touch()
        await bench.ended(long, behind)
        assert long.body == b"long"
        assert bench.config.pids("long") == [before]
        assert bench.config.starts()["behind"] == 1
        assert bench.config.pids("behind") in ([before], [successor.pid])
        await until(lambda: not exists(before))


async def test_a_successor_that_cannot_start_leaves_the_scorer_in_its_place(tmp_path: Path) -> None:
    """The one that has grown serves on, until a later try goes well."""
    async with running(tmp_path, num_processes=1, memory_limit=ALWAYS) as bench:
        before = bench.pids()
        bench.config.broken.touch()
        while bench.config.starts()["broken-start"] < 2:
            call = bench.submit("a echo")
            await bench.ended(call)
            assert call.body == b"a"
        assert bench.pids() == before
        load = bench.lane.load()
        assert (load["recycled"], load["restarts"], load["alive"]) == (0, 0, 1)
        bench.config.broken.unlink()
        while bench.pids() == before:
            await bench.ended(bench.submit("b echo"))
        assert bench.lane.load()["restarts"] == 0


async def test_a_scorer_that_dies_before_its_successor_is_ready_is_restarted(
    tmp_path: Path,
) -> None:
    """Its work is tried once more, and the successor, which is no longer needed, ends."""
    async with running(tmp_path, num_processes=1, memory_limit=ALWAYS) as bench:
        await begin_to_replace(bench)
        call = bench.submit("a crash-first")
        await until(lambda: bench.lane.load()["restarts"] == 1)
        assert recycler_of(bench).successor is None
        bench.config.held.unlink()
        await bench.ended(call)
        assert call.body == b"a"
        assert bench.lane.load()["crashes"] == 1
        (successor, *_) = bench.config.pids("held-start")
        await until(lambda: not exists(successor))


async def test_a_forkserver_that_dies_takes_the_successor_with_it(tmp_path: Path) -> None:
    """All are started again, and the lane replaces scorers as before."""
    async with running(tmp_path, num_processes=2, memory_limit=ALWAYS) as bench:
        await begin_to_replace(bench)
        (successor,) = bench.config.pids("held-start")
        os.kill(parent_of(bench.pids()[0]), signal.SIGKILL)
        await until(lambda: not exists(successor))
        bench.config.held.unlink()
        await bench.whole()
        before = bench.pids()
        while set(before) <= set(bench.pids()):
            await bench.ended(bench.submit("a echo"))


async def test_closing_ends_a_successor_that_starts(tmp_path: Path) -> None:
    """Nothing is left of a replacement that was under way."""
    async with running(tmp_path, num_processes=1, memory_limit=ALWAYS) as bench:
        await begin_to_replace(bench)
        config = bench.config
    (successor,) = config.pids("held-start")
    assert not exists(successor)


async def test_a_scorer_that_does_not_go_is_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that is stopped (SIGSTOP) does not read that it is to end."""
    monkeypatch.setattr(supervisor, "_OBEY_TIMEOUT_S", 0.05)
    async with running(tmp_path, num_processes=1, memory_limit=ALWAYS) as bench:
        (before,) = bench.pids()
        await begin_to_replace(bench)
        os.kill(before, signal.SIGSTOP)
        bench.config.held.unlink()
        await until(lambda: bench.lane.load()["recycled"] == 1)
        await until(lambda: not exists(before))
        call = bench.submit("a echo")
        await bench.ended(call)
        assert call.body == b"a"


async def test_works_under_load_end_once_while_scorers_come_and_go(tmp_path: Path) -> None:
    """Full frames over scorers of which one is always being replaced: each answer once, its own."""
    async with running(
        tmp_path, num_processes=2, batch_window_ms=UNHURRIED_MS, memory_limit=ALWAYS
    ) as bench:
        calls: list[Call] = []
        while bench.lane.load()["recycled"] < 10:
            calls += [bench.submit(f"w{len(calls) + at} echo") for at in range(50)]
            await until(partial(bool, calls[-25].dones))  # so that some always wait
        await bench.ended(*calls)
        assert [call.body.decode() for call in calls] == [f"w{at}" for at in range(len(calls))]
        assert set(bench.config.starts().values()) == {1}
        load = bench.lane.load()
        assert (load["restarts"], load["crashes"], load["killed"]) == (0, 0, 0)


@pytest.mark.parametrize(("max_mb", "limit"), [(0, None), (700, MemoryLimit(700.0))])
async def test_the_setting_is_the_scorers_limit(
    tmp_path: Path, max_mb: int, limit: MemoryLimit | None
) -> None:
    """The scorers have it, by default none; the indexer, which runs no user's function, never."""
    settings = Settings(data=tmp_path, worker=WorkerSettings(scorer_max_memory_mb=max_mb))
    gate = QuarantineGate(Quarantine(2, 300.0), lambda _: 0, "w")
    scorers = scorer_lane(settings, (), gate)
    assert isinstance(scorers, ProcessLane)
    recycler = scorers._supervisor.recycler
    assert (None if recycler is None else recycler._limit) == limit
    assert indexer_lane(settings)._supervisor.recycler is None


async def test_a_limit_that_cannot_be_kept_is_said_at_the_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the memory of a process cannot be read, there is a warning and no replacement."""
    monkeypatch.setattr(
        "hedgerow.shard_worker.executors.process_pool.recycler.own_memory_mb", lambda _pid: None
    )
    with capture_logs() as logs:
        async with running(tmp_path, num_processes=1, memory_limit=ALWAYS) as bench:
            await bench.ended(bench.submit("a leak 10"))
            await asyncio.sleep(0)
            assert recycler_of(bench).successor is None
    assert [log["event"] for log in logs] == ["scorer_memory_unknown"]
