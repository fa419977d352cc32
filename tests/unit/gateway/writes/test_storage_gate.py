"""Which writes a gateway takes while something runs out."""

from typing import Any

import pytest

from hedgerow.common.errors import InsufficientStorageError, WriteRefusedError
from hedgerow.common.machine.disk import MB
from hedgerow.common.machine.shortage import Shortage
from hedgerow.common.state.storage import EXPIRY_S
from hedgerow.common.wire.heartbeat import Heartbeat
from hedgerow.gateway.writes.storage_gate import ServerMemory, StorageGate


class Setting:
    """A gate, and what it looks at."""

    def __init__(self) -> None:
        self.workers: list[Heartbeat] = []
        self.now = 100.0
        self.gate = StorageGate(lambda: self.workers, now=lambda: self.now, now_ms=lambda: 42)

    def worker(self, *shortages: dict[str, Any]) -> None:
        """A worker that reports this about itself."""
        name = f"w{len(self.workers)}"
        beat = Heartbeat(name, 1, "h", [0], "1", 0, 0, replicas={0: "r", 3: "s"})
        self.workers.append(Heartbeat(**{**vars(beat), "shortages": list(shortages)}))


def told(resource: str = "disk", state: str = "low") -> dict[str, Any]:
    """What a heartbeat says about a resource."""
    return Shortage(resource, state, f"{resource} is {state}", 7, 5).to_json()


@pytest.mark.parametrize(
    ("resource", "state", "takes_writes", "takes_removals"),
    [
        ("disk", "low", False, True),
        ("disk", "full", False, False),
        ("disk", "read_only", False, False),
        ("memory", "low", False, True),
        ("descriptors", "low", True, True),
        ("processes", "low", True, True),
    ],
)
def test_what_runs_out_decides_which_writes_are_refused(
    resource: str, state: str, takes_writes: bool, takes_removals: bool
) -> None:
    """Removals may use the reserve; what lacks descriptors or processes writes later."""
    setting = Setting()
    setting.worker()
    setting.worker(told(resource, state))
    for is_removal, is_taken in ((False, takes_writes), (True, takes_removals)):
        if is_taken:
            setting.gate.check(is_removal=is_removal)
        else:
            with pytest.raises(InsufficientStorageError, match=f"w1: {resource} is {state}"):
                setting.gate.check(is_removal=is_removal)


def test_a_refusal_names_where_what_and_which_shards() -> None:
    """The error carries what the status shows: the worker, its shards, the state."""
    setting = Setting()
    setting.worker(told())
    with pytest.raises(InsufficientStorageError) as caught:
        setting.gate.check()
    assert caught.value.shortages == setting.gate.list()
    (one,) = caught.value.shortages
    assert (one["where"], one["shards"], one["free_bytes"]) == ("w0", [0, 3], 5)


def test_what_a_newer_worker_says_does_not_refuse() -> None:
    """A shortage of an unknown kind is passed over."""
    setting = Setting()
    setting.worker({"resource": "luck", "state": "low"}, {"no": "sense"})
    setting.gate.check()
    assert setting.gate.list() == []


def test_only_a_disk_that_takes_nothing_keeps_accepted_documents_waiting() -> None:
    """A low disk is what is kept free for them; a full one applies nothing."""
    setting = Setting()
    setting.worker(told())
    setting.gate.check_applying()
    setting.worker(told(state="full"))
    with pytest.raises(InsufficientStorageError, match="w1"):
        setting.gate.check_applying()


@pytest.mark.parametrize(
    ("cause", "resource", "state"),
    [("memory", "memory", "full"), ("disk", "disk", "full"), ("read_only", "disk", "read_only")],
)
def test_a_server_that_refuses_is_a_shortage_for_a_while(
    cause: str, resource: str, state: str
) -> None:
    """What Redis itself refuses is shown and refused until it may be asked again."""
    setting = Setting()
    refused = setting.gate.refused(WriteRefusedError("OOM command not allowed", cause))
    assert "OOM command not allowed" in str(refused)
    (one,) = setting.gate.list()
    assert (one["where"], one["resource"], one["state"]) == ("redis", resource, state)
    with pytest.raises(InsufficientStorageError):
        setting.gate.check()
    setting.now += EXPIRY_S / 4
    setting.gate.check()


def test_memory_runs_out_below_maxmemory() -> None:
    """From 80 % on there is a shortage, which ends below 76 %; without maxmemory there is none."""
    memory = ServerMemory(0.8)

    def is_short(used: int, most: int = 100 * MB) -> bool:
        return memory.judge({"used_memory": used, "maxmemory": most}, 0) is not None

    assert not is_short(80 * MB - 1)
    assert is_short(80 * MB)
    assert is_short(77 * MB)
    assert not is_short(75 * MB)
    assert not is_short(77 * MB)
    assert not is_short(10**12, most=0)
    assert memory.judge({}, 0) is None


@pytest.mark.parametrize(
    ("policy", "most", "is_refused"),
    [
        ("allkeys-lru", MB, True),
        ("allkeys-lfu", MB, True),
        ("allkeys-random", MB, True),
        ("allkeys-lru", 0, False),
        ("volatile-lru", MB, False),
        ("volatile-ttl", MB, False),
        ("noeviction", MB, False),
    ],
)
def test_documents_are_refused_while_the_server_may_remove_them(
    policy: str, most: int, is_refused: bool
) -> None:
    """A policy that is set while the server runs is noticed, however much memory it has left."""
    info = {"used_memory": 1, "maxmemory": most, "maxmemory_policy": policy}
    shortage = ServerMemory(0.8).judge(info, 7)
    assert (shortage is not None) == is_refused
    if shortage is not None:
        assert (shortage.resource, shortage.state, shortage.since_ms) == ("memory", "low", 7)
        assert policy in shortage.detail


def test_a_gateway_that_runs_out_itself_says_so_and_takes_writes() -> None:
    """Its descriptors are in the list under `gateway`; documents need none."""
    own = Shortage("descriptors", "low", "no more", 7)
    gate = StorageGate(tuple, now=lambda: 0.0, now_ms=lambda: 0, own=lambda: [own])
    assert gate.list() == [{"where": "gateway", "shards": [], **own.to_json()}]
    gate.check()
