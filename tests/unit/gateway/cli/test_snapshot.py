"""`gateway snapshot`: asking for snapshots, listing, verifying and restoring them."""

import json
from pathlib import Path
from typing import Any

import pytest

from hedgerow.common.errors import BadRequestError
from hedgerow.common.snapshots.manifest import STORE, Manifest, snapshot_id
from hedgerow.common.snapshots.restore import shard_folder
from hedgerow.common.snapshots.store import SnapshotStore
from hedgerow.gateway.cli import snapshot
from hedgerow.shard_worker.placement.worker_name import named_worker
from tests.unit.support.command_line import CommandLine
from tests.unit.support.snapshots import held, indexer, upload, wait, write


@pytest.fixture
def command(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> CommandLine:
    """Run commands against a scripted gateway, with settings of the test's own."""
    monkeypatch.chdir(tmp_path)
    for name in ("HEDGEROW_CONFIG", "HEDGEROW_SNAPSHOTS__URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(snapshot, "POLL_S", 0.0)
    return CommandLine(monkeypatch, capsys)


@pytest.fixture
def made(tmp_path: Path) -> list[Manifest]:
    """Two snapshots of shard 0 in the folder `target`: of one document batch, and of two."""
    store = SnapshotStore(str(tmp_path / "target"), "hedgerow")
    shard = indexer(tmp_path / "origin")
    manifests = []
    for number in (1, 2):
        write(shard, number)
        wait(shard.freeze(folder := tmp_path / f"frozen-{number}"))
        manifests.append(upload(store, folder, number * 86_400_000))
        store.commit(manifests[-1])
    shard.close()
    return manifests


def standing(shard: int, **changes: Any) -> dict[str, Any]:
    """The state of a shard's snapshots, as in the status."""
    return {
        "shard": shard,
        "id": snapshot_id(1500, "0a1b2c"),
        "position": "5-0",
        "made_at_ms": 1500,
        "documents": 1234,
        "bytes": 99,
        "log_kept": 0,
        "is_running": False,
        "failed_at_ms": None,
        "error": "",
        **changes,
    }


def test_creating_waits_for_every_shard(command: CommandLine) -> None:
    """An older snapshot is not taken for the one that was asked for."""
    old = standing(1, made_at_ms=999)
    command.gateway.snapshots.statuses = [
        [standing(0, made_at_ms=None), old],
        [standing(0), {**old, "is_running": True}],
        [standing(0), standing(1)],
    ]
    ended = command.run("snapshot", "create")
    assert (ended.code, ended.err) == (0, "")
    assert ended.out.count("1,234") == 2
    assert len(command.gateway.snapshots.statuses) == 1


def test_creating_says_why_there_is_none(command: CommandLine) -> None:
    """A failure since the request ends the command with its reason; an older one does not."""
    failed = standing(1, made_at_ms=None, failed_at_ms=1600, error="the disk is full")
    command.gateway.snapshots.statuses = [
        [standing(0), {**failed, "failed_at_ms": 900, "error": "old"}],
        [standing(0), failed],
    ]
    ended = command.run("snapshot", "create")
    assert (ended.code, ended.out) == (1, "")
    assert ended.err == "gateway: shard 1: no snapshot: the disk is full\n"


def test_creating_gives_up_in_time(command: CommandLine) -> None:
    """After the timeout the missing shards are named."""
    command.gateway.snapshots.statuses = [[standing(0), standing(1, made_at_ms=None)]]
    ended = command.run("snapshot", "create", "--timeout", "50ms")
    assert ended.code == 1
    assert "after 50ms there is no snapshot of shards 1" in ended.err


def test_creating_where_snapshots_are_off_is_misuse(command: CommandLine) -> None:
    """What the gateway refuses is printed in its own words."""
    command.gateway.snapshots.error = BadRequestError("snapshots.url", "is not set")
    ended = command.run("snapshot", "create")
    assert (ended.code, "snapshots.url" in ended.err) == (2, True)


def test_listing(command: CommandLine, made: list[Manifest]) -> None:
    """All complete snapshots are listed, newest first, for people and for machines."""
    ended = command.run("snapshot", "list", "--from", "target", "--json")
    listed = json.loads(ended.out)
    assert [one["id"] for one in listed] == [made[1].id, made[0].id]
    assert listed[0]["collections"] == {"books": 10}
    assert listed[0]["bytes"] == sum(one.num_bytes for one in made[1].files)
    ended = command.run("snapshot", "list", "--from", "target")
    assert ended.code == 0
    assert ended.out.index("1970-01-0") > 0
    assert len(ended.out.splitlines()) >= 3


def test_an_empty_place_is_told(command: CommandLine) -> None:
    """No snapshots are no table; restoring from there is an error."""
    assert "there are no snapshots" in command.run("snapshot", "list", "--from", "none").out
    ended = command.run("snapshot", "restore", "--from", "none", "--data", "new")
    assert (ended.code, "there are no snapshots" in ended.err) == (1, True)
    assert not Path("new").exists()
    ended = command.run("snapshot", "list")
    assert (ended.code, "snapshots.url is not set" in ended.err) == (1, True)


@pytest.mark.parametrize(("options", "is_told"), [((), True), (("--prefix", "hedgerow"), False)])
def test_snapshots_of_split_shards_are_named(
    command: CommandLine, made: list[Manifest], options: tuple[str, ...], is_told: bool
) -> None:
    """Those of the prefix in the settings are from before the split; one that is named is meant."""
    for name in ("hedgerow-layout-2", "hedgerow-layout-10", "hedgerow-layout-x", "a-layout-11"):
        (Path("target") / name).mkdir()
    for command_line in (("snapshot", "list"), ("snapshot", "restore", "--verify")):
        ended = command.run(*command_line, "--from", "target", *options)
        assert (ended.code, "--prefix hedgerow-layout-10\n" in ended.err) == (0, is_told)
        assert made[1].id[:15] in ended.out


def test_the_setting_says_where(
    command: CommandLine, made: list[Manifest], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without --from the place is that of the workers."""
    monkeypatch.setenv("HEDGEROW_SNAPSHOTS__URL", "target")
    assert len(json.loads(command.run("snapshot", "list", "--json").out)) == len(made)


@pytest.mark.parametrize(
    ("at", "expected"), [(None, 2), ("19700103", 2), ("19700102", 1), ("19700102T000000000Z", 1)]
)
def test_restoring(
    command: CommandLine, made: list[Manifest], tmp_path: Path, at: str | None, expected: int
) -> None:
    """The newest, or the newest up to a time, is put into the folder as it was."""
    options = [] if at is None else ["--at", at]
    ended = command.run("snapshot", "restore", "--from", "target", "--data", "new", *options)
    assert (ended.code, ended.err) == (0, "")
    assert held(shard_folder(tmp_path / "new", 0)) == held(tmp_path / f"frozen-{expected}")


def test_restoring_overwrites_nothing(
    command: CommandLine, made: list[Manifest], tmp_path: Path
) -> None:
    """A shard that is there already stays as it is."""
    arguments = ("snapshot", "restore", "--from", "target", "--data", "new")
    assert command.run(*arguments, "--at", made[0].id).code == 0
    ended = command.run(*arguments)
    assert (ended.code, "shard 0 is there already" in ended.err) == (1, True)
    assert held(shard_folder(tmp_path / "new", 0)) == held(tmp_path / "frozen-1")


def test_the_folder_of_a_worker_that_runs_is_left_alone(
    command: CommandLine, made: list[Manifest]
) -> None:
    """No shard is put into the folder of a worker that has joined, until that worker has ended."""
    arguments = ("snapshot", "restore", "--from", "target", "--data", "new")
    with named_worker(Path("new"), None, 0.0):
        ended = command.run(*arguments)
        assert (ended.code, "--data new: a worker uses this folder" in ended.err) == (1, True)
        assert not Path("new/shards").exists()
    assert command.run(*arguments).code == 0


def test_verifying(command: CommandLine, made: list[Manifest], tmp_path: Path) -> None:
    """A snapshot that is whole verifies, and one that is damaged says where."""
    assert command.run("snapshot", "restore", "--from", "target", "--verify").code == 0
    damaged = tmp_path / "target" / "hedgerow" / "shard-0" / made[1].id / STORE
    damaged.write_bytes(damaged.read_bytes()[:-1] + b"x")
    ended = command.run("snapshot", "restore", "--from", "target", "--verify")
    assert (ended.code, STORE in ended.err, made[1].id in ended.err) == (1, True, True)


@pytest.mark.parametrize(
    "arguments",
    [
        ("--data", "new", "--verify"),
        (),
        ("--data", "new", "--at", "1969"),
        ("--data", "new", "--shards", "7"),
        ("--data", "new", "--shards", "x"),
    ],
)
def test_what_makes_no_sense_is_refused(
    command: CommandLine, made: list[Manifest], arguments: tuple[str, ...]
) -> None:
    """Contradictory options or missing snapshots give a one-line error, and no folder."""
    ended = command.run("snapshot", "restore", "--from", "target", *arguments)
    assert ended.code in {1, 2}
    assert ended.err.count("\n") == 1
    assert not Path("new").exists()


def test_the_group_alone_shows_its_commands(command: CommandLine) -> None:
    """`gateway snapshot` alone says what there is."""
    ended = command.run("snapshot", "--help")
    assert ended.code == 0
    assert all(name in ended.out for name in ("create", "list", "restore"))
    assert command.run("snapshot", "burn").code == 2
