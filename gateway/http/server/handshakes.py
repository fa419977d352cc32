"""Carries out the TLS handshakes of a server, at the pace that `handshake_pace` sets."""

import asyncio
import time
from collections.abc import Callable
from typing import Protocol

from hedgerow.gateway.http.server.handshake_pace import HandshakeBudget, Turns


class Handshaking(Protocol):
    """A connection during its handshake."""

    def shake_hands(self) -> None:
        """Continue the handshake with the received bytes."""


class Handshakes:
    """The handshakes of one server."""

    def __init__(self, share: float, clock: Callable[[], float] = time.perf_counter) -> None:
        """Spend at most `share` of the time on them, measured by `clock`."""
        self._budget = HandshakeBudget(share)
        self._turns: Turns[Handshaking] = Turns()
        self._clock = clock
        self._timer: asyncio.TimerHandle | None = None

    def ask(self, peer: str, connection: Handshaking) -> bool:
        """Let a connection continue its handshake; returns whether it did so at once."""
        if self._turns or self._budget.wait_s(self._now()) > 0:
            self._turns.add(peer, connection)
            self._set_timer()
            return False
        self._make(connection)
        return True

    def leave(self, peer: str, connection: Handshaking) -> None:
        """A connection has ended, which may have been waiting."""
        self._turns.discard(peer, connection)
        if not self._turns and self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _make(self, connection: Handshaking) -> None:
        began = self._clock()
        try:
            connection.shake_hands()
        finally:
            self._budget.spend(self._clock() - began, self._now())

    def _set_timer(self) -> None:
        if self._timer is None and self._turns:
            now = self._now()
            due = now + self._budget.wait_s(now)
            self._timer = asyncio.get_running_loop().call_at(due, self._take_next)

    def _take_next(self) -> None:
        """Carry out one handshake, and let the loop do other work before the next."""
        self._timer = None
        try:
            if self._budget.wait_s(self._now()) <= 0:
                self._make(self._turns.take())
        finally:
            self._set_timer()

    @staticmethod
    def _now() -> float:
        return asyncio.get_running_loop().time()
