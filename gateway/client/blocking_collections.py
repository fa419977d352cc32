"""The blocking client's methods about collections."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, Unpack

from hedgerow.gateway.client import calls
from hedgerow.gateway.client.blocking_exchange import Exchange
from hedgerow.gateway.client.calls import Definition
from hedgerow.gateway.shapes.alias import AliasAnswer
from hedgerow.gateway.shapes.collection import CollectionAnswer
from hedgerow.gateway.shapes.expiry import ExpiryAnswer
from hedgerow.gateway.shapes.synonyms import SynonymsAnswer


class Collections(Exchange):
    """The methods about collections, their aliases, synonyms, and the expiry of their documents."""

    def put_collection(self, name: str, **definition: Unpack[Definition]) -> CollectionAnswer:
        """Create a collection; no effect if it exists with the same definition.

        Args:
            name: the collection's name.
            definition: `fields`, `rank_profile` and `language`, see `Definition`.

        Raises:
            ConflictError: it exists with another definition.
        """
        return self._ask(calls.put_collection(name, definition))

    def add_fields(
        self, name: str, fields: Mapping[str, str | Mapping[str, Any]]
    ) -> CollectionAnswer:
        """Add fields to a collection; the workers fill them from the stored documents.

        Args:
            name: the collection's name.
            fields: the fields to add, as in `Definition`; those that it has must be the same.

        Returns:
            The collection; `filling` is the progress, also of later calls of `get_collection`.

        Raises:
            NotFoundError: there is no collection of that name.
            ConflictError: a field has another type already, or the collection has no fields yet.
        """
        return self._ask(calls.add_fields(name, fields))

    def get_collection(self, name: str) -> CollectionAnswer:
        """Describe a collection.

        Raises:
            NotFoundError: there is no collection of that name.
        """
        return self._ask(calls.get_collection(name))

    def list_collections(self) -> list[CollectionAnswer]:
        """Describe all collections."""
        return self._ask(calls.list_collections())

    def delete_collection(self, name: str) -> None:
        """Remove a collection with its documents.

        Raises:
            NotFoundError: there is no collection of that name.
        """
        self._ask(calls.delete_collection(name))

    def set_expiry(self, collection: str, field: str) -> ExpiryAnswer:
        """Have a collection's documents expire at the date that each has in a field.

        Raises:
            NotFoundError: there is no such collection.
            BadRequestError: it has no date field of that name.
        """
        return self._ask(calls.set_expiry(collection, field))

    def get_expiry(self, collection: str) -> ExpiryAnswer:
        """Return by which field a collection's documents expire, if they do."""
        return self._ask(calls.get_expiry(collection))

    def put_synonyms(
        self,
        collection: str,
        groups: Sequence[Sequence[str]] = (),
        one_way: Mapping[str, Sequence[str]] = MappingProxyType({}),
    ) -> SynonymsAnswer:
        """Replace a collection's synonyms, which searches find from then on.

        Args:
            collection: its name.
            groups: texts that mean the same, in each group.
            one_way: a text → those that it finds, too.

        Raises:
            NotFoundError: there is no such collection.
            BadRequestError: a text has no word, or too many, or there are too many texts.
        """
        return self._ask(calls.put_synonyms(collection, groups, one_way))

    def get_synonyms(self, collection: str) -> SynonymsAnswer:
        """Return a collection's synonyms."""
        return self._ask(calls.get_synonyms(collection))

    def delete_synonyms(self, collection: str) -> None:
        """Remove a collection's synonyms."""
        self._ask(calls.delete_synonyms(collection))

    def delete_expiry(self, collection: str) -> None:
        """Have a collection's documents expire no longer."""
        self._ask(calls.delete_expiry(collection))

    def list_aliases(self) -> list[AliasAnswer]:
        """Return the aliases, each with the collection that it stands for."""
        return self._ask(calls.list_aliases())

    def change_aliases(self, changes: Mapping[str, str | None]) -> list[AliasAnswer]:
        """Set and remove several aliases in one step: all, or none.

        Args:
            changes: alias → name of its collection from now on; None to remove the alias.

        Returns:
            All aliases.

        Raises:
            NotFoundError: there is no such collection, or an alias to be removed does not exist.
            ConflictError: a collection has the name of an alias, or there would be too many.
        """
        return self._ask(calls.change_aliases(changes))

    def get_alias(self, alias: str) -> AliasAnswer:
        """Return which collection an alias stands for.

        Raises:
            NotFoundError: there is no such alias.
        """
        return self._ask(calls.get_alias(alias))

    def put_alias(self, alias: str, collection: str) -> AliasAnswer:
        """Make an alias stand for a collection, whatever it stood for before.

        Raises:
            NotFoundError: there is no such collection.
            ConflictError: a collection has the name of the alias, or there are too many aliases.
        """
        return self._ask(calls.put_alias(alias, collection))

    def delete_alias(self, alias: str) -> None:
        """Remove an alias; its collection stays.

        Raises:
            NotFoundError: there is no such alias.
        """
        self._ask(calls.delete_alias(alias))
