"""Keys: their text, their file, the ring that is in force, and how it follows the file."""

import asyncio
import hashlib
import json
import os
import re
import stat
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path

import msgspec
import pytest
import structlog
from pydantic import SecretStr

from hedgerow.common.errors import ConfigurationError, OverloadedError, UnauthorizedError
from hedgerow.common.settings.gateway import GatewaySettings
from hedgerow.gateway.access.caller import ANONYMOUS, TOKEN_HOLDER, Right
from hedgerow.gateway.access.control import AccessControl
from hedgerow.gateway.access.key import Key, name_in, names_of, new_secret
from hedgerow.gateway.access.key_file import change_keys, read_keys
from hedgerow.gateway.access.key_ring import KeyRing
from hedgerow.gateway.access.key_watch import KeyWatch
from hedgerow.gateway.shapes.access import KeyStatus
from tests.unit.support.access import CREATED, access_by, make_key


def bearer(secret: str) -> bytes:
    """The header that a client sends."""
    return f"Bearer {secret}".encode()


def test_a_key_names_itself_and_is_random() -> None:
    """It is found by a prefix and its form, has 256 random bits, and says whose it is."""
    first, second = new_secret("web-1"), new_secret("web-1")
    assert re.fullmatch(r"hedgerow_web-1_[0-9a-f]{64}", first)
    assert first != second
    assert name_in(first.encode()) == "web-1"
    assert [name_in(text) for text in (b"", b"s3cret", b"hedgerow_", b"hedgerow_web")] == [""] * 4


def test_the_file_has_a_hash_alone(tmp_path: Path) -> None:
    """Nothing of the secret is in it, and only its owner may read it."""
    path = tmp_path / "new" / "keys.json"
    key, secret = make_key("web", Right.SEARCH, share=0.5)
    change_keys(path, lambda keys: (*keys, key))
    text = path.read_text()
    assert secret.rpartition("_")[2] not in text
    assert json.loads(text)["keys"][0]["sha256"] == hashlib.sha256(secret.encode()).hexdigest()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert read_keys(path) == (key,)
    assert list(path.parent.iterdir()) == [path]


def test_a_change_keeps_the_mode_and_the_owner(tmp_path: Path) -> None:
    """A gateway that may read the file as another user may do so after a change."""
    path = tmp_path / "keys.json"
    change_keys(path, lambda _: (make_key("a")[0],))
    path.chmod(0o640)
    if os.geteuid() == 0:
        os.chown(path, 10001, 10002)
    before = path.stat()
    change_keys(path, lambda _: ())
    after = path.stat()
    assert stat.S_IMODE(after.st_mode) == 0o640
    assert (after.st_uid, after.st_gid) == (before.st_uid, before.st_gid)


