"""Highlights: what of a search is marked in its hits, and how."""

from typing import Annotated

import msgspec
from msgspec import Meta

from hedgerow.gateway.shapes.doc import doc

MAX_TAG_CHARS = 100


class Highlight(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How the hits show what matched."""

    fields: Annotated[
        tuple[str, ...] | None, doc("The text fields to look at; all text fields if null.")
    ] = None
    snippets: Annotated[
        int, Meta(ge=0, description="The most snippets of a field; 0 for its whole text.")
    ] = 5
    snippet_chars: Annotated[
        int, Meta(ge=1, description="About how long a snippet is, in characters.")
    ] = 100
    pre: Annotated[
        str,
        Meta(
            max_length=MAX_TAG_CHARS,
            description="What stands before a word that matches. The text around it is HTML.",
        ),
    ] = "<em>"
    post: Annotated[
        str, Meta(max_length=MAX_TAG_CHARS, description="What stands after such a word.")
    ] = "</em>"
