"""Log lines on a full disk, and for readers who do not read."""

import os
import pty
import termios
from collections.abc import Iterator
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


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    """A pipe's ends, to read and to write."""
    ends = os.pipe()
    yield ends
    for end in ends:
        os.close(end)


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


def test_a_pipe_that_is_not_read_stops_nothing(pipe: tuple[int, int]) -> None:
    """What a full pipe has no room for is dropped at once; once it is read, lines come again."""
    reader, writer = pipe
    stream = SteadyStream(writer, note)
    line = "x" * 99 + "\n"
    for _ in range(10_000):  # a million bytes, while a pipe takes 64 KiB
        stream.write(line)
    assert stream.num_lost > 1000
    first = os.read(reader, 1_000_000)
    stream.write("again\n")
    told = f"lost {10_000 - first.count(line.encode())}"
    assert os.read(reader, 1_000_000).decode().splitlines() == ["", told, "again"]


def test_a_terminal_at_ctrl_s_stops_nothing() -> None:
    """While a terminal shows nothing more, lines are dropped and counted."""
    master, slave = pty.openpty()
    try:
        stream = SteadyStream(slave, note)
        assert stream.isatty()
        stream.write("shown\n")
        assert os.read(master, 100) == b"shown\r\n"
        termios.tcflow(slave, termios.TCOOFF)
        stream.write("hidden\n")
        assert stream.num_lost == 1
        termios.tcflow(slave, termios.TCOON)
        stream.write("again\n")
        assert os.read(master, 100).decode().split() == ["lost", "1", "again"]
    finally:
        os.close(master)
        os.close(slave)


def test_an_encoding_that_lacks_a_character_shows_its_number(tmp_path: Path) -> None:
    """Where the locale has no such character, it is escaped, and the line is written."""
    with (tmp_path / "log").open("wb") as file:
        SteadyStream(file.fileno(), note, "ascii").write("draining …\n")
    assert (tmp_path / "log").read_bytes() == b"draining \\u2026\n"
