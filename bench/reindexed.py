"""`python -m bench.reindexed`: what a reindex costs the indexer of each replica.

One process calls `shard_worker.indexing.shard_indexer` as the indexer does, without anything around
it, and its CPU time is measured, which hardly depends on what else the machine does. The documents
are loaded in batches, copied into another collection in steps, and replaced in batches: while the
new collection follows the old one, while the old one follows the new one, and while neither does.
"""

import argparse
import json
import random
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final, NamedTuple

from bench.harness.report import median, show
from hedgerow.common.collection import define
from hedgerow.common.shard_log.operations import (
    CopyNext,
    Create,
    Mirror,
    Op,
    Turn,
    Unmirror,
    Upsert,
    pack_op,
)
from hedgerow.gateway.reindexing.pace import MOST_BYTES
from hedgerow.shard_worker.indexing.shard_indexer import ShardIndexer

_FIELDS: Final = {"fields": {"title": "text", "text": "text", "price": "integer"}}
_NUM_WORDS: Final = 3000
_ENTRY: Final = 200  # documents
_ENTRIES: Final = 10  # of a batch
_STEP: Final = 2000  # documents of a step of the copy
_REPLACED: Final = 4000
_MEMORY_BYTES: Final = 32_000_000


class Costs(NamedTuple):
    """CPU time of one run, in s for each document."""

    load: float
    copy: float
    followed: float
    following: float
    alone: float


def goods(number: int) -> list[tuple[str, bytes]]:
    """Documents of 46 words, as they are stored."""
    draw = random.Random(1)
    words = [f"w{one}" for one in range(_NUM_WORDS)]
    return [
        (
            f"d{one:08}",
            json.dumps(
                {
                    "id": f"d{one:08}",
                    "title": " ".join(draw.choices(words, k=6)),
                    "text": " ".join(draw.choices(words, k=40)),
                    "price": one,
                }
            ).encode(),
        )
        for one in range(number)
    ]


class Shard:
    """A shard with two collections, of which the second is empty."""

    def __init__(self, folder: Path) -> None:
        self._indexer = ShardIndexer(folder, 0, _MEMORY_BYTES)
        self._position = 0
        self.apply(*(Create(define(one, _FIELDS, one).to_json()) for one in ("old", "new")))

    def close(self) -> None:
        """Close its files."""
        self._indexer.close()

    def apply(self, *ops: Op) -> bool:
        """Apply a batch; returns whether a copy is complete."""
        self._position += 1
        state = self._indexer.apply(f"{self._position}-0", [pack_op(one) for one in ops])
        return bool(state.mirrors) and state.mirrors[0].is_copied

    def write(self, documents: Sequence[tuple[str, bytes]], entries: int) -> float:
        """Write documents, in batches of some entries; returns the CPU time for each, in s."""
        began = time.process_time()
        for batch in _parts(documents, entries * _ENTRY):
            self.apply(*(Upsert("old", list(entry)) for entry in _parts(batch, _ENTRY)))
        return (time.process_time() - began) / len(documents)

    def copy(self) -> float:
        """Copy all documents; returns the CPU time, in s."""
        began, number = time.process_time(), 1
        while not self.apply(CopyNext("pair", number, _STEP, MOST_BYTES)):
            number += 1
        return time.process_time() - began


def _parts(
    documents: Sequence[tuple[str, bytes]], size: int
) -> Iterator[Sequence[tuple[str, bytes]]]:
    for start in range(0, len(documents), size):
        yield documents[start : start + size]


def measure(folder: Path, documents: Sequence[tuple[str, bytes]]) -> Costs:
    """Load, copy and replace documents once."""
    shard = Shard(folder)
    replaced = documents[:_REPLACED]
    load = shard.write(documents, _ENTRIES)
    shard.apply(Mirror("pair", "old", "new"))
    copy = shard.copy() / len(documents)
    followed = shard.write(replaced, 1)
    shard.apply(Turn("pair"))
    following = shard.write(replaced, 1)
    shard.apply(Unmirror("pair"))
    costs = Costs(load, copy, followed, following, shard.write(replaced, 1))
    shard.close()
    return costs


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure a few times, and print the medians."""
    parser = argparse.ArgumentParser(prog="python -m bench.reindexed", description=__doc__)
    parser.add_argument("--documents", type=int, default=100_000)
    parser.add_argument("--turns", type=int, default=3)
    options = parser.parse_args(arguments)
    documents = goods(options.documents)
    found = []
    for _ in range(options.turns):
        with tempfile.TemporaryDirectory() as folder:
            found.append(measure(Path(folder) / "0", documents))
    costs = Costs(*(median([getattr(one, name) for one in found]) for name in Costs._fields))
    rows = [
        ("loaded, in large batches", costs.load),
        ("copied", costs.copy),
        ("replaced, 200 a batch: neither follows", costs.alone),
        ("replaced: the new collection follows", costs.followed),
        ("replaced: the old collection follows", costs.following),
    ]
    show(
        f"{options.documents:,} documents of 46 words, medians of {options.turns}",
        ("documents that are", "CPU of a replica's indexer, s for 100,000"),
        [(name, f"{cost * 100_000:.1f}") for name, cost in rows],
    )


if __name__ == "__main__":
    main(sys.argv[1:])
