"""A reload: all workers check, all take, or all stay as they were."""

import asyncio
from collections.abc import Callable, Iterable, Mapping
from typing import Any, cast

import pytest

from hedgerow.common.errors import (
    ConfigurationError,
    ConflictError,
    HedgerowError,
    UnavailableError,
)
from hedgerow.common.settings.rank_profiles import BUILT_IN_PROFILES, RankProfile
from hedgerow.common.settings.settings import Settings
from hedgerow.common.state.reloading import ANSWERED, EVENT, ReloadStore, Step, profiles_json
from hedgerow.gateway.operations.reloading import Reloader
from tests.support.virtual_time import run_virtually
from tests.unit.support.searchers import COLLECTION

PROFILES = {**BUILT_IN_PROFILES, "mine": RankProfile(second_phase="my:function")}


class FakeStore:
    """Workers that answer each step as the script says, a little later."""

    def __init__(self, script: Mapping[tuple[str, Step], str | None] | None = None) -> None:
        """A worker answers "", unless the script has a reason for it, or None for silence."""
        self.script = script or {}
        self.steps: list[Step] = []
        self.is_free = True
        self.lasts = 1_000  # how often the claim can be renewed
        self.has_ended = False
        self.stored: dict[str, Any] = {}
        self.tell: Callable[[bytes], object] = lambda _event: None
        self._answers: dict[Step, dict[str, str]] = {}

    async def begin(self, token: str, profiles: Mapping[str, RankProfile]) -> bool:
        """Keep the profiles."""
        self.stored = profiles_json(profiles)
        return self.is_free

    async def renew(self, token: str) -> bool:
        """Renew it as often as was set."""
        self.lasts -= 1
        return self.lasts >= 0

    async def end(self, token: str) -> None:
        """Note it."""
        self.has_ended = True

    async def ask(self, token: str, step: Step) -> None:
        """Have each worker answer after 0.1 s."""
        self.steps.append(step)

        def answer(worker: str) -> None:
            reason = self.script.get((worker, step), "")
            if reason is not None:
                self._answers.setdefault(step, {})[worker] = reason
                self.tell(f"{ANSWERED}:{token}".encode())

        for number, worker in enumerate(("w0", "w1")):
            asyncio.get_running_loop().call_later(0.1 * (number + 1), answer, worker)

    async def answers(self, token: str, step: Step) -> dict[str, str]:
        """Return those so far."""
        return dict(self._answers.get(step, {}))

    async def profiles(self, token: str) -> dict[str, Any]:
        """Return what was kept."""
        return self.stored


class Reloads:
    """A reloader over the fake store, and the profiles that it has had used."""

    def __init__(
        self,
        store: FakeStore,
        profiles: Mapping[str, RankProfile] | Exception = PROFILES,
        live: Iterable[str] = ("w0", "w1"),
    ) -> None:
        self.used: list[Mapping[str, RankProfile]] = []
        self.reloader = Reloader(
            cast("ReloadStore", store),
            lambda: self._read(profiles),
            live=lambda: live,
            definitions=lambda: [COLLECTION],
            use=self.used.append,
        )
        store.tell = self.reloader.take

    def _read(self, profiles: Mapping[str, RankProfile] | Exception) -> Settings:
        if isinstance(profiles, Exception):
            raise profiles
        return Settings(rank_profiles=dict(profiles))


@pytest.fixture(autouse=True)
def threads(monkeypatch: pytest.MonkeyPatch) -> None:
    """Read the settings in the loop: a thread has no virtual time."""

    async def call(function: Callable[[], Any]) -> Any:
        return function()

    monkeypatch.setattr(asyncio, "to_thread", call)


def test_all_check_before_any_takes() -> None:
    """This gateway uses the profiles last, and the other gateways hear of it after that."""
    store = FakeStore()
    reloads = Reloads(store)

    async def scenario() -> tuple[dict[str, Any], float]:
        answer = await reloads.reloader.reload()
        return answer, asyncio.get_running_loop().time()

    answer, took_s = run_virtually(scenario())
    assert answer == {"rank_profiles": ["bm25", "mine", "noop"], "workers": ["w0", "w1"]}
    assert store.steps == [Step.CHECK, Step.TAKE, Step.DONE]
    assert reloads.used == [PROFILES]
    assert store.has_ended
    assert took_s == pytest.approx(0.4)  # it waits for the last answer, and no longer


