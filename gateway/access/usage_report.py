"""What the status shows of callers: requests in progress, and refusals. Pure."""

import heapq
from collections import Counter
from collections.abc import Iterable
from typing import Any, Final

from hedgerow.gateway.access.fair_share import FairShare

MAX_ADDRESSES: Final = 8  # the most addresses that the status names


def keys_in_use(shares: Iterable[FairShare]) -> dict[str, dict[str, int]]:
    """Name of each key that was used → `in_flight`, and `refused` over its share."""
    total: dict[str, dict[str, int]] = {}
    for part in shares:
        for name, counts in part.counts().items():
            known = total.setdefault(name, dict.fromkeys(counts, 0))
            for what, count in counts.items():
                known[what] += count
    return total


def refused_addresses(shares: Iterable[FairShare]) -> dict[str, Any]:
    """Count refusals because of an address's share, and name the most refused addresses."""
    num_refused = 0
    by_address: Counter[str] = Counter()
    for part in shares:
        num_refused += part.num_addresses_refused
        by_address.update(part.refused_addresses())
    most = heapq.nlargest(MAX_ADDRESSES, by_address.items(), key=lambda item: item[1])
    return {
        "refused": num_refused,
        "most_refused": [{"address": address, "refused": count} for address, count in most],
    }
