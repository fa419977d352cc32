"""Which modules of unit tests a process runs if several share them."""

import os
from collections.abc import Iterable
from pathlib import Path

VARIABLE = "UNIT_TESTS_SHARE"  # its number and how many there are, as "0/2"


def own_share(modules: Iterable[Path]) -> set[Path]:
    """The modules that this process runs: all of them, unless it was given a share.

    They are dealt out by name, so that those of one folder, which take about as long as each other,
    go to different processes.
    """
    number, _, count = os.environ.get(VARIABLE, "0/1").partition("/")
    ordered = sorted(modules, key=lambda path: (path.name, path))
    return set(ordered[int(number) :: int(count)])
