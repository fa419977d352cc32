"""How a hybrid search divides its time. Pure; instants are on the event loop's clock, in s."""

from typing import Final, NamedTuple

_MOST_FOR_SECOND_PHASE: Final = 0.4  # of the time until the documents must be fetched
_FUSION: Final = 0.02  # likewise: fusing, and turns of the loop between the steps
_LEAST_FUSION_S: Final = 0.001


class Deadlines(NamedTuple):
    """When the steps of a hybrid search must have ended.

    Attributes:
        legs: both legs.
        second_phase: the second phase over the fused hits.
        answer: everything.
    """

    legs: float
    second_phase: float
    answer: float


def deadlines_of(
    now: float, deadline_s: float, fetch_s: float, *, has_second_phase: bool
) -> Deadlines:
    """Divide the time from `now` on.

    Args:
        now: when the search began.
        deadline_s: its deadline, from then.
        fetch_s: the time to keep for the documents, at most half of it.
        has_second_phase: whether a second phase follows the legs.
    """
    left_s = deadline_s - fetch_s
    left_s -= min(max(left_s * _FUSION, _LEAST_FUSION_S), left_s / 2)
    legs_s = left_s * (1 - _MOST_FOR_SECOND_PHASE) if has_second_phase else left_s
    return Deadlines(now + legs_s, now + left_s, now + deadline_s)
