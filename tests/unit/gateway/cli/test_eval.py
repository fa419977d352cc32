"""`gateway eval`: the figures, the file forms, and what it says of partial answers."""

import gzip
import json
import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hedgerow.common.errors import BadRequestError
from hedgerow.common.outcome import Outcome
from hedgerow.gateway.cli.judgements import (
    MAX_LINE_CHARS,
    Judgement,
    Ranking,
    read_judgements,
    read_queries,
)
from hedgerow.gateway.cli.measures import measure
from hedgerow.gateway.search.coverage.measurement import coverage_of
from hedgerow.gateway.search.result import Hit, SearchQuery, SearchResult
from tests.support.sample_results import make_result
from tests.unit.support.command_line import CommandLine

QRELS = [Judgement("1", "a", 2), Judgement("1", "b", 1), Judgement("1", "c", 0)]


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> CommandLine:
    """Run commands against a scripted gateway."""
    return CommandLine(monkeypatch, capsys)


def ndcg(ranking: list[str], grades: dict[str, int], depth: int) -> float:
    """Compute nDCG by its definition (Järvelin and Kekäläinen 2002, with log2(rank + 1))."""

    def dcg(gains: list[int]) -> float:
        return sum(gain / math.log2(rank + 1) for rank, gain in enumerate(gains[:depth], 1))

    ideal = dcg(sorted(grades.values(), reverse=True))
    return dcg([grades.get(one, 0) for one in ranking]) / ideal if ideal else 0.0


def average_precision(ranking: list[str], grades: dict[str, int]) -> float:
    """Compute average precision by its definition."""
    relevant = {one for one, grade in grades.items() if grade > 0}
    num_found, total = 0, 0.0
    for rank, one in enumerate(ranking, 1):
        if one in relevant:
            num_found += 1
            total += num_found / rank
    return total / len(relevant) if relevant else 0.0


@given(
    ranking=st.lists(st.sampled_from("abcdefghijklmnopqrstuvwxyz"), unique=True),
    grades=st.dictionaries(
        st.sampled_from("abcdefghijklmnopqrstuvwxyz"), st.integers(0, 4), min_size=1
    ).filter(lambda grades: any(grades.values())),
)
def test_measures_are_those_of_their_definitions(
    ranking: list[str], grades: dict[str, int]
) -> None:
    """The gains of nDCG are the grades; the others take grades above 0 for relevant."""
    judgements = [Judgement("q", one, grade) for one, grade in grades.items()]
    found = measure([Ranking("q", ranking, True)], judgements, 1000)
    relevant = {one for one, grade in grades.items() if grade > 0}
    assert found == {
        "nDCG@10": pytest.approx(ndcg(ranking, grades, 10), abs=1e-5),
        "MAP": pytest.approx(average_precision(ranking, grades), abs=1e-5),
        "P@10": pytest.approx(len(relevant & set(ranking[:10])) / 10, abs=1e-5),
        "recall@1000": pytest.approx(len(relevant & set(ranking)) / len(relevant), abs=1e-5),
    }


def test_a_query_without_hits_counts_as_nothing_found() -> None:
    """A judged query that found nothing lowers the mean; it does not drop out of it."""
    judgements = [Judgement("1", "a", 1), Judgement("2", "a", 1)]
    found = measure([Ranking("1", ["a"], True), Ranking("2", [], True)], judgements, 1000)
    assert found["nDCG@10"] == pytest.approx(0.5)


@pytest.mark.parametrize(
    "text",
    [
        '{"_id": "1", "text": "wing flow"}\n{"_id": "2", "text": "heat", "metadata": {}}\n',
        '{"id": 1, "text": "wing flow"}\n\n{"id": 2, "text": "heat"}\n',
        "1\twing flow\n2\theat\n",
        "\ufeff1\twing flow\r\n2\theat\r\n",
    ],
)
@pytest.mark.parametrize("compress", [False, True])
def test_queries_of_either_form_are_read(tmp_path: Path, text: str, compress: bool) -> None:
    """BEIR's and TREC's queries come to the same."""
    path = tmp_path / ("queries.gz" if compress else "queries")
    path.write_bytes(gzip.compress(text.encode()) if compress else text.encode())
    assert read_queries(path) == {"1": "wing flow", "2": "heat"}


