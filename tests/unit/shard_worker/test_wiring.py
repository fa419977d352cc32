"""Which settings reach the parts of a worker."""

from typing import Any

import pytest

from hedgerow.common.settings.limits import LimitSettings
from hedgerow.common.settings.settings import Settings
from hedgerow.shard_worker import wiring


def test_the_memory_of_the_indexer_is_what_is_set(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each of the two limits, for what it is meant."""
    made: dict[str, Any] = {}
    monkeypatch.setattr(wiring, "ProcessLane", lambda **arguments: made.update(arguments))
    limits = LimitSettings(index_memory_bytes=15_000_001, optimise_memory_bytes=20_000_002)
    wiring.indexer_lane(Settings(limits=limits))
    config = made["config"]
    assert (config.memory_bytes, config.optimise_memory_bytes) == (15_000_001, 20_000_002)
