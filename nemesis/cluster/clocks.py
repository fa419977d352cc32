"""A wall clock that jumps, for single processes: libfaketime between them and the system.

Only `CLOCK_REALTIME` is moved, as by an administrator or a bad time server. The monotonic clock
stays as it is, since a kernel does not let it jump.
"""

from pathlib import Path


class Clock:
    """The wall clock of one process and of what it starts."""

    def __init__(self, library: Path, file: Path) -> None:
        """Move it by what is written to `file`."""
        self._library = library
        self._file = file
        self.jump(0.0)

    def environment(self) -> dict[str, str]:
        """Variables of a process that follows this clock; it reads the file once a second."""
        return {
            "LD_PRELOAD": str(self._library),
            "FAKETIME_TIMESTAMP_FILE": str(self._file),
            "FAKETIME_CACHE_DURATION": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            # Else waits on the monotonic clock end at once: threads that wait for Python's lock
            # would spin, and take several times the CPU, though no clock has jumped.
            "FAKETIME_FORCE_MONOTONIC_FIX": "0",
            "FAKETIME_DONT_RESET": "1",
            # Each process reads the file by itself; no state is shared through memory.
            "FAKETIME_DISABLE_SHM": "1",
        }

    def jump(self, by_s: float) -> None:
        """Move the clock to `by_s` off the system's."""
        written = self._file.with_suffix(".new")
        written.write_text(f"{by_s:+.3f}\n")
        written.replace(self._file)
