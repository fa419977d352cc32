"""Which modules of unit tests a process runs if several share them."""

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

VARIABLE = "UNIT_TESTS_SHARE"  # its number and how many there are, as "0/2"
CLAIMS_VARIABLE = "UNIT_TESTS_CLAIMS"  # the folder in which the processes claim modules

# Has glibc keep what a process frees, in one heap for all threads; other systems ignore it. By
# default, each commit of an index takes megabytes from the system, page by page, and returns them.
# glibc reads these variables when a process starts.
KEEPING_MEMORY = {
    "MALLOC_ARENA_MAX": "1",
    "MALLOC_MMAP_THRESHOLD_": str(32 << 20),
    "MALLOC_TRIM_THRESHOLD_": str(256 << 20),
}

# Most import numpy, after which Hypothesis also seeds and restores its generator of random numbers
# for each example: a third more of a plain one. So each process runs them last. The others take
# seconds and have no properties. Whichever process is ready first takes the next, the longest
# before the others, so that all end at about the same time.
LAST = (
    "test_equal_callers.py",
    "test_simulate.py",
    "test_admission_limit.py",
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


def keep_no_memory_in_children() -> None:
    """Have the processes that tests start return their memory as they do in use."""
    for name, value in KEEPING_MEMORY.items():
        if os.environ.get(name) == value:
            del os.environ[name]


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