@pytest.mark.parametrize(
    "text",
    [
        "query-id\tcorpus-id\tscore\n1\ta\t2\n1\tb\t1\n1\tc\t0\n",
        "1\ta\t2\n1\tb\t1\n1\tc\t0\n",
        "1 0 a 2\n1 0 b 1\n\n1 0 c 0\n",
        "1\t0\ta\t2\n1\t0\tb\t1\n1\t0\tc\t0\n",
    ],
)
def test_judgements_of_either_form_are_read(tmp_path: Path, text: str) -> None:
    """Three columns with a header or without, and TREC's four, come to the same."""
    path = tmp_path / "qrels"
    path.write_text(text)
    assert read_judgements(path) == QRELS


@pytest.mark.parametrize(
    ("reader", "text", "line"),
    [
        (read_queries, "1\twing\nnonsense\n", "line 2"),
        (read_queries, '{"_id": "1"}\n', "line 1"),
        (read_queries, "{" + '"x":[' * 5000, "line 1"),
        (read_queries, "1\t" + "x" * MAX_LINE_CHARS, "line 1 .* is longer"),
        (read_queries, '{"_id": "1", "text": "a"}\n{"_id": "1", "text": "b"}\n', "line 2"),
        (read_queries, "{\n", "line 1"),
        (read_judgements, "1\ta\t1\n1\ta\tgood\n", "line 2"),
        (read_judgements, "1 a 1 2 3\n", "line 1"),
        (read_judgements, "1 a\n", "line 1"),
    ],
)
def test_a_line_in_neither_form_is_named(tmp_path: Path, reader: Any, text: str, line: str) -> None:
    """What cannot be read is an error with its line; nothing is guessed."""
    path = tmp_path / "file"
    path.write_text(text)
    with pytest.raises(BadRequestError, match=line):
        reader(path)


def files(tmp_path: Path) -> list[str]:
    """Two judged queries, one without judgement, one judged that is not asked."""
    queries, qrels = tmp_path / "queries.jsonl", tmp_path / "qrels.tsv"
    queries.write_text("".join(f'{{"_id": "{n}", "text": "q{n}"}}\n' for n in (1, 2, 3)))
    qrels.write_text("1\ta\t1\n2\tb\t1\n9\tz\t1\n")
    return ["--queries", str(queries), "--qrels", str(qrels)]


def test_judged_queries_are_asked_and_measured(command: CommandLine, tmp_path: Path) -> None:
    """Each judged query is asked once, deep and patiently; the others are reported."""
    command.gateway.answer = make_result(
        hits=[Hit("a", 2.0, 0), Hit("b", 1.0, 0)], coverage=coverage_of(9, 9)
    )
    ended = command.run("eval", "--collection", "films", *files(tmp_path), "--json")
    assert ended.code == 0
    assert "found anything" not in ended.err
    figures = json.loads(ended.out)
    assert figures["measures"] == {
        "nDCG@10": pytest.approx((1 + 1 / math.log2(3)) / 2, abs=1e-5),
        "MAP": 0.75,
        "P@10": 0.1,
        "recall@1000": 1.0,
    }
    assert (figures["queries"], figures["partial"]) == (2, 0)
    assert (figures["queries_not_judged"], figures["judged_not_asked"]) == (1, 1)
    asked = sorted(command.gateway.searches, key=lambda query: query.query)
    assert [(query.query, query.k, query.fields) for query in asked] == [
        ("q1", 1000, False),
        ("q2", 1000, False),
    ]
    assert all(query.deadline_ms >= 5000 for query in asked)


def test_partial_answers_are_never_reported_as_full(command: CommandLine, tmp_path: Path) -> None:
    """One partial answer among the full ones ends with 3 and says how many there were."""
    whole = make_result(hits=[Hit("a", 1.0, 0)], coverage=coverage_of(9, 9))
    part = make_result(
        hits=[], coverage=coverage_of(5, 9, {"timed_out": 1}), outcomes={Outcome.TIMED_OUT: 1}
    )
    original = command.gateway.search

    async def search(query: SearchQuery) -> SearchResult:
        command.gateway.answer = part if query.query == "q2" else whole
        return await original(query)

    command.gateway.search = search  # type: ignore[method-assign] # one answer a query
    ended = command.run("eval", "--collection", "films", *files(tmp_path))
    assert ended.code == 3
    assert "1 PARTIAL" in ended.out
    assert "1 of 2 answers were partial" in ended.err


def test_a_collection_that_answers_nothing_is_told_of(command: CommandLine, tmp_path: Path) -> None:
    """Zeroes that come from finding nothing at all give a warning beside the figures."""
    command.gateway.answer = make_result(hits=[], coverage=coverage_of(9, 9))
    ended = command.run("eval", "--collection", "films", *files(tmp_path), "--json")
    assert (ended.code, json.loads(ended.out)["measures"]["MAP"]) == (0, 0.0)
    assert "no query found anything; does films hold the judged documents?" in ended.err


