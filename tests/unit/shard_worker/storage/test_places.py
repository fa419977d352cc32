"""The numbers that stand for places of documents in a text index."""

import json
from pathlib import Path

import pytest
import tantivy
from hypothesis import given
from hypothesis import strategies as st

from hedgerow.shard_worker.storage import schema
from hedgerow.shard_worker.storage.bodies import BodyReader
from hedgerow.shard_worker.storage.places import gathered, place_field, spread
from hedgerow.shard_worker.storage.schema import EVERY, PRESENT
from hedgerow.shard_worker.storage.text_index import TextIndex
from tests.unit.support.shards import OneShard

DOCUMENTS = [{"id": f"d{number}", "title": "wing " * (number + 1)} for number in range(5)]


@given(st.integers(0, 2**64 - 1))
def test_a_place_is_gathered_from_its_number(place: int) -> None:
    """Of any file and offset; the number fits into the field, and the file is the same."""
    number = spread(place)
    assert gathered(number) == place
    assert number >> 40 == place >> 40


def test_an_index_has_places_in_one_field() -> None:
    """In the field of this version, if it has that, too."""
    both = place_field({"_spread_place", "_place", "id"})
    assert both is not None
    assert both.name == "_spread_place"
    assert place_field({"id"}) is None


def test_an_index_of_an_earlier_version_is_read_and_written_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its documents are beside it, those that come later included."""
    monkeypatch.setattr(schema, "SPREAD_PLACE", "_place")
    shard = OneShard.of(tmp_path, {"title": "text"}, [])
    shard.put(DOCUMENTS[:3], beside=True)
    monkeypatch.undo()
    shard.put(DOCUMENTS[3:], beside=True)
    index = shard.open()
    found = [address for _, address in index.searcher.search(every(index), 9).hits]
    assert index.searcher.fast_field_values("_place", found) == index.places(found)
    bodies = BodyReader(shard.folder / "u1")
    read = {}
    for one, place in zip(index.ids(found), index.places(found), strict=True):
        assert place is not None
        read[one] = json.loads(bodies.read(place) or b"{}")
    bodies.close()
    assert read == {one["id"]: one for one in DOCUMENTS}


def every(index: TextIndex) -> tantivy.Query:
    """Finds all documents."""
    return tantivy.Query.term_query(index.schema, PRESENT, EVERY, "basic")
