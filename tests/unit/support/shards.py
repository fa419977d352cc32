"""One shard with a store and a text index in a folder, searched through the real scorer."""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hedgerow.common.collection import Collection, define
from hedgerow.common.fields.field_types import FieldType
from hedgerow.common.settings.rank_profiles import BUILT_IN_PROFILES, RankProfile
from hedgerow.common.wire.messages import SearchBody, SearchPayload, pack_body, unpack_search_body
from hedgerow.common.wire.search_options import SearchOptions
from hedgerow.gateway.writes.field_inference import FieldInference
from hedgerow.shard_worker.scoring.ranking import Budget
from hedgerow.shard_worker.scoring.scorer import Scorer, ScorerConfig
from hedgerow.shard_worker.storage.store import Store
from hedgerow.shard_worker.storage.text_index import TextIndex
from hedgerow.shard_worker.storage.text_index_writer import TextIndexWriter


def fields_of(documents: Iterable[Mapping[str, Any]]) -> dict[str, FieldType]:
    """The fields that a load of these documents gives a collection without any."""
    inference = FieldInference()
    for document in documents:
        inference.add(document)
    return inference.result()


class EndlessBudget:
    """A budget that never runs out."""

    def expired(self) -> bool:
        """Whether the search is no longer wanted: never."""
        return False

    def remaining_s(self) -> float:
        """A minute, always."""
        return 60.0


@dataclass
class OneShard:
    """Shard 0 of a data folder, with one collection."""

    data: Path
    collection: Collection

    @classmethod
    def of(
        cls,
        data: Path,
        fields: Mapping[str, Any],
        documents: Iterable[Mapping[str, Any]],
        language: str = "english",
    ) -> "OneShard":
        """Make it; each document has an `id`."""
        collection = define("c", {"fields": fields, "language": language}, uid="u1")
        shard = cls(data, collection)
        shard.put(documents)
        return shard

    @classmethod
    def of_inferred(cls, data: Path, documents: list[dict[str, Any]]) -> "OneShard":
        """Make it with the fields that its documents suggest."""
        kinds = fields_of(documents)
        return cls.of(data, {name: str(kind) for name, kind in kinds.items()}, documents)

    @property
    def folder(self) -> Path:
        """The shard's folder."""
        return self.data / "shards" / "0"

    def put(
        self,
        documents: Iterable[Mapping[str, Any]],
        deletes: Iterable[str] = (),
        *,
        beside: bool = False,
    ) -> int:
        """Write and commit, index first; returns the generation.

        Args:
            documents: each with an `id`.
            deletes: ids.
            beside: whether short documents are to lie beside the index, too.
        """
        rows = {str(one["id"]): dict(one) for one in documents}
        gone = list(deletes)
        writer = TextIndexWriter.open(self.folder / "u1", self.collection)
        store = Store.open(self.folder / "store.sqlite")
        try:
            if writer.is_new:
                writer.rebuild(store.scan("u1"))
            bodies: dict[str, bytes | None] = {
                one: json.dumps(row).encode() for one, row in rows.items()
            }
            writer.apply(gone, rows.items(), bodies if beside else {})
            generation = writer.commit()
            store.apply(
                "1-0",
                definitions={"u1": self.collection.to_json()},
                documents={"u1": bodies | dict.fromkeys(gone)},
            )
        finally:
            writer.close()
            store.close()
        return generation

    def open(self) -> TextIndex:
        """The index as it is now."""
        return TextIndex.open(self.folder / "u1")

    def search(
        self,
        query: str,
        *,
        k: int = 10,
        profile: str = "bm25",
        filter_text: str = "",
        strict: bool = False,
        profiles: Mapping[str, RankProfile] = BUILT_IN_PROFILES,
        budget: Budget | None = None,
        options: SearchOptions | None = None,
    ) -> SearchBody:
        """One search by a scorer that has only now been made."""
        payload = SearchPayload("u1", query, k, profile, filter_text, strict, options=options)
        with self.searching(profiles) as search:
            return search(payload, budget or EndlessBudget())

    @contextmanager
    def searching(
        self, profiles: Mapping[str, RankProfile] = BUILT_IN_PROFILES
    ) -> Iterator[Callable[[SearchPayload, Budget], SearchBody]]:
        """What searches the shard as it is now, by one scorer."""
        scorer = Scorer(ScorerConfig(str(self.data), dict(profiles)))
        scorer.look_for_vectors()
        generation = self.open().generation

        def search(payload: SearchPayload, budget: Budget) -> SearchBody:
            return unpack_search_body(scorer((0, generation, pack_body(payload)), budget))

        try:
            yield search
        finally:
            scorer.close()
