"""A collection spread over shards, in one process, as a cluster's indexers and scorers hold it."""

import json
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple, Self

from bench.vectors.data import Data, Find, K, Numbers
from hedgerow.common.collection import Collection, define
from hedgerow.common.fields.vectors import stored_form
from hedgerow.common.partition import shard_of
from hedgerow.common.settings.rank_profiles import BUILT_IN_PROFILES
from hedgerow.common.wire.messages import SearchBody, SearchPayload, pack_body, unpack_search_body
from hedgerow.common.wire.search_options import SearchOptions, WantedVector
from hedgerow.gateway.search.merge import merge
from hedgerow.gateway.search.top_up import is_shared, may_have_more, num_asked, of_share
from hedgerow.shard_worker.executors.process_pool.budget import Budget
from hedgerow.shard_worker.scoring.scorer import Scorer, ScorerConfig
from hedgerow.shard_worker.storage.text_index import TextIndex
from hedgerow.shard_worker.storage.text_index_writer import TextIndexWriter

UID: Final = "vectors"
_BATCH: Final = 1000


class Built(NamedTuple):
    """What it took to build the shards.

    Attributes:
        write_s: CPU to index the vectors, without graphs, in s.
        graph_s: CPU to build the graphs, in s.
        graph_mb: the most memory of the process while the largest graph was built, beyond that
            before, in MB; without the rows, which are mapped.
        num_bytes: on disk.
    """

    write_s: float
    graph_s: float
    graph_mb: float
    num_bytes: int

    @classmethod
    def read(cls, path: Path) -> Self | None:
        """What was written for shards that are there; None if there are none."""
        return cls(**json.loads(path.read_text())) if path.exists() else None


def build(folder: Path, data: Data, num_shards: int, quantisation: str) -> Built:
    """Index all vectors, unless that was done in this folder before."""
    note = folder / "built.json"
    if (built := Built.read(note)) is not None:
        return built
    owners = [shard_of(str(number), num_shards) for number in range(len(data.vectors))]
    collection = _collection(data, quantisation)
    write_s = graph_s = graph_mb = 0.0
    num_bytes = 0
    for shard in range(num_shards):
        numbers = [number for number, owner in enumerate(owners) if owner == shard]
        path = index_path(folder, shard)
        started = time.process_time()
        writer = TextIndexWriter.open(path, collection, 64_000_000)
        for at in range(0, len(numbers), _BATCH):
            writer.apply((), _documents(data, numbers[at : at + _BATCH]))
        writer.commit()
        write_s += time.process_time() - started
        started, before = time.process_time(), memory_mb("RssAnon")
        for _ in writer.build_graphs():
            graph_mb = max(graph_mb, memory_mb("RssAnon") - before)
        graph_s += time.process_time() - started
        writer.close()
        num_bytes += sum(file.stat().st_size for file in path.iterdir())
    built = Built(write_s, graph_s, graph_mb, num_bytes)
    note.write_text(json.dumps(built._asdict()))
    return built


class Shards:
    """The shards of a folder, searched as a gateway has them searched."""

    def __init__(self, folder: Path, num_shards: int) -> None:
        """Search the shards that `build` has built."""
        self._num_shards = num_shards
        self._generations = [
            TextIndex.open(index_path(folder, shard)).generation for shard in range(num_shards)
        ]
        self._scorer = Scorer(ScorerConfig(str(folder), BUILT_IN_PROFILES))
        self._budget = Budget.until(float("inf"))

    def finder(self, ef: int, share: float = 1.0) -> Find:
        """Ask each shard for its share, merge, and ask those again that may have more."""
        rank = "" if share == 1 else f"rank:<{1000 * share:.0f}"
        num, profile = self._num_shards, BUILT_IN_PROFILES["bm25"]
        k = num_asked(K, num, num, profile)
        is_divided = is_shared(num, num, profile)

        def find(query: Numbers) -> list[int]:
            options = SearchOptions(vector=WantedVector("v", query.tobytes(), K, ef))
            whole = _packed(options, rank, K)
            part = _packed(of_share(options, num), rank, k) if is_divided else whole
            bodies = {shard: self._ask(shard, part) for shard in range(num)}
            hits = merge(list(bodies.items()), K)
            if again := may_have_more(hits, bodies.items(), k, K):
                bodies.update({shard: self._ask(shard, whole) for shard in again})
                hits = merge(list(bodies.items()), K)
            return [int(hit.id) for hit in hits]

        return find

    def _ask(self, shard: int, payload: bytes) -> SearchBody:
        found = self._scorer((shard, self._generations[shard], payload), self._budget)
        return unpack_search_body(found)

    def close(self) -> None:
        """Close the files."""
        self._scorer.close()


def _packed(options: SearchOptions, filter_: str, k: int) -> bytes:
    return pack_body(SearchPayload(UID, "", k, "bm25", filter_, strict=False, options=options))


def index_path(folder: Path, shard: int) -> Path:
    """Where the index of a shard is."""
    return folder / "shards" / str(shard) / UID


def memory_mb(kind: str) -> float:
    """Resident memory of this process, in MB: RssAnon, or RssFile, which is mapped from files."""
    with Path("/proc/self/status").open() as file:
        for line in file:
            if line.startswith(f"{kind}:"):
                return int(line.split()[1]) / 1000
    return 0.0


def _collection(data: Data, quantisation: str) -> Collection:
    dimensions = data.vectors.shape[1]
    field = {"type": "vector", "dimensions": dimensions, "quantisation": quantisation}
    return define("vectors", {"fields": {"rank": "integer", "v": field}}, uid=UID)


def _documents(data: Data, numbers: Sequence[int]) -> Iterator[tuple[str, dict[str, Any]]]:
    for number in numbers:
        vector = stored_form(data.vectors[number].tobytes())
        yield str(number), {"rank": int(data.ranks[number]), "v": vector}
