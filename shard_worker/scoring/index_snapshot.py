"""A text index as of one commit, with what searches of it need."""

from hedgerow.common.collection import Collection
from hedgerow.shard_worker.scoring.query_builder import QueryBuilder
from hedgerow.shard_worker.storage.term_statistics import TermStatistics
from hedgerow.shard_worker.storage.text_index import TextIndex


class Snapshot:
    """One collection's index on one shard, with the objects that depend on it.

    Attributes:
        definition: the collection's, by which queries are read.
        missing: fields of it that the index lacks, since they were added and are being filled.
    """

    def __init__(
        self, index: TextIndex, statistics: TermStatistics | None, definition: Collection
    ) -> None:
        self.index = index
        self.definition = definition
        self.missing = (definition.fields or {}).keys() - (index.collection.fields or {}).keys()
        self.statistics = statistics
        self.builder = QueryBuilder(index, statistics)
