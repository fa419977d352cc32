"""The libraries for vectors, of the extra `vectors`: whether they are there, and when they load.

A scorer that loaded them for its first search by a vector would spend that search's time on it,
0.15 s of CPU and the reading of 60 MB, and be killed at the deadline. One that never searches by
vectors should not load them. So the indexer leaves a note in the folder of a shard that has a
vector field, and scorers look for one, as they start and every second, until they have found it.
"""

import importlib
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Final

HINT: Final = "vectors need the extra of that name: pip install 'hedgerow[vectors]'"
_NOTE: Final = "has_vectors"


@cache
def is_installed() -> bool:
    """Whether the libraries are there; imports neither, since most workers hold no vectors."""
    return find_spec("faiss") is not None and find_spec("numpy") is not None


def note(shard: Path) -> None:
    """Note in the folder of a shard that one of its collections has a vector field."""
    (shard / _NOTE).touch()


def remove_note(shard: Path) -> None:
    """Remove the note of a shard that is opened, since its collections may have been dropped."""
    (shard / _NOTE).unlink(missing_ok=True)


def is_noted(shards: Path) -> bool:
    """Whether a shard in this folder has such a note."""
    return any(shards.glob(f"*/{_NOTE}"))


def load() -> None:
    """Import what a search by a vector needs, if it is there."""
    if is_installed():
        importlib.import_module("hedgerow.shard_worker.vectors.graph")