def test_judgements_of_other_queries_are_misuse(command: CommandLine, tmp_path: Path) -> None:
    """Files that have no query in common end with 2, and nothing is asked."""
    arguments = files(tmp_path)
    Path(arguments[3]).write_text("77\ta\t1\n")
    ended = command.run("eval", "--collection", "films", *arguments)
    assert (ended.code, command.requests) == (2, [])


def test_a_missing_extra_is_named_before_anything_is_asked(
    command: CommandLine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without ir-measures, which the extra `eval` installs, the command says what to install."""
    monkeypatch.setattr("importlib.util.find_spec", lambda _name: None)
    ended = command.run("eval", "--collection", "films", *files(tmp_path))
    assert (ended.code, command.requests) == (1, [])
    assert "in the extra `eval`" in ended.err


def compare(
    command: CommandLine, tmp_path: Path, *arguments: str, by_hybrid: list[str]
) -> list[SearchQuery]:
    """Make hybrid searches find these documents, and others "a"; returns what will be asked."""
    original = command.gateway.search

    async def search(query: SearchQuery) -> SearchResult:
        found = ["a"] if query.hybrid is None else by_hybrid
        command.gateway.answer = make_result(
            hits=[Hit(one, 1.0, 0) for one in found], coverage=coverage_of(9, 9)
        )
        return await original(query)

    command.gateway.search = search  # type: ignore[method-assign] # an answer for each system
    return command.gateway.searches


def test_rankings_are_compared_with_the_first(command: CommandLine, tmp_path: Path) -> None:
    """Profiles and requests stand side by side, with the test of their differences."""
    asked = compare(command, tmp_path, by_hybrid=["b", "a"])
    ended = command.run(
        "eval", "--collection", "films", *files(tmp_path), "--json", "--profile", "bm25",
        "--profile", "other", "--request", 'both={"hybrid": {"k": 10}}',
    )  # fmt: skip
    assert ended.code == 0
    figures = json.loads(ended.out)
    assert list(figures["systems"]) == ["bm25", "other", "both"]
    assert figures["systems"]["bm25"]["measures"]["nDCG@10"] == 0.5
    other, both = figures["comparisons"]
    assert (other["difference"], other["equal"], other["p"]) == (0, 2, 1)
    # Of two queries, one is better and one is worse.
    assert (both["better"], both["worse"], both["p_adjusted"]) == (1, 1, 1)
    assert both["difference"] == pytest.approx((1 / math.log2(3) - 1 + 1) / 2, abs=1e-5)
    assert figures["baseline"] == "bm25"
    assert len(asked) == 6
    assert {query.rank_profile for query in asked} == {"bm25", "other", None}
    text = command.run(
        "eval", "--collection", "films", *files(tmp_path), "--profile", "bm25",
        "--request", 'both={"hybrid": {}}',
    )  # fmt: skip
    assert "nDCG@10 against bm25 (paired randomisation" in text.out
    assert "better 1, worse 1, equal 0" in text.out


def test_each_query_is_written_as_a_line(command: CommandLine, tmp_path: Path) -> None:
    """With its text, and the measures and hits of each ranking."""
    compare(command, tmp_path, by_hybrid=["b", "a"])
    path = tmp_path / "queries-out.jsonl"
    ended = command.run(
        "eval", "--collection", "films", *files(tmp_path), "--profile", "bm25",
        "--request", 'both={"hybrid": {}}', "--per-query", str(path),
    )  # fmt: skip
    assert ended.code == 0
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert [(line["query_id"], line["text"]) for line in lines] == [("1", "q1"), ("2", "q2")]
    assert lines[1]["systems"]["both"]["hits"] == ["b", "a"]
    assert lines[1]["systems"]["both"]["measures"]["nDCG@10"] == 1
    assert lines[1]["systems"]["bm25"]["measures"]["nDCG@10"] == 0
    assert lines[1]["systems"]["bm25"]["is_full"] is True


@pytest.mark.parametrize(
    "arguments",
    [
        ["--request", '{"hybrid": {}}'],
        ["--request", "both={"],
        ["--request", "both=[]"],
        ["--request", 'both={"query": "x"}'],
        ["--profile", "bm25", "--request", "bm25={}"],
    ],
)
def test_a_ranking_that_cannot_be_read_is_misuse(
    command: CommandLine, tmp_path: Path, arguments: list[str]
) -> None:
    """And nothing is asked."""
    ended = command.run("eval", "--collection", "films", *files(tmp_path), *arguments)
    assert (ended.code, command.requests) == (2, [])
