"""How much memory is left, by what the kernel says of machines and control groups."""

import math
from pathlib import Path

import pytest

from hedgerow.common.machine.disk import MB
from hedgerow.common.machine.memory_room import (
    MemoryRoom,
    has_memory,
    room_of_machine,
    rooms_of_groups,
)

GB = 1000 * MB
UNLIMITED = "9223372036854771712"
VERSION_1 = "12:memory:/docker/0a1b\n4:cpu,cpuacct:/docker/0a1b\n0::/docker/0a1b\n"


@pytest.mark.parametrize(
    ("meminfo", "room"),
    [
        ("MemTotal:  1000 kB\nMemFree: 1 kB\nMemAvailable:  30 kB\n", MemoryRoom(30720, 1024000)),
        ("MemTotal:  1000 kB\n", MemoryRoom(math.inf, 1024000)),
        ("nonsense", MemoryRoom(math.inf, 0)),
    ],
)
def test_a_machine_has_what_the_kernel_calls_available(meminfo: str, room: MemoryRoom) -> None:
    """What cannot be read counts as plenty."""
    assert room_of_machine(meminfo) == room


def test_a_group_of_version_2_can_drop_its_files(tmp_path: Path) -> None:
    """What is left is the limit without what is used, but for cached files; "max" is no limit."""
    _write(
        tmp_path / "pod" / "one",
        **{
            "memory.max": "1000",
            "memory.current": "900",
            "memory.stat": "anon 600\nfile 300\ninactive_file 200\nactive_file 50\nshmem 50",
        },
    )
    _write(
        tmp_path / "pod", **{"memory.max": "max", "memory.current": "1", "memory.stat": "anon 1"}
    )
    assert list(rooms_of_groups(tmp_path, "0::/pod/one\n")) == [MemoryRoom(350, 1000)]


def test_a_group_above_bounds_what_is_below(tmp_path: Path) -> None:
    """A process may take no more than each of the groups that it is in has left."""
    for group, limit in (("pod", "500"), ("pod/one", "1000"), ("pod/other", "10")):
        _write(
            tmp_path / group,
            **{"memory.max": limit, "memory.current": "400", "memory.stat": "anon 400"},
        )
    found = set(rooms_of_groups(tmp_path, "0::/pod/one\n"))
    assert found == {MemoryRoom(600, 1000), MemoryRoom(100, 500)}


@pytest.mark.parametrize(("limit", "is_limited"), [("1000", True), (UNLIMITED, False)])
def test_a_group_of_version_1_counts_with_those_below(
    tmp_path: Path, limit: str, is_limited: bool
) -> None:
    """Usage is that of the groups below too, and so are the `total_` figures; the mount is ours."""
    _write(
        tmp_path / "memory",
        **{
            "memory.limit_in_bytes": limit,
            "memory.usage_in_bytes": "900",
            "memory.stat": "inactive_file 1\nactive_file 1\ntotal_inactive_file 200\n"
            "total_active_file 50\ntotal_rss 600",
        },
    )
    (room,) = rooms_of_groups(tmp_path, VERSION_1)
    assert (room.available == 350) == is_limited
    assert is_limited or room.available > 10**18


def test_without_control_groups_nothing_bounds_a_process(tmp_path: Path) -> None:
    """None is mounted, or it has no controller of memory."""
    assert list(rooms_of_groups(tmp_path / "nowhere", VERSION_1)) == []
    assert list(rooms_of_groups(tmp_path, "")) == []


@pytest.mark.parametrize(
    ("rooms", "is_enough"),
    [
        ([], True),
        ([MemoryRoom(30 * GB, 1000 * GB)], True),
        ([MemoryRoom(30 * GB - 1, 1000 * GB)], False),
        ([MemoryRoom(64 * MB, GB)], True),
        ([MemoryRoom(64 * MB - 1, GB)], False),
        ([MemoryRoom(20 * GB, 24 * GB), MemoryRoom(20 * MB, 150 * MB)], False),
    ],
)
def test_there_is_memory_where_a_process_has_room(rooms: list[MemoryRoom], is_enough: bool) -> None:
    """Not below 3 % or 64 MB of the machine, or of the container that it runs in."""
    assert has_memory(rooms) == is_enough


def _write(folder: Path, **files: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / name).write_text(f"{text}\n")
