"""Clients that search and write until they are stopped, and the final reading."""

import asyncio
import json
import random
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from nemesis.history import Event, Note, Search, State, Wait, Write, is_judged
from nemesis.layout import (
    FIELDS,
    FIRST_REGISTERS,
    GATEWAYS,
    GROUP_SIZE,
    NUM_GROUPS,
    NUM_REPLICAS,
    NUM_WRITERS,
    REGISTERS,
    STEADY,
    group_members,
    register_ids,
    shared_ids,
)
from nemesis.load.calls import Caller
from nemesis.load.waits import LoopLag

NUM_SEARCHERS: Final = 8
_DEADLINES_MS: Final = (100.0, 300.0, 300.0, 300.0, 1_000.0)
_LONG_ENOUGH_MS: Final = 300.0  # for a whole answer, on a busy machine
_STATE_S: Final = 0.5
_KNOWN_WITHIN_S: Final = 10.0  # for heartbeats with the sizes of the shards
_FINAL_DEADLINE_MS: Final = 5_000.0
_TRIES: Final = 8
# How long a document is asked for at the end, while one replica of its shard is stopped on purpose:
# a worker that gets no core is not live for some seconds, which is a matter of recovery.
_READ_WITHIN_S: Final = 30.0


class Clients:
    """Searchers, writers, and one who watches the status."""

    def __init__(
        self,
        addresses: Mapping[str, tuple[str, int]],
        seed: int,
        record: Callable[[Event], None],
    ) -> None:
        """Call the gateways at these addresses.

        Args:
            addresses: gateway → host and port.
            seed: of what is asked and written.
            record: takes each call.
        """
        self.pids: dict[str, int] = {}
        self._addresses = addresses
        self._seed = seed
        self._record = record
        self._lag = LoopLag()
        self._versions: dict[str, int] = {}
        self._members: dict[tuple[str, int], int] = {}
        self._is_writing = asyncio.Event()
        self._num_writing = 0
        self._has_paused = asyncio.Event()
        self._ended: dict[str, list[Search]] = {name: [] for name in GATEWAYS}

    async def seed(self) -> None:
        """Create the collections, and load the documents that never change.

        When both gateways have heard how many there are in each shard, coverage is a matter of
        fact; before that, they know the sizes of shards only from the last heartbeats.

        Raises:
            RuntimeError: the cluster is not whole yet, or does not accept them. A replica that came
                after the first load would have a gap (docs/replicas.md, "Gaps").
        """
        for number in range(len(GATEWAYS)):
            await self._check_whole(number)
        caller = self._caller(0)
        for name in (STEADY, FIRST_REGISTERS):
            answer = await caller.ask("PUT", f"/v1/collections/{name}", json.dumps(FIELDS).encode())
            if answer.status != 200:
                raise RuntimeError(f"creating {name}: {answer}")
        stands_for = json.dumps({"collection": FIRST_REGISTERS}).encode()
        answer = await caller.ask("PUT", f"/v1/aliases/{REGISTERS}", stands_for)
        if answer.status != 200:
            raise RuntimeError(f"making the alias {REGISTERS}: {answer}")
        shared = [json.dumps({"id": one, "text": "shared"}).encode() for one in shared_ids()]
        answer = await caller.load_lines(REGISTERS, shared, "applied")
        if answer.status != 200:
            raise RuntimeError(f"loading the shared documents: {answer}")
        lines = [
            json.dumps({"id": one, "text": f"group{group} steady", "version": 1}).encode()
            for group in range(NUM_GROUPS)
            for one in sorted(group_members(group))
        ]
        answer = await caller.load_lines(STEADY, lines, "applied")
        if answer.status != 200 or answer.body["accepted"] != NUM_GROUPS * GROUP_SIZE:
            raise RuntimeError(f"loading the steady documents: {answer}")
        caller.close()
        for number in range(len(GATEWAYS)):
            await self._check_known(number)

    async def _check_whole(self, number: int) -> None:
        caller = self._caller(number)
        answer = await caller.ask("GET", "/v1/status")
        caller.close()
        if answer.status != 200:
            raise RuntimeError(f"{caller.gateway} does not answer yet: {answer.error}")
        replicas = _state(answer.body)["replicas"]
        if set(replicas) != {NUM_REPLICAS}:
            raise RuntimeError(f"{caller.gateway} sees {replicas} replicas of the shards")

    async def _check_known(self, number: int) -> None:
        caller = self._caller(number)
        now = asyncio.get_running_loop().time
        give_up_at = now() + _KNOWN_WITHIN_S
        while True:
            answer = await caller.ask("GET", "/v1/status")
            known = _documents(answer.body, STEADY) if answer.status == 200 else 0
            if known == NUM_GROUPS * GROUP_SIZE:
                break
            if now() > give_up_at:
                raise RuntimeError(f"{caller.gateway} knows of {known} steady documents")
            await asyncio.sleep(0.1)
        caller.close()

    async def run(self) -> None:
        """Search, write and watch until cancelled."""
        self._is_writing.set()
        async with asyncio.TaskGroup() as parts:
            parts.create_task(self._lag.watch(), name="loop lag")
            for number in range(NUM_SEARCHERS):
                parts.create_task(self._search(number), name=f"searcher {number}")
            for number in range(NUM_WRITERS):
                parts.create_task(self._write(number), name=f"writer {number}")
            for number in range(len(GATEWAYS)):
                parts.create_task(self._watch(number), name=f"watcher {number}")

    async def pause_writing(self) -> None:
        """Let the writers end what they are doing; none begins another write."""
        self._is_writing.clear()
        if self._num_writing:
            await self._has_paused.wait()

    async def resume_writing(self) -> None:
        """Let the writers go on."""
        self._is_writing.set()

    async def read_all(self) -> None:
        """Search for and read every document that was ever written; call it without writers."""
        callers = [self._caller(number) for number in range(len(GATEWAYS))]
        for _ in range(_TRIES):  # everything that was logged can be found once this is answered
            answer = await callers[0].load_lines(REGISTERS, [], "applied")
            if answer.status == 200:
                break
            self._record(Note(at=answer.until, text=f"waiting for the log: {answer}"))
            await asyncio.sleep(1.0)
        registers = sorted(self._versions)
        for number, register in enumerate(registers):
            caller = callers[number % len(callers)]
            for _ in range(_TRIES):
                search = await caller.search_register(register, _FINAL_DEADLINE_MS, "final")
                if search.is_full:
                    break
                await asyncio.sleep(0.25)
            self._record(search)
            give_up_at = search.until + _READ_WITHIN_S
            while (read := await caller.read(register)).status not in (200, 404):
                if read.until > give_up_at:
                    break
                await asyncio.sleep(0.25)
            self._record(read)
        await self._read_shared(callers)
        for caller in callers:
            caller.close()

    async def _read_shared(self, callers: list[Caller]) -> None:
        for number, one in enumerate(shared_ids()):
            for _ in range(_TRIES):
                reads = await callers[number % len(callers)].read_members(one)
                if reads[0].status == 200:
                    break
                await asyncio.sleep(0.25)
            for read in reads:
                self._record(read)

    async def _search(self, number: int) -> None:
        chance = random.Random(f"searcher {self._seed} {number}")
        caller = self._caller(number)
        while True:
            deadline_ms = chance.choice(_DEADLINES_MS)
            if chance.random() < 0.5:
                search = await caller.search_group(chance.randrange(NUM_GROUPS), deadline_ms)
            else:
                writer = chance.randrange(NUM_WRITERS)
                register = chance.choice(register_ids(writer))
                search = await caller.search_register(register, deadline_ms)
            self._record(search)
            if deadline_ms >= _LONG_ENOUGH_MS:
                self._ended[caller.gateway].append(search)
            await asyncio.sleep(chance.uniform(0.05, 0.2))

    async def _write(self, number: int) -> None:
        chance = random.Random(f"writer {self._seed} {number}")
        caller = self._caller(number)
        registers = register_ids(number)
        while True:
            await self._is_writing.wait()
            self._num_writing += 1
            self._has_paused.clear()
            wait: Wait = "applied" if chance.random() < 0.5 else "logged"
            kind = chance.random()
            if kind < 0.15:
                register = chance.choice(registers)
                self._record(await caller.delete(register, self._next(register), wait))
            elif kind < 0.3:
                several = chance.sample(registers, 4)
                versions = {register: self._next(register) for register in several}
                for write in await caller.load(versions, wait):
                    self._record(write)
            elif kind < 0.4:
                shared = chance.choice(shared_ids())
                version = self._next_member(shared, number)
                self._record(await caller.patch_member(shared, number, version, wait))
            else:
                register = chance.choice(registers)
                self._record(await self._write_one(caller, register, kind, wait))
            self._num_writing -= 1
            if not self._num_writing:
                self._has_paused.set()
            await asyncio.sleep(chance.uniform(0.1, 0.4))

    async def _write_one(self, caller: Caller, register: str, kind: float, wait: Wait) -> Write:
        """Write a register, with or without a condition."""
        version, known = self._next(register), caller.versions.get(register)
        if kind < 0.5:
            return await caller.patch(register, version, wait)
        if kind < 0.55:
            return await caller.put(register, version, wait, condition="wrong")
        if kind < 0.75 and known is not None:
            return await caller.put(register, version, wait, if_version=known, condition="right")
        return await caller.put(register, version, wait)

    async def _watch(self, number: int) -> None:
        now = asyncio.get_running_loop().time
        caller = self._caller(number)
        while True:
            answer = await caller.ask("GET", "/v1/status")
            ended, self._ended[caller.gateway] = self._ended[caller.gateway], []
            num_searches, num_full = count_whole(ended)
            members = _state(answer.body) if answer.status == 200 else {"is_reachable": False}
            placement = await caller.ask("GET", "/v1/placement")
            if placement.status == 200:
                members["is_settled"] = placement.body["is_settled"]
            self._record(
                State(
                    at=now(),
                    gateway=caller.gateway,
                    num_searches=num_searches,
                    num_full=num_full,
                    **members,
                )
            )
            await asyncio.sleep(_STATE_S)

    def _caller(self, number: int) -> Caller:
        gateway = GATEWAYS[number % len(GATEWAYS)]
        return Caller(gateway, self._addresses[gateway], self._lag, self.pids)

    def _next(self, register: str) -> int:
        self._versions[register] = self._versions.get(register, 0) + 1
        return self._versions[register]

    def _next_member(self, shared: str, writer: int) -> int:
        self._members[shared, writer] = self._members.get((shared, writer), 0) + 1
        return self._members[shared, writer]


