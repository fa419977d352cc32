"""The attacks, by what they touch; importing a module registers what is in it."""

from tests.hostile.attack import REGISTRY
from tests.hostile.attacks import (
    calm,
    connections,
    documents,
    files,
    openapi,
    origins,
    queries,
    shortages,
)

MODULES = (calm, connections, documents, files, openapi, origins, queries, shortages)
ATTACKS = tuple(REGISTRY.values())
