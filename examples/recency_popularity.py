"""A second phase that ranks new and popular documents higher, but not above far better matches.

It multiplies the first phase's score and never replaces it: a document that matches twice as well
stays ahead of one that is new, or was read a thousand times. Documents without the fields keep
their score.

    score = BM25 x (1 + 0.5 x 2 ** (-age in days / 180)) x (1 + 0.1 x log10(1 + popularity))
"""

import math
from collections.abc import Sequence
from datetime import UTC, date, datetime
from typing import Any

HALF_LIFE_DAYS = 180.0
RECENCY_WEIGHT = 0.5
POPULARITY_WEIGHT = 0.1


def score(_query: str, documents: Sequence[dict[str, Any]]) -> list[float]:
    """Score the candidates; to be named by the setting `second_phase`.

    Args:
        _query: the query's text; the first phase has already used it.
        documents: with the first phase's score as `_score` and, optionally, `published` (a date of
            RFC 3339) and `popularity` (a number, 0 or more).

    Returns:
        A score for each document.
    """
    # Whole days, so that the shards of a query agree; around midnight, they may differ by one day's
    # decay.
    today = datetime.now(UTC).date()
    return [document["_score"] * boost(document, today) for document in documents]


def boost(document: dict[str, Any], today: date) -> float:
    """The factor for a document's age and popularity; 1 if it has neither field."""
    return _recency(document.get("published"), today) * _popularity(document.get("popularity"))


def _recency(published: str | None, today: date) -> float:
    if not published:
        return 1.0
    age_days = max((today - date.fromisoformat(published[:10])).days, 0)
    return 1.0 + RECENCY_WEIGHT * math.exp2(-age_days / HALF_LIFE_DAYS)


def _popularity(popularity: float | None) -> float:
    return 1.0 + POPULARITY_WEIGHT * math.log10(1.0 + max(popularity or 0.0, 0.0))
