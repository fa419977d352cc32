"""What the rounds of the search engines amount to, and the page that shows it."""

import json
import math
import re
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from bench.harness.load import Load
from bench.search.agreement import compare, matches_sentence, sentence
from bench.search.catalogue import Kind, Subject, choose, engines
from bench.search.figures import (
    Comparison,
    Curve,
    Index,
    Measure,
    Row,
    Series,
    Where,
    exponent,
    judge,
)
from bench.search.inside import serving
from bench.search.inside.hedgerow import layout_of
from bench.search.kept import Kept
from bench.search.page import to_markdown
from bench.search.plot import draw_comparison, draw_curve
from bench.search.queries import Query

REQUIREMENTS = Path(__file__).parents[2] / "bench" / "search" / "requirements"


def _measure(queries_per_s: float, in_flight: int = 32, k: int = 10) -> Measure:
    return Measure(in_flight, k, queries_per_s, 1.0, 2.0, 0)


def _rounds(title: str, kind: Kind, *throughputs: float) -> Row:
    together = [_measure(one) for one in throughputs]
    return Row(title, title, kind, {32: together, 1: [_measure(1.0, 1) for _ in throughputs]})


def _where() -> Where:
    return Where("2 cores (made up)", "2026-01-01", "python -m bench.search", [0.5])


def _comparison() -> Comparison:
    comparison = Comparison(_where(), 1000, {"wordnet-base": "3.0"}, {"wordnet-base": 1200}, 962)
    comparison.indexes = {
        "tantivy": Index(
            "tantivy", 2.0, 5_000_000, 7_000_000, {"tantivy": "0.1"}, [("a", "b", "c")]
        ),
        "lucene": Index("Lucene", reason="no Java is installed"),
    }
    comparison.rows = {
        "tantivy best": _rounds("tantivy, top 10", Kind.LIMIT, 900, 1000, 5000),
        "hedgerow-1 http": _rounds("Hedgerow, 1 shard, HTTP", Kind.OURS, 400, 600, 500),
        "hedgerow-1 noop": _rounds("Hedgerow, HTTP, no search", Kind.OTHER, 700),
        "sqlite sql": _rounds("SQLite FTS5", Kind.RIVAL, 250),
        "lucene best": Row("Lucene", "lucene"),
    }
    return comparison


def test_best_of_ours_is_judged_by_the_medians() -> None:
    """500 of 1000 queries a second reach half, 499 do not; and SQLite is beaten twice over."""
    comparison = _comparison()
    verdicts = judge(comparison.rows)
    assert [one.is_met for one in verdicts] == [True, True]
    assert "50% of the throughput of tantivy, top 10" in verdicts[0].text
    assert "2.0 times the throughput of SQLite FTS5" in verdicts[1].text
    comparison.rows["hedgerow-1 http"] = _rounds("Hedgerow", Kind.OURS, 499)
    comparison.rows["sqlite sql"] = _rounds("SQLite FTS5", Kind.RIVAL, 600)
    assert [one.is_met for one in judge(comparison.rows)] == [False, False]


def test_nothing_is_judged_that_was_not_measured() -> None:
    """Without figures of both Hedgerow and another engine there is no verdict."""
    comparison = _comparison()
    del comparison.rows["tantivy best"]
    assert len(judge(comparison.rows)) == 1
    del comparison.rows["hedgerow-1 http"]
    assert judge(comparison.rows) == []


def test_measure_is_of_what_was_answered() -> None:
    """Throughput counts answers without failures; a load without an answer has none."""
    measure = Measure.of(Load(2.0, [0.001] * 9 + [0.1], num_failed=3, failure="x"), 32)
    assert (measure.queries_per_s, measure.num_failed) == (5.0, 3)
    assert measure.p50_ms == pytest.approx(1.0)
    assert measure.p99_ms == pytest.approx(100.0)
    with pytest.raises(ValueError, match="no query was answered: refused"):
        Measure.of(Load(1.0, [], num_failed=1, failure="refused"), 32)


def test_growth_is_a_power() -> None:
    """Cost in proportion has exponent 1, cost that does not grow 0."""
    assert exponent([(10, _measure(1000)), (1000, _measure(10))]) == pytest.approx(1.0)
    assert exponent([(10, _measure(50)), (1000, _measure(50))]) == pytest.approx(0.0)
    with pytest.raises(ValueError, match="two points"):
        exponent([(10, _measure(50))])


def test_page_has_what_was_measured_and_says_what_was_not() -> None:
    """The medians, the verdicts, versions, settings and reasons stand on the page."""
    comparison = _comparison()
    comparison.is_whole = True
    page = to_markdown(comparison, [])
    assert "Interrupted" not in page
    assert "| tantivy, top 10 | 1,000 | 1 | 2 | 1 | 2 | 3 | 0 |" in page
    assert "| Lucene | — | — | — | — | — | — | — |" in page
    assert "- Lucene: no Java is installed" in page
    assert "(target: at least 50%): reached." in page
    assert "| tantivy | 2.0 | 500 | 5 | 7 |" in page
    assert "- a: b. C." in page
    assert "| wordnet-base | 3.0 | 1,200 |" in page


