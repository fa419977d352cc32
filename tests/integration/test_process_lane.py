"""The process lane over real processes: what work gets back, in what order, and how it closes."""

import asyncio
import contextlib
import math
import os
import signal
import subprocess
import sys
import time
from ast import literal_eval
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from common.config import Settings, WorkerSettings
from common.errors import (
    ConfigurationError,
    ExpiredError,
    LaneUnavailableError,
    NotStartedError,
    RankingError,
    WorkError,
)
from common.quarantine import Quarantine
from shard_worker.lanes.process_lane import Done, ProcessLane, Work
from shard_worker.lanes.suspects import Suspects
from shard_worker.wiring import indexer_lane, scorer_lane
from tests.integration.lanes import (
    Bench,
    Call,
    count_fds,
    eventually,
    is_running,
    parent_of,
    running,
)
from tests.integration.misbehaving import Config

pytestmark = pytest.mark.integration


def _lane(factory: str, config: object = None, num_processes: int = 2) -> ProcessLane:
    return ProcessLane(
        factory=factory,
        config=config,
        num_processes=num_processes,
        max_batch=64,
        batch_window_ms=4.0,
        kill_grace_ms=100.0,
        suspects=None,
        name="scorers",
    )


@contextlib.asynccontextmanager
async def _echoing(num_processes: int = 2, how: str = "echo") -> AsyncIterator[ProcessLane]:
    lane = _lane(f"tests.integration.misbehaving:{how}", num_processes=num_processes)
    await lane.start()
    try:
        yield lane
    finally:
        await lane.close(1.0)


async def test_the_lane_says_whether_its_works_will_end_soon() -> None:
    """Not while it has none, nor before it knows that they are cheap; once it does, it says so."""
    async with _echoing(num_processes=1) as lane:
        assert not lane.ends_soon()
        first = asyncio.ensure_future(lane.run(Work(b"first", time.monotonic() + 30)))
        await asyncio.sleep(0)
        assert not lane.ends_soon()
        await first
        assert lane._dispatcher is not None
        lane._dispatcher.service.estimate_us = 1.0  # a busy machine would measure more
        lane.cork()
        lane.submit(Work(b"cheap", time.monotonic() + 30), lambda _: None)
        assert not lane.ends_soon()
        lane.uncork()
        assert lane.ends_soon()


async def test_every_work_gets_its_own_answer_once() -> None:
    """Thousands of works in flight over four scorers: each ends once, with what it asked for."""
    answers: dict[int, list[Done]] = {number: [] for number in range(3000)}
    async with _echoing(num_processes=4) as lane:
        for number, dones in answers.items():
            payload = b"%d" % number + bytes(number % 700)
            lane.submit(Work(payload, time.monotonic() + 30), dones.append)
        await eventually(lambda: all(answers.values()))
    for number, dones in answers.items():
        assert [done.error for done in dones] == [None]
        assert dones[0].body == b"%d" % number + bytes(number % 700)


async def test_what_is_submitted_under_a_cork_leaves_together_when_it_is_drawn() -> None:
    """Nothing leaves before `uncork`; then all does at once, in one frame where it is cheap."""
    async with _echoing(num_processes=2) as lane:
        assert lane._dispatcher is not None
        lane._dispatcher.service.estimate_us = 1.0  # a busy machine would measure more
        dones: list[Done] = []
        lane.cork()
        for number in range(5):
            lane.submit(Work(b"%d" % number, time.monotonic() + 30), dones.append)
        await asyncio.sleep(0)
        assert lane.load()["waiting"] == 5
        lane.uncork()
        assert (lane.load()["waiting"], lane.load()["in_flight"]) == (0, 5)
        assert lane.load()["busy"] == 1
        await eventually(lambda: len(dones) == 5)


