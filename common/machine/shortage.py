"""The resources that a process runs out of, as its heartbeat and the status report them."""

import errno
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final

import structlog

from hedgerow.common.machine.descriptors import lacks_descriptors
from hedgerow.common.machine.disk import MB, DiskJudge, DiskState

_log = structlog.get_logger()

DISK: Final = "disk"
MEMORY: Final = "memory"
DESCRIPTORS: Final = "descriptors"
PROCESSES: Final = "processes"
# While one of these lacks room, writes are refused.
BLOCKS_WRITES: Final = frozenset({DISK, MEMORY})
LOW: Final = DiskState.LOW.value
_RESOURCES: Final = frozenset({DISK, MEMORY, DESCRIPTORS, PROCESSES})
_STATES: Final = frozenset({LOW, DiskState.FULL.value, DiskState.READ_ONLY.value})
HOLD_S: Final = 10.0
_MEMORY_TEXTS = ("MemoryError", "Cannot allocate memory", "out of memory")


@dataclass(frozen=True, slots=True)
class Shortage:
    """A resource that runs out.

    Attributes:
        resource: disk, memory, descriptors or processes.
        state: low, full or read_only.
        detail: how much is left, in words.
        since_ms: when it began, in Unix time in ms.
        free_bytes: how much is left; None if unknown.
    """

    resource: str
    state: str
    detail: str
    since_ms: int
    free_bytes: int | None = None

    def to_json(self) -> dict[str, Any]:
        """The form in heartbeats and in the status."""
        return asdict(self)

    def for_log(self) -> dict[str, Any]:
        """The fields of its log line."""
        return {"resource": self.resource, "state": self.state, "detail": self.detail}

    @classmethod
    def from_json(cls, found: Mapping[str, Any]) -> "Shortage | None":
        """Read the form of `to_json`; None for a resource or state of an unknown version."""
        resource, state = found.get("resource"), found.get("state")
        if resource not in _RESOURCES or state not in _STATES:
            return None
        free, since = found.get("free_bytes"), found.get("since_ms")
        return cls(
            resource,
            state,
            str(found.get("detail", "")),
            since if isinstance(since, int) else 0,
            free if isinstance(free, int) else None,
        )


def lacking(error: BaseException | str) -> str | None:
    """Which resource other than the disk ran out, according to an error or its text."""
    if lacks_descriptors(error):
        return DESCRIPTORS
    number, text = getattr(error, "errno", None), str(error)
    if isinstance(error, MemoryError) or number == errno.ENOMEM:
        return MEMORY
    if any(one in text for one in _MEMORY_TEXTS):
        return MEMORY
    if number == errno.EAGAIN or "Resource temporarily unavailable" in text:
        return PROCESSES  # the error of fork(2) and of thread creation at their limit
    return None


def disk_shortage(judge: DiskJudge, path: object, since_ms: int) -> Shortage | None:
    """The shortage of a judged disk; None if it has room."""
    if judge.state is DiskState.OK:
        return None
    reading = judge.reading
    free = None if reading is None else reading.free_bytes
    if judge.state is DiskState.READ_ONLY:
        detail = f"the disk of {path} is read-only"
    elif reading is None or reading.free_bytes >= judge.reserve_bytes:
        detail = f"the disk of {path} refuses writes, whatever is free (a quota, perhaps)"
    else:
        detail = (
            f"the disk of {path} has {reading.free_bytes / MB:,.1f} MB of "
            f"{reading.total_bytes / MB:,.0f} MB free; {judge.reserve_bytes / MB:,.1f} MB must be"
        )
    return Shortage(DISK, judge.state.value, detail, since_ms, free)


class ShortageBook:
    """One process's current shortages; logs when one begins or ends.

    Failures that cannot be predicted (no descriptor, no memory, no process) count as a shortage
    until `HOLD_S` after the last of them.
    """

    def __init__(self, now_ms: Callable[[], int]) -> None:
        """Begin without shortages; `now_ms` returns the time for `since_ms`."""
        self._now_ms = now_ms
        self._current: dict[str, Shortage] = {}
        self._failed_at: dict[str, float] = {}

    def list(self) -> list[Shortage]:
        """The current shortages, ordered by resource."""
        return [self._current[resource] for resource in sorted(self._current)]

    def since_ms(self, resource: str) -> int:
        """When its shortage began; now, if it has none."""
        before = self._current.get(resource)
        return self._now_ms() if before is None else before.since_ms

    def put(self, resource: str, shortage: Shortage | None) -> bool:
        """Record a resource's shortage, or None; return whether its state has changed."""
        before = self._current.get(resource)
        if shortage is None:
            if before is None:
                return False
            del self._current[resource]
            _log.warning("shortage_ended", resource=resource)
            return True
        self._current[resource] = shortage
        if before is not None and before.state == shortage.state:
            return False
        _log.warning("shortage", **shortage.for_log())
        return True

    def fail(self, resource: str, detail: str, now: float) -> bool:
        """Record that a call failed because a resource ran out; return whether that is new."""
        self._failed_at[resource] = now
        return self.put(resource, Shortage(resource, LOW, detail, self.since_ms(resource)))

    def forget_old(self, now: float) -> bool:
        """End shortages without a failure for `HOLD_S`; return whether any has ended."""
        old = [one for one, at in self._failed_at.items() if now - at >= HOLD_S]
        for resource in old:
            del self._failed_at[resource]
        ended = [self.put(resource, None) for resource in old]
        return any(ended)
