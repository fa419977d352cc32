"""How far a reindex is, by what the replicas report. Pure."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from hedgerow.common.shard_log.mirror_report import MAX_FIRST_MISFITS, MirrorReport


class Progress(NamedTuple):
    """Sums over the shards; of each, its slowest replica counts.

    Attributes:
        documents: of the old collection.
        copied: documents of the new one.
        faulty: documents that do not fit it.
        first_faulty: ids of the first of them, with the reasons.
        copied_shards: shards of which everything is copied.
    """

    documents: int
    copied: int
    faulty: int
    first_faulty: Sequence[tuple[str, str]]
    copied_shards: int

    @classmethod
    def of(cls, shards: Mapping[int, Sequence[MirrorReport | None]]) -> "Progress":
        """Sum up the reports of the live replicas of each shard."""
        slowest = [
            min(known, key=lambda one: (one.is_copied, one.number, one.new_documents))
            for some in shards.values()
            if (known := [one for one in some if one is not None])
        ]
        first = sorted((id_, reason) for one in slowest for id_, reason in one.first_misfits)
        return cls(
            documents=sum(one.old_documents for one in slowest),
            copied=sum(one.new_documents for one in slowest),
            faulty=sum(one.misfits for one in slowest),
            first_faulty=first[:MAX_FIRST_MISFITS],
            copied_shards=sum(one.is_copied for one in slowest),
        )
