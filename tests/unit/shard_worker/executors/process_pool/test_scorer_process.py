"""The loop of a scorer process over a socket pair, with both of its clocks set by hand."""

import os
import socket
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import msgpack
import pytest

from hedgerow.common.errors import ConfigurationError, WorkError
from hedgerow.shard_worker.executors.process_pool import scorer_process
from hedgerow.shard_worker.executors.process_pool.budget import (
    Budget,
    Region,
    SharedBudgets,
    open_shared_file,
)
from hedgerow.shard_worker.executors.process_pool.scorer_process import run_batch, serve
from hedgerow.shard_worker.executors.process_pool.task import FailureCode, Frame

MAX_BATCH = 64
FIRST_GENERATION = 5


@dataclass
class Clocks:
    """Time, and the CPU time of this process, as the scorer reads them; how often it asked."""

    now_s: float = 100.0
    cpu_s: float = 7.0
    num_readings: int = 0

    def monotonic(self) -> float:
        """Stands for `time.monotonic`."""
        return self.now_s

    def process_time(self) -> float:
        """Stands for `time.process_time`."""
        self.num_readings += 1
        return self.cpu_s

    def compute(self, took_us: int, _budget: Budget) -> bytes:
        """A handler that computes for as long as its payload says."""
        self.now_s += took_us / 1e6
        self.cpu_s += took_us / 1e6
        return b""


@pytest.fixture
def clocks(monkeypatch: pytest.MonkeyPatch) -> Clocks:
    """The clocks of the scorer."""
    clocks = Clocks()
    monkeypatch.setattr(scorer_process, "time", clocks)
    return clocks


@pytest.fixture
def region() -> Iterator[Region]:
    """The scorer's shared memory, in which every task has time."""
    fd = open_shared_file(SharedBudgets.size(1, MAX_BATCH))
    budgets = SharedBudgets(fd, 1, MAX_BATCH)
    os.close(fd)
    (region,) = budgets.regions
    for index in range(MAX_BATCH):
        region.generations[index] = FIRST_GENERATION + index
        region.expiries[index] = 1000.0
    yield region
    budgets.close()


def cpu_us(clocks: Clocks, region: Region, *works_us: int) -> list[int]:
    """The CPU times that a scorer reports of a batch of tasks that compute for these times."""
    worker, scorer = socket.socketpair()
    with worker, scorer:
        worker.sendall(msgpack.packb([FIRST_GENERATION, works_us]))
        worker.shutdown(socket.SHUT_WR)
        serve(scorer, region, clocks.compute)
        scorer.shutdown(socket.SHUT_WR)
        unpacker = msgpack.Unpacker()
        while data := worker.recv(65_536):
            unpacker.feed(data)
    return [result[4] for _, _, _, results in unpacker for result in results]


def test_short_works_share_a_reading_of_the_cpu_time(clocks: Clocks, region: Region) -> None:
    """Of 40 tasks of 3 µs every seventh is read; together they are charged what was used."""
    times = cpu_us(clocks, region, *[3] * 40)
    assert len(times) == 40
    assert sum(times) == pytest.approx(120, abs=clocks.num_readings)  # each is cut to whole µs
    assert clocks.num_readings == 1 + 6


def test_a_long_work_has_a_reading_of_its_own(clocks: Clocks, region: Region) -> None:
    """Only a short task right before it is counted with it; the last has its own, however short."""
    times = cpu_us(clocks, region, 500, 3, 400, 300, 4)
    assert times == pytest.approx([500, 0, 403, 300, 4], abs=1)


@pytest.mark.usefixtures("clocks")
def test_only_what_may_be_a_bug_is_shown_with_a_traceback(
    region: Region, capsys: pytest.CaptureFixture[str]
) -> None:
    """An error that tells the operator what to change, as of a folder in use, needs none."""

    def fail(error: Exception, _budget: Budget) -> bytes:
        raise error

    frames: list[Frame] = []
    errors = [ConfigurationError("another worker has it"), KeyError("bug")]
    run_batch(region, fail, FIRST_GENERATION, errors, frames.append)
    ((_, _, _, rows),) = frames
    assert [row[1] for row in rows] == [FailureCode.FAILED] * 2
    assert "another worker has it" in rows[0][5]
    shown = capsys.readouterr().err
    assert ("KeyError" in shown, "another worker has it" in shown) == (True, False)


