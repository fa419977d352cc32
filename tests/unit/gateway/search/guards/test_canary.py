"""Which shard is asked first, which wait, and what is remembered; in virtual time."""

import asyncio
import itertools
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass, field
from functools import wraps
from typing import Any, cast

import pytest

from hedgerow.common.outcome import Outcome
from hedgerow.common.redis.server_clock import ServerClock
from hedgerow.common.settings.rank_profiles import RankProfile
from hedgerow.common.state.quarantine import fingerprint_of
from hedgerow.common.wire.messages import (
    Failure,
    Kind,
    Lane,
    Reply,
    Request,
    SearchBody,
    Status,
    pack_body,
    pack_request,
    unpack_request,
)
from hedgerow.common.wire.messages import unpack_search_body as unpack
from hedgerow.gateway.search.gather import Gather
from hedgerow.gateway.search.guards.breakers import QUERY_FAULT_CODES
from hedgerow.gateway.search.guards.canary import Canary
from hedgerow.gateway.transport.messenger import Messenger
from hedgerow.gateway.transport.protocol import ReplySink, Transport
from tests.support.virtual_time import run_virtually

SHARDS = (0, 1, 2, 3)
PROFILES = {"careful": RankProfile(canary=True), "quick": RankProfile()}
DELAY_S = 0.1


