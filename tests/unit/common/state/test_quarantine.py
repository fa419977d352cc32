"""Which tasks are refused, held against a model that remembers every kill."""

import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hedgerow.common.errors import WireError
from hedgerow.common.state.quarantine import Quarantine, QuarantineEntry, Record, What

FINGERPRINTS = [b"a", b"b", b"c"]
EXPIRY_MS = 10_000


def kill(at_ms: int, fingerprint: bytes = b"q", label: str = "", **more: Any) -> Record:
    """A kill; those of one task at one time differ by `id`."""
    record = Record(at_ms, fingerprint, What.KILL, "", "w", label)
    return record._replace(**more)


def is_refused(quarantine: Quarantine, fingerprint: bytes, now_ms: int) -> bool:
    """Whether the task is refused."""
    return quarantine.refused(fingerprint, now_ms) is not None


def test_a_work_is_refused_from_its_nth_kill_until_expiry() -> None:
    """One kill is forgiven, two refuse the task, and the refusal ends on time."""
    quarantine = Quarantine(after=2, expiry_s=60.0)
    quarantine.take([kill(100_000)])
    assert not is_refused(quarantine, b"q", 100_000)
    quarantine.take([kill(130_000)])
    assert is_refused(quarantine, b"q", 130_000)
    assert is_refused(quarantine, b"q", 189_999)
    assert not is_refused(quarantine, b"q", 190_000)


def test_entries_say_what_was_refused_and_until_when() -> None:
    """The listing has label, kills, last kill and expiry, and says which are refused."""
    quarantine = Quarantine(after=2, expiry_s=60.0)
    quarantine.take([kill(10_000, label="first words", worker="w1")])
    quarantine.take([kill(15_000, b"suspect", "other words")])
    quarantine.take([kill(20_000, label="first words", worker="w0")])
    suspect, refused = quarantine.entries(30_000)
    assert (suspect.label, suspect.num_kills, suspect.is_refused) == ("other words", 1, False)
    assert (refused.fingerprint, refused.label, refused.num_kills) == (b"q", "first words", 2)
    assert (refused.last_kill_at_ms, refused.expires_at_ms) == (20_000, 80_000)
    assert refused.workers == ("w0", "w1")
    assert quarantine.count(30_000) == 1
    assert quarantine.entries(80_000) == []


def test_it_remembers_a_bounded_number_and_the_latest() -> None:
    """A flood of killers, in whatever order, drops the oldest and never the newest."""
    records = [kill(at, b"%d" % at) for at in range(100)]
    random.Random(7).shuffle(records)
    quarantine = Quarantine(after=1, expiry_s=60.0, max_records=10)
    for record in records:
        quarantine.take([record])
    assert [entry.fingerprint for entry in quarantine.entries(1000)] == [
        b"%d" % at for at in range(90, 100)
    ]


def test_a_lift_forgives_what_came_before_it() -> None:
    """Kills before the lift no longer count, though they are reported again; later ones do."""
    quarantine = Quarantine(after=2, expiry_s=60.0)
    before = [kill(1000), kill(2000)]
    quarantine.take([*before, Record(2000, b"q", What.LIFTED, "")])
    assert not is_refused(quarantine, b"q", 2001)
    assert quarantine.entries(2001) == []
    quarantine.take([*before, kill(3000)])
    assert not is_refused(quarantine, b"q", 3000)
    quarantine.take([kill(4000)])
    assert is_refused(quarantine, b"q", 4000)


def test_what_was_recorded_before_the_clock_was_set_back_does_not_count() -> None:
    """Neither is a query refused until the clock has caught up, nor are its new kills ignored."""
    hour_ms = 3_600_000
    quarantine = Quarantine(after=2, expiry_s=60.0)
    lift = Record(hour_ms, b"lifted", What.LIFTED, "")
    quarantine.take([kill(hour_ms - 1), kill(hour_ms), lift])
    assert is_refused(quarantine, b"q", hour_ms)
    assert quarantine.count(100_000) == 0
    assert not is_refused(quarantine, b"q", 100_000)
    for fingerprint in (b"q", b"lifted"):
        quarantine.take([kill(100_000, fingerprint), kill(101_000, fingerprint)])
        assert is_refused(quarantine, fingerprint, 101_000)
    # Others' clocks may be ahead by a little.
    quarantine.take([kill(101_500, b"ahead"), kill(101_600, b"ahead")])
    assert quarantine.count(101_000) == 3


