"""Log lines on a full disk."""

import os
from pathlib import Path

import pytest

from hedgerow.common.observability.steady_stream import SteadyStream


def note(num_lost: int) -> str:
    """The line that says how many were lost."""
    return f"lost {num_lost}"


class Disk:
    """Stands for os.write: takes `room` bytes, and is then full."""

    def __init__(self, room: int) -> None:
        self.room = room
        self.written = b""

    def write(self, _descriptor: int, data: bytes | memoryview) -> int:
        """Take what there is room for."""
        if self.room <= 0:
            raise OSError(28, "No space left on device")
        taken = bytes(data)[: self.room]
        self.room -= len(taken)
        self.written += taken
        return len(taken)


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Disk:
    """A disk with room for ten bytes."""
    one = Disk(10)
    monkeypatch.setattr(os, "write", one.write)
    return one


def test_lines_come_through_as_they_are(tmp_path: Path) -> None:
    """What is written is in the file at once, without a flush; half characters are escaped."""
    with (tmp_path / "log").open("wb") as file:
        stream = SteadyStream(file.fileno(), note)
        print("first", file=stream, flush=True)
        stream.write("half \ud800\n")
        stream.buffer.write(b"raw\n")
        stream.buffer.flush()
        assert (tmp_path / "log").read_bytes() == b"first\nhalf \\ud800\nraw\n"
        assert stream.encoding == "utf-8"


def test_a_full_disk_raises_nothing_and_is_told_when_it_ends(disk: Disk) -> None:
    """Lines that find no room are dropped and counted; the first that does says how many."""
    stream = SteadyStream(1, note)
    for line in ("12345678\n", "second\n", "third\n"):
        assert stream.write(line) == len(line)
    assert stream.num_lost == 2
    disk.room = 1000
    stream.write("fourth\n")
    stream.write("fifth\n")
    assert disk.written.decode().splitlines()[-4:] == ["s", "lost 2", "fourth", "fifth"]
    assert stream.num_lost == 0
