"""Aliases of collections."""

from typing import Annotated

import msgspec

from hedgerow.gateway.shapes.doc import doc


class AliasBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What an alias should stand for."""

    collection: Annotated[str, doc("Name of an existing collection.")]


class AliasChange(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One change among several."""

    alias: Annotated[str, doc("The alias to set or remove.")]
    collection: Annotated[
        str | None, doc("Name of an existing collection; null to remove the alias.")
    ]


class AliasChanges(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Changes that are made in one step: all, or none."""

    changes: Annotated[list[AliasChange], doc("Each of another alias.")]


class AliasAnswer(msgspec.Struct, frozen=True):
    """An alias."""

    alias: str
    collection: Annotated[str, doc("Name of the collection that it stands for.")]


class AliasesAnswer(msgspec.Struct, frozen=True):
    """All aliases."""

    aliases: Annotated[list[AliasAnswer], doc("By name.")]
