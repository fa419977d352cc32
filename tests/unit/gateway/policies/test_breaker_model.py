"""The breaker against a model that keeps every event and works its answer out from all of them."""

from dataclasses import dataclass, field
from fractions import Fraction

from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    MultipleResults,
    RuleBasedStateMachine,
    consumes,
    initialize,
    invariant,
    multiple,
    precondition,
    rule,
)

from hedgerow.common.settings.breaker import BreakerSettings
from hedgerow.gateway.policies.breaker import Breaker, CallOutcome, Permit

SLOW_MS = 100.0


@dataclass(eq=False)
class _ModelPermit:
    """A call that the model let through."""

    epoch: int
    started: Fraction
    has_ended: bool = False


@dataclass
class _Model:
    """A breaker that keeps whole histories, and counts in fractions instead of floats."""

    config: BreakerSettings
    state: str = "closed"
    epoch: int = 0
    calls: list[tuple[bool, bool]] = field(default_factory=list)  # (failed, slow), all since closed
    row: int = 0  # failures since the last success, without those that were missed
    failed_probes: int = 0  # since it was last closed
    reopens_at: Fraction = Fraction(0)
    probes: list[_ModelPermit] = field(default_factory=list)
    probe_ends: list[tuple[bool, bool]] = field(default_factory=list)

    def enter(self, state: str) -> None:
        self.state = state
        self.epoch += 1
        self.calls, self.probes, self.probe_ends = [], [], []
        self.row = 0
        if state == "closed":
            self.failed_probes = 0

    def wait(self) -> Fraction:
        first = Fraction(self.config.wait_duration_in_open_state_s)
        return min(
            first * (1 << self.failed_probes),
            Fraction(self.config.max_wait_duration_in_open_state_s),
        )

    def open(self, now: Fraction, draw: Fraction) -> None:
        self.enter("open")
        spread = Fraction(self.config.wait_jitter) * (2 * draw - 1)
        longest = Fraction(self.config.max_wait_duration_in_open_state_s)
        self.reopens_at = now + min(self.wait() * (1 + spread), longest)

    def state_at(self, now: Fraction) -> str:
        is_over = self.state == "open" and now >= self.reopens_at
        return "half_open" if is_over else self.state

    def taken_slots(self, now: Fraction) -> list[_ModelPermit]:
        return [
            probe
            for probe in self.probes
            if not probe.has_ended and now < probe.started + self.wait()
        ]

    def admits(self, now: Fraction) -> bool:
        state = self.state_at(now)
        if state == "half_open" and self.state == "half_open":
            used = len(self.taken_slots(now)) + len(self.probe_ends)
            return used < self.config.permitted_number_of_calls_in_half_open_state
        return state in ("closed", "disabled", "half_open")

    def allow(self, now: Fraction) -> _ModelPermit | None:
        if not self.admits(now):
            return None
        if self.state_at(now) != self.state:
            self.enter("half_open")
        permit = _ModelPermit(self.epoch, now)
        if self.state == "half_open":
            self.probes.append(permit)
        return permit

    def done(
        self, permit: _ModelPermit, outcome: CallOutcome, now: Fraction, slow: bool, draw: Fraction
    ) -> None:
        if permit.has_ended:
            return
        permit.has_ended = True
        if permit.epoch != self.epoch or outcome is CallOutcome.IGNORED:
            return
        failed = outcome is not CallOutcome.SUCCESS
        if self.state == "closed":
            self.calls.append((failed, slow))
            if outcome is not CallOutcome.MISSED:
                self.row = self.row + 1 if failed else 0
            if self.must_open():
                self.open(now, draw)
        elif self.state == "half_open":
            self.probe_ends.append((failed, slow))
            wanted = self.config.permitted_number_of_calls_in_half_open_state
            if failed or (
                len(self.probe_ends) == wanted
                and self.rate(self.probe_ends, 1) >= Fraction(self.config.slow_call_rate_threshold)
            ):
                self.failed_probes += 1
                self.open(now, draw)
            elif len(self.probe_ends) == wanted:
                self.enter("closed")

    @staticmethod
    def rate(ends: list[tuple[bool, bool]], which: int) -> Fraction:
        return Fraction(100 * sum(end[which] for end in ends), len(ends))

    def must_open(self) -> bool:
        if self.row >= self.config.consecutive_failures:
            return True
        window = self.calls[-self.config.sliding_window_size :]
        needed = min(self.config.minimum_number_of_calls, self.config.sliding_window_size)
        return len(window) >= needed and (
            self.rate(window, 0) >= Fraction(self.config.failure_rate_threshold)
            or self.rate(window, 1) >= Fraction(self.config.slow_call_rate_threshold)
        )


# Halves, quarters and powers of two: floats compute with them exactly, so that the implementation's
# instants can be compared with the model's fractions for equality.
eighths = st.integers(0, 64).map(lambda number: number / 8)
configs = st.builds(
    BreakerSettings,
    consecutive_failures=st.integers(1, 6),
    sliding_window_size=st.integers(1, 8),
    minimum_number_of_calls=st.integers(1, 10),
    failure_rate_threshold=st.integers(1, 100).map(float),
    slow_call_rate_threshold=st.integers(1, 100).map(float),
    slow_call_duration_threshold_ms=st.just(SLOW_MS),
    wait_duration_in_open_state_s=st.sampled_from([0.5, 1.0, 2.0]),
    max_wait_duration_in_open_state_s=st.sampled_from([2.0, 4.0, 64.0]),
    wait_jitter=st.sampled_from([0.0, 0.25, 0.5]),
    permitted_number_of_calls_in_half_open_state=st.integers(1, 3),
)


