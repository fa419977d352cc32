"""Which workers go on probation, which come back, and what holds whatever happens."""

import random
from collections.abc import Callable

import pytest
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from hedgerow.common.settings.tail import ProbationSettings
from hedgerow.gateway.policies.outlier_detection import SHARDS_AT_ONCE, Probation

Took = Callable[[str], float]


def make(live: dict[int, list[str]], **settings: float) -> Probation:
    """A probation that knows which workers are live."""
    settings = {"minimum_number_of_calls": 20, **settings}
    probation = Probation(ProbationSettings.model_validate(settings))
    probation.set_live(live, 0.0)
    return probation


def run(
    probation: Probation,
    live: dict[int, list[str]],
    took: Took,
    start: float,
    seconds: float,
    seed: int = 1,
    is_ok: Callable[[str], bool] = lambda _: True,
) -> float:
    """Twenty calls a second and shard, each by one that takes calls, with trials; the end."""
    rng = random.Random(seed)
    now = start
    for _ in range(int(seconds * 20)):
        now += 0.05
        out = probation.on_probation(now)
        for shard, workers in live.items():
            takers = [worker for worker in workers if worker not in out]
            asked = [rng.choice(takers)]
            if (trial := probation.take(shard, now)) is not None:
                assert trial in out
                asked.append(trial)
            for worker in asked:
                probation.record(
                    worker, shard, took(worker) * rng.uniform(0.7, 1.3), is_ok(worker), now
                )
    return now


PAIRS = {0: ["a", "b"], 1: ["c", "d"]}


def test_an_outlier_goes_and_comes_back() -> None:
    """A worker ten times as slow as its replica is put on probation, and comes back once it is not.

    Not before: its trials keep it out for as long as they are slow.
    """
    probation = make(PAIRS, base_ejection_time_s=5.0)
    now = run(probation, PAIRS, lambda worker: 0.1 if worker == "b" else 0.01, 0.0, 10)
    assert probation.on_probation(now) == {"b"}
    now = run(probation, PAIRS, lambda worker: 0.1 if worker == "b" else 0.01, now, 60)
    assert probation.on_probation(now) == {"b"}
    now = run(probation, PAIRS, lambda worker: 0.01, now, 10)
    assert probation.on_probation(now) == frozenset()


def test_likes_are_left_alone() -> None:
    """Workers that are alike, or differ by less than the excess, stay, however fast they are."""
    probation = make(PAIRS)
    now = run(probation, PAIRS, lambda worker: 0.02, 0.0, 100, seed=3)
    assert probation.on_probation(now) == frozenset()
    now = run(probation, PAIRS, lambda worker: 0.004 if worker == "a" else 0.000_2, now, 60)
    assert probation.on_probation(now) == frozenset()


def test_shards_are_not_compared_with_each_other() -> None:
    """A shard that is slow on both its replicas has no outlier."""
    probation = make(PAIRS)
    now = run(probation, PAIRS, lambda worker: 0.5 if worker in "cd" else 0.01, 0.0, 30)
    assert probation.on_probation(now) == frozenset()


@pytest.mark.parametrize(("failing", "out"), [("b", {"b"}), ("ab", set()), ("abcd", set())])
def test_failures_make_an_outlier(failing: str, out: set[str]) -> None:
    """A worker that fails where its replica does not is out; where both fail, neither is."""
    probation = make(PAIRS)
    now = run(
        probation, PAIRS, lambda worker: 0.01, 0.0, 10, is_ok=lambda worker: worker not in failing
    )
    assert probation.on_probation(now) == out


def test_the_worst_goes_first() -> None:
    """Where the share has room for one, it is the slowest that goes."""
    live = {0: ["a", "b", "c", "d"]}
    probation = make(live, max_ejection_percent=25.0)
    slow = {"a": 0.1, "b": 0.3, "c": 0.01, "d": 0.01}
    now = run(probation, live, slow.__getitem__, 0.0, 20)
    assert probation.on_probation(now) == {"b"}


def test_probations_in_a_row_grow_longer() -> None:
    """The second probation lasts at least twice the shortest, and a clean record starts afresh."""
    probation = make(PAIRS, base_ejection_time_s=5.0, max_ejection_time_s=200.0, window_s=5.0)

    def lasted(start: float) -> tuple[float, float]:
        slow = start
        while not probation.on_probation(slow):
            slow = run(probation, PAIRS, lambda w: 0.1 if w == "b" else 0.01, slow, 0.5)
        now = slow
        while probation.on_probation(now):
            now = run(probation, PAIRS, lambda w: 0.01, now, 0.5)
        return now - slow, now

    first, now = lasted(0.0)
    second, now = lasted(now)
    assert 5 <= first + 1e-9 < 10 <= second + 1e-9 < 15
    now = run(probation, PAIRS, lambda w: 0.01, now, 201)
    third, _ = lasted(now)
    assert third < 10


def test_trials_are_few() -> None:
    """A worker on probation gets one copy an interval at most, and the others none."""
    probation = make(PAIRS, trial_interval_ms=100.0)
    now = run(probation, PAIRS, lambda worker: 0.1 if worker == "b" else 0.01, 0.0, 10)
    trials = [probation.take(0, now + number / 1000) for number in range(1000)]
    assert trials.count("b") == pytest.approx(10, abs=1)
    assert set(trials) == {"b", None}
    assert probation.take(1, now + 2) is None


