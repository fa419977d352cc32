"""Which works are refused, held against a model that remembers every kill."""

from hypothesis import given
from hypothesis import strategies as st

from shard_worker.lanes.quarantine import Quarantine

FINGERPRINTS = [b"a", b"b", b"c"]


def test_a_work_is_refused_from_its_nth_kill_until_expiry() -> None:
    """One kill is forgiven, two refuse the work, and the refusal ends on time."""
    quarantine = Quarantine(after=2, expiry_s=60.0)
    quarantine.record_kill(b"q", "bad query", 100.0)
    assert not quarantine.is_quarantined(b"q", 100.0)
    quarantine.record_kill(b"q", "bad query", 130.0)
    assert quarantine.is_quarantined(b"q", 130.0)
    assert quarantine.is_quarantined(b"q", 189.9)
    assert not quarantine.is_quarantined(b"q", 190.0)


def test_kills_far_apart_do_not_add_up() -> None:
    """A kill is forgotten after the expiry, so the next one counts as the first."""
    quarantine = Quarantine(after=2, expiry_s=60.0)
    quarantine.record_kill(b"q", "", 0.0)
    quarantine.record_kill(b"q", "", 61.0)
    assert not quarantine.is_quarantined(b"q", 61.0)


def test_entries_say_what_was_refused_and_until_when() -> None:
    """The listing carries label, kills, first kill and expiry, and tells suspects apart."""
    quarantine = Quarantine(after=2, expiry_s=60.0)
    quarantine.record_kill(b"q", "first words", 10.0)
    quarantine.record_kill(b"suspect", "other words", 15.0)
    quarantine.record_kill(b"q", "first words", 20.0)
    suspect, refused = quarantine.entries(30.0)
    assert (suspect.label, suspect.num_kills, suspect.is_refused) == ("other words", 1, False)
    assert (refused.fingerprint, refused.label, refused.num_kills) == (b"q", "first words", 2)
    assert (refused.first_kill_at, refused.expires_at) == (10.0, 80.0)
    assert quarantine.count(30.0) == 1
    assert quarantine.entries(80.0) == []


def test_it_remembers_a_bounded_number_and_the_latest() -> None:
    """A flood of different killers drops the oldest, never the newest."""
    quarantine = Quarantine(after=1, expiry_s=60.0, max_entries=10)
    for at in range(100):
        quarantine.record_kill(b"%d" % at, "", float(at) / 100)
    assert [entry.fingerprint for entry in quarantine.entries(1.0)] == [
        b"%d" % at for at in range(90, 100)
    ]


@given(
    after=st.integers(1, 3),
    kills=st.lists(st.tuples(st.sampled_from(FINGERPRINTS), st.floats(0, 40)), max_size=30),
)
def test_it_agrees_with_a_model_that_keeps_every_kill(
    after: int, kills: list[tuple[bytes, float]]
) -> None:
    """Refused means: `after` kills in a row of which none came an expiry after the one before."""
    expiry_s = 10.0
    quarantine = Quarantine(after, expiry_s)
    history: dict[bytes, list[float]] = {fingerprint: [] for fingerprint in FINGERPRINTS}
    now = 0.0
    for fingerprint, pause_s in kills:
        now += pause_s
        quarantine.record_kill(fingerprint, "", now)
        history[fingerprint].append(now)
        for one, times in history.items():
            run, last = 0, now
            for at in reversed(times):
                if last - at >= expiry_s:
                    break
                run, last = run + 1, at
            assert quarantine.is_quarantined(one, now) == (run >= after)
