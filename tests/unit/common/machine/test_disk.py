"""When a disk counts as low, full or read-only."""

import errno
import os
import sqlite3

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hedgerow.common.machine.disk import (
    HOLD_S,
    MB,
    DiskJudge,
    DiskReading,
    DiskState,
    disk_failure,
    reserve_bytes,
)
from hedgerow.common.settings.storage import StorageSettings

DEFAULT = StorageSettings()
TOTAL = 1000 * MB
RESERVE = 50 * MB  # 5 % of the total


def reading(free_bytes: int, *, files: int | None = None, read_only: bool = False) -> DiskReading:
    """A disk of 1 GB with this much free."""
    return DiskReading(TOTAL, free_bytes, files, read_only)


def judged(*free: int) -> DiskState:
    """The state after readings a second apart, each with this much free."""
    judge = DiskJudge(DEFAULT)
    for second, free_bytes in enumerate(free):
        judge.judge(reading(free_bytes), float(second))
    return judge.state


@pytest.mark.parametrize(
    ("total_mb", "reserve_mb"), [(60, 3), (1000, 50), (5120, 256), (100_000, 256)]
)
def test_the_reserve_is_a_share_of_a_small_disk_and_bounded_on_a_large_one(
    total_mb: int, reserve_mb: int
) -> None:
    """By default 5 % of the disk must stay free, and 256 MB at most."""
    assert reserve_bytes(DEFAULT, total_mb * MB) == reserve_mb * MB


def test_a_reserve_that_is_set_holds_on_every_disk() -> None:
    """`min_free_disk_mb` replaces the default."""
    assert reserve_bytes(StorageSettings(min_free_disk_mb=7), TOTAL) == 7 * MB


def test_a_disk_is_low_before_it_is_full() -> None:
    """Below the reserve it is low; below a quarter of that, full."""
    assert judged(RESERVE) is DiskState.OK
    assert judged(RESERVE - 1) is DiskState.LOW
    assert judged(RESERVE // 4 - 1) is DiskState.FULL


def test_a_state_ends_half_as_much_again_above_its_bound() -> None:
    """What is freed must exceed the bound by half, so that the state does not flap."""
    assert judged(RESERVE - 1, RESERVE + 1) is DiskState.LOW
    assert judged(RESERVE - 1, RESERVE * 3 // 2) is DiskState.OK
    assert judged(0, RESERVE // 4 + 1) is DiskState.FULL
    assert judged(0, RESERVE // 2) is DiskState.LOW
    assert judged(0, RESERVE * 3 // 2) is DiskState.OK


def test_what_is_owed_is_kept_free_beside_the_reserve() -> None:
    """Accepted documents that have yet to be written make a disk low, and never full."""
    judge = DiskJudge(DEFAULT)
    assert judge.judge(reading(RESERVE + 10), 0.0, owed_bytes=11) is DiskState.LOW
    assert judge.reserve_bytes == RESERVE + 11
    assert DiskJudge(DEFAULT).judge(reading(RESERVE), 0.0, owed_bytes=TOTAL) is DiskState.LOW


def test_a_disk_without_files_left_is_full() -> None:
    """A file system can run out of files before it runs out of bytes."""
    assert DiskJudge(DEFAULT).judge(reading(TOTAL, files=3), 0.0) is DiskState.FULL
    assert DiskJudge(DEFAULT).judge(reading(TOTAL, files=10_000), 0.0) is DiskState.OK


def test_a_read_only_disk_is_that_whatever_is_free() -> None:
    """Room on a read-only disk is of no use."""
    assert DiskJudge(DEFAULT).judge(reading(TOTAL, read_only=True), 0.0) is DiskState.READ_ONLY


@pytest.mark.parametrize("state", [DiskState.FULL, DiskState.READ_ONLY])
def test_a_failed_write_is_believed_for_a_while(state: DiskState) -> None:
    """A quota shows in no figure: after a failure the state stands for `HOLD_S`, and then ends."""
    judge = DiskJudge(DEFAULT)
    judge.fail(state, 10.0)
    assert judge.state is state
    assert judge.judge(reading(TOTAL), 10.0 + HOLD_S - 0.1) is state
    assert judge.judge(reading(TOTAL), 10.0 + HOLD_S) is DiskState.OK


@given(st.lists(st.integers(0, TOTAL), min_size=1, max_size=30))
def test_no_history_hides_a_lack_or_outlasts_plenty(free: list[int]) -> None:
    """Whatever came before, less than the reserve is never ok, and plenty always is."""
    state = judged(*free)
    if free[-1] < RESERVE:
        assert state is not DiskState.OK
    if free[-1] < RESERVE // 4:
        assert state is DiskState.FULL
    if free[-1] >= RESERVE * 3 // 2:
        assert state is DiskState.OK


@pytest.mark.parametrize(
    ("error", "state"),
    [
        (OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)), DiskState.FULL),
        (OSError(errno.EDQUOT, "quota"), DiskState.FULL),
        (sqlite3.OperationalError("database or disk is full"), DiskState.FULL),
        (OSError(errno.EROFS, os.strerror(errno.EROFS)), DiskState.READ_ONLY),
        (
            'OSError: x: IoError(Os { code: 30, message: "Read-only file system" })',
            DiskState.READ_ONLY,
        ),
        (OSError(errno.EACCES, os.strerror(errno.EACCES)), None),
        (ValueError("no such thing"), None),
    ],
)
def test_a_failure_is_known_by_its_number_or_its_text(
    error: BaseException | str, state: DiskState | None
) -> None:
    """The operating system, SQLite and tantivy each say in their own way that a disk is full."""
    assert disk_failure(error) is state


@pytest.mark.parametrize(
    ("free_mb", "files", "is_ample"),
    [
        (11_000, None, True),
        (11_000, 2_000_000, True),
        (11_000, 900_000, False),
        (9_000, None, False),
    ],
)
def test_room_is_ample_if_it_lasts_until_the_next_probe(
    free_mb: int, files: int | None, *, is_ample: bool
) -> None:
    """Also for writers of 5 GB/s, and of half a million files a second."""
    judge = DiskJudge(DEFAULT)
    assert not judge.has_ample_room  # as long as nothing is known
    judge.judge(DiskReading(1_000_000 * MB, free_mb * MB, files), 0.0)
    assert judge.has_ample_room is is_ample


def test_room_is_not_ample_on_a_disk_that_refuses_writes_or_owes_as_much() -> None:
    """A quota, a read-only disk, or a backlog that will need the room."""
    ample = DiskReading(1_000_000 * MB, 500_000 * MB)
    judge = DiskJudge(DEFAULT)
    judge.judge(ample, 0.0, owed_bytes=495_000 * MB)
    assert not judge.has_ample_room
    judge.judge(ample, 0.0)
    assert judge.has_ample_room
    judge.fail(DiskState.FULL, 0.0)
    assert not judge.has_ample_room
    judge.judge(ample, HOLD_S)
    assert judge.has_ample_room
    judge.judge(DiskReading(1_000_000 * MB, 500_000 * MB, is_read_only=True), HOLD_S)
    assert not judge.has_ample_room
