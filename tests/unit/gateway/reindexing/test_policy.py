"""What a reindex waits for, and when it switches."""

import random
from dataclasses import dataclass, field
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hedgerow.common.shard_log.mirror_report import MirrorReport
from hedgerow.common.shard_log.operations import Mirror, MirrorOp, Turn, Unmirror
from hedgerow.common.state.reindexing import Reindex, ReindexState
from hedgerow.gateway.reindexing.policy import Seen, ended_by_hand, next_step, switched

NOW_MS = 5000
BEGUN = Reindex(
    version=1,
    id="pair",
    old="shop-1",
    old_uid="u1",
    new="shop-2",
    new_uid="u2",
    alias="shop",
    is_new_alias=False,
    skip_faulty=False,
    state=ReindexState.COPYING,
    began_at_ms=1000,
)
COPIED = MirrorReport("pair", 3, is_copied=True, old_documents=5, new_documents=5)
TURNED = COPIED._replace(is_turned=True)


def of(state: ReindexState, **changes: Any) -> Reindex:
    """A reindex in a state."""
    return msgspec.structs.replace(BEGUN, state=state, **changes)


def seen(*reports: MirrorReport | None, **more: Any) -> Seen:
    """Two shards, each with these replicas."""
    return Seen({0: reports, 1: reports}, **{"alias_of": "shop-1", **more})


@dataclass
class Replica:
    """One that applies its log at its own pace; each copy takes a few steps."""

    log: list[MirrorOp | int] = field(default_factory=list)
    applied: int = 0
    report: MirrorReport | None = None

    def apply(self) -> None:
        """Apply the next entry, if there is one; a number is a step of the copy."""
        if self.applied == len(self.log):
            return
        op, report = self.log[self.applied], self.report
        self.applied += 1
        if isinstance(op, Mirror) and report is None:
            self.report = MirrorReport("pair", old_documents=3)
        elif isinstance(op, Unmirror):
            self.report = None
        elif isinstance(op, Turn) and report:
            self.report = report._replace(is_turned=True)
        elif isinstance(op, int) and report and not report.is_copied:
            number = report.new_documents + 1
            self.report = report._replace(new_documents=number, is_copied=number == 3)


class Script:
    """Two shards of two replicas, and a gateway that moves a reindex on."""

    def __init__(self) -> None:
        self.shards = {shard: [Replica(), Replica()] for shard in range(2)}
        self.reindex = BEGUN
        self.alias = "shop-1"
        self.is_unmirrored = False

    @property
    def replicas(self) -> list[Replica]:
        """All of them."""
        return [one for some in self.shards.values() for one in some]

    def step(self) -> None:
        """Take the next step."""
        view = Seen(
            {shard: [one.report for one in some] for shard, some in self.shards.items()},
            alias_of=self.alias,
            is_unmirrored=self.is_unmirrored,
        )
        step = next_step(self.reindex, view, NOW_MS)
        logged = [*step.ops.items(), *((shard, 1) for shard in step.copy)]
        for shard, entry in logged:
            for replica in self.shards[shard]:
                replica.log.append(entry)
        self.is_unmirrored |= any(isinstance(op, Unmirror) for op in step.ops.values())
        if step.switch:
            assert all(one.report and one.report.is_turned for one in self.replicas)
            assert all(one.report and one.report.is_copied for one in self.replicas)
            self.alias, self.reindex = "shop-2", switched(self.reindex, NOW_MS)
        self.reindex = step.next or self.reindex

    def apply_all(self) -> None:
        """Have all replicas apply all that is logged."""
        for replica in self.replicas:
            while replica.applied < len(replica.log):
                replica.apply()


