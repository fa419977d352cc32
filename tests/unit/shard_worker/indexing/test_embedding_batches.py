"""Batches of documents whose vectors a user's function makes, by a real indexer in this process."""

import json
import struct
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from hedgerow.common.collection import define
from hedgerow.common.errors import WorkError
from hedgerow.common.fields.embedding_counts import EmbeddingCounts
from hedgerow.common.observability.telemetry import Counters
from hedgerow.common.settings.rank_profiles import BUILT_IN_PROFILES
from hedgerow.common.shard_log.entries import Entry
from hedgerow.common.shard_log.operations import Create, Upsert, pack_op
from hedgerow.common.wire.messages import SearchPayload, pack_body, unpack_search_body
from hedgerow.common.wire.search_options import SearchOptions, WantedVector
from hedgerow.shard_worker.embedding.embedder import EmbedConfig
from hedgerow.shard_worker.executors.process_pool.task import Task, TaskResult
from hedgerow.shard_worker.indexing.batches import Batches
from hedgerow.shard_worker.indexing.indexer import Indexer, IndexerConfig, make_indexer
from hedgerow.shard_worker.indexing.indexer_client import IndexerClient
from hedgerow.shard_worker.indexing.set_aside import SetAside
from hedgerow.shard_worker.indexing.set_aside_files import SetAsideFiles
from hedgerow.shard_worker.scoring.scorer import Scorer, ScorerConfig
from hedgerow.shard_worker.storage.text_index import TextIndex
from tests.unit.shard_worker.indexing.test_set_aside import Notes
from tests.unit.support.shards import EndlessBudget

FUNCTION = f"{__name__}:letters"
VECTOR = {"type": "vector", "dimensions": 3, "metric": "dot", "embed": FUNCTION}
WORDS = define("words", {"fields": {"text": "text", "v": VECTOR}}, "u0")


def letters(texts: Sequence[str]) -> list[list[float]]:
    """Count three letters; refuse a text that cannot be read."""
    if any("unreadable" in text for text in texts):
        raise ValueError("no vector for this")
    return [[float(text.count(letter)) for letter in "abc"] for text in texts]


class EmbeddingShard:
    """Shard 0 of a folder."""

    def __init__(self, data: Path) -> None:
        config = IndexerConfig(str(data), embed=EmbedConfig(frozenset({FUNCTION}), 2, 60.0))
        self._data = data
        self._indexer: Indexer = make_indexer(config)
        self._indexer.open(0)
        self._budget: Any = None  # nothing asks for it
        self.counters = Counters()
        aside = SetAside(
            SetAsideFiles(data, 1_000_000, Counters()),
            self.counters,
            Notes().add,
            self._no_pause,
            lambda: (),
        )
        self.embedded: list[EmbeddingCounts] = []
        client = IndexerClient(self, on_embedded=self.embedded.append)
        self.batches = Batches(client, aside, None)

    async def _no_pause(self, _seconds: float) -> None:
        pass

    async def run(self, work: Task) -> TaskResult:
        """Carry out a command in this process."""
        return TaskResult(self._indexer(work.payload, self._budget), 0, 0, 0, None)

    def close(self) -> None:
        """Close its files."""
        self._indexer.close()

    def nearest(self, *vector: float) -> list[tuple[str, float]]:
        """The documents by the product of their vectors with this one."""
        index = TextIndex.open(self._data / "shards" / "0" / "u0")
        wanted = WantedVector("v", struct.pack("<3f", *vector), 100, 128)
        payload = SearchPayload(
            "u0", "", 100, "bm25", "", strict=False, options=SearchOptions(vector=wanted)
        )
        scorer = Scorer(ScorerConfig(str(self._data), BUILT_IN_PROFILES))
        try:
            body = scorer((0, index.generation, pack_body(payload)), EndlessBudget())
        finally:
            scorer.close()
        found = unpack_search_body(body)
        return list(zip(found.ids, found.scores, strict=True))


@pytest.fixture
def shard(tmp_path: Path) -> Iterator[EmbeddingShard]:
    """An empty shard."""
    opened = EmbeddingShard(tmp_path)
    yield opened
    opened.close()


def entry(number: int, **texts: str | dict[str, Any]) -> Entry:
    """A batch of documents, by id."""
    documents = [
        (one, json.dumps({"id": one, **(text if isinstance(text, dict) else {"text": text})}))
        for one, text in texts.items()
    ]
    return Entry(
        f"{number}-0", pack_op(Upsert("u0", [(one, body.encode()) for one, body in documents]))
    )


CREATE = Entry("1-0", pack_op(Create(WORDS.to_json())))


async def test_documents_are_found_by_what_their_texts_became(shard: EmbeddingShard) -> None:
    """Also after a change; without a text there is no vector, and one's own vector comes first."""
    await shard.batches.apply(
        0,
        [
            CREATE,
            entry(2, d1="aab", d2="bb", d3="cab"),
            entry(3, d2="a", d4={}, d5={"text": "a", "v": [9, 9, 9]}),
        ],
    )
    assert shard.nearest(1, 0, 0) == [("d5", 9), ("d1", 2), ("d2", 1), ("d3", 1)]


async def test_a_text_that_cannot_be_embedded_costs_only_its_document(
    shard: EmbeddingShard,
) -> None:
    """It is tried again with its batch, and then set aside; the others are applied."""
    entries = [CREATE, entry(2, d1="a", bad="unreadable", d2="aa"), entry(3, d3="aaa")]
    with pytest.raises(WorkError, match=r"document 'bad'.*no vector for this"):
        await shard.batches.apply(0, entries)
    state = await shard.batches.apply(0, entries)
    assert state.position == "3-0"
    assert [one for one, _ in shard.nearest(1, 0, 0)] == ["d3", "d2", "d1"]
    assert shard.counters["writes_set_aside"] == 1
    assert sum(counts.texts for counts in shard.embedded) >= 3
    assert sum(counts.failed for counts in shard.embedded) >= 2
    assert sum(counts.calls for counts in shard.embedded) >= 5
    assert all(counts.seconds > 0 for counts in shard.embedded)