async def test_who_answers_several_works_at_once_hears_when_they_have_ended() -> None:
    """After results, and after a refusal, what `call_after_ends` was given is called at once."""
    seen: list[str] = []
    async with _echoing(num_processes=1) as lane:
        lane.call_after_ends(lambda: seen.append("after"))
        lane.submit(Work(b"a", time.monotonic() + 30), lambda _: seen.append("answered"))
        await eventually(lambda: "after" in seen[-1:])
        assert seen == ["answered", "after"]
        seen.clear()
        lane.submit(Work(b"late", time.monotonic() - 1), lambda _: seen.append("refused"))
        await eventually(lambda: "after" in seen)
    assert seen[:2] == ["refused", "after"]
    seen.clear()
    lane.submit(Work(b"closed", time.monotonic() + 30), lambda _: seen.append("closed"))
    await eventually(lambda: "after" in seen)
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
    """An identity that nobody may ask for."""

    @property
    def fingerprint(self) -> bytes | None:
        """Not to be computed."""
        raise AssertionError("asked for its fingerprint")

    @property
    def label(self) -> str:
        """Not to be put together."""
        raise AssertionError("asked for its label")


async def test_nobody_asks_who_a_work_is_that_does_no_harm(tmp_path: Path) -> None:
    """While nothing is suspect, a work runs and ends without its fingerprint or label made."""
    suspects = Suspects(Quarantine(2, 60.0))
    async with running(tmp_path, suspects=suspects) as bench:
        work = Work(b"a echo", time.monotonic() + 30, _Unasked())
        assert (await bench.lane.run(work)).body == b"a"


async def test_a_payload_of_megabytes_crosses_whole() -> None:
    """What does not fit into a socket's buffer arrives unchanged, both ways."""
    payload = os.urandom(12_000_000)
    async with _echoing(num_processes=1) as lane:
        done = await lane.run(Work(payload, time.monotonic() + 30))
    assert done.body == payload


async def test_a_payload_may_be_a_tuple() -> None:
    """What is put together for the handler crosses in one piece, without being packed before."""
    async with _echoing(num_processes=1, how="show") as lane:
        done = await lane.run(Work((3, -7, b"\xff", ("a", None)), time.monotonic() + 30))
    assert done.body == repr((3, -7, b"\xff", ("a", None))).encode()


async def test_what_the_handler_raises_is_the_works_error(tmp_path: Path) -> None:
    """A RankingError keeps its type and text; any other exception is named; the scorer lives on."""
    async with running(tmp_path, num_processes=1) as bench:
        pids = bench.pids()
        ranking, value, text, good = (
            bench.submit(f"w{at} {command}")
            for at, command in enumerate(["ranking-error", "value-error", "no-bytes", "echo"])
        )
        await bench.ended(ranking, value, text, good)
        assert type(ranking.error) is RankingError
        assert str(ranking.error) == "boost: division by zero"
        assert type(value.error) is WorkError
        assert str(value.error) == "ValueError: bad shard"
        assert type(text.error) is WorkError
        assert good.body == b"w3"
        assert bench.pids() == pids


async def test_an_error_that_utf8_cannot_say_is_told_escaped(tmp_path: Path) -> None:
    """Half of a surrogate pair in an error's text ends its work alone; the scorer lives on."""
    async with running(tmp_path, num_processes=1) as bench:
        pids = bench.pids()
        calls = [bench.submit(f"w unspeakable {kind}") for kind in ("ranking", "other")]
        await bench.ended(*calls)
        assert [str(call.error) for call in calls] == [
            "no file \\udcff",
            "ValueError: no file \\udcff",
        ]
        assert bench.pids() == pids


async def test_a_callback_that_raises_harms_nobody_else(tmp_path: Path) -> None:
    """A bug in one on_done reaches the loop's exception handler, and the others are answered."""
    async with running(tmp_path, num_processes=1) as bench:
        seen: list[str] = []
        asyncio.get_running_loop().set_exception_handler(
            lambda _, context: seen.append(repr(context["exception"]))
        )

        def broken(_done: Done) -> None:
            raise KeyError("bug")

        bench.lane.submit(Work(b"a echo", time.monotonic() + 30), broken)
        good = bench.submit("b echo")
        await bench.ended(good)
        assert good.body == b"b"
        assert seen == ["KeyError('bug')"]


