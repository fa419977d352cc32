"""The synonyms of a collection."""

from typing import Annotated

import msgspec

from hedgerow.gateway.shapes.doc import doc

Groups = Annotated[
    list[list[str]], doc("Texts of a group mean the same: each finds the others, too.")
]
OneWay = Annotated[
    dict[str, list[str]], doc("A text, and those that it finds, too; they do not find it.")
]


class SynonymsBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The synonyms that a collection should have, instead of those that it has."""

    groups: Groups = []
    one_way: OneWay = {}


class SynonymsAnswer(msgspec.Struct, frozen=True):
    """The synonyms of a collection."""

    version: Annotated[int, doc("Grows with each change; 0 if there never were any.")]
    groups: Groups
    one_way: OneWay
