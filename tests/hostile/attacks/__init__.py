"""The attacks, by what they touch; importing a module registers what is in it."""

from tests.hostile.attack import REGISTRY, Attack
from tests.hostile.attacks import connections, documents, files, origins, queries, shortages

__all__ = [
    "ATTACKS",
    "Attack",
    "connections",
    "documents",
    "files",
    "origins",
    "queries",
    "shortages",
]

ATTACKS = tuple(REGISTRY.values())
