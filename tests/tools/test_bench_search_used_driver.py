"""Search as it is used, on a small corpus: a real `gateway up`, and the rows beside it."""

import json
import os
from pathlib import Path

import pytest

from bench.harness.processes import descendants
from bench.search.figures import Comparison, Where
from bench.search.process import Work
from bench.search.queries import Query, write_plainly
from bench.search.rounds import Plan, measure
from bench.search.used.catalogue import ENGINES, sized

pytestmark = [pytest.mark.integration, pytest.mark.timeout(180)]

COLOURS = ("red", "green", "blue", "grey")
THINGS = ("lamp", "car", "door", "river", "table")


@pytest.fixture
def work(tmp_path: Path) -> Work:
    """Some documents with names, and a few queries."""
    documents = tmp_path / "documents.ndjson"
    lines = []
    for number in range(200):
        text = f"the {COLOURS[number % 4]} {THINGS[number % 5]} number {number}"
        one = {"id": f"document-{number}", "name": f"name {number}", "summary": text}
        lines.append(json.dumps(one) + "\n")
    documents.write_text("".join(lines), encoding="utf-8")
    queries = tmp_path / "queries.tsv"
    write_plainly(queries, [Query(f"{colour} lamp", "two words") for colour in COLOURS])
    (tmp_path / "folder").mkdir()
    return Work(tmp_path / "cache", tmp_path / "folder", documents, 200, queries)


async def test_all_are_asked_in_every_way_and_leave_nothing_behind(work: Work) -> None:
    """Each row has whole answers and the CPU of its parts, and all processes are gone."""
    before = set(descendants(os.getpid()))
    part = Comparison(Where("2 cores", "today", "none"), 200, {}, {}, 4)
    kept: list[bool] = []

    def keep(part: Comparison) -> None:
        kept.append(part.is_whole)

    engines = (*ENGINES, sized(3, 1))
    await measure(
        Plan(engines, (1, 4), 1, 0.05, alone_s=0.05, warm_up_s=0.1, may_be_empty=True),
        work,
        part,
        keep,
    )
    assert {name: index.reason for name, index in part.indexes.items()} == {
        "up": "",
        "yourself": "",
        "3x1": "",
    }
    assert len(part.rows) == 7
    for row in part.rows.values():
        assert list(row.points) == [1, 4], row.title
        for points in row.points.values():
            (point,) = points
            assert point.num_failed == 0, point.failure
            assert point.queries_per_s > 0, row.title
        parts = {"client", "gateway"}
        if row.engine != "yourself":
            parts |= {"Redis", "workers", "scorers", "supervisor"}
        assert set(row.cpu_us(4)) == parts
    assert part.indexes["yourself"].num_processes == 1
    assert part.indexes["up"].num_processes > 5
    (_, options, size), *_ = part.indexes["up"].settings
    assert options == "without options"
    assert size.endswith("; --shards and --workers change it")
    (_, options, size), *_ = part.indexes["3x1"].settings
    assert options == "--shards 3 --workers 1"
    assert size.endswith("for 3 shards, as asked by --shards and --workers")
    assert kept == [False, True]
    assert set(descendants(os.getpid())) <= before
    assert list(work.folder.glob("*/*")) == []