async def test_callbacks_may_cancel_and_submit(tmp_path: Path) -> None:
    """Whatever an on_done does to works of the same frame, each ends once."""
    async with running(tmp_path, num_processes=1) as bench:
        late = Work(b"late echo", time.monotonic() - 1)
        others: list[Call] = []
        more: list[Call] = []

        def on_done(_done: Done) -> None:
            more.append(bench.submit("more echo"))
            for other in others:
                assert other.ticket is not None
                bench.lane.cancel(other.ticket)

        bench.lane.submit(late, on_done)
        others += [bench.submit(f"w{at} echo") for at in range(5)]
        bench.lane.submit(Work(b"b echo", time.monotonic() + 30), on_done)
        await eventually(lambda: len(more) == 2)
        await bench.ended(*others, *more)
        assert {type(other.error) for other in others} <= {type(None), ExpiredError}
        assert [one.body for one in more] == [b"more", b"more"]


async def test_times_say_how_long_a_work_waited_and_ran(tmp_path: Path) -> None:
    """Behind a work of 60 ms on the only scorer, the next one waited so long, and ran shortly."""
    async with running(tmp_path, num_processes=1) as bench:
        first, second = bench.submit("a sleep 0.06"), bench.submit("b echo")
        await bench.ended(first, second)
        assert first.dones[0].work_us >= 60_000
        assert second.dones[0].lane_us >= 60_000
        assert second.dones[0].work_us < 60_000


async def test_each_work_of_a_frame_has_its_own_cpu_time(tmp_path: Path) -> None:
    """What a work computed, in whatever thread, and not what it waited or what others computed."""
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
    """As the process itself counted it until its death, without what it had computed before."""
    async with running(tmp_path, num_processes=1) as bench:
        await bench.ended(bench.submit("before burn 0.3"))
        spinner = bench.submit("spinner spin-counting", timeout_s=0.2)
        await bench.ended(spinner)
        (done,) = spinner.dones
        assert isinstance(done.error, ExpiredError)
        assert done.error.end == "killed"
        counted_us = float((tmp_path / "cpu").read_text()) * 1e6
        assert done.cpu_us == pytest.approx(counted_us, abs=30_000)
        assert done.work_us >= 200_000


async def test_a_work_that_was_killed_asleep_has_used_no_cpu_time(tmp_path: Path) -> None:
    """It kept its scorer from others all the same, which is the other time."""
    async with running(tmp_path, num_processes=1) as bench:
        sleeper = bench.submit("sleeper sleep 30", timeout_s=0.2)
        await bench.ended(sleeper)
        (done,) = sleeper.dones
        assert done.cpu_us < 50_000
        assert 200_000 <= done.work_us < 20_000_000


async def test_the_budget_tells_what_is_left(tmp_path: Path) -> None:
    """The handler sees the work's own deadline, or none, in its process."""
    async with running(tmp_path, num_processes=1) as bench:
        limited = bench.submit("a remaining", timeout_s=5.0)
        endless = await bench.lane.run(Work(b"b remaining", math.inf))
        await bench.ended(limited)
        assert 4.0 < float(limited.body) <= 5.0
        assert float(endless.body) == math.inf


async def test_a_budget_kept_beyond_its_work_is_expired(tmp_path: Path) -> None:
    """A handler that holds on to a budget does not read the next work's time from it."""
    async with running(tmp_path, num_processes=1) as bench:
        await bench.lane.run(Work(b"a remaining", time.monotonic() + 60))
        done = await bench.lane.run(Work(b"b ask-first-budget", time.monotonic() + 60))
        assert literal_eval(done.body.decode()) == (True, 0.0, False)


