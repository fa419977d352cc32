"""A circuit breaker. Pure: the time is an argument, and the caller reports how each call ended.

The parameters and the count-based sliding window are resilience4j's
(https://resilience4j.readme.io/docs/circuitbreaker). The two-step permit, and the generation number
by which outcomes from an earlier state are dropped, are gobreaker's
(https://github.com/sony/gobreaker, `TwoStepCircuitBreaker`).

Half-open follows gobreaker: as many probes are admitted as may run at once, the first
failure opens the breaker again, and it closes when that many have succeeded. If the share of
slow ones among them reaches the slow-call threshold, it opens instead, as in resilience4j.
"""

import math
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, StrEnum
from typing import Final, NamedTuple

import msgspec

from hedgerow.common.settings.breaker import BreakerSettings

MAX_TRANSITIONS = 32  # the log for `status`; older ones are forgotten


class State(StrEnum):
    """What a breaker does with a call."""

    CLOSED = "closed"  # passes it
    OPEN = "open"  # refuses it
    HALF_OPEN = "half_open"  # lets a few through, as probes
    FORCED_OPEN = "forced_open"  # refuses it, by hand
    DISABLED = "disabled"  # passes it without learning from it, by hand


class CallOutcome(Enum):
    """What a breaker learns from a call."""

    SUCCESS = "success"
    FAILURE = "failure"
    MISSED = "missed"  # a failure while other calls succeeded: counts in the rate, not in a row
    IGNORED = "ignored"  # says nothing about the guarded side


# In Python 3.11, looking up an enum's member takes a descriptor: ten times the cost of a global.
_CLOSED: Final = State.CLOSED
_OPEN: Final = State.OPEN
_HALF_OPEN: Final = State.HALF_OPEN
_SUCCESS: Final = CallOutcome.SUCCESS
_FAILURE: Final = CallOutcome.FAILURE
_MISSED: Final = CallOutcome.MISSED
_IGNORED: Final = CallOutcome.IGNORED

_FAILED_BIT = 1
_SLOW_BIT = 2


class Transition(NamedTuple):
    """One change of state; `at_s` is a time on the same clock as `now`."""

    at_s: float
    before: State
    after: State
    reason: str


@dataclass(frozen=True, slots=True)
class BreakerSnapshot:
    """What `status` shows of one breaker.

    Attributes:
        failure_rate: failures among the calls in the window, in percent.
        slow_call_rate: slow calls among the calls in the window, in percent.
        retry_in_s: time until a call may be let through; None while forced open.
        transitions: the last ones, oldest first.
    """

    state: State
    generation: int
    consecutive_failures: int
    num_calls: int
    failure_rate: float
    slow_call_rate: float
    retry_in_s: float | None
    transitions: tuple[Transition, ...]


class Permit(msgspec.Struct, eq=False, gc=False):
    """Permission for one call; its holder reports how the call ended, once.

    Attributes:
        breaker: the breaker that granted it; None once it is used.
        generation: the breaker's generation when it was granted.
    """

    breaker: "Breaker | None"
    generation: int

    def done(self, outcome: CallOutcome, now: float, duration_s: float = 0.0) -> None:
        """The call has ended. Further calls, or one in a later generation, have no effect.

        Args:
            outcome: what the call says about the guarded side.
            now: the event loop's time, in s.
            duration_s: how long the call took; a success that took too long counts as slow.
        """
        breaker = self.breaker
        if breaker is None:
            return
        self.breaker = None
        if breaker.is_steady and outcome is _SUCCESS and duration_s <= breaker.slow_s:
            return
        if breaker.generation == self.generation:
            breaker.end(self, outcome, now, duration_s)