def count_whole(ended: Sequence[Search]) -> tuple[int, int]:
    """How many searches say whether answers are whole, and how many are.

    One that is not, while this machine gave the gateway no core, says nothing: that a shard missed
    the deadline may be for the same reason.
    """
    whole = [search.status == 200 and search.is_full for search in ended]
    known = [is_whole or is_judged(one) for one, is_whole in zip(ended, whole, strict=True)]
    return sum(known), sum(whole)


def _documents(body: dict[str, Any], collection: str) -> int:
    """How many documents a collection has in all shards, as a gateway shows it."""
    return sum(shard["documents"].get(collection, 0) for shard in body["shards"])


def _state(body: dict[str, Any]) -> dict[str, Any]:
    """The status as the history records it."""
    shards = sorted(body["shards"], key=lambda shard: int(shard["shard"]))
    lacking = [
        f"{worker['id']} {word} {shard}"
        for worker in body["workers"]
        for word, key in (("behind", "behind"), ("gap", "gaps"))
        for shard in worker[key]
    ]
    return {
        "is_reachable": body["redis"]["connected"],
        "replicas": tuple(shard["replicas"] for shard in shards),
        "breakers": tuple(shard["breaker"] for shard in shards),
        "profile_breakers": tuple(
            f"{profile} {state}"
            for shard in shards
            for profile, state in shard["profile_breakers"].items()
        ),
        "workers": tuple(worker["id"] for worker in body["workers"]),
        "lacking": tuple(lacking),
        "shortages": tuple(str(shortage)[:200] for shortage in body["shortages"]),
        "split": (body.get("split") or {}).get("state", ""),
        "quarantined": sum(entry["refused"] for entry in body["quarantine"]),
    }