def test_a_result_that_is_made_late_sees_the_tasks_that_ran_before(
    clocks: Clocks, region: Region
) -> None:
    """It is made just before it is sent, in its own task's name, and at its own task's cost."""
    began: list[str] = []
    seen: list[tuple[str, list[str], int]] = []

    def begin(name: str, _budget: Budget) -> Callable[[], bytes]:
        began.append(name)

        def make() -> bytes:
            seen.append((name, list(began), region.current[0]))
            clocks.now_s += 30e-6
            clocks.cpu_s += 30e-6
            if name == "b":
                raise WorkError("cannot be made")
            return name.encode()

        return make

    frames: list[Frame] = []
    run_batch(region, begin, FIRST_GENERATION, "abc", frames.append)
    assert seen == [
        (name, ["a", "b", "c"], FIRST_GENERATION + place) for place, name in enumerate("abc")
    ]
    ((is_last, num_run, elapsed_us, rows),) = frames
    assert (is_last, num_run) == (True, 3)
    assert [(row[0], row[1], row[5]) for row in rows] == [
        (0, FailureCode.NONE, b"a"),
        (1, FailureCode.FAILED, "cannot be made"),
        (2, FailureCode.NONE, b"c"),
    ]
    assert elapsed_us == pytest.approx(90)
    assert [row[3] for row in rows] == pytest.approx([30, 30, 30], abs=1)
    assert sum(row[4] for row in rows) == pytest.approx(90, abs=2)


def test_results_that_are_sent_early_do_not_wait_for_the_tasks_behind_them(
    clocks: Clocks, region: Region
) -> None:
    """A batch that runs long sends what it has, and makes no result twice."""
    made: list[int] = []

    def begin(number: int, _budget: Budget) -> Callable[[], bytes]:
        clocks.now_s += 0.6e-3

        def make() -> bytes:
            made.append(number)
            return b"%d" % number

        return make

    frames: list[Frame] = []
    run_batch(
        region,
        begin,
        FIRST_GENERATION,
        [0, 1, 2],
        lambda frame: frames.append((*frame[:3], list(frame[3]))),
    )
    assert made == [0, 1, 2]
    assert [[row[5] for row in frame[3]] for frame in frames] == [[b"0", b"1"], [b"2"]]


@pytest.mark.usefixtures("clocks")
def test_a_task_counts_as_running_until_its_result_is_sent(region: Region) -> None:
    """A worker that looks just then does not mistake it for a task that waits behind others."""
    seen: list[int] = []

    def send(_frame: Frame) -> None:
        seen.append(region.current[0])

    run_batch(region, lambda body, _budget: body, FIRST_GENERATION, [b"a", b"b"], send)
    assert seen == [FIRST_GENERATION + 1]


def test_a_task_whose_result_was_sent_early_does_not_count_as_running(
    clocks: Clocks, region: Region
) -> None:
    """Also if no task begins after it, since the worker has taken back those behind it."""
    results: list[int] = []

    def take_back_the_next(body: bytes, _budget: Budget) -> bytes:
        clocks.now_s += 1.0
        region.generations[1] = 0
        return body

    def send(frame: Frame) -> None:
        results.append(len(frame[3]))
        running.append(region.current[0])

    running: list[int] = []
    run_batch(region, take_back_the_next, FIRST_GENERATION, [b"a", b"b"], send)
    assert results == [1, 0]
    assert running == [FIRST_GENERATION, 0]


def test_a_scorer_that_is_never_idle_is_called_all_the_same(region: Region, clocks: Clocks) -> None:
    """Every 30 s, although the next task is always there already."""
    ran: list[bytes] = []
    calls: list[int] = []
    worker, scorer = socket.socketpair()
    batch = msgpack.packb([FIRST_GENERATION, [b"a"]])

    def take_10_s(payload: bytes, _budget: Budget) -> bytes:
        clocks.now_s += 10.0
        ran.append(payload)
        if len(ran) < 8:
            worker.sendall(batch)
        else:
            worker.shutdown(socket.SHUT_WR)
        return payload

    with worker, scorer:
        worker.sendall(batch)
        serve(scorer, region, take_10_s, lambda: calls.append(len(ran)), idle_s=3600.0)
    assert calls == [3, 6]


@pytest.mark.usefixtures("clocks")
def test_a_scorer_that_becomes_idle_is_called_once_after_its_tasks(region: Region) -> None:
    """Before its first task it is not; what it has received of another batch by then is kept."""
    calls = threading.Semaphore(0)
    worker, scorer = socket.socketpair()
    arguments = (scorer, region, lambda payload, _budget: payload, calls.release, 0.0)
    thread = threading.Thread(target=serve, args=arguments)
    unpacker = msgpack.Unpacker()

    def answer() -> bytes:
        unpacker.feed(worker.recv(65_536))
        ((_, _, _, [[*_, body]]),) = unpacker
        return bytes(body)

    with worker, scorer:
        thread.start()
        batch = msgpack.packb([FIRST_GENERATION, [b"a"]])
        worker.sendall(batch)
        assert answer() == b"a"
        assert calls.acquire(timeout=10.0)
        worker.sendall(batch[:5])
        assert calls.acquire(timeout=10.0)
        worker.sendall(batch[5:])
        assert answer() == b"a"
        assert calls.acquire(timeout=10.0)
        worker.shutdown(socket.SHUT_WR)
        thread.join(10.0)
    assert not calls.acquire(timeout=0.0)
