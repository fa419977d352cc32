"""Computes the measures of `gateway eval`, with ir-measures (the extra `eval`)."""

from collections.abc import Iterable

import ir_measures
from ir_measures import AP, P, R, nDCG

from hedgerow.gateway.cli.judgements import Judgement, Ranking


def measure(
    rankings: Iterable[Ranking], judgements: Iterable[Judgement], k: int
) -> dict[str, float]:
    """Compute the measures over all judged queries.

    Args:
        rankings: the documents of each query, by descending score.
        judgements: those of these queries.
        k: how many hits were asked for.
    """
    names = {"nDCG@10": nDCG @ 10, "MAP": AP, "P@10": P @ 10, f"recall@{k}": R @ k}
    # By rank, not by score: trec_eval breaks ties differently, and the hits are in order already.
    run = [
        ir_measures.ScoredDoc(ranking.query_id, document_id, -rank)
        for ranking in rankings
        for rank, document_id in enumerate(ranking.document_ids)
    ]
    found = ir_measures.calc_aggregate(
        list(names.values()), [ir_measures.Qrel(*judgement) for judgement in judgements], run
    )
    return {name: round(found[measure], 6) for name, measure in names.items()}
