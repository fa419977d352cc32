"""The driver of the search benchmark, on a small corpus and the engines that are always there."""

import asyncio
import json
import os
import sys
from pathlib import Path

import pytest

from bench.harness.processes import descendants
from bench.search.catalogue import choose
from bench.search.commands import MissingError
from bench.search.figures import Comparison, Where
from bench.search.inside.serving import Hits
from bench.search.kept import Kept
from bench.search.process import EngineError, Work, run_engine
from bench.search.queries import Query, write_plainly
from bench.search.rounds import compare_engines

pytestmark = pytest.mark.integration

COLOURS = ("red", "green", "blue", "grey")
THINGS = ("lamp", "car", "door", "river", "table")
QUERIES = ["red lamp", "+red +lamp", '"red lamp"', "+river -blue", "+door grey", "the"]


@pytest.fixture
def work(tmp_path: Path) -> Work:
    """Some hundred documents of different lengths, and a few queries of each kind."""
    documents = tmp_path / "documents.ndjson"
    lines = []
    for number in range(300):
        colour, thing = COLOURS[number % 4], THINGS[number % 5]
        text = f"the {colour} {thing} " + " ".join(THINGS[: number % 3]) + f" number {number}"
        lines.append(json.dumps({"id": f"document-{number}", "text": text}) + "\n")
    documents.write_text("".join(lines), encoding="utf-8")
    queries = tmp_path / "queries.tsv"
    write_plainly(queries, [Query(text, "any") for text in QUERIES])
    (tmp_path / "folder").mkdir()
    return Work(tmp_path / "cache", tmp_path / "folder", documents, 300, queries)


async def test_engines_agree_and_leave_nothing_behind(work: Work) -> None:
    """All answer in every round, Hedgerow's scores are tantivy's, and all processes are gone."""
    before = set(descendants(os.getpid()))
    where = Where("this machine", "today", "none")
    comparison = Comparison(where, 300, {}, {}, len(QUERIES))
    names = "tantivy,hedgerow-2,hedgerow-scorers,sqlite"
    await compare_engines(choose(names, 2), work, comparison, 2, 0.05)
    assert {name: one.reason for name, one in comparison.indexes.items()} == dict.fromkeys(
        names.split(","), ""
    )
    for index in comparison.indexes.values():
        assert index.build_s > 0
        assert index.disk_bytes > 0
        assert index.memory_bytes > 1_000_000
        assert index.versions
        assert index.settings
    for subject in comparison.rows.values():
        assert len(subject.together) == len(subject.alone) == 2, subject.title
        assert subject.num_failed == 0
        assert subject.per_s() > 0
        parts = {"client", "gateway", "Redis", "workers", "scorers"}
        assert set(subject.cpu_us()) == (parts if subject.engine == "hedgerow-2" else set())
    assert len(comparison.where.loads) == 2
    assert comparison.is_whole
    *agreements, matches = comparison.agreement
    assert len(agreements) == 2  # of the cluster and of its scorers alone
    for agreement in agreements:
        assert "the scores of the top ten are the same in 6," in agreement
        assert "the number of matches is the same in 6" in agreement
    assert "of 6 queries 6 match as many documents" in matches
    assert set(descendants(os.getpid())) <= before
    assert list(work.folder.glob("*/*")) == []


async def test_sqlite_matches_as_tantivy_counts(work: Work) -> None:
    """With more hits wanted than there are, both find the same documents for each query."""
    found: list[list[tuple[int | None, Hits]]] = []
    for engine, way in zip(choose("tantivy,sqlite", 1), ("count", "sql"), strict=True):
        async with run_engine(engine, work) as process:
            found.append(await process.find(way, k=300))
    for (total, hits), (_, others) in zip(*found, strict=True):
        assert {one for one, _ in hits} == {one for one, _ in others}
        assert total == len(hits)


async def test_index_grows(work: Work) -> None:
    """Added documents can be found, and so can the earlier ones, all in one segment."""
    (tantivy,) = choose("tantivy", 1)
    small = Work(work.cache, work.folder, work.documents, 100, work.queries)
    async with run_engine(tantivy, small) as process:
        assert [total for total, _ in await process.find("count")][-1] == 100
        took_s, disk_bytes = await process.grow(300)
        assert took_s > 0
        assert disk_bytes > 0
        assert [total for total, _ in await process.find("count")][-1] == 300
        (about,) = work.folder.glob("**/meta.json")
        assert len(json.loads(about.read_bytes())["segments"]) == 1


async def test_engine_that_is_missing_costs_only_its_own_row(
    work: Work, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An engine that cannot be installed says why, and the others are measured."""

    def missing() -> Path:
        raise MissingError("no server is installed")

    monkeypatch.setattr("bench.search.commands._postgresql", missing)
    comparison = Comparison(Where("", "", ""), 300, {}, {}, len(QUERIES))
    await compare_engines(choose("sqlite,postgresql", 1), work, comparison, 1, 0.01)
    assert comparison.indexes["postgresql"].reason == "no server is installed"
    assert comparison.rows["postgresql sql"].together == []
    assert len(comparison.rows["sqlite sql"].together) == 1


async def test_what_is_measured_when_it_is_interrupted_is_shown_and_kept(work: Work) -> None:
    """A stop ends the rounds and the engines; the page and the figures are of what there was.

    By SIGTERM: Ctrl-C is ignored by what a shell has started in the background, and so by this.
    """
    work.cache.mkdir()
    work.documents.rename(work.cache / "documents.ndjson")
    about = {"format": 1, "versions": {"made up": "1"}, "counts": {"made up": 300}}
    (work.cache / "documents.json").write_text(json.dumps(about), encoding="utf-8")
    queries = work.folder / "queries.txt"
    lines = [json.dumps({"query": text, "tags": ["any"]}) for text in QUERIES]
    queries.write_text("\n".join(lines), encoding="utf-8")
    before = set(descendants(os.getpid()))
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "bench.search",
        "--only",
        "tantivy",
        "--rounds",
        "100000",
        "--cache",
        str(work.cache),
        "--queries",
        str(queries),
        "--seconds",
        "0.01",
        cwd=Path(__file__).parents[2],
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    assert process.stderr is not None
    async for line in process.stderr:
        if b"round 3" in line:
            process.terminate()
            break
    page, _ = await process.communicate()
    assert process.returncode == 0
    assert b"- Interrupted before its end." in page
    kept = Kept(work.cache / "results").comparison()
    assert kept is not None
    assert not kept.is_whole
    assert all(len(one.together) >= 2 for one in kept.rows.values())
    assert set(descendants(os.getpid())) <= before


async def test_engine_that_ends_says_its_last_words(work: Work) -> None:
    """A document that cannot be read ends the build, and the last line of output is the reason."""
    work.documents.write_text("{}\n", encoding="utf-8")
    (tantivy,) = choose("tantivy", 1)
    with pytest.raises(EngineError, match="has ended; KeyError: 'id'"):
        async with run_engine(tantivy, work):
            pass