class BreakerAgainstModel(RuleBasedStateMachine):
    """Any sequence of calls, ends in any order, lost and repeated ends, and switches by hand."""

    permits: Bundle[tuple[Permit, _ModelPermit]] = Bundle("permits")

    @initialize(config=configs)
    def start(self, config: BreakerSettings) -> None:
        """Both start closed, with the same settings."""
        self.now = 0.0
        self.draw = 0.5
        self.model = _Model(config)
        self.breaker = Breaker(config, lambda: self.draw)

    @rule(step=eighths)
    def pass_time(self, step: float) -> None:
        """Time passes, by binary fractions that floats hold exactly."""
        self.now += step

    @rule()
    def pass_the_wait(self) -> None:
        """Time passes to the very end of an open breaker's wait."""
        if self.model.state == "open":
            self.now = max(self.now, float(self.model.reopens_at))

    @rule(target=permits)
    def allow(self) -> tuple[Permit, _ModelPermit] | MultipleResults[tuple[Permit, _ModelPermit]]:
        """A call asks for leave, and its end may never come."""
        permit, expected = self.allow_pair()
        return multiple() if permit is None or expected is None else (permit, expected)

    def end(
        self,
        pair: tuple[Permit | None, _ModelPermit | None],
        outcome: CallOutcome,
        is_slow: bool,
        draw: float,
    ) -> None:
        """Tell both of the same end."""
        permit, expected = pair
        if permit is None or expected is None:
            return
        self.draw = draw
        permit.done(outcome, self.now, (SLOW_MS + 1 if is_slow else SLOW_MS) / 1000)
        self.model.done(expected, outcome, Fraction(self.now), is_slow, Fraction(draw))

    draws = st.sampled_from([0.0, 0.25, 0.5, 0.75])
    ends = st.sampled_from(CallOutcome)

    @rule(pair=consumes(permits), outcome=ends, is_slow=st.booleans(), draw=draws)
    def end_once(
        self, pair: tuple[Permit, _ModelPermit], outcome: CallOutcome, is_slow: bool, draw: float
    ) -> None:
        """A call ends, whatever has happened since it was allowed."""
        self.end(pair, outcome, is_slow, draw)

    @rule(pair=permits, outcome=ends, is_slow=st.booleans(), draw=draws)
    def end_and_perhaps_again(
        self, pair: tuple[Permit, _ModelPermit], outcome: CallOutcome, is_slow: bool, draw: float
    ) -> None:
        """A call ends, and its end may be reported again later."""
        self.end(pair, outcome, is_slow, draw)

    @rule(outcomes=st.lists(ends, min_size=1, max_size=8), is_slow=st.booleans(), draw=draws)
    def call_in_a_row(self, outcomes: list[CallOutcome], is_slow: bool, draw: float) -> None:
        """Calls start and end one after the other, as failures in a row need."""
        for outcome in outcomes:
            self.end(self.allow_pair(), outcome, is_slow, draw)

    @precondition(lambda self: self.model.state == "closed")
    @rule()
    def fail_and_pass_the_wait(self) -> None:
        """The shard is down for a while, or half-open would be too seldom seen."""
        for _ in range(self.model.config.consecutive_failures):
            self.end(self.allow_pair(), CallOutcome.FAILURE, is_slow=False, draw=self.draw)
        self.pass_the_wait()

    def allow_pair(self) -> tuple[Permit | None, _ModelPermit | None]:
        """Both let the call through, or both refuse it."""
        pair = self.breaker.allow(self.now), self.model.allow(Fraction(self.now))
        assert (pair[0] is None) == (pair[1] is None)
        return pair

    @rule(switch=st.sampled_from(["force_open", "disable", "reset"]), really=st.integers(0, 4))
    def switch_by_hand(self, switch: str, really: int) -> None:
        """The breaker is forced open, disabled or reset by hand."""
        if really:  # seldom, or little else would be seen
            return
        getattr(self.breaker, switch)(self.now)
        state = {"force_open": "forced_open", "disable": "disabled", "reset": "closed"}[switch]
        self.model.enter(state)

    @invariant()
    def agrees(self) -> None:
        """State, time of the next call and rates are the model's, after any step."""
        now = Fraction(self.now)
        assert self.breaker.state(self.now).value == self.model.state_at(now)
        # The breaker may say "perhaps now" too early while half-open, never too late.
        if self.model.admits(now):
            assert self.breaker.retry_at(self.now) == self.now
        elif self.model.state == "open":
            assert Fraction(self.breaker.retry_at(self.now)) == self.model.reopens_at
        if self.model.state == "closed":
            snapshot = self.breaker.snapshot(self.now)
            window = self.model.calls[-self.model.config.sliding_window_size :]
            assert snapshot.num_calls == len(window)
            if window:
                assert snapshot.failure_rate == float(self.model.rate(window, 0))
                assert snapshot.slow_call_rate == float(self.model.rate(window, 1))


BreakerAgainstModel.TestCase.settings = hypothesis_settings(
    max_examples=100, stateful_step_count=60, deadline=None
)
TestBreakerAgainstModel = BreakerAgainstModel.TestCase
