"""What a driver and the processes that it measures have in common."""

import subprocess
import sys
from pathlib import Path

import pytest

from bench.harness.options import choose

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    "name",
    [
        "bench.harness.pipe",
        "bench.peers.inside.serving",
        "bench.harness.threads",
        "bench.peers.inside.work",
        "bench.peers.inside.workers",
        "bench.search.inside.serving",
        "bench.search.queries",
    ],
)
def test_what_foreign_environments_import_needs_no_package(name: str) -> None:
    """Shared modules can be imported where nothing but the standard library is installed."""
    subprocess.run(
        [sys.executable, "-S", "-c", f"import {name}"],  # -S: without site-packages
        cwd=ROOT,
        check=True,
    )


def test_names_choose_in_the_order_of_what_there_is() -> None:
    """Any of its names chooses one, once; no name chooses all; unknown ones are refused."""
    names = {"b": ["b", "letter"], "a": ["a", "letter"], "1": ["1", "digit"]}
    assert choose(" digit,b, 1,", names, lambda one: names[one], "sign") == ["b", "1"]
    assert choose("letter", names, lambda one: names[one], "sign") == ["b", "a"]
    assert choose(" , ", names, lambda one: names[one], "sign") == ["b", "a", "1"]
    with pytest.raises(ValueError, match=r"no sign is called \?; there are 1, a, b, digit, letter"):
        choose("a,?", names, lambda one: names[one], "sign")