@given(st.integers(0, 10**6), st.integers(0, 60))
def test_it_switches_when_all_replicas_are_ready_and_not_before(seed: int, cancel_at: int) -> None:
    """Whatever is applied when; if it is cancelled on the way, nothing follows in the end."""
    script, rng = Script(), random.Random(seed)
    for count in range(2000):
        if count == cancel_at:
            script.reindex = ended_by_hand(script.reindex) or script.reindex
        for replica in rng.sample(script.replicas, 2):
            replica.apply()
        if rng.random() < 0.1:
            script.is_unmirrored = False  # another gateway goes on
        script.step()
        if script.reindex.state in {ReindexState.CANCELLED, ReindexState.SWITCHED}:
            break
    script.apply_all()
    if script.reindex.state is ReindexState.CANCELLED:
        assert script.alias == "shop-1"
        assert [one.report for one in script.replicas] == [None] * 4
    else:
        assert script.reindex.state is ReindexState.SWITCHED
        assert (script.alias, script.reindex.switched_at_ms) == ("shop-2", NOW_MS)


@pytest.mark.parametrize(
    ("view", "waits_for"),
    [
        (seen(), "a live replica of shards 0, 1"),
        (seen(None, COPIED), "shards 0, 1 to begin"),
        (seen(MirrorReport("pair"), COPIED), "the copies of shards 0, 1"),
        (seen(MirrorReport("pair"), shortage="disk of w1"), "room: disk of w1"),
        (seen(COPIED, filling=["price"]), "the fields price of shop-2"),
        (seen(COPIED, expiry_obstacle="no date"), "an operator: no date"),
        (seen(COPIED, is_ranked=False), "the term statistics"),
        (seen(COPIED._replace(new_documents=6)), "numbers differ in shards 0, 1"),
        (seen(COPIED._replace(new_documents=4, misfits=1)), "2 documents do not fit shop-2"),
    ],
)
def test_what_it_waits_for_is_named(view: Seen, waits_for: str) -> None:
    """Nothing goes on until then."""
    step = next_step(BEGUN, view, NOW_MS)
    assert waits_for in step.waits_for
    assert step.next is None
    assert not step.switch


def test_documents_that_do_not_fit_may_be_left_out() -> None:
    """If the caller says so, they do not keep it from switching."""
    view = seen(COPIED._replace(new_documents=4, misfits=1))
    assert next_step(BEGUN, view, NOW_MS).is_stopped
    step = next_step(of(ReindexState.COPYING, skip_faulty=True), view, NOW_MS)
    assert step.next is not None
    assert step.next.state is ReindexState.SWITCHING


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"has_old": False}, "shop-1 was removed"),
        ({"has_new": False}, "shop-2 was removed"),
        ({"is_splitting": True}, "a split"),
        ({"alias_of": "shop-3"}, "shop now stands for shop-3"),
        ({"alias_of": ""}, "the alias shop was removed"),
    ],
)
@pytest.mark.parametrize("state", [ReindexState.COPYING, ReindexState.SWITCHING])
def test_it_is_given_up_if_it_can_never_end(
    state: ReindexState, changes: dict[str, Any], error: str
) -> None:
    """With the reason, and without touching the alias."""
    step = next_step(of(state), seen(TURNED, **changes), NOW_MS)
    assert step.next is not None
    assert step.next.state is ReindexState.CANCELLING
    assert error in step.next.error
    assert not step.switch


def test_a_switch_that_another_gateway_has_made_is_recognised() -> None:
    """It died before it could say so: the alias already stands for the new collection."""
    assert next_step(of(ReindexState.SWITCHING), seen(TURNED, alias_of="shop-2"), NOW_MS).switch


def test_a_switched_one_ends_with_its_old_collection() -> None:
    """Until then, nothing is to be done."""
    switched_one = of(ReindexState.SWITCHED)
    assert next_step(switched_one, seen(TURNED, alias_of="shop-2"), NOW_MS).next is None
    step = next_step(switched_one, seen(TURNED, has_old=False), NOW_MS)
    assert step.next is not None
    assert (step.next.state, step.next.ended_at_ms) == (ReindexState.ENDED, NOW_MS)


def test_only_what_has_not_begun_to_switch_or_has_switched_is_ended_by_hand() -> None:
    """A reindex that is about to switch has to be asked again in a moment."""
    found = {state: ended_by_hand(of(state)) for state in ReindexState}
    assert {state.value: one.state.value for state, one in found.items() if one} == {
        "copying": "cancelling",
        "switched": "ending",
    }
