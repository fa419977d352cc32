"""The nodes of a Redis Cluster: they fail, are cut off, and hand slots to each other.

A slot is one of those that the shards share; which node has it is asked when the fault begins.
"""

import asyncio
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from nemesis.abilities import CLOCKS
from nemesis.cluster.cluster import Cluster
from nemesis.cluster.links import Pair, both_ways
from nemesis.faults import splits
from nemesis.faults.injection import Inject, Spared
from nemesis.faults.machine import jump
from nemesis.faults.network import cut
from nemesis.faults.processes import once, own, stop
from nemesis.layout import CLOCKED_NODES, GATEWAYS, NODES, NUM_SLOTS, SPARE, WORKERS
from nemesis.schedule import Card, Fault

_LEAST_S: Final = 6.0  # until its replica has taken over
_SLOTS: Final = tuple(f"slot {number}" for number in range(NUM_SLOTS))
_PARTED: Final = {
    f"{name} and {node}": (name, node)
    for name, node in zip((*GATEWAYS, *WORKERS), NODES, strict=True)
}


@asynccontextmanager
async def _fail(cluster: Cluster, fault: Fault) -> AsyncIterator[str | Spared]:
    async with _without_owner(cluster, fault.target, fault.for_s) as words:
        yield words


@asynccontextmanager
async def _fail_at_a_turn(cluster: Cluster, fault: Fault) -> AsyncIterator[str | Spared]:
    state, worker = await splits.reach_a_turn(cluster, fault)
    if worker is None:
        yield Spared(f"no split got to {state}")
        return
    async with _without_owner(cluster, fault.target, fault.for_s) as words:
        if isinstance(words, Spared):
            yield words
        else:
            yield f"{words}, when {worker} had a split {state}"


@asynccontextmanager
async def _without_owner(
    cluster: Cluster, target: str, for_s: float
) -> AsyncIterator[str | Spared]:
    """Kill the node that has a slot; it stays away until its replica has taken over."""
    name = await cluster.slot_owner(_slot(target))
    if name is None:
        yield Spared(f"no node has {target}")
        return
    program = cluster.programs[name]
    program.hold()
    program.signal(signal.SIGKILL)
    try:
        yield f"SIGKILL to {name}, which has {target} and stays away"
        await asyncio.sleep(max(0.0, _LEAST_S - for_s))
    finally:
        program.start()


@asynccontextmanager
async def _hang(cluster: Cluster, fault: Fault) -> AsyncIterator[str | Spared]:
    name = await cluster.slot_owner(_slot(fault.target))
    if name is None:
        yield Spared(f"no node has {fault.target}")
        return
    program = cluster.programs[name]
    pid = program.signal(signal.SIGSTOP)
    try:
        yield f"SIGSTOP to {name}, which has {fault.target}"
        await asyncio.sleep(max(0.0, _LEAST_S - fault.for_s))
    finally:
        if pid and program.pid == pid:
            program.signal(signal.SIGCONT)


@asynccontextmanager
async def _move(cluster: Cluster, fault: Fault) -> AsyncIterator[str]:
    """Begin to move a slot, and move its keys at the end of the fault."""
    slot = _slot(fault.target)
    try:
        to = (await cluster.ask_slots("begin", slot, str(fault.strength))).strip()
    except RuntimeError as error:
        yield f"{fault.target} is not moved: {str(error)[-200:]}"
        return
    try:
        yield f"{fault.target} begins to move to the node at {to}, and moves at the end"
    finally:
        try:
            await cluster.ask_slots("end", slot, to)
        except RuntimeError as error:
            cluster.note(str(error)[-300:])


def _slot(target: str) -> int:
    return _SLOTS.index(target)


def _from_all(cluster: Cluster, node: str) -> list[Pair]:
    others = [name for name in (*cluster.nodes, *GATEWAYS, *WORKERS, SPARE) if name != node]
    return [pair for other in others for pair in both_ways(node, other)]


def _from_nodes(cluster: Cluster, node: str) -> list[Pair]:
    return [pair for other in cluster.nodes if other != node for pair in both_ways(node, other)]


def _of_two(_cluster: Cluster, target: str) -> list[Pair]:
    return both_ways(*_PARTED[target])


FAULTS: Final[dict[Card, Inject]] = {
    Card("kill a node", "SIGKILL to a node", NODES, lasts=False): once(signal.SIGKILL, own),
    Card("stop a node", "SIGSTOP to a node, later SIGCONT", NODES): stop(own),
    Card("fail a node", "SIGKILL to the node of a slot, which stays away", _SLOTS): _fail,
    Card("hang a node", "SIGSTOP to the node of a slot, until its replica has it", _SLOTS): _hang,
    Card("move a slot", "a slot of the shards moves to another node", _SLOTS): _move,
    Card("cut off a node", "neither other nodes nor gateways and workers reach a node", NODES): cut(
        _from_all
    ),
    Card(
        "split the nodes", "a node and the others do not reach each other; clients reach all", NODES
    ): cut(_from_nodes),
    Card(
        "part from a node", "a gateway or worker and one node do not reach each other", (*_PARTED,)
    ): cut(_of_two),
    Card(
        "clock jump of a node",
        "the wall clock of a node jumps by 2 s, a minute or an hour, and back",
        CLOCKED_NODES,
        frozenset({CLOCKS}),
    ): jump,
    Card(
        "fail a node in a split",
        "SIGKILL to the node of a slot, when a split has got to a certain state",
        _SLOTS,
        seldom=0.6,
        beside=splits.KIND,
    ): _fail_at_a_turn,
}
