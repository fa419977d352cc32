"""Manifests, names and retention of snapshots."""

import hmac
import json
from collections.abc import Sequence
from dataclasses import replace
from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from hedgerow.common.errors import SnapshotError
from hedgerow.common.settings.snapshots import SnapshotSettings
from hedgerow.common.snapshots.manifest import (
    STORE,
    CollectionFacts,
    FileFacts,
    Manifest,
    is_snapshot_id,
    snapshot_id,
    superfluous,
)
from hedgerow.common.snapshots.signature import ManifestSigner

finite = st.floats(allow_nan=False, allow_infinity=False)
names = st.text("abcdef0123456789", min_size=1, max_size=12)
files = st.dictionaries(
    st.one_of(names, st.builds("{}/{}.term".format, names, names)), st.integers(0, 2**40)
)
manifests = st.builds(
    lambda at, shard, found, collections: Manifest(
        snapshot_id(at, "0a1b2c"),
        shard,
        8,
        f"{at}-3",
        at,
        "1.2.3",
        tuple(CollectionFacts(uid, name, count) for uid, name, count in collections),
        tuple(FileFacts(path, size, "ab" * 32) for path, size in {STORE: 7, **found}.items()),
    ),
    st.integers(0, 2**42),
    st.integers(0, 7),
    files,
    st.lists(st.tuples(names, st.text(max_size=5), st.integers(0, 10**9)), max_size=3),
)


@given(manifests)
def test_a_manifest_is_read_as_it_was_written(manifest: Manifest) -> None:
    """Nothing of a manifest is lost on the way through its file, and its sums are right."""
    read = Manifest.from_json(manifest.to_json())
    assert read == manifest
    assert read.documents == sum(one.documents for one in manifest.collections)
    assert read.num_bytes == sum(one.num_bytes for one in manifest.files)


@given(manifests, st.floats(0, 1, exclude_max=True))
def test_a_manifest_that_was_cut_short_is_none(manifest: Manifest, share: float) -> None:
    """No truncated manifest passes for a whole one."""
    written = manifest.to_json().rstrip()
    with pytest.raises(SnapshotError):
        Manifest.from_json(written[: int(len(written) * share)])


@pytest.mark.parametrize(
    ("member", "value"),
    [
        ("format", 2),
        ("id", "../20260131T120000000Z-0a1b2c"),
        ("position", "soon"),
        ("files", []),
        ("files", [{"path": STORE, "num_bytes": -1, "sha256": ""}]),
        ("files", [{"path": STORE, "num_bytes": 1, "sha256": ""}] * 2),
        *(
            ("files", [{"path": path, "num_bytes": 1, "sha256": ""}])
            for path in ("../store.sqlite", "/etc/passwd", "a/../b", "a/b/c", "", "a/", "..")
        ),
        ("files", [{"path": f"lock/{STORE}", "num_bytes": 1, "sha256": ""}]),
        ("files", [{"path": STORE, "num_bytes": "1", "sha256": ""}]),
        ("files", [[STORE, 1, ""]]),
        ("files", "none"),
        ("collections", [{"uid": "u", "name": "n", "documents": -1}]),
        ("collections", {}),
        ("shard", "0"),
        ("num_shards", None),
        ("made_at_ms", 1e300),
        ("version", ["1"]),
    ],
)
def test_a_manifest_that_contradicts_itself_is_refused(member: str, value: object) -> None:
    """A wrong format or type, no store, a file twice or outside the folder: all are refused."""
    facts = json.loads(
        Manifest(
            snapshot_id(0, "0a1b2c"), 0, 1, "0-1", 0, "1", (), (FileFacts(STORE, 1, "ab"),)
        ).to_json()
    )
    store = {"path": STORE, "num_bytes": 1, "sha256": ""}
    match value:
        case [{"path": path}] if path != STORE:
            value = [store, *value]
    facts[member] = value
    with pytest.raises(SnapshotError):
        Manifest.from_json(json.dumps(facts).encode())


@pytest.mark.parametrize("data", [b"[" * 100_000, b"\xff", b"null", b'{"format": 1' + b" " * 2**24])
def test_what_is_no_manifest_is_refused(data: bytes) -> None:
    """Deep nesting, other bytes and what is too long end with an error of ours."""
    with pytest.raises(SnapshotError):
        Manifest.from_json(data)


