"""The CPU time and memory of a worker's processes, against what they say of themselves."""

import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from hedgerow.shard_worker.serving import process_usage
from hedgerow.shard_worker.serving.process_usage import ProcessUsage

BUSY = """
import sys, time
while time.process_time() < 0.2: pass
print(time.process_time(), flush=True)
sys.stdin.read()
"""


@pytest.fixture
def busy() -> Iterator[subprocess.Popen[str]]:
    """A process that computes for 0.2 s, and says so."""
    process = subprocess.Popen(
        [sys.executable, "-c", BUSY], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    yield process
    process.communicate("")


@pytest.mark.skipif(sys.platform != "linux", reason="the system does not tell")
def test_it_is_what_a_process_has_used(busy: subprocess.Popen[str]) -> None:
    """CPU time as the process itself measures it, memory of megabytes, and that of this process."""
    assert busy.stdout is not None
    own_s = float(busy.stdout.readline())
    found = ProcessUsage({"scorers": lambda: {"pids": [busy.pid, 0]}}).read()
    assert found["scorers"]["cpu_s"] == pytest.approx(own_s, abs=0.1)
    assert 1 < found["scorers"]["memory_mb"] < 100
    assert found["worker"]["cpu_s"] > 0
    assert found["worker"]["memory_mb"] > 10


def test_the_sum_never_falls(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that ends keeps its share, a new one adds its own, also with an old one's pid."""
    used: dict[int, float | None] = {1: 5.0, 2: 1.0}
    load: dict[str, Any] = {"pids": [1, 2]}
    monkeypatch.setattr(process_usage, "process_cpu_s", used.get)
    monkeypatch.setattr(process_usage, "own_memory_mb", lambda _pid: 7.0)
    usage = ProcessUsage({"scorers": lambda: load})

    def cpu_s() -> float:
        return usage.read()["scorers"]["cpu_s"]

    assert cpu_s() == 6.0
    used[1] = 6.5
    assert cpu_s() == 7.5
    load["pids"], used[3] = [2, 3], 0.5  # 1 has ended
    assert cpu_s() == 8.0
    used[2] = 0.25  # another process has the pid of 2
    assert cpu_s() == 8.25
    load["pids"] = [0]
    assert cpu_s() == 8.25
    load["pids"], used[1] = [1], 9.0  # the pid of the first, which used 6.5, long after its end
    assert cpu_s() == 17.25


def test_what_the_system_does_not_tell_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """On macOS, nothing is known of other processes: no number is better than 0."""
    monkeypatch.setattr(process_usage, "process_cpu_s", lambda _pid: None)
    monkeypatch.setattr(process_usage, "own_memory_mb", lambda _pid: None)
    found = ProcessUsage({"scorers": lambda: {"pids": [5]}}).read()
    assert found["scorers"] == {}
    assert list(found["worker"]) == ["cpu_s"]


def test_the_memory_of_an_idle_process_is_not_read_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is when the process has used 1 ms, has ended, or was replaced by one with its pid."""
    used: dict[int, float | None] = {1: 5.0, 2: 1.0}
    memory = {1: 10.0, 2: 20.0}
    monkeypatch.setattr(process_usage, "process_cpu_s", used.get)
    monkeypatch.setattr(process_usage, "own_memory_mb", lambda pid: memory.get(pid, 1.0))
    pids = [1, 2]
    usage = ProcessUsage({"scorers": lambda: {"pids": pids}})

    def memory_mb() -> float:
        return usage.read()["scorers"]["memory_mb"]

    assert memory_mb() == 30.0
    memory.update({1: 11.0, 2: 22.0})
    assert memory_mb() == 30.0
    used[1] = 5.0005
    assert memory_mb() == 30.0
    used[1] = 5.0015  # since it was read, not since the last look
    assert memory_mb() == 31.0
    used[2] = 0.5
    assert memory_mb() == 33.0
    pids.remove(2)
    assert memory_mb() == 11.0
