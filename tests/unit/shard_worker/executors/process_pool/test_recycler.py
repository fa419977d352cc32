"""When a scorer is too large, and what counts as its memory."""

import math
import mmap
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hedgerow.shard_worker.executors.process_pool import recycler
from hedgerow.shard_worker.executors.process_pool.batching import restart_delay_s
from hedgerow.shard_worker.executors.process_pool.process_memory import own_memory_mb, parse_status
from hedgerow.shard_worker.executors.process_pool.recycler import MemoryLimit, Recycler
from hedgerow.shard_worker.executors.process_pool.scorer_slot import ScorerSlot, SlotState

STATUS = b"""Name:\tpython3
Umask:\t0022
State:\tS (sleeping)
VmRSS:\t  525940 kB
RssAnon:\t  200000 kB
RssFile:\t  314236 kB
RssShmem:\t    5000 kB
VmSwap:\t   50000 kB
Threads:\t1
"""


@given(max_mb=st.floats(0, 1e6), memory_mb=st.none() | st.floats(0, 1e6))
def test_only_what_is_known_to_be_more_than_the_limit_is_too_much(
    max_mb: float, memory_mb: float | None
) -> None:
    """Exactly the limit is allowed, and so is an unknown size."""
    is_more = memory_mb is not None and memory_mb > max_mb
    assert MemoryLimit(max_mb).is_exceeded(memory_mb) is is_more


@given(ends=st.lists(st.floats(0, 100), max_size=200), every_s=st.floats(0.1, 10))
def test_a_scorer_is_looked_at_no_more_often_than_that(ends: list[float], every_s: float) -> None:
    """Of batches that end at any times, those are looked after that lie so far apart, no others."""
    limit = MemoryLimit(1.0, every_s)
    looked_at = 0.0
    for end in sorted(ends):
        is_apart = end - looked_at >= every_s
        if not math.isclose(end - looked_at, every_s):
            assert limit.is_due(looked_at, end) is is_apart
        if limit.is_due(looked_at, end):
            looked_at = end


def test_a_scorer_is_looked_at_once_a_second_unless_told_otherwise() -> None:
    """The interval that the documentation names."""
    assert not MemoryLimit(1.0).is_due(10.0, 10.999)
    assert MemoryLimit(1.0).is_due(10.0, 11.0)


def test_a_scorer_that_is_not_ready_is_never_due() -> None:
    """Until it is ready, its start counts as infinitely late."""
    assert not MemoryLimit(0.0, 0.0).is_due(math.inf, 1e9)


def test_anonymous_memory_counts_resident_or_swapped_out_and_no_files() -> None:
    """250,000 KiB are 256 MB."""
    assert parse_status(STATUS) == pytest.approx(256.0)


@pytest.mark.parametrize("line", [b"RssAnon", b"VmSwap"])
def test_a_status_that_does_not_say_is_not_guessed_at(line: bytes) -> None:
    """A zombie's has neither, and other kernels' may lack one."""
    lines = [one for one in STATUS.splitlines() if not one.startswith(line)]
    assert parse_status(b"\n".join(lines)) is None
    assert parse_status(b"") is None


@pytest.mark.skipif(sys.platform != "linux", reason="other systems do not report it")
def test_what_a_process_keeps_counts_and_what_it_maps_does_not(tmp_path: Path) -> None:
    """64 MB of bytes are 64 MB more; a file of 64 MB that was mapped and read is nothing."""
    path = tmp_path / "file"
    path.write_bytes(bytes(64_000_000))
    before = own_memory_mb(os.getpid())
    assert before is not None
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as memory:
        assert not any(memory[at] for at in range(0, 64_000_000, mmap.PAGESIZE))
        mapped = own_memory_mb(os.getpid())
        kept = os.urandom(64_000_000)
        after = own_memory_mb(os.getpid())
    assert mapped is not None
    assert after is not None
    assert mapped - before < 8
    assert after - mapped == pytest.approx(64, abs=4)
    assert len(kept) == 64_000_000


def test_a_process_that_is_gone_has_no_memory_to_tell() -> None:
    """The memory of a process that has ended, and of the 0 that stands for none, is unknown."""
    gone = subprocess.Popen(["true"])
    gone.wait()
    assert own_memory_mb(gone.pid) is None
    assert own_memory_mb(0) is None


def test_other_systems_do_not_tell(monkeypatch: pytest.MonkeyPatch) -> None:
    """On systems other than Linux, there is no limit."""
    monkeypatch.setattr(sys, "platform", "darwin")
    assert own_memory_mb(os.getpid()) is None


@dataclass
class Place:
    """The part of a slot that a recycler reads."""

    pid: int = 1
    looked_at: float = 100.0
    ready_at: float = 100.0
    batch: tuple[object, ...] = ()
    state: SlotState = SlotState.READY

    def successor(self) -> "Place":
        """The successor, if one was started."""
        return Place(2, math.inf, math.inf, (), SlotState.STARTING)


@dataclass
class Recycling:
    """A recycler of scorers that are always too large, at times that the test sets."""

    recycler: Recycler
    started: list[ScorerSlot]
    warnings: list[tuple[str, int]]
    now: float = 101.0

    def look(self) -> bool:
        """Let a batch of a scorer end that is due; whether a successor was started."""
        before = len(self.started)
        self.recycler.on_free(cast("ScorerSlot", Place()))
        return len(self.started) > before


@pytest.fixture
def recycling(monkeypatch: pytest.MonkeyPatch) -> Recycling:
    """A recycler with a limit of 100 MB, and scorers of 500."""
    started: list[ScorerSlot] = []
    made = Recycling(
        Recycler("scorers", MemoryLimit(100.0), started.append, lambda *_: None), started, []
    )

    def warning(event: str, *, memory_mb: int, **_: object) -> None:
        made.warnings.append((event, memory_mb))

    monkeypatch.setattr(recycler, "_log", SimpleNamespace(warning=warning))
    monkeypatch.setattr(recycler, "own_memory_mb", lambda _: 500.0)
    monkeypatch.setattr(recycler, "time", SimpleNamespace(monotonic=lambda: made.now))
    monkeypatch.setattr(recycler, "random", SimpleNamespace(random=lambda: 1.0))
    return made


def test_a_successor_that_cannot_start_is_tried_ever_more_seldom(recycling: Recycling) -> None:
    """The pause after each failure is that of any scorer that fails to start, to its cap."""
    for num_failures in range(1, 12):
        assert recycling.look()
        recycling.recycler.start_failed()
        pause_s = restart_delay_s(num_failures, lambda: 1.0)
        recycling.now += pause_s * 0.99
        assert not recycling.look()
        recycling.now += pause_s * 0.02
    assert pause_s == pytest.approx(10.0)


def test_a_limit_below_what_a_scorer_needs_is_warned_of_once(recycling: Recycling) -> None:
    """One that is over the limit when it is first looked at brings a warning, the next none."""
    for _ in range(3):
        assert recycling.look()
        recycling.recycler.give_up()
    assert recycling.warnings == [("scorer_outgrown_at_once", 500)]


def test_a_scorer_that_has_grown_is_no_reason_to_warn(recycling: Recycling) -> None:
    """One that was looked at before, and within its limit, has grown since."""
    recycling.now = 500.0
    recycling.recycler.on_free(cast("ScorerSlot", Place(looked_at=400.0)))
    assert len(recycling.started) == 1
    assert recycling.warnings == []
