"""When the copies of a split rest, in virtual time."""

from contextlib import ExitStack

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hedgerow.common.settings.limits import LimitSettings
from hedgerow.common.settings.placement import PlacementSettings
from hedgerow.common.settings.settings import Settings
from hedgerow.common.splitting.rest import LONGEST_GIVING_WAY_S, Rest
from hedgerow.shard_worker.splitting import copy_pace
from hedgerow.shard_worker.splitting.copy_pace import SMALLEST_BYTES, TURN_S, CopyPace


class Times:
    """Copies documents for some time at a pace; `busy` says when searches wait."""

    def __init__(self, share: float, turn_s: float) -> None:
        self.share = share
        self.turn_s = turn_s

    def working_s(self, until: float, *, is_busy: bool = False, is_urgent: bool = False) -> float:
        """For how long, of the time until then, new shards indexed."""
        now = working = 0.0
        while now < until:
            began, now = now, now + self.turn_s
            working += self.turn_s
            rest = Rest.after(began, now, self.share)
            while not rest.is_over(now, is_busy=is_busy, is_urgent=is_urgent):
                now += 0.01
        return working


@pytest.mark.parametrize("share", [0.1, 0.25, 0.5, 0.9])
@pytest.mark.parametrize("turn_s", [0.05, 0.5, 4.0])
def test_new_shards_index_for_their_share_of_the_time(share: float, turn_s: float) -> None:
    """However long a machine needs to index what is copied at once."""
    until = 1000 * turn_s
    assert Times(share, turn_s).working_s(until) == pytest.approx(share * until, rel=0.2)


def test_a_share_of_one_never_rests() -> None:
    """The next documents are copied as soon as those before are applied."""
    assert Rest.after(5.0, 9.0, 1.0).is_over(9.0, is_busy=False, is_urgent=False)


def test_copies_wait_while_searches_wait_but_not_for_ever() -> None:
    """A machine on which searches always wait ends a split all the same."""
    busy = Times(0.5, 0.5).working_s(300.0, is_busy=True)
    assert busy == pytest.approx(300.0 * 0.5 / (0.5 + 0.5 + LONGEST_GIVING_WAY_S), rel=0.05)


def test_a_rest_ends_when_no_search_waits_any_more() -> None:
    """Giving way is not a fixed time."""
    rest = Rest.after(0.0, 1.0, 0.5)
    assert not rest.is_over(2.25, is_busy=True, is_urgent=False)
    assert rest.is_over(2.25, is_busy=False, is_urgent=False)


def test_copies_do_not_rest_when_the_old_log_gets_too_long() -> None:
    """What is written meanwhile is kept for the copies, and must not hold up writes."""
    assert Times(0.1, 0.5).working_s(10.0, is_busy=True, is_urgent=True) == 10.0


@pytest.mark.parametrize(
    ("cpu_s", "share", "rest_s"),
    [(0.5, 0.5, 0.0), (0.1, 0.5, 0.0), (0.6, 0.5, 0.1), (0.5, 0.25, 0.5), (0.2, 0.1, 0.5)],
)
def test_a_clone_takes_at_most_twice_its_share_of_a_core(
    cpu_s: float, share: float, rest_s: float
) -> None:
    """It has the CPU last: what matters is what it took, and not for how long it waited."""
    rest = Rest.after_clone(10.0, 10.5, cpu_s, share)
    assert rest.is_over(10.5 + rest_s, is_busy=True, is_urgent=False)
    assert rest.is_over(10.5, is_busy=False, is_urgent=True)
    if rest_s:
        assert not rest.is_over(10.5 + rest_s - 0.01, is_busy=False, is_urgent=False)


@given(
    began=st.floats(0, 1e6),
    took=st.floats(-1, 60),
    share=st.floats(0.01, 1),
    is_busy=st.booleans(),
)
def test_every_rest_ends(began: float, took: float, share: float, *, is_busy: bool) -> None:
    """At the latest after the share's rest and the longest time for which copies give way."""
    rest = Rest.after(began, began + took, share)
    latest = began + took + max(took, 0.0) * (1 / share) + LONGEST_GIVING_WAY_S
    assert rest.earliest >= began + took
    assert rest.is_over(latest, is_busy=is_busy, is_urgent=False)


@pytest.mark.parametrize("bytes_per_s", [500_000.0, 1_000_000.0, 3_000_000.0])
def test_a_turn_takes_about_half_a_second_on_any_machine(bytes_per_s: float) -> None:
    """What is copied at once follows how fast new shards index, so that commits do not prevail."""
    pace = CopyPace(0.5)
    for _ in range(10):
        pace.adapt(pace.turn_bytes / bytes_per_s)
    assert TURN_S / 2 <= pace.turn_bytes / bytes_per_s <= TURN_S * 2


def test_turns_are_bounded() -> None:
    """However fast or slow the new shards are."""
    pace = CopyPace(0.5, largest_bytes=500_000)
    for _ in range(20):
        pace.adapt(0.0)
    assert pace.turn_bytes == 500_000
    for _ in range(20):
        pace.adapt(100.0)
    assert pace.turn_bytes == SMALLEST_BYTES


