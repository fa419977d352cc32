"""A write on a condition is done if the condition holds, and is not done if it does not.

The only writer of a document knows what it is while it knows how each of its writes has ended. A
write of unknown outcome may take effect later, so nothing is known after the first of them.
"""

from collections.abc import Sequence

from nemesis.checkers.documents import writes_by_document
from nemesis.checkers.violation import Violation
from nemesis.history import Any, Write

PROMISE = "conditions"
_MISMATCH = 412


def check_conditions(events: Sequence[Any]) -> list[Violation]:
    """Violations by writes on a condition."""
    return [
        found for writes in writes_by_document(events).values() for found in _of_document(writes)
    ]


def _of_document(writes: Sequence[Write]) -> list[Violation]:
    found = []
    is_known = True
    for write in writes:
        name = f"version {write.version} of {write.id} by {write.gateway}"
        if write.condition == "wrong" and write.end in ("acknowledged", "logged"):
            text = f"{name} was written, though the condition did not hold"
            found.append(Violation(PROMISE, write.at, text))
        if write.condition == "right" and is_known and write.status == _MISMATCH:
            text = f"{name} was refused, though the condition held"
            found.append(Violation(PROMISE, write.at, text))
        is_known &= write.end in ("acknowledged", "refused")
    return found
