"""Every checker, with the promise that it checks."""

from collections.abc import Callable, Sequence
from typing import Final

from nemesis.checkers import conditions, coverage, deadlines, documents, recovery, resources
from nemesis.checkers.violation import Violation
from nemesis.history import Any

CHECKS: Final[dict[str, tuple[str, Callable[[Sequence[Any]], list[Violation]]]]] = {
    documents.PROMISE: (
        "each acknowledged document is found, exactly once, at its last acknowledged version",
        documents.check_documents,
    ),
    conditions.PROMISE: (
        "a write on a condition is done if it holds, and only then",
        conditions.check_conditions,
    ),
    deadlines.PROMISE: (
        "no search is answered later than its deadline and 5 ms",
        deadlines.check_deadlines,
    ),
    coverage.COVERAGE: (
        "coverage never claims more than was searched",
        coverage.check_coverage,
    ),
    coverage.OUTCOMES: ("each shard ends in exactly one outcome", coverage.check_outcomes),
    recovery.PROMISE: (
        "after the faults have ended, all recovers within 30 s without a hand",
        recovery.check_recovery,
    ),
    resources.PROMISE: (
        "memory, descriptors and processes return to where they were",
        resources.check_resources,
    ),
}


def check(events: Sequence[Any]) -> list[Violation]:
    """All violations, in the order of their times."""
    found = [violation for _, run in CHECKS.values() for violation in run(events)]
    return sorted(found, key=lambda violation: violation.at)
