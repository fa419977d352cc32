"""The interface between a request with its answer, and its connection."""

import asyncio
from collections.abc import Coroutine
from typing import Any, Protocol

from hedgerow.common.runtime.alarms import Alarms
from hedgerow.gateway.http.protocol.reading import Reading
from hedgerow.gateway.http.protocol.refusal_pace import ConnectionPace
from hedgerow.gateway.http.protocol.writing import Writing


class Exchange(Protocol):
    """A request that is read and answered.

    Attributes:
        keep_alive: whether the connection stays open after the answer.
        has_begun: whether part of the answer was written.
        is_complete: whether the whole answer was written.
    """

    keep_alive: bool
    has_begun: bool
    is_complete: bool

    def add_body(self, data: bytes) -> None:
        """Take a part of the body."""

    def end_body(self) -> None:
        """The body is complete."""

    def leave(self) -> None:
        """The client has gone, or the rest of its request is not read: write nothing more."""


class Wire(Protocol):
    """A connection, as an exchange uses it.

    Attributes:
        reading: controls when more of the request is read.
        writing: takes the answer.
        pace: decides when refusals are sent.
        alarms: the timers of refusals that wait.
    """

    reading: Reading
    writing: Writing
    pace: ConnectionPace
    alarms: Alarms

    def start(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Run a task, which a drain waits for until it calls `finish`."""

    def finish(self, task: asyncio.Task[None]) -> None:
        """The task has nothing more to do."""

    def date_line(self) -> bytes:
        """The field Date of an answer that is sent now."""

    def end_answer(self) -> None:
        """The whole answer was written."""

    def close_after_answer(self) -> None:
        """Close once the client has read what was written."""
