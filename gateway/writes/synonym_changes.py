"""Shows and changes the synonyms of collections that callers name."""

from hedgerow.gateway.shapes.synonyms import SynonymsAnswer, SynonymsBody
from hedgerow.gateway.writes.collections import Collections
from hedgerow.gateway.writes.synonyms import Synonyms


class SynonymChanges:
    """What callers ask for about synonyms; a collection's name may be an alias."""

    def __init__(self, synonyms: Synonyms, collections: Collections) -> None:
        """Change `synonyms`, which `collections` keeps fresh."""
        self._synonyms = synonyms
        self._collections = collections

    async def get(self, name: str) -> SynonymsAnswer:
        """The synonyms of a collection, as stored now.

        Raises:
            NotFoundError: there is no such collection.
        """
        return await self._synonyms.stored(await self._collections.current(name))

    async def put(self, name: str, body: SynonymsBody) -> SynonymsAnswer:
        """Replace the synonyms of a collection; this gateway applies them from now on.

        Raises:
            NotFoundError: there is no such collection.
            BadRequestError: names what is wrong with them.
            InsufficientStorageError: a disk or memory runs out.
        """
        answer = await self._synonyms.change(await self._collections.current(name), body)
        await self._collections.refresh()
        return answer

    async def remove(self, name: str) -> None:
        """Remove the synonyms of a collection.

        Raises:
            NotFoundError: there is no such collection.
            InsufficientStorageError: the disk takes no writes at all, not even this one.
        """
        await self.put(name, SynonymsBody())
