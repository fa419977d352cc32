"""With which priority clones are made, in virtual time."""

import pytest

from hedgerow.shard_worker.indexing.background_thread import Priority
from hedgerow.shard_worker.splitting.clone_priority import INSISTS_S, ClonePriority

IDLE, NICER = Priority.IDLE, Priority.NICER


def test_clones_take_what_is_left() -> None:
    """As long as that is enough, whatever they have taken."""
    priority = ClonePriority(0.5)
    for second in range(1, 1000):
        assert priority.choose(second) is IDLE
        assert not priority.is_starved(IDLE, float(second), 0.5 * second, second)


def test_a_clone_that_starves_is_begun_again_and_others_insist_for_a_while() -> None:
    """A machine that is always busy ends a split all the same."""
    priority = ClonePriority(0.5)
    assert priority.is_starved(IDLE, 3.0, 0.1, 100.0)
    assert priority.choose(100.0) is NICER
    assert priority.choose(99.0 + INSISTS_S) is NICER
    assert priority.choose(101.0 + INSISTS_S) is IDLE


def test_a_clone_is_begun_again_once() -> None:
    """With the higher priority, it goes on however little it gets."""
    assert not ClonePriority(0.5).is_starved(NICER, 1000.0, 0.1, 1000.0)


def test_a_moment_in_which_searches_need_all_cores_is_no_starving() -> None:
    """Nor is a clone given up that has got much before."""
    priority = ClonePriority(0.5)
    assert not priority.is_starved(IDLE, 1.0, 0.0, 1.0)
    assert not priority.is_starved(IDLE, 60.0, 20.0, 60.0)
    assert priority.choose(60.0) is IDLE


@pytest.mark.parametrize("now", [0.0, 1000.0])
def test_with_a_share_of_one_nothing_gives_way(now: float) -> None:
    """This setting says that the split matters more than searches."""
    priority = ClonePriority(1.0)
    assert priority.choose(now) is Priority.OF_PROCESS
    assert not priority.is_starved(Priority.OF_PROCESS, 1000.0, 0.0, now)