async def test_expired_work_reaches_no_scorer(tmp_path: Path) -> None:
    """Neither what is late when submitted nor what expires while it waits is ever started."""
    async with running(tmp_path, num_processes=1) as bench:
        late = bench.submit("late echo", timeout_s=-0.001)
        busy = bench.submit("busy sleep 0.3")
        await bench.started("busy")
        waiting = bench.submit("waiting echo", timeout_s=0.05)
        await bench.ended(late, waiting)
        assert waiting.ended_at < busy.ended_at
        await bench.ended(busy)
        assert type(late.error) is type(waiting.error) is ExpiredError
        assert set(bench.config.starts()) == {"busy"}


async def test_cancelling_what_waits_drops_it(tmp_path: Path) -> None:
    """A work cancelled before its turn ends at once and is never started."""
    async with running(tmp_path, num_processes=1) as bench:
        busy = bench.submit("busy sleep 0.2")
        await bench.started("busy")
        waiting = bench.submit("waiting echo")
        assert waiting.ticket is not None
        bench.lane.cancel(waiting.ticket)
        bench.lane.cancel(waiting.ticket)
        assert waiting.dones == []
        await bench.ended(waiting)
        assert not busy.dones
        await bench.ended(busy)
        assert type(waiting.error) is ExpiredError
        assert set(bench.config.starts()) == {"busy"}


@pytest.mark.parametrize("nice", [3, 0])
async def test_scorers_are_nicer_than_their_worker(tmp_path: Path, nice: int) -> None:
    """On a busy core the worker's event loop goes before what it has handed out, if so set."""
    settings = Settings(data=tmp_path, worker=WorkerSettings(process_nice=nice, scorers=1))
    suspects = Suspects(Quarantine(2, 300.0), lambda _: 0, "w")
    for lane in (scorer_lane(settings, (0,), (), suspects), indexer_lane(settings, (0,))):
        await lane.start()
        try:
            (pid,) = lane.load()["pids"]
            expected = min(19, os.getpriority(os.PRIO_PROCESS, 0) + nice)
            assert os.getpriority(os.PRIO_PROCESS, pid) == expected
            if hasattr(os, "SCHED_BATCH"):
                mine = os.sched_getscheduler(0)
                assert os.sched_getscheduler(pid) == (os.SCHED_BATCH if nice else mine)
        finally:
            await lane.close(0.0)


async def test_what_waits_behind_a_scorer_that_stands_still_may_leave(tmp_path: Path) -> None:
    """With its only scorer held up, a lane ends at once what may start elsewhere, and that alone.

    What is in the same frame, what waits, and what comes while it lasts.
    """
    async with running(tmp_path, num_processes=1, batch_window_ms=20.0) as bench:
        warm = [bench.submit(f"warm-{number} echo") for number in range(64)]
        await bench.ended(*warm)  # else the frame would hold the first alone
        busy = bench.submit("busy sleep 1.0", is_movable=True)
        behind = bench.submit("behind echo", is_movable=True)
        stays = bench.submit("stays echo")
        await bench.started("busy")
        assert bench.lane._crew.slots[0].num_open == 3
        waiting = bench.submit("waiting echo", is_movable=True)
        await bench.ended(behind, waiting)
        late = bench.submit("late echo", is_movable=True)
        assert bench.lane.load()["waiting"] == 0
        await bench.ended(late)
        assert not busy.dones
        assert not stays.dones
        errors = [type(call.error) for call in (behind, waiting, late)]
        assert errors == [NotStartedError] * 3
        await bench.ended(busy, stays)
        assert busy.error is stays.error is None
        again = bench.submit("again echo", is_movable=True)
        await bench.ended(again)
        assert again.error is None
        assert not {"behind", "waiting", "late"} & set(bench.config.starts())


async def test_nothing_leaves_while_another_scorer_could_start_it(tmp_path: Path) -> None:
    """Behind one of two scorers that stands still, what may start elsewhere goes to the other."""
    async with running(tmp_path) as bench:
        warm = [bench.submit(f"warm-{number} echo") for number in range(64)]
        await bench.ended(*warm)
        calls = [bench.submit("busy sleep 0.5", is_movable=True)]
        calls += [bench.submit(f"a{number} echo", is_movable=True) for number in range(40)]
        await bench.ended(*calls)
        assert [call.error for call in calls] == [None] * len(calls)


