"""docs/operations.md tells operators what the code does."""

import inspect
import re
from pathlib import Path

from hedgerow.common.outcome import Outcome
from hedgerow.common.redis.keys import Keys
from hedgerow.common.settings.settings import Settings

OPERATIONS = (Path(__file__).parents[2] / "docs" / "operations.md").read_text(encoding="utf-8")
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
    *("of", "prefix", "num_slots", "slot", "reply_channel_in"),
    *("layout", "own", "folder", "of_layout"),
}


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
    rows = re.findall(r"^\| `(hedgerow:[^`]+)` \| ([\w ]+) \|", OPERATIONS, re.MULTILINE)
    assert dict(rows) == named_by_the_code()
    assert len(rows) == len(dict(rows))


def test_every_outcome_is_explained() -> None:
    """The table of outcomes has a row for each."""
    table = OPERATIONS.partition("## What an outcome means")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE)
    assert rows == [outcome.value for outcome in Outcome]


def test_every_log_event_that_is_explained_is_logged() -> None:
    """No event in the table of logs is one that the code has stopped logging."""
    root = Path(__file__).parents[2]
    code = "".join(
        path.read_text(encoding="utf-8")
        for folder in ("common", "gateway", "shard_worker")
        for path in sorted((root / folder).rglob("*.py"))
    )
    table = OPERATIONS.partition("\n## Logs")[2].partition("\n## ")[0]
    events = [
        event
        for row in re.findall(r"^\| (`.*?`) \|", table, re.MULTILINE)
        for event in re.findall(r"`(\w+)`", row)
    ]
    assert len(events) > 10
    assert [event for event in events if f'"{event}"' not in code] == []


def test_every_setting_that_is_named_exists() -> None:
    """Each `group.setting` in the text is one of common/settings/settings.py."""
    groups = Settings.model_fields
    for group, setting in re.findall(
        r"`(redis|gateway|worker|limits|breaker|admission|snapshots)\.(\w+)`", OPERATIONS
    ):
        if setting == "conf":  # redis.conf, the file
            continue
        annotation = groups[group].annotation
        assert annotation is not None
        assert setting in annotation.model_fields, f"{group}.{setting}"
