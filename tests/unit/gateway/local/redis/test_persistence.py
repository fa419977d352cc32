"""When the embedded server goes on without its file, and that nothing confirmed is lost by it."""

from dataclasses import dataclass, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hedgerow.common.machine.disk import DiskState
from hedgerow.gateway.local.redis.persistence import REWRITE_AGAIN_S, FilePolicy, FileState, Step

ON = FileState(is_on=True)
OFF = FileState(is_on=False)


def step(disk: DiskState, file: FileState, *, is_fenced: bool = False, now: float = 0.0) -> Step:
    """The first step of a new policy."""
    return FilePolicy().next(disk, file, is_fenced=is_fenced, now=now)


@pytest.mark.parametrize("disk", [DiskState.FULL, DiskState.READ_ONLY])
def test_a_disk_that_takes_nothing_suspends_the_file(disk: DiskState) -> None:
    """Once; a file that is suspended and fenced is left alone."""
    assert step(disk, ON) is Step.SUSPEND
    assert step(disk, OFF) is Step.SUSPEND  # the fence is missing
    assert step(disk, OFF, is_fenced=True) is Step.NOTHING


def test_a_file_that_cannot_be_written_is_suspended_whatever_the_disk_says() -> None:
    """A server that refuses writes stops the queues, so it is helped at once."""
    assert step(DiskState.OK, replace(ON, is_failing=True)) is Step.SUSPEND


def test_a_low_disk_keeps_the_file() -> None:
    """Below the reserve documents are refused, and the file goes on."""
    assert step(DiskState.LOW, ON) is Step.NOTHING
    assert step(DiskState.LOW, OFF, is_fenced=True) is Step.NOTHING  # not enough to begin again


def test_the_fence_stands_until_the_file_is_whole() -> None:
    """With room the file is begun; only when it has been written is the fence taken away."""
    assert step(DiskState.OK, OFF, is_fenced=True) is Step.RESUME
    assert step(DiskState.OK, replace(ON, is_rewriting=True), is_fenced=True) is Step.NOTHING
    assert step(DiskState.OK, replace(ON, has_rewrite_failed=True), is_fenced=True) is Step.REWRITE
    assert step(DiskState.OK, ON, is_fenced=True) is Step.RELEASE
    assert step(DiskState.OK, ON) is Step.NOTHING


def test_a_failed_rewrite_is_tried_again_after_a_pause() -> None:
    """It is not tried with each look, since each attempt forks the server."""
    policy, failed = FilePolicy(), replace(ON, has_rewrite_failed=True)
    steps = [
        policy.next(DiskState.OK, failed, is_fenced=True, now=now)
        for now in (0.0, 1.0, REWRITE_AGAIN_S)
    ]
    assert steps == [Step.REWRITE, Step.NOTHING, Step.REWRITE]


def test_a_low_disk_is_given_back_what_has_gone_from_the_file() -> None:
    """A file that has doubled is made smaller; one that would stay as it is, is not."""
    assert step(DiskState.LOW, replace(ON, size_bytes=40_000_000, base_bytes=1000)) is Step.REWRITE
    assert (
        step(DiskState.LOW, replace(ON, size_bytes=40_000_000, base_bytes=39_000_000))
        is Step.NOTHING
    )
    assert step(DiskState.OK, replace(ON, size_bytes=40_000_000)) is Step.NOTHING


def test_the_state_is_read_from_what_the_server_says() -> None:
    """`INFO persistence`, as Redis and Valkey answer it."""
    info = {
        "aof_enabled": 1,
        "aof_last_write_status": "err",
        "aof_rewrite_in_progress": 0,
        "aof_rewrite_scheduled": 1,
        "aof_last_bgrewrite_status": "err",
        "aof_current_size": 7,
        "aof_base_size": 3,
    }
    assert FileState.of(info) == FileState(
        is_on=True,
        is_failing=True,
        is_rewriting=True,
        has_rewrite_failed=True,
        size_bytes=7,
        base_bytes=3,
    )
    assert FileState.of({"aof_enabled": 0, "aof_last_write_status": "err"}) == OFF


