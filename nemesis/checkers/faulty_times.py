"""When which fault was active, and when which process was the same: what a checker may excuse."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from nemesis.history import Any, FaultBegan, FaultEnded, ProcessEnded, ProcessStarted


@dataclass(frozen=True, slots=True)
class Span:
    """A fault from its beginning to its end; `until` is infinite if no end was recorded."""

    kind: str
    target: str
    at: float
    until: float


def spans(events: Iterable[Any]) -> list[Span]:
    """Every fault."""
    began: dict[int, FaultBegan] = {}
    found = []
    for event in events:
        if isinstance(event, FaultBegan):
            began[event.number] = event
        elif isinstance(event, FaultEnded) and (fault := began.pop(event.number, None)):
            found.append(Span(fault.kind, fault.target, fault.at, event.at))
    found += [Span(one.kind, one.target, one.at, float("inf")) for one in began.values()]
    return sorted(found, key=lambda span: span.at)


# A process that is killed is gone a little later, and the run notices a little later than that.
_UNTIL_GONE_S: Final = 2.0


class Disruptions:
    """When a gateway was itself the target: stopped, killed, or not running."""

    def __init__(self, events: Sequence[Any]) -> None:
        """Read the history."""
        self._spans = [
            (span.target, span.at, span.until + _UNTIL_GONE_S)
            for span in spans(events)
            if span.kind in ("kill a gateway", "crash a gateway", "stop a gateway")
        ]
        down: dict[str, float] = {}
        for event in events:
            if isinstance(event, ProcessEnded):
                down[event.name] = event.at
            elif isinstance(event, ProcessStarted):
                # It is not reached before it listens, and the history does not say when that was.
                self._spans.append((event.name, down.pop(event.name, event.at), event.at + 10.0))
        self._spans += [(name, at, float("inf")) for name, at in down.items()]

    def touch(self, name: str, at: float, until: float) -> bool:
        """Whether a process was disrupted at any time between `at` and `until`."""
        return any(
            name == target and began <= until and at <= ended
            for target, began, ended in self._spans
        )