@given(manifests, st.text(min_size=1), st.data())
def test_a_signature_covers_all_of_a_manifest(
    manifest: Manifest, key: str, data: st.DataObject
) -> None:
    """What was signed is taken as it was written; any other content, key or cluster is refused."""
    signer = ManifestSigner(key, "prefix")
    signed = Manifest.from_json(signer.signed(manifest).to_json())
    signer.check(signed)
    assert replace(signed, signature="") == manifest
    other = data.draw(manifests.filter(lambda one: one != manifest))
    for changed in (manifest, replace(other, signature=signed.signature)):
        with pytest.raises(SnapshotError, match="not signed"):
            signer.check(changed)
    for stranger in (ManifestSigner(key + "x", "prefix"), ManifestSigner(key, "prefix2")):
        with pytest.raises(SnapshotError, match="was changed"):
            stranger.check(signed)


@given(manifests, st.dictionaries(names, st.none() | st.integers() | st.text() | finite))
def test_a_newer_manifest_is_read_and_its_signature_covers_all_of_it(
    manifest: Manifest, more: dict[str, object]
) -> None:
    """Members that this version does not know are ignored, but cannot be changed unnoticed."""
    facts = json.loads(manifest.to_json()) | {f"new_{name}": one for name, one in more.items()}
    for part in (*facts["files"], *facts["collections"]):
        part["new"] = 1
    signer = ManifestSigner("key", "prefix")
    # As the newer version would sign it: all that it writes, in the same form.
    content = json.dumps(facts, indent=1).encode() + b"\n"
    message = b"hedgerow snapshot manifest\0prefix\0" + content
    facts["signature"] = hmac.new(b"key", message, sha256).hexdigest()
    read = Manifest.from_json(json.dumps(facts).encode())
    assert replace(read, signature="") == manifest
    signer.check(read)
    facts["files"][0]["new"] = 2
    with pytest.raises(SnapshotError, match="was changed"):
        signer.check(Manifest.from_json(json.dumps(facts).encode()))


def test_a_newer_format_says_what_to_upgrade() -> None:
    """A snapshot of a format that is too new is refused with that reason, whatever else it has."""
    with pytest.raises(SnapshotError, match=r"has format 2.*upgrade this process"):
        Manifest.from_json(b'{"format": 2, "shards": [1]}')


def test_the_signature_is_an_hmac() -> None:
    """Another implementation of HMAC-SHA256 gives the same signature."""
    manifest = Manifest(snapshot_id(0, "0a1b2c"), 0, 1, "0-1", 0, "1", (), ())
    message = b"hedgerow snapshot manifest\0prefix\0" + manifest.to_json()
    pad = b"key".ljust(64, b"\0")
    inner = sha256(bytes(byte ^ 0x36 for byte in pad) + message).digest()
    outer = sha256(bytes(byte ^ 0x5C for byte in pad) + inner).hexdigest()
    assert ManifestSigner("key", "prefix").signed(manifest).signature == outer


def test_without_a_key_nothing_is_signed_or_refused() -> None:
    """Signed or not, a manifest is taken as before; what is written has no signature."""
    manifest = Manifest(snapshot_id(0, "0a1b2c"), 0, 1, "0-1", 0, "1", (), ())
    signer = ManifestSigner(None, "prefix")
    assert signer.signed(manifest) == manifest
    assert b"signature" not in manifest.to_json()
    signer.check(manifest)
    signer.check(replace(manifest, signature="00"))


@pytest.mark.parametrize("key", ["", "short"])
def test_a_key_that_can_be_guessed_is_refused(key: str) -> None:
    """An empty or short secret is an error of the setting's, and not taken for none."""
    with pytest.raises(ValueError, match="shorter than 16"):
        SnapshotSettings(key=SecretStr(key))


@given(st.lists(st.integers(0, 2**42), min_size=2, max_size=2, unique=True))
def test_names_sort_by_age(instants: Sequence[int]) -> None:
    """Of two snapshots the one that was begun later has the greater name."""
    earlier, later = sorted(instants)
    assert snapshot_id(earlier, "ffffff") < snapshot_id(later, "000000")
    assert is_snapshot_id(snapshot_id(later, "000000"))


ids = st.integers(0, 40).map(lambda n: snapshot_id(n * 1000, "0a1b2c"))


@given(st.sets(ids, max_size=20), st.data(), st.integers(-1, 6))
def test_what_is_kept(present: set[str], data: st.DataObject, keep: int) -> None:
    """The newest complete ones stay, always one; nothing that is younger is touched."""
    newest = data.draw(ids)
    present |= {newest}
    complete = {one for one in present if data.draw(st.booleans())} | {newest}
    gone = superfluous(present, complete, keep, newest)
    assert newest not in gone
    assert all(one < newest for one in gone)
    left = [one for one in complete - gone if one <= newest]
    eligible = [one for one in complete if one <= newest]
    assert sorted(left) == sorted(eligible)[-max(keep, 1) :]
    assert {one for one in present - complete if one < newest} <= gone
