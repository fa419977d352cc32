"""Whether this installation can index vectors: they need the extra `vectors`."""

from functools import cache
from importlib.util import find_spec
from typing import Final

HINT: Final = "vectors need the extra of that name: pip install 'hedgerow[vectors]'"


@cache
def is_installed() -> bool:
    """Whether the libraries are there; imports neither, since most workers hold no vectors."""
    return find_spec("faiss") is not None and find_spec("numpy") is not None
