"""More like a document: the document whose words are searched for."""

from typing import Annotated

import msgspec
from msgspec import Meta

from hedgerow.gateway.shapes.doc import doc


class MoreLike(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Documents that have the most telling words of another."""

    id: Annotated[str, doc("The id of the document, which is not among the hits.")]
    fields: Annotated[
        tuple[str, ...] | None,
        doc("The text fields to compare, each with itself; all searched text together if null."),
    ] = None
    max_terms: Annotated[
        int, Meta(ge=1, description="The most words of the document to search for.")
    ] = 25