def virtually(scenario: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    """Make a test of a coroutine, in virtual time."""

    @wraps(scenario)
    def test(*args: Any, **named: Any) -> None:
        run_virtually(scenario(*args, **named))

    return test


@dataclass
class Shards:
    """Shards that reply after `DELAY_S` by `codes`: "" is ok, None is silence.

    Attributes:
        asked: each scatter's shards.
        sent_at_us: what each scatter's message says of when it was sent.
    """

    codes: dict[int, str | None] = field(default_factory=dict)
    asked: list[tuple[int, ...]] = field(default_factory=list)
    sent_at_us: list[int] = field(default_factory=list)

    def scatter(
        self,
        _kind: Kind,
        _id: int,
        shards: tuple[int, ...],
        message: bytes,
        sink: ReplySink,
        goes_ahead: bool = False,  # as the protocol has it
    ) -> Mapping[int, int]:
        """Reply by the script."""
        self.asked.append(shards)
        self.sent_at_us.append(unpack_request(message).sent_at_us)
        for shard in shards:
            if (code := self.codes.get(shard, "")) is not None:
                loop = asyncio.get_running_loop()
                at = loop.time() + DELAY_S
                loop.call_at(at, sink.on_reply, reply(shard, code), "w", at)
        return dict.fromkeys(shards, 1)


def reply(shard: int, code: str) -> Reply:
    """What a shard says."""
    body = pack_body(Failure(code, "it says so") if code else SearchBody(1, 0, True, [], []))
    status = Status.FAILED if code else Status.OK
    return Reply(1, shard, status, Lane.PROCESS, 0, 0, 0, body)


def messenger_to(shards: Shards) -> Messenger:
    """The way to them."""
    return Messenger(cast("Transport", shards), ServerClock(), "", itertools.count().__next__)


def canary_of(most_seen: int = 100) -> Canary:
    """One that knows nothing yet; `ask` gives it its shards."""
    return Canary(PROFILES, messenger_to(Shards()), most_seen)


async def ask(
    canary: Canary, shards: Shards, payload: bytes = b"q", deadline_s: float = 1.0
) -> Gather:
    """Ask as the gateway does."""
    deadline = asyncio.get_running_loop().time() + deadline_s
    gather = Gather(SHARDS, unpack)
    canary.messenger = messenger_to(shards)
    trial = canary.trial("careful", payload)
    assert trial is not None
    request = Request(Kind.SEARCH, 1, 0, 0, "", payload)
    try:
        rest, request = await trial.first(request, SHARDS, gather, deadline)
        if rest:
            gather.sent(shards.scatter(Kind.SEARCH, 1, rest, pack_request(request), gather))
        await gather.wait(deadline)
    finally:
        gather.end(Outcome.CANCELLED, "left")
        trial.close(gather.results)
    return gather


def outcomes(gather: Gather) -> list[Outcome]:
    """Each shard's."""
    return [gather.results[shard].outcome for shard in SHARDS]


@virtually
async def test_an_unseen_query_is_tried_on_one_shard_and_then_on_the_rest() -> None:
    """Every shard answers, one before the others were asked; the second asking has no trial."""
    canary, shards = canary_of(), Shards()
    gather = await ask(canary, shards)
    assert outcomes(gather) == [Outcome.OK] * 4
    # What a shard is judged by starts when it is asked, not when the first one is.
    assert [part.took_s for part in gather.results.values()] == pytest.approx([DELAY_S] * 4)
    first, rest = shards.asked
    assert len(first) == 1
    assert shards.sent_at_us[1] == pytest.approx(DELAY_S * 1e6)
    assert sorted(first + rest) == list(SHARDS)
    await ask(canary, shards)
    assert shards.asked[2:] == [SHARDS]


@virtually
async def test_every_gateway_tries_it_on_the_same_shard() -> None:
    """The shard follows from the query alone, and queries are spread over all shards."""
    tried: dict[bytes, set[int]] = {}
    for number in range(64):
        payload = b"%d" % number
        for _ in range(2):
            shards = Shards()
            await ask(canary_of(), shards, payload)
            tried.setdefault(payload, set()).update(shards.asked[0])
    assert all(len(firsts) == 1 for firsts in tried.values())
    assert set.union(*tried.values()) == set(SHARDS)


def test_other_profiles_have_no_trial() -> None:
    """A profile that is not marked costs nothing."""
    assert canary_of().trial("quick", b"q") is None


@pytest.mark.parametrize("code", ["crashed", "quarantined"])
@virtually
async def test_what_kills_is_asked_of_nobody_else(code: str) -> None:
    """The other shards fail without being asked, and their breakers take no note."""
    canary, shards = canary_of(), Shards(dict.fromkeys(SHARDS, code))
    gather = await ask(canary, shards)
    ((first,),) = shards.asked
    assert outcomes(gather) == [Outcome.FAILED] * 4
    for shard, part in gather.results.items():
        assert part.code == (code if shard == first else "quarantined")
        assert shard == first or (part.code in QUERY_FAULT_CODES and "it says so" in part.reason)
    await ask(canary, shards)
    assert [len(asked) for asked in shards.asked] == [1, 1]


@virtually
async def test_a_query_that_fails_without_killing_is_seen() -> None:
    """A function that raises has not killed anybody: all shards are asked."""
    shards = Shards(dict.fromkeys(SHARDS, "ranking"))
    assert outcomes(await ask(canary_of(), shards)) == [Outcome.FAILED] * 4
    assert [len(asked) for asked in shards.asked] == [1, 3]


@virtually
async def test_a_shard_that_cannot_tell_is_followed_by_another() -> None:
    """A shard without scorers says nothing of the query: the next one tries it."""
    shards = Shards()
    await ask(canary_of(), shards)
    ((blind,), _) = shards.asked
    shards = Shards({blind: "lane_unavailable"})
    gather = await ask(canary_of(), shards)
    assert [len(asked) for asked in shards.asked] == [1, 1, 2]
    assert outcomes(gather).count(Outcome.OK) == 3


@virtually
async def test_a_silent_first_shard_costs_the_deadline_and_no_breaker_but_its_own() -> None:
    """All time out; the shard that was asked is late by the usual reason, the rest had no time."""
    canary, shards = canary_of(), Shards(dict.fromkeys(SHARDS, None))
    started = asyncio.get_running_loop().time()
    gather = await ask(canary, shards)
    assert asyncio.get_running_loop().time() - started == pytest.approx(1.0)
    ((first,),) = shards.asked
    assert outcomes(gather) == [Outcome.TIMED_OUT] * 4
    assert {shard for shard in SHARDS if gather.results[shard].code != "no_time"} == {first}


@virtually
async def test_of_many_alike_one_is_tried_and_its_end_is_theirs() -> None:
    """While it is tried the others wait; then all are asked, or none."""
    for code, num_asked in (("", 4), ("crashed", 1)):
        canary, shards = canary_of(), Shards(dict.fromkeys(SHARDS, code))
        gathers = await asyncio.gather(*(ask(canary, shards) for _ in range(5)))
        assert [len(asked) for asked in shards.asked if len(asked) == 1] == [1]
        for gather in gathers:
            assert outcomes(gather) == [Outcome.FAILED if code else Outcome.OK] * 4
        assert sum(map(len, shards.asked)) == (5 * 4 if not code else num_asked)


@virtually
async def test_when_the_caller_leaves_the_next_one_tries() -> None:
    """A trial that is cancelled says nothing; one by another query takes its place."""
    canary, shards = canary_of(), Shards()
    leaving = asyncio.create_task(ask(canary, shards))
    staying = asyncio.create_task(ask(canary, shards))
    await asyncio.sleep(DELAY_S / 2)
    leaving.cancel()
    assert outcomes(await staying) == [Outcome.OK] * 4
    assert [len(asked) for asked in shards.asked] == [1, 1, 3]


@virtually
async def test_what_kills_later_is_tried_again() -> None:
    """A query that was survived once and then kills is unseen again."""
    canary, shards = canary_of(), Shards()
    await ask(canary, shards)
    shards.codes = dict.fromkeys(SHARDS, "crashed")
    await ask(canary, shards)
    shards.asked.clear()
    await ask(canary, shards)
    assert [len(asked) for asked in shards.asked] == [1]


@virtually
async def test_it_remembers_a_bounded_number_of_kinds() -> None:
    """The kind that was asked least recently is forgotten first."""
    canary, shards = canary_of(most_seen=2), Shards()
    for payload in (b"a", b"b", b"a", b"c"):
        await ask(canary, shards, payload)
    assert [canary.is_seen(fingerprint_of(one)) for one in (b"a", b"b", b"c")] == [
        True,
        False,
        True,
    ]
