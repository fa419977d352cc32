"""The log of a child whose disk is full."""

import errno
import shutil
from pathlib import Path

import pytest

from hedgerow.gateway.local.processes.child_log import MAX_BYTES, ChildLog


def refuse(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    """Have an error interrupt a copy."""

    def copy(_source: Path, target: Path) -> None:
        Path(target).write_bytes(b"the beginning")
        raise OSError(number, "cut off")

    monkeypatch.setattr(shutil, "copyfile", copy)


def full_log(folder: Path) -> ChildLog:
    """One that has reached its bound."""
    log = ChildLog(folder / "worker.log")
    log.path.write_bytes(b"x" * MAX_BYTES)
    return log


def test_a_log_is_bounded_on_a_full_disk_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What cannot be moved aside goes, with the half of a copy: the room is needed elsewhere."""
    log = full_log(tmp_path)
    refuse(monkeypatch, errno.ENOSPC)
    log.trim()
    assert log.path.stat().st_size == 0
    assert not log.path.with_suffix(".log.1").exists()


def test_another_failure_costs_no_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The log stays as it is, and the caller says why it cannot be kept."""
    log = full_log(tmp_path)
    refuse(monkeypatch, errno.EMFILE)
    with pytest.raises(OSError, match="cut off"):
        log.trim()
    assert log.path.stat().st_size == MAX_BYTES
