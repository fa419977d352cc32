"""Suggestions while a query is typed."""

from typing import Annotated

import msgspec

from hedgerow.gateway.shapes.answer import Coverage
from hedgerow.gateway.shapes.doc import doc


class Suggestion(msgspec.Struct, frozen=True, gc=False):
    """A text that the query may become."""

    text: str
    id: Annotated[str, doc("The best document with this text.")]
    score: float


class SuggestAnswer(msgspec.Struct, frozen=True, gc=False):
    """Suggestions for what was typed."""

    suggestions: Annotated[list[Suggestion], doc("Different texts, the best first.")]
    coverage: Annotated[Coverage, doc("The share of the documents that they are from.")]
    took_ms: Annotated[float, doc("Time in the gateway, in ms.")]
    deadline_ms: Annotated[float, doc("The deadline, in ms.")]
