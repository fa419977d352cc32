"""What the system gives the CPU last does not make the rest of its process wait."""

import os
import sys
import threading
from collections.abc import Iterator

import pytest

from hedgerow.shard_worker.indexing.background_thread import NICER_BY, BackgroundThread


def nice() -> int:
    """The nice value of this thread."""
    return os.getpriority(os.PRIO_PROCESS, threading.get_native_id())


@pytest.fixture(params=[0, NICER_BY, 99])
def nicer_by(request: pytest.FixtureRequest) -> int:
    """By how much a thread is to be nicer."""
    number: int = request.param
    return number


@pytest.fixture
def background(nicer_by: int) -> Iterator[BackgroundThread]:
    """A thread, which ends with the test."""
    thread = BackgroundThread(nicer_by)
    yield thread
    thread.end()


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have one value for a process")
def test_the_thread_and_those_that_it_starts_are_nicer(
    background: BackgroundThread, nicer_by: int
) -> None:
    """The thread that waits for it keeps the nice value of the process."""
    before, found = nice(), list[int]()

    def start_another() -> None:
        other = threading.Thread(target=lambda: found.append(nice()))
        other.start()
        other.join()

    wanted = min(before + nicer_by, 19)
    assert background.run(nice) == wanted
    background.run(start_another)
    assert found == [wanted]
    assert nice() == before


def test_all_calls_are_made_in_one_thread_that_passes_on_what_they_raise() -> None:
    """An object that belongs to a thread can be used in all of them."""
    background = BackgroundThread()
    threads = {background.run(threading.get_ident) for _ in range(3)}
    assert len(threads) == 1
    assert threads != {threading.get_ident()}
    with pytest.raises(ZeroDivisionError):
        background.run(lambda: 1 // 0)
    assert {background.run(threading.get_ident)} == threads
    background.end()
