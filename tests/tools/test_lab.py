"""The lab's pure parts: verdicts, the report, and the parameters of its rank profiles."""

import asyncio
import datetime as dt
import inspect
import json
import math
import re
import sys
from collections.abc import Sequence
from html.parser import HTMLParser
from pathlib import Path
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hedgerow.common.outcome import Outcome
from hedgerow.common.partition import shard_of
from hedgerow.common.settings.breaker import BreakerSettings
from hedgerow.common.settings.settings import Settings
from hedgerow.gateway.policies.breaker import Breaker
from hedgerow.gateway.search.gather import Gather
from hedgerow.shard_worker.scoring.ranking import enrich_hooks, second_phases
from lab import __main__ as command
from lab.cluster import PROFILES, LabCluster
from lab.experiments import breaker_trial, mistake_threads, seven_of_eight
from lab.experiments.breaker_trial import Look, Record, Trial
from lab.finding import (
    Finding,
    Options,
    Plot,
    Snippet,
    at_least,
    at_most,
    code_of,
    exactly,
    number,
)
from lab.journal import VARIABLE, noted, read_stints
from lab.locks import find_circle, tell
from lab.report import Run, anchor, rich, to_html, to_markdown
from lab.script import read, script
from lab.shards import Shards
from lab.yardstick import gains, speed_up

_DOCS = Path(__file__).parents[2] / "docs"
_SVG = (
    '<?xml version="1.0"?>\n<!DOCTYPE svg PUBLIC "x" "http://www.w3.org/svg11.dtd">\n'
    '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 1 1">\n <metadata>\n  '
    '<a href="http://purl.org/"/>\n </metadata>\n<path d="M0 0"/></svg>\n'
)


def _finding(**changes: Any) -> Finding:
    return Finding(
        **{
            "name": "trial",
            "title": "A trial: of `it`",
            "claim": "It is < 5 & *more*.",
            "set_up": "Once.",
            "code": [Snippet("here.py, `it`", "if a < b:\n    it()")],
            "columns": ("", "ms"),
            "rows": [("`it`", "4")],
            "checks": [at_most("it", 4.0, 5.0, "3 ms", " ms")],
            "plots": [Plot("lab-trial.svg", 'A "line"', _SVG)],
            "reading": "So it is.",
            **changes,
        }
    )


def _run(*findings: Finding) -> Run:
    return Run(findings, "2 cores", "make lab", 0.5, 61.0, dt.date(2026, 1, 2))


@given(st.floats(allow_nan=False), st.floats(allow_nan=False))
def test_a_verdict_goes_by_its_limit(measured: float, limit: float) -> None:
    """A figure is seen on the right side of its limit, the limit included, and not on the other."""
    assert at_least("it", measured, limit, "").is_met == (measured >= limit)
    assert at_most("it", measured, limit, "").is_met == (measured <= limit)
    assert exactly("it", measured, limit).is_met == (measured == limit)


def test_what_was_not_measured_is_not_seen() -> None:
    """Neither limit is met by a figure that is no number, and no claim by no figures."""
    assert not at_least("it", math.nan, 1.0, "").is_met
    assert not at_most("it", math.nan, 1.0, "").is_met
    assert not _finding(checks=[]).is_met


def test_a_claim_fails_with_one_of_its_parts() -> None:
    """One check that is not met is enough."""
    good, bad = at_most("a", 1.0, 2.0, ""), at_most("b", 3.0, 2.0, "")
    assert _finding(checks=[good, good]).is_met
    assert not _finding(checks=[good, bad]).is_met


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0"), (0.0724, "0.0724"), (1.0, "1"), (7.849, "7.85"), (41.26, "41.3"), (1612.4, "1,612"),
     (-3.0, "-3"), (99.96, "100"), (math.nan, "—"), (math.inf, "—")],
)  # fmt: skip
def test_figures_have_the_digits_that_mean_something(value: float, text: str) -> None:
    """Three digits, without zeros at the end, and thousands apart."""
    assert number(value) == text


