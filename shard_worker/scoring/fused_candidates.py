"""Candidates that the gateway has fused of several legs, for the second phase. Pure."""

from collections.abc import Iterable, Sequence
from typing import Any, Final

from hedgerow.common.document_ids import ID_FIELD
from hedgerow.common.wire.search_options import Candidate
from hedgerow.shard_worker.scoring.retrieval import Found

# Of a candidate of a hybrid search: its scores in the legs; None in a leg that has not found it.
LEG_SCORE_FIELDS: Final = ("_text_score", "_vector_score")


def candidates_of(candidates: Iterable[Candidate], shard: int) -> Found:
    """Those of one shard, as if it had found them; the best first."""
    hits = [(one.score, one.id) for one in candidates if one.shard == shard]
    return Found(len(hits), hits)


def add_leg_scores(documents: Iterable[dict[str, Any]], candidates: Sequence[Candidate]) -> None:
    """Give the documents of candidates their scores in the legs."""
    if not candidates:
        return
    legs = {one.id: one.legs for one in candidates}
    for document in documents:
        document.update(zip(LEG_SCORE_FIELDS, legs[document[ID_FIELD]], strict=True))