def test_one_refusal_keeps_everything_as_it_was() -> None:
    """All drop what they have checked, and the caller reads who refuses, and why."""
    store = FakeStore({("w1", Step.CHECK): "rank_profiles.mine.second_phase: no"})
    reloads = Reloads(store)
    with pytest.raises(ConflictError, match=r"refused by w1: rank_profiles\.mine") as refused:
        run_virtually(reloads.reloader.reload())
    assert not isinstance(refused.value, UnavailableError)
    assert store.steps == [Step.CHECK, Step.DROP]
    assert reloads.used == []
    assert store.has_ended


def test_a_silent_worker_keeps_everything_as_it_was() -> None:
    """A worker that does not answer is named, after a bounded wait."""
    store = FakeStore({("w0", Step.CHECK): None})
    reloads = Reloads(store)
    with pytest.raises(UnavailableError, match="w0 did not answer within 35 s"):
        run_virtually(reloads.reloader.reload())
    assert store.steps == [Step.CHECK, Step.DROP]
    assert reloads.used == []


def test_a_worker_that_does_not_take_is_named() -> None:
    """The others have taken, so this gateway follows them, and a second reload is due."""
    store = FakeStore({("w1", Step.TAKE): "has nothing to take"})
    reloads = Reloads(store)
    with pytest.raises(UnavailableError, match="w1 did not take them; reload again"):
        run_virtually(reloads.reloader.reload())
    assert reloads.used == [PROFILES]


@pytest.mark.parametrize(
    ("profiles", "live", "error", "words"),
    [
        (ConfigurationError("rank_profiles.x: bad"), ["w0"], ConflictError, "x: bad"),
        ({}, [], UnavailableError, "no worker is live"),
    ],
)
def test_what_cannot_begin_asks_no_worker(
    profiles: Any, live: list[str], error: type[HedgerowError], words: str
) -> None:
    """Settings that cannot be read, and a cluster without workers."""
    store = FakeStore()
    reloads = Reloads(store, profiles, live)
    with pytest.raises(error, match=words):
        run_virtually(reloads.reloader.reload())
    assert store.steps == []
    assert reloads.used == []


def test_a_collections_profile_cannot_go() -> None:
    """Its searches would have nothing to rank by."""
    store = FakeStore()
    reloads = Reloads(store)
    reloads.reloader._definitions = lambda: [cast("Any", Named("films", "gone"))]
    with pytest.raises(ConflictError, match="collection films ranks by 'gone'"):
        run_virtually(reloads.reloader.reload())
    assert store.steps == []


class Named:
    """What a reload reads of a collection."""

    def __init__(self, name: str, rank_profile: str) -> None:
        self.name = name
        self.rank_profile = rank_profile


def test_one_reload_at_a_time() -> None:
    """A second one is refused while another is in progress."""
    store = FakeStore()
    store.is_free = False
    with pytest.raises(ConflictError, match="another reload is in progress"):
        run_virtually(Reloads(store).reloader.reload())
    assert store.steps == []


@pytest.mark.parametrize(("profiles", "num_used"), [(PROFILES, 1), (BUILT_IN_PROFILES, 0)])
def test_another_gateway_follows_if_it_reads_the_same(
    profiles: Mapping[str, RankProfile], num_used: int
) -> None:
    """A gateway whose own settings differ stays as it is."""
    store = FakeStore()
    store.stored = profiles_json(PROFILES)
    reloads = Reloads(store, profiles)
    event = f"{EVENT}:abcd:{Step.DONE.value}".encode()
    assert reloads.reloader.take(event)
    run_virtually(reloads.reloader.follow(event))
    assert len(reloads.used) == num_used


def test_a_gateway_that_has_lost_its_claim_changes_nothing() -> None:
    """Another may have begun a reload meanwhile: what the workers have checked is dropped."""
    store = FakeStore()
    store.lasts = 1
    reloads = Reloads(store)
    with pytest.raises(UnavailableError, match="nothing was reloaded"):
        run_virtually(reloads.reloader.reload())
    assert store.steps == [Step.CHECK, Step.DROP]
    assert reloads.used == []


def test_what_has_begun_to_be_taken_is_taken_though_the_claim_is_lost() -> None:
    """Half of the workers with the old profiles would be worse than another reload soon after."""
    store = FakeStore()
    reloads = Reloads(store)

    async def scenario() -> None:
        task = asyncio.ensure_future(reloads.reloader.reload())
        await asyncio.sleep(0.25)  # both workers have checked
        store.lasts = 0
        await task

    run_virtually(scenario())
    assert store.steps == [Step.CHECK, Step.TAKE, Step.DONE]
    assert reloads.used == [PROFILES]
