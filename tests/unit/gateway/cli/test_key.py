"""`gateway key`: what it prints, and what it leaves in the file."""

import json
import re
from pathlib import Path

import pytest

from hedgerow.gateway.access.caller import Right
from hedgerow.gateway.access.key import hash_of
from hedgerow.gateway.access.key_file import read_keys
from tests.unit.support.command_line import CommandLine


@pytest.fixture
def command(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> CommandLine:
    """Run commands in a folder of their own."""
    monkeypatch.chdir(tmp_path)
    return CommandLine(monkeypatch, capsys)


def test_a_key_is_printed_once_and_kept_as_a_hash(command: CommandLine, tmp_path: Path) -> None:
    """Standard output has the key and nothing else; the file has everything but the key."""
    ended = command.run(
        "key",
        "create",
        "web",
        "--rights",
        "search, write",
        "--collections",
        "a,b",
        "--rate",
        "5",
        "--share",
        "0.25",
        "--expires",
        "2999-01-31",
    )
    assert ended.code == 0
    assert re.fullmatch(r"hedgerow_web_[0-9a-f]{64}\n", ended.out)
    assert "not be shown again" in ended.err
    assert "refuses requests without a key" in ended.err
    (key,) = read_keys(tmp_path / "hedgerow-data" / "keys.json")
    assert key.sha256 == hash_of(ended.out.strip().encode()).hex()
    assert (key.rights, key.collections) == ((Right.SEARCH, Right.WRITE), ("a", "b"))
    assert (key.rate_per_s, key.share) == (5.0, 0.25)
    assert key.expires is not None
    assert key.expires.isoformat() == "2999-01-31T00:00:00+00:00"
    again = command.run("key", "create", "other")
    assert "refuses requests" not in again.err  # they were refused before


def test_keys_are_listed_without_secrets(command: CommandLine) -> None:
    """Neither the table nor the JSON has the key or its hash."""
    secret = command.run("key", "create", "web", "--share", "0.25").out.strip()
    command.run("key", "create", "ops", "--rights", "search,write,admin")
    table, raw = command.run("key", "list").out, command.run("key", "list", "--json").out
    assert "web" in table
    assert "search, write, admin" in " ".join(table.split())
    assert [one["name"] for one in json.loads(raw)] == ["web", "ops"]
    for text in (table, raw):
        assert secret not in text
        assert hash_of(secret.encode()).hex() not in text


def test_a_revoked_key_is_gone(command: CommandLine) -> None:
    """It is listed no more; after the last one, it is said what the gateway does then."""
    command.run("key", "create", "web")
    command.run("key", "create", "ops")
    assert command.run("key", "revoke", "web").err == ""
    assert "web" not in command.run("key", "list").out
    assert "no key is left" in command.run("key", "revoke", "ops").err
    assert command.run("key", "list").out == "there are no keys\n"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("create", "Web"), "NAME: 'Web'"),
        (("create", "a_b"), "NAME: 'a_b'"),
        (("create", "token"), "reserved"),
        (("create", "a\n"), "NAME"),
        (("create", "a", "--rights", "all"), "--rights"),
        (("create", "a", "--rights", ""), "rights"),
        (("create", "a", "--share", "1.5"), "share"),
        (("create", "a", "--share", "0"), "share"),
        (("create", "a", "--rate", "-1"), "rate_per_s"),
        (("create", "a", "--collections", ","), "collections"),
        (("create", "a", "--expires", "soon"), "--expires"),
        (("create", "a", "--expires", "2020-01-31"), "--expires: 2020-01-31 has begun already"),
    ],
)
def test_what_cannot_be_a_key_is_refused(
    command: CommandLine, tmp_path: Path, arguments: tuple[str, ...], said: str
) -> None:
    """It is a usage error that names the fault, and no file is made."""
    ended = command.run("key", *arguments)
    assert (ended.code, ended.out) == (2, "")
    assert said in ended.err
    assert not (tmp_path / "hedgerow-data").exists()


def test_a_name_is_used_once(command: CommandLine) -> None:
    """A second key of a name would take the first one's place unseen."""
    command.run("key", "create", "web")
    ended = command.run("key", "create", "web")
    assert (ended.code, ended.out) == (1, "")
    assert "key 'web' exists" in ended.err


def test_what_is_not_there_is_not_revoked(command: CommandLine) -> None:
    """A key that does not exist is an error, with a file of keys and without one."""
    for _ in range(2):
        ended = command.run("key", "revoke", "web")
        assert ended.code == 1
        assert "there is no key 'web'" in ended.err
        command.run("key", "create", "other")


def test_the_file_is_that_of_the_folder_or_of_the_setting(
    command: CommandLine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """--data names a folder; else the setting a file, wherever it is."""
    command.run("key", "create", "web", "--data", str(tmp_path / "there"))
    assert len(read_keys(tmp_path / "there" / "keys.json")) == 1
    monkeypatch.setenv("HEDGEROW_GATEWAY__KEYS_FILE", str(tmp_path / "else" / "k.json"))
    command.run("key", "create", "web")
    assert len(read_keys(tmp_path / "else" / "k.json")) == 1
