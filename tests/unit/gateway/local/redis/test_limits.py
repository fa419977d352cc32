"""How much memory the embedded server may take."""

from pathlib import Path

import pytest

from hedgerow.common.machine.disk import MB, DiskReading
from hedgerow.common.settings.storage import StorageSettings
from hedgerow.gateway.local.redis import limits as embedded_limits
from hedgerow.gateway.local.redis.limits import (
    machine_memory_bytes,
    max_memory_bytes,
    rewrite_from_bytes,
)


def test_its_memory_is_what_is_set_or_a_quarter_of_the_machine_s(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A setting counts as it is; without one a small machine still gives it 64 MB."""
    assert max_memory_bytes(StorageSettings(embedded_max_memory_mb=20)) == 20 * MB
    for machine, expected in ((8000 * MB, 2000 * MB), (100 * MB, 64 * MB)):
        monkeypatch.setattr(embedded_limits, "machine_memory_bytes", lambda m=machine: m)
        assert max_memory_bytes(StorageSettings()) == expected


def test_a_container_s_limit_counts_where_it_is_less(tmp_path: Path) -> None:
    """The lesser of the machine's memory and the control group's; `max` and no file say nothing."""
    limit = tmp_path / "memory.max"
    everything = machine_memory_bytes([limit])
    limit.write_text("max\n")
    assert machine_memory_bytes([limit]) == everything
    limit.write_text("1000000\n")
    assert machine_memory_bytes([limit]) == 1_000_000
    limit.write_text(f"{everything * 2}\n")
    assert machine_memory_bytes([limit]) == everything


@pytest.mark.parametrize(
    ("total_mb", "from_mb"), [(10, 4), (60, 6), (200, 20), (640, 64), (1_000_000, 64)]
)
def test_the_file_is_rewritten_sooner_on_a_small_disk(
    total_mb: int, from_mb: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A tenth of the disk, within 4 and 64 MB."""
    reading = DiskReading(total_mb * MB, 0)
    monkeypatch.setattr(embedded_limits, "read_disk", lambda _folder: reading)
    assert rewrite_from_bytes(Path("/data")) == from_mb * MB


def test_a_disk_that_says_nothing_is_taken_to_be_large(tmp_path: Path) -> None:
    """The usual bound holds where the size is not known."""
    assert rewrite_from_bytes(tmp_path / "absent") == 64 * MB
