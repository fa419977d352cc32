"""Which cores a measured cluster has, and which its clients."""

import os
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Cores:
    """Cores by their numbers."""

    cluster: frozenset[int]
    clients: frozenset[int]

    @classmethod
    def part(cls, *, are_shared: bool) -> "Cores":
        """The last core for the clients, unless they share all, or there is but one."""
        known = sorted(os.sched_getaffinity(0))
        if are_shared or len(known) < 2:
            return cls(frozenset(known), frozenset(known))
        return cls(frozenset(known[:-1]), frozenset(known[-1:]))
