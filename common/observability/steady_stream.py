"""A stream for log lines whose writes never raise.

A log line that cannot be written (the disk is full, the terminal is gone) must not end the code
that logs it: an exception in `log.info` would end a worker or a request.
"""

import os
import threading
from collections.abc import Callable
from io import TextIOBase


class SteadyStream(TextIOBase):
    """Writes lines directly to a descriptor, and drops those that cannot be written.

    There is no buffer: if a buffer could not be flushed, each later write would raise again, and so
    would the end of the interpreter. When writing works again, a line says how many were lost.
    """

    def __init__(self, descriptor: int, note: Callable[[int], str]) -> None:
        """Write to `descriptor`; `note` makes the line with the number of lost lines."""
        super().__init__()
        self.num_lost = 0
        self._descriptor = descriptor
        self._note = note
        self._lock = threading.Lock()

    @property
    def encoding(self) -> str:  # type: ignore[override] # typeshed has an attribute
        """The encoding of text."""
        return "utf-8"

    @property
    def buffer(self) -> "_Bytes":
        """The same stream for bytes."""
        return _Bytes(self)

    def write(self, text: str) -> int:
        """Write text; lines that cannot be written are counted."""
        self.write_bytes(text.encode(errors="backslashreplace"))
        return len(text)

    def write_bytes(self, data: bytes) -> None:
        """Write bytes; lines that cannot be written are counted."""
        with self._lock:
            lines = max(1, data.count(b"\n"))
            if self.num_lost:
                # On a line of its own: the last line written may have been cut off.
                data = f"\n{self._note(self.num_lost)}\n".encode() + data
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
            try:
                written = os.write(self._descriptor, view)
            except OSError:
                return False
            view = view[written:]
        return True


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
