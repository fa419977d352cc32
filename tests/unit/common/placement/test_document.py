"""The placement as a document."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hedgerow.common.errors import NewerVersionError, WireError
from hedgerow.common.placement.document import Placement, ShardPlacement
from hedgerow.common.placement.store import placed_version

PLACEMENT = Placement(
    3,
    3,
    2,
    1_700_000_000_000,
    (
        ShardPlacement(("a", "b")),
        ShardPlacement(("a",), ("c",)),
        ShardPlacement(),
    ),
)


def test_a_placement_survives_being_stored() -> None:
    """What is written as JSON is what is read, and the version comes first."""
    packed = PLACEMENT.to_json()
    assert Placement.from_json(packed) == PLACEMENT
    assert packed.startswith(b'{"version":3,')


def test_a_newer_version_is_understood() -> None:
    """Members that this version does not know are ignored, in the document and in its shards."""
    parts = json.loads(PLACEMENT.to_json())
    parts["mood"] = "fine"
    parts["shards"][0]["weight"] = 3
    assert Placement.from_json(json.dumps(parts).encode()) == PLACEMENT


def test_a_newer_form_is_refused() -> None:
    """A placement of a form that this version does not know says what to upgrade."""
    parts = {"version": 4, "format": 2, "owners": {}}
    with pytest.raises(NewerVersionError, match=r"has format 2.*upgrade this process"):
        Placement.from_json(json.dumps(parts).encode())


@pytest.mark.parametrize(
    "change", [{"version": "3"}, {"shards": None}, {"shards": [{"owners": 1}]}]
)
def test_a_malformed_placement_is_refused(change: dict[str, object]) -> None:
    """A member of another type is a WireError."""
    parts = {**json.loads(PLACEMENT.to_json()), **change}
    with pytest.raises(WireError):
        Placement.from_json(json.dumps(parts).encode())


@given(st.binary(max_size=60))
def test_foreign_bytes_are_refused(data: bytes) -> None:
    """Whatever the key holds, reading it raises nothing but WireError."""
    with pytest.raises(WireError):
        Placement.from_json(data)


def test_a_worker_holds_what_names_it() -> None:
    """A worker holds the shards that it owns and those that it is joining."""
    held = {worker: sorted(PLACEMENT.held_by(worker)) for worker in "abcd"}
    assert held == {"a": [0, 1], "b": [0], "c": [1], "d": []}


def test_a_shard_beyond_the_document_has_no_workers() -> None:
    """Of a shard that was not placed yet, as after a split, the placement is empty."""
    assert PLACEMENT.of(1).holders == ("a", "c")
    assert PLACEMENT.of(3) == PLACEMENT.of(-1) == ShardPlacement()


@pytest.mark.parametrize(
    ("event", "version"),
    [(b"placement:7", 7), (b"placement:x", None), (b"placement", None), (b"workers", None)],
)
def test_the_event_names_the_version(event: bytes, version: int | None) -> None:
    """Other events, and malformed ones, announce no version."""
    assert placed_version(event) == version
