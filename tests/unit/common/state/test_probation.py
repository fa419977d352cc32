"""Entries of workers on probation."""

import pytest

from hedgerow.common.state.probation import MOST_LEFT_MS, ProbationEntry

NOW_MS = 10_000_000


@pytest.mark.parametrize(
    ("left_ms", "is_valid"),
    [
        (-1, False),
        (0, False),
        (1, True),
        (5_000, True),
        (MOST_LEFT_MS, True),
        (MOST_LEFT_MS + 1, False),
        (86_400_000, False),
    ],
)
def test_an_entry_is_valid_until_it_expires_wherever_the_clock_is_set(
    left_ms: int, is_valid: bool
) -> None:
    """That of a dead gateway ends also if the server's clock is set back by a day."""
    assert ProbationEntry("g", "slow", 0, NOW_MS + left_ms).is_valid(NOW_MS) == is_valid
