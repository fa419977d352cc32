"""The synonyms of collections: a copy for the hot path, and changes."""

import asyncio
from collections.abc import Iterable, Mapping
from typing import Final, NamedTuple

import msgspec
import structlog

from hedgerow.common.collection import Collection
from hedgerow.common.errors import BadBodyError, BadRequestError
from hedgerow.common.query.synonyms import SynonymRules
from hedgerow.common.query.tokens import plain_form
from hedgerow.common.settings.limits import LimitSettings
from hedgerow.common.state.synonyms import SynonymStore
from hedgerow.gateway.shapes.synonyms import SynonymsAnswer, SynonymsBody
from hedgerow.gateway.writes.storage_gate import StorageGate

_MAX_CHARS: Final = 200  # of a text
_AT_ONCE: Final = 500  # texts, of about 2 µs each, in one turn of the event loop
_MAX_FAULTS: Final = 20  # of a body, in one answer

_log = structlog.get_logger()


class _Known(NamedTuple):
    version: int
    rules: SynonymRules | None  # None: there are none now


class Synonyms:
    """The synonyms that this gateway knows, and changes of those that are stored.

    `Collections.refresh` reads them together with the collections: at each announced change, and
    every few seconds in case an announcement was lost.
    """

    def __init__(
        self, store: SynonymStore, limits: LimitSettings, gate: StorageGate | None = None
    ) -> None:
        """Know none yet.

        Args:
            store: keeps them in Redis.
            limits: how many there may be.
            gate: refuses changes when there is no room; None allows all.
        """
        self._store = store
        self._limits = limits
        self._gate = gate
        self._known: Mapping[str, _Known] = {}
        self._reading = asyncio.Lock()

    def rules_of(self, uid: str) -> SynonymRules | None:
        """The rules of a collection; None if it has none."""
        known = self._known.get(uid)
        return None if known is None else known.rules

    async def refresh(self, collections: Iterable[Collection]) -> None:
        """Read the synonyms of these collections that have changed.

        Raises:
            RedisUnavailableError: Redis did not answer in time.
        """
        async with self._reading:  # so that none replaces newer ones
            versions = await self._store.versions()
            if not versions and not self._known:
                return
            known = {one.uid: one for one in collections if one.uid in versions}
            changed = [
                uid
                for uid in known
                if (before := self._known.get(uid)) is None or before.version != versions[uid]
            ]
            texts = await self._store.texts_of(changed)
            found = {uid: self._known[uid] for uid in known if uid not in changed}
            for uid in changed:
                rules = await _rules_of(texts[uid], known[uid]) if uid in texts else None
                found[uid] = _Known(versions[uid], rules)
            self._known = found

    async def stored(self, collection: Collection) -> SynonymsAnswer:
        """The synonyms of a collection as they are stored now."""
        version = await self._store.version_of(collection.uid)
        text = (await self._store.texts_of([collection.uid])).get(collection.uid)
        body = SynonymsBody() if text is None else msgspec.json.decode(text, type=SynonymsBody)
        return SynonymsAnswer(version, body.groups, body.one_way)

    async def change(self, collection: Collection, body: SynonymsBody) -> SynonymsAnswer:
        """Replace the synonyms of a collection; `refresh` has yet to read them.

        Raises:
            BadRequestError: names what is wrong with them.
            InsufficientStorageError: a disk or memory runs out.
        """
        has_any = bool(body.groups or body.one_way)
        if self._gate is not None:
            self._gate.check(is_removal=not has_any)
        await _check(body, self._limits, collection)
        text = msgspec.json.encode(body) if has_any else b""
        version = await self._store.change(collection.uid, text)
        return SynonymsAnswer(version, body.groups, body.one_way)

    async def forget(self, collection: Collection) -> None:
        """Remove all that is stored for a collection that was dropped."""
        if await self._store.version_of(collection.uid):
            await self._store.forget(collection.uid)


async def _rules_of(text: bytes, collection: Collection) -> SynonymRules | None:
    try:
        body = msgspec.json.decode(text, type=SynonymsBody)
    except msgspec.MsgspecError as error:  # of a newer version, perhaps
        _log.error("synonyms_unreadable", collection=collection.name, reason=str(error))
        return None
    rules, num = SynonymRules(folding=collection.folding), 0
    for group in body.groups:
        rules.add_group(group)
        num += len(group)
        if num >= _AT_ONCE:
            num = 0
            await asyncio.sleep(0)
    for word, also in body.one_way.items():
        rules.add(word, also)
        num += 1
        if num >= _AT_ONCE:
            num = 0
            await asyncio.sleep(0)
    return rules


async def _check(body: SynonymsBody, limits: LimitSettings, collection: Collection) -> None:
    named = [(f"groups[{number}]", group) for number, group in enumerate(body.groups)]
    named += [(f"one_way[{word!r}]", [word, *also]) for word, also in body.one_way.items()]
    if (num := sum(len(texts) for _, texts in named)) > limits.max_synonyms:
        raise BadRequestError(
            "groups",
            f"and one_way have {num} texts; the limit is {limits.max_synonyms} "
            "(limits.max_synonyms)",
        )
    faults: list[tuple[str, str]] = []
    for number, (name, texts) in enumerate(named):
        faults += _faults(name, texts, limits, is_folded=collection.folding)
        if len(faults) >= _MAX_FAULTS:
            break
        if number % _AT_ONCE == 0:
            await asyncio.sleep(0)
    if faults:
        raise BadBodyError(faults[:_MAX_FAULTS])


def _faults(
    name: str, texts: list[str], limits: LimitSettings, *, is_folded: bool
) -> list[tuple[str, str]]:
    most = limits.max_synonym_group
    if not 2 <= len(texts) <= most:
        return [(name, f"has 2 to {most} texts (limits.max_synonym_group)")]
    faults = []
    for number, text in enumerate(texts):
        num_words = len(plain_form(text[: _MAX_CHARS + 1], is_folded=is_folded).split())
        if len(text) > _MAX_CHARS:
            faults.append((f"{name}[{number}]", f"has more than {_MAX_CHARS} characters"))
        elif not 1 <= num_words <= limits.max_synonym_words:
            allowed = f"1 to {limits.max_synonym_words} (limits.max_synonym_words)"
            faults.append((f"{name}[{number}]", f"has {num_words} words; it should have {allowed}"))
    return faults
