"""A worker's part of a reload: checks what it would serve, keeps it ready, and takes or drops it.

To check is to start: scorers of their own import the functions in new processes and say whether
they can be used, while those that serve go on undisturbed. `enrich` runs in this process, so its
modules are imported again here, and the modules from before come back if the reload is dropped.
"""

import asyncio
from collections.abc import Callable, Mapping
from contextlib import aclosing, suppress
from dataclasses import dataclass
from types import ModuleType
from typing import Any, Final

import structlog

from hedgerow.common.errors import ConfigurationError, ExpiredError, HedgerowError
from hedgerow.common.settings.rank_profiles import RankProfile
from hedgerow.common.settings.settings import Settings
from hedgerow.common.state.reloading import (
    Asked,
    ReloadStore,
    Step,
    announced,
    profiles_json,
)
from hedgerow.common.user_function import put_back_modules, take_out_modules
from hedgerow.shard_worker.context import Context
from hedgerow.shard_worker.executors.bulkhead import Bulkhead
from hedgerow.shard_worker.executors.process_pool.scorer_pool import ScorerPool
from hedgerow.shard_worker.executors.thread_pool.threads import ThreadLane
from hedgerow.shard_worker.scoring.ranking import Enrich, enrich_hooks
from hedgerow.shard_worker.serving.served_profiles import ProfileSet, ServedProfiles
from hedgerow.shard_worker.wiring import SCORER_FACTORY, shares_of

log = structlog.get_logger()

CHECK_S: Final = 30.0  # longest time of a check
KEPT_S: Final = 60.0  # how long what was checked waits to be taken
# Gateways ask for a profile that is gone until they have followed, and what they asked is in
# queues for a while.
GRACE_S: Final = 2.0


@dataclass(frozen=True, slots=True)
class Checked:
    """What waits to be taken.

    Attributes:
        token: of the reload.
        profiles: with their scorers, which run.
        modules: the user's modules from before.
    """

    token: str
    profiles: ProfileSet
    modules: Mapping[str, ModuleType]


@dataclass(frozen=True, slots=True)
class Ways:
    """How a worker makes what it serves.

    Attributes:
        read: reads the settings; blocks.
        make_scorers: makes the scorers for settings, and does not start them.
        import_path: folders in which users' functions are looked for.
        threads: where users' blocking code runs.
        bulkhead: of these threads.
    """

    read: Callable[[], Settings]
    make_scorers: Callable[[Settings], ScorerPool]
    import_path: tuple[str, ...]
    threads: ThreadLane
    bulkhead: Bulkhead


class Reloading:
    """Follows the reloads that gateways ask for."""

    def __init__(
        self, context: Context, store: ReloadStore, served: ServedProfiles, ways: Ways
    ) -> None:
        """Exchange what is in `served`; `run` starts to follow."""
        self._context = context
        self._store = store
        self._served = served
        self._ways = ways
        self._checked: Checked | None = None

    async def run(self) -> None:
        """Follow until cancelled."""
        events = self._context.control.events(self._context.keys.events)
        try:
            async with aclosing(events), asyncio.TaskGroup() as group:
                async for event in events:
                    if (asked := announced(event)) is not None:
                        await self._follow(asked, group)
        finally:
            await self._drop()

    async def _follow(self, asked: Asked, group: asyncio.TaskGroup) -> None:
        match asked.step:
            case Step.CHECK:
                reason = await self._check(asked.token)
                if not reason:
                    group.create_task(self._forget_later(asked.token), name="forget checked")
            case Step.TAKE:
                reason = self._take(asked.token, group)
            case _:
                if self._checked is not None and self._checked.token == asked.token:
                    await self._drop()
                return
        with suppress(HedgerowError):  # the gateway misses the answer, and says so
            await self._store.answer(asked.token, asked.step, self._context.worker_id, reason)

    async def _check(self, token: str) -> str:
        """Make ready what the settings say now; returns why that is not possible, or ""."""
        await self._drop()
        try:
            wanted = await self._store.profiles(token)
            async with asyncio.timeout(CHECK_S):
                self._checked = await self._prepared(token, wanted)
        except TimeoutError:
            return f"loading the functions takes longer than {CHECK_S:g} s"
        except Exception as error:  # noqa: BLE001 - whatever it is, the operator is to read it
            reason = str(error).removeprefix(f"{SCORER_FACTORY}: ")  # who reads it has not named it
            return reason or type(error).__name__
        return ""

    async def _prepared(self, token: str, wanted: dict[str, Any]) -> Checked:
        ways = self._ways
        modules: dict[str, ModuleType] = {}

        def load() -> tuple[Settings, dict[str, Enrich]]:
            settings = ways.read()
            _compare(settings.rank_profiles, wanted)
            modules.update(take_out_modules(ways.import_path))
            return settings, enrich_hooks(settings.rank_profiles)

        scorers: ScorerPool | None = None
        try:
            settings, hooks = await ways.threads.run(load, CHECK_S)
            scorers = ways.make_scorers(settings)
            await scorers.start()
        except ExpiredError:
            put_back_modules(ways.import_path, modules)
            raise TimeoutError from None
        except BaseException:
            put_back_modules(ways.import_path, modules)
            if scorers is not None:
                await scorers.close(0.0)
            raise
        return Checked(token, ProfileSet(settings.rank_profiles, scorers, hooks), modules)

    def _take(self, token: str, group: asyncio.TaskGroup) -> str:
        checked, self._checked = self._checked, None
        if checked is None or checked.token != token:
            self._checked = checked
            return "has nothing to take; it was started, or dropped it, after the check"
        profiles = checked.profiles
        old = self._served.exchange(profiles)
        self._ways.bulkhead.use_shares(shares_of(profiles.profiles))
        group.create_task(self._retire(old), name="retire scorers")
        log.info("rank_profiles_reloaded", profiles=sorted(profiles.profiles))
        return ""

    async def _retire(self, old: ProfileSet) -> None:
        """End the scorers from before, after the last search that they have."""
        longest_s = self._context.settings.gateway.max_deadline_ms / 1000
        try:
            await asyncio.sleep(GRACE_S)
            self._served.forget(old)
            await old.scorers.close(longest_s)
        finally:
            await old.scorers.close(0.0)

    async def _forget_later(self, token: str) -> None:
        """Drop what the gateway neither takes nor drops."""
        await asyncio.sleep(KEPT_S)
        if self._checked is not None and self._checked.token == token:
            await self._drop()

    async def _drop(self) -> None:
        checked, self._checked = self._checked, None
        if checked is not None:
            put_back_modules(self._ways.import_path, checked.modules)
            await checked.profiles.scorers.close(0.0)


def _compare(own: Mapping[str, RankProfile], wanted: Mapping[str, Any]) -> None:
    """Check that this worker's settings have the profiles that the gateway has read.

    Raises:
        ConfigurationError: they differ; names the first profile that does.
    """
    found = profiles_json(own)
    for name in sorted({*found, *wanted}):
        if name not in found:
            raise ConfigurationError(f"its settings have no rank_profiles.{name}")
        if name not in wanted:
            raise ConfigurationError(f"the gateway's settings have no rank_profiles.{name}")
        if found[name] != wanted[name]:
            raise ConfigurationError(f"its settings have another rank_profiles.{name}")