def test_code_is_the_source() -> None:
    """What the report shows is in the file as it stands, less its indentation; and says where."""
    shown = code_of(Breaker.allow)
    assert (shown.path, shown.name) == ("gateway/policies/breaker.py", "Breaker.allow")
    assert shown.where == "gateway/policies/breaker.py, `Breaker.allow`"
    source = [line.strip() for line in inspect.getsource(Breaker.allow).splitlines()]
    assert [line.strip() for line in shown.text.splitlines()] == source
    assert shown.text.startswith("def allow(self")
    assert shown.text.endswith("return self._probe(now)")


class _Page(HTMLParser):
    """What a page fetches, and whether its elements are closed in order."""

    def __init__(self) -> None:
        super().__init__()
        self.fetched: list[str] = []
        self.tags: set[str] = set()
        self._open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        for name, value in attrs:
            if name in {"src", "href", "xlink:href", "data"} and value:
                self.fetched.append(value)
        if tag not in {"meta", "link"}:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        self._open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def close(self) -> None:
        super().close()
        assert self._open == []


def test_the_page_needs_nothing_else() -> None:
    """The HTML runs no script, fetches nothing, and holds the pictures."""
    text = to_html(_run(_finding(), _finding(name="other")))
    page = _Page()
    page.feed(text)
    page.close()
    assert "script" not in page.tags
    assert all(one.startswith(("#", "data:")) for one in page.fetched)
    assert not re.search(r"url\(['\"]?http|@import", text)
    assert text.count("<svg ") == 2
    assert text.count("<!") == 1


def test_what_is_said_is_shown_as_it_is() -> None:
    """Claims and code may hold HTML's special characters, and Markdown marks become elements."""
    text = to_html(_run(_finding()))
    assert "It is &lt; 5 &amp; <em>more</em>." in text
    assert "if a &lt; b:\n    it()" in text
    assert 'aria-label="A &quot;line&quot;"' in text
    assert rich("2 * 3 * 4 of `a*b*c` and **all**") == (
        "2 * 3 * 4 of <code>a*b*c</code> and <strong>all</strong>"
    )


def test_both_forms_tell_of_a_claim_that_was_not_seen() -> None:
    """A failed verdict is in the summary, in the contents and in the table."""
    run = _run(_finding(), _finding(checks=[at_least("it", 1.0, 2.0, "3")]))
    assert run.summary == "1 of 2 experiments show what they claim"
    markdown, page = to_markdown(run), to_html(run)
    assert run.summary in markdown
    assert run.summary in page
    assert "| it | 3 | at least 2 | 1 | NOT SEEN |" in markdown
    assert markdown.count("NOT SEEN") == 2
    assert page.count("NOT SEEN") == 3


def test_markdown_names_its_pictures_and_leads_to_its_sections() -> None:
    """The contents' links are the headings', and pictures are files beside it."""
    markdown = to_markdown(_run(_finding()))
    assert f"](#{anchor('A trial: of `it`')}): seen" in markdown
    assert anchor("A trial: of `it`") == "a-trial-of-it"
    assert '![A "line"](lab-trial.svg)' in markdown
    assert "<svg" not in markdown


@given(st.lists(st.integers(0, 9999), min_size=1, max_size=64))
def test_each_shard_reads_its_own_time(times_ms: list[int]) -> None:
    """Whichever document a shard is asked for, its time is that of its place in the script."""
    text = script(times_ms)
    for document in ("a", "b", "document-3"):
        shard = shard_of(document, len(times_ms))
        assert read(text, document) == (shard, times_ms[shard] / 1000)


def test_profiles_name_functions_that_are_there() -> None:
    """Each of the lab's rank profiles has a second phase or a hook that can be imported."""
    assert {*second_phases(PROFILES), *enrich_hooks(PROFILES)} == set(PROFILES)


