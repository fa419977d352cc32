"""Search as it is used: documents, what callers count, the rounds' figures, and the page."""

import asyncio
import json
import math
import re
from dataclasses import replace
from pathlib import Path

import pytest

from bench.harness.load import Load
from bench.harness.up import Up
from bench.search.debian import synopses
from bench.search.figures import Comparison, Index, Measure, Row, Where
from bench.search.inside.callers import Verdict, body_of, judge, run_callers
from bench.search.kept import Kept
from bench.search.queries import Query
from bench.search.used import driver
from bench.search.used.catalogue import ENGINES, SIZES
from bench.search.used.corpus import shortened, two_words
from bench.search.used.figures import judge as judge_rows
from bench.search.used.page import to_markdown


def _point(whole_per_s: float, in_flight: int = 32, cpu_us: float = 1000.0) -> Measure:
    cpu = {"client": cpu_us / 4, "gateway": cpu_us * 3 / 4}
    return Measure(in_flight, 10, whole_per_s, 2.0, 9.0, cpu_us=cpu, num_answers=100)


def _row(title: str, *points: Measure) -> Row:
    row = Row(title, title)
    for point in points:
        row.add(point)
    return row


def _part() -> Comparison:
    part = Comparison(
        Where("2 cores (made up)", "2026-01-01", "python -m bench.search --used-only", [0.5]),
        documents=1000,
        versions={"wordnet-base": "3.0"},
        counts={"wordnet-base": 1200},
        num_queries=100,
    )
    part.indexes = {"up": Index("`gateway up`", 2.0, 1, 2_000_000, {"hedgerow": "0.1"})}
    part.rows = {
        "up http": _row("up, HTTP", _point(1900), _point(2000), _point(9000)),
        "up http-ids": _row("up, HTTP, ids", _point(3000, cpu_us=800.0)),
        "up client": _row("up, client", _point(1000)),
        "yourself http": _row("yourself", _point(1000)),
    }
    return part


# Documents and queries


def test_a_synopsis_is_the_first_line_of_a_description() -> None:
    """What follows it is left out, and a package appears once."""
    text = (
        "Package: lamp\nDescription-md5: 0\nDescription-en: A lamp\n It glows.\n .\n In red.\n\n"
        "Package: lamp\nDescription-en: Another\n\nPackage: none\nDescription-md5: 1\n"
    )
    assert list(synopses(text)) == [("lamp", "A lamp")]


@pytest.mark.parametrize(
    ("text", "short"),
    [
        ("short", "short"),
        ("a" * 200, "a" * 200),
        ("a" * 300, "a" * 200),
        ("word " * 40 + "end", ("word " * 40).strip()),
        ("a" * 198 + " bcd", "a" * 198),
    ],
)
def test_a_summary_is_cut_after_a_word(text: str, short: str) -> None:
    """At most 200 characters, and no part of a word unless the first one is that long."""
    assert shortened(text) == short


def test_queries_are_words_that_stand_beside_each_other() -> None:
    """Each is of two different words of a document, and none is asked twice."""
    texts = ["A red lamp, a lamp", "the red lamp", "no go", "lamp lamp", "blue doors open"]
    lines = [json.dumps({"id": str(n), "summary": text}).encode() for n, text in enumerate(texts)]
    found = [query.text for query in two_words(lines, 10)]
    assert len(found) == len(set(found))
    assert set(found) <= {"red lamp", "the red", "blue doors", "doors open"}
    assert {"red lamp", "blue doors", "doors open"} & set(found)
    assert two_words(lines, 10) == two_words(lines, 10)
    assert len(two_words(lines, 1)) == 1


# Callers


@pytest.mark.parametrize(
    ("answer", "verdict"),
    [
        (b'{"coverage":{"is_full":true},"fetch":null}', Verdict.WHOLE),
        (b'{"coverage":{"is_full":true},"fetch":{"fetched":3,"missing":0}}', Verdict.WHOLE),
        (b'{"coverage":{"is_full":true},"fetch":{"fetched":3,"missing":1}}', Verdict.PARTIAL),
        (b'{"coverage":{"is_full":false},"fetch":null}', Verdict.PARTIAL),
        (b'{"type":"urn:problem-type:hedgerow:overloaded","status":429}', Verdict.REFUSED),
        (b'{"type":"urn:problem-type:hedgerow:overloaded","status":503}', Verdict.REFUSED),
    ],
)
def test_only_whole_answers_are_whole(answer: bytes, verdict: Verdict) -> None:
    """An answer that lacks documents or fields is partial, and a refusal is neither."""
    assert judge(answer) is verdict


def test_another_problem_is_a_failure() -> None:
    """A response that is neither an answer nor a refusal raises, with its text."""
    with pytest.raises(RuntimeError, match="bad-request"):
        judge(b'{"type":"urn:problem-type:hedgerow:bad-request","status":400}')


def test_a_body_leaves_all_else_to_its_defaults() -> None:
    """With fields, which are the default, only the query and k are named."""
    assert json.loads(body_of("red lamp", 10, True)) == {"query": "red lamp", "k": 10}
    assert json.loads(body_of("red lamp", 10, False))["fields"] is False
    assert json.loads(body_of("red lamp", 10, True, 30_000.0))["deadline_ms"] == 30_000.0


