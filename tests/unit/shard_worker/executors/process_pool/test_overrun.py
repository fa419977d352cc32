"""For how long a task may run on: what counts, whatever its process has had of the cores."""

import os
import subprocess
import sys
import time
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hedgerow.shard_worker.executors.process_pool.core_use import CoreUse, core_use
from hedgerow.shard_worker.executors.process_pool.overrun import Overrun, Patience
from hedgerow.shard_worker.executors.process_pool.task import Task, TaskHandle

GRACE_S = 0.25
BEGAN = CoreUse(cpu_s=10.0, waited_s=3.0, wants_core=True)

# What happens to a process in each step of 10 ms: it runs, waits for a core, or sleeps.
steps = st.lists(st.sampled_from(["runs", "waits", "sleeps"]), min_size=1, max_size=80)


def _task(expires_at: float = 100.0) -> TaskHandle:
    return TaskHandle(Task(b""), lambda _: None, 0.0, expires_at)


@dataclass
class _Process:
    """A process, as the system reports it."""

    pid: int = 7
    overrun: Overrun | None = None


@given(steps)
def test_only_time_in_which_it_could_run_counts(done: list[str]) -> None:
    """What counts is the time that a model adds up, except for what is known only later.

    That is a wait of which the system does not know yet that it has ended, and, of a process that
    wants a core, that it slept before.
    """
    times = {kind: done.count(kind) * 0.01 for kind in ("runs", "waits", "sleeps")}
    last = done[-1]
    waiting = next((at for at, kind in enumerate(reversed(done)) if kind != "waits"), len(done))
    use = CoreUse(
        BEGAN.cpu_s + times["runs"],
        BEGAN.waited_s + times["waits"] - waiting * 0.01,
        wants_core=last != "sleeps",
    )
    ran_s = Overrun(_task(), 50.0, BEGAN).ran_s(50.0 + len(done) * 0.01, use)
    could_run_s = times["runs"] + times["sleeps"]
    assert ran_s <= could_run_s + 1e-9
    assert ran_s == pytest.approx(could_run_s if last == "sleeps" else times["runs"])


def test_threads_that_compute_side_by_side_do_not_count_twice() -> None:
    """A task of four threads has run on for as long as one of a single thread."""
    use = CoreUse(BEGAN.cpu_s + 0.4, BEGAN.waited_s, wants_core=True)
    assert Overrun(_task(), 50.0, BEGAN).ran_s(50.1, use) == pytest.approx(0.1)


@pytest.mark.parametrize("known", ["before", "after", "never"])
def test_all_time_counts_where_the_system_reports_nothing(known: str) -> None:
    """So a process is killed in time, as it is where no such waits can be told apart."""
    use = CoreUse(BEGAN.cpu_s, BEGAN.waited_s, wants_core=True)
    began = Overrun(_task(), 50.0, BEGAN if known == "before" else None)
    assert began.ran_s(50.3, use if known == "after" else None) == pytest.approx(0.3)


def test_a_task_is_looked_at_at_its_deadline_and_killed_after_the_grace() -> None:
    """One that computes all the time is killed when the grace is over, and not before."""
    now = 90.0
    patience, process, task = (
        Patience(GRACE_S, lambda _pid: CoreUse(now, 0.0, wants_core=True)),
        _Process(),
        _task(expires_at=100.0),
    )
    looks = []
    while (left_s := patience.left_s(process, task, now)) > 1e-9:
        now += left_s
        looks.append(now)
    assert looks == pytest.approx([100.0 + patience.look_after_s, 100.0 + GRACE_S])


def test_a_task_that_gets_half_a_core_is_killed_after_twice_the_grace() -> None:
    """However long it takes, a task that ignores its budget is killed in the end."""
    now = 100.0
    patience, process, task = (
        Patience(GRACE_S, lambda _pid: CoreUse(now / 2, now / 2, wants_core=True)),
        _Process(),
        _task(expires_at=100.0),
    )
    while (left_s := patience.left_s(process, task, now)) > 1e-9:
        now += left_s
    assert now == pytest.approx(100.0 + 2 * GRACE_S, abs=2 * patience.look_after_s)


def test_the_next_task_has_its_own_grace() -> None:
    """What the task before has run on does not count against it."""
    now = 100.2
    patience, process = (
        Patience(GRACE_S, lambda _pid: CoreUse(now, 0.0, wants_core=True)),
        _Process(),
    )
    patience.left_s(process, _task(expires_at=100.0), now)
    now = 100.4
    left_s = patience.left_s(process, _task(expires_at=100.3), now)
    assert left_s == pytest.approx(GRACE_S - patience.look_after_s)


def test_a_short_grace_is_kept() -> None:
    """One that is shorter than the time to the first look ends with that look."""
    patience = Patience(0.001, lambda _pid: None)
    left_s = patience.left_s(_Process(), _task(expires_at=100.0), 100.0)
    assert left_s == pytest.approx(0.001)
    assert patience.left_s(_Process(), _task(expires_at=100.0), 100.001) <= 0.0


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere, nothing is reported")
def test_the_system_says_what_a_process_has_had_of_the_cores() -> None:
    """A process that computes wants a core and uses CPU time; one that sleeps does neither."""
    code = "import sys\nwhile True:\n {}"
    sleeps = [sys.executable, "-c", "import sys\nsys.stdin.read()"]
    spins = [sys.executable, "-c", code.format("pass")]
    with (
        subprocess.Popen(sleeps, stdin=subprocess.PIPE) as asleep,
        subprocess.Popen(spins) as busy,
    ):
        try:
            end = time.monotonic() + 30.0
            while (of_busy := core_use(busy.pid)) is None or of_busy.cpu_s < 0.05:
                assert time.monotonic() < end
            while (of_asleep := core_use(asleep.pid)) is None or of_asleep.wants_core:
                assert time.monotonic() < end
            assert of_busy.wants_core
            later = core_use(busy.pid)
            assert later is not None
            assert later.cpu_s >= of_busy.cpu_s
            assert later.waited_s >= of_busy.waited_s >= 0.0
        finally:
            busy.kill()
            asleep.kill()
    assert core_use(busy.pid) is None
    assert core_use(0) is None
    own = core_use(os.getpid())
    assert own is not None
    assert own.wants_core
