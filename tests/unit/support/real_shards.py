"""A collection spread over real shards, searched by a real searcher without Redis or processes."""

import asyncio
import json
import weakref
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from msgspec.structs import replace

from hedgerow.common.collection import Collection
from hedgerow.common.errors import InsufficientCoverageError, WorkError
from hedgerow.common.partition import shard_of
from hedgerow.common.settings.query_limits import QuerySettings
from hedgerow.common.settings.rank_profiles import BUILT_IN_PROFILES, RankProfile
from hedgerow.common.wire.messages import (
    Failure,
    FetchPayload,
    Kind,
    Lane,
    Reply,
    SearchPayload,
    Status,
    pack_body,
    unpack_fetch_payload,
    unpack_request,
    unpack_search_payload,
)
from hedgerow.gateway.search.result import SearchQuery, SearchResult
from hedgerow.gateway.search.steps import SearchSteps, takes_steps
from hedgerow.gateway.transport.protocol import ReplySink
from hedgerow.shard_worker.scoring.scorer import Scorer, ScorerConfig
from hedgerow.shard_worker.serving.reading import read_body
from hedgerow.shard_worker.serving.shard_stores import ShardStores
from hedgerow.shard_worker.storage.picking import pick_of
from hedgerow.shard_worker.storage.store import Store
from hedgerow.shard_worker.storage.term_statistics import (
    collect,
    merge,
    statistics_path,
    write_table,
)
from hedgerow.shard_worker.storage.text_index import TextIndex
from hedgerow.shard_worker.storage.text_index_writer import TextIndexWriter
from tests.support.virtual_time import run_virtually
from tests.unit.support.scripted import ScriptedTransport
from tests.unit.support.searchers import FixedView, searcher_over
from tests.unit.support.shards import EndlessBudget

KEY = b"the key of the cluster"


class RealShards(ScriptedTransport):
    """The shards of one collection.

    Attributes:
        collection: its definition.
        down: shards that do not answer.
        forgotten: documents that the indexes have and the stores have not.
        documents: what they hold.
        searches: shard and what it was asked for, of each request.
    """

    def __init__(
        self,
        data: Path,
        collection: Collection,
        num_shards: int,
        profiles: Mapping[str, RankProfile] = BUILT_IN_PROFILES,
    ) -> None:
        """Make empty shards in a folder, searched with these rank profiles."""
        super().__init__({})
        self.collection = collection
        self.num_shards = num_shards
        self.down: set[int] = set()
        self.forgotten: set[str] = set()
        self.documents: dict[str, Mapping[str, Any]] = {}
        self.searches: list[tuple[int, SearchPayload]] = []
        self._data = data
        self._generations = dict.fromkeys(range(num_shards), 0)
        self._indexes: dict[int, TextIndex] = {}  # until they are written to
        self._scorer = Scorer(ScorerConfig(str(data), dict(profiles)))
        weakref.finalize(self, self._scorer.close)  # else SQLite warns, from Python 3.13 on

    def put(self, documents: Iterable[Mapping[str, Any]], deletes: Iterable[str] = ()) -> None:
        """Write and commit, in each shard what belongs there."""
        rows = {str(one["id"]): one for one in documents}
        gone = list(deletes)
        self.documents = {
            one: row for one, row in {**self.documents, **rows}.items() if one not in gone
        }
        for shard in range(self.num_shards):
            upserts = {one: dict(row) for one, row in rows.items() if self._owner(one) == shard}
            deleted = [one for one in gone if self._owner(one) == shard]
            self._write(shard, upserts, deleted)

    def _owner(self, document_id: str) -> int:
        return shard_of(document_id, self.num_shards)

    def _write(self, shard: int, upserts: Mapping[str, Any], deletes: list[str]) -> None:
        folder = self._data / "shards" / str(shard)
        folder.mkdir(parents=True, exist_ok=True)
        uid = self.collection.uid
        writer = TextIndexWriter.open(folder / uid, self.collection)
        store = Store.open(folder / "store.sqlite")
        try:
            writer.apply(deletes, upserts.items())
            self._indexes.pop(shard, None)
            self._generations[shard] = writer.commit()
            bodies = {one: json.dumps(row).encode() for one, row in upserts.items()}
            store.apply(
                "1-0",
                definitions={uid: self.collection.to_json()},
                documents={uid: bodies | dict.fromkeys(deletes)},
            )
        finally:
            writer.close()
            store.close()

    def collect_statistics(self) -> None:
        """Write the term statistics of all shards, as the control plane's job does."""
        parts = [collect(self.index(shard)) for shard in range(self.num_shards)]
        write_table(statistics_path(self._data, self.collection.uid), merge(parts))

    def index(self, shard: int) -> TextIndex:
        """A shard's index as it is now."""
        if shard not in self._indexes:
            folder = self._data / "shards" / str(shard) / self.collection.uid
            self._indexes[shard] = TextIndex.open(folder)
        return self._indexes[shard]

    def scatter(
        self,
        kind: Kind,
        query_id: int,
        shards: tuple[int, ...],
        message: bytes,
        sink: ReplySink,
        goes_ahead: bool = False,
    ) -> Mapping[int, int]:
        """Search each shard that is not down, or read its documents."""
        loop = asyncio.get_running_loop()
        self._sinks[query_id] = sink
        payload = unpack_request(message).payload
        for shard in set(shards) - self.down:
            reply = self._reply(query_id, shard, payload, kind)
            loop.call_later(0.001, self._arrive, query_id, reply)
        return dict.fromkeys(shards, 1)

    def _reply(self, query_id: int, shard: int, payload: bytes, kind: Kind) -> Reply:
        status = Status.OK
        try:
            if kind is Kind.FETCH:
                body = self._read(shard, unpack_fetch_payload(payload))
            else:
                self.searches.append((shard, unpack_search_payload(payload)))
                body = self._scorer((shard, self._generations[shard], payload), EndlessBudget())
        except WorkError as error:
            status, body = Status.FAILED, pack_body(Failure(error.code, str(error)))
        return Reply(query_id, shard, status, Lane.PROCESS, 1, 2, 3, body)

    def _read(self, shard: int, payload: FetchPayload) -> bytes:
        wanted = [f"no {one}" if one in self.forgotten else one for one in payload.ids]
        payload = replace(payload, ids=wanted)
        stores = ShardStores(self._data)
        stores.open(shard)
        body = read_body(stores, shard, payload, pick_of(payload.fields), 1_000_000, lambda: 1.0)
        stores.close_all()
        return pack_body(body)

    def search(self, query: str = "*", **members: Any) -> SearchResult:
        """What a gateway answers; with coverage below the minimum, too.

        Raises:
            BadRequestError: the search is refused.
        """

        async def ask() -> SearchResult:
            counts = [self.index(shard).num_documents for shard in range(self.num_shards)]
            searcher = searcher_over(self, counts)
            searcher.checker.use_cursor_key(KEY)
            asked = SearchQuery(self.collection.name, query, **{"fields": False, **members})
            try:
                if takes_steps(asked):
                    steps = SearchSteps(searcher, FixedView(counts), QuerySettings())
                    return await steps.search(asked, self.collection)
                return await searcher.search(asked, self.collection)
            except InsufficientCoverageError as error:
                refused: SearchResult = error.result
                return refused

        return run_virtually(ask())
