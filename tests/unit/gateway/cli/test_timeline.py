"""The picture of each shard's part: to scale, readable without colour, within its width."""

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from hedgerow.common.outcome import Outcome
from hedgerow.gateway.cli.timeline import KINDS, QUEUE, Timeline, cells, scale_us, segments
from hedgerow.gateway.client import ShardDetail
from tests.support.sample_results import as_answer, make_result

_time_us = st.integers(0, 10_000_000)
_words = st.text(st.characters(codec="ascii"), max_size=200)
_details = st.builds(
    ShardDetail,
    shard=st.integers(0, 999),
    outcome=st.sampled_from(Outcome),
    reason=_words,
    worker=_words,
    queue_us=_time_us,
    lane_us=_time_us,
    work_us=_time_us,
    took_us=_time_us,
    breaker=st.sampled_from(["closed", "open", "half_open", "forced_open", "disabled"]),
)


def draw(
    details: list[ShardDetail],
    *,
    width: int = 80,
    encoding: str = "utf-8",
    deadline_ms: float = 300,
) -> str:
    """Draw on a terminal of `width` columns that knows no colour."""
    file = io.TextIOWrapper(io.BytesIO(), encoding, newline="")
    console = Console(file=file, width=width, no_color=True, force_terminal=False)
    console.print(Timeline(as_answer(make_result(detail=details, deadline_ms=deadline_ms))))
    file.flush()
    return file.buffer.getvalue().decode(encoding)


@given(
    parts=st.lists(st.tuples(st.sampled_from(KINDS), st.integers(1, 10**7)), max_size=6),
    scale=st.integers(1, 10**7),
    width=st.integers(1, 200),
)
def test_segments_are_drawn_to_scale(
    parts: list[tuple[object, int]], scale: int, width: int
) -> None:
    """Each end lies within one cell of where it should, and nothing passes the width."""
    drawn = cells(parts, scale, width)  # type: ignore[arg-type] # a kind is opaque to it
    total = sum(time_us for _, time_us in parts)
    assert sum(count for _, count in drawn) <= width
    assert abs(sum(count for _, count in drawn) - min(width, total / scale * width)) <= 1
    assert bool(drawn) == bool(parts)
    order = [kind for kind, _ in drawn]
    remaining = iter(kind for kind, _ in parts)
    assert all(kind in remaining for kind in order)


@given(detail=_details)
def test_segments_add_up_to_the_time_taken(detail: ShardDetail) -> None:
    """What is drawn is the time taken, unless the worker claims more than that."""
    total = sum(time_us for _, time_us in segments(detail))
    known = detail.queue_us + detail.lane_us + detail.work_us
    assert total == max(detail.took_us, known)


@given(details=st.lists(_details, max_size=10), deadline_us=st.integers(1000, 10**8))
def test_the_scale_holds_all_or_ends_at_the_deadline(
    details: list[ShardDetail], deadline_us: int
) -> None:
    """The bar's end is the deadline, or else a round number that holds the slowest shard."""
    scale = scale_us(details, deadline_us)
    slowest = max((sum(t for _, t in segments(detail)) for detail in details), default=0)
    assert scale <= deadline_us
    if scale < deadline_us:
        assert slowest <= scale <= max(1, slowest) * 5
        assert str(round(scale)).rstrip("0") in {"1", "2", "5"}


@given(
    details=st.lists(_details, max_size=12, unique_by=lambda detail: detail.shard),
    encoding=st.sampled_from(["utf-8", "ascii"]),
)
def test_every_picture_fits_80_columns(details: list[ShardDetail], encoding: str) -> None:
    """No line is longer than the terminal is wide, and each shard has its line, in order."""
    lines = draw(details, encoding=encoding).splitlines()
    assert all(len(line) <= 80 for line in lines)
    shards = [int(line[:5]) for line in lines if line[:5].strip().isdigit()]
    assert shards == sorted(detail.shard for detail in details)


def test_kinds_are_told_apart_without_colour() -> None:
    """Each kind of segment has a sign of its own, in either character set."""
    assert len({kind.sign for kind in KINDS}) == len(KINDS)
    assert len({kind.ascii_sign for kind in KINDS}) == len(KINDS)


def test_a_picture_shows_where_the_time_went() -> None:
    """Half in the queue and half at work, to the deadline: half of each sign."""
    detail = ShardDetail(0, Outcome.OK, "", "w", "process", 150_000, 0, 150_000, 300_000, "closed")
    line = draw([detail]).splitlines()[1]
    bar = line[line.index("│") + 1 : line.rindex("│")]
    assert abs(bar.count("░") - len(bar) / 2) <= 1
    assert abs(bar.count("█") - len(bar) / 2) <= 1
    assert "300.0 ms" in line


def test_a_shard_that_did_not_answer_says_why() -> None:
    """A late shard and one that was never asked have their reasons, outcomes and breakers."""
    text = draw(
        [
            ShardDetail(5, Outcome.TIMED_OUT, "no reply", took_us=300_000, breaker="half_open"),
            ShardDetail(6, Outcome.BREAKER_OPEN, "5 failures in a row", breaker="open"),
        ]
    )
    lines = text.splitlines()
    assert "timed_out" in lines[1]
    assert "╌╌╌" in lines[1]
    assert "half_open" in lines[1]
    assert lines[2].strip() == "no reply"
    assert "not asked" in lines[3]
    assert lines[4].strip() == "5 failures in a row"


def test_an_ascii_terminal_gets_ascii() -> None:
    """Without block characters the picture is drawn in ASCII signs."""
    detail = ShardDetail(0, Outcome.OK, "", "w", "process", 150_000, 0, 150_000, 300_000, "closed")
    text = draw([detail], encoding="ascii")
    assert text.isascii()
    assert QUEUE.ascii_sign * 10 in text


@pytest.mark.parametrize(
    ("is_hedge", "outcome", "told"),
    [
        (True, Outcome.OK, "a second copy left after 5.5 ms, which answered"),
        (False, Outcome.OK, "a second copy left after 5.5 ms"),
        (False, Outcome.TIMED_OUT, "no reply; a second copy left after 5.5 ms"),
    ],
)
def test_a_second_copy_is_told(is_hedge: bool, outcome: Outcome, told: str) -> None:
    """When it left and whether it was the one that answered, below the shard's bar."""
    reason = "" if outcome is Outcome.OK else "no reply"
    detail = ShardDetail(3, outcome, reason, took_us=9000, hedged_us=5500, is_hedge=is_hedge)
    lines = [line.strip() for line in draw([detail]).splitlines()]
    assert told in lines
