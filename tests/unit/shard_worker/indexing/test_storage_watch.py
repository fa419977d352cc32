"""What a worker notices of its disk and of calls that fail."""

import asyncio
import errno
import os
from pathlib import Path
from typing import Any

import pytest

from hedgerow.common.machine import disk_reader as disk_look
from hedgerow.common.machine.disk import MB, DiskReading
from hedgerow.common.settings.storage import StorageSettings
from hedgerow.shard_worker.indexing import storage_watch
from hedgerow.shard_worker.indexing.storage_watch import StorageWatch
from tests.support.virtual_time import run_virtually


class Machine:
    """A disk and a table of open files, in the state that the test sets."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
        self.free_mb = 500
        self.probe: OSError | None = None
        self.lack: OSError | None = None
        self.owed = 0
        self.num_changes = 0
        self.now = 0.0
        monkeypatch.setattr(disk_look, "read_disk", self._read)
        monkeypatch.setattr(disk_look, "probe_disk", self._write)
        monkeypatch.setattr(storage_watch, "probe_descriptors", lambda: self.lack)
        monkeypatch.setattr(storage_watch, "time", self)
        self.watch = StorageWatch(
            folder,
            StorageSettings(),
            now_ms=lambda: 7,
            on_change=self._count,
            owed_bytes=lambda: self.owed,
        )

    def monotonic(self) -> float:
        """The time that the watch sees."""
        return self.now

    def states(self) -> dict[str, str]:
        """Resource → state, as the heartbeat says it."""
        return {one["resource"]: one["state"] for one in self.watch.to_json()}

    def _count(self) -> None:
        self.num_changes += 1

    def _read(self, _folder: Path) -> DiskReading:
        return DiskReading(1000 * MB, self.free_mb * MB)

    def _write(self, _folder: Path) -> None:
        if self.probe is not None:
            raise self.probe


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Machine:
    """One that has enough of everything."""
    return Machine(monkeypatch, tmp_path)


async def test_a_change_is_told_at_once_and_once(machine: Machine) -> None:
    """Gateways hear of a disk that runs low, and of its end, by a heartbeat out of turn."""
    await machine.watch.look()
    assert (machine.states(), machine.num_changes, machine.watch.has_disk()) == ({}, 0, True)
    machine.free_mb = 49
    await machine.watch.look()
    await machine.watch.look()
    assert (machine.states(), machine.num_changes) == ({"disk": "low"}, 1)
    assert not machine.watch.has_disk()
    machine.free_mb = 75
    await machine.watch.look()
    assert (machine.states(), machine.num_changes) == ({}, 2)


async def test_what_is_accepted_and_not_applied_makes_a_disk_low(machine: Machine) -> None:
    """Room for it is kept free, so that it can be applied."""
    machine.owed = 451 * MB
    await machine.watch.look()
    assert machine.states() == {"disk": "low"}


async def test_a_disk_that_says_it_is_well_and_takes_nothing_is_found_out(
    machine: Machine,
) -> None:
    """After an error a file system may be read-only without showing it in its figures."""
    machine.probe = OSError(errno.EROFS, os.strerror(errno.EROFS))
    await machine.watch.look()
    assert machine.states() == {"disk": "read_only"}
    machine.probe, machine.now = None, 10.0
    await machine.watch.look()
    assert machine.states() == {}


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        ("OperationalError: database or disk is full", {"disk": "full"}),
        ("OSError: [Errno 24] Too many open files", {"descriptors": "low"}),
        ("MemoryError", {"memory": "low"}),
        ("ValueError: no such field", {}),
    ],
)
def test_a_failure_is_put_down_to_what_it_names(
    machine: Machine, error: str, expected: dict[str, str]
) -> None:
    """The indexer's errors come as text; a shortage in them is reported, nothing else is."""
    assert machine.watch.note(error) is bool(expected)
    assert machine.states() == expected
    assert machine.num_changes == len(expected)


async def test_on_a_short_disk_every_failure_is_put_down_to_it(machine: Machine) -> None:
    """Tantivy does not say that it died of a full disk."""
    machine.free_mb = 1
    await machine.watch.look()
    assert machine.watch.note("ValueError: An index writer was killed..")


async def test_descriptors_are_missed_before_a_call_fails(machine: Machine) -> None:
    """The watch itself notices that no file can be opened, and that this has ended."""
    machine.lack = OSError(errno.EMFILE, os.strerror(errno.EMFILE))
    await machine.watch.look()
    assert machine.states() == {"descriptors": "low"}
    machine.lack, machine.now = None, 10.0
    await machine.watch.look()
    assert machine.states() == {}


async def test_a_disk_that_does_not_answer_changes_nothing(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A folder that cannot be looked at leaves the last state as it was."""
    machine.free_mb = 1
    await machine.watch.look()

    def fail(_folder: Path) -> Any:
        raise OSError(errno.EIO, "no answer")

    monkeypatch.setattr(disk_look, "read_disk", fail)
    await machine.watch.look()
    assert machine.states() == {"disk": "full"}


@pytest.mark.parametrize("poll_s", [0.5, 4.0])
def test_the_disk_is_looked_at_as_often_as_is_set(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, poll_s: float
) -> None:
    """Each `storage.poll_s`."""
    looks: list[float] = []

    async def look(_watch: StorageWatch) -> None:
        looks.append(asyncio.get_running_loop().time())

    async def watch() -> None:
        settings = StorageSettings(poll_s=poll_s)
        watch = StorageWatch(tmp_path, settings, now_ms=lambda: 0, on_change=lambda: None)
        running = asyncio.create_task(watch.run())
        await asyncio.sleep(20.0)
        running.cancel()
        await asyncio.wait([running])

    monkeypatch.setattr(StorageWatch, "look", look)
    run_virtually(watch())
    assert len(looks) == pytest.approx(20.0 / poll_s, abs=1)