def test_a_trial_lasts_until_it_has_ended_or_its_time_is_over() -> None:
    """Others wait from the kill until its second try is over, or its deadline has passed."""
    quarantine = Quarantine(after=2, expiry_s=60.0)
    quarantine.take([kill(1000, trial_until_ms=1300)])
    assert quarantine.trial_until_ms(b"q", 1000) == 1300
    assert quarantine.trial_until_ms(b"q", 1300) == 0
    quarantine.take([Record(1200, b"q", What.TRIED, "")])
    assert quarantine.trial_until_ms(b"q", 1200) == 0
    (entry,) = quarantine.entries(1200)
    assert entry.num_kills == 1


def test_what_is_refused_is_not_on_trial() -> None:
    """No query waits for a try that will not be made."""
    quarantine = Quarantine(after=2, expiry_s=60.0)
    quarantine.take([kill(at, trial_until_ms=9000) for at in (1000, 1001)])
    assert quarantine.trial_until_ms(b"q", 1001) == 0


@given(
    after=st.integers(1, 3),
    kills=st.lists(st.tuples(st.sampled_from(FINGERPRINTS), st.integers(1, 40_000)), max_size=30),
)
def test_it_agrees_with_a_model_that_keeps_every_kill(
    after: int, kills: list[tuple[bytes, int]]
) -> None:
    """Refused means: `after` kills in a row of which none came an expiry after the one before."""
    quarantine = Quarantine(after, EXPIRY_MS / 1000)
    history: dict[bytes, list[int]] = {fingerprint: [] for fingerprint in FINGERPRINTS}
    now_ms = 0
    for fingerprint, pause_ms in kills:
        now_ms += pause_ms
        quarantine.take([kill(now_ms, fingerprint)])
        quarantine.entries(now_ms)  # forgets
        history[fingerprint].append(now_ms)
        for one, times in history.items():
            run, last = 0, now_ms
            for at in reversed(times):
                if last - at >= EXPIRY_MS:
                    break
                run, last = run + 1, at
            assert is_refused(quarantine, one, now_ms) == (run >= after)


records = st.builds(
    Record,
    at_ms=st.integers(0, 40_000),
    fingerprint=st.sampled_from(FINGERPRINTS),
    what=st.sampled_from([What.KILL, What.KILL, What.KILL, What.TRIED, What.LIFTED]),
    id=st.sampled_from(["0", "1", "2"]),
    worker=st.sampled_from(["w0", "w1"]),
    trial_until_ms=st.integers(0, 45_000),
)


@given(data=st.data(), happened=st.lists(records, max_size=40), limit=st.integers(3, 60))
def test_workers_that_have_heard_the_same_refuse_the_same(
    data: st.DataObject, happened: list[Record], limit: int
) -> None:
    """Late, repeated, in any order and in any portions: the answers are the same at any time."""
    views = []
    for _ in range(3):
        view = Quarantine(2, EXPIRY_MS / 1000, max_records=limit)
        repeated = data.draw(st.lists(st.sampled_from(happened), max_size=10)) if happened else []
        told = data.draw(st.permutations([*happened, *repeated]))
        while told:
            cut = data.draw(st.integers(1, len(told)))
            view.take(told[:cut])
            told = told[cut:]
        views.append(view)
    now_ms = data.draw(st.integers(0, 60_000))

    def answers(view: Quarantine) -> list[tuple[int, QuarantineEntry | None]]:
        return [
            (view.trial_until_ms(one, now_ms), view.refused(one, now_ms)) for one in FINGERPRINTS
        ]

    assert answers(views[0]) == answers(views[1]) == answers(views[2])
    listed = [view.entries(now_ms) for view in views]
    assert listed[0] == listed[1] == listed[2]


@given(record=records)
def test_a_record_crosses_the_wire_whole(record: Record) -> None:
    """What was packed is what is unpacked."""
    assert Record.unpack(record.pack()) == record


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xc1",
        b"\x01",
        kill(1).pack()[:-1],
        kill(1).pack().replace(b"\x98\x01", b"\x98\x02", 1),
        Record("1", b"q", What.KILL, "").pack(),  # type: ignore[arg-type] # what is tested
        Record(1, b"q", 9, "").pack(),  # type: ignore[arg-type] # what is tested
    ],
)
def test_a_record_that_cannot_be_read_is_refused(data: bytes) -> None:
    """Malformed bytes, an unknown version and an unknown kind are errors of the wire."""
    with pytest.raises(WireError):
        Record.unpack(data)
