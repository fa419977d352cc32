"""What a checker finds."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Violation:
    """A promise that was not kept.

    Attributes:
        promise: the checker's name.
        at: when, in s of the history.
        text: what was seen, and what it should have been.
    """

    promise: str
    at: float
    text: str