class Breaker:
    """Guards one shard.

    A probe that never ends must not keep the breaker half-open for ever: its slot is free again
    once the current wait has passed (resilience4j has `maxWaitDurationInHalfOpenState` for this).
    Its outcome still counts if it comes later, so a shard that needs longer than the wait can close
    its breaker.

    Attributes:
        generation: grows with each transition.
        is_steady: whether one more fast success would change nothing: it is closed, and its window
            is full of them.
        passes: whether every call passes.
        slow_s: a call that takes longer counts as slow.
    """

    __slots__ = (
        "_at",
        "_base_wait_s",
        "_consecutive",
        "_consecutive_limit",
        "_failed_limit",
        "_jitter",
        "_max_wait_s",
        "_minimum_calls",
        "_num_calls",
        "_num_failed",
        "_num_probes",
        "_num_slow",
        "_on_change",
        "_on_transition",
        "_probes",
        "_probes_ok",
        "_probes_slow",
        "_refuses_until",
        "_rng",
        "_size",
        "_slow_limit",
        "_state",
        "_transitions",
        "_wait_s",
        "_window",
        "generation",
        "is_steady",
        "passes",
        "slow_s",
    )
    _window: bytearray  # a ring: how each of the last calls ended, as bits
    _at: int  # the index of the next call in it
    _num_calls: int
    _num_failed: int
    _num_slow: int
    _consecutive: int

    def __init__(
        self,
        settings: BreakerSettings,
        rng: Callable[[], float],
        on_transition: Callable[[Transition], None] | None = None,
        on_change: Callable[[], None] | None = None,
    ) -> None:
        """Start closed.

        Args:
            settings: thresholds and waits.
            rng: uniform over [0, 1), for the jitter of the wait.
            on_transition: called after each change of state.
            on_change: called when `generation`, `passes` or `is_steady` changes, perhaps just
                before; and perhaps if none has.
        """
        self._consecutive_limit = settings.consecutive_failures
        self._size = settings.sliding_window_size
        self._minimum_calls = min(settings.minimum_number_of_calls, self._size)
        self._failed_limit = settings.failure_rate_threshold
        self._slow_limit = settings.slow_call_rate_threshold
        self.slow_s = settings.slow_call_duration_threshold_ms / 1000
        self._max_wait_s = settings.max_wait_duration_in_open_state_s
        self._base_wait_s = min(settings.wait_duration_in_open_state_s, self._max_wait_s)
        self._jitter = settings.wait_jitter
        self._num_probes = settings.permitted_number_of_calls_in_half_open_state
        self._rng = rng
        self._on_transition = on_transition
        self._on_change = on_change
        self._transitions: deque[Transition] = deque(maxlen=MAX_TRANSITIONS)
        self._state = State.CLOSED
        self.generation = 0
        self.is_steady = False
        self._wait_s = self._base_wait_s
        self.passes = True
        self._refuses_until = -math.inf
        self._probes: dict[Permit, float] = {}  # running probe → when its slot is free again
        self._probes_ok = 0
        self._probes_slow = 0
        self._clear()

    def allow(self, now: float) -> Permit | None:
        """Ask for permission to make a call.

        Returns:
            A permit, whose `done` must be called when the call ends; None if it is refused.
        """
        if self.passes:
            return Permit(self, self.generation)
        if now < self._refuses_until:
            return None
        return self._probe(now)

    def state(self, now: float) -> State:
        """What the breaker does with a call now; half-open as soon as the wait is over."""
        if self._state is _OPEN and now >= self._refuses_until:
            return State.HALF_OPEN
        return self._state

    def retry_at(self, now: float) -> float:
        """The instant from which a call may pass; `now` if at once, inf if unknown."""
        return now if self.passes else max(now, self._refuses_until)

    def force_open(self, now: float) -> None:
        """Refuse every call until `reset` or `disable`."""
        self._move(now, State.FORCED_OPEN, "by hand")
        self.passes = False
        self._refuses_until = math.inf

    def disable(self, now: float) -> None:
        """Pass every call, without learning from it, until `reset` or `force_open`."""
        self._move(now, State.DISABLED, "by hand")
        self.passes = True

    def reset(self, now: float) -> None:
        """Close, in any state, and forget what was learnt."""
        self._close(now, "by hand")

    def snapshot(self, now: float) -> BreakerSnapshot:
        """What `status` shows."""
        retry_in_s = self.retry_at(now) - now
        calls = max(self._num_calls, 1)
        return BreakerSnapshot(
            state=self.state(now),
            generation=self.generation,
            consecutive_failures=self._consecutive,
            num_calls=self._num_calls,
            failure_rate=100 * self._num_failed / calls,
            slow_call_rate=100 * self._num_slow / calls,
            retry_in_s=None if math.isinf(retry_in_s) else retry_in_s,
            transitions=tuple(self._transitions),
        )

    def end(self, permit: Permit, outcome: CallOutcome, now: float, duration_s: float) -> None:
        """Count a call of this generation; only `Permit.done` calls this."""
        if self._state is _CLOSED:
            if outcome is not _IGNORED:
                self._count(outcome, duration_s > self.slow_s, now)
        elif self._state is _HALF_OPEN:
            self._end_probe(permit, outcome, now, is_slow=duration_s > self.slow_s)

    def _count(self, outcome: CallOutcome, is_slow: bool, now: float) -> None:
        if outcome is _SUCCESS:
            self._consecutive = 0
            bits = _SLOW_BIT if is_slow else 0
        else:
            self._consecutive += outcome is not _MISSED
            bits = _FAILED_BIT | _SLOW_BIT if is_slow else _FAILED_BIT
        at = self._at
        old = self._window[at]
        if old != bits:
            self._window[at] = bits
            self._num_failed += (bits & _FAILED_BIT) - (old & _FAILED_BIT)
            self._num_slow += (bits >> 1) - (old >> 1)
        at += 1
        self._at = at if at < self._size else 0
        if self._num_calls < self._size:
            self._num_calls += 1
            # A success can open the breaker too, if it completes the minimum number of calls.
            if bits or self._num_calls == self._minimum_calls:
                self._judge(now)
        elif bits:
            self._judge(now)
        is_steady = (
            self._num_calls == self._size
            and not (self._num_failed or self._num_slow)
            and self._state is _CLOSED
        )
        if is_steady is not self.is_steady:
            self.is_steady = is_steady
            if self._on_change is not None:
                self._on_change()

    def _judge(self, now: float) -> None:
        calls, failed, slow = self._num_calls, self._num_failed, self._num_slow
        if self._consecutive >= self._consecutive_limit:
            self._open(now, f"{self._consecutive} failures in a row")
        elif calls >= self._minimum_calls:
            if 100 * failed >= self._failed_limit * calls:
                self._open(now, f"{failed} of the last {calls} calls failed")
            elif 100 * slow >= self._slow_limit * calls:
                self._open(now, f"{slow} of the last {calls} calls were slow")

    def _probe(self, now: float) -> Permit | None:
        if self._state is _OPEN:
            self._move(now, State.HALF_OPEN, "the wait is over")
        probes = self._probes
        for lost in [probe for probe, free_at in probes.items() if free_at <= now]:
            del probes[lost]
        permit = None
        if len(probes) + self._probes_ok < self._num_probes:
            permit = Permit(self, self.generation)
            probes[permit] = now + self._wait_s
        # While all slots are taken, a refusal costs one comparison.
        is_full = len(probes) + self._probes_ok >= self._num_probes
        self._refuses_until = min(probes.values()) if is_full else -math.inf
        return permit

    def _end_probe(
        self, permit: Permit, outcome: CallOutcome, now: float, *, is_slow: bool
    ) -> None:
        self._probes.pop(permit, None)
        if outcome is _IGNORED:
            self._refuses_until = -math.inf
        elif outcome is not _SUCCESS:
            self._open_again(now, "a probe failed")
        else:
            self._probes_ok += 1
            self._probes_slow += is_slow
            if self._probes_ok >= self._num_probes:
                if 100 * self._probes_slow >= self._slow_limit * self._probes_ok:
                    self._open_again(now, "the probes were slow")
                else:
                    self._close(now, "the probes succeeded")

    def _open(self, now: float, reason: str) -> None:
        self._move(now, State.OPEN, reason)
        self.passes = False
        spread = self._jitter * (2 * self._rng() - 1)
        # The limit applies to the actual wait, so it comes after the jitter.
        self._refuses_until = now + min(self._wait_s * (1 + spread), self._max_wait_s)

    def _open_again(self, now: float, reason: str) -> None:
        self._wait_s = min(2 * self._wait_s, self._max_wait_s)
        self._open(now, reason)

    def _close(self, now: float, reason: str) -> None:
        self._move(now, State.CLOSED, reason)
        self.passes = True
        self._wait_s = self._base_wait_s

    def _move(self, now: float, after: State, reason: str) -> None:
        before, self._state = self._state, after
        if self._on_change is not None:
            self._on_change()
        self.generation += 1
        self.is_steady = False
        self._probes.clear()
        self._probes_ok = 0
        self._probes_slow = 0
        if after is not _OPEN:  # while it is open, the status shows the calls that opened it
            self._clear()
        if before is not after:
            transition = Transition(now, before, after, reason)
            self._transitions.append(transition)
            if self._on_transition is not None:
                self._on_transition(transition)

    def _clear(self) -> None:
        self._window = bytearray(self._size)
        self._at = 0
        self._num_calls = 0
        self._num_failed = 0
        self._num_slow = 0
        self._consecutive = 0
