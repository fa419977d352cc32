"""Finds environment variables that look like settings but are not: misspelt ones."""

import difflib
import json
from collections.abc import Collection, Iterable, Mapping
from typing import Final

PREFIX: Final = "HEDGEROW_"
# What the commands, compose.yaml and the tests, benchmarks and lab read beside the settings.
OTHERS: Final = frozenset(
    {
        "HEDGEROW_BIND",
        "HEDGEROW_CA_FILE",
        "HEDGEROW_CONFIG",
        "HEDGEROW_GATEWAY_MEMORY",
        "HEDGEROW_MCP_TOKEN",
        "HEDGEROW_PORT",
        "HEDGEROW_REDIS_MAXMEMORY",
        "HEDGEROW_REDIS_MEMORY",
        "HEDGEROW_REDIS_PASSWORD",
        "HEDGEROW_TAG",
        "HEDGEROW_URL",
        "HEDGEROW_WORKER_MEMORY",
        "HEDGEROW_WORKER_PIDS",
    }
)
_OTHERS_BEGIN: Final = ("HEDGEROW_BENCH_", "HEDGEROW_LAB_", "HEDGEROW_TEST_")
# The least likeness, which is 1 for equal names. All our variables begin alike, and one that is
# like no setting may be another program's; a name in a section of the file is meant as a setting.
_NEAR: Final = 0.8
_NEAR_IN_SECTION: Final = 0.6


def misspelt(names: Iterable[str], settings: Collection[str], free: str) -> list[str]:
    """Return a message for each variable that seems to be a misspelt setting.

    Args:
        names: the variables of the environment.
        settings: the variables of the settings, in upper case; a message names the nearest.
        free: the beginning of variables whose names are the user's choice.
    """
    found = []
    for name in sorted(names):
        upper = name.upper()
        is_known = upper in settings or upper in OTHERS
        if is_known or not upper.startswith(PREFIX) or upper.startswith((free, *_OTHERS_BEGIN)):
            continue
        near = nearest(upper, [*settings, *OTHERS], _NEAR)
        if near or "__" in upper:  # only settings have that
            found.append(no_such(name, near))
    return found


def not_json(values: Mapping[str, str], settings: Collection[str]) -> list[str]:
    """Return a message for each variable whose value should be JSON and is not.

    Args:
        values: the environment.
        settings: the variables, in upper case, whose values are JSON.
    """
    found = []
    for name in sorted(values):
        if name.upper() in settings:
            try:
                json.loads(values[name])
            except ValueError:
                found.append(f'{name}: is not JSON; a list is written as ["a", "b"]')
    return found


def no_such(name: str, near: str) -> str:
    """Say that there is no such setting, and which may have been meant: `near`, unless empty."""
    return f"{name}: there is no such setting" + (f"; did you mean {near}?" if near else "")


def nearest(name: str, names: Collection[str], likeness: float = _NEAR_IN_SECTION) -> str:
    """Return the name that is most like this one; "" if none is."""
    return next(iter(difflib.get_close_matches(name, names, 1, likeness)), "")
