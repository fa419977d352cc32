"""Forkservers that a worker forks before it has threads and an event loop."""

import asyncio
import os
import signal
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest

from hedgerow.common.errors import ConfigurationError
from hedgerow.shard_worker.executors.process_pool.forkserver_forks import can_fork_further
from hedgerow.shard_worker.executors.process_pool.forkserver_start import Start, WaitingForkservers
from hedgerow.shard_worker.executors.process_pool.pool import ProcessLane
from tests.integration.support.lanes import MAKE, Bench, make_lane
from tests.integration.support.misbehaving import Config
from tests.support.processes import children_of, count_fds, exists, is_alive, parent_of
from tests.support.waiting import until

pytestmark = pytest.mark.integration

needs_pidfds = pytest.mark.skipif(not can_fork_further(), reason="the system has no pidfds")


def _run(
    folder: Path,
    start: Start,
    test: Callable[[Bench[ProcessLane]], Awaitable[None]],
    *,
    num_lanes: int = 1,
) -> None:
    """Run a test with lanes over the misbehaving handler, in a loop that begins now."""
    config = Config(str(folder))

    async def run() -> None:
        lanes = [
            make_lane("tests.integration.support.misbehaving:make", config, start_forkserver=start)
            for _ in range(num_lanes)
        ]
        try:
            for lane in lanes:
                await lane.start()
            for lane in lanes:
                await test(Bench(lane, config))
        finally:
            for lane in lanes:
                await lane.close(0.0)

    asyncio.run(asyncio.wait_for(run(), 120.0))


@asynccontextmanager
async def _lane(folder: Path, start: Start) -> AsyncIterator[Bench[ProcessLane]]:
    """A lane over the misbehaving handler that has answered."""
    config = Config(str(folder))
    bench = Bench(make_lane(MAKE, config, start_forkserver=start), config)
    try:
        await bench.lane.start()
        await _answers(bench)
        yield bench
    finally:
        await bench.lane.close(0.0)


async def _answers(bench: Bench[ProcessLane]) -> None:
    """Wait until one more task has come to its end, as it should."""
    call = bench.submit("a echo")
    await bench.ended(call)
    assert call.body == b"a"


def _forked() -> set[int]:
    return set(children_of(os.getpid()))


def test_each_lane_takes_one(tmp_path: Path) -> None:
    """Two lanes take the two waiting forkservers, and work; at the end no process is left."""
    before = _forked()
    with WaitingForkservers.forked(2) as forkservers:
        waiting = _forked() - before
        assert len(waiting) == 2
        used = set()

        async def test(bench: Bench[ProcessLane]) -> None:
            used.add(parent_of(bench.pids()[0]))
            call = bench.submit("a echo")
            await bench.ended(call)
            assert call.body == b"a"

        _run(tmp_path, forkservers, test, num_lanes=2)
        assert used == waiting
    assert not any(map(exists, waiting))


def test_one_that_is_lost_is_replaced_by_an_interpreter(tmp_path: Path) -> None:
    """A lane whose forkserver is killed works on with another, which was not forked early."""
    before = _forked()
    with WaitingForkservers.forked(1) as forkservers:
        (waiting,) = _forked() - before

        async def test(bench: Bench[ProcessLane]) -> None:
            first = set(bench.pids())
            os.kill(waiting, signal.SIGKILL)
            call = bench.submit("a echo")
            await bench.ended(call)
            assert call.body == b"a"
            await until(lambda: not first & set(bench.pids()))  # that may have answered it
            await bench.whole()
            assert "run_forkserver" in _command_line(parent_of(bench.pids()[0]))

        _run(tmp_path, forkservers, test)


def test_one_that_died_before_its_turn_is_replaced(tmp_path: Path) -> None:
    """A lane that is given a forkserver that has ended starts another."""
    before = _forked()
    with WaitingForkservers.forked(1) as forkservers:
        (waiting,) = _forked() - before
        os.kill(waiting, signal.SIGKILL)

        async def test(bench: Bench[ProcessLane]) -> None:
            raise AssertionError(bench)

        with pytest.raises(Exception, match="the forkserver of the scorer processes died"):
            _run(tmp_path, forkservers, test)


def test_those_that_no_lane_takes_end_with_the_block() -> None:
    """They end with the block, and nothing is left of them."""
    before = _forked()
    with WaitingForkservers.forked(2):
        waiting = _forked() - before
    assert len(waiting) == 2
    assert not any(map(exists, waiting))


