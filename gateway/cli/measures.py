"""Computes the measures of `gateway eval`, with ir-measures (the extra `eval`)."""

from collections.abc import Iterable, Mapping
from typing import Any

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
    return mean_of(measure_each(rankings, judgements, k), k)


def mean_of(by_query: Mapping[str, Mapping[str, float]], k: int) -> dict[str, float]:
    """The mean of each measure over all queries."""
    values = by_query.values()
    return {
        name: round(sum(one[name] for one in values) / len(values), 6) if values else 0.0
        for name in _names(k)
    }


def measure_each(
    rankings: Iterable[Ranking], judgements: Iterable[Judgement], k: int
) -> dict[str, dict[str, float]]:
    """Compute the measures of each judged query, by its id; as `measure` otherwise."""
    names = _names(k)
    # By rank, not by score: trec_eval breaks ties differently, and the hits are in order already.
    run = [
        ir_measures.ScoredDoc(ranking.query_id, document_id, -rank)
        for ranking in rankings
        for rank, document_id in enumerate(ranking.document_ids)
    ]
    qrels = [ir_measures.Qrel(*judgement) for judgement in judgements]
    # A query that found nothing is judged all the same.
    found = {qrel.query_id: dict.fromkeys(names, 0.0) for qrel in qrels}
    of_measure = {measure: name for name, measure in names.items()}
    for metric in ir_measures.iter_calc(list(names.values()), qrels, run):
        found[metric.query_id][of_measure[metric.measure]] = metric.value
    return found


def _names(k: int) -> dict[str, Any]:
    return {"nDCG@10": nDCG @ 10, "MAP": AP, "P@10": P @ 10, f"recall@{k}": R @ k}
