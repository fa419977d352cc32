"""The gateway's part of a reload of the rank profiles: every worker checks them, then all take.

    read the settings ► every worker checks ► every worker takes ► this gateway ► other gateways

Workers come first with what is new and last with what is gone, so that no search meets a worker
that lacks its profile. If one worker refuses, all drop what they have checked.
"""

import asyncio
import secrets
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any, Final

import structlog

from hedgerow.common.collection import Collection as CollectionDefinition
from hedgerow.common.errors import (
    ConfigurationError,
    ConflictError,
    RedisUnavailableError,
    UnavailableError,
)
from hedgerow.common.settings.rank_profiles import RankProfile
from hedgerow.common.settings.settings import Settings
from hedgerow.common.state.reloading import (
    ANSWERED,
    LEASE_S,
    ReloadStore,
    Step,
    announced,
    profiles_json,
)

log = structlog.get_logger()

CHECKED_WITHIN_S: Final = 35.0  # workers give up after 30 s
TAKEN_WITHIN_S: Final = 10.0
LOOK_AGAIN_S: Final = 1.0  # in case an announcement was lost

Profiles = Mapping[str, RankProfile]


class Reloader:
    """Reads the rank profiles again, here and in every worker."""

    def __init__(
        self,
        store: ReloadStore,
        read: Callable[[], Settings] | None,
        live: Callable[[], Iterable[str]],
        definitions: Callable[[], Iterable[CollectionDefinition]],
        use: Callable[[Profiles], None],
    ) -> None:
        """Reload when asked.

        Args:
            store: the way to the workers.
            read: reads the settings, and blocks; None if this gateway's are not from a file.
            live: ids of the live workers.
            definitions: of the collections.
            use: has this gateway use these profiles from now on.
        """
        self._store = store
        self._read = read
        self._live = live
        self._definitions = definitions
        self._use = use
        self._heard = asyncio.Event()
        self._token = ""

    async def reload(self) -> dict[str, Any]:
        """Read the rank profiles again; every worker loads and checks their functions first.

        Returns:
            `rank_profiles`, the names of the profiles there are now, and `workers`, those that
            have taken them.

        Raises:
            ConflictError: a profile cannot be used, and all stays as it was; says where and why.
                Or another reload is in progress.
            UnavailableError: a worker does not answer, or there is none, or this gateway stood
                still for so long that another may have begun a reload; says what that means.
            RedisUnavailableError: Redis does not answer.
        """
        profiles = await self._profiles()
        workers = sorted(self._live())
        if not workers:
            raise UnavailableError("no worker is live, so nothing was reloaded")
        token = secrets.token_hex(8)
        if not await self._store.begin(token, profiles):
            raise ConflictError("another reload is in progress")
        self._token = token
        is_taken = False
        try:
            await self._check(token, workers)
            is_taken = True
            failed = await self._take(token, workers)
            self._use(profiles)
            await self._store.ask(token, Step.DONE)
        finally:
            if not is_taken:
                await self._store.ask(token, Step.DROP)
            await self._store.end(token)
        log.info("rank_profiles_reloaded", profiles=sorted(profiles))
        if failed:
            raise UnavailableError(
                f"the profiles were checked, but {', '.join(failed)} did not take them; "
                "reload again"
            )
        return {"rank_profiles": sorted(profiles), "workers": workers}

    def take(self, event: bytes) -> bool:
        """Take note of an announcement; returns whether another gateway has completed a reload."""
        kind, _, rest = event.decode(errors="replace").partition(":")
        if kind == ANSWERED and rest == self._token:
            self._heard.set()
        asked = announced(event)
        return asked is not None and asked.step is Step.DONE and asked.token != self._token

    async def follow(self, event: bytes) -> None:
        """Use what another gateway has had the workers take."""
        asked = announced(event)
        if asked is None or self._read is None:
            return
        try:
            profiles = await self._profiles()
            wanted = await self._store.profiles(asked.token)
        except (ConflictError, ConfigurationError, RedisUnavailableError) as error:
            log.warning("reload_not_followed", error=str(error))
            return
        if profiles_json(profiles) != wanted:
            log.warning("reload_not_followed", error="its settings have other rank profiles")
            return
        self._use(profiles)
        log.info("rank_profiles_reloaded", profiles=sorted(profiles))

    async def _profiles(self) -> Profiles:
        if self._read is None:
            raise ConflictError("the settings of this gateway do not come from a file")
        try:
            settings = await asyncio.to_thread(self._read)
        except ConfigurationError as error:
            raise ConflictError(f"the reload is refused: {error}") from error
        profiles = settings.rank_profiles
        for collection in self._definitions():
            if collection.rank_profile not in profiles:
                raise ConflictError(
                    f"the reload is refused: collection {collection.name} ranks by "
                    f"{collection.rank_profile!r}, which the settings no longer have"
                )
        return profiles

    async def _check(self, token: str, workers: Collection[str]) -> None:
        answers = await self._answers(token, Step.CHECK, workers, CHECKED_WITHIN_S)
        refusals = {worker: reason for worker, reason in answers.items() if reason}
        if refusals:
            worker, reason = min(refusals.items())
            more = f" (and {len(refusals) - 1} more)" if len(refusals) > 1 else ""
            raise ConflictError(f"the reload is refused by {worker}{more}: {reason}")
        if silent := sorted(set(workers) - set(answers)):
            raise UnavailableError(
                f"{', '.join(silent)} did not answer within {CHECKED_WITHIN_S:g} s; "
                "nothing was reloaded"
            )

    async def _take(self, token: str, workers: Collection[str]) -> list[str]:
        """Have the workers take what they have checked; returns those that have not."""
        answers = await self._answers(token, Step.TAKE, workers, TAKEN_WITHIN_S)
        # A worker that has ended meanwhile reads the settings when it starts again.
        live = set(self._live())
        return sorted(worker for worker in live & set(workers) if answers.get(worker, "silent"))

    async def _answers(
        self, token: str, step: Step, workers: Collection[str], timeout_s: float
    ) -> dict[str, str]:
        """Ask, and collect answers until all are there, one refuses or the time is over."""
        loop = asyncio.get_running_loop()
        give_up_at = loop.time() + timeout_s
        await self._store.ask(token, step)
        while True:
            self._heard.clear()
            # What was checked may be gone then; what has begun to be taken is taken.
            if not await self._store.renew(token) and step is Step.CHECK:
                raise UnavailableError(
                    f"this gateway stood still for more than {LEASE_S} s, so that another may have "
                    "begun a reload; nothing was reloaded"
                )
            answers = await self._store.answers(token, step)
            left_s = give_up_at - loop.time()
            if set(workers) <= set(answers) or any(answers.values()) or left_s <= 0:
                return answers
            try:
                async with asyncio.timeout(min(left_s, LOOK_AGAIN_S)):
                    await self._heard.wait()
            except TimeoutError:
                continue