@dataclass
class Server:
    """A model: what is acknowledged, what is on the disk, and what it says of itself."""

    is_on: bool = True
    is_fenced: bool = False
    is_rewriting: bool = False
    has_rewrite_failed: bool = False
    has_room: bool = True
    memory: int = 0
    disk: int = 0
    confirmed: int = 0
    is_failing: bool = False

    def append(self) -> None:
        """A client appends, and then asks for the append to be confirmed."""
        for _ in range(2):  # the write, and the confirmation, each at most one turn apart
            if self.is_fenced or (self.is_on and self.is_failing):
                return
            self.memory += 1
            self.flush()
        self.confirmed = self.memory - 1

    def flush(self) -> None:
        """The end of a turn: write what there is, if the disk takes it."""
        if self.is_on and not self.is_rewriting:
            self.is_failing = not self.has_room
            if self.has_room:
                self.disk = self.memory

    def finish_rewrite(self) -> None:
        """The child that rewrites the file ends."""
        if self.is_rewriting:
            self.is_rewriting, self.has_rewrite_failed = False, not self.has_room
            if self.has_room:
                self.disk, self.is_failing = self.memory, False

    def die(self) -> None:
        """Killed, and started again from its disk, with the file on and without a fence."""
        self.memory = self.disk
        self.is_on, self.is_fenced, self.is_rewriting = True, False, False
        self.has_rewrite_failed = self.is_failing = False

    def take(self, what: Step) -> None:
        """Do what the policy says."""
        match what:
            case Step.SUSPEND:
                self.is_fenced, self.is_on, self.is_rewriting = True, False, False
            case Step.RESUME:
                self.is_on = self.is_rewriting = True
                self.is_failing = False
            case Step.REWRITE:
                self.is_rewriting = True
            case Step.RELEASE:
                self.is_fenced = False
            case Step.NOTHING:
                pass

    def state(self) -> FileState:
        """What it says of its file."""
        return FileState(
            is_on=self.is_on,
            is_failing=self.is_on and self.is_failing,
            is_rewriting=self.is_rewriting,
            has_rewrite_failed=self.has_rewrite_failed,
        )


ACTS = st.lists(st.sampled_from(["append", "look", "fill", "free", "rewritten", "die"]))


@given(ACTS)
def test_no_order_of_events_loses_what_was_confirmed(acts: list[str]) -> None:
    """Whenever the server is killed, every append that was confirmed is on its disk."""
    server, policy, now = Server(), FilePolicy(), 0.0
    for act in acts:
        now += REWRITE_AGAIN_S
        match act:
            case "append":
                server.append()
            case "look":
                disk = DiskState.OK if server.has_room else DiskState.FULL
                file = server.state()
                server.take(policy.next(disk, file, is_fenced=server.is_fenced, now=now))
            case "fill" | "free":
                server.has_room = act == "free"
            case "rewritten":
                server.finish_rewrite()
            case _:
                server.die()
        assert server.disk >= server.confirmed


@given(ACTS)
def test_with_room_appends_are_taken_again(acts: list[str]) -> None:
    """From whatever state, a few looks on a disk with room bring back file and appends."""
    server, policy = Server(), FilePolicy()
    for act in acts:
        if act == "look":
            disk = DiskState.OK if server.has_room else DiskState.FULL
            server.take(policy.next(disk, server.state(), is_fenced=server.is_fenced, now=0.0))
        elif act in ("fill", "free"):
            server.has_room = act == "free"
        else:
            server.append()
    server.has_room = True
    for look in range(1, 6):
        now = look * REWRITE_AGAIN_S
        server.take(policy.next(DiskState.OK, server.state(), is_fenced=server.is_fenced, now=now))
        server.finish_rewrite()
    confirmed = server.confirmed
    server.append()
    assert server.confirmed > confirmed
    assert server.is_on
