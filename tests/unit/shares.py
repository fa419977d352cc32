"""Which modules of unit tests a process runs if several share them."""

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

VARIABLE = "UNIT_TESTS_SHARE"  # its number and how many there are, as "0/2"
CLAIMS_VARIABLE = "UNIT_TESTS_CLAIMS"  # the folder in which the processes claim modules

# They import numpy, after which Hypothesis also seeds and restores its generator of random numbers
# for each example: a third more of a plain one. So each process runs them last. Whichever is ready
# first takes the next, the longest before the others, so that all end at about the same time.
LAST = (
    "test_simulate.py",
    "test_nearest.py",
    "test_vector.py",
    "test_shard_clone.py",
    "test_hybrid_shards.py",
    "test_eval.py",
    "test_vectors_of_shard.py",
    "test_vectors_of_index.py",
    "test_rounding.py",
    "test_embedding_batches.py",
    "test_embedded_vectors.py",
)


def own_share(modules: Iterable[Path]) -> set[Path]:
    """The modules that this process collects: all of them, unless it was given a share.

    They are dealt out by name, so that those of one folder, which take about as long as each other,
    go to different processes. Each process collects those that it may claim in the end.
    """
    number, _, count = os.environ.get(VARIABLE, "0/1").partition("/")
    ordered = sorted(modules, key=lambda path: (path.name, path))
    first = [path for path in ordered if path.name not in LAST]
    return {*first[int(number) :: int(count)], *(path for path in ordered if path.name in LAST)}


def is_first() -> bool:
    """Whether this is the first of the processes, or the only one."""
    return os.environ.get(VARIABLE, "0/1").startswith("0/")


def are_claimed() -> bool:
    """Whether this process shares the last modules with others."""
    return CLAIMS_VARIABLE in os.environ


def claimed(modules: Iterable[Path]) -> Iterator[Path]:
    """The last modules that no other process has claimed by the time it is their turn."""
    folder = Path(os.environ[CLAIMS_VARIABLE])
    for path in sorted(modules, key=lambda path: (LAST.index(path.name), path)):
        if _is_first(folder / path.name):
            yield path


def _is_first(claim: Path) -> bool:
    try:
        claim.touch(exist_ok=False)
    except FileExistsError:
        return False
    return True
