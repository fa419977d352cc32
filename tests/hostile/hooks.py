"""Users' functions of the attacked cluster's rank profiles, loaded by its workers."""

import time
from typing import Any

BLOCKS_S = 20.0


def block(documents: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Wait as for a system that does not answer."""
    time.sleep(BLOCKS_S)
    return documents


def burn(query: str, documents: list[dict[str, Any]]) -> list[float]:
    """Compute for ever, without checking the budget."""
    while True:
        pass