def test_a_change_by_a_user_who_may_not_give_files_away_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file then belongs to that user, and has the mode that it had."""
    path = tmp_path / "keys.json"
    change_keys(path, lambda _: (make_key("a")[0],))
    path.chmod(0o644)

    def refuse(*_: int) -> None:
        raise PermissionError

    monkeypatch.setattr(os, "fchown", refuse)
    change_keys(path, lambda _: ())
    assert read_keys(path) == ()
    assert stat.S_IMODE(path.stat().st_mode) == 0o644


def test_changes_at_once_are_all_kept(tmp_path: Path) -> None:
    """Twenty commands that each add a key leave twenty."""
    path = tmp_path / "keys.json"

    def add(number: int) -> None:
        change_keys(path, lambda keys: (*keys, make_key(f"key-{number}")[0]))

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(add, range(20)))
    assert sorted(names_of(read_keys(path))) == sorted(f"key-{number}" for number in range(20))


def test_a_change_that_fails_leaves_the_old_file(tmp_path: Path) -> None:
    """Neither half a file nor a temporary one is left."""
    path = tmp_path / "keys.json"
    key, _ = make_key("a")
    change_keys(path, lambda _: (key,))

    def fail(_: tuple[Key, ...]) -> tuple[Key, ...]:
        raise RuntimeError

    with pytest.raises(RuntimeError):
        change_keys(path, fail)
    assert read_keys(path) == (key,)
    assert list(tmp_path.iterdir()) == [path]


KEY = {
    "name": "a",
    "sha256": "0" * 64,
    "rights": ["search"],
    "created": "2026-01-01T00:00:00Z",
}
BROKEN = {
    "not JSON": "{",
    "not UTF-8": b"\xff",
    "a list": "[]",
    "no keys": "{}",
    "another version": json.dumps({"version": 2, "keys": []}),
    "an unknown member": json.dumps({"keys": [KEY | {"secret": "x"}]}),
    "an unknown right": json.dumps({"keys": [KEY | {"rights": ["all"]}]}),
    "no right": json.dumps({"keys": [KEY | {"rights": []}]}),
    "no hash": json.dumps({"keys": [KEY | {"sha256": ""}]}),
    "a share above one": json.dumps({"keys": [KEY | {"share": 1.5}]}),
    "a rate of nothing": json.dumps({"keys": [KEY | {"rate_per_s": 0}]}),
    "a time without zone": json.dumps({"keys": [KEY | {"expires": "2026-01-01T00:00:00"}]}),
    "a name with a newline": json.dumps({"keys": [KEY | {"name": "a\n"}]}),
    "a name twice": json.dumps({"keys": [KEY, KEY]}),
    "too long": "x" * (2**20 + 1),
}


@pytest.mark.parametrize("text", BROKEN.values(), ids=BROKEN)
def test_a_broken_file_is_refused(tmp_path: Path, text: str | bytes) -> None:
    """It is an error that names the file, and at its start a gateway does not run without it."""
    path = tmp_path / "keys.json"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    with pytest.raises(ConfigurationError, match=re.escape(str(path))):
        KeyWatch(path, KeyRing()).load()


def test_a_pipe_is_no_file_of_keys(tmp_path: Path) -> None:
    """It is refused, and not waited for."""
    path = tmp_path / "keys.json"
    os.mkfifo(path)
    with pytest.raises(ConfigurationError, match="regular"):
        KeyWatch(path, KeyRing()).load()


async def test_the_ring_follows_the_file(tmp_path: Path) -> None:
    """New keys work and revoked ones do not, as soon as the file was looked at."""
    path, ring = tmp_path / "keys.json", KeyRing()
    watch, access = KeyWatch(path, ring), AccessControl(GatewaySettings(), ring)
    watch.load()
    assert access.admit(b"") is ANONYMOUS  # no file: anyone may ask
    key, secret = make_key("web")
    change_keys(path, lambda _: (key,))
    await watch.look()
    assert access.admit(bearer(secret)).name == "web"
    with pytest.raises(UnauthorizedError):
        access.admit(b"")
    change_keys(path, lambda _: ())
    await watch.look()
    # Whose last key was revoked is not open to all.
    for header in (b"", bearer(secret)):
        with pytest.raises(UnauthorizedError):
            access.admit(header)


async def test_a_file_that_breaks_changes_nothing(tmp_path: Path) -> None:
    """The last good keys stay in force; log and status say why, the log once."""
    path, ring = tmp_path / "keys.json", KeyRing()
    key, secret = make_key("web")
    change_keys(path, lambda _: (key,))
    watch, access = KeyWatch(path, ring), AccessControl(GatewaySettings(), ring)
    watch.load()
    good = path.read_bytes()
    path.write_bytes(b"{")
    with structlog.testing.capture_logs() as logs:
        await watch.look()
        await watch.look()
    assert [one["event"] for one in logs] == ["keys_file_broken"]
    assert str(path) in access.to_json({})["keys_error"]
    assert access.admit(bearer(secret)).name == "web"
    path.write_bytes(good)
    await watch.look()
    assert access.to_json({})["keys_error"] == ""


async def test_a_file_that_is_deleted_has_no_keys(tmp_path: Path) -> None:
    """None of its keys works any more, and the gateway is not open either."""
    path, ring = tmp_path / "keys.json", KeyRing()
    key, secret = make_key("web")
    change_keys(path, lambda _: (key,))
    watch, access = KeyWatch(path, ring), AccessControl(GatewaySettings(), ring)
    watch.load()
    path.unlink()
    await watch.look()
    for header in (b"", bearer(secret)):
        with pytest.raises(UnauthorizedError):
            access.admit(header)


async def test_an_unchanged_file_is_not_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A look at a file that is as it was costs no more than a stat."""
    path, ring = tmp_path / "keys.json", KeyRing()
    change_keys(path, lambda _: (make_key("web")[0],))
    watch = KeyWatch(path, ring)
    watch.load()

    def fail(_: Path) -> tuple[Key, ...]:
        raise AssertionError

    monkeypatch.setattr("hedgerow.gateway.access.key_watch.read_keys", fail)
    await watch.look()


async def test_the_watch_looks_by_itself(tmp_path: Path) -> None:
    """While it runs, a new file comes into force without a call, and the names are passed on."""
    path, ring = tmp_path / "keys.json", KeyRing()
    watch, changed = KeyWatch(path, ring), asyncio.Event()
    found: list[frozenset[str]] = []

    def on_change(names: frozenset[str]) -> None:
        found.append(names)
        changed.set()

    change_keys(path, lambda _: (make_key("web")[0],))
    async with watch.running(interval_s=0.0, on_change=on_change):
        await changed.wait()
    assert ring.is_required
    assert found == [{"web"}]