def test_page_tells_what_each_part_takes_of_a_query() -> None:
    """CPU of a load becomes µs for each answer, the median of the rounds, and a row with a sum."""
    comparison = _comparison()
    loads = [
        Load(1.0, [0.001] * 100, cpu_s={"gateway": gateway_s, "scorers": 0.03})
        for gateway_s in (0.01, 0.05, 0.02)
    ]
    comparison.rows["hedgerow-1 http"].points[32] = [Measure.of(load, 32) for load in loads]
    page = to_markdown(comparison, [])
    assert "| CPU of a query, µs | gateway | scorers | sum |" in page
    assert "| Hedgerow, 1 shard, HTTP | 200 | 300 | 500 |" in page


def test_page_tells_what_a_query_takes_and_what_its_parts_would() -> None:
    """Cores over throughput is what an answer takes; the part that is not CPU time is idle.

    With 2 cores: 1,000 a second take 2,000 µs of a core each, 500 take 4,000. If everything around
    a search takes 1,000 µs and the scorers 1,500, both together could answer 800 a second.
    """
    comparison = _comparison()
    load = Load(1.0, [0.001] * 500, cpu_s={"gateway": 0.5, "scorers": 1.0})  # 3,000 µs an answer
    comparison.rows["hedgerow-1 http"].points[32] = [Measure.of(load, 32)]
    around = Load(1.0, [0.001] * 500, cpu_s={"gateway": 0.3, "scorers": 0.2})
    comparison.rows["hedgerow-1 noop"].points[32] = [Measure.of(around, 32)]
    page = to_markdown(comparison, [])
    assert "A query takes tantivy 2,000 µs of a core" in page
    assert "Hedgerow with one shard takes 4,000: 3,000 µs of CPU (below), and 25% of" in page
    assert "Each part by itself" not in page  # the scorers' has not been measured
    comparison.rows["hedgerow-scorers score"] = _rounds("scorers", Kind.OTHER, 4000 / 3)
    page = to_markdown(comparison, [])
    assert "1,000 µs of CPU per query, the scorers 1,500" in page
    assert "2,500 µs, with which Hedgerow would reach 80% of tantivy's" in page
    assert "The other 1,500 µs are the price of combining them" in page


def test_page_has_a_sentence_and_a_picture_for_each_curve() -> None:
    """A curve's growth is read from its ends; one that was interrupted says so."""
    series = Series("Hedgerow, HTTP", [(10, _measure(1000)), (100, _measure(500))])
    flights = Series(
        "Hedgerow, HTTP", [(1, _measure(100)), (8, _measure(850)), (64, _measure(900))]
    )
    page = to_markdown(
        _comparison(),
        [
            Curve("documents", "4 shards", _where(), [series], is_whole=True),
            Curve("in-flight", "4 shards", _where(), [flights]),
        ],
    )
    assert "10 times as many make a query 2.0 times as expensive (1,000 µs to 2,000 µs" in page
    assert "a power of 0.30" in page
    assert "with 8 it is within 10% of the most, 900." in page
    assert page.count("Interrupted before its end.") == 2  # this one, and the comparison
    assert "(search-documents.svg)" in page
    assert "(search-in-flight.svg)" in page


def test_pictures_are_svg_with_every_subject() -> None:
    """The bars name who was measured, the curves what they are of, and the same gives the same."""
    measured = [one for one in _comparison().rows.values() if one.together]
    bars = draw_comparison(measured)
    curve = Curve(
        "k", "held", _where(), [Series("Hedgerow, HTTP", [(1, _measure(9)), (10, _measure(5))])]
    )
    lines = draw_curve(curve)
    for svg in (bars, lines):
        ET.fromstring(svg)
    assert all(one.title in bars for one in measured)
    assert "Hedgerow, HTTP" in lines
    assert lines == draw_curve(curve)


def test_kept_parts_are_read_as_they_were_written(tmp_path: Path) -> None:
    """Figures survive their file, and are gone when they are cleared."""
    kept = Kept(tmp_path)
    assert (kept.comparison(), kept.curves()) == (None, [])
    curve = Curve("k", "held", _where(), [Series("a", [(1, _measure(9))])])
    kept.write_comparison(_comparison())
    kept.write_curve(curve)
    assert kept.comparison() == _comparison()
    assert kept.curves() == [curve]
    kept.clear()
    assert (kept.comparison(), kept.curves()) == (None, [])