def test_a_journal_knows_what_has_not_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A task under way, or whose process was killed during it, has no end; others have one."""
    path = tmp_path / "journal"
    assert read_stints(path) == []
    monkeypatch.setenv(VARIABLE, str(path))
    with noted(3):
        (stint,) = read_stints(path)
        assert stint.shard == 3
        assert stint.ended_at is None
    (stint,) = read_stints(path)
    assert stint.ended_at is not None
    assert stint.ended_at >= stint.started_at
    assert read_stints(path, since=stint.ended_at + 1) == []


@pytest.mark.parametrize(("limit", "status"), [(1.0, 0), (2.0, 1)])
def test_exit_status_tells_whether_all_was_seen(
    limit: float, status: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A verdict that fails makes `make lab` fail, after the report was written."""
    pytest.importorskip("matplotlib")

    async def run(_options: Options) -> Finding:
        return _finding(checks=[at_least("it", 1.0, limit, "1")])

    monkeypatch.setattr(command, "EXPERIMENTS", {"trial": run})
    monkeypatch.setattr(command, "_DOCUMENT", tmp_path / "must-not-be" / "lab.md")
    monkeypatch.setattr(sys, "argv", ["lab", "--output", str(tmp_path / "out")])
    assert command.main() == status
    shown = (tmp_path / "out" / "lab.html").read_text(encoding="utf-8")
    assert ("NOT SEEN" in shown) == bool(status)
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "lab-trial.svg",
        "lab.html",
        "lab.md",
    ]


