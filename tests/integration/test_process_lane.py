"""The process lane over real processes: what a task gets back, and how many there is room for."""

import asyncio
import contextlib
import os
import signal
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from hedgerow.common.errors import (
    ExpiredEnd,
    ExpiredError,
    LaneUnavailableError,
)
from hedgerow.common.state.quarantine import Quarantine
from hedgerow.shard_worker.executors.process_pool.pool import ProcessLane, Task, TaskResult
from hedgerow.shard_worker.executors.process_pool.quarantine_gate import QuarantineGate
from tests.integration.support.lanes import SOON_S, Bench, Call, make_lane, running
from tests.integration.support.misbehaving import Config
from tests.support.waiting import until

pytestmark = pytest.mark.integration


@contextlib.asynccontextmanager
async def _echoing(num_processes: int = 2, how: str = "echo") -> AsyncIterator[ProcessLane]:
    lane = make_lane(f"tests.integration.support.misbehaving:{how}", num_processes=num_processes)
    await lane.start()
    try:
        yield lane
    finally:
        await lane.close(1.0)


async def test_the_lane_says_whether_its_works_will_end_soon() -> None:
    """It says so once it has tasks and knows that they are cheap, and not before."""
    async with _echoing(num_processes=1) as lane:
        assert not lane.ends_soon()
        first = asyncio.ensure_future(lane.run(Task(b"first", time.monotonic() + 30)))
        await asyncio.sleep(0)
        assert not lane.ends_soon()
        await first
        assert lane._dispatcher is not None
        lane._dispatcher.workload.service.estimate_us = 1.0  # a busy machine would measure more
        lane.cork()
        lane.submit(Task(b"cheap", time.monotonic() + 30), lambda _: None)
        assert not lane.ends_soon()
        lane.uncork()
        assert lane.ends_soon()


async def test_who_answers_several_works_at_once_hears_when_they_have_ended() -> None:
    """After results, and after a refusal, what `call_after_ends` was given is called at once."""
    seen: list[str] = []
    async with _echoing(num_processes=1) as lane:
        lane.call_after_ends(lambda: seen.append("after"))
        lane.submit(Task(b"a", time.monotonic() + 30), lambda _: seen.append("answered"))
        await until(lambda: "after" in seen[-1:])
        assert seen == ["answered", "after"]
        seen.clear()
        lane.submit(Task(b"late", time.monotonic() - 1), lambda _: seen.append("refused"))
        await until(lambda: "after" in seen)
    assert seen[:2] == ["refused", "after"]
    seen.clear()
    lane.submit(Task(b"closed", time.monotonic() + 30), lambda _: seen.append("closed"))
    await until(lambda: "after" in seen)
    assert seen == ["closed", "after"]


async def test_a_bug_in_what_follows_on_ends_costs_no_scorer(tmp_path: Path) -> None:
    """It reaches the loop's exception handler, works end, and the same scorer serves on."""
    async with running(tmp_path, num_processes=1) as bench:
        seen: list[str] = []
        asyncio.get_running_loop().set_exception_handler(
            lambda _, context: seen.append(repr(context["exception"]))
        )

        def broken() -> None:
            raise KeyError("bug")

        pids = bench.pids()
        bench.lane.call_after_ends(broken)
        for name in ("a", "b"):
            call = bench.submit(f"{name} echo")
            await bench.ended(call)
            assert call.body == name.encode()
        assert set(seen) == {"KeyError('bug')"}
        assert bench.pids() == pids


class _Unasked:
    """An identity that must not be asked for."""

    @property
    def fingerprint(self) -> bytes | None:
        """Not to be computed."""
        raise AssertionError("asked for its fingerprint")

    @property
    def label(self) -> str:
        """Not to be put together."""
        raise AssertionError("asked for its label")


async def test_nobody_asks_who_a_work_is_that_does_no_harm(tmp_path: Path) -> None:
    """While no task is suspect, tasks run and end without a fingerprint or a label."""
    gate = QuarantineGate(Quarantine(2, 60.0))
    async with running(tmp_path, gate=gate) as bench:
        work = Task(b"a echo", time.monotonic() + 30, _Unasked())
        assert (await bench.lane.run(work)).body == b"a"


async def test_a_payload_of_megabytes_crosses_whole() -> None:
    """What does not fit into a socket's buffer arrives unchanged, both ways."""
    payload = os.urandom(12_000_000)
    async with _echoing(num_processes=1) as lane:
        done = await lane.run(Task(payload, time.monotonic() + 30))
    assert done.body == payload


async def test_a_payload_may_be_a_tuple() -> None:
    """What is put together for the handler crosses in one piece, without being packed before."""
    async with _echoing(num_processes=1, how="show") as lane:
        done = await lane.run(Task((3, -7, b"\xff", ("a", None)), time.monotonic() + 30))
    assert done.body == repr((3, -7, b"\xff", ("a", None))).encode()


async def test_times_say_how_long_a_work_waited_and_ran(tmp_path: Path) -> None:
    """Behind a task of 60 ms on the only scorer, the next one waited that long, and ran briefly."""
    async with running(tmp_path, num_processes=1) as bench:
        first, second = bench.submit("a sleep 0.06"), bench.submit("b echo")
        await bench.ended(first, second)
        assert first.dones[0].work_us >= 60_000
        assert second.dones[0].lane_us >= 60_000
        assert second.dones[0].work_us < 60_000


