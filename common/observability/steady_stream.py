"""A stream for log lines whose writes never raise and never wait.

A log line that cannot be written (the disk is full, the terminal is gone) must not end the code
that logs it: an exception in `log.info` would end a worker or a request. Nor may it stop that code:
a pipe that is not read (`gateway up | less`), or a terminal at Ctrl-S, would block the event loop.
"""

import os
import select
import stat
import threading
from collections.abc import Callable
from io import TextIOBase, UnsupportedOperation
from typing import TextIO


class SteadyStream(TextIOBase):
    """Writes lines directly to a descriptor, and drops those that cannot be written.

    There is no buffer: if a buffer could not be flushed, each later write would raise again, and so
    would the end of the interpreter. When writing works again, a line says how many were lost.
    """

    def __init__(
        self, descriptor: int, note: Callable[[int], str], encoding: str = "utf-8"
    ) -> None:
        """Write to `descriptor`.

        Args:
            descriptor: of a file, a pipe, a terminal, or something else to which one can write.
            note: makes the line with the number of lost lines.
            encoding: of text; characters that it lacks are escaped.
        """
        super().__init__()
        self.num_lost = 0
        self._descriptor = descriptor
        self._note = note
        self._encoding = encoding
        self._lock = threading.Lock()
        self._room = _room_of(descriptor)

    @property
    def encoding(self) -> str:  # type: ignore[override] # typeshed has an attribute
        """The encoding of text."""
        return self._encoding

    @property
    def buffer(self) -> "_Bytes":
        """The same stream for bytes."""
        return _Bytes(self)

    def write(self, text: str) -> int:
        """Write text; lines that cannot be written are counted."""
        self.write_bytes(text.encode(self._encoding, "backslashreplace"))
        return len(text)

    def write_bytes(self, data: bytes) -> None:
        """Write bytes; lines that cannot be written are counted."""
        with self._lock:
            lines = max(1, data.count(b"\n"))
            if self.num_lost:
                # On a line of its own: the last line written may have been cut off.
                data = f"\n{self._note(self.num_lost)}\n".encode(self._encoding) + data
            self.num_lost = 0 if self._write_all(data) else self.num_lost + lines

    def isatty(self) -> bool:
        """Whether the descriptor is a terminal."""
        return os.isatty(self._descriptor)

    def fileno(self) -> int:
        """The descriptor."""
        return self._descriptor

    def writable(self) -> bool:
        """Whether it can be written to: always."""
        return True

    def _write_all(self, data: bytes) -> bool:
        view = memoryview(data)
        while view:
            # A pipe that has room takes this much at once (POSIX; Linux says so of every poll(2)).
            piece = view if self._room is None else view[: select.PIPE_BUF]
            if self._room is not None and not self._room.poll(0):
                return False
            try:
                written = os.write(self._descriptor, piece)
            except OSError:
                return False
            view = view[written:]
        return True


def steadied(stream: TextIO, note: Callable[[int], str], encoding: str = "utf-8") -> TextIO:
    """Return a steady stream to where `stream` writes; itself if that is no file (in tests)."""
    try:
        descriptor = stream.fileno()
    except (AttributeError, UnsupportedOperation, ValueError):
        return stream
    return SteadyStream(descriptor, note, encoding)  # type: ignore[return-value] # has all of it


def _room_of(descriptor: int) -> "select.poll | None":
    """What says whether there is room for more; None if a write never waits for a reader."""
    try:
        if stat.S_ISREG(os.fstat(descriptor).st_mode):
            return None
    except OSError:  # a write will say so
        return None
    poll = select.poll()
    poll.register(descriptor, select.POLLOUT)
    return poll


class _Bytes:
    """The bytes interface, for code that writes to `sys.stdout.buffer`."""

    def __init__(self, stream: SteadyStream) -> None:
        self._stream = stream

    def write(self, data: bytes) -> int:
        """Write bytes; lines that cannot be written are counted."""
        self._stream.write_bytes(bytes(data))
        return len(data)

    def flush(self) -> None:
        """Do nothing: there is no buffer."""