def test_an_experiment_that_breaks_costs_its_own_verdict(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The others run and are reported; the exit status and the report both show it."""
    pytest.importorskip("matplotlib")

    async def breaks(_options: Options) -> Finding:
        raise TimeoutError("the cluster did not come up")

    async def runs(_options: Options) -> Finding:
        return _finding()

    monkeypatch.setattr(command, "EXPERIMENTS", {"first": breaks, "second": runs})
    monkeypatch.setattr(sys, "argv", ["lab", "--output", str(tmp_path)])
    assert command.main() == 1
    told = (tmp_path / "lab.md").read_text(encoding="utf-8")
    assert "1 of 2 experiments show what they claim" in told
    assert "`TimeoutError`" in told


def test_a_script_is_one_line_of_a_query() -> None:
    """It survives JSON and stays below the longest query that is allowed, for 64 shards."""
    text = script([20_000] * 64)
    assert json.loads(json.dumps(text)) == text
    assert len(text) < Settings().gateway.max_query_chars


_LOCKS = st.sampled_from("abcd")
_THREADS = st.sampled_from("1234")


@given(st.dictionaries(_LOCKS, _THREADS), st.dictionaries(_THREADS, _LOCKS))
def test_a_circle_is_found_when_nobody_in_it_can_go_on(
    holders: dict[str, str], wants: dict[str, str]
) -> None:
    """The watchdog sees a deadlock exactly if a party is left when all that can go on have gone.

    A party that wants nothing, or a free lock, goes on and gives back what it holds; what is
    left at the end are circles and those who wait for them.
    """
    held, waiting = dict(holders), dict(wants)
    while free := {one for one in {*waiting, *held.values()} if waiting.get(one) not in held}:
        held = {lock: thread for lock, thread in held.items() if thread not in free}
        waiting = {thread: lock for thread, lock in waiting.items() if thread not in free}
    circle = find_circle(holders, wants)
    assert bool(circle) == bool(waiting)
    for one, following in zip(circle, [*circle[1:], *circle[:1]], strict=True):
        assert wants[one.thread] == one.wants
        assert holders[one.wants] == one.held_by == following.thread


def test_a_crowd_is_held_against_what_was_before_it() -> None:
    """Tasks and memory are the most while the crowd was there, less those just before it came."""
    looks = [
        Look(0.0, 9, 90.0),
        Look(0.9, 3, 30.0),
        Look(1.05, 200, 999.0),  # it is still coming
        Look(1.5, 103, 430.0),
        Look(2.0, 110, 420.0),
        Look(2.95, 300, 999.0),  # and here already going
        Look(4.0, 2, 20.0),
    ]
    record = Record(looks=looks, crowd_at=(1.0, 3.0))
    assert record.more_tasks == 107
    assert record.more_memory_kb == 400.0


class _SickShards:
    """Shards that fail as soon as they are asked."""

    async def ask(
        self, shards: Sequence[int], _query: str, _profile: str, _timeout_s: float
    ) -> Gather:
        gather = Gather(shards, bytes)
        await asyncio.sleep(0)
        gather.end(Outcome.FAILED, "it is degraded")
        return gather


@pytest.mark.parametrize("limit", [1, 3, 4, 5])
async def test_the_trial_tells_by_how_many_failures_a_breaker_opens(
    limit: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of five calls under way at once, all but the one that opens it are seen to leave it closed.

    Which the failures alone do not tell: all five have their permits, whatever the limit.
    """
    settings = BreakerSettings(consecutive_failures=limit)
    monkeypatch.setattr(breaker_trial, "BreakerSettings", lambda: settings)
    cluster, shards = cast("LabCluster", None), cast("Shards", _SickShards())
    trial = Trial(cluster, shards, 5.0, is_guarded=True)
    record = Record(first=await trial._calls(5))
    assert [one.outcome for one in record.first] == ["in vain"] * 5
    assert record.num_borne == limit - 1


def test_a_speed_up_is_held_against_what_the_machine_gave_in_the_same_round() -> None:
    """A round in which others took a core counts no less than one in which none did."""
    assert speed_up([200, 100, 90], [100, 100, 50], [2.0, 1.0, 1.8]) == 1.0


@pytest.mark.parametrize(
    ("mine", "is_met", "times", "share"),
    [
        ([400.0, 180.0, 110.0], True, "1.8", "1"),
        ([240.0, 100.0, 59.0], False, "1", "0.59"),
        ([240.0, 108.0, 50.0], True, "1.08", "0.6"),
    ],
)
def test_a_gain_is_told_in_times_and_judged_by_what_the_machine_gave(
    mine: list[float], is_met: bool, times: str, share: str
) -> None:
    """Times are of the medians, as in the tables; the verdict goes by the middle round's share."""
    check = gains("it", mine, [200.0, 100.0, 100.0], [2.0, 1.8, 1.0])
    assert check.is_met == is_met
    assert check.measured == f"{times} times; {share} times their gain in the same round"
    assert check.expected == "1.8 times, as two bare processes of one"
    assert check.limit == "at least 0.6 times what bare processes gain"


@pytest.mark.parametrize("num_rounds", [1, 5])
def test_a_report_tells_of_the_rounds_that_were_made(num_rounds: int) -> None:
    """A quick run of CPU work in threads, which makes fewer rounds, says so."""
    pytest.importorskip("matplotlib")
    rounds = {
        "threads": [mistake_threads.Busy(1.0, 80.0)] * num_rounds,
        "processes": [mistake_threads.Busy(2.0, 160.0)] * num_rounds,
    }
    finding = mistake_threads._finding(rounds, [2.0] * num_rounds, None)
    assert f" {num_rounds} rounds;" in finding.set_up


@pytest.mark.parametrize(
    ("covered", "told"),
    [
        ({200: 0.875, 300: 0.875, 1600: 0.875}, "from a deadline of 200 ms to one of 1,600 ms:"),
        ({200: 0.75, 300: 0.875, 1600: 0.9}, ""),
    ],
)
def test_a_plateau_is_told_of_where_it_was_seen(covered: dict[int, float], told: str) -> None:
    """The remark on deadlines that buy nothing names those of this run with the same coverage."""
    pytest.importorskip("matplotlib")
    points = {
        deadline: seven_of_eight.Point([float(deadline)], [share])
        for deadline, share in {**covered, 2500: 1.0}.items()
    }
    reading = seven_of_eight._finding(points, 1).reading
    assert ("Coverage is the same" in reading) == bool(told)
    assert told in reading


def test_a_watchdog_says_who_holds_what() -> None:
    """Each thread of a circle has a line with its lock and that lock's holder."""
    circle = find_circle({"x": "one", "y": "two"}, {"one": "y", "two": "x"})
    assert tell(circle) == [
        "deadlock: 2 threads wait for each other",
        "  one wants y, which two holds",
        "  two wants x, which one holds",
    ]
