"""The worked examples do what their README says, through the scorer and the hooks as configured."""

import json
import sqlite3
import tomllib
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from examples import enrich_sqlite, name_matching, recency_popularity
from hedgerow.common.settings.rank_profiles import BUILT_IN_PROFILES, RankProfile
from hedgerow.common.wire.messages import SearchBody
from hedgerow.shard_worker.scoring.ranking import enrich_hooks
from tests.unit.support.shards import EndlessBudget, OneShard

EXAMPLES = Path(__file__).parents[4] / "examples"
PROFILES = {
    name: RankProfile(**profile)
    for name, profile in tomllib.loads((EXAMPLES / "hedgerow.toml").read_text())[
        "rank_profiles"
    ].items()
}


def read(name: str) -> list[dict[str, Any]]:
    """The documents of an example's file."""
    return [json.loads(line) for line in (EXAMPLES / name).read_text().splitlines()]


@pytest.fixture(autouse=True)
def _on_import_path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(EXAMPLES))


@pytest.fixture
def _closing() -> Iterator[None]:
    """Close the connection that the hook keeps for this thread."""
    yield
    known = enrich_sqlite._local.__dict__.pop("connection", None)
    if known is not None:
        known[1].close()


def search(folder: Path, documents: list[dict[str, Any]], query: str, profile: str) -> SearchBody:
    """One search with the examples' profiles."""
    shard = OneShard.of_inferred(folder, documents)
    return shard.search(query, profile=profile, profiles={**BUILT_IN_PROFILES, **PROFILES})


def test_what_is_new_and_popular_comes_before_what_matches_a_little_better(tmp_path: Path) -> None:
    """The profile reverses the order that BM25 alone gives the two lamps for the desk."""
    shop = read("shop.jsonl")
    plain = search(tmp_path / "plain", shop, "reading lamp desk", "bm25")
    lifted = search(tmp_path / "lifted", shop, "lamp", "recent_and_popular")
    assert plain.ids[0] == "lamp-1"
    assert lifted.ids[0] == "lamp-2"
    assert set(lifted.ids) == {"lamp-1", "lamp-2", "lamp-3"}


def test_a_boost_never_outweighs_a_match_that_is_twice_as_good() -> None:
    """A document read a thousand times today, scoring 1, stays behind an old one that scores 2."""
    today = datetime.now(UTC).date().isoformat()
    scores = recency_popularity.score(
        "",
        [
            {"_score": 1.0, "published": today, "popularity": 1000},
            {"_score": 2.0, "published": "1990-01-01", "popularity": 0},
        ],
    )
    assert scores[0] < scores[1]


def test_recency_halves_in_half_a_year_and_the_unknown_is_neutral() -> None:
    """The lift of a document of 180 days ago is half of today's; without fields it is none."""
    today = datetime.now(UTC).date()
    lift_now, lift_then = (
        recency_popularity.boost({"published": day.isoformat()}, today) - 1.0
        for day in (today, today - timedelta(days=180))
    )
    assert lift_then == pytest.approx(lift_now / 2)
    assert recency_popularity.boost({}, today) == 1.0
    assert recency_popularity.boost({"published": None, "popularity": None}, today) == 1.0


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        ("jon smyth", "p1"),
        ("Smith, John", "p1"),
        ("johnson kathrin", "p3"),
        ("schostakowitsch dimitri", "p5"),
        ("gorbatschov", "p6"),
        ("shivon obrian", "p7"),
        ("van an nguyen", "p8"),
    ],
)
def test_a_misspelled_name_is_found_by_its_looks(tmp_path: Path, asked: str, found: str) -> None:
    """The profile `names` puts the person that was meant first."""
    assert search(tmp_path, read("people.jsonl"), asked, "names").ids[0] == found


def test_bm25_alone_does_not_find_the_misspelled_name(tmp_path: Path) -> None:
    """The example is needed: no document has a word of the query."""
    assert search(tmp_path, read("people.jsonl"), "jon smyth", "bm25").ids == []


def test_words_within_an_edit_bring_the_candidates_from_the_index(tmp_path: Path) -> None:
    """The profile `names_indexed` ranks what fuzzy words retrieve, and nothing else."""
    body = search(tmp_path, read("people.jsonl"), "jon~1 smyth~1", "names_indexed")
    assert body.ids[0] == "p1"
    assert "p8" not in body.ids


def test_names_stop_when_nobody_waits() -> None:
    """An expired budget ends the comparing; every document still gets a score."""

    class Expired(EndlessBudget):
        def expired(self) -> bool:
            return True

    documents = [{"name": "John Smith"}] * 1000
    assert name_matching.score("john smith", documents, Expired()) == [0.0] * 1000


@pytest.mark.usefixtures("_closing")
def test_prices_come_from_the_database_at_the_time_of_the_question(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`enrich` adds what the database says now, in order, and leaves unknown ids unchanged."""
    database = tmp_path / "stock.sqlite"
    monkeypatch.setenv("STOCK_DATABASE", str(database))
    enrich_sqlite.make_database(database, [("a", 2.5, True), ("b", 4.0, False)])
    enrich = enrich_hooks(PROFILES)["with_stock"]
    documents = [{"id": "b", "name": "B"}, {"id": "x"}, {"id": "a"}]
    assert enrich([dict(one) for one in documents]) == [
        {"id": "b", "name": "B", "price": 4.0, "in_stock": False},
        {"id": "x"},
        {"id": "a", "price": 2.5, "in_stock": True},
    ]
    enrich_sqlite.make_database(database, [("a", 3.0, True)])
    assert enrich([{"id": "a"}])[0]["price"] == 3.0


@pytest.mark.usefixtures("_closing")
def test_a_missing_database_is_an_error_and_no_empty_database(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The hook opens read-only, so that a wrong path is an error instead of a new file."""
    database = tmp_path / "nowhere.sqlite"
    monkeypatch.setenv("STOCK_DATABASE", str(database))
    with pytest.raises(sqlite3.Error):
        enrich_sqlite.enrich([{"id": "a"}])
    assert not database.exists()


def test_the_readme_names_every_profile_and_file() -> None:
    """What the folder holds and what its README speaks of are the same."""
    readme = (EXAMPLES / "README.md").read_text()
    for profile in PROFILES:
        assert f"`{profile}`" in readme or f"--profile {profile}" in readme
    files = {path.name for path in EXAMPLES.iterdir() if path.suffix in {".py", ".jsonl"}}
    assert [name for name in sorted(files - {"__init__.py"}) if name not in readme] == []
