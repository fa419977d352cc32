"""Searches of a shard whose index lacks fields that the collection has been given."""

import json
from pathlib import Path

import pytest

from hedgerow.common.collection import with_added_fields
from hedgerow.common.errors import BadQueryError
from hedgerow.common.wire.search_options import FacetKind, SearchOptions, SortKey, WantedFacet
from hedgerow.shard_worker.storage.store import Store
from tests.unit.support.shards import OneShard

DOCUMENTS = [
    {"id": "a", "title": "desk lamp", "manual": "plug it in", "year": 1990},
    {"id": "b", "title": "floor lamp", "manual": "a desk will do", "year": 1991},
]


@pytest.fixture
def shard(tmp_path: Path) -> OneShard:
    """A shard whose store has the definition with more fields, and whose index has not."""
    shard = OneShard.of(tmp_path, {"title": "text"}, DOCUMENTS)
    wider = with_added_fields(shard.collection, {"manual": "text", "year": "integer"})
    store = Store.open(shard.folder / "store.sqlite")
    store.apply("2-0", definitions={"u1": wider.to_json()})
    store.close()
    return shard


def test_words_are_searched_as_before(shard: OneShard) -> None:
    """The collection had one text field, which is searched until the joined one is there."""
    assert shard.search("desk").ids == ["a"]
    assert shard.search("title:lamp", filter_text="title:floor").ids == ["b"]


@pytest.mark.parametrize(
    ("query", "filter_text"),
    [
        ("manual:desk", ""),
        ("lamp OR (desk -year:1990)^2", ""),
        ("manual:*", ""),
        ("lamp", "year:[1990 TO *]"),
        ("lamp", "manual:IN [plug desk]"),
    ],
)
@pytest.mark.parametrize("strict", [True, False])
def test_a_query_that_names_a_missing_field_is_not_answered(
    shard: OneShard, query: str, filter_text: str, strict: bool
) -> None:
    """It is not read as text, since other shards may have the field already."""
    with pytest.raises(BadQueryError, match="is being filled"):
        shard.search(query, filter_text=filter_text, strict=strict)


@pytest.mark.parametrize(
    "options",
    [
        SearchOptions(facets=(WantedFacet("year", FacetKind.TERMS, 10),)),
        SearchOptions(sort=(SortKey("year", is_descending=False),)),
        SearchOptions(group_by="maker"),
    ],
)
@pytest.mark.parametrize("is_heard_of", [True, False])
def test_options_that_name_a_missing_field_are_the_query_s_fault(
    shard: OneShard, tmp_path: Path, options: SearchOptions, is_heard_of: bool
) -> None:
    """Also by a worker that has yet to hear of the field: no breaker opens, no count is wrong."""
    one = shard if is_heard_of else OneShard.of(tmp_path / "behind", {"title": "text"}, DOCUMENTS)
    with pytest.raises(BadQueryError, match="is being filled"):
        one.search("lamp", options=options)


def test_a_field_that_no_definition_has_is_read_as_text(shard: OneShard) -> None:
    """Only fields that were added are waited for."""
    assert shard.search("manuel:desk").ids == ["a"]


def test_a_store_with_the_same_definition_changes_nothing(tmp_path: Path) -> None:
    """All fields are there; numbers in a text are found as they are written."""
    documents = [*DOCUMENTS, {"id": "c", "title": 1984, "year": "unknown"}]
    shard = OneShard.of(tmp_path, {"title": "text", "year": "integer"}, documents)
    assert shard.search("1984").ids == ["c"]
    assert shard.search("lamp", filter_text="year:1991").ids == ["b"]
    assert json.loads(shard.open().definition)["fields"] == {"title": "text", "year": "integer"}
