"""The limits of documents, messages and the write path: `[limits]`."""

from typing import Annotated

from pydantic import Field

from hedgerow.common.settings.group import Group, PositiveInt
from hedgerow.common.wire.messages import MAX_ATTACHED_BYTES


class LimitSettings(Group):
    """Explicit limits of the write path and of messages."""

    max_collections: PositiveInt = Field(
        256,
        description="Most collections in a cluster; each has a text index in every shard.",
    )
    max_aliases: PositiveInt = Field(256, description="Most aliases of collections in a cluster.")
    max_synonyms: PositiveInt = Field(
        10_000, description="Most texts in all synonyms of a collection together."
    )
    max_synonym_group: PositiveInt = Field(
        32, description="Most texts that mean the same, in one group or one-way rule of synonyms."
    )
    max_synonym_words: PositiveInt = Field(
        8, description="Most words of a text in the synonyms of a collection."
    )
    max_document_bytes: PositiveInt = Field(
        1_048_576, description="Largest document, as JSON, in bytes."
    )
    max_document_values: PositiveInt = Field(
        10_000,
        description="Most values in a document, including nested ones, as counted by its commas "
        "and opening brackets outside of strings.",
    )
    max_id_bytes: PositiveInt = Field(512, description="Longest document id, in bytes.")
    max_log_entries: PositiveInt = Field(
        1_000,
        description="A bulk load waits while a shard's log holds more entries "
        "that are not yet applied (an entry is a batch of documents).",
    )
    max_message_bytes: PositiveInt = Field(
        16_777_216, description="Largest message between gateway and worker, in bytes."
    )
    max_fetch_bytes: PositiveInt = Field(
        4_194_304,
        description="Most bytes of documents, as JSON, in one shard's reply to a fetch (or "
        "max_document_bytes, if that is more). If the documents have more, the last hits come "
        "without fields.",
    )
    max_attached_bytes: Annotated[int, Field(ge=0, le=MAX_ATTACHED_BYTES)] = Field(
        MAX_ATTACHED_BYTES,
        description="Most bytes of documents, as JSON, in all shards' replies to a search, so that "
        "these documents need not be fetched. The others are fetched; with 0, all are.",
    )
    max_enrich_bytes: PositiveInt = Field(
        1_048_576,
        description="Most bytes of stored documents, as JSON, that one call of an enrich "
        "receives; the other documents keep their stored fields.",
    )
    max_candidate_bytes: PositiveInt = Field(
        8_388_608,
        description="Most bytes of documents, as JSON and with the profile's fields only, that "
        "one call of a second phase receives; the other candidates are not ranked, and the answer "
        "says so.",
    )
    apply_batch_bytes: PositiveInt = Field(
        8_388_608,
        description="Most bytes of the log that a replica applies before it commits.",
    )
    index_memory_bytes: Annotated[int, Field(ge=15_000_000)] = Field(
        32_000_000, description="Memory of one text index's writer while it applies, in bytes."
    )
    optimise_memory_bytes: Annotated[int, Field(ge=15_000_000)] = Field(
        512_000_000,
        description="Most memory of the writer that optimises a text index, in bytes; what does "
        "not fit becomes another segment.",
    )
