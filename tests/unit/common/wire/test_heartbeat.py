"""Heartbeats on the wire."""

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hedgerow.common.errors import WireError
from hedgerow.common.wire.heartbeat import Heartbeat

BEAT = Heartbeat(
    id="w0",
    pid=7,
    host="here",
    shards=[0, 4],
    version="0.1.0",
    beat_at_ms=1_700_000_000_000,
    started_at_ms=1_600_000_000_000,
    documents={0: {"u": 3}, 4: {}},
    lanes={"process": {"busy": 1}},
    counters={"late": 4},
    applied={0: "5-1"},
    replicas={0: "r"},
    log_backlog={0: 2},
)


def test_a_heartbeat_survives_the_wire() -> None:
    """What a worker packs is what a gateway unpacks, shards as numbers."""
    assert Heartbeat.unpack(BEAT.pack()) == BEAT


def test_other_versions_are_understood() -> None:
    """A newer worker's extra parts are ignored, an older one's missing parts have defaults."""
    parts = msgpack.unpackb(BEAT.pack(), strict_map_key=False)
    parts["mood"] = "fine"
    for name in ("documents", "lanes", "counters", "applied", "replicas"):
        del parts[name]
    read = Heartbeat.unpack(msgpack.packb(parts))
    assert (read.id, read.shards, read.documents) == ("w0", [0, 4], {})


@pytest.mark.parametrize(
    "change",
    [
        {"id": 1},
        {"shards": "0"},
        {"shards": [0, "1"]},
        {"shards": [[0]]},
        {"gaps": [None]},
        {"beat_at_ms": None},
        {"documents": {0: {"u": "3"}}},
        {"documents": {"0": {"u": 3}}},
        {"applied": {0: 5}},
        {"counters": {"late": []}},
    ],
)
def test_wrong_types_are_refused(change: dict[str, object]) -> None:
    """A part of another type is a WireError that names it."""
    parts = {**msgpack.unpackb(BEAT.pack(), strict_map_key=False), **change}
    with pytest.raises(WireError, match=next(iter(change))):
        Heartbeat.unpack(msgpack.packb(parts))


def test_keys_that_cannot_be_hashed_are_refused() -> None:
    """A map whose key is a map, which MessagePack allows, is a WireError as well."""
    with pytest.raises(WireError):
        Heartbeat.unpack(b"\x81\x81\x01\x02\x03")


@given(st.binary(max_size=60))
def test_foreign_bytes_are_refused(data: bytes) -> None:
    """Whatever lies in the hash of workers, reading it raises nothing but WireError."""
    with pytest.raises(WireError):
        Heartbeat.unpack(data)
