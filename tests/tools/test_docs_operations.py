"""The pages for operators say what the code does."""

import inspect
import re
import subprocess
from pathlib import Path

import pytest

from hedgerow.common.outcome import Outcome
from hedgerow.common.redis.keys import Keys
from tests.tools.support.settings_named import unknown_settings

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
FOR_OPERATORS = (
    "operations",
    "deploying",
    "sizing",
    "memory",
    "redis",
    "redis-keys",
    "redis-servers",
    "replicas",
    "snapshots",
    "indexes",
    "fetching",
    "overload",
    "watching",
    "logs",
    "shortages",
    "crashes",
    "upgrading",
)
NO_SETTINGS = {
    "redis.conf",
    "redis.caSecret",
}  # a file, and a value of Helm
PLACEHOLDERS = {
    "shard": "SHARD",
    "worker": "WORKER",
    "gateway_id": "GATEWAY",
    "uid": "UID",
    "token": "TOKEN",
    "host": "HOST",
    "number": "NUMBER",
    "slot": "SLOT",  # which only clusters of nodes spell
}
NO_KEYS = {
    "of",
    "prefix",
    "num_slots",
    "slot",
    "reply_channel_in",
    "layout",
    "own",
    "folder",
    "of_layout",
}


def page(name: str) -> str:
    """Read a page."""
    return (DOCS / f"{name}.md").read_text(encoding="utf-8")


def anchors(name: str) -> set[str]:
    """The anchors of a page's headings, as GitHub and the site make them."""
    headings = re.findall(r"^#{1,3} (.+)$", page(name), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", each).lower().replace(" ", "-") for each in headings}


def named_by_the_code() -> dict[str, str]:
    """Every key and channel with its placeholders → the type that its docstring begins with."""
    keys = Keys()
    found = {}
    for name, member in inspect.getmembers(Keys):
        if name.startswith("_") or name in NO_KEYS:
            continue
        if isinstance(member, property):
            key, about = getattr(keys, name), member.__doc__
        else:
            arguments = list(inspect.signature(member).parameters)[1:]
            key = member(keys, *(PLACEHOLDERS[argument] for argument in arguments))
            about = member.__doc__
        assert about
        found[key] = about.partition(":")[0].lower()
    return found


def test_every_redis_key_is_documented_and_no_other() -> None:
    """The table of keys has each name of common/redis/keys.py with its type, and nothing else."""
    rows = re.findall(r"^\| `(hedgerow:[^`]+)` \| ([\w ]+) \|", page("redis-keys"), re.MULTILINE)
    assert dict(rows) == named_by_the_code()
    assert len(rows) == len(dict(rows))


def test_every_outcome_is_explained() -> None:
    """The table of outcomes has a row for each."""
    table = page("watching").partition("## What an outcome means")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE)
    assert rows == [outcome.value for outcome in Outcome]


def test_every_log_event_that_is_explained_is_logged() -> None:
    """No event in the table of logs is one that the code has stopped logging."""
    code = "".join(
        path.read_text(encoding="utf-8")
        for folder in ("common", "gateway", "shard_worker")
        for path in sorted((ROOT / folder).rglob("*.py"))
    )
    events = [
        event
        for row in re.findall(r"^\| (`.*?`) \|", page("logs"), re.MULTILINE)
        for event in re.findall(r"`(\w+)`", row)
    ]
    assert len(events) > 10
    assert [event for event in events if f'"{event}"' not in code] == []


@pytest.mark.parametrize("name", FOR_OPERATORS)
def test_every_setting_that_is_named_exists(name: str) -> None:
    """Each `group.setting` on the page is one of common/settings/settings.py."""
    assert unknown_settings(page(name)) <= NO_SETTINGS


def test_the_entry_page_leads_to_every_page_for_operators() -> None:
    """docs/operations.md links to each of them."""
    linked = re.findall(r"\]\(([\w-]+)\.md", page("operations"))
    assert set(FOR_OPERATORS) - {"operations"} <= set(linked)


def test_code_and_configuration_name_pages_that_exist() -> None:
    """Each docs/PAGE.md in a docstring, a message or a comment is there, with its heading."""
    tracked = subprocess.run(
        ["git", "ls-files", "-z", *("*.py", "*.y*ml", "*.conf", "Makefile"), ":!tests"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    named = {
        found
        for path in tracked.stdout.split("\0")
        if path and (ROOT / path).is_file()
        for found in re.findall(r"\bdocs/([\w/-]+)\.md(?:#([\w-]+))?", (ROOT / path).read_text())
    }
    assert len(named) > 20
    for name, anchor in named:
        assert (DOCS / f"{name}.md").is_file(), name
        assert not anchor or anchor in anchors(name), f"{name}.md#{anchor}"