@pytest.mark.parametrize("command", ["obey", "ignore-tripped"])
async def test_cancelling_what_runs_trips_its_budget(tmp_path: Path, command: str) -> None:
    """A work that heeds its budget ends long before its deadline, and keeps its scorer."""
    async with running(tmp_path) as bench:
        pids = bench.pids()
        call = bench.submit(f"a {command}", timeout_s=600)
        await bench.started("a")
        assert call.ticket is not None
        bench.lane.cancel(call.ticket)
        await bench.ended(call)
        assert type(call.error) is ExpiredError
        assert bench.pids() == pids


async def test_cancelling_the_wait_cancels_the_work(tmp_path: Path) -> None:
    """A task that is cancelled in `run` leaves no work behind."""
    async with running(tmp_path, num_processes=1) as bench:
        task = asyncio.create_task(bench.lane.run(Work(b"a obey", math.inf)))
        await bench.started("a")
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await bench.whole()


async def test_room_is_what_would_start_soon(tmp_path: Path) -> None:
    """With expensive work there is room for one a scorer, none while all are busy, then again."""
    async with running(tmp_path) as bench:
        lane = bench.lane
        for _ in range(3):
            warm = [bench.submit("warm sleep 0.02") for _ in range(2)]
            await bench.ended(*warm)
        assert lane.room() == 2
        calls = [bench.submit(f"w{at} sleep 0.2") for at in range(2)]
        assert lane.room() == 0
        room = await lane.wait_for_room()
        assert room == sum(len(call.dones) for call in calls) > 0
        await bench.ended(*calls)


async def test_cheap_work_makes_room_for_many() -> None:
    """Once works are measured as cheap, far more than one a scorer is asked for."""
    async with _echoing() as lane:
        for _ in range(200):
            await lane.run(Work(b"x", time.monotonic() + 30))
        assert lane.room() > 2 * lane.load()["capacity"]
    assert lane.room() == 0


async def test_what_waits_without_room_is_refused_beyond_a_bound(tmp_path: Path) -> None:
    """A caller that never asks for room is told so, instead of filling the memory."""
    async with running(tmp_path, num_processes=1, max_batch=1) as bench:
        calls = [bench.submit("w obey", timeout_s=1.5) for _ in range(5000)]
        assert bench.lane.load()["waiting"] < 5000
        await bench.ended(*calls)
        assert {type(call.error) for call in calls} == {ExpiredError, LaneUnavailableError}


@pytest.mark.parametrize(
    ("factory", "reason"),
    [
        ("tests.integration.misbehaving:raise_at_start", "RuntimeError: no such index"),
        ("tests.integration.misbehaving:unspeakable_at_start", r"no index \\udcff"),
        ("tests.integration.misbehaving:exit_at_start", "exited with status 7"),
        ("tests.integration.misbehaving:nothing", "AttributeError"),
        ("tests.integration.absent:make", "ModuleNotFoundError"),
    ],
)
async def test_a_factory_that_fails_at_start_is_a_configuration_error(
    factory: str, reason: str
) -> None:
    """The start says why, does not try again, and leaves no process and no descriptor."""
    num_fds = count_fds()
    lane = _lane(factory)
    with pytest.raises(ConfigurationError, match=reason):
        await lane.start()
    assert count_fds() == num_fds
    assert lane.load()["restarts"] == 0


async def test_closing_waits_for_what_is_in_flight(tmp_path: Path) -> None:
    """What runs and what waits is answered, within the drain time; new work is refused."""
    async with running(tmp_path, num_processes=1) as bench:
        calls = [bench.submit(f"w{at} sleep 0.05") for at in range(4)]
        closing = asyncio.create_task(bench.lane.close(10.0))
        await asyncio.sleep(0)
        refused = bench.submit("late echo")
        with pytest.raises(LaneUnavailableError):
            await bench.lane.wait_for_room()
        await closing
        assert [call.body for call in calls] == [b"w0", b"w1", b"w2", b"w3"]
        await bench.ended(refused)
        assert type(refused.error) is LaneUnavailableError


