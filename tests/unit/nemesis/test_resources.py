"""What the nodes of a Redis Cluster use more than before the first fault."""

from typing import Any

from nemesis.checkers.resources import check_resources
from nemesis.history import Resources
from nemesis.layout import NODES


def _used(at: float, name: str, descriptors: int, **members: Any) -> Resources:
    given: dict[str, Any] = {
        "phase": "before" if at < 10 else "after",
        "pid": 1,
        "memory_mb": 20.0,
        "processes": 1,
    }
    return Resources(at=at, name=name, descriptors=descriptors, **{**given, **members})


def test_nodes_are_counted_together() -> None:
    """Slots move from node to node, and connections with them; more in all is a violation."""
    before = [_used(1, name, 80 if number < 3 else 20) for number, name in enumerate(NODES)]
    moved = [_used(20, name, 20 if number < 3 else 80) for number, name in enumerate(NODES)]
    assert not check_resources([*before, *moved])
    more = [_used(20, name, 90) for name in NODES]
    (found,) = check_resources([*before, *more])
    assert "300 descriptors before, 540 after" in found.text