def test_turns_go_round() -> None:
    """First come, first served, and never more at once than allowed."""
    pace = CopyPace(0.5, at_once=2)
    with pace.queued() as first:
        with pace.queued() as second:
            with pace.queued() as third:
                assert (first(), second(), third()) == (True, True, False)
            with pace.queued() as fourth:
                assert not fourth()
        with pace.queued() as fifth:
            assert (first(), fifth()) == (True, True)


def test_the_next_gets_its_turn_when_one_ends() -> None:
    """Even if the one that ends queues again at once."""
    pace = CopyPace(0.5)
    first = pace.queued()
    is_first = first.__enter__()
    second = pace.queued()
    is_second = second.__enter__()
    assert (is_first(), is_second()) == (True, False)
    first.__exit__(None, None, None)
    with pace.queued() as is_first_again:
        assert (is_second(), is_first_again()) == (True, False)
    second.__exit__(None, None, None)


class ScriptedTurns:
    """The turns of a machine; `free` says whether the next may be had."""

    def __init__(self) -> None:
        self.free = False
        self.calls: list[str] = []

    async def hold(self, shard: int, at_once: int) -> bool:
        """A shard gets a turn if one is free."""
        self.calls.append(f"hold {shard} of {at_once}")
        return self.free

    async def end(self, shard: int) -> None:
        """A turn is given back."""
        self.calls.append(f"end {shard}")

    def forget(self, shard: int) -> None:
        """A turn is left to itself."""
        self.calls.append(f"forget {shard}")


async def test_a_turn_of_the_machine_is_waited_for_and_given_back() -> None:
    """Nothing is copied before, and another worker gets it afterwards."""
    machine = ScriptedTurns()
    pace = CopyPace(0.5, machine=machine)
    num_pauses = 0

    async def pause() -> None:
        nonlocal num_pauses
        num_pauses += 1
        machine.free = num_pauses == 2

    async with pace.turn(7, pause):
        assert num_pauses == 2
        assert machine.calls == ["hold 7 of 1"] * 3
    assert machine.calls[3:] == ["end 7"]


async def test_a_turn_that_fails_is_left_to_expire() -> None:
    """What fails may be Redis: a copy that is cancelled meanwhile ends without asking it."""
    machine = ScriptedTurns()
    machine.free = True
    pace = CopyPace(0.5, machine=machine)
    with pytest.raises(ZeroDivisionError):
        async with pace.turn(7, _never):
            raise ZeroDivisionError
    assert machine.calls == ["hold 7 of 1", "forget 7"]


async def test_idle_threads_may_use_more_turns() -> None:
    """They are asked of the machine and counted in the process; others keep to theirs."""
    machine = ScriptedTurns()
    machine.free = True
    pace = CopyPace(0.5, at_once=1, idle_at_once=3, machine=machine)
    with pace.queued(), pace.queued(is_idle=True):
        async with pace.turn(7, _never, is_idle=True):
            assert await pace.keep(7, is_idle=True)
        with pace.queued() as is_turn, pace.queued(is_idle=True) as is_idle_turn:
            assert (is_turn(), is_idle_turn()) == (False, False)
    assert machine.calls == ["hold 7 of 3", "hold 7 of 3", "end 7"]


@pytest.mark.parametrize(
    ("cores", "has_idle", "num_turns"),
    [(1, True, 1), (2, True, 1), (8, True, 4), (8, False, 2)],
)
def test_clones_have_two_idle_threads_for_each_two_cores(
    monkeypatch: pytest.MonkeyPatch, cores: int, has_idle: bool, num_turns: int
) -> None:
    """More would wait for cores, and others would take the cores from searches."""
    monkeypatch.setattr(copy_pace, "num_cores", lambda: cores)
    monkeypatch.setattr(copy_pace, "HAS_IDLE", has_idle)
    pace = CopyPace.of(Settings(), lambda: False)
    with ExitStack() as queued:
        turns = [queued.enter_context(pace.queued(is_idle=True)) for _ in range(9)]
        assert sum(is_turn() for is_turn in turns) == num_turns


async def test_copies_as_fast_as_possible_take_no_turns() -> None:
    """With a share of 1, all shards are copied at once."""
    machine = ScriptedTurns()
    pace = CopyPace(1.0, machine=machine)
    async with pace.turn(1, _never), pace.turn(2, _never):
        assert machine.calls == []


async def _never() -> None:
    raise AssertionError


def test_a_worker_rests_until_the_log_is_half_full() -> None:
    """The pace is of the settings."""
    settings = Settings(
        placement=PlacementSettings(split_share=0.25), limits=LimitSettings(max_log_entries=100)
    )
    pace = CopyPace.of(settings, lambda: True)
    assert (pace.share, pace.most_log_entries, pace.is_busy()) == (0.25, 50, True)