@pytest.mark.parametrize(
    "header",
    [
        b"",
        b"Bearer",
        b"Bearer ",
        b"bearer  ",
        b"Basic s3cret",
        b"Bearer s3cret2",
        b"s3cret",
        b"Bearer s3cre",
        b"Bearer S3CRET",
        b"Bearer s3cret, Bearer s3cret",
    ],
)
@pytest.mark.parametrize("has_keys", [False, True])
def test_without_exactly_the_token_there_is_no_way_in(header: bytes, has_keys: bool) -> None:
    """A scheme without a token above all, with keys beside the token and without."""
    settings = {"token": SecretStr("s3cret")}
    keys = [make_key("web")[0]] if has_keys else []
    access = (
        access_by(*keys, **settings) if has_keys else AccessControl(GatewaySettings(**settings))
    )
    with pytest.raises(UnauthorizedError):
        access.admit(header)
    assert access.admit(b"beAReR  s3cret ") is TOKEN_HOLDER


def test_only_the_whole_key_opens() -> None:
    """Another key's secret under its name, a part of it, and its hash are refused."""
    (web, secret), (app, other) = make_key("web"), make_key("app")
    access = access_by(web, app)
    mixed = "hedgerow_web_" + other.rpartition("_")[2]
    for text in (mixed, secret[:-1], secret + "0", secret.upper(), web.sha256, "hedgerow_web_"):
        with pytest.raises(UnauthorizedError):
            access.admit(bearer(text))
    assert access.admit(bearer(secret)).name == "web"
    assert access.admit(bearer(other)).name == "app"


def test_a_key_expires() -> None:
    """From its instant on it is refused, and the refusal says why."""
    key, secret = make_key("web", expires=CREATED)
    ring = KeyRing()
    ring.replace([key])
    wall = (CREATED - timedelta(seconds=1)).timestamp()
    access = AccessControl(GatewaySettings(), ring, wall_clock=lambda: wall)
    assert access.admit(bearer(secret)).name == "web"
    wall += 1
    with pytest.raises(UnauthorizedError, match="expired"):
        access.admit(bearer(secret))
    assert access.to_json({})["keys"][0]["is_expired"]


def test_processes_that_share_a_port_divide_a_rate() -> None:
    """Three processes together admit what one alone would, and a refusal says how."""
    key, secret = make_key("web", rate_per_s=6)
    rings = [KeyRing(3) for _ in range(3)]
    for ring in rings:
        ring.replace([key])
        ring.replace([key])  # the file was read again
        held = ring.find(secret.encode(), 0.0)
        for _ in range(2):
            held.admit(100.0)
        with pytest.raises(OverloadedError, match=r"6 requests a second, an equal part to each"):
            held.admit(100.0)


def test_a_rate_is_held_across_a_reload() -> None:
    """A reread file gives no key a second's worth more, and counts go on; another rate starts."""
    key, secret = make_key("web", rate_per_s=2)
    ring, now = KeyRing(), 100.0
    ring.replace([key])
    access = AccessControl(GatewaySettings(), ring, clock=lambda: now)
    for _ in range(2):
        access.admit(bearer(secret))
    ring.replace([key, make_key("other")[0]])
    with pytest.raises(OverloadedError) as refusal:
        access.admit(bearer(secret))
    assert (refusal.value.cause, refusal.value.retry_after_s) == ("rate", 0.5)
    now += 0.5
    access.admit(bearer(secret))
    found = access.to_json({"web": {"in_flight": 3, "refused": 4}})["keys"][0]
    assert (found["requests"], found["refused"]) == (3, {"rate": 1, "share": 4})
    assert found["in_flight"] == 3
    assert secret.rpartition("_")[2] not in json.dumps(found)
    assert key.sha256 not in json.dumps(found)


def test_a_key_as_the_token_is_refused() -> None:
    """A gateway that was started where a client's key is in the environment says so."""
    with pytest.raises(ConfigurationError, match=r"gateway\.token: is key 'web'"):
        AccessControl(GatewaySettings(token=SecretStr(make_key("web")[1])))


@pytest.mark.parametrize(
    ("host", "has_token", "has_keys", "is_warned"),
    [
        ("127.0.0.1", False, False, False),
        ("0.0.0.0", False, False, True),
        ("10.0.0.1", False, False, True),
        ("0.0.0.0", True, False, False),
        ("0.0.0.0", False, True, False),
    ],
)
def test_an_open_gateway_beyond_this_machine_is_warned_of(
    host: str, has_token: bool, has_keys: bool, is_warned: bool
) -> None:
    """Without a token or a key, an address that is not loopback brings a warning."""
    settings = GatewaySettings(host=host, token=SecretStr("s3cret") if has_token else None)
    ring = KeyRing()
    if has_keys:
        ring.replace([make_key("web")[0]])
    assert bool(AccessControl(settings, ring).warning) is is_warned


def test_the_status_can_name_each_right() -> None:
    """A client reads the status of a gateway whose keys have any right."""
    rights = tuple(Right)
    key, _ = make_key("k", *rights)
    (found,) = access_by(key).to_json({})["keys"]
    assert msgspec.convert(found, KeyStatus).rights == [right.value for right in rights]