async def test_each_work_of_a_frame_has_its_own_cpu_time(tmp_path: Path) -> None:
    """The time for which a task computed, in any thread, without waits and other tasks."""
    async with running(tmp_path, num_processes=1, batch_window_ms=1000.0) as bench:
        calls = [
            bench.submit(command)
            for command in ("a burn 0.1", "b sleep 0.1", "c burn-elsewhere 0.2", "d echo")
        ]
        await bench.ended(*calls)
        a, b, c, d = (call.dones[0] for call in calls)
        assert 100_000 <= a.cpu_us < 150_000
        assert b.work_us >= 100_000
        assert b.cpu_us < 50_000
        assert 200_000 <= c.cpu_us < 250_000
        assert d.cpu_us < 50_000


async def test_a_work_that_was_killed_has_the_cpu_time_that_it_used(tmp_path: Path) -> None:
    """The time is what the process had counted at its death, without earlier tasks."""
    async with running(tmp_path, num_processes=1) as bench:
        await bench.ended(bench.submit("before burn 0.3"))
        spinner = bench.submit("spinner spin-counting", timeout_s=SOON_S)
        await bench.ended(spinner)
        (done,) = spinner.dones
        assert isinstance(done.error, ExpiredError)
        assert done.error.end is ExpiredEnd.KILLED
        counted_us = float((tmp_path / "cpu").read_text()) * 1e6
        assert done.cpu_us == pytest.approx(counted_us, abs=30_000)
        assert done.work_us >= 200_000


async def test_a_work_that_was_killed_asleep_has_used_no_cpu_time(tmp_path: Path) -> None:
    """It kept its scorer from others all the same, which is the other time."""
    async with running(tmp_path, num_processes=1) as bench:
        sleeper = bench.submit("sleeper sleep 60", timeout_s=SOON_S)
        await bench.ended(sleeper)
        (done,) = sleeper.dones
        assert done.cpu_us < 50_000
        assert 200_000 <= done.work_us < 50_000_000


async def test_cheap_work_makes_room_for_many() -> None:
    """Once tasks are measured as cheap, far more than one for each scorer are asked for."""
    async with _echoing() as lane:
        for _ in range(200):
            await lane.run(Task(b"x", time.monotonic() + 30))
        assert lane.room() > 2 * lane.load()["capacity"]
    assert lane.room() == 0


async def test_a_task_for_each_scorer_waits_for_one_that_gets_no_cpu_time(tmp_path: Path) -> None:
    """A scorer that is free, but does not run yet, is not passed over for a quicker one."""
    async with running(tmp_path, num_processes=3) as bench:
        await bench.ended(*(bench.submit("before echo") for _ in range(9)))  # tasks are cheap
        slow, *quick = bench.ready_pids()
        os.kill(slow, signal.SIGSTOP)
        try:
            task = Task(b"each echo", time.monotonic() + 300)
            running_all = asyncio.ensure_future(bench.lane.run_in_each(task))
            await until(lambda: bench.config.starts()["each"] == len(quick))
            # A task that may be moved comes after the watchdog has looked at the one before.
            (slot,) = (one for one in bench.lane._supervisor.slots if one.pid == slow)
            await until(lambda: slot.is_long)
            await bench.ended(bench.submit("after echo"))
            assert bench.config.starts()["each"] == len(quick)
        finally:
            os.kill(slow, signal.SIGCONT)
        assert [done.body for done in await running_all] == [b"each"] * 3
        assert sorted(bench.config.pids("each")) == sorted([slow, *quick])


async def test_a_task_for_each_scorer_runs_as_often_if_some_are_busy(tmp_path: Path) -> None:
    """What a busy scorer does not take, another one does."""
    async with running(tmp_path, num_processes=2) as bench:
        busy = bench.submit("busy await-file go")
        await bench.started("busy")
        done = await bench.lane.run_in_each(Task(b"each echo", time.monotonic() + 30))
        assert [one.body for one in done] == [b"each"] * 2
        (tmp_path / "go").touch()
        await bench.ended(busy)


async def test_who_stops_waiting_for_each_scorer_stops_all(tmp_path: Path) -> None:
    """The tasks of a caller that has left are cancelled."""
    async with running(tmp_path, num_processes=2) as bench:
        task = Task(b"each obey", time.monotonic() + 30)
        running_all = asyncio.ensure_future(bench.lane.run_in_each(task))
        await bench.started("each", times=2)
        running_all.cancel()
        await bench.whole()


async def test_what_waits_without_room_is_refused_beyond_a_bound(tmp_path: Path) -> None:
    """A caller that never asks for room gets an error, instead of filling the memory."""
    async with running(tmp_path, num_processes=1, max_batch=1) as bench:
        calls = [bench.submit("w obey", timeout_s=1.5) for _ in range(5000)]
        assert bench.lane.load()["waiting"] < 5000
        await bench.ended(*calls)
        assert {type(call.error) for call in calls} == {ExpiredError, LaneUnavailableError}


def test_helpers_see_a_second_ending() -> None:
    """The tests' own check for exactly-once fails when a task ends twice."""
    done = TaskResult(b"", 0, 0, 0, None)
    call = Call(dones=[done, done])
    bench = Bench(make_lane("x:y"), Config("."))
    with pytest.raises(AssertionError):
        asyncio.run(bench.ended(call))
