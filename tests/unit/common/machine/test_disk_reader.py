"""Readings of a real disk."""

import asyncio
import os
from pathlib import Path

from hedgerow.common.machine.disk import PROBE_S, DiskState
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