@needs_pidfds
def test_a_later_lane_gets_a_fork_of_the_first(tmp_path: Path) -> None:
    """It works, also when the first one's own lane has ended; at the end nothing is left of it."""
    num_fds, before = count_fds(), _forked()
    with WaitingForkservers.forked(1) as forkservers:
        (first,) = _forked() - before
        pids = set[int]()

        async def run() -> None:
            async with AsyncExitStack() as later:
                async with _lane(tmp_path, forkservers) as own:
                    assert parent_of(own.pids()[0]) == first
                    others = [await later.enter_async_context(_lane(tmp_path, forkservers))]
                others.append(await later.enter_async_context(_lane(tmp_path, forkservers)))
                for bench in others:
                    await _answers(bench)
                    pids.update(bench.pids(), {parent_of(bench.pids()[0])})
                assert set(children_of(first)) == {parent_of(bench.pids()[0]) for bench in others}
            await until(lambda: not children_of(first), what="they are reaped")

        asyncio.run(asyncio.wait_for(run(), 120.0))
        assert is_alive(first)
    assert not any(map(exists, {first, *pids}))
    assert count_fds() == num_fds


@needs_pidfds
def test_forks_outlive_the_first_and_can_be_killed(tmp_path: Path) -> None:
    """When the first is killed, a lane works on with its fork; a fork that hangs is killed, too."""
    with WaitingForkservers.forked(1) as forkservers:

        async def run() -> None:
            async with _lane(tmp_path, forkservers) as own:
                first = parent_of(own.pids()[0])
                async with _lane(tmp_path, forkservers) as bench:
                    fork = parent_of(bench.pids()[0])
                    own_scorers = set(own.pids())
                    os.kill(first, signal.SIGKILL)
                    await until(lambda: not own_scorers & set(own.pids()))
                    await _answers(bench)
                    assert parent_of(bench.pids()[0]) == fork
                    async with _lane(tmp_path, forkservers) as last:
                        assert "run_forkserver" in _command_line(parent_of(last.pids()[0]))
                    os.kill(fork, signal.SIGSTOP)
                await until(lambda: not is_alive(fork))

        asyncio.run(asyncio.wait_for(run(), 120.0))


@needs_pidfds
def test_a_first_that_does_not_obey_is_killed(tmp_path: Path) -> None:
    """A lane that ends before its forkserver was forked, since the first one hangs, does end."""
    with WaitingForkservers.forked(1) as forkservers:

        async def run() -> None:
            async with _lane(tmp_path, forkservers) as own:
                first = parent_of(own.pids()[0])
                os.kill(first, signal.SIGSTOP)
                lane = make_lane(MAKE, Config(str(tmp_path)), start_forkserver=forkservers)
                starting = asyncio.ensure_future(lane.start())
                await asyncio.sleep(0)  # it has begun
                await lane.close(0.0)
                with pytest.raises(ConfigurationError, match="closed while it started"):
                    await starting
                await until(lambda: not is_alive(first))

        asyncio.run(asyncio.wait_for(run(), 120.0))


@needs_pidfds
def test_a_first_that_hangs_is_killed_at_the_end(tmp_path: Path) -> None:
    """When it has no lane any more, the end of the block does not wait for it for ever."""
    before = _forked()
    with WaitingForkservers.forked(1) as forkservers:
        (first,) = _forked() - before

        async def run() -> None:
            async with _lane(tmp_path, forkservers):
                pass

        asyncio.run(asyncio.wait_for(run(), 120.0))
        os.kill(first, signal.SIGSTOP)
    assert not exists(first)


async def test_one_holds_nothing_of_the_worker_s() -> None:
    """What the worker has open at the fork, its lock for one, is closed in the forkserver."""
    before = _forked()
    ours, theirs = socket.socketpair()
    with WaitingForkservers.forked(1):
        (waiting,) = _forked() - before
        theirs.close()
        # The standard ones, its socket, and that by which it is asked for further forkservers.
        most = 5 if can_fork_further() else 4
        await until(lambda: _num_descriptors(waiting) == most)
        assert ours.recv(1) == b"", "closed everywhere"
    ours.close()


def _command_line(pid: int) -> str:
    return Path(f"/proc/{pid}/cmdline").read_text()


def _num_descriptors(pid: int) -> int:
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))