def test_agreement_forgives_ties_with_the_last_and_nothing_else() -> None:
    """Documents above the last score must be the same, and all scores must match by rank."""
    ones: list[tuple[int | None, serving.Hits]] = [
        (3, [("a", 2.0), ("b", 1.0)]),
        (2, [("a", 2.0), ("b", 1.0)]),
        (1, [("a", 2.0)]),
    ]
    tied = compare(ones[:1], [(3, [("a", 1.0), ("c", 0.5)])], factor=2.0)
    assert (tied.num_same_scores, tied.num_same_ids, tied.num_same_totals) == (1, 1, 1)
    other = compare(ones[1:2], [(3, [("c", 2.0), ("b", 1.0)])])
    assert (other.num_same_scores, other.num_same_ids, other.num_same_totals) == (1, 0, 0)
    fewer = compare(ones[2:], [(None, [])])
    assert (fewer.num_same_scores, fewer.num_same_totals) == (0, None)
    scaled = compare(ones[:1], [(3, [("a", 2.0), ("b", 1.01)])])
    assert scaled.differing == (0,)


def test_queries_that_differ_are_named() -> None:
    """The sentence quotes the first differences, and says how many more there are."""
    ones: list[tuple[int | None, serving.Hits]] = [(1, [("a", 1.0)])] * 5
    others: list[tuple[int | None, serving.Hits]] = [(1, [("a", 1.0)]), *[(1, [("a", 2.0)])] * 4]
    queries = [Query(f"q{number}", "any") for number in range(5)]
    said = sentence("One", "the other", compare(ones, others), queries)
    assert "are the same in 1" in said
    assert said.endswith("They differ for `q1`, `q2`, `q3` and 1 more.")
    assert sentence("One", "itself", compare(ones, ones), queries).endswith("is the same in 5.")


def test_rivals_are_held_to_how_many_they_match() -> None:
    """The sentence counts the queries with the same number of matches, and quotes the others."""
    ones: list[tuple[int | None, serving.Hits]] = [(1, []), (2, []), (3, [])]
    others: list[tuple[int | None, serving.Hits]] = [(1, []), (9, []), (3, [])]
    queries = [Query(text, "any") for text in ("red", "green", "blue")]
    told = matches_sentence("SQLite", "tantivy", ones, others, queries)
    assert told == (
        "SQLite and tantivy: of 3 queries 2 match as many documents. The others are `green`."
    )
    assert "others" not in matches_sentence("SQLite", "tantivy", ones, ones, queries)


def test_engines_are_chosen_by_name_or_module() -> None:
    """A module names all its engines; an unknown name is refused with those there are."""
    assert [one.name for one in choose("sqlite,hedgerow-2", 2)] == ["hedgerow-2", "sqlite"]
    assert [one.name for one in choose("hedgerow-scorers", 2)] == ["hedgerow-scorers"]
    assert [one.name for one in choose("hedgerow", 2)] == [f"hedgerow-{n}" for n in (1, 2, 4, 8)]
    assert choose("", 2) == list(engines(2))
    with pytest.raises(ValueError, match=r"no engine is called solr; there are .*tantivy"):
        choose("solr", 2)


def test_subjects_have_names_and_titles_of_their_own() -> None:
    """No two rows of the table are called alike."""
    subjects = [Subject(engine, way) for engine in engines(2) for way, _ in engine.ways]
    assert len({one.name for one in subjects}) == len({one.title for one in subjects}) == 15


def test_shards_are_spread_over_workers() -> None:
    """Each shard is on one worker, and workers have as many as the others, or one more."""
    layout = layout_of(7, 3)
    assert sorted(shard for shards in layout for shard in shards) == list(range(7))
    assert sorted(map(len, layout)) == [2, 2, 3]


def test_load_goes_on_where_the_last_has_ended(tmp_path: Path) -> None:
    """Of documents that grow from 2 to 5, the three new ones are loaded; at first, two."""
    documents = tmp_path / "documents.ndjson"
    lines = [json.dumps({"id": str(number), "text": f"text {number}"}) for number in range(9)]
    documents.write_text("\n".join(lines), encoding="utf-8")
    task = serving.Task(tmp_path, documents, 2, [], 0, [])
    assert list(task.read(2, 5)) == [(str(number), f"text {number}") for number in (2, 3, 4)]
    assert [one for one, _ in task.read()] == ["0", "1"]


def test_load_passes_over_all_queries_alike() -> None:
    """All queries are asked equally often, and a failure is counted but not timed."""
    queries = [Query(str(number), "any") for number in range(7)]
    asked: list[str] = []

    def find(query: Query, k: int) -> tuple[int | None, serving.Hits]:
        asked.append(query.text)
        if query.text == "3":
            raise RuntimeError("three")
        return None, [("a", float(k))]

    loaded = serving.run([find, find], queries, in_flight=5, k=10, seconds=0.0)
    assert sorted(asked) == [one.text for one in queries]
    assert len(loaded.latencies_s) == 6
    assert (loaded.num_failed, loaded.failure) == (1, "RuntimeError('three')")
    assert all(one >= 0 and math.isfinite(one) for one in loaded.latencies_s)


def test_environment_is_pinned_and_names_no_index() -> None:
    """Each package has its version, but no source: where it comes from is up to the user."""
    for path in REQUIREMENTS.glob("*.txt"):
        lines = [one for one in path.read_text(encoding="utf-8").splitlines() if one[:1] != "#"]
        assert lines
        assert all(re.fullmatch(r"[A-Za-z0-9_.-]+==[0-9.]+", line) for line in lines)
