"""Admission's counts against a model that keeps a list of what is in flight."""

import math

import pytest
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, invariant, rule

from hedgerow.common.errors import OverloadedError
from hedgerow.common.settings.tail import AdmissionSettings
from hedgerow.gateway.policies.admission import PRIORITIES, Admission, Priority
from hedgerow.gateway.policies.admission_permit import AdmissionPermit

NUM_SHARDS = 3
SETTINGS = st.builds(
    AdmissionSettings,
    initial_limit=st.integers(1, 12),
    min_limit=st.integers(1, 3),
    max_limit=st.integers(1, 16),
    batch_share=st.sampled_from([0.1, 0.5, 0.7, 1.0]),
    predict=st.just(False),  # test_admission_forecast.py has that
)


class AdmissionAgainstModel(RuleBasedStateMachine):
    """Any sequence of admissions, replies, ends, and ends that are reported twice."""

    permits: Bundle[tuple[AdmissionPermit, Priority]] = Bundle("permits")

    @initialize(settings=SETTINGS)
    def start(self, settings: AdmissionSettings) -> None:
        """Both start with nothing in flight."""
        self.now = 0.0
        self.settings = settings
        self.admission = Admission(NUM_SHARDS, settings)
        self.open: dict[AdmissionPermit, Priority] = {}
        self.refused = dict.fromkeys(PRIORITIES, 0)

    @rule(target=permits, priority=st.sampled_from(PRIORITIES))
    def admit(self, priority: Priority) -> tuple[AdmissionPermit, Priority]:
        """A query asks for leave, and its end may never come."""
        return self.ask(priority), priority

    def ask(self, priority: Priority) -> AdmissionPermit:
        """Let a query in exactly when the model would not pass a bound."""
        limit = self.admission.limit.value
        bound = limit if priority == "interactive" else self.settings.batch_share * limit
        query = (priority, 0.3, 0.0, [True] * NUM_SHARDS, [1] * NUM_SHARDS, self.now)
        if len(self.open) >= bound:
            cause = "limit" if len(self.open) >= limit else "batch_share"
            with pytest.raises(OverloadedError) as refusal:
                self.admission.admit(*query)
            assert refusal.value.cause == cause
            assert refusal.value.retry_after_s >= 0
            self.refused[priority] += 1
            # Of another gateway: whatever is reported to it must not touch this one.
            return Admission(NUM_SHARDS, self.settings).admit(*query)
        permit = self.admission.admit(*query)
        self.open[permit] = priority
        assert len(self.open) <= limit
        if priority == "batch":
            num_batch = list(self.open.values()).count("batch")
            assert num_batch <= math.ceil(self.settings.batch_share * limit)
        return permit

    @rule(
        pair=permits,
        shard=st.integers(0, NUM_SHARDS - 1),
        backlog=st.integers(1, 50),
        queue_us=st.integers(0, 400_000),
    )
    def reply(
        self, pair: tuple[AdmissionPermit, Priority], shard: int, backlog: int, queue_us: int
    ) -> None:
        """A shard takes a request and answers it, perhaps when its query has already ended."""
        permit, _ = pair
        permit.on_queued(shard, backlog, self.now)
        self.now += queue_us / 1e6
        permit.on_reply(shard, queue_us, 1_000, self.now)

    @rule(pair=permits, seconds=st.sampled_from([0.0, 0.125, 1.0]))
    def end(self, pair: tuple[AdmissionPermit, Priority], seconds: float) -> None:
        """A query ends, or its end is reported a second time."""
        self.now += seconds
        pair[0].done(self.now)
        self.open.pop(pair[0], None)

    @rule(seconds=st.sampled_from([0.125, 0.5]), queue_us=st.sampled_from([0, 250_000]))
    def live_through_a_window(self, seconds: float, queue_us: int) -> None:
        """Queries come and go until the limit is judged, or it would seldom change."""
        for _ in range(8):
            permit = self.ask("interactive")
            for shard in range(NUM_SHARDS):
                permit.on_queued(shard, 2, self.now)
            self.now += queue_us / 1e6
            for shard in range(NUM_SHARDS):
                permit.on_reply(shard, queue_us, 0, self.now)
            self.now += seconds / 8
            permit.done(self.now)
            self.open.pop(permit, None)

    @invariant()
    def agrees(self) -> None:
        """Counts are the model's, and the limit stays within its bounds."""
        snapshot = self.admission.snapshot(self.now)
        assert self.admission.num_in_flight == len(self.open)
        for priority in PRIORITIES:
            assert snapshot.in_flight[priority] == list(self.open.values()).count(priority)
            assert (
                sum(counts[priority] for counts in snapshot.refused.values())
                == self.refused[priority]
            )
        least = self.settings.min_limit
        assert least <= snapshot.limit <= max(self.settings.max_limit, least)


AdmissionAgainstModel.TestCase.settings = hypothesis_settings(
    max_examples=60, stateful_step_count=50, deadline=None
)
TestAdmissionAgainstModel = AdmissionAgainstModel.TestCase
