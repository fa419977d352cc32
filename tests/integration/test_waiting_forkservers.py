"""Forkservers that a worker forks before it has threads and an event loop."""

import asyncio
import os
import signal
import socket
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from hedgerow.shard_worker.executors.process_pool.forkserver_start import Start, WaitingForkservers
from hedgerow.shard_worker.executors.process_pool.pool import ProcessLane
from tests.integration.support.lanes import Bench, make_lane
from tests.integration.support.misbehaving import Config
from tests.support.processes import children_of, exists, parent_of
from tests.support.waiting import until

pytestmark = pytest.mark.integration


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

    asyncio.run(asyncio.wait_for(run(), 40.0))


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


async def test_one_holds_nothing_of_the_worker_s() -> None:
    """What the worker has open at the fork, its lock for one, is closed in the forkserver."""
    before = _forked()
    ours, theirs = socket.socketpair()
    with WaitingForkservers.forked(1):
        (waiting,) = _forked() - before
        theirs.close()
        await until(lambda: _num_descriptors(waiting) == 4)  # the standard ones, its socket
        assert ours.recv(1) == b"", "closed everywhere"
    ours.close()


def _command_line(pid: int) -> str:
    return Path(f"/proc/{pid}/cmdline").read_text()


def _num_descriptors(pid: int) -> int:
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))
