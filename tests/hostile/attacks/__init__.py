"""The attacks, by what they touch; importing a module registers what is in it."""

from tests.hostile.attack import REGISTRY
from tests.hostile.attacks import (
    connections,
    documents,
    files,
    openapi,
    origins,
    queries,
    shortages,
)

MODULES = (connections, documents, files, openapi, origins, queries, shortages)
ATTACKS = tuple(REGISTRY.values())
