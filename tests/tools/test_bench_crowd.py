"""What the benchmark of many callers makes of its observations."""

import json
from pathlib import Path
from typing import Any

import pytest

from bench.crowd import corpus
from bench.crowd.callers import Met
from bench.crowd.figures import COLUMNS, Load, Round, rows_of, verdicts
from bench.harness.processes import Cores
from bench.search.debian import SourceError
from bench.search.inside.callers import Verdict

BEARS = Load("patient", 1)
FOUR_TIMES = Load("hasty", 4)


def met(good_per_s: float, **changes: Any) -> dict[str, Any]:
    """The report of one process of callers."""
    told = Met(is_counting=True).to_json(1.0)
    return {**told, "good_per_s": good_per_s, "whole": round(good_per_s), **changes}


def a_round(good_per_s: float, num_opened: int = 0, **changes: Any) -> Round:
    """A round in which the crowd got most answers, and the probe ten."""
    cores = {"gateway": 0.5, "workers": 0.25, "scorers": 0.75, "Redis": 0.125}
    probe = met(10.0, refused_p50_ms=changes.pop("probe_ms", 1.5), refused_p99_ms=3.0)
    return Round(met(good_per_s, **changes), probe, cores, 64, num_opened)


def test_goodput_is_of_all_callers_and_judged_by_the_best_of_its_round() -> None:
    """Crowd and probe count together; each load is a share of the most that any has in a round."""
    measured = {
        BEARS: [a_round(890.0), a_round(1090.0), a_round(990.0)],
        FOUR_TIMES: [a_round(each, refused=3000) for each in (710.0, 870.0, 790.0)],
    }
    rows = [dict(zip(("load", *COLUMNS[1:]), row, strict=True)) for row in rows_of(measured)]
    assert [(row["load"], row["goodput/s"], row["of the peak"]) for row in rows] == [
        ("as many as it can serve", "1,000", "100%"),
        ("4 times, hasty", "800", "80%"),
    ]
    assert rows[1]["refused"] == "79%"  # of 11,400
    assert rows[1]["p50, p99 of a refusal, ms: probe"] == "1.5, 3"
    assert rows[1]["cores: gateway, workers, scorers, Redis; callers"].startswith(
        "0.50, 0.25, 0.75"
    )


@pytest.mark.parametrize(
    ("changes", "missed"),
    [
        ({}, None),
        ({"good_per_s": 880.0}, "goodput keeps"),
        ({"partial": 11}, "partial"),
        ({"num_opened": 1}, "breakers"),
        ({"probe_ms": 2.5}, "refusal"),
    ],
)
def test_each_target_is_judged_by_itself(changes: dict[str, Any], missed: str | None) -> None:
    """If one load misses one target, that target is called missed, and no other."""
    found = {"good_per_s": 990.0, **changes}
    lines = verdicts({BEARS: [a_round(990.0)], FOUR_TIMES: [a_round(**found)]})
    assert [line for line in lines if "not reached" in line] == [
        line for line in lines if missed is not None and missed in line
    ]


def test_callers_count_only_what_ends_while_it_counts() -> None:
    """The time until the limit has settled is left out; late answers are whole, and not good."""
    one = Met()
    one.note(Verdict.WHOLE, 0.1)
    one.is_counting = True
    for took_s in (0.1, 0.2, 0.4):
        one.note(Verdict.WHOLE, took_s)
    one.note(Verdict.PARTIAL, 0.1)
    one.note(Verdict.REFUSED, 0.002)
    one.fail(ConnectionError("closed"))
    told = one.to_json(2.0)
    assert (told["good_per_s"], told["whole"]) == (1.0, 3)
    assert (told["partial"], told["refused"], told["failed"]) == (1, 1, 1)
    assert told["refused_p50_ms"] == pytest.approx(2.0)


def test_without_the_archive_texts_are_made_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They have an id, a name and a summary, and are the same each time."""

    def no_archive(_cache: Path) -> None:
        raise SourceError("apt-get failed")

    monkeypatch.setattr(corpus, "read_summaries", no_archive)
    monkeypatch.setattr(corpus, "_NUM_MADE_UP", 50)
    documents = corpus.read_documents(tmp_path)
    lines = documents.path.read_bytes()
    assert {tuple(json.loads(line)) for line in lines.splitlines()} == {("id", "name", "summary")}
    assert documents.total == 50
    documents.path.unlink()
    documents.path.with_suffix(".json").unlink()
    assert corpus.read_documents(tmp_path).path.read_bytes() == lines


def test_clients_have_a_core_of_their_own_or_share_all() -> None:
    """With cores apart, none is both a client's and the cluster's, unless there is only one."""
    shared, apart = Cores.part(are_shared=True), Cores.part(are_shared=False)
    assert shared.cluster == shared.clients
    assert apart.cluster | apart.clients == shared.cluster
    assert not apart.cluster & apart.clients or len(shared.cluster) == 1
