"""Readings of a real disk."""

import asyncio
import os
from pathlib import Path

import pytest

from hedgerow.common.machine import disk_reader
from hedgerow.common.machine.disk import MB, PROBE_S, DiskReading, DiskState
from hedgerow.common.machine.disk_reader import DiskLook
from hedgerow.common.settings.storage import StorageSettings


def test_a_folder_that_is_yet_to_be_made_is_on_its_parent_s_disk(tmp_path: Path) -> None:
    """The statvfs of the nearest existing folder counts, and no folder is made."""
    look = DiskLook(tmp_path / "not" / "yet", StorageSettings())
    asyncio.run(look.look(0.0))
    found = os.statvfs(tmp_path)
    assert look.judge.reading is not None
    assert look.judge.reading.total_bytes == found.f_blocks * found.f_frsize
    assert list(tmp_path.iterdir()) == []


def test_a_disk_is_written_to_now_and_then(tmp_path: Path) -> None:
    """The folder's modification time shows that a write to the disk was tried."""
    look = DiskLook(tmp_path, StorageSettings(min_free_disk_mb=0.001))
    written = []
    for now in (0.0, PROBE_S / 2, PROBE_S):
        os.utime(tmp_path, (1, 1))
        assert asyncio.run(look.look(now)) is DiskState.OK
        written.append(tmp_path.stat().st_mtime > 1)
    assert written == [True, False, True]


@pytest.mark.parametrize(("free_mb", "num_reads"), [(500_000, [1, 1, 1, 2]), (500, [1, 2, 3, 4])])
def test_a_disk_with_ample_room_is_read_only_to_probe_it(
    free_mb: int, num_reads: list[int], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """One that may fill up before the next probe is read each time."""
    reads: list[Path] = []

    def read(folder: Path) -> DiskReading:
        reads.append(folder)
        return DiskReading(1_000_000 * MB, free_mb * MB)

    monkeypatch.setattr(disk_reader, "read_disk", read)
    look, found = DiskLook(tmp_path, StorageSettings()), []
    for now in (0.0, PROBE_S / 4, PROBE_S / 2, PROBE_S):
        assert asyncio.run(look.look(now)) is DiskState.OK
        found.append(len(reads))
    assert found == num_reads


def test_a_backlog_counts_though_the_disk_is_not_read_again(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """What a worker has yet to write may need more room than there is."""
    room = DiskReading(1_000_000 * MB, 500_000 * MB)
    monkeypatch.setattr(disk_reader, "read_disk", lambda _folder: room)
    look = DiskLook(tmp_path, StorageSettings())
    assert asyncio.run(look.look(0.0)) is DiskState.OK
    assert asyncio.run(look.look(0.1, owed_bytes=500_000 * MB)) is DiskState.LOW
