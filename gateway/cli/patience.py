"""Waiting for what outlasts a gateway that restarts, or a Redis that fails over."""

import time
from collections.abc import Callable
from typing import Final, TypeVar

from hedgerow.common.errors import UnavailableError

SILENCE_S: Final = 60.0  # without an answer; a restart or a failover takes less
T = TypeVar("T")


class Patience:
    """Asks a cluster again and again, some of whose answers may be that it is unavailable.

    Attributes:
        problem: why there was no answer last time; empty if there was one.
    """

    def __init__(self) -> None:
        self.problem = ""
        self._answered_at = time.monotonic()

    def ask(self, question: Callable[[], T]) -> T | None:
        """The answer; None if there is none now.

        Raises:
            UnavailableError: there has been none for a minute.
        """
        try:
            found = question()
        except UnavailableError as error:
            self.problem = str(error)
            if time.monotonic() >= self._answered_at + SILENCE_S:
                raise
            return None
        self.problem, self._answered_at = "", time.monotonic()
        return found
