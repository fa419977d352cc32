"""When a scorer is too large, and what counts as its memory."""

import math
import mmap
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shard_worker.lanes.process_memory import own_memory_mb, parse_status
from shard_worker.lanes.recycler import MemoryLimit

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
    """Exactly the limit is allowed, and so is what nobody can tell."""
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
    """Its time of being ready is infinite until then."""
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


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere nobody tells")
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
    """Neither one that has ended, nor the 0 that stands for none."""
    gone = subprocess.Popen(["true"])
    gone.wait()
    assert own_memory_mb(gone.pid) is None
    assert own_memory_mb(0) is None


def test_other_systems_do_not_tell(monkeypatch: pytest.MonkeyPatch) -> None:
    """Elsewhere than on Linux there is no limit."""
    monkeypatch.setattr(sys, "platform", "darwin")
    assert own_memory_mb(os.getpid()) is None
