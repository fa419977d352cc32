"""The time that is left to a task, in memory that the worker shares with its scorer processes.

One file without a name (memfd_create(2) on Linux, an unlinked temporary file elsewhere) is mapped
by the worker and by every scorer. Each scorer has a region of its own:

    current       u64             generation of the task that runs now, or whose result is not
                                  sent yet; between batches that of an earlier one, or 0; scorer
                                  writes
    began         f64 * 2         when that task began, CLOCK_MONOTONIC in s, and the CPU time that
                                  the process had used by then, in s; scorer writes
    pid           u64             the process, where the worker cannot tell; scorer writes
    generations   u64 * max_batch which attempt each slot is for; worker writes
    expiries      f64 * max_batch when it expires, CLOCK_MONOTONIC in s; worker writes
    lates         f64 * max_batch how long before that its deadline is, in s; worker writes

Every field is an aligned word of 8 bytes with one writer, so that no value is ever half written. A
lane uses each generation once: a `Budget` that is kept beyond its task finds another generation in
its slot and reports that it has expired, instead of reporting another task's time.

CLOCK_MONOTONIC is the same in all processes of a machine (on Linux, within a time namespace).
"""

import mmap
import os
import tempfile
import time
from collections.abc import Sequence
from typing import Self

_WORD_BYTES = 8
_HEAD_WORDS = 4

_monotonic = time.monotonic


class Budget:
    """The time that is left to one task; made by the lane, read by the handler.

    A task may run on for a while after its deadline, so that the gateway learns how late it is. A
    handler that can do with less time goes by `remaining_s`; one that gives up goes by `expired`.

    Reading takes well under 1 µs (two or three words of shared memory, and the clock), so it may be
    done for each document.
    """

    __slots__ = ("_expiries", "_generation", "_generations", "_lates", "_slot")

    def __init__(
        self,
        generations: Sequence[int] | memoryview,
        expiries: Sequence[float] | memoryview,
        lates: Sequence[float] | memoryview,
        slot: int,
        generation: int,
    ) -> None:
        self._generations = generations
        self._expiries = expiries
        self._lates = lates
        self._slot = slot
        self._generation = generation

    @classmethod
    def until(cls, expires_at: float) -> Self:
        """A budget without shared memory, which cannot be cancelled; for tests, among others.

        Args:
            expires_at: an instant of `time.monotonic()`, in s; `math.inf` for none.
        """
        return cls((1,), (expires_at,), (0.0,), 0, 1)

    def expired(self) -> bool:
        """Whether the result is no longer wanted: too long after the deadline, or cancelled."""
        return (
            self._generations[self._slot] != self._generation
            or _monotonic() >= self._expiries[self._slot]
        )

    def remaining_s(self) -> float:
        """Seconds until the deadline, never negative; 0 once cancelled, `inf` without deadline."""
        if self._generations[self._slot] != self._generation:
            return 0.0
        slot = self._slot
        return max(0.0, self._expiries[slot] - self._lates[slot] - _monotonic())


class Region:
    """One scorer's part of the shared memory, seen from either side."""

    __slots__ = ("began", "current", "expiries", "generations", "lates", "pid")

    def __init__(self, words: memoryview, max_batch: int) -> None:
        numbers = words.cast("Q")
        seconds = words.cast("d")
        self.current = numbers[:1]
        self.began = seconds[1:3]
        self.pid = numbers[3:_HEAD_WORDS]
        ends = [_HEAD_WORDS + array * max_batch for array in range(4)]
        self.generations = numbers[ends[0] : ends[1]]
        self.expiries = seconds[ends[1] : ends[2]]
        self.lates = seconds[ends[2] : ends[3]]

    def release(self) -> None:
        """Release the views of the mapping, which cannot be closed before."""
        for name in self.__slots__:
            getattr(self, name).release()


def regions_of(memory: memoryview, num_regions: int, max_batch: int) -> list[Region]:
    """The regions in a memory of at least `SharedBudgets.size` bytes, one after another."""
    region_bytes = SharedBudgets.size(1, max_batch)
    return [
        Region(memory[at * region_bytes : (at + 1) * region_bytes], max_batch)
        for at in range(num_regions)
    ]


class SharedBudgets:
    """The mapping that holds every scorer's region."""

    def __init__(self, fd: int, num_scorers: int, max_batch: int) -> None:
        """Map the file `fd`, which the caller keeps; it must have `size` bytes."""
        self._memory = mmap.mmap(fd, self.size(num_scorers, max_batch))
        self._view = memoryview(self._memory)
        self.regions = regions_of(self._view, num_scorers, max_batch)

    @staticmethod
    def size(num_scorers: int, max_batch: int) -> int:
        """How many bytes this number of regions takes."""
        return num_scorers * (_HEAD_WORDS + 3 * max_batch) * _WORD_BYTES

    def close(self) -> None:
        """Unmap the memory; budgets cannot be read afterwards."""
        for region in self.regions:
            region.release()
        self._view.release()
        self._memory.close()


def open_shared_file(size: int = 0) -> int:
    """A file of `size` zero bytes that has no name and lives as long as a descriptor or mapping.

    In memory where the system can, so that it needs no folder that can be written to.

    Returns:
        Its descriptor, closed on exec; the caller owns it.
    """
    try:
        fd = os.memfd_create("hedgerow", os.MFD_CLOEXEC)
    except (AttributeError, OSError):  # not Linux, or a kernel that forbids it (vm.memfd_noexec)
        with tempfile.TemporaryFile() as file:
            fd = os.dup(file.fileno())
    os.ftruncate(fd, size)
    return fd