async def test_callers_count_what_they_get() -> None:
    """Only whole answers have a latency; the rest is counted by kind."""
    told = {"a": Verdict.WHOLE, "b": Verdict.PARTIAL, "c": Verdict.REFUSED, "e": Verdict.WHOLE}
    most, now = 0, 0

    async def ask(query: Query, _k: int) -> Verdict:
        nonlocal most, now
        now += 1
        most = max(most, now)
        await asyncio.sleep(0)
        now -= 1
        return told[query.text]

    queries = [Query(text, "") for text in "abcde"]
    loaded = await run_callers(ask, queries, {}, in_flight=3, k=10, seconds=0.0)
    assert len(loaded.latencies_s) == 2
    assert loaded.counts == {"partial": 1, "refused": 1}
    assert loaded.num_failed == 1
    assert loaded.failure == "KeyError('d')"
    assert most == 3


def test_what_gateway_up_prints_is_understood() -> None:
    """Its processes, its size and its address, from lines that it really prints."""
    up = Up(pid=1)
    for line in (
        "process        pid",
        "redis          11  unix:///tmp/data/redis/socket",
        "worker-0       12  shards 0, 1",
        "gateway        14  http://127.0.0.1:8080",
        "2 cores: 1 worker with 2 scorers for 2 shards; --shards and --workers change it",
        "ready at http://127.0.0.1:8080, its API at http://127.0.0.1:8080/docs",
    ):
        up.read(line)
    assert up.pids == {"redis": 11, "worker-0": 12, "gateway": 14}
    assert up.size.startswith("2 cores: 1 worker")
    assert up.address == ("127.0.0.1", 8080)
    assert set(up.parts()) == {"client", "gateway", "Redis", "workers", "scorers", "supervisor"}


# Figures


def test_a_point_counts_whole_answers_alone() -> None:
    """Throughput, latency and CPU are those of whole answers; the rest is shown as shares."""
    load = Load(2.0, [0.001, 0.003, 0.002, 0.004], num_failed=1, failure="no")
    load.counts, load.cpu_s = {"refused": 10, "partial": 5}, {"gateway": 0.02}
    point = Measure.of(load, 64)
    assert (point.queries_per_s, point.num_asked) == (2.0, 20)
    assert (point.p50_ms, point.p99_ms) == (2.0, 4.0)
    assert point.cpu_us == {"gateway": pytest.approx(5000.0)}
    row = _row("a row", point, _point(1.0, in_flight=64))
    assert row.share("refused", 64) == 10 / 120
    assert row.share("partial", 64) == 5 / 120
    assert row.share("failed", 64) == 1 / 120
    assert math.isnan(row.per_s(32))


def test_a_load_without_an_answer_is_a_point_too() -> None:
    """Where all are refused, throughput is 0 and the shares say why."""
    point = Measure.of(
        Load(1.0, counts={"refused": 7}, cpu_s={"gateway": 0.1}), 64, may_be_empty=True
    )
    assert (point.queries_per_s, point.p50_ms, point.num_refused) == (0.0, 0.0, 7)


def test_the_default_is_judged_by_the_medians() -> None:
    """2,000 a second reach the target; fields at 1.25 times do; half of bare HTTP does not."""
    verdicts = judge_rows(_part().rows, cores=2)
    assert [one.is_met for one in verdicts] == [True, True, True, False]
    assert "2.0 times the throughput of yourself" in verdicts[1].text
    assert "1.25 times the CPU" in verdicts[2].text
    assert len(judge_rows(_part().rows, cores=4)) == 3
    rows = _part().rows
    rows["up http-ids"].add(replace(_point(3000), num_refused=90))
    assert not any("the CPU" in one.text for one in judge_rows(rows, cores=2))
    assert judge_rows({}, cores=2) == []


def test_the_page_has_what_was_measured() -> None:
    """Every row with its shares, the CPU of each part, the targets, the sizes and the settings."""
    part, sizes = _part(), _part()
    part.indexes["yourself"] = Index("yourself", reason="no `fastapi`\nis installed")
    sizes.rows = {"2x1 http": Row("2 on 1", "up", points={1: [_point(9, 1)], 32: [_point(1234)]})}
    sizes.indexes["up"].num_processes, sizes.is_whole = 11, True
    page = to_markdown(part, sizes)
    assert "| up, HTTP | 32 | 2,000 | 2 | 9 | 0.0% | 0.0% | 0.0% |" in page
    assert "| up, HTTP | 250 | 750 | 1,000 |" in page
    assert "**not reached**" in page
    assert "| 2 on 1 | 2 | 1,234 | 2 | 9 | 0.0% | 0.0% | 1,000 | 11 | 2 |" in page
    assert "- yourself: no 'fastapi' is installed" in page
    assert page.count("Interrupted before its end") == 1
    assert "| wordnet-base | 3.0 | 1,200 |" in page
    assert "nan" not in re.sub(r"\bnan[a-z]", "", page)


def test_parts_are_read_as_they_were_kept(tmp_path: Path) -> None:
    """What is written comes back unchanged, callers as numbers too; the rest can be cleared."""
    kept, part = Kept(tmp_path), _part()
    kept.write_comparison(part, driver.USED)
    assert Kept(tmp_path).comparison(driver.USED) == part
    assert not driver.is_whole(kept)
    part.is_whole = True
    kept.write_comparison(part, driver.USED)
    kept.write_comparison(part, driver.SIZED)
    assert driver.is_whole(kept)
    kept.clear()
    assert driver.page_of(kept)
    kept.clear(driver.USED)
    assert driver.page_of(kept) == ""


def test_rows_have_names_of_their_own() -> None:
    """No two engines share a name, and the sizes include what fits two cores."""
    names = [engine.name for engine in (*ENGINES, *SIZES)]
    assert len(names) == len(set(names))
    assert ENGINES[0].options == (), "as it comes"
    assert {"1x1", "2x1", "8x4"} <= set(names)
