"""What a tool may return at most, and of which collections. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import msgspec

_CUT: Final = "… (cut)"
_MAX_NUMBERS: Final = 32  # a longer list of them is a vector, which says nothing to a reader


@dataclass(frozen=True, slots=True)
class Limits:
    """The limits of the tools.

    Attributes:
        collections: those that may be read; all if there are none.
        max_hits: most hits of a search.
        max_bytes: most bytes of the documents in one answer, as JSON.
        max_characters: most characters of one string in a document; longer ones are cut.
        deadline_ms: the deadline of a search that names none, in ms.
        max_deadline_ms: the longest deadline that a search may name, in ms.
    """

    collections: tuple[str, ...] = ()
    max_hits: int = 20
    max_bytes: int = 32_768
    max_characters: int = 2_000
    deadline_ms: float = 1_000.0
    max_deadline_ms: float = 10_000.0

    def is_allowed(self, collection: str) -> bool:
        """Whether a collection may be read."""
        return not self.collections or collection in self.collections


def cut(document: Mapping[str, Any], max_characters: int) -> tuple[dict[str, Any], bool]:
    """Cut the strings of a document, and leave vectors out, at any depth; whether any was cut."""
    kept = {name: _cut(value, max_characters) for name, value in document.items()}
    return kept, kept != document


def _cut(value: Any, max_characters: int) -> Any:
    if isinstance(value, str):
        return value if len(value) <= max_characters else value[:max_characters] + _CUT
    if isinstance(value, dict):
        return {name: _cut(one, max_characters) for name, one in value.items()}
    if isinstance(value, list):
        if len(value) > _MAX_NUMBERS and all(isinstance(one, (int, float)) for one in value):
            return f"({len(value)} numbers, left out)"
        return [_cut(one, max_characters) for one in value]
    return value


def size_of(document: Any) -> int:
    """Return the bytes of a document as JSON."""
    return len(msgspec.json.encode(document))