def test_the_last_live_one_comes_back_at_once() -> None:
    """When its only replica leaves, a worker on probation takes requests again."""
    probation = make(PAIRS)
    now = run(probation, PAIRS, lambda worker: 0.1 if worker == "b" else 0.01, 0.0, 10)
    assert probation.on_probation(now) == {"b"}
    assert probation.set_live({0: ["b"], 1: ["c", "d"]}, now) == frozenset()
    assert probation.on_probation(now + 1) == frozenset()


def test_it_says_why() -> None:
    """The reason names the shard and both times, and is gone with the probation."""
    probation = make({5: ["a", "b"]})
    for number in range(100):
        probation.record("a", 5, 0.01, True, number / 10)
        probation.record("b", 5, 0.25, True, number / 10)
    assert probation.on_probation(10.0) == {"b"}
    reason = probation.reason("b")
    assert all(part in reason for part in ("shard 5", "250.0 ms", "10.0 ms"))
    assert probation.reason("a") == ""


def test_one_that_cannot_be_tried_comes_back() -> None:
    """With no request to copy for a whole window, it is no longer kept out from here."""
    probation = make(PAIRS, window_s=30.0)
    now = run(probation, PAIRS, lambda worker: 0.1 if worker == "b" else 0.01, 0.0, 10)
    assert probation.on_probation(now + 29) == {"b"}
    assert probation.on_probation(now + 31) == frozenset()


def test_what_another_gateway_has_on_probation_is_left_to_it() -> None:
    """It is not judged here meanwhile, and once it is back what it did before is forgotten."""
    probation = make(PAIRS)
    probation.set_elsewhere({"b"}, 0.0)
    now = run(probation, PAIRS, lambda worker: 0.1 if worker == "b" else 0.01, 0.0, 10)
    assert probation.on_probation(now) == frozenset()
    assert probation.take(0, now) is None
    probation.set_elsewhere(set(), now)
    assert probation.on_probation(now + 1) == frozenset()
    now = run(probation, PAIRS, lambda worker: 0.1 if worker == "b" else 0.01, now + 1, 10)
    assert probation.on_probation(now) == {"b"}


def test_many_shards_take_turns() -> None:
    """With more shards than are compared in one go, each is compared within about an interval."""
    live = {shard: [f"{shard}a", f"{shard}b"] for shard in range(3 * SHARDS_AT_ONCE)}
    probation = make(live, interval_s=1.0)
    for number in range(60):
        for workers in live.values():
            for worker in workers:
                slow = worker in {"5a", "90b"}
                probation.record(worker, int(worker[:-1]), 0.1 if slow else 0.01, True, number / 60)
    found = {worker for tick in range(110) for worker in probation.on_probation(1 + tick / 100)}
    assert found == {"5a", "90b"}


class _Invariants(RuleBasedStateMachine):
    """Any calls, any membership, any order."""

    @initialize(
        percent=st.sampled_from([0.0, 20.0, 50.0, 100.0]),
        replicas=st.integers(1, 4),
        hosted=st.integers(1, 3),
    )
    def begin(self, percent: float, replicas: int, hosted: int) -> None:
        self.percent = percent
        self.now = 0.0
        names = [f"w{number}" for number in range(3 * replicas)]
        # Each worker serves some neighbouring shards.
        self.all = {
            shard: [
                names[(shard * replicas + one) % len(names)] for one in range(replicas * hosted)
            ]
            for shard in range(3)
        }
        self.all = {shard: sorted(set(found)) for shard, found in self.all.items()}
        self.live = self.all
        self.elsewhere: set[str] = set()
        self.probation = make(
            self.live,
            max_ejection_percent=percent,
            minimum_number_of_calls=3,
            base_ejection_time_s=0.5,
            interval_s=0.1,
        )

    @rule(sick=st.sets(st.integers(0, 11)), fails=st.booleans(), step=st.floats(0.0, 3.0))
    def calls(self, sick: set[int], fails: bool, step: float) -> None:
        self.now += step
        for shard, workers in self.live.items():
            for worker in workers:
                is_sick = int(worker[1:]) in sick
                for _ in range(5):
                    self.probation.record(
                        worker, shard, 1.0 if is_sick else 0.01, not (is_sick and fails), self.now
                    )
        self.probation.on_probation(self.now)

    @rule(gone=st.sets(st.integers(0, 11)))
    def members(self, gone: set[int]) -> None:
        self.live = {
            shard: [worker for worker in workers if int(worker[1:]) not in gone]
            for shard, workers in self.all.items()
        }
        self.probation.set_live(self.live, self.now)

    @rule(others=st.sets(st.integers(0, 11), max_size=3))
    def others_decide(self, others: set[int]) -> None:
        self.elsewhere = {f"w{number}" for number in others}
        self.probation.set_elsewhere(self.elsewhere, self.now)

    @rule(shard=st.integers(0, 3))
    def trial(self, shard: int) -> None:
        worker = self.probation.take(shard, self.now)
        assert worker is None or worker in self.live[shard]

    @invariant()
    def each_shard_keeps_one(self) -> None:
        out = self.probation.on_probation(self.now)
        everybody = {worker for workers in self.live.values() for worker in workers}
        assert out <= everybody - self.elsewhere
        together = out | (self.elsewhere & everybody)
        assert not out or 100 * len(together) <= self.percent * len(everybody)
        for workers in self.live.values():
            assert not out.intersection(workers) or set(workers) - together


_Invariants.TestCase.settings = hypothesis_settings(max_examples=60, deadline=None)
TestInvariants = _Invariants.TestCase
