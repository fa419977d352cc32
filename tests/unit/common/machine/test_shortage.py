"""What a process reports to be short of."""

import errno
from typing import Any

import pytest
from structlog.testing import capture_logs

from hedgerow.common.machine.disk import MB, DiskJudge, DiskReading, DiskState
from hedgerow.common.machine.shortage import (
    DESCRIPTORS,
    DISK,
    HOLD_S,
    MEMORY,
    PROCESSES,
    Shortage,
    ShortageBook,
    disk_shortage,
    lacking,
)
from hedgerow.common.settings.storage import StorageSettings


def book() -> ShortageBook:
    """One whose clock counts its readings."""
    times = iter(range(1000, 2000))
    return ShortageBook(lambda: next(times))


def shortage(state: str = "low", since_ms: int = 0) -> Shortage:
    """A disk that runs out."""
    return Shortage(DISK, state, "why", since_ms)


def test_the_log_says_once_that_something_runs_out_and_once_that_it_ends() -> None:
    """The same state again is no news; another state, and the end, are."""
    known = book()
    with capture_logs() as logs:
        changes = [known.put(DISK, one) for one in (None, shortage(), shortage(), shortage("full"))]
        changes += [known.put(DISK, None), known.put(DISK, None)]
    assert changes == [False, True, False, True, True, False]
    assert [(log["event"], log.get("state")) for log in logs] == [
        ("shortage", "low"),
        ("shortage", "full"),
        ("shortage_ended", None),
    ]


def test_a_shortage_keeps_the_time_of_its_beginning() -> None:
    """`since_ms` stays while the resource runs out, and starts over afterwards."""
    known = book()
    known.put(DISK, shortage(since_ms=known.since_ms(DISK)))
    first = known.list()[0].since_ms
    known.put(DISK, shortage("full", known.since_ms(DISK)))
    assert known.list()[0].since_ms == first
    known.put(DISK, None)
    assert known.since_ms(DISK) > first


def test_a_failed_call_counts_until_none_has_failed_for_a_while() -> None:
    """A shortage that no figure shows ends by itself `HOLD_S` after the last failure."""
    known = book()
    assert known.fail(DESCRIPTORS, "no file could be opened", 10.0)
    assert not known.fail(DESCRIPTORS, "nor now", 15.0)
    assert not known.forget_old(10.0 + HOLD_S)
    assert [one.resource for one in known.list()] == [DESCRIPTORS]
    assert known.forget_old(15.0 + HOLD_S)
    assert known.list() == []


@pytest.mark.parametrize(
    ("error", "resource"),
    [
        (OSError(errno.EMFILE, "x"), DESCRIPTORS),
        ("OSError: [Errno 24] Too many open files: 'x'", DESCRIPTORS),
        (OSError(errno.ENOMEM, "x"), MEMORY),
        (MemoryError(), MEMORY),
        ("MemoryError", MEMORY),
        (BlockingIOError(errno.EAGAIN, "fork"), PROCESSES),
        (OSError(errno.ENOSPC, "x"), None),
        (ValueError("x"), None),
    ],
)
def test_an_error_tells_what_has_run_out(error: BaseException | str, resource: str) -> None:
    """Descriptors, memory and processes are distinguished, from an error or from its text."""
    assert lacking(error) == resource


def test_a_shortage_survives_the_wire() -> None:
    """What is packed into a heartbeat is read as it was."""
    told = Shortage(DISK, "full", "nothing is free", 5, 0)
    assert Shortage.from_json(told.to_json()) == told


@pytest.mark.parametrize(
    "found",
    [{}, {"resource": "luck", "state": "low"}, {"resource": "disk", "state": "worn"}],
)
def test_what_a_newer_version_says_is_passed_over(found: dict[str, Any]) -> None:
    """A resource or state that this version does not know is no shortage."""
    assert Shortage.from_json(found) is None


def test_a_disk_says_how_much_it_has_and_must_have() -> None:
    """The text names the folder, what is free, the whole, and the reserve."""
    judge = DiskJudge(StorageSettings())
    assert disk_shortage(judge, "/data", 7) is None
    judge.judge(DiskReading(60 * MB, 2 * MB), 0.0)
    told = disk_shortage(judge, "/data", 7)
    assert told is not None
    assert (told.state, told.since_ms, told.free_bytes) == ("low", 7, 2 * MB)
    assert told.detail == "the disk of /data has 2.0 MB of 60 MB free; 3.0 MB must be"


def test_a_disk_that_refuses_in_spite_of_room_says_so() -> None:
    """After a failed write the text does not claim that nothing is free."""
    judge = DiskJudge(StorageSettings())
    judge.judge(DiskReading(60 * MB, 50 * MB), 0.0)
    judge.fail(DiskState.FULL, 0.0)
    told = disk_shortage(judge, "/data", 7)
    assert told is not None
    assert "refuses writes" in told.detail
