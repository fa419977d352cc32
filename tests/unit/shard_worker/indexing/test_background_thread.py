"""What the system gives the CPU last does not make the rest of its process wait."""

import os
import sys
import threading
from collections.abc import Iterator

import pytest

from hedgerow.shard_worker.indexing.background_thread import (
    NICER_BY,
    BackgroundThread,
    Priority,
    run_aside,
)


def nice() -> int:
    """The nice value of this thread."""
    return os.getpriority(os.PRIO_PROCESS, threading.get_native_id())


def policy() -> int:
    """How the system schedules this thread."""
    return os.sched_getscheduler(threading.get_native_id())


def in_another() -> tuple[int, int]:
    """The nice value and the policy of a thread that this one starts."""
    found = list[tuple[int, int]]()
    other = threading.Thread(target=lambda: found.append((nice(), policy())))
    other.start()
    other.join()
    return found[0]


@pytest.fixture
def background(priority: Priority) -> Iterator[BackgroundThread]:
    """A thread, which ends with the test."""
    thread = BackgroundThread(priority)
    yield thread
    thread.end()


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have one value for a process")
@pytest.mark.parametrize(
    ("priority", "nicer_by", "is_idle"),
    [
        (Priority.OF_PROCESS, 0, False),
        (Priority.NICER, NICER_BY, False),
        (Priority.IDLE, NICER_BY, True),
    ],
)
def test_the_thread_and_those_that_it_starts_give_way(
    background: BackgroundThread, nicer_by: int, is_idle: bool
) -> None:
    """The thread that waits for it keeps the priority of the process."""
    before = nice(), policy()
    wanted = min(before[0] + nicer_by, 19), os.SCHED_IDLE if is_idle else before[1]
    assert (background.run(nice), background.run(policy)) == wanted
    assert background.run(in_another) == wanted
    assert (nice(), policy()) == before


def test_all_calls_are_made_in_one_thread_that_passes_on_what_they_raise() -> None:
    """An object that belongs to a thread can be used in all of them."""
    background = BackgroundThread(Priority.NICER)
    threads = {background.run(threading.get_ident) for _ in range(3)}
    assert len(threads) == 1
    assert threads != {threading.get_ident()}
    with pytest.raises(ZeroDivisionError):
        background.run(lambda: 1 // 0)
    assert {background.run(threading.get_ident)} == threads
    background.end()


def test_a_thread_for_one_call_ends_with_it() -> None:
    """It does not live on until its process ends; what the call returns or raises is passed on."""
    thread = run_aside(Priority.NICER, threading.current_thread)
    assert thread is not threading.current_thread()
    thread.join(10.0)
    assert not thread.is_alive()
    with pytest.raises(ZeroDivisionError):
        run_aside(Priority.NICER, lambda: 1 // 0)