async def test_closing_while_it_starts_ends_the_start(tmp_path: Path) -> None:
    """Nobody waits for a start that will not come, and nothing of it is left."""
    num_fds = count_fds()
    lane = _lane("tests.integration.misbehaving:make", Config(str(tmp_path)))
    starting = asyncio.create_task(lane.start())
    await asyncio.sleep(0.01)
    await lane.close(1.0)
    with pytest.raises(ConfigurationError, match="closed while it started"):
        await starting
    cancelled = asyncio.create_task(_lane("tests.integration.misbehaving:echo").start())
    await asyncio.sleep(0.01)
    cancelled.cancel()
    with pytest.raises(asyncio.CancelledError):
        await cancelled
    assert count_fds() == num_fds


async def test_closing_does_not_wait_for_work_that_hangs(tmp_path: Path) -> None:
    """After the drain time what is left is answered as unavailable and its process is killed."""
    async with running(tmp_path) as bench:
        calls = [bench.submit(f"w{at} spin", timeout_s=600) for at in range(6)]
        await bench.started("w0")
        started_at = time.monotonic()
        await bench.lane.close(0.1)
        assert time.monotonic() - started_at < 3.0
        assert {type(call.error) for call in calls} == {LaneUnavailableError}


async def test_signals_to_the_whole_group_do_not_cut_the_drain_short(tmp_path: Path) -> None:
    """Ctrl-C and SIGTERM reach scorers too, who leave the decision to their worker."""
    async with running(tmp_path, num_processes=1) as bench:
        call = bench.submit("a sleep 0.2")
        pid = await bench.started("a")
        os.kill(pid, signal.SIGINT)
        os.kill(pid, signal.SIGTERM)
        await bench.ended(call)
        assert call.body == b"a"
        assert bench.pids() == [pid]


ORPHANING = """
import asyncio, sys
from tests.integration.misbehaving import Config
from shard_worker.lanes.process_lane import ProcessLane, Work

async def main():
    lane = ProcessLane(
        factory="tests.integration.misbehaving:make", config=Config(sys.argv[1]), num_processes=3,
        max_batch=1, batch_window_ms=4.0, kill_grace_ms=1000.0, suspects=None, name="orphans",
    )
    await lane.start()
    lane.submit(Work(b"spinning spin"), print)
    lane.submit(Work(b"sleeping sleep 600"), print)
    print(*lane.load()["pids"], flush=True)
    await asyncio.sleep(600)

asyncio.run(main())
"""


async def test_a_worker_that_is_killed_leaves_no_scorer(tmp_path: Path) -> None:
    """After SIGKILL of the worker its scorers end, idle or hung, and so does their launcher."""
    process = subprocess.Popen(  # noqa: ASYNC220 - starting it blocks for a millisecond
        [sys.executable, "-c", ORPHANING, str(tmp_path)],
        stdout=subprocess.PIPE,
        cwd=Path(__file__).parents[2],
    )
    assert process.stdout is not None
    with process.stdout:
        pids = [int(pid) for pid in process.stdout.readline().split()]
        config = Config(str(tmp_path))
        await eventually(lambda: set(config.starts()) == {"spinning", "sleeping"})
        launcher = parent_of(pids[0])
        assert len(pids) == 3
        process.kill()
        process.wait()
        await eventually(lambda: not any(is_running(pid) for pid in [*pids, launcher]))


def test_helpers_see_a_second_ending() -> None:
    """The tests' own check for exactly-once fails when a work ends twice."""
    done = Done(b"", 0, 0, 0, None)
    call = Call(dones=[done, done])
    bench = Bench(_lane("x:y"), Config("."))
    with pytest.raises(AssertionError):
        asyncio.run(bench.ended(call))
